"""
The language of the transcripts.

A transcript is prose with commands in it. A line that begins with ``>`` is a command;
the lines that follow it, up to an empty one, are what comes of it. All else is prose.

Commands that prepare:

``server NAME TERM ...``
    A voter whose disk holds a log of entries of these terms.
``start [one entry at a time]``
    Start these servers.
``newcomer NAME``
    Start a server with an empty disk.

Commands that let something happen:

``tick NAME [N]``, ``run N``
    Time passes at one server; everywhere, with all messages delivered.
``campaign NAME``
    Time passes at one server until it asks for pre-votes.
``patience``
    Time passes at all until they would vote for another leader.
``elect NAME [holding back requests | holding back entries of term N]``
    That server wins an election; what is held back stays on its way.
``propose NAME COMMAND``, ``read NAME``
    A client asks that leader for something.
``add NAME SERVER [nonvoter] [at HOST]``, ``remove NAME SERVER``, ``transfer NAME TO``
    An operator does. Who is a member already gets another suffrage, or moves.
``snapshot NAME``
    That server puts what it has applied in place of its log.
``deliver [FROM TO]``, ``lose [FROM TO]``
    All messages, or the oldest from one server to another, arrive or get lost.
``talk NAME NAME``
    What these two have to say to each other is delivered, until nothing is left.
``cut NAME ... | NAME ...``, ``heal``
    Only servers of the same group reach each other; everybody does again.
``crash NAME``, ``restart NAME``
    All that the disk does not hold is lost; the server starts with what it holds.
``slow NAME``, ``written NAME``, ``fast NAME``
    Writes of that server wait; the one under way reaches the disk; all do at once.

Commands that show:

``logs``
    The logs as rows of terms, as the figures of the paper draw them.
``members NAME``
    The members that a server counts on, and where they are.
``on the way``
    The messages that have not arrived.

What a server declines is told as ``refused`` with its reason.

``quietly`` at the end of a command leaves the messages out. In messages ``3t2`` is
entry 3, made in term 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import Factory, define, evolve

from hraftd.raft.configuration import MembershipConflict, Suffrage
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)
from hraftd.raft.messages import AppendEntries
from hraftd.raft.ready import Timing
from tests.raft.chronicle import describe_message
from tests.raft.network import Network, Read, member, terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.raft.network import Message

#: What a server says to a client, or an operator, when it declines.
REFUSALS = (
    CannotTransfer,
    ChangeInProgress,
    MembershipConflict,
    NotLeader,
    TransferInProgress,
)


def is_request(message: Message) -> bool:
    """
    Whether this is AppendEntries on its way to a follower.
    """
    return message.response is None and isinstance(message.call.request, AppendEntries)


def brings_entry_of(term: int) -> Callable[[Message], bool]:
    """
    Return a test for requests that bring an entry of that term.
    """

    def brings(message: Message) -> bool:
        request = message.call.request
        return (
            is_request(message)
            and isinstance(request, AppendEntries)
            and any(entry.term == term for entry in request.entries)
        )

    return brings


@define(eq=False)
class Script:
    """
    Carries out the commands of one transcript.
    """

    logs: dict[str, list[int]] = Factory(dict)
    network: Network = Factory(Network)
    #: Who waits for a read, and where.
    reads: list[tuple[str, Read]] = Factory(list)

    def play(self, text: str) -> str:
        """
        Carry out all commands; return the transcript with what came of them.
        """
        played: list[str] = []
        lines = iter(text.splitlines())
        for line in lines:
            played.append(line)
            if line.startswith(">"):
                played += self.command(line[1:].strip())
                # What was written here before is replaced, up to the empty line or the
                # next command.
                for old in lines:
                    if not old:
                        played.append("")
                        break
                    if old.startswith(">"):
                        raise ValueError(f"an empty line is missing before {old!r}")
        return "\n".join(played).rstrip("\n") + "\n"

    def command(self, line: str) -> list[str]:
        """
        Carry out one command; return the lines that tell what came of it.
        """
        chronicle = self.network.chronicle
        chronicle.lines.clear()
        words = line.split()
        chronicle.with_messages = words[-1] != "quietly"
        if not chronicle.with_messages:
            words.pop()
        try:
            return self._carry_out(words)
        except REFUSALS as refusal:
            return [f"refused: {refusal}"]

    def _carry_out(self, words: list[str]) -> list[str]:
        match words:
            case ["server", name, *terms]:
                self.logs[name] = list(map(int, terms))
            case ["start", *how]:
                return self._start(how)
            case ["newcomer", name]:
                self.network.begin(name)
            case ["tick", name, *times]:
                self.network.tick(name, int(times[0]) if times else 1)
            case ["run", ticks]:
                self.network.run(int(ticks))
            case ["campaign", name]:
                self.network.campaign(name)
            case ["patience"]:
                self.network.lapse(*(node.server_id for node in self.network.running))
            case ["elect", name]:
                self.network.elect(name)
            case ["elect", name, "holding", "back", "requests"]:
                self.network.elect_quietly(name, is_request)
            case ["elect", name, "holding", "back", "entries", "of", "term", term]:
                self.network.elect_quietly(name, brings_entry_of(int(term)))
            case ["propose", name, command]:
                self.network.propose(name, command.encode())
            case ["read", name]:
                self.reads.append((name, self.network.read_index(name)))
            case ["add", name, server, *how]:
                self._add(name, server, how)
            case ["remove", name, server]:
                self.network.remove_server(name, server)
            case ["transfer", name, to]:
                self.network.transfer(name, to)
            case ["snapshot", name]:
                self.network.take_snapshot(name)
            case ["deliver"]:
                self.network.settle()
            case ["deliver", source, destination]:
                self.network.deliver(self.network.waiting(source, destination)[0])
            case ["lose"]:
                for message in list(self.network.in_transit):
                    self.network.lose(message)
            case ["lose", source, destination]:
                self.network.lose(self.network.waiting(source, destination)[0])
            case ["talk", one, other]:
                self._talk({one, other})
            case ["cut", *names]:
                groups = " ".join(names).split("|")
                self.network.partition(*(group.split() for group in groups))
            case ["heal"]:
                self.network.heal()
            case ["crash", name]:
                self.network.crash(name)
            case ["restart", name]:
                self.network.restart(name)
            case ["slow", name]:
                self.network.nodes[name].has_slow_disk = True
            case ["written", name]:
                self.network.finish_save(name)
            case ["fast", name]:
                self.network.nodes[name].has_slow_disk = False
            case ["logs"]:
                return self._rows()
            case ["members", name]:
                return self._members(name)
            case ["on", "the", "way"]:
                return list(map(describe_message, self.network.in_transit))
            case _:
                raise ValueError(f"there is no command {' '.join(words)!r}")
        self.network.check()
        return [*self.network.chronicle.lines, *self._outcomes()]

    def _outcomes(self) -> list[str]:
        """
        Say of each read that waited what has become of it.
        """
        lines: list[str] = []
        waiting: list[tuple[str, Read]] = []
        for name, read in self.reads:
            if read.index is not None:
                lines.append(f"{name} still led: read at {read.index}")
            elif read in self.network.nodes[name].reads:
                waiting.append((name, read))
            else:
                lines.append(f"{name} does not lead any more: no read")
        self.reads = waiting
        return lines

    def _add(self, leader: str, name: str, how: list[str]) -> None:
        """
        Add a server as the words say: ``nonvoter`` or not, at its or another host.
        """
        suffrage = Suffrage.VOTER
        if how[:1] == ["nonvoter"]:
            suffrage = Suffrage.NONVOTER
            how = how[1:]
        server = member(name, suffrage)
        match how:
            case []:
                pass
            case ["at", host]:
                server = evolve(server, raft=f"{host}:12000", http=f"{host}:11000")
            case _:
                raise ValueError(f"a server is not added {' '.join(how)!r}")
        self.network.add_server(leader, server)

    def _members(self, name: str) -> list[str]:
        return [
            f"{server.id} at {server.raft}, {server.suffrage.value}"
            for server in self.network[name].configuration.servers
        ]

    def _start(self, how: list[str]) -> list[str]:
        one_by_one = " ".join(how) == "one entry at a time"
        if how and not one_by_one:
            raise ValueError(f"servers do not start {' '.join(how)!r}")
        self.network = Network.with_logs(
            dict(self.logs),
            terms=dict.fromkeys(
                self.logs, max(term for log in self.logs.values() for term in log)
            ),
            timing=Timing(max_append_bytes=1) if one_by_one else None,
            chronicled=True,
        )
        return list(self.network.chronicle.lines)

    def _talk(self, pair: set[str]) -> None:
        self.network.settle(
            lambda message: {message.source, message.destination} != pair
        )

    def _rows(self) -> list[str]:
        """
        Draw the logs; of servers that are down, what their disks hold.

        An entry that a snapshot has replaced is a dot.
        """
        logs: dict[str, list[str]] = {}
        for name, node in self.network.nodes.items():
            log = [str(e.term) for e in node.entries if e.index > node.snapshot_index]
            replaced = node.snapshot_index
            if node.core is not None:
                log = list(map(str, terms(node.core)))
                replaced = node.core.log.snapshot_index
            logs[name] = ["."] * replaced + log
        longest = max(map(len, logs.values()))
        width = max(map(len, logs))
        digits = len(str(longest))
        rows = [
            " " * width
            + "".join(f" {index:>{digits}}" for index in range(1, longest + 1))
        ]
        for name, log in logs.items():
            cells = "".join(f" {cell:>{digits}}" for cell in log)
            core = self.network.nodes[name].core
            state = "down" if core is None else f"committed {core.commit_index}"
            rows.append(f"{name:<{width}}{cells:<{longest * (digits + 1)}}   {state}")
        return rows

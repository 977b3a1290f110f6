"""
A cluster in memory, in which a test decides about every message, tick, write and crash.

:class:`Network` drives real :class:`~hraftd.raft.consensus.ConsensusModule` objects the
way ``hraftd.server`` does: persist, send, apply, answer. Nothing happens by itself:
time passes in :meth:`Network.tick`, messages arrive in :meth:`Network.deliver` or
:meth:`Network.settle`. After each step the invariants are checked, and what happened is
written down in :attr:`Network.chronicle`.

Servers of one letter, logs as rows of terms: that is how the figures of the paper show
them, and how tests say what a server begins with.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from attrs import Factory, define, field

from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.invariants import check_group
from hraftd.raft.leader import Leader
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    Call,
    Entry,
    HardState,
    NoOp,
    Piece,
    RequestVoteResponse,
    Snapshot,
)
from hraftd.raft.observer import Observer
from hraftd.raft.outbox import MAX_COMMITTED
from hraftd.raft.ready import FetchPiece, Timing
from hraftd.raft.roles import Candidate, PreCandidate
from tests.raft.chronicle import Chronicle, describe_role
from tests.raft.disk import PIECE_ENTRIES, Disk, decode_state, make_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hraftd.raft.messages import Payload, Request, Response
    from hraftd.raft.ready import Fetch, Ready


def member(server_id: str, suffrage: Suffrage = Suffrage.VOTER) -> Server:
    """
    Return a voter, or another member, of that name at an address made of it.
    """
    return Server(server_id, f"{server_id}:12000", f"{server_id}:11000", suffrage)


def entries(terms: Iterable[int], voters: Iterable[str]) -> tuple[Entry, ...]:
    """
    Return a log with an entry of each of these terms, the first a configuration.
    """
    configuration = Configuration(tuple(map(member, voters)))
    return tuple(
        Entry(index, term, configuration if index == 1 else b"%d of %d" % (index, term))
        for index, term in enumerate(terms, start=1)
    )


def terms(core: ConsensusModule) -> list[int]:
    """
    Return the terms of a log behind its snapshot, as the figures of the paper draw it.
    """
    log = core.log
    indexes = range(log.snapshot_index + 1, log.last_index + 1)
    return [term for term in map(log.term_at, indexes) if term is not None]


# One server alone, of which a test plays all the peers.


def server(
    server_id: str = "a",
    log: Sequence[int] = (1,),
    *,
    voters: Iterable[str] = "abc",
    term: int | None = None,
    voted_for: str | None = None,
    timing: Timing | None = None,
) -> ConsensusModule:
    """
    Start a server with that on its disk; its term is the last entry's unless given.
    """
    if term is None:
        term = max(log, default=0)
    return ConsensusModule(
        server_id,
        HardState(term, voted_for),
        Log(entries(log, voters)),
        Random(server_id),
        timing,
    )


def save(core: ConsensusModule) -> Ready:
    """
    Take what is ready, and have it on disk at once if there is anything to write.
    """
    ready = core.ready()
    if ready.must_save:
        core.advance(ready)
    return ready


def tick_until(core: ConsensusModule, condition: Callable[[], bool]) -> int:
    """
    Let time pass until something is true; fail if it does not become so.

    :return: the ticks that it took.
    """
    for ticks in range(10 * core.timing.election_timeout):
        if condition():
            return ticks
        core.tick()
    raise AssertionError(f"still not so: {core.server_id} {describe_role(core)}")


def campaign(core: ConsensusModule) -> tuple[Call, ...]:
    """
    Let time pass until the server asks for pre-votes; return the calls.
    """
    tick_until(core, lambda: isinstance(core.role, PreCandidate | Candidate))
    return save(core).calls


def stand(core: ConsensusModule) -> tuple[Call, ...]:
    """
    Let the server become a candidate, with its vote on disk; return the calls.
    """
    for call in campaign(core):
        core.response_received(call, RequestVoteResponse(core.current_term, True))
        if isinstance(core.role, Candidate):
            break
    return save(core).calls


def lead(core: ConsensusModule) -> tuple[Call, ...]:
    """
    Let the server win an election, its no-op on disk; return its first calls.
    """
    for call in stand(core):
        core.response_received(call, RequestVoteResponse(core.current_term, True))
        if core.led_term:
            break
    assert core.led_term
    return save(core).early_calls


# A whole cluster.


@define(eq=False)
class Message:
    """
    A request on its way, or its answer on the way back.
    """

    sender: str
    #: Which life of the sender this belongs to; a later one knows nothing of it.
    life: int
    call: Call
    response: Response | None = None
    #: A second delivery of the same request: nobody waits for its answer.
    is_copy: bool = False

    @property
    def source(self) -> str:
        """
        Who sent what is on its way now.
        """
        return self.sender if self.response is None else self.call.to

    @property
    def destination(self) -> str:
        """
        Whom it goes to.
        """
        return self.call.to if self.response is None else self.sender


@define(eq=False)
class Read:
    """
    Somebody who waits until it is confirmed at which index to read.
    """

    round: int
    #: The index, once it is confirmed.
    index: int | None = None


@define(eq=False)
class Node(Disk):
    """
    One server, what is on its disk, and what waits for that.
    """

    core: ConsensusModule | None = None
    life: int = 0
    #: To whom it keeps links.
    servers: tuple[Server, ...] = ()
    #: Writes wait for :meth:`Network.finish_save`.
    has_slow_disk: bool = False
    saving: Ready | None = None
    held: list[tuple[Message, Response]] = Factory(list)
    held_by_save: list[tuple[Message, Response]] = Factory(list)
    #: What is read for followers waits for :meth:`Network.finish_fetch`.
    has_slow_reads: bool = False
    #: What is read for followers is not there.
    fails_reads: bool = False
    fetching: list[Fetch] = Factory(list)
    #: What was installed waits for :meth:`Network.finish_restore`.
    has_slow_restore: bool = False
    restoring: Snapshot | None = None
    #: How many snapshots of others it has restored.
    installs: int = 0
    #: So many entries go into a piece of the snapshots that it takes.
    piece_entries: int = PIECE_ENTRIES
    #: What was begun and waits for :meth:`Network.finish_snapshot`.
    taking: tuple[Snapshot, tuple[Piece, ...]] | None = None
    #: The state: all that it has, also from snapshots.
    applied: list[Entry] = Factory(list)
    reads: list[Read] = Factory(list)

    @property
    def applied_index(self) -> int:
        """
        The last entry that is in the state.
        """
        return self.applied[-1].index if self.applied else 0


@define(eq=False)
class Network:
    """
    Servers, their disks, and the messages between them.
    """

    #: Chooses the election timeouts, and nothing else.
    seed: int = 0
    timing: Timing = Factory(Timing)
    nodes: dict[str, Node] = Factory(dict)
    in_transit: list[Message] = Factory(list)
    #: The directions in which nothing gets through.
    cut_links: set[tuple[str, str]] = Factory(set)
    observer: Observer = Factory(Observer)
    chronicle: Chronicle = Factory(Chronicle)
    #: Chooses the next of several messages that could be delivered.
    choose: Callable[[list[Message]], Message] = field(default=lambda some: some[0])

    # Who is there.

    @classmethod
    def of(cls, voters: str, *, seed: int = 0, timing: Timing | None = None) -> Network:
        """
        Start a cluster of these voters, of one letter each, without a leader.
        """
        return cls.with_logs(dict.fromkeys(voters, (1,)), seed=seed, timing=timing)

    @classmethod
    def with_logs(
        cls,
        logs: dict[str, Sequence[int]],
        *,
        seed: int = 0,
        timing: Timing | None = None,
        terms: dict[str, int] | None = None,
        chronicled: bool = False,
    ) -> Network:
        """
        Start a cluster of voters whose disks hold logs of these terms.

        Their current terms are those of their last entries unless given.
        """
        network = cls(seed=seed, timing=timing or Timing())
        network.chronicle.is_open = chronicled
        for server_id, log in logs.items():
            term = (terms or {}).get(server_id, max(log, default=0))
            network.nodes[server_id] = Node(
                server_id, HardState(term), list(entries(log, logs))
            )
        for server_id in logs:
            network.restart(server_id)
        return network

    def begin(self, server_id: str) -> None:
        """
        Start a server with an empty disk.
        """
        self.nodes[server_id] = Node(server_id)
        self.restart(server_id)

    def bootstrap(self, server_id: str) -> None:
        """
        Start a server with an empty disk as a cluster of its own.
        """
        self.begin(server_id)
        self[server_id].bootstrap(member(server_id))
        self._turn(self.nodes[server_id])

    def __getitem__(self, server_id: str) -> ConsensusModule:
        """
        Return a server that is up.
        """
        core = self.nodes[server_id].core
        assert core is not None, f"{server_id} is down"
        return core

    @property
    def running(self) -> list[Node]:
        """
        The servers that are up.
        """
        return [node for node in self.nodes.values() if node.core is not None]

    @property
    def leader(self) -> str | None:
        """
        The leader of the latest term, if that has one that is up.
        """
        led = [
            (node.core.led_term, node.server_id)
            for node in self.running
            if node.core and node.core.led_term is not None
        ]
        return max(led)[1] if led else None

    # Time.

    def tick(self, server_id: str, times: int = 1) -> None:
        """
        Let time pass at one server.
        """
        for _ in range(times):
            self[server_id].tick()
            self._turn(self.nodes[server_id])

    def run(self, ticks: int) -> None:
        """
        Let time pass everywhere, and deliver everything as it comes.
        """
        for _ in range(ticks):
            for node in self.running:
                self.tick(node.server_id)
            self.settle()

    def run_until(self, condition: Callable[[], bool], ticks: int = 400) -> None:
        """
        Let time pass until something is true; fail if it does not become so.
        """
        for _ in range(ticks):
            if condition():
                return
            self.run(1)
        raise AssertionError(f"not so after {ticks} ticks: {condition}")

    def tick_until(self, server_id: str, condition: Callable[[], bool]) -> None:
        """
        Let time pass at one server until something is true; fail if it never is.
        """
        for _ in range(10 * self.timing.election_timeout):
            if condition():
                return
            self.tick(server_id)
        raise AssertionError(f"{server_id} {describe_role(self[server_id])} for long")

    def lapse(self, *server_ids: str) -> None:
        """
        Let each of these wait until it would vote again, but not yet campaign.
        """
        for server_id in server_ids:
            core = self[server_id]
            if core.led_term is not None:
                continue
            for _ in range(self.timing.election_timeout):
                silence = core.ticks_since_leader or 0
                if core.leader_id is None or silence >= self.timing.election_timeout:
                    break
                self.tick(server_id)

    def campaign(self, server_id: str) -> None:
        """
        Let time pass at one server until it asks for pre-votes.
        """
        role = self[server_id].role
        self.tick_until(
            server_id,
            lambda: (
                self[server_id].role is not role
                and isinstance(self[server_id].role, PreCandidate | Candidate | Leader)
            ),
        )

    def elect(self, server_id: str) -> None:
        """
        Let that server win an election among those it reaches.
        """
        self.settle()
        self.lapse(*(node.server_id for node in self.running))
        for _ in range(3):
            self.campaign(server_id)
            self.settle()
            if self[server_id].led_term is not None:
                return
        raise AssertionError(f"{server_id} was not elected")

    def elect_quietly(
        self, server_id: str, held_back: Callable[[Message], bool]
    ) -> None:
        """
        Let that server win an election, and hold back some of what comes of it.
        """
        self.lapse(*(node.server_id for node in self.running))
        self.campaign(server_id)
        self.settle(held_back)
        assert self[server_id].led_term is not None, f"{server_id} was not elected"

    # Clients.

    def propose(self, server_id: str, command: bytes) -> Entry:
        """
        Have a leader append a command.
        """
        entry = self[server_id].propose(command)
        self._turn(self.nodes[server_id])
        return entry

    def add_server(
        self,
        leader_id: str,
        newcomer: str | Server,
        suffrage: Suffrage = Suffrage.VOTER,
    ) -> Entry | None:
        """
        Have a leader add a server, or change a member.
        """
        if isinstance(newcomer, str):
            newcomer = member(newcomer, suffrage)
        entry = self[leader_id].add_server(newcomer)
        self._turn(self.nodes[leader_id])
        return entry

    def remove_server(self, leader_id: str, server_id: str) -> Entry:
        """
        Have a leader remove a server.
        """
        entry = self[leader_id].remove_server(server_id)
        self._turn(self.nodes[leader_id])
        return entry

    def transfer(self, leader_id: str, to: str) -> None:
        """
        Have a leader hand over.
        """
        self[leader_id].transfer_leadership(to)
        self._turn(self.nodes[leader_id])

    def read_index(self, leader_id: str) -> Read:
        """
        Ask a leader at which index to read; the answer is in what is returned.
        """
        core = self[leader_id]
        read = Read(core.read_index())
        self.observer.asked(core, read.round)
        self.nodes[leader_id].reads.append(read)
        self._turn(self.nodes[leader_id])
        return read

    # Messages.

    def waiting(
        self,
        source: str | None = None,
        destination: str | None = None,
        kind: type[Request] | None = None,
    ) -> list[Message]:
        """
        Return what is on its way, oldest first; ``kind`` is of the request.
        """
        return [
            message
            for message in self.in_transit
            if source in (None, message.source)
            and destination in (None, message.destination)
            and (kind is None or isinstance(message.call.request, kind))
        ]

    def deliver(self, message: Message, *, keep: bool = False) -> None:
        """
        Let a message arrive, or be lost where the link is cut or the server down.

        :param keep: deliver a copy, so that it arrives once more.
        """
        if keep:
            assert message.response is None, "an answer is taken once"
            message = Message(message.sender, message.life, message.call, is_copy=True)
        else:
            self.in_transit.remove(message)
        target = self.nodes[message.destination]
        if (
            message.source,
            message.destination,
        ) in self.cut_links or target.core is None:
            self._fail(message)
        elif message.response is None:
            self.chronicle.arrived(message)
            response = target.core.handle(message.call.request)
            target.held.append((message, response))
            self._turn(target)
        elif target.life == message.life and not message.is_copy:
            self.chronicle.arrived(message)
            target.core.response_received(message.call, message.response)
            self._turn(target)

    def lose(self, message: Message) -> None:
        """
        Let a message get lost, and its sender find out.
        """
        self.in_transit.remove(message)
        self._fail(message)

    def _fail(self, message: Message) -> None:
        self.chronicle.lost(message)
        sender = self.nodes[message.sender]
        if sender.core is not None and sender.life == message.life:
            if message.is_copy:
                return
            sender.core.call_failed(message.call)
            self._turn(sender)

    def settle(self, held_back: Callable[[Message], bool] | None = None) -> None:
        """
        Deliver everything, and what comes of it, until nothing is on its way.

        :param held_back: which messages stay on their way.
        """
        for _ in range(20_000):
            ready = self.in_transit
            if held_back is not None:
                ready = [message for message in ready if not held_back(message)]
            if not ready:
                return
            self.deliver(self.choose(ready))
        raise AssertionError("the servers never stop talking")

    def deliver_until(self, condition: Callable[[], bool]) -> None:
        """
        Deliver one message after the other until something is true.
        """
        for _ in range(1000):
            if condition():
                return
            assert self.in_transit, "nothing is on its way any more"
            self.deliver(self.in_transit[0])
        raise AssertionError(f"still not so: {condition}")

    # Faults.

    def partition(self, *groups: Sequence[str]) -> None:
        """
        Let only servers of the same group reach each other; heals what was before.
        """
        self.cut_links.clear()
        for group in groups:
            for one in group:
                self.cut_links.update(
                    (one, other) for other in self.nodes if other not in group
                )
                self.cut_links.update(
                    (other, one) for other in self.nodes if other not in group
                )

    def isolate(self, server_id: str) -> None:
        """
        Cut one server off; nothing else changes.
        """
        for other in self.nodes:
            if other != server_id:
                self.cut_links |= {(server_id, other), (other, server_id)}

    def heal(self) -> None:
        """
        Let everything through again.
        """
        self.cut_links.clear()

    def crash(self, server_id: str, *, written: bool = False) -> None:
        """
        Stop a server at once. All that was not saved is lost.

        :param written: a write under way still reaches the disk.
        """
        node = self.nodes[server_id]
        if written and node.saving is not None:
            node.write(node.saving)
            self.observer.saved(server_id, node.saving)
        unanswered = [message for message, _ in node.held_by_save + node.held]
        node.core = node.saving = node.restoring = node.taking = None
        node.held, node.held_by_save, node.applied = [], [], []
        node.fetching, node.reads = [], []
        node.life += 1
        self.chronicle.crashed(server_id)
        # Its links break, and who waits for an answer notices.
        for message in unanswered:
            self._fail(message)

    def restart(self, server_id: str) -> None:
        """
        Start a server with what its disk holds.
        """
        node = self.nodes[server_id]
        assert node.core is None, f"{server_id} is up"
        node.received = []
        node.applied = decode_state(node.pieces)
        assert node.applied_index == node.snapshot_index
        self._check_state(node)
        node.core = ConsensusModule(
            server_id,
            node.hard_state,
            Log(tuple(node.entries), node.snapshot),
            Random(f"{self.seed} {server_id} {node.life}"),
            self.timing,
        )
        self._turn(node)

    # Snapshots.

    def begin_snapshot(self, server_id: str) -> Snapshot | None:
        """
        Keep the state of a server as it is; ``None`` where there is nothing new in it.
        """
        node, log = self.nodes[server_id], self[server_id].log
        index = node.applied_index
        # One that was installed may be on its way into the state.
        if node.restoring is not None or index <= log.snapshot_index:
            return None
        node.taking = make_snapshot(
            node.applied, log.configuration_at(index), node.piece_entries
        )
        snapshot, _ = node.taking
        assert snapshot.last_term == log.term_at(index)
        return snapshot

    def finish_snapshot(self, server_id: str, trailing: int = 0) -> None:
        """
        Put the snapshot that was begun on disk, in place of the log.

        :param trailing: so many entries before its end are kept.
        """
        node, core = self.nodes[server_id], self[server_id]
        assert node.taking is not None
        (snapshot, pieces), node.taking = node.taking, None
        if snapshot.last_index <= node.snapshot_index:
            # Another was installed meanwhile.
            return
        first_index = node.compact(snapshot, pieces, trailing)
        self.observer.compacted(server_id, snapshot, pieces, first_index)
        core.compact(snapshot, first_index)
        self._turn(node)

    def take_snapshot(self, server_id: str, trailing: int = 0) -> Snapshot:
        """
        Put a snapshot of what a server has applied in place of its log.
        """
        snapshot = self.begin_snapshot(server_id)
        assert snapshot is not None, "there is nothing new to keep"
        self.finish_snapshot(server_id, trailing)
        return snapshot

    def finish_restore(self, server_id: str) -> None:
        """
        Put the snapshot that was installed into the state machine.
        """
        node, core = self.nodes[server_id], self[server_id]
        snapshot, node.restoring = node.restoring, None
        assert snapshot is not None
        assert snapshot == node.snapshot, "what is restored is on disk"
        node.applied = decode_state(node.pieces)
        node.installs += 1
        self.observer.restored(core, snapshot)
        self._check_state(node)
        core.restored(snapshot)
        self._turn(node)

    def _check_state(self, node: Node) -> None:
        """
        Check that the state is what applying everything one by one leads to.
        """
        committed = self.observer.committed
        for position, entry in enumerate(node.applied, start=1):
            assert committed.get(position) == entry, (
                f"entry {position} in the state of {node.server_id} is {entry}"
            )

    def finish_fetch(self, server_id: str, fetch: Fetch | None = None) -> None:
        """
        Let a server have what it reads from its disk for a follower: the oldest first.
        """
        node, core = self.nodes[server_id], self[server_id]
        fetch = fetch or node.fetching[0]
        node.fetching.remove(fetch)
        content: Sequence[Entry] | bytes
        try:
            if node.fails_reads:
                raise LookupError("all reads fail")
            if isinstance(fetch, FetchPiece):
                content = node.read_piece(fetch.snapshot, fetch.offset)
            else:
                content = node.read_entries(fetch.first, fetch.last, fetch.max_bytes)
        except LookupError:
            core.fetch_failed(fetch)
        else:
            core.fetched(fetch, content)
        self._turn(node)

    # The turn, as in hraftd.server.

    def _turn(self, node: Node) -> None:
        """
        Persist, send, apply, answer.
        """
        core = node.core
        assert core is not None
        self._look(node)
        ready = core.ready()
        self.observer.handed_out(core, ready)
        node.applied.extend(ready.committed)
        self._confirm(node, ready)
        self._keep_links(node, ready)
        self._send(node, ready.early_calls)
        node.fetching.extend(ready.fetches)
        self._look(node)
        if node.saving is None:
            held, node.held = node.held, []
            if ready.must_save:
                node.saving, node.held_by_save = ready, held
                if not node.has_slow_disk:
                    self.finish_save(node.server_id)
            else:
                self._send(node, ready.calls)
                self._answer(node, held)
        if len(ready.committed) == MAX_COMMITTED:
            self._turn(node)
        while node.fetching and not node.has_slow_reads:
            self.finish_fetch(node.server_id)

    def finish_save(self, server_id: str) -> None:
        """
        Let the write under way reach the disk.
        """
        node = self.nodes[server_id]
        ready, node.saving = node.saving, None
        assert node.core is not None
        assert ready is not None
        node.write(ready)
        self.observer.saved(server_id, ready)
        node.core.advance(ready)
        self._look(node)
        held, node.held_by_save = node.held_by_save, []
        self._answer(node, held)
        self._send(node, ready.calls)
        if ready.snapshot is not None:
            node.restoring = ready.snapshot
        self._turn(node)
        if node.restoring is not None and not node.has_slow_restore:
            self.finish_restore(server_id)

    @staticmethod
    def _keep_links(node: Node, ready: Ready) -> None:
        if ready.servers is not None:
            node.servers = ready.servers
        linked = {server.id for server in node.servers}
        for call in (*ready.calls, *ready.early_calls):
            assert call.to in linked, f"{node.server_id} has no link to {call.to}"

    def _confirm(self, node: Node, ready: Ready) -> None:
        for confirmed in ready.confirmed_reads:
            for read in node.reads:
                if read.round == confirmed.round:
                    read.index = confirmed.index
        node.reads = [read for read in node.reads if read.index is None]

    def _look(self, node: Node) -> None:
        assert node.core is not None
        self.chronicle.look(node.core)
        self.observer.observe(node.core)
        if node.core.led_term is None:
            # Nobody will ever tell those who wait.
            node.reads.clear()

    def _send(self, node: Node, calls: Iterable[Call]) -> None:
        for call in calls:
            self.observer.called(node.server_id, call.request)
            message = Message(node.server_id, node.life, call)
            self.in_transit.append(message)

    def _answer(self, node: Node, held: list[tuple[Message, Response]]) -> None:
        for message, response in held:
            self.observer.answered(node.server_id, message.call.request, response)
            message.response = response
            self.in_transit.append(message)

    # What came of it.

    def check(self) -> None:
        """
        Check the invariants once more, on complete logs.
        """
        check_group([node.core for node in self.running if node.core is not None])

    def logs(self) -> dict[str, list[int]]:
        """
        Return the logs of those that are up, as rows of terms.
        """
        return {node.server_id: terms(self[node.server_id]) for node in self.running}

    def commands(self, server_id: str) -> list[Payload]:
        """
        Return the commands in a server's state, in the order they were applied.
        """
        return [
            entry.payload
            for entry in self.nodes[server_id].applied
            if not isinstance(entry.payload, NoOp | Configuration)
        ]

    def requests(self, kind: type[Request], **where: str) -> list[Request]:
        """
        Return the requests of that kind that are on their way.
        """
        return [message.call.request for message in self.waiting(kind=kind, **where)]

"""
What must be true of a group of servers at every moment.

The properties of figure 3 of the paper, and some of ours that they rest on. Functions
that look at a group as it stands say them as plainly as the figure does.
:class:`Observer` says them of a history: it is shown each event and remembers who led,
what was committed and what each disk holds, so that it can look at what is new only.

Nothing here takes part in the algorithm. Tests and simulators show it what happens, and
it raises :exc:`InvariantViolated` at the first event after which something is wrong.

Raft figure 3 and 5.4; dissertation 3.8 and 10.2.1 for what has to be on disk when.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from attrs import Factory, define

from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    RequestVote,
    RequestVoteResponse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.raft.configuration import Configuration
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Payload, Request, Response
    from hraftd.raft.ready import Ready

__all__ = [
    "InvariantViolated",
    "Observer",
    "check_group",
    "election_safety",
    "leader_completeness",
    "log_matching",
    "state_machine_safety",
]


class InvariantViolated(Exception):
    """
    The servers are in a state that no correct ones reach. The text says which.
    """


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise InvariantViolated(sentence)


def _name(entry: Entry) -> str:
    return f"entry {entry.index} of term {entry.term}"


# Figure 3, of a group as it stands.


def check_group(servers: Sequence[ConsensusModule]) -> None:
    """
    Check all that can be seen without knowing the past; compares complete logs.

    :raises InvariantViolated: if a property does not hold.
    """
    election_safety(servers)
    log_matching(servers)
    leader_completeness(servers)
    state_machine_safety(servers)


def election_safety(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that no two lead the same term (Raft 5.2).

    :raises InvariantViolated: if two lead one term now.
    """
    leaders = [server for server in servers if server.led_term is not None]
    for one, other in combinations(leaders, 2):
        _require(
            one.led_term != other.led_term,
            f"Election Safety: {one.server_id} and {other.server_id} both lead term "
            f"{one.led_term}",
        )


def log_matching(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that logs with a common entry are the same up to there (Raft 5.3).

    A common entry is one of the same index and term.

    :raises InvariantViolated: if two logs agree behind a difference.
    """
    for one, other in combinations(servers, 2):
        first = max(one.log.snapshot_index, other.log.snapshot_index) + 1
        last = min(one.log.last_index, other.log.last_index)
        differs: Entry | None = None
        for mine, theirs in zip(
            one.log.between(first, last), other.log.between(first, last), strict=True
        ):
            if mine != theirs and differs is None:
                differs = mine
            _require(
                differs is None or mine.term != theirs.term,
                f"Log Matching: {one.server_id} and {other.server_id} share the term "
                f"of {_name(mine)}, but differ at {differs and _name(differs)}",
            )


def leader_completeness(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that what was committed is in the logs of later terms' leaders (Raft 5.4.3).

    :raises InvariantViolated: if a leader lacks what a server of an earlier term
        knows to be committed.
    """
    for leader in servers:
        for server in servers:
            if leader.led_term is None or leader.led_term <= server.current_term:
                continue
            _require(
                server.commit_index <= leader.log.snapshot_index
                or leader.log.term_at(server.commit_index)
                == server.log.term_at(server.commit_index),
                f"Leader Completeness: {leader.server_id} leads term "
                f"{leader.led_term} without entry {server.commit_index}, which "
                f"{server.server_id} knows to be committed",
            )


def state_machine_safety(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that nobody applies another entry at an index than the others (Raft 5.4.3).

    :raises InvariantViolated: if two servers hold different entries for committed.
    """
    for one, other in combinations(servers, 2):
        first = max(one.log.snapshot_index, other.log.snapshot_index) + 1
        last = min(one.commit_index, other.commit_index)
        for mine, theirs in zip(
            one.log.between(first, last), other.log.between(first, last), strict=True
        ):
            _require(
                mine == theirs,
                f"State Machine Safety: {_name(mine)} is committed for "
                f"{one.server_id}, and {_name(theirs)} for {other.server_id}",
            )


# Figure 3 and ours, of a history.


@define
class _Disk:
    """
    What is on one server's disk, through all its lives.
    """

    hard_state: HardState
    entries: dict[int, Entry]

    def holds(self, index: int, term: int) -> bool:
        """
        Whether the entry of that index and term is on this disk.
        """
        entry = self.entries.get(index)
        return entry is not None and entry.term == term


@define(eq=False)
class _Life:
    """
    What was seen of one server since it started.
    """

    server: ConsensusModule
    hard_state: HardState
    configuration: Configuration
    configuration_index: int
    #: As far as that was committed, handed out and on disk, all was in order.
    commit_index: int
    applied: int
    stable_index: int
    led_term: int | None = None
    #: The log as it was last seen, by index.
    entries: dict[int, Entry] = Factory(dict)
    last_index: int = 0


class Observer:
    """
    Watches a group of servers, event by event.

    Show it every event: :meth:`observe` after each call of a server's methods that
    may change it, :meth:`saved` when a write is on disk (before ``advance``),
    :meth:`handed_out` for each Ready, :meth:`called` and :meth:`answered` when a
    message leaves. A server that starts again is a new
    :class:`~hraftd.raft.consensus.ConsensusModule` of the same id. It must know all
    servers before they commit anything.

    An event costs what it changed, whatever the length of the logs: a server's entries
    are looked at from the end back to the first one that was there before. What lies
    before that one is right by induction, for each new entry is checked together with
    the term of the one before it.

    :ivar leaders: the leader of each term.
    :ivar committed: the entries that were ever committed, by index.
    """

    def __init__(self) -> None:
        """
        Begin without having seen anything.
        """
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, Entry] = {}
        #: The term in which each was committed.
        self._committed_in: dict[int, int] = {}
        #: By index and term: what an entry holds, and the term of the one before.
        self._entries: dict[tuple[int, int], tuple[Payload, int | None]] = {}
        self._disks: dict[str, _Disk] = {}
        self._lives: dict[str, _Life] = {}

    def observe(self, server: ConsensusModule) -> None:
        """
        See what has become of a server.

        :raises InvariantViolated: if something is wrong now.
        """
        life = self._life(server)
        self._check_hard_state(life)
        kept = self._check_entries(life)
        self._check_configuration(life)
        self._check_leadership(life, kept)
        self._check_committed(life, kept)
        self._check_stable(life, kept)
        life.hard_state = server.hard_state
        life.configuration = server.configuration
        life.configuration_index = server.log.configuration_index
        life.last_index = server.log.last_index
        life.led_term = server.led_term

    def _life(self, server: ConsensusModule) -> _Life:
        life = self._lives.get(server.server_id)
        if life is not None and life.server is server:
            return life
        log = server.log
        saved = log.between(log.snapshot_index + 1, server.stable_index)
        disk = self._disks.setdefault(
            server.server_id,
            _Disk(server.hard_state, {entry.index: entry for entry in saved}),
        )
        _require(
            server.hard_state == disk.hard_state
            and all(disk.holds(entry.index, entry.term) for entry in saved)
            and not any(index > server.stable_index for index in disk.entries),
            f"{server.server_id} did not start with what its disk holds",
        )
        life = self._lives[server.server_id] = _Life(
            server=server,
            hard_state=disk.hard_state,
            configuration=server.configuration,
            configuration_index=log.configuration_index,
            commit_index=log.snapshot_index,
            applied=log.snapshot_index,
            stable_index=log.snapshot_index,
        )
        return life

    @staticmethod
    def _check_hard_state(life: _Life) -> None:
        """
        Check that the term never goes back and a vote stands for its term (Raft 5.2).
        """
        _check_succession(life.server.server_id, life.hard_state, life.server)

    def _check_entries(self, life: _Life) -> int:
        """
        Check Log Matching, by induction.

        :return: the last index at which nothing has changed.
        """
        server, log = life.server, life.server.log
        new: list[Entry] = []
        kept = log.last_index
        while kept > log.snapshot_index:
            (entry,) = log.between(kept, kept)
            if life.entries.get(kept) is entry:
                break
            new.append(entry)
            kept -= 1
        for entry in reversed(new):
            previous_term = log.term_at(entry.index - 1)
            content = (entry.payload, previous_term)
            _require(
                (previous_term or 0) <= entry.term <= server.current_term,
                f"{server.server_id} holds {_name(entry)} after one of term "
                f"{previous_term}, in term {server.current_term}",
            )
            _require(
                self._entries.setdefault((entry.index, entry.term), content) == content,
                f"Log Matching: there are two of {_name(entry)}, or the entries before "
                f"it differ; {server.server_id} holds the second",
            )
            life.entries[entry.index] = entry
        for index in range(log.last_index + 1, life.last_index + 1):
            del life.entries[index]
        return kept

    @staticmethod
    def _check_configuration(life: _Life) -> None:
        """
        Check that the configuration in force is in the log, and changes one at a time.

        A leader begins a change when the one before, and an entry of its own term, are
        committed (dissertation 4.1; Ongaro on raft-dev, 2015).
        """
        server, log = life.server, life.server.log
        index = log.configuration_index
        if index > log.snapshot_index:
            _require(
                index <= log.last_index
                and log.between(index, index)[0].payload == server.configuration,
                f"{server.server_id} goes by a configuration of entry {index} that is "
                "not in its log",
            )
        if index == life.configuration_index or server.led_term is None:
            return
        _require(
            life.configuration_index <= server.commit_index
            and log.term_at(server.commit_index) == server.led_term,
            f"{server.server_id} leads term {server.led_term} and has begun a change "
            f"at entry {index}, with entries up to {server.commit_index} committed",
        )

    def _check_leadership(self, life: _Life, kept: int) -> None:
        """
        Check Election Safety, Leader Append-Only and Leader Completeness.
        """
        server = life.server
        term = server.led_term
        if term is None:
            return
        if term == life.led_term:
            _require(
                kept >= life.last_index,
                f"Leader Append-Only: {server.server_id} leads term {term} and has "
                f"changed its log after entry {kept}",
            )
            return
        elected = self.leaders.setdefault(term, server.server_id)
        _require(
            elected == server.server_id,
            f"Election Safety: {elected} and {server.server_id} were both elected in "
            f"term {term}",
        )
        for index, entry in self.committed.items():
            if self._committed_in[index] < term:
                _require_in_log(server, entry)

    def _check_committed(self, life: _Life, kept: int) -> None:
        """
        Check State Machine Safety, and that the commit index never goes back.
        """
        server = life.server
        commit_index = server.commit_index
        _require(
            life.commit_index <= commit_index <= server.log.last_index,
            f"the commit index of {server.server_id} went from {life.commit_index} to "
            f"{commit_index}, and its log ends at {server.log.last_index}",
        )
        first = max(min(life.commit_index, kept), server.log.snapshot_index) + 1
        newly = server.log.between(first, commit_index)
        for entry in newly:
            known = self.committed.get(entry.index)
            if known is None:
                self._check_commitment(life, entry)
            else:
                _require(
                    known is entry or known == entry,
                    f"State Machine Safety: {_name(entry)} is committed for "
                    f"{server.server_id}, and {_name(known)} was before",
                )
        if server.led_term is not None and commit_index > life.commit_index:
            _require(
                newly[-1].term == server.led_term,
                f"{server.server_id} leads term {server.led_term} and has committed "
                f"{_name(newly[-1])} by counting (figure 8)",
            )
        life.commit_index = commit_index

    def _check_commitment(self, life: _Life, entry: Entry) -> None:
        """
        Check that a leader has committed it, and a majority has it on disk.
        """
        server = life.server
        _require(
            server.led_term is not None,
            f"{server.server_id} takes {_name(entry)} for committed, which no leader "
            "has committed",
        )
        holders = {
            server_id
            for server_id, disk in self._disks.items()
            if disk.holds(entry.index, entry.term)
        }
        # One event can both commit and, that done, begin to change the configuration.
        _require(
            server.configuration.is_majority(holders)
            or life.configuration.is_majority(holders),
            f"{server.server_id} has committed {_name(entry)}, which is only on the "
            f"disks of {sorted(holders)}",
        )
        self.committed[entry.index] = entry
        self._committed_in[entry.index] = server.current_term
        for other in self._lives.values():
            if (other.server.led_term or 0) > server.current_term:
                _require_in_log(other.server, entry)

    def _check_stable(self, life: _Life, kept: int) -> None:
        """
        Check that what a server takes to be on its disk is there.
        """
        server = life.server
        disk = self._disks[server.server_id]
        first = max(min(life.stable_index, kept), server.log.snapshot_index) + 1
        for entry in server.log.between(first, server.stable_index):
            _require(
                disk.holds(entry.index, entry.term),
                f"{server.server_id} takes {_name(entry)} to be on its disk, where "
                "it is not",
            )
        life.stable_index = server.stable_index

    def handed_out(self, server: ConsensusModule, ready: Ready) -> None:
        """
        See which entries a server is going to apply.

        :raises InvariantViolated: if they are not the next ones, not committed, or
            not on its disk.
        """
        life = self._lives[server.server_id]
        for entry in ready.committed:
            _require(
                entry.index == life.applied + 1
                and entry == self.committed.get(entry.index)
                and self._disks[server.server_id].holds(entry.index, entry.term),
                f"State Machine Safety: {server.server_id} applies {_name(entry)} "
                f"after entry {life.applied}, but it is not the next, not committed, "
                "or not on disk",
            )
            life.applied = entry.index

    def saved(self, server_id: str, ready: Ready) -> None:
        """
        See that what a Ready held has reached the disk.

        :raises InvariantViolated: if the disk has lost a vote, or an entry that is
            committed.
        """
        disk = self._disks[server_id]
        if ready.hard_state is not None:
            _check_succession(server_id, disk.hard_state, ready.hard_state)
            disk.hard_state = ready.hard_state
        if not ready.entries:
            return
        first = ready.entries[0].index
        self._lives[server_id].stable_index = min(
            self._lives[server_id].stable_index, first - 1
        )
        written = {entry.index: entry for entry in ready.entries}
        index = first
        while index in disk.entries:
            lost = disk.entries.pop(index)
            _require(
                self.committed.get(index) != lost or written.get(index) == lost,
                f"{server_id} has deleted {_name(lost)} from its disk, which is "
                "committed",
            )
            index += 1
        disk.entries.update(written)

    def called(self, server_id: str, request: Request) -> None:
        """
        See that a server's request leaves.

        :raises InvariantViolated: if its disk does not hold the term, and the vote for
            itself, that speak from it.
        """
        if isinstance(request, RequestVote) and request.pre_vote:
            return
        saved = self._disks[server_id].hard_state
        _require(
            saved.current_term > request.term
            or saved == HardState(request.term, server_id),
            f"{server_id} speaks in term {request.term}, but its disk holds term "
            f"{saved.current_term} and a vote for {saved.voted_for}",
        )

    def answered(self, server_id: str, request: Request, response: Response) -> None:
        """
        See that a server's answer leaves.

        A server of a later term may have lost again what it promised in this one: the
        answer then comes as if from before.

        :raises InvariantViolated: if what it promises is not on disk.
        """
        disk = self._disks[server_id]
        if disk.hard_state.current_term > request.term:
            return
        match request, response:
            case RequestVote(pre_vote=False), RequestVoteResponse(vote_granted=True):
                _require(
                    disk.hard_state == HardState(request.term, request.candidate_id),
                    f"{server_id} grants {request.candidate_id} its vote in term "
                    f"{request.term}, which is not on its disk",
                )
            case AppendEntries(), AppendEntriesResponse(success=True):
                promised = [(entry.index, entry.term) for entry in request.entries]
                if request.prev_log_index:
                    promised.append((request.prev_log_index, request.prev_log_term))
                _require(
                    disk.hard_state.current_term == request.term
                    and all(disk.holds(*entry) for entry in promised),
                    f"{server_id} accepts entries of {request.leader_id} in term "
                    f"{request.term} that are not on its disk",
                )
            case _:
                pass


def _check_succession(
    server_id: str, before: HardState, after: HardState | ConsensusModule
) -> None:
    _require(
        after.current_term > before.current_term
        or (
            after.current_term == before.current_term
            and before.voted_for in (None, after.voted_for)
        ),
        f"{server_id} was in term {before.current_term} with a vote for "
        f"{before.voted_for}, and is in term {after.current_term} with one for "
        f"{after.voted_for}",
    )


def _require_in_log(leader: ConsensusModule, entry: Entry) -> None:
    _require(
        entry.index <= leader.log.snapshot_index
        or leader.log.matches(entry.index, entry.term),
        f"Leader Completeness: {leader.server_id} leads term {leader.led_term} without "
        f"{_name(entry)}, which is committed",
    )

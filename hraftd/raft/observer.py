"""
What must be true of a history: figure 3, and what it rests on.

:class:`Observer` is shown each event at each server. It remembers who led, what was
committed, what each disk holds and how far each state machine is, and raises
:exc:`~hraftd.raft.invariants.InvariantViolated` at the first event after which
something is wrong. What it has to say of disks and of messages is in
:mod:`hraftd.raft.observed_disks`; how a group stands at one moment, without its past,
in :mod:`hraftd.raft.invariants`.

Nothing here takes part in the algorithm; tests and simulators show it what happens.

Raft figure 3, 5.4 and 7; dissertation 4.1, 6.4 for reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import Factory, define

from hraftd.raft.configuration import Configuration
from hraftd.raft.invariants import name, require
from hraftd.raft.leader import Leader
from hraftd.raft.messages import HardState
from hraftd.raft.observed_disks import ObservedDisk, ObservedDisks, check_succession

if TYPE_CHECKING:
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Entry, Payload, Snapshot
    from hraftd.raft.progress import Progress
    from hraftd.raft.ready import Ready

__all__ = ["Observer"]


@define
class _Life:
    """
    One server from its start to its end, and how it was when last seen.
    """

    server: ConsensusModule
    hard_state: HardState
    configuration: Configuration
    configuration_index: int
    commit_index: int
    entries: dict[int, Entry] = Factory(dict)
    last_index: int = 0
    led_term: int | None = None
    snapshot: Snapshot | None = None
    #: By round, the last entry that was committed anywhere when it was asked for.
    reads: dict[int, int] = Factory(dict)
    #: By id, what the leader knew of each other member, and how far that reached.
    known: dict[str, tuple[Progress, int]] = Factory(dict)


class Observer(ObservedDisks):
    """
    Sees every event at every server, and objects to the first wrong one.

    Call :meth:`observe` after each event at a server, :meth:`saved` when its disk has
    what a Ready held, :meth:`handed_out` for each Ready, :meth:`called` and
    :meth:`answered` when a message leaves; :meth:`compacted` when its own snapshot is
    on its disk and :meth:`restored` when another's is in its state machine;
    :meth:`elected` when it begins to lead, and :meth:`asked` when somebody wants to
    read. A server that starts again is a new
    :class:`~hraftd.raft.consensus.ConsensusModule` of the same id; one whose disk was
    wiped is forgotten before (:meth:`forget`). It must know all servers before they
    commit anything.

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
        super().__init__()
        self.leaders: dict[int, str] = {}
        #: The term in which each entry was committed.
        self._committed_in: dict[int, int] = {}
        #: By index and term: what an entry holds, and the term of the one before.
        self._entries: dict[tuple[int, int], tuple[Payload, int | None]] = {}
        self._lives: dict[str, _Life] = {}
        #: By id, the latest term that had a leader when that server was wiped.
        self._wiped_in: dict[str, int] = {}

    def forget(self, server_id: str) -> None:
        """
        Take it that who comes next under that name has an empty disk.
        """
        self._lives.pop(server_id, None)
        self._disks.pop(server_id, None)
        self._wiped_in[server_id] = max(self.leaders, default=0)

    def observe(self, server: ConsensusModule) -> None:
        """
        See what has become of a server.

        :raises InvariantViolated: if something is wrong now.
        """
        life = self._life(server)
        check_succession(server.server_id, life.hard_state, server)
        self._check_own_snapshot(life)
        kept = self._check_entries(life)
        self._check_configuration(life)
        self._check_leadership(life, kept)
        self._check_committed(life, kept)
        self._check_stable(life, kept)
        self._check_followers(life)
        if server.led_term != life.led_term:
            # Rounds of reads belong to one leader and its term.
            life.reads.clear()
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
        saved = log.between(log.memory_index + 1, server.stable_index)
        disk = self._disks.setdefault(
            server.server_id,
            ObservedDisk(
                server.hard_state,
                {entry.index: entry for entry in saved},
                log.snapshot,
            ),
        )
        disk.received.clear()
        held = {
            index: entry
            for index, entry in disk.entries.items()
            if index > log.memory_index
        }
        saved_hard_state = disk.hard_state
        if not saved_hard_state.current_term and not disk.entries and not log.snapshot:
            saved_hard_state = HardState(votes_from=None)
        require(
            server.hard_state == saved_hard_state
            and log.snapshot == disk.snapshot
            and held == {entry.index: entry for entry in saved},
            f"{server.server_id} did not start with what its disk holds",
        )
        life = self._lives[server.server_id] = _Life(
            server=server,
            hard_state=disk.hard_state,
            configuration=server.configuration,
            configuration_index=log.configuration_index,
            commit_index=log.snapshot_index,
            snapshot=log.snapshot,
        )
        disk.applied = disk.compared = log.snapshot_index
        return life

    def _check_own_snapshot(self, life: _Life) -> None:
        """
        Check that a server begins its log behind what is committed (Raft 7).
        """
        snapshot = life.server.log.snapshot
        if snapshot is not None and snapshot is not life.snapshot:
            self._check_snapshot(life.server.server_id, snapshot)
            before = 0 if life.snapshot is None else life.snapshot.last_index
            require(
                snapshot.last_index > before,
                f"{life.server.server_id} puts a snapshot at {snapshot.last_index} in "
                f"place of one at {before}",
            )
        life.snapshot = snapshot

    def _check_entries(self, life: _Life) -> int:
        """
        Check Log Matching, by induction.

        :return: the last index at which nothing has changed.
        """
        server, log = life.server, life.server.log
        new: list[Entry] = []
        kept = log.last_index
        while kept > log.memory_index:
            (entry,) = log.between(kept, kept)
            if life.entries.get(kept) is entry:
                break
            new.append(entry)
            kept -= 1
        for entry in reversed(new):
            previous_term = log.term_at(entry.index - 1)
            content = (entry.payload, previous_term)
            require(
                (previous_term or 0) <= entry.term <= server.current_term,
                f"{server.server_id} holds {name(entry)} after one of term "
                f"{previous_term}, in term {server.current_term}",
            )
            require(
                self._entries.setdefault((entry.index, entry.term), content) == content,
                f"Log Matching: there are two of {name(entry)}, or the entries before "
                f"it differ; {server.server_id} holds the second",
            )
            life.entries[entry.index] = entry
        for index in range(log.last_index + 1, life.last_index + 1):
            life.entries.pop(index, None)
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
        if index <= log.snapshot_index:
            expected = log.snapshot and log.snapshot.configuration
            require(
                expected is None or server.configuration == expected,
                f"{server.server_id} goes by another configuration than that of its "
                f"snapshot at {log.snapshot_index}",
            )
            return
        entry = life.entries.get(index)
        require(
            index <= log.last_index
            and entry is not None
            and entry.payload == server.configuration,
            lambda: (
                f"{server.server_id} goes by a configuration of entry {index} that "
                "is not in its log"
            ),
        )
        if index == life.configuration_index or server.led_term is None:
            return
        require(
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
            require(
                kept >= life.last_index,
                f"Leader Append-Only: {server.server_id} leads term {term} and has "
                f"changed its log after entry {kept}",
            )
            return
        elected = self.leaders.setdefault(term, server.server_id)
        require(
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
        server, log = life.server, life.server.log
        commit_index = server.commit_index
        require(
            max(life.commit_index, log.snapshot_index)
            <= commit_index
            <= server.log.last_index,
            lambda: (
                f"the commit index of {server.server_id} went from "
                f"{life.commit_index} to {commit_index}, and its log goes from behind "
                f"{log.snapshot_index} to {server.log.last_index}"
            ),
        )
        first = max(min(life.commit_index, kept), log.memory_index) + 1
        newly = log.between(first, commit_index)
        for entry in newly:
            known = self.committed.get(entry.index)
            if known is None:
                self._check_commitment(life, entry)
            else:
                require(
                    known is entry or known == entry,
                    f"State Machine Safety: {name(entry)} is committed for "
                    f"{server.server_id}, and {name(known)} was before",
                )
        if server.led_term is not None and commit_index > life.commit_index:
            require(
                newly[-1].term == server.led_term,
                f"{server.server_id} leads term {server.led_term} and has committed "
                f"{name(newly[-1])} by counting (figure 8)",
            )
        life.commit_index = commit_index

    def _check_commitment(self, life: _Life, entry: Entry) -> None:
        """
        Check that a leader has committed it, and a majority has it on disk.
        """
        server = life.server
        require(
            server.led_term is not None,
            f"{server.server_id} takes {name(entry)} for committed, which no leader "
            "has committed",
        )
        holders = {
            server_id
            for server_id, disk in self._disks.items()
            if self._holds(disk, entry.index, entry.term)
        }
        # One event can both commit and, that done, begin to change the configuration.
        require(
            server.configuration.is_majority(holders)
            or life.configuration.is_majority(holders),
            f"{server.server_id} has committed {name(entry)}, which is only on the "
            f"disks of {sorted(holders)}",
        )
        self.committed[entry.index] = entry
        self._committed_in[entry.index] = server.current_term
        if isinstance(entry.payload, Configuration):
            self._configurations[entry.index] = entry.payload
        for other in self._lives.values():
            if (other.server.led_term or 0) > server.current_term:
                _require_in_log(other.server, entry)

    def _check_stable(self, life: _Life, kept: int) -> None:
        """
        Check that what a server takes to be on its disk is there.
        """
        server, log = life.server, life.server.log
        disk = self._disks[server.server_id]
        first = max(min(disk.compared, kept), log.memory_index) + 1
        for entry in log.between(first, server.stable_index):
            require(
                self._holds(disk, entry.index, entry.term),
                f"{server.server_id} takes {name(entry)} to be on its disk, where "
                "it is not",
            )
        require(
            server.stable_index < log.snapshot_index
            or self._holds(disk, log.snapshot_index, log.snapshot_term),
            lambda: (
                f"{server.server_id} takes its snapshot at {log.snapshot_index} to "
                "be on its disk, where it is not"
            ),
        )
        disk.compared = server.stable_index

    def _check_followers(self, life: _Life) -> None:
        """
        Check that what a leader knows to be on members' disks is, and never less.

        A server of a later term may have lost again what it promised in this one. Who
        is no member any more may have lost everything, and a leader that has been
        deposed since may not have heard of its removal.
        """
        role = life.server.role
        if not isinstance(role, Leader):
            life.known.clear()
            return
        log = life.server.log
        for server_id, progress in role.progress.items():
            match_index = progress.match_index
            before, matched = life.known.get(server_id, (progress, 0))
            if before is progress and matched == match_index:
                continue
            is_member = life.server.configuration.get(server_id) is not None
            disk = self._disks.get(server_id) if is_member else None
            term = log.term_at(match_index) if match_index >= log.snapshot_index else 0
            is_there = (
                disk is None
                or disk.hard_state.current_term > life.server.current_term
                or self._wiped_in.get(server_id, 0) > life.server.current_term
                or not term
                or self._holds(disk, match_index, term)
            )
            require(
                is_there and (before is not progress or match_index > matched),
                f"{life.server.server_id} takes entry {match_index} to be on the disk "
                f"of {server_id}, and knew of {matched} before",
            )
            life.known[server_id] = (progress, match_index)

    def elected(self, server: ConsensusModule) -> None:
        """
        See that a server begins to lead: by the votes that are on a majority's disks.

        Of who has gone on to a later term, or was wiped since, nothing is known.

        :raises InvariantViolated: if they are not.
        """
        term, leader_id = server.current_term, server.server_id
        against = {
            server_id
            for server_id, disk in self._disks.items()
            if disk.hard_state.current_term < term
            or (
                disk.hard_state.current_term == term
                and disk.hard_state.voted_for != leader_id
            )
        }
        voters = {voter.id for voter in server.configuration.voters}
        require(
            server.configuration.is_majority(voters - against),
            f"{leader_id} leads term {term} without the votes of {sorted(against)}",
        )

    def handed_out(self, server: ConsensusModule, ready: Ready) -> None:
        """
        See which entries a server is going to apply, and what it lets be read.

        :raises InvariantViolated: if they are not the next ones, not committed, or
            not on its disk; or if a read would not see what was committed when it
            was asked for.
        """
        life = self._lives[server.server_id]
        disk = self._disks[server.server_id]
        for entry in ready.committed:
            require(
                entry.index == disk.applied + 1
                and entry == self.committed.get(entry.index)
                and entry == disk.entries.get(entry.index),
                f"State Machine Safety: {server.server_id} applies {name(entry)} "
                f"after entry {disk.applied}, but it is not the next, not committed, "
                "or not on disk",
            )
            disk.applied = entry.index
        in_memory = server.log.last_index - server.log.memory_index
        require(
            not ready.committed
            or disk.applied < server.log.last_index
            or in_memory <= server.timing.memory_entries,
            lambda: (
                f"{server.server_id} has applied everything and has still "
                f"{in_memory} entries in memory"
            ),
        )
        for confirmed in ready.confirmed_reads:
            since = life.reads.pop(confirmed.round, 0)
            require(
                since <= confirmed.index and confirmed.index in self.committed,
                f"{server.server_id} lets entry {confirmed.index} be read, but entry "
                f"{since} was committed when that was asked for",
            )

    def restored(self, server: ConsensusModule, snapshot: Snapshot) -> None:
        """
        See that a snapshot is in a server's state machine in place of what was there.

        :raises InvariantViolated: if that is a step back, or it is not on disk.
        """
        disk = self._disks[server.server_id]
        require(
            snapshot == disk.snapshot and snapshot.last_index > disk.applied,
            f"{server.server_id} has applied up to {disk.applied} and restores a "
            f"snapshot at {snapshot.last_index}; on disk is one at "
            f"{disk.snapshot_index}",
        )
        disk.applied = snapshot.last_index

    def asked(self, server: ConsensusModule, round_: int) -> None:
        """
        See that somebody waits for that round of reads at a leader.
        """
        life = self._lives[server.server_id]
        life.reads[round_] = max(self.committed, default=0)


def _require_in_log(leader: ConsensusModule, entry: Entry) -> None:
    require(
        entry.index <= leader.log.snapshot_index
        or leader.log.matches(entry.index, entry.term),
        f"Leader Completeness: {leader.server_id} leads term {leader.led_term} without "
        f"{name(entry)}, which is committed",
    )

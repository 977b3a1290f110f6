"""
What the disks of all servers hold, and what may be said because they hold it.

:class:`ObservedDisks` is the half of :class:`~hraftd.raft.observer.Observer` that looks
at what is written and at what leaves: nobody loses what is committed, no two snapshots
are mixed, and no message promises what is not on disk.

Raft 5.1 to 5.4 and 7, "updated on stable storage before responding"; dissertation 3.8
and 10.2.1 for what has to be on disk when, 5.1 for what a snapshot stands for.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from attrs import Factory, define

from hraftd.raft.invariants import name, require
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    InstallSnapshot,
    InstallSnapshotResponse,
    Piece,
    RequestVote,
    RequestVoteResponse,
    Snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hraftd.raft.configuration import Configuration
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Request, Response
    from hraftd.raft.ready import Ready

__all__ = ["ObservedDisk", "ObservedDisks", "check_succession"]


@define
class ObservedDisk:
    """
    What is on one server's disk, through all its lives.
    """

    hard_state: HardState
    entries: dict[int, Entry]
    snapshot: Snapshot | None
    #: Of a snapshot that is being received.
    received: list[Piece] = Factory(list)
    #: The last entry in the state machine of the server that runs with it.
    applied: int = 0
    #: Up to here, what that server takes to be on disk is known to be.
    compared: int = 0

    @property
    def snapshot_index(self) -> int:
        """
        The last entry that the snapshot stands for, or 0.
        """
        return 0 if self.snapshot is None else self.snapshot.last_index


class ObservedDisks:
    """
    Sees every write, and every message that speaks of what was written.

    :ivar committed: the entries that were ever committed, by index.
    """

    def __init__(self) -> None:
        """
        Begin without having seen anything.
        """
        self.committed: dict[int, Entry] = {}
        #: The configurations among them, in the order of their indexes.
        self._configurations: dict[int, Configuration] = {}
        #: By digest: the pieces of each snapshot that was ever on a disk.
        self._contents: dict[bytes, tuple[Piece, ...]] = {}
        self._disks: dict[str, ObservedDisk] = {}

    def saved(self, server_id: str, ready: Ready) -> None:
        """
        See that what a Ready held has reached the disk.

        :raises InvariantViolated: if the disk has lost a vote, or an entry that is
            committed; or if pieces do not make a snapshot.
        """
        disk = self._disks[server_id]
        if ready.hard_state is not None:
            check_succession(server_id, disk.hard_state, ready.hard_state)
            disk.hard_state = ready.hard_state
        for piece in ready.pieces:
            if piece.offset == 0:
                disk.received.clear()
            received = sum(len(one.data) for one in disk.received)
            require(
                piece.offset == received,
                f"{server_id} puts the piece at {piece.offset} of a snapshot behind "
                f"{received} bytes",
            )
            disk.received.append(piece)
        if ready.snapshot is not None:
            self._keep_snapshot(server_id, disk, ready.snapshot, tuple(disk.received))
            disk.received.clear()
            self._replace(server_id, 1, ready.entries)
        elif ready.entries:
            self._replace(server_id, ready.entries[0].index, ready.entries)

    def _replace(self, server_id: str, first: int, entries: tuple[Entry, ...]) -> None:
        """
        Take these entries in place of all on a disk from that index on.
        """
        disk = self._disks[server_id]
        written = {entry.index: entry for entry in entries}
        for index in [index for index in disk.entries if index >= first]:
            lost = disk.entries.pop(index)
            require(
                index <= disk.snapshot_index
                or self.committed.get(index) != lost
                or written.get(index) == lost,
                f"{server_id} has deleted {name(lost)} from its disk, which is "
                "committed",
            )
        before = max(disk.entries, default=disk.snapshot_index)
        require(
            not entries or entries[0].index == before + 1,
            f"{server_id} leaves a gap on its disk behind entry {before}",
        )
        disk.entries.update(written)
        disk.compared = min(disk.compared, first - 1)

    def compacted(
        self,
        server_id: str,
        snapshot: Snapshot,
        pieces: Iterable[Piece],
        first_index: int,
    ) -> None:
        """
        See that a server's own snapshot is on its disk, and what is left of its log.

        :raises InvariantViolated: if it stands for anything that is not committed or
            not applied there, or if its content is not what it should be.
        """
        disk = self._disks[server_id]
        require(
            snapshot.last_index <= disk.applied,
            f"{server_id} has a snapshot at {snapshot.last_index}, but has applied "
            f"only up to {disk.applied}",
        )
        self._keep_snapshot(server_id, disk, snapshot, tuple(pieces))
        for index in [index for index in disk.entries if index < first_index]:
            require(
                index <= snapshot.last_index,
                f"{server_id} has deleted {name(disk.entries[index])}, which is not in "
                f"its snapshot at {snapshot.last_index}",
            )
            del disk.entries[index]

    def _keep_snapshot(
        self,
        server_id: str,
        disk: ObservedDisk,
        snapshot: Snapshot,
        pieces: tuple[Piece, ...],
    ) -> None:
        """
        Check that a snapshot on disk is a later one, and all there (camunda 3573).
        """
        self._check_snapshot(server_id, snapshot)
        require(
            snapshot.last_index > disk.snapshot_index,
            f"{server_id} puts a snapshot at {snapshot.last_index} in place of one at "
            f"{disk.snapshot_index}",
        )
        data = b"".join(piece.data for piece in pieces)
        require(
            blake2b(data, digest_size=32).digest() == snapshot.digest
            and len(data) == snapshot.size
            and self._contents.setdefault(snapshot.digest, pieces) == pieces,
            f"what {server_id} keeps is not the content of its snapshot at "
            f"{snapshot.last_index}",
        )
        disk.snapshot = snapshot

    def _check_snapshot(self, server_id: str, snapshot: Snapshot) -> None:
        """
        Check that a snapshot stands for what is committed, and nothing else.

        Its configuration is the latest of those that it stands for; one that is not
        committed yet may never be (canonical/raft 250).
        """
        last = self.committed.get(snapshot.last_index)
        require(
            last is not None and last.term == snapshot.last_term,
            f"{server_id} has a snapshot at entry {snapshot.last_index} of term "
            f"{snapshot.last_term}, which is not committed",
        )
        indexes = [i for i in self._configurations if i <= snapshot.last_index]
        require(
            bool(indexes)
            and self._configurations[indexes[-1]] == snapshot.configuration,
            f"the snapshot of {server_id} at {snapshot.last_index} is not with the "
            "configuration that is committed there",
        )

    def _holds(self, disk: ObservedDisk, index: int, term: int) -> bool:
        """
        Whether the entry of that index and term is on a disk, or in its snapshot.
        """
        entry = disk.entries.get(index)
        if entry is None and index <= disk.snapshot_index:
            # Of what a snapshot stands for, it is known that it is committed.
            entry = self.committed.get(index)
        return index == 0 or (entry is not None and entry.term == term)

    def called(self, server_id: str, request: Request) -> None:
        """
        See that a server's request leaves.

        :raises InvariantViolated: if its disk does not hold the term, and the vote for
            itself, that speak from it; or if it sends a piece of a snapshot that has
            no such piece.
        """
        if isinstance(request, RequestVote) and request.pre_vote:
            return
        saved = self._disks[server_id].hard_state
        require(
            saved.current_term > request.term
            or (saved.current_term, saved.voted_for) == (request.term, server_id),
            lambda: (
                f"{server_id} speaks in term {request.term}, but its disk holds "
                f"term {saved.current_term} and a vote for {saved.voted_for}"
            ),
        )
        if isinstance(request, InstallSnapshot):
            pieces = self._contents.get(request.snapshot.digest, ())
            require(
                request.piece in pieces
                and request.done is (request.piece == pieces[-1]),
                f"{server_id} sends a piece at {request.piece.offset} of a snapshot at "
                f"{request.snapshot.last_index} that has no such piece",
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
                saved = disk.hard_state
                require(
                    (saved.current_term, saved.voted_for)
                    == (request.term, request.candidate_id),
                    lambda: (
                        f"{server_id} grants {request.candidate_id} its vote in "
                        f"term {request.term}, which is not on its disk"
                    ),
                )
            case AppendEntries(), AppendEntriesResponse(success=True):
                promised = [(entry.index, entry.term) for entry in request.entries]
                promised.append((request.prev_log_index, request.prev_log_term))
                require(
                    disk.hard_state.current_term == request.term
                    and all(self._holds(disk, *entry) for entry in promised),
                    lambda: (
                        f"{server_id} accepts entries of {request.leader_id} in "
                        f"term {request.term} that are not on its disk"
                    ),
                )
            case InstallSnapshot(snapshot=snapshot), InstallSnapshotResponse(
                next_offset=offset
            ) if offset == snapshot.size:
                require(
                    disk.hard_state.current_term == request.term
                    and self._holds(disk, snapshot.last_index, snapshot.last_term),
                    f"{server_id} accepts a snapshot of {request.leader_id} at "
                    f"{snapshot.last_index} that is not on its disk",
                )
            case _:
                pass


def check_succession(
    server_id: str, before: HardState, after: HardState | ConsensusModule
) -> None:
    """
    Check that the term never goes back and a vote stands for its term (Raft 5.2).

    :raises InvariantViolated: if not.
    """
    require(
        after.current_term > before.current_term
        or (
            after.current_term == before.current_term
            and before.voted_for in (None, after.voted_for)
        ),
        lambda: (
            f"{server_id} was in term {before.current_term} with a vote for "
            f"{before.voted_for}, and is in term {after.current_term} with one for "
            f"{after.voted_for}"
        ),
    )

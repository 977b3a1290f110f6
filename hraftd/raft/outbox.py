"""
What a server hands out to be done, and what it is told is done.

The rules of Raft decide what a server wants to write, send and apply; here it is put
together into a :class:`~hraftd.raft.ready.Ready`, one save at a time, and here the
server learns what its disk has. That is kept apart from the rules since it is none of
the paper's: there, servers write before they answer, and that is all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.raft.ready import Ready
from hraftd.raft.state import ServerState

if TYPE_CHECKING:
    from hraftd.raft.configuration import Server
    from hraftd.raft.log import Log
    from hraftd.raft.messages import Call, Entry, HardState, Piece, Snapshot
    from hraftd.raft.ready import ConfirmedRead, Timing

__all__ = ["MAX_COMMITTED", "Outbox"]

#: At most so many entries are handed out to be applied at a time, so that a long log
#: does not keep everything else waiting.
MAX_COMMITTED = 1024


class Outbox(ServerState):
    """
    A server's state, and what of it others do not know yet.
    """

    def __init__(
        self, server_id: str, hard_state: HardState, log: Log, timing: Timing
    ) -> None:
        """
        Begin with nothing to do.
        """
        super().__init__(server_id, hard_state, log, timing)
        #: The last entry that was handed out to be applied.
        self.handed_out = log.snapshot_index
        #: Pieces of the snapshot that is being received.
        self.pieces: list[Piece] = []
        #: The snapshot that was installed and is not on disk yet; and the one that is
        #: not in the state machine yet.
        self.installed: Snapshot | None = None
        self.to_restore: Snapshot | None = None
        self._saved_hard_state = self.hard_state
        self._saving: Ready | None = None
        self._announced: tuple[Server, ...] | None = None

    @property
    def is_vote_saved(self) -> bool:
        """
        Whether the disk has the current term and the vote in it.
        """
        saved = self._saved_hard_state
        return (
            saved.current_term == self.current_term
            and saved.voted_for == self.voted_for
            and saved.votes_from == self.votes_from
        )

    def hand_out_committed(self) -> tuple[Entry, ...]:
        """
        Return the next entries to apply: committed, and on this server's disk.
        """
        if self.to_restore is not None:
            return ()
        last = min(
            self.commit_index, self.stable_index, self.handed_out + MAX_COMMITTED
        )
        if last <= self.handed_out:
            return ()
        first, self.handed_out = self.handed_out + 1, last
        committed = self.log.between(first, last)
        self.log.forget(last, self.timing.memory_entries, self.timing.memory_bytes)
        return committed

    def take_ready(
        self,
        committed: tuple[Entry, ...],
        confirmed_reads: tuple[ConfirmedRead, ...],
        servers: tuple[Server, ...],
    ) -> Ready:
        """
        Put together what is to be done, and take it for being done from now on.
        """
        hard_state: HardState | None = None
        entries: tuple[Entry, ...] = ()
        pieces: tuple[Piece, ...] = ()
        snapshot: Snapshot | None = None
        calls: tuple[Call, ...] = ()
        if self._saving is None:
            if not self.is_vote_saved:
                hard_state = self.hard_state
            snapshot, self.installed = self.installed, None
            # All that is behind a snapshot on disk is written anew with it.
            saved = self.stable_index if snapshot is None else self.log.snapshot_index
            if saved < self.log.last_index:
                entries = self.log.between(saved + 1, self.log.last_index)
            pieces, self.pieces = tuple(self.pieces), []
            calls, self.calls = tuple(self.calls), []
        early_calls, self.early_calls = tuple(self.early_calls), []
        fetches, self.fetches = tuple(self.fetches), []
        ready = Ready(
            hard_state=hard_state,
            entries=entries,
            pieces=pieces,
            snapshot=snapshot,
            calls=calls,
            early_calls=early_calls,
            fetches=fetches,
            committed=committed,
            confirmed_reads=confirmed_reads,
            servers=None if servers == self._announced else servers,
        )
        self._announced = servers
        if ready.must_save:
            self._saving = ready
        return ready

    def saved(self, ready: Ready) -> None:
        """
        Take it that what that Ready held is on disk.

        :raises ValueError: if that is not the save that is under way.
        """
        if ready is not self._saving:
            raise ValueError("this is not the Ready that is being saved")
        self._saving = None
        if ready.hard_state is not None:
            self._saved_hard_state = ready.hard_state
        if ready.snapshot is not None:
            self.stable_index = max(self.stable_index, ready.snapshot.last_index)
        # Some of it may have been truncated or replaced meanwhile: what counts is
        # what the log still holds (etcd 897e1cf).
        for entry in reversed(ready.entries):
            if entry.index > self.log.snapshot_index and self.log.matches(
                entry.index, entry.term
            ):
                self.stable_index = max(self.stable_index, entry.index)
                break

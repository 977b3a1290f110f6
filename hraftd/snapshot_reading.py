"""
The latest snapshot as somebody else wants it: piece by piece, all of one state.

While it is read no later one takes its place, so long as the log stays within its
bounds (:mod:`hraftd.snapshots`); the leader of a server that lags may send another one
at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.errors import SnapshotImpossible

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.interfaces import IStorage
    from hraftd.raft.messages import Snapshot

__all__ = ["SnapshotReading"]


class SnapshotReading:
    """
    Reads a snapshot from its beginning to its end, once.

    :ivar snapshot: the one that is read.
    """

    def __init__(
        self, storage: IStorage, snapshot: Snapshot, let_go: Callable[[], None]
    ) -> None:
        """
        Begin to read the latest snapshot.

        :param let_go: called once, when it may be replaced again.
        """
        self.snapshot = snapshot
        self._storage = storage
        self._let_go: Callable[[], None] | None = let_go
        self._offset = 0

    async def read(self) -> bytes:
        """
        Return the next piece; no bytes if that was all.

        :raises SnapshotImpossible: if another one has taken its place.
        :raises StorageError: if it is damaged.
        """
        if self._offset == self.snapshot.size:
            return b""
        try:
            piece = await self._storage.read_piece(self.snapshot, self._offset)
        except LookupError as error:
            raise SnapshotImpossible(
                f"the snapshot at entry {self.snapshot.last_index} was replaced by a "
                "later one while it was read; try again"
            ) from error
        self._offset += len(piece)
        return piece

    def close(self) -> None:
        """
        Let the snapshot be replaced; may be called more than once.
        """
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()

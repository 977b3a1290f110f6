"""
A storage that forgets everything with its process.

For ``--inmem`` and for tests; it keeps the same rules as
:class:`hraftd.storage.SqliteStorage` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from hraftd.codec import encode_payload
from hraftd.continuity import Content, Ends
from hraftd.interfaces import IStorage, StorageError, Stored
from hraftd.raft.messages import HardState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.raft.messages import Entry, Piece, Snapshot

__all__ = ["MemoryStorage"]


@frozen
class _Incomplete:
    """
    The pieces of a snapshot that is not in force, and may never be.
    """

    _content: Content = field(factory=Content)
    _pieces: dict[int, bytes] = field(factory=dict)

    def with_piece(self, piece: Piece) -> _Incomplete:
        pieces = self._pieces if piece.offset else {}
        return _Incomplete(
            self._content.with_piece(piece), {**pieces, piece.offset: piece.data}
        )

    def complete(self, snapshot: Snapshot) -> _Complete:
        self._content.check(snapshot)
        return _Complete(snapshot, self._pieces)


@frozen
class _Complete:
    """
    The snapshot in force and its pieces by their offsets.
    """

    snapshot: Snapshot
    pieces: dict[int, bytes]


@implementer(IStorage)
class MemoryStorage:
    """
    The same without a disk. Its Deferreds have fired when they are returned.

    Loading it again stands for a restart that lost nothing.
    """

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        self._cluster_id: str | None = None
        self._hard_state = HardState()
        self._entries: list[Entry] = []
        self._latest: _Complete | None = None
        self._received = _Incomplete()
        self._taken = _Incomplete()
        self._ends = Ends()
        self._is_loaded = False

    @property
    def _snapshot_index(self) -> int:
        return 0 if self._latest is None else self._latest.snapshot.last_index

    def load(self) -> Stored:
        """
        See :meth:`hraftd.interfaces.IStorage.load`.
        """
        self._is_loaded = True
        self._received, self._taken = _Incomplete(), _Incomplete()
        self._ends = Ends(self._ends.last_index)
        return Stored(
            self._cluster_id,
            self._hard_state,
            None if self._latest is None else self._latest.snapshot,
            () if self._latest is None else tuple(self._latest.pieces.values()),
            tuple(self._entries),
        )

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None = None,
        *,
        pieces: Sequence[Piece] = (),
        snapshot: Snapshot | None = None,
    ) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.save`.

        :raises ValueError: if the entries, pieces or snapshot do not follow what is
            there. The Deferred fails with it if the pieces are not the snapshot's.
        """
        if not self._is_loaded:
            return fail(_closed())
        ends = self._ends.after(entries, pieces, snapshot, self._snapshot_index)
        received = self._received
        for piece in pieces:
            received = received.with_piece(piece)
        if snapshot is not None:
            try:
                self._latest = received.complete(snapshot)
            except ValueError as error:
                return fail(error)
            received = self._taken = _Incomplete()
            self._entries = []
        if entries:
            if self._entries:
                del self._entries[entries[0].index - self._entries[0].index :]
            self._entries.extend(entries)
        self._received, self._ends = received, ends
        if hard_state is not None:
            self._hard_state = hard_state
        if cluster_id is not None:
            self._cluster_id = cluster_id
        return succeed(None)

    def write_piece(self, piece: Piece) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.write_piece`.
        """
        if not self._is_loaded:
            return fail(_closed())
        try:
            self._taken = self._taken.with_piece(piece)
        except ValueError as error:
            return fail(error)
        return succeed(None)

    def compact(
        self, snapshot: Snapshot, trailing_entries: int, trailing_bytes: int
    ) -> Deferred[int]:
        """
        See :meth:`hraftd.interfaces.IStorage.compact`.
        """
        if not self._is_loaded:
            return fail(_closed())
        taken, self._taken = self._taken, _Incomplete()
        try:
            complete = taken.complete(snapshot)
            self._check_in_log(snapshot)
        except ValueError as error:
            return fail(error)
        self._latest = complete
        # From the snapshot's end backwards, as far as both limits go.
        first_index = snapshot.last_index + 1
        for entry in reversed(self._between(0, snapshot.last_index)):
            trailing_entries -= 1
            trailing_bytes -= len(encode_payload(entry.payload))
            if trailing_entries < 0 or trailing_bytes < 0:
                break
            first_index = entry.index
        self._entries = self._between(first_index, self._ends.last_index)
        return succeed(first_index)

    def _check_in_log(self, snapshot: Snapshot) -> None:
        """
        See that a snapshot may stand for entries that are, or were, in the log.
        """
        index = snapshot.last_index
        terms = {entry.index: entry.term for entry in self._between(index, index)}
        if self._latest is not None:
            terms[self._snapshot_index] = self._latest.snapshot.last_term
        if index < self._snapshot_index or terms.get(index) != snapshot.last_term:
            raise ValueError(
                f"a snapshot up to {index} of term {snapshot.last_term} is not of "
                f"this log, which goes from {self._snapshot_index} to "
                f"{self._ends.last_index}"
            )

    def _between(self, first_index: int, last_index: int) -> list[Entry]:
        if not self._entries:
            return []
        start = self._entries[0].index
        return self._entries[
            max(0, first_index - start) : max(0, last_index + 1 - start)
        ]

    def read_piece(self, snapshot: Snapshot, offset: int) -> Deferred[bytes]:
        """
        See :meth:`hraftd.interfaces.IStorage.read_piece`.
        """
        if not self._is_loaded:
            return fail(_closed())
        if self._latest is None or self._latest.snapshot != snapshot:
            return fail(
                LookupError(f"there is no snapshot up to {snapshot.last_index}")
            )
        piece = self._latest.pieces.get(offset)
        if piece is None:
            return fail(LookupError(f"no piece of the snapshot begins at {offset}"))
        return succeed(piece)

    def read_entries(
        self, first: int, last: int, max_bytes: int
    ) -> Deferred[Sequence[Entry]]:
        """
        See :meth:`hraftd.interfaces.IStorage.read_entries`.
        """
        if not self._is_loaded:
            return fail(_closed())
        entries: list[Entry] = []
        for entry in self._between(first, last):
            max_bytes -= len(encode_payload(entry.payload))
            if entries and max_bytes < 0:
                break
            entries.append(entry)
        if not entries or entries[0].index != first:
            return fail(LookupError(f"there is no entry {first}"))
        return succeed(entries)

    def close(self) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.close`.
        """
        self._is_loaded = False
        return succeed(None)


def _closed() -> StorageError:
    return StorageError("this storage in memory is closed")

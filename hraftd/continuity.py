"""
What may follow what is stored: entries behind entries, pieces behind pieces.

Both storages refuse what would leave a gap in the log or in a snapshot, and a snapshot
whose content is not what was written. Nothing here knows where things are stored.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.raft.messages import Entry, Piece, Snapshot

__all__ = ["Content", "Ends", "from_last_beginning"]


@frozen
class Ends:
    """
    Where that ends which is saved: the log, and the snapshot that is received.
    """

    #: Index of the log's last entry, or the snapshot's ``last_index`` if the log is
    #: empty; 0 if there is nothing.
    last_index: int = 0
    #: The bytes of all pieces received of the snapshot that is not complete yet.
    received: int = 0

    def after(
        self,
        entries: Sequence[Entry],
        pieces: Sequence[Piece],
        snapshot: Snapshot | None,
        snapshot_index: int,
    ) -> Ends:
        """
        Return what they are once all of this has been saved together.

        :param snapshot_index: the last index of the snapshot that is in force; what
            it stands for cannot be replaced by entries, nor by an older snapshot.
        :raises ValueError: if it does not follow what is there.
        """
        received = self.received
        for piece in pieces:
            received = _end_of(piece, received)
        if snapshot is None:
            last_index = _end_of_log(entries, self.last_index, snapshot_index)
            return Ends(last_index, received)
        if snapshot.size != received:
            raise ValueError(
                f"a snapshot of {snapshot.size} bytes is not complete after {received}"
            )
        if snapshot.last_index < snapshot_index:
            raise ValueError(
                f"a snapshot up to {snapshot.last_index} cannot take the place of one "
                f"up to {snapshot_index}"
            )
        index = snapshot.last_index
        return Ends(_end_of_log(entries, index, index))


def _end_of_log(entries: Sequence[Entry], last_index: int, snapshot_index: int) -> int:
    """
    Return the log's last index once these entries are in it.
    """
    if not entries:
        return last_index
    first_index = entries[0].index
    if not snapshot_index < first_index <= last_index + 1:
        raise ValueError(
            f"entry {first_index} does not follow a log that ends at {last_index}, "
            f"behind a snapshot up to {snapshot_index}"
        )
    for index, entry in enumerate(entries, first_index):
        if entry.index != index:
            raise ValueError(f"entry {entry.index} stands where {index} should")
    return entries[-1].index


def _end_of(piece: Piece, received: int) -> int:
    """
    Return how many bytes there are with this piece.
    """
    if piece.offset not in (0, received):
        raise ValueError(
            f"the piece at {piece.offset} does not follow {received} bytes"
        )
    if not piece.data:
        raise ValueError(f"the piece at {piece.offset} is empty")
    return piece.offset + len(piece.data)


def from_last_beginning(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """
    Return what is left of these if one at offset 0 drops those before.
    """
    beginnings = [n for n, piece in enumerate(pieces) if piece.offset == 0]
    return pieces[beginnings[-1] :] if beginnings else pieces


@frozen(eq=False)
class Content:
    """
    The pieces of one snapshot so far: how long they are, and what they hold.
    """

    size: int = 0
    _digest: blake2b = field(factory=partial(blake2b, digest_size=32))

    def with_piece(self, piece: Piece) -> Content:
        """
        Return this with one more piece; at offset 0, that piece alone.

        :raises ValueError: if it does not follow.
        """
        size = _end_of(piece, self.size)
        digest = (self if piece.offset else Content())._digest.copy()
        digest.update(piece.data)
        return evolve(self, size=size, digest=digest)

    def check(self, snapshot: Snapshot) -> None:
        """
        See that this is what the snapshot is of.

        :raises ValueError: if it is not.
        """
        if self.size != snapshot.size or self._digest.digest() != snapshot.digest:
            raise ValueError(
                f"the {self.size} bytes written are not those of the snapshot up to "
                f"{snapshot.last_index}, which has {snapshot.size}"
            )

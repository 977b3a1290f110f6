"""
Which pieces in a database belong to what: to a snapshot, to one to come, or to none.

Each snapshot's pieces are rows of a *generation* of their own
(:mod:`hraftd.snapshot_tables`). Beside the one in force there can be one that is
being received and one that this server takes itself; what is superseded or given up
is garbage, until it is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from hraftd.continuity import Content
from hraftd.snapshot_tables import StoredSnapshot

if TYPE_CHECKING:
    from hraftd.raft.messages import Piece, Snapshot

__all__ = ["Generations", "Incomplete"]


@frozen
class Incomplete:
    """
    The pieces of a snapshot that is not in force, and may never be.
    """

    generation: int
    content: Content = field(factory=Content)

    def complete(self, snapshot: Snapshot) -> StoredSnapshot:
        """
        Return that snapshot with these pieces.

        :raises ValueError: if they are not its pieces.
        """
        self.content.check(snapshot)
        return StoredSnapshot(self.generation, snapshot)


@define
class Generations:
    """
    What there is, and what of it nobody needs any more.
    """

    #: The snapshot in force, ``None`` if there is none.
    latest: StoredSnapshot | None = None
    received: Incomplete | None = None
    taken: Incomplete | None = None
    #: Those whose pieces are to be deleted.
    garbage: list[int] = field(factory=list)
    #: The largest ever given; numbers are not used twice.
    _last: int = field(init=False)

    @_last.default
    def _last_used(self) -> int:
        return 0 if self.latest is None else self.latest.generation

    @property
    def snapshot(self) -> Snapshot | None:
        """
        The snapshot in force, ``None`` if there is none.
        """
        return None if self.latest is None else self.latest.snapshot

    def extended(self, before: Incomplete | None, piece: Piece) -> Incomplete:
        """
        Return what is incomplete once it has this piece.

        :param before: what there is of it; given up if the piece is at offset 0.
        :raises ValueError: if the piece does not follow.
        """
        content = (before.content if before else Content()).with_piece(piece)
        if before is None or piece.offset == 0:
            self._last += 1
            return Incomplete(self._last, content)
        return Incomplete(before.generation, content)

    def receive(self, incomplete: Incomplete | None) -> None:
        """
        Remember what is being received now, ``None`` if nothing is any more.
        """
        self._give_up(self.received, incomplete)
        self.received = incomplete

    def take(self, incomplete: Incomplete | None) -> None:
        """
        Remember what is being taken now, ``None`` if nothing is any more.
        """
        self._give_up(self.taken, incomplete)
        self.taken = incomplete

    def _give_up(self, before: Incomplete | None, after: Incomplete | None) -> None:
        if before and (after is None or after.generation != before.generation):
            self.garbage.append(before.generation)

    def put_in_force(self, stored: StoredSnapshot) -> None:
        """
        Remember that this snapshot has taken the place of the one before.
        """
        if self.latest is not None:
            self.garbage.append(self.latest.generation)
        self.latest = stored
        # Its pieces are not incomplete any more, and not garbage.
        if self.received and self.received.generation == stored.generation:
            self.received = None
        if self.taken and self.taken.generation == stored.generation:
            self.taken = None

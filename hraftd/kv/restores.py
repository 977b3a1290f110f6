"""
Backups on their way into the store.

A backup comes as commands, one for each of its pieces (:class:`.commands.Restore`), and
is *staged*: nobody sees any of it until the last one puts all of it in place of what
the store holds. What has come is part of the state, so that a server which is restored
from a snapshot, or restarts, goes on in the middle.

The pieces are those of a snapshot, so they are read like one, see
:mod:`hraftd.kv.restoring`; they are kept as well, for snapshots. So while a restore is
under way the store holds its own state, the new one, and the bytes of that. There is
one at a time: who begins another one ends the one before, and one that nobody goes on
with is dropped after :data:`STALE_ENTRIES` entries.

Two things are not taken as they are. An index in a backup belongs to another log, or to
an earlier time of this one; every key gets that of the entry that has begun the
restore, which is no index of any other change. And a deadline is as far from the
restore as it was from the backup.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from attrs import Factory, define

from hraftd.codec import CodecError
from hraftd.kv.results import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hraftd.kv.commands import Restore
    from hraftd.kv.restoring import RecordsRestoration

__all__ = ["STALE_ENTRIES", "Restores"]

#: Entries behind its latest piece after which a restore is given up. It is the same for
#: all nodes and for ever.
STALE_ENTRIES = 100_000

_BEGUN = Struct(">QQQ")


@define
class _Staged:
    """
    One backup, as far as it has come.
    """

    name: str
    #: Of the entry with which it has begun, and the clock at that entry.
    index: int
    clock: int
    #: Of the entry with the latest piece.
    last: int
    restoration: RecordsRestoration
    pieces: list[bytes] = Factory(list)


class Restores:
    """
    What has come of a backup, and which one was the last that came as a whole.
    """

    def __init__(
        self,
        begin: Callable[[int, int], RecordsRestoration],
        drop: Callable[[RecordsRestoration], None],
    ) -> None:
        """
        Begin with none.

        :param begin: called with the index that all keys are to have, and how late it
            is; returns what takes the pieces and, when all have come, puts them in
            place.
        :param drop: called with one of these that is of no use any more.
        """
        self._begin = begin
        self._drop = drop
        self._staged: _Staged | None = None
        #: The name of the last one that is in place.
        self._done = ""

    def take(self, index: int, clock: int, command: Restore) -> Unusable | None:
        """
        Stage a piece, or put all of them in place.

        :param index: of the command's entry.
        :param clock: how late it is.
        """
        name, number, piece = command.name, command.number, command.piece
        if name == self._done:
            # The end, or what is before it, was sent twice.
            return None
        staged = self._staged
        if staged is None or staged.name != name:
            if number:
                return Unusable("this restore was given up, or another one has begun")
            self.give_up()
            staged = _Staged(name, index, clock, index, self._begin(index, clock))
            self._staged = staged
        if number < len(staged.pieces):
            return None
        if number > len(staged.pieces):
            return Unusable("a piece of the backup is missing")
        staged.last = index
        try:
            if piece:
                staged.restoration.add(piece)
                staged.pieces.append(piece)
            else:
                staged.restoration.finish()
                self._staged, self._done = None, name
        except CodecError as error:
            self.give_up()
            return Unusable(f"the backup cannot be restored: {error}")
        return None

    def drop_stale(self, index: int) -> None:
        """
        Give up what nobody has gone on with for long.

        :param index: of the entry that is applied.
        """
        if self._staged is not None and index - self._staged.last > STALE_ENTRIES:
            self.give_up()

    def give_up(self) -> None:
        """
        Drop what has come of a backup, if there is any.
        """
        staged, self._staged = self._staged, None
        if staged is not None:
            self._drop(staged.restoration)

    # Snapshots.

    def view(self) -> Iterator[tuple[str, bytes]]:
        """
        Return all of this as it is now, each part with a name, to be read later.
        """
        parts: list[tuple[str, bytes]] = []
        if self._done:
            parts.append(("done", self._done.encode()))
        staged = self._staged
        if staged is not None:
            begun = _BEGUN.pack(staged.index, staged.clock, staged.last)
            parts.append(("begun", begun + staged.name.encode()))
            parts += (("piece", piece) for piece in staged.pieces)
        return iter(parts)

    def restore(self, what: bytes, part: bytes) -> None:
        """
        Take in the next part of a snapshot.

        :raises CodecError: if it is none.
        """
        match what, self._staged:
            case b"done", None:
                self._done = part.decode("ascii", "replace")
            case b"begun", None if len(part) > _BEGUN.size:
                index, clock, last = _BEGUN.unpack_from(part)
                name = part[_BEGUN.size :].decode("ascii", "replace")
                begun = self._begin(index, clock)
                self._staged = _Staged(name, index, clock, last, begun)
            case b"piece", _Staged() as staged:
                staged.restoration.add(part)
                staged.pieces.append(part)
            case _:
                raise CodecError("a part of a restore is not where it should be")

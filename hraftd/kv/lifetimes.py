"""
Until when keys live, and what time it is for the cluster.

The time here is a number of milliseconds which nothing moves but entries of the log: a
clock that all nodes agree on, and that stands still while nothing is written to it. It
is nobody's time of day; who tells it how much time has passed is in
:mod:`hraftd.expiry`. A key that is set with a lifetime gets a *deadline* by this clock.
What is due is removed by an entry too, never by a look at any other clock, so a key is
there on all nodes or on none at the same index.

As everywhere in the store nothing takes long at once, however many keys have a
deadline. They are kept twice: by key, so that another lifetime takes the place of the
first one and nothing is left behind, and in the order of the deadlines, so that what is
due is found without a look at what is not. The second can be made from the first, so a
snapshot has only that.
"""

from __future__ import annotations

from itertools import islice, takewhile
from typing import TYPE_CHECKING

from hraftd.codec import CodecError
from hraftd.kv.ordered import OrderedRecords

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hraftd.kv.ordered import Leaf

__all__ = ["MAX_MILLISECONDS", "Lifetimes"]

#: More than this no clock tells and no lifetime lasts, so that a deadline always fits
#: into 64 bits.
MAX_MILLISECONDS = 2**63 - 1

#: Bytes of a deadline, and how many hexadecimal digits they are.
_DEADLINE = 8
_DIGITS = 2 * _DEADLINE


class Lifetimes:
    """
    The clock, and the deadline of each key that has one.

    :ivar clock: milliseconds since the cluster had its first key with a lifetime, as
        far as the log tells.
    :ivar count: how many keys have a deadline.
    """

    def __init__(self) -> None:
        """
        Begin with the clock at zero, and no deadlines.
        """
        self.clock = 0
        self.count = 0
        #: By key: the deadline, big-endian.
        self._deadlines = OrderedRecords()
        #: Named by the deadline, of equal length all, and the key behind it.
        self._in_order = OrderedRecords()

    def advance(self, now: int) -> None:
        """
        Let it be so late, if it is not later already.
        """
        self.clock = max(self.clock, now)

    def give(self, key: str, milliseconds: int) -> None:
        """
        Let a key live so long from now on, whatever it was given before.
        """
        self._take_in(key, self.clock + milliseconds)

    def take(self, key: str) -> None:
        """
        Let a key have no deadline.
        """
        before = self._deadlines.get(key)
        if before is not None:
            self._deadlines.remove(key)
            self._in_order.remove(before.hex() + key)
            self.count -= 1

    def _take_in(self, key: str, deadline: int) -> None:
        self.take(key)
        written = deadline.to_bytes(_DEADLINE, "big")
        self._deadlines.put(key, written)
        self._in_order.put(written.hex() + key, b"")
        self.count += 1

    @property
    def next_due(self) -> int | None:
        """
        When the first deadline is; ``None`` if there is none.
        """
        first = self._in_order.first()
        return None if first is None else int(first[:_DIGITS], 16)

    def due(self, limit: int) -> list[str]:
        """
        Return keys whose deadline has come, the first ones first.

        :param limit: how many there may be.
        """
        # Those that are due before the next millisecond.
        end = f"{self.clock + 1:0{_DIGITS}x}"
        names = (name for name, _ in self._in_order.items("", None))
        before = takewhile(lambda name: name < end, names)
        return [name[_DIGITS:] for name in islice(before, limit)]

    # Snapshots.

    def view(self) -> list[Leaf]:
        """
        Return the deadlines by key, as :meth:`.OrderedRecords.view`.
        """
        return self._deadlines.view()

    def read(self, view: list[Leaf]) -> Iterator[tuple[str, bytes]]:
        """
        Yield every key of a view and its deadline, as :meth:`.OrderedRecords.read`.
        """
        return self._deadlines.read(view)

    def end_view(self) -> None:
        """
        Share nothing any more.
        """
        self._deadlines.end_view()

    def restore(self, key: str, deadline: bytes, later: int = 0) -> None:
        """
        Take in a deadline of a snapshot.

        :param later: milliseconds by which it is to be moved.
        :raises CodecError: if it is none, or if the key has one already.
        """
        if len(deadline) != _DEADLINE:
            raise CodecError(f"the deadline of {key[:99]!r} has not {_DEADLINE} bytes")
        if self._deadlines.get(key) is not None:
            raise CodecError(f"the deadline of {key[:99]!r} comes twice")
        moved = int.from_bytes(deadline, "big") + later
        self._take_in(key, min(max(moved, 0), 2 * MAX_MILLISECONDS))

    def release(self) -> list[Leaf]:
        """
        Return all that holds deadlines, so that it can be let go, and have none.
        """
        self.count = 0
        return self._deadlines.release() + self._in_order.release()

"""
Where on the paper a moment is, and which part of a history is worth a picture.

A message takes a millisecond and an election timeout half a second, so with an even
scale either nothing is to be seen of the one or the other needs a wall. The scale is
therefore stretched: between two moments at which something happens there is more room
the more time passes, but ten times as much time takes only some more of it. The order
of things is kept, and :meth:`TimeAxis.ticks` says when what is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import pairwise
from math import log10
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Happening", "TimeAxis", "choose_part"]

#: Of the room between two moments: always, and for each power of ten of a time that is
#: counted in these seconds.
_LEAST, _DECADE, _UNIT = 3.0, 9.0, 0.0002

#: A picture is no longer than that, as far as lines can be told apart.
_LONGEST, _TIGHTEST = 9000.0, 0.35

#: Times in which nothing happens are shown as gaps from so many seconds on.
_GAP = 0.06


@define(init=False)
class TimeAxis:
    """
    Time that runs down a page.
    """

    _times: list[float] = field(init=False)
    _places: list[float] = field(init=False)

    def __init__(self, top: float, first: float, last: float, moments: Iterable[float]):
        """
        Make room for all moments of a part.

        :param top: where the first moment is.
        """
        within = {moment for moment in moments if first < moment < last}
        times = sorted({first, last, *within})
        rooms = [
            _LEAST + _DECADE * log10(1 + (later - earlier) / _UNIT)
            for earlier, later in pairwise(times)
        ]
        factor = min(1.0, max(_TIGHTEST, _LONGEST / max(1.0, sum(rooms))))
        self._times, self._places = times, [top]
        for room in rooms:
            self._places.append(self._places[-1] + room * factor)

    @property
    def first(self) -> float:
        """
        The first moment.
        """
        return self._times[0]

    @property
    def last(self) -> float:
        """
        The last moment.
        """
        return self._times[-1]

    @property
    def bottom(self) -> float:
        """
        Where the last moment is.
        """
        return self._places[-1]

    def place(self, time: float) -> float:
        """
        Return where a moment is; one outside of the part is at its edge.
        """
        times, places = self._times, self._places
        at = bisect_left(times, time)
        if at == len(times):
            return places[-1]
        if times[at] == time or at == 0:
            return places[at]
        share = (time - times[at - 1]) / (times[at] - times[at - 1])
        return places[at - 1] + share * (places[at] - places[at - 1])

    def _time(self, place: float) -> float:
        at = min(max(1, bisect_right(self._places, place)), len(self._places) - 1)
        low, high = self._places[at - 1], self._places[at]
        share = 0.0 if high == low else (place - low) / (high - low)
        return self._times[at - 1] + share * (self._times[at] - self._times[at - 1])

    def ticks(self, distance: float) -> list[tuple[float, str]]:
        """
        Return round times about so far from each other, and how they are written.
        """
        found: list[tuple[float, str]] = []
        place = self._places[0]
        while place < self.bottom - distance / 3:
            # The roundest time in the middle of this stretch.
            low, high = self._time(place), self._time(place + distance * 0.6)
            for digits in range(6):
                step = 10.0**-digits
                number = -(-low // step)
                if number * step <= high:
                    time = number * step
                    found.append((self.place(time), f"{time:.{digits}f}"))
                    place = self.place(time)
                    break
            place += distance
        return found

    def gaps(self) -> list[tuple[float, float, float]]:
        """
        Return where much time passes in little room: from, to, and seconds.
        """
        return [
            (self._places[at - 1], self._places[at], self._times[at] - earlier)
            for at, earlier in enumerate(self._times[:-1], 1)
            if self._times[at] - earlier >= _GAP
        ]


@frozen
class Happening:
    """
    Something that makes a part of a history worth looking at.
    """

    time: float
    kind: str
    weight: float


#: Seconds before the first happening and after the last one.
_BEFORE, _AFTER = 0.012, 0.15

#: Seconds of a part, and messages in it, at most.
_MOST_SECONDS, _MOST_MESSAGES = 2.5, 90


def choose_part(
    happenings: Sequence[Happening],
    sent: Sequence[float],
    violated: float | None,
    last: float,
) -> tuple[float, float]:
    """
    Choose the part of a history that shows most, and can be shown.

    :param happenings: in order.
    :param sent: when each message that is not quiet was sent, and each request of a
        client, in order.
    :param violated: when something was wrong; the part ends there.
    :param last: when the history ends.
    :return: from and to.
    """

    def messages(first: float, end: float) -> int:
        return bisect_right(sent, end) - bisect_left(sent, first)

    if violated is not None:
        first = max(0.0, violated - 1.0)
        if messages(first, violated) > 2 * _MOST_MESSAGES:
            first = sent[bisect_right(sent, violated) - 2 * _MOST_MESSAGES]
        return first, violated
    best, chosen = 0.0, (0.0, min(1.0, last))
    for at, begin in enumerate(happenings):
        kinds: Counter[str] = Counter()
        score = 0.0
        for end in happenings[at:]:
            first, until = begin.time - _BEFORE, end.time + _AFTER
            is_long = until - first > _MOST_SECONDS
            if is_long or messages(first, until) > _MOST_MESSAGES:
                break
            # The second of a kind shows less than the first one.
            score += end.weight * 0.4 ** kinds[end.kind]
            kinds[end.kind] += 1
            if score > best:
                best, chosen = score, (max(0.0, first), min(until, last))
    return chosen

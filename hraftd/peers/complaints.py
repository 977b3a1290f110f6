"""
What goes to the log about strangers, and how often.

Anybody can connect to the Raft port, again and again. What they do wrong there deserves
a line, so that an operator sees it; it must not be able to fill the disk. So for each
stranger and each kind of mistake there are a few lines, and then one a minute, which
says how many were left out. Not more than ``MAX_TOPICS`` topics are told apart: when
strangers come from more hosts than that, the rest share one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

__all__ = ["MAX_TOPICS", "PAUSE_SECONDS", "Complaints"]

#: Seconds between two lines about a topic, once its first few are used up.
PAUSE_SECONDS = 60.0

#: So many topics are told apart.
MAX_TOPICS = 256


@define
class _Topic:
    """
    What may be said about one kind of mistake of one stranger.
    """

    #: How many lines are left, and since when none was added.
    lines: int
    since: float
    #: When it was last heard of.
    heard: float
    left_out: int = 0


class Complaints:
    """
    Lets through a bounded number of lines a minute, and counts the others.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        Begin with nothing to complain about.
        """
        self._clock = clock
        #: By stranger and kind; the one that was heard of longest ago comes first.
        self._topics: OrderedDict[tuple[str, str], _Topic] = OrderedDict()

    def make(
        self, who: str, kind: str, say: Callable[[str], object], *, first: int = 5
    ) -> None:
        """
        Say something, unless enough has been said about it lately.

        :param who: the stranger: its host, and its id if it was accepted.
        :param kind: what it is about, in words that the stranger cannot choose.
        :param say: called with what to put behind the sentence: nothing, or how many
            like it were left out.
        :param first: so many times in a row, and then once in ``PAUSE_SECONDS``.
        """
        topic = self._topic(who, kind, first)
        if topic.lines < 1:
            topic.left_out += 1
            return
        topic.lines -= 1
        left_out, topic.left_out = topic.left_out, 0
        say(f" ({left_out} more like it were not logged)" if left_out else "")

    def _topic(self, who: str, kind: str, first: int) -> _Topic:
        now = self._clock.seconds()
        if (who, kind) not in self._topics:
            self._forget(now)
            if len(self._topics) >= MAX_TOPICS:
                who, kind, first = "", "", 1
        topic = self._topics.setdefault((who, kind), _Topic(first, now, now))
        self._topics.move_to_end((who, kind))
        added = int((now - topic.since) / PAUSE_SECONDS)
        topic.lines = min(first, topic.lines + added)
        topic.since += added * PAUSE_SECONDS
        topic.heard = now
        return topic

    def _forget(self, now: float) -> None:
        """
        Make room for a new topic in place of those that were not heard of lately.
        """
        while len(self._topics) >= MAX_TOPICS:
            oldest, topic = next(iter(self._topics.items()))
            if now - topic.heard < PAUSE_SECONDS:
                return
            del self._topics[oldest]

"""
What happened in a world, for people and for comparing two runs.

A transcript has a line for each thing: when, to whom, what. Whoever has something to
say for it asks :attr:`Transcript.is_open` before making a sentence of it, for most runs
are read by nobody.

Who is meant: a server by its id, a client by its name, ``*`` all of the world, ``ops``
those who run the cluster, ``log`` whatever a server logged, ``!`` what is wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from hraftd.simulator.clock import World

__all__ = ["Line", "Transcript"]

_LARGE = re.compile(r"\.{4,}")


@frozen
class Line:
    """
    One thing that happened.
    """

    #: Seconds since the world began.
    time: float
    who: str
    what: str
    #: As what it was counted, if it was.
    kind: str | None = None

    def __str__(self) -> str:
        """
        Return it as a transcript has it.
        """
        return f"{self.time:9.4f}  {self.who:4}  {self.what}"


@define(eq=False)
class Transcript:
    """
    The lines of one run, and how often what has happened.
    """

    _world: World
    #: Whether lines are kept.
    is_open: bool = False
    said: list[Line] = field(factory=list)
    #: Kinds of things that happened, most of them faults; counted in any case.
    seen: Counter[str] = field(factory=Counter)

    @property
    def lines(self) -> list[str]:
        """
        What was said, to be read.
        """
        return list(map(str, self.said))

    def say(self, who: str, what: str, kind: str | None = None) -> None:
        """
        Add a line.
        """
        if self.is_open:
            # Large values begin with what makes them differ.
            what = _LARGE.sub("...", what)
            self.said.append(Line(self._world.now, who, what, kind))

    def count(self, kind: str, who: str, what: str) -> None:
        """
        Add a line, and one to the number of such things.
        """
        self.seen[kind] += 1
        self.say(who, what, kind)

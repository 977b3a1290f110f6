"""
What happened in a world, for people and for comparing two runs.

A transcript has a line for each thing: when, to whom, what. Whoever has something to
say for it asks :attr:`Transcript.is_open` before making a sentence of it, for most runs
are read by nobody.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from hraftd.simulator.clock import World

__all__ = ["Transcript"]

_LARGE = re.compile(r"\.{4,}")


@define(eq=False)
class Transcript:
    """
    The lines of one run, and how often what has happened.
    """

    _world: World
    #: Whether lines are kept.
    is_open: bool = False
    lines: list[str] = field(factory=list)
    #: Kinds of things that happened, most of them faults; counted in any case.
    seen: Counter[str] = field(factory=Counter)

    def say(self, who: str, what: str) -> None:
        """
        Add a line.
        """
        if self.is_open:
            line = f"{self._world.now:9.4f}  {who:4}  {what}"
            # Large values begin with what makes them differ.
            self.lines.append(_LARGE.sub("...", line))

    def count(self, kind: str, who: str, what: str) -> None:
        """
        Add a line, and one to the number of such things.
        """
        self.seen[kind] += 1
        self.say(who, what)

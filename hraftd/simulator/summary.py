"""
What many schedules came to, as a table.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field

from hraftd.simulator.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hraftd.simulator.runs import Result

__all__ = ["Summary", "duration"]

#: What clients are told of their requests begins with a capital letter; this is what
#: becomes of the others.
_ABANDONED = "abandoned"


def duration(seconds: float) -> str:
    """
    Return how long that is, as people say it.
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


@define
class Summary:
    """
    The sum of some results.
    """

    schedules: int = 0
    #: Of virtual time.
    seconds: float = 0.0
    events: int = 0
    requests: int = 0
    seen: Counter[str] = field(factory=Counter)

    def add(self, result: Result) -> None:
        """
        Take one more into account.
        """
        self.schedules += 1
        self.seconds += result.seconds
        self.events += result.events
        self.requests += result.requests
        self.seen += result.seen

    def lines(self, took: float) -> Iterator[str]:
        """
        Return the table.

        :param took: seconds, of those who waited for it.
        """
        rate = f"{self.schedules / took:.1f} a second" if took else "at once"
        for number, what in (
            (f"{self.schedules}", f"schedules in {duration(took)}, {rate}"),
            (duration(self.seconds), "of virtual time"),
            (f"{self.events}", "events"),
            (f"{self.requests}", "requests of clients"),
        ):
            yield f"{number:>12} {what}"
        groups: dict[str, dict[str, int]] = {
            # How often nothing happened is worth knowing too.
            "faults": dict.fromkeys(KINDS, 0),
            "what became of servers": {},
            "what clients were told": {},
            "what operators were told": {},
        }
        for kind, count in self.seen.items():
            groups[_group_of(kind)][kind] = count
        for heading, counts in groups.items():
            if counts:
                yield f"{heading}:"
            for kind, count in sorted(counts.items()):
                yield f"{count:12} {kind}"


def _group_of(kind: str) -> str:
    if kind in KINDS:
        return "faults"
    if ": " in kind:
        return "what operators were told"
    if kind[0].isupper() or kind == _ABANDONED:
        return "what clients were told"
    return "what became of servers"

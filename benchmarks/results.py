"""
The figures of a run, and what the middle of them is.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measurements import Figures

__all__ = ["Middle", "Results"]


@frozen
class Middle:
    """
    The median of several rounds, and how far they lie apart.
    """

    median: float
    least: float
    most: float


@frozen
class Results:
    """
    What a run has written down.
    """

    record: dict[str, Any]

    def figures(self, measurement: str, system: str) -> list[Figures]:
        """
        Return those of each round that did not fail.
        """
        return [
            turn["figures"]
            for turn in self.record["turns"]
            if (turn["measurement"], turn["system"]) == (measurement, system)
            and "figures" in turn
        ]

    def errors(self) -> Iterator[str]:
        """
        Go through the turns that failed.
        """
        for turn in self.record["turns"]:
            if "error" in turn:
                yield (
                    f"{turn['measurement']} with {turn['system']} in round "
                    f"{turn['round']}: {turn['error']}"
                )

    def systems(self, measurement: str) -> list[str]:
        """
        Return who had a turn at it, in the order of the turns.
        """
        found = [
            turn["system"]
            for turn in self.record["turns"]
            if turn["measurement"] == measurement
        ]
        return list(dict.fromkeys(found))

    def middle(self, measurement: str, system: str, name: str) -> Middle | None:
        """
        Return the median of a figure; ``None`` if no round has it.

        Where a round has several numbers, as of several nodes, the largest counts,
        except of failovers: all of these count.
        """
        values: list[float] = []
        for figures in self.figures(measurement, system):
            match figures.get(name):
                case None:
                    pass
                case list(several) if name == "failover_s":
                    values += several
                case list(several):
                    values.append(max(several))
                case value:
                    values.append(value)
        if not values:
            return None
        return Middle(median(values), min(values), max(values))

    def total(self, measurement: str, system: str, name: str) -> float | None:
        """
        Return the sum of a figure over all rounds; ``None`` if no round has it.
        """
        values = [
            figures[name]
            for figures in self.figures(measurement, system)
            if figures.get(name) is not None
        ]
        return sum(values) if values else None

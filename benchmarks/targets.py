"""
What hraftd wants to reach, each as a ratio within one run, or as a plain limit.

A target of which one side was not measured, or only with fewer keys than it is about,
is neither met nor missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.results import Results

__all__ = ["TARGETS", "Outcome", "Target", "outcomes"]

_MANY = 1_000_000


@frozen
class Target:
    """
    Something to be reached.
    """

    title: str
    limit: float
    #: Whether more is better.
    is_least: bool
    unit: str
    value: Callable[[Results], float | None]

    def is_met(self, value: float) -> bool:
        """
        Whether that is good enough.
        """
        return value >= self.limit if self.is_least else value < self.limit

    @property
    def wanted(self) -> str:
        """
        The limit in words.
        """
        if not self.is_least and self.limit == 1 and self.unit == "elections":
            return "none"
        words = "at least" if self.is_least else "less than"
        return f"{words} {self.limit:g} {self.unit}".rstrip()


@frozen
class Outcome:
    """
    What became of a target.
    """

    target: Target
    value: float | None

    @property
    def verdict(self) -> str:
        """
        Yes, no, or neither.
        """
        if self.value is None:
            return "not measured"
        return "yes" if self.target.is_met(self.value) else "**no**"


def _ratio(
    upper: tuple[str, str], lower: tuple[str, str], figure: str = "rate"
) -> Callable[[Results], float | None]:
    """
    Return how to divide the medians of one figure of two measurements.

    :param upper: a measurement and a system.
    """

    def value(results: Results) -> float | None:
        one = results.middle(*upper, figure)
        other = results.middle(*lower, figure)
        if one is None or other is None or not other.median:
            return None
        return one.median / other.median

    return value


def _against(measurement: str, system: str) -> Callable[[Results], float | None]:
    return _ratio((measurement, "hraftd"), (measurement, system))


def _many_keys(results: Results) -> bool:
    figures = results.figures("keys-1000000", "hraftd")
    return bool(figures) and all(each["keys"] >= _MANY for each in figures)


def _keys_ratio(results: Results) -> float | None:
    ratio = _ratio(("keys-1000000", "hraftd"), ("keys-1000", "hraftd"))
    return ratio(results) if _many_keys(results) else None


def _memory(results: Results) -> float | None:
    middle = results.middle("keys-1000000", "hraftd", "filled_mb")
    return middle.most if middle is not None and _many_keys(results) else None


def _recovery(results: Results) -> float | None:
    figures = results.figures("recovery", "hraftd")
    if not figures or any(each["entries"] < _MANY for each in figures):
        return None
    middle = results.middle("recovery", "hraftd", "recovery_s")
    return None if middle is None else middle.median


def _elections(results: Results) -> float | None:
    counts = [
        count
        for name in ("writes-128", "nodes-3", "keys-1000")
        if (count := results.total(name, "hraftd", "elections")) is not None
    ]
    return sum(counts) if counts else None


TARGETS: Sequence[Target] = (
    Target(
        "Writes on 128 connections, against etcd",
        4.5,
        True,
        "times",
        _against("writes-128", "etcd"),
    ),
    Target(
        "Writes on 32 connections, against etcd",
        3.5,
        True,
        "times",
        _against("writes-32", "etcd"),
    ),
    Target(
        "Writes on 1 connection, against etcd",
        1.1,
        True,
        "times",
        _against("writes-1", "etcd"),
    ),
    Target(
        "99th percentile of writes on 128, against etcd",
        0.5,
        False,
        "times",
        _ratio(("writes-128", "hraftd"), ("writes-128", "etcd"), "p99_ms"),
    ),
    Target(
        "Local reads, against etcd's serializable ones",
        10,
        True,
        "times",
        _against("reads", "etcd"),
    ),
    Target(
        "Local reads, against bare twisted.web",
        3.8,
        True,
        "times",
        _against("reads", "twisted.web"),
    ),
    Target(
        "Linearizable reads, against etcd",
        5,
        True,
        "times",
        _against("linearizable", "etcd"),
    ),
    Target(
        "Keys each second, 100 in a body against 1, on 128",
        20,
        True,
        "times",
        _ratio(("bodies-128", "hraftd"), ("writes-128", "hraftd"), "keys_per_second"),
    ),
    Target(
        "Writes with 5 nodes, against 3",
        0.6,
        True,
        "times",
        _ratio(("nodes-5", "hraftd"), ("nodes-3", "hraftd")),
    ),
    Target(
        "Writes with 1,000,000 keys, against 1,000", 0.85, True, "times", _keys_ratio
    ),
    Target(
        "Elections under writes on 128, in all rounds",
        1,
        False,
        "elections",
        _elections,
    ),
    Target(
        "Memory of any node with 1,000,000 keys of 100 B", 500, False, "MB", _memory
    ),
    Target("Start with 1,000,000 entries", 8, False, "s", _recovery),
)


def outcomes(results: Results) -> list[Outcome]:
    """
    Return what became of each target.
    """
    return [Outcome(target, target.value(results)) for target in TARGETS]

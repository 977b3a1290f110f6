"""
The figures of a run as tables of words, and these as text and reStructuredText.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

from attrs import frozen

from benchmarks.load import Load
from benchmarks.loads import GROUPS
from benchmarks.overload import PHASES
from benchmarks.targets import outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Middle, Results

__all__ = ["Table", "number", "tables"]


@frozen
class Table:
    """
    A heading and rows of words; the first row names the columns.
    """

    title: str
    rows: Sequence[Sequence[str]]

    def as_text(self) -> str:
        """
        Return it for a terminal.
        """
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in self.rows
        ]
        return "\n".join([self.title, "=" * len(self.title), *lines])

    def as_rst(self) -> str:
        """
        Return it for the documentation.
        """
        lines = [f".. list-table:: {self.title}", "   :header-rows: 1", ""]
        for row in self.rows:
            # A dash would begin a list, and nothing would end this one.
            first, *others = ("\\-" if cell in ("", "-") else cell for cell in row)
            lines.append(f"   * - {first}")
            lines += [f"     - {cell}" for cell in others]
        return "\n".join(lines)


def number(value: float | None) -> str:
    """
    Return three digits of a number, or a dash.
    """
    if value is None:
        return "-"
    for digits in (0, 1, 2):
        if abs(value) >= 100 / 10**digits:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def _range(middle: Middle | None) -> str:
    if middle is None:
        return "-"
    if middle.least == middle.most:
        return number(middle.median)
    return f"{number(middle.median)} ({number(middle.least)} to {number(middle.most)})"


def _median(middle: Middle | None) -> str:
    return number(None if middle is None else middle.median)


#: What went wrong in a load, and what the tables call it.
_FAULTS = {
    "bad": "answered with an error",
    "socket_errors": "connections broken",
    "timeouts": "later than 5 s",
    "elections": "elections",
}


def _faults(results: Results, measurement: str, system: str) -> str:
    """
    Return what went wrong, in all rounds together.
    """
    totals = {
        words: results.total(measurement, system, name)
        for name, words in _FAULTS.items()
    }
    found = [f"{total:,.0f} {words}" for words, total in totals.items() if total]
    return ", ".join(found) or "nothing"


def _loads(results: Results, title: str, loads: Sequence[Load]) -> Table | None:
    are_bodies = any(load.keys_per_body > 1 for load in loads)
    rate = "keys_per_second" if are_bodies else "rate"
    rows = [
        (
            "load",
            "system",
            "keys a second" if are_bodies else "requests a second",
            "p50 ms",
            "p99 ms",
            "CPU us a request",
            "MB",
            "went wrong",
        )
    ]
    for load in loads:
        for system in results.systems(load.name):
            cells = (
                _range(results.middle(load.name, system, rate)),
                *(
                    _median(results.middle(load.name, system, name))
                    for name in ("p50_ms", "p99_ms", "cpu_us", "rss_mb")
                ),
                _faults(results, load.name, system),
            )
            rows.append((load.title, system, *cells))
    return Table(title, rows) if len(rows) > 1 else None


def _targets(results: Results) -> Table:
    rows = [("target", "wanted", "measured", "met")]
    for outcome in outcomes(results):
        target = outcome.target
        measured = number(outcome.value)
        if outcome.value is not None and target.unit != "elections":
            measured = f"{measured} {target.unit}"
        rows.append((target.title, target.wanted, measured, outcome.verdict))
    return Table("What hraftd wants to reach", rows)


def _seconds(results: Results, name: str, figure: str, title: str) -> Table | None:
    rows = [("system", "median s", "shortest s", "longest s")]
    for system in results.systems(name):
        middle = results.middle(name, system, figure)
        if middle is not None:
            values = (middle.median, middle.least, middle.most)
            rows.append((system, *map(number, values)))
    return Table(title, rows) if len(rows) > 1 else None


def _middle_of(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return number(median(known) if known else None)


def _phase(system: str, name: str, phases: Sequence[dict[str, Any]]) -> list[str]:
    statuses: Counter[str] = Counter()
    for phase in phases:
        statuses.update(phase["statuses"])
    told = sum(phase["with_retry_after"] for phase in phases)
    words = [f"{count:,} with {status}" for status, count in sorted(statuses.items())]
    if told:
        words.append(f"{told:,} of them say when to try again")
    if broken := sum(phase["broken"] for phase in phases):
        words.append(f"{broken:,} connections broken")
    if elections := sum(phase["elections"] or 0 for phase in phases):
        words.append(f"{elections:,} elections")
    most = max(most for phase in phases for _, most in phase["memory_mb"])
    return [
        name,
        system,
        *(
            _middle_of([phase[figure] for phase in phases])
            for figure in ("accepted_per_second", "p50_ms", "p99_ms", "max_ms")
        ),
        number(most),
        _middle_of([phase["recovered_s"] for phase in phases]),
        ", ".join(words) or "none",
    ]


def _overload(results: Results) -> Table | None:
    rows: list[Sequence[str]] = [
        (
            "phase",
            "system",
            "accepted a second",
            "p50 ms",
            "p99 ms",
            "longest ms",
            "most MB",
            "writes again after s",
            "answers",
        )
    ]
    for name in PHASES:
        for system in results.systems("overload"):
            if figures := results.figures("overload", system):
                phases = [each["phases"][name] for each in figures]
                rows.append(_phase(system, name, phases))
    title = "2,000 connections of writes, accepted and refused"
    return Table(title, rows) if len(rows) > 1 else None


def tables(results: Results) -> list[Table]:
    """
    Return all tables of which anything was measured, the targets first.
    """
    found: list[Table | None] = [_targets(results)]
    for title, group in GROUPS.items():
        loads = [each for each in group if isinstance(each, Load)]
        if loads:
            found.append(_loads(results, title, loads))
    found.append(
        _seconds(
            results, "failover", "failover_s", "From kill -9 of the leader to a write"
        )
    )
    entries = [each["entries"] for each in results.figures("recovery", "hraftd")]
    found.append(
        _seconds(
            results,
            "recovery",
            "recovery_s",
            f"Start with {max(entries, default=0):,} entries, until ready",
        )
    )
    found.append(_overload(results))
    return [table for table in found if table is not None]

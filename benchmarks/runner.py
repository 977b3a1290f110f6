"""
Rounds: in each of them, each system has its turn at each measurement.

What came of a turn is written down at once, so that a run that is ended early still
says what it has seen. A turn that fails is written down as well, and the run goes on.
"""

from __future__ import annotations

import json
import time
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Any

from attrs import frozen

from benchmarks.asking import Unanswered
from benchmarks.load import Load
from benchmarks.machine import describe_machine
from benchmarks.systems.cluster import System, why_no_delay
from benchmarks.wrk import INSTALL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.measurements import Figures, Measurement, Trial

__all__ = ["Plan", "carry_out", "summary_line", "what_is_missing"]


@frozen
class Plan:
    """
    What to measure, with whom, and how often.
    """

    measurements: tuple[Measurement, ...]
    systems: tuple[System, ...]
    rounds: int
    trial: Trial

    def turns(self) -> list[tuple[int, Measurement, System]]:
        """
        Return all turns in their order: neighbours differ only in the system.
        """
        return [
            (number, measurement, system)
            for number in range(1, self.rounds + 1)
            for measurement in self.measurements
            for system in self.systems
            if system.name in measurement.systems
        ]


def what_is_missing(
    plan: Plan, has_wrk: bool, why_no_delay: Callable[[], str | None] = why_no_delay
) -> tuple[Plan, list[str]]:
    """
    Return what can be done here, and a line for each part that cannot.
    """
    lines = []
    systems = []
    for system in plan.systems:
        if (missing := system.why_missing()) is None:
            systems.append(system)
        else:
            lines.append(f"without {system.name}: {missing}")
    measurements = plan.measurements
    if not has_wrk and any(isinstance(each, Load) for each in measurements):
        lines.append(f"without loads: {INSTALL}")
        measurements = tuple(
            each for each in measurements if not isinstance(each, Load)
        )
    if any(each.setting.is_slow for each in measurements) and (why := why_no_delay()):
        lines.append(f"without slow disks: {why}")
        measurements = tuple(each for each in measurements if not each.setting.is_slow)
    return Plan(measurements, tuple(systems), plan.rounds, plan.trial), lines


def carry_out(
    plan: Plan, skipped: Sequence[str], file: Path, say: Callable[[str], object]
) -> dict[str, Any]:
    """
    Do all turns; return what is in the file afterwards.

    :param skipped: lines about what is not done, for the file.
    :param say: is told what happens, line by line.
    """
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(plan.trial.folder),
        "versions": {system.name: system.version() for system in plan.systems},
        "skipped": list(skipped),
        "rounds": plan.rounds,
        "seconds": plan.trial.seconds,
        "most_keys": plan.trial.most_keys,
        "turns": [],
    }
    turns = plan.turns()
    file.parent.mkdir(parents=True, exist_ok=True)
    for place, (number, measurement, system) in enumerate(turns, 1):
        where = f"{place}/{len(turns)} {measurement.name} {system.name}"
        turn: dict[str, Any] = {
            "round": number,
            "measurement": measurement.name,
            "system": system.name,
        }
        try:
            figures = measurement.measure(system, plan.trial)
        except (Unanswered, ValueError, OSError, SubprocessError) as error:
            turn["error"] = f"{type(error).__name__}: {error}"
            say(f"{where}: failed: {error}")
        else:
            turn["figures"] = figures
            say(f"{where}: {summary_line(figures)}")
        record["turns"].append(turn)
        _write(file, record)
    return record


def _write(file: Path, record: dict[str, Any]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    new.replace(file)


def summary_line(figures: Figures) -> str:
    """
    Return the little that is worth a line while a run goes on.
    """
    match figures:
        case {"rate": rate, "p99_ms": p99}:
            faults = {
                name: figures[name]
                for name in ("bad", "socket_errors", "timeouts", "elections")
                if figures[name]
            }
            said = "".join(f", {name}: {count}" for name, count in faults.items())
            return f"{rate:,.0f}/s, p99 {p99:.1f} ms{said}"
        case {"failover_s": times}:
            return ", ".join(f"{seconds:.2f}" for seconds in times) + " s"
        case {"recovery_s": seconds, "ready_mb": megabytes}:
            return f"{seconds:.2f} s, {megabytes:.0f} MB"
        case {"phases": phases}:
            return "; ".join(
                f"{name}: {phase['accepted_per_second']:,.0f}/s, {phase['statuses']}"
                for name, phase in phases.items()
            )
        case _:
            return str(figures)

"""
Measure hraftd and others side by side, and write tables and plots.

Without names everything is measured and docs/benchmarks is written anew; a run of a
part, or a quick one, goes to build/benchmarks unless --output says something else.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.loads import GROUPS, MEASUREMENTS
from benchmarks.measurements import Trial
from benchmarks.processes import ROOT, allow_many_files
from benchmarks.report import as_text, write_report
from benchmarks.results import Results
from benchmarks.runner import Plan, carry_out, what_is_missing
from benchmarks.systems import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

__all__ = ["main"]

_QUICK_ROUNDS, _QUICK_SECONDS, _QUICK_KEYS = 1, 1.0, 20_000


def _number(text: str) -> float:
    number = float(text)
    if not number >= 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _rounds(text: str) -> int:
    return int(_number(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="measure only these; see --list")
    add("--only", nargs="+", default=[], metavar="NAME", help="the same")
    add("--systems", nargs="+", metavar="SYSTEM", help=f"of: {', '.join(SYSTEMS)}")
    add("--rounds", type=_rounds, default=5, help="turns of each system [5]")
    add("--seconds", type=_number, default=8.0, help="of each load [8]")
    add(
        "--quick",
        action="store_true",
        help="one round of one second, and no more than "
        f"{_QUICK_KEYS:,} keys: to see whether it works",
    )
    add("--data", type=Path, metavar="DIR", help="where clusters write [/tmp]")
    add("--output", type=Path, metavar="DIR", help="of figures, tables and plots")
    add("--list", action="store_true", help="print the names, and do nothing")
    add(
        "--report-only",
        type=Path,
        metavar="JSON",
        help="measure nothing; make tables and plots of these figures",
    )
    return parser


def _check(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """
    End with a line about the first name that nothing has.
    """
    for name in names:
        if name not in known:
            sys.exit(f"benchmarks: {name!r} is none of the {what}: {', '.join(known)}")


def _list() -> str:
    lines = []
    for heading, group in GROUPS.items():
        lines.append(heading)
        lines += [f"  {each.name:<14}{each.title}" for each in group]
    return "\n".join(lines)


def _plan(given: argparse.Namespace) -> Plan:
    names = [*given.names, *given.only] or list(MEASUREMENTS)
    systems = given.systems or list(SYSTEMS)
    _check("measurements", names, MEASUREMENTS)
    _check("systems", systems, SYSTEMS)
    # In the order of the lists, whatever was typed.
    return Plan(
        tuple(each for name, each in MEASUREMENTS.items() if name in names),
        tuple(each for name, each in SYSTEMS.items() if name in systems),
        _QUICK_ROUNDS if given.quick else given.rounds,
        Trial(
            _QUICK_SECONDS if given.quick else given.seconds,
            given.data,
            _QUICK_KEYS if given.quick else None,
        ),
    )


def _folder(given: argparse.Namespace) -> Path:
    is_part = given.quick or given.names or given.only or given.systems
    if given.output is not None:
        folder: Path = given.output
        return folder
    return ROOT / ("build" if is_part else "docs") / "benchmarks"


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _report_only(file: Path, folder: Path | None) -> int:
    try:
        results = Results(json.loads(file.read_text("utf-8")))
        text = as_text(results)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"benchmarks: {file} holds no figures of a run: {error!r}")
    write_report(results, file.parent if folder is None else folder)
    print(text)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do as the command line says.
    """
    given = _parser().parse_args(arguments)
    if given.list:
        print(_list())
        return 0
    if given.report_only is not None:
        return _report_only(given.report_only, given.output)
    if not sys.platform.startswith("linux"):
        sys.exit("benchmarks: needs Linux, which tells in /proc what processes use")
    given.data = Path("/tmp") if given.data is None else given.data
    if not given.data.is_dir():
        sys.exit(f"benchmarks: --data {given.data} is no folder")
    plan, skipped = what_is_missing(_plan(given), shutil.which("wrk") is not None)
    for line in skipped:
        print(line, flush=True)
    if not plan.turns():
        sys.exit("benchmarks: there is nothing left to measure")
    allow_many_files()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    folder = _folder(given)
    file = folder / "results.json"
    try:
        record = carry_out(plan, skipped, file, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print(f"\nended early; all turns until then are in {file}")
        return 130
    write_report(Results(record), folder)
    print(f"\n{as_text(Results(record))}\n\nwritten to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

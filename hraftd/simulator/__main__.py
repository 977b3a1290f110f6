"""
``python -m hraftd.simulator``: run many schedules, and tell of the first that fails.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from twisted.logger import globalLogBeginner

from hraftd.simulator.schedule import Schedule, ScheduleFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 3600:
        raise ValueError
    return seconds


def _read(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        prog="python -m hraftd.simulator",
        description="Run clusters in virtual time, with every fault there is, and "
        "check what they do after each event.",
    )
    parser.add_argument(
        "--seed", type=int, help="of the first schedule; a new one if not given"
    )
    parser.add_argument(
        "--schedules", type=_positive, default=20, help="how many (%(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=10.0,
        help="of virtual time, before everything heals (%(default)g)",
    )
    parser.add_argument(
        "--servers", type=_positive, help="how many; the seed decides if not given"
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="write down there what happens"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """
    Run what is asked for.

    :return: the status of the process: 1 if a schedule failed.
    """
    options = _read(arguments)
    # What servers log is a part of the transcript, and of no use elsewhere.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    first = SystemRandom().randrange(10**9) if options.seed is None else options.seed
    seen: Counter[str] = Counter()
    events = operations = 0
    if options.trace is not None:
        options.trace.write_text("")
    for seed in range(first, first + options.schedules):
        schedule = Schedule(
            seed,
            seconds=options.seconds,
            servers=options.servers,
            is_traced=options.trace is not None,
        )
        failure: ScheduleFailed | None = None
        try:
            schedule.run()
        except ScheduleFailed as error:
            failure = error
        if options.trace is not None:
            with options.trace.open("a") as file:
                file.writelines(
                    f"{line}\n" for line in [f"seed {seed}", *schedule.transcript.lines]
                )
        if failure is not None:
            sys.stdout.write(f"{failure}\n")
            return 1
        seen += schedule.transcript.seen
        events += schedule.world.events
        operations += len(schedule.clients.operations)
    sys.stdout.write(
        f"seeds {first} to {first + options.schedules - 1}: nothing wrong in {events} "
        f"events and {operations} requests of clients\n"
    )
    for kind, count in sorted(seen.items()):
        sys.stdout.write(f"{count:9} {kind}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""
The long run; see :mod:`tests.fuzz`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from twisted.logger import globalLogBeginner

from .answers import Answers
from .bytes_read import READERS, read_at_random
from .command_lines import parse_at_random
from .frames import Frames
from .requests import Requests

if TYPE_CHECKING:
    from collections.abc import Callable

#: After so many all is there that is made once: caches, and objects kept for use again.
_WARM_UP = 5000


def _resident() -> float:
    """
    Return how many megabytes of memory this process has; 0 where nothing says so.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 1e6


def _measured(what: str, number: int, target: Frames | Answers | Requests) -> None:
    """
    Send so many, and say how that went.
    """
    target.send(min(number, _WARM_UP))
    rest = number - target.sent
    if rest <= 0:
        print(f"{target.sent} {what}: too few to measure anything")
        return
    target.growth.begin()
    before, began = _resident(), time.monotonic()
    target.send(rest)
    seconds = time.monotonic() - began
    print(
        f"{target.sent} {what}: {rest / seconds:.0f} a second; since the first "
        f"{_WARM_UP} {target.growth.objects():+d} objects, "
        f"{_resident() - before:+.1f} MB",
        flush=True,
    )


def _timed(what: str, number: int, run: Callable[[], object]) -> None:
    began = time.monotonic()
    told = run()
    seconds = time.monotonic() - began
    print(f"{number} {what}: {number / seconds:.0f} a second; {told}", flush=True)


def main() -> int:
    """
    Do as the command line says.
    """
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=0)
    parser.add_argument("--answers", type=int, default=0)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--reads", type=int, default=0, help="for each that decodes")
    parser.add_argument("--command-lines", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of an attempt")
    given = parser.parse_args()
    seed = SystemRandom().randrange(10**9) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    # Until somebody listens, the last 65,536 lines are kept for whoever will.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    if given.frames:
        frames = Frames(seed, given.first)
        _measured("frames", given.frames, frames)
        print(f"    {frames.dropped} connections were closed for what was sent")
    if given.answers:
        answers = Answers(seed, given.first)
        _measured("answers", given.answers, answers)
        print(f"    {answers.answered} of what was asked was answered")
    if given.requests:
        requests = Requests(seed, given.first)
        _measured("requests", given.requests, requests)
        told = ", ".join(
            f"{n} of {code}" for code, n in sorted(requests.statuses.items())
        )
        print(f"    answers: {told}")
    if given.reads:
        attempts = given.reads * len(READERS)
        _timed(
            "byte strings",
            attempts,
            lambda: f"taken: {read_at_random(seed, given.reads, given.first)}",
        )
    if given.command_lines:
        _timed(
            "command lines",
            given.command_lines,
            lambda: (
                f"{parse_at_random(seed, given.command_lines, given.first)} of them "
                "would run something"
            ),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""
Runs, one after the other, each with other faults; see :mod:`tests.faults`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from random import Random, SystemRandom
from traceback import print_exc

from tests.integration.installed import check_installed

from .kinds import KINDS, why_not
from .run import Plan, carry_out


def _plan(seed: int, given: argparse.Namespace, kinds: list[str]) -> Plan:
    """
    Return a run of its own for each seed: not each has all kinds of faults.
    """
    rng = Random(seed)
    chosen = [kind for kind in kinds if rng.random() < 0.5] or [rng.choice(kinds)]
    nodes = rng.choice([3, 3, 5])
    return Plan(
        seed,
        kinds if given.kinds else chosen,
        given.nodes or nodes,
        given.run_seconds,
    )


def main() -> int:
    """
    Do as the command line says; return 1 after the first run that fails.
    """
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, help="go on for that long")
    parser.add_argument("--runs", type=int, help="do that many")
    parser.add_argument("--seed", type=int, help="of the first run; others count up")
    parser.add_argument("--nodes", type=int, help="in each run, not 3 or 5")
    parser.add_argument("--run-seconds", type=float, default=25.0, help="each run")
    parser.add_argument("--kinds", help=f"with commas, of: {', '.join(KINDS)}")
    given = parser.parse_args()
    if unknown := set((given.kinds or "killed").split(",")) - set(KINDS):
        parser.error(f"no such kinds: {', '.join(sorted(unknown))}")
    if given.seconds is None and given.runs is None:
        given.runs = 1
    check_installed()
    kinds = []
    for kind in given.kinds.split(",") if given.kinds else KINDS:
        if (missing := why_not(kind)) is None:
            kinds.append(kind)
        else:
            print(f"without {kind}: it {missing}")
    first = SystemRandom().randrange(10**9) if given.seed is None else given.seed
    end = time.monotonic() + (given.seconds or float("inf"))
    for number in count():
        if number == given.runs or time.monotonic() > end:
            print(f"{number} runs, all well")
            return 0
        plan = _plan(first + number, given, kinds)
        directory = Path(tempfile.mkdtemp(prefix="hraftd-faults-"))
        print(plan, flush=True)
        try:
            print(f"    {carry_out(plan, directory)}", flush=True)
        except BaseException:
            print_exc()
            print(f"what the nodes logged is in {directory}; to try again:\n{plan}")
            return 1
        # Only what a run has left that went wrong is worth a look.
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())

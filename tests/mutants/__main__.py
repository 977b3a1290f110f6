"""
``python -m tests.mutants``: run the simulator against each mutant.

The status is 1 if one survives. ``--write`` puts what it took into ``found.txt`` and
into the table of ``docs/mutants.rst``; ``--kept`` begins with the schedules that are
kept there, which is much faster as long as they are the same histories.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.mutants.catalogue import MUTANTS
from tests.mutants.found import Found, read_found, write_found
from tests.mutants.planting import check_goes_well, check_up_to_date, hunt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.catalogue import Mutant


def main(arguments: Sequence[str]) -> int:
    """
    Run what is asked for.

    :return: the status of the process.
    """
    parser = ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all if not given")
    parser.add_argument(
        "--schedules", type=int, default=400, help="for each, at most (%(default)s)"
    )
    parser.add_argument(
        "--first-seed", type=int, default=0, help="of each (%(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="at a time (%(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="keep what it took")
    parser.add_argument(
        "--kept",
        action="store_true",
        help="run the schedule first that is kept, and without the mutant as well",
    )
    options = parser.parse_args(arguments)
    mutants = [
        mutant
        for mutant in MUTANTS
        if not options.names or any(name in mutant.name for name in options.names)
    ]
    for mutant in mutants:
        check_up_to_date(mutant)
    found = {one.name: one for one in read_found()}
    survivors = 0

    def look(mutant: Mutant) -> Found | None:
        if options.kept and mutant.name in found:
            kept = found[mutant.name]
            check_goes_well(mutant, kept.seed)
            if hunt(mutant, kept.seed, 1).seed is not None:
                return kept
        verdict = hunt(mutant, options.first_seed, options.schedules)
        if verdict.seed is None:
            return None
        return Found(mutant.name, verdict.seed, verdict.schedules, verdict.sentence)

    with ThreadPoolExecutor(options.jobs) as threads:
        for mutant, one in zip(mutants, threads.map(look, mutants), strict=True):
            if one is None:
                survivors += 1
                sys.stdout.write(f"SURVIVES {options.schedules}: {mutant.name}\n")
            else:
                found[mutant.name] = one
                sys.stdout.write(f"{one.schedules:4} schedules: {mutant.name}\n")
            sys.stdout.flush()
    if options.write:
        write_found([found[one.name] for one in MUTANTS if one.name in found])
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""
How a bug is planted, and how many schedules it takes until it is seen.

A process that is to have a bug imports the module in question through
:class:`_Planter`, which changes its text before it is compiled; everything else is as
it is. So each bug needs a process of its own, and the files are never touched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from tests.mutants.catalogue import MUTANTS, Mutant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

__all__ = ["Verdict", "check_goes_well", "check_up_to_date", "hunt"]

#: Seconds that a schedule may take, on a machine that has other things to do.
PATIENCE = 20


@frozen
class Verdict:
    """
    What became of one mutant.
    """

    #: How many schedules were run.
    schedules: int
    #: The one that failed; ``None`` if all went well.
    seed: int | None
    #: What was wrong.
    sentence: str


def check_up_to_date(mutant: Mutant) -> None:
    """
    Make sure that there is exactly one place where this bug can be planted.

    :raises AssertionError: if not.
    """
    spec = find_spec(mutant.module)
    assert spec is not None, f"there is no {mutant.module}"
    assert spec.origin is not None
    count = Path(spec.origin).read_text("utf-8").count(mutant.right)
    assert count == 1, (
        f"what is to be replaced is {count} times in {mutant.module}; bring the mutant "
        "up to date"
    )


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        # Not from the cache of what was compiled, nor into it.
        text = Path(self.path).read_text("utf-8")
        wrong = text.replace(self._mutant.right, self._mutant.wrong)
        return compile(wrong, self.path, "exec", dont_inherit=True)


class _Planter(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


def hunt(mutant: Mutant, first_seed: int, schedules: int) -> Verdict:
    """
    Run schedules, in another process, until the bug shows.

    :raises RuntimeError: if it is not known what came of it.
    """
    return _run(mutant, first_seed, schedules, "planted")


def check_goes_well(mutant: Mutant, seed: int) -> None:
    """
    Run a schedule without the bug.

    :raises RuntimeError: if anything is wrong.
    """
    verdict = _run(mutant, seed, 1, "right")
    if verdict.seed is not None:
        raise RuntimeError(f"seed {seed} fails without it: {verdict.sentence}")


def _run(mutant: Mutant, first_seed: int, schedules: int, how: str) -> Verdict:
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.mutants.planting",
            *map(str, (MUTANTS.index(mutant), first_seed, schedules, how)),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE * (schedules + 1),
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"the hunt itself failed\n{process.stderr[-3000:]}")
    return Verdict(**json.loads(process.stdout))


def _run_here(mutant: Mutant, first_seed: int, schedules: int, how: str) -> Verdict:
    """
    Plant the bug in this process if that is wanted, and run schedules until one fails.
    """
    if how == "planted":
        assert mutant.module not in sys.modules, "it is too late to plant anything"
        sys.meta_path.insert(0, _Planter(mutant))
    from twisted.logger import globalLogBeginner

    from hraftd.simulator.schedule import Schedule, ScheduleFailed

    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    for seed in range(first_seed, first_seed + schedules):
        try:
            Schedule(seed, only=mutant.only).run()
        except ScheduleFailed as failure:
            wrong = failure.__cause__
            sentence = f"{type(wrong).__name__}: {wrong}"
            return Verdict(seed - first_seed + 1, seed, sentence[:300])
    return Verdict(schedules, None, "")


def _main(number: str, first_seed: str, schedules: str, how: str) -> None:
    verdict = _run_here(MUTANTS[int(number)], int(first_seed), int(schedules), how)
    sys.stdout.write(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    _main(*sys.argv[1:])

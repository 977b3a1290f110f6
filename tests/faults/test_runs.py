"""
Runs short enough for every change: two minutes for all of them.
"""

from __future__ import annotations

import os
import sys
from random import SystemRandom
from typing import TYPE_CHECKING

import pytest

from tests.integration.installed import check_installed

from .kinds import KINDS, why_not
from .run import Plan, carry_out

if TYPE_CHECKING:
    from pathlib import Path

FIRST_SEED = int(
    os.environ.get("HRAFTD_FAULTS_SEED") or SystemRandom().randrange(10**9)
)
SECONDS = float(os.environ.get("HRAFTD_FAULTS_SECONDS") or 8)

#: Kinds of faults that one run has, and how many nodes.
RUNS = {
    "kill": (["killed"], 3),
    "pause": (["frozen", "handed_over"], 3),
    "partition": (["parted", "one_way", "bridged"], 5),
    "wire": (["slowed", "torn"], 3),
    "disk": (["filled"], 3),
    "clock": (["jumped"], 3),
    "change": (["removed", "restarted"], 3),
    "all": ([kind for kind in KINDS if kind != "jumped"], 3),
}


pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="needs SIGSTOP, which Windows has not"
)


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    """
    Refuse to test anything but this checkout.
    """
    check_installed()


@pytest.mark.parametrize("name", RUNS)
def test_run(name: str, tmp_path: Path) -> None:
    """
    Whatever happens, what clients saw is linearizable, what was answered 200 is there
    and what was declined is not; healed, all nodes become alike (redisraft 14, 28, 44).
    """
    kinds, nodes = RUNS[name]
    missing = {kind: why for kind in kinds if (why := why_not(kind)) is not None}
    can = [kind for kind in kinds if kind not in missing]
    if not can:
        pytest.skip(f"{name} {next(iter(missing.values()))}")
    plan = Plan(FIRST_SEED + list(RUNS).index(name), can, nodes, SECONDS)
    # Shown if it fails.
    print(f"what the nodes log is in {tmp_path}; to try again: {plan}")
    report = carry_out(plan, tmp_path)
    print(report)
    assert report.faults
    # Or else nobody looked while there were faults.
    assert report.operations > 50

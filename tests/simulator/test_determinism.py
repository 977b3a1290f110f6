"""
The same seed is the same history, in any process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hraftd.simulator.schedule import Schedule

ROOT = Path(__file__).parent.parent.parent


def transcript(seed: int, path: Path, hash_seed: str) -> str:
    """
    Run a schedule in a process of its own, and return what happened.
    """
    subprocess.run(
        [
            sys.executable,
            "-m",
            "hraftd.simulator",
            *(
                "--seed",
                str(seed),
                "--schedules",
                "2",
                "--seconds",
                "6",
                "--trace",
                str(path),
            ),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path.read_text()


def test_hash_seeds_do_not_matter(tmp_path: Path) -> None:
    """
    No order in which anything is done comes from a set or from an address.
    """
    one = transcript(11, tmp_path / "one", "1")
    assert one.count("\n") > 100
    assert one == transcript(11, tmp_path / "other", "2")


def test_other_seeds_are_other_histories() -> None:
    """
    So that many schedules are more than one.
    """
    schedules = [Schedule(seed, seconds=2.0, is_traced=True) for seed in (1, 2)]
    for schedule in schedules:
        schedule.run()
    assert schedules[0].transcript.lines != schedules[1].transcript.lines


def test_a_transcript_changes_nothing() -> None:
    """
    What fails without one fails in the same way when it is looked at.
    """
    runs = [Schedule(3, seconds=3.0, is_traced=traced) for traced in (True, False)]
    for schedule in runs:
        schedule.run()
    assert runs[0].world.events == runs[1].world.events
    assert runs[0].transcript.seen == runs[1].transcript.seen
    assert not runs[1].transcript.lines

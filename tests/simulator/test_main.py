"""
``python -m hraftd.simulator``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.logger import globalLogBeginner

from hraftd.raft.outbox import Outbox
from hraftd.simulator import __main__ as command

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _keep_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Leave the logging of this process as it is.
    """
    monkeypatch.setattr(globalLogBeginner, "beginLoggingTo", lambda *_, **__: None)


def test_schedules_that_go_well(capsys: pytest.CaptureFixture[str]) -> None:
    """
    It says which seeds, and how often what has happened.
    """
    options = ["--seed", "7", "--schedules", "2", "--seconds", "2", "--servers", "3"]
    assert command.main(options) == 0
    said = capsys.readouterr().out
    assert said.startswith("seeds 7 to 8: nothing wrong in ")
    assert " elected\n" in said


def test_a_schedule_that_fails(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """
    It says what is wrong and how to see it again, and writes down what happened.
    """
    monkeypatch.setattr(Outbox, "is_vote_saved", property(lambda _: True))
    trace = tmp_path / "trace"
    options = ["--seed", "7", "--seconds", "2", "--servers", "3"]
    assert command.main([*options, "--trace", str(trace)]) == 1
    said = capsys.readouterr().out
    assert "InvariantViolated" in said
    assert (
        "python -m hraftd.simulator --seed 7 --schedules 1 --seconds 2 --servers 3 "
        "--trace FILE"
    ) in said
    lines = trace.read_text().splitlines()
    assert lines[0] == "seed 7"
    assert "InvariantViolated" in lines[-1]


def test_without_a_seed_each_run_is_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    And says which one it was.
    """
    said = set()
    for _ in range(3):
        assert command.main(["--schedules", "1", "--seconds", "1"]) == 0
        said.add(capsys.readouterr().out.split(":")[0])
    assert len(said) > 1


@pytest.mark.parametrize(
    "options", ["--schedules 0", "--seconds 0.5", "--servers none", "--unknown"]
)
def test_wrong_options(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    They are refused with a sentence.
    """
    with pytest.raises(SystemExit):
        command.main(options.split())
    assert "usage: python -m hraftd.simulator" in capsys.readouterr().err


def test_it_is_a_command() -> None:
    """
    As the failure of a schedule says.
    """
    run = subprocess.run(
        [
            *(sys.executable, "-m", "hraftd.simulator"),
            *("--seed", "1", "--schedules", "1", "--seconds", "1"),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.startswith("seeds 1 to 1: nothing wrong")
    assert not run.stderr

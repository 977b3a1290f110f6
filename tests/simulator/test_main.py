"""
``python -m hraftd.simulator``.
"""

from __future__ import annotations

import html
import multiprocessing
import re
import shlex
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from twisted.logger import globalLogBeginner

from hraftd.raft.outbox import Outbox
from hraftd.simulator import __main__ as command
from hraftd.simulator import runs
from hraftd.simulator.faults import KINDS
from hraftd.simulator.origin import commit_of, origin

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
    assert re.search(r"^ +2 schedules in ", said, re.M)
    assert re.search(r"^ +\d+ s of virtual time$", said, re.M)
    for kind in KINDS:
        assert re.search(rf"^ +\d+ {kind}$", said, re.M), kind
    assert " elected\n" in said


@pytest.fixture
def _unsaved_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Plant a bug that any schedule finds.
    """
    monkeypatch.setattr(Outbox, "is_vote_saved", property(lambda _: True))


OPTIONS = [
    "--seed",
    "7",
    "--seconds",
    "2",
    "--servers",
    "3",
    "--only",
    "kill,stale leader",
]


@pytest.mark.usefixtures("_unsaved_votes")
def test_a_schedule_that_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """
    It says what is wrong and how to see it again, and writes down what happened.
    """
    trace, diagram = tmp_path / "trace", tmp_path / "diagram.svg"
    files = ["--trace", str(trace), "--diagram", str(diagram)]
    assert command.main([*OPTIONS, *files]) == 1
    said = capsys.readouterr()
    assert "InvariantViolated" in said.out
    assert (
        "python -m hraftd.simulator --seed 7 --schedules 1 --seconds 2 --servers 3 "
        "--only 'kill,stale leader' --trace FILE --diagram FILE\n"
    ) in said.out
    assert origin() in said.out
    assert not said.err
    lines = trace.read_text().splitlines()
    assert lines[0] == "seed 7"
    assert "InvariantViolated" in lines[-1]
    # The history that was drawn is the one that failed.
    sentence = lines[-1].partition("InvariantViolated: ")[2]
    titles = re.findall("<title>([^<]*)</title>", diagram.read_text())
    assert sentence in map(html.unescape, titles)


@pytest.mark.usefixtures("_unsaved_votes")
def test_what_is_typed_again_fails_again(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The line that a failure prints does what it says.
    """
    assert command.main(OPTIONS) == 1
    first = capsys.readouterr().out
    line = next(one for one in first.splitlines() if one.startswith("python -m "))
    words = shlex.split(line.partition(" --trace")[0])[3:]
    assert command.main(words) == 1
    assert capsys.readouterr().out == first


def test_how_many_processes_there_are_does_not_matter(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """
    The same trace, the same picture, the same sums.
    """
    found = []
    for jobs in ("1", "3"):
        trace, diagram = tmp_path / f"trace{jobs}", tmp_path / f"diagram{jobs}"
        options = ["--seed", "3", "--seconds", "1", "--schedules", "7", "--jobs", jobs]
        files = ["--trace", str(trace), "--diagram", str(diagram)]
        assert command.main([*options, *files]) == 0
        said = re.sub(r"schedules in .*", "", capsys.readouterr().out)
        found.append((said, trace.read_text(), diagram.read_text()))
    assert found[0] == found[1]
    assert found[0][1].count("seed ") == 7


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork",
    reason="what is planted here is in other processes only where they are forks",
)
@pytest.mark.usefixtures("_unsaved_votes")
def test_of_several_that_fail_it_is_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    Whichever process comes to its end before the others.
    """
    said = []
    for jobs in ("1", "3"):
        assert command.main([*OPTIONS, "--jobs", jobs]) == 1
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0].startswith("seed 7, ")


def test_a_run_of_minutes_goes_on_until_they_are_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With further seeds; no schedule begins behind that.
    """
    # Each look at the clock takes a second.
    moments = count()
    monkeypatch.setattr(runs, "monotonic", lambda: float(next(moments)))
    assert command.main(["--seed", "1", "--seconds", "1", "--minutes", "0.05"]) == 0
    assert capsys.readouterr().out.startswith("seeds 1 to 3: nothing wrong")


def test_progress_is_told_where_somebody_looks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    On a terminal, in one line that is written again and again; elsewhere there is none.
    """
    options = ["--seed", "1", "--seconds", "1", "--schedules", "2"]
    monkeypatch.setattr(command, "_PROGRESS", 0.0)
    assert command.main(options) == 0
    assert not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert command.main(options) == 0
    said = capsys.readouterr().err
    assert "last seed 1" in said
    assert "last seed 2" in said
    assert "\n" not in said
    assert said.endswith("\r\x1b[K")


def test_an_interrupted_run_says_how_far_it_came(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    And has a status of its own.
    """

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_say_how_far", interrupt)
    assert command.main(["--seed", "1", "--seconds", "1"]) == 130
    assert capsys.readouterr().out.startswith("seeds 1 to 1: nothing wrong")


def test_only_some_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    """
    No other trouble than what was asked for, and none if that was asked for.
    """
    options = ["--seed", "1", "--servers", "3", "--schedules", "2", "--only"]
    for only, others in (("kill", set(KINDS) - {"kill"}), ("none", set(KINDS))):
        assert command.main([*options, only]) == 0
        said = capsys.readouterr().out
        for kind in others:
            assert re.search(rf"^ +0 {kind}$", said, re.M), kind
    assert re.search(r"^ +[1-9]\d* started$", said, re.M)


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    """
    It is read wherever git keeps it, and nothing is said where there is none.
    """
    assert commit_of(tmp_path) is None
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("abc\n")
    assert commit_of(tmp_path) == "abc"
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(tmp_path) is None
    (git / "packed-refs").write_text("# pack-refs\nffe refs/heads/other\n")
    assert commit_of(tmp_path) is None
    with (git / "packed-refs").open("a") as file:
        file.write("fff refs/heads/main\n")
    assert commit_of(tmp_path) == "fff"
    (git / "refs" / "heads" / "main").write_text("123\n")
    assert commit_of(tmp_path) == "123"
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".git").write_text("gitdir: ../.git/worktrees/tree\n")
    (git / "worktrees" / "tree").mkdir(parents=True)
    (git / "worktrees" / "tree" / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "worktrees" / "tree" / "commondir").write_text("../..\n")
    assert commit_of(tree) == "123"


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
    "options",
    [
        "--schedules 0",
        "--schedules 3 --minutes 1",
        "--minutes 0",
        "--jobs 0",
        "--seconds 0.5",
        "--servers none",
        "--only kill,nonsense",
        "--trace no/such/folder",
        "--from 3",
        "--diagram no/such/folder",
        "--unknown",
    ],
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

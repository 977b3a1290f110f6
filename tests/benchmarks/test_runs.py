"""
The program itself: a tiny run from the start of a node to the table, and what it says
to those who mistype something or have something missing.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the benchmarks need Linux", allow_module_level=True)

from attrs import define, field, frozen

from benchmarks.__main__ import main
from benchmarks.load import Load
from benchmarks.loads import MEASUREMENTS
from benchmarks.measurements import Measurement, Trial
from benchmarks.processes import ROOT, Child
from benchmarks.runner import Plan, carry_out, what_is_missing
from benchmarks.systems import SYSTEMS
from benchmarks.systems.cluster import System
from benchmarks.wrk import INSTALL

DEADLINE = 60


@define(eq=False)
class Absent(System):
    """
    Somebody who is not there.
    """

    def why_missing(self) -> str:
        """
        Say so.
        """
        return "install something"


@define(eq=False)
class Present(System):
    """
    Somebody who is.
    """

    def why_missing(self) -> None:
        """
        Say nothing.
        """

    def version(self) -> str:
        """
        Return one.
        """
        return "1"


@frozen
class Noted(Measurement):
    """
    A measurement that notes who was measured, and fails once.
    """

    notes: list[tuple[str, str]] = field(factory=list, kw_only=True)

    def measure(self, system: System, trial: Trial) -> dict[str, Any]:
        """
        Note it.
        """
        self.notes.append((self.name, system.name))
        if self.notes.count((self.name, system.name)) == 2 and system.name == "b":
            raise TimeoutError("nobody led")
        return {"number": len(self.notes)}


def test_rounds_are_interleaved(tmp_path: Path) -> None:
    """
    In each round all systems have their turn at one measurement before the next one
    begins; a turn that fails is noted and ends nothing.
    """
    notes: list[tuple[str, str]] = []
    plan = Plan(
        (Noted("x", "", ("a", "b"), notes=notes), Noted("y", "", ("b",), notes=notes)),
        (Present("a"), Present("b")),
        2,
        Trial(1, tmp_path),
    )
    said: list[str] = []
    file = tmp_path / "results.json"
    record = carry_out(plan, ["something is missing"], file, said.append)
    assert notes == [("x", "a"), ("x", "b"), ("y", "b")] * 2
    assert json.loads(file.read_text()) == record
    assert [turn["round"] for turn in record["turns"]] == [1, 1, 1, 2, 2, 2]
    errors = [turn["error"] for turn in record["turns"] if "error" in turn]
    assert errors == ["TimeoutError: nobody led"] * 2
    assert "failed: nobody led" in said[4]
    assert record["skipped"] == ["something is missing"]


def test_what_is_missing_is_said() -> None:
    """
    Each thing that is not there is one line with what to install, and what goes
    without it is done.
    """
    measurements = tuple(
        MEASUREMENTS[name] for name in ("writes-1", "slow-1", "failover")
    )
    plan = Plan(
        measurements, (Absent("etcd"), SYSTEMS["hraftd"]), 1, Trial(1, Path("/tmp"))
    )
    left, lines = what_is_missing(plan, False, lambda: None)
    assert lines == ["without etcd: install something", f"without loads: {INSTALL}"]
    assert [turn[1].name for turn in left.turns()] == ["failover"]
    left, lines = what_is_missing(plan, True, lambda: "install strace")
    assert lines[1:] == ["without slow disks: install strace"]
    assert [turn[1].name for turn in left.turns()] == ["writes-1", "failover"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["writes-9"], "'writes-9' is none of the measurements: writes-1, "),
        (["--only", "reads", "rads"], "'rads' is none of the measurements: "),
        (["--systems", "consul"], "'consul' is none of the systems: hraftd, etcd"),
        (["--data", "/nowhere/at/all"], "--data /nowhere/at/all is no folder"),
        (["--report-only", "/nowhere/at/all"], "/nowhere/at/all holds no figures"),
        (["reads", "--systems", "hraftd", "--only", "x"], "'x' is none of "),
        (["failover", "--systems", "twisted.web"], "there is nothing left to measure"),
    ],
)
def test_wrong_words(words: list[str], line: str) -> None:
    """
    What is mistyped gets one line that says what there is.
    """
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = str(ended.value)
    assert said.startswith("benchmarks: ")
    assert line in said
    assert "\n" not in said


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--seconds", "x"], ["--fast"]])
def test_wrong_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    So do wrong options; nothing is started.
    """
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert f"{words[0]}" in capsys.readouterr().err.splitlines()[-1]


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """
    All names can be asked for.
    """
    assert main(["--list"]) == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert set(MEASUREMENTS) <= listed


def children_of(pid: int) -> list[int]:
    """
    Return the processes that this one has started.
    """
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def is_alive(pid: int) -> bool:
    """
    Whether there is such a process that has not ended; its parent may not know yet.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Any, what: str) -> Any:
    """
    Wait for this to be true, and return it.
    """
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.005)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: int) -> None:
    """
    However a run ends, so do the servers that it has started, and unless it is killed,
    their data is removed.
    """
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks", "reads", "--systems", "twisted.web"),
            *("--seconds", "60", "--data", str(tmp_path)),
            *("--output", str(tmp_path / "output")),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # What a script runs in the background is started deaf to it, with all that
        # it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        if shutil.which("wrk") is None:
            pytest.skip(INSTALL)
        # Once its output is there it is a server, and no copy of the runner any more.
        wait_for(lambda: list(tmp_path.glob("hraftd-bench-*/*/output")), "a server")
        [server, *_] = wait_for(lambda: children_of(process.pid), "its process")
        process.send_signal(number)
        process.wait(DEADLINE)
        wait_for(lambda: not is_alive(server), "its end")
    finally:
        process.kill()
        process.wait()
    if number != signal.SIGKILL:
        assert list(tmp_path.glob("hraftd-bench-*")) == []


def test_what_a_process_uses(tmp_path: Path) -> None:
    """
    What is told of a process's time and memory is of that process.
    """
    code = "import time; x = bytearray(64 << 20)\nwhile True: pass"
    child = Child([sys.executable, "-c", code], tmp_path)
    child.start()
    try:
        wait_for(lambda: child.cpu_seconds() >= 0.2, "some work")
        wait_for(lambda: child.rss_bytes() >= 64 << 20, "some memory")
        assert child.rss_bytes() < 200 << 20
        child.stand_still()
        # From when it stands still, which the kernel tells, nothing is used any more.
        stat = Path(f"/proc/{child.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "rest")
        before = child.cpu_seconds()
        mine = time.process_time()
        while time.process_time() < mine + 0.05:
            # Work, so that time passes for whoever may.
            pass
        assert child.cpu_seconds() == before
        child.go_on()
        wait_for(lambda: child.cpu_seconds() > before, "more work")
    finally:
        child.kill()
    assert not child.is_running


@pytest.mark.skipif(shutil.which("wrk") is None, reason=INSTALL)
def test_a_tiny_run(tmp_path: Path) -> None:
    """
    From the start of a node to the tables: the requests are answered well, and all
    figures are there.
    """
    output = tmp_path / "output"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "nodes-1", "--systems", "hraftd"),
            *("--quick", "--data", str(tmp_path), "--output", str(output)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((output / "results.json").read_text())
    [turn] = record["turns"]
    figures = turn["figures"]
    assert figures["good"] > 0
    assert figures["bad"] == figures["socket_errors"] == 0
    assert figures["rate"] > 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert figures["cpu_us"] > 0
    assert len(figures["rss_mb"]) == 1
    assert "\n1 node  hraftd  " in done.stdout
    assert "   * - 1 node\n     - hraftd\n" in (output / "index.rst").read_text()
    assert list(tmp_path.glob("hraftd-bench-*")) == []


def test_a_report_of_an_earlier_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Tables can be made again of the figures, beside these, and nothing is measured.
    """
    plan = Plan((MEASUREMENTS["reads"],), (), 1, Trial(1, tmp_path))
    record = carry_out(plan, ["without etcd"], tmp_path / "results.json", print)
    assert record["turns"] == []
    (tmp_path / "results.json").write_text(json.dumps(record))
    assert main(["--report-only", str(tmp_path / "results.json")]) == 0
    assert "without etcd" in capsys.readouterr().out
    assert "without etcd" in (tmp_path / "index.rst").read_text()


def test_loads_are_what_their_names_say() -> None:
    """
    The connections, sizes and counts in the names are those of the loads.
    """
    for name, measurement in MEASUREMENTS.items():
        if isinstance(measurement, Load):
            kind, _, rest = name.partition("-")
            if kind in ("writes", "slow", "bodies"):
                assert measurement.connections == int(rest)
            if kind == "nodes":
                assert measurement.setting.nodes == int(rest)
            if kind == "keys":
                assert measurement.setting.keys == int(rest)
            assert measurement.setting.is_slow == (kind == "slow")
            assert measurement.keys_per_body == (100 if kind == "bodies" else 1)

"""
What is made of the figures: medians, ratios, verdicts, tables and plots.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the benchmarks need Linux", allow_module_level=True)

from benchmarks.loads import MEASUREMENTS
from benchmarks.overload import PHASES
from benchmarks.report import BEGIN, END, as_text, write_report
from benchmarks.results import Results
from benchmarks.tables import tables
from benchmarks.targets import outcomes

if TYPE_CHECKING:
    from pathlib import Path

#: What a load on nothing in particular makes.
LOAD = {
    "keys": 1000,
    "rate": 1000.0,
    "keys_per_second": 1000.0,
    "p50_ms": 1.0,
    "p99_ms": 2.0,
    "max_ms": 3.0,
    "good": 8000,
    "bad": 0,
    "socket_errors": 0,
    "timeouts": 0,
    "cpu_us": 100.0,
    "cores": 1.5,
    "filled_mb": 60.0,
    "rss_mb": [70.0, 80.0, 75.0],
    "elections": 0,
}


def turn(
    measurement: str, system: str, number: int = 1, **figures: Any
) -> dict[str, Any]:
    """
    Return a turn of a load with some figures of its own.
    """
    return {
        "round": number,
        "measurement": measurement,
        "system": system,
        "figures": {**LOAD, **figures},
    }


def results(*turns: dict[str, Any]) -> Results:
    """
    Return a run of these turns.
    """
    return Results(
        {
            "date": "2026-11-24",
            "machine": {"cores": "2", "system": "Linux_6 *"},
            "versions": {"hraftd": "0.1.0", "twisted.web": "26.10.0"},
            "skipped": ["without pysyncobj: install PySyncObj"],
            "rounds": 3,
            "seconds": 8.0,
            "most_keys": None,
            "turns": list(turns),
        }
    )


def verdicts(found: Results) -> dict[str, tuple[float | None, str]]:
    """
    Return what became of each target, by its title.
    """
    return {each.target.title: (each.value, each.verdict) for each in outcomes(found)}


def rounds(measurement: str, system: str, *rates: float) -> list[dict[str, Any]]:
    """
    Return a turn for each rate.
    """
    return [
        turn(measurement, system, number, rate=rate)
        for number, rate in enumerate(rates, 1)
    ]


def test_ratios_are_of_medians() -> None:
    """
    One round that was disturbed changes nothing; a target is met from its limit on.
    """
    found = results(
        *rounds("writes-128", "hraftd", 9000, 9100, 20),
        *rounds("writes-128", "etcd", 2000, 90_000, 1990),
        *rounds("writes-32", "hraftd", 3000),
        *rounds("writes-32", "etcd", 1000),
    )
    by_title = verdicts(found)
    assert by_title["Writes on 128 connections, against etcd"] == (4.5, "yes")
    assert by_title["Writes on 32 connections, against etcd"] == (3.0, "**no**")
    assert by_title["Writes on 1 connection, against etcd"] == (None, "not measured")


def test_less_is_better_for_some() -> None:
    """
    A limit that is to be stayed below is missed when it is reached.
    """
    title = "99th percentile of writes on 128, against etcd"
    for p99, verdict in ((9.9, "yes"), (10.0, "**no**")):
        found = results(
            turn("writes-128", "hraftd", p99_ms=p99),
            turn("writes-128", "etcd", p99_ms=20.0),
        )
        assert verdicts(found)[title] == (p99 / 20, verdict)


def test_one_election_is_too_many() -> None:
    """
    Elections are added up over rounds, and over loads that are alike.
    """
    title = "Elections under writes on 128, in all rounds"
    calm = [turn("writes-128", "hraftd"), turn("nodes-3", "hraftd")]
    assert verdicts(results(*calm))[title] == (0, "yes")
    once = turn("keys-1000", "hraftd", 2, elections=1)
    assert verdicts(results(*calm, once))[title] == (1, "**no**")


def test_fewer_keys_prove_nothing() -> None:
    """
    A quick run says nothing about a million keys or entries.
    """
    memory = "Memory of any node with 1,000,000 keys of 100 B"
    start = "Start with 1,000,000 entries"
    for count, verdict in ((20_000, "not measured"), (1_000_000, "yes")):
        found = results(
            turn("keys-1000000", "hraftd", keys=count, filled_mb=499.0),
            turn("recovery", "hraftd", recovery_s=7.9, entries=count),
        )
        assert verdicts(found)[memory][1] == verdict
        assert verdicts(found)[start][1] == verdict


def test_the_worst_node_and_round_count_for_memory() -> None:
    """
    It is the largest figure of all rounds that has to be below the limit.
    """
    found = results(
        *(
            turn("keys-1000000", "hraftd", keys=1_000_000, filled_mb=megabytes)
            for megabytes in (300.0, 501.0, 310.0)
        )
    )
    title = "Memory of any node with 1,000,000 keys of 100 B"
    assert verdicts(found)[title] == (501.0, "**no**")


def overload() -> dict[str, Any]:
    """
    Return a turn of an overload.
    """
    phase = {
        "accepted_per_second": 500.0,
        "p50_ms": 100.0,
        "p99_ms": 200.0,
        "max_ms": 300.0,
        "statuses": {"200": 5000, "503": 70},
        "with_retry_after": 70,
        "broken": 3,
        "memory_mb": [(0.0, 60.0), (0.25, 90.0)],
        "recovered_s": 0.5,
        "elections": 0,
    }
    return {
        "round": 1,
        "measurement": "overload",
        "system": "hraftd",
        "figures": {"phases": dict.fromkeys(PHASES, phase)},
    }


def failure() -> dict[str, Any]:
    """
    Return a turn that failed.
    """
    return {
        "round": 1,
        "measurement": "writes-8",
        "system": "etcd",
        "error": "TimeoutError: waited for a_leader *",
    }


def everything() -> Results:
    """
    Return a run with a figure of each kind.
    """
    loads = [
        turn(name, "hraftd", bad=name == "writes-1" and 12)
        for name in MEASUREMENTS
        if name not in ("failover", "recovery", "overload")
    ]
    return results(
        *loads,
        turn("reads", "twisted.web", elections=None),
        turn("failover", "hraftd", failover_s=[0.5, 0.9, 0.7]),
        turn("recovery", "hraftd", recovery_s=7.0, entries=1_000_000),
        overload(),
        failure(),
    )


def test_nothing_is_hidden() -> None:
    """
    What went wrong, what failed and what was left out is in the text.
    """
    text = as_text(everything())
    assert "12 answered with an error" in text
    assert "writes-8 with etcd in round 1: TimeoutError" in text
    assert "without pysyncobj: install PySyncObj" in text
    assert "15,000 with 503" not in text
    assert "5,000 with 200, 70 with 503, 70 of them say when to try again" in text


def test_each_measurement_has_its_row() -> None:
    """
    Nothing that was measured is missing from the tables, and all rows fit their heads.
    """
    found = everything()
    cells = [row for table in tables(found) for row in table.rows]
    for table in tables(found):
        assert {len(row) for row in table.rows} == {len(table.rows[0])}
    titles = {row[0] for row in cells}
    for name, measurement in MEASUREMENTS.items():
        if name not in ("failover", "recovery", "overload"):
            assert measurement.title in titles
    assert set(PHASES) <= titles
    # Of several failovers all count, not the longest of each round.
    assert ("hraftd", "0.7", "0.5", "0.9") in [tuple(row) for row in cells]


def test_the_report_is_put_into_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    What people wrote around it stays; what an earlier run wrote goes; it is
    reStructuredText without a complaint. Without matplotlib there are no plots, and a
    line says what to install.
    """
    # So that to import it fails.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    docutils = pytest.importorskip("docutils.core", reason='pip install ".[docs]"')
    index = tmp_path / "index.rst"
    index.write_text(f"Title\n=====\n\n{BEGIN}\n\nold\n\n{END}\n\nBehind.\n")
    for _ in range(2):
        write_report(everything(), tmp_path)
        text = index.read_text()
        assert text.startswith("Title\n=====\n")
        assert text.endswith(f"{END}\n\nBehind.\n")
        assert text.count(BEGIN) == 1
        assert "\nold\n" not in text
    page = docutils.publish_string(
        text,
        source_path=str(index),
        writer="html",
        settings_overrides={"output_encoding": "unicode", "halt_level": 2},
    )
    # One more, for the machine and the versions.
    assert page.count("<table") == len(tables(everything())) + 1
    # A lone dash in a cell would begin one.
    assert "<td><ul" not in re.sub(r">\s+<", "><", page)
    assert "Linux_6 *" in page
    assert "<img" not in page
    assert "without plots: install matplotlib" in capsys.readouterr().out


def test_plots_are_the_same_each_time(tmp_path: Path) -> None:
    """
    A report that is made again of the same figures changes no file.
    """
    pytest.importorskip("matplotlib", reason='pip install ".[bench]"')
    written = []
    for _ in range(2):
        write_report(everything(), tmp_path)
        written.append({file.name: file.read_bytes() for file in tmp_path.iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == [
        *("clusters.svg", "index.rst", "keys.svg", "latency.svg"),
        *("overload.svg", "reads.svg", "writes.svg"),
    ]

"""
The console command's spelling of options.
"""

from __future__ import annotations

import sys

import pytest
from twisted.scripts import twistd

from hraftd.cli import main, with_double_dashes
from hraftd.tap import Options


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ([], []),
        (
            ["-id", "node0", "/data/node0"],
            ["--id", "node0", "/data/node0"],
        ),
        (
            ["-haddr", ":1", "-raddr=:2", "-join", "a:1", "-inmem"],
            ["--haddr", ":1", "--raddr=:2", "--join", "a:1", "--inmem"],
        ),
        (["--id", "node0"], ["--id", "node0"]),
        (["-id=a=b"], ["--id=a=b"]),
        # What hraftd does not know stays as it was typed, for the error to name it.
        (["-bogus", "-n"], ["-bogus", "-n"]),
        # A directory that looks like an option.
        (["-inmem", "--", "-id"], ["--inmem", "--", "-id"]),
        (["-", ""], ["-", ""]),
    ],
)
def test_single_dashes(typed: list[str], meant: list[str]) -> None:
    """
    Long options may have one dash, as in Go; nothing else is changed.
    """
    assert with_double_dashes(typed) == meant


@pytest.mark.parametrize(
    "name", [name for name, *_ in Options.optFlags + Options.optParameters]
)
def test_every_option(name: str) -> None:
    """
    There is no option that takes only two dashes.
    """
    assert with_double_dashes([f"-{name}"]) == [f"--{name}"]


@pytest.mark.parametrize(
    ("platform", "pid_file"), [("posix", ["--pidfile="]), ("win32", [])]
)
def test_runs_twistd(
    monkeypatch: pytest.MonkeyPatch, platform: str, pid_file: list[str]
) -> None:
    """
    The command is ``twistd hraftd`` in the foreground, without a pid file where
    ``twistd`` knows of one.
    """
    ran: list[list[str]] = []
    monkeypatch.setattr("hraftd.cli.platformType", platform)
    monkeypatch.setattr(twistd, "run", lambda: ran.append(list(sys.argv)))
    monkeypatch.setattr(sys, "argv", ["hraftd", "-id", "node0", "there"])
    main()
    assert ran == [
        ["hraftd", "--nodaemon", *pid_file, "hraftd", "--id", "node0", "there"]
    ]

"""
The console command: its spelling of options, and what it asks before a recovery.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from twisted.scripts import twistd

from hraftd.cli import WARNING, main, with_double_dashes
from hraftd.database import Database
from hraftd.kv.commands import Set, encode_command
from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.messages import Entry, HardState
from hraftd.tap import Options

from .disks import CLUSTER, MEMBERS, NODE, reload

if TYPE_CHECKING:
    from pathlib import Path


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


NEW = Configuration(
    (
        Server(NODE, "new:12000", "new:11000"),
        Server("node1", "new:12001", "", Suffrage.NONVOTER),
    )
)


class _Operator:
    """
    Somebody at a terminal, with a stopped node and a file of members.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Make both.
        """
        self.data_dir = directory / "data"
        self.members_file = directory / "members.json"
        self._monkeypatch = monkeypatch
        self.writes(NEW)
        with closing(Database(self.data_dir, NODE)) as database:
            database.open()
            log = [
                Entry(1, 1, MEMBERS),
                Entry(2, 1, encode_command(Set((("a", "1"), ("b", "2"))))),
            ]
            database.write(HardState(1, NODE), log, CLUSTER)

    def writes(self, members: Configuration) -> None:
        """
        Write these into the file.
        """
        document = [
            {"id": server.id, "raft": server.raft, "voter": server.is_voter}
            | ({"http": server.http} if server.http else {})
            for server in members.servers
        ]
        self.members_file.write_text(json.dumps(document), "utf-8")

    def recovers(self, *options: str, types: str = "") -> None:
        """
        Run the command, and answer what it asks.
        """
        self.runs(
            "recover", *options, str(self.data_dir), str(self.members_file), types=types
        )

    def runs(self, *arguments: str, types: str = "") -> None:
        """
        Run a command.
        """
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(types))
        self._monkeypatch.setattr(sys, "argv", ["hraftd", *arguments])
        main()

    @property
    def members(self) -> Configuration | None:
        """
        The members that the node has in a snapshot.
        """
        snapshot = reload(self.data_dir).snapshot
        return None if snapshot is None else snapshot.configuration


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Operator:
    """
    Return somebody who has no time to read a manual.
    """
    monkeypatch.setattr(twistd, "run", lambda: pytest.fail("a node was started"))
    return _Operator(tmp_path, monkeypatch)


def test_recovers_on_yes(
    operator: _Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    ``hraftd recover`` says what it has found, what it will do and what may go wrong,
    and does it when the operator types yes.
    """
    operator.recovers(types="yes\n")
    assert operator.members == NEW
    said = capsys.readouterr().out
    found, _, rest = said.partition(WARNING)
    assert found == (
        f"{NODE}, of cluster {CLUSTER}, has a log that ends at entry 2 of term 1; with "
        "all of its entries there are 2 keys.\n"
        "Its members have been:\n"
        "  node0: voter, Raft at localhost:12000, HTTP at localhost:11000\n"
        "They will be:\n"
        "  node0: voter, Raft at new:12000, HTTP at new:11000\n"
        "  node1: nonvoter, Raft at new:12001\n"
    )
    assert rest == (
        "\nType yes to go on: node0 is recovered; recover node1 too, then start all.\n"
    )


def test_recovers_without_asking(
    operator: _Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    With ``--yes`` it does not ask, but warns all the same.
    """
    operator.writes(MEMBERS)
    operator.recovers("--yes")
    assert operator.members == MEMBERS
    said = capsys.readouterr().out
    assert WARNING in said
    assert "Type yes" not in said
    assert said.endswith("\nnode0 is recovered.\n")


@pytest.mark.parametrize("typed", ["", "\n", "y\n", "no\n", "YES\n", "yes please\n"])
def test_recovers_on_nothing_but_yes(operator: _Operator, typed: str) -> None:
    """
    Whatever else is typed, or nothing, leaves the node as it is, with status 1.
    """
    with pytest.raises(SystemExit, match=r"^hraftd recover: nothing was changed$"):
        operator.recovers(types=typed)
    assert operator.members is None


def test_recovery_interrupted(
    operator: _Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    So does Ctrl-C.
    """

    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    with pytest.raises(SystemExit, match="nothing was changed"):
        operator.recovers()
    assert operator.members is None


def test_left_out_of_recovery(
    operator: _Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A node that is not among the members is refused before anything is asked.
    """
    operator.writes(Configuration((Server("node1", "new:12001"),)))
    with pytest.raises(SystemExit, match=r"^hraftd recover: .* not to be a member"):
        operator.recovers("--yes")
    assert capsys.readouterr().out == ""
    assert operator.members is None


def test_recovery_of_a_running_node(operator: _Operator) -> None:
    """
    A node that runs is refused in one line.
    """
    with closing(Database(operator.data_dir, NODE)) as database:
        database.open()
        with pytest.raises(SystemExit, match=r"^hraftd recover: .* is in use"):
            operator.recovers("--yes")
    assert operator.members is None


def test_recovery_of_a_damaged_node(operator: _Operator) -> None:
    """
    So is one whose data is damaged.
    """
    (operator.data_dir / "hraftd.sqlite3").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"^hraftd recover: .* is damaged"):
        operator.recovers("--yes")


def test_recovery_with_unusable_members(operator: _Operator) -> None:
    """
    So is a file that does not name members.
    """
    operator.members_file.write_text("[]")
    with pytest.raises(SystemExit, match=r"^hraftd recover: .* needs a voter"):
        operator.recovers("--yes")
    assert operator.members is None


@pytest.mark.parametrize(
    "arguments",
    [[], ["data"], ["data", "file", "more"], ["data", "file", "--yes"], ["", "file"]],
)
def test_wrong_arguments(operator: _Operator, arguments: list[str]) -> None:
    """
    It takes exactly two arguments, behind its options.
    """
    with pytest.raises(SystemExit, match="takes a DATA_DIR and a MEMBERS_FILE"):
        operator.runs("recover", *arguments)


def test_unknown_option(operator: _Operator) -> None:
    """
    What it does not know it names.
    """
    with pytest.raises(SystemExit, match=r"^hraftd recover: option --force not rec"):
        operator.runs("recover", "--force", "data", "file")


def test_help_for_recovery(
    operator: _Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    ``--help`` shows what to type and what the file holds; status 0.
    """
    with pytest.raises(SystemExit) as ended:
        operator.runs("recover", "--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("Usage: hraftd recover [--yes] DATA_DIR MEMBERS_FILE\n")
    assert '[{"id": "node0", "raft": "HOST:PORT"' in " ".join(said.split())


def test_version_beside_recovery(
    operator: _Operator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    ``--version`` is that of hraftd.
    """
    monkeypatch.setattr("hraftd.options.version", lambda name: f"of {name}")
    with pytest.raises(SystemExit) as ended:
        operator.runs("recover", "--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("hraftd of hraftd,")


def test_directory_called_recover(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Only as the first word it is a command; ``./recover`` is a data directory.
    """
    ran: list[list[str]] = []
    monkeypatch.setattr(twistd, "run", lambda: ran.append(list(sys.argv)))
    for arguments in (["./recover"], ["--id", "a", "recover"]):
        monkeypatch.setattr(sys, "argv", ["hraftd", *arguments])
        main()
    assert [line[-1] for line in ran] == ["./recover", "recover"]

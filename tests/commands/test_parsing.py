"""
What is typed behind ``hraftd``: what is meant, and what is refused in one line.
"""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from twisted.scripts import twistd

from hraftd import console
from hraftd.client.asking import LEVELS
from hraftd.commands import process
from hraftd.commands.endings import USAGE, Stop
from hraftd.commands.names import CHANGES, COMMANDS
from hraftd.commands.parsing import read_options
from hraftd.commands.running import DEEDS
from hraftd.reads import ReadLevel

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path


def options_of(line: str) -> Namespace:
    """
    Return what a command line means.
    """
    name, *arguments = line.split(" ")
    return read_options(name, arguments)


def refusal_of(line: str) -> str:
    """
    Return what is said about a command line that is wrong.
    """
    with pytest.raises(Stop) as stopped:
        options_of(line)
    assert stopped.value.status == USAGE
    text = stopped.value.line
    assert "\n" not in text
    name = line.partition(" ")[0]
    assert text.endswith(f" (see hraftd {name} --help)")
    return text


def test_every_command_is_there() -> None:
    """
    Each one that is listed has options and does something, and no other does.
    """
    assert set(DEEDS) | {"dev"} == set(COMMANDS)
    assert set(COMMANDS) > CHANGES


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Each command explains itself, and how it can end.
    """
    with pytest.raises(SystemExit) as ended:
        read_options(name, ["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: hraftd {name} ")
    assert "exit status:" in text
    assert COMMANDS[name][1:] in " ".join(text.split())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("get k", ["localhost:11000"]),
        ("get k --endpoint a:1", ["a:1"]),
        ("get k --endpoint a:1,b:2", ["a:1", "b:2"]),
        ("get k --endpoint a:1 --endpoint :2,c:3", ["a:1", "localhost:2", "c:3"]),
        ("get k --endpoint=http://a:1/", ["a:1"]),
        ("get k --endpoint [::1]:1", ["[::1]:1"]),
    ],
)
def test_endpoints(typed: str, meant: list[str]) -> None:
    """
    One or many, in any of the spellings, in their order.
    """
    assert options_of(typed).endpoint == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("7", 7.0),
        ("500ms", 0.5),
        ("1.5", 1.5),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86400),
    ],
)
def test_times(typed: str, meant: float) -> None:
    """
    Seconds, or what the unit says.
    """
    assert options_of(f"set k v --ttl {typed}").ttl == meant


@pytest.mark.parametrize(
    ("typed", "value"),
    [("set k v", "v"), ("set k -7", "-7"), ("set -- -k -v", "-v"), ("set k ", "")],
)
def test_values(typed: str, value: str) -> None:
    """
    Anything can be a value, behind ``--`` what begins with a dash too.
    """
    assert options_of(typed).value == value


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("get", "required: KEY"),
        ("get a b", "unrecognized arguments: b"),
        ("get a --levl weak", "unrecognized arguments: --levl weak"),
        # No option may be cut short: a later one could begin alike.
        ("get a --end a:1", "unrecognized arguments: --end a:1"),
        ("get a --level soon", "invalid choice: 'soon'"),
        ("get a --endpoint nowhere", "--endpoint"),
        ("get a --endpoint a:1,,b:2", "--endpoint"),
        ("get a --endpoint a:0", "nobody can dial port 0"),
        ("get a --timeout 0", "'0' is no time"),
        ("get a --timeout nan", "'nan' is no time"),
        ("set a", "required: VALUE"),
        ("set a b --ttl 1y", "'1y' is no time"),
        ("set a b --ttl -1", "--ttl"),
        ("set a b --if-index x", "'x' is no index"),
        ("set a b --if-index 1 --if-absent", "not allowed with"),
        ("list --limit 0", "'0' is no number above 0"),
        ("watch --after -1", "--after"),
        ("remove", "required: ID"),
        ("dev --nodes 0", "take 1 to 9, not '0'"),
        ("dev --nodes 10", "take 1 to 9, not '10'"),
        ("dev --port 65000", "take 1 to 64000"),
        ("dev --port 1 --free-ports", "not allowed with"),
        ("dev data", "unrecognized arguments: data"),
    ],
)
def test_refusals(typed: str, said: str) -> None:
    """
    What is wrong is said in one line, with status 2.
    """
    assert said in refusal_of(typed)


def test_what_is_no_text() -> None:
    """
    A key in another encoding than the system's is refused, before it is sent.
    """
    assert "it is not UTF-8" in refusal_of("get \udcff")


def test_levels_are_those_of_the_nodes() -> None:
    """
    What can be asked for is what a node knows.
    """
    assert set(LEVELS) == {level.value for level in ReadLevel}


# Who is meant.


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """
    Type that, and return what was run: a command's name, or a node's arguments.
    """
    ran = []

    def command(name: str, rest: list[str]) -> int:
        ran.append(f"{name}: {' '.join(rest)}")
        return 7

    monkeypatch.setattr(process, "run_command", command)
    monkeypatch.setattr(
        twistd, "run", lambda: ran.append("node: " + " ".join(sys.argv[4:]))
    )
    monkeypatch.setattr("hraftd.cli.platformType", "posix")
    monkeypatch.setattr(sys, "argv", ["hraftd", *arguments])
    is_command = arguments[:1] and arguments[0] in COMMANDS
    with pytest.raises(SystemExit, match="7") if is_command else nullcontext():
        console.main()
    [one] = ran
    return str(one)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """
    The first word may be a command, whose status is that of the process.
    """
    assert run(monkeypatch, name, "a", "--json") == f"{name}: a --json"


@pytest.mark.parametrize(("word", "command"), [("statsu", "status"), ("gets", "get")])
def test_a_slip_of_the_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, word: str, command: str
) -> None:
    """
    What is almost a command starts no node, unless it is a directory that is there.
    """
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=rf"did you mean {command}\?.* type \./{word}"):
        run(monkeypatch, word)
    (tmp_path / word).mkdir()
    assert run(monkeypatch, word) == f"node: {word}"


@pytest.mark.parametrize(
    ("typed", "node"),
    [
        ([], ""),
        (["-id", "node0", "get"], "--id node0 get"),
        (["./get"], "./get"),
        (["--", "get"], "-- get"),
        (["node0"], "node0"),
        (["./gets"], "./gets"),
        (["gets", "--inmem"], "gets --inmem"),
        (["help"], "help"),
    ],
)
def test_nodes(monkeypatch: pytest.MonkeyPatch, typed: list[str], node: str) -> None:
    """
    Everything else runs a node as ever; a directory that is named like a command can be
    written with its path.
    """
    assert run(monkeypatch, *typed) == f"node: {node}"


def test_help_of_the_node_names_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    ``hraftd --help`` leads to all of them, and says how to name a directory like one.
    """
    from hraftd.tap import Options

    monkeypatch.setattr(sys, "argv", ["hraftd", "--help"])
    with pytest.raises(SystemExit):
        Options().parseOptions(["--help"])
    text = capsys.readouterr().out
    listed = re.findall(r"^  hraftd (\w+)  +\w", text, re.M)
    assert listed == [*COMMANDS, "recover"]
    assert "written ./get" in text


def test_help_of_the_plugin_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    ``twistd hraftd --help`` speaks of nodes only: it has no such commands.
    """
    from hraftd.tap import Options

    monkeypatch.setattr(sys, "argv", ["twistd", "hraftd", "--help"])
    with pytest.raises(SystemExit):
        Options().parseOptions(["--help"])
    assert "hraftd get" not in capsys.readouterr().out

"""
get, set, delete, list and watch: what they do, what they show, how they end.
"""

from __future__ import annotations

import io
import json

import pytest

from hraftd.commands.endings import FAILED, NOT_SO, UNAVAILABLE, UNKNOWN, USAGE, Stop
from hraftd.commands.keys import read_value

from . import Ran, Shell, Terminal


@pytest.fixture(scope="module")
def shell() -> Shell:
    """
    Return a cluster that each test adds to.
    """
    return Shell()


def test_set_and_get(shell: Shell) -> None:
    """
    What is set at one node is read at another one.
    """
    done = shell.run("set greeting 'hello world' --endpoint localhost:11001")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("done, index ")
    read = shell.run("get greeting --endpoint localhost:11002 --level linearizable")
    assert read == Ran(0, "hello world\n", "")


def test_raw(shell: Shell) -> None:
    """
    ``--raw`` writes the value and nothing else.
    """
    shell.run("set raw 'a\n\nb\t'")
    assert shell.run("get raw --raw").out == "a\n\nb\t"
    assert shell.run("get raw").out == "a\n\nb\t\n"


def test_json(shell: Shell) -> None:
    """
    Scripts get all that is known, on one line, whatever is in it.
    """
    text = 'quoted "ü"\n\x1b[31m'
    index = json.loads(shell.run(f"set json '{text}' --json").out)["index"]
    read = shell.run("get json --json")
    assert read.out.count("\n") == 1
    assert json.loads(read.out) == {"key": "json", "value": text, "index": index}
    deleted = json.loads(shell.run("delete json --json").out)
    assert deleted == {"index": deleted["index"], "deleted": True}


def test_a_key_that_is_not_there(shell: Shell) -> None:
    """
    Status 3, and nothing where a script would read a value.
    """
    assert shell.run("get nothing") == Ran(NOT_SO, "", "there is no key 'nothing'")
    gone = shell.run("delete nothing")
    assert gone == Ran(NOT_SO, "", "there was no key 'nothing'")
    gone = shell.run("delete nothing --json")
    assert (gone.status, json.loads(gone.out)["deleted"]) == (NOT_SO, False)


def test_conditions(shell: Shell) -> None:
    """
    Status 3 where a condition does not hold, and the index that there is.
    """
    index = json.loads(shell.run("set lock node1 --if-absent --json").out)["index"]
    again = shell.run("set lock node2 --if-absent")
    assert (again.status, again.out) == (NOT_SO, "")
    assert f"'lock' has the index {index}" in again.err
    wrong = shell.run(f"delete lock --if-index {index - 1}")
    assert wrong.status == NOT_SO
    assert shell.run("get lock").out == "node1\n"
    right = shell.run(f"set lock node2 --if-index {index}")
    assert right.status == 0
    gone = shell.run("set nothing x --if-index 5")
    assert gone == Ran(NOT_SO, "", "nothing was done: there is no key 'nothing'")


def test_ttl(shell: Shell) -> None:
    """
    A key with a time is gone after it.
    """
    shell.run("set brief x --ttl 1.5")
    assert shell.run("get brief").status == 0
    shell.group.ticks(200)
    assert shell.run("get brief").status == NOT_SO


def test_a_value_from_the_standard_input() -> None:
    """
    It is taken as it is; what is no text, or too much, is refused.
    """
    assert read_value("-", io.BytesIO(b"a\n\n")) == "a\n\n"
    assert read_value("--", io.BytesIO(b"a")) == "--"
    assert read_value("-", io.BytesIO(bytes(8 << 20))) == "\0" * (8 << 20)
    for data, said in ((b"\xff", "not UTF-8"), (bytes((8 << 20) + 1), "more than")):
        with pytest.raises(Stop, match=said) as stopped:
            read_value("-", io.BytesIO(data))
        assert stopped.value.status == FAILED


def test_what_no_node_takes(shell: Shell) -> None:
    """
    A key that is none is a wrong command line; a value that a node refuses is refused.
    """
    empty = shell.run("set '' x")
    assert (empty.status, empty.out) == (USAGE, "")
    assert empty.err.endswith("(see hraftd set --help)")
    long = shell.run(f"set {'k' * 1025} x")
    assert long.status == FAILED
    assert "1024" in long.err


def test_list(shell: Shell) -> None:
    """
    A table whose columns stand one below the other, with nothing cut off in a pipe.
    """
    wide = "w" * 300
    shell.run("set l/1 x")
    shell.run(f"set l/日本 {wide}")
    shell.run("set l/3 'a\nb'")
    listed = shell.run("list l/").out.splitlines()
    assert [line.split()[0] for line in listed] == ["KEY", "l/1", "l/3", "l/日本"]
    assert listed[2].endswith(r"a\nb")
    assert listed[3].endswith(wide)
    # As wide as it looks, not as it counts.
    assert len(listed[1].partition("x")[0]) == len(listed[3].partition("w")[0]) + 2


def test_list_for_scripts(shell: Shell) -> None:
    """
    The keys alone, or JSON in each line; those behind a key, no more than so many.
    """
    for number in range(5):
        shell.run(f"set s/{number} {number}")
    assert shell.run("list s/ --keys").out == "s/0\ns/1\ns/2\ns/3\ns/4\n"
    assert shell.run("list s/ --keys --after s/1 --limit 2").out == "s/2\ns/3\n"
    lines = shell.run("list s/ --json --limit 2").out.splitlines()
    assert [json.loads(line)["value"] for line in lines] == ["0", "1"]
    assert shell.run("list nothing/") == Ran(0, "", "")


def test_list_of_many(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    All pages are listed, and nothing twice.
    """
    monkeypatch.setattr("hraftd.commands.keys._PAGE", 2)
    for number in range(5):
        shell.run(f"set m/{number} x")
    keys = [f"m/{number}" for number in range(5)]
    assert shell.run("list m/ --keys").out.split() == keys
    assert shell.run("list m/ --keys --limit 3").out.split() == keys[:3]
    assert shell.run("list m/ --keys --limit 4").out.split() == keys[:4]


def test_watch(shell: Shell) -> None:
    """
    One line for each change, as it happens; Ctrl-C ends it.
    """
    watching = shell.begin("watch w/")
    scripted = shell.begin("watch w/ --json")
    shell.until(lambda: shell.network.open_connections)
    shell.group.ticks(8)
    shell.run("set w/1 'a\nb'")
    shell.run("set x x")
    shell.run("delete w/1")
    shell.until(lambda: watching.out.count("\n") == scripted.out.count("\n") == 2)
    first, second = map(json.loads, scripted.out.splitlines())
    assert first == {
        "event": "set",
        "key": "w/1",
        "value": "a\nb",
        "index": first["index"],
    }
    assert (second["event"], second["value"]) == ("delete", None)
    assert watching.out == (
        f"{first['index']}  set     w/1 = a\\nb\n{second['index']}  delete  w/1\n"
    )
    for running in (watching, scripted):
        assert not running.deed.called
        running.deed.cancel()
        shell.until(lambda running=running: running.deed.called)
        assert shell.ended(running).status == 130
    # What is missed is caught up with.
    later = shell.begin(f"watch w/ --after {first['index']}")
    shell.until(lambda: later.out)
    assert later.out == f"{second['index']}  delete  w/1\n"
    later.deed.cancel()
    shell.until(lambda: later.deed.called)
    shell.ended(later)


# When it does not work.


def test_nobody_is_there(shell: Shell) -> None:
    """
    Status 5, and what to do.
    """
    ran = shell.run("get a --endpoint localhost:1,localhost:2 --timeout 2s")
    assert (ran.status, ran.out) == (UNAVAILABLE, "")
    assert "localhost:1" in ran.err
    assert "--endpoint" in ran.err


def test_another_endpoint_is_there(shell: Shell) -> None:
    """
    One that answers is enough, whichever.
    """
    shell.run("set there yes")
    for endpoints in ("localhost:1,localhost:11001", "localhost:11002,localhost:1"):
        read = shell.run(f"get there --level strong --endpoint {endpoints}")
        assert read == Ran(0, "yes\n", "")


def test_no_majority() -> None:
    """
    A write that may or may not happen is status 4; one that did not is 5.
    """
    shell = Shell()
    for name in ("node1", "node2"):
        shell.group.cut_off.add(name)
    # The leader has not noticed yet.
    unknown = shell.run("set a b --timeout 15s")
    assert (unknown.status, unknown.out) == (UNKNOWN, "")
    assert "before you repeat it" in unknown.err
    refused = shell.run("set a b --timeout 15s")
    assert refused.status == UNAVAILABLE


# On a terminal.


def test_nothing_from_the_cluster_moves_the_cursor() -> None:
    """
    On a terminal control characters are escapes, in keys and values; lines stay lines.
    """
    shell = Shell(output=Terminal)
    shell.run("set 'e/\x1b[2J' 'a\n\x07\u202eb'")
    for command in ("get 'e/\x1b[2J'", "list e/", "list e/ --keys"):
        out = shell.run(command).out
        assert "\x07" not in out
        assert "\x1b[2J" not in out
        assert "\u202e" not in out
        assert "\\x07" in out or "--keys" in command
    assert shell.run("get 'e/\x1b[2J'").out == "a\n\\x07\\u202eb\n"


def test_a_table_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A value that is wider than the terminal ends in an ellipsis, a row is a line.
    """
    monkeypatch.setenv("COLUMNS", "60")
    shell = Shell(output=Terminal)
    shell.run(f"set wide {'w' * 5000}")
    lines = shell.run("list").out.splitlines()
    assert len(lines) == 2
    assert "www…" in lines[1]

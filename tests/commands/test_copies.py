"""
backup and restore: files that are whole or not there, questions, bars.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING

from hraftd.commands.endings import FAILED, UNAVAILABLE, USAGE

from . import Shell, Terminal

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class _Bytes(io.TextIOWrapper):
    """
    A standard input or output of bytes.
    """

    def __init__(self, data: bytes = b"", is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), "utf-8")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def test_there_and_back(tmp_path: Path) -> None:
    """
    What was there at the time of the backup is there again, and nothing else.
    """
    shell = Shell()
    for number in range(20):
        shell.run(f"set k/{number} {number}")
    file = tmp_path / "all.backup"
    done = shell.run(f"backup {file} --endpoint localhost:11002")
    assert (done.status, done.err) == (0, "")
    assert done.out == f"{file.stat().st_size} bytes in {file}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["all.backup"]
    shell.run("set k/0 changed")
    shell.run("set later x")
    done = shell.run(f"restore {file} --yes --json --endpoint localhost:11001")
    assert (done.status, json.loads(done.out)["keys"]) == (0, 20)
    assert shell.run("get k/0").out == "0\n"
    assert shell.run("get later").status == 3


def test_a_backup_replaces_no_device(tmp_path: Path) -> None:
    """
    What is there and is no file is left alone, with ``--force`` as well.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    shell = Shell()
    for place in (pipe, tmp_path):
        refused = shell.run(f"backup {place} --force")
        assert refused.status == FAILED
        assert "no place for a file" in refused.err
    assert pipe.is_fifo()


def test_through_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``-`` is the standard output and the standard input.
    """
    shell = Shell()
    shell.run("set a b")
    monkeypatch.setattr(sys, "stdout", out := _Bytes())
    assert shell.run("backup -").status == 0
    data = out.buffer.getvalue()
    file = tmp_path / "file"
    shell.run(f"backup {file}")
    assert len(data) == file.stat().st_size
    shell.run("delete a")
    monkeypatch.setattr(sys, "stdin", _Bytes(data))
    assert shell.run("restore - --yes").status == 0
    assert shell.run("get a").out == "b\n"


def test_a_node_that_is_cut_off(tmp_path: Path) -> None:
    """
    It has no backup to give that could miss something, unless one asks for just that.
    """
    shell = Shell()
    shell.run("set a b")
    shell.group.cut_off.add("node2")
    file = tmp_path / "all.backup"
    command = f"backup {file} --endpoint localhost:11002 --timeout 2s"
    assert shell.run(command).status == UNAVAILABLE
    assert not file.exists()
    assert shell.run(f"{command} --level none").status == 0
    assert file.exists()


def test_where_a_backup_cannot_go(tmp_path: Path) -> None:
    """
    It is said before anybody is asked, and what is there stays as it is.
    """
    shell = Shell(output=Terminal)
    file = tmp_path / "there"
    file.write_text("precious")
    refused = shell.run(f"backup {file}")
    assert (refused.status, file.read_text()) == (FAILED, "precious")
    assert "--force" in refused.err
    assert shell.run(f"backup {tmp_path}").status == FAILED
    assert shell.run(f"backup {tmp_path}/no/where").status == FAILED
    assert shell.run("backup -").status == USAGE
    shell.output = io.StringIO
    assert shell.run("backup - --json").status == USAGE
    assert shell.run(f"backup {file} --force").status == 0
    assert b"precious" not in file.read_bytes()


def test_a_backup_that_breaks_off(tmp_path: Path) -> None:
    """
    There is never half a one: the file that was there stays, and no other is left.
    """
    shell = Shell()
    shell.run(f"set a {'x' * 1000}")
    file = tmp_path / "old"
    file.write_text("yesterday's")
    running = shell.begin(f"backup {file} --force")
    # It has begun to write.
    shell.until(lambda: (tmp_path / "old.part").exists())
    running.deed.cancel()
    shell.until(lambda: running.deed.called)
    assert shell.ended(running).status == 130
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert file.read_text() == "yesterday's"
    nobody = shell.run(f"backup {file} --force --endpoint localhost:1 --timeout 1s")
    assert nobody.status == UNAVAILABLE
    assert file.read_text() == "yesterday's"


def test_a_restore_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nothing is replaced before somebody has said yes.
    """
    shell = Shell()
    shell.run("set a b")
    file = tmp_path / "all.backup"
    shell.run(f"backup {file}")
    shell.run("set a c")
    for said in ("no\n", "", "y\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        refused = shell.run(f"restore {file}")
        assert refused.status == FAILED
        assert "nothing was changed" in refused.err
        assert shell.run("get a").out == "c\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    done = shell.run(f"restore {file}")
    assert done.status == 0
    assert "localhost:11000 go" in done.err
    assert shell.run("get a").out == "b\n"


def test_what_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is refused, whatever it is, and all keys are still there.
    """
    shell = Shell()
    shell.run("set a b")
    file = tmp_path / "letter"
    file.write_text("Dear Sir or Madam")
    assert shell.run(f"restore {file} --yes").status == FAILED
    assert shell.run(f"restore {tmp_path / 'nothing'} --yes").status == FAILED
    assert shell.run(f"restore {tmp_path} --yes").status == FAILED
    shell.run(f"backup {tmp_path / 'all'}")
    data = (tmp_path / "all").read_bytes()
    file.write_bytes(data[:-1])
    assert shell.run(f"restore {file} --yes").status == FAILED
    monkeypatch.setattr(sys, "stdin", _Bytes(data))
    assert shell.run("restore -").status == USAGE
    monkeypatch.setattr(sys, "stdin", _Bytes(data, is_terminal=True))
    assert shell.run("restore - --yes").status == USAGE
    assert shell.run("get a").out == "b\n"


def test_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    How far it is stands on the standard error, and only where somebody looks.
    """
    monkeypatch.setenv("TERM", "xterm")
    shell = Shell(output=Terminal)
    shell.run("set a b")
    file = tmp_path / "all.backup"
    for command in (f"backup {file}", f"restore {file} --yes"):
        done = shell.run(command)
        assert done.status == 0
        assert command.partition(" ")[0] in done.err
        assert "bytes" in done.err
        assert "\x1b" not in done.out.replace("\x1b[32m", "")

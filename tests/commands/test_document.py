"""
What ``docs/command-line.rst`` says, held against the commands.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from typing import TYPE_CHECKING

from hraftd.closed_pipe import BROKEN_PIPE
from hraftd.commands import endings
from hraftd.commands.names import COMMANDS

from . import Shell
from .real import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

TEXT = (ROOT / "docs" / "command-line.rst").read_text("utf-8")


def examples() -> Iterator[tuple[str, int, str]]:
    """
    Find each command, its status, and what stands below it.
    """
    for block in re.findall(r"::\n\n((?:    .*\n)+)", TEXT):
        _, *commands = re.split(r"^    \$ ", block, flags=re.M)
        for command in commands:
            first, _, output = command.partition("\n")
            line, _, status = first.partition(" # ")
            yield (
                line.strip(),
                int(status or 0),
                re.sub("^    ", "", output, flags=re.M),
            )


def settled(text: str) -> str:
    """
    Return it without what differs from time to time.
    """
    text = re.sub(r"Cluster [0-9a-f-]{36}", "Cluster ID", text)
    text = re.sub(r"\d+ ms ago", "N ms ago", text)
    return re.sub("  +", "  ", re.sub(r"^\d+ bytes", "N bytes", text))


def test_examples_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each command ends with that status, and has written just that.
    """
    monkeypatch.chdir(tmp_path)
    shell = Shell()
    found = list(examples())
    assert len(found) > 20
    for line, status, shown in found:
        words = shlex.split(line)
        if words[0] == "echo":
            _, given, pipe, *words = words
            assert pipe == "|"
            stdin = io.TextIOWrapper(io.BytesIO(f"{given}\n".encode()))
            monkeypatch.setattr(sys, "stdin", stdin)
        name, command, *_ = words
        assert name == "hraftd"
        typed = shlex.join(words[1:])
        if command == "watch":
            watching = shell.begin(typed)
            shell.until(lambda watching=watching: watching.out)
            assert watching.out == shown
            watching.deed.cancel()
            shell.until(lambda watching=watching: watching.deed.called)
            shell.ended(watching)
            continue
        ran = shell.run(typed)
        said = ran.out + (f"hraftd {command}: {ran.err}\n" if ran.err else "")
        assert (ran.status, settled(said)) == (status, settled(shown)), line


def test_every_command_is_described() -> None:
    """
    None is missing, and none is made up.
    """
    written = set(re.findall(r"``(?:hraftd )?([a-z]+)(?: [^`]*)?``", TEXT))
    typed = set(re.findall(r"hraftd ([a-z]+)", TEXT))
    assert set(COMMANDS) <= written | typed
    assert typed <= set(COMMANDS)


def test_statuses_are_those_of_the_program() -> None:
    """
    Each one is explained, and no other.
    """
    table = TEXT.split(".. statuses\n")[1]
    listed = [int(number) for number in re.findall(r"^   \* - (\d+)$", table, re.M)]
    numbers = [
        getattr(endings, name)
        for name in endings.__all__
        if name != endings.Stop.__name__
    ]
    assert listed == sorted([*numbers, BROKEN_PIPE])

"""
The program of ``docs/embedding.rst`` does what is printed below it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

from tests.integration.node import free_port
from tests.test_docs import ROOT, text_of

if TYPE_CHECKING:
    from pathlib import Path


def blocks(language: str) -> list[str]:
    """
    Return the code blocks of a language.
    """
    text = text_of("embedding.rst")
    found = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", text, re.M
    )
    return [dedent(block) for block in found]


def test_the_program_runs_as_shown(tmp_path: Path) -> None:
    """
    It is run with each command line that is shown, one after the other.
    """
    [program] = blocks("python")
    [session] = blocks("console")
    assert program.count("12000") == 2
    file = tmp_path / "total.py"
    file.write_text(program.replace("12000", str(free_port())), "utf-8")
    _, *runs = re.split(r"^\$ ", session.strip() + "\n", flags=re.M)
    assert len(runs) == 2
    for run in runs:
        command, _, shown = run.partition("\n")
        python, *arguments = shlex.split(command)
        assert python == "python"
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", shown)

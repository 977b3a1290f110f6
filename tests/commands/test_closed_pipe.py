"""
Programs whose output is closed while they write, or before.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from hraftd.closed_pipe import BROKEN_PIPE, ending_quietly

from .real import DEADLINE, ROOT

_UNBUFFERED = ("PYTHONUNBUFFERED",)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells it otherwise")
@pytest.mark.parametrize(
    "arguments",
    [
        ["hraftd", "--help"],
        ["hraftd", "get", "--help"],
        ["hraftd.simulator", "--seed", "1", "--schedules", "1", "--seconds", "1"],
        ["hraftd.simulator", "--help"],
    ],
)
def test_nobody_reads(arguments: list[str]) -> None:
    """
    The program ends without a word, also where all it has to say fits into its buffer.
    """
    program = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        # Without a buffer, argparse is told first, and keeps it to itself.
        env={name: os.environ[name] for name in os.environ if name not in _UNBUFFERED},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    program.stdout.close()
    _, said = program.communicate(timeout=DEADLINE)
    assert (program.returncode, said) == (BROKEN_PIPE, b"")


def test_other_errors_go_on() -> None:
    """
    Only a closed output is passed over in silence.
    """
    for error in (OSError(errno.ENOSPC, "full"), ValueError("x")):
        with pytest.raises(type(error)), ending_quietly():
            raise error
    with pytest.raises(SystemExit, match="7"), ending_quietly():
        raise SystemExit(7)
    with ending_quietly():
        pass

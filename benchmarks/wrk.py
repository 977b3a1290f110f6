"""
Running wrk, and reading what it says.

Each connection of wrk sends a request, waits for the answer and sends the next one, so
what a slow system is asked is less. What wrk counts as bad is an answer with a status
of 400 or more; these count as requests for wrk, but not for :attr:`Result.rate`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from benchmarks.processes import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.requests import Pattern

__all__ = ["INSTALL", "Result", "read_output", "run_wrk", "script"]

INSTALL = "install wrk (Debian: apt-get install wrk)"

#: Seconds after which an answer is not waited for any more, but counted as late.
_TIMEOUT = 5

_SCRIPT = Path(__file__).with_name("wrk.lua")


@frozen
class Result:
    """
    What one run of wrk has seen.
    """

    requests: int
    seconds: float
    p50_us: int
    p99_us: int
    max_us: int
    #: Answers with a status of 400 or more.
    bad: int
    #: Connections that could not be made, or broke.
    socket_errors: int
    #: Answers that came too late to be counted.
    timeouts: int

    @property
    def good(self) -> int:
        """
        Answers that say that it was done.
        """
        return self.requests - self.bad

    @property
    def rate(self) -> float:
        """
        Good answers each second.
        """
        return self.good / self.seconds


def script(keys: int, patterns: Sequence[Pattern]) -> str:
    """
    Return the program of wrk's threads.
    """
    rows = []
    for pattern in patterns:
        fields = (
            # JSON's escapes of ASCII without control characters but these two are
            # Lua's as well.
            f"{name} = {json.dumps(value)}"
            for name, value in asdict(pattern).items()
        )
        rows.append(f"{{{', '.join(fields)}}}")
    settings = f"settings = {{keys = {keys}, patterns = {{{', '.join(rows)}}}}}"
    return f"{settings}\n{_SCRIPT.read_text('utf-8')}"


def read_output(text: str) -> Result:
    """
    Return what wrk's output says.

    :raises ValueError: if it says nothing, with the whole of it.
    """
    found = re.search(r"^figures (\{.*\})$", text, re.M)
    if found is None:
        raise ValueError(f"wrk has not come to its end: {text.strip()}")
    return Result(**json.loads(found[1]))


def run_wrk(
    port: int,
    connections: int,
    seconds: float,
    keys: int,
    patterns: Sequence[Pattern],
) -> Result:
    """
    Load one server.

    :param seconds: at least one; wrk knows only whole ones.
    """
    wrk = shutil.which("wrk")
    assert wrk is not None, INSTALL
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script(keys, patterns))
        file.flush()
        done = subprocess.run(
            [
                # One thread makes more requests than all of these systems answer, and
                # leaves them more of the machine than two would.
                *(wrk, "--threads", "1", "--connections", str(connections)),
                *("--duration", f"{max(1, round(seconds))}s"),
                *("--timeout", f"{_TIMEOUT}s", "--script", file.name),
                f"http://127.0.0.1:{port}/",
            ],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=end_with_parent,
            timeout=seconds + 60,
        )
    return read_output(done.stdout + done.stderr)

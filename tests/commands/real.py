"""
Commands as processes, of this checkout.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hraftd.dev.plan import Plan, is_free

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ROOT", "Process", "command", "free_base", "run", "until"]

ROOT = Path(__file__).parents[2]

#: Much more than anything takes.
DEADLINE = 60.0


def command(*arguments: str) -> list[str]:
    """
    Return how ``hraftd`` is run.
    """
    return [sys.executable, "-m", "hraftd", *arguments]


def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """
    Run a command to its end.
    """
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def free_base() -> int:
    """
    Return a port from which on a cluster finds all that it needs.
    """
    while True:
        # Below those that systems take for outgoing connections.
        plan = Plan(3, random.randrange(15_000, 31_000, 10))
        if all(
            is_free(place.http_port) and is_free(place.raft_port)
            for place in plan.places()
        ):
            return plan.port


def until(condition: Callable[[], object], what: str) -> None:
    """
    Wait for a condition.
    """
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} does not come true"
        time.sleep(0.02)


class Process:
    """
    A command that goes on, and what it has written so far.
    """

    def __init__(self, *arguments: str) -> None:
        """
        Start it.
        """
        self.process = subprocess.Popen(
            command(*arguments),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As in a terminal of its own.
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        """
        All of it.
        """
        return "\n".join(self.lines)

    def says(self, text: str) -> None:
        """
        Wait for it to say that.
        """
        until(
            lambda: text in self.text or self.process.poll() is not None,
            f"{text!r} in {self.text}",
        )
        if text not in self.text:
            self._reader.join(DEADLINE)
        assert text in self.text, self.text

    def ctrl_c(self) -> None:
        """
        Do what a terminal does then: it tells all of the group.
        """
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> int:
        """
        Wait for its end, and return its status.
        """
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return status

    def end(self) -> None:
        """
        End it at once.
        """
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)

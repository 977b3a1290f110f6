"""
Processes that are started, looked at and ended.

None outlives the run: each is killed when its turn ends, however that does, and by the
kernel if the runner itself is killed.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ROOT",
    "Child",
    "allow_many_files",
    "end_with_parent",
    "environment",
    "free_port",
    "run",
]

#: Of the checkout: its hraftd is the one that is measured.
ROOT = Path(__file__).parent.parent

#: Below those that Linux gives to outgoing connections, so that none of the thousands
#: of a load takes the port of a server that is being restarted.
_PORTS = range(15_000, 32_000)

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

#: Of Linux: the signal that a child gets when its parent has ended.
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)

_taken: set[int] = set()


def free_port() -> int:
    """
    Return a port of the loopback interface on which nobody listens.
    """
    while True:
        port = random.choice(_PORTS)
        if port in _taken:
            continue
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port


def allow_many_files() -> None:
    """
    Let this process, and those that it starts, open as many files as they may.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def environment() -> dict[str, str]:
    """
    Return what a Python process needs to find this checkout.
    """
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def run(*command: str) -> str:
    """
    Return what a short command prints.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout + done.stderr


def end_with_parent() -> None:
    """
    Have this process, which is still to become a program, end when its parent does.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@define(eq=False)
class Child:
    """
    A server: its command line, and its process while there is one.
    """

    command: Sequence[str]
    #: Where it runs, and where what it prints is kept.
    folder: Path
    environment: Mapping[str, str] = field(factory=environment)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Start a process, out of reach of the terminal's Ctrl-C.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    @property
    def output(self) -> str:
        """
        The end of what it has printed.
        """
        text = (self.folder / "output").read_text("utf-8", "replace")
        return text[-2000:]

    @property
    def pid(self) -> int:
        """
        Of its process.
        """
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """
        Whether there is a process that has not ended.
        """
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """
        End it as a power cut would.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stand_still(self) -> None:
        """
        Let it do nothing until :meth:`go_on`.
        """
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """
        Let it go on.
        """
        os.kill(self.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """
        Return the time for which it has used a core, in the kernel and outside.
        """
        text = Path(f"/proc/{self.pid}/stat").read_text()
        # The name, in parentheses, may hold anything.
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def rss_bytes(self) -> int:
        """
        Return how much memory it holds now.
        """
        text = Path(f"/proc/{self.pid}/statm").read_text()
        return int(text.split()[1]) * resource.getpagesize()

"""
Nodes as child processes, and what they say.

Each child is in a process group of its own, so that Ctrl-C reaches only the parent,
which then closes their standard inputs: see :mod:`hraftd.dev.node`. A thread for each
reads its lines into one bounded queue. Where nobody takes them out, since somebody has
stopped the terminal, lines are left out: no node ever waits for its log to be read.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Child", "Ended", "Event", "Events", "Said", "as_typed", "how_it_ended"]

#: Lines that wait to be written.
_LINES = 1_000

#: Bytes of a line; a longer one becomes several.
_LINE_BYTES = 8_192


def as_typed() -> str:
    """
    Return how this program is called in another terminal, in whatever directory.
    """
    found = shutil.which("hraftd")
    program = Path(sys.executable).parent / "hraftd"
    if program.is_file() and (found is None or not program.samefile(found)):
        # In an environment that is not activated, there at least.
        return shlex.quote(str(program))
    if found is not None:
        return "hraftd"
    return f"{shlex.quote(sys.executable)} -m hraftd"


@frozen
class Said:
    """
    A node has logged a line.
    """

    name: str
    line: str


@frozen
class Ended:
    """
    A node's process has ended, with a status, or by minus a signal.
    """

    name: str
    status: int


Event = Said | Ended


class Events:
    """
    What happens at all children, in its order.
    """

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        self._queue: Queue[Event] = Queue(_LINES)
        self._ends: Queue[Ended] = Queue()
        self._left_out: dict[str, int] = {}

    def said(self, name: str, line: str) -> None:
        """
        Take a line, if there is room.
        """
        left_out = self._left_out.get(name, 0)
        try:
            if left_out:
                self._queue.put_nowait(Said(name, f"({left_out} lines left out here)"))
                self._left_out[name] = 0
            self._queue.put_nowait(Said(name, line))
        except Full:
            self._left_out[name] = self._left_out.get(name, 0) + 1

    def ended(self, name: str, status: int) -> None:
        """
        Take note of an end: there are only as many as there are children.
        """
        self._ends.put(Ended(name, status))

    def take(self, seconds: float) -> Iterator[Event]:
        """
        Yield what has happened, or what happens first within these seconds.

        An end comes behind all that was said before it.
        """
        ends = []
        with suppress(Empty):
            while True:
                ends.append(self._ends.get_nowait())
        with suppress(Empty):
            yield self._queue.get(timeout=0.0 if ends else seconds)
            # No more than that, or a talkative node would be all that is looked at.
            for _ in range(_LINES):
                yield self._queue.get_nowait()
        yield from ends


class Child:
    """
    One node's process.
    """

    def __init__(self, name: str, arguments: Sequence[str], events: Events) -> None:
        """
        Start it.

        :raises OSError: if the system cannot.
        """
        self.name = name
        self._events = events
        own_group: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if sys.platform == "win32"
            else {"process_group": 0}
        )
        self._process = subprocess.Popen(
            # What lies about in the current directory is no module of ours.
            [sys.executable, "-P", "-m", "hraftd.dev.node", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "PYTHONIOENCODING": "utf-8:backslashreplace",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **own_group,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_LINE_BYTES):
            self._events.said(self.name, line.decode("utf-8", "replace").rstrip())
        self._events.ended(self.name, self._process.wait())

    @property
    def pid(self) -> int:
        """
        The process id.
        """
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """
        Whether it has not ended.
        """
        return self._process.poll() is None

    def stop(self) -> None:
        """
        Tell it to stop in order, and wait for nothing.
        """
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """
        End it at once, and wait until it has.
        """
        self._process.kill()
        self._process.wait()


def how_it_ended(status: int) -> str:
    """
    Say what a status of a process means.
    """
    return f"by signal {-status}" if status < 0 else f"with status {status}"

"""
A wall clock for nodes that a test can set: libfaketime, where it is installed.

Timers of Twisted wait for the wall clock: set back two hours, it stops heartbeats and
elections for two hours. A node's run on a monotonic one, which is left alone here.

Under libfaketime a thread that waits for another to give up the interpreter lock does
not sleep meanwhile, so a node that has much to do answers a tenth of the requests that
it could, and may be late for an election. It is the clock's weight, not its jumps.
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WHY_NO_WALL_CLOCK", "WallClock"]

_LIBRARY: Final = next(
    iter(
        glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
        + glob.glob("/usr/lib*/faketime/libfaketime.so.1")
        + glob.glob("/usr/local/lib/faketime/libfaketime.so.1")
    ),
    None,
)

#: What is missing for one, as one line; ``None`` if nothing is.
WHY_NO_WALL_CLOCK: Final = (
    "needs libfaketime; in Debian: apt install libfaketime"
    if _LIBRARY is None
    else None
)


class WallClock:
    """
    The time of day of all processes that have this environment.
    """

    def __init__(self, directory: Path, name: str = "faketime") -> None:
        """
        Begin with the real time.

        :param directory: where the file is kept that tells processes the time.
        """
        self._file = directory / name
        self._file.write_text("+0")
        self.environment = {
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Seconds. To read the file each time takes most of the time that there is.
            "FAKETIME_CACHE_DURATION": "1",
            # Only what Python calls time.time().
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, hours: int) -> None:
        """
        Set the clock so many hours ahead of the real time, or behind it.

        Processes notice within two seconds.
        """
        following = self._file.with_suffix(".next")
        # Replaced, so that it is never read half written.
        following.write_text(f"{hours:+}h")
        os.replace(following, self._file)

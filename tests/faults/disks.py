"""
A disk of a few megabytes, for one node, that a test can fill and free again.

It is a tmpfs in a mount namespace of its own, which only that node is in, so no right
is needed beyond that of making a user namespace, or being root. A process that does
nothing keeps the namespace, and with it the disk, while the node is down; it ends with
the test, however that does.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SmallDisk", "why_no_small_disk"]

#: Mounts what ``$1`` says, of the size in ``$2``, and waits for the end of its input.
_KEEPER = 'mount -t tmpfs -o "size=$2,mode=700" tmpfs "$1" && echo ready && exec cat'

#: With a user namespace whoever may do so; without, root.
_WAYS: tuple[tuple[str, ...], ...] = (
    ("--user", "--map-root-user", "--mount"),
    ("--mount",),
)

#: Of the size of a page of memory, which is what a tmpfs counts in.
_BLOCK = bytes(4096)


def _keeper(way: Sequence[str], directory: Path, size: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["unshare", *way, "sh", "-c", _KEEPER, "sh", str(directory), size],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _end(keeper: subprocess.Popen[bytes]) -> None:
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    keeper.stdin.close()
    keeper.wait(10)
    keeper.stdout.close()


def _is_ready(keeper: subprocess.Popen[bytes]) -> bool:
    assert keeper.stdout is not None
    return keeper.stdout.readline() == b"ready\n"


@cache
def _way() -> tuple[str, ...] | None:
    """
    Return how a namespace can be made here.
    """
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "nsenter"))):
        return None
    for way in _WAYS:
        # Over some directory: only there, and only as long as that process runs.
        keeper = _keeper(way, Path("/mnt"), "1m")
        ready = _is_ready(keeper)
        _end(keeper)
        if ready:
            return way
    return None


def why_no_small_disk() -> str | None:
    """
    Return what is missing for a small disk, as one line; ``None`` if nothing is.
    """
    if _way() is not None:
        return None
    return (
        "needs Linux with unshare and nsenter (Debian: apt install util-linux), and "
        "either root that may mount or unprivileged user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu "
        "kernel.apparmor_restrict_unprivileged_userns=0)"
    )


class SmallDisk:
    """
    A file system for one directory, seen by those who are let in, and by no other.

    :ivar prefix: what to put before the command line of a process to let it in.
    """

    def __init__(self, directory: Path, size: str = "8m") -> None:
        """
        Mount it over an empty directory, which is made.
        """
        way = _way()
        assert way is not None, why_no_small_disk()
        directory.mkdir(parents=True)
        self._keeper = _keeper(way, directory, size)
        assert _is_ready(self._keeper), f"no tmpfs over {directory}"
        #: The directory as it is seen from outside.
        self.path = Path(f"/proc/{self._keeper.pid}/root") / directory.relative_to("/")
        into_user = ("--user", "--preserve-credentials") if "--user" in way else ()
        self.prefix = (
            *("nsenter", "--target", str(self._keeper.pid), *into_user, "--mount"),
            f"--wd={directory.parent}",
        )

    def fill(self) -> None:
        """
        Leave no byte of room.
        """
        with (self.path / "filler").open("ab", buffering=0) as filler:
            while True:
                try:
                    filler.write(_BLOCK)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return

    def free(self) -> None:
        """
        Make room again.
        """
        (self.path / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        """
        Let the disk vanish once nobody is on it.
        """
        _end(self._keeper)

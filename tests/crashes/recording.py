"""
The calls with which a process changes a directory: written down, and made to fail.

``disk_shim.c`` stands between a process and the C library. :func:`environment` is what
makes a process use it; the process itself gives the orders (:class:`Shim`), and what
was written down is read with :func:`read_recording`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Call",
    "Shim",
    "build_shim",
    "environment",
    "plain_environment",
    "read_recording",
]

ROOT = Path(__file__).parent.parent.parent

_HEADER = Struct("=B3xIQQ")


@frozen
class Call:
    """
    One call that succeeded or was made to fail, or a note of the process itself.
    """

    #: ``create``, ``write``, ``truncate``, ``sync``, ``rename``, ``unlink`` or
    #: ``mkdir``; ``failure`` of any of them; or ``note``.
    operation: str
    #: Below the root; of a note, its text.
    path: str
    #: Where it was written, or what it was cut to.
    offset: int = 0
    #: What was written, or the new name.
    data: bytes = b""


_OPERATIONS = {
    "c": "create",
    "w": "write",
    "t": "truncate",
    "s": "sync",
    "r": "rename",
    "u": "unlink",
    "m": "mkdir",
    "f": "failure",
    "n": "note",
}


def read_recording(file: Path) -> Iterator[Call]:
    """
    Yield what was written down, in order.

    :raises AssertionError: if something happened that cannot be followed.
    """
    data = file.read_bytes()
    place = 0
    while place < len(data):
        letter, path_length, offset, data_length = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        path = data[place : place + path_length].decode()
        place += path_length
        assert chr(letter) in _OPERATIONS, f"{path} was written through memory"
        yield Call(
            _OPERATIONS[chr(letter)], path, offset, data[place : place + data_length]
        )
        place += data_length


def build_shim(directory: Path) -> Path:
    """
    Compile the shim, or skip the test that asks for it.
    """
    if sys.platform != "linux":
        pytest.skip("recording the calls of a process needs Linux")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler: apt-get install gcc libc6-dev")
    library = directory / "disk_shim.so"
    source = Path(__file__).with_name("disk_shim.c")
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"],
        check=True,
    )
    return library


def plain_environment() -> dict[str, str]:
    """
    Return an environment in which another Python finds this code.
    """
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": paths}


def environment(
    shim: Path, root: Path, recording: Path | None = None
) -> Mapping[str, str]:
    """
    Return this process's environment and what makes another one use the shim.

    :param root: the directory that matters.
    :param recording: the file that is appended to.
    """
    ours = plain_environment() | {"LD_PRELOAD": str(shim), "CRASHES_ROOT": str(root)}
    if recording is not None:
        ours["CRASHES_RECORD"] = str(recording)
    return ours


class Shim:
    """
    The shim that this very process runs on.
    """

    def __init__(self) -> None:
        """
        Find it.
        """
        self._library = ctypes.CDLL(None)

    def note(self, text: str) -> None:
        """
        Say something between two calls.
        """
        self._library.disk_note(text.encode())

    def fail(
        self, operation: str, path: str, after: int, times: int, error: int
    ) -> None:
        """
        Let calls fail from now on.

        :param operation: as in :class:`Call`.
        :param path: how the path must end.
        :param after: so many of them succeed before,
        :param times: then so many fail, or all if that is negative.
        :param error: the error number.
        """
        letter = next(key for key, name in _OPERATIONS.items() if name == operation)
        self._library.disk_fails(
            ctypes.c_char(letter.encode()), path.encode(), after, times, error
        )

"""
The ``hraftd`` console command: ``twistd hraftd`` in the foreground.

It keeps no pid file, so that several nodes can run in one folder, and takes the single
dash of the original's options.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from twisted.python.runtime import platformType
from twisted.scripts import twistd

from hraftd.tap import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "with_double_dashes"]


def with_double_dashes(arguments: Sequence[str]) -> list[str]:
    """
    Spell the long options that have a single dash, as in Go, with two.
    """
    names = {f"-{name}" for name, *_ in Options.optFlags + Options.optParameters}
    spelled: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*spelled, *arguments[position:]]
        known = argument.partition("=")[0] in names
        spelled.append(f"-{argument}" if known else argument)
    return spelled


def main() -> None:
    """
    Run one node until it is told to stop.
    """
    # Windows' twistd knows no pid file.
    pid_file = [] if platformType == "win32" else ["--pidfile="]
    arguments = with_double_dashes(sys.argv[1:])
    sys.argv[1:] = ["--nodaemon", *pid_file, "hraftd", *arguments]
    twistd.run()

"""
What ``hraftd`` does first: see who is meant, and load no more than that one needs.

A node is most of this package, and takes half a second to load. Who asks one key of a
node that runs elsewhere should not wait for that.
"""

from __future__ import annotations

import os
import sys

from hraftd.closed_pipe import ending_quietly
from hraftd.commands.names import COMMANDS, meant_by

__all__ = ["main"]


def main() -> None:
    """
    Run a command for people, or a node, or recover one.

    A node's data directory that is named like a command is written ``./get``. One that
    is there already may be named almost like one.
    """
    with ending_quietly():
        match sys.argv[1:]:
            case [name, *arguments] if name in COMMANDS:
                from hraftd.commands.process import run_command

                sys.exit(run_command(name, arguments))
            case [word] if (command := meant_by(word)) and not os.path.exists(word):
                sys.exit(
                    f"hraftd: {word!r} is no command; did you mean {command}? For a "
                    f"node with a data directory of that name, type ./{word}"
                )
            case _:
                from hraftd.cli import main as node

                node()

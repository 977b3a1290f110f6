"""
What ``hraftd`` does first: see who is meant, and load no more than that one needs.

A node is most of this package, and takes half a second to load. Who asks one key of a
node that runs elsewhere should not wait for that.
"""

from __future__ import annotations

import sys

from hraftd.closed_pipe import ending_quietly
from hraftd.commands.names import COMMANDS

__all__ = ["main"]


def main() -> None:
    """
    Run a command for people, or a node, or recover one.

    A node's data directory that is named like a command is written ``./get``.
    """
    with ending_quietly():
        match sys.argv[1:]:
            case [name, *arguments] if name in COMMANDS:
                from hraftd.commands.process import run_command

                sys.exit(run_command(name, arguments))
            case _:
                from hraftd.cli import main as node

                node()

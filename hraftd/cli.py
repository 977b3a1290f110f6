"""
The ``hraftd`` console command: ``twistd hraftd`` in the foreground, or a recovery.

As ``twistd hraftd`` it keeps no pid file, so that several nodes can run in one folder,
and takes the single dash of the original's options. ``hraftd recover`` runs no node:
it gives a stopped one other members. What is asked and said then is here, what is done
in :mod:`hraftd.recovery`.

All other commands are in :mod:`hraftd.commands`; :mod:`hraftd.console` decides.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twisted.python import usage
from twisted.python.runtime import platformType
from twisted.scripts import twistd

from hraftd.interfaces import StorageError
from hraftd.options import Exit
from hraftd.recovery import CannotRecover, read_members, stopped_node
from hraftd.tap import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.base import ReactorBase

    from hraftd.raft.configuration import Configuration
    from hraftd.recovery import StoppedNode

__all__ = [
    "RecoverOptions",
    "main",
    "recover",
    "run_node",
    "stop_node",
    "with_double_dashes",
]

#: Before an operator says yes.
WARNING = """\
Before you go on:
- This cannot be undone. Keep a copy of the data directory.
- Writes may count now that were never committed: clients were told that they failed,
  or that nobody knows. Writes that reached only other nodes are lost.
- Recover one node: of those that are left the one whose last entry, see above, has the
  highest term and, of these, the highest index. Let the others join it afterwards,
  with empty data directories. Only if the last entry of several is the very same may
  they all be members: recover each of them from this same file before you start any.
- Never start a node again that is left out, nor one of these without recovering it:
  with the members that it remembers it may go on as a cluster of its own."""


class RecoverOptions(usage.Options):
    """
    The command line of a recovery.
    """

    synopsis = "[--yes] DATA_DIR MEMBERS_FILE"
    longdesc = (
        "Gives a stopped node other members, for a cluster that has lost the majority "
        "of its voters for good, or all of whose addresses have changed. MEMBERS_FILE "
        "is a JSON list of the members it is to have, best this node alone: "
        '[{"id": "node0", "raft": "HOST:PORT", "http": "HOST:PORT", "voter": true}, '
        "...]; http and voter may be left out. The others then join it again, with "
        "empty data directories. It says what it will do, and asks, before it does it."
    )
    optFlags = [["yes", None, "Do it without asking"]]

    opt_version = Options.opt_version
    opt_h = usage.Options.opt_help

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        usage.Options.__init__(self)

    def getSynopsis(self) -> str:
        """
        Show the command that was typed.
        """
        return f"Usage: hraftd recover {self.synopsis}"

    def parseArgs(self, *positional: str) -> None:
        """
        Take the two positional arguments.
        """
        if len(positional) != 2 or not all(positional):
            raise usage.UsageError(
                "it takes a DATA_DIR and a MEMBERS_FILE, and options before them"
            )
        self["data_dir"], self["members_file"] = map(Path, positional)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse; say in one line what is wrong, and end the process.
        """
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            raise Exit(
                f"hraftd recover: {error} (see hraftd recover --help)"
            ) from error


def recover(arguments: Sequence[str]) -> None:
    """
    Give a stopped node other members, if the operator agrees.

    :raises Exit: with a line, and so with status 1, if that was not done.
    """
    options = RecoverOptions()
    options.parseOptions(list(arguments))
    try:
        members = read_members(options["members_file"])
        with stopped_node(options["data_dir"]) as node:
            node.check_is_among(members)
            print(_plan(node, members))
            if not options["yes"] and not _is_agreed():
                raise CannotRecover("nothing was changed")
            node.replace_members(members)
    except (CannotRecover, StorageError) as error:
        raise Exit(f"hraftd recover: {error}") from error
    others = [server.id for server in members.servers if server.id != node.id]
    print(
        f"{node.id} is recovered"
        + (f"; recover {', '.join(others)} too, then start all." if others else ".")
    )


def _plan(node: StoppedNode, members: Configuration) -> str:
    return "\n".join(
        (
            f"{node.id}, of cluster {node.cluster_id}, has a log that ends at entry "
            f"{node.last_index} of term {node.last_term}; with all of its entries "
            f"there are {len(node.store)} keys.",
            "Its members have been:",
            *_lines(node.configuration),
            "They will be:",
            *_lines(members),
            WARNING,
        )
    )


def _lines(configuration: Configuration) -> list[str]:
    return [
        f"  {server.id}: {server.suffrage.value}, Raft at {server.raft}"
        + (f", HTTP at {server.http}" if server.http else "")
        for server in configuration.servers
    ]


def _is_agreed() -> bool:
    try:
        return input("Type yes to go on: ").strip() == "yes"
    except (EOFError, KeyboardInterrupt, RuntimeError):
        # RuntimeError: there is no standard input at all.
        # The line that says so would stand behind the question.
        print()
        return False


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


def run_node(arguments: Sequence[str]) -> None:
    """
    Run one node until it is told to stop.
    """
    # Windows' twistd knows no pid file.
    pid_file = [] if platformType == "win32" else ["--pidfile="]
    spelled = with_double_dashes(arguments)
    sys.argv[1:] = ["--nodaemon", *pid_file, "hraftd", *spelled]
    twistd.run()


def stop_node() -> None:
    """
    Tell the node that this process runs to stop, from any thread.
    """
    from twisted.internet import reactor

    cast("ReactorBase", reactor).callFromThread(reactor.stop)


def main() -> None:
    """
    Run one node until it is told to stop, or recover one.

    A node's data directory of that name is written ``./recover``.
    """
    if sys.argv[1:2] == ["recover"]:
        recover(sys.argv[2:])
    else:
        run_node(sys.argv[1:])

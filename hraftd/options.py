"""
The command line of one node, and what is wrong with it.

Everything that can be known to be wrong before the node starts is said here, in one
line that names the option; what shows only later is in :mod:`hraftd.node`.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.logger import Logger
from twisted.python import usage

from hraftd.addresses import (
    advertised_address,
    is_wildcard,
    listening_endpoint,
    parse_address,
)
from hraftd.commands.names import COMMANDS
from hraftd.forwarding import OnFollower
from hraftd.limits import Limits
from hraftd.node import Settings
from hraftd.raft.configuration import Server, Suffrage, check_server_id
from hraftd.reads import ReadLevel
from hraftd.snapshots import SnapshotPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import Enum
    from typing import TypeVar

    _Choice = TypeVar("_Choice", bound=Enum)

__all__ = ["Exit", "Options"]

_log = Logger()


class Exit(SystemExit, Exception):
    """
    The end of the process, with a line for the operator and exit status 1.

    It is an :exc:`Exception` too, so that ``twistd`` removes its pid file and tells
    the process that waits for a daemon to start.
    """

    def __init__(self, line: str) -> None:
        """
        Say this; what could end the line, or cannot be shown, becomes an escape.
        """
        super().__init__(
            "".join(
                letter
                if letter.isprintable()
                else letter.encode("unicode_escape").decode("ascii")
                for letter in line
            )
        )


class Options(usage.Options):
    """
    The command line of one node.
    """

    synopsis = "[options] [DATA_DIR]"
    longdesc = (
        "Runs one node of a replicated key-value store. Without --join and without "
        "earlier state it begins a cluster of one. DATA_DIR defaults to a folder "
        "named after the id, in the current directory."
    )
    optFlags = [
        ["inmem", None, "Keep the log in memory: a node that stops forgets"],
        ["nonvoter", None, "Join without a vote, as a copy for reads"],
    ]
    optParameters = [
        ["id", None, None, "Unique, stable name of this node [the Raft address]"],
        ["haddr", None, "localhost:11000", "HTTP bind address, or endpoint string"],
        ["raddr", None, "localhost:12000", "Raft bind address, or endpoint string"],
        ["hadv", None, None, "HTTP address told to others [the bind address]"],
        ["radv", None, None, "Raft address told to others [the bind address]"],
        ["join", None, None, "HTTP address of a member, or several with commas"],
        ["on-follower", None, "error", "A write at a follower: error|redirect|forward"],
        ["read-level", None, "none", "Reads: none|weak|linearizable|strong|auto"],
        ["snapshot-threshold", None, None, "Entries between two snapshots [8192]"],
        ["snapshot-trailing", None, None, "Entries that stay behind one [10240]"],
        ["max-key-bytes", None, None, "Longest key [1024]"],
        ["max-value-bytes", None, None, "Longest value [1048576]"],
    ]

    def __init__(self) -> None:
        """
        Begin with the defaults.
        """
        usage.Options.__init__(self)
        self.settings: Settings | None = None

    def opt_version(self) -> None:
        """
        Display the version of hraftd and exit.
        """
        print(f"hraftd {version('hraftd')}, Twisted {version('twisted')}")
        sys.exit(0)

    def getSynopsis(self) -> str:
        """
        Show the command that was typed: ``hraftd`` hides its ``twistd``.
        """
        if self._is_hraftd:
            return f"Usage: hraftd {self.synopsis}"
        return usage.Options.getSynopsis(self)

    def getUsage(self, width: int | None = None) -> str:
        """
        Show the options, and what else the ``hraftd`` command can do.
        """
        options: str = usage.Options.getUsage(self, width)
        return f"{options}\n{_commands()}" if self._is_hraftd else options

    @property
    def _is_hraftd(self) -> bool:
        return Path(sys.argv[0]).stem == "hraftd"

    opt_h = usage.Options.opt_help

    def parseArgs(self, *positional: str) -> None:
        """
        Take the one positional argument.
        """
        if len(positional) > 1:
            raise usage.UsageError(
                f"{positional[1]!r} is one argument too many: there is one DATA_DIR, "
                "and all options stand before it"
            )
        [self["data_dir"]] = positional or (None,)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse and check; say in one line what is wrong, and end the process.
        """
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            raise Exit(f"hraftd: {error} (see hraftd --help)") from error

    def postOptions(self) -> None:
        """
        Make :attr:`settings` of what was given.

        :raises UsageError: naming the option that is wrong.
        """
        raft_endpoint, raft = self._listener("raddr", "radv")
        http_endpoint, http = self._listener("haddr", "hadv")
        if raft == http:
            raise usage.UsageError(f"--haddr and --raddr are both {raft}")
        server_id = raft if self["id"] is None else self["id"]
        with _named("--id"):
            check_server_id(server_id)
        suffrage = Suffrage.NONVOTER if self["nonvoter"] else Suffrage.VOTER
        self.settings = Settings(
            me=Server(server_id, raft, http, suffrage),
            raft_endpoint=raft_endpoint,
            http_endpoint=http_endpoint,
            data_dir=self._data_dir(server_id),
            join=self._join(),
            on_follower=self._choice("on-follower", OnFollower),
            read_level=self._choice("read-level", ReadLevel),
            snapshots=self._snapshots(),
            limits=self._limits(),
        )

    def _listener(self, bind: str, advertise: str) -> tuple[str, str]:
        """
        Return the endpoint to listen on, and the address that others are told.
        """
        with _named(f"--{bind}"):
            endpoint = listening_endpoint(self[bind])
            address = advertised_address(self[bind])
        if self[advertise] is not None:
            with _named(f"--{advertise}"):
                address = str(parse_address(self[advertise]))
                if is_wildcard(address):
                    raise ValueError(f"nobody can dial {address!r}")
        if address is None:
            raise usage.UsageError(
                f"--{bind} {self[bind]} is no address that others can dial; say with "
                f"--{advertise} HOST:PORT what they are to dial"
            )
        return endpoint, address

    def _data_dir(self, server_id: str) -> Path | None:
        if self["inmem"]:
            if self["data_dir"] is not None:
                _log.info("--inmem: {data_dir} is not used", data_dir=self["data_dir"])
            return None
        # Not every character of an id may stand in a file name everywhere.
        folder = re.sub(r"[^\w.-]", "_", server_id)
        if self["data_dir"] is None:
            return Path(folder)
        # Not the current directory, or a default: more likely a variable is unset.
        if not self["data_dir"]:
            raise usage.UsageError("DATA_DIR is empty")
        try:
            return Path(self["data_dir"]).expanduser()
        except RuntimeError as error:
            raise usage.UsageError(f"DATA_DIR {self['data_dir']}: {error}") from error

    def _join(self) -> tuple[str, ...]:
        if self["join"] is None:
            return ()
        with _named("--join"):
            return tuple(
                str(parse_address(address.strip()))
                for address in self["join"].split(",")
            )

    def _choice(self, option: str, choices: type[_Choice]) -> _Choice:
        try:
            return choices(self[option])
        except ValueError:
            known = ", ".join(choice.value for choice in choices)
            raise usage.UsageError(
                f"--{option}: {self[option]!r} is none of: {known}"
            ) from None

    def _snapshots(self) -> SnapshotPolicy:
        policy = SnapshotPolicy()
        return evolve(
            policy,
            threshold_entries=self._number(
                "snapshot-threshold", policy.threshold_entries, "entries"
            ),
            trailing_entries=self._number(
                "snapshot-trailing", policy.trailing_entries, "entries"
            ),
        )

    def _limits(self) -> Limits:
        limits = Limits()
        key = self._number("max-key-bytes", limits.max_key_bytes, "bytes")
        value = self._number("max-value-bytes", limits.max_value_bytes, "bytes")
        if key + value > limits.max_body_bytes:
            raise usage.UsageError(
                f"--max-key-bytes and --max-value-bytes: both together may be no more "
                f"than the {limits.max_body_bytes} bytes of a request"
            )
        return Limits(max_key_bytes=key, max_value_bytes=value)

    def _number(self, option: str, default: int, unit: str) -> int:
        text = self[option]
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and int(text[:18]) > 0):
            raise usage.UsageError(f"--{option}: {text!r} is no number of {unit}")
        return int(text[:18])


def _commands() -> str:
    described = {**COMMANDS, "recover": "give a stopped node other members"}
    lines = [f"  hraftd {name:<9} {what}" for name, what in described.items()]
    return "\n".join(
        (
            "Instead of a node, with options of their own, see hraftd COMMAND --help:",
            *lines,
            "A DATA_DIR with the name of one of these is written ./get.",
            "",
        )
    )


@contextmanager
def _named(option: str) -> Iterator[None]:
    """
    Name the option in whatever is wrong with its value.
    """
    try:
        yield
    except ValueError as error:
        raise usage.UsageError(f"{option}: {error}") from error

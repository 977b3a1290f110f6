"""
The ``hraftd`` command of ``twistd``: its options, and the service they make.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

from hraftd.addresses import (
    advertised_address,
    is_wildcard,
    listening_endpoint,
    parse_address,
)
from hraftd.client_requests import Limits, OnFollower
from hraftd.clock import use_monotonic_time
from hraftd.node import CannotStart, Node, Settings
from hraftd.raft.configuration import Server, check_server_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from twisted.application.service import IService
    from twisted.internet.base import ReactorBase

__all__ = ["Options", "makeService"]

_log = Logger()


class _Exit(SystemExit, Exception):
    """
    The end of the process, with a line for the operator and exit status 1.

    It is an :exc:`Exception` too, so that ``twistd`` removes its pid file and tells
    the process that waits for a daemon to start.
    """


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
    optFlags = [["inmem", None, "Keep the log in memory: a node that stops forgets"]]
    optParameters = [
        ["id", None, None, "Unique, stable name of this node [the Raft address]"],
        ["haddr", None, "localhost:11000", "HTTP bind address, or endpoint string"],
        ["raddr", None, "localhost:12000", "Raft bind address, or endpoint string"],
        ["hadv", None, None, "HTTP address told to others [the bind address]"],
        ["radv", None, None, "Raft address told to others [the bind address]"],
        ["join", None, None, "HTTP address of a member, or several with commas"],
        ["on-follower", None, "error", "A write at a follower: error or redirect"],
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
        if Path(sys.argv[0]).stem == "hraftd":
            return f"Usage: hraftd {self.synopsis}"
        return usage.Options.getSynopsis(self)

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
            raise _Exit(f"hraftd: {error} (see hraftd --help)") from error

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
        self.settings = Settings(
            me=Server(server_id, raft, http),
            raft_endpoint=raft_endpoint,
            http_endpoint=http_endpoint,
            data_dir=self._data_dir(server_id),
            join=self._join(),
            on_follower=self._on_follower(),
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

    def _on_follower(self) -> OnFollower:
        try:
            return OnFollower(self["on-follower"])
        except ValueError:
            known = ", ".join(choice.value for choice in OnFollower)
            raise usage.UsageError(
                f"--on-follower: {self['on-follower']!r} is none of: {known}"
            ) from None

    def _limits(self) -> Limits:
        limits = Limits()
        key = self._bytes("max-key-bytes", limits.max_key_bytes)
        value = self._bytes("max-value-bytes", limits.max_value_bytes)
        if key + value > limits.max_body_bytes:
            raise usage.UsageError(
                f"--max-key-bytes and --max-value-bytes: both together may be no more "
                f"than the {limits.max_body_bytes} bytes of a request"
            )
        return Limits(max_key_bytes=key, max_value_bytes=value)

    def _bytes(self, option: str, default: int) -> int:
        text = self[option]
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and int(text[:10]) > 0):
            raise usage.UsageError(f"--{option}: {text!r} is no number of bytes")
        return int(text[:10])


@contextmanager
def _named(option: str) -> Iterator[None]:
    """
    Name the option in whatever is wrong with its value.
    """
    try:
        yield
    except ValueError as error:
        raise usage.UsageError(f"{option}: {error}") from error


class _NodeService(Node):
    """
    A node that ends its process with a line and status 1 when it cannot go on.
    """

    def startService(self) -> None:
        """
        Start, or end the process.
        """
        try:
            super().startService()
        except CannotStart as error:
            raise _Exit(f"hraftd: {error}") from None
        # Twisted puts its own there when it begins to run.
        self._reactor.callWhenRunning(_be_told_once)


def _be_told_once() -> None:
    """
    Take no notice of a second SIGINT or SIGTERM: Twisted would log a traceback.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    twisteds = {number: signal.getsignal(number) for number in signals}

    def stop(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        handler = twisteds[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in signals:
        signal.signal(number, stop)


def makeService(options: Options) -> IService:
    """
    Make the service of one node from its command line.
    """
    from twisted.internet import reactor

    def end(reason: str) -> None:
        _log.critical("hraftd: cannot go on: {reason}", reason=reason)
        # Only after everything else that is done at exit, twistd's pid file included.
        atexit.register(_exit_with_failure)
        # It may be stopping already, for another reason.
        with suppress(ReactorNotRunning):
            reactor.stop()

    use_monotonic_time(cast("ReactorBase", reactor))
    assert options.settings is not None, "parseOptions has been called"
    return _NodeService(options.settings, reactor, end)


def _exit_with_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)

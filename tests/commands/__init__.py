"""
The commands for people, run against three real servers in memory.

What a command would do in a process of its own (read its options, do what may block,
ask the cluster, end with a line and a status) is done here by :meth:`Shell.run`, on the
servers' clock. Real processes are in the modules that say so.
"""

from __future__ import annotations

import io
import shlex
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.client import Agent

from hraftd.client.connections import new_pool
from hraftd.client_requests import ClientRequests
from hraftd.commands.endings import Stop
from hraftd.commands.parsing import read_options
from hraftd.commands.running import perform, prepare
from hraftd.commands.screen import Screen
from hraftd.expiry import Expiry
from hraftd.raft.configuration import Server
from hraftd.web.site import HttpSite
from tests.servers import Group
from tests.web import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.server import RaftServer

__all__ = ["Ran", "Running", "Shell", "Terminal"]


class Terminal(io.StringIO):
    """
    An output that somebody looks at.
    """

    def isatty(self) -> bool:
        """
        Say so.
        """
        return True


@frozen
class Ran:
    """
    A command that has ended.
    """

    status: int
    out: str
    err: str


@define
class Running:
    """
    A command that goes on.
    """

    deed: Deferred
    screen: Screen

    @property
    def out(self) -> str:
        """
        What it has written so far.
        """
        return self.screen.out.getvalue()


@define
class Shell:
    """
    Somebody who types commands, and the cluster of three that they are about.

    It is at localhost:11000, localhost:11001 and localhost:11002; node0 leads it.
    """

    group: Group = field(factory=Group)
    network: Network = field(init=False)
    #: What the commands write to; a pipe unless it says something else.
    output: Callable[[], io.StringIO] = io.StringIO

    def __attrs_post_init__(self) -> None:
        """
        Let the first server begin, and take in the others.
        """
        self.network = Network(self.group.clock)
        first = self.add(0)
        first.bootstrap(self.member(0))
        first.startService()
        self.group.until(lambda: first.status().role == "leader")
        for number in (1, 2):
            self.join(number)

    def join(self, number: int) -> None:
        """
        Take one more server in.
        """
        first = self.group.servers["node0"]
        server = self.add(number)
        server.expect_cluster(first.cluster_id)
        server.startService()
        added = first.add_server(self.member(number))
        self.group.until(lambda: bool(added.called))
        assert isinstance(added.result, int), added.result

    @staticmethod
    def member(number: int) -> Server:
        """
        Name a server as the documents do.
        """
        ports = f"localhost:1200{number}", f"localhost:1100{number}"
        return Server(f"node{number}", *ports)

    def add(self, number: int) -> RaftServer:
        """
        Make a server with its HTTP API, not started.
        """
        name = f"node{number}"
        server = self.group.add(name)
        self.group.addresses[name] = self.member(number).raft
        store = self.group.stores[name]
        requests = ClientRequests(server, store, self.group.clock)
        Expiry(server, store, self.group.clock).startService()
        site = HttpSite(requests, server, self.group.clock)
        self.network.sites[self.member(number).http] = site
        return server

    def lose(self, number: int) -> None:
        """
        Let there be no such node any more.
        """
        self.group.kill(f"node{number}")
        del self.network.sites[self.member(number).http]

    def begin(self, line: str) -> Running:
        """
        Type a command that goes on for a while.
        """
        name, *arguments = shlex.split(line)
        screen = Screen(self.output(), self.output())
        options = read_options(name, arguments)
        prepare(name, options, screen)
        clock = self.group.clock
        agent = Agent.usingEndpointFactory(clock, self.network, new_pool(clock))
        deed = Deferred.fromCoroutine(perform(name, options, screen, clock, agent))
        return Running(deed, screen)

    def until(self, condition: Callable[[], object]) -> None:
        """
        Let time pass until something is so.
        """

        def is_so() -> bool:
            self.network.settle()
            return bool(condition())

        self.group.until(is_so, ticks=2_000)

    def run(self, line: str) -> Ran:
        """
        Type a command, and wait for its end.
        """
        try:
            running = self.begin(line)
        except Stop as stop:
            # Before anything was asked.
            return Ran(stop.status, "", stop.line)
        self.until(lambda: running.deed.called)
        # Followers hear of it with the next heartbeat.
        self.group.ticks(8)
        self.network.settle()
        return self.ended(running)

    def ended(self, running: Running) -> Ran:
        """
        Return what has become of a command that has ended.
        """
        result = running.deed.result
        running.deed.addErrback(lambda _: None)
        err = running.screen.err.getvalue()
        match result:
            case int():
                return Ran(result, running.out, err)
            case Failure() if stop := result.check(Stop):
                assert stop is Stop
                return Ran(result.value.status, running.out, err + result.value.line)
            case Failure() if result.check(CancelledError):
                return Ran(130, running.out, err)
        raise AssertionError(result)

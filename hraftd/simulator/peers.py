"""
The ``IPeers`` of a simulated server: links that are opened again whenever they break.

They keep the rules of :mod:`hraftd.peers.links`: a call goes out at once or not at all.
A server is dialled at its address and says Hello, and is refused there if it is a
stranger. What goes on when a link is open is in :mod:`hraftd.simulator.connections`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from hraftd.errors import NotReached, Stopped, WrongCluster
from hraftd.interfaces import IPeers
from hraftd.peers.dialling import CONNECT_SECONDS
from hraftd.peers.link import FIRST_PAUSE, LONGEST_PAUSE
from hraftd.peers.links import PROBE_SECONDS
from hraftd.peers.questions import ANSWER_SECONDS, NotConnected
from hraftd.simulator.connections import Connection
from hraftd.simulator.network import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from hraftd.leader_requests import LeaderRequest
    from hraftd.raft.configuration import Server
    from hraftd.raft.messages import Call, Response
    from hraftd.server import RaftServer
    from hraftd.simulator.checks import Watch
    from hraftd.simulator.clock import Process
    from hraftd.simulator.network import Network

__all__ = ["SimulatedPeers"]


class _Link:
    """
    Tries to be connected to one server all the time.
    """

    def __init__(self, peers: SimulatedPeers, server_id: str, address: str) -> None:
        self.address = address
        self.connection: Connection | None = None
        self._peers = peers
        self._server_id = server_id
        self._failures = 0
        self._up_since = 0.0
        self._is_closed = False
        self._dial()

    def _dial(self) -> None:
        if not self._is_closed:
            self._peers.dial(
                self._server_id,
                self.address,
                CONNECT_SECONDS + ANSWER_SECONDS,
                self._ended,
            ).addCallbacks(self._opened, lambda _: self._dial_later())

    def _opened(self, connection: Connection) -> None:
        self.connection = connection
        self._up_since = self._peers.clock.seconds()
        if self._is_closed:
            connection.end("the link is closed")

    def _ended(self) -> None:
        self.connection = None
        if self._peers.clock.seconds() - self._up_since >= LONGEST_PAUSE:
            self._failures = 0
        self._dial_later()

    def _dial_later(self) -> None:
        if not self._is_closed:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
            self._failures += 1
            pause *= self._peers.rng.uniform(0.5, 1.0)
            self._peers.clock.callLater(pause, self._dial)

    def close(self) -> None:
        self._is_closed = True
        if self.connection is not None:
            self.connection.end("the link is closed")


@implementer(IPeers)
class SimulatedPeers:
    """
    A link to each other member of the configuration.
    """

    def __init__(
        self,
        server_id: str,
        network: Network,
        watch: Watch,
        process: Process,
        clock: IReactorTime,
        rng: Random,
    ) -> None:
        """
        Begin without any link.
        """
        self.clock = clock
        self.rng = rng
        self._server_id = server_id
        self._network = network
        self._watch = watch
        self._process = process
        self._cluster_id: str | None = None
        self._links: dict[str, _Link] = {}

    def stop(self) -> None:
        """
        Close all links.
        """
        links, self._links = self._links, {}
        for link in links.values():
            link.close()

    def configure(self, cluster_id: str, servers: Sequence[Server]) -> None:
        """
        See :meth:`hraftd.interfaces.IPeers.configure`.
        """
        self._cluster_id = cluster_id
        addresses = {server.id: server.raft for server in servers}
        for server_id, link in list(self._links.items()):
            if addresses.get(server_id) != link.address:
                del self._links[server_id]
                link.close()
        for server in servers:
            if server.id != self._server_id and server.id not in self._links:
                self._links[server.id] = _Link(self, server.id, server.raft)

    def is_linked(self, server_id: str) -> bool:
        """
        See :meth:`hraftd.interfaces.IPeers.is_linked`.
        """
        link = self._links.get(server_id)
        return link is not None and link.connection is not None

    def call(self, call: Call) -> Deferred[Response]:
        """
        See :meth:`hraftd.interfaces.IPeers.call`.
        """
        link = self._links.get(call.to)
        if link is None or link.connection is None:
            return fail(NotConnected(f"no link to {call.to} is open"))
        self._watch.called(self._server_id, call.request)
        return link.connection.call(call.request)

    def ask(
        self, server_id: str, request: LeaderRequest, seconds: float
    ) -> Deferred[Any]:
        """
        See :meth:`hraftd.interfaces.IPeers.ask`.
        """
        link = self._links.get(server_id)
        if link is None or link.connection is None:
            return fail(NotReached(f"no link to {server_id} is open"))
        return link.connection.ask(request, seconds)

    def probe(self, server: Server) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IPeers.probe`.
        """

        def opened(connection: Connection) -> None:
            connection.end("it was only a probe")

        return self.dial(
            server.id, server.raft, PROBE_SECONDS, lambda: None
        ).addCallback(opened)

    # Opening connections.

    def dial(
        self,
        server_id: str,
        address: str,
        seconds: float,
        on_end: Callable[[], object],
    ) -> Deferred[Connection]:
        """
        Connect to a server and say Hello.

        :param on_end: called when the connection, once it is open, is over.
        :return: fails within so many seconds.
        """
        opening: Deferred[Connection] = Deferred()

        def over(error: Exception) -> None:
            if not opening.called:
                if limit.active():
                    limit.cancel()
                opening.errback(error)

        limit = self.clock.callLater(
            seconds, over, NotConnected(f"no server answers at {address}")
        )
        cluster_id = self._cluster_id
        machine = self._network.machines.machine_at(address)
        if machine is None or cluster_id is None:
            return opening
        there = self._network.path(self._server_id, machine)
        back = Stream(
            self._network,
            self._network.path(machine, self._server_id),
            self._process,
        )

        def hello() -> None:
            found = self._network.machines.listening_at(address)
            if found is None:
                if self._network.machines.is_up(machine):
                    back.send(0, over, NotConnected(f"nobody listens at {address}"))
                return
            answerer, server = found
            self._network.world.after(0, answerer, greeted, answerer, server)

        def greeted(answerer: Process, server: RaftServer) -> None:
            if server.server_id != server_id:
                back.send(0, over, NotConnected(f"it is {server.server_id}"))
                return
            admitted = server.admit(cluster_id)
            admitted.addCallback(lambda _: back.send(0, opened, answerer, server))
            admitted.addErrback(refused)

        def refused(failure: Failure) -> None:
            failure.trap(WrongCluster, Stopped)
            back.send(0, over, NotConnected(failure.getErrorMessage()))

        def opened(answerer: Process, server: RaftServer) -> None:
            if opening.called:
                return
            limit.cancel()
            connection = Connection(
                self._network,
                self._watch,
                self.clock,
                self._process,
                answerer,
                server,
                Stream(self._network, there, answerer),
                back,
                on_end,
            )
            self._network.connections[connection] = None
            opening.callback(connection)

        # Whoever listens there does so when this arrives, not before.
        knock = Stream(self._network, there, self._network.nobody)
        knock.send(0, hello)
        return opening

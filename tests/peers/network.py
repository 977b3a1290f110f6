"""
A network in memory, for tests of both sides of a connection.

Everything dials and listens on one :class:`Network`, whose clock stands still until it
is told to advance. Bytes can be delivered in pieces of random size.
"""

from __future__ import annotations

import gc
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport
from twisted.trial.unittest import SynchronousTestCase

from hraftd.errors import WrongCluster
from hraftd.peers.hello import OUR_VERSIONS, Hello, Versions
from hraftd.peers.links import PeerLinks
from hraftd.peers.locator import PeerFactory
from hraftd.raft.configuration import Configuration, Server
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    InstallSnapshot,
    InstallSnapshotResponse,
    Piece,
    Request,
    RequestVote,
    RequestVoteResponse,
    Response,
    Snapshot,
    TimeoutNow,
    TimeoutNowResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied

CLUSTER = "cluster-1"


class Transport(FakeTransport):
    """
    One end of a wire, closer to a real one than iosim's.

    An abort loses what was not delivered.
    """

    aborted = False

    @property
    def closes(self) -> bool:
        """
        Whether nothing keeps the connection open; a producer would, on a real one.
        """
        return self.aborted or (bool(self.disconnecting) and self.producer is None)

    def abortConnection(self) -> None:
        """
        Close the wire, and lose what is on it.
        """
        self.aborted = True
        self.stream = []
        super().abortConnection()


@define(eq=False)
class Wire:
    """
    A connection between two protocols.
    """

    client: Transport
    server: Transport
    rng: Random | None = None
    #: A stuck wire delivers nothing, as if a cable had been pulled.
    stuck: bool = False
    closed: bool = False

    def deliver(self) -> bool:
        """
        Carry over what was written; say whether there was anything.
        """
        if self.stuck or self.closed:
            return False
        moved = False
        for sender, receiver in (
            (self.client, self.server),
            (self.server, self.client),
        ):
            data = sender.getOutBuffer()
            if data and not receiver.aborted:
                moved = True
                self._feed(receiver, data)
        if not moved and (self.client.closes or self.server.closes):
            self.cut()
            return True
        return moved

    def _feed(self, receiver: Transport, data: bytes) -> None:
        while data:
            size = len(data) if self.rng is None else self._piece()
            receiver.bufferReceived(data[:size])
            data = data[size:]

    def _piece(self) -> int:
        assert self.rng is not None
        return self.rng.choice((1, 2, 3, self.rng.randrange(1, 200), 65536))

    def cut(self, lost: bool = False) -> None:
        """
        Tell both ends that the connection is over.
        """
        if not self.closed:
            self.closed = True
            for end in (self.client, self.server):
                end.disconnecting = end.disconnected = True
                if lost:
                    end.disconnectReason = ConnectionLost()
                end.reportDisconnect()


class Network:
    """
    One reactor, whose listeners are reached by port.

    :ivar silent: ports that let a caller wait.
    """

    def __init__(self) -> None:
        """
        Begin without listeners.
        """
        self.reactor = MemoryReactorClock()
        self.rng: Random | None = None
        self.listeners: dict[int, Any] = {}
        self.silent: set[int] = set()
        self.wires: list[Wire] = []
        self.dialled: list[float] = []

    def listen(self, port: int, factory: Any) -> None:
        """
        Let callers of that port reach a factory.
        """
        self.listeners[port] = factory

    def join(self, client: Any, server: Any) -> Wire:
        """
        Connect two protocols.
        """
        here = IPv4Address("TCP", "127.0.0.1", 50000 + len(self.wires))
        there = IPv4Address("TCP", "127.0.0.1", 12000)
        wire = Wire(
            Transport(client, False, here, there),
            Transport(server, True, there, here),
            self.rng,
        )
        self.wires.append(wire)
        server.makeConnection(wire.server)
        client.makeConnection(wire.client)
        return wire

    def _dial(self) -> bool:
        for number, dialled in enumerate(self.reactor.tcpClients):
            connector = self.reactor.connectors[number]
            _, port, factory, *_ = dialled
            if port in self.silent and not connector.stoppedConnecting:
                continue
            del self.reactor.tcpClients[number]
            del self.reactor.connectors[number]
            if connector.stoppedConnecting:
                return True
            self.dialled.append(self.reactor.seconds())
            listener = self.listeners.get(port)
            protocol = None
            if listener is not None:
                caller = IPv4Address("TCP", "127.0.0.1", 50000 + len(self.wires))
                protocol = listener.buildProtocol(caller)
            if protocol is None:
                reason = ConnectionRefusedError(111)
                factory.clientConnectionFailed(connector, Failure(reason))
            else:
                self.join(factory.buildProtocol(None), protocol)
            return True
        return False

    def settle(self) -> None:
        """
        Let everything happen that happens without time going by.
        """
        for _ in range(10_000):
            self.reactor.advance(0)
            if not self._dial() and not self._deliver():
                return
        raise AssertionError("the network does not come to rest")

    def _deliver(self) -> bool:
        # Every wire gets its turn, also behind one that had something.
        return any([wire.deliver() for wire in self.wires])  # noqa: C419

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """
        Let time go by.
        """
        self.settle()
        for _ in range(round(seconds / step)):
            self.reactor.advance(step)
            self.settle()

    @property
    def open_wires(self) -> list[Wire]:
        """
        The connections that are not closed.
        """
        return [wire for wire in self.wires if not wire.closed]


@define(eq=False)
class StandIn:
    """
    Takes the place of a RaftServer.

    :ivar hold: while set, requests wait in ``held`` for their answers.
    :ivar asked: what peers asked for their clients; the answers wait in ``serving``,
        unless ``decide`` gives them at once.
    """

    server_id: str
    cluster_id: str | None = CLUSTER
    requests: list[Request] = field(factory=list)
    hold: bool = False
    held: list[Deferred[Response]] = field(factory=list)
    respond: Callable[[Request], Any] | None = None
    admission: Deferred[None] | None = None
    asked: list[LeaderRequest] = field(factory=list)
    serving: list[Deferred[Applied | int]] = field(factory=list)
    decide: Callable[[LeaderRequest], Any] | None = None

    def admit(self, cluster_id: str) -> Deferred[None]:
        """
        Accept peers of the same cluster.
        """
        if self.admission is not None:
            return self.admission
        if cluster_id != self.cluster_id:
            return fail(WrongCluster(f"{self.server_id} is in {self.cluster_id}"))
        return succeed(None)

    def handle(self, request: Request) -> Deferred[Response]:
        """
        Answer a request, now or later.
        """
        self.requests.append(request)
        if self.respond is not None:
            return self.respond(request)
        if self.hold:
            self.held.append(Deferred())
            return self.held[-1]
        return succeed(answer_to(request))

    def serve(self, request: LeaderRequest) -> Deferred[Applied | int]:
        """
        Do what a peer asks for a client, now or later.
        """
        self.asked.append(request)
        if self.decide is not None:
            return self.decide(request)
        self.serving.append(Deferred())
        return self.serving[-1]


def answer_to(request: Request) -> Response:
    """
    Answer a request in a way that shows which one it was.
    """
    match request:
        case RequestVote():
            return RequestVoteResponse(request.term, vote_granted=True)
        case AppendEntries():
            return AppendEntriesResponse(
                request.term, True, request.prev_log_term, request.prev_log_index
            )
        case InstallSnapshot():
            end = request.piece.offset + len(request.piece.data)
            return InstallSnapshotResponse(request.term, end)
        case TimeoutNow():
            return TimeoutNowResponse(request.term)


class PeersTestCase(SynchronousTestCase):
    """
    A test with a network and an eye on the log.

    No failure may be logged, nor left behind in a Deferred.
    """

    def setUp(self) -> None:
        """
        Make the network, and listen to the log.
        """
        self.network = Network()
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def tearDown(self) -> None:
        """
        Look for failures that nobody expected.
        """
        gc.collect()
        failures = [
            formatEvent(event)
            for event in self.events
            if event.get("log_failure") or event.get("isError")
        ]
        assert failures == []

    def logged(self, *levels: LogLevel) -> list[str]:
        """
        Return the lines that hraftd has logged since this was asked last.
        """
        lines = [
            formatEvent(event)
            for event in self.events
            if event["log_level"] in (levels or (LogLevel.info, LogLevel.warn))
            and event["log_namespace"].startswith("hraftd.")
        ]
        self.events[:] = [event for event in self.events if event.get("log_failure")]
        return lines

    def serve(
        self, server_id: str = "n2", port: int = 12002, **options: Any
    ) -> tuple[StandIn, PeerFactory]:
        """
        Let a server listen.
        """
        raft_server = StandIn(server_id)
        factory = PeerFactory(raft_server, self.network.reactor, **options)
        self.network.listen(port, factory)
        return raft_server, factory

    def links(self, server_id: str = "n1", **options: Any) -> PeerLinks:
        """
        Make the links of a server, running.
        """
        links = PeerLinks(server_id, self.network.reactor, rng=Random(1), **options)
        links.startService()
        return links


class Caller(amp.AMP):
    """
    A peer that follows AMP's rules and none of ours.
    """

    lost = False

    def connectionLost(self, reason: Any) -> None:
        """
        Remember that it is over.
        """
        super().connectionLost(reason)
        self.lost = True

    def callRemote(self, *args: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        """
        Ask, and keep failures.

        AMP logs what is still a failure when it has called our callbacks.
        """
        answer: Deferred[dict[str, Any]] = Deferred()
        super().callRemote(*args, **arguments).addCallbacks(
            answer.callback, answer.errback
        )
        return answer

    def hello(self, **changes: Any) -> Deferred[dict[str, Any]]:
        """
        Say Hello, correctly unless told otherwise.
        """
        arguments = {
            "version": OUR_VERSIONS.newest,
            "oldest": OUR_VERSIONS.oldest,
            "cluster": CLUSTER,
            "sender": "n1",
            "receiver": "n2",
        }
        return self.callRemote(Hello, **(arguments | changes))


def servers(**ports: int) -> tuple[Server, ...]:
    """
    Name servers on this machine.
    """
    return tuple(Server(name, f"127.0.0.1:{port}") for name, port in ports.items())


def vote(term: int = 3, candidate_id: str = "n1") -> RequestVote:
    """
    Make a request for a vote.
    """
    return RequestVote(term, candidate_id, 7, 2, pre_vote=True)


def append(*commands: bytes, leader_id: str = "n1", index: int = 7) -> AppendEntries:
    """
    Make a request to append commands behind an index.
    """
    entries = tuple(
        Entry(number, 3, command) for number, command in enumerate(commands, index + 1)
    )
    return AppendEntries(3, leader_id, index, 2, entries, 5)


def install(data: bytes = b"piece", leader_id: str = "n1") -> InstallSnapshot:
    """
    Make a request to install a snapshot of one piece.
    """
    members = Configuration((Server("n1", "127.0.0.1:12001"),))
    snapshot = Snapshot(7, 2, members, len(data), bytes(range(32)))
    return InstallSnapshot(3, leader_id, snapshot, Piece(0, data), done=True)


__all__ = [
    "CLUSTER",
    "Caller",
    "Network",
    "PeersTestCase",
    "StandIn",
    "Transport",
    "Versions",
    "Wire",
    "answer_to",
    "append",
    "install",
    "servers",
    "vote",
]

"""
One node as a hierarchy of services, on a reactor of memory.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import evolve
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hraftd.node import CannotStart, Node, Settings
from hraftd.raft.configuration import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort

ME = Server("node0", "localhost:12000", "localhost:11000")
SETTINGS = Settings(
    me=ME,
    raft_endpoint="tcp:12000:interface=127.0.0.1",
    http_endpoint="tcp:11000:interface=127.0.0.1",
    data_dir=None,
)


class Reactor(MemoryReactorClock):
    """
    Runs what a thread hands over at once: no thread is faster than these tests.
    """

    def callFromThread(self, callable: Any, *args: Any, **kwargs: Any) -> None:
        """
        Call it in the reactor's next turn.
        """
        self.callLater(0, callable, *args, **kwargs)


@pytest.fixture
def events() -> Iterator[list[str]]:
    """
    Collect what is logged at the levels an operator sees.
    """
    seen: list[str] = []

    def observe(event: Any) -> None:
        if event["log_level"].name in ("info", "warn", "critical"):
            seen.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


def fail(reason: str) -> None:
    """
    Refuse to go on.
    """
    raise AssertionError(reason)


class TestInMemory(SynchronousTestCase):
    """
    The life of a node.
    """

    def setUp(self) -> None:
        """
        Start a node, and let it elect itself.
        """
        self.reactor = Reactor()
        self.node = Node(SETTINGS, self.reactor, fail)
        self.node.startService()
        self.reactor.pump([0.025] * 100)

    def request(self, request: bytes) -> StringTransport:
        """
        Make a request, and return the connection with its answer.
        """
        _, site, _, _ = self.reactor.tcpServers[1]
        channel = self.channel = site.buildProtocol(None)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection
        channel.makeConnection(transport)
        channel.dataReceived(request)
        self.reactor.pump([0.0] * 5)
        return transport

    def test_listens(self) -> None:
        """
        For peers first, and for clients when all that serves them is there.
        """
        assert [
            (port, interface) for port, _, _, interface in self.reactor.tcpServers
        ] == [(12000, "127.0.0.1"), (11000, "127.0.0.1")]

    def test_serves(self) -> None:
        """
        It leads its cluster of one, and writes.
        """
        transport = self.request(
            b'POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"foo":"bar"}'
        )
        assert transport.value().startswith(b"HTTP/1.1 200 OK\r\n")
        transport = self.request(b"GET /key/foo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert transport.value().endswith(b'{"foo": "bar"}')

    def test_stops(self) -> None:
        """
        When it has stopped, no service runs and nothing is left to happen.
        """
        stopped = self.node.stopService()
        self.reactor.pump([0.0] * 5)
        self.successResultOf(stopped)
        assert not any(service.running for service in self.node)
        assert self.reactor.getDelayedCalls() == []

    def test_stops_clients_last(self) -> None:
        """
        A connection that a client keeps open is closed, but only at the end.
        """
        transport = self.request(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not transport.disconnecting
        stopped = self.node.stopService()
        self.reactor.pump([0.0] * 5)
        assert transport.disconnecting
        assert not any(service.running for service in self.node)
        # The client does not go away by itself; it is not waited for much longer.
        self.assertNoResult(stopped)
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(stopped)


class Refused(Reactor):
    """
    A reactor one of whose ports is taken.
    """

    def __init__(self, taken: int) -> None:
        """
        Let somebody else have that port.
        """
        MemoryReactorClock.__init__(self)
        self._taken = taken

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """
        Listen, unless that port is taken.
        """
        if port == self._taken:
            raise CannotListenError(interface, port, OSError(98, "in use"))
        return MemoryReactorClock.listenTCP(self, port, factory, backlog, interface)


@pytest.mark.parametrize("taken", [11000, 12000])
def test_port_in_use(taken: int) -> None:
    """
    A port that is taken is why a node cannot start.
    """
    node = Node(SETTINGS, Refused(taken), fail)
    with pytest.raises(CannotStart, match=rf"^cannot listen: .*127\.0\.0\.1:{taken}"):
        node.startService()


@pytest.mark.parametrize(
    "endpoint",
    [
        "ssl:11000:privateKey=nowhere.pem",
        "tcp:11000:colour=red",
        "systemd:domain=INET:index=99",
        "fd:3",
    ],
)
def test_endpoint_that_cannot_be(endpoint: str) -> None:
    """
    Whatever Twisted stumbles over in an endpoint string is one sentence as well.
    """
    node = Node(evolve(SETTINGS, http_endpoint=endpoint), Reactor(), fail)
    with pytest.raises(CannotStart) as error:
        node.startService()
    assert str(error.value).startswith(f"cannot listen on {endpoint}: ")


class TestOnDisk:
    """
    What a data directory says at the next start.
    """

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        """
        Run a node once, and tell how.
        """
        settings = evolve(SETTINGS, data_dir=tmp_path / "data")
        self.run(settings)
        return settings

    @staticmethod
    def run(settings: Settings) -> None:
        """
        Start a node, wait until it has written what there is, and stop it.
        """
        reactor = Reactor()
        node = Node(settings, reactor, fail)
        node.startService()
        reactor.advance(0)
        stopped: Deferred[Any] = node.stopService()
        done: list[object] = []
        stopped.addCallback(done.append)
        while not done:
            reactor.advance(0.001)

    def test_back(self, settings: Settings, events: list[str]) -> None:
        """
        With earlier state it is back, whatever it is told to join.
        """
        del events[:]
        self.run(evolve(settings, join=("elsewhere:1",)))
        assert any("node0 is back in cluster" in event for event in events)
        assert not any("wants to join" in event for event in events)
        assert any("--join is not looked at" in event for event in events)
        assert not any("knows" in event for event in events)

    def test_moved(self, settings: Settings, events: list[str]) -> None:
        """
        The operator hears if the cluster will go on dialling another address.
        """
        self.run(
            evolve(settings, me=evolve(ME, raft="localhost:1", http="localhost:2"))
        )
        said = [event for event in events if "knows" in event]
        assert len(said) == 2
        assert (
            "node0 by the Raft address localhost:12000, not by localhost:1,"
            in (said[0])
        )
        assert (
            "node0 by the HTTP address localhost:11000, not by localhost:2,"
            in (said[1])
        )

    def test_other_id(self, settings: Settings) -> None:
        """
        Another node's directory is no place for this one.
        """
        node = Node(evolve(settings, me=evolve(ME, id="node1")), Reactor(), fail)
        with pytest.raises(CannotStart, match="belongs to the node node0"):
            node.startService()

    def test_in_use(self, settings: Settings) -> None:
        """
        Nor is one in which a node runs.
        """
        reactor = Reactor()
        first = Node(settings, reactor, fail)
        first.startService()
        with pytest.raises(CannotStart, match="is in use by another process"):
            Node(settings, Reactor(), fail).startService()
        done: list[object] = []
        cast("Deferred[Any]", first.stopService()).addCallback(done.append)
        while not done:
            reactor.advance(0.001)

    def test_never_a_member(self, settings: Settings) -> None:
        """
        A node that knows a cluster and is not its member has to be told to join.
        """
        assert settings.data_dir is not None
        file = settings.data_dir / "hraftd.sqlite3"
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("DELETE FROM log")
        node = Node(settings, Reactor(), fail)
        with pytest.raises(CannotStart, match="start it with --join"):
            node.startService()

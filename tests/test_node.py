"""
One node as a hierarchy of services, on a reactor of memory.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import time
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.forwarding import OnFollower
from hraftd.node import CannotStart, Node, Settings
from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.messages import Entry, HardState
from hraftd.reads import ReadLevel
from hraftd.server import RaftServer
from hraftd.snapshots import SnapshotPolicy
from hraftd.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort

ME = Server("node0", "localhost:12000", "localhost:11000")
WRITE = b'POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"foo":"bar"}'
MOVED = evolve(ME, raft="localhost:1", http="localhost:2")
SETTINGS = Settings(
    me=ME,
    raft_endpoint="tcp:12000:interface=127.0.0.1",
    http_endpoint="tcp:11000:interface=127.0.0.1",
    data_dir=None,
)


class Reactor(MemoryReactorClock):
    """
    Takes what the disk's thread hands over, but calls it in its own thread only.
    """

    def __init__(self) -> None:
        """
        Begin with nothing handed over.
        """
        MemoryReactorClock.__init__(self)
        self._handed_over: deque[tuple[Any, Any, Any]] = deque()

    def callFromThread(self, callable: Any, *args: Any, **kwargs: Any) -> None:
        """
        Call it in the reactor's next turn.
        """
        self._handed_over.append((callable, args, kwargs))

    def advance(self, amount: float) -> None:
        """
        Let time pass.
        """
        while self._handed_over:
            callable, args, kwargs = self._handed_over.popleft()
            self.callLater(0, callable, *args, **kwargs)
        MemoryReactorClock.advance(self, amount)


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
        self.start(SETTINGS)

    def start(self, settings: Settings) -> None:
        """
        Start a node, and give it time for an election.
        """
        self.reactor = Reactor()
        self.node = Node(settings, self.reactor, fail)
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
        transport = self.request(WRITE)
        assert transport.value().startswith(b"HTTP/1.1 200 OK\r\n")
        transport = self.request(b"GET /key/foo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert transport.value().endswith(b'{"foo": "bar"}')

    def test_snapshot_settings(self) -> None:
        """
        It takes snapshots as often as it was told.
        """
        policy = SnapshotPolicy(threshold_entries=4, trailing_entries=1)
        self.start(evolve(SETTINGS, snapshots=policy))
        for _ in range(5):
            transport = self.request(WRITE)
            assert transport.value().startswith(b"HTTP/1.1 200 OK\r\n")
        self.reactor.pump([0.025] * 10)
        transport = self.request(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        status = json.loads(transport.value().partition(b"\r\n\r\n")[2])
        assert status["snapshot_index"] >= 4
        assert status["first_log_index"] >= status["snapshot_index"]

    def test_read_level_setting(self) -> None:
        """
        Reads that ask for nothing are as fresh as it was told.
        """
        self.start(evolve(SETTINGS, read_level=ReadLevel.STRONG))
        transport = self.request(b"GET /key/x?freshness=1s HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"not strong" in transport.value()

    def test_on_follower_setting(self) -> None:
        """
        Told to pass writes on, it tries that before it gives up.
        """
        join = evolve(SETTINGS, join=("localhost:9",))
        # A member; only that it has no leader.
        self.patch(RaftServer, "is_member", True)
        for way, tries in ((OnFollower.ERROR, False), (OnFollower.FORWARD, True)):
            self.start(evolve(join, on_follower=way))
            transport = self.request(WRITE)
            assert (transport.value() == b"") == tries
            self.reactor.pump([0.05] * 41)
            assert transport.value().startswith(b"HTTP/1.1 503 ")

    def test_stops(self) -> None:
        """
        When it has stopped, no service runs and nothing is left to happen.
        """
        stopped = self.node.stopService()
        self.reactor.pump([0.0] * 5)
        self.successResultOf(stopped)
        assert not any(service.running for service in self.node)
        assert self.reactor.getDelayedCalls() == []

    def test_hands_over_first(self) -> None:
        """
        While a leader looks for the next one it serves as before; only then it drains.
        """
        handing_over: list[Deferred[None]] = []

        def hand_over(_: RaftServer, seconds: float) -> Deferred[None]:
            assert 0 < seconds <= 5
            handing_over.append(Deferred())
            return handing_over[0]

        self.patch(RaftServer, "hand_over", hand_over)
        stopped = self.node.stopService()
        self.reactor.pump([0.1] * 10)
        assert len(handing_over) == 1
        assert self.request(WRITE).value().startswith(b"HTTP/1.1 200 OK\r\n")
        self.channel.connectionLost(Failure(ConnectionDone()))
        *others, http = [service.running for service in self.node]
        assert all(others)
        assert not http
        handing_over[0].callback(None)
        self.reactor.pump([0.0] * 5)
        self.successResultOf(stopped)
        assert not any(service.running for service in self.node)

    def test_drains_behind_that(self) -> None:
        """
        What is taken before it stops is finished, here and at the leader.
        """
        draining: list[str] = []

        def drain(one: object, seconds: float) -> Deferred[None]:
            draining.append(type(one).__name__)
            return succeed(None)

        self.patch(RaftServer, "drain", drain)
        self.patch(ClientRequests, "drain", drain)
        self.successResultOf(self.node.stopService())
        assert sorted(draining) == ["ClientRequests", "RaftServer"]

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
        super().__init__()
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

    def run(self, settings: Settings, until: Callable[[], bool] = lambda: True) -> None:
        """
        Start a node, wait until it has written what there is, and stop it.
        """
        reactor = Reactor()
        node = Node(settings, reactor, fail)
        node.startService()
        reactor.advance(0)
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline
            reactor.advance(0.001)
        self.wait(reactor, cast("Deferred[Any]", node.stopService()))

    @staticmethod
    def wait(reactor: Reactor, pending: Deferred[Any]) -> None:
        """
        Turn the reactor until that is done, which a thread may have to do.
        """
        done: list[object] = []
        pending.addCallback(done.append)
        deadline = time.monotonic() + 20
        while not done:
            assert time.monotonic() < deadline
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
        self.run(evolve(settings, me=MOVED))
        said = [event for event in events if "knows" in event]
        assert len(said) == 2
        assert (
            "node0 by the Raft address localhost:12000, not by localhost:1," in said[0]
        )
        assert (
            "node0 by the HTTP address localhost:11000, not by localhost:2," in said[1]
        )
        assert all("start with --join to change it" in event for event in said)
        assert not any("changed its addresses" in event for event in events)

    def test_moves(self, settings: Settings, events: list[str]) -> None:
        """
        With --join it changes its addresses; it leads, so nobody else is asked.
        """
        moved = evolve(settings, me=MOVED, join=("localhost:11000",))
        self.run(moved, until=lambda: any("has changed its" in one for one in events))
        said = [event for event in events if "knows" in event]
        assert len(said) == 2
        assert all("is asked to change that" in event for event in said)
        assert not any("is not looked at" in event for event in events)
        del events[:]
        self.run(moved)
        assert not any("knows" in event for event in events)
        assert any("--join is not looked at" in event for event in events)

    def test_nonvoter_that_votes(self, settings: Settings, events: list[str]) -> None:
        """
        A member keeps its vote whatever it is told; the operator hears how to change.
        """
        self.run(evolve(settings, me=evolve(ME, suffrage=Suffrage.NONVOTER)))
        assert any("--nonvoter does not change that" in event for event in events)

    def test_nonvoter_begins_nothing(self, tmp_path: Path) -> None:
        """
        A node without a vote has no cluster to begin.
        """
        me = evolve(ME, suffrage=Suffrage.NONVOTER)
        node = Node(evolve(SETTINGS, me=me, data_dir=tmp_path), Reactor(), fail)
        with pytest.raises(CannotStart, match="with --nonvoter it cannot begin"):
            node.startService()

    @pytest.fixture
    def removed(self, tmp_path: Path) -> Settings:
        """
        Leave a data directory as a node does that was removed, and tell of it.
        """
        reactor = Reactor()
        storage = SqliteStorage(tmp_path, ME.id, reactor)
        storage.load()
        others = Configuration((Server("node1", "x:1"),))
        saved = storage.save(HardState(1), [Entry(1, 1, others)], "the-cluster")
        self.wait(reactor, saved)
        self.wait(reactor, storage.close())
        return evolve(SETTINGS, data_dir=tmp_path)

    def test_told_to_join_once(self, tmp_path: Path) -> None:
        """
        A node that was to join a cluster, and has not, begins none of its own later.
        """
        settings = evolve(SETTINGS, data_dir=tmp_path / "new")
        self.run(evolve(settings, join=("localhost:9",)))
        for _ in range(2):
            node = Node(settings, Reactor(), fail)
            with pytest.raises(CannotStart, match="was to join a cluster and has not"):
                node.startService()
            # Its process would end now; here it must let go of its files.
            del node
            gc.collect()

    def test_removed(self, removed: Settings) -> None:
        """
        A node that was removed from its cluster says so in one line, and what to do.
        """
        with pytest.raises(CannotStart) as error:
            Node(removed, Reactor(), fail).startService()
        assert "removed from cluster the-cluster" in str(error.value)
        assert "start it with --join" in str(error.value)
        assert "\n" not in str(error.value)

    def test_removed_joins_again(self, removed: Settings, events: list[str]) -> None:
        """
        Told to join, it asks for its place again.
        """
        self.run(evolve(removed, join=("localhost:9",)))
        assert any("node0 wants to join a cluster" in event for event in events)

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

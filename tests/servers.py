"""
Real servers, joined without a network and driven by a clock that tests turn.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from zope.interface import implementer

from hraftd.interfaces import IPeers, IStorage, Stored
from hraftd.kv.store import KeyValueStore
from hraftd.raft.configuration import Server
from hraftd.server import RaftServer
from hraftd.status import TICK
from hraftd.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hraftd.raft.configuration import Configuration
    from hraftd.raft.messages import Call, Entry, HardState, Response


def member(server_id: str) -> Server:
    """
    Name a server and two addresses after it.
    """
    return Server(server_id, f"{server_id}:12000", f"{server_id}:11000")


@implementer(IStorage)
class HeldStorage:
    """
    A storage whose saves end when a test says so.
    """

    def __init__(self) -> None:
        """
        Begin empty, and let saves end at once.
        """
        self.kept = MemoryStorage()
        self.held = False
        self.saves: list[tuple[HardState | None, Sequence[Entry], str | None]] = []
        self._waiting: list[Deferred[None]] = []

    def load(self) -> Stored:
        """
        Read what was kept.
        """
        return self.kept.load()

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None = None,
    ) -> Deferred[None]:
        """
        Begin to keep this.
        """
        assert not self._waiting, "only one save is under way at a time"
        self.saves.append((hard_state, entries, cluster_id))
        if not self.held:
            return self.kept.save(hard_state, entries, cluster_id)
        saving: Deferred[None] = Deferred()
        self._waiting.append(saving)
        return saving

    def finish(self) -> None:
        """
        Let the save under way succeed.
        """
        saving = self._waiting.pop()
        self.kept.save(*self.saves[-1]).chainDeferred(saving)

    def break_down(self, error: Exception) -> None:
        """
        Let the save under way fail.
        """
        self._waiting.pop().errback(error)

    def close(self) -> Deferred[None]:
        """
        Let go.
        """
        return self.kept.close()


@implementer(IPeers)
@define(eq=False)
class Wires:
    """
    The way of one server to the others: straight into their ``handle``.
    """

    group: Group
    server_id: str
    configurations: list[tuple[str, Configuration]] = field(factory=list)
    calls: list[Call] = field(factory=list)

    def configure(self, cluster_id: str, configuration: Configuration) -> None:
        """
        Remember the members.
        """
        self.configurations.append((cluster_id, configuration))

    def call(self, call: Call) -> Deferred[Response]:
        """
        Hand the request over, unless one of the two is cut off.
        """
        self.calls.append(call)
        if {call.to, self.server_id} & self.group.cut_off:
            return fail(ConnectionError("cut off"))
        peer = self.group.servers.get(call.to)
        if peer is None:
            return fail(ConnectionError("there is no such server"))
        return peer.handle(call.request)

    def probe(self, server: Server) -> Deferred[None]:
        """
        See whether the server is in the group, and admits this cluster.
        """
        peer = self.group.servers.get(server.id)
        if peer is None:
            return fail(ConnectionError(f"no server answers at {server.raft}"))
        cluster_id = self.group.servers[self.server_id].cluster_id
        assert cluster_id is not None
        return peer.admit(cluster_id)


class Group:
    """
    Servers by id, on one clock.
    """

    def __init__(self) -> None:
        """
        Begin with none.
        """
        self.clock = Clock()
        self.servers: dict[str, RaftServer] = {}
        self.stores: dict[str, KeyValueStore] = {}
        self.wires: dict[str, Wires] = {}
        self.cut_off: set[str] = set()
        self.failures: list[str] = []

    def add(self, server_id: str, storage: IStorage | None = None) -> RaftServer:
        """
        Make a server, not started, that belongs to no cluster yet.
        """
        self.stores[server_id] = KeyValueStore()
        self.wires[server_id] = Wires(self, server_id)
        server = self.servers[server_id] = RaftServer(
            server_id,
            MemoryStorage() if storage is None else storage,
            self.stores[server_id],
            self.wires[server_id],
            self.clock,
            rng=Random(server_id),
            on_failure=lambda failure: self.failures.append(failure.getErrorMessage()),
        )
        return server

    def first(self, server_id: str, storage: IStorage | None = None) -> RaftServer:
        """
        Make a server that begins a cluster of one and leads it.
        """
        server = self.add(server_id, storage)
        server.bootstrap(member(server_id))
        server.startService()
        self.until(lambda: server.status().role == "leader")
        return server

    def join(
        self, server_id: str, leader: RaftServer, storage: IStorage | None = None
    ) -> RaftServer:
        """
        Make a server that becomes a voter of the leader's cluster.
        """
        server = self.add(server_id, storage)
        assert leader.cluster_id is not None
        server.expect_cluster(leader.cluster_id)
        server.startService()
        added = leader.add_server(member(server_id))
        added.addErrback(lambda failure: self.failures.append(str(failure)))
        self.until(lambda: bool(added.called))
        return server

    def turn(self) -> None:
        """
        Let everything happen that needs no time.
        """
        for _ in range(20):
            self.clock.advance(0)

    def ticks(self, count: int) -> None:
        """
        Let time pass.
        """
        for _ in range(count):
            self.clock.advance(TICK)
            self.turn()

    def until(self, condition: Callable[[], bool], ticks: int = 400) -> None:
        """
        Let time pass until something is so.
        """
        self.turn()
        for _ in range(ticks):
            if condition():
                return
            self.ticks(1)
        raise AssertionError(f"not so after {ticks} ticks")

    def leader(self) -> RaftServer:
        """
        Return the server that leads the highest term, of those not cut off.
        """
        leaders = [
            server
            for server_id, server in self.servers.items()
            if server_id not in self.cut_off and server.status().role == "leader"
        ]
        return max(leaders, key=lambda server: server.status().term)

    def has_leader(self) -> bool:
        """
        Whether one of those that are not cut off leads.
        """
        return any(
            server.status().role == "leader"
            for server_id, server in self.servers.items()
            if server_id not in self.cut_off
        )

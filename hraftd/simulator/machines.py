"""
A machine with a disk and an address, and the server that runs on it.

A :class:`Machine` starts its server the way a node does, with what its disk holds, and
stops it in every way there is: in order, killed, with the machine, or by an error of
the disk.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from attrs import define, frozen

from hraftd.client_requests import ClientRequests
from hraftd.expiry import Expiry
from hraftd.memory_storage import MemoryStorage
from hraftd.raft.configuration import Server, Suffrage
from hraftd.server import RaftServer
from hraftd.simulator.checks import WatchedStore
from hraftd.simulator.clock import Process, ProcessClock
from hraftd.simulator.disks import DiskTrouble
from hraftd.simulator.peers import SimulatedPeers
from hraftd.simulator.storage import SimulatedStorage

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from hraftd.simulator.cluster import Cluster
    from hraftd.simulator.disks import Disk

__all__ = ["Machine", "Running"]

#: Seconds after which clients are told that the outcome is unknown.
CLIENT_SECONDS = 4.0

#: Seconds for handing over when a server is stopped in order.
_HAND_OVER_SECONDS = 1.0


@frozen(eq=False)
class Running:
    """
    A server that runs, and what belongs to its process.
    """

    process: Process
    clock: ProcessClock
    storage: SimulatedStorage
    store: WatchedStore
    peers: SimulatedPeers
    server: RaftServer
    requests: ClientRequests
    expiry: Expiry


@define(eq=False)
class Machine:
    """
    A disk, an address, and mostly a server.
    """

    cluster: Cluster
    server_id: str
    disk: Disk
    #: How fast the clock of the next process goes.
    rate: float = 1.0
    #: Whether it answers at all.
    is_up: bool = True
    running: Running | None = None
    #: Whether it is being stopped in order.
    is_stopping: bool = False
    suffrage: Suffrage = Suffrage.VOTER
    _moves: int = 0
    _starts: int = 0

    @property
    def address(self) -> str:
        """
        Where the server listens.
        """
        return f"{self.server_id}:{12000 + self._moves}"

    def move(self) -> None:
        """
        Let the next server listen elsewhere.
        """
        self._moves += 1

    def move_to(self, address: str) -> None:
        """
        Let the next server listen at an address where one has listened before.
        """
        self._moves = int(address.rpartition(":")[2]) - 12000

    @property
    def member(self) -> Server:
        """
        What a cluster is to know of its server.
        """
        return Server(
            self.server_id, self.address, f"{self.server_id}:11000", self.suffrage
        )

    @property
    def led_term(self) -> int | None:
        """
        The term that its server leads, if it does.
        """
        return self.cluster.watch.led_term(self.server_id)

    def start(self, *, begins: bool = False) -> None:
        """
        Start a server, unless one runs.

        :param begins: whether it begins a cluster.
        """
        if self.running is not None:
            return
        cluster, world = self.cluster, self.cluster.world
        self._starts += 1
        self.is_up = True
        self.is_stopping = False
        chance = f"{cluster.seed} {self.server_id} {self._starts}"
        process = Process(self.server_id, self.rate)
        clock = ProcessClock(world, process)
        storage = SimulatedStorage(world, process, self.disk)
        store = WatchedStore(self.server_id, cluster.watch, cluster.piece_bytes)
        peers = SimulatedPeers(
            self.server_id,
            cluster.network,
            cluster.watch,
            process,
            clock,
            Random(f"{chance} links"),
        )
        server = RaftServer(
            self.server_id,
            storage,
            store,
            peers,
            clock,
            rng=Random(chance),
            timing=cluster.timing,
            snapshots=cluster.policy,
            on_failure=self._failed,
        )
        requests = ClientRequests(
            server,
            store,
            clock,
            write_timeout=CLIENT_SECONDS,
            change_timeout=CLIENT_SECONDS,
            read_timeout=CLIENT_SECONDS,
            snapshot_timeout=CLIENT_SECONDS,
        )
        expiry = Expiry(server, store, clock)
        server.stamp_with(cluster.stamps.watch(process, expiry.stamp))
        self.running = Running(
            process, clock, storage, store, peers, server, requests, expiry
        )
        cluster.watch.enter(server.consensus, store)
        cluster.transcript.count("started", self.server_id, f"starts at {self.address}")
        if begins:
            server.bootstrap(self.member)
            cluster.cluster_id = server.cluster_id
        elif cluster.cluster_id is not None:
            server.expect_cluster(cluster.cluster_id)
        server.startService()
        expiry.startService()
        cluster.watch.look(self.server_id)

    def _failed(self, failure: Failure) -> None:
        """
        End the process, as a node does; but let what goes on at this moment end first.
        """
        running = self.running
        if failure.check(DiskTrouble) is None:
            assert isinstance(failure.value, Exception)
            self.cluster.watch.object_to(failure.value)
        self.cluster.world.after(0, None, self._end_failed, running)

    def _end_failed(self, running: Running | None) -> None:
        if running is not None and self.running is running:
            self.cluster.transcript.count("failed", self.server_id, "gives up: disk")
            self._end(says_so=True)

    def kill(self) -> None:
        """
        End the process at once.
        """
        self._crash("is killed", says_so=True)

    def wipe(self) -> None:
        """
        Put an empty disk into it; only what is no member any more may lose its own.
        """
        self.kill()
        self.cluster.transcript.count("replaced", self.server_id, "has an empty disk")
        self.disk.platter = MemoryStorage()
        self.cluster.watch.observer.forget(self.server_id)

    def cut_power(self) -> None:
        """
        End everything at once; the machine tells nobody, until it is started again.
        """
        self.is_up = False
        self._crash("loses power", says_so=False)

    def _crash(self, what: str, *, says_so: bool) -> None:
        if self.running is not None:
            unheard = self.running.storage.crash()
            if unheard:
                what += f" after {unheard} writes that it had not heard of"
                self.cluster.transcript.seen["unheard writes"] += unheard
            self.cluster.transcript.say(self.server_id, what)
            self._end(says_so=says_so)

    def _end(self, *, says_so: bool) -> None:
        running, self.running = self.running, None
        assert running is not None
        running.process.is_alive = False
        self.cluster.watch.leave(self.server_id)
        self.cluster.network.process_ended(running.process, says_so=says_so)
        self.cluster.on_end(running)

    def stop(self) -> None:
        """
        Stop the server in order: it hands over, ends what it has begun, and closes.
        """
        running = self.running
        if running is None or self.is_stopping:
            return
        self.is_stopping = True

        def ended(_: object) -> None:
            running.peers.stop()
            if self.running is running:
                self.cluster.transcript.count("stopped", self.server_id, "has stopped")
                self.cluster.world.after(0, None, self._end_stopped, running)

        handed_over = running.server.hand_over(_HAND_OVER_SECONDS)
        handed_over.addCallback(lambda _: running.server.drain(_HAND_OVER_SECONDS))
        handed_over.addCallback(lambda _: running.expiry.stopService())
        handed_over.addCallback(lambda _: running.server.stopService())
        handed_over.addCallbacks(ended, self._failed)

    def _end_stopped(self, running: Running) -> None:
        if self.running is running:
            self._end(says_so=True)

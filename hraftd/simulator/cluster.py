"""
All machines of one world, and what they share.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hraftd.raft.configuration import Configuration
from hraftd.raft.messages import Entry, HardState
from hraftd.simulator.disks import Disk
from hraftd.simulator.lifetimes import Stamps
from hraftd.simulator.machines import Machine
from hraftd.simulator.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.raft.ready import Timing
    from hraftd.server import RaftServer
    from hraftd.simulator.checks import Watch
    from hraftd.simulator.clock import Process, World
    from hraftd.simulator.machines import Running
    from hraftd.simulator.trace import Transcript
    from hraftd.snapshots import SnapshotPolicy

__all__ = ["Cluster"]


class Cluster:
    """
    All machines of one world.
    """

    def __init__(
        self,
        world: World,
        watch: Watch,
        transcript: Transcript,
        seed: str,
        timing: Timing,
        policy: SnapshotPolicy,
        piece_bytes: int,
    ) -> None:
        """
        Begin without machines.

        :param seed: of all chance in the servers, the network and the disks.
        :param piece_bytes: of a snapshot.
        """
        self.world = world
        self.watch = watch
        self.transcript = transcript
        self.seed = seed
        self.timing = timing
        self.policy = policy
        self.piece_bytes = piece_bytes
        self.machines: dict[str, Machine] = {}
        self.stamps = Stamps(world)
        self.network = Network(world, Random(f"{seed} network"), self)
        #: What newcomers are told to expect.
        self.cluster_id: str | None = None
        #: Told of each process that has ended.
        self.on_end: Callable[[Running], object] = lambda _: None

    def add(self, server_id: str) -> Machine:
        """
        Put up a machine with an empty disk.
        """
        disk = Disk(server_id, Random(f"{self.seed} disk of {server_id}"), self.watch)
        machine = self.machines[server_id] = Machine(self, server_id, disk)
        return machine

    def found(self, server_ids: list[str]) -> None:
        """
        Put up machines whose disks say that all of them are voters.
        """
        members = Configuration(tuple(self.add(one).member for one in server_ids))
        self.cluster_id = "simulated"
        for server_id in server_ids:
            platter = self.machines[server_id].disk.platter
            platter.load()
            platter.save(HardState(1), [Entry(1, 1, members)], self.cluster_id)

    @property
    def running(self) -> list[Machine]:
        """
        The machines on which a server runs, paused or not.
        """
        return [one for one in self.machines.values() if one.running is not None]

    def leader(self) -> Machine | None:
        """
        Return the machine that leads the highest term.
        """
        leaders = [one for one in self.running if one.led_term is not None]
        return max(leaders, key=lambda one: one.led_term or 0, default=None)

    # What the network asks.

    def machine_at(self, address: str) -> str | None:
        """
        See :class:`~hraftd.simulator.network.IMachines`.
        """
        for machine in self.machines.values():
            if machine.address == address:
                return machine.server_id
        return None

    def is_up(self, machine: str) -> bool:
        """
        See :class:`~hraftd.simulator.network.IMachines`.
        """
        return self.machines[machine].is_up

    def listening_at(self, address: str) -> tuple[Process, RaftServer] | None:
        """
        See :class:`~hraftd.simulator.network.IMachines`.
        """
        name = self.machine_at(address)
        running = None if name is None else self.machines[name].running
        return None if running is None else (running.process, running.server)

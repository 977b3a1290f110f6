"""
A cluster whose wires, disks and clocks belong to the test.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.integration.processes import Processes
from tests.integration.waiting import DEADLINE, until
from tests.integration.wall_clock import WHY_NO_WALL_CLOCK, WallClock

from .disks import SmallDisk, why_no_small_disk
from .wires import Clear, Wires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from tests.integration.client import Answer
    from tests.integration.node import Node

    from .wires import Direction

__all__ = ["Cluster"]

#: Small enough for several snapshots in a run, and for nodes that need one.
_SNAPSHOTS = ("--snapshot-threshold", "400", "--snapshot-trailing", "100")

#: A node that has ended since its disk was full says so.
_DISK_WAS_FULL = "could not be written"


class Cluster(Processes):
    """
    Nodes, each behind a gate, with a disk and a clock of its own where there are such.

    A node that something is being done to is taken by that, so that two faults do not
    undo each other.
    """

    def __init__(
        self, directory: Path, seed: int, *, disks: bool = False, clocks: bool = False
    ) -> None:
        """
        Begin without nodes.

        :param disks: give each node a small disk, if there can be one here.
        :param clocks: give every second node a wall clock, if there can be one here;
            it makes a node slow.
        """
        super().__init__(directory)
        self.wires = Wires(seed)
        self.disks: dict[str, SmallDisk] = {}
        self.clocks: dict[str, WallClock] = {}
        self._has_disks = disks and why_no_small_disk() is None
        self._has_clocks = clocks and WHY_NO_WALL_CLOCK is None
        self._taken: set[str] = set()

    def prepare(self, name: str, folder: str | None = None, **more: Any) -> Node:
        """
        See :meth:`Processes.prepare`.
        """
        node = super().prepare(name, folder, **more)
        gate = self.wires.gate(name, node.raft_port)
        node.options = (*node.options, *_SNAPSHOTS, "--radv", f"127.0.0.1:{gate}")
        if self._has_disks:
            self.disks[name] = SmallDisk(node.data_dir)
            node.prefix = self.disks[name].prefix
        if self._has_clocks and len(self.nodes) % 2:
            self.clocks[name] = WallClock(node.directory.parent, f"clock of {name}")
            node.environment = self.clocks[name].environment
        return node

    def end(self) -> None:
        """
        End all processes, and what they ran on.
        """
        super().end()
        self.wires.close()
        for disk in self.disks.values():
            disk.close()

    # Who there is.

    @property
    def names(self) -> list[str]:
        """
        The ids of all nodes.
        """
        return [node.id for node in self.nodes]

    def leader(self) -> Node | None:
        """
        Return who believes to lead just now, of those that can be asked.
        """
        leading = [node for node in self._free() if node.leads()]
        return leading[-1] if leading else None

    @contextmanager
    def taking(
        self, rng: Random, most: int = 1, *, only: Node | None = None
    ) -> Iterator[list[Node]]:
        """
        Take some nodes that nothing is being done to; none, if there is none.

        :param only: the node to take, rather than any.
        """
        free = [node for node in self._free() if only in (None, node)]
        count = min(rng.randint(1, most), len(free))
        rng.shuffle(free)
        first = self.leader() if rng.random() < 0.5 else None
        free.sort(key=lambda node: node is not first)
        taken = free[:count]
        self._taken.update(node.id for node in taken)
        try:
            yield taken
        finally:
            self._taken.difference_update(node.id for node in taken)

    def _free(self) -> list[Node]:
        return [
            node
            for node in self.nodes
            if node.id not in self._taken and node.is_running
        ]

    def pairs(self) -> list[Direction]:
        """
        Return every direction between two nodes.
        """
        return [(one, other) for one in self.names for other in self.names]

    # What can be done to a node.

    def wipe(self, node: Node) -> None:
        """
        Let a node that is not running have nothing.
        """
        data = self.disks[node.id].path if node.id in self.disks else node.data_dir
        for path in data.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def await_answer(self, node: Node) -> None:
        """
        Wait until a node that was launched answers.
        """
        until(lambda: node.answers() or not node.is_running, f"{node.id} is up")
        assert node.is_running, f"{node.id} has ended: {node.log[-2000:]}"

    def add(self, node: Node) -> Answer | None:
        """
        Ask the leader to make a node a member, under the addresses that it has.
        """
        leader = self.leader()
        if leader is None:
            return None
        address = node.options[list(node.options).index("--radv") + 1]
        body = {"id": node.id, "addr": address, "http": node.http}
        return leader.ask("POST", "/join", body)

    def heal(self) -> None:
        """
        Let all nodes run and reach each other, and wait until all of them can vote.

        A node that has ended by itself fails the test, except if its disk was full.
        """
        self.wires.set(self.pairs(), Clear())
        for disk in self.disks.values():
            disk.free()
        for node in self.nodes:
            if not node.is_running:
                last = node.log.rpartition("starting up")[2]
                assert _DISK_WAS_FULL in last, last[-2000:]
                node.start()

        def is_voter(node: Node) -> bool:
            if node.is_voter():
                return True
            leader = self.leader()
            members = leader.status().get("members", ()) if leader else ()
            if leader and all(member["id"] != node.id for member in members):
                self.add(node)
            return False

        for node in self.nodes:
            until(lambda n=node: is_voter(n), f"{node.id} is a voter", DEADLINE)

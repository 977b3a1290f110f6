"""
What goes wrong in a world, and how it ends.

Each kind of trouble begins at random moments and ends by itself some time later. Not
every world has every kind: which ones, and how often, is a part of its seed, for some
mistakes show only where most things go well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from hraftd.simulator.disks import FAST
from hraftd.simulator.partitions import Partitions, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from hraftd.simulator.cluster import Cluster
    from hraftd.simulator.machines import Machine

__all__ = ["KINDS", "Faults"]

#: Each kind of trouble, and how many seconds pass between two of them on average,
#: where there is any.
KINDS: dict[str, float] = {
    "kill": 2.0,
    "power": 3.0,
    "blackout": 8.0,
    "stop": 4.0,
    "pause": 2.0,
    "skew": 4.0,
    "partition": 3.0,
    "one-way": 3.0,
    "bridge": 4.0,
    "isolate leader": 3.0,
    "stale leader": 3.0,
    "clog": 2.0,
    "lose": 3.0,
    "duplicate": 3.0,
    "reorder": 3.0,
    "reset": 0.5,
    "slow disk": 3.0,
    "disk error": 4.0,
    "disk full": 6.0,
}


@define(eq=False)
class Faults:
    """
    Makes trouble, of some kinds, until it is told to make no more.
    """

    cluster: Cluster
    rng: Random
    kinds: Sequence[str]
    #: How often there is any: so many times what is usual.
    pace: float = 1.0
    is_over: bool = False
    partitions: Partitions = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Make trouble in the network with the same chance.
        """
        self.partitions = Partitions(self.cluster, self.rng)

    def set_clocks(self) -> None:
        """
        Let the clocks of servers that start from now on be right or wrong.
        """
        if "skew" in self.kinds:
            for machine in self.cluster.machines.values():
                machine.rate = self._rate()

    def start(self) -> None:
        """
        Begin.
        """
        for kind in self.kinds:
            self._wait(kind)

    def _wait(self, kind: str) -> None:
        seconds = self.rng.expovariate(self.pace / KINDS[kind])
        self.cluster.world.after(seconds, None, self._strike, kind)

    def _strike(self, kind: str) -> None:
        if self.is_over:
            return
        begin: Callable[[], bool] = {
            "kill": self._kill,
            "power": self._cut_power,
            "blackout": self._black_out,
            "stop": self._stop,
            "pause": self._pause,
            "skew": self._skew,
            "partition": self.partitions.part,
            "one-way": self.partitions.part_one_way,
            "bridge": self.partitions.leave_bridges,
            "isolate leader": self.partitions.isolate_leader,
            "stale leader": self._leave_leader_behind,
            "clog": self.partitions.clog,
            "lose": self.partitions.lose,
            "duplicate": self.partitions.duplicate,
            "reorder": self.partitions.reorder,
            "reset": self.cluster.network.break_one,
            "slow disk": self._slow_disk,
            "disk error": self._break_disk,
            "disk full": self._fill_disk,
        }[kind]
        if begin():
            self.cluster.transcript.count(kind, "*", f"trouble: {kind}")
        self._wait(kind)

    def heal(self) -> None:
        """
        End everything that is wrong.
        """
        self.is_over = True
        self.partitions.heal()
        for machine in self.cluster.machines.values():
            disk = machine.disk
            disk.breaks = disk.is_full = False
            disk.stalls, disk.slowest = 0, FAST
            machine.rate = 1.0
            self._resume(machine)
            machine.start()

    # Servers.

    def _some(self) -> Machine | None:
        running = self.cluster.running
        leader = self.cluster.leader()
        if leader is not None and self.rng.random() < 0.3:
            return leader
        return self.rng.choice(running) if running else None

    def _later(self, longest: float, run: Callable[..., object], *what: object) -> None:
        seconds = duration(self.rng, longest)
        self.cluster.world.after(seconds, None, run, *what)

    def _start(self, machine: Machine) -> None:
        if not self.is_over:
            machine.start()

    def _kill(self) -> bool:
        return self._end(lambda machine: machine.kill())

    def _cut_power(self) -> bool:
        return self._end(lambda machine: machine.cut_power())

    def _end(self, end: Callable[[Machine], object]) -> bool:
        machine = self._some()
        if machine is None:
            return False
        if self.rng.random() < 0.7 and machine.running is not None:
            running = machine.running

            def end_writing() -> None:
                if machine.running is running:
                    end(machine)
                    self._later(3.0, self._start, machine)

            running.storage.on_write = end_writing
        else:
            end(machine)
            self._later(3.0, self._start, machine)
        return True

    def _black_out(self) -> bool:
        for machine in self.cluster.running:
            machine.cut_power()
            self._later(1.0, self._start, machine)
        return True

    def _stop(self) -> bool:
        machine = self._some()
        if machine is None or machine.is_stopping:
            return False
        machine.stop()
        # If it cannot stop, somebody kills it.
        self.cluster.world.after(3.0, None, self._kill_stopping, machine)
        self.cluster.world.after(self.rng.uniform(3.1, 4.0), None, self._start, machine)
        return True

    @staticmethod
    def _kill_stopping(machine: Machine) -> None:
        if machine.is_stopping:
            machine.kill()

    def _pause(self) -> bool:
        machine = self._some()
        if machine is None or machine.running is None:
            return False
        self.cluster.world.pause(machine.running.process)
        self._later(4.0, self._resume, machine)
        return True

    def _resume(self, machine: Machine) -> None:
        if machine.running is not None and machine.running.process.is_paused:
            self.cluster.transcript.say(machine.server_id, "goes on after a pause")
            self.cluster.world.resume(
                machine.running.process, timers_first=self.rng.random() < 0.5
            )

    def _skew(self) -> bool:
        """
        Start a server again with a clock of another speed.
        """
        machine = self._some()
        if machine is None:
            return False
        machine.rate = self._rate()
        machine.kill()
        self._later(0.2, self._start, machine)
        return True

    def _rate(self) -> float:
        return self.rng.choice((0.5, 0.8, 1.0, 1.0, 1.25, 2.0))

    def _leave_leader_behind(self) -> bool:
        """
        Pause the leader, and let it go on where nobody tells it that it is none.
        """
        leader = self.cluster.leader()
        if leader is None or leader.running is None:
            return False
        pairs = self.partitions.around(leader)
        self.partitions.block(pairs)
        self.cluster.world.pause(leader.running.process)
        seconds = self.rng.uniform(0.5, 2.5)
        self.cluster.world.after(seconds, None, self._resume, leader)
        seconds += self.rng.uniform(0.2, 1.0)
        self.cluster.world.after(seconds, None, self.partitions.unblock, pairs)
        return True

    # Disks.

    def _slow_disk(self) -> bool:
        machine = self._some()
        if machine is None:
            return False
        disk = machine.disk
        disk.stalls = self.rng.choice((20, 200, 1000))
        disk.longest_stall = self.rng.choice((0.05, 0.5, 1.5))
        self._later(4.0, self._make_fast, machine)
        return True

    @staticmethod
    def _make_fast(machine: Machine) -> None:
        machine.disk.stalls = 0

    def _break_disk(self) -> bool:
        """
        Let a server's next write fail; it ends then, and starts again.
        """
        machine = self._some()
        if machine is None:
            return False
        machine.disk.breaks = True
        self.cluster.world.after(self.rng.uniform(1, 3), None, self._start, machine)
        return True

    def _fill_disk(self) -> bool:
        """
        Let all writes of a server fail, and have it started again and again.
        """
        machine = self._some()
        if machine is None:
            return False
        machine.disk.is_full = True
        for seconds in (0.7, 1.4):
            self.cluster.world.after(seconds, None, self._start, machine)
        self.cluster.world.after(2.0, None, self._make_room, machine)
        return True

    def _make_room(self, machine: Machine) -> None:
        machine.disk.is_full = False
        self._start(machine)

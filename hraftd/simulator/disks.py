"""
Disks that take time, lose what is not synced, fail and fill up.

A :class:`Disk` belongs to a machine and outlives its processes; a process reads and
writes it through a :class:`~hraftd.simulator.storage.SimulatedStorage`. What is on the
disk is kept by :class:`~hraftd.memory_storage.MemoryStorage`, so the rules of what may
follow what are the real ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from hraftd.interfaces import StorageError
from hraftd.memory_storage import MemoryStorage

if TYPE_CHECKING:
    from random import Random

    from hraftd.simulator.checks import Watch

__all__ = ["FAST", "Disk", "DiskTrouble"]

#: Seconds that an operation usually takes at most, where all is well.
FAST = 0.002

#: Bytes that are read or written in a second, besides the time of each operation.
_RATE = 50 << 20


class DiskTrouble(StorageError):
    """
    What was meant to happen to a disk, as far as a server can tell.
    """


@define(eq=False)
class Disk:
    """
    The disk of one machine.
    """

    server_id: str
    rng: Random
    watch: Watch
    #: What is on it.
    platter: MemoryStorage = field(factory=MemoryStorage)
    #: Seconds that an operation takes, at least and usually at most.
    fastest: float = 0.0001
    slowest: float = FAST
    #: How many operations of a thousand take up to so many seconds instead.
    stalls: int = 0
    longest_stall: float = 0.0
    #: The next write fails.
    breaks: bool = False
    #: All writes fail.
    is_full: bool = False

    def time_for(self, size: int) -> float:
        """
        Return how many seconds an operation on so many bytes takes.
        """
        if self.stalls and self.rng.randrange(1000) < self.stalls:
            return self.rng.uniform(self.slowest, self.longest_stall)
        return self.rng.uniform(self.fastest, self.slowest) + size / _RATE

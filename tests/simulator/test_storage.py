"""
Simulated disks: what is there after a crash, and how they fail.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from attrs import define, field
from zope.interface.verify import verifyObject

from hraftd.interfaces import IStorage, StorageError
from hraftd.raft.messages import Entry, HardState
from hraftd.simulator.checks import Watch
from hraftd.simulator.clock import Process, World
from hraftd.simulator.disks import Disk
from hraftd.simulator.storage import SimulatedStorage
from hraftd.simulator.trace import Transcript

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure


class Blind(Watch):
    """
    Counts what reaches the disk, whatever it is.
    """

    saves = 0

    def saved(self, *_: object) -> None:
        """
        Count a save.
        """
        self.saves += 1


@define
class Bench:
    """
    One disk and the process that uses it.
    """

    seed: int = 0
    world: World = field(factory=World)
    process: Process = field(factory=lambda: Process("s1"))
    watch: Blind = field(init=False)
    disk: Disk = field(init=False)
    storage: SimulatedStorage = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Open an empty disk.
        """
        self.watch = Blind(Transcript(self.world), [])
        self.disk = Disk("s1", Random(self.seed), self.watch)
        self.open()

    def open(self) -> list[int]:
        """
        Begin again with what is there; return the indexes of its entries.
        """
        self.storage = SimulatedStorage(self.world, self.process, self.disk)
        return [entry.index for entry in self.storage.load().entries]

    def save(self, index: int) -> Deferred[None]:
        """
        Begin to save an entry.
        """
        return self.storage.save(HardState(1), [Entry(index, 1, b"x")])


def test_it_is_a_storage() -> None:
    """
    A server can be given one.
    """
    verifyObject(IStorage, Bench().storage)


def test_what_was_acknowledged_outlives_a_crash_and_no_gap_is_left() -> None:
    """
    Of what was under way any number of the first ones is there: each of these happens.
    """
    found = set()
    for seed in range(30):
        bench = Bench(seed)
        acknowledged = bench.save(1)
        bench.world.run_until(1.0)
        assert acknowledged.called
        under_way = [bench.save(2), bench.save(3), bench.save(4)]
        written = bench.storage.crash()
        bench.process.is_alive = False
        bench.world.run_until(2.0)
        assert not any(one.called for one in under_way)
        left = bench.open()
        assert left == list(range(1, len(left) + 1))
        assert len(left) == written + 1 == bench.watch.saves
        found.add(len(left))
    assert found == {1, 2, 3, 4}


def test_saving_takes_time_and_goes_before_what_waits() -> None:
    """
    Reading waits for a save that was asked for later, unless it has begun.
    """
    bench = Bench()
    ended: list[str] = []
    bench.save(1).addCallback(lambda _: ended.append("first"))
    for _ in range(2):
        reading = bench.storage.read_entries(1, 1, 100)
        reading.addCallback(lambda _: ended.append("read"))
    bench.save(2).addCallback(lambda _: ended.append("second"))
    assert not ended
    bench.world.run_until(1.0)
    assert ended == ["first", "second", "read", "read"]


@pytest.mark.parametrize("is_full", [False, True])
def test_a_disk_that_fails_refuses_everything_until_it_is_opened_again(
    is_full: bool,
) -> None:
    """
    The save fails and so do all others; a full disk keeps nothing of it.
    """
    counts = set()
    for seed in range(20):
        bench = Bench(seed)
        bench.disk.breaks, bench.disk.is_full = not is_full, is_full
        errors: list[Failure] = []
        bench.save(1).addErrback(errors.append)
        bench.storage.read_entries(1, 1, 100).addErrback(errors.append)
        bench.world.run_until(1.0)
        bench.save(2).addErrback(errors.append)
        assert [error.check(StorageError) for error in errors] == [StorageError] * 3
        bench.disk.is_full = False
        counts.add(len(bench.open()))
        bench.save(1)
        bench.world.run_until(2.0)
        assert bench.open() == [1]
    # Whether what failed is there, nobody can know; but where there was no room.
    assert counts == ({0} if is_full else {0, 1})


def test_closing_waits_and_then_nothing_is_taken() -> None:
    """
    What is under way is done before.
    """
    bench = Bench()
    saving, closed = bench.save(1), bench.storage.close()
    assert not closed.called
    bench.world.run_until(1.0)
    assert saving.called
    assert closed.called
    refused: list[Failure] = []
    bench.save(2).addErrback(refused.append)
    assert refused[0].check(StorageError)
    assert bench.storage.close().called

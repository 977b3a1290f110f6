"""
What a server counts and times while it works.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from twisted.trial.unittest import SynchronousTestCase

from hraftd.interfaces import StorageError
from hraftd.leader_requests import Assurance
from hraftd.measures import BOUNDS, Durations
from hraftd.raft.roles import Follower
from hraftd.snapshots import SnapshotPolicy
from tests.servers import Group, HeldStorage, member, set_command


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        (0.0, 0.0001),
        (0.0001, 0.0001),
        (0.00011, 0.00025),
        (0.3, 0.5),
        (10.0, 10.0),
        (10.1, float("inf")),
    ],
)
def test_a_duration_is_in_its_bucket(seconds: float, bound: float) -> None:
    """
    A bucket holds what took no longer than its bound, as Prometheus' ``le`` has it.
    """
    durations = Durations()
    durations.note(seconds)
    cumulated = durations.cumulated()
    assert next(n for n, count in cumulated if count) == bound
    assert durations.total == seconds


def test_buckets_are_cumulated() -> None:
    """
    Each counts all before it as well, and the last one counts everything.
    """
    durations = Durations()
    for bound in (*BOUNDS, 11.0):
        durations.note(bound)
    counts = [count for _, count in durations.cumulated()]
    assert counts == list(range(1, len(BOUNDS) + 2))
    bounds = [bound for bound, _ in durations.cumulated()]
    assert all(one < other for one, other in pairwise(bounds))


class ServerTests(SynchronousTestCase):
    """
    The counts of real servers, and what waits at them.
    """

    def setUp(self) -> None:
        """
        Begin with a server that leads itself, and whose disk can be held.
        """
        self.group = Group()
        self.storage = HeldStorage()
        self.server = self.group.first("node0", self.storage)

    def test_elections(self) -> None:
        """
        Elections and leaders are counted: those asked for, those won, those seen.
        """
        counts = self.server.counts
        assert (counts.elections_started, counts.elections_won) == (1, 1)
        assert counts.leader_changes == 1
        follower = self.group.join("node1", self.server)
        assert follower.counts.elections_started == 0
        assert follower.counts.leader_changes == 1
        moved = self.server.transfer_leadership("node1")
        self.group.until(lambda: bool(moved.called))
        assert follower.counts.elections_won == 1
        self.group.until(lambda: self.server.status().leader == member("node1"))
        assert (counts.elections_won, counts.leader_changes) == (1, 2)

    def test_elections_without_a_majority(self) -> None:
        """
        Who cannot win asks who would vote for it, and begins no election.
        """
        self.group.join("node1", self.server)
        before = self.server.counts.elections_started
        self.group.cut_off.add("node1")
        core = self.server.consensus
        self.group.until(lambda: not isinstance(core.role, Follower))
        self.group.ticks(200)
        assert self.server.counts.elections_started == before

    def test_sync(self) -> None:
        """
        A sync lasts from the moment when the disk gets a batch until it has it.
        """
        sync, before = self.server.counts.sync, self.server.counts.entries_synced
        times = sum(sync.counts)
        self.storage.held = True
        for key in "abc":
            self.server.propose(set_command(key, "1")).addErrback(lambda _: None)
        self.group.turn()
        self.group.ticks(12)
        assert self.server.backlog().save_seconds == pytest.approx(0.3)
        assert sum(sync.counts) == times
        total = sync.total
        self.storage.held = False
        self.storage.finish()
        self.group.turn()
        assert self.server.backlog().save_seconds == 0.0
        assert sync.total - total == pytest.approx(0.3)
        # In one batch all that came in one turn.
        assert sum(sync.counts) == times + 1
        assert self.server.counts.entries_synced == before + 3

    def test_a_sync_that_failed_is_not_counted(self) -> None:
        """
        What is not on the disk did not take any time to get there.
        """
        times = sum(self.server.counts.sync.counts)
        self.storage.held = True
        self.server.propose(set_command("a", "1")).addErrback(lambda _: None)
        self.group.turn()
        assert not self.server.has_failed
        self.storage.break_down(StorageError("the disk is gone"))
        self.group.turn()
        assert sum(self.server.counts.sync.counts) == times
        assert self.server.has_failed

    def test_backlog(self) -> None:
        """
        What is not synced, and who waits, is counted until it is done.
        """
        idle = self.server.backlog()
        assert (idle.proposals, idle.unsynced_entries, idle.unsynced_bytes) == (0, 0, 0)
        self.storage.held = True
        command = set_command("key", "value" * 100)
        written = [self.server.propose(command) for _ in range(3)]
        self.group.turn()
        backlog = self.server.backlog()
        assert (backlog.proposals, backlog.proposal_bytes) == (3, 3 * len(command))
        assert backlog.unsynced_entries == 3
        assert backlog.unsynced_bytes >= 3 * len(command)
        self.storage.held = False
        self.storage.finish()
        self.group.turn()
        for one in written:
            self.successResultOf(one)
        assert self.server.backlog() == idle

    def test_reads_that_wait(self) -> None:
        """
        Reads count as long as they wait: for a majority here, for the leader elsewhere.
        """
        follower = self.group.join("node1", self.server)
        assert follower.backlog().reads == 0
        self.group.wires["node1"].answers_held = True
        barriers = [follower.read_barrier(Assurance.MAJORITY) for _ in range(3)]
        self.group.turn()
        assert follower.backlog().reads == 3
        self.group.wires["node1"].answers_held = False
        for _ in range(2):
            self.group.wires["node1"].deliver()
            self.group.ticks(8)
        for barrier in barriers:
            self.successResultOf(barrier)
        assert follower.backlog().reads == 0

    def test_apply(self) -> None:
        """
        Each entry that is applied counts, and so does each turn that applies any.
        """
        before = self.server.counts.entries_applied
        times = sum(self.server.counts.apply.counts)
        for key in "abcde":
            self.server.propose(set_command(key, "1"))
        self.group.turn()
        assert self.server.counts.entries_applied == before + 5
        assert sum(self.server.counts.apply.counts) == times + 1
        self.group.ticks(10)
        assert sum(self.server.counts.apply.counts) == times + 1

    def test_snapshots(self) -> None:
        """
        Taken here, and restored there.
        """
        server = self.server
        for number in range(20):
            server.propose(set_command(f"key{number}", "1"))
        self.group.turn()
        taken = server.take_snapshot()
        self.group.until(lambda: bool(taken.called))
        assert server.snapshots_taken == 1
        assert server.counts.snapshots_restored == 0

    def test_a_snapshot_that_is_being_installed(self) -> None:
        """
        What is not synced can be asked for while a snapshot takes the log's place.
        """
        group = Group()
        leader = group.first(
            "node0", snapshots=SnapshotPolicy(trailing_entries=0, trailing_bytes=0)
        )
        for number in range(50):
            leader.propose(set_command(f"key{number}", "1"))
        group.turn()
        taken = leader.take_snapshot()
        group.until(lambda: bool(taken.called))
        storage = HeldStorage()
        follower = group.add("node1", storage)
        follower.expect_cluster(leader.cluster_id)
        follower.startService()
        leader.add_server(member("node1")).addErrback(lambda _: None)
        storage.held = True
        installing = False
        for _ in range(400):
            group.ticks(1)
            status, backlog = follower.status(), follower.backlog()
            installing |= status.snapshot_index > status.last_applied
            assert backlog.unsynced_entries >= 0
            if storage.save_waits:
                storage.finish()
            if follower.counts.snapshots_restored:
                break
        assert installing
        assert follower.counts.snapshots_restored == 1
        assert follower.snapshots_taken == 0

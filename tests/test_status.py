"""
What a server tells about itself and its cluster.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hraftd.raft.configuration import Suffrage
from hraftd.raft.ready import Timing
from hraftd.snapshots import SnapshotPolicy
from hraftd.status import TICK, MemberStatus, Status
from tests.servers import Group, HeldStorage, member, set_command


class StatusTests(SynchronousTestCase):
    """
    Two voters and a member without a vote; a leads.
    """

    def setUp(self) -> None:
        """
        Let them agree.
        """
        self.group = Group()
        policy = SnapshotPolicy(1 << 30, 1 << 40, 2, 1 << 40)
        self.a = self.group.first("a", snapshots=policy)
        self.disk_b = HeldStorage()
        self.b = self.group.join("b", self.a, self.disk_b)
        self.n = self.group.ready_to_join("n", self.a)
        self.a.add_server(evolve(member("n"), suffrage=Suffrage.NONVOTER))
        self.group.ticks(5)

    def member_of(self, status: Status, server_id: str) -> MemberStatus:
        """
        Return what a status says of a member.
        """
        (found,) = [one for one in status.members if one.server.id == server_id]
        return found

    def test_leader(self) -> None:
        """
        A leader knows how each member stands, and when it answered.
        """
        status = self.a.status()
        assert (status.server_id, status.role) == ("a", "leader")
        assert status.cluster_id == self.a.cluster_id
        assert status.leader == member("a")
        assert status.last_contact == 0.0
        assert [one.server for one in status.members] == list(
            status.configuration.servers
        )
        roles = [one.role for one in status.members]
        assert roles == ["leader", "follower", "nonvoter"]
        assert [one.linked for one in status.members] == [None, True, True]
        assert [one.match_index for one in status.members] == [
            status.last_log_index
        ] * 3

    def test_contact(self) -> None:
        """
        The seconds since a member answered grow while it does not; its match stays.
        """
        last = self.a.status().last_log_index
        self.group.cut_off.add("n")
        self.group.ticks(40)
        answer = self.a.propose(set_command("k", "v"))
        self.group.ticks(4)
        self.successResultOf(answer)
        gone = self.member_of(self.a.status(), "n")
        there = self.member_of(self.a.status(), "b")
        assert gone.last_contact is not None
        assert there.last_contact is not None
        assert 40 * TICK <= gone.last_contact <= 50 * TICK
        assert there.last_contact <= 5 * TICK
        assert (gone.linked, there.linked) == (False, True)
        assert (gone.match_index, there.match_index) == (last, last + 1)
        assert self.a.status().last_contact == 0.0

    def test_follower(self) -> None:
        """
        A follower knows who leads and since when it has heard nothing, and its links.
        """
        self.group.cut_off.add("a")
        self.group.ticks(10)
        status = self.b.status()
        assert status.role == "follower"
        assert status.leader == member("a")
        assert status.last_contact is not None
        assert 10 * TICK <= status.last_contact <= 15 * TICK
        roles = [one.role for one in status.members]
        assert roles == ["leader", "follower", "nonvoter"]
        assert [one.linked for one in status.members] == [False, None, True]
        assert [one.match_index for one in status.members] == [None] * 3
        assert [one.last_contact for one in status.members] == [None] * 3

    def test_without_a_leader(self) -> None:
        """
        Who misses its leader says what it does about that, and that nobody leads.
        """
        self.group.cut_off.add("a")
        self.group.until(lambda: self.b.status().role == "pre-candidate")
        status = self.b.status()
        assert status.leader is None
        assert self.member_of(status, "a").role == "follower"
        assert self.n.status().role == "nonvoter"
        self.group.ticks(100)
        assert self.a.status().role in ("follower", "pre-candidate")
        assert self.n.status().role == "nonvoter"

    def test_candidate(self) -> None:
        """
        Who was told to lead and has not written its own vote yet is a candidate.
        """
        self.disk_b.held = True
        self.a.transfer_leadership("b").addErrback(lambda _: None)
        self.group.turn()
        status = self.b.status()
        assert status.role == "candidate"
        assert status.leader is None
        assert status.term == self.a.status().term + 1
        self.disk_b.held = False
        self.disk_b.finish()
        self.group.ticks(2)

    def test_what_is_applied(self) -> None:
        """
        Committed and applied are told apart.
        """
        self.disk_b.held = True
        before = self.b.status()
        answer = self.a.propose(set_command("k", "v"))
        self.group.turn()
        self.assertNoResult(answer)
        status = self.b.status()
        assert status.last_log_index == before.last_log_index + 1
        assert status.commit_index == status.last_applied == before.last_applied
        self.disk_b.held = False
        self.disk_b.finish()
        self.group.ticks(2)
        status = self.b.status()
        assert status.commit_index == status.last_applied == status.last_log_index

    def test_before_the_first_snapshot(self) -> None:
        """
        Without a snapshot the log begins at 1.
        """
        status = self.a.status()
        assert status.snapshot_index == status.snapshot_bytes == 0
        assert status.first_log_index == 1
        # Also of what is on disk alone.
        group = Group()
        x = group.first("x", timing=Timing(memory_entries=2))
        for _ in range(10):
            x.propose(set_command("k", "v"))
            group.turn()
        assert x.status().last_log_index > 10
        assert x.status().first_log_index == 1

    def test_snapshot(self) -> None:
        """
        What the latest snapshot covers, its bytes, and the first entry still sent.
        """
        taken = self.a.take_snapshot()
        self.group.turn()
        snapshot = self.successResultOf(taken)
        status = self.a.status()
        assert status.snapshot_index == snapshot.last_index == status.last_applied
        assert status.snapshot_bytes == snapshot.size > 0
        # Of the two that stay, the first is known by its term only.
        assert status.first_log_index == snapshot.last_index

    def test_learner(self) -> None:
        """
        A newcomer is a learner: before it is in a log, and until it has caught up.
        """
        c = self.group.ready_to_join("c", self.a)
        assert c.status().role == "learner"
        assert c.status().cluster_id is None
        assert c.status().last_contact is None
        assert c.status().members == ()
        wires = self.group.wires["a"]
        wires.holds_call = lambda call: call.to == "c"
        added = self.a.add_server(member("c"))
        self.group.ticks(3)
        learner = self.member_of(self.a.status(), "c")
        assert (learner.role, learner.match_index) == ("learner", 0)
        assert learner.last_contact is None
        for _ in range(20):
            if c.status().last_log_index:
                break
            wires.deliver()
            self.group.clock.advance(0)
        # It has the configuration in which it is one, and has not said so yet.
        assert c.status().last_log_index > 0
        assert c.status().role == "learner"
        wires.holds_call = lambda call: False
        wires.deliver()
        self.group.ticks(20)
        self.successResultOf(added)
        assert c.status().role == "follower"

    def test_removed(self) -> None:
        """
        Who has a log that does not name it was removed.
        """
        removed = self.a.remove_server("n")
        self.group.ticks(10)
        self.successResultOf(removed)
        status = self.n.status()
        assert status.role == "removed"
        assert [one.server.id for one in status.members] == ["a", "b"]
        assert status.cluster_id == self.a.cluster_id

    def test_timing_is_not_asked(self) -> None:
        """
        Seconds are ticks of 25 milliseconds, however long the timeouts are.
        """
        group = Group()
        group.first("x", timing=Timing(election_timeout=40, heartbeat_interval=20))
        y = group.join("y", group.servers["x"])
        group.cut_off.add("x")
        group.ticks(15)
        heard = y.status().last_contact
        assert heard is not None
        assert 15 * TICK <= heard <= 40 * TICK

"""
The turn: persist, send, apply, answer.
"""

from __future__ import annotations

import pytest
from twisted.trial.unittest import SynchronousTestCase

from hraftd import proposals
from hraftd.errors import (
    LeadershipLost,
    Overloaded,
    Stopped,
    UnreachableServer,
    WrongCluster,
)
from hraftd.interfaces import StorageError
from hraftd.kv.commands import Delete, encode_command
from hraftd.proposals import Applied
from hraftd.raft.configuration import MembershipConflict
from hraftd.raft.errors import ChangeInProgress, NotLeader, ProtocolViolation
from hraftd.raft.messages import AppendEntries, Entry, RequestVote
from hraftd.server import MAX_COMMAND_BYTES
from tests.servers import Group, HeldStorage, member, set_command


class OneServerTests(SynchronousTestCase):
    """
    A cluster of one.
    """

    def setUp(self) -> None:
        """
        Let it lead.
        """
        self.group = Group()
        self.storage = HeldStorage()
        self.server = self.group.first("a", self.storage)

    def test_applied_then_answered(self) -> None:
        """
        A proposal is answered with its index and what the state machine returned.
        """
        first = self.server.propose(set_command("k", "v"))
        self.assertNoResult(first)
        self.group.turn()
        index = self.successResultOf(first).index
        second = self.server.propose(encode_command(Delete("k")))
        self.group.turn()
        assert self.successResultOf(second) == Applied(index + 1, True)
        assert self.server.status().last_applied == index + 1

    def test_etcd_14370_answered_before_saved_in_a_cluster_of_one(self) -> None:
        """
        A write is not answered before the disk has it, though nobody else is asked.

        etcd 14370.
        """
        self.storage.held = True
        answer = self.server.propose(set_command("k", "v"))
        self.group.ticks(50)
        self.assertNoResult(answer)
        assert self.group.stores["a"].get("k") is None
        self.storage.finish()
        self.group.turn()
        self.successResultOf(answer)

    def test_one_save_for_all_of_one_turn(self) -> None:
        """
        What arrives in one iteration of the reactor is saved together.
        """
        before = len(self.storage.saves)
        answers = [self.server.propose(set_command("k", str(i))) for i in range(50)]
        self.group.turn()
        indexes = [self.successResultOf(answer).index for answer in answers]
        assert indexes == list(range(indexes[0], indexes[0] + 50))
        assert len(self.storage.saves) == before + 1

    def test_what_arrives_during_a_save_is_the_next(self) -> None:
        """
        While the disk is busy, proposals gather for one next save.
        """
        self.storage.held = True
        first = self.server.propose(set_command("a", "1"))
        self.group.turn()
        others = [self.server.propose(set_command("b", str(i))) for i in range(10)]
        self.group.turn()
        before = len(self.storage.saves)
        self.storage.finish()
        self.group.turn()
        self.successResultOf(first)
        assert len(self.storage.saves) == before + 1
        assert len(self.storage.saves[-1][1]) == 10
        self.storage.finish()
        self.group.turn()
        for answer in others:
            self.successResultOf(answer)

    def test_a_failed_save_ends_the_server(self) -> None:
        """
        Nothing is answered after the disk refused, and the reason is passed on once.
        """
        self.storage.held = True
        answer = self.server.propose(set_command("k", "v"))
        self.group.turn()
        self.storage.break_down(StorageError("the disk is full"))
        self.group.turn()
        self.failureResultOf(answer, LeadershipLost)
        assert self.group.failures == ["the disk is full"]
        later = self.server.propose(set_command("k", "v"))
        self.failureResultOf(later, Stopped)
        self.group.ticks(100)
        assert self.group.failures == ["the disk is full"]

    def test_a_command_that_cannot_be_applied_ends_the_server(self) -> None:
        """
        A server never leaves out a committed command.
        """
        answer = self.server.propose(b"\xffno command")
        self.group.turn()
        self.failureResultOf(answer, LeadershipLost)
        assert len(self.group.failures) == 1

    def test_too_large_a_command(self) -> None:
        """
        A command that no peer would take is refused at once.
        """
        with pytest.raises(ValueError, match="at most"):
            self.server.propose(bytes(MAX_COMMAND_BYTES + 1))

    def test_overload(self) -> None:
        """
        Past a number of waiting proposals, and past their bytes, more are refused.
        """
        self.storage.held = True
        self.patch(proposals, "MAX_PENDING", 3)
        taken = [self.server.propose(set_command("k", "v")) for _ in range(3)]
        self.failureResultOf(self.server.propose(set_command("k", "v")), Overloaded)
        self.group.turn()
        self.storage.finish()
        self.group.turn()
        for answer in taken:
            self.successResultOf(answer)
        self.patch(proposals, "MAX_PENDING_BYTES", 100)
        self.failureResultOf(self.server.propose(bytes(101)), Overloaded)
        self.server.propose(set_command("k", "v"))

    def test_restart_finds_everything(self) -> None:
        """
        A server that starts again has its log, and applies it when it leads again.
        """
        self.server.propose(set_command("k", "v"))
        self.group.turn()
        cluster_id, term = self.server.cluster_id, self.server.status().term
        self.successResultOf(self.server.stopService())
        again = self.group.add("a", self.storage)
        assert again.cluster_id == cluster_id
        assert again.is_member
        again.startService()
        self.group.until(lambda: self.group.stores["a"].get("k") is not None)
        assert again.status().term > term

    def test_bootstrap_only_once(self) -> None:
        """
        A server that has a log does not begin another cluster.
        """
        with pytest.raises(ValueError, match="already"):
            self.server.bootstrap(member("a"))

    def test_stopping_waits_for_the_save(self) -> None:
        """
        A stop answers who waits, and closes the storage after the save under way.
        """
        self.storage.held = True
        answer = self.server.propose(set_command("k", "v"))
        self.group.turn()
        stopping = self.server.stopService()
        self.failureResultOf(answer, LeadershipLost)
        self.assertNoResult(stopping)
        self.storage.finish()
        self.successResultOf(stopping)
        self.failureResultOf(self.server.propose(b""), Stopped)

    def test_drain(self) -> None:
        """
        A drained server has answered what it took, and takes no more.
        """
        self.storage.held = True
        answer = self.server.propose(set_command("k", "v"))
        self.group.turn()
        drained = self.server.drain(1.0)
        self.failureResultOf(self.server.propose(set_command("k", "w")), Stopped)
        self.assertNoResult(drained)
        self.storage.finish()
        self.group.turn()
        self.successResultOf(answer)
        self.successResultOf(drained)

    def test_drain_gives_up(self) -> None:
        """
        A drain ends after its time, whatever the disk does.
        """
        self.storage.held = True
        answer = self.server.propose(set_command("k", "v"))
        self.group.turn()
        drained = self.server.drain(1.0)
        self.group.ticks(39)
        self.assertNoResult(drained)
        self.group.ticks(2)
        self.successResultOf(drained)
        self.assertNoResult(answer)
        self.storage.finish()

    def test_drain_with_nothing_to_do(self) -> None:
        """
        Who has nothing waiting is drained at once.
        """
        self.successResultOf(self.server.drain(1.0))

    def test_message_of_its_own_term(self) -> None:
        """
        A claim to lead the term that this server leads is refused, and survived.
        """
        term = self.server.status().term
        claim = AppendEntries(term, "b", 0, 0, (), 0)
        self.failureResultOf(self.server.handle(claim), ProtocolViolation)
        answer = self.server.propose(set_command("k", "v"))
        self.group.turn()
        self.successResultOf(answer)

    def test_not_running(self) -> None:
        """
        A server that has stopped answers nobody.
        """
        self.successResultOf(self.server.stopService())
        vote = RequestVote(9, "b", 9, 9)
        self.failureResultOf(self.server.handle(vote), Stopped)
        self.failureResultOf(self.server.admit("cluster"), Stopped)
        self.failureResultOf(self.server.add_server(member("a")), Stopped)


class PromiseTests(SynchronousTestCase):
    """
    No promise leaves before the disk has it.
    """

    def setUp(self) -> None:
        """
        Make three servers, two with disks that can be held.
        """
        self.group = Group()
        self.disk_a, self.disk_b = HeldStorage(), HeldStorage()
        self.a = self.group.first("a", self.disk_a)
        self.b = self.group.join("b", self.a, self.disk_b)
        self.c = self.group.join("c", self.a)
        assert self.group.failures == []

    def test_pysyncobj_84_vote_answered_before_saved(self) -> None:
        """
        A vote, and the term it is given in, are on disk before the answer.

        PySyncObj 84 and 201.
        """
        self.group.cut_off.add("a")
        self.group.ticks(21)
        status = self.b.status()
        self.disk_b.held = True
        saves = len(self.disk_b.saves)
        request = RequestVote(status.term + 5, "c", status.last_log_index + 9, 99)
        answer = self.b.handle(request)
        self.group.turn()
        self.assertNoResult(answer)
        assert len(self.disk_b.saves) == saves + 1
        hard_state = self.disk_b.saves[-1][0]
        assert hard_state is not None
        assert hard_state.current_term == status.term + 5
        assert hard_state.voted_for == "c"
        self.disk_b.finish()
        self.group.turn()
        assert self.successResultOf(answer).vote_granted

    def test_follower_answers_after_its_disk(self) -> None:
        """
        An acknowledgement waits for the follower's disk.
        """
        self.disk_a.held = self.disk_b.held = True
        answer = self.a.propose(set_command("k", "v"))
        self.group.turn()
        # On c's disk and nobody else's: no majority.
        self.assertNoResult(answer)
        self.disk_b.finish()
        self.group.turn()
        # On b's and c's: a majority without the leader's own disk. Applied is only
        # what is on the own disk too.
        assert self.a.status().commit_index == self.a.status().last_log_index
        self.assertNoResult(answer)
        self.disk_a.finish()
        self.group.turn()
        self.successResultOf(answer)

    def test_what_arrives_during_a_save_is_promised_after_the_next(self) -> None:
        """
        A request that comes while the disk is busy is answered by the save behind that.
        """
        self.disk_b.held = True
        self.a.propose(set_command("k", "v")).addErrback(lambda _: None)
        self.group.turn()
        status = self.b.status()
        last, term = status.last_log_index, status.term
        entry = Entry(last + 1, term, set_command("k", "w"))
        answer = self.b.handle(AppendEntries(term, "a", last, term, (entry,), last))
        self.group.ticks(3)
        self.assertNoResult(answer)
        self.disk_b.finish()
        self.group.turn()
        self.assertNoResult(answer)
        assert self.disk_b.saves[-1][1] == (entry,)
        self.disk_b.finish()
        self.group.turn()
        assert self.successResultOf(answer).success

    def test_leader_sends_while_its_disk_writes(self) -> None:
        """
        The leader's AppendEntries do not wait for its own disk (dissertation 10.2.1).
        """
        self.disk_a.held = True
        self.a.propose(set_command("k", "v"))
        self.group.turn()
        assert self.c.status().last_log_index == self.a.status().last_log_index
        self.disk_a.finish()
        self.group.turn()

    def test_slow_disk_of_one_follower_holds_nobody(self) -> None:
        """
        A majority is enough, and the slow one is sent all it missed in one request.
        """
        self.disk_b.held = True
        for i in range(20):
            answer = self.a.propose(set_command("k", str(i)))
            self.group.turn()
            self.successResultOf(answer)
        self.disk_b.held = False
        before = len(self.disk_b.saves)
        self.disk_b.finish()
        self.group.ticks(10)
        assert self.b.status().last_applied == self.a.status().last_applied
        assert len(self.disk_b.saves) <= before + 2


class GroupTests(SynchronousTestCase):
    """
    Three servers and what happens between them.
    """

    def setUp(self) -> None:
        """
        Let a lead.
        """
        self.group = Group()
        self.a = self.group.first("a")
        self.b = self.group.join("b", self.a)
        self.c = self.group.join("c", self.a)

    def test_followers_apply_soon(self) -> None:
        """
        Followers learn of a commitment at once, not with the next heartbeat.
        """
        self.a.propose(set_command("k", "v"))
        self.group.turn()
        for store in self.group.stores.values():
            versioned = store.get("k")
            assert versioned is not None
            assert versioned.value == "v"

    def test_write_at_a_follower(self) -> None:
        """
        A follower takes no proposal, and names the leader.
        """
        error = self.failureResultOf(self.b.propose(b""), NotLeader).value
        assert error.leader == member("a")

    def test_leader_dies(self) -> None:
        """
        The others elect one of them, which has all that was answered.
        """
        answer = self.a.propose(set_command("k", "v"))
        self.group.turn()
        self.successResultOf(answer)
        self.group.cut_off.add("a")
        self.group.until(self.group.has_leader)
        leader = self.group.leader()
        answer = leader.propose(set_command("k2", "v2"))
        self.group.ticks(5)
        self.successResultOf(answer)
        for server_id in ("b", "c"):
            assert self.group.stores[server_id].get("k") is not None

    def test_leader_without_majority_answers_unknown(self) -> None:
        """
        Who waits at a leader that is cut off is told that the outcome is unknown.

        And what it proposed alone gives way to what the majority agreed on.
        """
        self.group.cut_off.add("a")
        lost = self.a.propose(set_command("k", "lost"))
        self.group.until(self.group.has_leader)
        kept = self.group.leader().propose(set_command("k", "kept"))
        self.group.ticks(50)
        self.failureResultOf(lost, LeadershipLost)
        self.successResultOf(kept)
        self.failureResultOf(self.a.propose(b""), NotLeader)
        self.group.cut_off.clear()
        self.group.ticks(50)
        for store in self.group.stores.values():
            versioned = store.get("k")
            assert versioned is not None
            assert versioned.value == "kept"

    def test_restarted_server_catches_up(self) -> None:
        """
        A server that was away learns what it missed.
        """
        self.group.cut_off.add("c")
        for i in range(30):
            self.a.propose(set_command(f"k{i}", "v"))
            self.group.ticks(1)
        assert len(self.group.stores["c"]) == 0
        self.group.cut_off.clear()
        self.group.ticks(20)
        assert len(self.group.stores["c"]) == 30

    def test_no_leader_is_named_without_one(self) -> None:
        """
        Without a majority there is no leader, and none is named.
        """
        self.group.cut_off |= {"a", "b"}
        self.group.ticks(100)
        error = self.failureResultOf(self.c.propose(b""), NotLeader).value
        assert error.leader is None

    def test_status(self) -> None:
        """
        The status says what the leader, and what a follower, knows.
        """
        self.a.propose(set_command("k", "v"))
        self.group.ticks(8)
        leader, follower = self.a.status(), self.b.status()
        assert leader.role == "leader"
        assert leader.last_contact == 0.0
        assert [one.match_index for one in leader.members] == [
            leader.last_log_index
        ] * 3
        # Its own contact with itself is no contact.
        assert leader.members[0].last_contact is None
        contact = leader.members[1].last_contact
        assert contact is not None
        assert contact < 0.2
        assert follower.role == "follower"
        assert follower.leader == member("a")
        assert follower.commit_index == leader.commit_index
        assert [one.match_index for one in follower.members] == [None] * 3
        heard = follower.last_contact
        assert heard is not None
        assert heard < 0.2


class UnforeseenTests(SynchronousTestCase):
    """
    What nobody foresaw ends the server; it does not go on by halves.
    """

    def test_storage_that_raises(self) -> None:
        """
        A storage that refuses at once, instead of later, is as fatal.
        """
        group, disk = Group(), HeldStorage()
        a = group.first("a", disk)

        def refuse(*_: object, **__: object) -> None:
            raise ValueError("this does not follow")

        self.patch(disk, "save", refuse)
        write = a.propose(set_command("k", "v"))
        group.ticks(2)
        assert group.failures == ["this does not follow"]
        self.failureResultOf(write, LeadershipLost)


class JoiningTests(SynchronousTestCase):
    """
    How a server becomes a member.
    """

    def setUp(self) -> None:
        """
        Let a lead alone.
        """
        self.group = Group()
        self.disk = HeldStorage()
        self.a = self.group.first("a", self.disk)
        assert self.a.cluster_id is not None

    def let_in(self, server_id: str) -> None:
        """
        Let things happen until that server is a member, and no further.
        """
        for _ in range(20):
            if self.a.status().configuration.get(server_id) is not None:
                return
            self.group.clock.advance(0)
        self.fail(f"{server_id} is no member")

    def test_nobody_answers(self) -> None:
        """
        To add an address where nobody answers changes nothing and costs no quorum.
        """
        before = self.a.status().configuration
        error = self.failureResultOf(
            self.a.add_server(member("ghost")), UnreachableServer
        )
        assert "ghost:12000" in str(error.value)
        assert self.a.status().configuration == before
        answer = self.a.propose(set_command("k", "v"))
        self.group.turn()
        self.successResultOf(answer)

    def test_newcomer_of_another_cluster(self) -> None:
        """
        A server that began a cluster of its own is not taken into another.
        """
        self.group.first("b")
        error = self.failureResultOf(self.a.add_server(member("b")), UnreachableServer)
        assert "belongs to cluster" in str(error.value)

    def test_newcomer_that_does_not_want_to(self) -> None:
        """
        A server that asked for nothing is not taken in.
        """
        self.group.add("b").startService()
        self.failureResultOf(self.a.add_server(member("b")), UnreachableServer)

    def test_again_is_nothing_to_do(self) -> None:
        """
        To add a voter again, at the same address, succeeds and changes nothing.
        """
        self.group.join("b", self.a)
        before = self.a.status().last_log_index
        index = self.successResultOf(self.a.add_server(member("b")))
        assert index <= before
        assert self.a.status().last_log_index == before

    def test_address_and_id_clash(self) -> None:
        """
        An id at another address, and an address of another id, are conflicts.
        """
        self.group.join("b", self.a)
        elsewhere = member("b").__class__("b", "elsewhere:1", "")
        self.failureResultOf(self.a.add_server(elsewhere), MembershipConflict)
        other_id = member("b").__class__("x", "b:12000", "")
        self.failureResultOf(self.a.add_server(other_id), MembershipConflict)
        other_http = member("b").__class__("x", "x:12000", "b:11000")
        self.failureResultOf(self.a.add_server(other_http), MembershipConflict)

    def test_follower_cannot_add(self) -> None:
        """
        A follower names the leader, for a newcomer and for a member.
        """
        b = self.group.join("b", self.a)
        self.failureResultOf(b.add_server(member("c")), NotLeader)
        self.failureResultOf(b.add_server(member("a")), NotLeader)

    def test_one_at_a_time(self) -> None:
        """
        A second change before the first is committed is refused.
        """
        for server_id in ("b", "c"):
            self.group.add(server_id).startService()
            self.group.servers[server_id].expect_cluster(self.a.cluster_id or "")
        self.disk.held = True
        first = self.a.add_server(member("b"))
        self.let_in("b")
        second = self.a.add_server(member("c"))
        self.assertNoResult(first)
        self.failureResultOf(second, ChangeInProgress)
        self.disk.held = False
        self.disk.finish()
        self.group.ticks(20)
        self.successResultOf(first)

    def test_cancelled_waiting(self) -> None:
        """
        Who stops waiting for a newcomer's promotion does not stop the promotion.
        """
        b = self.group.add("b")
        b.expect_cluster(self.a.cluster_id or "")
        b.startService()
        added = self.a.add_server(member("b"))
        self.let_in("b")
        added.cancel()
        added.addErrback(lambda _: None)
        self.group.ticks(20)
        assert self.a.status().configuration.is_voter("b")

    def test_leadership_lost_while_a_newcomer_catches_up(self) -> None:
        """
        Who waits for a promotion learns that this leader will not see it.
        """
        self.group.join("b", self.a)
        slow = HeldStorage()
        c = self.group.add("c", slow)
        c.expect_cluster(self.a.cluster_id or "")
        c.startService()
        added = self.a.add_server(member("c"))
        self.group.cut_off.add("a")
        self.group.ticks(60)
        self.failureResultOf(added, LeadershipLost, UnreachableServer)

    def test_cluster_is_on_disk_before_the_welcome(self) -> None:
        """
        A joiner's cluster id is synced before its Hello is answered.
        """
        disk = HeldStorage()
        b = self.group.add("b", disk)
        b.startService()
        self.group.turn()
        b.expect_cluster("one")
        disk.held = True
        first, second = b.admit("one"), b.admit("one")
        vote = b.handle(RequestVote(1, "x", 1, 1))
        self.group.turn()
        self.assertNoResult(first)
        self.assertNoResult(second)
        assert disk.saves[-1][2] == "one"
        while disk._waiting:
            disk.finish()
            self.group.turn()
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(vote)
        assert b.cluster_id == "one"

    def test_a_joiner_may_change_its_mind(self) -> None:
        """
        A server without a log may expect another cluster than before.
        """
        b = self.group.add("b")
        b.startService()
        b.expect_cluster("one")
        one = b.admit("one")
        self.group.turn()
        self.successResultOf(one)
        b.expect_cluster("two")
        two = b.admit("two")
        self.group.turn()
        self.successResultOf(two)
        self.failureResultOf(b.admit("three"), WrongCluster)
        assert b.cluster_id == "two"

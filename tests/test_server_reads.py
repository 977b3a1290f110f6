"""
Reads that are not stale, on any server: dissertation 6.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from hraftd import fresh_reads
from hraftd.errors import LeadershipLost, NotReached, Overloaded, Stopped
from hraftd.kv.store import Versioned
from hraftd.leader_requests import Assurance, ReadIndex
from hraftd.raft.configuration import Suffrage
from hraftd.raft.errors import NotLeader
from hraftd.raft.messages import AppendEntries
from hraftd.raft.ready import Timing
from tests.servers import Group, HeldStorage, member, set_command

if TYPE_CHECKING:
    from hraftd.server import RaftServer


class ReadsTestCase(SynchronousTestCase):
    """
    Three servers; a leads, and the disk of b can be held.
    """

    #: Of the first leader.
    timing: Timing | None = None

    def setUp(self) -> None:
        """
        Let everybody know that k is old.
        """
        self.group = Group()
        self.disk_a, self.disk_b = HeldStorage(), HeldStorage()
        self.a = self.group.first("a", self.disk_a, timing=self.timing)
        self.b = self.group.join("b", self.a, self.disk_b)
        self.c = self.group.join("c", self.a)
        self.write(self.a, "old")
        self.group.ticks(5)
        assert self.group.failures == []

    def write(self, server: RaftServer, value: str) -> int:
        """
        Set k, and wait until that is answered.
        """
        answer = server.propose(set_command("k", value))
        self.group.turn()
        return self.successResultOf(answer).index

    def value_at(self, server_id: str) -> str:
        """
        Return what k is in a server's own state.
        """
        versioned = self.group.stores[server_id].get("k")
        assert isinstance(versioned, Versioned)
        return versioned.value

    def let_b_fall_behind(self) -> None:
        """
        Commit a value that b gets, but that its disk does not have yet.
        """
        self.disk_b.held = True
        self.write(self.a, "new")
        assert self.value_at("b") == "old"

    def let_b_catch_up(self) -> None:
        """
        Let the disk of b work.
        """
        self.disk_b.held = False
        self.disk_b.finish()
        self.group.ticks(5)


class AtTheLeaderTests(ReadsTestCase):
    """
    How a leader makes sure, by the assurance that is asked for.
    """

    def test_belief_asks_nobody(self) -> None:
        """
        A leader that need only believe so answers at once and sends nothing.
        """
        before = len(self.group.wires["a"].calls)
        self.successResultOf(self.a.read_barrier(Assurance.BELIEF))
        index = self.successResultOf(self.a.read_index(Assurance.BELIEF))
        assert index == self.a.status().last_applied
        self.group.turn()
        assert len(self.group.wires["a"].calls) == before

    def test_a_majority_answers_first(self) -> None:
        """
        At MAJORITY others are asked after the wish, and nothing is written.
        """
        before = self.a.status()
        calls = len(self.group.wires["a"].calls)
        saves = len(self.disk_a.saves)
        barrier = self.a.read_barrier(Assurance.MAJORITY)
        index = self.a.read_index(Assurance.MAJORITY)
        self.assertNoResult(barrier)
        self.assertNoResult(index)
        self.group.turn()
        self.successResultOf(barrier)
        assert self.successResultOf(index) == before.commit_index
        # One request to each for both of them, without waiting for a heartbeat.
        assert len(self.group.wires["a"].calls) == calls + 2
        assert self.a.status().last_log_index == before.last_log_index
        assert len(self.disk_a.saves) == saves

    def test_log_commits_an_entry(self) -> None:
        """
        At LOG the leader commits an entry after the wish, and names its index.
        """
        before = self.a.status().last_log_index
        index = self.a.read_index(Assurance.LOG)
        self.assertNoResult(index)
        self.group.turn()
        assert self.successResultOf(index) == before + 1
        self.group.turn()
        self.successResultOf(self.write_barrier())

    def write_barrier(self) -> Deferred[None]:
        """
        Wait at LOG, and let that happen.
        """
        barrier = self.a.read_barrier(Assurance.LOG)
        self.group.turn()
        return barrier

    def test_alone(self) -> None:
        """
        A leader that is the only voter is its own majority.
        """
        group = Group()
        alone = group.first("x")
        for assurance in Assurance:
            barrier = alone.read_barrier(assurance)
            group.turn()
            self.successResultOf(barrier)

    def test_waits_for_its_own_state(self) -> None:
        """
        What is committed is read only when it is applied here.

        The leader's own disk is slow: the others commit without it.
        """
        self.disk_a.held = True
        self.a.propose(set_command("k", "new"))
        self.group.turn()
        status = self.a.status()
        assert status.commit_index > status.last_applied
        barrier = self.a.read_barrier(Assurance.MAJORITY)
        index = self.a.read_index(Assurance.MAJORITY)
        self.group.ticks(5)
        assert self.successResultOf(index) == status.commit_index
        self.assertNoResult(barrier)
        self.disk_a.held = False
        self.disk_a.finish()
        self.group.turn()
        self.successResultOf(barrier)
        assert self.value_at("a") == "new"

    def test_many_share_a_round(self) -> None:
        """
        A thousand reads at once cost one request to each follower.
        """
        before = len(self.group.wires["a"].calls)
        barriers = [self.a.read_barrier(Assurance.MAJORITY) for _ in range(1000)]
        self.group.turn()
        for barrier in barriers:
            self.successResultOf(barrier)
        assert len(self.group.wires["a"].calls) == before + 2

    def test_who_comes_during_a_round_waits_for_the_next(self) -> None:
        """
        An answer to what was sent before the wish confirms nothing (etcd 20418).
        """
        wires = self.group.wires["a"]
        wires.holds_call = lambda call: True
        first = self.a.read_index(Assurance.MAJORITY)
        self.group.turn()
        second = self.a.read_index(Assurance.MAJORITY)
        self.group.turn()
        self.assertNoResult(first)
        # Only what was sent for the first arrives.
        wires.deliver()
        self.group.turn()
        self.successResultOf(first)
        self.assertNoResult(second)
        wires.deliver()
        self.group.turn()
        self.successResultOf(second)

    def test_not_at_a_follower(self) -> None:
        """
        Who does not lead names no index, whatever the assurance, but the leader.
        """
        for assurance in Assurance:
            failure = self.failureResultOf(self.b.read_index(assurance), NotLeader)
            assert failure.value.leader == member("a")


class AtAFollowerTests(ReadsTestCase):
    """
    A follower asks the leader for an index, and reads its own state.
    """

    def test_waits_until_it_has_applied_that(self) -> None:
        """
        For each assurance: the leader is asked, and the answer is waited for and used.
        """
        for assurance in Assurance:
            self.let_b_fall_behind()
            barrier = self.b.read_barrier(assurance)
            self.group.turn()
            assert self.group.wires["b"].asked[-1] == ("a", ReadIndex(assurance))
            self.assertNoResult(barrier)
            self.let_b_catch_up()
            self.successResultOf(barrier)
            assert self.value_at("b") == "new"
            self.write(self.a, "old")
            self.group.ticks(5)

    def test_at_once_if_nothing_is_missing(self) -> None:
        """
        A follower that has applied the index answers as soon as the leader has.
        """
        for assurance in (Assurance.BELIEF, Assurance.MAJORITY):
            barrier = self.b.read_barrier(assurance)
            self.group.turn()
            self.successResultOf(barrier)

    def test_a_question_for_all(self) -> None:
        """
        A thousand reads that wait at a follower are two questions at most.
        """
        wires = self.group.wires["b"]
        wires.requests_held = True
        barriers = [self.b.read_barrier(Assurance.MAJORITY) for _ in range(1000)]
        assert len(wires.asked) == 1
        wires.requests_held = False
        wires.deliver()
        self.group.turn()
        for barrier in barriers:
            self.successResultOf(barrier)
        assert len(wires.asked) == 2

    def test_assurances_are_asked_for_apart(self) -> None:
        """
        Who wants more than belief does not share an answer that is only that.
        """
        wires = self.group.wires["b"]
        wires.requests_held = True
        for assurance in Assurance:
            self.b.read_barrier(assurance).addErrback(lambda _: None)
        assert [request for _, request in wires.asked] == [
            ReadIndex(assurance) for assurance in Assurance
        ]
        wires.hang_up()

    def test_an_answer_from_before_the_wish_is_not_used(self) -> None:
        """
        Who comes while a question is under way waits for the answer to the next.
        """
        wires = self.group.wires["b"]
        wires.answers_held = True
        early = self.b.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.let_b_fall_behind()
        late = self.b.read_barrier(Assurance.MAJORITY)
        wires.answers_held = False
        wires.deliver()
        self.group.turn()
        # It began before "new" was written.
        self.successResultOf(early)
        assert self.value_at("b") == "old"
        self.assertNoResult(late)
        self.let_b_catch_up()
        self.successResultOf(late)
        assert self.value_at("b") == "new"

    def test_without_a_leader(self) -> None:
        """
        A follower that knows no leader, or does not reach it, says so at once.
        """
        self.group.cut_off.add("a")
        failure = self.failureResultOf(
            self.b.read_barrier(Assurance.MAJORITY), NotReached
        )
        assert "no link to a" in str(failure.value)
        self.group.cut_off |= {"c"}
        self.group.ticks(100)
        failure = self.failureResultOf(
            self.b.read_barrier(Assurance.BELIEF), NotReached
        )
        assert "there is no leader" in str(failure.value)

    def test_the_link_breaks_while_it_waits(self) -> None:
        """
        What became of asking the leader is told to all who share the question.
        """
        wires = self.group.wires["b"]
        wires.requests_held = True
        first = self.b.read_barrier(Assurance.MAJORITY)
        second = self.b.read_barrier(Assurance.MAJORITY)
        wires.hang_up()
        self.failureResultOf(first, ConnectionError)
        # The second was not under way, and is asked now.
        self.assertNoResult(second)
        wires.requests_held = False
        wires.deliver()
        self.group.turn()
        self.successResultOf(second)

    def test_asked_leader_leads_no_more(self) -> None:
        """
        A question that arrives too late is declined, and that is passed on.
        """
        wires = self.group.wires["b"]
        wires.requests_held = True
        barrier = self.b.read_barrier(Assurance.MAJORITY)
        self.group.cut_off.add("a")
        self.group.until(lambda: self.a.status().role != "leader")
        wires.deliver()
        self.failureResultOf(barrier, NotLeader)

    def test_asked_leader_is_deposed_while_it_makes_sure(self) -> None:
        """
        A follower's read fails with the leadership of whom it asked.
        """
        barriers = {}
        self.group.wires["a"].holds_call = lambda call: True
        for assurance in (Assurance.MAJORITY, Assurance.LOG):
            barriers[assurance] = self.b.read_barrier(assurance)
        self.group.ticks(5)
        for barrier in barriers.values():
            self.assertNoResult(barrier)
        self.group.ticks(50)
        for barrier in barriers.values():
            self.failureResultOf(barrier, LeadershipLost)
        # The new leader is asked next.
        self.group.wires["a"].holds_call = lambda call: False
        self.group.until(lambda: self.b.status().leader is not None)
        for assurance in Assurance:
            again = self.b.read_barrier(assurance)
            self.group.ticks(5)
            self.successResultOf(again)

    def test_after_its_restart(self) -> None:
        """
        A follower that has just started reads nothing before it has all of it again.
        """
        self.successResultOf(self.b.stopService())
        self.write(self.a, "new")
        self.group.ticks(40)
        b = self.group.add("b", self.disk_b)
        b.startService()
        self.failureResultOf(b.read_barrier(Assurance.MAJORITY), NotReached)
        while b.status().leader is None:
            assert self.group.stores["b"].get("k") is None
            self.group.clock.advance(0.001)
        barrier = b.read_barrier(Assurance.MAJORITY)
        self.assertNoResult(barrier)
        self.group.ticks(5)
        self.successResultOf(barrier)
        assert self.value_at("b") == "new"

    def test_a_nonvoter(self) -> None:
        """
        A member without a vote answers fresh reads too.
        """
        d = self.group.ready_to_join("d", self.a)
        added = self.a.add_server(evolve(member("d"), suffrage=Suffrage.NONVOTER))
        self.group.ticks(5)
        self.successResultOf(added)
        self.write(self.a, "new")
        for assurance in Assurance:
            barrier = d.read_barrier(assurance)
            self.group.ticks(2)
            self.successResultOf(barrier)
            assert self.value_at("d") == "new"


class StaleLeaderTests(ReadsTestCase):
    """
    A leader whose clock stands nearly still does not notice that it was replaced.
    """

    timing = Timing(election_timeout=400)

    def setUp(self) -> None:
        """
        Let the others elect one of them, which writes something newer.
        """
        super().setUp()
        self.group.cut_off.add("a")
        self.group.until(self.group.has_leader)
        self.leader = self.group.leader()

    def test_never_an_old_value(self) -> None:
        """
        Who reaches only the stale leader of a partition gets no answer at all.

        But for who is content with what that leader believes.
        """
        barriers = [
            self.a.read_barrier(assurance)
            for assurance in (Assurance.MAJORITY, Assurance.LOG)
        ]
        self.write(self.leader, "new")
        assert self.a.status().role == "leader"
        assert self.value_at("a") == "old"
        self.successResultOf(self.a.read_barrier(Assurance.BELIEF))
        barriers += [
            self.a.read_barrier(assurance)
            for assurance in (Assurance.MAJORITY, Assurance.LOG)
        ]
        self.group.ticks(300)
        for barrier in barriers:
            self.assertNoResult(barrier)
        self.group.until(lambda: self.a.status().role != "leader")
        for barrier in barriers:
            self.failureResultOf(barrier, LeadershipLost)
        self.failureResultOf(self.a.read_barrier(Assurance.BELIEF), NotReached)

    def test_back_among_the_others(self) -> None:
        """
        What waits at a stale leader that comes back fails; nothing old is read.
        """
        barrier = self.a.read_barrier(Assurance.MAJORITY)
        self.write(self.leader, "new")
        self.group.cut_off.clear()
        self.group.ticks(10)
        self.failureResultOf(barrier, LeadershipLost)
        again = self.a.read_barrier(Assurance.MAJORITY)
        self.group.ticks(5)
        self.successResultOf(again)
        assert self.value_at("a") == "new"

    def test_confirmations_on_their_way_are_of_the_old_term(self) -> None:
        """
        A new leader's answers to a stale one confirm nothing.
        """
        self.group.cut_off.clear()
        barrier = self.a.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.failureResultOf(barrier, LeadershipLost)


class PausedLeaderTests(ReadsTestCase):
    """
    Time passes between the leader's check and what is done with it.
    """

    def test_paused_between_check_and_answer(self) -> None:
        """
        A read that was confirmed in time is answered, though its leader is gone.

        It sees what there was when it was asked for; whoever asks later sees more.
        """
        wires = self.group.wires["b"]
        self.write(self.a, "new")
        wires.answers_held = True
        barrier = self.b.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.group.cut_off.add("a")
        self.group.until(self.group.has_leader)
        wires.answers_held = False
        wires.deliver()
        self.successResultOf(barrier)
        assert self.value_at("b") == "new"

    def test_paused_with_its_own_state_behind(self) -> None:
        """
        A read that was confirmed waits for this server's state, though another leads.
        """
        self.disk_a.held = True
        self.a.propose(set_command("k", "new")).addErrback(lambda _: None)
        self.group.turn()
        barrier = self.a.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.assertNoResult(barrier)
        self.group.cut_off.add("a")
        self.group.until(self.group.has_leader)
        self.group.ticks(5)
        assert self.a.status().role != "leader"
        self.assertNoResult(barrier)
        self.group.cut_off.clear()
        self.disk_a.held = False
        self.disk_a.finish()
        self.group.ticks(20)
        self.successResultOf(barrier)
        assert self.value_at("a") == "new"


class WaitingTests(ReadsTestCase):
    """
    Who waits is answered, or waits no more.
    """

    def test_leader_deposed(self) -> None:
        """
        Reads that wait at a leader which loses its majority are told so.
        """
        self.group.cut_off.add("a")
        barriers = [
            self.a.read_barrier(assurance)
            for assurance in (Assurance.MAJORITY, Assurance.LOG)
        ]
        self.group.ticks(15)
        for barrier in barriers:
            self.assertNoResult(barrier)
        self.group.ticks(10)
        for barrier in barriers:
            self.failureResultOf(barrier, LeadershipLost)
        for assurance in Assurance:
            failure = self.failureResultOf(self.a.read_index(assurance), NotLeader)
            assert failure.value.leader is None

    def test_leader_stopped(self) -> None:
        """
        Reads that wait at a leader which stops are told so, and later ones refused.
        """
        self.group.cut_off.add("a")
        majority = self.a.read_barrier(Assurance.MAJORITY)
        log = self.a.read_barrier(Assurance.LOG)
        self.group.turn()
        self.successResultOf(self.a.stopService())
        self.failureResultOf(majority, Stopped)
        self.failureResultOf(log, LeadershipLost)
        for assurance in Assurance:
            self.failureResultOf(self.a.read_barrier(assurance), Stopped)
            self.failureResultOf(self.a.read_index(assurance), Stopped)

    def test_follower_stopped_while_it_catches_up(self) -> None:
        """
        Reads that wait for an index at a server which stops are told so.
        """
        self.let_b_fall_behind()
        barrier = self.b.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        stopping = self.b.stopService()
        self.failureResultOf(barrier, Stopped)
        self.disk_b.finish()
        self.successResultOf(stopping)

    def test_follower_stopped_while_it_asks(self) -> None:
        """
        Reads that wait for the leader's answer at a server which stops are told so too.
        """
        wires = self.group.wires["b"]
        wires.answers_held = True
        self.let_b_fall_behind()
        barrier = self.b.read_barrier(Assurance.MAJORITY)
        next_one = self.b.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        stopping = self.b.stopService()
        wires.deliver()
        self.disk_b.finish()
        self.successResultOf(stopping)
        self.failureResultOf(next_one, Stopped)
        self.failureResultOf(barrier, Stopped)

    def test_disk_breaks_while_reads_wait(self) -> None:
        """
        A server whose storage failed answers no read, and says why.
        """
        self.let_b_fall_behind()
        barrier = self.b.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.disk_b.break_down(OSError("the disk is gone"))
        failure = self.failureResultOf(barrier, Stopped)
        assert "the disk is gone" in str(failure.value)
        self.failureResultOf(self.b.read_barrier(Assurance.BELIEF), Stopped)

    def test_too_many_at_the_leader(self) -> None:
        """
        Past a number of waiting reads more are refused, until those are answered.
        """
        self.patch(fresh_reads, "MAX_WAITING_READS", 3)
        taken = [self.a.read_barrier(Assurance.MAJORITY) for _ in range(3)]
        self.failureResultOf(self.a.read_barrier(Assurance.MAJORITY), Overloaded)
        self.failureResultOf(self.a.read_index(Assurance.MAJORITY), Overloaded)
        self.successResultOf(self.a.read_barrier(Assurance.BELIEF))
        self.group.turn()
        for barrier in taken:
            self.successResultOf(barrier)
        again = self.a.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.successResultOf(again)

    def test_too_many_at_a_follower(self) -> None:
        """
        A follower, too, lets only so many wait for the leader's answer.
        """
        self.patch(fresh_reads, "MAX_WAITING_READS", 3)
        wires = self.group.wires["b"]
        wires.requests_held = True
        # The first is under way; the others wait for the next question.
        taken = [self.b.read_barrier(Assurance.MAJORITY) for _ in range(4)]
        self.failureResultOf(self.b.read_barrier(Assurance.MAJORITY), Overloaded)
        wires.requests_held = False
        wires.deliver()
        self.group.turn()
        for barrier in taken:
            self.successResultOf(barrier)

    def test_too_many_for_an_index(self) -> None:
        """
        And only so many for its own state.
        """
        self.patch(fresh_reads, "MAX_WAITING_READS", 3)
        self.let_b_fall_behind()
        taken = []
        for _ in range(3):
            taken.append(self.b.read_barrier(Assurance.MAJORITY))
            self.group.turn()
        refused = self.b.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.failureResultOf(refused, Overloaded)
        self.let_b_catch_up()
        for barrier in taken:
            self.successResultOf(barrier)

    def test_cancelled(self) -> None:
        """
        Who gives up waits no more and makes room, wherever it waited.
        """
        self.patch(fresh_reads, "MAX_WAITING_READS", 1)
        # For a round.
        for _ in range(3):
            barrier = self.a.read_barrier(Assurance.MAJORITY)
            barrier.cancel()
            self.failureResultOf(barrier, CancelledError)
        # For the leader's answer, and for the next question.
        self.group.wires["b"].requests_held = True
        for _ in range(3):
            barrier = self.b.read_barrier(Assurance.MAJORITY)
            barrier.cancel()
            self.failureResultOf(barrier, CancelledError)
        self.group.wires["b"].requests_held = False
        self.group.wires["b"].deliver()
        # For its own state.
        self.let_b_fall_behind()
        for _ in range(3):
            barrier = self.b.read_barrier(Assurance.MAJORITY)
            self.group.turn()
            self.assertNoResult(barrier)
            barrier.cancel()
            self.failureResultOf(barrier, CancelledError)
        self.let_b_catch_up()
        assert self.group.failures == []
        last = self.b.read_barrier(Assurance.MAJORITY)
        self.group.turn()
        self.successResultOf(last)

    def test_a_round_waits_for_no_heartbeat(self) -> None:
        """
        A read is confirmed without the passing of time, also with a save under way.
        """
        self.disk_a.held = True
        self.a.propose(set_command("k", "new")).addErrback(lambda _: None)
        self.group.turn()
        index = self.a.read_index(Assurance.MAJORITY)
        self.group.turn()
        assert self.successResultOf(index) == self.a.status().commit_index
        requests = [call.request for call in self.group.wires["a"].calls[-2:]]
        assert all(isinstance(request, AppendEntries) for request in requests)
        self.disk_a.finish()

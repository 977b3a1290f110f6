"""
What becomes of a client's request, from every way in which it can turn out.
"""

from __future__ import annotations

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.codec import CodecError
from hraftd.errors import (
    LeadershipLost,
    NotReached,
    Overloaded,
    Stopped,
    UnreachableServer,
)
from hraftd.forwarding import OnFollower
from hraftd.kv.commands import (
    Delete,
    Get,
    Once,
    Set,
    Transaction,
    decode_command,
    encode_command,
)
from hraftd.kv.records import Versioned
from hraftd.kv.results import Ran
from hraftd.kv.store import KeyValueStore
from hraftd.leader_requests import ClientRequest
from hraftd.outcomes import (
    Applied,
    Conflict,
    Excessive,
    Joined,
    Misdirected,
    Missing,
    Read,
    Redirected,
    Removed,
    Taken,
    Transferred,
    Unavailable,
    Unknown,
)
from hraftd.raft.configuration import (
    Configuration,
    MembershipConflict,
    Server,
    Suffrage,
)
from hraftd.raft.errors import ChangeInProgress, NotLeader, TransferInProgress
from hraftd.reads import Consistency, ReadLevel
from tests.servers import Group, member
from tests.web import LEADER, ME, OTHER, OneNode, ScriptedServer

SET = Set((("foo", "bar"),))


class Scripted(SynchronousTestCase):
    """
    Against a server whose answers the test decides.
    """

    def setUp(self) -> None:
        """
        Begin with a server that does not answer.
        """
        self.clock = Clock()
        self.server = ScriptedServer()
        self.requests = self.door()

    def door(self, **options: object) -> ClientRequests:
        """
        Make the object under test.
        """
        return ClientRequests(self.server, KeyValueStore(), self.clock, **options)

    def written(self, outcome: object, **options: object) -> object:
        """
        Return what a write comes to when the server answers with this.
        """
        self.server.outcome = outcome
        requests = self.door(**options) if options else self.requests
        return self.settled(requests.write(SET))

    def settled(self, pending: Deferred) -> object:
        """
        Return an outcome that may come only after some attempts in vain.
        """
        if not pending.called:
            self.clock.pump([0.05] * 45)
        return self.successResultOf(pending)

    def joined(self, outcome: object) -> object:
        """
        Return what a join comes to when the server answers with this.
        """
        self.server.outcome = outcome
        return self.successResultOf(self.requests.join(OTHER))


class NoMemberTests(Scripted):
    """
    A node that was removed, or that is still to join, says so and asks nobody.
    """

    def setUp(self) -> None:
        """
        Begin with a server that no configuration names.
        """
        super().setUp()
        self.server.configuration = Configuration((OTHER,))

    def test_nothing_but_stale_reads(self) -> None:
        """
        To try again would never help; what it knew it still tells.
        """
        for pending in (
            self.requests.write(SET),
            self.requests.write(SET, OnFollower.FORWARD),
            self.requests.join(OTHER),
            self.requests.remove("x"),
            self.requests.transfer(None, OnFollower.FORWARD),
            *(
                self.requests.read("k", Consistency(level))
                for level in (ReadLevel.WEAK, ReadLevel.LINEARIZABLE, ReadLevel.STRONG)
            ),
            self.requests.page("", None, 1, Consistency(ReadLevel.STRONG)),
        ):
            outcome = self.successResultOf(pending)
            assert isinstance(outcome, Unavailable)
            assert "is not a member" in outcome.reason
        assert self.server.proposed == []
        read = self.requests.read("k", Consistency(ReadLevel.NONE))
        assert self.successResultOf(read) == Read(None)

    def test_nothing_at_all_without_a_cluster(self) -> None:
        """
        A node that was never let in has nothing to tell: no key is not no such key.
        """
        self.server.cluster_id = None
        for level in (ReadLevel.NONE, ReadLevel.AUTO):
            read = self.requests.read("k", Consistency(level))
            assert isinstance(self.successResultOf(read), Unavailable)


class WriteTests(Scripted):
    """
    Writes, and all that a Raft server may say to them.
    """

    def test_applied(self) -> None:
        """
        A write that is applied says at which index; the command arrives as it was.
        """
        assert self.written(Applied(42, None)) == Applied(42, None)
        [(command, _)] = self.server.proposed
        assert decode_command(command) == SET
        assert self.clock.getDelayedCalls() == []

    def test_result_of_a_retry(self) -> None:
        """
        What an earlier entry has done is told with the index of that entry.
        """
        command = Once("t", Transaction((), (Get("k"),)))
        self.server.outcome = Applied(
            42, {"first": 7, "result": {"succeeded": True, "results": [["v", 3]]}}
        )
        outcome = self.successResultOf(self.requests.write(command))
        assert outcome == Applied(7, Ran(True, (Versioned("v", 3),)))
        [(encoded, _)] = self.server.proposed
        assert decode_command(encoded) == command

    def test_not_carried_out(self) -> None:
        """
        A token of another command, and a transaction that gets too much: not done.
        """
        outcome = self.written(Applied(42, {"reused": 7}))
        assert isinstance(outcome, Conflict)
        assert "done at index 7" in outcome.reason
        outcome = self.written(Applied(42, {"too_large": 1000}))
        assert isinstance(outcome, Excessive)
        assert "1000 bytes" in outcome.reason

    def test_result_that_is_none(self) -> None:
        """
        A leader that tells what this version does not know has done something: the
        outcome is unknown, and nothing breaks.
        """
        for result in ({"later": 1}, "x", 7, {"first": 1}):
            assert isinstance(self.written(Applied(42, result)), Unknown)
        assert isinstance(self.written(CodecError("no value")), Unknown)

    def test_follower_names_the_leader(self) -> None:
        """
        Where another node leads, nothing was done, and the leader is named.
        """
        assert self.written(NotLeader(LEADER)) == Misdirected(LEADER)

    def test_redirect_by_default(self) -> None:
        """
        A node that was told to redirect sends the client to the leader.
        """
        outcome = self.written(NotLeader(LEADER), on_follower=OnFollower.REDIRECT)
        assert outcome == Redirected(LEADER)

    def test_request_overrides_the_default(self) -> None:
        """
        What the request asks for wins over what the node was told, both ways.
        """
        self.server.outcome = NotLeader(LEADER)
        outcome = self.requests.write(SET, OnFollower.REDIRECT)
        assert self.successResultOf(outcome) == Redirected(LEADER)
        redirecting = self.door(on_follower=OnFollower.REDIRECT)
        outcome = redirecting.write(SET, OnFollower.ERROR)
        assert self.successResultOf(outcome) == Misdirected(LEADER)

    def test_no_redirect_to_nowhere(self) -> None:
        """
        A leader without an HTTP address that a header can carry is only named.
        """
        for http in ("", "läader:11000"):
            leader = evolve(LEADER, http=http)
            outcome = self.written(NotLeader(leader), on_follower=OnFollower.REDIRECT)
            assert outcome == Misdirected(leader)

    def test_no_leader(self) -> None:
        """
        Without a leader the client is told to come back.
        """
        outcome = self.written(NotLeader(None))
        assert isinstance(outcome, Unavailable)
        assert outcome.retry_after > 0

    def test_never_names_itself(self) -> None:
        """
        A node that does not lead never names itself: a client would follow in circles.
        """
        self.server.leaders_outcome = NotLeader(ME)
        for on_follower in OnFollower:
            outcome = self.written(NotLeader(ME), on_follower=on_follower)
            assert isinstance(outcome, Unavailable)

    def test_leadership_lost_is_unknown(self) -> None:
        """
        A write whose leader stepped down may yet happen: never reported as failed.
        """
        assert isinstance(self.written(LeadershipLost("x")), Unknown)

    def test_overloaded_and_stopped_did_not_happen(self) -> None:
        """
        What was not proposed can safely be tried again.
        """
        for error in (Overloaded("x"), Stopped("x"), TransferInProgress()):
            assert isinstance(self.written(error), Unavailable)

    def test_timeout_is_unknown(self) -> None:
        """
        A write without an answer in ten seconds is unknown, and stays so.
        """
        outcome = self.requests.write(SET)
        self.clock.advance(9.99)
        self.assertNoResult(outcome)
        self.clock.advance(0.02)
        assert isinstance(self.successResultOf(outcome), Unknown)
        [(_, answer)] = self.server.proposed
        answer.callback(Applied(1, None))

    def test_timeout_is_an_option(self) -> None:
        """
        The time a write gets can be set.
        """
        outcome = self.door(write_timeout=1.5).write(SET)
        self.clock.advance(1.5)
        assert "1.5 seconds" in self.successResultOf(outcome).reason

    def test_client_goes_away(self) -> None:
        """
        A client that is gone leaves no timer, and the answer is dropped quietly.
        """
        outcome = self.requests.write(SET)
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        assert self.clock.getDelayedCalls() == []
        [(_, answer)] = self.server.proposed
        answer.errback(LeadershipLost("x"))

    def test_unforeseen(self) -> None:
        """
        What nobody foresaw comes through as the failure that it is.
        """
        self.server.outcome = RuntimeError("a bug")
        self.failureResultOf(self.requests.write(SET), RuntimeError)
        assert self.clock.getDelayedCalls() == []


class ForwardTests(Scripted):
    """
    What a follower passes on to the leader, and what becomes of it.
    """

    def setUp(self) -> None:
        """
        Begin with a follower that passes everything on.
        """
        super().setUp()
        self.requests = self.door(on_follower=OnFollower.FORWARD)
        self.server.outcome = NotLeader(LEADER)

    def test_passed_on(self) -> None:
        """
        The leader gets the command as it was, and as much time as is left for it.
        """
        self.server.leaders_outcome = Applied(42, False)
        outcome = self.successResultOf(self.requests.write(SET))
        assert outcome == Applied(42, False)
        [(_, (request, seconds), _)] = self.server.asked
        assert request == ClientRequest(encode_command(SET))
        assert seconds == 10
        assert self.clock.getDelayedCalls() == []

    def test_what_waited_here_has_less_time_there(self) -> None:
        """
        A write that waited for a transfer before it was declined has waited already.
        """
        self.server.outcome = None
        outcome = self.requests.write(SET)
        self.clock.advance(4)
        [(_, here)] = self.server.proposed
        here.errback(NotLeader(LEADER))
        [(_, (_, seconds), _)] = self.server.asked
        assert seconds == 6
        self.clock.advance(6)
        assert isinstance(self.successResultOf(outcome), Unknown)

    def test_only_what_was_declined(self) -> None:
        """
        What this server has taken in is never passed on: it could happen twice.
        """
        for taken in (LeadershipLost("x"), Applied(1, None), Stopped("x")):
            self.server.outcome = taken
            self.successResultOf(self.requests.write(SET))
        assert self.server.asked == []

    def test_one_attempt(self) -> None:
        """
        What may have happened is never tried again (fluree 1839), nor what would fail.
        """
        for outcome, kind in (
            (Overloaded("x"), Unavailable),
            (ConnectionLost(), Unknown),
            (TimeoutError(), Unknown),
            (LeadershipLost("x"), Unknown),
        ):
            self.server.leaders_outcome = outcome
            self.server.asked.clear()
            written = self.settled(self.requests.write(SET))
            assert isinstance(written, kind), outcome
            assert len(self.server.asked) == 1
            assert self.clock.getDelayedCalls() == []

    def test_insists(self) -> None:
        """
        What nobody has taken in is tried again while another leader is elected.
        """
        for outcome in (
            NotLeader(OTHER),
            NotLeader(None),
            NotReached("no link"),
            Stopped("the leader stops"),
        ):
            self.server.leaders_outcome = outcome
            pending = self.requests.write(SET)
            self.clock.pump([0.05] * 30)
            self.assertNoResult(pending)
            self.server.leaders_outcome = Applied(42, None)
            self.clock.advance(0.05)
            assert self.successResultOf(pending) == Applied(42, None)
            assert self.clock.getDelayedCalls() == []

    def test_becomes_leader_meanwhile(self) -> None:
        """
        If this server is the next leader it serves the request itself.
        """
        self.server.leaders_outcome = NotReached("no leader")
        pending = self.requests.write(SET)
        self.server.outcome = Applied(42, None)
        self.clock.advance(0.05)
        assert self.successResultOf(pending) == Applied(42, None)
        assert len(self.server.asked) == 1

    def test_does_not_insist_for_ever(self) -> None:
        """
        After two seconds without a leader the client hears that nothing was done.
        """
        for outcome, kind in (
            (NotLeader(OTHER), Misdirected),
            (NotLeader(None), Unavailable),
            (NotLeader(ME), Unavailable),
            (NotReached("no link"), Unavailable),
            (Stopped("x"), Unavailable),
        ):
            self.server.leaders_outcome = outcome
            pending = self.requests.write(SET)
            self.clock.pump([0.05] * 41)
            assert isinstance(self.successResultOf(pending), kind), outcome
            assert self.clock.getDelayedCalls() == []

    def test_client_goes_away_in_between(self) -> None:
        """
        Then nothing is tried again.
        """
        self.server.leaders_outcome = NotReached("no link")
        pending = self.requests.write(SET)
        pending.cancel()
        self.failureResultOf(pending, CancelledError)
        assert self.clock.getDelayedCalls() == []
        assert len(self.server.asked) == 1

    def test_no_redirect_behind_a_hop(self) -> None:
        """
        A request that asks for something else is not passed on.
        """
        for wanted, kind in (
            (OnFollower.ERROR, Misdirected),
            (OnFollower.REDIRECT, Redirected),
        ):
            outcome = self.successResultOf(self.requests.write(SET, wanted))
            assert isinstance(outcome, kind)
        assert self.server.asked == []

    def test_client_goes_away(self) -> None:
        """
        Then nobody waits for the leader any more.
        """
        outcome = self.requests.write(SET)
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        [(_, _, asked)] = self.server.asked
        assert asked.called
        assert self.clock.getDelayedCalls() == []

    def test_drain(self) -> None:
        """
        A node that stops waits for what it has passed on, and passes on nothing more.
        """
        written = self.requests.write(SET)
        drained = self.requests.drain(1.0)
        self.assertNoResult(drained)
        declined = self.successResultOf(self.requests.write(SET))
        assert isinstance(declined, Unavailable)
        [(_, _, asked)] = self.server.asked
        asked.callback(Applied(7, None))
        assert self.successResultOf(written) == Applied(7, None)
        self.successResultOf(drained)
        assert self.clock.getDelayedCalls() == []

    def test_drain_ends_insisting(self) -> None:
        """
        What has not reached a leader yet is over at the next attempt.
        """
        self.server.leaders_outcome = NotReached("no link")
        pending = self.requests.write(SET)
        self.successResultOf(self.requests.drain(1.0))
        self.clock.advance(0.05)
        assert isinstance(self.successResultOf(pending), Unavailable)
        assert self.clock.getDelayedCalls() == []

    def test_drain_ends(self) -> None:
        """
        It does not wait for ever; with nothing under way it does not wait at all.
        """
        self.successResultOf(self.requests.drain(1.0))
        self.requests = self.door(on_follower=OnFollower.FORWARD)
        written = self.requests.write(SET)
        drained = self.requests.drain(1.0)
        self.clock.advance(1.0)
        self.successResultOf(drained)
        self.assertNoResult(written)
        self.server.asked[0][2].callback(Applied(7, None))
        assert self.successResultOf(written) == Applied(7, None)


class ReadTests(Scripted):
    """
    Reads that want more than this node can say alone.
    """

    LINEARIZABLE = Consistency(ReadLevel.LINEARIZABLE)

    def test_insists(self) -> None:
        """
        A read can be tried again whatever became of it: it changes nothing.
        """
        for failure in (
            NotLeader(None),
            NotReached("no link"),
            LeadershipLost("deposed"),
            Stopped("the leader stops"),
            ConnectionError("the link broke"),
        ):
            self.server.outcome = failure
            pending = self.requests.read("foo", self.LINEARIZABLE)
            self.clock.pump([0.05] * 30)
            self.assertNoResult(pending)
            self.server.outcome = True
            self.clock.advance(0.05)
            assert self.successResultOf(pending) == Read(None)
            assert self.clock.getDelayedCalls() == []

    def test_does_not_insist_for_ever(self) -> None:
        """
        After two seconds without a leader the client hears so, as it does at once of
        what would not pass.
        """
        self.server.outcome = NotReached("no link")
        pending = self.requests.read("foo", self.LINEARIZABLE)
        self.clock.pump([0.05] * 41)
        assert isinstance(self.successResultOf(pending), Unavailable)
        self.server.outcome = Overloaded("x")
        pending = self.requests.read("foo", self.LINEARIZABLE)
        assert isinstance(self.successResultOf(pending), Unavailable)
        assert self.clock.getDelayedCalls() == []

    def test_a_node_that_stops_does_not_insist(self) -> None:
        """
        Then the client hears soon that it has to ask another one.
        """
        self.server.outcome = NotReached("no link")
        pending = self.requests.read("foo", self.LINEARIZABLE)
        self.successResultOf(self.requests.drain(1.0))
        self.clock.advance(0.05)
        assert isinstance(self.successResultOf(pending), Unavailable)
        assert self.clock.getDelayedCalls() == []


class JoinTests(Scripted):
    """
    Joins, and all that a Raft server may say to them.
    """

    def test_joined(self) -> None:
        """
        A newcomer with a vote has joined.
        """
        assert self.joined(42) == Joined(42)
        [(newcomer, _)] = self.server.newcomers
        assert newcomer == OTHER

    def test_already_a_member(self) -> None:
        """
        A member that joins again has joined: index 0 is a success as well.
        """
        outcome = self.requests.join(OTHER)
        [(_, answer)] = self.server.newcomers
        answer.callback(0)
        assert self.successResultOf(outcome) == Joined(0)

    def test_conflict(self) -> None:
        """
        A contradiction to a member is a conflict, in the words of the algorithm.
        """
        error = MembershipConflict("node2 is a member already, at x:1")
        assert self.joined(error) == Conflict("node2 is a member already, at x:1")

    def test_try_again(self) -> None:
        """
        Another change, and a newcomer that does not answer, are worth another try.
        """
        for error in (
            ChangeInProgress("another change"),
            UnreachableServer("no server node2 answers at x:1"),
        ):
            outcome = self.joined(error)
            assert outcome == Unavailable(str(error))

    def test_follower(self) -> None:
        """
        A follower names the leader to a newcomer too.
        """
        assert self.joined(NotLeader(LEADER)) == Misdirected(LEADER)

    def test_leadership_lost_is_unknown(self) -> None:
        """
        A leader that steps down does not know whether the newcomer is a member.
        """
        assert isinstance(self.joined(LeadershipLost("x")), Unknown)

    def test_catching_up_takes_long(self) -> None:
        """
        After ten seconds nothing is decided, and the server need not wait.
        """
        outcome = self.requests.join(OTHER)
        self.clock.advance(10)
        assert isinstance(self.successResultOf(outcome), Unknown)
        [(_, answer)] = self.server.newcomers
        assert answer.called


class LateFailureTests(Scripted):
    """
    A server whose Deferred fails although it was cancelled.
    """

    def test_late_failure_is_logged(self) -> None:
        """
        What fails in an unforeseen way after the timeout is not lost without trace.
        """
        outcome = self.requests.write(SET)
        [(_, answer)] = self.server.proposed
        answer._canceller = lambda deferred: deferred.errback(RuntimeError("late"))
        self.clock.advance(10)
        assert isinstance(self.successResultOf(outcome), Unknown)
        [_] = self.flushLoggedErrors(RuntimeError)


class RealServerTests(SynchronousTestCase):
    """
    Against a real cluster of one.
    """

    def setUp(self) -> None:
        """
        Begin with a leader.
        """
        self.clock = Clock()
        self.node = OneNode(self.clock)
        self.requests = self.node.requests

    def do(self, outcome: object) -> object:
        """
        Give the server time, and return what came of it.
        """
        self.clock.pump([0.0, 0.025])
        return self.successResultOf(outcome)

    def test_write_and_read(self) -> None:
        """
        What is written can be read, with the index that the write was told.
        """
        applied = self.do(self.requests.write(SET))
        for level in ReadLevel:
            read = self.do(self.requests.read("foo", Consistency(level)))
            assert (read.found.value, read.found.index) == ("bar", applied.index)
        assert self.requests.count_keys() == 1
        assert self.do(self.requests.read("x", Consistency())) == Read(None)

    def test_snapshot(self) -> None:
        """
        A snapshot has all that was applied; a second one changes nothing.
        """
        applied = self.do(self.requests.write(SET))
        taken = self.do(self.requests.take_snapshot())
        assert isinstance(taken, Taken)
        assert taken.index >= applied.index
        assert taken.size > 0
        assert self.do(self.requests.take_snapshot()) == taken
        assert self.node.server.status().snapshot_index == taken.index

    def test_remove_the_only_one(self) -> None:
        """
        A cluster keeps one voter; who is no member cannot be removed.
        """
        assert isinstance(self.do(self.requests.remove("node0")), Conflict)
        assert isinstance(self.do(self.requests.remove("node9")), Missing)

    def test_transfer_to_nobody(self) -> None:
        """
        Nobody else is there; the leader itself leads already.
        """
        assert isinstance(self.do(self.requests.transfer(None)), Conflict)
        assert isinstance(self.do(self.requests.transfer("node9")), Missing)
        term = self.node.server.status().term
        assert self.do(self.requests.transfer("node0")) == Transferred(term, ME)

    def test_delete(self) -> None:
        """
        A deletion says whether the key was there.
        """
        self.do(self.requests.write(SET))
        assert self.do(self.requests.write(Delete("foo"))).result is True
        assert self.do(self.requests.write(Delete("foo"))).result is False
        assert self.requests.count_keys() == 0

    def test_join_of_nobody(self) -> None:
        """
        A newcomer that does not answer changes nothing, and may try again.
        """
        before = self.node.server.status().configuration
        outcome = self.do(self.requests.join(OTHER))
        assert isinstance(outcome, Unavailable)
        assert self.node.server.status().configuration == before

    def test_join_again(self) -> None:
        """
        Same id and address again: nothing to do.
        """
        assert isinstance(self.do(self.requests.join(ME)), Joined)

    def test_join_with_my_id_or_address(self) -> None:
        """
        The id of a member at another address, or the reverse, is a conflict.
        """
        for newcomer in (Server("node0", "x:1"), Server("x", ME.raft)):
            assert isinstance(self.do(self.requests.join(newcomer)), Conflict)

    def test_stopped(self) -> None:
        """
        A server that stops proposes nothing; what was waiting is unknown.
        """
        waiting = self.requests.write(SET)
        self.successResultOf(self.node.server.stopService())
        assert isinstance(self.successResultOf(waiting), Unknown)
        outcome = self.successResultOf(self.requests.write(SET))
        assert isinstance(outcome, Unavailable)


class ClusterTests(SynchronousTestCase):
    """
    Against three real servers, two of which follow.
    """

    def setUp(self) -> None:
        """
        Let two servers join the one that leads.
        """
        self.group = Group()
        self.leader = self.group.first("a")
        for server_id in "bc":
            self.group.join(server_id, self.leader)

    def door(self, server_id: str, **options: object) -> ClientRequests:
        """
        Serve clients at that server.
        """
        return ClientRequests(
            self.group.servers[server_id],
            self.group.stores[server_id],
            self.group.clock,
            **options,
        )

    def outcome(self, pending: Deferred) -> object:
        """
        Let time pass until there is an outcome.
        """
        self.group.until(lambda: bool(pending.called))
        return self.successResultOf(pending)

    def test_forward(self) -> None:
        """
        A write at a follower is passed on; every level reads it there afterwards.
        """
        door = self.door("b", on_follower=OnFollower.FORWARD)
        applied = self.outcome(door.write(SET))
        assert isinstance(applied, Applied)
        read = self.outcome(door.read("foo", Consistency(ReadLevel.LINEARIZABLE)))
        assert read.found.index == applied.index
        for level in ReadLevel:
            read = self.outcome(door.read("foo", Consistency(level)))
            assert read.found.value == "bar"
        deleted = self.outcome(door.write(Delete("foo")))
        assert deleted.result is True
        assert isinstance(self.outcome(self.door("b").write(SET)), Misdirected)

    def test_read_at_a_follower_is_not_stale(self) -> None:
        """
        A write that was answered at the leader is read at a follower, at once.
        """
        for number in range(5):
            command = Set((("foo", str(number)),))
            self.outcome(self.door("a").write(command))
            for server_id in "bc":
                for level in (ReadLevel.LINEARIZABLE, ReadLevel.STRONG):
                    read = self.door(server_id).read("foo", Consistency(level))
                    assert self.outcome(read).found.value == str(number)

    def test_reads_without_leader(self) -> None:
        """
        A follower that is cut off serves what it has, and says that it is not fresh.
        """
        self.outcome(self.door("a").write(SET))
        self.group.ticks(10)
        self.group.cut_off = {"b"}
        self.group.ticks(60)
        door = self.door("b")
        fresh = Consistency(ReadLevel.NONE, 1.0)
        assert self.outcome(door.read("foo", Consistency())).found.value == "bar"
        assert isinstance(self.outcome(door.read("foo", fresh)), Unavailable)
        for level in (ReadLevel.WEAK, ReadLevel.LINEARIZABLE, ReadLevel.STRONG):
            read = self.outcome(door.read("foo", Consistency(level)))
            assert isinstance(read, Unavailable), level
        self.group.cut_off = set()
        self.group.until(lambda: self.group.servers["b"].status().leader is not None)
        self.group.ticks(5)
        assert self.outcome(door.read("foo", fresh)).found.value == "bar"

    def test_forwarding_without_leader(self) -> None:
        """
        A follower that reaches no leader has done nothing.
        """
        self.group.cut_off = {"b"}
        door = self.door("b", on_follower=OnFollower.FORWARD)
        for request in (door.write(SET), door.remove("c"), door.transfer(None)):
            assert isinstance(self.outcome(request), Unavailable)

    def test_membership_through_a_follower(self) -> None:
        """
        Members come, move and go, at any node's door.
        """
        door = self.door("b", on_follower=OnFollower.FORWARD)
        newcomer = self.group.add("d")
        newcomer.expect_cluster(self.leader.cluster_id)
        newcomer.startService()
        reader = evolve(member("d"), suffrage=Suffrage.NONVOTER)
        assert isinstance(self.outcome(door.join(reader)), Joined)
        self.group.until(lambda: newcomer.status().role == "nonvoter")
        assert isinstance(self.outcome(door.transfer("d")), Conflict)
        assert isinstance(self.outcome(door.join(member("d"))), Joined)
        assert self.leader.status().configuration.is_voter("d")
        ghost = Server("e", "e:1")
        assert isinstance(self.outcome(door.join(ghost)), Unavailable)
        assert isinstance(self.outcome(door.join(Server("e", "c:12000"))), Conflict)
        # Whoever is called as the leader, or as this node, moves nobody.
        for server_id in "ab":
            outcome = self.outcome(door.join(Server(server_id, "nowhere:1")))
            assert isinstance(outcome, Conflict)
            assert self.leader.status().configuration.get(server_id) == member(
                server_id
            )
        assert isinstance(self.outcome(door.remove("d")), Removed)
        assert isinstance(self.outcome(door.remove("d")), Missing)
        assert isinstance(self.outcome(door.transfer("d")), Missing)

    def test_leadership_through_a_follower(self) -> None:
        """
        A follower that asks the leader to hand over hears who leads.
        """
        door = self.door("b", on_follower=OnFollower.FORWARD)
        before = self.leader.status().term
        transferred = self.outcome(door.transfer("c"))
        assert transferred == Transferred(before + 1, member("c"))
        assert self.group.leader().server_id == "c"
        assert isinstance(self.outcome(door.transfer(None)), Transferred)
        assert self.group.leader().server_id != "c"

    def test_a_change_of_leaders_costs_no_answer(self) -> None:
        """
        What arrives at a follower while leaders change waits, and is done once.
        """
        door = self.door("b", on_follower=OnFollower.FORWARD)
        self.group.cut_off = {"a"}
        self.group.until(lambda: self.group.servers["b"].status().leader is None)
        pending = door.write(SET)
        read = door.read("foo", Consistency(ReadLevel.LINEARIZABLE))
        before = self.group.servers["b"].status().last_log_index
        assert isinstance(self.outcome(pending), Applied)
        assert isinstance(self.outcome(read), Read)
        # The new leader's own entry, the write, and nothing else.
        self.group.ticks(20)
        assert self.group.servers["b"].status().last_log_index == before + 2

    def test_removing_the_leader(self) -> None:
        """
        The leader itself can be removed, through it or through another.
        """
        removed = self.door("b", on_follower=OnFollower.FORWARD).remove("a")
        assert isinstance(self.outcome(removed), Removed)
        self.group.until(lambda: self.leader.status().role != "leader")
        self.group.cut_off = {"a"}
        self.group.until(self.group.has_leader)
        leader = self.group.leader()
        removed = self.door(leader.server_id).remove(leader.server_id)
        assert isinstance(self.outcome(removed), Removed)


def test_on_follower_is_spelled_as_on_the_command_line() -> None:
    """
    The ways have the names that operators use.
    """
    assert [choice.value for choice in OnFollower] == ["error", "redirect", "forward"]
    with pytest.raises(ValueError, match="proxy"):
        OnFollower("proxy")

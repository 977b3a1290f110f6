"""
What becomes of a client's request, from every way in which it can turn out.
"""

from __future__ import annotations

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import (
    Applied,
    ClientRequests,
    Conflict,
    Joined,
    Misdirected,
    OnFollower,
    Redirected,
    Unavailable,
    Unknown,
)
from hraftd.kv.commands import Delete, Set, decode_command
from hraftd.kv.store import KeyValueStore
from hraftd.raft.configuration import MembershipConflict, Server
from hraftd.raft.errors import ChangeInProgress, NotLeader
from hraftd.server import LeadershipLost, Overloaded, Stopped, UnreachableServer
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
        return self.successResultOf(requests.write(SET))

    def joined(self, outcome: object) -> object:
        """
        Return what a join comes to when the server answers with this.
        """
        self.server.outcome = outcome
        return self.successResultOf(self.requests.join(OTHER))


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
        for error in (Overloaded("x"), Stopped("x")):
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
        found = self.requests.read("foo")
        assert (found.value, found.index) == ("bar", applied.index)
        assert self.requests.count_keys() == 1
        assert self.requests.read("nothing") is None

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


def test_on_follower_is_spelled_as_on_the_command_line() -> None:
    """
    The two ways have the names that operators use; there is no third yet.
    """
    assert [choice.value for choice in OnFollower] == ["error", "redirect"]
    with pytest.raises(ValueError, match="forward"):
        OnFollower("forward")

"""
What a server asks another for its clients, from one end of a link to the other.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, succeed
from twisted.protocols import amp
from twisted.protocols.amp import BadLocalReturn

from hraftd import errors
from hraftd.leader_requests import (
    AddServer,
    Assurance,
    ClientRequest,
    ReadIndex,
    RemoveServer,
    TransferLeadership,
)
from hraftd.peers.client_commands import MAX_COMMAND
from hraftd.peers.questions import (
    ANSWER_RATE,
    ANSWER_SECONDS,
    MAX_ASKED,
    MAX_ASKED_BYTES,
    NotConnected,
)
from hraftd.proposals import Applied
from hraftd.raft.configuration import MembershipConflict, Server, Suffrage
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    ProtocolViolation,
    TransferInProgress,
)
from hraftd.raft.messages import Call

from .network import CLUSTER, PeersTestCase, Wire, append, install, servers, vote

if TYPE_CHECKING:
    from hraftd.leader_requests import LeaderRequest

WRITE = ClientRequest(b"set")
NEWCOMER = Server("n4", "127.0.0.1:12004", "127.0.0.1:11004", Suffrage.NONVOTER)


class AskingTestCase(PeersTestCase):
    """
    A server ``n1`` with a link to the leader ``n2``.
    """

    def setUp(self) -> None:
        """
        Open the link.
        """
        super().setUp()
        self.leader, self.factory = self.serve("n2", 12002)
        self.peer_links = self.links()
        self.peer_links.configure(CLUSTER, servers(n1=12001, n2=12002))
        self.network.settle()
        self.logged()

    def ask(
        self, request: LeaderRequest = WRITE, seconds: float = 10.0, to: str = "n2"
    ) -> Deferred[Any]:
        """
        Ask a server.
        """
        outcome = self.peer_links.ask(to, request, seconds)
        self.network.settle()
        return outcome

    def call(self, request: Any) -> Deferred[Any]:
        """
        Send an RPC of Raft.
        """
        response = self.peer_links.call(Call("n2", request))
        self.network.settle()
        return response

    def answer(self, number: int, outcome: Any) -> None:
        """
        Let the leader be done with the request of that number.
        """
        self.leader.serving[number].callback(outcome)
        self.network.settle()

    @property
    def wire(self) -> Wire:
        """
        The one open connection.
        """
        [wire] = self.network.open_wires
        return wire

    @property
    def timers(self) -> int:
        """
        How many timers there are.
        """
        return len(self.network.reactor.getDelayedCalls())


class OutcomeTests(AskingTestCase):
    """
    What comes back.
    """

    def test_done(self) -> None:
        """
        Each kind of request reaches the leader as it was, and so does its outcome.
        """
        for request, outcome in (
            (WRITE, Applied(8, {"index": 8, "was": "ñ"})),
            (ClientRequest(b"x" * (8 << 20)), Applied(9, "y" * (8 << 20))),
            (ReadIndex(Assurance.MAJORITY), 8),
            (AddServer(NEWCOMER), 9),
            (RemoveServer("n4"), 10),
            (TransferLeadership("n3"), 4),
        ):
            self.leader.decide = lambda _, outcome=outcome: succeed(outcome)
            assert self.successResultOf(self.ask(request)) == outcome
            assert self.leader.asked.pop() == request
        assert self.logged() == []

    def test_declined(self) -> None:
        """
        What the leader declines with arrives, and the link stays.
        """
        elsewhere = Server("n3", "127.0.0.1:12003", "127.0.0.1:11003")
        for error in (
            NotLeader(None),
            NotLeader(elsewhere),
            errors.LeadershipLost("it stepped down"),
            errors.Overloaded("too much waits"),
            errors.Stopped("it stops"),
            errors.UnreachableServer("nobody answers there"),
            errors.NoSuchServer("there is no n9"),
            errors.TransferFailed("it took too long"),
            TransferInProgress(),
            CannotTransfer("n4 does not vote"),
            MembershipConflict("that address belongs to n3"),
            ChangeInProgress(),
        ):
            self.leader.decide = lambda _, error=error: fail(error)
            failure = self.failureResultOf(self.ask(), type(error))
            assert type(failure.value) is type(error)
            assert str(failure.value) == str(error)
            assert getattr(failure.value, "leader", None) == getattr(
                error, "leader", None
            )
        assert len(self.network.wires) == 1
        assert self.logged() == []

    def test_pieces(self) -> None:
        """
        However the bytes are cut on their way, outcomes are the same.
        """
        self.wire.rng = Random(5)
        outcomes = [self.ask(ClientRequest(b"z" * size)) for size in (0, 70_000, 1)]
        for number, size in ((2, 1), (0, 80_000), (1, 0)):
            self.answer(number, Applied(number, "r" * size))
        results = [self.successResultOf(outcome) for outcome in outcomes]
        assert [(x.index, len(x.result)) for x in results] == [
            (0, 80_000),
            (1, 0),
            (2, 1),
        ]

    def test_leaders_bug(self) -> None:
        """
        An error of the leader's own is in its log; whoever asked does not know more.
        """
        self.leader.decide = lambda _: fail(ZeroDivisionError("oops"))
        self.failureResultOf(self.ask(), NotConnected)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        self.events.clear()

    def test_outcome_that_is_no_plain_value(self) -> None:
        """
        So is what a state machine returned and cannot be told.
        """
        self.leader.decide = lambda _: succeed(Applied(1, object()))
        self.failureResultOf(self.ask(), NotConnected)
        assert len(self.flushLoggedErrors(TypeError, BadLocalReturn)) == 1
        self.events.clear()

    def test_outcome_too_large(self) -> None:
        """
        A write whose outcome cannot be told is neither undone nor a lost connection.
        """
        self.leader.decide = lambda _: succeed(Applied(7, "x" * (32 << 20)))
        self.failureResultOf(self.ask(), errors.LeadershipLost)
        assert len(self.network.wires) == 1

    def test_wrong_outcome(self) -> None:
        """
        A leader that answers nonsense loses the connection, and one line says so.
        """
        for box in (
            {amp.ANSWER: b"2"},
            {amp.ANSWER: b"2", b"index": b"-1", b"result": b"null"},
            {amp.ANSWER: b"2", b"index": b"1", b"result": b"{"},
            {amp.ANSWER: b"2", b"index": b"1", b"result": b"[" * 60_000},
            {amp.ANSWER: b"2", b"index": b"1", b"result": b"", b"result.1": b"x"},
            {
                amp.ERROR: b"2",
                amp.ERROR_CODE: b"NOT_LEADER",
                amp.ERROR_DESCRIPTION: b"n3",
            },
            {amp.ERROR: b"2", amp.ERROR_CODE: b"KING", amp.ERROR_DESCRIPTION: b""},
        ):
            outcome = self.ask()
            self.wire.server.write(amp.AmpBox(box).serialize())
            self.network.settle()
            failure = self.failureResultOf(outcome, NotConnected)
            assert "gave a wrong answer" in str(failure.value)
            [line] = self.logged()
            assert len(line) < 400
            self.network.advance(1.1)
            assert self.peer_links.is_linked("n2")
            self.logged()

    def test_endless_answer(self) -> None:
        """
        An answer, too, has at most the bytes of a box.
        """
        outcome = self.ask()
        self.wire.server.write(b"\x00\x07_answer\x00\x012")
        for number in range(600):
            if outcome.called:
                break
            part = b"r%d" % number
            self.wire.server.write(bytes([0, len(part)]) + part + b"\xff\xff")
            self.wire.server.write(bytes(65_535))
            self.network.settle()
        failure = self.failureResultOf(outcome, NotConnected)
        assert "a box of more than 33554432 bytes" in str(failure.value)
        assert number > 500


class NotReachedTests(AskingTestCase):
    """
    What was not sent says so: it can safely be tried elsewhere.
    """

    def test_no_link(self) -> None:
        """
        Without an open link nothing is sent, and nothing waits for one.
        """
        assert not self.peer_links.is_linked("n1")
        assert not self.peer_links.is_linked("n3")
        assert self.peer_links.is_linked("n2")
        for name in ("n1", "n3"):
            self.failureResultOf(self.ask(to=name), errors.NotReached)
        self.wire.cut(lost=True)
        assert not self.peer_links.is_linked("n2")
        self.failureResultOf(self.peer_links.ask("n2", WRITE, 10), errors.NotReached)
        self.network.advance(0.1)
        assert self.peer_links.is_linked("n2")
        assert self.leader.asked == []

    def test_before_hello_is_answered(self) -> None:
        """
        A link is open when its Hello is answered, and not before.
        """
        other, _ = self.serve("n3", 12003)
        other.admission = Deferred()
        self.peer_links.configure(CLUSTER, servers(n2=12002, n3=12003))
        self.failureResultOf(self.ask(to="n3"), errors.NotReached)
        assert not self.peer_links.is_linked("n3")
        other.admission.callback(None)
        self.network.settle()
        assert self.peer_links.is_linked("n3")

    def test_what_cannot_be_written(self) -> None:
        """
        A request that no server takes fails alone, before it is sent.
        """
        for request in (
            ClientRequest(bytes(MAX_COMMAND + 1)),
            AddServer(Server("a/b", "a:1")),
            AddServer(Server("n4", "nowhere")),
            RemoveServer(""),
            TransferLeadership("n1\n"),
        ):
            self.failureResultOf(self.ask(request), ValueError)
        assert self.leader.asked == []
        outcome = self.ask(ClientRequest(bytes(MAX_COMMAND)))
        self.answer(0, Applied(1, None))
        assert self.successResultOf(outcome) == Applied(1, None)
        assert self.logged() == []


class WaitingTests(AskingTestCase):
    """
    How long an answer is waited for, and what becomes of it later.
    """

    def test_longer_than_an_rpc(self) -> None:
        """
        A client may wait for longer than Raft does, and costs no connection.
        """
        outcome = self.ask(seconds=100)
        self.network.advance(99, step=1)
        self.answer(0, Applied(1, None))
        self.successResultOf(outcome)
        assert len(self.network.wires) == 1

    def test_not_answered(self) -> None:
        """
        When its time is over a request fails, alone, and the late answer is dropped.
        """
        late, other = self.ask(seconds=5), self.ask(seconds=60)
        self.network.advance(4.9)
        self.assertNoResult(late)
        self.network.advance(0.2)
        failure = self.failureResultOf(late, TimeoutError)
        assert "did not answer within 5.0 s" in str(failure.value)
        for outcome in (Applied(1, None), Applied(2, None)):
            self.answer(outcome.index - 1, outcome)
        assert self.successResultOf(other) == Applied(2, None)
        assert len(self.network.wires) == 1
        assert self.logged() == []

    def test_declined_late(self) -> None:
        """
        Nor does it matter when what comes late is an error.
        """
        late = self.ask(seconds=1)
        self.network.advance(1.1)
        self.failureResultOf(late, TimeoutError)
        self.leader.serving[0].errback(errors.LeadershipLost("it stepped down"))
        self.network.settle()
        assert self.peer_links.is_linked("n2")
        assert self.logged() == []

    def test_wrong_answer_late(self) -> None:
        """
        What is no answer at all costs the connection, however late it comes.
        """
        late = self.ask(seconds=1)
        self.network.advance(1.1)
        self.failureResultOf(late, TimeoutError)
        self.wire.server.write(amp.AmpBox({amp.ANSWER: b"2"}).serialize())
        self.network.settle()
        assert not self.peer_links.is_linked("n2")

    def test_cancelled(self) -> None:
        """
        Who does not want to wait any longer cancels; the answer is dropped as well.
        """
        before = self.timers
        outcome = self.ask()
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        assert self.timers == before
        self.answer(0, Applied(1, None))
        assert self.logged() == []

    def test_connection_lost(self) -> None:
        """
        With the connection, all that was asked on it fails: nobody knows what became
        of it, and nothing is sent twice (fluree 1839).
        """
        before = self.timers
        outcomes = [self.ask(), self.ask()]
        self.network.listen(12002, None)
        self.wire.cut(lost=True)
        for outcome in outcomes:
            self.failureResultOf(outcome, NotConnected)
        assert self.timers == before + 1, "only the next attempt to connect"
        self.network.listen(12002, self.factory)
        self.network.advance(2)
        assert self.peer_links.is_linked("n2")
        assert self.leader.asked == [WRITE, WRITE]
        for serving in self.leader.serving:
            serving.errback(errors.LeadershipLost("late"))
        assert len(self.logged()) == 2

    def test_stopped(self) -> None:
        """
        When the links are closed, nobody is left waiting, and no timer is left.
        """
        outcome = self.ask()
        stopped = self.peer_links.stopService()
        self.failureResultOf(outcome, NotConnected)
        self.network.settle()
        self.successResultOf(stopped)
        assert self.timers == 0

    def test_askers_mistake(self) -> None:
        """
        An error in a callback stays with its Deferred: the link is not harmed.
        """
        outcome = self.ask().addCallback(lambda _: 1 // 0)
        self.answer(0, Applied(1, None))
        self.failureResultOf(outcome, ZeroDivisionError)
        assert self.peer_links.is_linked("n2")


class LimitTests(AskingTestCase):
    """
    How much may be unanswered.
    """

    def overloaded(self, request: LeaderRequest = WRITE) -> None:
        """
        See that a request is too much.
        """
        asked = len(self.leader.asked)
        self.failureResultOf(self.ask(request), errors.Overloaded)
        assert len(self.leader.asked) == asked, "it was sent all the same"

    def test_number(self) -> None:
        """
        Beyond 1,000 unanswered requests one more is not sent, until one is answered.
        """
        outcomes = [self.peer_links.ask("n2", WRITE, 60) for _ in range(MAX_ASKED)]
        self.network.settle()
        assert len(self.leader.asked) == MAX_ASKED
        self.overloaded()
        self.overloaded(ReadIndex(Assurance.MAJORITY))
        self.answer(500, Applied(1, None))
        self.successResultOf(outcomes[500])
        self.assertNoResult(self.ask())
        self.overloaded()

    def test_bytes(self) -> None:
        """
        Beyond 8 MiB of them neither; but a request that is larger alone is sent alone.
        """
        large = ClientRequest(bytes(MAX_ASKED_BYTES // 2))
        self.ask(large)
        self.ask(large)
        self.overloaded()
        self.assertNoResult(self.ask(ReadIndex(Assurance.MAJORITY)))
        for number in range(3):
            self.answer(number, Applied(1, None))
        self.ask(ClientRequest(bytes(2 * MAX_ASKED_BYTES)))
        self.overloaded()
        self.answer(3, Applied(1, None))
        for _ in range(2):
            self.assertNoResult(self.ask(large))
        self.overloaded()

    def test_given_up(self) -> None:
        """
        What nobody waits for any more counts as long as the leader has it.

        Otherwise clients that try again and again would fill the leader's memory.
        """
        for _ in range(MAX_ASKED):
            self.peer_links.ask("n2", WRITE, 1).addErrback(lambda _: None)
        self.network.advance(1.1)
        self.overloaded()
        for number in range(MAX_ASKED):
            self.leader.serving[number].callback(Applied(1, None))
        self.network.settle()
        self.assertNoResult(self.ask())
        assert self.logged() == []

    def test_new_connection(self) -> None:
        """
        On a new connection nothing is unanswered.
        """
        for _ in range(MAX_ASKED):
            self.peer_links.ask("n2", WRITE, 60).addErrback(lambda _: None)
        self.wire.cut(lost=True)
        self.network.advance(0.1)
        self.assertNoResult(self.ask())


class BesideRaftTests(AskingTestCase):
    """
    Clients and Raft on one connection.
    """

    def test_votes_pass_by(self) -> None:
        """
        As many writes as may wait for their commit do not keep a vote from being asked.
        """
        for size in (MAX_ASKED_BYTES // MAX_ASKED, MAX_COMMAND):
            request = ClientRequest(bytes(size))
            while not (outcome := self.peer_links.ask("n2", request, 60)).called:
                pass
            self.failureResultOf(outcome, errors.Overloaded)
            self.network.settle()
            for message in (vote(), append(), install()):
                self.successResultOf(self.call(message))
                assert self.leader.requests.pop() == message
            for serving in self.leader.serving:
                if not serving.called:
                    serving.callback(Applied(1, None))
            self.network.settle()
        assert len(self.network.wires) == 1

    def test_rpc_overdue(self) -> None:
        """
        An RPC of Raft that is not answered takes what clients asked for with it.
        """
        self.leader.hold = True
        outcome, response = self.ask(seconds=60), self.call(vote())
        self.network.advance(2.1)
        for failed in (outcome, response):
            failure = self.failureResultOf(failed, NotConnected)
            assert "did not answer within 2.0 s" in str(failure.value)

    def test_rpc_behind_a_large_request(self) -> None:
        """
        An RPC gets as much longer as the bytes before it need to get there.
        """
        self.leader.hold = True
        self.ask(ClientRequest(bytes(4 * ANSWER_RATE)), seconds=60).addErrback(str)
        response = self.call(vote())
        self.network.advance(ANSWER_SECONDS + 3.9)
        self.assertNoResult(response)
        self.network.advance(0.2)
        self.failureResultOf(response, NotConnected)

    def test_rpc_behind_a_request_given_up(self) -> None:
        """
        But not for ever: who no longer waits for an answer gives no RPC more time.
        """
        self.leader.hold = True
        for seconds, cancel in ((1, False), (60, True)):
            outcome = self.ask(ClientRequest(bytes(4 * ANSWER_RATE)), seconds=seconds)
            if cancel:
                outcome.cancel()
            self.network.advance(1.1)
            self.failureResultOf(outcome, TimeoutError, CancelledError)
        response = self.call(vote())
        self.network.advance(ANSWER_SECONDS + 0.1)
        self.failureResultOf(response, NotConnected)

    def test_pieces_of_a_snapshot(self) -> None:
        """
        A piece of a snapshot, too, gets a second more for every 256 KiB.
        """
        self.leader.hold = True
        response = self.call(install(bytes(4 * ANSWER_RATE)))
        self.network.advance(ANSWER_SECONDS + 3.9)
        self.assertNoResult(response)
        self.network.advance(0.2)
        self.failureResultOf(response, NotConnected)

    def test_broken_rules(self) -> None:
        """
        A peer that breaks Raft's rules loses what it asked for its clients as well.
        """
        outcome = self.ask()
        self.leader.respond = lambda _: fail(ProtocolViolation("two leaders"))
        self.failureResultOf(self.call(vote()), NotConnected)
        self.failureResultOf(outcome, NotConnected)

"""
One connection between two simulated servers: questions go there, answers come back.

The rules are those of :mod:`hraftd.peers.questions` and :mod:`hraftd.peers.inbound`: a
request of Raft that is not answered in time costs the connection, and with it all that
waits there; what is asked for a client fails alone; who speaks for somebody else or
breaks the rules of Raft would lose the connection, but here that is an error, for all
servers are right ones.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError

from hraftd.errors import Stopped
from hraftd.peers.questions import ANSWER_RATE, ANSWER_SECONDS, NotConnected
from hraftd.simulator.wire import (
    carried_outcome,
    carried_question,
    carried_refusal,
    carried_request,
    carried_response,
    size_of,
    speaker_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied
    from hraftd.raft.messages import Request, Response
    from hraftd.server import RaftServer
    from hraftd.simulator.checks import Watch
    from hraftd.simulator.clock import Process
    from hraftd.simulator.network import Network, Stream

__all__ = ["Connection"]


@define(eq=False)
class _Question:
    """
    Something that waits for its answer.
    """

    answer: Deferred[Any]
    #: When the connection is given up, by the asker's clock; ``None`` for never.
    due: float | None = None


@define(eq=False)
class Connection:
    """
    A connection from one server to another, on which the first one asks.
    """

    network: Network
    watch: Watch
    clock: IReactorTime
    asker: Process
    answerer: Process
    #: The server that answers.
    server: RaftServer
    there: Stream
    back: Stream
    on_end: Callable[[], object]
    is_over: bool = False
    _asked: int = 0
    _questions: dict[int, _Question] = field(factory=dict)
    #: Those with a time limit, in the order in which they were asked.
    _limited: deque[_Question] = field(factory=deque)
    _overdue: IDelayedCall | None = None

    # Where it is asked.

    def call(self, request: Request) -> Deferred[Response]:
        """
        Send a request of Raft.
        """
        size = size_of(request)
        limit = ANSWER_SECONDS + size / ANSWER_RATE
        question = self._ask(Deferred(), self.clock.seconds() + limit)
        self.there.send_rpc(size, self._handle, self._asked, carried_request(request))
        self._limited.append(question)
        if self._overdue is None:
            self._overdue = self.clock.callLater(limit, self._look)
        return question.answer

    def _ask(self, answer: Deferred[Any], due: float | None = None) -> _Question:
        self._asked += 1
        question = self._questions[self._asked] = _Question(answer, due)
        if not self.answerer.is_alive:
            # Its machine, if there is one, knows nothing of this connection.
            self.network.refuse(self)
        return question

    def _look(self) -> None:
        """
        Give the connection up if the oldest question waits for too long.
        """
        self._overdue = None
        while self._limited and self._limited[0].answer.called:
            self._limited.popleft()
        if not self._limited or self.is_over:
            return
        due = self._limited[0].due
        assert due is not None
        left = due - self.clock.seconds()
        if left > 0:
            self._overdue = self.clock.callLater(left, self._look)
        else:
            self.end("the peer did not answer in time")

    def ask(self, request: LeaderRequest, seconds: float) -> Deferred[Any]:
        """
        Ask for something for a client.
        """
        outcome: Deferred[Any] = Deferred()
        answer: Deferred[Any] = Deferred()
        self._ask(answer)
        self.there.send(200, self._serve, self._asked, carried_question(request))

        def give_up() -> None:
            if not outcome.called:
                outcome.errback(TimeoutError("the peer did not answer"))

        def stop_waiting(result: object) -> object:
            if overdue.active():
                overdue.cancel()
            return result

        def deliver(result: object) -> None:
            if not outcome.called:
                outcome.callback(result)

        overdue = self.clock.callLater(seconds, give_up)
        outcome.addBoth(stop_waiting)
        answer.addBoth(deliver)
        return outcome

    def _answered(self, number: int, result: object) -> None:
        question = None if self.is_over else self._questions.pop(number, None)
        # Without one it has been answered before: a message may come twice.
        if question is not None:
            answer = question.answer
            if isinstance(result, Exception):
                answer.errback(result)
            else:
                answer.callback(result)

    def end(self, reason: str) -> None:
        """
        Let the asker find that the connection is over: nothing more is answered.
        """
        if self.is_over:
            return
        self.is_over = True
        self.there.cut()
        self.network.connections.pop(self, None)
        if self._overdue is not None:
            self._overdue.cancel()
        self.on_end()
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.answer.called:
                question.answer.errback(NotConnected(reason))

    # Where it is answered.

    def _handle(self, number: int, request: Request) -> None:
        def answered(response: Response) -> None:
            self.watch.answered(self.server.server_id, request, response)
            carried = carried_response(request, response)
            self.back.send_rpc(200, self._answered, number, carried)

        speaker = speaker_of(request)
        if speaker != self.asker.name:
            self.watch.object_to(
                AssertionError(f"{self.asker.name} speaks for {speaker}")
            )
        handled = self.server.handle(request)
        handled.addCallback(answered).addErrback(self._close)

    def _close(self, failure: Failure) -> None:
        """
        Close the connection: the server stops, or somebody breaks the rules.
        """
        if failure.check(Stopped) is None:
            assert isinstance(failure.value, Exception)
            self.watch.object_to(failure.value)
        self.back.send(0, self.end, "the peer has closed the connection")
        self.there.cut()

    def _serve(self, number: int, request: LeaderRequest) -> None:
        def served(outcome: Applied | int) -> None:
            self.back.send(200, self._answered, number, carried_outcome(outcome))

        def declined(failure: Failure) -> None:
            assert isinstance(failure.value, Exception)
            refusal = carried_refusal(failure.value)
            if refusal is None:
                self._close(failure)
            else:
                self.back.send(200, self._answered, number, refusal)

        self.server.serve(request).addCallbacks(served, declined).addErrback(
            self._close
        )

"""
What is asked on one connection, and how long it may wait for its answer.

There are two kinds of questions:

- An RPC of Raft has a time limit. When it passes, the connection is given up, and all
  questions on it fail.
- What is asked for clients may take as long as its asker likes to wait. When that is
  over, it alone fails, and its answer is dropped if ever it comes. The peer has it all
  the same; so it counts until then, and what counts has a limit. With more than that
  the peer would stop reading, and not notice when we ask for its vote.

A peer that answers with anything but an answer loses the connection too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError, fail
from twisted.python.failure import Failure

from hraftd.codec import CodecError
from hraftd.errors import Overloaded
from hraftd.peers.client_commands import (
    DECLINED,
    asked_for,
    read_declined,
    read_outcome,
)
from hraftd.peers.commands import arguments_of, read_response
from hraftd.peers.hello import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.protocols.amp import BoxDispatcher, Command

    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied
    from hraftd.raft.messages import Request, Response

__all__ = [
    "ANSWER_RATE",
    "ANSWER_SECONDS",
    "MAX_ASKED",
    "MAX_ASKED_BYTES",
    "NotConnected",
    "Questions",
]

_T = TypeVar("_T")

#: Seconds to wait for an answer to an RPC of Raft, and bytes that are carried there in
#: a second besides.
ANSWER_SECONDS = 2.0
ANSWER_RATE = 256 << 10

#: So many questions for clients, and so many bytes in them, may be unanswered. One
#: alone may be larger.
MAX_ASKED = 1000
MAX_ASKED_BYTES = 8 << 20


class NotConnected(ConnectionError):
    """
    The peer is not connected, or is not any more. The text is a sentence.

    If the request was sent, the peer may have received it.
    """


class Questions:
    """
    The questions on one connection that are not answered.
    """

    def __init__(
        self,
        dispatcher: BoxDispatcher,
        clock: IReactorTime,
        who: str,
        blame: Callable[[str], object],
    ) -> None:
        """
        Begin with none.

        :param who: the peer, for sentences.
        :param blame: gives up the connection, with what the peer did; all that was
            asked fails with :exc:`NotConnected`.
        """
        self._dispatcher = dispatcher
        self._clock = clock
        self._who = who
        self._blame = blame
        #: Bytes that may be on their way still; the questions behind them wait longer.
        self._under_way = 0
        #: Questions for clients that the peer has not answered, and bytes in them.
        self._asked = 0
        self._asked_bytes = 0

    @property
    def unanswered_bytes(self) -> int:
        """
        How many bytes there are in all that is neither answered nor given up.
        """
        return self._under_way

    def call(self, request: Request) -> Deferred[Response]:
        """
        Send a request of Raft.

        :return: the answer; fails with :exc:`NotConnected`, or with
            :exc:`ValueError` if the request cannot be written.
        """
        try:
            command, arguments = arguments_of(request)
        except ValueError:
            return fail()
        answer = self.send(command, arguments)
        return answer.addCallback(lambda results: read_response(request, results))

    def send(
        self, command: type[Command], arguments: dict[str, Any]
    ) -> Deferred[dict[str, Any]]:
        """
        Send a Command that is answered in time, or costs the connection.
        """
        try:
            asked = self._call_remote(command, arguments)
        except ValueError:
            return fail()
        size = _size_of(arguments)
        self._under_way += size
        limit = ANSWER_SECONDS + self._under_way / ANSWER_RATE
        overdue = self._clock.callLater(
            limit, self._blame, f"did not answer within {limit:.1f} s"
        )

        def ended(result: _T) -> _T:
            self._under_way -= size
            if overdue.active():
                overdue.cancel()
            return result

        # A failure that is left in AMP's own Deferred would be logged by AMP.
        answer: Deferred[dict[str, Any]] = Deferred()
        asked.addBoth(ended).addErrback(self._no_answer)
        asked.addCallbacks(answer.callback, answer.errback)
        return answer

    def ask(self, request: LeaderRequest, seconds: float) -> Deferred[Applied | int]:
        """
        Ask for something on behalf of a client.

        :return: what it came to. Fails with what the peer declined it with; with
            :exc:`Overloaded`, or :exc:`ValueError` if it cannot be written, and then it
            was not sent; with :exc:`NotConnected` if the connection is lost; and with
            :exc:`TimeoutError` after so many seconds.
        """
        command, arguments = asked_for(request)
        size = _size_of(arguments)
        if self._asked >= MAX_ASKED or (
            self._asked and self._asked_bytes + size > MAX_ASKED_BYTES
        ):
            return fail(Overloaded(f"{self._who} has too many requests to answer"))
        try:
            asked = self._call_remote(command, arguments)
        except ValueError:
            return fail()
        self._asked += 1
        self._asked_bytes += size
        self._under_way += size
        outcome: Deferred[Applied | int] = Deferred()

        def give_up() -> None:
            reason = f"{self._who} did not answer within {seconds:.1f} s"
            outcome.errback(TimeoutError(reason))

        overdue = self._clock.callLater(seconds, give_up)

        def awaited_no_longer(result: _T) -> _T:
            # By now it has arrived, or the connection is of no use anyway.
            self._under_way -= size
            if overdue.active():
                overdue.cancel()
            return result

        def answered(result: _T) -> _T:
            self._asked -= 1
            self._asked_bytes -= size
            return result

        def deliver(result: Applied | int | Failure) -> None:
            if not outcome.called:
                outcome.callback(result)

        outcome.addBoth(awaited_no_longer)
        asked.addCallback(read_outcome).addBoth(answered)
        asked.addErrback(self._no_answer).addBoth(deliver)
        return outcome

    def _call_remote(
        self, command: type[Command], arguments: dict[str, Any]
    ) -> Deferred[Any]:
        asked: Deferred[Any] = self._dispatcher.callRemote(command, **arguments)
        return asked

    def _no_answer(self, failure: Failure) -> Failure:
        if failure.check(Refused, NotConnected):
            return failure
        error = failure.value
        if isinstance(error, DECLINED):
            try:
                return Failure(read_declined(error))
            except CodecError:
                failure = Failure()
        reason = f"gave a wrong answer: {failure.getErrorMessage()[:200]}"
        self._blame(reason)
        return Failure(NotConnected(f"{self._who} {reason}"))


def _size_of(arguments: dict[str, Any]) -> int:
    """
    Return how many bytes there are in arguments of any length.
    """
    return sum(len(value) for value in arguments.values() if isinstance(value, bytes))

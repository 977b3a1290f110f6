"""
The way of a client's request to the leader, from a node that does not lead.

One hop and no more: the leader that is asked serves the request or declines it. While
there is no leader, or the one that was asked leads no more, nothing has happened yet,
so it is tried again for as long as an election takes. But what a leader was asked and
did not answer is never asked again: it may have been done (fluree 1839).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.logger import Logger

from hraftd.errors import (
    LeadershipLost,
    NoSuchServer,
    NotReached,
    Overloaded,
    Stopped,
    TransferFailed,
    UnreachableServer,
)
from hraftd.raft.configuration import MembershipConflict
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from hraftd.deadlines import Patience
    from hraftd.leader_requests import LeaderRequest
    from hraftd.server import RaftServer

__all__ = ["Forwarding", "OnFollower", "Unanswered"]

_Done = TypeVar("_Done")

#: What the leader says itself, or this node before it has asked. Anything else that
#: comes of asking leaves open what the leader has done.
_SAID = (
    CancelledError,
    CannotTransfer,
    ChangeInProgress,
    LeadershipLost,
    MembershipConflict,
    NoSuchServer,
    NotLeader,
    NotReached,
    Overloaded,
    Stopped,
    TransferFailed,
    TransferInProgress,
    UnreachableServer,
)


class OnFollower(Enum):
    """
    What a node that does not lead does with a request that only the leader can serve.
    """

    #: Decline, and name the leader.
    ERROR = "error"
    #: Send the client to the leader.
    REDIRECT = "redirect"
    #: Ask the leader in the client's place.
    FORWARD = "forward"


class Unanswered(Exception):
    """
    The leader was asked to do something, and its answer never came.
    """


class _LeaderStopped(Stopped):
    """
    The leader is stopping; there will be another one.
    """


class Forwarding:
    """
    Passes on what this node's own server has declined.
    """

    _log = Logger()

    def __init__(
        self, server: RaftServer, clock: IReactorTime, patience: Patience
    ) -> None:
        """
        Ask the leader that this server knows.
        """
        self._server = server
        self._clock = clock
        self._patience = patience
        #: What is under way, and who waits until nothing is.
        self._asked: dict[Deferred[Any], None] = {}
        self._waiting: list[Deferred[None]] = []
        self._draining = False

    @property
    def count(self) -> int:
        """
        How many requests the leader was asked for and has not answered.
        """
        return len(self._asked)

    def at_leader(
        self,
        here: Callable[[], Deferred[_Done]],
        request: LeaderRequest,
        seconds: float,
    ) -> Deferred[_Done]:
        """
        Serve a request here if this server leads, and pass it on if it does not.

        :param here: asks this server to serve it.
        :param seconds: what the request has, from now on.
        :return: fires and fails as ``here`` or, in its place, as the leader; also with
            :exc:`~hraftd.errors.NotReached`, and with :exc:`Unanswered`.
        """
        deadline = self._clock.seconds() + seconds

        def elsewhere(failure: Failure) -> Deferred[_Done]:
            failure.trap(NotLeader)
            # It may have waited here for a while, for a transfer of the leadership.
            return self._ask(request, deadline - self._clock.seconds())

        return self._patience.insist(
            lambda: here().addErrback(elsewhere), NotLeader, NotReached, _LeaderStopped
        )

    def _ask(self, request: LeaderRequest, seconds: float) -> Deferred[Any]:
        if self._draining:
            return fail(Stopped("this server is stopping"))

        def ended(result: object) -> object:
            del self._asked[asked]
            self._notice_all_answered()
            return result

        def failed(failure: Failure) -> Failure:
            if failure.check(Stopped):
                raise _LeaderStopped
            if failure.check(*_SAID):
                return failure
            # Not louder: when a leader dies, thousands may be under way.
            self._log.debug("no answer to what was passed on", failure=failure)
            raise Unanswered

        asked: Deferred[Any] = self._server.ask_leader(request, seconds)
        self._asked[asked] = None
        return asked.addBoth(ended).addErrback(failed)

    def drain(self, seconds: float) -> Deferred[None]:
        """
        Pass nothing on any more, and wait for what was.

        :return: fires when all of it is answered, or after so many seconds.
        """
        self._patience.end()
        self._draining = True
        drained: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(drained)
        self._notice_all_answered()
        drained.addTimeout(seconds, self._clock)
        return drained.addErrback(_ignore_timeout)

    def _notice_all_answered(self) -> None:
        if not self._asked:
            waiting, self._waiting = self._waiting, []
            for drained in waiting:
                drained.callback(None)


def _ignore_timeout(failure: Failure) -> None:
    failure.trap(TimeoutError)

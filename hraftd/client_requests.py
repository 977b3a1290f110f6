"""
What clients want of this node, and every way in which it can turn out.

Between the HTTP API and :class:`hraftd.server.RaftServer`: a read is served here; a
write or a join goes to the Raft server, and what becomes of it is one of a closed set
of outcomes, which :mod:`hraftd.web` turns into answers. The line that matters most
runs between :class:`Unavailable` (nothing has happened, try again) and
:class:`Unknown` (it may have happened or may still happen): a timeout or a lost
leadership is never taken for a failure. Nothing here knows HTTP or status codes.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from hraftd.kv.commands import encode_command
from hraftd.proposals import Applied, LeadershipLost, Overloaded
from hraftd.raft.configuration import MembershipConflict, Server
from hraftd.raft.errors import ChangeInProgress, NotLeader
from hraftd.server import Stopped, UnreachableServer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from hraftd.kv.commands import Command
    from hraftd.kv.store import KeyValueStore, Versioned
    from hraftd.server import RaftServer

__all__ = [
    "Applied",
    "ClientRequests",
    "Conflict",
    "JoinOutcome",
    "Joined",
    "Limits",
    "Misdirected",
    "NotDone",
    "OnFollower",
    "Redirected",
    "Unavailable",
    "Unknown",
    "WriteOutcome",
]

_Outcome = TypeVar("_Outcome")


@frozen
class Limits:
    """
    How large a request may be, in bytes of UTF-8.
    """

    max_key_bytes: int = 1024
    max_value_bytes: int = 1024 * 1024
    #: The whole body of a request, as it arrives.
    max_body_bytes: int = 8 * 1024 * 1024
    #: Keys in one body; more would keep everything else waiting while it is read.
    max_pairs: int = 100_000


class OnFollower(Enum):
    """
    What a node that does not lead does with a request that only the leader can serve.
    """

    #: Decline, and name the leader.
    ERROR = "error"
    #: Send the client to the leader.
    REDIRECT = "redirect"


@frozen
class Joined:
    """
    The newcomer is a voter of the cluster.
    """

    #: Of the configuration in which it votes.
    index: int


@frozen
class Misdirected:
    """
    Not this node leads, but that one. Nothing has been done.
    """

    leader: Server


@frozen
class Redirected:
    """
    The client is to ask the leader, whose HTTP address is known. Nothing was done.
    """

    leader: Server


@frozen
class Unavailable:
    """
    It cannot be done now, and nothing has been done.
    """

    #: One sentence.
    reason: str
    #: Seconds after which it is worth another try.
    retry_after: int = 1


@frozen
class Conflict:
    """
    It contradicts what the cluster knows already. Nothing has been done.
    """

    #: One sentence.
    reason: str


@frozen
class Unknown:
    """
    It may have happened, may still happen, or may never.
    """

    #: One sentence.
    reason: str


NotDone: TypeAlias = Misdirected | Redirected | Unavailable | Unknown
WriteOutcome: TypeAlias = Applied | NotDone
JoinOutcome: TypeAlias = Joined | Conflict | NotDone


class ClientRequests:
    """
    The one door through which clients reach the state machine and the cluster.
    """

    _log = Logger()

    def __init__(
        self,
        server: RaftServer,
        store: KeyValueStore,
        clock: IReactorTime,
        *,
        on_follower: OnFollower = OnFollower.ERROR,
        write_timeout: float = 10.0,
        join_timeout: float = 10.0,
        limits: Limits | None = None,
    ) -> None:
        """
        Serve the clients of one node.

        :param store: the state machine that the server applies to.
        :param on_follower: used where a request does not say.
        :param write_timeout: seconds after which a write's outcome is unknown.
        :param join_timeout: the same for a join.
        """
        self._server = server
        self._store = store
        self._clock = clock
        self._on_follower = on_follower
        self._write_timeout = write_timeout
        self._join_timeout = join_timeout
        self.limits = Limits() if limits is None else limits

    def read(self, key: str) -> Versioned | None:
        """
        Read this node's own state, which may be behind the leader's.

        :return: the value and the index that set it, or ``None`` if there is none.
        """
        return self._store.get(key)

    def count_keys(self) -> int:
        """
        Return how many keys this node's own state holds.
        """
        return len(self._store)

    def write(
        self, command: Command, on_follower: OnFollower | None = None
    ) -> Deferred[WriteOutcome]:
        """
        Have a command replicated and applied.

        :param on_follower: ``None`` for what the node was told at its start.
        :return: fires with the outcome; fails only with what nobody foresaw.
            Cancelling stops the waiting, not the write.
        """
        pending = self._server.propose(encode_command(command))
        return self._within(
            self._write_timeout,
            pending.addErrback(self._declined, on_follower),
            Unknown(
                f"no answer within {self._write_timeout:g} seconds; "
                "the write may or may not happen"
            ),
        )

    def join(
        self, newcomer: Server, on_follower: OnFollower | None = None
    ) -> Deferred[JoinOutcome]:
        """
        Make a server a voter of this cluster, once it has caught up.

        :param on_follower: ``None`` for what the node was told at its start.
        :return: fires with the outcome. Fails only with what nobody foresaw.
            Cancelling stops the waiting; what has entered the log goes on.
        """
        pending = self._server.add_server(newcomer).addCallback(Joined)
        return self._within(
            self._join_timeout,
            pending.addErrback(self._join_declined, on_follower),
            Unknown(
                f"{newcomer.id} is not a voter after {self._join_timeout:g} seconds; "
                "it may still be catching up, ask again"
            ),
        )

    def _join_declined(
        self, failure: Failure, on_follower: OnFollower | None
    ) -> JoinOutcome:
        match failure.value:
            case MembershipConflict() as error:
                return Conflict(str(error))
            case ChangeInProgress() | UnreachableServer() as error:
                return Unavailable(str(error))
            case _:
                return self._declined(failure, on_follower)

    def _declined(self, failure: Failure, on_follower: OnFollower | None) -> NotDone:
        """
        Say what a Raft server's refusal means for the client.
        """
        match failure.value:
            case NotLeader(leader=leader):
                return self._elsewhere(leader, on_follower or self._on_follower)
            case LeadershipLost():
                return Unknown(
                    "the leader lost its leadership before this was committed; "
                    "it may or may not happen"
                )
            case Overloaded():
                return Unavailable("too many requests wait already; try again")
            case Stopped():
                return Unavailable("this node is stopping")
            case _:
                failure.raiseException()

    def _elsewhere(self, leader: Server | None, on_follower: OnFollower) -> NotDone:
        # If it named itself, a client that follows would come back for ever.
        if leader is None or leader.id == self._server.server_id:
            return Unavailable("there is no leader at the moment; try again")
        if on_follower is OnFollower.REDIRECT and leader.http and leader.http.isascii():
            return Redirected(leader)
        return Misdirected(leader)

    def _within(
        self, seconds: float, pending: Deferred[_Outcome], too_late: _Outcome
    ) -> Deferred[_Outcome]:
        """
        Wait for an outcome, but no longer than this; to cancel takes nothing back.
        """

        def abandon(_: Deferred[_Outcome]) -> None:
            expiry.cancel()
            pending.cancel()

        def expire() -> None:
            outcome.callback(too_late)
            pending.cancel()

        def settled(result: _Outcome) -> None:
            if expiry.active():
                expiry.cancel()
                outcome.callback(result)

        def failed(failure: Failure) -> None:
            if expiry.active():
                expiry.cancel()
                outcome.errback(failure)
            elif failure.check(CancelledError) is None:
                self._log.failure(
                    "a request that nobody waits for any more failed", failure=failure
                )

        outcome: Deferred[_Outcome] = Deferred(abandon)
        expiry = self._clock.callLater(seconds, expire)
        pending.addCallbacks(settled, failed)
        return outcome

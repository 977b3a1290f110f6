"""
How fresh a read is, and what a client can ask of it.

Every read is answered from this node's own state. The levels differ in what must have
happened before that is looked at (dissertation 6.4): nothing; or it has everything that
a leader had committed, which believed that it leads, or had that confirmed by a
majority, or committed an entry to be sure. On any server it is
:meth:`hraftd.server.RaftServer.read_barrier` that sees to it; here is what the levels
mean, and what becomes of a read that cannot have its assurance. That is always
:class:`~hraftd.outcomes.Unavailable`: whatever went wrong, a read has changed nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from hraftd.deadlines import Deadline
from hraftd.errors import LeadershipLost, NotReached, Overloaded, Stopped
from hraftd.leader_requests import Assurance
from hraftd.outcomes import Listed, Read, Unavailable
from hraftd.raft.errors import NotLeader
from hraftd.status import TICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from hraftd.deadlines import Patience
    from hraftd.kv.store import KeyValueStore
    from hraftd.outcomes import ListOutcome, ReadOutcome
    from hraftd.server import RaftServer

__all__ = ["ASSURED", "Consistency", "ReadLevel", "Reads"]

_Found = TypeVar("_Found")


class ReadLevel(Enum):
    """
    What a read may miss.
    """

    #: Anything: it is what this node knows.
    NONE = "none"
    #: What was written since another leader was elected, of which the one that this
    #: node asks has not heard yet.
    WEAK = "weak"
    #: Nothing that was answered before the read was asked for.
    LINEARIZABLE = "linearizable"
    #: Nothing either; the read waits for an entry of the log.
    STRONG = "strong"
    #: As ``weak`` where this node is a voter, as ``none`` elsewhere.
    AUTO = "auto"


_ASSURANCES = {
    ReadLevel.WEAK: Assurance.BELIEF,
    ReadLevel.LINEARIZABLE: Assurance.MAJORITY,
    ReadLevel.STRONG: Assurance.LOG,
}

#: The levels that only a member can serve.
ASSURED = frozenset(_ASSURANCES)

#: What passes when another leader is elected. As nothing happens by a read, it does not
#: matter whether the one before has heard of it.
_WORTH_ANOTHER = (NotLeader, NotReached, LeadershipLost, Stopped, ConnectionError)


@frozen
class Consistency:
    """
    What one read asks for.
    """

    level: ReadLevel = ReadLevel.NONE
    #: With :attr:`ReadLevel.NONE` only: seconds for which this node may have been
    #: without word from a leader; ``None`` for any time.
    freshness: float | None = None


class Reads:
    """
    Reads the store when it is as fresh as a client wants.
    """

    _log = Logger()

    def __init__(
        self,
        server: RaftServer,
        store: KeyValueStore,
        clock: IReactorTime,
        seconds: float,
        patience: Patience,
    ) -> None:
        """
        Read the state that the server applies to.

        :param seconds: how long a read may wait for its assurance.
        :param patience: how long it may be without a leader to give it.
        """
        self._server = server
        self._store = store
        self._deadline = Deadline(clock, seconds)
        self._unassured = Unavailable(
            f"no leader has assured within {seconds:g} seconds that this node's state "
            "is fresh"
        )
        self._patience = patience

    def read(self, key: str, consistency: Consistency) -> Deferred[ReadOutcome]:
        """
        Read a key.

        :return: fires with the outcome. Cancelling stops the waiting.
        """
        return self._when_fresh(lambda: Read(self._store.get(key)), consistency)

    def page(
        self, prefix: str, after: str | None, limit: int, consistency: Consistency
    ) -> Deferred[ListOutcome]:
        """
        Read a page of the keys; see :meth:`hraftd.kv.store.KeyValueStore.page`.

        :return: as :meth:`read`.
        """

        def listed() -> Listed:
            # Both of the same moment: nothing is applied in between.
            page = self._store.page(prefix, after, limit)
            return Listed(self._server.status().last_applied, page)

        return self._when_fresh(listed, consistency)

    def until_fresh(self, consistency: Consistency) -> Deferred[Unavailable | None]:
        """
        Wait until this node's state is as fresh as is asked for.
        """
        return self._when_fresh(lambda: None, consistency)

    def _when_fresh(
        self, look: Callable[[], _Found], consistency: Consistency
    ) -> Deferred[_Found | Unavailable]:
        """
        Look at the store when it is as fresh as it is to be.
        """
        assurance = self._assurance(consistency.level)
        if assurance is None:
            if self._is_stale(consistency.freshness):
                return succeed(
                    Unavailable(
                        "this node has not heard from a leader for longer than the "
                        f"{consistency.freshness:g} seconds asked for"
                    )
                )
            return succeed(look())

        def assured(_: None) -> _Found | Unavailable:
            return look()

        barrier = self._patience.insist(
            lambda: self._server.read_barrier(assurance), *_WORTH_ANOTHER
        )
        return self._deadline.wait(
            barrier.addCallbacks(assured, self._without_assurance), self._unassured
        )

    def _assurance(self, level: ReadLevel) -> Assurance | None:
        if level is ReadLevel.AUTO:
            status = self._server.status()
            if not status.configuration.is_voter(status.server_id):
                return None
            level = ReadLevel.WEAK
        return _ASSURANCES.get(level)

    def _is_stale(self, freshness: float | None) -> bool:
        """
        Whether the leader's last word may have come longer ago than that.

        A leader hears itself all the time; if it has been deposed without knowing, it
        learns that within an election timeout.
        """
        if freshness is None:
            return False
        status = self._server.status()
        if status.role == "leader":
            return False
        # Time is counted in whole ticks; the one that has begun may be almost over.
        return status.last_contact is None or status.last_contact + TICK > freshness

    def _without_assurance(self, failure: Failure) -> Unavailable:
        match failure.value:
            case CancelledError():
                failure.raiseException()
            case NotLeader() | NotReached():
                return Unavailable(
                    "there is no leader that this node reaches at the moment; try again"
                )
            case LeadershipLost():
                return Unavailable("the leader lost its leadership; try again")
            case Overloaded():
                return Unavailable("too many requests wait already; try again")
            case Stopped():
                return Unavailable("this node or the leader is stopping; try again")
            case _:
                # The link to the leader, for one of many reasons.
                self._log.debug("no answer to a read index", failure=failure)
                return Unavailable("the leader did not answer; try again")

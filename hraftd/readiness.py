"""
Whether this node should be sent requests, and whether it works at all.

Two questions that supervisors and load balancers ask all the time, with two answers:

- *Alive*: the process answers, and can go on. Who gets a no should start it again. A
  node that waits for a leader, or for its turn to join, is alive: to start it again
  would help nobody.
- *Ready*: a request that comes now is served as well as by any other node. Who gets a
  no should ask another node. A node is not ready while it is stopping, while it is no
  member or a learner that catches up, while no leader is heard, and while its state is
  older than what the leader has committed; after a start it has its own log on disk but
  does not know how much of that counts.

For the last two it asks, as a linearizable read does: the leader has a majority confirm
that it leads, and this node applies what is committed by then. So a leader that was cut
off is not ready either, nor is a node that sleeps, or restores a snapshot. That costs a
round of heartbeats, shared by all who ask at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import succeed

from hraftd.deadlines import within
from hraftd.outcomes import Unavailable
from hraftd.reads import Consistency, ReadLevel

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from hraftd.client_requests import ClientRequests
    from hraftd.server import RaftServer

__all__ = ["READY_SECONDS", "Readiness"]

#: Seconds in which a node has to show that it is fresh. A probe of Kubernetes waits for
#: one, and an answer with the reason says more than none.
READY_SECONDS = 0.8


class Readiness:
    """
    What one node tells those who send it requests.
    """

    def __init__(
        self, server: RaftServer, client_requests: ClientRequests, clock: IReactorTime
    ) -> None:
        """
        Look at this server, through which these requests are served.
        """
        self._server = server
        self._client_requests = client_requests
        self._clock = clock

    def why_dead(self) -> Unavailable | None:
        """
        Return what keeps the node from ever serving anything again, if anything does.
        """
        if self._server.has_failed:
            return Unavailable("this node has failed and is ending; its log says why")
        return None

    def until_ready(self) -> Deferred[Unavailable | None]:
        """
        Find out whether the node is ready.

        :return: fires with ``None`` if it is, and with the reason if it is not, within
            :data:`READY_SECONDS`.
        """
        reason = self.why_dead() or self._why_not()
        if reason is not None:
            return succeed(reason)

        def told(stale: Unavailable | None) -> Unavailable | None:
            # It may have begun to stop meanwhile.
            return stale or self.why_dead() or self._why_not()

        return within(
            self._clock,
            READY_SECONDS,
            self._client_requests.until_fresh(
                Consistency(ReadLevel.LINEARIZABLE)
            ).addCallback(told),
            Unavailable(
                f"this node has not caught up within {READY_SECONDS:g} seconds"
            ),
        )

    def _why_not(self) -> Unavailable | None:
        if self._server.is_stopping:
            return Unavailable("this node is stopping")
        status = self._server.status()
        match status.role:
            case "removed":
                return Unavailable("this node was removed from the cluster")
            case "learner" if not self._server.is_member:
                return Unavailable("this node has not joined a cluster yet")
            case "learner":
                return Unavailable("this node has just joined and is still catching up")
        if status.leader is None:
            return Unavailable("this node knows no leader now")
        return None

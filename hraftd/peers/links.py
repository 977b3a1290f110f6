"""
The ways to the other servers.

:class:`PeerLinks` keeps a :class:`~hraftd.peers.link.Link` to each other member of the
configuration, which goes on trying to have one connection that has said Hello and was
welcome. A call goes out at once or not at all; Raft asks again anyway. So does what is
asked for clients, who may not want it done twice.

Raft 5.1: servers retry RPCs, and issue them in parallel.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, fail
from zope.interface import implementer

from hraftd.errors import NotReached
from hraftd.interfaces import IPeers
from hraftd.peers.dialling import explain, open_peer
from hraftd.peers.hello import OUR_VERSIONS, Introduction, Versions
from hraftd.peers.link import Link
from hraftd.peers.questions import NotConnected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied
    from hraftd.raft.configuration import Server
    from hraftd.raft.messages import Call, Response

__all__ = ["NotConnected", "PeerLinks", "ProbeFailed"]

#: Seconds that a probe takes at most.
PROBE_SECONDS = 3.0


class ProbeFailed(Exception):
    """
    No server that would be a peer answers there. The text is a sentence.
    """


@implementer(IPeers)
class PeerLinks(MultiService):
    """
    A link to each other member of the configuration.
    """

    def __init__(
        self,
        server_id: str,
        reactor: Any,
        *,
        clock: IReactorTime | None = None,
        rng: Random | None = None,
        versions: Versions = OUR_VERSIONS,
    ) -> None:
        """
        Begin without any link.

        :param server_id: the name of this server.
        :param reactor: connects; provides ``IReactorTCP`` and
            ``IReactorPluggableNameResolver``, and ``IReactorTime`` for TCP's own time
            limit.
        :param clock: all other time; the reactor, unless its clock can jump.
        :param rng: spreads the attempts to connect.
        """
        MultiService.__init__(self)
        self._server_id = server_id
        self._reactor = reactor
        self._clock: IReactorTime = reactor if clock is None else clock
        self._rng = rng or Random()
        self._versions = versions
        self._introduction: Introduction | None = None
        self._links: dict[str, Link] = {}
        #: Links that are being closed, and probes under way.
        self._closing: dict[Deferred[None], None] = {}
        self._probes: dict[Deferred[None], None] = {}

    def stopService(self) -> Deferred[None]:
        """
        Close all links. All calls and probes fail now.

        :return: fires when the connections are closed.
        """
        for probe in list(self._probes):
            probe.cancel()
        links: Deferred[Any] = MultiService.stopService(self)
        return DeferredList([links, *self._closing]).addCallback(lambda _: None)

    def configure(self, cluster_id: str, servers: Sequence[Server]) -> None:
        """
        Keep a link to each of these but oneself, and let go of all others.

        A link whose server has not moved stays as it is.
        """
        introduction = Introduction(cluster_id, self._server_id, self._versions)
        self._introduction = introduction
        addresses = {server.id: server.raft for server in servers}
        for server_id, link in list(self._links.items()):
            if (
                addresses.get(server_id) != link.address
                or link.introduction != introduction
            ):
                del self._links[server_id]
                self._let_go(link)
        for server in servers:
            if server.id != self._server_id and server.id not in self._links:
                link = Link(
                    self._reactor,
                    self._clock,
                    self._rng,
                    introduction,
                    server.id,
                    server.raft,
                )
                self._links[server.id] = link
                Service.setServiceParent(link, self)

    def _let_go(self, link: Link) -> None:
        closing: Deferred[None] | None = Service.disownServiceParent(link)
        if closing is not None:
            self._closing[closing] = None
            closing.addCallback(lambda _: self._closing.pop(closing))

    def is_linked(self, server_id: str) -> bool:
        """
        Whether there is an open link to that server at this moment.
        """
        link = self._links.get(server_id)
        return link is not None and link.is_open

    def unanswered_bytes(self) -> dict[str, int]:
        """
        Return for each other member how many bytes it was sent and has not answered.
        """
        return {name: link.unanswered_bytes for name, link in self._links.items()}

    def call(self, call: Call) -> Deferred[Response]:
        """
        Send one request; see :meth:`hraftd.interfaces.IPeers.call`.
        """
        link = self._links.get(call.to)
        if link is None:
            return fail(NotConnected(f"{call.to} is no other member"))
        return link.call(call.request)

    def ask(
        self, server_id: str, request: LeaderRequest, seconds: float
    ) -> Deferred[Applied | int]:
        """
        Ask a server for something on behalf of a client.

        :return: what it came to. Fails with what the server declined it with; with
            :exc:`~hraftd.errors.NotReached` if there is no open link to it, or
            :exc:`~hraftd.errors.Overloaded` if it has too much to answer already, and
            then it was not asked; with :exc:`ValueError` if the request has no form on
            the wire; with :exc:`NotConnected` if the connection is lost meanwhile; and
            with :exc:`twisted.internet.defer.TimeoutError` after so many seconds.
        """
        link = self._links.get(server_id)
        if link is None:
            return fail(NotReached(f"{server_id} is no other member"))
        return link.ask(request, seconds)

    def probe(self, server: Server) -> Deferred[None]:
        """
        See whether that server answers, on a connection of its own.

        :return: fires if it accepts a Hello from us; fails with :exc:`ProbeFailed`,
            within three seconds.
        """
        probe = Deferred.fromCoroutine(self._probe(server))
        self._probes[probe] = None

        def ended(result: Failure | None) -> Failure | None:
            del self._probes[probe]
            return result

        return probe.addBoth(ended)

    async def _probe(self, server: Server) -> None:
        if self._introduction is None:
            raise ProbeFailed(f"{self._server_id} does not belong to a cluster yet")
        opening = Deferred.fromCoroutine(
            open_peer(
                self._reactor,
                self._clock,
                self._introduction,
                server.id,
                server.raft,
            )
        )
        limit = self._clock.callLater(PROBE_SECONDS, opening.cancel)
        try:
            peer = await opening
        except Exception as error:
            raise ProbeFailed(explain(error, server.raft)) from error
        finally:
            if limit.active():
                limit.cancel()
        peer.close()

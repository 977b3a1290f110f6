"""
The HTTP API as a factory, ready to be listened with.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from hraftd.backups import Backups
from hraftd.metrics import Metrics
from hraftd.readiness import Readiness
from hraftd.web.answers import Refusal, refuse, send
from hraftd.web.api import KeyAPI
from hraftd.web.asked import segments
from hraftd.web.backups import BackupAPI, Upload
from hraftd.web.channel import Channel, Request
from hraftd.web.cluster import ClusterAPI
from hraftd.web.fast_lane import FastLane
from hraftd.web.operations import OperationsAPI
from hraftd.web.traffic import Traffic
from hraftd.web.watch import WatchAPI

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.web import http

    from hraftd.client_requests import ClientRequests
    from hraftd.server import RaftServer

__all__ = ["APIS", "HttpSite", "Root"]

#: All that have routes.
APIS = (KeyAPI, WatchAPI, ClusterAPI, OperationsAPI, BackupAPI)

#: Seconds in which a request has to arrive, and for which a connection may be idle.
TIMEOUT = 60

#: What the header of a request may hold besides a key.
HEADER_BYTES = 12 * 1024

#: Seconds in which a client has to take the answers that are left when the node stops.
CLOSE_SECONDS = 0.5

_AUTHORITY = re.compile(rb"https?://[^/?]*", re.IGNORECASE)


class Root(Resource):
    """
    Takes every request, and sees to it that its path is routed as it was written.
    """

    isLeaf = True

    def __init__(
        self, client_requests: ClientRequests, server: RaftServer, clock: IReactorTime
    ) -> None:
        """
        Serve the whole API of one node.
        """
        Resource.__init__(self)
        readiness = Readiness(server, client_requests, clock)
        self.metrics = Metrics(server, client_requests)
        self._operations = OperationsAPI(readiness, self.metrics).app.resource()
        self._keys = KeyAPI(client_requests).app.resource()
        self._cluster = ClusterAPI(client_requests, server).app.resource()
        self.backups = BackupAPI(
            Backups(client_requests, server, clock), client_requests.read_level
        )
        self._backups = self.backups.app.resource()
        watch = WatchAPI(client_requests, server, clock)
        self._watch = watch.app.resource()
        self.watchers = watch.watchers

    def render(self, request: Request) -> int:
        """
        Hand the request to the part of the API that its path names.
        """
        if request.uri[:1] != b"/":
            # As it is sent to proxies; RFC 9112 3.2.2 wants it understood here too.
            request.uri = _AUTHORITY.sub(b"", request.uri, 1)
            request.path = request.uri.partition(b"?")[0]
        try:
            if request.method != request.method.upper():
                raise Refusal(400, "the method is not in upper case")
            request.postpath = segments(request.path)
        except Refusal as refusal:
            # Not returned: of a body for HEAD twisted.web would make a line in the log.
            send(request, refuse(request, refusal.code, refusal.sentence))
            return NOT_DONE_YET
        match request.postpath[0]:
            case b"key" | b"txn":
                resource = self._keys
            case b"backup" | b"restore":
                resource = self._backups
            case b"watch":
                resource = self._watch
            case b"healthz" | b"readyz" | b"metrics" | b"openapi.json":
                resource = self._operations
            case _:
                resource = self._cluster
        return cast("int", resource.render(request))


class HttpSite(Site):
    """
    Makes the connections of one node's HTTP API.

    :ivar metrics: what ``/metrics`` shows.
    """

    noisy = False
    # Declared to make a wrapper that could switch to HTTP/2.
    protocol: Any = Channel

    def __init__(
        self,
        client_requests: ClientRequests,
        server: RaftServer,
        reactor: IReactorTime,
        *,
        fast_lane: bool = True,
    ) -> None:
        """
        Serve clients, and tell of the server; take the time from the reactor.

        :param fast_lane: whether hot requests take it. It makes no difference to what
            is answered, as one can see by doing without.
        """
        root = Root(client_requests, server, reactor)
        self._watchers = root.watchers
        self._backups = root.backups
        Site.__init__(
            self,
            root,
            Request,
            timeout=TIMEOUT,
            reactor=reactor,
            # A body is JSON whatever its Content-Type says: curl says it is a form.
            parsePOSTFormSubmission=False,
        )
        limits = client_requests.limits
        self.max_body_bytes = limits.max_body_bytes
        # In percent encoding a key takes three times its length.
        self._max_header_bytes = HEADER_BYTES + 3 * limits.max_key_bytes
        #: For how long a connection may be idle.
        self.idle_seconds = TIMEOUT
        #: What tells the time.
        self.seconds = reactor.seconds
        self.channels: set[Channel] = set()
        rules = (rule.rule for api in APIS for rule in api.app.url_map.iter_rules())
        self._traffic = Traffic(
            rules,
            connections=lambda: len(self.channels),
            watchers=lambda: len(root.watchers),
        )
        self.metrics = root.metrics
        self.metrics.add(self._traffic)
        self._lane = (
            FastLane(client_requests, self._traffic, reactor.seconds)
            if fast_lane
            else None
        )
        self._closed: list[Deferred[None]] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Make a connection; none any more after :meth:`disconnect`.
        """
        if self._closed is not None:
            return None
        channel = Site.buildProtocol(self, addr)
        channel.lane = self._lane
        channel.totalHeadersSize = channel.MAX_LENGTH = self._max_header_bytes
        return channel

    def upload(self, request: Request, method: bytes, target: bytes) -> Upload | None:
        """
        Return what takes the body of a request while it comes; ``None`` for most.

        :param target: as the first line of the request has it.
        :raises Refusal: if the request is wrong.
        """
        if method != b"POST" or target.partition(b"?")[0] != b"/restore":
            return None
        request.uri = target
        return self._backups.upload(request)

    def disconnect(self) -> Deferred[None]:
        """
        Close all connections and take no more; to be called when the port is closed.

        What was answered is still sent, for half a second at most.

        :return: fires when they are gone.
        """
        gone: Deferred[None] = Deferred()
        if self._closed is None:
            self._closed = []
            self._watchers.stop()
            for channel in list(self.channels):
                channel.close(CLOSE_SECONDS)
        self._closed.append(gone)
        self._notice_all_lost()
        return gone

    def channel_lost(self, channel: Channel) -> None:
        """
        Take note that a connection is gone.
        """
        self.channels.discard(channel)
        self._notice_all_lost()

    def _notice_all_lost(self) -> None:
        if self._closed is not None and not self.channels:
            closed, self._closed = self._closed, []
            for gone in closed:
                gone.callback(None)

    def startFactory(self) -> None:
        """
        Do nothing: there is no access log to open, and no clock to keep for it.
        """

    def stopFactory(self) -> None:
        """
        Do nothing: no log was opened.
        """

    def log(self, request: http.Request) -> None:
        """
        Count a request, and write nothing: what did not go well is logged elsewhere.
        """
        self._count(request, request.code)

    def abandoned(self, request: Request) -> None:
        """
        Count a request whose client was gone before the answer.
        """
        self._count(request, None)

    def _count(self, request: Any, code: int | None) -> None:
        if request.complete_at is not None:
            seconds = self.seconds() - request.complete_at
            self._traffic.note(request.method, request.path, code, seconds)

    def acceptableProtocols(self) -> list[bytes]:
        """
        Speak HTTP/1.1, and no other.
        """
        return [b"http/1.1"]

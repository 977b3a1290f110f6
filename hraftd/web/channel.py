"""
One HTTP connection, and the requests on it.

twisted.web reads HTTP; what is changed here is how much it takes and how long. A body
is never larger in memory than the limit, and never a file; a request has to arrive as
a whole within a time, however busily its sender dribbles; nothing is answered in HTML.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from twisted.internet.protocol import connectionDone
from twisted.web import http, server

from hraftd.web.answers import refuse, send, unexpected

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, ITCPTransport
    from twisted.python.failure import Failure

    from hraftd.web.site import HttpSite

__all__ = ["Channel", "Request"]

#: Seconds for which the rest of a body that was refused is still read, and thrown
#: away. To close at once would take the answer from a client that is still sending.
LINGER = 3.0


class Request(server.Request):
    """
    A request whose body is bounded while it arrives.
    """

    channel: Channel
    content: BytesIO
    _body_refused = False

    def gotLength(self, length: int | None) -> None:
        """
        Take note of the body's length; ``None`` if the sender does not say it.
        """
        self.content = BytesIO()
        if length is not None and length > self._max_body_bytes:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """
        Keep a piece of the body, unless it makes it too long.
        """
        if self._body_refused:
            return
        if self.content.tell() + len(data) > self._max_body_bytes:
            self._refuse_body()
        else:
            self.content.write(data)

    @property
    def _max_body_bytes(self) -> int:
        return self.channel.site.max_body_bytes

    def _refuse_body(self) -> None:
        """
        Answer before the body has arrived, and let the connection end with it.
        """
        self._body_refused = True
        self.content = BytesIO()
        # Or else the sender would be invited to go on.
        self.requestHeaders.removeHeader(b"Expect")
        # Set only when a request is complete; to answer takes both.
        self.method, self.clientproto = b"POST", b"HTTP/1.1"
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        limit = self._max_body_bytes
        body = refuse(self, 413, f"a body holds at most {limit} bytes")
        server.Request.write(self, body)
        self.channel.linger()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        Go on with a request that has arrived as a whole.
        """
        if self._body_refused:
            server.Request.finish(self)
        else:
            server.Request.requestReceived(self, command, path, version)

    def process(self) -> None:
        """
        Find out what to do.
        """
        if self.path == b"*":
            # twisted.web would answer, without JSON, before any resource is asked.
            self.path = self.uri = b"/*"
        server.Request.process(self)

    def getRequestHostname(self) -> bytes:
        """
        Return the same whatever the client says: one site is served here.
        """
        return b"hraftd"

    def processingFailed(self, reason: Failure) -> Failure:
        """
        Answer that something nobody foresaw has happened.
        """
        body = unexpected(self, reason)
        if not self._disconnected and not self.finished:
            send(self, body)
        return reason


class Channel(http.HTTPChannel):
    """
    A connection on which a request has to arrive within the site's timeout.
    """

    # Set by the factory.
    site: HttpSite
    callLater: Callable[[float, Callable[[], object]], IDelayedCall]
    transport: ITCPTransport
    _request_begun = False
    _closing: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Begin to wait for a request.
        """
        http.HTTPChannel.connectionMade(self)
        self.site.channels.add(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Read on; the first byte of a request starts its time.
        """
        if not self._request_begun:
            self._request_begun = True
            http.HTTPChannel.resetTimeout(self)
        http.HTTPChannel.dataReceived(self, data)

    def resetTimeout(self) -> None:
        """
        Do nothing: each byte would give its sender the whole time again.
        """

    def allContentReceived(self) -> None:
        """
        Answer the request that is complete now.
        """
        self._request_begun = False
        http.HTTPChannel.allContentReceived(self)

    def linger(self) -> None:
        """
        Close the connection when the body has ended, but not much later than now.
        """
        self.persistent = False
        http.HTTPChannel.setTimeout(self, LINGER)

    def close(self, seconds: float = http.HTTPChannel.abortTimeout) -> None:
        """
        Close the connection when what was answered is sent, or after that time.
        """
        http.HTTPChannel.setTimeout(self, None)
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._closing = self.callLater(seconds, self.transport.abortConnection)
        http.HTTPChannel.loseConnection(self)

    def timeoutConnection(self) -> None:
        """
        Close the connection.

        Unlike twisted.web, without a line in the log each time: it is how every
        idle connection ends.
        """
        self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Drop all that waits for an answer.
        """
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        http.HTTPChannel.connectionLost(self, reason)
        self.site.channel_lost(self)

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        Refuse a line of the header that does not end.
        """
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """
        Say, in JSON as everywhere, that this is not HTTP, and close.
        """
        body = b'{"error": "this is not HTTP as hraftd understands it"}'
        # What follows a body that was refused is refused already.
        if not any(request.startedWriting for request in self.requests):
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\n"
                b"Content-Type: application/json\r\n"
                b"Content-Length: %d\r\n"
                b"Connection: close\r\n"
                b"\r\n%b" % (len(body), body)
            )
        http.HTTPChannel.loseConnection(self)

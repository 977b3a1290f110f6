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
from twisted.web.http import HTTPChannel

from hraftd.at_once import send_at_once
from hraftd.web.answers import Refusal, refuse, send, unexpected

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITCPTransport
    from twisted.python.failure import Failure

    from hraftd.web.backups import Upload
    from hraftd.web.fast_lane import FastLane, Waiting
    from hraftd.web.site import HttpSite

    class _Transport(ITCPTransport, IPushProducer):
        """
        A connection that can be told to read no more.
        """


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
    #: Takes the body, where that is not to be in memory as a whole.
    upload: Upload | None = None
    #: The time at which the last byte of it had arrived.
    complete_at: float | None = None
    _body_refused = False

    def gotLength(self, length: int | None) -> None:
        """
        Take note of the body's length; ``None`` if the sender does not say it.
        """
        self.content = BytesIO()
        try:
            self.upload = self.channel.site.upload(self, *self.channel.target)
        except Refusal as refusal:
            self.end_early(refuse(self, refusal.code, refusal.sentence))
            return
        if self.upload is None and length is not None and length > self._max_body_bytes:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """
        Keep a piece of the body, unless it makes it too long.
        """
        if self._body_refused:
            return
        if self.upload is not None:
            self.channel.go_on(read=False)
            self.upload.received(data)
        elif self.content.tell() + len(data) > self._max_body_bytes:
            self._refuse_body()
        else:
            self.content.write(data)

    @property
    def _max_body_bytes(self) -> int:
        return self.channel.site.max_body_bytes

    def _refuse_body(self) -> None:
        limit = self._max_body_bytes
        self.end_early(refuse(self, 413, f"a body holds at most {limit} bytes"))

    def end_early(self, body: bytes) -> None:
        """
        Answer before the body has arrived, and let the connection end with it.

        :param body: of an :func:`~hraftd.web.answers.answer`.
        """
        self._body_refused = True
        self.content = BytesIO()
        # Or else the sender would be invited to go on.
        self.requestHeaders.removeHeader(b"Expect")
        # Set only when a request is complete; to answer takes both.
        self.method, self.clientproto = b"POST", b"HTTP/1.1"
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        server.Request.write(self, body)
        self.channel.go_on()
        self.channel.linger()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        Go on with a request that has arrived as a whole.
        """
        self.complete_at = self.channel.site.seconds()
        if self._body_refused:
            # Which it was is known only now.
            self.method, self.path = command, path.partition(b"?")[0]
            server.Request.finish(self)
        else:
            server.Request.requestReceived(self, command, path, version)

    def connectionLost(self, reason: Failure) -> None:
        """
        Drop what waits for an answer, and what was to take the body.
        """
        if self.upload is not None:
            self.upload.give_up()
        if self.complete_at is not None:
            self.channel.site.abandoned(self)
        server.Request.connectionLost(self, reason)

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


class Channel(HTTPChannel):
    """
    A connection on which a request has to arrive within the site's timeout.
    """

    # Set by the factory.
    site: HttpSite
    callLater: Callable[[float, Callable[[], object]], IDelayedCall]
    transport: _Transport
    #: Serves what it can of what comes in, before twisted.web sees it.
    lane: FastLane | None = None
    #: Whether twisted.web has some of a request, but not all.
    _request_begun = False
    #: What the fast lane has not answered yet, and when it was used last.
    _waiting: Waiting | None = None
    used_at = 0.0
    _is_held = False
    _closing: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Begin to wait for a request.
        """
        HTTPChannel.connectionMade(self)
        self.site.channels.add(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Read on; the first byte of a request starts its time.
        """
        if self.lane is not None and not (
            self._request_begun
            or self._handlingRequest
            or self.paused
            or self._buffer
            or self._closing is not None
        ):
            data = self.lane.serve(self, data)
            if not data:
                return
        if not (self._request_begun or self._handlingRequest or self.paused):
            self._request_begun = True
            HTTPChannel.resetTimeout(self)
        HTTPChannel.dataReceived(self, data)

    def lineReceived(self, line: bytes) -> object:
        """
        Take a line of a request, or an empty one before it.
        """
        self._request_begun = True
        return HTTPChannel.lineReceived(self, line)

    def headerReceived(self, line: bytes) -> bool:
        """
        Take a header, unless it says a length that is no number to Python.
        """
        try:
            return bool(HTTPChannel.headerReceived(self, line))
        except ValueError:
            # Thousands of digits are more than int() takes; twisted.web has only looked
            # whether they are digits.
            self._respondToBadRequestAndDisconnect()
            return False

    def resetTimeout(self) -> None:
        """
        Do nothing: each byte would give its sender the whole time again.
        """

    def allContentReceived(self) -> None:
        """
        Answer the request that is complete now.
        """
        self._request_begun = False
        HTTPChannel.allContentReceived(self)

    # A client that does not take its answers gets no more of them, not even to requests
    # that have come in already. twisted.web alone would go on.

    def requestDone(self, request: http.Request) -> None:
        """
        Go on behind a request of twisted.web's that was answered.
        """
        self._wait_for_room()
        HTTPChannel.requestDone(self, request)

    def pauseProducing(self) -> None:
        """
        Take note that there is no more room for answers.
        """
        HTTPChannel.pauseProducing(self)
        if not self._handlingRequest:
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        """
        Read no other request as long as there is no room for answers.
        """
        if self._waitingForTransport:
            self.paused = True
            self._networkProducer.pauseProducing()

    def resumeProducing(self) -> None:
        """
        Go on when there is room for answers again.
        """
        HTTPChannel.resumeProducing(self)
        if self.paused:
            self.paused = False
            came, self._buffer = self._buffer, b""
            if came:
                self.dataReceived(came)

    # For the fast lane.

    def send(self, answers: bytes) -> None:
        """
        Write whole answers.
        """
        send_at_once(self.transport, answers)

    def wait_for(self, waiting: Waiting) -> None:
        """
        Take no other request until that one is :meth:`answered`.
        """
        waiting.channel = self
        self._waiting = waiting
        # What comes in meanwhile twisted.web keeps, and not too much of it, as it does
        # while it waits for an answer of its own.
        self._handlingRequest = True
        HTTPChannel.setRawMode(self)

    def answered(self, answer: bytes) -> None:
        """
        Send what was waited for, and go on behind it.
        """
        self._waiting = None
        self.used_at = self.site.seconds()
        send_at_once(self.transport, answer)
        self._handlingRequest = False
        self.line_mode = 1
        if self._closing is not None:
            # This was the last one.
            return
        if self._waitingForTransport:
            self._wait_for_room()
        elif self._dataBuffer:
            self._networkProducer.resumeProducing()
        if self._dataBuffer:
            came, self._dataBuffer = b"".join(self._dataBuffer), []
            self.dataReceived(came)

    @property
    def target(self) -> tuple[bytes, bytes]:
        """
        Of the request that is arriving: its method and what it asks for.
        """
        # twisted.web gives them to the request only when all of that is there.
        return self._command, self._path

    @property
    def is_full(self) -> bool:
        """
        Whether the client has to take some of what was written before there is more.
        """
        return bool(self._waitingForTransport)

    def hold(self) -> None:
        """
        Read no more of a body until :meth:`go_on`.
        """
        self._is_held = True
        self.transport.pauseProducing()

    def go_on(self, read: bool = True) -> None:
        """
        Give the sender of a body its whole time again.

        :param read: whether to read on too, after :meth:`hold`.
        """
        HTTPChannel.resetTimeout(self)
        if read and self._is_held:
            self._is_held = False
            self.transport.resumeProducing()

    def linger(self) -> None:
        """
        Close the connection when the body has ended, but not much later than now.
        """
        self.persistent = False
        HTTPChannel.setTimeout(self, LINGER)

    def close(self, seconds: float = HTTPChannel.abortTimeout) -> None:
        """
        Close the connection when what was answered is sent, or after that time.
        """
        HTTPChannel.setTimeout(self, None)
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._closing = self.callLater(seconds, self.transport.abortConnection)
        HTTPChannel.loseConnection(self)

    def timeoutConnection(self) -> None:
        """
        Close the connection.

        Unlike twisted.web, without a line in the log each time: it is how every
        idle connection ends.
        """
        # The fast lane does not set the clock anew each time, but only says when it was
        # used: that is looked at here, once in a while.
        left = float(self.site.idle_seconds)
        if self._waiting is None:
            left -= self.site.seconds() - self.used_at
        if self._request_begun or self._closing is not None or left <= 0:
            self.close()
        else:
            HTTPChannel.setTimeout(self, left)
            self.timeOut = self.site.idle_seconds

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Drop all that waits for an answer.
        """
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        if self._waiting is not None:
            self._waiting.give_up()
        HTTPChannel.connectionLost(self, reason)
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
        HTTPChannel.loseConnection(self)

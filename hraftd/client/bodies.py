"""
The bodies of requests and answers, on their way through a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from hraftd.client.answers import NotUnderstood

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer
    from twisted.python.failure import Failure

__all__ = ["MAX_ANSWER_BYTES", "Received", "Sent"]

#: No answer is longer, but for backups: 8 MiB of values that a transaction got, each
#: byte of them written as an escape.
MAX_ANSWER_BYTES = 64 << 20


@implementer(IBodyProducer)
class Sent:
    """
    The body of a request, sent at once.

    :ivar was_begun: whether any of the request may have left: its head goes out just
        before. As long as not, it has certainly not been done.
    """

    def __init__(self, body: bytes) -> None:
        """
        Be ready to send these bytes.
        """
        self._body = body
        self.length = len(body)
        self.was_begun = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        self.was_begun = True
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        Do nothing: all is written.
        """

    def resumeProducing(self) -> None:
        """
        Do nothing: all is written.
        """

    def stopProducing(self) -> None:
        """
        Do nothing: all is written.
        """


class Received(Protocol):
    """
    Collects the body of an answer; to cancel ``whole`` closes the connection.
    """

    def __init__(self) -> None:
        """
        Wait for the body.
        """
        self.whole: Deferred[bytes] = Deferred(self._close)
        self._parts: list[bytes] = []
        self._size = 0

    def _close(self, _: object = None) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Keep a part, unless there are too many.
        """
        if self.whole.called:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            self._parts.clear()
            self.whole.errback(NotUnderstood("the answer does not end"))
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Give out what has come; not if the connection broke off before its end.
        """
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

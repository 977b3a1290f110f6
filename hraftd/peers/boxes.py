"""
AMP's boxes on a connection, with a bound on everything a peer can make us keep.

AMP itself limits a key and a value, but neither how many of them make a box nor how
many boxes wait for an answer. :class:`BoxStream` does, and what it does to a peer that
goes beyond is the same for every kind of nonsense: the connection is gone, and with it
the memory.

What the boxes mean is the business of :mod:`hraftd.peers.inbound`, where they come in,
and of :mod:`hraftd.peers.outbound`, where they go out.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ISystemHandle, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.amp import MAX_KEY_LENGTH, AmpBox, BinaryBoxProtocol

from hraftd.at_once import send_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.protocols.amp import IBoxReceiver
    from twisted.python.failure import Failure

__all__ = ["MAX_BOX", "MAX_FIRST_BOX", "PAIR_COST", "QUESTION_COST", "BoxStream"]

#: Bytes of a box from a stranger.
MAX_FIRST_BOX = 64 << 10

#: Bytes of a box from a peer that has introduced itself, and of all its boxes that
#: wait for an answer.
MAX_BOX = 32 << 20

#: What a key and its value count for besides their bytes: about what Python needs to
#: keep them. Otherwise the most expensive box would be one of empty values.
PAIR_COST = 256

#: What a box that waits for its answer counts for besides: about what Python needs to
#: keep what waits for it.
QUESTION_COST = 4 << 10

#: Seconds after which a connection is lost if the other machine does not even confirm
#: that bytes have arrived. Raft's time limits cover only the connections that it uses:
#: a follower asks the leader nothing for days, and a firewall forgets.
SILENT_SECONDS = 10

#: Socket options to that end, where the system has them, and their values.
_TCP_OPTIONS = (
    ("TCP_KEEPIDLE", SILENT_SECONDS),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 5),
    ("TCP_USER_TIMEOUT", SILENT_SECONDS * 1000),
)


def _notice_silence(transport: Any) -> None:
    tcp = transport.getHandle()
    for name, value in _TCP_OPTIONS:
        if (option := getattr(socket, name, None)) is not None:
            tcp.setsockopt(socket.IPPROTO_TCP, option, value)


class BoxStream(BinaryBoxProtocol):
    """
    Reads and writes boxes; refuses one that grows beyond a limit.

    The transport may slow it down: registered there as a streaming producer, it stops
    reading while the other side does not take what we send.

    :ivar limit: bytes that a box may have, each pair counted with ``PAIR_COST``.
    :ivar box_size: bytes of the box that is being received just now.
    """

    #: Besides ITCPTransport this is IConsumer; no interface of Twisted is both.
    transport: Any

    limit = MAX_FIRST_BOX
    box_size = 0

    #: What has come in and is not a whole key and value, and the box in progress.
    _unread = b""
    _box: AmpBox

    _is_producer = False
    _congested = False
    _unanswered = 0
    _over = False

    def __init__(
        self, receiver: IBoxReceiver, malformed: Callable[[str], object]
    ) -> None:
        """
        Hand complete boxes to a receiver.

        :param malformed: called with the reason when the bytes are no AMP, or too
            many; should end in :meth:`abort`.
        """
        BinaryBoxProtocol.__init__(self, receiver)
        self._malformed = malformed
        self._box = AmpBox()

    def connectionMade(self) -> None:
        """
        Send small boxes at once, and notice soon if the other side is gone.
        """
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            if ISystemHandle.providedBy(self.transport):
                _notice_silence(self.transport)

    def sendBox(self, box: AmpBox) -> None:
        """
        Send a box, at once if there is room for it.
        """
        send_at_once(self.transport, box.serialize())

    def dataReceived(self, data: bytes) -> None:
        """
        Hand on each box that is complete, unless the connection is as good as closed.

        Twisted's way calls several methods for each key and each value; there are a
        dozen of them in a box.
        """
        self._unread += data
        while not (self.paused or self._over) and self._read_pairs():
            box, self._box = self._box, AmpBox()
            self.boxReceiver.ampBoxReceived(box)
            self.box_size = 0

    def _read_pairs(self) -> bool:
        """
        Read keys and values, and return whether that was the last one of a box.

        A value that does not fit is refused at its length, not at its end.
        """
        data, box = self._unread, self._box
        position, end = 0, len(data)
        is_complete = False
        while position + 2 <= end:
            key_at = position + 2
            key_length = data[position] << 8 | data[position + 1]
            if key_length == 0:
                position = key_at
                is_complete = True
                break
            if key_length > MAX_KEY_LENGTH:
                self._malformed("sent bytes that are no AMP")
                break
            key_end = key_at + key_length
            value_at = key_end + 2
            if value_at > end:
                break
            length = data[key_end] << 8 | data[key_end + 1]
            value_end = value_at + length
            cost = key_length + PAIR_COST + length
            if self.box_size + cost > self.limit:
                self._too_large()
                break
            if value_end > end:
                break
            box[data[key_at:key_end]] = data[value_at:value_end]
            self.box_size += cost
            position = value_end
        self._unread = data[position:]
        return is_complete

    def _too_large(self) -> None:
        self._malformed(f"sent a box of more than {self.limit} bytes")

    def abort(self) -> None:
        """
        Drop the connection, with whatever was read or written but not passed on.
        """
        if not self._over:
            self._over = True
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Forget what was read but not passed on.
        """
        self._over = True
        self._unread, self._box = b"", AmpBox()
        BinaryBoxProtocol.connectionLost(self, reason)

    def limit_unanswered(self) -> None:
        """
        Read no further while the other side does not take our answers.
        """
        self._is_producer = True
        self.transport.registerProducer(self, True)

    def close(self) -> None:
        """
        Close the connection once everything written is on its way.
        """
        if self._is_producer:
            # A transport that has a producer waits for it, for ever.
            self._is_producer = False
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def asked(self, size: int) -> None:
        """
        Count a box that waits for its answer; if they are too large, stop reading.

        To be called when a box has been dealt with, not while it is: the parser must
        not be resumed below itself.
        """
        self._unanswered += size + QUESTION_COST
        self._settle()

    def answered(self, size: int) -> None:
        """
        Stop counting a box.
        """
        self._unanswered -= size + QUESTION_COST
        self._settle()

    def pauseProducing(self) -> None:
        """
        Stop reading: the other side does not read what we have written.
        """
        self._congested = True
        self._settle()

    def resumeProducing(self) -> None:
        """
        Read on: what we have written is on its way.
        """
        self._congested = False
        self._settle()

    def _settle(self) -> None:
        if self._over:
            return
        if self._congested or self._unanswered > MAX_BOX:
            BinaryBoxProtocol.pauseProducing(self)
        elif self.paused:
            BinaryBoxProtocol.resumeProducing(self)

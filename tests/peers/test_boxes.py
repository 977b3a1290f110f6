"""
The stream of boxes by itself.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.protocols.amp import AmpBox, IBoxReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hraftd.peers.boxes import MAX_FIRST_BOX, PAIR_COST, BoxStream
from hraftd.peers.inbound import InboundPeer
from hraftd.peers.outbound import OutboundPeer

from .network import PeersTestCase


@implementer(IBoxReceiver)
@define
class Receiver:
    """
    Keeps the boxes it is given, and their sizes.
    """

    boxes: list[AmpBox] = field(factory=list)
    sizes: list[int] = field(factory=list)
    stream: Any = None

    def startReceivingBoxes(self, boxSender: Any) -> None:
        """
        Remember the stream.
        """
        self.stream = boxSender

    def ampBoxReceived(self, box: AmpBox) -> None:
        """
        Keep a box.
        """
        self.boxes.append(box)
        self.sizes.append(self.stream.box_size)

    def stopReceivingBoxes(self, reason: Any) -> None:
        """
        Forget the stream.
        """
        self.stream = None


class BoxStreamTests(SynchronousTestCase):
    """
    What comes through, and what does not.
    """

    def setUp(self) -> None:
        """
        Connect a stream.
        """
        self.receiver = Receiver()
        self.complaints: list[str] = []
        self.stream = BoxStream(self.receiver, self.malformed)
        self.transport = StringTransport(lenient=True)
        self.stream.makeConnection(self.transport)

    def malformed(self, reason: str) -> None:
        """
        Do what every receiver does.
        """
        self.complaints.append(reason)
        self.stream.abort()

    def test_sizes(self) -> None:
        """
        A box counts with its keys, its values, and a surcharge for each pair.
        """
        for box in (AmpBox(), AmpBox(a=b"12345"), AmpBox(bc=b"", d=b"1")):
            self.stream.dataReceived(box.serialize())
            assert self.receiver.boxes.pop() == box
        assert self.receiver.sizes == [0, 6 + PAIR_COST, 4 + 2 * PAIR_COST]
        assert self.stream.box_size == 0

    def test_largest_box(self) -> None:
        """
        A box may have just as many bytes as its limit says, and not one more.
        """
        fits = AmpBox(k=bytes(MAX_FIRST_BOX - PAIR_COST - 1))
        self.stream.dataReceived(fits.serialize())
        assert self.receiver.boxes == [fits]
        self.stream.dataReceived(AmpBox(k=bytes(MAX_FIRST_BOX - PAIR_COST)).serialize())
        assert self.receiver.boxes == [fits]
        assert self.complaints == [f"sent a box of more than {MAX_FIRST_BOX} bytes"]
        assert self.transport.disconnected

    def test_after_the_abort(self) -> None:
        """
        Bytes that arrive after the connection was given up are not looked at.
        """
        self.stream.dataReceived(b"GET / HTTP/1.1")
        assert self.complaints == ["sent bytes that are no AMP"]
        for _ in range(3):
            self.stream.dataReceived(AmpBox(a=b"b").serialize())
        assert self.receiver.boxes == []
        assert len(self.complaints) == 1

    def test_close(self) -> None:
        """
        Closing waits for what is written, and for no producer.
        """
        self.stream.limit_unanswered()
        assert self.transport.producer is self.stream
        self.stream.close()
        self.stream.close()
        assert self.transport.producer is None
        assert self.transport.disconnecting
        assert not self.transport.disconnected

    def test_both_reasons_to_pause(self) -> None:
        """
        Reading goes on only when neither reason to pause is left.
        """
        self.stream.asked(1 << 30)
        self.stream.pauseProducing()
        self.stream.answered(1 << 30)
        assert self.transport.producerState == "paused"
        self.stream.asked(1 << 30)
        self.stream.resumeProducing()
        assert self.transport.producerState == "paused"
        self.stream.answered(1 << 30)
        assert self.transport.producerState == "producing"

    def test_answered_is_forgotten(self) -> None:
        """
        However many questions were answered, they count for nothing any more.
        """
        for _ in range(20_000):
            self.stream.asked(300)
            assert self.transport.producerState == "producing"
            self.stream.answered(300)
        for _ in range(20_000):
            self.stream.asked(300)
        assert self.transport.producerState == "paused"

    def test_lost_while_paused(self) -> None:
        """
        What waits to be read when the connection is lost is never looked at.
        """
        self.stream.asked(1 << 30)
        self.stream.dataReceived(AmpBox(a=b"b").serialize())
        self.stream.connectionLost(Failure(ConnectionLost()))
        self.stream.answered(1 << 30)
        assert self.receiver.boxes == []
        assert self.transport.producerState == "paused"


class InterfaceTests(PeersTestCase):
    """
    What AMP is given is what it asks for.
    """

    def test_receivers(self) -> None:
        """
        Both kinds of peers receive boxes.
        """
        _, factory = self.serve()
        stream = factory.buildProtocol(None)
        assert isinstance(stream.boxReceiver, InboundPeer)
        assert verifyObject(IBoxReceiver, stream.boxReceiver)
        outbound = OutboundPeer("127.0.0.1:1", self.network.reactor)
        assert verifyObject(IBoxReceiver, outbound)
        stream.makeConnection(StringTransport())
        factory.disconnect()
        stream.connectionLost()
        assert self.network.reactor.getDelayedCalls() == []

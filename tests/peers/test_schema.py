"""
The short way to AMP's bytes and back leads where Twisted's does.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from zope.interface import implementer

from hraftd.peers.arguments import Count, Name
from hraftd.peers.boxes import BoxStream
from hraftd.peers.schema import Box, PeerCommand

BOXES = st.lists(
    st.dictionaries(
        st.binary(min_size=1, max_size=255), st.binary(max_size=300), max_size=6
    ),
    max_size=4,
)


class Greeting(PeerCommand):
    """
    With an argument that may be left out.
    """

    commandName = b"Greeting"
    arguments = [(b"times", Count()), (b"name", Name(optional=True))]
    response = [(b"times", Count()), (b"name", Name(optional=True))]


class TwistedGreeting(amp.Command):
    """
    The same, on Twisted's way.
    """

    commandName = b"Greeting"
    arguments = [
        (b"times", amp.Integer()),
        (b"name", amp.Unicode(optional=True)),
    ]
    response = arguments


@implementer(amp.IBoxReceiver)
class Receiver:
    """
    Keeps boxes.
    """

    def __init__(self) -> None:
        """
        Begin with none.
        """
        self.boxes: list[amp.AmpBox] = []

    def startReceivingBoxes(self, boxSender: Any) -> None:
        """
        Do nothing.
        """

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """
        Keep it.
        """
        self.boxes.append(box)

    def stopReceivingBoxes(self, reason: Any) -> None:
        """
        Do nothing.
        """


@given(boxes=BOXES, cuts=st.lists(st.integers(1, 40), max_size=20))
def test_boxes_are_read_as_twisted_reads_them(
    boxes: list[dict[bytes, bytes]], cuts: list[int]
) -> None:
    """
    Boxes are read as they were written, however their bytes are cut into pieces.
    """
    data = b"".join(Box(box).serialize() for box in boxes)
    assert amp.parseString(data) == boxes
    receiver = Receiver()
    stream = BoxStream(receiver, pytest.fail)
    stream.makeConnection(StringTransport())
    for size in cuts:
        stream.dataReceived(data[:size])
        data = data[size:]
    stream.dataReceived(data)
    assert receiver.boxes == boxes


@given(boxes=BOXES)
def test_boxes_are_written_as_twisted_writes_them(
    boxes: list[dict[bytes, bytes]],
) -> None:
    """
    The bytes of a box are Twisted's.
    """
    for box in boxes:
        assert Box(box).serialize() == amp.AmpBox(box).serialize()


@pytest.mark.parametrize("box", [{b"k" * 256: b""}, {b"k": b"v" * 65536}])
def test_what_is_too_long_is_not_written(box: dict[bytes, bytes]) -> None:
    """
    A key or value that AMP has no room for is refused, not cut off.
    """
    with pytest.raises(amp.TooLong):
        Box(box).serialize()


@pytest.mark.parametrize(
    "arguments", [{"times": 3, "name": "n1"}, {"times": 0, "name": None}, {"times": 0}]
)
def test_arguments_are_written_as_twisted_writes_them(
    arguments: dict[str, Any],
) -> None:
    """
    Arguments and results, with one that is left out or not.
    """
    ours, twisteds = (
        command.makeArguments(arguments, None)
        for command in (Greeting, TwistedGreeting)
    )
    assert ours == twisteds
    read = Greeting.parseArguments(ours, None)
    assert read == TwistedGreeting.parseArguments(twisteds, None)
    assert read == {"name": None, **arguments}
    full = {"name": None, **arguments}
    answer = Greeting.makeResponse(full, None)
    assert answer == TwistedGreeting.makeResponse(full, None)
    assert Greeting.parseResponse(answer, None) == full


@pytest.mark.parametrize("arguments", [{"name": "n1"}, {"times": 1, "tone": "loud"}])
def test_wrong_arguments_are_not_written(arguments: dict[str, Any]) -> None:
    """
    An argument too many, or too few, is a mistake in hraftd.
    """
    with pytest.raises(amp.InvalidSignature):
        Greeting.makeArguments(arguments, None)


def test_a_missing_argument_is_not_read() -> None:
    """
    What may not be left out is demanded.
    """
    with pytest.raises(KeyError):
        Greeting.parseArguments(amp.AmpBox(name=b"n1"), None)

"""
Answers that are offered to the socket at once: all bytes, in order, whatever fits.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport

from hraftd.at_once import send_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator


class Watched(Clock):
    """
    A reactor that only remembers who waits for room in a socket.
    """

    def __init__(self) -> None:
        """
        Begin with nobody waiting.
        """
        super().__init__()
        self.writers: set[object] = set()
        self.readers: set[object] = set()

    def addWriter(self, writer: object) -> None:
        """
        Remember one.
        """
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        """
        Forget it.
        """
        self.writers.discard(writer)

    def addReader(self, reader: object) -> None:
        """
        Remember who reads.
        """
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        """
        Forget it.
        """
        self.readers.discard(reader)


class Line:
    """
    A real connection of a transport of Twisted's, whose reactor a test plays.
    """

    def __init__(self, protocol: Protocol) -> None:
        """
        Connect a protocol to a socket of ours.
        """
        self.reactor = Watched()
        mine, self.client = socket.socketpair()
        for end in (mine, self.client):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        self.transport = Connection(mine, protocol, self.reactor)
        self.transport.connected = True
        # Of a listening port's connections, and all they log.
        self.transport.logstr = "test"
        self.received = b""

    @property
    def waits(self) -> bool:
        """
        Whether the transport waits for room.
        """
        return self.transport in self.reactor.writers

    @property
    def reads(self) -> bool:
        """
        Whether the transport takes what comes in.
        """
        return self.transport in self.reactor.readers

    @property
    def buffered(self) -> int:
        """
        How many bytes wait outside of the socket.
        """
        transport = self.transport
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen

    def read(self) -> bytes:
        """
        Let the client take all that is in the socket.
        """
        came = b""
        while True:
            try:
                data = self.client.recv(1 << 20)
            except BlockingIOError:
                break
            if not data:
                break
            came += data
        self.received += came
        return came

    def drain(self) -> bytes:
        """
        Let the client take everything that there is, until nothing waits.
        """
        for _ in range(100_000):
            self.read()
            if not self.waits:
                return self.received
            self.transport.doWrite()
        raise AssertionError("it never ends")

    def close(self) -> None:
        """
        Close both ends.
        """
        self.client.close()
        self.transport.socket.close()


@pytest.fixture
def line() -> Iterator[Line]:
    """
    Connect a protocol that does nothing.
    """
    line = Line(Protocol())
    yield line
    line.close()


def test_what_fits_leaves_at_once(line: Line) -> None:
    """
    It is there before the reactor has had a turn, which is not even asked for.
    """
    send_at_once(line.transport, b"answer")
    assert line.read() == b"answer"
    assert not line.waits


def test_what_does_not_fit_follows(line: Line) -> None:
    """
    The rest waits for room, and what comes behind it waits for that.
    """
    much = b"".join(b"%08d" % number for number in range(1 << 16))
    send_at_once(line.transport, much)
    assert line.waits
    assert 0 < len(line.read()) < len(much)
    # There is room now, but others were first.
    send_at_once(line.transport, b"end")
    assert not line.read()
    assert line.drain() == much + b"end"
    send_at_once(line.transport, b"!")
    assert line.read() == b"!"


def test_nothing_leaves_past_what_was_written(line: Line) -> None:
    """
    What somebody has told the transport to write before leaves before.
    """
    line.transport.write(b"1")
    send_at_once(line.transport, b"2")
    assert line.read() == b""
    assert line.drain() == b"12"


def test_no_room_at_all(line: Line) -> None:
    """
    A socket that takes nothing is no error.
    """
    while line.transport.writeSomeData(b"x" * 1000):
        pass
    send_at_once(line.transport, b"end")
    assert line.waits
    assert line.drain().endswith(b"xend")


def test_client_has_gone(line: Line) -> None:
    """
    The reactor finds that out as ever, since there is something to be written.
    """
    line.client.close()
    send_at_once(line.transport, b"answer")
    assert line.waits
    assert isinstance(line.transport.doWrite(), Exception)
    line.transport.connected = False
    send_at_once(line.transport, b"answer")


def test_any_other_transport(line: Line) -> None:
    """
    Where there is no plain socket, of TLS for one, it is written like anything.
    """
    other = StringTransport()
    send_at_once(other, b"answer")
    assert other.value() == b"answer"
    line.transport.TLS = True
    written = []
    line.transport.write = written.append
    send_at_once(line.transport, b"answer")
    assert written == [b"answer"]
    assert line.read() == b""

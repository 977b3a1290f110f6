"""
Bytes that leave at once, rather than with the next turn of the reactor.

What a transport of Twisted is told to write it keeps. It has the reactor watch for room
in the socket, is called back, sends, and has the reactor stop watching. But there is
nearly always room. An answer that is offered to the socket right away spares all of
that: two system calls, and most of the time that it takes to send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.tcp import Connection

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITransport

__all__ = ["send_at_once"]


def send_at_once(transport: ITransport, data: bytes) -> None:
    """
    Write to a transport, past its buffer as far as there is room for it in the socket.
    """
    if (
        isinstance(transport, Connection)
        and transport.connected
        # What is in there goes first. With TLS there is more to it than sending.
        and not (transport.dataBuffer or transport._tempDataBuffer or transport.TLS)
    ):
        sent = transport.writeSomeData(data)
        if sent == len(data):
            return
        if isinstance(sent, int):
            data = data[sent:]
        # Otherwise the connection is lost, which the reactor will find out too.
    transport.write(data)

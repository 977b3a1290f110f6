"""
Opening a connection to another server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.protocol import Factory

from hraftd.addresses import parse_address
from hraftd.peers.hello import Refused
from hraftd.peers.outbound import OutboundPeer
from hraftd.peers.questions import NotConnected

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IReactorTime,
        IStreamClientEndpoint,
    )

    from hraftd.peers.boxes import BoxStream
    from hraftd.peers.hello import Introduction

__all__ = ["CONNECT_SECONDS", "explain", "open_peer"]

#: Seconds to wait for TCP to connect.
CONNECT_SECONDS = 1.0

#: Seconds to wait for it including the name's resolution, which can take long and
#: keeps a thread busy even when nobody waits for it any more.
RESOLVE_SECONDS = 10.0

#: Seconds between the addresses of a name: ``localhost`` has two, of which the first
#: is often the one where nobody listens.
NEXT_ADDRESS_SECONDS = 0.05


class _Dialling(Factory):
    """
    Makes the protocol of a connection that is being opened.
    """

    noisy = False

    def __init__(self, address: str, clock: IReactorTime) -> None:
        self._address = address
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> BoxStream:
        return OutboundPeer(self._address, self._clock).stream


def _endpoint(reactor: Any, address: str) -> IStreamClientEndpoint:
    to = parse_address(address)
    # Addresses in digits need no resolver, and so no thread.
    if isIPAddress(to.host):
        return TCP4ClientEndpoint(reactor, to.host, to.port, timeout=CONNECT_SECONDS)
    if isIPv6Address(to.host):
        return TCP6ClientEndpoint(reactor, to.host, to.port, timeout=CONNECT_SECONDS)
    return HostnameEndpoint(
        reactor,
        to.host,
        to.port,
        timeout=CONNECT_SECONDS,
        attemptDelay=NEXT_ADDRESS_SECONDS,
    )


async def open_peer(
    reactor: Any,
    clock: IReactorTime,
    introduction: Introduction,
    server_id: str,
    address: str,
) -> OutboundPeer:
    """
    Connect to a server and say Hello.

    Cancelling closes the connection, however far it has come.

    :param address: ``host:port``.
    :raises Refused: if the server does not want to talk to us.
    :raises Exception: if it cannot be reached; :func:`explain` says why.
    """
    connecting = _endpoint(reactor, address).connect(_Dialling(address, clock))
    stream: Any = await connecting.addTimeout(RESOLVE_SECONDS, clock)
    peer: OutboundPeer = stream.boxReceiver
    try:
        await peer.introduce(introduction, server_id)
    except BaseException:
        peer.abort("the introduction failed")
        raise
    return peer


def explain(error: BaseException | None, address: str) -> str:
    """
    Say in a sentence why :func:`open_peer` failed.
    """
    match error:
        case Refused():
            return f"the server at {address} says: {error}"
        case NotConnected():
            return str(error)
        case CancelledError() | ConnectingCancelledError() | TimeoutError():
            reason = "no answer in time"
        case DNSLookupError():
            reason = "the name cannot be resolved"
        case ConnectError() if error.osError:
            reason = os.strerror(error.osError)
        case _:
            reason = str(error).rstrip(".")
    return f"no server answers at {address} ({reason})"

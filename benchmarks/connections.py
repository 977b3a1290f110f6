"""
Thousands of connections that write, and note what became of each request.

wrk knows neither how long the accepted requests alone took nor what the others were
told, so this is a client of its own: plain sockets and epoll, little Python for each
request. A request that is refused is repeated at once, whatever Retry-After says: worse
clients than that there are not.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.requests import Pattern

__all__ = ["Outcome", "press"]

_CHUNK = 65536

#: Seconds for which a connection may take to be made before anything is asked.
_PATIENCE = 5.0


@frozen
class Outcome:
    """
    What a crowd of connections has been told.
    """

    seconds: float
    statuses: Counter[int]
    #: Of the answers 503, those that said when to try again.
    with_retry_after: int
    #: Connections that were refused or broken off.
    broken: int
    #: Requests that were under way when it ended, by how long they had waited.
    unanswered_s: tuple[float, ...]
    #: Seconds that each answer of a status below 400 took, in their order.
    accepted_s: tuple[float, ...]
    refused_s: tuple[float, ...]


@define(eq=False)
class _Connection:
    number: int
    socket: socket.socket
    sent_at: float = 0.0
    unsent: bytes = b""
    received: bytes = b""


@define(eq=False)
class _Crowd:
    port: int
    pattern: Pattern
    keys: int
    poll: select.epoll
    connections: dict[int, _Connection] = field(factory=dict)
    statuses: Counter[int] = field(factory=Counter)
    with_retry_after: int = 0
    broken: int = 0
    accepted: list[float] = field(factory=list)
    refused: list[float] = field(factory=list)
    next_key: int = 0

    def connect(self, number: int, patience: float = 0.0) -> None:
        """
        Make a connection, and ask as soon as it is there.

        :param patience: seconds for which to wait for it here and now.
        """
        connection = socket.socket()
        connection.settimeout(patience)
        with suppress(OSError):
            connection.connect(("127.0.0.1", self.port))
        connection.setblocking(False)
        self.connections[connection.fileno()] = _Connection(number, connection)
        self.poll.register(connection.fileno(), select.EPOLLOUT)

    def drop(self, connection: _Connection) -> None:
        """
        Make another one in place of one that broke.
        """
        self.broken += 1
        descriptor = connection.socket.fileno()
        self.poll.unregister(descriptor)
        del self.connections[descriptor]
        connection.socket.close()
        self.connect(connection.number)

    def send(self, connection: _Connection) -> None:
        """
        Send a request, or go on sending it.
        """
        if not connection.unsent:
            self.next_key = (self.next_key + 1) % self.keys
            connection.unsent = self.pattern.with_keys([self.next_key])
            connection.sent_at = time.monotonic()
        with suppress(BlockingIOError):
            sent = connection.socket.send(connection.unsent)
            connection.unsent = connection.unsent[sent:]
        events = select.EPOLLOUT if connection.unsent else select.EPOLLIN
        self.poll.modify(connection.socket.fileno(), events)

    def receive(self, connection: _Connection) -> None:
        """
        Read on; note an answer that is complete, and ask again.
        """
        data = connection.socket.recv(_CHUNK)
        if not data:
            raise ConnectionResetError
        connection.received += data
        head, blank, body = connection.received.partition(b"\r\n\r\n")
        lowered = head.lower()
        _, _, length = lowered.partition(b"content-length:")
        if not blank or len(body) < int(length.partition(b"\r")[0] or b"0"):
            return
        connection.received = b""
        taken = time.monotonic() - connection.sent_at
        status = int(head[9:12])
        self.statuses[status] += 1
        if status < 400:
            self.accepted.append(taken)
        else:
            self.refused.append(taken)
            self.with_retry_after += b"\r\nretry-after:" in lowered
        if b"\r\nconnection: close" in lowered:
            raise ConnectionResetError
        self.send(connection)


def press(
    port: int,
    pattern: Pattern,
    keys: int,
    connections: int,
    seconds: float,
    each_moment: Callable[[float], object],
) -> Outcome:
    """
    Write on so many connections at once.

    :param each_moment: is called about four times a second, with the seconds so far.
    """
    with select.epoll() as poll:
        crowd = _Crowd(port, pattern, keys, poll)
        try:
            for number in range(connections):
                # All at once would be more than a listener's queue holds; the kernel
                # would then try again after seconds, which is nobody's merit.
                crowd.connect(number, _PATIENCE)
            start = time.monotonic()
            _go_round(crowd, start, seconds, each_moment)
            now = time.monotonic()
            under_way = [each.sent_at for each in crowd.connections.values()]
        finally:
            for each in crowd.connections.values():
                each.socket.close()
    return Outcome(
        now - start,
        crowd.statuses,
        crowd.with_retry_after,
        crowd.broken,
        tuple(now - sent_at for sent_at in under_way if sent_at),
        tuple(crowd.accepted),
        tuple(crowd.refused),
    )


def _go_round(
    crowd: _Crowd,
    start: float,
    seconds: float,
    each_moment: Callable[[float], object],
) -> None:
    next_moment = start
    while (now := time.monotonic()) < start + seconds:
        if now >= next_moment:
            each_moment(now - start)
            next_moment = now + 0.25
        for descriptor, events in crowd.poll.poll(0.05, 512):
            connection = crowd.connections[descriptor]
            try:
                if events & select.EPOLLIN:
                    crowd.receive(connection)
                elif events & select.EPOLLOUT:
                    crowd.send(connection)
                else:
                    raise ConnectionResetError
            except OSError:
                crowd.drop(connection)

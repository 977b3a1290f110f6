"""
Tests of the Python client, and what they need: nodes in memory that do as is said.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.web.client import Agent

from hraftd.client import Client
from hraftd.client.connections import new_pool
from tests.web import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

A, B, C = "localhost:11000", "localhost:11001", "localhost:11002"

#: What a node may do with a request besides answering it: nothing at all, or close.
SILENT = "silent"
LOST = "lost"


@frozen
class Asked:
    """
    A request, as a node has received it.
    """

    address: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str | None:
        """
        Its Idempotency-Key.
        """
        return self.headers.get("idempotency-key")


@frozen
class Said:
    """
    What a node answers.
    """

    status: int
    content: Any = None
    headers: dict[str, str] = field(factory=dict)

    def encode(self) -> bytes:
        """
        Return it as it goes over the wire.
        """
        body = self.content
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {self.status} Said", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def done(index: int) -> Said:
    """
    Say that a write was done.
    """
    return Said(200, {"index": index})


def found(key: str, value: str, index: int) -> Said:
    """
    Say what a key holds.
    """
    return Said(200, {key: value}, {"ETag": f'"{index}"'})


def led_by(address: str) -> Said:
    """
    Say who leads.
    """
    leader = {"id": "x", "http": address, "raft": "localhost:12000"}
    return Said(421, {"error": "not the leader", "leader": leader})


def busy(seconds: int = 1) -> Said:
    """
    Say that there is no leader.
    """
    return Said(503, {"error": "there is no leader"}, {"Retry-After": str(seconds)})


UNSURE = Said(504, {"error": "no answer", "outcome": "unknown"})


class FakeConnection(Protocol):
    """
    A node's end of a connection.
    """

    def __init__(self, node: FakeNode) -> None:
        """
        Belong to that node.
        """
        self.node = node
        self.data = b""
        self.is_open = True

    def dataReceived(self, data: bytes) -> None:
        """
        Take requests, one after the other.
        """
        self.data += data
        while (request := self._next()) is not None:
            self.node.received(self, request)

    def _next(self) -> Asked | None:
        head, blank, rest = self.data.partition(b"\r\n\r\n")
        if not blank:
            return None
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        named = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in named}
        if headers.get("transfer-encoding") == "chunked":
            body, end, rest = rest.partition(b"0\r\n\r\n")
            if not end:
                return None
            body = b"".join(body.split(b"\r\n")[1::2])
        else:
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return None
            body, rest = rest[:length], rest[length:]
        self.data = rest
        return Asked(self.node.address, method, target, headers, body)

    def connectionLost(self, reason: Failure) -> None:
        """
        Take note that the client has gone.
        """
        self.is_open = False

    def say(self, what: Said | bytes | str) -> None:
        """
        Answer, or do not.
        """
        if isinstance(what, Said):
            self.transport.write(what.encode())
        elif isinstance(what, bytes):
            self.transport.write(what)
        elif what == LOST:
            self.transport.loseConnection()


@define(eq=False)
class FakeNode:
    """
    A node that does as a test says, with one request after the other.
    """

    address: str
    #: What it does with the next ones.
    script: deque[Any] = field(factory=deque)
    #: What it does when that is over; a function is asked.
    otherwise: Any = SILENT
    asked: list[Asked] = field(factory=list)
    connections: list[FakeConnection] = field(factory=list)

    def buildProtocol(self, _: object) -> FakeConnection:
        """
        Let a client connect.
        """
        self.connections.append(FakeConnection(self))
        return self.connections[-1]

    def received(self, connection: FakeConnection, asked: Asked) -> None:
        """
        Do what the script says.
        """
        self.asked.append(asked)
        what = self.script.popleft() if self.script else self.otherwise
        connection.say(what(asked) if callable(what) else what)

    @property
    def open(self) -> list[FakeConnection]:
        """
        The connections that the client has not closed.
        """
        return [one for one in self.connections if one.is_open]


class World:
    """
    A client, nodes that it knows, and time.
    """

    def __init__(self, *addresses: str, **options: Any) -> None:
        """
        Put a node at each address; the options are the client's.
        """
        self.clock = Clock()
        self.network = Network(self.clock)
        self.nodes = {address: FakeNode(address) for address in (A, B, C)}
        for address in addresses:
            self.network.sites[address] = self.nodes[address]
        self.client = self.new_client(addresses, **options)

    def new_client(self, addresses: tuple[str, ...], **options: Any) -> Client:
        """
        Return another client of the same network.
        """
        pool = new_pool(self.clock)
        agent = Agent.usingEndpointFactory(self.clock, self.network, pool)
        return Client(addresses, reactor=self.clock, agent=agent, **options)

    def __getitem__(self, address: str) -> FakeNode:
        """
        Return a node.
        """
        return self.nodes[address]

    @property
    def asked(self) -> list[Asked]:
        """
        All requests at all nodes.
        """
        return [asked for node in self.nodes.values() for asked in node.asked]

    def pass_time(self, seconds: float = 0.0, step: float = 0.05) -> None:
        """
        Let everything happen that does in this time.
        """
        self.network.settle()
        for _ in range(round(seconds / step)):
            self.network.settle(step)

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """
        Let time pass until something is so.
        """
        end = self.clock.seconds() + seconds
        self.network.settle()
        while not condition():
            assert self.clock.seconds() < end, "not so in time"
            self.network.settle(0.01)

    def result_of(self, pending: Any, seconds: float = 60.0) -> Any:
        """
        Let time pass until that has a result; raise it if it is an error.
        """
        results: list[Any] = []
        if not isinstance(pending, Deferred):
            pending = Deferred.fromCoroutine(pending)
        pending.addBoth(results.append)
        self.until(lambda: bool(results), seconds)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

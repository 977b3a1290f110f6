"""
Both sides of a connection on the real reactor, over loopback.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import deferLater

from hraftd.leader_requests import Assurance, ClientRequest, ReadIndex
from hraftd.peers.boxes import BoxStream
from hraftd.peers.links import NotConnected, PeerLinks, ProbeFailed
from hraftd.peers.locator import PeerFactory
from hraftd.proposals import Applied
from hraftd.raft.configuration import Server
from hraftd.raft.errors import NotLeader
from hraftd.raft.messages import Call

from .network import CLUSTER, StandIn, answer_to, append, vote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Seconds after which a condition that does not come true fails its test.
DEADLINE = 10.0


async def until(condition: Callable[[], object]) -> None:
    """
    Wait for a condition.
    """
    clock: Any = reactor
    deadline = clock.seconds() + DEADLINE
    while not condition():
        assert clock.seconds() < deadline, "it does not come true"
        await deferLater(clock, 0.005)


@define(eq=False)
class Pair:
    """
    A server ``n2`` that listens, and the links of ``n1``.
    """

    raft_server: StandIn
    factory: PeerFactory
    port: Any
    links: PeerLinks

    @property
    def address(self) -> str:
        """
        Where ``n2`` listens.
        """
        return f"127.0.0.1:{self.port.getHost().port}"

    async def linked(self, address: str | None = None) -> None:
        """
        Wait for a call to be answered.
        """
        member = Server("n2", address or self.address)
        self.links.configure(CLUSTER, [member])
        clock: Any = reactor
        deadline = clock.seconds() + DEADLINE
        while not self.raft_server.requests:
            assert clock.seconds() < deadline, "no link is opened"
            try:
                await self.call(vote())
            except NotConnected:
                await deferLater(clock, 0.005)
        self.raft_server.requests.clear()

    async def call(self, request: Any) -> Any:
        """
        Call ``n2``.
        """
        return await self.links.call(Call("n2", request))


@pytest_twisted.async_yield_fixture
async def pair() -> AsyncIterator[Pair]:
    """
    Make both, and see that both end.
    """
    raft_server = StandIn("n2")
    factory = PeerFactory(raft_server, reactor)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    links = PeerLinks("n1", reactor)
    links.startService()
    pair = Pair(raft_server, factory, port, links)
    yield pair
    await links.stopService()
    await maybeDeferred(pair.port.stopListening)
    await factory.disconnect()
    connections = [
        reader
        for reader in reactor.getReaders()
        if isinstance(getattr(reader, "protocol", None), BoxStream)
    ]
    assert connections == []


@pytest_twisted.ensureDeferred
async def test_calls(pair: Pair) -> None:
    """
    A batch of 8 MiB and the heartbeats behind it are answered.
    """
    await pair.linked()
    batch = append(*[b"x" * (1 << 20)] * 8)
    answers = [pair.call(batch), pair.call(append()), pair.call(vote())]
    for answer, request in zip(answers, (batch, append(), vote()), strict=True):
        assert await answer == answer_to(request)
    assert pair.raft_server.requests == [batch, append(), vote()]


@pytest_twisted.ensureDeferred
async def test_asks(pair: Pair) -> None:
    """
    What is asked for clients waits, while Raft goes on, and comes back whole.
    """
    await pair.linked()
    assert pair.links.is_linked("n2")
    write = ClientRequest(b"x" * (8 << 20))
    done = pair.links.ask("n2", write, DEADLINE)
    declined = pair.links.ask("n2", ReadIndex(Assurance.MAJORITY), DEADLINE)
    await until(lambda: len(pair.raft_server.serving) == 2)
    assert pair.raft_server.asked[0] == write
    assert await pair.call(vote()) == answer_to(vote())
    leader = Server("n3", "127.0.0.1:12003")
    pair.raft_server.serving[1].errback(NotLeader(leader))
    with pytest.raises(NotLeader) as elsewhere:
        await declined
    assert elsewhere.value.leader == leader
    outcome = Applied(8, {"large": "y" * (2 << 20)})
    pair.raft_server.serving[0].callback(outcome)
    assert await done == outcome


@pytest_twisted.ensureDeferred
async def test_by_name(pair: Pair) -> None:
    """
    ``localhost`` is found, although it may have an address where nobody listens.
    """
    await pair.linked(f"localhost:{pair.port.getHost().port}")
    assert await pair.call(append()) == answer_to(append())


@pytest_twisted.ensureDeferred
async def test_socket_options(pair: Pair) -> None:
    """
    Both ends send small boxes at once and notice a peer that is gone.
    """
    await pair.linked()
    ends = [
        reader
        for reader in reactor.getReaders()
        if hasattr(reader, "getTcpNoDelay")
        and pair.port.getHost().port in (reader.getPeer().port, reader.getHost().port)
    ]
    assert len(ends) == 2
    for end in ends:
        assert end.getTcpNoDelay()
        assert end.getTcpKeepAlive()
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_USER_TIMEOUT", 10_000)):
            if (option := getattr(socket, name, None)) is not None:
                tcp = end.getHandle()
                assert tcp.getsockopt(socket.IPPROTO_TCP, option) == value


@pytest_twisted.ensureDeferred
async def test_comes_back(pair: Pair) -> None:
    """
    A server that is gone and comes back is linked again; calls fail in between.
    """
    await pair.linked()
    pair.raft_server.hold = True
    waiting = pair.links.call(Call("n2", vote()))
    await until(lambda: pair.raft_server.requests)
    number = pair.port.getHost().port
    await maybeDeferred(pair.port.stopListening)
    await pair.factory.disconnect()
    with pytest.raises(NotConnected):
        await waiting
    with pytest.raises(NotConnected):
        await pair.call(vote())
    pair.raft_server.requests.clear()
    pair.raft_server.hold = False
    endpoint = TCP4ServerEndpoint(reactor, number, interface="127.0.0.1")
    pair.port = await endpoint.listen(pair.factory)
    await pair.linked()


@pytest_twisted.ensureDeferred
async def test_garbage(pair: Pair) -> None:
    """
    Bytes that are no AMP close their connection, and no other.
    """
    await pair.linked()
    lost: Deferred[Any] = Deferred()

    class Noise(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"GET / HTTP/1.1\r\n\r\n" * 100_000)

        def connectionLost(self, reason: Any = None) -> None:
            lost.errback(reason)

    port = pair.port.getHost().port
    reactor.connectTCP("127.0.0.1", port, ClientFactory.forProtocol(Noise))
    with pytest.raises(ConnectionClosed):
        await lost
    assert await pair.call(vote()) == answer_to(vote())


@pytest_twisted.ensureDeferred
async def test_probe(pair: Pair) -> None:
    """
    A probe finds who is there, and says who is not.
    """
    pair.links.configure(CLUSTER, ())
    await pair.links.probe(Server("n2", pair.address))
    with pytest.raises(ProbeFailed, match="says: this is n2, not n3"):
        await pair.links.probe(Server("n3", pair.address))
    with socket.socket() as unused:
        # Bound and not listening: nobody else can begin to listen there.
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ProbeFailed) as refused:
            await pair.links.probe(Server("n2", address))
    assert str(refused.value).startswith(f"no server answers at {address} (Connection")


@pytest_twisted.ensureDeferred
async def test_stop_while_connecting(pair: Pair) -> None:
    """
    Stopping is prompt while a connection is being opened, however far it has come.
    """
    accepted: list[Protocol] = []

    class Mute(Protocol):
        def connectionMade(self) -> None:
            accepted.append(self)

    mute = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
        Factory.forProtocol(Mute)
    )
    members = (
        Server("n3", f"127.0.0.1:{mute.getHost().port}"),
        # Reserved for documentation: either nobody answers, or there is no way there.
        Server("n4", "192.0.2.1:12000"),
        Server("n5", "nowhere.invalid:12000"),
    )
    pair.links.configure(CLUSTER, members)
    await until(lambda: accepted)
    began = reactor.seconds()
    await pair.links.stopService()
    assert reactor.seconds() - began < 1
    await maybeDeferred(mute.stopListening)

"""
Tests of the HTTP API, and what they need: nodes and HTTP connections in memory.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from treq import content
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.test import iosim
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from hraftd.client_requests import ClientRequests
from hraftd.errors import NotReached
from hraftd.interfaces import IPeers
from hraftd.kv.store import KeyValueStore
from hraftd.measures import Backlog, Counts
from hraftd.raft.configuration import Configuration, Server
from hraftd.server import RaftServer
from hraftd.status import MemberStatus, Status
from hraftd.storage import MemoryStorage
from hraftd.web.site import HttpSite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twisted.internet.task import Clock
    from twisted.internet.testing import StringTransport

    from hraftd.leader_requests import Assurance, LeaderRequest

ME = Server("node0", "localhost:12000", "localhost:11000")
LEADER = Server("node1", "localhost:12001", "localhost:11001")
OTHER = Server("node2", "localhost:12002", "localhost:11002")


@define(eq=False, slots=False)
class ScriptedServer:
    """
    Stands in for a Raft server where a test decides what becomes of a request.
    """

    server_id: str = ME.id
    cluster_id: str | None = "cluster"
    leader: Server | None = ME
    configuration: Configuration = field(
        factory=lambda: Configuration((ME, LEADER, OTHER))
    )
    role: str = "follower"
    last_contact: float | None = 0.0126
    #: Every command and newcomer that came in, and its unanswered Deferred.
    proposed: list[tuple[bytes, Deferred]] = field(factory=list)
    newcomers: list[tuple[Server, Deferred]] = field(factory=list)
    #: The same for what only some tests ask for: the method and its arguments.
    asked: list[tuple[str, tuple[object, ...], Deferred]] = field(factory=list)
    #: What is answered at once instead: an exception to fail with, or a result.
    outcome: object = None
    #: The same for what the leader is asked, since this server has declined first.
    leaders_outcome: object = None
    expected: list[str] = field(factory=list)
    has_failed: bool = False
    is_stopping: bool = False
    counts: Counts = field(factory=Counts)
    snapshots_taken: int = 0

    @staticmethod
    def backlog() -> Backlog:
        """
        Have nothing that waits.
        """
        return Backlog(0, 0, 0, 0, 0, 0.0)

    @staticmethod
    def _decide(outcome: object) -> Deferred:
        if isinstance(outcome, Exception):
            return fail(outcome)
        if outcome is not None:
            return succeed(outcome)
        return Deferred()

    def _ask(self, method: str, *arguments: object) -> Deferred:
        answer = self._decide(self.outcome)
        self.asked.append((method, arguments, answer))
        return answer

    def remove_server(self, server_id: str) -> Deferred:
        """
        Take note of who is to go.
        """
        return self._ask("remove_server", server_id)

    def transfer_leadership(self, server_id: str | None) -> Deferred:
        """
        Take note of who is to lead.
        """
        return self._ask("transfer_leadership", server_id)

    def read_barrier(self, assurance: Assurance) -> Deferred:
        """
        Take note of how sure a read wants to be.
        """
        return self._ask("read_barrier", assurance)

    def take_snapshot(self) -> Deferred:
        """
        Take note that a snapshot is wanted.
        """
        return self._ask("take_snapshot")

    def ask_leader(self, request: LeaderRequest, seconds: float) -> Deferred:
        """
        Take note of what the leader is asked.
        """
        answer = self._decide(self.leaders_outcome)
        self.asked.append(("ask_leader", (request, seconds), answer))
        return answer

    def propose(self, command: bytes) -> Deferred:
        """
        Take note of a command.
        """
        answer = self._decide(self.outcome)
        self.proposed.append((command, answer))
        return answer

    def add_server(self, newcomer: Server) -> Deferred:
        """
        Take note of a newcomer.
        """
        answer = self._decide(self.outcome)
        self.newcomers.append((newcomer, answer))
        return answer

    @property
    def is_member(self) -> bool:
        """
        Whether the configuration names it.
        """
        return self.configuration.get(self.server_id) is not None

    def expect_cluster(self, cluster_id: str) -> None:
        """
        Take note of a cluster.
        """
        self.expected.append(cluster_id)

    def status(self) -> Status:
        """
        Tell what the test has set.
        """
        members = tuple(
            MemberStatus(
                server=server,
                match_index=7,
                last_contact=0.5,
                linked=None if server.id == self.server_id else server == LEADER,
                role="leader" if server == self.leader else "follower",
            )
            for server in self.configuration.servers
        )
        return Status(
            server_id=self.server_id,
            cluster_id=self.cluster_id,
            role=self.role,
            term=3,
            leader=self.leader,
            commit_index=7,
            last_applied=6,
            first_log_index=2,
            last_log_index=8,
            snapshot_index=5,
            snapshot_bytes=1000,
            configuration=self.configuration,
            members=members,
            last_contact=self.last_contact,
        )


@implementer(IPeers)
class NoPeers:
    """
    A network where nobody else is.
    """

    def configure(self, cluster_id: str, servers: Sequence[Server]) -> None:
        """
        Connect to nobody.
        """

    def is_linked(self, server_id: str) -> bool:
        """
        Know that nobody is connected.
        """
        return False

    def call(self, call: object) -> Deferred:
        """
        Fail at once.
        """
        return fail(ConnectionRefusedError())

    def probe(self, server: Server) -> Deferred:
        """
        Fail at once.
        """
        return fail(ConnectionRefusedError(f"nobody is at {server.raft}"))

    def ask(self, server_id: str, request: LeaderRequest, seconds: float) -> Deferred:
        """
        Fail at once.
        """
        return fail(NotReached())


class OneNode:
    """
    A real cluster of one, in memory, that leads already.
    """

    def __init__(self, clock: Clock, **options: object) -> None:
        """
        Elect it; the options are those of :class:`ClientRequests`.
        """
        self.clock = clock
        self.store = KeyValueStore()
        self.server = RaftServer(
            ME.id, MemoryStorage(), self.store, NoPeers(), clock, rng=Random(1)
        )
        self.server.bootstrap(ME)
        self.server.startService()
        for _ in range(1000):
            if self.server.status().role == "leader":
                break
            clock.advance(0.025)
        clock.pump([0.025] * 5)
        self.requests = ClientRequests(self.server, self.store, clock, **options)
        self.site = HttpSite(self.requests, self.server, clock)


@frozen
class Answer:
    """
    What came back from a request.
    """

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        """
        The body, which has to be JSON.
        """
        return json.loads(self.body)


@implementer(IAgentEndpointFactory)
class Network:
    """
    Sites by their address, and HTTP clients that reach them, in memory.
    """

    def __init__(self, clock: Clock) -> None:
        """
        Begin without sites.
        """
        self.clock = clock
        self.sites: dict[str, object] = {}
        self.agent = Agent.usingEndpointFactory(clock, self)
        self._pumps: list[iosim.IOPump] = []

    def endpointForURI(self, uri: object) -> _MemoryEndpoint:
        """
        See :class:`twisted.web.iweb.IAgentEndpointFactory`.
        """
        return _MemoryEndpoint(self, f"{uri.host.decode()}:{uri.port}")

    def connect(self, address: str, factory: object) -> Deferred:
        """
        Open a connection to the site there.
        """
        site = self.sites.get(address)
        if site is None:
            return fail(ConnectionRefusedError())
        client, server = factory.buildProtocol(None), site.buildProtocol(None)
        self._pumps.append(
            iosim.connect(
                server,
                iosim.FakeTransport(server, isServer=True),
                client,
                iosim.FakeTransport(client, isServer=False),
            )
        )
        return succeed(client)

    def settle(self, *seconds: float) -> None:
        """
        Deliver all that is under way, also after each of these times.
        """
        for step in (0.0, *seconds):
            self.clock.advance(step)
            moved = True
            while moved:
                # Every one of them, so no generator.
                results = [pump.flush() for pump in list(self._pumps)]
                moved = any(results)

    @property
    def open_connections(self) -> int:
        """
        The connections that neither side has closed.
        """
        return sum(1 for pump in self._pumps if not pump.clientIO.disconnected)


@implementer(IStreamClientEndpoint)
@frozen
class _MemoryEndpoint:
    network: Network
    address: str

    def connect(self, factory: object) -> Deferred:
        """
        See :class:`twisted.internet.interfaces.IStreamClientEndpoint`.
        """
        return self.network.connect(self.address, factory)


@implementer(IBodyProducer)
@frozen
class Sent:
    """
    The body of a request, sent at once; the usual ones need the real reactor.
    """

    body: bytes

    @property
    def length(self) -> int:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        return len(self.body)

    def startProducing(self, consumer: object) -> Deferred:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        consumer.write(self.body)
        return succeed(None)

    def stopProducing(self) -> None:
        """
        Do nothing: all is written.
        """


class Browser:
    """
    Asks one site, with a real HTTP client over a connection in memory.
    """

    def __init__(self, site: HttpSite, clock: Clock) -> None:
        """
        Be ready to ask that site.
        """
        self.network = Network(clock)
        self.network.sites[ME.http] = site
        self._client = HTTPClient(self.network.agent, data_to_body_producer=Sent)

    def start(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Deferred[Answer]:
        """
        Send a request, and do not wait.
        """

        async def exchange() -> Answer:
            response = await self._client.request(
                method,
                f"http://{ME.http}{path}".encode(),
                data=body,
                headers=headers,
                allow_redirects=False,
                unbuffered=True,
                reactor=self.network.clock,
            )
            received = {
                name.decode(): values[0].decode()
                for name, values in response.headers.getAllRawHeaders()
            }
            whole = await content(response)
            if method != "HEAD" and response.length != len(whole):
                raise AssertionError("an answer without the length that it has")
            return Answer(response.code, received, whole)

        answer = Deferred.fromCoroutine(exchange())
        self.network.settle()
        return answer


def received(transport: StringTransport) -> Iterator[Answer]:
    """
    Read the answers that a server has written to a transport, one after another.
    """
    data = transport.value()
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        code = int(status.split(" ")[1])
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("Content-Length", 0))
        yield Answer(code, headers, data[:length])
        data = data[length:]

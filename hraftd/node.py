"""
One node: everything that runs in a process, as one hierarchy of services.

The storage and the server on it, the links to peers, the listener for peers, the
listener for clients, and what makes a newcomer join. They start in this order and
stop in the reverse one, each after the one before has stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from hraftd.client_requests import ClientRequests, Limits, OnFollower
from hraftd.interfaces import StorageError
from hraftd.joining import Joiner
from hraftd.kv.store import KeyValueStore
from hraftd.peers.links import PeerLinks
from hraftd.peers.locator import PeerFactory
from hraftd.server import RaftServer
from hraftd.storage import MemoryStorage, SqliteStorage
from hraftd.web.site import HttpSite

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
    from typing import Any

    from twisted.internet.interfaces import IListeningPort, IProtocolFactory
    from twisted.python.failure import Failure

    from hraftd.raft.configuration import Configuration, Server

__all__ = ["CannotStart", "Node", "Settings"]

#: Seconds that writes which were taken may need to be committed when a node stops.
DRAIN_SECONDS = 1.0


class CannotStart(Exception):
    """
    The node cannot run like this. The text is one sentence that says why.
    """


@frozen
class Settings:
    """
    What one node is told on its command line, checked and complete.
    """

    #: Its name, and the addresses that others dial.
    me: Server
    #: Endpoint descriptions of the two listeners.
    raft_endpoint: str
    http_endpoint: str
    #: Where the log is kept; ``None`` keeps it in memory.
    data_dir: Path | None
    #: HTTP addresses of members of the cluster to join; empty begins a new one.
    join: tuple[str, ...] = ()
    on_follower: OnFollower = OnFollower.ERROR
    limits: Limits = field(factory=Limits)


class _Listener(Service):
    """
    Listens while it runs; cannot start if it cannot listen.
    """

    def __init__(
        self,
        reactor: Any,
        description: str,
        factory: IProtocolFactory,
        before_stop: Callable[[], object],
        after_stop: Callable[[], object],
    ) -> None:
        """
        Prepare to listen.

        :param before_stop: is waited for before this stops to listen ...
        :param after_stop: ... and this after it.
        """
        self._reactor = reactor
        self._description = description
        self._factory = factory
        self._before_stop = before_stop
        self._after_stop = after_stop
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """
        Listen.

        :raises CannotStart: if the address is taken, or not there, or if it is an
            endpoint string with which Twisted can do nothing.
        """
        Service.startService(self)
        try:
            endpoint = serverFromString(self._reactor, self._description)
        except Exception as error:
            # Whatever the parser of that kind of endpoint stumbles over.
            raise CannotStart(
                f"cannot listen on {self._description}: {error}"
            ) from error
        failures: list[Failure] = []

        def listening(port: IListeningPort) -> None:
            self._port = port

        endpoint.listen(self._factory).addCallbacks(listening, failures.append)
        for failure in failures:
            raise CannotStart(f"cannot listen: {failure.getErrorMessage()}")

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[object], object, None]:
        """
        Listen no more, and let go of the connections.
        """
        Service.stopService(self)
        yield maybeDeferred(self._before_stop)
        if self._port is not None:
            yield maybeDeferred(self._port.stopListening)
        yield maybeDeferred(self._after_stop)


class Node(MultiService):
    """
    A member of a cluster, with its own HTTP API.
    """

    _log = Logger()

    def __init__(
        self, settings: Settings, reactor: Any, on_failure: Callable[[str], object]
    ) -> None:
        """
        Prepare a node; it touches neither disk nor network before it starts.

        :param on_failure: called with one sentence when the node cannot go on.
        """
        MultiService.__init__(self)
        self._settings = settings
        self._reactor = reactor
        self._on_failure = on_failure
        self._site: HttpSite | None = None

    def startService(self) -> None:
        """
        Open the storage, and start everything that lives on it.

        This is not done any earlier: ``twistd`` may fork before, and an open
        database does not survive that.

        :raises CannotStart: with the reason.
        """
        settings, reactor = self._settings, self._reactor
        store = KeyValueStore()
        links = PeerLinks(settings.me.id, reactor)
        storage = (
            MemoryStorage()
            if settings.data_dir is None
            else SqliteStorage(settings.data_dir, settings.me.id, reactor)
        )
        try:
            server = RaftServer(
                settings.me.id,
                storage,
                store,
                links,
                reactor,
                on_failure=self._server_failed,
            )
        except StorageError as error:
            raise CannotStart(str(error)) from error
        begins = server.cluster_id is None and not settings.join
        if begins:
            server.bootstrap(settings.me)
        elif not settings.join and not server.is_member:
            raise CannotStart(
                f"{settings.data_dir} is of a node that never became a member of "
                f"cluster {server.cluster_id}; start it with --join"
            )
        requests = ClientRequests(
            server,
            store,
            reactor,
            on_follower=settings.on_follower,
            limits=settings.limits,
        )
        peers = PeerFactory(server, reactor)
        site = self._site = HttpSite(requests, server, reactor)
        for service in (
            server,
            links,
            _Listener(
                reactor,
                settings.raft_endpoint,
                peers,
                before_stop=lambda: None,
                after_stop=peers.disconnect,
            ),
            _Listener(
                reactor,
                settings.http_endpoint,
                site,
                before_stop=lambda: server.drain(DRAIN_SECONDS),
                after_stop=lambda: None,
            ),
        ):
            MultiService.addService(self, service)
        if settings.join and not server.is_member:
            joiner = Joiner(server, settings.join, settings.me, reactor)
            MultiService.addService(self, joiner)
        elif settings.join:
            self._log.info(
                "{id} is a member of cluster {cluster}; --join is not looked at",
                id=settings.me.id,
                cluster=server.cluster_id,
            )
        MultiService.startService(self)
        self._log.info(
            "{id} {does}; HTTP on {http}, Raft on {raft}, data in {data}",
            id=settings.me.id,
            does=(
                f"begins cluster {server.cluster_id}"
                if begins
                else f"is back in cluster {server.cluster_id}"
                if server.is_member
                else f"wants to join a cluster through {', '.join(settings.join)}"
            ),
            http=settings.me.http,
            raft=settings.me.raft,
            data=settings.data_dir or "memory",
        )
        self._warn_of_other_addresses(server.status().configuration)

    def _warn_of_other_addresses(self, configuration: Configuration) -> None:
        """
        Tell the operator if others dial this node where it does not listen.
        """
        me = self._settings.me
        known = configuration.get(me.id)
        for what, listens, dialled in (
            ("Raft", me.raft, known and known.raft),
            ("HTTP", me.http, known and known.http),
        ):
            if dialled and dialled != listens:
                self._log.warn(
                    "the cluster knows {id} by the {what} address {dialled}, not by "
                    "{listens}, and will go on using that",
                    id=me.id,
                    what=what,
                    dialled=dialled,
                    listens=listens,
                )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[object], object, None]:
        """
        Stop one service after the other, the last that started first.

        Clients keep their connections until the end: the server that stops has still
        something to say to those who wait.
        """
        Service.stopService(self)
        for service in reversed(list(self)):
            yield maybeDeferred(service.stopService)
        if self._site is not None:
            yield maybeDeferred(self._site.disconnect)

    def _server_failed(self, failure: Failure) -> None:
        self._on_failure(failure.getErrorMessage())

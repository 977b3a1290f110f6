"""
One node: everything that runs in a process, as one hierarchy of services.

The storage and the server on it, what lets keys expire, the links to peers, the
listener for peers, the listener for clients, and what makes a newcomer join. They start
in this order and stop in the reverse one, each after the one before has stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import (
    Deferred,
    DeferredList,
    inlineCallbacks,
    maybeDeferred,
)
from twisted.logger import Logger

from hraftd.client_requests import ClientRequests
from hraftd.expiry import Expiry
from hraftd.forwarding import OnFollower
from hraftd.interfaces import StorageError
from hraftd.joining import Joiner, is_known_as
from hraftd.kv.store import KeyValueStore
from hraftd.limits import Limits
from hraftd.listening import CannotStart, Listener
from hraftd.metrics import PeerFigures
from hraftd.peers.links import PeerLinks
from hraftd.peers.locator import PeerFactory
from hraftd.raft.configuration import Suffrage
from hraftd.reads import ReadLevel
from hraftd.server import RaftServer
from hraftd.snapshots import SnapshotPolicy
from hraftd.storage import MemoryStorage, SqliteStorage
from hraftd.web.site import HttpSite

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
    from typing import Any

    from twisted.python.failure import Failure

    from hraftd.raft.configuration import Configuration, Server

__all__ = ["CannotStart", "Node", "Settings"]

#: Seconds in which a leader that stops may find another one. It takes a moment, unless
#: no other member is up to date or answers.
HAND_OVER_SECONDS = 2.0

#: Seconds that writes which were taken may need to be committed when a node stops.
DRAIN_SECONDS = 1.0


@frozen
class Settings:
    """
    What one node is told on its command line, checked and complete.
    """

    #: Its name, the addresses that others dial, and whether it wants a vote.
    me: Server
    #: Endpoint descriptions of the two listeners.
    raft_endpoint: str
    http_endpoint: str
    #: Where the log is kept; ``None`` keeps it in memory.
    data_dir: Path | None
    #: HTTP addresses of members of the cluster to join; empty begins a new one.
    join: tuple[str, ...] = ()
    on_follower: OnFollower = OnFollower.ERROR
    read_level: ReadLevel = ReadLevel.NONE
    snapshots: SnapshotPolicy = field(factory=SnapshotPolicy)
    limits: Limits = field(factory=Limits)


@inlineCallbacks
def _take_leave(
    server: RaftServer, requests: ClientRequests
) -> Generator[Deferred[Any], object, None]:
    """
    Let another node lead, and finish what was taken; new requests go elsewhere.
    """
    yield server.hand_over(HAND_OVER_SECONDS)
    yield DeferredList([server.drain(DRAIN_SECONDS), requests.drain(DRAIN_SECONDS)])


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
        server = self._recover(store, links)
        if settings.join and server.cluster_id is None:
            server.be_to_join()
        begins = server.cluster_id is None and not server.is_to_join
        if begins:
            self._begin_cluster(server)
        elif not settings.join and not server.is_member:
            raise CannotStart(self._why_not_member(server))
        requests = ClientRequests(
            server,
            store,
            reactor,
            on_follower=settings.on_follower,
            read_level=settings.read_level,
            limits=settings.limits,
        )
        peers = PeerFactory(server, reactor)
        site = self._site = HttpSite(requests, server, reactor)
        site.metrics.add(PeerFigures(links.unanswered_bytes))
        for service in (
            server,
            Expiry(server, store, reactor),
            links,
            Listener(
                reactor,
                settings.raft_endpoint,
                peers,
                before_stop=lambda: None,
                after_stop=peers.disconnect,
            ),
            Listener(
                reactor,
                settings.http_endpoint,
                site,
                before_stop=lambda: _take_leave(server, requests),
                after_stop=lambda: None,
            ),
        ):
            MultiService.addService(self, service)
        known = server.status().configuration
        if settings.join:
            joiner = Joiner(server, settings.join, settings.me, reactor)
            MultiService.addService(self, joiner)
            if is_known_as(known, settings.me):
                self._log.info(
                    "{id} is a member of cluster {cluster}; --join is not looked at, "
                    "unless no leader is heard",
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
        self._compare_with(known)

    def _recover(self, store: KeyValueStore, links: PeerLinks) -> RaftServer:
        settings, reactor = self._settings, self._reactor
        storage = (
            MemoryStorage()
            if settings.data_dir is None
            else SqliteStorage(settings.data_dir, settings.me.id, reactor)
        )
        try:
            return RaftServer(
                settings.me.id,
                storage,
                store,
                links,
                reactor,
                snapshots=settings.snapshots,
                on_failure=self._server_failed,
            )
        except StorageError as error:
            raise CannotStart(str(error)) from error

    def _begin_cluster(self, server: RaftServer) -> None:
        me = self._settings.me
        if not me.is_voter:
            raise CannotStart(
                f"{me.id} has no earlier state, and with --nonvoter it cannot begin a "
                "cluster; say with --join which one it is to be a member of"
            )
        server.bootstrap(me)

    def _why_not_member(self, server: RaftServer) -> str:
        whose = f"{self._settings.data_dir} is of a node that"
        if server.is_to_join:
            return (
                f"{whose} was to join a cluster and has not; start it with --join, or "
                "remove that directory to begin a new cluster"
            )
        cluster = f"cluster {server.cluster_id}"
        if server.status().last_log_index:
            # A newcomer that has not read of itself yet looks the same.
            return (
                f"{whose} was removed from {cluster}, or stopped before it had caught "
                "up with it; start it with --join to make it a member again, or with "
                "an empty data directory to begin a new cluster"
            )
        return f"{whose} never became a member of {cluster}; start it with --join"

    def _compare_with(self, configuration: Configuration) -> None:
        """
        Tell the operator where the cluster knows this node as something else.
        """
        me = self._settings.me
        known = configuration.get(me.id)
        if known is None:
            return
        for what, listens, dialled in (
            ("Raft", me.raft, known.raft),
            ("HTTP", me.http, known.http),
        ):
            if dialled and dialled != listens:
                self._log.warn(
                    "the cluster knows {id} by the {what} address {dialled}, not by "
                    "{listens}, and {next}",
                    id=me.id,
                    what=what,
                    dialled=dialled,
                    listens=listens,
                    next=(
                        "is asked to change that"
                        if self._settings.join
                        else "will go on using that; start with --join to change it"
                    ),
                )
        if not me.is_voter and known.suffrage is not Suffrage.NONVOTER:
            self._log.warn(
                "{id} is a member with a vote, and --nonvoter does not change that; "
                'POST /join with "voter": false does',
                id=me.id,
            )

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[object], object, None]:
        """
        Stop one service after the other, the last that started first.

        A leader hands over before anything that it serves with has stopped. Clients
        keep their connections until the end: the server that stops has still something
        to say to those who wait.
        """
        Service.stopService(self)
        for service in reversed(list(self)):
            yield maybeDeferred(service.stopService)
        if self._site is not None:
            yield maybeDeferred(self._site.disconnect)

    def _server_failed(self, failure: Failure) -> None:
        self._on_failure(failure.getErrorMessage())

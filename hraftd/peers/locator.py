"""
Where other servers find this one, and what it remembers of them.

What happens on a connection is told in :mod:`hraftd.peers.inbound`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from hraftd.peers.complaints import Complaints
from hraftd.peers.hello import OUR_VERSIONS, Versions
from hraftd.peers.inbound import InboundPeer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime

    from hraftd.peers.boxes import BoxStream
    from hraftd.server import RaftServer

__all__ = ["PeerFactory"]

#: So many refusals are remembered, to log each only once.
MAX_REFUSALS = 256

#: So many refusals of callers from one host are logged at first, and then one a minute:
#: all servers of a cluster may run on one.
REFUSALS_LOGGED = 20


class PeerFactory(Factory):
    """
    Makes an :class:`InboundPeer` of each connection, and knows them all.

    :ivar clock: counts the seconds that a stranger has for its Hello.
    :ivar versions: the wire versions that are spoken here.
    :ivar refusals: the last sentence that each sender was refused with, by its host
        and id.
    :ivar complaints: decides which lines about strangers go to the log.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        raft_server: RaftServer,
        clock: IReactorTime,
        *,
        versions: Versions = OUR_VERSIONS,
    ) -> None:
        """
        Pass requests on to a server.
        """
        self.clock = clock
        self.versions = versions
        self.refusals: OrderedDict[tuple[str, str], str] = OrderedDict()
        self.complaints = Complaints(clock)
        self._raft_server = raft_server
        self._peers: dict[InboundPeer, None] = {}
        self._all_lost: list[Deferred[None]] = []
        self._closed = False

    def startFactory(self) -> None:
        """
        Take connections, again if there was a time before.
        """
        self._closed = False

    def buildProtocol(self, addr: IAddress | None) -> BoxStream | None:
        """
        Begin a connection.
        """
        if self._closed:
            return None
        peer = InboundPeer(
            self,
            self._raft_server,
            str(getattr(addr, "host", addr)),
            getattr(addr, "port", None),
        )
        self._peers[peer] = None
        return peer.stream

    def lost(self, peer: InboundPeer) -> None:
        """
        Forget a connection.
        """
        self._peers.pop(peer, None)
        if not self._peers:
            waiting, self._all_lost = self._all_lost, []
            for deferred in waiting:
                deferred.callback(None)

    def note_refusal(self, host: str, sender: str, reason: str) -> None:
        """
        Log that a peer was refused, unless it just tries again and again.
        """
        if self.refusals.pop((host, sender), None) != reason:
            self.complaints.make(
                host,
                "refused",
                lambda more: self._log.warn(
                    "refused {sender} at {host}: {reason}{more}",
                    sender=sender,
                    host=host,
                    reason=reason,
                    more=more,
                ),
                first=REFUSALS_LOGGED,
            )
        self.refusals[host, sender] = reason
        if len(self.refusals) > MAX_REFUSALS:
            self.refusals.popitem(last=False)

    def disconnect(self) -> Deferred[None]:
        """
        Close all connections and take no more; to be called when the port is closed.

        :return: fires when they are gone, within half a second or so.
        """
        self._closed = True
        if not self._peers:
            return succeed(None)
        all_lost: Deferred[None] = Deferred()
        self._all_lost.append(all_lost)
        for peer in list(self._peers):
            peer.close()
        return all_lost

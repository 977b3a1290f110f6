"""
One way to another server: a connection that is opened again whenever it is gone.

:class:`twisted.application.internet.ClientService` would do most of this work. But it
does not expect a connection to be lost while its Hello is not answered, it logs every
retry, and it closes a connection only when the other side has read everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from hraftd.errors import NotReached
from hraftd.peers.dialling import explain, open_peer
from hraftd.peers.hello import Refused
from hraftd.peers.questions import NotConnected

if TYPE_CHECKING:
    from random import Random

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from hraftd.leader_requests import LeaderRequest
    from hraftd.peers.hello import Introduction
    from hraftd.peers.outbound import OutboundPeer
    from hraftd.proposals import Applied
    from hraftd.raft.messages import Request, Response

__all__ = ["Link"]

#: Seconds between two attempts to connect: the first pause, and the longest. Both are
#: shortened by chance to something between a half and the whole.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


@frozen
class _Up:
    """
    The link is open.
    """


@frozen
class _Down:
    """
    The peer cannot be reached, for whatever reason.
    """

    reason: str = field(eq=False)


@frozen
class _Unwelcome:
    """
    The peer is there, and does not want to talk to us.
    """

    reason: str


_State: TypeAlias = _Up | _Down | _Unwelcome


class Link(Service):
    """
    Tries to be connected to one peer all the time.

    :ivar address: ``host:port`` of the peer.
    :ivar introduction: what this server says of itself.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        clock: IReactorTime,
        rng: Random,
        introduction: Introduction,
        server_id: str,
        address: str,
    ) -> None:
        """
        Make a link to the server of that id at that address.
        """
        self.address = address
        self.introduction = introduction
        self._reactor = reactor
        self._clock = clock
        self._rng = rng
        self._server_id = server_id
        self._dialling: Deferred[OutboundPeer] | None = None
        self._pause: IDelayedCall | None = None
        self._peer: OutboundPeer | None = None
        self._up_since = 0.0
        #: Attempts in a row that came to nothing.
        self._failures = 0
        #: What was last said about this link; ``None`` before the first attempt.
        self._state: _State | None = None

    def startService(self) -> None:
        """
        Begin to connect.
        """
        Service.startService(self)
        self._dial()

    def stopService(self) -> Deferred[None]:
        """
        Give up the connection, or the attempt at one. All calls fail now.
        """
        Service.stopService(self)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._dialling is not None:
            self._dialling.cancel()
        if self._peer is None:
            return succeed(None)
        peer = self._peer
        peer.abort(f"the link to {self._server_id} is closed")
        return peer.lost

    def call(self, request: Request) -> Deferred[Response]:
        """
        Send a request, if the link is open; fails with :exc:`NotConnected` if not.
        """
        if self._peer is None:
            return fail(NotConnected(f"no link to {self._server_id} is open"))
        return self._peer.call(request)

    @property
    def is_open(self) -> bool:
        """
        Whether there is a connection that has said Hello and was welcome.
        """
        return self._peer is not None

    @property
    def unanswered_bytes(self) -> int:
        """
        How many bytes were sent, or wait to be, without an answer yet.
        """
        return 0 if self._peer is None else self._peer.unanswered_bytes

    def ask(self, request: LeaderRequest, seconds: float) -> Deferred[Applied | int]:
        """
        Ask for something for a client; see :meth:`hraftd.interfaces.IPeers.ask`.
        """
        if self._peer is None:
            return fail(NotReached(f"no link to {self._server_id} is open"))
        return self._peer.ask(request, seconds)

    def _dial(self) -> None:
        self._pause = None
        self._dialling = Deferred.fromCoroutine(
            open_peer(
                self._reactor,
                self._clock,
                self.introduction,
                self._server_id,
                self.address,
            )
        )
        self._dialling.addCallbacks(self._opened, self._not_opened)

    def _opened(self, peer: OutboundPeer) -> None:
        self._dialling = None
        self._peer = peer
        self._up_since = self._clock.seconds()
        peer.on_end = self._lost
        self._say(_Up())

    def _not_opened(self, failure: Failure) -> None:
        self._dialling = None
        if self.running:
            reason = explain(failure.value, self.address)
            refused = failure.check(Refused)
            self._say(_Unwelcome(reason) if refused else _Down(reason))
            self._dial_later()

    def _lost(self, reason: str) -> None:
        self._peer = None
        if self.running:
            # A peer that always closes right after Hello is not called any faster.
            if self._clock.seconds() - self._up_since >= LONGEST_PAUSE:
                self._failures = 0
            self._say(_Down(reason))
            self._dial_later()

    def _dial_later(self) -> None:
        # The limit on the exponent only keeps the number finite.
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
        self._failures += 1
        self._pause = self._clock.callLater(
            pause * self._rng.uniform(0.5, 1.0), self._dial
        )

    def _say(self, state: _State) -> None:
        """
        Log a change of state, and nothing as long as it stays what it is.
        """
        if state == self._state:
            return
        self._state = state
        match state:
            case _Up():
                self._log.info(
                    "linked to {peer} at {address}",
                    peer=self._server_id,
                    address=self.address,
                )
            case _Down() | _Unwelcome():
                self._log.warn(
                    "no link to {peer}: {reason}",
                    peer=self._server_id,
                    address=self.address,
                    reason=state.reason,
                )
            case _:
                assert_never(state)

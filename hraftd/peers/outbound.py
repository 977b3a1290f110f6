"""
One connection to another server.

Only answers come in on it; by their tags they find their questions, in any order
(:mod:`hraftd.peers.questions`).

How a connection is opened is told in :mod:`hraftd.peers.dialling`, and how it is kept
open in :mod:`hraftd.peers.links`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.protocols.amp import (
    ANSWER,
    COMMAND,
    ERROR,
    ERROR_CODE,
    ERROR_DESCRIPTION,
    BoxDispatcher,
    CommandLocator,
    IBoxReceiver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from hraftd.peers.boxes import MAX_BOX, BoxStream
from hraftd.peers.hello import Hello, Versions
from hraftd.peers.questions import NotConnected, Questions

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.protocols.amp import AmpBox, IBoxSender

    from hraftd.leader_requests import LeaderRequest
    from hraftd.peers.hello import Introduction
    from hraftd.proposals import Applied
    from hraftd.raft.messages import Request, Response

__all__ = ["OutboundPeer"]


@implementer(IBoxReceiver)
class OutboundPeer:
    """
    A connection to another server.

    :ivar version: the wire version both sides use, once introduced.
    :ivar on_end: called with a sentence when the connection is given up or lost,
        before what was asked on it fails.
    :ivar lost: fires when it is closed.
    """

    version: int | None = None
    on_end: Callable[[str], object] | None = None

    def __init__(self, address: str, clock: IReactorTime) -> None:
        """
        Wait for the connection.

        :param address: where it leads to, for sentences.
        """
        self.lost: Deferred[None] = Deferred()
        self._who = f"the server at {address}"
        self.stream = BoxStream(self, self._blame)
        self._dispatcher = BoxDispatcher(CommandLocator())
        self._questions = Questions(self._dispatcher, clock, self._who, self._blame)
        self._over = False

    # The life of the connection.

    def startReceivingBoxes(self, boxSender: IBoxSender) -> None:
        """
        Begin: the connection is made.
        """
        self._dispatcher.startReceivingBoxes(boxSender)

    def ampBoxReceived(self, box: AmpBox) -> None:
        """
        Take an answer to something that was asked, and nothing else.
        """
        if self._over:
            return
        is_error = ERROR in box and ERROR_CODE in box and ERROR_DESCRIPTION in box
        if COMMAND in box or is_error == (ANSWER in box):
            self._blame("sent a box that is no answer")
            return
        try:
            self._dispatcher.ampBoxReceived(box)
        except KeyError:
            # Its tag; whatever else goes wrong is in the Deferred of the question.
            self._blame("answered what was not asked")

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """
        End: the connection is lost.
        """
        if reason.check(ConnectionDone):
            self._end(f"{self._who} closed the connection")
        else:
            self._end(
                f"the connection to {self._who} was lost: {reason.getErrorMessage()}"
            )
        self.lost.callback(None)

    def abort(self, reason: str) -> None:
        """
        Give the connection up: everything that was asked on it fails now.

        :param reason: a sentence.
        """
        self.stream.abort()
        self._end(reason)

    def close(self) -> None:
        """
        Close the connection, on which nothing waits for an answer.
        """
        self.stream.close()

    def _blame(self, reason: str) -> None:
        self.abort(f"{self._who} {reason}")

    def _end(self, reason: str) -> None:
        if not self._over:
            self._over = True
            if self.on_end is not None:
                self.on_end(reason)
            self._dispatcher.stopReceivingBoxes(Failure(NotConnected(reason)))

    # Questions.

    async def introduce(self, introduction: Introduction, receiver: str) -> None:
        """
        Say Hello to the server of that id.

        :raises Refused: if it does not want to talk to us.
        :raises NotConnected: if it does not answer, or is another than it should be.
        """
        ours = introduction.versions
        results = await self._questions.send(
            Hello,
            {
                "version": ours.newest,
                "oldest": ours.oldest,
                "cluster": introduction.cluster_id,
                "sender": introduction.sender,
                "receiver": receiver,
            },
        )
        if results["server"] != receiver:
            raise NotConnected(f"{self._who} is {results['server']}, not {receiver}")
        theirs = Versions(newest=results["version"], oldest=results["oldest"])
        self.version = ours.common(theirs)
        if self.version is None:
            raise NotConnected(
                f"{self._who} speaks {theirs}, {introduction.sender} speaks {ours}"
            )
        self.stream.limit = MAX_BOX

    @property
    def unanswered_bytes(self) -> int:
        """
        See :attr:`hraftd.peers.questions.Questions.unanswered_bytes`.
        """
        return self._questions.unanswered_bytes

    def call(self, request: Request) -> Deferred[Response]:
        """
        Send a request of Raft; see :meth:`hraftd.peers.questions.Questions.call`.
        """
        return self._questions.call(request)

    def ask(self, request: LeaderRequest, seconds: float) -> Deferred[Applied | int]:
        """
        Ask for a client; see :meth:`hraftd.peers.questions.Questions.ask`.
        """
        return self._questions.ask(request, seconds)

"""
One connection to another server, and the questions on it.

What is asked is answered by tag, so answers may come in any order. Each question has a
time limit; when it passes, the connection is given up, and all questions on it fail. A
peer that answers with anything but an answer loses the connection too.

How a connection is opened is told in :mod:`hraftd.peers.dialling`, and how it is kept
open in :mod:`hraftd.peers.links`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail
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

from hraftd.peers.boxes import BoxStream
from hraftd.peers.commands import (
    Hello,
    Refused,
    Versions,
    arguments_of,
    read_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.protocols.amp import AmpBox, Command, IBoxSender

    from hraftd.raft.messages import Request, Response

__all__ = [
    "ANSWER_RATE",
    "ANSWER_SECONDS",
    "Introduction",
    "NotConnected",
    "OutboundPeer",
]

#: Seconds to wait for an answer, and bytes that are carried there in a second besides.
ANSWER_SECONDS = 2.0
ANSWER_RATE = 256 << 10


class NotConnected(ConnectionError):
    """
    The peer is not connected, or is not any more. The text is a sentence.

    If the request was sent, the peer may have received it.
    """


@frozen
class Introduction:
    """
    What a server says of itself when it calls another.
    """

    cluster_id: str
    sender: str
    versions: Versions


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
        self._clock = clock
        self.stream = BoxStream(self, self._blame)
        self._dispatcher = BoxDispatcher(CommandLocator())
        #: Bytes of the entries that were sent and not answered.
        self._unanswered = 0
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
        results = await self._ask(
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

    def call(self, request: Request) -> Deferred[Response]:
        """
        Send a request.

        :return: the answer; fails with :exc:`NotConnected`, or with
            :exc:`ValueError` if the request cannot be written.
        """
        try:
            command, arguments = arguments_of(request)
        except ValueError:
            return fail()
        answer = self._ask(command, arguments, len(arguments.get("entries", b"")))
        return answer.addCallback(lambda results: read_response(request, results))

    def _ask(
        self, command: type[Command], arguments: dict[str, Any], size: int = 0
    ) -> Deferred[dict[str, Any]]:
        try:
            asked: Deferred[dict[str, Any]] = self._dispatcher.callRemote(
                command, **arguments
            )
        except ValueError:
            return fail()
        # A small request waits behind the large ones before it.
        self._unanswered += size
        limit = ANSWER_SECONDS + self._unanswered / ANSWER_RATE
        overdue = self._clock.callLater(
            limit, self._blame, f"did not answer within {limit:.1f} s"
        )

        def ended(result: dict[str, Any] | Failure) -> dict[str, Any] | Failure:
            self._unanswered -= size
            if overdue.active():
                overdue.cancel()
            return result

        # A failure that is left in AMP's own Deferred would be logged by AMP.
        answer: Deferred[dict[str, Any]] = Deferred()
        asked.addBoth(ended).addErrback(self._no_answer)
        asked.addCallbacks(answer.callback, answer.errback)
        return answer

    def _no_answer(self, failure: Failure) -> Failure:
        if failure.check(Refused, NotConnected):
            return failure
        reason = f"{self._who} gave a wrong answer: {failure.getErrorMessage()[:200]}"
        self.abort(reason)
        return Failure(NotConnected(reason))

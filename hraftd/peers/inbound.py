"""
One connection from another server, or from whoever has found our port.

An :class:`InboundPeer` answers the Hello itself and finds the responder to each other
Command in :mod:`hraftd.peers.responders`.

The rules of a connection:

1. The first Command is Hello; until it is accepted, nothing else is answered. A
   stranger gets ten seconds and 64 KiB for it.
2. A Hello that cannot be accepted is answered with a sentence that says why, and the
   connection is closed.
3. Who said Hello speaks for itself alone: the candidate or leader of every RPC of Raft
   is the sender of the Hello.
4. Anything that no correct peer sends, from bytes that are no AMP to a request that
   breaks Raft's rules, closes this connection with one line in the log, or with none if
   there are many (:mod:`hraftd.peers.complaints`). It has no other effect, here or on
   other connections.
5. Declining what a peer asks for its clients is an answer like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.protocols.amp import (
    ANSWER,
    ASK,
    COMMAND,
    ERROR,
    AmpBox,
    BoxDispatcher,
    CommandLocator,
    IBoxReceiver,
    RemoteAmpError,
)
from zope.interface import implementer

from hraftd.codec import CodecError
from hraftd.errors import Stopped, WrongCluster
from hraftd.peers.boxes import MAX_BOX, BoxStream
from hraftd.peers.hello import Hello, Refused, Versions
from hraftd.peers.responders import Responders
from hraftd.raft.errors import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.protocols.amp import IBoxSender
    from twisted.python.failure import Failure

    from hraftd.peers.locator import PeerFactory
    from hraftd.server import RaftServer

__all__ = ["HELLO_SECONDS", "InboundPeer"]

#: Seconds from connecting to an accepted Hello.
HELLO_SECONDS = 10.0

#: Seconds for the last answers to leave when this server closes its connections.
CLOSING_SECONDS = 0.5


@implementer(IBoxReceiver)
class InboundPeer(CommandLocator):
    """
    One connection from another server, or from whoever has found our port.

    Stands between the stream, whose every box it looks at first, and AMP's dispatcher,
    which then asks it for the responder.
    """

    _log = Logger()

    def __init__(
        self, factory: PeerFactory, raft_server: RaftServer, host: str, port: int | None
    ) -> None:
        """
        Wait for a Hello.

        :param host: where the connection comes from; it and the port are for the log.
        """
        self.stream = BoxStream(self, self._drop)
        self._factory = factory
        self._raft_server = raft_server
        self._host = host
        self._address = host if port is None else f"{host} port {port}"
        self._dispatcher = BoxDispatcher(self)
        self._responders = Responders(raft_server)
        self._deadline = factory.clock.callLater(HELLO_SECONDS, self._too_late)
        #: Whether a Hello has come in.
        self._greeted = False
        #: Whether all is said that there is to say about this connection.
        self._finished = False

    # The life of the connection.

    def startReceivingBoxes(self, boxSender: IBoxSender) -> None:
        """
        Begin: the connection is made.
        """
        self._dispatcher.startReceivingBoxes(boxSender)

    def ampBoxReceived(self, box: AmpBox) -> None:
        """
        Answer a Command. Any other box answers what nobody here has asked.
        """
        if self._finished:
            return
        if COMMAND not in box or ASK not in box or ANSWER in box or ERROR in box:
            self._drop("sent a box that asks nothing")
            return
        size = self.stream.box_size
        self._dispatcher.ampBoxReceived(box)
        self.stream.asked(size)

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """
        End: the connection is lost. What is answered later is dropped.
        """
        self._finished = True
        self._stop_deadline()
        self._dispatcher.stopReceivingBoxes(reason)
        self._factory.lost(self)

    def close(self) -> None:
        """
        Close the connection; answers that are given get a moment to leave.
        """
        self._finished = True
        self._stop_deadline()
        self._deadline = self._factory.clock.callLater(
            CLOSING_SECONDS, self.stream.abort
        )
        self.stream.close()

    def _stop_deadline(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()

    def _too_late(self) -> None:
        self._drop(f"said no Hello within {HELLO_SECONDS:.0f} s")

    def _drop(self, what: str, details: str = "") -> None:
        """
        Close the connection for what the peer did.

        :param what: goes on from "a connection that ...".
        :param details: follow it; they may be in the peer's own words.
        """
        if not self._finished:
            self._finished = True
            sender = self._responders.sender
            self._factory.complaints.make(
                self._host if sender is None else f"{self._host} {sender}",
                what,
                lambda more: self._log.warn(
                    "closed a connection from {address} that {reason}{more}",
                    address=self._address,
                    sender=sender,
                    reason=what + details,
                    more=more,
                ),
            )
        self.stream.abort()

    # From Commands to responders.

    def locateResponder(
        self, name: bytes
    ) -> Callable[[AmpBox], Deferred[AmpBox]] | None:
        """
        Find the responder to a Command, and what to do with its failures.

        AMP would log a traceback for each of them and go on.
        """
        respond = CommandLocator.locateResponder(self, name)
        if respond is None:
            respond = CommandLocator.locateResponder(self._responders, name)

        def answer(box: AmpBox) -> Deferred[AmpBox]:
            if respond is None:
                return self._unanswered("sent an unknown command", f": {_brief(name)}")
            size = self.stream.box_size
            try:
                # Raises only where the arguments cannot be read: what happens after
                # that is in the Deferred.
                answered: Deferred[AmpBox] = respond(box)
            except (KeyError, ValueError) as error:
                return self._unanswered(
                    f"sent {name.decode()} with wrong arguments", f": {_brief(error)}"
                )
            return answered.addErrback(self._failed).addBoth(self._answered, size)

        return answer

    def _answered(self, answer: AmpBox | Failure, size: int) -> AmpBox | Failure:
        self.stream.answered(size)
        return answer

    def _unanswered(self, what: str, details: str) -> Deferred[AmpBox]:
        """
        Drop the connection, and with it whatever waits for an answer.
        """
        self._drop(what, details)
        return Deferred()

    def _failed(self, failure: Failure) -> Deferred[AmpBox]:
        if failure.check(RemoteAmpError):
            # A refusal, or what a leader declines, in AMP's form.
            return fail(failure)
        if failure.check(ProtocolViolation, CodecError):
            details = failure.getErrorMessage()[:300]
            return self._unanswered("broke the rules", f": {details}")
        if not failure.check(Stopped):
            self._log.failure(
                "a request from {address} failed", failure, address=self._address
            )
        self._finished = True
        self.stream.abort()
        return Deferred()

    # The introduction.

    @Hello.responder
    async def hello(
        self, version: int, oldest: int, cluster: str, sender: str, receiver: str
    ) -> dict[str, Any]:
        """
        Accept a peer, or say why not.
        """
        if self._greeted:
            raise ProtocolViolation("it said Hello twice")
        self._greeted = True
        me, ours = self._raft_server.server_id, self._factory.versions
        theirs = Versions(newest=version, oldest=oldest)
        common = ours.common(theirs)
        if common is None:
            self._refuse(sender, f"{me} speaks {ours}, {sender} speaks {theirs}")
        if receiver != me:
            self._refuse(sender, f"this is {me}, not {receiver}")
        if sender == me:
            self._refuse(sender, f"{me} takes no messages from a server of its own id")
        try:
            await self._raft_server.admit(cluster)
        except WrongCluster as error:
            self._refuse(sender, str(error))
        if not self._finished:
            self._accept(sender)
        return {
            "version": ours.newest,
            "oldest": ours.oldest,
            "cluster": self._raft_server.cluster_id,
            "server": me,
        }

    def _accept(self, sender: str) -> None:
        self._stop_deadline()
        self._responders.sender = sender
        self.stream.limit = MAX_BOX
        self.stream.limit_unanswered()
        self._factory.refusals.pop((self._host, sender), None)
        self._log.debug(
            "{sender} is connected from {address}", sender=sender, address=self._address
        )

    def _refuse(self, sender: str, reason: str) -> NoReturn:
        """
        Answer a Hello with a sentence.

        AMP closes the connection behind it; if the sentence finds no way out, the
        deadline does.
        """
        if not self._finished:
            self._finished = True
            self._factory.note_refusal(self._host, sender, reason)
        raise Refused(reason)


def _brief(something: object) -> str:
    """
    Show a thing that a stranger sent in a line of the log, and no more than that.
    """
    shown = repr(something)
    return shown if len(shown) <= 100 else f"{shown[:97]}..."

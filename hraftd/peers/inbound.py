"""
One connection from another server, or from whoever has found our port.

An :class:`InboundPeer` finds the responder to each Command of
:mod:`hraftd.peers.commands` and passes requests on to
:meth:`hraftd.server.RaftServer.handle`. That is the "Receiver implementation" of the
paper's RPC boxes; nothing here knows what is in it.

The rules of a connection:

1. The first Command is Hello; until it is accepted, nothing else is answered. A
   stranger gets ten seconds and 64 KiB for it.
2. A Hello that cannot be accepted is answered with a sentence that says why, and the
   connection is closed.
3. Who said Hello speaks for itself alone: the candidate or leader of every request is
   the sender of the Hello.
4. Anything that no correct peer sends, from bytes that are no AMP to a request that
   breaks Raft's rules, closes this connection with one line in the log. It has no other
   effect, here or on other connections.
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
from hraftd.peers.boxes import MAX_BOX, BoxStream
from hraftd.peers.commands import (
    AppendEntries,
    Hello,
    Refused,
    RequestVote,
    Versions,
    read_append_entries,
    read_request_vote,
    results_of,
)
from hraftd.raft.errors import ProtocolViolation
from hraftd.server import Stopped, WrongCluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.protocols.amp import IBoxSender
    from twisted.python.failure import Failure

    from hraftd.peers.locator import PeerFactory
    from hraftd.raft.messages import Request
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
        self._deadline = factory.clock.callLater(HELLO_SECONDS, self._too_late)
        #: Whether a Hello has come in.
        self._greeted = False
        #: The peer's id, once its Hello is accepted.
        self._sender: str | None = None
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

    def _drop(self, reason: str) -> None:
        """
        Close the connection for what the peer did.

        :param reason: goes on from "a connection that ...".
        """
        if not self._finished:
            self._finished = True
            self._log.warn(
                "closed a connection from {address} that {reason}",
                address=self._address,
                sender=self._sender,
                reason=reason,
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

        def answer(box: AmpBox) -> Deferred[AmpBox]:
            if respond is None:
                return self._unanswered(f"sent the unknown command {_brief(name)}")
            size = self.stream.box_size
            try:
                # Raises only where the arguments cannot be read: what happens after
                # that is in the Deferred.
                answered: Deferred[AmpBox] = respond(box)
            except (KeyError, ValueError) as error:
                return self._unanswered(
                    f"sent {_brief(name)} with wrong arguments: {_brief(error)}"
                )
            return answered.addErrback(self._failed).addBoth(self._answered, size)

        return answer

    def _answered(self, answer: AmpBox | Failure, size: int) -> AmpBox | Failure:
        self.stream.answered(size)
        return answer

    def _unanswered(self, reason: str) -> Deferred[AmpBox]:
        """
        Drop the connection, and with it whatever waits for an answer.
        """
        self._drop(reason)
        return Deferred()

    def _failed(self, failure: Failure) -> Deferred[AmpBox]:
        if failure.check(RemoteAmpError):
            # A refusal, in AMP's form.
            return fail(failure)
        if failure.check(ProtocolViolation, CodecError):
            return self._unanswered(f"broke the rules: {failure.getErrorMessage()}")
        if not failure.check(Stopped):
            self._log.failure(
                "a request from {address} failed", failure, address=self._address
            )
        self._finished = True
        self.stream.abort()
        return Deferred()

    # The responders.

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
        self._sender = sender
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

    @RequestVote.responder
    async def request_vote(self, **arguments: Any) -> dict[str, Any]:
        """
        Figure 2, "RequestVote RPC".
        """
        request = read_request_vote(**arguments)
        return await self._handle(request.candidate_id, request)

    @AppendEntries.responder
    async def append_entries(self, **arguments: Any) -> dict[str, Any]:
        """
        Figure 2, "AppendEntries RPC".
        """
        request = read_append_entries(**arguments)
        return await self._handle(request.leader_id, request)

    async def _handle(self, speaker: str, request: Request) -> dict[str, Any]:
        if self._sender is None:
            raise ProtocolViolation("its Hello was not accepted yet")
        if speaker != self._sender:
            raise ProtocolViolation(
                f"{self._sender} said Hello, and this is from {speaker}"
            )
        return results_of(await self._raft_server.handle(request))


def _brief(something: object) -> str:
    """
    Show a thing that a stranger sent in a line of the log, and no more than that.
    """
    shown = repr(something)
    return shown if len(shown) <= 100 else f"{shown[:97]}..."

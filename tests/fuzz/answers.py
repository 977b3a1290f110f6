"""
AMP frames as answers, at the side that has asked.

The outbound side of a link is the production one. Whatever comes back, everything that
was asked is answered in the end, with what can be told or with an error that the link
knows; and what cannot be an answer closes the connection.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure

from hraftd.codec import CodecError
from hraftd.errors import NotReached
from hraftd.peers import client_commands, commands
from hraftd.peers.client_commands import DECLINED, outcome_of
from hraftd.peers.commands import results_of
from hraftd.peers.hello import OUR_VERSIONS, Hello, Introduction, Refused
from hraftd.peers.outbound import OutboundPeer
from hraftd.peers.questions import NotConnected
from hraftd.proposals import Applied
from hraftd.raft.messages import TimeoutNow
from tests.peers.network import CLUSTER, answer_to, append, install, vote
from tests.peers.test_client_commands import REQUESTS

from .frames import frame_of
from .mutation import mutated, nonsense, pieces
from .watching import Growth, attempt, quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Answers"]

_CALLS = (vote(), append(), append(b"x"), install(), TimeoutNow(3, "n1"))
_SMALL = [request for request in REQUESTS if len(repr(request)) < 1000]

#: With what may fail what was asked.
_ERRORS = (*DECLINED, NotConnected, NotReached, Refused, CodecError)

_COMMANDS = {
    command.commandName: command
    for module in (commands, client_commands)
    for command in vars(module).values()
    if isinstance(command, type) and issubclass(command, amp.Command)
}


class Answers:
    """
    Connections on which something is asked, one after the other.
    """

    def __init__(self, seed: int, first: int = 0) -> None:
        """
        Begin with that attempt.
        """
        self._seed = seed
        self._number = first
        self._clock = Clock()
        self.growth = Growth()
        #: Answers that were sent.
        self.sent = 0
        #: What was asked: how much of it had an answer, and how much an error.
        self.answered = 0
        self.failed = 0

    def send(self, answers: int) -> None:
        """
        Send so many answers.
        """
        enough = self.sent + answers
        with attempt(self._seed, self._number, "or one that follows"), quiet():
            while self.sent < enough:
                self._connect()

    def _connect(self) -> None:
        """
        Ask something on a connection of its own, and answer it.
        """
        number, self._number = self._number, self._number + 1
        rng = Random(f"{self._seed} {number}")
        peer = OutboundPeer("192.0.2.2:12000", self._clock)
        transport = StringTransport()
        came: list[Any] = []
        frame = b""
        with attempt(self._seed, number, came):
            peer.stream.makeConnection(transport)
            introduction = Introduction(CLUSTER, "n1", OUR_VERSIONS)
            asked = [Deferred.fromCoroutine(peer.introduce(introduction, "n2"))]
            for frame in self._frames(rng, peer, transport, asked):
                came.append(frame)
                self.sent += 1
                for piece in pieces(rng, frame):
                    if not (transport.disconnecting or transport.disconnected):
                        peer.stream.dataReceived(piece)
            peer.stream.connectionLost(Failure(ConnectionLost()))
            self._clock.advance(60)
            for deferred in asked:
                self._take(deferred)
            assert self._clock.getDelayedCalls() == []

    def _take(self, deferred: Deferred[Any]) -> None:
        """
        See that something that was asked has come to an end that there may be.
        """
        ends: list[Any] = []
        deferred.addBoth(ends.append)
        [end] = ends
        if isinstance(end, Failure):
            self.failed += 1
            assert end.check(*_ERRORS), end.getTraceback()
        else:
            self.answered += 1

    def _frames(
        self,
        rng: Random,
        peer: OutboundPeer,
        transport: StringTransport,
        asked: list[Deferred[Any]],
    ) -> Iterator[bytes]:
        """
        Answer what is asked; ask more when Hello was answered well.
        """
        hello = {"version": 1, "oldest": 1, "cluster": CLUSTER, "server": "n2"}
        [question] = amp.parseString(transport.value())
        yield self._answer(rng, question[b"_ask"], Hello.makeResponse(hello, None), 0.1)
        if peer.version is None:
            return
        for _ in range(rng.choice((1, 3, 10))):
            transport.clear()
            if rng.random() < 0.5:
                call = rng.choice(_CALLS)
                asked.append(peer.call(call))
                results = results_of(answer_to(call))
            else:
                asked.append(peer.ask(rng.choice(_SMALL), 5.0))
                results = {}
            for question in amp.parseString(transport.value()):
                command = _COMMANDS[question[b"_command"]]
                if not results:
                    name = command.response[0][0].decode()
                    whole = len(command.response) == 2
                    results = outcome_of(Applied(7, None) if whole else 7, name=name)
                box = command.makeResponse(dict(results), None)
                yield self._answer(rng, question[b"_ask"], box, 0.3)

    def _answer(
        self, rng: Random, tag: bytes, results: dict[bytes, bytes], wrong: float
    ) -> bytes:
        box = {b"_answer": tag, **results}
        kind = rng.random()
        if kind >= wrong:
            return frame_of(box)
        match rng.randrange(5):
            case 0:
                key = rng.choice(list(box))
                box[key] = mutated(rng, box[key])
            case 1:
                del box[rng.choice(list(box))]
            case 2:
                code = rng.choice((b"NOT_LEADER", b"OVERLOADED", b"REFUSED", b"?"))
                said = mutated(rng, b'{"servers":[]}')
                box = {
                    b"_error": tag,
                    b"_error_code": code,
                    b"_error_description": said,
                }
            case 3:
                return nonsense(rng)
            case _:
                return mutated(rng, frame_of(box))
        return frame_of(box)

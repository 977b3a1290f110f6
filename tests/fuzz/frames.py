"""
AMP frames at the peer port.

The inbound side is the production one, from the bytes of a connection to the requests
of :mod:`hraftd.raft.messages`; a stand-in takes these and answers. A Raft server in its
place would believe what a mutated frame says in a peer's name, as it must: what it does
then is the business of the simulator.

Beside each connection that is sent nonsense there is one of a good peer, which must
notice nothing.
"""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure

from hraftd.peers.client_commands import DECLINED, asked_for
from hraftd.peers.commands import arguments_of
from hraftd.peers.hello import Hello
from hraftd.peers.locator import PeerFactory
from hraftd.proposals import Applied
from hraftd.raft.errors import ProtocolViolation
from hraftd.raft.messages import TimeoutNow
from tests.peers.network import CLUSTER, StandIn, append, install, vote
from tests.peers.test_client_commands import REQUESTS

from .mutation import mutated, nonsense, pieces
from .watching import Growth, attempt, quiet

if TYPE_CHECKING:
    from hraftd.leader_requests import LeaderRequest

__all__ = ["Frames", "frame_of"]

_HELLO = {
    "version": 1,
    "oldest": 1,
    "cluster": CLUSTER,
    "sender": "n1",
    "receiver": "n2",
}

#: Parts of frames that no peer sends, but somebody who knows AMP.
_PAIRS = (
    (b"_answer", b"1"),
    (b"_error", b"1"),
    (b"_error_code", b"UNKNOWN"),
    (b"_command", b"Hello"),
    (b"_command", b"StartTLS"),
    (b"_command", b"_ProtocolSwitch"),
    (b"_command", b"\xff"),
    (b"_ask", b""),
    (b"_ask", b"\xff" * 300),
    (b"term", b"-1"),
    (b"term", b"9223372036854775808"),
    (b"term", b"0" * 5000),
    (b"entries", b""),
    (b"entries", b"\1" + struct.pack(">QI", 1, 0xFFFFFFFF)),
    (b"entries.1", b"x"),
    (b"entries.2", b""),
    (b"data.1", b"y" * 70_000),
    (b"sender", b"\n"),
    (b"command", b"\xff\xfe"),
)


class _Witness:
    """
    A good peer, connected all the time.
    """

    def __init__(self, factory: PeerFactory) -> None:
        self.transport = StringTransport()
        stream = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        assert stream is not None
        self._stream = stream
        stream.makeConnection(self.transport)
        answer = self._ask(Hello, _HELLO)
        assert answer[b"server"] == b"n2"
        self._term = 0

    def must_be_served(self) -> None:
        """
        Ask for a vote, which has an answer of its own.
        """
        # Never a term that the server calls a violation.
        self._term += 5
        answer = self._ask(*arguments_of(vote(self._term)))
        assert answer == {
            b"_answer": b"7",
            b"term": b"%d" % self._term,
            b"vote_granted": b"1",
        }

    def _ask(self, command: Any, arguments: dict[str, Any]) -> dict[bytes, bytes]:
        self.transport.clear()
        self._stream.dataReceived(frame_of(_box(command, arguments, b"7")))
        assert not self.transport.disconnecting
        [answer] = amp.parseString(self.transport.value())
        return dict(answer)


def _box(command: Any, arguments: dict[str, Any], tag: bytes) -> dict[bytes, bytes]:
    box = command.makeArguments(dict(arguments), None)
    return {b"_ask": tag, b"_command": command.commandName, **box}


def frame_of(box: dict[bytes, bytes]) -> bytes:
    """
    Return the bytes of a box, also of one that AMP would not write.
    """
    parts: list[bytes] = []
    for key, value in box.items():
        short, cut = key[:255], value[:65535]
        parts += (struct.pack(">H", len(short)), short)
        parts += (struct.pack(">H", len(cut)), cut)
    return b"".join((*parts, b"\0\0"))


def _right_boxes() -> tuple[dict[bytes, bytes], ...]:
    """
    Return what peers send, but for tags, of no more than some kilobytes.
    """
    members = [vote(), append(), append(b"one", b"two" * 100), install()]
    asked = [arguments_of(request) for request in (*members, TimeoutNow(3, "n1"))]
    asked += [asked_for(request) for request in REQUESTS]
    boxes = [_box(command, arguments, b"1") for command, arguments in asked]
    return tuple(box for box in boxes if len(frame_of(box)) < 8192)


@define
class _Server(StandIn):
    """
    A stand-in that answers at random what a server may.
    """

    rng: Random = field(factory=Random)

    def handle(self, request: Any) -> Deferred[Any]:
        """
        See :class:`tests.peers.network.StandIn`.
        """
        if request.term % 5 == 4:
            return fail(ProtocolViolation("no server asks that"))
        self.requests.clear()
        return super().handle(request)

    def serve(self, request: LeaderRequest) -> Deferred[Applied | int]:
        """
        See :class:`tests.peers.network.StandIn`.
        """
        match self.rng.randrange(3):
            case 0:
                reason = self.rng.choice(DECLINED)
                return fail(reason(None) if reason is DECLINED[0] else reason("no"))
            case 1:
                return Deferred()
        command = asked_for(request)[0].commandName
        return succeed(Applied(7, "done") if command == b"ClientRequest" else 7)


class Frames:
    """
    Connections with frames on them, one after the other.
    """

    def __init__(self, seed: int, first: int = 0) -> None:
        """
        Begin with that attempt.
        """
        self._seed = seed
        self._number = first
        self._clock = Clock()
        self._server = _Server("n2")
        self._factory = PeerFactory(self._server, self._clock)
        self._witness = _Witness(self._factory)
        self._boxes = _right_boxes()
        self.growth = Growth()
        #: Frames that were sent, and connections that ended for one.
        self.sent = 0
        self.dropped = 0

    def send(self, frames: int) -> None:
        """
        Send so many frames.
        """
        enough = self.sent + frames
        with attempt(self._seed, self._number, "or one that follows"), quiet():
            while self.sent < enough:
                self._connect()

    def _connect(self) -> None:
        """
        Send some frames on a connection of their own, until it is closed.
        """
        number, self._number = self._number, self._number + 1
        rng = Random(f"{self._seed} {number}")
        self._server.rng = rng
        host = f"198.51.{rng.randrange(9)}.{rng.randrange(256)}"
        transport = StringTransport()
        stream = self._factory.buildProtocol(IPv4Address("TCP", host, number % 65536))
        assert stream is not None
        stream.makeConnection(transport)
        frame = b""
        for frame in self._frames(rng):
            with attempt(self._seed, number, frame):
                self.sent += 1
                for piece in pieces(rng, frame):
                    if transport.disconnecting or transport.disconnected:
                        break
                    stream.dataReceived(piece)
            if transport.disconnecting or transport.disconnected:
                self.dropped += 1
                break
        with attempt(self._seed, number, frame):
            # All that is said to a peer is AMP.
            answers = transport.value()
            if answers:
                amp.parseString(answers)
            assert b"Traceback" not in answers
            if rng.random() < 0.1:
                self._clock.advance(rng.choice((0.1, 11.0, 70.0)))
            stream.connectionLost(Failure(ConnectionLost()))
            self._witness.must_be_served()
            assert len(self._factory._peers) == 1
            assert self._clock.getDelayedCalls() == []

    def _frames(self, rng: Random) -> list[bytes]:
        hello = frame_of(_box(Hello, _HELLO, b"1"))
        if rng.random() < 0.15:
            hello = mutated(rng, hello)
        frames = [hello] if rng.random() < 0.9 else []
        for _ in range(rng.choice((1, 3, 10, 30))):
            frames.append(self._frame(rng))
        return frames

    def _frame(self, rng: Random) -> bytes:
        kind = rng.random()
        if kind < 0.02:
            return nonsense(rng)
        box = dict(rng.choice(self._boxes))
        box[b"_ask"] = b"%d" % rng.randrange(100)
        if kind < 0.7:
            if kind < 0.1:
                key = rng.choice(list(box))
                box[key] = mutated(rng, box[key])
            return frame_of(box)
        if kind < 0.8:
            key, value = rng.choice(_PAIRS)
            box[key] = value
            if rng.random() < 0.3:
                del box[rng.choice(list(box))]
            return frame_of(box)
        return mutated(rng, frame_of(box))

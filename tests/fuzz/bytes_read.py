"""
Bytes at everything that decodes some: what a peer, a disk or an operator's file holds.

Whatever the bytes are, a reader refuses them with the error that it documents, or they
are what its writer would have written for what was read. Where many byte forms mean
the same, it is enough that what was read can be written.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import frozen

from hraftd import codec
from hraftd.addresses import parse_address
from hraftd.codec import CodecError
from hraftd.kv.commands import Set, decode_command, encode_command
from hraftd.kv.store import KeyValueStore
from hraftd.leader_requests import Assurance
from hraftd.peers import arguments
from hraftd.peers.client_commands import (
    LeaderElsewhere,
    outcome_of,
    read_declined,
    read_outcome,
    written_declined,
)
from hraftd.proposals import Applied
from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.errors import NotLeader
from hraftd.raft.messages import Entry, NoOp
from hraftd.recovery import CannotRecover, read_members
from tests.kv.test_commands import EXAMPLES as COMMANDS

from .mutation import mutated, nonsense
from .watching import attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["READERS", "Reader", "read_at_random"]


@frozen
class Reader:
    """
    One thing that reads bytes.
    """

    name: str
    #: Bytes that it takes.
    examples: Sequence[bytes]
    read: Callable[[bytes], Any]
    #: Makes the bytes again of what was read.
    write: Callable[[Any], bytes] | None = None
    #: What it raises for any other bytes.
    refusal: type[Exception] = CodecError

    def take(self, data: bytes) -> bool:
        """
        Read bytes; return whether they were taken.
        """
        try:
            found = self.read(data)
        except self.refusal as refusal:
            said = str(refusal)
        else:
            said = None
        if said is not None:
            # A sentence, for a person to read; where it quotes, it does not multiply.
            assert 0 < len(said) < 400 + 16 * len(data)
            return False
        if self.write is not None:
            written = self.write(found)
            assert written == data, f"{found!r} is written as {written!r}"
        return True


_MEMBERS = Configuration(
    (
        Server("node0", "localhost:12000", "localhost:11000"),
        Server("nöde1", "localhost:12001", "", Suffrage.LEARNER),
    )
)
_LOG = (Entry(7, 1, NoOp()), Entry(8, 1, b"command"), Entry(9, 3, _MEMBERS))
_ASSURANCES = [each.value.encode() for each in Assurance]
_LEADER = Configuration(_MEMBERS.servers[:1])


def _snapshot() -> list[bytes]:
    """
    Return the pieces of a state that has some of everything.
    """
    store = KeyValueStore()
    for index, command in enumerate(COMMANDS, 1):
        data = encode_command(command)
        if len(data) < 1000:
            store.apply(index, data)
    store.apply(99, encode_command(Set((("k", "v"), ("é", "ü")))))
    return list(store.snapshot())


_PIECES = _snapshot()


def _restored(data: bytes, number: int) -> None:
    """
    Restore a state of which one piece is this.
    """
    restoration = KeyValueStore().restore()
    for piece in (*_PIECES[:number], data, *_PIECES[number + 1 :]):
        restoration.add(piece)
    restoration.finish()


def _declined(data: bytes) -> Exception:
    # As AMP makes it of the description of an error.
    return read_declined(LeaderElsewhere(data.decode("utf-8", "replace")))


def _written_declined(error: Exception) -> bytes:
    return str(written_declined(error)).encode()


def _members_of(data: bytes) -> Configuration:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return read_members(Path(file.name))


def _argument(name: str, argument: Any, *examples: bytes) -> Reader:
    return Reader(
        name, examples, argument.fromString, argument.toString, refusal=ValueError
    )


READERS = [
    Reader(
        "payload",
        [codec.encode_payload(entry.payload) for entry in _LOG],
        codec.decode_payload,
        codec.encode_payload,
    ),
    Reader(
        "configuration",
        [codec.encode_configuration(_MEMBERS), codec.encode_configuration(_LEADER)],
        codec.decode_configuration,
        codec.encode_configuration,
    ),
    Reader(
        "entries",
        [codec.pack_entries(_LOG), codec.pack_entries(())],
        lambda data: codec.unpack_entries(data, 7),
        codec.pack_entries,
    ),
    Reader(
        "command",
        [data for data in map(encode_command, COMMANDS) if len(data) < 10_000],
        decode_command,
        encode_command,
    ),
    Reader(
        "applied command",
        [data for data in map(encode_command, COMMANDS) if len(data) < 10_000],
        lambda data: KeyValueStore().apply(1, data),
    ),
    *(
        Reader(
            f"piece {number} of a snapshot",
            [piece],
            partial(_restored, number=number),
            refusal=ValueError,
        )
        for number, piece in enumerate(_PIECES)
    ),
    Reader(
        "outcome",
        [
            outcome_of(Applied(7, KeyValueStore().apply(1, encode_command(command))))[
                "result"
            ]
            for command in COMMANDS
        ],
        lambda data: read_outcome({"index": 7, "result": data}),
        lambda outcome: outcome_of(outcome)["result"],
    ),
    Reader(
        "declined",
        [_written_declined(NotLeader(_LEADER.servers[0]))],
        _declined,
    ),
    Reader(
        "members",
        [
            json.dumps(
                [
                    {"id": "node0", "raft": "a:1", "http": "a:2", "voter": True},
                    {"id": "node1", "raft": "b:1"},
                ]
            ).encode()
        ],
        _members_of,
        refusal=CannotRecover,
    ),
    Reader(
        "address",
        [b"localhost:1", b"[::1]:65535", b"a.b-c:80"],
        lambda data: parse_address(data.decode("utf-8", "surrogateescape")),
        refusal=ValueError,
    ),
    _argument("count", arguments.Count(), b"0", b"42", b"9223372036854775807"),
    _argument("flag", arguments.Flag(), b"0", b"1"),
    _argument("digest", arguments.Digest(), bytes(32)),
    _argument("name", arguments.Name(), b"n1", "ü".encode() * 100),
    _argument("new id", arguments.NewServerId(), b"n1", b"node-1.example"),
    _argument("dialled", arguments.DialledAddress(may_be_empty=True), b"a:1", b""),
    _argument(
        "one of",
        arguments.OneOf(Assurance),
        *(each.value.encode() for each in Assurance),
    ),
]


def read_at_random(seed: int, attempts: int, first: int = 0) -> dict[str, int]:
    """
    Let every reader read so many times something else.

    :return: how often each has taken what it got.
    """
    taken = dict.fromkeys([reader.name for reader in READERS], 0)
    for number in range(first, first + attempts):
        for reader in READERS:
            rng = Random(f"{seed} {number} {reader.name}")
            data = rng.choice(reader.examples) if rng.random() < 0.95 else b""
            data = mutated(rng, data) if data else nonsense(rng)
            with attempt(seed, number, (reader.name, data)):
                taken[reader.name] += reader.take(data)
    return taken

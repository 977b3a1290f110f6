"""
Anything on the peer port, and too much on the HTTP port.

Nothing is lost and nothing stops; each test leaves the cluster as it was.
"""

from __future__ import annotations

import json
import os
import random
import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from .processes import ask_leader, write
from .waiting import until

if TYPE_CHECKING:
    from .node import Node

#: One AMP box that asks for an unknown command, complete.
UNKNOWN = b"\0\x08_command\0\x05Bogus\0\x04_ask\0\x011\0\0"

GARBAGE = {
    "random": random.Random(1).randbytes(4096),
    "zeros": bytes(64 * 1024),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "unknown command": UNKNOWN,
    "no command": b"\0\x03foo\0\x03bar\0\0",
    "an answer nobody asked for": b"\0\x07_answer\0\x011\0\0",
    "long key": b"\xff\xff" + b"k" * 70_000,
    "huge": b"\0\x03foo\xff\xff" + bytes(2_000_000),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_on_the_peer_port(trio: list[Node], kind: str) -> None:
    """
    It closes that connection, with a line in the log and nothing else.
    """
    node = trio[0]
    before = len(node.log)
    with closing(
        socket.create_connection(("127.0.0.1", node.raft_port), 10)
    ) as stranger:
        # It may close before all of it is sent, and then resets.
        with suppress(ConnectionError):
            stranger.sendall(GARBAGE[kind])
        with suppress(ConnectionError):
            while stranger.recv(4096):
                pass
    lines = until(
        lambda: [
            line
            for line in node.log[before:].splitlines()
            if "closed a connection from" in line
        ],
        "it says so",
    )
    assert len(lines) == 1
    assert len(lines[0]) < 400
    assert "Traceback" not in node.log[before:]
    write(trio, after=kind)
    for other in trio:
        other.learns("after", kind)


@pytest.mark.parametrize("part", [1, 5, len(UNKNOWN) - 1])
def test_half_a_frame(trio: list[Node], part: int) -> None:
    """
    A stranger that goes away in the middle of a frame is not even worth a line.
    """
    node = trio[0]
    before = len(node.log)
    with closing(socket.create_connection(("127.0.0.1", node.raft_port), 10)) as half:
        half.sendall(UNKNOWN[:part])
    write(trio, after="half")
    assert "Traceback" not in node.log[before:]


def test_many_strangers(trio: list[Node]) -> None:
    """
    A crowd on the peer port changes nothing between the peers.
    """
    crowd = []
    try:
        for _ in range(100):
            stranger = socket.create_connection(("127.0.0.1", trio[1].raft_port), 10)
            crowd.append(stranger)
            with suppress(ConnectionError):
                stranger.sendall(os.urandom(100))
        write(trio, after="crowd")
        trio[1].learns("after", "crowd")
    finally:
        for stranger in crowd:
            stranger.close()


def test_values_of_a_mebibyte(trio: list[Node]) -> None:
    """
    The largest values reach all nodes, past AMP's limit of 65,535 bytes.
    """
    values = {f"large{n}": chr(97 + n) * (1 << 20) for n in range(3)}
    for key, value in values.items():
        write(trio, **{key: value})
    # Two bytes each in UTF-8, so that characters do not count.
    write(trio, umlauts="ü" * (1 << 19))
    for node in trio:
        for key, value in values.items():
            node.learns(key, value)
        node.learns("umlauts", "ü" * (1 << 19))
    refused = trio[0].set(larger="x" * ((1 << 20) + 1))
    assert refused.status == 413
    assert trio[0].get("larger") is None


def test_body_of_eight_mebibytes(trio: list[Node]) -> None:
    """
    The largest body, of many keys, is one entry for all nodes; a larger one is 413.
    """
    limit = 8 << 20
    pairs = {f"many{n:05}": f"{n}".ljust(1000, ".") for n in range(8200)}
    body = _json(pairs)
    filler = limit - len(body) - len(',"filler":""')
    pairs["filler"] = "f" * filler
    body = _json(pairs)
    assert len(body) == limit
    answer = ask_leader(trio, "POST", "/key", body, timeout=30)
    assert answer.status == 200
    for node in trio:
        node.learns("filler", "f" * filler)
        assert node.get("many08199") == "8199".ljust(1000, ".")
    refused = trio[0].ask("POST", "/key", body + b" ", timeout=30)
    assert refused.status == 413


def _json(pairs: dict[str, str]) -> bytes:
    return json.dumps(pairs, separators=(",", ":")).encode()

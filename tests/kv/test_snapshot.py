"""
The byte form of a snapshot: what is written comes back, and nothing else gets in.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.codec import CodecError
from hraftd.kv import snapshot
from hraftd.kv.commands import (
    Delete,
    Get,
    Once,
    Set,
    Stamped,
    Transaction,
    encode_command,
)
from hraftd.kv.snapshot import PIECE_BYTES, PIECE_KEYS
from hraftd.kv.store import KeyValueStore, Versioned

if TYPE_CHECKING:
    from hraftd.interfaces import Restoration

#: The first piece of a state without keys.
EMPTY = b"\x03" + bytes(32) + b"K" + bytes(4)


def filled(pairs: dict[str, str], index: int = 1) -> KeyValueStore:
    """
    Return a store that holds this.
    """
    store = KeyValueStore()
    store.apply(index, encode_command(Set(tuple(pairs.items()))))
    return store


def record(key: bytes, value: bytes, index: bytes = bytes(8)) -> bytes:
    """
    Return one key in a piece.
    """
    return struct.pack(">II", len(key), 8 + len(value)) + key + index + value


def header(count: int, tokens: int = 0, deadlines: int = 0, clock: int = 0) -> bytes:
    """
    Return how the first of the pieces begins that have so many of each.
    """
    return struct.pack(">BQQQQ", 3, count, tokens, deadlines, clock)


def part(*records: bytes, kind: bytes = b"K") -> bytes:
    """
    Return a piece that is not the first.
    """
    return kind + struct.pack(">I", len(records)) + b"".join(records)


def token_record(token: bytes, index: int, result: bytes = b"n") -> bytes:
    """
    Return one token in a piece.
    """
    content = struct.pack(">Q", index) + b"d" * 16 + result
    return struct.pack(">II", len(token), len(content)) + token + content


def tokens(*records: bytes) -> bytes:
    """
    Return a piece that has tokens.
    """
    return part(*records, kind=b"T")


def deadline(key: bytes, when: int) -> bytes:
    """
    Return one deadline in a piece.
    """
    return struct.pack(">II", len(key), 8) + key + struct.pack(">Q", when)


def deadlines(*records: bytes) -> bytes:
    """
    Return a piece that has deadlines.
    """
    return part(*records, kind=b"D")


def test_layout() -> None:
    """
    The layout is fixed: it lies on disks, and other versions of hraftd read it.
    """
    store = filled({"é": "vv"}, 258)
    first = (
        b"K\x00\x00\x00\x01"
        b"\x00\x00\x00\x02\x00\x00\x00\x0a\xc3\xa9\x00\x00\x00\x00\x00\x00\x01\x02vv"
    )
    assert [*store.snapshot()] == [
        b"\x03\x00\x00\x00\x00\x00\x00\x00\x01" + bytes(24) + first
    ]
    command = encode_command(Once("t", Delete("no such key")))
    store.apply(259, command)
    assert [*store.snapshot()] == [
        b"\x03"
        b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01"
        + bytes(16)
        + first,
        b"T\x00\x00\x00\x01"
        b"\x00\x00\x00\x01\x00\x00\x00\x19t\x00\x00\x00\x00\x00\x00\x01\x03"
        + blake2b(command, digest_size=16).digest()
        + b"f",
    ]


def test_layout_of_deadlines() -> None:
    """
    So is that of the clock, and of the deadlines that go by it.
    """
    store = KeyValueStore()
    command = Set((("a", "1"), ("é", "2")), ttl=3)
    store.apply(1, encode_command(Stamped(258, command)))
    store.apply(2, encode_command(Set((("a", "1"),))))
    first, keys, second = (
        b"\x03\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x02",
        part(
            record(b"a", b"1", bytes(7) + b"\x02"),
            record("é".encode(), b"2", bytes(7) + b"\x01"),
        ),
        b"D\x00\x00\x00\x01"
        b"\x00\x00\x00\x02\x00\x00\x00\x08\xc3\xa9\x00\x00\x00\x00\x00\x00\x01\x05",
    )
    assert [*store.snapshot()] == [first + keys, second]
    copy = filled({"old": "1"})
    restoration = copy.restore()
    restoration.add(first + keys)
    restoration.add(second)
    restoration.finish()
    assert (copy.clock, copy.deadlines, copy.next_due) == (258, 1, 261)
    assert [*copy.snapshot()] == [first + keys, second]


def test_format_without_deadlines() -> None:
    """
    A snapshot from before there were deadlines is still read, with its tokens; the
    clock is at zero then, and nothing is to expire.
    """
    store = KeyValueStore()
    store.apply(1, encode_command(Stamped(5, Set((("old", "1"),), ttl=1))))
    restoration = store.restore()
    former = struct.pack(">BQQ", 2, 1, 1)
    restoration.add(former + part(record(b"a", b"1", b"\0\0\0\0\0\0\0\x07")))
    restoration.add(tokens(token_record(b"t", 7)))
    restoration.finish()
    assert (len(store), store.tokens, store.clock, store.deadlines) == (1, 1, 0, 0)
    assert store.get("a") == Versioned("1", 7)
    assert store.next_due is None


def test_former_format() -> None:
    """
    A snapshot from before there were tokens is still read.
    """
    store = filled({"old": "1"})
    restoration = store.restore()
    former = b"\x01" + struct.pack(">Q", 3)
    restoration.add(former + part(record(b"a", b"1", b"\0\0\0\0\0\0\0\x07"))[1:])
    restoration.add(part(record(b"b", b"2"), record(b"c", b"3"))[1:])
    restoration.finish()
    assert len(store) == 3
    assert store.get("a") == Versioned("1", 7)
    assert store.get("c") == Versioned("3", 0)
    assert store.tokens == 0


def test_former_format_without_keys() -> None:
    """
    Even an empty one.
    """
    store = filled({"old": "1"})
    restoration = store.restore()
    restoration.add(b"\x01" + bytes(8) + bytes(4))
    restoration.finish()
    assert len(store) == 0


def test_tokens_without_keys() -> None:
    """
    A state may have tokens and nothing else; the first piece is then theirs.
    """
    store = KeyValueStore()
    command = encode_command(Once("t", Delete("no such key")))
    first = store.apply(7, command)
    [piece] = store.snapshot()
    assert piece.startswith(header(0, 1) + b"T")
    copy = filled({"old": "1"})
    restoration = copy.restore()
    restoration.add(piece)
    restoration.finish()
    assert (len(copy), copy.tokens) == (0, 1)
    assert copy.apply(8, command) == first == {"first": 7, "result": False}


def test_empty_store() -> None:
    """
    Without any key there is one piece, and it restores to nothing.
    """
    assert [*KeyValueStore().snapshot()] == [EMPTY]
    store = filled({"a": "1"})
    restoration = store.restore()
    restoration.add(EMPTY)
    assert len(store) == 1
    restoration.finish()
    assert len(store) == 0
    assert store.get("a") is None


def test_bytes_of_a_piece() -> None:
    """
    No piece has more bytes than the limit, and only as many pieces are made as need be.
    """
    store = filled({str(number): "v" * 1000 for number in range(1000)})
    pieces = [*store.snapshot()]
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) <= PIECE_BYTES + 5
    assert min(sizes[:-1]) > PIECE_BYTES - 1100
    copy = KeyValueStore()
    restoration = copy.restore()
    for piece in pieces:
        restoration.add(piece)
    restoration.finish()
    assert len(copy) == 1000
    assert copy.get("999") == Versioned("v" * 1000, 1)


def test_keys_of_a_piece() -> None:
    """
    However short the keys are, a piece has no more of them than can be encoded quickly.
    """
    store = filled({str(number): "" for number in range(2 * PIECE_KEYS + 1)})
    counts = [
        int.from_bytes(piece[start : start + 4], "big")
        for piece, start in zip(store.snapshot(), (34, 1, 1), strict=True)
    ]
    assert counts == [PIECE_KEYS, PIECE_KEYS, 1]


def test_large_value() -> None:
    """
    A value beyond the limit makes a piece of its own; no piece is empty for it.
    """
    large = "x" * (3 * PIECE_BYTES)
    pieces = [*filled({"a": "1", "b": large, "c": large, "d": "1"}).snapshot()]
    assert len(pieces) <= 4
    assert sum(len(piece) > PIECE_BYTES for piece in pieces) == 2
    assert max(map(len, pieces)) < 3 * PIECE_BYTES + 100
    assert [*filled({"b": large}).snapshot()] == [
        header(1) + part(record(b"b", large.encode(), b"\0\0\0\0\0\0\0\x01"))
    ]


def test_pieces_in_another_order() -> None:
    """
    Behind the first piece each can be read by itself.
    """
    restoration = KeyValueStore().restore()
    restoration.add(header(3) + part(record(b"a", b"")))
    restoration.add(part(record(b"c", b"")))
    restoration.add(part(record(b"b", b"")))
    restoration.finish()


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b""], "lacks its format"),
        ([b"\x00"], "format 0"),
        ([part(record(b"a", b""))], "format 75"),
        ([b"\x04" + bytes(100)], "format 4, this version reads 1 to 3"),
        ([b"\x01"], "breaks off in its header"),
        ([b"\x02" + bytes(15)], "breaks off in its header"),
        ([b"\x03" + bytes(31)], "breaks off in its header"),
        ([header(0, clock=2**63) + part()], "no clock can be at"),
        ([header(0, 0, 1) + deadlines(deadline(b"a", 1))], "'a' has a deadline, and"),
        (
            [header(1, 0, 1) + part(record(b"a", b"")), part(b"", kind=b"D")],
            "breaks off",
        ),
        (
            [
                header(1, 0, 1) + part(record(b"a", b"")),
                deadlines(struct.pack(">II", 1, 7) + b"a" + bytes(7)),
            ],
            "the deadline of 'a' has not 8 bytes",
        ),
        (
            [
                header(1, 0, 2) + part(record(b"a", b"")),
                deadlines(deadline(b"a", 1), deadline(b"a", 2)),
            ],
            "the deadline of 'a' comes twice",
        ),
        (
            [
                header(1, 0, 1) + part(record("\ufffd".encode(), b"")),
                deadlines(deadline(b"\xff", 1)),
            ],
            "not UTF-8",
        ),
        ([header(1)], "unknown kind: b''"),
        ([header(1) + b"X" + bytes(4)], "unknown kind: b'X'"),
        ([header(1) + b"K\0\0\0"], "breaks off"),
        ([header(1) + b"K\0\0\0\x01" + bytes(7)], "breaks off"),
        ([header(1) + part(record(b"a", b"value")[:-1])], "breaks off in a record"),
        ([header(1) + part(struct.pack(">II", 2**32 - 1, 8))], "breaks off in a rec"),
        ([header(1) + part(struct.pack(">II", 1, 2**32 - 1))], "breaks off in a rec"),
        ([header(1) + part(record(b"a", b"v")) + b"more"], "4 bytes follow"),
        ([header(1) + part(struct.pack(">II", 1, 7) + bytes(8))], "too short"),
        ([header(1) + part(struct.pack(">II", 1, 0) + b"a")], "'a' is too short"),
        ([header(1) + part(record(b"\xff", b""))], "not UTF-8"),
        ([header(1) + part(record(b"k", b"\xed\xa0\x80"))], "not UTF-8"),
        ([header(2) + part(record(b"k", b"1"), record(b"k", b"2"))], "'k' comes twice"),
        ([header(2) + part(record(b"k", b"")), part(record(b"k", b""))], "twice"),
        ([header(2) + part(record(b"k", b"")), b""], "unknown kind"),
        ([EMPTY, EMPTY], "unknown kind"),
        ([header(2) + part(record(b"k", b"")), EMPTY], "unknown kind"),
        ([header(0, 1) + tokens(token_record(b"t", 0))], "not in the order"),
        ([header(0, 1) + tokens(token_record(b"t", 1, b""))], "too short"),
        ([header(0, 1) + tokens(token_record(b"t", 1, b"x"))], "kind of value"),
        ([header(0, 1) + tokens(token_record(b"", 1))], "no token"),
        ([header(0, 1) + tokens(token_record(b"a b", 1))], "no token"),
        ([header(0, 1) + tokens(token_record(b"\xff", 1))], "no token"),
        ([header(0, 1) + tokens(token_record(b"t" * 129, 1))], "no token"),
        (
            [header(0, 2) + tokens(token_record(b"t", 1), token_record(b"t", 2))],
            "'t' comes twice",
        ),
        (
            [
                header(0, 2) + tokens(token_record(b"t", 2)),
                tokens(token_record(b"u", 2)),
            ],
            "'u' is not in the order",
        ),
    ],
)
def test_malformed_piece(pieces: list[bytes], why: str) -> None:
    """
    Each malformed piece is refused with a sentence that says why, and the restore with
    it; the state stays.
    """
    store = filled({"old": "1"})
    *good, bad = pieces
    restoration = store.restore()
    for piece in good:
        restoration.add(piece)
    with pytest.raises(CodecError, match=why):
        restoration.add(bad)
    with pytest.raises(CodecError, match="refused"):
        restoration.finish()
    assert len(store) == 1
    assert store.get("old") == Versioned("1", 1)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([], "no piece"),
        ([header(1) + part()], "0 keys and should have 1"),
        ([header(2) + part(record(b"a", b""))], "1 keys and should have 2"),
        ([header(0) + part(record(b"a", b""))], "1 keys and should have 0"),
        ([header(1) + part(record(b"a", b"")), part(record(b"b", b""))], "2 keys"),
        ([header(2**64 - 1) + part()], "should have 18446744073709551615"),
        ([header(0, 1) + part()], "0 tokens and should have 1"),
        ([header(0, 0, 1) + part()], "0 deadlines and should have 1"),
        (
            [header(0, 1) + tokens(token_record(b"t", 1), token_record(b"u", 2))],
            "2 tok",
        ),
    ],
)
def test_wrong_number_of_keys(pieces: list[bytes], why: str) -> None:
    """
    A snapshot of which pieces are missing, or that has too many, is not taken.
    """
    store = filled({"old": "1"})
    restoration = store.restore()
    for piece in pieces:
        restoration.add(piece)
    with pytest.raises(CodecError, match=why):
        restoration.finish()
    assert len(store) == 1


def test_nothing_gets_in_afterwards() -> None:
    """
    What is added to a restore that is over does not reach the store.
    """
    store = filled({"old": "1"})
    restoration = store.restore()
    restoration.add(header(1) + part(record(b"a", b"")))
    restoration.finish()
    with pytest.raises(CodecError):
        restoration.add(part(record(b"b", b"")))
    restoration.add(header(1) + part(record(b"c", b"")))
    with pytest.raises(CodecError):
        KeyValueStore().restore().finish()
    assert len(store) == 1
    assert store.get("a") == Versioned("", 0)


def four_pieces(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """
    Return a snapshot of a few keys and tokens.
    """
    monkeypatch.setattr(snapshot, "PIECE_KEYS", 2)
    store = filled({"a": "1", "é": "ж", "": "", "d": "4", "e": "5"})
    store.apply(2, encode_command(Once("t", Delete("no such key"))))
    store.apply(3, encode_command(Once("u", Transaction((), (Get("é"),)))))
    pieces = [*store.snapshot()]
    assert len(pieces) == 4
    return pieces


def add_all_but(pieces: list[bytes], left_out: int) -> Restoration:
    """
    Add those that come before a piece.
    """
    restoration = KeyValueStore().restore()
    for piece in pieces[:left_out]:
        restoration.add(piece)
    return restoration


def test_every_truncation(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A piece that breaks off anywhere is refused.
    """
    pieces = four_pieces(monkeypatch)
    for number, piece in enumerate(pieces):
        for length in range(len(piece)):
            restoration = add_all_but(pieces, number)
            with pytest.raises(CodecError):
                restoration.add(piece[:length])


def test_every_flipped_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A flipped bit in a piece changes a name, a value or an index, or is refused; it
    never ends in any other way.
    """
    pieces = four_pieces(monkeypatch)
    outcomes = set()
    for number, piece in enumerate(pieces):
        for bit in range(8 * len(piece)):
            flipped = bytearray(piece)
            flipped[bit // 8] ^= 1 << bit % 8
            store = KeyValueStore()
            restoration = store.restore()
            damaged = [*pieces[:number], bytes(flipped), *pieces[number + 1 :]]
            try:
                for each in damaged:
                    restoration.add(each)
                restoration.finish()
            except CodecError:
                outcomes.add("refused")
                assert len(store) == 0
            else:
                outcomes.add("taken")
                assert (len(store), store.tokens) == (5, 2)
                assert sum(map(len, store.snapshot())) == sum(map(len, pieces))
    assert outcomes == {"refused", "taken"}


@given(st.binary(max_size=60), st.integers(0, 3), st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes(first: bytes, count: int, second: bytes) -> None:
    """
    Any bytes at all are refused, or are a state that can be read.
    """
    store = KeyValueStore()
    restoration = store.restore()
    try:
        restoration.add(header(count) + first)
        restoration.add(second)
        restoration.finish()
    except CodecError:
        return
    assert len(store) == count
    assert [*store.snapshot()]

"""
The byte form of commands: what a client asked for is what every node applies.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.codec import CodecError
from hraftd.kv.commands import (
    Command,
    Delete,
    Get,
    Once,
    Restore,
    Set,
    Stamped,
    Transaction,
    decode_command,
    encode_command,
    needs_time,
    stamped,
)
from hraftd.kv.conditions import Absent, ChangedAt, Exists, HasValue, NotChangedAt

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INDEXES = st.lists(st.integers(0, 2**64 - 1), max_size=3).map(tuple)
SETS = st.builds(
    Set,
    st.lists(st.tuples(TEXT, TEXT), max_size=5).map(tuple),
    st.none() | st.integers(1, 2**63 - 1),
)
OPERATIONS = st.lists(
    SETS | st.builds(Delete, TEXT) | st.builds(Get, TEXT), max_size=3
).map(tuple)
CONDITIONS = st.lists(
    st.builds(Exists, TEXT)
    | st.builds(Absent, TEXT)
    | st.builds(HasValue, TEXT, TEXT)
    | st.builds(ChangedAt, TEXT, INDEXES)
    | st.builds(NotChangedAt, TEXT, INDEXES),
    max_size=3,
).map(tuple)
WRITES = (
    SETS
    | st.builds(Delete, TEXT)
    | st.builds(Transaction, CONDITIONS, OPERATIONS, OPERATIONS)
)
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
MAYBE_ONCE = WRITES | st.builds(Once, TOKENS.map(lambda token: token[:128]), WRITES)
COMMANDS = MAYBE_ONCE | st.builds(
    Stamped, st.integers(0, 2**63 - 1), st.none() | MAYBE_ONCE
)

EXAMPLES = [
    Set(()),
    Set((("foo", "bar"),)),
    Set((("twice", "1"), ("other", "2"), ("twice", "3"))),
    Set((("", ""), ("\x00", "\ufeff"), ("ключ/😀", "\r\n\u2028"))),
    Set((("large", "x" * 2**20),)),
    Delete("foo"),
    Delete("a/b/ё"),
    Transaction((), ()),
    Transaction(
        (Exists("é"), HasValue("a", "b"), ChangedAt("k", (7, 2**64 - 1))),
        (Set((("a", "1"), ("a", "2"))), Delete("b"), Get("c")),
        (Get("é"),),
    ),
    Once("~!" * 64, Set((("foo", "bar"),))),
    Once("t", Transaction((Absent(""), NotChangedAt("k", ())), (), (Delete("k"),))),
    Set((("k", "v"), ("l", "")), 1),
    Transaction((), (Set((("k", "v"),), 2**63 - 1), Set((("l", "v"),))), ()),
    Stamped(0),
    Stamped(2**63 - 1, Once("t", Set((("k", "v"),), 1))),
    Stamped(1, Transaction((), (), (Delete("k"),))),
    Stamped(1, Restore("r", 2, b"piece")),
]


def pair(key: bytes, value: bytes) -> bytes:
    """
    Return the byte form of one pair.
    """
    return struct.pack(">II", len(key), len(value)) + key + value


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples(command: Command) -> None:
    """
    Pairs keep their order and their duplicates, and text every character.
    """
    assert decode_command(encode_command(command)) == command


@given(COMMANDS)
@settings(max_examples=150, deadline=None)
def test_round_trip(command: Command) -> None:
    """
    Every command comes back equal.
    """
    assert decode_command(encode_command(command)) == command


def test_layout() -> None:
    """
    The layout is fixed: it lies in logs, and other versions of hraftd read it.
    """
    assert encode_command(Set((("k", "vv"), ("é", "")))) == (
        b"S\x00\x00\x00\x02"
        b"\x00\x00\x00\x01\x00\x00\x00\x02kvv"
        b"\x00\x00\x00\x02\x00\x00\x00\x00\xc3\xa9"
    )
    assert encode_command(Delete("k")) == b"D\x00\x00\x00\x01k"


def test_layout_of_transactions() -> None:
    """
    So is that of conditions, of each list of operations, and of a token.
    """
    conditions = (
        Exists("a"),
        Absent("b"),
        HasValue("c", "vv"),
        ChangedAt("d", (1, 258)),
        NotChangedAt("e", ()),
    )
    command = Transaction(conditions, (Set((("k", "v"),)), Get("g")), (Delete("d"),))
    encoded = (
        b"T\x00\x00\x00\x05"
        b"E\x00\x00\x00\x01a"
        b"A\x00\x00\x00\x01b"
        b"V\x00\x00\x00\x01c\x00\x00\x00\x02vv"
        b"I\x00\x00\x00\x01d\x00\x00\x00\x02"
        b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x02"
        b"N\x00\x00\x00\x01e\x00\x00\x00\x00"
        b"\x00\x00\x00\x02"
        b"S\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01kv"
        b"G\x00\x00\x00\x01g"
        b"\x00\x00\x00\x01"
        b"D\x00\x00\x00\x01d"
    )
    assert encode_command(command) == encoded
    assert encode_command(Once("tok", command)) == b"O\x00\x00\x00\x03tok" + encoded


def test_layout_of_times() -> None:
    """
    So is that of a lifetime and of the leader's time, which stands before all else.
    """
    expiring = Set((("k", "v"),), 258)
    encoded = (
        b"E\x00\x00\x00\x00\x00\x00\x01\x02"
        b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01kv"
    )
    assert encode_command(expiring) == encoded
    now = b"\x00\x00\x00\x00\x00\x00\x02\x01"
    assert encode_command(Stamped(513)) == b"X" + now
    told = b"C" + now
    assert encode_command(Stamped(513, expiring)) == told + encoded
    once = b"O\x00\x00\x00\x01t" + encoded
    assert encode_command(Stamped(513, Once("t", expiring))) == told + once


@given(COMMANDS, st.integers(0, 2**63 - 1))
@settings(max_examples=100, deadline=None)
def test_stamp(command: Command, now: int) -> None:
    """
    The leader's time takes the place of the one that was there, and nothing else
    changes; a command without one stays as it is.
    """
    encoded = stamped(encode_command(command), now)
    if isinstance(command, Stamped) and command.command is not None:
        assert decode_command(encoded) == Stamped(now, command.command)
    else:
        assert encoded == encode_command(command)


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        (Set((("k", "v"),)), False),
        (Set((("k", "v"),), 1), True),
        (Delete("k"), False),
        (Once("t", Set((("k", "v"),))), False),
        (Once("t", Set((("k", "v"),), 1)), True),
        (Transaction((), (Set((("k", "v"),)), Get("k"))), False),
        (Transaction((), (Get("k"), Set((("k", "v"),), 1))), True),
        (Transaction((), (), (Set((("k", "v"),), 1),)), True),
        (Once("t", Transaction((), (), (Set((("k", "v"),), 1),))), True),
        (Stamped(0), True),
        (Restore("r", 0, b""), True),
    ],
)
def test_needs_time(command: Command, needs: bool) -> None:
    """
    Only what gives a lifetime needs the time, wherever that stands.
    """
    assert needs_time(command) == needs


@pytest.mark.parametrize(
    "command",
    [Set((), 0), Set((), -1), Set((), 2**63), Stamped(-1), Stamped(2**63)],
)
def test_impossible_times(command: Command) -> None:
    """
    A time that no clock shows, and a lifetime that is none, has no byte form.
    """
    with pytest.raises(CodecError, match="milliseconds cannot be"):
        encode_command(command)


@pytest.mark.parametrize(
    "encoded",
    [
        b"E" + bytes(12),
        b"E\x80" + bytes(11),
        b"X\x80" + bytes(7),
        b"C\x80" + bytes(7) + b"S" + bytes(4),
        b"T" + bytes(4) + b"\0\0\0\x01E" + bytes(16),
    ],
)
def test_impossible_times_in_bytes(encoded: bytes) -> None:
    """
    Nor is one taken from bytes.
    """
    with pytest.raises(CodecError, match="milliseconds cannot be"):
        decode_command(encoded)


@given(
    st.sampled_from(
        [
            b"S",
            b"E\0\0\0\0\0\0\0\x01",
            b"D",
            b"T",
            b"O\0\0\0\x01t",
            b"X",
            b"C" + bytes(8),
            b"C" + bytes(8) + b"S",
            b"",
        ]
    ),
    st.binary(max_size=40),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes(kind: bytes, rest: bytes) -> None:
    """
    Any other bytes are refused, or are the one form of what they decode to.
    """
    try:
        command = decode_command(kind + rest)
    except CodecError:
        return
    assert encode_command(command) == kind + rest


@pytest.mark.parametrize("command", [*EXAMPLES[2:4], *EXAMPLES[6:]])
def test_every_truncation(command: Command) -> None:
    """
    A command that breaks off anywhere is refused.
    """
    data = encode_command(command)
    for length in range(len(data)):
        with pytest.raises(CodecError):
            decode_command(data[:length])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"Z\x00\x00\x00\x00", "does not know"),
        (b"\x80\x04]", "does not know"),
        (b"S", "breaks off"),
        (b"S\xff\xff\xff\xff", "breaks off"),
        (b"S\x00\x00\x00\x01" + struct.pack(">II", 2**32 - 1, 1), "breaks off"),
        (b"S\x00\x00\x00\x01" + pair(b"\xff", b""), "UTF-8"),
        (b"S\x00\x00\x00\x01" + pair(b"k", b"\xed\xa0\x80"), "UTF-8"),
        (b"S\x00\x00\x00\x00more", "4 bytes follow"),
        (b"D\x00\x00", "breaks off"),
        (b"D\x00\x00\x00\x05abcd", "breaks off"),
        (b"D\x00\x00\x00\x01\xc3", "UTF-8"),
        (b"D\x00\x00\x00\x01ab", "1 bytes follow"),
        (b"G\x00\x00\x00\x01a", "does not know the command"),
        (b"T\x00\x00\x00\x01", "breaks off"),
        (b"T\x00\x00\x00\x01X\x00\x00\x00\x00", "does not know the condition"),
        (b"T\x00\x00\x00\x01I\x00\x00\x00\x00\xff\xff\xff\xff", "in the indexes"),
        (b"T\xff\xff\xff\xff", "breaks off"),
        (b"T" + bytes(4) + b"\xff\xff\xff\xff", "breaks off"),
        (b"T" + bytes(4) + b"\x00\x00\x00\x01X", "does not know the operation"),
        (b"T" + bytes(4) + b"\x00\x00\x00\x01T" + bytes(12), "the operation"),
        (b"T" + bytes(12) + b"more", "4 bytes follow"),
        (b"O\x00\x00\x00\x00S\x00\x00\x00\x00", "a token is"),
        (b"O\x00\x00\x00\x01 S\x00\x00\x00\x00", "a token is"),
        (b"O\x00\x00\x00\x81" + b"t" * 129 + b"S\x00\x00\x00\x00", "a token is"),
        (b"O\x00\x00\x00\x01t", "breaks off"),
        (b"O\x00\x00\x00\x01tO\x00\x00\x00\x01tS\x00\x00\x00\x00", "the command b'O'"),
    ],
)
def test_malformed(data: bytes, why: str) -> None:
    """
    Each malformed command is refused with a sentence that says why.
    """
    with pytest.raises(CodecError, match=why):
        decode_command(data)


@pytest.mark.parametrize(
    "command",
    [
        Set((("\ud800", "v"),)),
        Set((("k", "\udfff"),)),
        Delete("\udc80"),
        Once("t", Delete("\udc80")),
        Transaction((Exists("\udc80"),), ()),
        Transaction((HasValue("k", "\udc80"),), ()),
        Transaction((), (), (Get("\udc80"),)),
    ],
)
def test_text_without_a_byte_form(command: Command) -> None:
    """
    A lone surrogate, which JSON can smuggle in, is refused before it is logged.
    """
    with pytest.raises(CodecError, match="Unicode"):
        encode_command(command)


@pytest.mark.parametrize("token", ["", "a b", "é", "a\n", "\x7f", "t" * 129])
def test_tokens_that_are_none(token: str) -> None:
    """
    A token is 1 to 128 visible letters; another one is refused before it is logged.
    """
    with pytest.raises(CodecError, match="a token is"):
        encode_command(Once(token, Delete("k")))


def test_numbers_that_are_too_large() -> None:
    """
    No index is larger than 64 bits, or negative.
    """
    for index in (2**64, -1):
        with pytest.raises(CodecError, match="too large"):
            encode_command(Transaction((ChangedAt("k", (index,)),), ()))

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
    Set,
    decode_command,
    encode_command,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COMMANDS = st.builds(Delete, TEXT) | st.builds(
    Set, st.lists(st.tuples(TEXT, TEXT), max_size=5).map(tuple)
)

EXAMPLES = [
    Set(()),
    Set((("foo", "bar"),)),
    Set((("twice", "1"), ("other", "2"), ("twice", "3"))),
    Set((("", ""), ("\x00", "\ufeff"), ("ключ/😀", "\r\n\u2028"))),
    Set((("large", "x" * 2**20),)),
    Delete("foo"),
    Delete("a/b/ё"),
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


@given(st.sampled_from([b"S", b"D", b""]), st.binary(max_size=40))
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


@pytest.mark.parametrize("command", [EXAMPLES[2], EXAMPLES[3], EXAMPLES[6]])
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
        (b"X\x00\x00\x00\x00", "does not know"),
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
    ],
)
def test_malformed(data: bytes, why: str) -> None:
    """
    Each malformed command is refused with a sentence that says why.
    """
    with pytest.raises(CodecError, match=why):
        decode_command(data)


@pytest.mark.parametrize(
    "command", [Set((("\ud800", "v"),)), Set((("k", "\udfff"),)), Delete("\udc80")]
)
def test_text_without_a_byte_form(command: Command) -> None:
    """
    A lone surrogate, which JSON can smuggle in, is refused before it is logged.
    """
    with pytest.raises(CodecError, match="Unicode"):
        encode_command(command)

"""
The byte form of plain values: what a leader has to tell arrives as it was.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.codec import CodecError
from hraftd.plain_values import MAX_DEPTH, decode_value, encode_value

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(one: object, other: object) -> bool:
    """
    Compare with types: 1, 1.0 and True are three values here.
    """
    return repr(one) == repr(other)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_round_trip(value: object) -> None:
    """
    Every plain value comes back as it was, its types too.
    """
    assert same(decode_value(encode_value(value)), value)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b"n"),
        (True, b"t"),
        (False, b"f"),
        (-2, b"i\xff\xff\xff\xff\xff\xff\xff\xfe"),
        (1.5, b"r\x3f\xf8\0\0\0\0\0\0"),
        ("é", b"s\0\0\0\x02\xc3\xa9"),
        (["a", 1], b"l\0\0\0\x02s\0\0\0\x01ai\0\0\0\0\0\0\0\x01"),
        ({"k": [None]}, b"o\0\0\0\x01\0\0\0\x01kl\0\0\0\x01n"),
    ],
)
def test_layout(value: object, data: bytes) -> None:
    """
    The layout is fixed: it lies in snapshots, and other versions of hraftd read it.
    """
    assert encode_value(value) == data
    assert same(decode_value(data), value)


def test_text_takes_its_own_length() -> None:
    """
    Control characters and half surrogates have a form too, and none is blown up.
    """
    text = "\x00" * 1000 + "\ud800"
    assert len(encode_value(text)) == 5 + 1000 + 3
    assert decode_value(encode_value(text)) == text
    assert decode_value(encode_value(("a", "b"))) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"bytes", "bytes is not a plain value"),
        ({1, 2}, "set is not"),
        ([object()], "object is not"),
        ({1: "x"}, "name 1 in an object"),
        (2**63, "too long"),
        (-(2**63) - 1, "too long"),
    ],
)
def test_values_without_a_byte_form(value: object, why: str) -> None:
    """
    What is not plain is refused with a sentence that says why.
    """
    with pytest.raises(CodecError, match=why):
        encode_value(value)


def test_depth() -> None:
    """
    Nothing is nested too deeply to be read, and nobody can make a reader recurse more.
    """
    value: object = None
    for _ in range(MAX_DEPTH):
        value = [value]
    assert decode_value(encode_value(value)) == value
    with pytest.raises(CodecError, match="nested more than"):
        encode_value([value])
    with pytest.raises(CodecError, match="nested more than"):
        decode_value(b"l\0\0\0\x01" * 100_000 + b"n")
    with pytest.raises(CodecError, match="nested more than"):
        decode_value(b"o\0\0\0\x01\0\0\0\0" * 100_000 + b"n")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "breaks off"),
        (b"x", "does not know"),
        (b"nn", "1 bytes follow"),
        (b"i\0\0\0", "breaks off"),
        (b"s\0\0", "breaks off"),
        (b"s\xff\xff\xff\xff", "breaks off in a text"),
        (b"s\0\0\0\x01\xff", "not UTF-8"),
        (b"l\xff\xff\xff\xff", "breaks off"),
        (b"l\0\0\0\x02n", "breaks off"),
        (b"o\0\0\0\x02\0\0\0\x01kn\0\0\0\x01kn", "'k' comes twice"),
        (b"o\0\0\0\x01\0\0\0\x01k", "breaks off"),
    ],
)
def test_malformed(data: bytes, why: str) -> None:
    """
    Whatever is never written is refused.
    """
    with pytest.raises(CodecError, match=why):
        decode_value(data)


@given(st.sampled_from([b"", b"l", b"o", b"s"]), st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes(kind: bytes, rest: bytes) -> None:
    """
    Any other bytes are refused, or are the one form of what they stand for.
    """
    try:
        value = decode_value(kind + rest)
    except CodecError:
        return
    if value == value:
        assert encode_value(value) == kind + rest


def test_every_truncation() -> None:
    """
    A value that breaks off anywhere is refused.
    """
    data = encode_value({"results": [None, True, ["value", 42], -1.5], "é": "ж"})
    for length in range(len(data)):
        with pytest.raises((CodecError, struct.error)) as caught:
            decode_value(data[:length])
        assert isinstance(caught.value, CodecError)

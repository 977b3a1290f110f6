"""
The byte form of plain values: what a state machine returns for a command.

A plain value is what JSON knows: text, a number, a truth value, ``None``, or lists and
objects of them. Between servers such a value may hold megabytes of text. JSON would
write some letters six times as long as they are, and nobody could say beforehand
whether it still fits; here text takes as many bytes as it has in UTF-8. The same bytes
are kept where a value has to be told a second time (:mod:`hraftd.kv.tokens`).

A value is one letter and what belongs to it; numbers are big-endian, lengths and counts
unsigned and of 32 bits::

    n   None            t, f  true, false
    i   a whole number, signed, of 64 bits
    r   any other number, a double of IEEE 754
    s   length  text in UTF-8
    l   count   (value) * count
    o   count   (length  name  value) * count

As in :mod:`hraftd.codec` nothing is executed, and any bytes at all end in a value or in
:exc:`~hraftd.codec.CodecError`.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import TypeAlias

from hraftd.codec import CodecError

__all__ = ["MAX_DEPTH", "PlainValue", "decode_value", "encode_value"]

PlainValue: TypeAlias = (
    "str | int | float | bool | list[PlainValue] | dict[str, PlainValue] | None"
)

#: Lists and objects in each other; what reads them calls itself for each.
MAX_DEPTH = 32

_COUNT = Struct(">I")
_WHOLE = Struct(">q")
_REAL = Struct(">d")

#: JSON text may hold half of a surrogate pair; a state machine may pass it on.
_ERRORS = "surrogatepass"


def encode_value(value: object) -> bytes:
    """
    Return the byte form of a plain value.

    :raises CodecError: if it has none: it is not plain, is nested more than
        :data:`MAX_DEPTH` deep, or holds a whole number of more than 64 bits.
    """
    parts: list[bytes] = []
    try:
        _write(value, parts, MAX_DEPTH)
    except struct.error as error:
        raise CodecError("a number or a text is too long to be told") from error
    return b"".join(parts)


def _write(value: object, parts: list[bytes], depth: int) -> None:
    if depth < 0:
        raise CodecError(f"the value is nested more than {MAX_DEPTH} deep")
    match value:
        case None:
            parts.append(b"n")
        case bool():
            parts.append(b"t" if value else b"f")
        case int():
            parts.append(b"i" + _WHOLE.pack(value))
        case float():
            parts.append(b"r" + _REAL.pack(value))
        case str():
            text = value.encode("utf-8", _ERRORS)
            parts += (b"s", _COUNT.pack(len(text)), text)
        case list() | tuple():
            parts += (b"l", _COUNT.pack(len(value)))
            for one in value:
                _write(one, parts, depth - 1)
        case dict():
            parts += (b"o", _COUNT.pack(len(value)))
            for name, one in value.items():
                if not isinstance(name, str):
                    raise CodecError(f"the name {name!r} in an object is no text")
                encoded = name.encode("utf-8", _ERRORS)
                parts += (_COUNT.pack(len(encoded)), encoded)
                _write(one, parts, depth - 1)
        case _:
            raise CodecError(f"a {type(value).__name__} is not a plain value")


def decode_value(data: bytes) -> PlainValue:
    """
    Return the value that :func:`encode_value` made these bytes from.

    What was a tuple is a list.

    :raises CodecError: if it never makes such bytes.
    """
    try:
        value, end = _read(data, 0, MAX_DEPTH)
    except struct.error as error:
        raise CodecError("the value breaks off") from error
    except UnicodeDecodeError as error:
        raise CodecError("a text in the value is not UTF-8") from error
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes follow the value")
    return value


def _read(data: bytes, position: int, depth: int) -> tuple[PlainValue, int]:
    if depth < 0:
        raise CodecError(f"the value is nested more than {MAX_DEPTH} deep")
    kind = data[position : position + 1]
    position += 1
    match kind:
        case b"n":
            return None, position
        case b"t":
            return True, position
        case b"f":
            return False, position
        case b"i":
            return _WHOLE.unpack_from(data, position)[0], position + _WHOLE.size
        case b"r":
            return _REAL.unpack_from(data, position)[0], position + _REAL.size
        case b"s":
            return _read_text(data, position)
        case b"l":
            (count,) = _COUNT.unpack_from(data, position)
            position += _COUNT.size
            values: list[PlainValue] = []
            for _ in range(count):
                one, position = _read(data, position, depth - 1)
                values.append(one)
            return values, position
        case b"o":
            (count,) = _COUNT.unpack_from(data, position)
            position += _COUNT.size
            members: dict[str, PlainValue] = {}
            for _ in range(count):
                name, position = _read_text(data, position)
                if name in members:
                    raise CodecError(f"the name {name[:99]!r} comes twice in an object")
                members[name], position = _read(data, position, depth - 1)
            return members, position
        case b"":
            raise CodecError("the value breaks off")
        case _:
            raise CodecError(f"this version does not know the kind of value {kind!r}")


def _read_text(data: bytes, position: int) -> tuple[str, int]:
    (length,) = _COUNT.unpack_from(data, position)
    start = position + _COUNT.size
    end = start + length
    if end > len(data):
        raise CodecError("the value breaks off in a text")
    return data[start:end].decode("utf-8", _ERRORS), end

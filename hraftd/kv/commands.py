"""
What a client can ask of the key-value store, and its byte form in the log.

A command is one letter and its fields, each text in UTF-8 behind its length; numbers
are unsigned, of 32 bits, big-endian::

    S  count  (key length, value length, key, value) * count
    D  key length  key

What a command does to the store is told in :mod:`hraftd.kv.store`.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import TypeAlias, assert_never

from attrs import frozen

from hraftd.codec import CodecError

__all__ = ["Command", "Delete", "Set", "decode_command", "encode_command"]

_ONE = Struct(">I")
_TWO = Struct(">II")

_SET = b"S"
_DELETE = b"D"


@frozen
class Set:
    """
    Give each key its value, all at once.
    """

    #: Key and value, in the order of the request; where a key comes twice the
    #: last one counts.
    pairs: tuple[tuple[str, str], ...]


@frozen
class Delete:
    """
    Remove a key, if it is there.
    """

    key: str


Command: TypeAlias = Set | Delete


def encode_command(command: Command) -> bytes:
    """
    Return the byte form of a command.

    :raises CodecError: if a key or value is not Unicode text (a lone surrogate),
        or is of 4 GiB and more.
    """
    try:
        match command:
            case Set(pairs):
                parts = [_SET, _ONE.pack(len(pairs))]
                for name, text in pairs:
                    key, value = name.encode(), text.encode()
                    parts += (_TWO.pack(len(key), len(value)), key, value)
                return b"".join(parts)
            case Delete(name):
                key = name.encode()
                return _DELETE + _ONE.pack(len(key)) + key
            case _:
                assert_never(command)
    except UnicodeEncodeError as error:
        raise CodecError("a key or value is not Unicode text") from error
    except struct.error as error:
        raise CodecError("a key or value is too long to be stored") from error


def decode_command(data: bytes) -> Command:
    """
    Return the command that :func:`encode_command` made these bytes from.

    :raises CodecError: if it never makes such bytes.
    """
    kind = data[:1]
    try:
        if kind == _SET:
            command, end = _decode_set(data)
        elif kind == _DELETE:
            command, end = _decode_delete(data)
        elif not kind:
            raise CodecError("the command is empty, without even its kind")
        else:
            raise CodecError(f"this version does not know the command {kind!r}")
    except struct.error as error:
        raise CodecError("the command breaks off") from error
    except UnicodeDecodeError as error:
        raise CodecError("a key or value of the command is not UTF-8") from error
    # A slice past the end is silently short, so both cases show up here.
    if end > len(data):
        raise CodecError("the command breaks off")
    if end < len(data):
        raise CodecError(f"{len(data) - end} bytes follow the command")
    return command


def _decode_set(data: bytes) -> tuple[Command, int]:
    (count,) = _ONE.unpack_from(data, 1)
    position = 1 + _ONE.size
    pairs = []
    for _ in range(count):
        key_length, value_length = _TWO.unpack_from(data, position)
        start = position + _TWO.size
        middle = start + key_length
        position = middle + value_length
        pairs.append((data[start:middle].decode(), data[middle:position].decode()))
    return Set(tuple(pairs)), position


def _decode_delete(data: bytes) -> tuple[Command, int]:
    (length,) = _ONE.unpack_from(data, 1)
    start = 1 + _ONE.size
    end = start + length
    return Delete(data[start:end].decode()), end

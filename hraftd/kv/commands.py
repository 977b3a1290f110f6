"""
What a client can ask of the key-value store, and its byte form in the log.

A command is one letter and its fields, each text in UTF-8 behind its length; numbers
are unsigned, of 32 bits, big-endian::

    S  count  (key length, value length, key, value) * count
    D  key length  key
    T  count  (condition) *  count  (operation) *  count  (operation) *
    O  token length  token  command

What conditions are is told in :mod:`hraftd.kv.conditions`. An operation is written as
the command of that name, or, if it only reads::

    G  key length  key

What a command does to the store is told in :mod:`hraftd.kv.store`, what it returns in
:mod:`hraftd.kv.results`. A letter is never given another meaning: logs that an older
hraftd has written are still to be read, and one that is too old refuses a letter that
it does not know instead of doing something else.
"""

from __future__ import annotations

import re
import struct
from struct import Struct
from typing import TypeAlias, assert_never

from attrs import frozen

from hraftd.codec import CodecError
from hraftd.kv.conditions import Condition, encode_condition, read_condition
from hraftd.kv.fields import COUNT, read_text, written_text

__all__ = [
    "MAX_TOKEN_LENGTH",
    "Command",
    "Delete",
    "Get",
    "Once",
    "Operation",
    "Set",
    "Transaction",
    "Write",
    "decode_command",
    "encode_command",
    "is_token",
]

#: Letters of a token, all of them visible ASCII.
MAX_TOKEN_LENGTH = 128

_TOKEN = re.compile(f"[!-~]{{1,{MAX_TOKEN_LENGTH}}}")

_TWO = Struct(">II")

_SET = b"S"
_DELETE = b"D"
_TRANSACTION = b"T"
_ONCE = b"O"
_GET = b"G"


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


@frozen
class Get:
    """
    Tell what a key holds, with what the operations before it have done to it.
    """

    key: str


Operation: TypeAlias = Set | Delete | Get


@frozen
class Transaction:
    """
    Carry out one list of operations or another, in their order and all at once.

    A conditional write is the transaction with one condition whose ``then`` is that
    write, and whose ``otherwise`` gets the key: to tell what was there instead.
    """

    conditions: tuple[Condition, ...]
    #: What is done if all conditions hold. It may be nothing.
    then: tuple[Operation, ...]
    #: What is done if not.
    otherwise: tuple[Operation, ...] = ()


Write: TypeAlias = Set | Delete | Transaction


@frozen
class Once:
    """
    Carry out a command, unless it was already: a retry tells what came of it then.
    """

    #: Chosen by the client, for this one write and its retries: 1 to
    #: ``MAX_TOKEN_LENGTH`` letters of visible ASCII.
    token: str
    command: Write


Command: TypeAlias = Write | Once


def encode_command(command: Command) -> bytes:
    """
    Return the byte form of a command.

    :raises CodecError: if a key or value is not Unicode text (a lone surrogate),
        or is of 4 GiB and more; if a token is none.
    """
    parts: list[bytes] = []
    try:
        match command:
            case Once(token, inner):
                _check_token(token)
                parts += (_ONCE, written_text(token))
                _write(inner, parts)
            case _:
                _write(command, parts)
    except UnicodeEncodeError as error:
        raise CodecError("a key or value is not Unicode text") from error
    except struct.error as error:
        raise CodecError("a key, a value or a number is too large") from error
    return b"".join(parts)


def _write(command: Write, parts: list[bytes]) -> None:
    match command:
        case Transaction(conditions, then, otherwise):
            parts += (_TRANSACTION, COUNT.pack(len(conditions)))
            parts += map(encode_condition, conditions)
            for operations in (then, otherwise):
                parts.append(COUNT.pack(len(operations)))
                for operation in operations:
                    _write_operation(operation, parts)
        case _:
            _write_operation(command, parts)


def _write_operation(operation: Operation, parts: list[bytes]) -> None:
    match operation:
        case Set(pairs):
            parts += (_SET, COUNT.pack(len(pairs)))
            for name, text in pairs:
                key, value = name.encode(), text.encode()
                parts += (_TWO.pack(len(key), len(value)), key, value)
        case Delete(key):
            parts += (_DELETE, written_text(key))
        case Get(key):
            parts += (_GET, written_text(key))
        case _:
            assert_never(operation)


def decode_command(data: bytes) -> Command:
    """
    Return the command that :func:`encode_command` made these bytes from.

    :raises CodecError: if it never makes such bytes.
    """
    command: Command
    try:
        if data[:1] == _ONCE:
            token, position = read_text(data, 1)
            _check_token(token)
            inner, end = _read(data, position)
            command = Once(token, inner)
        elif data:
            command, end = _read(data, 0)
        else:
            raise CodecError("the command is empty, without even its kind")
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


def _read(data: bytes, position: int) -> tuple[Write, int]:
    kind = data[position : position + 1]
    if kind == _SET:
        return _read_set(data, position + 1)
    if kind == _DELETE:
        key, position = read_text(data, position + 1)
        return Delete(key), position
    if kind == _TRANSACTION:
        return _read_transaction(data, position + 1)
    if not kind:
        raise CodecError("the command breaks off")
    raise CodecError(f"this version does not know the command {kind!r}")


def _read_set(data: bytes, position: int) -> tuple[Set, int]:
    (count,) = COUNT.unpack_from(data, position)
    position += COUNT.size
    pairs = []
    for _ in range(count):
        key_length, value_length = _TWO.unpack_from(data, position)
        start = position + _TWO.size
        middle = start + key_length
        position = middle + value_length
        pairs.append((data[start:middle].decode(), data[middle:position].decode()))
    return Set(tuple(pairs)), position


def _read_transaction(data: bytes, position: int) -> tuple[Transaction, int]:
    (count,) = COUNT.unpack_from(data, position)
    position += COUNT.size
    conditions = []
    for _ in range(count):
        condition, position = read_condition(data, position)
        conditions.append(condition)
    then, position = _read_operations(data, position)
    otherwise, position = _read_operations(data, position)
    return Transaction(tuple(conditions), then, otherwise), position


def _read_operations(data: bytes, position: int) -> tuple[tuple[Operation, ...], int]:
    (count,) = COUNT.unpack_from(data, position)
    position += COUNT.size
    operations: list[Operation] = []
    for _ in range(count):
        operation: Operation
        kind = data[position : position + 1]
        position += 1
        if kind == _SET:
            operation, position = _read_set(data, position)
        elif kind in (_DELETE, _GET):
            key, position = read_text(data, position)
            operation = Delete(key) if kind == _DELETE else Get(key)
        elif not kind:
            raise CodecError("the command breaks off")
        else:
            raise CodecError(f"this version does not know the operation {kind!r}")
        operations.append(operation)
    return tuple(operations), position


def is_token(text: str) -> bool:
    """
    Whether this can be a token.
    """
    return _TOKEN.fullmatch(text) is not None


def _check_token(token: str) -> None:
    if not is_token(token):
        raise CodecError(
            f"a token is 1 to {MAX_TOKEN_LENGTH} letters, all of them visible ASCII"
        )

"""
What a client can ask of the key-value store, and its byte form in the log.

A command is one letter and its fields, each text in UTF-8 behind its length; numbers
are unsigned, of 32 bits unless said otherwise, big-endian::

    S  count  (key length, value length, key, value) * count
    E  milliseconds  count  (key length, value length, key, value) * count
    D  key length  key
    T  count  (condition) *  count  (operation) *  count  (operation) *
    O  token length  token  command
    C  milliseconds  command
    X  milliseconds
    R  name length  name  number  piece length  piece

Milliseconds have 64 bits. S and E are both a :class:`Set`, of keys that stay and of
keys that expire. C and X are both a :class:`Stamped`: an envelope that tells the time,
around a command, and one with nothing in it. What is in there has the same bytes
whenever it is sent again. The time is outside, at a place that never moves, since it is
the leader that fills it in, see :mod:`hraftd.expiry`.

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
from hraftd.kv.lifetimes import MAX_MILLISECONDS

__all__ = [
    "MAX_TOKEN_LENGTH",
    "STAMP_BYTES",
    "Command",
    "Delete",
    "Get",
    "Once",
    "Operation",
    "Restore",
    "Set",
    "Stamped",
    "Transaction",
    "Write",
    "decode_command",
    "encode_command",
    "is_token",
    "needs_time",
    "stamped",
]

#: Letters of a token, all of them visible ASCII.
MAX_TOKEN_LENGTH = 128

_TOKEN = re.compile(f"[!-~]{{1,{MAX_TOKEN_LENGTH}}}")

_TWO = Struct(">II")

_MILLISECONDS = Struct(">Q")

_SET = b"S"
_SET_EXPIRING = b"E"
_DELETE = b"D"
_TRANSACTION = b"T"
_ONCE = b"O"
_STAMP = b"C"
_EXPIRE = b"X"
_RESTORE = b"R"
_GET = b"G"

#: What a :class:`Stamped` has before the command in it.
STAMP_BYTES = len(_STAMP) + _MILLISECONDS.size


@frozen
class Set:
    """
    Give each key its value, all at once.
    """

    #: Key and value, in the order of the request; where a key comes twice the
    #: last one counts.
    pairs: tuple[tuple[str, str], ...]
    #: Milliseconds that they live from then on, at least 1; ``None`` for ever. A key
    #: that is set again lives as long as the last one says.
    ttl: int | None = None


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


@frozen
class Stamped:
    """
    Tell how late it is, and carry out a command then.

    Without one, remove the keys that are due by then.
    """

    #: Milliseconds, by the clock of :mod:`hraftd.kv.lifetimes`.
    now: int
    command: Write | Once | Restore | None = None


@frozen
class Restore:
    """
    Take the next piece of a backup, or put all of them in place of what there is.

    It may come more than once, see :mod:`hraftd.kv.restores`.
    """

    #: Of this one restore, like a token.
    name: str
    #: How many pieces came before.
    number: int
    #: No bytes if that was all.
    piece: bytes


Command: TypeAlias = Write | Once | Stamped | Restore


def needs_time(command: Command) -> bool:
    """
    Whether what a command does depends on how late it is.
    """
    match command:
        case Set(ttl=ttl):
            return ttl is not None
        case Transaction(then=then, otherwise=otherwise):
            return any(
                isinstance(each, Set) and each.ttl is not None
                for each in (*then, *otherwise)
            )
        case Once(command=write):
            return needs_time(write)
        case Delete():
            return False
        case Stamped() | Restore():
            # A backup's deadlines go by another clock.
            return True
        case _:
            assert_never(command)


def stamped(command: bytes, now: int) -> bytes:
    """
    Return the bytes of a command, with this time on it if it has one.
    """
    if command[:1] != _STAMP:
        return command
    return _STAMP + _MILLISECONDS.pack(now) + command[STAMP_BYTES:]


def encode_command(command: Command) -> bytes:
    """
    Return the byte form of a command.

    :raises CodecError: if a key or value is not Unicode text (a lone surrogate),
        or is of 4 GiB and more; if a token is none; if a time is.
    """
    parts: list[bytes] = []
    try:
        match command:
            case Stamped(now, inner):
                time = _written_milliseconds(now)
                if inner is None:
                    parts += (_EXPIRE, time)
                else:
                    parts += (_STAMP, time, encode_command(inner))
            case Restore(name, number, piece):
                _check_token(name)
                parts += (_RESTORE, written_text(name))
                parts += (_TWO.pack(number, len(piece)), piece)
            case Once(token, write):
                _check_token(token)
                parts += (_ONCE, written_text(token))
                _write(write, parts)
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
        case Set(pairs, ttl):
            if ttl is None:
                parts.append(_SET)
            else:
                parts += (_SET_EXPIRING, _written_milliseconds(ttl, least=1))
            parts.append(COUNT.pack(len(pairs)))
            for name, text in pairs:
                key, value = name.encode(), text.encode()
                parts += (_TWO.pack(len(key), len(value)), key, value)
        case Delete(key):
            parts += (_DELETE, written_text(key))
        case Get(key):
            parts += (_GET, written_text(key))
        case _:
            assert_never(operation)


def _written_milliseconds(number: int, least: int = 0) -> bytes:
    if not least <= number <= MAX_MILLISECONDS:
        raise CodecError(f"{number} milliseconds cannot be")
    return _MILLISECONDS.pack(number)


def decode_command(data: bytes) -> Command:
    """
    Return the command that :func:`encode_command` made these bytes from.

    :raises CodecError: if it never makes such bytes.
    """
    command: Command
    try:
        kind = data[:1]
        if kind == _SET:
            # What nearly all are.
            command, end = _read_set(data, 1)
        elif kind == _STAMP:
            now, position = _read_milliseconds(data, 1)
            inner, end = _read_in_envelope(data, position)
            command = Stamped(now, inner)
        elif kind == _EXPIRE:
            now, end = _read_milliseconds(data, 1)
            command = Stamped(now)
        elif kind:
            command, end = _read_in_envelope(data, 0)
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


def _read_in_envelope(data: bytes, position: int) -> tuple[Write | Once | Restore, int]:
    kind = data[position : position + 1]
    if kind == _RESTORE:
        return _read_restore(data, position + 1)
    if kind != _ONCE:
        return _read(data, position)
    token, position = read_text(data, position + 1)
    _check_token(token)
    write, end = _read(data, position)
    return Once(token, write), end


def _read_restore(data: bytes, position: int) -> tuple[Restore, int]:
    name, position = read_text(data, position)
    _check_token(name)
    number, length = _TWO.unpack_from(data, position)
    start = position + _TWO.size
    end = start + length
    return Restore(name, number, data[start:end]), end


def _read(data: bytes, position: int) -> tuple[Write, int]:
    kind = data[position : position + 1]
    if kind == _SET:
        return _read_set(data, position + 1)
    if kind == _SET_EXPIRING:
        return _read_set_expiring(data, position + 1)
    if kind == _DELETE:
        key, position = read_text(data, position + 1)
        return Delete(key), position
    if kind == _TRANSACTION:
        return _read_transaction(data, position + 1)
    if not kind:
        raise CodecError("the command breaks off")
    raise CodecError(f"this version does not know the command {kind!r}")


def _read_milliseconds(data: bytes, position: int, least: int = 0) -> tuple[int, int]:
    (number,) = _MILLISECONDS.unpack_from(data, position)
    if not least <= number <= MAX_MILLISECONDS:
        raise CodecError(f"{number} milliseconds cannot be")
    return number, position + _MILLISECONDS.size


def _read_set_expiring(data: bytes, position: int) -> tuple[Set, int]:
    ttl, position = _read_milliseconds(data, position, least=1)
    return _read_set(data, position, ttl)


def _read_set(data: bytes, position: int, ttl: int | None = None) -> tuple[Set, int]:
    (count,) = COUNT.unpack_from(data, position)
    position += COUNT.size
    pairs = []
    for _ in range(count):
        key_length, value_length = _TWO.unpack_from(data, position)
        start = position + _TWO.size
        middle = start + key_length
        position = middle + value_length
        pairs.append((data[start:middle].decode(), data[middle:position].decode()))
    return Set(tuple(pairs), ttl), position


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
        elif kind == _SET_EXPIRING:
            operation, position = _read_set_expiring(data, position)
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

"""
What a transaction can ask about a key before it changes anything.

A condition speaks of one key, and of what that holds when the entry is applied: after
all entries before it, on every node alike. Its byte form is one letter and its fields
(:mod:`hraftd.kv.fields`); an index is unsigned and of 64 bits, big-endian::

    E  key                      it exists
    A  key                      it does not
    V  key  value               it exists and has this value
    I  key  count  (index) *    it exists and was last changed at one of these
    N  key  count  (index) *    it does not exist, or was last changed at none of these

The last two are what an ETag can be compared with.
"""

from __future__ import annotations

from struct import Struct, pack, unpack_from
from typing import TYPE_CHECKING, TypeAlias, assert_never

from attrs import frozen

from hraftd.codec import CodecError
from hraftd.kv.fields import COUNT, read_text, written_text
from hraftd.kv.records import INDEX_BYTES, index_in

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Absent",
    "ChangedAt",
    "Condition",
    "Exists",
    "HasValue",
    "NotChangedAt",
    "encode_condition",
    "holds",
    "read_condition",
]

_INDEX = Struct(">Q")

_EXISTS = b"E"
_ABSENT = b"A"
_VALUE = b"V"
_CHANGED_AT = b"I"
_NOT_CHANGED_AT = b"N"


@frozen
class Exists:
    """
    There is such a key.
    """

    key: str


@frozen
class Absent:
    """
    There is no such key.
    """

    key: str


@frozen
class HasValue:
    """
    The key has this very value.
    """

    key: str
    value: str


@frozen
class ChangedAt:
    """
    The key is there, and its last change is at one of these indexes.
    """

    key: str
    indexes: tuple[int, ...]


@frozen
class NotChangedAt:
    """
    The key is not there, or its last change is at none of these indexes.
    """

    key: str
    indexes: tuple[int, ...]


Condition: TypeAlias = Exists | Absent | HasValue | ChangedAt | NotChangedAt


def holds(condition: Condition, record: bytes | None) -> bool:
    """
    Return whether a condition is met.

    :param record: what its key holds; ``None`` if there is no such key.
    """
    match condition:
        case Exists():
            return record is not None
        case Absent():
            return record is None
        case HasValue(value=value):
            if record is None:
                return False
            # The lengths first: a transaction may ask about a large value often.
            wanted = value.encode()
            size = len(record) - INDEX_BYTES
            return size == len(wanted) and record.endswith(wanted)
        case ChangedAt(indexes=indexes):
            return record is not None and index_in(record) in indexes
        case NotChangedAt(indexes=indexes):
            return record is None or index_in(record) not in indexes
        case _:
            assert_never(condition)


def encode_condition(condition: Condition) -> bytes:
    """
    Return the byte form of a condition.

    :raises UnicodeEncodeError: and :exc:`struct.error`, if it has none.
    """
    match condition:
        case Exists(key):
            return _EXISTS + written_text(key)
        case Absent(key):
            return _ABSENT + written_text(key)
        case HasValue(key, value):
            return _VALUE + written_text(key) + written_text(value)
        case ChangedAt(key, indexes):
            return _CHANGED_AT + written_text(key) + _written_indexes(indexes)
        case NotChangedAt(key, indexes):
            return _NOT_CHANGED_AT + written_text(key) + _written_indexes(indexes)
        case _:
            assert_never(condition)


def _written_indexes(indexes: Sequence[int]) -> bytes:
    return COUNT.pack(len(indexes)) + pack(f">{len(indexes)}Q", *indexes)


def read_condition(data: bytes, position: int) -> tuple[Condition, int]:
    """
    Return the condition at that position, and the position behind it.

    :raises CodecError: if there is none; and as :func:`hraftd.kv.fields.read_text`.
    """
    kind = data[position : position + 1]
    key, position = read_text(data, position + 1)
    match kind:
        case b"E":
            return Exists(key), position
        case b"A":
            return Absent(key), position
        case b"V":
            value, position = read_text(data, position)
            return HasValue(key, value), position
        case b"I":
            indexes, position = _read_indexes(data, position)
            return ChangedAt(key, indexes), position
        case b"N":
            indexes, position = _read_indexes(data, position)
            return NotChangedAt(key, indexes), position
        case _:
            raise CodecError(f"this version does not know the condition {kind!r}")


def _read_indexes(data: bytes, position: int) -> tuple[tuple[int, ...], int]:
    (count,) = COUNT.unpack_from(data, position)
    position += COUNT.size
    end = position + count * _INDEX.size
    if end > len(data):
        # Before so many are asked for.
        raise CodecError("the command breaks off in the indexes of a condition")
    return unpack_from(f">{count}Q", data, position), end

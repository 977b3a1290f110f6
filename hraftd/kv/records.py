"""
What a key holds: its value and when that was set.

Two forms of it. In the store, and in its snapshots, it is a *record*: the index of the
last change in 8 bytes, big-endian, and the value in UTF-8. Why it is bytes there is
told in :mod:`hraftd.kv.store`. Whoever reads gets a :class:`Versioned`.
"""

from __future__ import annotations

from attrs import frozen

__all__ = [
    "INDEX_BYTES",
    "Listing",
    "Versioned",
    "index_and_value",
    "index_in",
    "record_of",
    "versioned",
]

#: Bytes of a record before the value.
INDEX_BYTES = 8


@frozen
class Versioned:
    """
    A value and when it was set.
    """

    value: str
    #: The log index of the last change.
    index: int


@frozen
class Listing:
    """
    Keys in their order, and what they hold.
    """

    items: tuple[tuple[str, Versioned], ...]
    #: Whether there are others behind the last one.
    more: bool


def record_of(index: int, value: str) -> bytes:
    """
    Return the record of a value that is set by the entry at that index.
    """
    return index.to_bytes(INDEX_BYTES, "big") + value.encode()


def index_in(record: bytes) -> int:
    """
    Return the index of the last change, without a look at the value.
    """
    return int.from_bytes(record[:INDEX_BYTES], "big")


def index_and_value(record: bytes) -> tuple[int, str]:
    """
    Return both, without an object for them.
    """
    return (
        int.from_bytes(record[:INDEX_BYTES], "big"),
        record[INDEX_BYTES:].decode(),
    )


def versioned(record: bytes) -> Versioned:
    """
    Return what a record says.
    """
    index, value = index_and_value(record)
    return Versioned(value, index)

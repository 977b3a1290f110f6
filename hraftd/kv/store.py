"""
The key-value store that the cluster agrees on.

Keys and values in memory, changed only by committed commands. What a command is, and
its bytes, is in :mod:`hraftd.kv.commands`; those of a snapshot are in
:mod:`hraftd.kv.snapshot`.

With millions of keys nothing here may take longer than a few milliseconds, or
heartbeats and clients would wait for it. Two things see to that.

Keys are spread over many small dictionaries, the *buckets*. A single one would copy
itself each time it has outgrown its table (45 ms at 700,000 keys), and take as long
to be freed. A snapshot begins with a list of the buckets as they are; from then on
:meth:`KeyValueStore.apply` changes a bucket that is in that list only by putting a
changed copy in its place (copy on write), until the snapshot has read it. And the
buckets that a restored state replaces are let go one with each later command.

What a key holds is kept as a *record*: the index of its last change in 8 bytes,
big-endian, and the value in UTF-8. An object with two fields would be nicer to read,
but the garbage collector visits each such object whenever it looks at all there are:
200 ms for a million. Text and bytes it need not visit, nor a dictionary that holds
nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never
from zlib import crc32

from attrs import frozen
from zope.interface import implementer

from hraftd.codec import CodecError
from hraftd.interfaces import IStateMachine
from hraftd.kv.commands import Delete, Set, decode_command
from hraftd.kv.snapshot import (
    PIECE_BYTES,
    PIECE_KEYS,
    decode_header,
    decode_records,
    encode_pieces,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hraftd.interfaces import Restoration

__all__ = ["KeyValueStore", "Versioned"]

#: A power of two: a thousand keys in each of them make a million.
BUCKETS = 1024

#: Bytes of a record before the value.
_INDEX = 8

_Bucket: TypeAlias = dict[str, bytes]

#: What stands in a view in place of a bucket that has been read.
_READ: _Bucket = {}


@frozen
class Versioned:
    """
    A value and when it was set.
    """

    value: str
    #: The log index of the last change.
    index: int


def _bucket_number(key: bytes) -> int:
    # Not by hash(): that is another one in every process, and a run that is repeated
    # from its seed should meet the same order again.
    return crc32(key) % BUCKETS


def _new_buckets() -> list[_Bucket]:
    return [{} for _ in range(BUCKETS)]


@implementer(IStateMachine)
class KeyValueStore:
    """
    Keys and their values, both text.
    """

    def __init__(self) -> None:
        """
        Begin empty.
        """
        self._buckets = _new_buckets()
        #: While a snapshot is being read: the buckets as they were when it began, but
        #: for those that it has read.
        self._view: list[_Bucket] | None = None
        #: Of states that were replaced or given up, and of views: to be let go one by
        #: one. Some may still be in use.
        self._discarded: list[_Bucket] = []
        #: Of the restore that is under way, or was given up.
        self._restored: list[_Bucket] = []

    def __len__(self) -> int:
        """
        Return the number of keys.
        """
        return sum(map(len, self._buckets))

    def get(self, key: str) -> Versioned | None:
        """
        Return what the key holds, or ``None``.
        """
        # What is no Unicode text is in no bucket, but one may ask for it.
        number = _bucket_number(key.encode("utf-8", "surrogatepass"))
        record = self._buckets[number].get(key)
        if record is None:
            return None
        index = int.from_bytes(record[:_INDEX], "big")
        return Versioned(record[_INDEX:].decode(), index)

    def apply(self, index: int, command: bytes) -> object:
        """
        Carry out an encoded command.

        :return: ``None`` for :class:`~hraftd.kv.commands.Set`; for
            :class:`~hraftd.kv.commands.Delete`, whether the key was there.
        :raises CodecError: if this is no command that this version knows.
        """
        self._let_go()
        match decode_command(command):
            case Set(pairs):
                stamp = index.to_bytes(_INDEX, "big")
                for key, value in pairs:
                    self._bucket_to_change(key)[key] = stamp + value.encode()
                return None
            case Delete(key):
                return self._bucket_to_change(key).pop(key, None) is not None
            case other:
                assert_never(other)

    def _bucket_to_change(self, key: str) -> _Bucket:
        number = _bucket_number(key.encode())
        bucket = self._buckets[number]
        if self._view is not None and self._view[number] is bucket:
            bucket = self._buckets[number] = bucket.copy()
        return bucket

    def snapshot(self) -> Generator[bytes, None, None]:
        """
        See :meth:`hraftd.interfaces.IStateMachine.snapshot`.

        :raises RuntimeError: while another one is neither exhausted nor closed.
        """
        if self._view is not None:
            raise RuntimeError("another snapshot of the store is being read")
        self._view = [*self._buckets]
        pieces = self._read_view(self._view)
        # A generator that has not begun would be closed without letting go of the
        # view.
        next(pieces)
        return pieces

    def _read_view(self, view: list[_Bucket]) -> Generator[bytes, None, None]:
        try:
            yield b""
            yield from encode_pieces(sum(map(len, view)), _records(view))
        finally:
            self._view = None
            # After a restore these may be all that is left of the state before it.
            self._discarded += [bucket for bucket in view if bucket is not _READ]

    def restore(self) -> Restoration:
        """
        See :meth:`hraftd.interfaces.IStateMachine.restore`.

        One that was begun before and is not finished is given up.
        """
        self._discarded += self._restored
        self._restored = _new_buckets()
        return _Restoration(self, self._restored)

    def _replace(self, buckets: list[_Bucket]) -> None:
        self._discarded += self._buckets
        self._buckets, self._restored = buckets, []

    def _let_go(self) -> None:
        # As much as a piece of a snapshot holds: a restore that lets go of less than it
        # replaces would leave more behind each time.
        keys = size = 0
        while self._discarded and keys < PIECE_KEYS and size < PIECE_BYTES:
            bucket = self._discarded.pop()
            keys += len(bucket)
            size += sum(map(len, bucket.values()))


def _records(view: list[_Bucket]) -> Iterator[tuple[str, bytes]]:
    """
    Yield every key and its record, and take each bucket out once it is read.
    """
    for number, bucket in enumerate(view):
        yield from bucket.items()
        view[number] = _READ


class _Restoration:
    """
    What a store will hold once all pieces have been added. Of no use afterwards.
    """

    def __init__(self, store: KeyValueStore, buckets: list[_Bucket]) -> None:
        self._store = store
        self._buckets = buckets
        #: How many keys all pieces have; ``None`` before the first of them, and after
        #: one that was refused.
        self._expected: int | None = None

    def add(self, piece: bytes) -> None:
        """
        See :meth:`hraftd.interfaces.Restoration.add`.

        :raises CodecError: if it is not one of the pieces; then it is over.
        """
        self._store._let_go()
        expected, position = self._expected, 0
        self._expected = None
        if expected is None:
            expected, position = decode_header(piece)
        try:
            for key, record in decode_records(piece, position):
                bucket = self._buckets[_bucket_number(key)]
                name = key.decode()
                if name in bucket:
                    raise CodecError(f"the key {name[:99]!r} comes twice")
                if len(record) < _INDEX:
                    raise CodecError(f"the record of {name[:99]!r} is too short")
                # Only to see that it can be read later.
                record[_INDEX:].decode()
                bucket[name] = record
        except UnicodeDecodeError as error:
            raise CodecError("a key or value of the snapshot is not UTF-8") from error
        self._expected = expected

    def finish(self) -> None:
        """
        See :meth:`hraftd.interfaces.Restoration.finish`.

        :raises CodecError: if no piece was added, one was refused, or together they
            do not have the number of keys that the first one says.
        """
        if self._expected is None:
            raise CodecError("the snapshot has no piece, or one that was refused")
        count = sum(map(len, self._buckets))
        if count != self._expected:
            raise CodecError(
                f"the snapshot has {count} keys and should have {self._expected}"
            )
        self._store._replace(self._buckets)
        # Nothing that is added by mistake gets into the store now.
        self._expected, self._buckets = None, _new_buckets()

"""
Which writes with a token were carried out, and what came of them.

A client that does not hear what came of its write asks again, at another node perhaps,
and the write may have been done the first time. If it carries a token, all nodes know:
the table here is part of the replicated state. It changes only as entries are applied,
and is in every snapshot; so it is the same on all nodes at the same index, after a
change of leader, a restart or a restore too.

It cannot grow for ever. Tokens stand in *chunks*, in the order of the log; when there
are too many of them, or too many bytes, the oldest chunk goes. Whether a token is still
known decides what a command does, so the numbers here are part of what the nodes agree
on: they are constants, and never an option of a node. A retry that comes when 130,000
other writes with tokens were done since is taken for a new write.

As everywhere in the store, nothing here takes long at once, and there is little for the
garbage collector to visit: dictionaries of text and bytes only, none of them large. A
token is found in one of many *buckets*; the chunks say which is the oldest. A chunk
that is full never changes, so a snapshot needs no copy of it. And the tokens of a chunk
that went are taken out of their buckets bit by bit; they are not found there any more,
since they are older than the oldest that still counts.

A token's *record* is the index of its entry in 8 bytes, big-endian; a digest of the
command in 16; and what came of it, as in :mod:`hraftd.plain_values`.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

from attrs import frozen

from hraftd.codec import CodecError
from hraftd.kv.commands import is_token
from hraftd.plain_values import decode_value, encode_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hraftd.plain_values import PlainValue

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_TOKENS",
    "MAX_TOKENS",
    "MAX_TOKEN_BYTES",
    "Remembered",
    "Tokens",
    "digest_of",
]

#: Tokens in all chunks. At ten thousand writes a second that is longer than a node
#: waits for a write of its clients.
MAX_TOKENS = 1 << 17

#: Bytes of tokens and records in all chunks.
MAX_TOKEN_BYTES = 64 << 20

#: A chunk is full when it has so many tokens, or so many bytes. That depends on nothing
#: but its own content: where chunks begin is the same in a state that was restored.
CHUNK_TOKENS = 256
CHUNK_BYTES = 1 << 20

#: A power of two; with all the tokens there may be, some hundreds in each.
BUCKETS = 256

_INDEX = 8
_DIGEST = 16
#: Bytes of a record before the result.
_RESULT = _INDEX + _DIGEST

_Chunk: TypeAlias = dict[str, bytes]


@frozen
class Remembered:
    """
    What is known of a token.
    """

    #: Of the entry that brought it.
    index: int
    #: Of the command that came with it.
    digest: bytes
    record: bytes

    @property
    def result(self) -> PlainValue:
        """
        What came of that command.
        """
        return decode_value(self.record[_RESULT:])


def digest_of(command: bytes) -> bytes:
    """
    Return what tells commands apart.
    """
    return blake2b(command, digest_size=_DIGEST).digest()


def _index_in(record: bytes) -> int:
    return int.from_bytes(record[:_INDEX], "big")


def _bucket_number(token: str) -> int:
    return crc32(token.encode("utf-8", "surrogatepass")) % BUCKETS


class Tokens:
    """
    The table. Tokens come with growing indexes.
    """

    def __init__(self) -> None:
        """
        Begin with no token.
        """
        #: In the order of the log; the last one is being filled.
        self._chunks: deque[_Chunk] = deque([{}])
        #: How many bytes each of them has.
        self._sizes: deque[int] = deque([0])
        self._bytes = 0
        self._count = 0
        self._buckets: list[_Chunk] = [{} for _ in range(BUCKETS)]
        #: Of the first token that still counts, or a smaller one.
        self._oldest = 0
        self._last = 0
        #: Chunks that count no more, whose tokens are still in the buckets.
        self._gone: list[_Chunk] = []

    def __len__(self) -> int:
        """
        Return how many tokens are known.
        """
        return self._count

    @property
    def size(self) -> int:
        """
        How many bytes of tokens and records there are.
        """
        return self._bytes

    def find(self, token: str) -> Remembered | None:
        """
        Return what is known of a token; ``None`` if nothing is, or not any more.
        """
        record = self._buckets[_bucket_number(token)].get(token)
        if record is None or (index := _index_in(record)) < self._oldest:
            return None
        return Remembered(index, record[_INDEX:_RESULT], record)

    def remember(self, token: str, index: int, digest: bytes, result: object) -> None:
        """
        Keep what came of a command, under a token that is not known.

        :param index: of the entry that brought it, larger than all before.
        :param digest: see :func:`digest_of`.
        :param result: a plain value.
        """
        record = index.to_bytes(_INDEX, "big") + digest + encode_value(result)
        self._add(token, index, record)

    def _add(self, token: str, index: int, record: bytes) -> None:
        self._clear_some()
        if len(self._chunks[-1]) == CHUNK_TOKENS or self._sizes[-1] >= CHUNK_BYTES:
            self._chunks.append({})
            self._sizes.append(0)
        self._chunks[-1][token] = record
        self._buckets[_bucket_number(token)][token] = record
        self._last = index
        self._count += 1
        added = len(token) + len(record)
        self._sizes[-1] += added
        self._bytes += added
        while self._count > MAX_TOKENS or self._bytes > MAX_TOKEN_BYTES:
            chunk = self._chunks.popleft()
            self._gone.append(chunk)
            self._count -= len(chunk)
            self._bytes -= self._sizes.popleft()
            self._oldest = _index_in(next(iter(self._chunks[0].values())))

    def _clear_some(self) -> None:
        """
        Take tokens that count no more out of the buckets.

        Those that went last are the first, so that large ones never wait behind many
        small ones: nothing comes in as fast as it is cleared here.
        """
        cleared = 0
        while self._gone and cleared < 2 * CHUNK_TOKENS:
            chunk = self._gone.pop()
            cleared += len(chunk)
            for token, record in chunk.items():
                bucket = self._buckets[_bucket_number(token)]
                # It may have come again since.
                if bucket.get(token) is record:
                    del bucket[token]

    # Snapshots.

    def view(self) -> list[_Chunk]:
        """
        Return the chunks as they are, for a snapshot: they will not change.
        """
        *full, filling = self._chunks
        return [*full, dict(filling)]

    def restore(self, token: bytes, record: bytes) -> None:
        """
        Take in the next token of a snapshot.

        :raises CodecError: if it is none, or does not come behind the one before.
        """
        name = token.decode("ascii", "replace")
        if not is_token(name):
            raise CodecError(f"no token of a snapshot can be {name[:99]!r}")
        if len(record) <= _RESULT:
            raise CodecError(f"the record of the token {name[:99]!r} is too short")
        index = _index_in(record)
        if index <= self._last:
            raise CodecError(f"the token {name[:99]!r} is not in the order of the log")
        if self.find(name) is not None:
            raise CodecError(f"the token {name[:99]!r} comes twice")
        # Only to see that it can be read later.
        decode_value(record[_RESULT:])
        self._add(name, index, record)

    def parts(self) -> Iterator[_Chunk]:
        """
        Yield all that holds tokens, so that it can be let go one by one.
        """
        yield from self._buckets
        yield from self._chunks
        yield from self._gone

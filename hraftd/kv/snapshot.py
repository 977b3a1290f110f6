"""
The byte form of the whole store, in pieces.

The first piece begins with a format byte and the number of keys in all pieces. Behind
that, and in every other piece from its beginning, come how many keys it has and, for
each, the key in UTF-8 and its record, each behind its length; numbers are unsigned,
big-endian, of 64 bits if they count all keys and of 32 bits if not::

    first piece   format  keys in all  | count  (key length, record length,
    other pieces                       | count   key, record) * count

Each piece can be read by itself, and their order does not matter behind the first.

What a record is, and how the state stands still while it is read, is told in
:mod:`hraftd.kv.store`. That no byte of a piece has changed is the business of whoever
keeps it or sends it; here it is made sure that whatever is accepted can be a state.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import TYPE_CHECKING

from hraftd.codec import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FORMAT", "decode_header", "decode_records", "encode_pieces"]

#: The first byte of the first piece. A layout that older servers cannot read gets
#: another one.
FORMAT = 1

#: Bytes: a piece is larger only if it has a single key.
PIECE_BYTES = 256 * 1024

#: Keys in a piece, even if they are short: it is their number that takes the time,
#: between one and two milliseconds for so many.
PIECE_KEYS = 1024

_HEADER = Struct(">BQ")
_COUNT = Struct(">I")
_LENGTHS = Struct(">II")


def encode_pieces(count: int, records: Iterator[tuple[str, bytes]]) -> Iterator[bytes]:
    """
    Yield a state as pieces; at least one, and none of them empty.

    :param count: the number of keys.
    :param records: each key once and its record; read as the pieces are.
    """
    header = _HEADER.pack(FORMAT, count)
    pack = _LENGTHS.pack
    parts: list[bytes] = []
    held, size = 0, len(header)
    for name, record in records:
        key = name.encode()
        added = _LENGTHS.size + len(key) + len(record)
        if held and (held == PIECE_KEYS or size + added > PIECE_BYTES):
            yield b"".join((header, _COUNT.pack(held), *parts))
            header = b""
            parts.clear()
            held = size = 0
        parts += (pack(len(key), len(record)), key, record)
        held += 1
        size += added
    yield b"".join((header, _COUNT.pack(held), *parts))


def decode_header(piece: bytes) -> tuple[int, int]:
    """
    Return what the first piece says of all of them.

    :return: the number of keys in all pieces, and where the records begin.
    :raises CodecError: if it is no first piece, or of another format.
    """
    if not piece:
        raise CodecError("the snapshot lacks its format byte")
    if piece[0] != FORMAT:
        raise CodecError(
            f"the snapshot is of format {piece[0]}, this version reads {FORMAT}"
        )
    try:
        _, count = _HEADER.unpack_from(piece)
    except struct.error as error:
        raise CodecError("the snapshot breaks off in its header") from error
    return count, _HEADER.size


def decode_records(piece: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    """
    Yield each key, still in UTF-8, and its record.

    :param position: where the count of keys stands.
    :raises CodecError: as soon as something is found that is never encoded; only if
        all was read to its end it was whole.
    """
    end = len(piece)
    unpack = _LENGTHS.unpack_from
    try:
        (count,) = _COUNT.unpack_from(piece, position)
        position += _COUNT.size
        for _ in range(count):
            key_length, record_length = unpack(piece, position)
            start = position + _LENGTHS.size
            middle = start + key_length
            position = middle + record_length
            if position > end:
                raise CodecError("a piece of the snapshot breaks off in a record")
            yield piece[start:middle], piece[middle:position]
    except struct.error as error:
        raise CodecError("a piece of the snapshot breaks off") from error
    if position < end:
        raise CodecError(f"{end - position} bytes follow a piece of the snapshot")

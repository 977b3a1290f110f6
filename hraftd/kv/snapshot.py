"""
The byte form of the whole store, in pieces.

The first piece begins with a format byte, how many keys, tokens and deadlines all
pieces have, and the clock (:mod:`hraftd.kv.lifetimes`). Behind that, and in every other
piece from its beginning, comes what kind of items it has, how many, and each as a name
and a record, both behind their length; numbers are unsigned, big-endian, of 64 bits in
the first piece's beginning and of 32 bits elsewhere::

    first piece   format  keys  tokens  deadlines  clock  | kind  count  (name length,
    other pieces                                          | record length, name, record)

The kind is K, and names are keys in UTF-8; or T, and they are tokens in the order of
the log; or D, and they are keys and have a deadline for a record. A piece can be read
by itself. The order of those with keys does not matter, behind the first; those with
tokens come in theirs, and those with deadlines behind the keys. Last of all, kind R,
comes what there is of a backup that is being restored (:mod:`hraftd.kv.restores`).

Two older formats are still read: in format 2 there was neither a clock nor deadlines,
and in format 1 there were no tokens either, no count of them, and no kind.

What a record is, and how the state stands still while it is read, is told in
:mod:`hraftd.kv.store`, and in :mod:`hraftd.kv.tokens`. That no byte of a piece has
changed is the business of whoever keeps it or sends it; here it is made sure that
whatever is accepted can be a state.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.codec import CodecError
from hraftd.kv.lifetimes import MAX_MILLISECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "DEADLINES",
    "FORMAT",
    "KEYS",
    "RESTORES",
    "TOKENS",
    "Header",
    "encode_pieces",
    "read_piece",
]

#: The first byte of the first piece. A layout that older servers cannot read gets
#: another one.
FORMAT = 3

#: Older formats that are still read.
_WITHOUT_TOKENS = 1
_WITHOUT_DEADLINES = 2

#: What a piece holds.
KEYS = b"K"
TOKENS = b"T"
DEADLINES = b"D"
RESTORES = b"R"

#: Bytes: a piece is larger only if it has a single item.
PIECE_BYTES = 256 * 1024

#: Items in a piece, even if they are short: it is their number that takes the time,
#: between one and two milliseconds for so many.
PIECE_KEYS = 1024

_COUNTS_AND_CLOCK = Struct(">QQQQ")
_COUNTS = Struct(">QQ")
_COUNT_OF_KEYS = Struct(">Q")
_COUNT = Struct(">I")
_LENGTHS = Struct(">II")


@frozen
class Header:
    """
    What the first piece says of all of them.
    """

    keys: int
    tokens: int = 0
    deadlines: int = 0
    clock: int = 0
    format: int = FORMAT


def encode_pieces(
    header: Header,
    records: Iterable[tuple[str, bytes]],
    tokens: Iterable[tuple[str, bytes]],
    deadlines: Iterable[tuple[str, bytes]],
    restores: Iterable[tuple[str, bytes]] = (),
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[bytes]:
    """
    Yield a state as pieces; at least one, and none of them empty.

    :param header: says how many there are of each; in :data:`FORMAT`.
    :param records: each key once and its record; read as the pieces are.
    :param tokens: the same for tokens.
    :param deadlines: the same for deadlines.
    :param restores: the parts of a backup that is being restored.
    :param piece_bytes: what a piece has at most, if it has more than one item.
    """
    beginning = bytes([FORMAT]) + _COUNTS_AND_CLOCK.pack(
        header.keys, header.tokens, header.deadlines, header.clock
    )
    for kind, items in (
        (KEYS, records),
        (TOKENS, tokens),
        (DEADLINES, deadlines),
        (RESTORES, restores),
    ):
        for piece in _pieces_of(kind, items, piece_bytes, len(beginning)):
            yield beginning + piece
            beginning = b""
    if beginning:
        yield beginning + KEYS + _COUNT.pack(0)


def _pieces_of(
    kind: bytes, records: Iterable[tuple[str, bytes]], piece_bytes: int, header: int
) -> Iterator[bytes]:
    """
    Yield pieces with items of one kind, if there are any.

    :param header: bytes that the first of them is to have room for.
    """
    room = piece_bytes - header
    pack = _LENGTHS.pack
    parts: list[bytes] = []
    held = size = 0
    for text, record in records:
        name = text.encode()
        added = _LENGTHS.size + len(name) + len(record)
        if held and (held == PIECE_KEYS or size + added > room):
            yield b"".join((kind, _COUNT.pack(held), *parts))
            parts.clear()
            held = size = 0
            room = piece_bytes
        parts += (pack(len(name), len(record)), name, record)
        held += 1
        size += added
    if held:
        yield b"".join((kind, _COUNT.pack(held), *parts))


def read_piece(
    piece: bytes, header: Header | None
) -> tuple[Header, bytes, Iterator[tuple[bytes, bytes]]]:
    """
    Return what is in a piece.

    :param header: what an earlier piece has said; ``None`` if this is the first.
    :return: the header of all pieces; the kind of this one's items; and an iterator of
        their names, keys still in UTF-8, and records. That raises :exc:`CodecError` as
        soon as it finds something that is never encoded: only if all was read to its
        end it was whole.
    :raises CodecError: if it cannot be a piece, or is not the first and should be.
    """
    position = 0
    if header is None:
        header, position = _read_header(piece)
    kind = KEYS
    if header.format != _WITHOUT_TOKENS:
        kind = piece[position : position + 1]
        position += 1
        if kind not in (KEYS, TOKENS, DEADLINES, RESTORES):
            raise CodecError(f"a piece of the snapshot has an unknown kind: {kind!r}")
    return header, kind, _read_items(piece, position)


def _read_header(piece: bytes) -> tuple[Header, int]:
    if not piece:
        raise CodecError("the snapshot lacks its format byte")
    try:
        match piece[0]:
            case 1:
                (keys,) = _COUNT_OF_KEYS.unpack_from(piece, 1)
                header = Header(keys, format=_WITHOUT_TOKENS)
                return header, 1 + _COUNT_OF_KEYS.size
            case 2:
                keys, tokens = _COUNTS.unpack_from(piece, 1)
                header = Header(keys, tokens, format=_WITHOUT_DEADLINES)
                return header, 1 + _COUNTS.size
            case 3:
                header = Header(*_COUNTS_AND_CLOCK.unpack_from(piece, 1))
                if header.clock > MAX_MILLISECONDS:
                    raise CodecError(f"no clock can be at {header.clock}")
                return header, 1 + _COUNTS_AND_CLOCK.size
            case unknown:
                raise CodecError(
                    f"the snapshot is of format {unknown}, this version reads "
                    f"{_WITHOUT_TOKENS} to {FORMAT}"
                )
    except struct.error as error:
        raise CodecError("the snapshot breaks off in its header") from error


def _read_items(piece: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    end = len(piece)
    unpack = _LENGTHS.unpack_from
    try:
        (count,) = _COUNT.unpack_from(piece, position)
        position += _COUNT.size
        for _ in range(count):
            name_length, record_length = unpack(piece, position)
            start = position + _LENGTHS.size
            middle = start + name_length
            position = middle + record_length
            if position > end:
                raise CodecError("a piece of the snapshot breaks off in a record")
            yield piece[start:middle], piece[middle:position]
    except struct.error as error:
        raise CodecError("a piece of the snapshot breaks off") from error
    if position < end:
        raise CodecError(f"{end - position} bytes follow a piece of the snapshot")

"""
The tables ``snapshot`` and ``snapshot_piece``: what stands in place of the log.

``snapshot`` has one row, also where there is no snapshot yet, so that a row which is
lost is never read as none. Its pieces are the rows of ``snapshot_piece`` that carry
its *generation*. A snapshot that is being received, or being taken, gets its pieces
written under a generation of its own; putting it in force is changing the one row.
What no row of ``snapshot`` speaks of is garbage, and is deleted a few megabytes at a
time.

The pieces have their checksum before their data, so that SQLite need not walk through
the data's pages for it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.codec import CodecError, decode_payload, encode_payload
from hraftd.raft.configuration import Configuration
from hraftd.raft.messages import Snapshot
from hraftd.rows import Damage, bytes_checksum, checksum, is_intact

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from hraftd.raft.messages import Piece
    from hraftd.sqlite_file import Statement

__all__ = [
    "TABLES",
    "StoredSnapshot",
    "check_pieces",
    "delete_pieces",
    "insert_no_snapshot",
    "insert_piece",
    "read_generations",
    "read_piece",
    "read_pieces",
    "read_snapshot",
    "update_snapshot",
]

#: Their names and what makes them, as SQLite keeps them.
TABLES = (
    (
        "snapshot",
        "CREATE TABLE snapshot (generation INTEGER NOT NULL, last_index INTEGER, "
        "last_term INTEGER, configuration BLOB, size INTEGER, digest BLOB, "
        "crc INTEGER NOT NULL)",
    ),
    (
        "snapshot_piece",
        "CREATE TABLE snapshot_piece (generation INTEGER NOT NULL, "
        '"offset" INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL, '
        'PRIMARY KEY (generation, "offset")) WITHOUT ROWID',
    ),
)

#: What the one row holds while there is no snapshot.
_NONE = (0, None, None, None, None, None)

#: Bytes of pieces that are deleted together, unless one alone has more. SQLite reads
#: all pages of what it deletes, and a save may have to wait for that.
_DELETED = 2 * 1024 * 1024


@frozen
class StoredSnapshot:
    """
    A snapshot that is in force, and the generation of its pieces.
    """

    generation: int
    snapshot: Snapshot


def insert_no_snapshot() -> Statement:
    """
    Return what adds the one row, for no snapshot.
    """
    return "INSERT INTO snapshot VALUES (?, ?, ?, ?, ?, ?, ?)", (
        *_NONE,
        checksum(*_NONE),
    )


def update_snapshot(stored: StoredSnapshot) -> Statement:
    """
    Return what puts a snapshot in force.
    """
    snapshot = stored.snapshot
    columns = (
        stored.generation,
        snapshot.last_index,
        snapshot.last_term,
        encode_payload(snapshot.configuration),
        snapshot.size,
        snapshot.digest,
    )
    return (
        "UPDATE snapshot SET generation = ?, last_index = ?, last_term = ?, "
        "configuration = ?, size = ?, digest = ?, crc = ?",
        (*columns, checksum(*columns)),
    )


def read_snapshot(connection: sqlite3.Connection) -> StoredSnapshot | None:
    """
    Return the snapshot in force, ``None`` if there is none.

    :raises Damage: if that cannot be told.
    """
    rows = connection.execute("SELECT * FROM snapshot").fetchall()
    if len(rows) != 1:
        raise Damage(f"its table snapshot has {len(rows)} rows instead of 1")
    [(*columns, crc)] = rows
    if checksum(*columns) != crc:
        raise Damage("the checksum of its table snapshot is wrong")
    if tuple(columns) == _NONE:
        return None
    generation, last_index, last_term, payload, size, digest = columns
    try:
        configuration = decode_payload(payload)
    except CodecError as error:
        raise Damage(f"in its table snapshot, {error}") from error
    if not isinstance(configuration, Configuration):
        raise Damage("its table snapshot holds no configuration")
    return StoredSnapshot(
        generation, Snapshot(last_index, last_term, configuration, size, digest)
    )


def insert_piece(generation: int, piece: Piece) -> Statement:
    """
    Return what adds a piece.
    """
    crc = bytes_checksum(generation, piece.offset, piece.data)
    return (
        "INSERT INTO snapshot_piece VALUES (?, ?, ?, ?)",
        (generation, piece.offset, crc, piece.data),
    )


def check_pieces(connection: sqlite3.Connection, stored: StoredSnapshot) -> None:
    """
    See that the pieces of a snapshot are all there, without reading them.

    :raises Damage: if one of them is missing, too many, too short or too long.
    """
    expected = 0
    rows = connection.execute(
        'SELECT "offset", length(data) FROM snapshot_piece WHERE generation = ? '
        'ORDER BY "offset"',
        (stored.generation,),
    ).fetchall()
    for offset, length in rows:
        if offset != expected:
            raise _missing(expected)
        expected += length
    if expected < stored.snapshot.size:
        raise _missing(expected)
    if expected > stored.snapshot.size:
        raise Damage(
            f"its snapshot has {expected} bytes instead of {stored.snapshot.size}"
        )


def read_piece(
    connection: sqlite3.Connection, generation: int, offset: int
) -> bytes | None:
    """
    Return the data of one piece, ``None`` if none begins there.

    :raises Damage: if it is not as it was written.
    """
    rows = connection.execute(
        'SELECT crc, data FROM snapshot_piece WHERE generation = ? AND "offset" = ?',
        (generation, offset),
    ).fetchall()
    if not rows:
        return None
    [(crc, data)] = rows
    if not is_intact(generation, offset, data, crc):
        raise Damage(f"the checksum of the piece at {offset} of its snapshot is wrong")
    piece: bytes = data
    return piece


def read_pieces(
    connection: sqlite3.Connection, stored: StoredSnapshot
) -> Iterator[bytes]:
    """
    Yield the data of all pieces in order, one row at a time.

    :raises Damage: if they are not what was written, at the end at the latest.
    """
    digest = blake2b(digest_size=32)
    offset = 0
    while offset < stored.snapshot.size:
        data = read_piece(connection, stored.generation, offset)
        if not data:
            raise _missing(offset)
        digest.update(data)
        yield data
        offset += len(data)
    if offset != stored.snapshot.size or digest.digest() != stored.snapshot.digest:
        raise Damage("the pieces of its snapshot are those of another one")


def read_generations(connection: sqlite3.Connection) -> list[int]:
    """
    Return the generations of which there are pieces.
    """
    rows = connection.execute(
        "SELECT DISTINCT generation FROM snapshot_piece"
    ).fetchall()
    return [generation for (generation,) in rows]


def delete_pieces(generation: int) -> Statement:
    """
    Return what deletes the first few megabytes of a generation's pieces.

    It changes no row once there is nothing left.
    """
    return (
        'DELETE FROM snapshot_piece WHERE generation = ?1 AND "offset" < '
        '(SELECT min("offset") FROM snapshot_piece WHERE generation = ?1) + ?2',
        (generation, _DELETED),
    )


def _missing(offset: int) -> Damage:
    return Damage(f"the piece at {offset} of its snapshot is missing")

"""
What is in the database of a node, as rows and as the statements that write them.

Three tables: ``meta`` (one row: format version, node, cluster), ``hard_state`` (one
row: term and vote) and ``log`` (a row for each entry, its payload in the form of
:mod:`hraftd.codec`). Each row carries a CRC-32 of its other columns, since SQLite
does not notice a flipped bit.

Reading believes nothing: a table, row or index that is missing or too many, and a
checksum that does not fit, all end in :class:`Damage`. Which file that is about, and
when it is opened and written, is the business of :mod:`hraftd.database`.
"""

from __future__ import annotations

import json
import struct
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

from attrs import frozen

from hraftd.codec import CodecError, decode_payload, encode_payload
from hraftd.raft.messages import Entry, HardState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from hraftd.sqlite_file import Statement

__all__ = [
    "FORMAT",
    "Damage",
    "Meta",
    "UnknownFormat",
    "create_tables",
    "insert_entries",
    "read_hard_state",
    "read_log",
    "read_meta",
    "truncate_log",
    "update_hard_state",
    "update_meta",
]

#: The version of everything described above. A database of another one is refused.
FORMAT = 1

#: As SQLite keeps them in ``sqlite_master``, in the order of their names.
_TABLES = (
    (
        "hard_state",
        "CREATE TABLE hard_state (current_term INTEGER NOT NULL, voted_for TEXT, "
        "crc INTEGER NOT NULL)",
    ),
    (
        "log",
        'CREATE TABLE log ("index" INTEGER PRIMARY KEY, term INTEGER NOT NULL, '
        "payload BLOB NOT NULL, crc INTEGER NOT NULL)",
    ),
    (
        "meta",
        "CREATE TABLE meta (format INTEGER NOT NULL, node_id TEXT NOT NULL, "
        "cluster_id TEXT, crc INTEGER NOT NULL)",
    ),
)

_ROW = "(?, ?, ?, ?)"
_COLUMNS = 4

#: More rows than this make no statement faster, only larger: each size of batch is
#: a statement of its own, which SQLite caches.
_MOST_ROWS = 256

_INDEX_AND_TERM = Struct(">qq")


class Damage(Exception):
    """
    These tables are not as hraftd left them. The text says what is wrong.
    """


class UnknownFormat(Exception):
    """
    Another version of hraftd made these tables. The text is that version.
    """


@frozen
class Meta:
    """
    Whose database it is.
    """

    node_id: str
    cluster_id: str | None = None


def create_tables(meta: Meta) -> Iterator[Statement]:
    """
    Yield what makes a node's tables and their first rows, whatever was there.
    """
    for name, table in _TABLES:
        yield f"DROP TABLE IF EXISTS {name}", ()
        yield table, ()
    columns = (FORMAT, meta.node_id, meta.cluster_id)
    yield "INSERT INTO meta VALUES (?, ?, ?, ?)", (*columns, _crc(*columns))
    yield "INSERT INTO hard_state VALUES (?, ?, ?)", _hard_state_row(HardState())


def read_meta(connection: sqlite3.Connection) -> Meta:
    """
    See that all tables are there, in this format, and return whose they are.

    :raises UnknownFormat: if they are of another format.
    :raises Damage: if they are not as they should be.
    """
    tables = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite^_%' "
        "ESCAPE '^' ORDER BY name"
    ).fetchall()
    if "meta" not in [name for name, _ in tables]:
        raise Damage("it has no table meta")
    # First the format alone: another one may have other columns and tables.
    formats = connection.execute("SELECT format FROM meta").fetchall()
    if len(formats) != 1:
        raise Damage(f"its table meta has {len(formats)} rows instead of 1")
    if formats != [(FORMAT,)]:
        raise UnknownFormat(formats[0][0])
    if tables != list(_TABLES):
        raise Damage("its tables are not those that hraftd made")
    [(*columns, crc)] = connection.execute("SELECT * FROM meta").fetchall()
    if _crc(*columns) != crc:
        raise Damage("the checksum of its table meta is wrong")
    _, node_id, cluster_id = columns
    return Meta(node_id, cluster_id)


def update_meta(meta: Meta) -> Statement:
    """
    Return what puts a node into a cluster.
    """
    crc = _crc(FORMAT, meta.node_id, meta.cluster_id)
    return "UPDATE meta SET cluster_id = ?, crc = ?", (meta.cluster_id, crc)


def read_hard_state(connection: sqlite3.Connection) -> HardState:
    """
    Return term and vote.

    :raises Damage: if they are not there or not as they were written.
    """
    rows = connection.execute("SELECT * FROM hard_state").fetchall()
    if len(rows) != 1:
        raise Damage(f"its table hard_state has {len(rows)} rows instead of 1")
    [(current_term, voted_for, crc)] = rows
    if _crc(current_term, voted_for) != crc:
        raise Damage("the checksum of its table hard_state is wrong")
    return HardState(current_term, voted_for)


def update_hard_state(hard_state: HardState) -> Statement:
    """
    Return what replaces term and vote.
    """
    return (
        "UPDATE hard_state SET current_term = ?, voted_for = ?, crc = ?",
        _hard_state_row(hard_state),
    )


def read_log(connection: sqlite3.Connection) -> tuple[Entry, ...]:
    """
    Return all entries, the first of which has index 1.

    :raises Damage: if one of them is missing or not as it was written.
    """
    entries: list[Entry] = []
    rows = connection.execute(
        'SELECT "index", term, payload, crc FROM log ORDER BY "index"'
    )
    pack = _INDEX_AND_TERM.pack
    for expected, (index, term, payload, crc) in enumerate(rows, 1):
        if index != expected:
            raise Damage(f"entry {expected} of its log is missing")
        try:
            is_intact = crc32(payload, crc32(pack(index, term))) == crc
        except (TypeError, struct.error):
            is_intact = False
        if not is_intact:
            raise Damage(f"the checksum of entry {index} is wrong")
        try:
            entries.append(Entry(index, term, decode_payload(payload)))
        except CodecError as error:
            raise Damage(f"in entry {index}, {error}") from error
    return tuple(entries)


def truncate_log(first_index: int) -> Statement:
    """
    Return what removes all entries from that index on.
    """
    return 'DELETE FROM log WHERE "index" >= ?', (first_index,)


def insert_entries(
    entries: Sequence[Entry], most_variables: int
) -> Iterator[Statement]:
    """
    Yield what adds entries, in one statement if they are not too many.

    :param most_variables: how many parameters SQLite takes in a statement.
    """
    most_rows = min(_MOST_ROWS, most_variables // _COLUMNS)
    pack = _INDEX_AND_TERM.pack
    for start in range(0, len(entries), most_rows):
        rows = entries[start : start + most_rows]
        values: list[object] = []
        for entry in rows:
            index, term = entry.index, entry.term
            payload = encode_payload(entry.payload)
            crc = crc32(payload, crc32(pack(index, term)))
            values += (index, term, payload, crc)
        yield "INSERT INTO log VALUES " + ", ".join([_ROW] * len(rows)), values


def _hard_state_row(hard_state: HardState) -> tuple[object, ...]:
    columns = (hard_state.current_term, hard_state.voted_for)
    return *columns, _crc(*columns)


def _crc(*columns: object) -> int:
    """
    Return the CRC-32 of numbers and text, in the form of a JSON array.
    """
    # What else damage makes of a column has some form, too, and another checksum.
    return crc32(json.dumps(columns, default=repr).encode())

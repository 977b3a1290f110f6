"""
The table ``log``: a row for each entry behind the snapshot, and some before its end.

A row is an entry's index and term, its payload in the form of :mod:`hraftd.codec`,
and a checksum of these (:mod:`hraftd.rows`). Without a snapshot the first row is
entry 1; with one it is at most the entry behind the snapshot, and what there is
before that is kept for slow followers. Reading believes nothing: a gap, a row that
does not fit the snapshot, and a checksum that is wrong end in
:class:`~hraftd.rows.Damage`.

Each question here that is asked while the node runs is one step of SQLite's: between
two steps the disk's thread gives the interpreter lock away, and waits some
milliseconds for it while the reactor is busy.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from hraftd.codec import CodecError, decode_payload, encode_payload
from hraftd.raft.messages import Entry
from hraftd.rows import Damage, bytes_checksum, is_intact

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from hraftd.raft.messages import Snapshot
    from hraftd.sqlite_file import Statement

__all__ = [
    "TABLE",
    "clear_log",
    "discard_log",
    "first_to_keep",
    "insert_entries",
    "read_entries",
    "read_log",
    "read_term",
    "truncate_log",
]

#: Its name and what makes it, as SQLite keeps them.
TABLE = (
    "log",
    'CREATE TABLE log ("index" INTEGER PRIMARY KEY, term INTEGER NOT NULL, '
    "payload BLOB NOT NULL, crc INTEGER NOT NULL)",
)

_ROW = "(?, ?, ?, ?)"
_COLUMNS = 4

#: More rows than this make no statement faster, only larger: each size of batch is
#: a statement of its own, which SQLite caches.
_MOST_ROWS = 256

#: So many entries are looked at in one step when some are read back.
_READ_ROWS = 1024

#: How many of these rows there are, and the last one that may be read.
_COUNT_AND_LAST_WITHIN = """
    SELECT count(*), max(CASE WHEN bytes <= ? THEN "index" END) FROM (
        SELECT "index", sum(length(payload)) OVER (ORDER BY "index") AS bytes
        FROM log WHERE "index" BETWEEN ? AND ?
    )
"""

#: Rows as one text, since rows one by one would be steps one by one.
_ROWS_AS_TEXT = """
    SELECT group_concat(line, x'0a') FROM (
        SELECT "index" || ' ' || term || ' ' || crc || ' ' || hex(payload) AS line
        FROM log WHERE "index" BETWEEN ? AND ? ORDER BY "index"
    )
"""

_FIRST_WITHIN = """
    SELECT min("index") FROM (
        SELECT "index", sum(length(payload)) OVER (ORDER BY "index" DESC) AS bytes
        FROM log WHERE "index" BETWEEN ? AND ?
    ) WHERE bytes <= ?
"""


def read_log(
    connection: sqlite3.Connection, snapshot: Snapshot | None
) -> tuple[Entry, ...]:
    """
    Return all entries.

    :param snapshot: what they stand behind.
    :raises Damage: if one of them is missing or not as it was written, or if they
        are not those that the snapshot stands for.
    """
    entries: list[Entry] = []
    last_index = 0 if snapshot is None else snapshot.last_index
    expected = None
    # Closed also if something is wrong: an open cursor would keep the file locked.
    with closing(
        connection.execute(
            'SELECT "index", term, payload, crc FROM log ORDER BY "index"'
        )
    ) as rows:
        for index, term, payload, crc in rows:
            if expected is None:
                expected = index if 1 <= index <= last_index else last_index + 1
            if index != expected:
                raise _missing(expected)
            entries.append(_entry(index, term, payload, crc))
            expected += 1
    if entries and snapshot is not None:
        if entries[-1].index < last_index:
            raise _missing(entries[-1].index + 1)
        if entries[0].index <= last_index:
            entry = entries[last_index - entries[0].index]
            if entry.term != snapshot.last_term:
                raise Damage(
                    f"entry {last_index} of its log is of term {entry.term}, but of "
                    f"term {snapshot.last_term} in its snapshot"
                )
    return tuple(entries)


def read_entries(
    connection: sqlite3.Connection, first_index: int, last_index: int, max_bytes: int
) -> tuple[Entry, ...]:
    """
    Return entries from an index on, all of which the log holds.

    :return: not beyond ``last_index``, and no more than have that many bytes of
        payload together, but at least one.
    :raises Damage: if one of them is missing or not as it was written.
    """
    entries: list[Entry] = []
    next_index = first_index
    while next_index <= last_index:
        end = min(last_index, next_index + _READ_ROWS - 1)
        [(count, within)] = connection.execute(
            _COUNT_AND_LAST_WITHIN, (max_bytes, next_index, end)
        ).fetchall()
        if count <= end - next_index:
            # Reading them all will show which one is missing.
            within = end
        elif within is None:
            if entries:
                break
            # The first one alone is more than was asked for.
            within = next_index
        max_bytes -= _read_rows(connection, next_index, within, entries)
        if within < end:
            break
        next_index = end + 1
    return tuple(entries)


def _read_rows(
    connection: sqlite3.Connection, first: int, last: int, entries: list[Entry]
) -> int:
    """
    Add all entries from the first to the last, and return the bytes of payload.
    """
    text = _one(connection, _ROWS_AS_TEXT, first, last)
    lines = text.split("\n") if isinstance(text, str) else []
    read_bytes = 0
    for expected, line in enumerate(lines, first):
        try:
            index, term, crc, payload = line.split(" ")
            row = int(index), int(term), bytes.fromhex(payload), int(crc)
        except ValueError as error:
            raise Damage(f"the checksum of entry {expected} is wrong") from error
        if row[0] != expected:
            raise _missing(expected)
        entries.append(_entry(*row))
        read_bytes += len(row[2])
    if len(lines) != last - first + 1:
        raise _missing(first + len(lines))
    return read_bytes


def _one(connection: sqlite3.Connection, sql: str, *parameters: object) -> Any:
    [row] = connection.execute(sql, parameters).fetchall()
    return row[0]


def _entry(index: int, term: int, payload: bytes, crc: int) -> Entry:
    if not is_intact(index, term, payload, crc):
        raise Damage(f"the checksum of entry {index} is wrong")
    try:
        return Entry(index, term, decode_payload(payload))
    except CodecError as error:
        raise Damage(f"in entry {index}, {error}") from error


def _missing(index: int) -> Damage:
    return Damage(f"entry {index} of its log is missing")


def read_term(connection: sqlite3.Connection, index: int) -> int | None:
    """
    Return the term of an entry, or ``None`` if the log does not hold it.
    """
    rows = connection.execute(
        'SELECT term FROM log WHERE "index" = ?', (index,)
    ).fetchall()
    return int(rows[0][0]) if rows else None


def first_to_keep(
    connection: sqlite3.Connection,
    last_index: int,
    trailing_entries: int,
    trailing_bytes: int,
) -> int:
    """
    Return where the log may begin once a snapshot stands for all up to an index.

    :param last_index: the snapshot's.
    :param trailing_entries: so many may stay up to there,
    :param trailing_bytes: with so many bytes of payload.
    :return: the index of the first entry that may stay, or the one after
        ``last_index`` if none up to there may, or is there.
    """
    lowest = max(1, last_index - trailing_entries + 1)
    first = _one(connection, _FIRST_WITHIN, lowest, last_index, trailing_bytes)
    return last_index + 1 if first is None else int(first)


def truncate_log(first_index: int) -> Statement:
    """
    Return what removes all entries from that index on.
    """
    return 'DELETE FROM log WHERE "index" >= ?', (first_index,)


def discard_log(first_index: int) -> Statement:
    """
    Return what removes all entries before that index.
    """
    return 'DELETE FROM log WHERE "index" < ?', (first_index,)


def clear_log() -> Statement:
    """
    Return what removes all entries.
    """
    return "DELETE FROM log", ()


def insert_entries(
    entries: Sequence[Entry], most_variables: int
) -> Iterator[Statement]:
    """
    Yield what adds entries, in one statement if they are not too many.

    :param most_variables: how many parameters SQLite takes in a statement.
    """
    most_rows = min(_MOST_ROWS, most_variables // _COLUMNS)
    for start in range(0, len(entries), most_rows):
        rows = entries[start : start + most_rows]
        values: list[object] = []
        for entry in rows:
            index, term = entry.index, entry.term
            payload = encode_payload(entry.payload)
            values += (index, term, payload, bytes_checksum(index, term, payload))
        yield "INSERT INTO log VALUES " + ", ".join([_ROW] * len(rows)), values

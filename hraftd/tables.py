"""
What is in the database of a node: all its tables together, and the two small ones.

Five tables: ``meta`` (one row: format version, node, cluster) and ``hard_state`` (one
row: term and vote) are here; ``log`` is in :mod:`hraftd.log_table`, ``snapshot`` and
``snapshot_piece`` are in :mod:`hraftd.snapshot_tables`. Format 1 had no snapshots, and
formats 1 and 2 did not have from where on a server votes; such databases are given what
they lack.

Reading believes nothing: a table, row or index that is missing or too many, and a
checksum that does not fit, all end in :class:`~hraftd.rows.Damage`. Which file that
is about, and when it is opened and written, is the business of
:mod:`hraftd.database`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from hraftd import log_table, snapshot_tables
from hraftd.raft.messages import HardState
from hraftd.rows import Damage, checksum

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from hraftd.sqlite_file import Statement

__all__ = [
    "FORMAT",
    "OLDEST_FORMAT",
    "Meta",
    "UnknownFormat",
    "create_tables",
    "has_snapshots",
    "read_hard_state",
    "read_meta",
    "update_hard_state",
    "update_meta",
    "upgrade_tables",
]

#: The version of everything described above. A database of an earlier one is upgraded,
#: one of any other is refused.
FORMAT = 3
OLDEST_FORMAT = 1

#: As SQLite keeps them in ``sqlite_master``, in the order of their names.
_OLD_HARD_STATE = (
    "hard_state",
    "CREATE TABLE hard_state (current_term INTEGER NOT NULL, voted_for TEXT, "
    "crc INTEGER NOT NULL)",
)
_HARD_STATE = (
    "hard_state",
    "CREATE TABLE hard_state (current_term INTEGER NOT NULL, voted_for TEXT, "
    "votes_from INTEGER, crc INTEGER NOT NULL)",
)
_OTHER_TABLES = (
    log_table.TABLE,
    (
        "meta",
        "CREATE TABLE meta (format INTEGER NOT NULL, node_id TEXT NOT NULL, "
        "cluster_id TEXT, crc INTEGER NOT NULL)",
    ),
)
_TABLES = {
    OLDEST_FORMAT: [_OLD_HARD_STATE, *_OTHER_TABLES],
    2: sorted((_OLD_HARD_STATE, *_OTHER_TABLES, *snapshot_tables.TABLES)),
    FORMAT: sorted((_HARD_STATE, *_OTHER_TABLES, *snapshot_tables.TABLES)),
}


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
    #: The version of its tables.
    format: int = FORMAT


def create_tables(meta: Meta) -> Iterator[Statement]:
    """
    Yield what makes a node's tables and their first rows, whatever was there.
    """
    for name, table in _TABLES[FORMAT]:
        yield f"DROP TABLE IF EXISTS {name}", ()
        yield table, ()
    columns = (FORMAT, meta.node_id, meta.cluster_id)
    yield "INSERT INTO meta VALUES (?, ?, ?, ?)", (*columns, checksum(*columns))
    yield _insert_hard_state(HardState())
    yield snapshot_tables.insert_no_snapshot()


def upgrade_tables(meta: Meta, hard_state: HardState) -> Iterator[Statement]:
    """
    Yield what makes this format of an earlier one, in one transaction.
    """
    if not has_snapshots(meta):
        for _, table in snapshot_tables.TABLES:
            yield table, ()
        yield snapshot_tables.insert_no_snapshot()
    name, table = _HARD_STATE
    yield f"DROP TABLE {name}", ()
    yield table, ()
    yield _insert_hard_state(hard_state)
    yield update_meta(Meta(meta.node_id, meta.cluster_id))


def has_snapshots(meta: Meta) -> bool:
    """
    Whether the database has tables for them.
    """
    return meta.format > 1


def read_meta(connection: sqlite3.Connection) -> Meta:
    """
    See that all tables are there, and return whose they are.

    :raises UnknownFormat: if they are of another format than this or an earlier one.
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
    [(version,)] = formats
    if version not in _TABLES:
        raise UnknownFormat(version)
    if tables != _TABLES[version]:
        raise Damage("its tables are not those that hraftd made")
    [(*columns, crc)] = connection.execute("SELECT * FROM meta").fetchall()
    if checksum(*columns) != crc:
        raise Damage("the checksum of its table meta is wrong")
    _, node_id, cluster_id = columns
    return Meta(node_id, cluster_id, version)


def update_meta(meta: Meta) -> Statement:
    """
    Return what puts a node into a cluster.
    """
    columns = (meta.format, meta.node_id, meta.cluster_id)
    return (
        "UPDATE meta SET format = ?, node_id = ?, cluster_id = ?, crc = ?",
        (*columns, checksum(*columns)),
    )


def read_hard_state(connection: sqlite3.Connection) -> HardState:
    """
    Return term and vote, of any format.

    :raises Damage: if they are not there or not as they were written.
    """
    rows = connection.execute("SELECT * FROM hard_state").fetchall()
    if len(rows) != 1:
        raise Damage(f"its table hard_state has {len(rows)} rows instead of 1")
    [(*columns, crc)] = rows
    if checksum(*columns) != crc:
        raise Damage("the checksum of its table hard_state is wrong")
    return HardState(*columns)


def update_hard_state(hard_state: HardState) -> Statement:
    """
    Return what replaces term and vote.
    """
    return (
        "UPDATE hard_state SET current_term = ?, voted_for = ?, votes_from = ?, "
        "crc = ?",
        _hard_state_row(hard_state),
    )


def _insert_hard_state(hard_state: HardState) -> Statement:
    return "INSERT INTO hard_state VALUES (?, ?, ?, ?)", _hard_state_row(hard_state)


def _hard_state_row(hard_state: HardState) -> tuple[object, ...]:
    columns = (hard_state.current_term, hard_state.voted_for, hard_state.votes_from)
    return *columns, checksum(*columns)

"""
The one SQLite file of a node, read and written in plain calls that block.

When it is trusted, and what one transaction is. What is in it is told in
:mod:`hraftd.tables`. That writes happen on a thread of their own, and that nothing is
written after a failure, is the business of :mod:`hraftd.storage`.

The database is built under another name and renamed when it is whole. So a file that
has the right name but lacks anything is damaged, never new, and a server cannot
mistake its lost vote for one that it never gave.

Durability: write-ahead log with ``synchronous=FULL``, so a transaction is on the disk
when its statement returns. SQLite syncs the directory for a new ``-wal`` file, but
neither for the database nor for the data directory itself; that is done here.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from hraftd.interfaces import StorageError, Stored
from hraftd.sqlite_file import (
    connect,
    error_code,
    is_in_use,
    make_directory,
    run_transaction,
    sync_directory,
)
from hraftd.tables import (
    FORMAT,
    Damage,
    Meta,
    UnknownFormat,
    create_tables,
    insert_entries,
    read_hard_state,
    read_log,
    read_meta,
    truncate_log,
    update_hard_state,
    update_meta,
)
from hraftd.wal import describe_damage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hraftd.raft.messages import Entry, HardState
    from hraftd.sqlite_file import Statement

__all__ = ["Database"]

#: Bytes. SQLite keeps the write-ahead log at about 4 MB and ignores it if that
#: fails; beyond this the failure is looked for, and reported.
_WAL_LIMIT = 64 * 1024 * 1024

#: What SQLite reports of files that are not what hraftd wrote.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


class Database:
    """
    The database of one node. Not for two threads at once.
    """

    def __init__(self, data_dir: Path, node_id: str) -> None:
        """
        Name the directory, and whose it is; touches nothing yet.
        """
        self._directory = data_dir.absolute()
        self._node_id = node_id
        #: The database itself, for messages.
        self.file = self._directory / "hraftd.sqlite3"
        self._wal_file = self.file.with_name(self.file.name + "-wal")
        #: Index of the last entry in the log, 0 if it is empty.
        self.last_index = 0
        self._connection: sqlite3.Connection | None = None

    def open(self) -> Stored:
        """
        Lock the database, made anew if there is none, and read all of it.

        :raises StorageError: if it is damaged, of another node or format, in use
            by another process, or cannot be made or opened.
        """
        try:
            if not self._is_there():
                self._create()
            self._refuse_damaged_wal()
            self._connection = connect(self.file)
            return self._read(self._connection)
        except (sqlite3.Error, OSError, UnicodeError, Damage) as error:
            self.close()
            raise self._explain(error) from error
        except BaseException:
            self.close()
            raise

    def write(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None,
    ) -> None:
        """
        Make all of this durable in one transaction.

        The arguments are those of :meth:`hraftd.interfaces.IStorage.save`.

        :raises StorageError: if that fails; then nothing may be written any more.
        """
        connection = self._connection
        if connection is None:
            raise StorageError(f"{self.file} is closed")
        try:
            statements = list(self._log_statements(connection, entries))
            if hard_state is not None:
                statements.append(update_hard_state(hard_state))
            if cluster_id is not None:
                statements.append(update_meta(Meta(self._node_id, cluster_id)))
            if len(statements) == 1:
                # Its own transaction: begun, synced and committed by one call.
                connection.execute(*statements[0])
            elif statements:
                run_transaction(connection, statements)
            self._bound_wal(connection)
        except Exception as error:
            raise StorageError(
                f"{self.file} could not be written ({error}); nothing more is written "
                "to it until the node starts again: see to the disk first"
            ) from error
        if entries:
            self.last_index = entries[-1].index

    def _log_statements(
        self, connection: sqlite3.Connection, entries: Sequence[Entry]
    ) -> Iterator[Statement]:
        if not entries:
            return
        if entries[0].index <= self.last_index:
            yield truncate_log(entries[0].index)
        most_variables = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        yield from insert_entries(entries, most_variables)

    def _bound_wal(self, connection: sqlite3.Connection) -> None:
        # Also fails, as it must, if somebody has deleted the file meanwhile.
        if self._wal_file.stat().st_size > _WAL_LIMIT:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """
        Move the write-ahead log into the database and let go of it.

        Does nothing if it is not open.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            # All that was promised is durable already; what fails here is tidying.
            with suppress(sqlite3.Error):
                connection.close()

    def _is_there(self) -> bool:
        if self._directory.exists() and not self._directory.is_dir():
            raise StorageError(f"{self._directory} is no directory")
        try:
            size = self.file.stat().st_size
        except FileNotFoundError:
            if self._wal_file.exists():
                raise Damage(
                    f"it is missing, while {self._wal_file.name} is there"
                ) from None
            return False
        if size == 0:
            # SQLite would take it for a new database, and delete the -wal file.
            raise Damage("it is empty")
        return True

    def _create(self) -> None:
        """
        Build the database under another name, then give it its own.
        """
        make_directory(self._directory)
        new_file = self.file.with_name(self.file.name + ".new")
        # SQLite would make it readable for everybody; its -wal file follows it.
        os.close(os.open(new_file, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(connect(new_file)) as connection:
            # Asked with the lock held: another process may have been faster, and
            # renaming would then put an empty database in place of its own.
            is_first = not self.file.exists()
            if is_first:
                run_transaction(connection, [*create_tables(Meta(self._node_id))])
        if is_first:
            os.replace(new_file, self.file)
            sync_directory(self._directory)
            sync_directory(self._directory.parent)
        else:
            new_file.unlink(missing_ok=True)

    def _refuse_damaged_wal(self) -> None:
        """
        Look for damage that SQLite takes for the end of the write-ahead log.
        """
        if describe_damage(self._wal_file) is None:
            return
        # Perhaps another process is writing it this very moment.
        if is_in_use(self.file):
            raise self._in_use()
        damage = describe_damage(self._wal_file)
        if damage is not None:
            raise Damage(f"in {self._wal_file.name}, {damage}")

    def _read(self, connection: sqlite3.Connection) -> Stored:
        faults = connection.execute("PRAGMA quick_check(1)").fetchall()
        if faults != [("ok",)]:
            raise Damage(" ".join(str(faults[0][0]).split()))
        try:
            meta = read_meta(connection)
        except UnknownFormat as error:
            raise StorageError(
                f"{self.file} is of format version {error} and this hraftd reads only "
                f"{FORMAT}; start the hraftd that wrote it, or use another directory"
            ) from error
        if meta.node_id != self._node_id:
            raise StorageError(
                f"{self.file} belongs to the node {meta.node_id}, not to "
                f"{self._node_id}; start it under that id, or use another directory"
            )
        hard_state = read_hard_state(connection)
        entries = read_log(connection)
        # Empty the write-ahead log: nothing is ever written over a torn tail, so
        # that its frames cannot be taken for those of a later transaction.
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise self._in_use()
        self.last_index = len(entries)
        return Stored(meta.cluster_id, hard_state, entries)

    def _in_use(self) -> StorageError:
        return StorageError(f"{self.file} is in use by another process")

    def _explain(self, error: Exception) -> StorageError:
        """
        Say in a sentence why the database cannot be opened, and what to do.
        """
        code = error_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._in_use()
        if isinstance(error, Damage) or code in _DAMAGED:
            return StorageError(
                f"{self.file} is damaged ({error}); put back an intact copy of what "
                f"the node last wrote, or remove {self._directory} and let the node "
                "join again as a new member, under a new id"
            )
        return StorageError(
            f"{self.file} cannot be opened for reading and writing: {error}"
        )

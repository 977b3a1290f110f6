"""
The file that a node's database is in: made, locked, and looked through for damage.

When the file is trusted, and what the operator is told when it is not. What is read
from it and written to it is the business of :mod:`hraftd.database`.

After the first failure nothing more is read or written. A file system may drop what
it could not sync and report success the next time ("fsyncgate"), so that only a new
start, which reads what the disk really holds, can be trusted.

The database is built under another name and renamed when it is whole. So a file that
has the right name but lacks anything is damaged, never new, and a server cannot
mistake its lost vote for one that it never gave.

Durability: write-ahead log with ``synchronous=FULL``, so a transaction is on the disk
when its statement returns. SQLite syncs the directory for a new ``-wal`` file, without
a look at whether that worked, and neither for the database nor for the data directory
itself; that is done here.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from hraftd.interfaces import StorageError
from hraftd.rows import Damage
from hraftd.sqlite_file import (
    connect,
    error_code,
    is_in_use,
    make_directory,
    run_transaction,
    sync_directory,
)
from hraftd.sync_mark import SyncMark
from hraftd.tables import (
    FORMAT,
    OLDEST_FORMAT,
    Meta,
    UnknownFormat,
    create_tables,
    read_meta,
)
from hraftd.wal import describe_damage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hraftd.sqlite_file import Statement

__all__ = ["DatabaseFile"]

#: Bytes. SQLite keeps the write-ahead log at about 4 MB, or at a transaction that is
#: larger, and ignores it if that fails; beyond this the failure is looked for, and
#: reported.
_WAL_LIMIT = 64 * 1024 * 1024

#: What SQLite reports of files that are not what hraftd wrote.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


class DatabaseFile:
    """
    The place of one node's database.
    """

    def __init__(self, data_dir: Path, node_id: str) -> None:
        """
        Name the directory, and whose it is; touches nothing yet.
        """
        self._directory = data_dir.absolute()
        self._node_id = node_id
        #: The database itself, for messages.
        self.path = self._directory / "hraftd.sqlite3"
        self._wal_path = self.path.with_name(self.path.name + "-wal")
        self._mark = SyncMark(self.path)
        #: Whether a mark is there, or may come back.
        self._may_be_marked = True
        #: ``None`` while it is not open.
        self.connection: sqlite3.Connection | None = None
        self._failure: str | None = None

    def open(self) -> sqlite3.Connection:
        """
        Lock the database, made anew if there is none.

        What it raises is for :meth:`explain_refusal`.
        """
        if not self._is_there():
            self._create()
        self._refuse_damaged_wal()
        self.connection = connect(self.path)
        return self.connection

    def close(self) -> None:
        """
        Move the write-ahead log into the database and let go of it.

        Does nothing if it is not open.
        """
        connection, self.connection = self.connection, None
        if connection is not None:
            # All that was promised is durable already; what fails here is tidying.
            with suppress(OSError):
                self._remove_mark()
            with suppress(sqlite3.Error):
                connection.close()

    def check_usable(self) -> None:
        """
        See that the file is open and nothing has failed.

        :raises StorageError: if not; with the first failure, if there was one.
        """
        if self._failure is not None:
            raise StorageError(self._failure)
        if self.connection is None:
            raise StorageError(f"{self.path} is closed")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """
        Lend the connection; if anything fails meanwhile, it is for good.
        """
        self.check_usable()
        assert self.connection is not None
        try:
            yield self.connection
        except Exception as error:
            raise self._latched(self._explain_failure(error, "written")) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """
        Lend the connection; if reading fails or finds damage, it is for good.
        """
        self.check_usable()
        assert self.connection is not None
        try:
            yield self.connection
        except (sqlite3.Error, Damage) as error:
            failure = self._damaged(error) or self._explain_failure(error, "read")
            raise self._latched(failure) from error

    def _latched(self, failure: StorageError) -> StorageError:
        self._failure = str(failure)
        return failure

    def read_meta(self, connection: sqlite3.Connection) -> Meta:
        """
        See that SQLite finds nothing wrong with it and that it is this node's.

        :raises StorageError: if it belongs to another node, or has another format.
        :raises Damage: if it is not as it should be.
        """
        faults = connection.execute("PRAGMA quick_check(1)").fetchall()
        if faults != [("ok",)]:
            raise Damage(" ".join(str(faults[0][0]).split()))
        try:
            meta = read_meta(connection)
        except UnknownFormat as error:
            raise StorageError(
                f"{self.path} is of format version {error} and this hraftd reads only "
                f"{OLDEST_FORMAT} to {FORMAT}; start the hraftd that wrote it, or use "
                "another directory"
            ) from error
        if meta.node_id != self._node_id:
            raise StorageError(
                f"{self.path} belongs to the node {meta.node_id}, not to "
                f"{self._node_id}; start it under that id, or use another directory"
            )
        return meta

    def empty_wal(self, connection: sqlite3.Connection) -> None:
        """
        Move all of the write-ahead log into the database.

        After this, nothing is ever written over a torn tail, so that its frames
        cannot be taken for those of a later transaction. And the write-ahead log,
        empty as it is, has a name for good.
        """
        # Also if there was none: for the name of the write-ahead log.
        self._may_be_marked = True
        self._remove_mark()
        self._checkpoint(connection)

    def _remove_mark(self) -> None:
        """
        See that no mark is left, not even after a power cut.

        To be done before the write-ahead log is emptied: an older mark would come back
        then, and its page have been replaced since.
        """
        if self._may_be_marked:
            self._mark.remove()
            sync_directory(self._directory)
            self._may_be_marked = False

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise self._in_use()

    def execute(
        self, connection: sqlite3.Connection, statements: Sequence[Statement]
    ) -> None:
        """
        Carry these out in one transaction, which is synced then.
        """
        if len(statements) == 1:
            # Its own transaction: begun, synced and committed by one call.
            connection.execute(*statements[0])
        elif statements:
            run_transaction(connection, statements)
        self._may_be_marked = True
        self._mark.advance()
        self.bound_wal(connection)

    def bound_wal(self, connection: sqlite3.Connection) -> None:
        """
        Empty the write-ahead log if SQLite, against its habit, lets it grow.

        Also fails, as it must, if somebody has deleted the file meanwhile.
        """
        if self._wal_path.stat().st_size > _WAL_LIMIT:
            self._remove_mark()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _is_there(self) -> bool:
        if self._directory.exists() and not self._directory.is_dir():
            raise StorageError(f"{self._directory} is no directory")
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            if self._wal_path.exists():
                raise Damage(
                    f"it is missing, while {self._wal_path.name} is there"
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
        new_file = self.path.with_name(self.path.name + ".new")
        # SQLite would make it readable for everybody; its -wal file follows it.
        os.close(os.open(new_file, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(connect(new_file)) as connection:
            # Asked with the lock held: another process may have been faster, and
            # renaming would then put an empty database in place of its own.
            is_first = not self.path.exists()
            if is_first:
                run_transaction(connection, [*create_tables(Meta(self._node_id))])
                # Closing does this too, but does not say if it fails.
                self._checkpoint(connection)
        if is_first:
            os.replace(new_file, self.path)
            sync_directory(self._directory)
            sync_directory(self._directory.parent)
        else:
            new_file.unlink(missing_ok=True)

    def _refuse_damaged_wal(self) -> None:
        """
        Look for damage that SQLite takes for the end of the write-ahead log.
        """
        synced = self._mark.read()
        is_gone = synced is not None and self._mark.is_all_there_is(synced)
        if not is_gone and describe_damage(self._wal_path, synced) is None:
            return
        # Perhaps another process is writing it this very moment.
        if is_in_use(self.path):
            raise self._in_use()
        synced = self._mark.read()
        damage = describe_damage(self._wal_path, synced)
        if damage is not None:
            raise Damage(f"in {self._wal_path.name}, {damage}")
        if (
            synced is not None
            and self._mark.is_all_there_is(synced)
            and not self._mark.is_in_database(synced)
        ):
            raise Damage(
                f"{self._wal_path.name} is missing or not the one that was written"
            )

    def explain_refusal(self, error: Exception) -> StorageError:
        """
        Say in a sentence why the database cannot be opened, and what to do.
        """
        if error_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._in_use()
        return self._damaged(error) or StorageError(
            f"{self.path} cannot be opened for reading and writing: {error}"
        )

    def _explain_failure(self, error: Exception, verb: str) -> StorageError:
        return StorageError(
            f"{self.path} could not be {verb} ({error}); nothing more is written to it "
            "until the node starts again: see to the disk first"
        )

    def _damaged(self, error: Exception) -> StorageError | None:
        if not isinstance(error, Damage) and error_code(error) not in _DAMAGED:
            return None
        return StorageError(
            f"{self.path} is damaged ({error}); put back an intact copy of what "
            f"the node last wrote, or remove {self._directory} and let the node "
            "join again as a new member, once another has removed it from the cluster"
        )

    def _in_use(self) -> StorageError:
        return StorageError(f"{self.path} is in use by another process")

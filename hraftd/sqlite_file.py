"""
How a SQLite file is made, locked, written and synced, whatever is in it.

What hraftd keeps there is in :mod:`hraftd.database`.

A file is open in one place at a time: SQLite's exclusive locking mode keeps its lock
until the connection is closed, also against another connection of this process.
Never open such a file with anything else: on POSIX systems, closing *any* descriptor
of a file gives up all locks that the process holds on it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, TypeAlias

from hraftd.interfaces import StorageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Statement",
    "connect",
    "error_code",
    "is_in_use",
    "make_directory",
    "run_transaction",
    "sync_directory",
]

#: SQL and its parameters.
Statement: TypeAlias = tuple[str, Sequence[object]]

#: Of each size that a multi-row INSERT has, SQLite keeps one statement.
_CACHED_STATEMENTS = 64


def connect(file: Path) -> sqlite3.Connection:
    """
    Open a database, or make an empty one, and keep all others out of it.

    :return: a connection without implicit transactions, which any one thread at a
        time may use. What it commits is synced.
    :raises sqlite3.Error: with ``SQLITE_BUSY`` if it is open elsewhere.
    :raises StorageError: if there can be no write-ahead log.
    """
    connection = sqlite3.connect(
        file,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = FULL")
        # On macOS a plain sync stops at the disk's own cache.
        connection.execute("PRAGMA fullfsync = ON")
        # Some builds of SQLite write zeros over all that is deleted. A snapshot or a
        # log of 100 MB would be written once more to get rid of it.
        connection.execute("PRAGMA secure_delete = OFF")
        # Distrust what is read: pages, and anything that schemas can execute.
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != ("wal",):
            raise StorageError(f"{file} cannot have a write-ahead log where it is")
        # Takes the lock, and shows whether the file can be written.
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("ROLLBACK")
    except BaseException:
        connection.close()
        raise
    return connection


def is_in_use(file: Path) -> bool:
    """
    Whether another connection, of this process or another one, has it locked.

    Changes nothing: this connection may only read, so that SQLite does not tidy up
    when it is closed.
    """
    probe = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0)
    with closing(probe):
        try:
            probe.execute("PRAGMA locking_mode = EXCLUSIVE")
            probe.execute("SELECT * FROM sqlite_master")
        except sqlite3.Error as error:
            return error_code(error) == sqlite3.SQLITE_BUSY
    return False


def run_transaction(
    connection: sqlite3.Connection, statements: Sequence[Statement]
) -> None:
    """
    Execute all of these, or none of them if one fails.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            connection.execute(*statement)
        connection.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has rolled back already.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def error_code(error: Exception) -> int:
    """
    Return SQLite's primary error code, the lowest byte of what it reports.

    For what the :mod:`sqlite3` module finds by itself, such as text that is not
    UTF-8, it is ``SQLITE_ERROR``; for what is not SQLite's, ``SQLITE_OK``.
    """
    if not isinstance(error, sqlite3.Error):
        return sqlite3.SQLITE_OK
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def make_directory(directory: Path) -> None:
    """
    Make a directory and what is missing above it, for its owner alone.
    """
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """
    Make the names in a directory durable, where the system knows of that.
    """
    if os.name == "nt":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:
        # One may be allowed to enter a directory and not to read it.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)

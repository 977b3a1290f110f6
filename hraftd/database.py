"""
The database of a node, read and written in plain calls that block.

What one transaction is, and what is remembered between two of them. How the file is
made and when it is trusted is told in :mod:`hraftd.database_file`, what is in it in
:mod:`hraftd.tables`. That all of this happens on a thread of its own is the business
of :mod:`hraftd.storage`.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from hraftd import log_table, snapshot_tables
from hraftd.continuity import from_last_beginning
from hraftd.database_file import DatabaseFile
from hraftd.generations import Generations
from hraftd.interfaces import StorageError, Stored
from hraftd.rows import Damage
from hraftd.sqlite_file import run_transaction
from hraftd.tables import (
    FORMAT,
    Meta,
    has_snapshots,
    read_hard_state,
    update_hard_state,
    update_meta,
    upgrade_tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hraftd.raft.messages import Entry, HardState, Piece, Snapshot
    from hraftd.snapshot_tables import StoredSnapshot
    from hraftd.sqlite_file import Statement

__all__ = ["Database"]


class Database:
    """
    The database of one node. Not for two threads at once.
    """

    def __init__(self, data_dir: Path, node_id: str) -> None:
        """
        Name the directory, and whose it is; touches nothing yet.
        """
        self._node_id = node_id
        self._file = DatabaseFile(data_dir, node_id)
        #: The database itself, for messages.
        self.file = self._file.path
        #: Index of the last entry, or of the last one that the snapshot stands for
        #: if the log is empty; 0 if there is neither.
        self.last_index = 0
        self._first_index = 1
        self._snapshots = Generations()

    def open(self) -> Stored:
        """
        Lock the database, made anew if there is none, and read all of it.

        The snapshot's pieces are read while one iterates over them, and are checked
        only then.

        :raises StorageError: if it is damaged, of another node or format, in use
            by another process, or cannot be made or opened.
        """
        try:
            return self._read(self._file.open())
        except (sqlite3.Error, OSError, UnicodeError, Damage) as error:
            self.close()
            raise self._file.explain_refusal(error) from error
        except BaseException:
            self.close()
            raise

    def _read(self, connection: sqlite3.Connection) -> Stored:
        meta = self._file.read_meta(connection)
        hard_state = read_hard_state(connection)
        latest = (
            snapshot_tables.read_snapshot(connection) if has_snapshots(meta) else None
        )
        snapshot = None if latest is None else latest.snapshot
        if latest is not None:
            snapshot_tables.check_pieces(connection, latest)
        entries = log_table.read_log(connection, snapshot)
        # All has been looked at, and nothing was written before.
        self._file.empty_wal(connection)
        if meta.format != FORMAT:
            run_transaction(connection, [*upgrade_tables(meta, hard_state)])
        self._snapshots = Generations(latest)
        self._snapshots.garbage += [
            generation
            for generation in snapshot_tables.read_generations(connection)
            if latest is None or generation != latest.generation
        ]
        while self._snapshots.garbage:
            self._delete_some(connection)
        self.last_index = 0 if snapshot is None else snapshot.last_index
        self._first_index = self.last_index + 1
        if entries:
            self._first_index, self.last_index = entries[0].index, entries[-1].index
        pieces = () if latest is None else self._read_pieces(latest)
        return Stored(meta.cluster_id, hard_state, snapshot, pieces, entries)

    def _read_pieces(self, latest: StoredSnapshot) -> Iterator[bytes]:
        with self._file.reading() as connection:
            yield from snapshot_tables.read_pieces(connection, latest)

    def write(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None,
        pieces: Sequence[Piece] = (),
        snapshot: Snapshot | None = None,
    ) -> None:
        """
        Make all of this durable in one transaction.

        The arguments are those of :meth:`hraftd.interfaces.IStorage.save`; whether
        they follow what is there has been seen to by :mod:`hraftd.continuity`.

        :raises ValueError: if the pieces are not the snapshot's. Nothing is written.
        :raises StorageError: if that fails; then nothing may be written any more.
        """
        self._file.check_usable()
        received = self._snapshots.received
        statements: list[Statement] = []
        for piece in from_last_beginning(pieces):
            received = self._snapshots.extended(received, piece)
            statements.append(snapshot_tables.insert_piece(received.generation, piece))
        installed = None
        if snapshot is not None:
            if received is None:
                raise ValueError("no piece of this snapshot has been received")
            installed = received.complete(snapshot)
            statements += [
                snapshot_tables.update_snapshot(installed),
                log_table.clear_log(),
            ]
        elif entries and entries[0].index <= self.last_index:
            statements.append(log_table.truncate_log(entries[0].index))
        with self._file.writing() as connection:
            if entries:
                most = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
                statements += log_table.insert_entries(entries, most)
            if hard_state is not None:
                statements.append(update_hard_state(hard_state))
            if cluster_id is not None:
                statements.append(update_meta(Meta(self._node_id, cluster_id)))
            self._file.execute(connection, statements)
        self._snapshots.receive(received)
        if installed is not None:
            self._snapshots.put_in_force(installed)
            # Whatever is being taken goes less far: it is of entries applied here,
            # and a snapshot is only installed where there are more.
            self._snapshots.take(None)
            self.last_index = installed.snapshot.last_index
            self._first_index = self.last_index + 1
        if entries:
            self._first_index = min(self._first_index, entries[0].index)
            self.last_index = entries[-1].index

    def write_piece(self, piece: Piece) -> None:
        """
        Keep a piece of a snapshot that is being taken.

        :raises ValueError: if it does not follow the one before. Nothing is written.
        :raises StorageError: as :meth:`write`.
        """
        self._file.check_usable()
        taken = self._snapshots.extended(self._snapshots.taken, piece)
        with self._file.writing() as connection:
            self._file.execute(
                connection, [snapshot_tables.insert_piece(taken.generation, piece)]
            )
        self._snapshots.take(taken)

    def compact(
        self, snapshot: Snapshot, trailing_entries: int, trailing_bytes: int
    ) -> int:
        """
        Put the snapshot that was taken in place of the beginning of the log.

        Arguments and result are those of :meth:`hraftd.interfaces.IStorage.compact`.

        :raises ValueError: if the pieces are not the snapshot's, or if it is not of
            this log or older than the one there is. Then what was written is dropped.
        :raises StorageError: as :meth:`write`.
        """
        self._file.check_usable()
        try:
            self._check_in_log(snapshot)
            if self._snapshots.taken is None:
                raise ValueError("no piece of this snapshot has been written")
            stored = self._snapshots.taken.complete(snapshot)
        except ValueError:
            self._snapshots.take(None)
            raise
        with self._file.writing() as connection:
            first_index = log_table.first_to_keep(
                connection, snapshot.last_index, trailing_entries, trailing_bytes
            )
            self._file.execute(
                connection,
                [
                    snapshot_tables.update_snapshot(stored),
                    log_table.discard_log(first_index),
                ],
            )
        self._snapshots.put_in_force(stored)
        self._first_index = first_index
        return first_index

    def _check_in_log(self, snapshot: Snapshot) -> None:
        """
        See that a snapshot may stand for entries that are, or were, in the log.
        """
        index, latest = snapshot.last_index, self._snapshots.snapshot
        before = 0 if latest is None else latest.last_index
        if not max(before, 1) <= index <= self.last_index:
            raise ValueError(
                f"a snapshot up to {index} cannot follow one up to {before}, with a "
                f"log that ends at {self.last_index}"
            )
        if latest is not None and index == before:
            term: int | None = latest.last_term
        else:
            with self._file.reading() as connection:
                term = log_table.read_term(connection, index)
        if term != snapshot.last_term:
            raise ValueError(
                f"entry {index} is of term {term}, not of term {snapshot.last_term}"
            )

    def read_piece(self, snapshot: Snapshot, offset: int) -> bytes:
        """
        Return one piece of the latest snapshot.

        :raises LookupError: if that is not the latest one, or no piece begins there.
        :raises StorageError: if it is damaged; then nothing may be written any more.
        """
        latest = self._snapshots.latest
        piece = None
        with self._file.reading() as connection:
            if latest is not None and latest.snapshot == snapshot:
                piece = snapshot_tables.read_piece(
                    connection, latest.generation, offset
                )
        if piece is None:
            raise LookupError(
                f"there is no piece at {offset} of a snapshot up to "
                f"{snapshot.last_index} (any more)"
            )
        return piece

    def read_entries(
        self, first_index: int, last_index: int, max_bytes: int
    ) -> tuple[Entry, ...]:
        """
        Return entries of the log, by :meth:`hraftd.interfaces.IStorage.read_entries`.

        :raises LookupError: if the first one is not there (any more).
        :raises StorageError: as :meth:`read_piece`.
        """
        last_index = min(last_index, self.last_index)
        with self._file.reading() as connection:
            if self._first_index <= first_index <= last_index:
                return log_table.read_entries(
                    connection, first_index, last_index, max_bytes
                )
        raise LookupError(
            f"there is no entry {first_index} in a log from {self._first_index} to "
            f"{self.last_index}"
        )

    def sweep(self) -> bool:
        """
        Delete a few megabytes that nobody needs any more.

        If that fails, it is the next caller of something else who is told.

        :return: whether there may be more.
        """
        with suppress(StorageError):
            if self._snapshots.garbage:
                with self._file.writing() as connection:
                    self._delete_some(connection)
                return True
        return False

    def close(self) -> None:
        """
        Move the write-ahead log into the database and let go of it.

        Does nothing if it is not open.
        """
        self._file.close()

    def _delete_some(self, connection: sqlite3.Connection) -> None:
        garbage = self._snapshots.garbage
        deleted = connection.execute(
            *snapshot_tables.delete_pieces(garbage[0])
        ).rowcount
        self._file.bound_wal(connection)
        if not deleted:
            del garbage[0]

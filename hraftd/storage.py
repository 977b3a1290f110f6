"""
Where a server keeps what it must not forget.

:class:`SqliteStorage` uses its :class:`hraftd.database.Database` on a thread of its
own, so that a slow disk holds up neither heartbeats nor reads. What is saved goes
before snapshots and before what is read back, and what nobody waits for is deleted in
between. :class:`~hraftd.memory_storage.MemoryStorage` forgets everything with its
process.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from hraftd.continuity import Ends
from hraftd.database import Database
from hraftd.disk_thread import DiskThread
from hraftd.interfaces import IStorage, StorageError, Stored
from hraftd.memory_storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from twisted.internet.interfaces import IReactorFromThreads

    from hraftd.raft.messages import Entry, HardState, Piece, Snapshot

__all__ = ["MemoryStorage", "SqliteStorage"]

_T = TypeVar("_T")


@implementer(IStorage)
class SqliteStorage:
    """
    One SQLite file in the node's data directory.
    """

    def __init__(
        self, data_dir: Path, node_id: str, reactor: IReactorFromThreads
    ) -> None:
        """
        Name the directory, and whose it is; touches nothing before :meth:`load`.

        :param data_dir: made with mode 0700 if it is missing.
        :param node_id: a directory of any other node is refused.
        :param reactor: whose thread calls this object and gets the answers.
        """
        self._database = Database(data_dir, node_id)
        self._thread = DiskThread(reactor, self._database.sweep)
        self._ends = Ends()
        #: The last index of the snapshot that is in force, as far as it is known.
        self._snapshot_index = 0
        self._is_saving = False
        self._is_loaded = False
        self._is_asked = False
        self._is_closed = False
        #: Who waits for the closing that is under way, if it is.
        self._closing: list[Deferred[None]] | None = None

    def load(self) -> Stored:
        """
        See :meth:`hraftd.interfaces.IStorage.load`.

        Locks the file: until :meth:`close` no other process, and no other storage
        in this one, can load it.
        """
        if self._is_loaded or self._is_closed:
            raise RuntimeError("a storage is loaded once, and before it is closed")
        stored = self._database.open()
        self._is_loaded = True
        self._ends = Ends(self._database.last_index)
        if stored.snapshot is None:
            return stored
        self._snapshot_index = stored.snapshot.last_index
        return evolve(stored, pieces=self._read_before_all(stored.pieces))

    def _read_before_all(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """
        Keep two threads from using the database at once.
        """
        remaining = iter(pieces)
        while True:
            if self._is_asked:
                raise RuntimeError("the pieces are read before anything else is asked")
            piece = next(remaining, None)
            if piece is None:
                return
            yield piece

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None = None,
        *,
        pieces: Sequence[Piece] = (),
        snapshot: Snapshot | None = None,
    ) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.save`.

        :raises RuntimeError: before :meth:`load`, or while another save is under way.
        :raises ValueError: if the entries, pieces or snapshot do not follow what is
            there. The Deferred fails with it if the pieces are not the snapshot's;
            then nothing was written, and the storage goes on.
        """
        if self._is_closed:
            return fail(self._closed_error())
        self._check_loaded()
        if self._is_saving:
            raise RuntimeError("another save is under way")
        ends = self._ends.after(entries, pieces, snapshot, self._snapshot_index)

        def ended(is_done: bool) -> None:
            self._is_saving = False
            if is_done:
                self._ends = ends
                self._note(snapshot)

        self._is_saving = True
        write = partial(
            self._database.write,
            hard_state,
            tuple(entries),
            cluster_id,
            tuple(pieces),
            snapshot,
        )
        return self._ask(write, ended, is_urgent=True)

    def write_piece(self, piece: Piece) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.write_piece`.

        :return: fails with :exc:`ValueError` if the piece does not follow the one
            before, which is dropped when a received snapshot is put in force. Then
            nothing was written, and the storage goes on.
        :raises RuntimeError: before :meth:`load`.
        """
        return self._ask(partial(self._database.write_piece, piece))

    def compact(
        self, snapshot: Snapshot, trailing_entries: int, trailing_bytes: int
    ) -> Deferred[int]:
        """
        See :meth:`hraftd.interfaces.IStorage.compact`.

        :return: fails with :exc:`ValueError` also if the snapshot is older than the
            one in force, or not of this log. Then its pieces are dropped, and the
            storage goes on.
        :raises RuntimeError: before :meth:`load`.
        """

        def ended(is_done: bool) -> None:
            if is_done:
                self._note(snapshot)

        compact = partial(
            self._database.compact, snapshot, trailing_entries, trailing_bytes
        )
        return self._ask(compact, ended)

    def read_piece(self, snapshot: Snapshot, offset: int) -> Deferred[bytes]:
        """
        See :meth:`hraftd.interfaces.IStorage.read_piece`.
        """
        return self._ask(partial(self._database.read_piece, snapshot, offset))

    def read_entries(
        self, first: int, last: int, max_bytes: int
    ) -> Deferred[Sequence[Entry]]:
        """
        See :meth:`hraftd.interfaces.IStorage.read_entries`.
        """
        return self._ask(partial(self._database.read_entries, first, last, max_bytes))

    def _note(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._snapshot_index = max(self._snapshot_index, snapshot.last_index)

    def _ask(
        self,
        work: Callable[[], _T],
        ended: Callable[[bool], None] = lambda _: None,
        *,
        is_urgent: bool = False,
    ) -> Deferred[_T]:
        """
        Do this on the disk's thread.

        :param ended: is told in this thread, before anybody else, whether it was
            done, also if the Deferred was cancelled.
        """
        if self._is_closed:
            return fail(self._closed_error())
        self._check_loaded()
        answer = Deferred[_T]()

        def done(result: _T) -> None:
            ended(True)
            answer.callback(result)

        def failed(error: Exception) -> None:
            ended(False)
            answer.errback(error)

        self._is_asked = True
        self._thread.run(work, done, failed, is_urgent=is_urgent)
        return answer

    def _check_loaded(self) -> None:
        if not self._is_loaded:
            raise RuntimeError("a storage must be loaded before anything is asked")

    def _closed_error(self) -> StorageError:
        return StorageError(f"{self._database.file} is closed")

    def close(self) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.close`.

        Afterwards the write-ahead log has become part of the database, and the
        thread has ended.
        """
        if not self._is_closed:
            self._is_closed = self._is_asked = True
            if self._is_loaded:
                self._closing = []
                self._thread.run(
                    self._database.close, lambda _: self._closed(), self._closed
                )
        if self._closing is None:
            return succeed(None)
        closed = Deferred[None]()
        self._closing.append(closed)
        return closed

    def _closed(self, raised: Exception | None = None) -> None:
        self._thread.stop()
        waiting, self._closing = self._closing or [], None
        for closed in waiting:
            if raised is None:
                closed.callback(None)
            else:
                closed.errback(raised)

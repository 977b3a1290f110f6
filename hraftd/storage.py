"""
Where a server keeps what it must not forget: in a file, or in memory.

:class:`SqliteStorage` writes to its :class:`hraftd.database.Database` on a thread of
its own, so that a slow disk holds up neither heartbeats nor reads.
:class:`MemoryStorage` forgets everything with its process.

After the first failure nothing more is written. A file system may drop what it could
not sync and report success the next time ("fsyncgate"), so that only a new start,
which reads what the disk really holds, can be trusted.
"""

from __future__ import annotations

from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from hraftd.database import Database
from hraftd.interfaces import IStorage, StorageError, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.internet.interfaces import IReactorFromThreads

    from hraftd.raft.messages import Entry, HardState

__all__ = ["MemoryStorage", "SqliteStorage"]


def _check_consecutive(entries: Sequence[Entry], last_index: int) -> None:
    """
    Refuse entries that would leave a gap in a log which ends at that index.
    """
    if not entries:
        return
    first_index = entries[0].index
    if not 1 <= first_index <= last_index + 1:
        raise ValueError(
            f"entry {first_index} does not follow a log that ends at {last_index}"
        )
    for index, entry in enumerate(entries, first_index):
        if entry.index != index:
            raise ValueError(f"entry {entry.index} stands where {index} should")


_Work: TypeAlias = "Callable[[], None]"
_Outcome: TypeAlias = "Callable[[Exception | None], None]"


class _Worker:
    """
    One thread that does one thing after the other.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._queue: SimpleQueue[tuple[_Work, _Outcome] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def run(self, work: _Work, outcome: _Outcome) -> None:
        """
        Do this after all that was asked for before.

        :param outcome: is called in the reactor's thread, with what ``work`` raised
            or with ``None``.
        """
        if self._thread is None:
            # A daemon, since a process that has no time to close its storage should
            # end all the same; SQLite is made for that.
            self._thread = Thread(target=self._run, name="hraftd disk", daemon=True)
            self._thread.start()
        self._queue.put((work, outcome))

    def stop(self) -> None:
        """
        Wait until all is done, and for the end of the thread.
        """
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            work, outcome = job
            raised: Exception | None = None
            try:
                work()
            except Exception as error:
                raised = error
            self._reactor.callFromThread(outcome, raised)
            # Do not hold on to entries, which may be large, while idle.
            del job, work, outcome, raised


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
        self._worker = _Worker(reactor)
        self._saving: Deferred[None] | None = None
        self._failure: str | None = None
        self._is_loaded = False
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
        return stored

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None = None,
    ) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.save`.

        :raises RuntimeError: before :meth:`load`, or while another save is under way.
        :raises ValueError: if the entries would leave a gap in the log.
        """
        if self._is_closed:
            return fail(StorageError(f"{self._database.file} is closed"))
        if not self._is_loaded:
            raise RuntimeError("a storage must be loaded before anything is saved")
        if self._saving is not None:
            raise RuntimeError("another save is under way")
        if self._failure is not None:
            return fail(StorageError(self._failure))
        _check_consecutive(entries, self._database.last_index)
        self._saving = saved = Deferred[None]()
        self._worker.run(
            partial(self._database.write, hard_state, tuple(entries), cluster_id),
            self._saved,
        )
        return saved

    def _saved(self, raised: Exception | None) -> None:
        saved, self._saving = self._saving, None
        assert saved is not None
        if raised is None:
            saved.callback(None)
        else:
            self._failure = str(raised)
            saved.errback(raised)

    def close(self) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.close`.

        Afterwards the write-ahead log has become part of the database, and the
        thread has ended.
        """
        if not self._is_closed:
            self._is_closed = True
            if self._is_loaded:
                self._closing = []
                self._worker.run(self._database.close, self._closed)
        if self._closing is None:
            return succeed(None)
        closed = Deferred[None]()
        self._closing.append(closed)
        return closed

    def _closed(self, raised: Exception | None) -> None:
        self._worker.stop()
        waiting, self._closing = self._closing or [], None
        for closed in waiting:
            if raised is None:
                closed.callback(None)
            else:
                closed.errback(raised)


@implementer(IStorage)
class MemoryStorage:
    """
    The same without a disk. Its Deferreds have fired when they are returned.

    Loading it again stands for a restart that lost nothing.
    """

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        self._stored = Stored()
        self._entries: list[Entry] = []
        self._is_loaded = False

    def load(self) -> Stored:
        """
        See :meth:`hraftd.interfaces.IStorage.load`.
        """
        self._is_loaded = True
        return Stored(
            self._stored.cluster_id, self._stored.hard_state, tuple(self._entries)
        )

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None = None,
    ) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.save`.

        :raises ValueError: if the entries would leave a gap in the log.
        """
        if not self._is_loaded:
            return fail(StorageError("this storage in memory is closed"))
        _check_consecutive(entries, len(self._entries))
        if entries:
            del self._entries[entries[0].index - 1 :]
            self._entries.extend(entries)
        self._stored = Stored(
            self._stored.cluster_id if cluster_id is None else cluster_id,
            self._stored.hard_state if hard_state is None else hard_state,
        )
        return succeed(None)

    def close(self) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.close`.
        """
        self._is_loaded = False
        return succeed(None)

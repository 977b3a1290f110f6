"""
What a server may rely on: durable when told, in order, and nothing after a failure.

The storages' Deferreds are fired by :class:`tests.disks.Turns`. The processes that
come to a bad end run a real reactor. What is promised of snapshots is tested in
:mod:`tests.test_snapshot_storage`.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface.verify import verifyClass, verifyObject

import hraftd.database_file
from hraftd.interfaces import IStorage, StorageError, Stored
from hraftd.raft.messages import Entry, HardState, NoOp
from hraftd.storage import MemoryStorage, SqliteStorage
from tests.disks import (
    CLUSTER,
    DEADLINE,
    FILE,
    MEMBERS,
    NODE,
    WAL,
    Turns,
    commands,
    reload,
)
from tests.storage_process import digest_at, entry_of_term, pieces_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


ROOT = Path(__file__).parents[1]


@pytest.fixture
def turns() -> Turns:
    """
    Return a reactor's thread.
    """
    return Turns()


@pytest.fixture
def storage(tmp_path: Path, turns: Turns) -> Iterator[SqliteStorage]:
    """
    Yield a storage on the disk that is not loaded yet.
    """
    storage = SqliteStorage(tmp_path / "data", NODE, turns)
    yield storage
    turns.wait_for(storage.close())


@pytest.fixture(autouse=True)
def threads() -> Iterator[Callable[[], set[threading.Thread]]]:
    """
    Yield what tells the threads that the test has started; none may be left.
    """
    before = {*threading.enumerate()}

    def started() -> set[threading.Thread]:
        return {*threading.enumerate()} - before

    yield started
    assert not started()


def traced(storage: SqliteStorage) -> list[str]:
    """
    Return a list to which the beginning of each executed statement is added.
    """
    statements: list[str] = []
    connection = storage._database._file.connection
    assert connection is not None
    connection.set_trace_callback(
        lambda sql: statements.append(" ".join(sql.split()[:2]))
    )
    return statements


def pragma(storage: SqliteStorage, text: str) -> object:
    """
    Execute a pragma on the storage's own connection and return its value.
    """
    connection = storage._database._file.connection
    assert connection is not None
    return connection.execute(f"PRAGMA {text}").fetchone()[0]


@pytest.mark.parametrize("kind", ["disk", "memory"])
class TestBoth:
    """
    What both storages promise.
    """

    @pytest.fixture(name="opened")
    def _opened(
        self, tmp_path: Path, kind: str, turns: Turns
    ) -> Iterator[Callable[[], SqliteStorage | MemoryStorage]]:
        """
        Yield what opens the storage, and opens it again once it was closed.
        """
        memory = MemoryStorage()
        storages: list[SqliteStorage | MemoryStorage] = []

        def open_it() -> SqliteStorage | MemoryStorage:
            storages.append(
                memory if kind == "memory" else SqliteStorage(tmp_path, NODE, turns)
            )
            return storages[-1]

        yield open_it
        for storage in storages:
            turns.wait_for(storage.close())

    def test_interface(self, opened: Callable[[], object]) -> None:
        """
        They are storages.
        """
        storage = opened()
        assert verifyClass(IStorage, type(storage))
        assert verifyObject(IStorage, storage)

    def test_everything_comes_back(
        self, opened: Callable[[], SqliteStorage], turns: Turns
    ) -> None:
        """
        Term, vote, cluster and log are there after a restart (PySyncObj 84, 201).
        """
        storage = opened()
        assert storage.load() == Stored()
        turns.wait_for(
            storage.save(HardState(1, NODE), [Entry(1, 1, MEMBERS)], CLUSTER)
        )
        turns.wait_for(storage.save(None, [Entry(2, 1, NoOp()), *commands(3, 2)]))
        turns.wait_for(storage.save(HardState(7, None), ()))
        turns.wait_for(storage.save(None, ()))
        turns.wait_for(storage.close())
        expected = (Entry(1, 1, MEMBERS), Entry(2, 1, NoOp()), *commands(3, 2))
        storage = opened()
        assert storage.load() == Stored(CLUSTER, HardState(7, None), entries=expected)
        turns.wait_for(storage.save(HardState(7, "node2"), ()))
        turns.wait_for(storage.close())
        loaded = opened().load()
        assert loaded == Stored(CLUSTER, HardState(7, "node2"), entries=expected)

    @pytest.mark.parametrize("first_index", [1, 3, 6])
    def test_conflicting_entries_are_replaced(
        self, opened: Callable[[], SqliteStorage], turns: Turns, first_index: int
    ) -> None:
        """
        Saving from an index on replaces everything from there, also by less.
        """
        storage = opened()
        storage.load()
        turns.wait_for(storage.save(None, commands(1, 6)))
        turns.wait_for(storage.save(HardState(2), commands(first_index, 1, term=2)))
        turns.wait_for(storage.save(None, commands(first_index + 1, 1, term=2)))
        turns.wait_for(storage.close())
        assert opened().load().entries == (
            *commands(1, first_index - 1),
            *commands(first_index, 2, term=2),
        )

    def test_a_gap_is_a_mistake_of_the_caller(
        self, opened: Callable[[], SqliteStorage], turns: Turns
    ) -> None:
        """
        Entries that leave a gap are refused at once and spoil nothing.
        """
        storage = opened()
        storage.load()
        turns.wait_for(storage.save(None, commands(1, 3)))
        for entries in (commands(5, 1), commands(0, 1), commands(3, 2)[::-1]):
            with pytest.raises(ValueError, match="entry"):
                storage.save(None, entries)
        with pytest.raises(ValueError, match="entry 6 stands where 5 should"):
            storage.save(None, (*commands(4, 1), *commands(6, 1)))
        turns.wait_for(storage.save(None, commands(4, 1)))
        turns.wait_for(storage.close())
        assert opened().load().entries == commands(1, 4)

    def test_after_close(
        self, opened: Callable[[], SqliteStorage], turns: Turns
    ) -> None:
        """
        Closing twice is closing once, and a closed storage takes nothing.
        """
        storage = opened()
        storage.load()
        assert turns.wait_for(storage.close()) is None
        assert turns.wait_for(storage.close()) is None
        with pytest.raises(StorageError, match="closed"):
            turns.wait_for(storage.save(HardState(1), ()))
        assert opened().load() == Stored()


class TestTurn:
    """
    How a save goes through the thread and back.
    """

    def test_fires_in_the_reactor_thread(
        self, storage: SqliteStorage, turns: Turns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The disk is written by another thread, and the answer waits for a turn.
        """
        writers: list[int] = []
        write = storage._database.write

        def noting(*args: Any) -> None:
            write(*args)
            writers.append(threading.get_ident())

        monkeypatch.setattr(storage._database, "write", noting)
        storage.load()
        answered: list[int] = []
        saved = storage.save(None, commands(1, 1))
        saved.addCallback(lambda _: answered.append(threading.get_ident()))
        assert answered == []
        turns.turn()
        assert answered == [threading.get_ident()]
        assert len(writers) == 1
        assert writers != answered

    def test_one_at_a_time(self, storage: SqliteStorage, turns: Turns) -> None:
        """
        A second save while one is under way is a mistake, a cancelled one too.
        """
        with pytest.raises(RuntimeError, match="must be loaded"):
            storage.save(HardState(1), ())
        storage.load()
        with pytest.raises(RuntimeError, match="loaded once"):
            storage.load()
        saved = storage.save(HardState(1), ())
        saved.addErrback(lambda _: None)
        saved.cancel()
        with pytest.raises(RuntimeError, match="under way"):
            storage.save(HardState(2), ())
        turns.turn()
        turns.wait_for(storage.save(HardState(2), ()))

    def test_next_save_from_the_callback(
        self, storage: SqliteStorage, turns: Turns
    ) -> None:
        """
        Whoever hears that one save is done may start the next one right there.
        """
        storage.load()
        saved = storage.save(None, commands(1, 1))
        saved.addCallback(lambda _: storage.save(None, commands(2, 1)))
        turns.wait_for(saved)
        turns.wait_for(storage.close())
        assert reload(storage._database.file.parent).entries == commands(1, 2)

    def test_appending_is_one_statement(
        self, storage: SqliteStorage, turns: Turns
    ) -> None:
        """
        A batch of entries, and a vote, are one statement each, synced in full.

        With a sync that is put off, acknowledged writes are lost: NATS 2.12.1.
        """
        storage.load()
        statements = traced(storage)
        turns.wait_for(storage.save(None, commands(1, 200)))
        assert statements == ["INSERT INTO"]
        turns.wait_for(storage.save(HardState(1, NODE), ()))
        assert statements[1:] == ["UPDATE hard_state"]
        assert pragma(storage, "synchronous") == 2
        assert pragma(storage, "journal_mode") == "wal"
        assert pragma(storage, "fullfsync") == 1

    def test_more_is_one_transaction(
        self, storage: SqliteStorage, turns: Turns
    ) -> None:
        """
        Truncation, entries, term, vote and cluster are saved together or not at all.
        """
        storage.load()
        turns.wait_for(storage.save(None, commands(1, 5)))
        statements = traced(storage)
        turns.wait_for(storage.save(HardState(2), commands(3, 900, term=2), CLUSTER))
        assert statements == [
            "BEGIN IMMEDIATE",
            "DELETE FROM",
            *["INSERT INTO"] * 4,
            "UPDATE hard_state",
            "UPDATE meta",
            "COMMIT",
        ]
        turns.wait_for(storage.close())
        assert reload(storage._database.file.parent) == Stored(
            CLUSTER,
            HardState(2),
            entries=(*commands(1, 2), *commands(3, 900, term=2)),
        )

    def test_few_variables(self, storage: SqliteStorage, turns: Turns) -> None:
        """
        A SQLite that allows no more than 20 variables a statement gets no more.
        """
        storage.load()
        connection = storage._database._file.connection
        assert connection is not None
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 20)
        statements = traced(storage)
        turns.wait_for(storage.save(None, commands(1, 12)))
        assert statements.count("INSERT INTO") == 3
        turns.wait_for(storage.close())
        assert reload(storage._database.file.parent).entries == commands(1, 12)


class TestClose:
    """
    Letting go of the directory.
    """

    def test_waits_for_the_save_under_way(
        self,
        storage: SqliteStorage,
        turns: Turns,
        threads: Callable[[], set[threading.Thread]],
    ) -> None:
        """
        The save is answered before the closing is, and it is on the disk.
        """
        storage.load()
        answers: list[str] = []
        storage.save(None, commands(1, 2000)).addCallback(
            lambda _: answers.append("save")
        )
        for name in ("first close", "second close"):
            storage.close().addCallback(lambda _, name=name: answers.append(name))
        assert len(threads()) == 1
        turns.turn()
        turns.turn()
        assert answers == ["save", "first close", "second close"]
        assert not threads()
        assert reload(storage._database.file.parent).entries == commands(1, 2000)

    def test_leaves_one_file(self, storage: SqliteStorage, turns: Turns) -> None:
        """
        A clean end moves the write-ahead log into the database.
        """
        storage.load()
        turns.wait_for(storage.save(None, commands(1, 1)))
        directory = storage._database.file.parent
        assert (directory / WAL).exists()
        turns.wait_for(storage.close())
        assert [path.name for path in directory.iterdir()] == [FILE]

    def test_without_load(self, storage: SqliteStorage, turns: Turns) -> None:
        """
        A storage that was never loaded makes nothing, and cannot be loaded later.
        """
        turns.wait_for(storage.close())
        assert not storage._database.file.parent.exists()
        with pytest.raises(RuntimeError, match="before it is closed"):
            storage.load()

    def test_after_a_failed_load(self, tmp_path: Path, turns: Turns) -> None:
        """
        A load that failed holds nothing, not even the lock.
        """
        reload(tmp_path)
        stranger = SqliteStorage(tmp_path, "node1", turns)
        with pytest.raises(StorageError, match="belongs to"):
            stranger.load()
        assert reload(tmp_path) == Stored()
        turns.wait_for(stranger.close())


class TestInUse:
    """
    One directory, one process.
    """

    def test_second_storage(
        self, storage: SqliteStorage, tmp_path: Path, turns: Turns
    ) -> None:
        """
        Another storage in the same process is refused, and gets its turn later.
        """
        storage.load()
        second = SqliteStorage(tmp_path / "data", NODE, turns)
        with pytest.raises(StorageError, match="in use by another process"):
            second.load()
        # The refused one has not taken the lock with it.
        with pytest.raises(StorageError, match="in use by another process"):
            reload(tmp_path / "data")
        turns.wait_for(storage.save(HardState(1), ()))
        turns.wait_for(storage.close())
        assert reload(tmp_path / "data").hard_state == HardState(1)

    def test_second_process(self, storage: SqliteStorage, tmp_path: Path) -> None:
        """
        Another process is refused at once, in one line that names the file.
        """
        storage.load()
        child = run_child("load", tmp_path / "data")
        output, _ = child.communicate(timeout=DEADLINE)
        file = tmp_path / "data" / FILE
        assert output.splitlines() == [f"refused: {file} is in use by another process"]


class TestFailure:
    """
    After the first failed write, none succeeds.
    """

    @pytest.mark.parametrize(
        "save",
        [
            (None, commands(4, 2000), None),
            (HardState(2, NODE), commands(2, 2000), None),
            (HardState(2, "x" * 1_000_000), (), None),
        ],
        ids=["entries", "transaction", "vote"],
    )
    def test_full_disk(self, storage: SqliteStorage, turns: Turns, save: Any) -> None:
        """
        A write that does not fit fails, and so do all later ones, of the vote too.

        RaftKeeper 287, rostam 94. Started again with more space, the node has what
        was saved before, and goes on: arcadedb 5345.
        """
        storage.load()
        turns.wait_for(storage.save(HardState(1), commands(1, 3), CLUSTER))
        pages = pragma(storage, "page_count")
        pragma(storage, f"max_page_count = {pages}")
        with pytest.raises(StorageError, match=r"sqlite3 could not.*full") as failed:
            turns.wait_for(storage.save(*save))
        pragma(storage, "max_page_count = 1000000")
        for again in (save, (HardState(3), (), None), (None, (), None)):
            with pytest.raises(StorageError) as latched:
                turns.wait_for(storage.save(*again))
            assert str(latched.value) == str(failed.value)
        turns.wait_for(storage.close())
        directory = storage._database.file.parent
        assert reload(directory) == Stored(
            CLUSTER, HardState(1), entries=commands(1, 3)
        )
        second = SqliteStorage(directory, NODE, turns)
        second.load()
        turns.wait_for(second.save(*save))
        turns.wait_for(second.close())

    @pytest.mark.parametrize("failing", ["INSERT", "COMMIT"])
    def test_failed_sync(
        self, storage: SqliteStorage, turns: Turns, failing: str
    ) -> None:
        """
        A sync that fails once is not tried again: the disk may lie ("fsyncgate").
        """

        class Flaky:
            """
            A connection whose next statement of one kind fails.
            """

            def __init__(self, connection: sqlite3.Connection) -> None:
                self._connection = connection
                self._failures = 1

            def __getattr__(self, name: str) -> Any:
                return getattr(self._connection, name)

            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if sql.startswith(failing) and self._failures:
                    self._failures -= 1
                    raise sqlite3.OperationalError("disk I/O error")
                return self._connection.execute(sql, *parameters)

        storage.load()
        turns.wait_for(storage.save(None, commands(1, 3)))
        connection: Any = storage._database._file.connection
        storage._database._file.connection = Flaky(connection)  # type: ignore[assignment]
        for _ in range(2):
            with pytest.raises(StorageError, match="disk I/O error"):
                turns.wait_for(storage.save(HardState(2), commands(4, 1)))
        assert not connection.in_transaction
        turns.wait_for(storage.close())
        stored = reload(storage._database.file.parent)
        assert stored == Stored(None, HardState(), entries=commands(1, 3))

    def test_what_the_disk_cannot_hold(
        self, storage: SqliteStorage, turns: Turns
    ) -> None:
        """
        A number that is too large fails the save like any other reason.
        """
        storage.load()
        with pytest.raises(StorageError, match="could not be written"):
            turns.wait_for(storage.save(None, [Entry(1, 2**63, b"")]))
        with pytest.raises(StorageError, match="could not be written"):
            turns.wait_for(storage.save(None, commands(1, 1)))

    @pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files")
    def test_somebody_deletes_the_write_ahead_log(
        self, storage: SqliteStorage, turns: Turns
    ) -> None:
        """
        What would be written to a deleted file is not reported as saved.
        """
        storage.load()
        turns.wait_for(storage.save(None, commands(1, 1)))
        storage._database.file.with_name(WAL).unlink()
        with pytest.raises(StorageError, match=WAL):
            turns.wait_for(storage.save(None, commands(2, 1)))

    def test_the_write_ahead_log_is_bounded(
        self, storage: SqliteStorage, turns: Turns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        It is copied back again and again, or else emptied by force.
        """
        storage.load()
        wal = storage._database.file.with_name(WAL)
        for index in range(1, 31):
            turns.wait_for(storage.save(None, [Entry(index, 1, b"x" * 500_000)]))
            assert wal.stat().st_size < 6_000_000
        monkeypatch.setattr(hraftd.database_file, "_WAL_LIMIT", 100_000)
        turns.wait_for(storage.save(None, [Entry(31, 1, b"x" * 500_000)]))
        assert wal.stat().st_size == 0
        turns.wait_for(storage.save(None, commands(32, 1)))
        turns.wait_for(storage.close())
        assert len(reload(wal.parent).entries) == 32


def run_child(task: str, data_dir: Path) -> subprocess.Popen[str]:
    """
    Start a process on that directory; see :mod:`tests.storage_process`.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage_process", task, str(data_dir)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )


class TestProcess:
    """
    Storages in processes that come to a bad end.
    """

    def test_killed(self, tmp_path: Path) -> None:
        """
        Whatever a killed process had reported as saved is there, its vote included.

        PySyncObj 84 and 201, NATS 2.12.1. Term, vote and entry are saved together,
        so the latest of them belong together, too.
        """
        saved = 0
        for least in (1, 25, 120):
            child = run_child("save", tmp_path)
            assert child.stdout is not None
            for _ in range(least):
                saved = int(child.stdout.readline().split()[1])
            child.kill()
            for line in child.stdout.read().splitlines(keepends=True):
                # The last line may have been cut off by the kill.
                if line.endswith("\n"):
                    saved = int(line.split()[1])
            child.stdout.close()
            assert child.wait(DEADLINE) != 0
            stored = reload(tmp_path)
            last = stored.hard_state.current_term
            assert saved <= last <= saved + 1
            assert stored.hard_state.voted_for == f"node{last}"
            assert stored.entries == tuple(map(entry_of_term, range(1, last + 1)))

    def test_killed_with_snapshots(self, tmp_path: Path) -> None:
        """
        Killed at any moment, it has the old snapshot or the new one, and its log.

        Taking and receiving go on from there after each kill: LogCabin 174.
        """
        latest = 0
        for least in (1, 3, 4, 22):
            child = run_child("snapshots", tmp_path)
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(least)]
            child.kill()
            # The last line may have been cut off by the kill.
            lines += [line for line in child.stdout if line.endswith("\n")]
            child.stdout.close()
            assert child.wait(DEADLINE) != 0
            done = [int(line.split()[1]) for line in lines if "ed " in line]
            begun = [int(line.split()[1]) for line in lines]
            latest = done[-1] if done else latest
            stored = reload(tmp_path)
            index = 0
            if stored.snapshot is not None:
                index = stored.snapshot.last_index
                assert stored.snapshot.digest == digest_at(index)
                assert b"".join(stored.pieces) == b"".join(
                    piece.data for piece in pieces_at(index)
                )
            assert index in {latest, begun[-1]}
            latest = index
            for entry in stored.entries:
                assert entry.payload == b"%d" % entry.index
            assert stored.hard_state.current_term in {index, index + 1}

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes")
    def test_full_disk(self, tmp_path: Path) -> None:
        """
        A file system that takes no more ends the writing: RaftKeeper 287.

        It does so for good, though there is space again a moment later.
        """
        child = run_child("fill", tmp_path)
        output, _ = child.communicate(timeout=DEADLINE)
        *saved, failed, latched = output.splitlines()
        assert len(saved) > 10
        assert failed.startswith(f"failed: {tmp_path / FILE} could not be written (")
        assert latched == failed.replace("failed", "latched", 1)
        stored = reload(tmp_path)
        assert stored.hard_state == HardState()
        assert len(saved) <= len(stored.entries) <= len(saved) + 1

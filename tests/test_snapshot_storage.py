"""
What a server may rely on of its storage where snapshots are concerned.

Taking one and receiving one, on the disk and in memory; what of the log is left; what
is read back while the node runs. What the tables hold, and what a crash or damage
makes of it, is tested in :mod:`tests.test_snapshot_tables`.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from hraftd import snapshot_tables
from hraftd.codec import encode_payload
from hraftd.interfaces import StorageError, Stored
from hraftd.raft.messages import Entry, HardState, Piece, Snapshot
from hraftd.storage import MemoryStorage, SqliteStorage
from tests.disks import (
    CLUSTER,
    DEADLINE,
    NODE,
    Turns,
    commands,
    pieces_of,
    reload,
    snapshot_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

OWN = pieces_of(b"what this server", b" has applied", b" itself")
LEADERS = pieces_of(b"what the leader", b" has sent " * 1000, b"!")

#: More than any limit that a test sets.
ALL = 1 << 40


@pytest.fixture
def turns() -> Turns:
    """
    Return a reactor's thread.
    """
    return Turns()


@pytest.fixture
def storage(tmp_path: Path, turns: Turns) -> Iterator[SqliteStorage]:
    """
    Yield a storage on the disk that is loaded.
    """
    storage = SqliteStorage(tmp_path / "data", NODE, turns)
    storage.load()
    yield storage
    turns.wait_for(storage.close())


class Disk:
    """
    A storage, and its restarts.
    """

    def __init__(
        self, turns: Turns, make: Callable[[], SqliteStorage | MemoryStorage]
    ) -> None:
        """
        Open it for the first time.
        """
        self._turns = turns
        self._make = make
        self.storage = make()
        self.storage.load()

    def wait_for(self, deferred: Any) -> Any:
        """
        Return what a Deferred fires with, or raise what it fails with.
        """
        return self._turns.wait_for(deferred)

    def save(
        self,
        entries: Sequence[Entry] = (),
        hard_state: HardState | None = None,
        **snapshot: Any,
    ) -> None:
        """
        Save this, and wait until it is done.
        """
        self.wait_for(self.storage.save(hard_state, entries, **snapshot))

    def take(
        self,
        pieces: Sequence[Piece],
        snapshot: Snapshot,
        trailing_entries: int = 0,
        trailing_bytes: int = ALL,
    ) -> int:
        """
        Take a snapshot, and return where the log begins then.
        """
        for piece in pieces:
            self.wait_for(self.storage.write_piece(piece))
        first: int = self.wait_for(
            self.storage.compact(snapshot, trailing_entries, trailing_bytes)
        )
        return first

    def restart(self) -> Stored:
        """
        Close the storage and return what another one finds.
        """
        self.wait_for(self.storage.close())
        self.storage = self._make()
        stored = self.storage.load()
        return evolve(stored, pieces=tuple(stored.pieces))


@pytest.fixture(params=["disk", "memory"])
def disk(
    request: pytest.FixtureRequest, tmp_path: Path, turns: Turns
) -> Iterator[Disk]:
    """
    Yield each kind of storage.
    """
    memory = MemoryStorage()

    def make() -> SqliteStorage | MemoryStorage:
        if request.param == "memory":
            return memory
        return SqliteStorage(tmp_path / "data", NODE, turns)

    disk = Disk(turns, make)
    yield disk
    turns.wait_for(disk.storage.close())


def contents(pieces: Sequence[Piece]) -> tuple[bytes, ...]:
    """
    Return what is in pieces.
    """
    return tuple(piece.data for piece in pieces)


class TestTaking:
    """
    A snapshot of what this server has applied itself.
    """

    def test_it_takes_the_place_of_the_log(self, disk: Disk) -> None:
        """
        All up to its last index is gone, and what follows stays.
        """
        disk.save(commands(1, 9), HardState(1, NODE), cluster_id=CLUSTER)
        snapshot = snapshot_of(OWN, 6)
        assert disk.take(OWN, snapshot) == 7
        expected = Stored(
            CLUSTER, HardState(1, NODE), snapshot, contents(OWN), commands(7, 3)
        )
        assert disk.restart() == expected
        disk.save(commands(10, 2))
        assert disk.restart() == evolve(expected, entries=commands(7, 5))

    @pytest.mark.parametrize(
        ("trailing_entries", "trailing_bytes", "first"),
        [
            (0, ALL, 9),
            (1, ALL, 8),
            (3, ALL, 6),
            (8, ALL, 1),
            (100, ALL, 1),
            (100, 0, 9),
            (100, 99, 9),
            (100, 100, 8),
            (100, 199, 8),
            (100, 1000, 1),
            (2, 300, 7),
            (3, 200, 7),
        ],
    )
    def test_what_stays_of_the_log(
        self, disk: Disk, trailing_entries: int, trailing_bytes: int, first: int
    ) -> None:
        """
        The latest entries up to the snapshot's last, within both limits.

        The limit in bytes is of payloads as they are on the disk, of 100 bytes each
        here. What stands behind the snapshot counts for neither.
        """
        entries = tuple(Entry(index, 1, b"x" * 99) for index in range(1, 11))
        assert {len(encode_payload(entry.payload)) for entry in entries} == {100}
        disk.save(entries)
        snapshot = snapshot_of(OWN, 8)
        left = disk.take(OWN, snapshot, trailing_entries, trailing_bytes)
        assert left == first
        stored = disk.restart()
        assert stored.entries == entries[first - 1 :]
        assert stored.snapshot == snapshot

    def test_the_whole_log(self, disk: Disk) -> None:
        """
        Behind a snapshot of all there is, the log is empty and goes on.
        """
        disk.save(commands(1, 5))
        assert disk.take(OWN, snapshot_of(OWN, 5)) == 6
        assert disk.restart().entries == ()
        with pytest.raises(ValueError, match="entry 7 does not follow"):
            disk.storage.save(None, commands(7, 1))
        disk.save(commands(6, 2))
        assert disk.restart().entries == commands(6, 2)

    def test_one_after_the_other(self, disk: Disk) -> None:
        """
        A later snapshot takes the place of the one before, with what trailed it.
        """
        disk.save(commands(1, 10))
        assert disk.take(OWN, snapshot_of(OWN, 4), trailing_entries=3) == 2
        later = pieces_of(b"later")
        # Nothing trails the later one that was gone already.
        assert disk.take(later, snapshot_of(later, 6), trailing_entries=50) == 2
        latest = pieces_of(b"even later", b" and longer")
        assert disk.take(latest, snapshot_of(latest, 9), trailing_entries=1) == 9
        stored = disk.restart()
        assert stored.snapshot == snapshot_of(latest, 9)
        assert stored.pieces == contents(latest)
        assert stored.entries == commands(9, 2)

    def test_once_more_at_the_same_index(self, disk: Disk) -> None:
        """
        Another snapshot may have the same last entry, even if that is gone.
        """
        disk.save(commands(1, 4))
        disk.take(OWN, snapshot_of(OWN, 4))
        again = pieces_of(b"the same in other words")
        assert disk.take(again, snapshot_of(again, 4)) == 5
        assert disk.restart().pieces == contents(again)

    def test_beginning_anew(self, disk: Disk) -> None:
        """
        A piece at offset 0 drops what was written before.
        """
        disk.save(commands(1, 3))
        for piece in (*LEADERS[:2], *OWN[:1]):
            disk.wait_for(disk.storage.write_piece(piece))
        assert disk.take(OWN, snapshot_of(OWN, 3)) == 4
        assert disk.restart().pieces == contents(OWN)

    def test_a_gap_between_pieces(self, disk: Disk) -> None:
        """
        What does not follow, or is empty, is refused and spoils nothing.
        """
        disk.save(commands(1, 3))
        disk.wait_for(disk.storage.write_piece(OWN[0]))
        size = len(OWN[0].data)
        for wrong in (OWN[2], Piece(size - 1, b"x"), Piece(size, b""), Piece(-1, b"x")):
            with pytest.raises(ValueError, match=f"piece at {wrong.offset} "):
                disk.wait_for(disk.storage.write_piece(wrong))
        for piece in OWN[1:]:
            disk.wait_for(disk.storage.write_piece(piece))
        assert disk.wait_for(disk.storage.compact(snapshot_of(OWN, 3), 0, 0)) == 4

    @pytest.mark.parametrize(
        "wrong",
        [
            evolve(snapshot_of(OWN, 5), size=snapshot_of(OWN, 5).size + 1),
            evolve(snapshot_of(OWN, 5), digest=bytes(32)),
            snapshot_of(OWN[:2], 5),
            snapshot_of(OWN, 5, last_term=2),
            snapshot_of(OWN, 9),
            snapshot_of(OWN, 0),
            snapshot_of(OWN, 2),
            snapshot_of(OWN, 3, last_term=2),
        ],
        ids=["size", "digest", "part", "term", "ahead", "none", "older", "same"],
    )
    def test_another_snapshot(self, disk: Disk, wrong: Snapshot) -> None:
        """
        What was not written, or does not fit the log, is refused and spoils nothing.

        An older snapshot in place of a later one would leave a gap in the log:
        camunda 3573.
        """
        before = pieces_of(b"before")
        disk.save(commands(1, 8))
        disk.take(before, snapshot_of(before, 3))
        with pytest.raises(ValueError, match=r"snapshot|term"):
            disk.take(OWN, wrong, 0, 0)
        # The pieces are gone, too.
        with pytest.raises(ValueError, match="snapshot"):
            disk.wait_for(disk.storage.compact(snapshot_of(OWN, 5), 0, 0))
        assert disk.take(OWN, snapshot_of(OWN, 5)) == 6
        assert disk.restart().entries == commands(6, 3)

    def test_without_pieces(self, disk: Disk) -> None:
        """
        A snapshot of which nothing was written is refused.
        """
        disk.save(commands(1, 3))
        with pytest.raises(ValueError, match="snapshot"):
            disk.wait_for(disk.storage.compact(snapshot_of(OWN, 3), 0, 0))

    def test_what_a_snapshot_stands_for_is_not_replaced(self, disk: Disk) -> None:
        """
        What is replaced in the log is behind the snapshot, before and after a restart.
        """
        disk.save(commands(1, 8))
        disk.take(OWN, snapshot_of(OWN, 5), trailing_entries=3)
        for _ in range(2):
            with pytest.raises(ValueError, match="entry 5 does not follow"):
                disk.storage.save(None, commands(5, 2, term=2))
            disk.restart()
        disk.save(commands(6, 1, term=2))
        assert disk.restart().entries == (*commands(3, 3), *commands(6, 1, term=2))


class TestReceiving:
    """
    A snapshot that the leader sends.
    """

    def test_it_takes_the_place_of_everything(self, disk: Disk) -> None:
        """
        Pieces come in any number of saves; then the log is what follows alone.
        """
        disk.save(commands(1, 30), HardState(1))
        disk.save(pieces=LEADERS[:1])
        disk.save(commands(31, 1), pieces=LEADERS[1:2])
        assert disk.storage is not None
        snapshot = snapshot_of(LEADERS, 20, last_term=2)
        disk.save(
            commands(21, 2, term=3),
            HardState(3, "node2"),
            pieces=LEADERS[2:],
            snapshot=snapshot,
        )
        expected = Stored(
            None,
            HardState(3, "node2"),
            snapshot,
            contents(LEADERS),
            commands(21, 2, term=3),
        )
        assert disk.restart() == expected
        disk.save(commands(23, 1, term=3))
        assert disk.restart() == evolve(expected, entries=commands(21, 3, term=3))

    def test_a_jump_beyond_the_log(self, disk: Disk) -> None:
        """
        Nothing older stays, neither log nor snapshot, so there is no gap.

        camunda 3573: an older snapshot was kept, with a log that begins far behind it.
        """
        disk.save(commands(1, 6))
        disk.take(OWN, snapshot_of(OWN, 4), trailing_entries=2)
        snapshot = snapshot_of(LEADERS, 1000, last_term=7)
        disk.save(pieces=LEADERS, snapshot=snapshot)
        with pytest.raises(ValueError, match="entry 7 does not follow"):
            disk.storage.save(None, commands(7, 1))
        disk.save(commands(1001, 1, term=7))
        stored = disk.restart()
        assert stored.snapshot == snapshot
        assert stored.pieces == contents(LEADERS)
        assert stored.entries == commands(1001, 1, term=7)

    def test_an_empty_server(self, disk: Disk) -> None:
        """
        The first thing that a new server gets may be a snapshot.
        """
        snapshot = snapshot_of(LEADERS, 50)
        disk.save(pieces=LEADERS, cluster_id=CLUSTER)
        disk.save(snapshot=snapshot)
        assert disk.restart() == Stored(
            CLUSTER, HardState(), snapshot, contents(LEADERS), ()
        )

    @pytest.mark.parametrize("batches", [[(0, 2), (0, 3)], [(0, 2, 0, 3)], [(0, 3)]])
    def test_beginning_anew(self, disk: Disk, batches: list[tuple[int, ...]]) -> None:
        """
        A piece at offset 0 drops what was received of another transfer: smg 837.
        """
        disk.save(pieces=OWN[:2])
        for batch in batches:
            pieces: tuple[Piece, ...] = ()
            for first, last in zip(batch[::2], batch[1::2], strict=True):
                pieces += LEADERS[first:last]
            disk.save(pieces=pieces)
        disk.save(snapshot=snapshot_of(LEADERS, 9))
        assert disk.restart().pieces == contents(LEADERS)

    def test_a_gap_is_a_mistake_of_the_caller(self, disk: Disk) -> None:
        """
        What does not follow is refused at once, with all that was to be saved.

        Pieces of two transfers are never mixed: smg 837.
        """
        disk.save(pieces=LEADERS[:1])
        size = len(LEADERS[0].data)
        for pieces in (
            LEADERS[2:],
            OWN[1:],
            (LEADERS[1], LEADERS[1]),
            (Piece(size, b""),),
        ):
            with pytest.raises(ValueError, match="piece at"):
                disk.storage.save(HardState(9), commands(1, 1), pieces=pieces)
        with pytest.raises(ValueError, match="not complete"):
            disk.storage.save(
                None, (), pieces=LEADERS[1:2], snapshot=snapshot_of(LEADERS, 5)
            )
        for first in (5, 7):
            with pytest.raises(ValueError, match=f"entry {first} does not follow"):
                disk.storage.save(
                    None,
                    commands(first, 1),
                    pieces=LEADERS[1:],
                    snapshot=snapshot_of(LEADERS, 5),
                )
        disk.save(pieces=LEADERS[1:], snapshot=snapshot_of(LEADERS, 5))
        stored = disk.restart()
        assert stored.hard_state == HardState()
        assert stored.pieces == contents(LEADERS)

    def test_another_content(self, disk: Disk) -> None:
        """
        What has the right size and another digest does not replace the log.
        """
        disk.save(commands(1, 3), pieces=LEADERS[:1])
        wrong = Piece(LEADERS[2].offset, b"?")
        with pytest.raises(ValueError, match="bytes written are not those"):
            disk.save(
                commands(6, 1),
                HardState(9),
                pieces=(LEADERS[1], wrong),
                snapshot=snapshot_of(LEADERS, 5),
            )
        # Nothing of that save was taken.
        disk.save(commands(4, 1), pieces=LEADERS[1:2])
        disk.save(pieces=LEADERS[2:], snapshot=snapshot_of(LEADERS, 5))
        stored = disk.restart()
        assert (stored.hard_state, stored.entries) == (HardState(), ())
        assert stored.pieces == contents(LEADERS)

    def test_older_than_the_one_there_is(self, disk: Disk) -> None:
        """
        A snapshot never goes back behind the one in force.
        """
        disk.save(commands(1, 8))
        disk.take(OWN, snapshot_of(OWN, 6))
        for _ in range(2):
            disk.save(pieces=LEADERS)
            with pytest.raises(ValueError, match="cannot take the place"):
                disk.storage.save(None, (), snapshot=snapshot_of(LEADERS, 5))
            assert disk.restart().snapshot == snapshot_of(OWN, 6)

    def test_restarted_in_mid_transfer(self, disk: Disk) -> None:
        """
        Half a snapshot is forgotten, and the transfer begins anew: LogCabin 174.
        """
        disk.save(commands(1, 3), pieces=LEADERS[:2])
        assert disk.restart() == Stored(entries=commands(1, 3))
        with pytest.raises(ValueError, match="piece at"):
            disk.storage.save(None, (), pieces=LEADERS[2:])
        disk.save(pieces=LEADERS[:1])
        assert disk.restart().snapshot is None
        disk.save(pieces=LEADERS, snapshot=snapshot_of(LEADERS, 8))
        assert disk.restart().pieces == contents(LEADERS)


class TestBothAtOnce:
    """
    A server that takes a snapshot may be sent one.
    """

    def test_they_do_not_mix(self, disk: Disk) -> None:
        """
        Pieces of the two belong to either, however they alternate: smg 837.
        """
        disk.save(commands(1, 3))
        for own, leaders in zip(OWN, LEADERS, strict=True):
            disk.wait_for(disk.storage.write_piece(own))
            disk.save(pieces=[leaders])
        assert disk.wait_for(disk.storage.compact(snapshot_of(OWN, 3), 0, 0)) == 4
        stored = snapshot_of(LEADERS, 9)
        disk.save(snapshot=stored)
        assert disk.restart().pieces == contents(LEADERS)

    def test_installing_ends_taking(self, disk: Disk) -> None:
        """
        What is being taken goes less far than what is installed, and is dropped.
        """
        disk.save(commands(1, 3), pieces=LEADERS)
        disk.wait_for(disk.storage.write_piece(OWN[0]))
        snapshot = snapshot_of(LEADERS, 9)
        disk.save(snapshot=snapshot)
        with pytest.raises(ValueError, match="piece at"):
            disk.wait_for(disk.storage.write_piece(OWN[1]))
        with pytest.raises(ValueError, match="snapshot"):
            disk.wait_for(disk.storage.compact(snapshot_of(OWN, 3), 0, 0))
        disk.save(commands(10, 2))
        later = pieces_of(b"later")
        assert disk.take(later, snapshot_of(later, 10)) == 11
        assert disk.restart().pieces == contents(later)

    def test_restarted_in_the_middle(self, disk: Disk) -> None:
        """
        Of a snapshot that was not complete, nothing is left.
        """
        disk.save(commands(1, 9))
        disk.take(OWN, snapshot_of(OWN, 4), trailing_entries=2)
        before = disk.restart()
        disk.save(pieces=LEADERS)
        for piece in OWN:
            disk.wait_for(disk.storage.write_piece(piece))
        assert disk.restart() == before
        with pytest.raises(ValueError, match="snapshot"):
            disk.wait_for(disk.storage.compact(snapshot_of(OWN, 5), 0, 0))
        with pytest.raises(ValueError, match="not complete"):
            disk.storage.save(None, (), snapshot=snapshot_of(LEADERS, 9))


class TestReadingBack:
    """
    What is not in memory any more.
    """

    def test_pieces(self, disk: Disk) -> None:
        """
        Each piece of the latest snapshot can be read, of no other, and from nowhere
        else.
        """
        disk.save(commands(1, 5))
        snapshot = snapshot_of(OWN, 3)
        with pytest.raises(LookupError):
            disk.wait_for(disk.storage.read_piece(snapshot, 0))
        disk.wait_for(disk.storage.write_piece(OWN[0]))
        with pytest.raises(LookupError):
            disk.wait_for(disk.storage.read_piece(snapshot, 0))
        disk.take(OWN, snapshot)
        for _ in range(2):
            for piece in OWN:
                reading = disk.storage.read_piece(snapshot, piece.offset)
                assert disk.wait_for(reading) == piece.data
            for offset in (-1, 1, OWN[1].offset - 1, snapshot.size, snapshot.size + 1):
                with pytest.raises(LookupError):
                    disk.wait_for(disk.storage.read_piece(snapshot, offset))
            disk.restart()
        later = pieces_of(b"what this server", b" has applied", b" later")
        disk.take(later, snapshot_of(later, 4))
        with pytest.raises(LookupError):
            disk.wait_for(disk.storage.read_piece(snapshot, 0))
        reading = disk.storage.read_piece(snapshot_of(later, 4), later[2].offset)
        assert disk.wait_for(reading) == b" later"

    @pytest.mark.parametrize(
        ("first", "last", "max_bytes", "end"),
        [
            (3, 12, ALL, 12),
            (3, 99, ALL, 12),
            (5, 7, ALL, 7),
            (12, 12, ALL, 12),
            (5, 12, 0, 5),
            (5, 12, -1, 5),
            (5, 12, 100, 5),
            (5, 12, 199, 5),
            (5, 12, 200, 6),
            (5, 12, 450, 8),
            (5, 6, 450, 6),
        ],
    )
    def test_entries(
        self, disk: Disk, first: int, last: int, max_bytes: int, end: int
    ) -> None:
        """
        As many as there are, as were asked for, and as have no more bytes.

        But always one.
        """
        entries = tuple(Entry(index, index, b"x" * 99) for index in range(1, 13))
        disk.save(entries)
        disk.take(OWN, snapshot_of(OWN, 8, last_term=8), trailing_entries=6)
        for _ in range(2):
            reading = disk.storage.read_entries(first, last, max_bytes)
            assert tuple(disk.wait_for(reading)) == entries[first - 1 : end]
            disk.restart()

    @pytest.mark.parametrize("max_bytes", [ALL, 25_000, 20_480, 20_479])
    def test_many_entries(self, disk: Disk, max_bytes: int) -> None:
        """
        There may be thousands, of all kinds.
        """
        entries = tuple(Entry(n, 1, b"%09d" % n) for n in range(1, 3001))
        disk.save(entries)
        reading = disk.storage.read_entries(2, 2990, max_bytes)
        assert (
            tuple(disk.wait_for(reading)) == entries[1 : min(2990, max_bytes // 10 + 1)]
        )

    def test_entries_of_all_kinds(self, disk: Disk) -> None:
        """
        Any bytes come back as they were, and what is no command, too.
        """
        entries = (
            Entry(1, 1, snapshot_of(OWN, 1).configuration),
            Entry(2, 1, b""),
            Entry(3, 2, bytes(range(256)) * 50),
            Entry(4, 2, b"line\nline \x00 end"),
        )
        disk.save(entries)
        assert tuple(disk.wait_for(disk.storage.read_entries(1, 4, ALL))) == entries

    def test_entries_that_are_not_there(self, disk: Disk) -> None:
        """
        What was compacted, truncated or never there is not found.
        """
        with pytest.raises(LookupError):
            disk.wait_for(disk.storage.read_entries(1, 1, ALL))
        disk.save(commands(1, 9))
        disk.save(commands(8, 1, term=2))
        disk.take(OWN, snapshot_of(OWN, 5), trailing_entries=2)
        for _ in range(2):
            for first, last in ((3, 8), (9, 9), (0, 5), (-5, 5), (6, 5)):
                with pytest.raises(LookupError):
                    disk.wait_for(disk.storage.read_entries(first, last, ALL))
            reading = disk.storage.read_entries(4, 20, ALL)
            assert tuple(disk.wait_for(reading)) == (
                *commands(4, 4),
                *commands(8, 1, term=2),
            )
            disk.restart()
        disk.save(pieces=LEADERS, snapshot=snapshot_of(LEADERS, 20))
        with pytest.raises(LookupError):
            disk.wait_for(disk.storage.read_entries(8, 20, ALL))
        disk.save(commands(21, 1))
        reading = disk.storage.read_entries(21, 21, ALL)
        assert tuple(disk.wait_for(reading)) == commands(21, 1)

    def test_after_close(self, disk: Disk) -> None:
        """
        A closed storage takes and tells nothing.
        """
        storage = disk.storage
        disk.wait_for(storage.close())
        snapshot = snapshot_of(OWN, 1)
        for closed in (
            storage.save(None, (), pieces=OWN),
            storage.write_piece(OWN[0]),
            storage.compact(snapshot, 0, 0),
            storage.read_piece(snapshot, 0),
            storage.read_entries(1, 1, 1),
        ):
            with pytest.raises(StorageError, match="closed"):
                disk.wait_for(closed)


#: Everything that can be asked of a storage, by name.
ASKED: dict[str, Callable[[SqliteStorage], Any]] = {
    "vote": lambda storage: storage.save(HardState(9, NODE), ()),
    "received": lambda storage: storage.save(None, (), pieces=LEADERS[2:]),
    "installed": lambda storage: storage.save(
        None, (), pieces=LEADERS[2:], snapshot=snapshot_of(LEADERS, 50)
    ),
    "written": lambda storage: storage.write_piece(OWN[2]),
    "compacted": lambda storage: storage.compact(snapshot_of(OWN[:2], 5), 0, 0),
    "piece read": lambda storage: storage.read_piece(snapshot_of(OWN, 2), 0),
    "entries read": lambda storage: storage.read_entries(4, 5, ALL),
}


class Flaky:
    """
    A connection whose next statement that begins so fails.
    """

    def __init__(self, connection: sqlite3.Connection, failing: str) -> None:
        """
        Stand before a connection.
        """
        self._connection = connection
        self._failing: str | None = failing

    def __getattr__(self, name: str) -> Any:
        """
        Be that connection otherwise.
        """
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """
        Execute it, or fail once.
        """
        if self._failing is not None and sql.strip().startswith(self._failing):
            self._failing = None
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, *parameters)


@pytest.fixture
def busy_storage(storage: SqliteStorage, turns: Turns) -> SqliteStorage:
    """
    Return one with a snapshot, one half received, and one half taken.
    """
    turns.wait_for(storage.save(None, commands(1, 6)))
    for piece in OWN:
        turns.wait_for(storage.write_piece(piece))
    turns.wait_for(storage.compact(snapshot_of(OWN, 2), 0, 0))
    turns.wait_for(storage.save(None, (), pieces=LEADERS[:2]))
    for piece in OWN[:2]:
        turns.wait_for(storage.write_piece(piece))
    return storage


class TestFailure:
    """
    After the first failure nothing succeeds, whatever it was.
    """

    @pytest.mark.parametrize(
        ("failing", "statement"),
        [
            ("received", "INSERT INTO snapshot_piece"),
            ("installed", "INSERT INTO snapshot_piece"),
            ("installed", "UPDATE snapshot"),
            ("installed", "DELETE FROM log"),
            ("installed", "COMMIT"),
            ("written", "INSERT INTO snapshot_piece"),
            ("compacted", "SELECT min"),
            ("compacted", "UPDATE snapshot"),
            ("compacted", "DELETE FROM log"),
            ("compacted", "COMMIT"),
            ("compacted", "SELECT term"),
            ("piece read", "SELECT crc, data"),
            ("entries read", "SELECT count"),
            ("entries read", "SELECT group_concat"),
        ],
    )
    def test_latch(
        self, busy_storage: SqliteStorage, turns: Turns, failing: str, statement: str
    ) -> None:
        """
        What fails once is not tried again, nor anything else, of the vote too.

        rostam 94, RaftKeeper 287. What was there before is there after a restart, and
        the node goes on: arcadedb 5345.
        """
        storage = busy_storage
        connection: Any = storage._database._file.connection
        storage._database._file.connection = Flaky(  # type: ignore[assignment]
            connection, statement
        )
        with pytest.raises(StorageError, match="disk I/O error") as failed:
            turns.wait_for(ASKED[failing](storage))
        assert not connection.in_transaction
        for again in ASKED.values():
            with pytest.raises(StorageError) as latched:
                turns.wait_for(again(storage))
            assert str(latched.value) == str(failed.value)
        turns.wait_for(storage.close())
        directory = storage._database.file.parent
        before = Stored(
            None, HardState(), snapshot_of(OWN, 2), contents(OWN), commands(3, 4)
        )
        assert reload(directory) == before
        second = SqliteStorage(directory, NODE, turns)
        second.load()
        turns.wait_for(
            second.save(None, (), pieces=LEADERS, snapshot=snapshot_of(LEADERS, 50))
        )
        turns.wait_for(second.close())
        assert reload(directory).pieces == contents(LEADERS)

    @pytest.mark.parametrize("name", ["received", "written"])
    def test_full_disk(self, storage: SqliteStorage, turns: Turns, name: str) -> None:
        """
        A snapshot that does not fit ends the writing, of the vote too.

        RaftKeeper 287, rostam 94. With more space, or without that snapshot, the
        node starts again: arcadedb 5345.
        """
        turns.wait_for(storage.save(HardState(1), commands(1, 3)))
        connection = storage._database._file.connection
        assert connection is not None
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 500}")
        with pytest.raises(StorageError, match=r"could not be written.*full"):  # noqa: PT012
            for offset in range(0, 100_000_000, 100_000):
                piece = Piece(offset, bytes(100_000))
                turns.wait_for(
                    storage.write_piece(piece)
                    if name == "written"
                    else storage.save(None, (), pieces=[piece])
                )
        assert offset > 1_000_000
        connection.execute("PRAGMA max_page_count = 1000000")
        with pytest.raises(StorageError, match="full"):
            turns.wait_for(storage.save(HardState(2), ()))
        turns.wait_for(storage.close())
        directory = storage._database.file.parent
        assert reload(directory) == Stored(None, HardState(1), entries=commands(1, 3))

    def test_deleting_fails(self, busy_storage: SqliteStorage, turns: Turns) -> None:
        """
        What nobody asked for may fail as well; then the next one who asks is told.
        """
        storage = busy_storage
        connection: Any = storage._database._file.connection
        deleting = threading.Event()

        class Noting(Flaky):
            """
            Says when it fails.
            """

            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if sql.startswith("DELETE FROM snapshot_piece"):
                    deleting.set()
                return super().execute(sql, *parameters)

        storage._database._file.connection = Noting(  # type: ignore[assignment]
            connection, "DELETE FROM snapshot_piece"
        )
        turns.wait_for(storage.save(None, (), pieces=OWN[:1]))
        assert deleting.wait(DEADLINE)
        with pytest.raises(StorageError, match="disk I/O error"):
            turns.wait_for(storage.save(HardState(9), ()))

    @pytest.mark.parametrize("name", ["piece read", "entries read"])
    def test_damage_is_found_when_reading(
        self, busy_storage: SqliteStorage, turns: Turns, name: str
    ) -> None:
        """
        What is read back has its checksum compared, and damage stops the node.
        """
        storage = busy_storage
        connection = storage._database._file.connection
        assert connection is not None
        if name == "piece read":
            connection.execute("UPDATE snapshot_piece SET data = x'00'")
        else:
            connection.execute("UPDATE log SET payload = x'43' WHERE \"index\" = 5")
        with pytest.raises(StorageError, match="is damaged") as failed:
            turns.wait_for(ASKED[name](storage))
        for again in ASKED.values():
            with pytest.raises(StorageError) as latched:
                turns.wait_for(again(storage))
            assert str(latched.value) == str(failed.value)

    @pytest.mark.parametrize(
        ("sql", "what"),
        [
            ("UPDATE log SET term = 9", "checksum of entry 4"),
            ("UPDATE log SET term = 'x'", "checksum of entry 4"),
            ("UPDATE log SET crc = 'x y'", "checksum of entry 4"),
            ("UPDATE log SET payload = 'C'", "checksum of entry 4"),
            ('DELETE FROM log WHERE "index" = 4', "entry 4 of its log is missing"),
            ('DELETE FROM log WHERE "index" = 5', "entry 5 of its log is missing"),
            ('DELETE FROM log WHERE "index" = 6', "entry 6 of its log is missing"),
            ("DELETE FROM log", "entry 4 of its log is missing"),
        ],
    )
    def test_damaged_entries(
        self, busy_storage: SqliteStorage, turns: Turns, sql: str, what: str
    ) -> None:
        """
        No row of the log is read back as something else, or left out.
        """
        connection = busy_storage._database._file.connection
        assert connection is not None
        connection.execute(sql)
        with pytest.raises(StorageError, match=what):
            turns.wait_for(busy_storage.read_entries(4, 6, ALL))


class TestTurn:
    """
    How all this goes through one thread.
    """

    def test_taking_is_given_up(self, storage: SqliteStorage, turns: Turns) -> None:
        """
        Whoever does not wait for a piece may begin anew, while a save is under way.
        """
        storage.write_piece(OWN[0]).addErrback(lambda _: None).cancel()
        saved = storage.save(None, commands(1, 1))
        written = storage.write_piece(LEADERS[0])
        turns.wait_for(saved)
        turns.wait_for(written)
        for piece in LEADERS[1:]:
            turns.wait_for(storage.write_piece(piece))
        snapshot = snapshot_of(LEADERS, 1)
        assert turns.wait_for(storage.compact(snapshot, 0, 0)) == 2

    def test_a_save_waits_for_one_piece_at_most(
        self, storage: SqliteStorage, turns: Turns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What is queued and has not begun is overtaken by a save.
        """
        begun, may_go_on = threading.Event(), threading.Event()
        write_piece = storage._database.write_piece

        def held(piece: Piece) -> None:
            begun.set()
            assert may_go_on.wait(DEADLINE)
            write_piece(piece)

        monkeypatch.setattr(storage._database, "write_piece", held)
        turns.wait_for(storage.save(None, commands(1, 3)))
        order: list[str] = []

        def note(name: str, deferred: Any) -> Any:
            return deferred.addCallback(lambda _: order.append(name))

        note("piece", storage.write_piece(OWN[0]))
        assert begun.wait(DEADLINE)
        note("reading", storage.read_entries(1, 3, ALL))
        last = note("reading again", storage.read_entries(2, 3, ALL))
        note("save", storage.save(HardState(1), ()))
        may_go_on.set()
        turns.wait_for(last)
        assert order == ["piece", "save", "reading", "reading again"]

    def test_close_waits_for_all(self, storage: SqliteStorage, turns: Turns) -> None:
        """
        What was asked for before the closing is done and answered.
        """
        turns.wait_for(storage.save(None, commands(1, 3)))
        answers: list[str] = []
        for name, deferred in (
            ("piece", storage.write_piece(OWN[0])),
            ("read", storage.read_entries(1, 3, ALL)),
            ("save", storage.save(HardState(1), ())),
            ("closed", storage.close()),
        ):
            deferred.addCallback(lambda _, name=name: answers.append(name))
        while len(answers) < 4:
            turns.turn()
        assert sorted(answers[:3]) == ["piece", "read", "save"]
        assert answers[3] == "closed"

    def test_the_pieces_are_read_first(
        self, storage: SqliteStorage, turns: Turns
    ) -> None:
        """
        Reading the loaded snapshot beside something else is a mistake.

        It is read by the thread that loads it.
        """
        turns.wait_for(
            storage.save(None, (), pieces=LEADERS, snapshot=snapshot_of(LEADERS, 9))
        )
        turns.wait_for(storage.close())
        directory = storage._database.file.parent
        second = SqliteStorage(directory, NODE, turns)
        pieces = iter(second.load().pieces)
        assert next(pieces) == LEADERS[0].data
        turns.wait_for(second.save(HardState(1), ()))
        with pytest.raises(RuntimeError, match="before anything else"):
            next(pieces)
        turns.wait_for(second.close())

    def test_a_part_of_a_snapshot_is_read(
        self, storage: SqliteStorage, turns: Turns
    ) -> None:
        """
        Whoever does not read it to its end can go on all the same.
        """
        turns.wait_for(
            storage.save(None, (), pieces=LEADERS, snapshot=snapshot_of(LEADERS, 9))
        )
        turns.wait_for(storage.close())
        second = SqliteStorage(storage._database.file.parent, NODE, turns)
        assert next(iter(second.load().pieces)) == LEADERS[0].data
        turns.wait_for(second.save(None, commands(10, 3)))
        assert turns.wait_for(second.read_piece(snapshot_of(LEADERS, 9), 0))
        turns.wait_for(second.close())


def count(storage: SqliteStorage) -> int:
    """
    Return how many bytes of pieces there are, whatever they are of.
    """
    connection = storage._database._file.connection
    assert connection is not None
    sql = "SELECT coalesce(sum(length(data)), 0) FROM snapshot_piece"
    size: int = connection.execute(sql).fetchone()[0]
    return size


class TestSweeping:
    """
    What nobody needs any more goes, a little at a time.
    """

    def test_small_transactions(
        self, storage: SqliteStorage, turns: Turns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A superseded snapshot is deleted in many steps, and a save comes in between.
        """
        monkeypatch.setattr(snapshot_tables, "_DELETED", 100_000)
        turns.wait_for(storage.save(None, commands(1, 9)))
        large = pieces_of(*[bytes([n]) * 50_000 for n in range(40)])
        for piece in large:
            turns.wait_for(storage.write_piece(piece))
        turns.wait_for(storage.compact(snapshot_of(large, 2), 0, 0))
        done: list[str] = []
        sweep, write = storage._database.sweep, storage._database.write
        saving: list[Any] = []

        def noting_sweep() -> bool:
            size = count(storage)
            is_more = sweep()
            assert size - count(storage) <= 100_000
            done.append("swept")
            # As if the reactor's thread did so just now.
            if len(done) == 3:
                saving.append(storage.save(HardState(1), ()))
            return is_more

        def noting_write(*args: Any) -> None:
            write(*args)
            done.append("saved")

        monkeypatch.setattr(storage._thread, "_idle", noting_sweep)
        monkeypatch.setattr(storage._database, "write", noting_write)
        for piece in OWN:
            turns.wait_for(storage.write_piece(piece))
        turns.wait_for(storage.compact(snapshot_of(OWN, 3), 0, 0))
        while not saving:
            turns.wait_for(storage.read_entries(4, 4, 1))
        turns.wait_for(saving[0])
        assert "saved" in done
        assert done.index("saved") <= 4
        while storage._database._snapshots.garbage:
            turns.wait_for(storage.read_entries(4, 4, 1))
        turns.wait_for(storage.read_entries(4, 4, 1))
        assert done.count("swept") >= 20
        assert count(storage) == snapshot_of(OWN, 3).size

    @pytest.mark.parametrize(
        "given_up", ["taken anew", "received anew", "installed", "superseded", "wrong"]
    )
    def test_everything_given_up_goes(
        self, storage: SqliteStorage, turns: Turns, given_up: str
    ) -> None:
        """
        Whatever is dropped is deleted, and nothing else.
        """
        wait = turns.wait_for
        wait(storage.save(None, commands(1, 9)))
        latest = pieces_of(b"latest")
        for piece in OWN:
            wait(storage.write_piece(piece))
        wait(storage.compact(snapshot_of(OWN, 2), 0, 0))
        match given_up:
            case "taken anew":
                wait(storage.write_piece(LEADERS[0]))
                wait(storage.write_piece(latest[0]))
                left = (*OWN, *latest)
            case "received anew":
                wait(storage.save(None, (), pieces=LEADERS))
                wait(storage.save(None, (), pieces=(*OWN, *LEADERS, *latest)))
                left = (*OWN, *latest)
            case "installed":
                wait(storage.write_piece(OWN[0]))
                wait(storage.save(None, (), pieces=LEADERS))
                wait(storage.save(None, (), snapshot=snapshot_of(LEADERS, 9)))
                left = LEADERS
            case "superseded":
                wait(storage.write_piece(latest[0]))
                wait(storage.compact(snapshot_of(latest, 5), 0, 0))
                left = latest
            case _:
                wait(storage.write_piece(latest[0]))
                with pytest.raises(ValueError, match="snapshot"):
                    wait(storage.compact(snapshot_of(OWN, 5), 0, 0))
                left = OWN
        while storage._database._snapshots.garbage:
            wait(storage.read_entries(9, 9, 1).addErrback(lambda _: None))
        assert count(storage) == sum(len(piece.data) for piece in left)

    def test_garbage_of_a_crash(self, storage: SqliteStorage, turns: Turns) -> None:
        """
        What a process that ended left half done is deleted when it is loaded.
        """
        wait = turns.wait_for
        wait(storage.save(None, commands(1, 9), pieces=LEADERS))
        for piece in OWN:
            wait(storage.write_piece(piece))
        wait(storage.compact(snapshot_of(OWN, 2), 0, 0))
        wait(storage.write_piece(LEADERS[0]))
        wait(storage.close())
        second = SqliteStorage(storage._database.file.parent, NODE, turns)
        second.load()
        assert count(second) == snapshot_of(OWN, 2).size
        wait(second.close())

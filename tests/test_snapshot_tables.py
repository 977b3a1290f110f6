"""
Snapshots in the database: upgraded, damaged, and as crashes leave them.

Whatever happens, a node opens in the state before or in the state after what was under
way, complete; or it refuses to start.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from attrs import evolve

import hraftd.database
import hraftd.database_file
from hraftd import snapshot_tables
from hraftd.codec import encode_payload
from hraftd.database import Database
from hraftd.interfaces import StorageError, Stored
from hraftd.raft.messages import Entry, HardState, NoOp, Piece
from hraftd.rows import checksum
from tests.disks import (
    CLUSTER,
    FILE,
    MEMBERS,
    NODE,
    WAL,
    change,
    commands,
    crash_image,
    damage,
    pieces_of,
    refusal,
    reload,
    snapshot_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hraftd.sqlite_file import Statement

#: The second one fills several pages.
OWN = pieces_of(b"what this server", b"\xa5" * 9000, b" has applied")
LEADERS = pieces_of(b"what the leader", b"\xa5" * 20_000, b" has sent")

#: More than any limit that a test sets.
ALL = 1 << 40

FRAME = 24 + 4096
HEADER = 32


def take(
    database: Database, pieces: Sequence[Piece], index: int, trailing_entries: int = 0
) -> None:
    """
    Take a snapshot.
    """
    for piece in pieces:
        database.write_piece(piece)
    database.compact(snapshot_of(pieces, index), trailing_entries, ALL)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """
    Return a directory with a snapshot, and a log that begins before its end.
    """
    directory = tmp_path / "node0"
    database = Database(directory, NODE)
    database.open()
    database.write(HardState(1, NODE), commands(1, 12), CLUSTER)
    take(database, OWN, 8, trailing_entries=3)
    database.close()
    return directory


INTACT = Stored(
    CLUSTER,
    HardState(1, NODE),
    snapshot_of(OWN, 8),
    tuple(piece.data for piece in OWN),
    commands(6, 7),
)


def test_intact(data_dir: Path) -> None:
    """
    The tests below begin with this.
    """
    assert reload(data_dir) == INTACT


#: How earlier versions made their tables.
FORMAT_1 = (
    "CREATE TABLE hard_state (current_term INTEGER NOT NULL, voted_for TEXT, "
    "crc INTEGER NOT NULL)",
    'CREATE TABLE log ("index" INTEGER PRIMARY KEY, term INTEGER NOT NULL, '
    "payload BLOB NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE meta (format INTEGER NOT NULL, node_id TEXT NOT NULL, "
    "cluster_id TEXT, crc INTEGER NOT NULL)",
)
FORMAT_2 = (
    *FORMAT_1,
    "CREATE TABLE snapshot (generation INTEGER NOT NULL, last_index INTEGER, "
    "last_term INTEGER, configuration BLOB, size INTEGER, digest BLOB, "
    "crc INTEGER NOT NULL)",
    "CREATE TABLE snapshot_piece (generation INTEGER NOT NULL, "
    '"offset" INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL, '
    'PRIMARY KEY (generation, "offset")) WITHOUT ROWID',
)


@pytest.fixture(params=[1, 2])
def old_format(request: pytest.FixtureRequest) -> int:
    """
    Return the number of an earlier format.
    """
    number: int = request.param
    return number


@pytest.fixture
def old_dir(tmp_path: Path, old_format: int) -> Path:
    """
    Return a directory as an earlier version left it.
    """
    directory = tmp_path / "old"
    directory.mkdir()
    with closing(sqlite3.connect(directory / FILE)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for table in (FORMAT_1, FORMAT_2)[old_format - 1]:
            connection.execute(table)
        if old_format == 2:
            connection.execute(*snapshot_tables.insert_no_snapshot())
        meta = crc32(f'[{old_format}, "{NODE}", "{CLUSTER}"]'.encode())
        connection.execute(
            "INSERT INTO meta VALUES (?, ?, ?, ?)", (old_format, NODE, CLUSTER, meta)
        )
        crc = crc32(f'[7, "{NODE}"]'.encode())
        connection.execute("INSERT INTO hard_state VALUES (7, ?, ?)", (NODE, crc))
        for entry in OLD_ENTRIES:
            numbers = entry.index.to_bytes(8, "big") + entry.term.to_bytes(8, "big")
            payload = encode_payload(entry.payload)
            connection.execute(
                "INSERT INTO log VALUES (?, ?, ?, ?)",
                (entry.index, entry.term, payload, crc32(numbers + payload)),
            )
    return directory


OLD_ENTRIES = (Entry(1, 1, MEMBERS), Entry(2, 1, NoOp()), *commands(3, 20))
OLD = Stored(CLUSTER, HardState(7, NODE), entries=OLD_ENTRIES)


class TestUpgrade:
    """
    A database of an earlier version.
    """

    def test_everything_comes_along(self, old_dir: Path) -> None:
        """
        What was in it is there, and snapshots can be put beside it.
        """
        assert reload(old_dir) == OLD
        assert reload(old_dir) == OLD
        database = Database(old_dir, NODE)
        database.open()
        take(database, OWN, 20)
        database.close()
        stored = reload(old_dir)
        assert stored == evolve(
            OLD,
            snapshot=snapshot_of(OWN, 20),
            pieces=INTACT.pieces,
            entries=commands(21, 2),
        )

    def test_it_is_made_the_same(self, old_dir: Path, tmp_path: Path) -> None:
        """
        Its tables are then those of a new database, and so is its version.
        """
        reload(old_dir)
        reload(tmp_path / "new")
        found = []
        for directory in (old_dir, tmp_path / "new"):
            with closing(sqlite3.connect(directory / FILE)) as connection:
                found.append(
                    (
                        connection.execute(
                            "SELECT name, sql FROM sqlite_master ORDER BY name"
                        ).fetchall(),
                        connection.execute("SELECT format FROM meta").fetchall(),
                        connection.execute("SELECT * FROM snapshot").fetchall(),
                    )
                )
        assert found[0] == found[1]
        assert found[0][1] == [(3,)]

    def test_it_is_interrupted(
        self,
        old_dir: Path,
        old_format: int,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        Killed before any statement of it, it is begun anew by the next start.
        """
        statements = 0
        while True:
            image = shutil.copytree(old_dir, tmp_path / f"image{statements}")
            if not self._killed_after(statements, image, monkeypatch):
                break
            # As the kill left it, so that the transaction is not rolled back.
            assert reload(tmp_path / f"killed{statements}") == OLD
            statements += 1
        assert statements == {1: 7, 2: 4}[old_format]

    def _killed_after(
        self, statements: int, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> bool:
        """
        Upgrade until so many statements are executed; whether there were more.
        """
        was_killed = False

        def run(connection: sqlite3.Connection, upgrade: Sequence[Statement]) -> None:
            nonlocal was_killed
            connection.execute("BEGIN IMMEDIATE")
            for number, statement in enumerate(upgrade):
                if number == statements:
                    was_killed = True
                    crash_image(image, image.with_name(f"killed{statements}"))
                    raise KeyboardInterrupt
                connection.execute(*statement)
            connection.execute("COMMIT")

        with monkeypatch.context() as patch:
            patch.setattr(hraftd.database, "run_transaction", run)
            try:
                assert reload(image) == OLD
            except KeyboardInterrupt:
                assert was_killed
        return was_killed

    @pytest.mark.parametrize(
        ("sql", "what"),
        [
            ('DELETE FROM log WHERE "index" = 5', "entry 5 of its log is missing"),
            ('DELETE FROM log WHERE "index" = 1', "entry 1 of its log is missing"),
            ("UPDATE hard_state SET voted_for = NULL", "hard_state is wrong"),
            ("UPDATE meta SET cluster_id = NULL", "table meta is wrong"),
            ("UPDATE meta SET format = 3", "tables are not those"),
            ("CREATE TABLE another (x)", "tables are not those"),
        ],
    )
    def test_damage_is_not_upgraded(self, old_dir: Path, sql: str, what: str) -> None:
        """
        What is damaged stays as it is, and is refused again.
        """
        change(old_dir, sql)
        before = (old_dir / FILE).read_bytes()
        assert what in damage(old_dir)
        assert what in damage(old_dir)
        assert (old_dir / FILE).read_bytes() == before

    def test_another_node(self, old_dir: Path, old_format: int) -> None:
        """
        Neither does another node touch it.
        """
        assert "belongs to the node node0" in refusal(old_dir, "node1")
        with closing(sqlite3.connect(old_dir / FILE)) as connection:
            found = connection.execute("SELECT format FROM meta").fetchone()
            assert found == (old_format,)


SNAPSHOT = "its table snapshot"
PIECE = "of its snapshot is"
SECOND = f'"offset" = {OWN[1].offset}'
THIRD = f'"offset" = {OWN[2].offset}'


class TestDamage:
    """
    Nothing that is wrong with a snapshot goes without notice.
    """

    @pytest.mark.parametrize(
        ("sql", "what"),
        [
            ("UPDATE snapshot SET generation = 2", SNAPSHOT),
            ("UPDATE snapshot SET last_index = 7", SNAPSHOT),
            ("UPDATE snapshot SET last_term = 2", SNAPSHOT),
            ("UPDATE snapshot SET configuration = x'4d'", SNAPSHOT),
            ("UPDATE snapshot SET size = size - 1", SNAPSHOT),
            ("UPDATE snapshot SET digest = zeroblob(32)", SNAPSHOT),
            ("UPDATE snapshot SET digest = NULL", SNAPSHOT),
            ("UPDATE snapshot SET crc = crc + 1", SNAPSHOT),
            ("DELETE FROM snapshot", "snapshot has 0 rows instead of 1"),
            ("INSERT INTO snapshot SELECT * FROM snapshot", "snapshot has 2 rows"),
            ("DROP TABLE snapshot", "tables are not those"),
            ("DROP TABLE snapshot_piece", "tables are not those"),
            ("CREATE INDEX i ON snapshot_piece (crc)", "tables are not those"),
            ("DELETE FROM snapshot_piece", f"piece at 0 {PIECE} missing"),
            (f"DELETE FROM snapshot_piece WHERE {SECOND}", f"at 16 {PIECE} missing"),
            (f"DELETE FROM snapshot_piece WHERE {THIRD}", f"9016 {PIECE} missing"),
            ("UPDATE snapshot_piece SET generation = 2", f"at 0 {PIECE} missing"),
            (
                f'UPDATE snapshot_piece SET "offset" = 17 WHERE {SECOND}',
                f"at 16 {PIECE} missing",
            ),
            (
                f"UPDATE snapshot_piece SET data = data || 'x' WHERE {THIRD}",
                "its snapshot has 9029 bytes instead of 9028",
            ),
            (
                f"UPDATE snapshot_piece SET data = x'01' WHERE {THIRD}",
                f"at 9017 {PIECE} missing",
            ),
            (
                "INSERT INTO snapshot_piece VALUES (1, 9028, 0, x'01')",
                "its snapshot has 9029 bytes instead of 9028",
            ),
            (
                f"UPDATE snapshot_piece SET data = zeroblob(9000) WHERE {SECOND}",
                f"checksum of the piece at 16 {PIECE} wrong",
            ),
            (
                f"UPDATE snapshot_piece SET data = 'abcdefghijkl' WHERE {THIRD}",
                f"checksum of the piece at 9016 {PIECE} wrong",
            ),
            (
                "UPDATE snapshot_piece SET crc = 0",
                f"checksum of the piece at 0 {PIECE} wrong",
            ),
            ("DELETE FROM log", None),
            ('DELETE FROM log WHERE "index" < 9', None),
            ('DELETE FROM log WHERE "index" < 10', "entry 9 of its log is missing"),
            ('DELETE FROM log WHERE "index" < 12', "entry 9 of its log is missing"),
            ('DELETE FROM log WHERE "index" = 7', "entry 7 of its log is missing"),
            ('DELETE FROM log WHERE "index" = 8', "entry 8 of its log is missing"),
            ('DELETE FROM log WHERE "index" > 7', "entry 8 of its log is missing"),
            ('UPDATE log SET "index" = 0 WHERE "index" = 6', "of its log is missing"),
            ('UPDATE log SET "index" = -1 WHERE "index" = 6', "of its log is missing"),
        ],
    )
    def test_each_column(self, data_dir: Path, sql: str, what: str | None) -> None:
        """
        A change to any column of any row is noticed, and so is a missing row.

        Between a snapshot and its log there is no gap. (That the last entries of all
        are gone from a log is not to be seen in its rows, only in SQLite's pages.)
        """
        change(data_dir, sql)
        if what is None:
            stored = reload(data_dir)
            assert evolve(stored, entries=INTACT.entries) == INTACT
            assert stored.entries in ((), commands(9, 4))
        else:
            assert what in damage(data_dir)
            # Refusing has dropped nothing that the operator may want to look at.
            assert what in damage(data_dir)

    def test_pieces_of_another_snapshot(self, data_dir: Path) -> None:
        """
        Pieces that are intact and fit, but are not this snapshot's, are noticed.

        Two transfers that were mixed would look like this: smg 837.
        """
        numbers = (1).to_bytes(8, "big") + OWN[2].offset.to_bytes(8, "big")
        data = b"?" * len(OWN[2].data)
        change(
            data_dir,
            f"UPDATE snapshot_piece SET data = ?, crc = ? WHERE {THIRD}",
            data,
            crc32(numbers + data),
        )
        assert "pieces of its snapshot are those of another one" in damage(data_dir)

    @pytest.mark.parametrize("configuration", [b"N", b"Ccommand", b"?future", b"M{}"])
    def test_configuration_of_another_version(
        self, data_dir: Path, configuration: bytes
    ) -> None:
        """
        A row that is intact but cannot be read is not taken for no snapshot.
        """
        snapshot = snapshot_of(OWN, 8)
        columns = (1, 8, 1, configuration, snapshot.size, snapshot.digest)
        change(
            data_dir,
            "UPDATE snapshot SET configuration = ?, crc = ?",
            configuration,
            checksum(*columns),
        )
        assert SNAPSHOT in damage(data_dir)

    def test_a_log_of_another_term(self, data_dir: Path) -> None:
        """
        The entry at the snapshot's end must be the snapshot's.
        """
        numbers = (8).to_bytes(8, "big") + (2).to_bytes(8, "big")
        payload = encode_payload(commands(8, 1, term=2)[0].payload)
        change(
            data_dir,
            'UPDATE log SET term = 2, payload = ?, crc = ? WHERE "index" = 8',
            payload,
            crc32(numbers + payload),
        )
        assert "entry 8 of its log is of term 2, but of term 1" in damage(data_dir)

    def test_a_lost_snapshot(self, data_dir: Path) -> None:
        """
        With the row for no snapshot, the log would begin nowhere.
        """
        statement, parameters = snapshot_tables.insert_no_snapshot()
        change(data_dir, "DELETE FROM snapshot")
        change(data_dir, statement, *parameters)
        assert "entry 1 of its log is missing" in damage(data_dir)

    def test_every_flipped_byte(self, data_dir: Path, tmp_path: Path) -> None:
        """
        With any byte flipped, the database is read as it was, or refused.

        Every byte that is not zero or padding is tried, and some of the rest:
        unistore 567.
        """
        data = (data_dir / FILE).read_bytes()
        copy = tmp_path / "copy"
        copy.mkdir()
        tried = [
            position
            for position, byte in enumerate(data)
            if byte not in (0xA5, 0) or position % 89 == 0
        ]
        refused = 0
        for position in tried:
            flipped = bytearray(data)
            flipped[position] ^= 1 << (position % 8)
            (copy / FILE).write_bytes(flipped)
            (copy / WAL).unlink(missing_ok=True)
            try:
                assert reload(copy) == INTACT, position
            except StorageError:
                refused += 1
        assert refused > len(tried) // 4

    def test_every_truncation(self, data_dir: Path, tmp_path: Path) -> None:
        """
        A database that is cut off anywhere is refused.
        """
        size = (data_dir / FILE).stat().st_size
        for length in {*range(0, size, 499), *range(0, size, 512), size - 1}:
            copy = tmp_path / f"copy{length}"
            shutil.copytree(data_dir, copy)
            os.truncate(copy / FILE, length)
            refusal(copy)

    def test_damage_to_what_nobody_needs(self, data_dir: Path) -> None:
        """
        Half a snapshot is dropped without a look at it.
        """
        change(data_dir, "INSERT INTO snapshot_piece VALUES (2, 0, 0, x'01')")
        change(data_dir, "INSERT INTO snapshot_piece VALUES ('x', 'y', 'z', 'data')")
        assert reload(data_dir) == INTACT
        with closing(sqlite3.connect(data_dir / FILE)) as connection:
            left = connection.execute(
                "SELECT count(*) FROM snapshot_piece WHERE generation = 2"
            ).fetchone()
        assert left == (0,)
        database = Database(data_dir, NODE)
        database.open()
        take(database, LEADERS, 10)
        database.close()
        assert reload(data_dir).snapshot == snapshot_of(LEADERS, 10)


#: What is done between the start and the crash, step by step.
STEPS: tuple[tuple[str, Callable[[Database], Any]], ...] = (
    ("piece taken", lambda database: database.write_piece(OWN[0])),
    ("piece received", lambda d: d.write(None, (), None, LEADERS[:1])),
    ("piece taken", lambda database: database.write_piece(OWN[1])),
    ("saved", lambda d: d.write(HardState(2, NODE), commands(13, 2, term=2), None)),
    ("piece taken", lambda database: database.write_piece(OWN[2])),
    ("compacted", lambda database: database.compact(snapshot_of(OWN, 11), 2, ALL)),
    ("swept", lambda database: database.sweep()),
    ("swept", lambda database: database.sweep()),
    ("piece received", lambda d: d.write(None, (), None, LEADERS[1:2])),
    ("piece taken", lambda database: database.write_piece(LEADERS[0])),
    (
        "installed",
        lambda database: database.write(
            HardState(3),
            commands(41, 2, term=3),
            None,
            LEADERS[2:],
            snapshot_of(LEADERS, 40, last_term=3),
        ),
    ),
    ("swept", lambda database: database.sweep()),
    ("swept", lambda database: database.sweep()),
    ("swept", lambda database: database.sweep()),
    ("saved", lambda d: d.write(None, commands(42, 2, term=4), None)),
)

BEFORE = evolve(
    INTACT, snapshot=snapshot_of(LEADERS, 8), pieces=tuple(p.data for p in LEADERS)
)
SAVED = evolve(
    BEFORE,
    hard_state=HardState(2, NODE),
    entries=(*commands(6, 7), *commands(13, 2, term=2)),
)
COMPACTED = evolve(
    SAVED,
    snapshot=snapshot_of(OWN, 11),
    pieces=tuple(p.data for p in OWN),
    entries=(*commands(10, 3), *commands(13, 2, term=2)),
)
INSTALLED = Stored(
    CLUSTER,
    HardState(3),
    snapshot_of(LEADERS, 40, last_term=3),
    BEFORE.pieces,
    commands(41, 2, term=3),
)
SAVED_BEHIND = evolve(
    INSTALLED, entries=(*commands(41, 1, term=3), *commands(42, 2, term=4))
)

#: What the node must have stored before the first step, and after each of them.
STATES = (
    *[BEFORE] * 4,
    *[SAVED] * 2,
    *[COMPACTED] * 5,
    *[INSTALLED] * 4,
    SAVED_BEHIND,
)


@pytest.fixture
def busy(tmp_path: Path) -> Database:
    """
    Return a database that is open, and is in the first of all these states.
    """
    database = Database(tmp_path / "busy", NODE)
    database.open()
    database.write(HardState(1, NODE), commands(1, 12), CLUSTER)
    take(database, LEADERS, 8, trailing_entries=3)
    database.close()
    database = Database(tmp_path / "busy", NODE)
    database.open()
    return database


class TestCrash:
    """
    A process that ends while a snapshot is taken or received.
    """

    def test_after_each_step(self, busy: Database, tmp_path: Path) -> None:
        """
        Killed between any two steps, it opens to what was stored, and goes on.

        Around saving, receiving and compacting alike (etcd robustness).
        """
        assert len(STATES) == len(STEPS) + 1
        for number, state in enumerate(STATES):
            image = crash_image(tmp_path / "busy", tmp_path / f"image{number}")
            if number < len(STEPS):
                STEPS[number][1](busy)
            assert reload(image) == state, number
            # Nothing that the crash left stands in the way of the next snapshots.
            database = Database(image, NODE)
            database.open()
            index = database.last_index + 1
            database.write(None, commands(index, 1), None)
            take(database, LEADERS, index)
            later = snapshot_of(OWN, index + 5)
            database.write(None, (), None, OWN, later)
            database.close()
            assert reload(image).snapshot == later
        busy.close()

    @pytest.mark.parametrize("number", range(len(STEPS)))
    def test_within_each_step(
        self, busy: Database, tmp_path: Path, number: int
    ) -> None:
        """
        Killed or cut off from power within a step, it is not done, or done as a whole.

        Without a sync, any of its frames may be missing from the disk, in any order:
        etcd 6378.
        """
        for _, step in STEPS[:number]:
            step(busy)
        wal = tmp_path / "busy" / WAL
        start = wal.stat().st_size
        before = crash_image(tmp_path / "busy", tmp_path / "before")
        STEPS[number][1](busy)
        data = wal.read_bytes()
        busy.close()
        assert data[:start] == (before / WAL).read_bytes()
        copy = tmp_path / "copy"

        def reloaded(changed: bytes) -> Stored:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(before, copy)
            (copy / WAL).write_bytes(changed)
            return reload(copy)

        assert reloaded(data) == STATES[number + 1]
        begin = start or HEADER
        for end in range(begin, len(data), FRAME):
            for length in (end, end + 24, end + 2000):
                assert reloaded(data[:length]) == STATES[number], length
            missing = data[:end] + bytes(FRAME) + data[end + FRAME :]
            assert reloaded(missing) == STATES[number], end

    def test_between_any_two_statements(
        self, busy: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Killed in the middle of a transaction, nothing of it has been done.
        """
        images: list[tuple[Path, Stored]] = []
        state = BEFORE

        class Photographer:
            """
            A connection of which a crash image is made before each statement.
            """

            def __init__(self, connection: sqlite3.Connection) -> None:
                self._connection = connection

            def __getattr__(self, name: str) -> Any:
                return getattr(self._connection, name)

            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                image = tmp_path / f"image{len(images)}"
                images.append((crash_image(tmp_path / "busy", image), state))
                return self._connection.execute(sql, *parameters)

        connection: Any = busy._file.connection
        # So little memory that pages reach the file before their transaction is done.
        connection.execute("PRAGMA cache_size = 5")
        busy._file.connection = Photographer(connection)  # type: ignore[assignment]
        for (_, step), after in zip(STEPS, STATES[1:], strict=True):
            step(busy)
            state = after
        busy._file.connection = connection
        busy.close()
        assert len(images) > 2 * len(STEPS)
        for image, expected in images:
            assert reload(image) == expected

    def test_checkpoint_at_any_time(self, busy: Database, tmp_path: Path) -> None:
        """
        Whether the write-ahead log has been copied back or not makes no difference.
        """
        for number, (_, step) in enumerate(STEPS):
            step(busy)
            connection = busy._file.connection
            assert connection is not None
            image = crash_image(tmp_path / "busy", tmp_path / f"image{number}")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            copied = crash_image(tmp_path / "busy", tmp_path / f"copied{number}")
            assert reload(image) == reload(copied) == STATES[number + 1]
        busy.close()


class TestSize:
    """
    Pieces of all sizes.
    """

    @pytest.mark.parametrize("size", [256 * 1024, 8 * 1024 * 1024])
    def test_large_pieces(
        self, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The write-ahead log does not grow with the snapshot, and can be looked through.
        """
        database = Database(tmp_path / "node0", NODE)
        database.open()
        database.write(HardState(1), commands(1, 5), None)
        pieces = pieces_of(
            *[bytes([n]) * size for n in range(24 * 1024 * 1024 // size)]
        )
        wal = tmp_path / "node0" / WAL
        for piece in pieces:
            database.write_piece(piece)
            assert wal.stat().st_size < 6_000_000 + 2 * size
        database.compact(snapshot_of(pieces, 4), 0, 0)
        image = crash_image(tmp_path / "node0", tmp_path / "image")
        database.close()
        stored = reload(image)
        assert stored.snapshot == snapshot_of(pieces, 4)
        assert stored.pieces == tuple(piece.data for piece in pieces)

    def test_space_is_used_again(self, tmp_path: Path) -> None:
        """
        The file holds no more than two snapshots and the log, however many there were.
        """
        database = Database(tmp_path / "node0", NODE)
        database.open()
        size = 4_000_000
        for index in range(1, 9):
            database.write(None, commands(index, 1), None)
            pieces = pieces_of(*[bytes([index]) * 100_000] * (size // 100_000))
            take(database, pieces, index)
            while database.sweep():
                pass
        database.close()
        assert (tmp_path / "node0" / FILE).stat().st_size < 2.2 * size

    def test_deleting_writes_little(self, tmp_path: Path) -> None:
        """
        What is deleted is not written over with zeros first, as some SQLites would.
        """
        database = Database(tmp_path / "node0", NODE)
        database.open()
        entries = [Entry(index, 1, b"x" * 3000) for index in range(1, 4001)]
        database.write(None, entries, None)
        for piece in OWN:
            database.write_piece(piece)
        database.close()
        database = Database(tmp_path / "node0", NODE)
        database.open()
        take(database, OWN, 3900)
        assert (tmp_path / "node0" / WAL).stat().st_size < 1_000_000
        database.close()

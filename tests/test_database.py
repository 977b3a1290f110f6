"""
The database of a node: made whole or not at all, read whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

import hraftd.database_file
from hraftd.database import Database
from hraftd.interfaces import StorageError, Stored
from hraftd.raft.messages import Entry, HardState
from tests.disks import (
    CLUSTER,
    FILE,
    NODE,
    WAL,
    change,
    commands,
    damage,
    fill,
    refusal,
    reload,
)

if TYPE_CHECKING:
    from pathlib import Path

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX has modes and directories")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """
    Return a directory that was filled and closed in order.
    """
    directory = tmp_path / "node0"
    database = Database(directory, NODE)
    database.open()
    fill(database)
    database.close()
    return directory


class TestMaking:
    """
    The first start in a directory.
    """

    def test_empty(self, tmp_path: Path) -> None:
        """
        A new node has no cluster, no term, no vote and no entries.
        """
        assert reload(tmp_path / "new") == Stored()
        assert reload(tmp_path / "new") == Stored()

    def test_nothing_else_is_left(self, tmp_path: Path) -> None:
        """
        Once closed, the directory holds one file.
        """
        reload(tmp_path / "new")
        assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]

    @POSIX
    def test_modes(self, tmp_path: Path) -> None:
        """
        What is made is for the owner alone; what was there keeps its mode.
        """
        tmp_path.chmod(0o755)
        database = Database(tmp_path / "a" / "b", NODE)
        database.open()
        database.write(HardState(1, None), (), None)
        expected = {".": 0o755, "a": 0o700, "a/b": 0o700}
        expected |= {f"a/b/{FILE}": 0o600, f"a/b/{WAL}": 0o600}
        for name, mode in expected.items():
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode, name
        database.close()

    @POSIX
    def test_directories_are_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        After the renaming, the directory and the one above are synced.

        So are those above each directory that is made. A rename that is not synced
        may be gone after a power cut: etcd 6368.
        """
        done: list[object] = []
        real_sync, real_replace = os.fsync, os.replace

        def fsync(descriptor: int) -> None:
            done.append(os.fstat(descriptor).st_ino)
            real_sync(descriptor)

        def replace(source: Path, target: Path) -> None:
            done.append(target.name)
            real_replace(source, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", replace)
        reload(tmp_path / "a" / "b")
        top, a, b = ((tmp_path / name).stat().st_ino for name in (".", "a", "a/b"))
        # The last time for the write-ahead log.
        assert done == [top, a, FILE, b, a, b]

    @pytest.mark.parametrize("failing", ["replace", "run_transaction", "connect"])
    def test_making_is_interrupted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        """
        A process killed while it makes the database is no damage.

        The next one starts anew, even as another node.
        """

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(
                os if failing == "replace" else hraftd.database_file, failing, killed
            )
            with pytest.raises(KeyboardInterrupt):
                Database(tmp_path, "another").open()
        assert not (tmp_path / FILE).exists()
        assert reload(tmp_path) == Stored()
        assert [path.name for path in tmp_path.iterdir()] == [FILE]

    def test_another_process_is_faster(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A database that appears while one is made is not replaced by it.
        """
        faster = Database(tmp_path, NODE)
        real_connect = hraftd.database_file.connect

        def connect(file: Path) -> sqlite3.Connection:
            monkeypatch.setattr(hraftd.database_file, "connect", real_connect)
            faster.open()
            faster.write(HardState(9, NODE), commands(1, 3), CLUSTER)
            return real_connect(file)

        monkeypatch.setattr(hraftd.database_file, "connect", connect)
        assert "in use by another process" in refusal(tmp_path)
        faster.close()
        assert reload(tmp_path) == Stored(
            CLUSTER, HardState(9, NODE), entries=commands(1, 3)
        )
        assert [path.name for path in tmp_path.iterdir()] == [FILE]


class TestRefusal:
    """
    Directories that are not this node's, or cannot be.
    """

    def test_another_node(self, data_dir: Path) -> None:
        """
        The directory of another node is refused, and stays as it is.
        """
        sentence = refusal(data_dir, "node1")
        assert "belongs to the node node0, not to node1" in sentence
        assert reload(data_dir).cluster_id == CLUSTER

    def test_newer_format(self, data_dir: Path) -> None:
        """
        A format of the future is refused by its number, not called damaged.
        """
        change(data_dir, "UPDATE meta SET format = 4")
        change(data_dir, "ALTER TABLE meta ADD COLUMN novelty")
        assert "is of format version 4 and this hraftd reads only 1 to 3" in refusal(
            data_dir
        )

    def test_no_directory(self, tmp_path: Path) -> None:
        """
        A file where the directory, or one above it, should be is named.
        """
        (tmp_path / "file").touch()
        assert "is no directory" in refusal(tmp_path / "file")
        assert "cannot be opened" in refusal(tmp_path / "file" / "below")
        assert (tmp_path / "file").read_bytes() == b""

    @POSIX
    @pytest.mark.skipif(
        os.name != "nt" and os.geteuid() == 0, reason="root may write everywhere"
    )
    def test_read_only(self, data_dir: Path) -> None:
        """
        A directory or file that cannot be written is refused when it is loaded.
        """
        for path, mode in ((data_dir / FILE, 0o400), (data_dir, 0o500)):
            before = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode)
            assert "cannot be opened for reading and writing" in refusal(data_dir)
            if path == data_dir:
                assert "cannot be opened" in refusal(data_dir / "new")
            path.chmod(before)
        assert len(reload(data_dir).entries) == 21

    def test_a_directory_for_the_file(self, tmp_path: Path) -> None:
        """
        A directory under the name of the database is refused.
        """
        (tmp_path / FILE).mkdir()
        assert "cannot be opened" in refusal(tmp_path) or "damaged" in refusal(tmp_path)

    def test_id_that_is_no_text(self, tmp_path: Path) -> None:
        """
        A node id that the disk cannot hold is an error like the others.
        """
        assert "cannot be opened" in refusal(tmp_path, "\udcff")


class TestDamage:
    """
    Whatever is wrong with the file, nothing of it is taken for the truth.
    """

    def test_no_database(self, data_dir: Path) -> None:
        """
        A file that is something else is named, and left alone.
        """
        (data_dir / FILE).write_bytes(b"Dear diary,\n" * 1000)
        assert damage(data_dir) == "file is not a database"
        assert (data_dir / FILE).read_bytes().startswith(b"Dear diary")

    def test_empty_file(self, data_dir: Path) -> None:
        """
        An empty file is not a new database: the node had voted (redisraft).
        """
        (data_dir / FILE).write_bytes(b"")
        (data_dir / WAL).write_bytes(b"something")
        assert damage(data_dir) == "it is empty"
        assert (data_dir / WAL).exists()

    def test_missing_file(self, data_dir: Path) -> None:
        """
        Neither is one that is missing while its write-ahead log is there.
        """
        (data_dir / FILE).unlink()
        (data_dir / WAL).touch()
        assert damage(data_dir) == f"it is missing, while {WAL} is there"

    @pytest.mark.parametrize(
        ("sql", "what"),
        [
            ("UPDATE meta SET node_id = 'node1'", "checksum of its table meta"),
            ("UPDATE meta SET node_id = x'00ff'", "checksum of its table meta"),
            ("UPDATE meta SET cluster_id = NULL", "checksum of its table meta"),
            ("UPDATE meta SET cluster_id = '5fa3'", "checksum of its table meta"),
            ("UPDATE meta SET crc = crc + 1", "checksum of its table meta"),
            ("DELETE FROM meta", "meta has 0 rows"),
            ("INSERT INTO meta SELECT * FROM meta", "meta has 2 rows"),
            ("DROP TABLE meta", "no table meta"),
            ("UPDATE hard_state SET current_term = 2", "table hard_state is wrong"),
            ("UPDATE hard_state SET voted_for = NULL", "table hard_state is wrong"),
            ("UPDATE hard_state SET crc = crc - 1", "table hard_state is wrong"),
            ("DELETE FROM hard_state", "hard_state has 0 rows"),
            ("INSERT INTO hard_state SELECT * FROM hard_state", "has 2 rows"),
            ("DROP TABLE hard_state", "tables are not those"),
            ('DELETE FROM log WHERE "index" = 1', "entry 1 of its log is missing"),
            ('DELETE FROM log WHERE "index" = 9', "entry 9 of its log is missing"),
            ('UPDATE log SET "index" = 99 WHERE "index" = 21', "entry 21"),
            ('UPDATE log SET term = 2 WHERE "index" = 4', "checksum of entry 4"),
            ('UPDATE log SET term = 1.5 WHERE "index" = 4', "checksum of entry 4"),
            ("UPDATE log SET payload = 'C' WHERE \"index\" = 4", "of entry 4 is wrong"),
            ("UPDATE log SET payload = x'43' WHERE \"index\" = 4", "of entry 4"),
            ('UPDATE log SET crc = 0 WHERE "index" = 20', "checksum of entry 20"),
            ("UPDATE log SET crc = 'x' WHERE \"index\" = 20", "checksum of entry 20"),
            ("DROP TABLE log", "tables are not those"),
            ("CREATE TABLE more (x)", "tables are not those"),
            (
                "CREATE TRIGGER t AFTER INSERT ON log BEGIN DELETE FROM log; END",
                "tables are not those",
            ),
        ],
    )
    def test_each_column(self, data_dir: Path, sql: str, what: str) -> None:
        """
        A change to any column of any row is noticed, and so is a missing row.

        Damage in mid-log is never the end of the log: unistore 567.
        """
        change(data_dir, sql)
        assert what in damage(data_dir)

    @pytest.mark.parametrize("payload", [b"", b"?future", b"M{}"])
    def test_payload_of_another_version(self, data_dir: Path, payload: bytes) -> None:
        """
        A payload that is intact but cannot be read is no end of the log either.
        """
        crc = crc32((21).to_bytes(8, "big") + (3).to_bytes(8, "big") + payload)
        change(
            data_dir,
            'UPDATE log SET payload = ?, crc = ? WHERE "index" = 21',
            payload,
            crc,
        )
        assert damage(data_dir).startswith("in entry 21, the ")

    def test_every_flipped_byte(self, data_dir: Path, tmp_path: Path) -> None:
        """
        With any byte flipped, the database is read as it was, or refused.

        Every byte that is not zero or padding is tried, and some of the rest:
        unistore 567, and redisraft's damaged header, middle and last entry.
        """
        intact = reload(data_dir)
        data = (data_dir / FILE).read_bytes()
        copy = tmp_path / "copy"
        copy.mkdir()
        refused = 0
        tried = [
            position
            for position, byte in enumerate(data)
            # The padding of the large entry, and what no page uses.
            if byte not in (0xA5, 0) or position % 97 == 0
        ]
        for position in tried:
            flipped = bytearray(data)
            flipped[position] ^= 1 << (position % 8)
            (copy / FILE).write_bytes(flipped)
            (copy / WAL).unlink(missing_ok=True)
            try:
                assert reload(copy) == intact, position
            except StorageError:
                refused += 1
        # Most of the rest are in pages or parts of pages that hold nothing.
        assert refused > len(tried) // 4

    def test_every_truncation(self, data_dir: Path, tmp_path: Path) -> None:
        """
        A database that is cut off anywhere is refused.
        """
        size = (data_dir / FILE).stat().st_size
        for length in {*range(0, size, 97), *range(0, size, 512), size - 1}:
            copy = tmp_path / f"copy{length}"
            shutil.copytree(data_dir, copy)
            os.truncate(copy / FILE, length)
            refusal(copy)


class TestReading:
    """
    The file is the operator's, too.
    """

    def test_with_the_sqlite3_shell(self, data_dir: Path) -> None:
        """
        Payloads can be read as text.
        """
        with closing(sqlite3.connect(data_dir / FILE)) as connection:
            texts = connection.execute(
                'SELECT CAST(substr(payload, 2) AS TEXT) FROM log WHERE "index" < 4'
            ).fetchall()
        [(configuration,), (no_op,), (command,)] = texts
        assert configuration.startswith('{"servers":[{"http":"localhost:11000"')
        assert no_op == ""
        assert command == "command 3 of term 1"

    def test_after_the_sqlite3_shell(self, data_dir: Path, tmp_path: Path) -> None:
        """
        A look into what a crash left, which makes SQLite tidy up, costs nothing.
        """
        database = Database(data_dir, NODE)
        database.open()
        database.write(HardState(4, None), [Entry(22, 4, b"last")], None)
        copy = shutil.copytree(data_dir, tmp_path / "copy")
        database.close()
        assert (copy / WAL).stat().st_size > 0
        with closing(sqlite3.connect(copy / FILE)) as connection:
            connection.execute("SELECT * FROM log").fetchall()
        assert not (copy / WAL).exists()
        assert reload(copy) == reload(data_dir)

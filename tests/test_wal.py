"""
The write-ahead log after a crash: a torn tail is cut off, damage is refused.

Each test begins with what a killed process leaves: the database as it was when the
node started, and a write-ahead log with one transaction for each state in a list.
The log is damaged, and then the node must be in one of these states, the one that
the damage allows and no earlier one, or refuse to start.
"""

from __future__ import annotations

import os
import shutil
import struct
from typing import TYPE_CHECKING

import pytest
from attrs import evolve, frozen

from hraftd.database import Database
from hraftd.interfaces import StorageError, Stored
from hraftd.raft.messages import Entry, HardState
from hraftd.wal import describe_damage
from tests.disks import FILE, MARK, NODE, WAL, commands, crash_image, fill, reload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADER = 32
FRAME = 24 + 4096


@frozen
class Crash:
    """
    What a killed process left.
    """

    directory: Path
    #: What it had stored after each transaction, the first being at its start.
    states: tuple[Stored, ...]
    #: The size of the write-ahead log after each of them.
    sizes: tuple[int, ...]

    @property
    def wal(self) -> bytes:
        """
        The write-ahead log.
        """
        return (self.directory / WAL).read_bytes()

    def with_wal(self, data: bytes) -> Path:
        """
        Return a directory that has this write-ahead log instead.
        """
        copy = self.directory.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        shutil.copy(self.directory / FILE, copy)
        (copy / WAL).write_bytes(data)
        return copy


#: What is saved between the start and the crash: transactions of one frame and of
#: several, with and without entries, one that truncates, and at the end a large one.
SAVES: tuple[tuple[HardState | None, tuple[Entry, ...]], ...] = (
    (None, commands(22, 2, term=3)),
    (HardState(4, None), ()),
    (HardState(4, "node1"), commands(20, 3, term=4)),
    (None, (Entry(23, 4, b"large" * 2000),)),
    (None, commands(24, 1, term=4)),
    (None, commands(25, 1, term=4)),
    (HardState(5, NODE), ()),
    (None, (Entry(26, 5, b"large" * 2000),)),
)


def after(
    stored: Stored, hard_state: HardState | None, entries: Sequence[Entry]
) -> Stored:
    """
    Return what is stored once this has been saved.
    """
    kept = stored.entries[: entries[0].index - 1] if entries else stored.entries
    return evolve(
        stored,
        hard_state=hard_state or stored.hard_state,
        entries=(*kept, *entries),
    )


@pytest.fixture
def crash(tmp_path: Path) -> Crash:
    """
    Return what is left of a node that was killed after all saves.
    """
    database = Database(tmp_path / "node0", NODE)
    database.open()
    fill(database)
    database.close()
    states, sizes = [database.open()], [0]
    for hard_state, entries in SAVES:
        database.write(hard_state, entries, None)
        states.append(after(states[-1], hard_state, entries))
        sizes.append((tmp_path / "node0" / WAL).stat().st_size)
    image = crash_image(tmp_path / "node0", tmp_path / "image")
    database.close()
    return Crash(image, tuple(states), tuple(sizes))


def frames_of(data: bytes) -> range:
    """
    Return where in a write-ahead log its frames begin.
    """
    return range(HEADER, len(data), FRAME)


def torn(crash: Crash) -> Path:
    """
    Return a directory that a power cut left without one frame of the last save.

    The frames behind it, and with them the commit mark, did reach the disk.
    """
    start = crash.sizes[-2]
    return crash.with_wal(crash.wal[:start] + bytes(FRAME) + crash.wal[start + FRAME :])


def refused(directory: Path) -> bool:
    """
    Whether the node refuses to start there, for damage to the write-ahead log.
    """
    before = (directory / WAL).read_bytes()
    try:
        reload(directory)
    except StorageError as error:
        sentence = str(error)
    else:
        return False
    # Refusing must not make SQLite tidy up: the next start must refuse, too.
    assert (directory / WAL).read_bytes() == before
    return f"is damaged (in {WAL}, " in sentence


class TestTornTail:
    """
    What a crash can leave is never taken for damage.
    """

    def test_whole(self, crash: Crash) -> None:
        """
        A killed process loses nothing that was synced.
        """
        assert len({*crash.sizes}) == len(SAVES) + 1
        assert reload(crash.with_wal(crash.wal)) == crash.states[-1]

    def test_every_truncation(self, crash: Crash) -> None:
        """
        Cut anywhere, each whole transaction is there, and no part of another.
        """
        end = crash.sizes[-1]
        lengths = {*range(0, HEADER + 3), *range(0, end, 4001)}
        for start in frames_of(crash.wal):
            lengths |= {start - 1, start, start + 1, start + 23, start + 24}
        for length in sorted(lengths):
            whole = sum(size <= length for size in crash.sizes) - 1
            copy = crash.with_wal(crash.wal[:length])
            assert reload(copy) == crash.states[whole], length

    def test_zeros_at_the_end(self, crash: Crash) -> None:
        """
        Space that was allocated and not written is no damage: etcd 5230.
        """
        for kept in (-1, -2):
            data = crash.wal[: crash.sizes[kept]]
            for zeros in (1, 5000, 100_000):
                copy = crash.with_wal(data + bytes(zeros))
                assert reload(copy) == crash.states[kept]

    def test_any_part_of_the_last_transaction(self, crash: Crash) -> None:
        """
        Without a sync, sectors reach the disk in any order, or not at all.

        Whichever frames of the last transaction are missing, also those in front
        of its commit mark, the one before it is the state: etcd 6378.
        """
        start, end = crash.sizes[-2:]
        count = (end - start) // FRAME
        assert count >= 3
        for missing in range(1, 2**count):
            data = bytearray(crash.wal)
            for number in range(count):
                if missing >> number & 1:
                    place = start + number * FRAME
                    data[place : place + FRAME] = bytes(FRAME)
            assert reload(crash.with_wal(bytes(data))) == crash.states[-2], missing

    def test_half_written_frames(self, crash: Crash) -> None:
        """
        The same with single sectors of the last transaction.
        """
        start, end = crash.sizes[-2:]
        for place in range(start - start % 512 + 512, end - 512, 512):
            data = bytearray(crash.wal)
            data[place : place + 512] = bytes(512)
            assert reload(crash.with_wal(bytes(data))) in crash.states[-2:], place

    def test_saving_after_a_torn_tail(self, crash: Crash) -> None:
        """
        What is saved behind a torn tail is there after the next crash: amelie 17.
        """
        copy = torn(crash)
        database = Database(copy, NODE)
        states = [database.open()]
        assert states == [crash.states[-2]]
        for entry in commands(26, 3, term=6):
            database.write(None, [entry], None)
            states.append(after(states[-1], None, [entry]))
            image = crash_image(copy, copy.with_name(f"image{entry.index}"))
            assert reload(image) == states[-1]
        database.close()

    def test_torn_again(self, crash: Crash) -> None:
        """
        A second power cut in the same place finds nothing left of the first.

        Were new frames written over the torn tail, its commit mark would stand
        behind them, as if of a later transaction.
        """
        copy = torn(crash)
        database = Database(copy, NODE)
        database.open()
        before = (copy / WAL).read_bytes()
        database.write(HardState(6, NODE), commands(26, 1, term=6), None)
        image = crash_image(copy, copy.with_name("again"))
        database.close()
        # The power is cut before the sync is over, so nobody has marked that it is.
        (image / MARK).unlink()
        data = (image / WAL).read_bytes()
        new = [
            start
            for start in frames_of(data)
            if data[start : start + FRAME] != before[start : start + FRAME]
        ]
        assert len(new) == 2
        (image / WAL).write_bytes(data[: new[0]] + bytes(FRAME) + data[new[1] :])
        assert reload(image) == crash.states[-2]

    def test_frames_of_an_earlier_use(self, crash: Crash) -> None:
        """
        Old frames behind the new ones, of other salts, do not count.
        """
        database = Database(crash.directory, NODE)
        stored = database.open()
        image = crash.directory.with_name("later")
        for index in range(27, 60):
            entry = Entry(index, 6, b"page" * 1000)
            database.write(None, [entry], None)
            stored = after(stored, None, [entry])
        assert database._file.connection is not None
        before = (crash.directory / WAL).stat().st_size
        database._file.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        for entry in commands(60, 3, term=6):
            database.write(None, [entry], None)
            stored = after(stored, None, [entry])
        crash_image(crash.directory, image)
        database.close()
        assert (image / WAL).stat().st_size == before
        assert reload(image) == stored


class TestDamage:
    """
    Damage with a synced transaction behind it is never the end: unistore 567.
    """

    @pytest.mark.parametrize("last", [-1, -2], ids=["large", "small"])
    @pytest.mark.parametrize("zero", [False, True], ids=["flipped", "zeroed"])
    def test_changed_bytes(self, crash: Crash, last: int, zero: bool) -> None:
        """
        A changed byte is refused, or was in the last transaction.

        There it cannot be told from a torn tail, and costs that transaction alone.
        """
        data = crash.wal[: crash.sizes[last]]
        places = [*range(HEADER)]
        for start in frames_of(data):
            # The ends of each field of the frame's header, all of its commit mark,
            # and some of its page.
            for place in (0, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 19, 20, 23):
                places.append(start + place)
            places += [start + 24, start + 2000, start + FRAME - 1]
        for place in places:
            changed = bytearray(data)
            changed[place] = 0 if zero else data[place] ^ (1 << place % 8)
            if changed[place] == data[place]:
                continue
            copy = crash.with_wal(bytes(changed))
            if not refused(copy):
                assert place >= crash.sizes[last - 1], place
                assert reload(copy) == crash.states[last - 1], place

    def test_a_missing_frame(self, crash: Crash) -> None:
        """
        Any frame that is zeros, or the one before it, is found by those behind.

        Only a transaction of one frame with just one behind it looks like the
        beginning of a torn one; that it is read as one is confessed in
        :mod:`hraftd.wal`.
        """
        data = crash.wal
        boundaries = crash.sizes
        for start in frames_of(data):
            if start >= boundaries[-2]:
                break
            for content in (bytes(FRAME), data[start - FRAME : start]):
                if len(content) < FRAME:
                    continue
                copy = crash.with_wal(data[:start] + content + data[start + FRAME :])
                if not refused(copy):
                    assert start == boundaries[-3]
                    assert boundaries[-2] - start == FRAME
                    assert reload(copy) == crash.states[-3]

    def test_header_without_frames(self, crash: Crash) -> None:
        """
        A damaged header with nothing behind it has nothing to lose.
        """
        for data in (bytes(HEADER), b"x" * HEADER + bytes(5000), crash.wal[:31]):
            assert reload(crash.with_wal(data)) == crash.states[0]

    def test_both_byte_orders(self, crash: Crash) -> None:
        """
        SQLite writes checksums in its machine's byte order and reads both.
        """
        data = other_byte_order(crash.wal)
        assert data != crash.wal
        copy = crash.with_wal(data)
        assert describe_damage(copy / WAL) is None
        assert reload(copy) == crash.states[-1]
        middle = bytearray(data)
        middle[crash.sizes[1] + 1000] ^= 1
        assert refused(crash.with_wal(bytes(middle)))

    def test_in_use(self, crash: Crash) -> None:
        """
        While another connection writes, what is read means nothing.
        """
        database = Database(crash.directory, NODE)
        database.open()
        for entry in commands(27, 3, term=6):
            database.write(None, [entry], None)
        with (crash.directory / WAL).open("r+b") as file:
            file.seek(HEADER + 1000)
            file.write(b"damage")
        assert describe_damage(crash.directory / WAL) is not None
        with pytest.raises(StorageError, match="in use by another process"):
            Database(crash.directory, NODE).open()
        database.close()

    @pytest.mark.skipif(os.name == "nt", reason="Windows opens no directory")
    def test_no_file(self, crash: Crash) -> None:
        """
        A write-ahead log that cannot be read is an error of its own.
        """
        (crash.directory / WAL).unlink()
        (crash.directory / WAL).mkdir()
        with pytest.raises(StorageError, match="cannot be opened"):
            reload(crash.directory)


def other_byte_order(data: bytes) -> bytes:
    """
    Return the same write-ahead log with checksums in the other byte order.
    """
    magic = struct.unpack_from(">I", data)[0] ^ 1
    order = ">" if magic & 1 else "<"
    parts = [struct.pack(">I", magic) + data[4:24]]
    checksum = sqlite_checksum((0, 0), parts[0], order)
    parts.append(struct.pack(">II", *checksum))
    for start in frames_of(data):
        head, page = data[start : start + 8], data[start + 24 : start + FRAME]
        checksum = sqlite_checksum(checksum, head + page, order)
        salts = data[start + 8 : start + 16]
        parts += [head, salts, struct.pack(">II", *checksum), page]
    return b"".join(parts)


def sqlite_checksum(
    checksum: tuple[int, int], data: bytes, order: str
) -> tuple[int, int]:
    """
    Carry a checksum on, as the file format's documentation puts it.
    """
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    s0, s1 = checksum
    for i in range(0, len(words), 2):
        s0 = (s0 + words[i] + s1) % 2**32
        s1 = (s1 + words[i + 1] + s0) % 2**32
    return s0, s1

"""
Damage to any byte of a small data directory: nothing is less without a word.

Each byte of each file is changed, and each file cut off at each length, or removed, in
two directories: of a node that was stopped, and of one that was killed, whose
write-ahead log holds what it had acknowledged last. The node must find all that was
acknowledged, because what was damaged is not needed, or refuse the directory by name.
That is more than a torn tail allows: this one *was* acknowledged, and it is the mark
beside it that says so (:mod:`hraftd.sync_mark`).

The ordinary run changes a share of the bytes, one bit of each; ``HRAFTD_CRASHES_SEED``
chooses others. ``HRAFTD_CRASHES=all`` takes all bits of all bytes and all lengths.
"""

from __future__ import annotations

import shutil
from random import Random
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from hraftd.database import Database
from hraftd.interfaces import StorageError, Stored
from hraftd.raft.messages import Entry, HardState, NoOp
from tests.disks import (
    CLUSTER,
    FILE,
    MARK,
    MEMBERS,
    NODE,
    WAL,
    commands,
    crash_image,
    pieces_of,
    reload,
    snapshot_of,
)

if TYPE_CHECKING:
    from pathlib import Path

#: How many bytes of each file the ordinary run changes, of those that say something.
SHARE = 800

PIECES = pieces_of(b"a snapshot", b"\xa5" * 5000, b"of three pieces")


@frozen
class Victim:
    """
    A directory as it was left.
    """

    directory: Path
    stored: Stored

    def changed(self, name: str, content: bytes | None) -> Stored | None:
        """
        Return what is found with this file changed, ``None`` if it is refused by name.

        :param content: ``None`` if it is missing.
        """
        copy = self.directory.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.directory, copy)
        (copy / name).unlink()
        if content is not None:
            (copy / name).write_bytes(content)
        try:
            return reload(copy)
        except StorageError as error:
            sentence = str(error)
        assert str(copy / name) in sentence or (
            name == WAL and f"{copy / FILE} is damaged (" in sentence
        )
        assert name in sentence
        return None


@pytest.fixture(params=["stopped", "killed"])
def victim(request: pytest.FixtureRequest, memory: Path) -> Victim:
    """
    Return what a process left that had done a bit of everything.
    """
    database = Database(memory / NODE, NODE)
    database.open()
    database.write(HardState(1, NODE), [Entry(1, 1, MEMBERS)], CLUSTER)
    database.write(None, [Entry(2, 1, NoOp()), *commands(3, 6)], None)
    for piece in PIECES:
        database.write_piece(piece)
    database.compact(snapshot_of(PIECES, 6), 2, 1 << 40)
    database.close()
    if request.param == "killed":
        database.open()
        database.write(HardState(2, "node1"), commands(8, 2, term=2), None)
        database.write(HardState(3), (), None)
        database.write(None, commands(10, 1, term=3), None)
        database.write(None, [Entry(11, 3, b"large" * 900)], None)
        database.write(HardState(4, "node2"), (), None)
    image = crash_image(memory / NODE, memory / "image")
    database.close()
    stored = reload(memory / NODE)
    assert stored.entries[-1].index == (11 if request.param == "killed" else 8)
    names = {path.name for path in image.iterdir()}
    assert names == ({FILE, WAL, MARK} if request.param == "killed" else {FILE})
    return Victim(image, stored)


def places(data: bytes, random: Random, all_of_it: bool) -> list[int]:
    """
    Return which bytes to change: most of those that say something, and some others.
    """
    if all_of_it:
        return [*range(len(data))]
    idle = [place for place, byte in enumerate(data) if byte in (0, 0xA5)]
    busy = [place for place, byte in enumerate(data) if byte not in (0, 0xA5)]
    return [
        *random.sample(busy, min(len(busy), SHARE)),
        *random.sample(idle, min(len(idle), SHARE // 4)),
    ]


def test_every_byte(victim: Victim, all_of_it: bool, seed: int) -> None:
    """
    Changed in any bit, all of it is there, or it is refused: unistore 567, redisraft.
    """
    random = Random(seed)
    refused = tried = 0
    for path in sorted(victim.directory.iterdir()):
        data = path.read_bytes()
        for place in places(data, random, all_of_it):
            for bit in range(8) if all_of_it else [random.randrange(8)]:
                changed = bytearray(data)
                changed[place] ^= 1 << bit
                found = victim.changed(path.name, bytes(changed))
                assert found in (None, victim.stored), (path.name, place, bit)
                refused += found is None
                tried += 1
    assert 0 < refused < tried
    print(f"{tried} changes of one bit, {refused} refused")


def test_every_length(victim: Victim, all_of_it: bool, seed: int) -> None:
    """
    Cut off anywhere, or gone, all of it is there, or it is refused.
    """
    random = Random(seed)
    for path in sorted(victim.directory.iterdir()):
        data = path.read_bytes()
        count = len(data) if all_of_it else min(len(data), SHARE // 4)
        lengths = {*random.sample(range(len(data)), count), 0, len(data) - 1}
        lengths |= {*range(32, len(data), 4120), *range(0, len(data), 4096)}
        for length in sorted(lengths):
            found = victim.changed(path.name, data[:length])
            if path.name == MARK:
                # It says nothing then, and there is nothing else to fear.
                assert found == victim.stored, length
            else:
                assert found is None, (path.name, length)


def test_missing(victim: Victim) -> None:
    """
    A file that is gone is missed, but for the mark.

    Without any, the node would be a new one; that is for the cluster to see.
    """
    for path in sorted(victim.directory.iterdir()):
        found = victim.changed(path.name, None)
        if path.name == MARK:
            assert found == victim.stored
        elif path.name == FILE and not (victim.directory / WAL).exists():
            assert found == Stored()
        else:
            assert found is None, path.name


def test_longer(victim: Victim) -> None:
    """
    Bytes behind the end change nothing: some file systems give space in advance.

    etcd 5230.
    """
    for path in sorted(victim.directory.iterdir()):
        for more in (bytes(1), bytes(5000), b"\xff" * 5000):
            found = victim.changed(path.name, path.read_bytes() + more)
            assert found == victim.stored, (path.name, len(more))


def test_zeroed_sectors(victim: Victim) -> None:
    """
    A sector that reads as zeros is like any other change.
    """
    for path in sorted(victim.directory.iterdir()):
        data = path.read_bytes()
        for start in range(0, len(data), 512):
            changed = data[:start] + bytes(len(data[start : start + 512]))
            found = victim.changed(path.name, changed + data[start + 512 :])
            assert found in (None, victim.stored), (path.name, start)

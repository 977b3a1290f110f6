"""
What the tests of the disk share.

A log that grows, snapshots in pieces, directories as crashes leave them, and the part
of a reactor that a storage needs.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from hashlib import blake2b
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from twisted.python.failure import Failure

from hraftd.database import Database
from hraftd.interfaces import StorageError
from hraftd.raft.configuration import Configuration, Server
from hraftd.raft.messages import Entry, HardState, NoOp, Piece, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.internet.defer import Deferred

    from hraftd.interfaces import Stored

NODE = "node0"
CLUSTER = "5fa2"
FILE = "hraftd.sqlite3"
WAL = "hraftd.sqlite3-wal"
MARK = "hraftd.sqlite3-synced"

#: Seconds after which a test gives up; nothing here takes more than a fraction.
DEADLINE = 30

MEMBERS = Configuration((Server(NODE, "localhost:12000", "localhost:11000"),))


def commands(first_index: int, count: int, term: int = 1) -> tuple[Entry, ...]:
    """
    Return consecutive commands, each of them another one.
    """
    return tuple(
        Entry(index, term, b"command %d of term %d" % (index, term))
        for index in range(first_index, first_index + count)
    )


def pieces_of(*contents: bytes) -> tuple[Piece, ...]:
    """
    Return pieces with these contents, one behind the other.
    """
    pieces: list[Piece] = []
    offset = 0
    for data in contents:
        pieces.append(Piece(offset, data))
        offset += len(data)
    return tuple(pieces)


def snapshot_of(
    pieces: Sequence[Piece], last_index: int, last_term: int = 1
) -> Snapshot:
    """
    Return a snapshot that has just these pieces.
    """
    content = b"".join(piece.data for piece in pieces)
    digest = blake2b(content, digest_size=32).digest()
    return Snapshot(last_index, last_term, MEMBERS, len(content), digest)


def reload(data_dir: Path, node: str = NODE) -> Stored:
    """
    Return what a new process would find, with all pieces of the snapshot read.
    """
    database = Database(data_dir, node)
    try:
        stored = database.open()
        return evolve(stored, pieces=tuple(stored.pieces))
    finally:
        database.close()


def fill(database: Database) -> None:
    """
    Write a bit of everything into an empty database that is open.
    """
    database.write(HardState(1, NODE), [Entry(1, 1, MEMBERS)], CLUSTER)
    database.write(None, [Entry(2, 1, NoOp()), *commands(3, 20)], None)
    database.write(HardState(2, None), [], None)
    database.write(HardState(3, NODE), commands(18, 3, term=3), None)
    # Of more than a page, so that SQLite chains several of them.
    database.write(None, [Entry(21, 3, b"\xa5" * 6000)], None)


def change(data_dir: Path, sql: str, *parameters: object) -> None:
    """
    Let another program write to the database.
    """
    with closing(sqlite3.connect(data_dir / FILE)) as connection, connection:
        connection.execute(sql, parameters)


def refusal(data_dir: Path, node: str = NODE) -> str:
    """
    Return the sentence with which the directory is refused.
    """
    with pytest.raises(StorageError) as refused:
        reload(data_dir, node)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert str(data_dir) in sentence
    return sentence


def damage(data_dir: Path) -> str:
    """
    Return what is said to be damaged; what to do must be said, too.
    """
    sentence = refusal(data_dir)
    found = re.fullmatch(r".* is damaged \((.*)\); put back .* or remove .*", sentence)
    assert found is not None, sentence
    return found[1]


def crash_image(data_dir: Path, image: Path) -> Path:
    """
    Copy a directory that is in use: what a killed process would leave behind.
    """
    return shutil.copytree(data_dir, image)


class Turns:
    """
    The part of a reactor that a storage needs.
    """

    def __init__(self) -> None:
        """
        Begin with nothing to do.
        """
        self._calls: SimpleQueue[tuple[Callable[..., object], Any]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """
        Keep this for :meth:`turn`.
        """
        self._calls.put((function, args))

    def turn(self) -> None:
        """
        Wait for one call from another thread and make it in this one.
        """
        function, args = self._calls.get(timeout=DEADLINE)
        function(*args)

    def wait_for(self, deferred: Deferred[Any]) -> Any:
        """
        Return what a Deferred fires with, or raise what it fails with.
        """
        results: list[object] = []
        deferred.addBoth(results.append)
        while not results:
            self.turn()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

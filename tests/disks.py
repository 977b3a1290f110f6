"""
What the tests of the disk share: a log that grows, and directories as crashes leave.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from hraftd.database import Database
from hraftd.raft.configuration import Configuration, Server
from hraftd.raft.messages import Entry, HardState, NoOp

if TYPE_CHECKING:
    from pathlib import Path

    from hraftd.interfaces import Stored

NODE = "node0"
CLUSTER = "5fa2"
FILE = "hraftd.sqlite3"
WAL = "hraftd.sqlite3-wal"

MEMBERS = Configuration((Server(NODE, "localhost:12000", "localhost:11000"),))


def commands(first_index: int, count: int, term: int = 1) -> tuple[Entry, ...]:
    """
    Return consecutive commands, each of them another one.
    """
    return tuple(
        Entry(index, term, b"command %d of term %d" % (index, term))
        for index in range(first_index, first_index + count)
    )


def reload(data_dir: Path) -> Stored:
    """
    Return what a new process would find.
    """
    database = Database(data_dir, NODE)
    try:
        return database.open()
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


def crash_image(data_dir: Path, image: Path) -> Path:
    """
    Copy a directory that is in use: what a killed process would leave behind.
    """
    return shutil.copytree(data_dir, image)

"""
A process with a storage, for tests that end it badly.

``python -m tests.storage_process TASK DATA_DIR`` says on its standard output, line by
line, what it has achieved. It runs the real reactor.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from hraftd.interfaces import StorageError
from hraftd.raft.messages import Entry, HardState, Piece
from hraftd.storage import SqliteStorage
from tests.disks import pieces_of, snapshot_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def say(*words: object) -> None:
    """
    Print this at once: a killed process keeps nothing back.
    """
    print(*words, flush=True)


def entry_of_term(term: int) -> Entry:
    """
    Return the entry that :func:`save_for_ever` saves together with a term.
    """
    return Entry(term, term, b"x" * (term % 5000))


async def save_for_ever(storage: SqliteStorage) -> None:
    """
    Save a term, a vote and an entry, again and again, until the process is killed.
    """
    term = storage.load().hard_state.current_term
    while True:
        term += 1
        await storage.save(HardState(term, f"node{term}"), [entry_of_term(term)])
        say("saved", term)


def pieces_at(last_index: int) -> tuple[Piece, ...]:
    """
    Return the pieces of the snapshot that :func:`snapshots_for_ever` makes there.
    """
    return pieces_of(*[b"%d of %d" % (n, last_index) * 6000 for n in range(8)])


def digest_at(last_index: int) -> bytes:
    """
    Return the digest of that snapshot.
    """
    return snapshot_of(pieces_at(last_index), last_index).digest


async def snapshots_for_ever(storage: SqliteStorage) -> None:
    """
    Take and receive snapshots by turns, and save beside, until the process is killed.
    """
    index = storage.load().hard_state.current_term
    while True:
        index += 1
        await storage.save(HardState(index), [Entry(index, 1, b"%d" % index)])
        pieces = pieces_at(index)
        for piece in pieces:
            writing = storage.write_piece(piece)
            await storage.save(HardState(index), ())
            await writing
        say("compacting", index)
        await storage.compact(snapshot_of(pieces, index), 2, 1000)
        say("compacted", index)
        index += 9
        pieces = pieces_at(index)
        for piece in pieces:
            await storage.save(None, (), pieces=[piece])
        say("installing", index)
        await storage.save(HardState(index), (), snapshot=snapshot_of(pieces, index))
        say("installed", index)


async def fill_the_disk(storage: SqliteStorage) -> None:
    """
    Save until no file may grow any more, then try once more without that limit.
    """
    storage.load()
    limit_files(3_000_000)
    index = 0
    try:
        while True:
            index += 1
            await storage.save(None, [Entry(index, 1, b"x" * 100_000)])
            say("saved", index)
    except StorageError as error:
        say("failed:", error)
    limit_files(None)
    try:
        await storage.save(HardState(9), ())
    except StorageError as error:
        say("latched:", error)
    await storage.close()


async def try_to_load(storage: SqliteStorage) -> None:
    """
    Load the storage, or say why not.
    """
    try:
        storage.load()
    except StorageError as error:
        say("refused:", error)


def limit_files(size: int | None) -> None:
    """
    Let no file of this process grow beyond that size in bytes.
    """
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size or hard, hard))


TASKS = {
    "save": save_for_ever,
    "snapshots": snapshots_for_ever,
    "fill": fill_the_disk,
    "load": try_to_load,
}


def main(reactor: object, task: str, data_dir: str) -> Deferred[None]:
    """
    Do one of the tasks.
    """
    storage = SqliteStorage(Path(data_dir), "node0", reactor)
    return Deferred.fromCoroutine(TASKS[task](storage))


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    react(main, arguments)

"""
A life of a storage that has a bit of everything, with kills and closings between.

``python -m tests.crashes.workload all ROOT`` lives it in ``ROOT/node0``, on the shim of
:mod:`tests.crashes.recording`; in between, the recording has a note of each step that
is asked for, and that is acknowledged. :func:`states` says what is stored after each
step. With ``again`` for ``all``, each directory in ``ROOT`` holds a ``node0`` in which
a little more is done (:func:`life_again`). With ``badly``, all of it is done once for
each of the :class:`Fault` s that follow.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, current_thread, main_thread
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, frozen
from twisted.python.failure import Failure

import hraftd.database_file
from hraftd.interfaces import StorageError
from hraftd.memory_storage import MemoryStorage
from hraftd.raft.messages import Entry, HardState, NoOp
from hraftd.storage import SqliteStorage
from tests.crashes.recording import Shim
from tests.disks import (
    CLUSTER,
    DEADLINE,
    MEMBERS,
    NODE,
    commands,
    pieces_of,
    snapshot_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from hraftd.interfaces import Stored
    from hraftd.raft.messages import Piece

__all__ = [
    "LIVES",
    "WHOLE",
    "Fault",
    "Life",
    "Meeting",
    "Step",
    "fork",
    "life_again",
    "live",
    "states",
    "states_again",
]

#: Something that is asked of a storage.
Step: TypeAlias = "Callable[[Any], Deferred[Any]]"

#: More than any limit that is meant here.
ALL = 1 << 40


@frozen
class Life:
    """
    What one process does between loading its storage and its end.
    """

    steps: tuple[Step, ...]
    #: Whether the storage is closed then; else the process is killed.
    is_closed: bool
    #: Pages after which SQLite copies its write-ahead log into the database.
    autocheckpoint: int = 1000
    #: Bytes beyond which hraftd has it emptied.
    wal_limit: int = 1 << 26


@frozen
class Fault:
    """
    What fails: calls of one kind, from one on.
    """

    #: As :meth:`tests.crashes.recording.Shim.fail` takes them.
    operation: str
    path: str
    after: int
    times: int
    error: int
    #: Whether the storage is closed afterwards; else the process is killed.
    is_closed: bool

    @classmethod
    def read(cls, words: str) -> Fault:
        """
        Return what was written so.
        """
        operation, path, after, times, error, is_closed = words.split(",")
        return cls(
            operation, path, int(after), int(times), int(error), is_closed == "True"
        )

    def __str__(self) -> str:
        """
        Write it.
        """
        return ",".join(
            str(value)
            for value in (
                self.operation,
                self.path,
                self.after,
                self.times,
                self.error,
                self.is_closed,
            )
        )


def save(
    hard_state: HardState | None = None,
    entries: Sequence[Entry] = (),
    cluster_id: str | None = None,
    **snapshot: Any,
) -> Step:
    """
    Return a step that saves this.
    """
    return lambda storage: storage.save(hard_state, entries, cluster_id, **snapshot)


def take(piece: Piece) -> Step:
    """
    Return a step that writes a piece of a snapshot of one's own.
    """
    return lambda storage: storage.write_piece(piece)


def compact(
    pieces: Sequence[Piece], last_index: int, last_term: int, trailing: int
) -> Step:
    """
    Return a step that puts it in force.
    """
    snapshot = snapshot_of(pieces, last_index, last_term)
    return lambda storage: storage.compact(snapshot, trailing, ALL)


FIRST = pieces_of(b"the first", b"\xa5" * 5000, b"snapshot")
SECOND = pieces_of(b"the second", b"\x5a" * 9000, b"one, from the leader")
THIRD = pieces_of(b"the third", b"one")

#: An empty directory at first; then all that a member does, in small; and twice in
#: between the write-ahead log is used again from its start, behind which old frames
#: lie, or is emptied.
LIVES = (
    Life(
        (
            save(HardState(1, NODE), [Entry(1, 1, MEMBERS)], CLUSTER),
            save(None, [Entry(2, 1, NoOp()), *commands(3, 4)]),
            save(HardState(2)),
            save(HardState(2, "node1")),
            save(HardState(3, NODE), commands(5, 3, term=3)),
            save(None, commands(8, 1, term=3)),
        ),
        is_closed=False,
    ),
    Life(
        (
            save(None, commands(7, 1, term=4)),
            save(HardState(5, "node2"), commands(6, 4, term=5)),
            save(None, [Entry(10, 5, b"large" * 2000)]),
            save(HardState(6)),
        ),
        is_closed=True,
    ),
    Life(
        (
            take(FIRST[0]),
            save(HardState(6, NODE), commands(11, 2, term=6)),
            take(FIRST[1]),
            take(FIRST[2]),
            save(None, commands(13, 1, term=6)),
            compact(FIRST, 11, 6, trailing=2),
            save(None, commands(14, 2, term=6)),
            save(None, (), pieces=SECOND[:1]),
            save(HardState(7), (), pieces=SECOND[:2]),
        ),
        is_closed=False,
    ),
    Life(
        (
            save(None, (), pieces=SECOND[:1]),
            take(FIRST[0]),
            save(None, commands(15, 2, term=7), pieces=SECOND[1:2]),
            save(
                HardState(8, "node1"),
                commands(41, 2, term=8),
                pieces=SECOND[2:],
                snapshot=snapshot_of(SECOND, 40, 8),
            ),
            save(None, commands(42, 3, term=8)),
        ),
        is_closed=False,
    ),
    Life(
        (
            *[save(None, commands(45 + n, 1, term=8)) for n in range(5)],
            save(HardState(9, NODE)),
            save(None, [Entry(50, 9, b"large" * 3000)]),
            save(None, commands(48, 4, term=10)),
            save(HardState(10, "node2")),
            save(None, commands(52, 1, term=10)),
            take(THIRD[0]),
            take(THIRD[1]),
            compact(THIRD, 50, 10, trailing=1),
            save(None, commands(53, 1, term=10)),
        ),
        is_closed=False,
        autocheckpoint=8,
    ),
    Life(
        (
            *[save(HardState(11 + n), commands(54 + n, 1, term=11)) for n in range(4)],
            save(HardState(14, NODE), commands(55, 1, term=14)),
        ),
        is_closed=True,
        wal_limit=24_000,
    ),
)


def states(lives: Sequence[Life] = LIVES) -> tuple[Stored, ...]:
    """
    Return what is stored at first, and after each step of all these lives.
    """
    steps = sum(len(life.steps) for life in lives)
    return tuple(_state_after(count, lives) for count in range(steps + 1))


def _state_after(count: int, lives: Sequence[Life]) -> Stored:
    storage = MemoryStorage()
    for life in lives:
        storage.load()
        for step in life.steps[:count]:
            failures: list[object] = []
            step(storage).addErrback(failures.append)
            assert not failures, failures
        count -= min(count, len(life.steps))
    return storage.load()


class Meeting:
    """
    The part of a reactor that a storage needs, for two threads that take turns.

    The disk's thread goes on only when its answer has been heard. So whatever it
    should have done before it answered, it has done too late.
    """

    def __init__(self) -> None:
        """
        Begin with nothing to do.
        """
        self._calls: SimpleQueue[tuple[Any, Any, Event]] = SimpleQueue()
        #: Whether the disk's thread waits.
        self.is_on = True

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """
        Have this called in the main thread, and wait for its end.
        """
        assert current_thread() is not main_thread()
        heard = Event()
        if not self.is_on:
            heard.set()
        self._calls.put((function, args, heard))
        assert heard.wait(DEADLINE)

    def wait_for(self, deferred: Deferred[Any], then: Callable[[], object]) -> Any:
        """
        Return what a Deferred fires with, or raise what it fails with.

        :param then: is called as soon as it has fired well, while the other thread
            still waits.
        """
        results: list[object] = []
        deferred.addBoth(results.append)
        while not results:
            function, args, heard = self._calls.get(timeout=DEADLINE)
            function(*args)
            if results and not isinstance(results[0], Failure):
                then()
            heard.set()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


def life_again(stored: Stored) -> Life:
    """
    Return what is done after a crash that left this.
    """
    term = stored.hard_state.current_term + 1
    last = 0 if stored.snapshot is None else stored.snapshot.last_index
    if stored.entries:
        last = stored.entries[-1].index
    return Life(
        (
            save(HardState(term, NODE), commands(last + 1, 2, term=term)),
            save(None, commands(last + 2, 2, term=term + 1)),
        ),
        is_closed=False,
    )


def states_again(stored: Stored) -> tuple[Stored, ...]:
    """
    Return what is stored before that, and after each step of it.
    """
    term = stored.hard_state.current_term + 1
    last = 0 if stored.snapshot is None else stored.snapshot.last_index
    if stored.entries:
        last = stored.entries[-1].index
    first = evolve(
        stored,
        hard_state=HardState(term, NODE),
        entries=(*stored.entries, *commands(last + 1, 2, term=term)),
    )
    second = evolve(
        first, entries=(*first.entries[:-1], *commands(last + 2, 2, term=term + 1))
    )
    return stored, first, second


def live(
    choose: Callable[[Stored], Life], data_dir: Path, note: Callable[[str], object]
) -> None:
    """
    Do something with a real storage in that directory.

    :param choose: says what, and is given what was loaded.
    :param note: is told what is asked for and what has been acknowledged.
    """
    meeting = Meeting()
    storage = SqliteStorage(data_dir, NODE, meeting)
    stored = storage.load()
    life = choose(evolve(stored, pieces=tuple(stored.pieces)))
    hraftd.database_file._WAL_LIMIT = life.wal_limit
    connection = storage._database._file.connection
    assert connection is not None
    connection.execute(f"PRAGMA wal_autocheckpoint = {life.autocheckpoint}").fetchall()
    for step in life.steps:
        note("asked")
        meeting.wait_for(step(storage), lambda: note("done"))
    if life.is_closed:
        meeting.is_on = False
        meeting.wait_for(storage.close(), lambda: None)


#: All the lives in one process.
WHOLE = Life(
    tuple(step for life in LIVES for step in life.steps),
    is_closed=True,
    autocheckpoint=8,
    wal_limit=24_000,
)


def live_badly(fault: Fault, data_dir: Path, shim: Shim) -> None:
    """
    Do all of this in one process, on a disk that fails once.

    What the storage says of that is noted, and so is what it says to all that is asked
    of it afterwards.
    """
    hraftd.database_file._WAL_LIMIT = WHOLE.wal_limit
    meeting = Meeting()
    storage = SqliteStorage(data_dir, NODE, meeting)
    shim.fail(fault.operation, fault.path, fault.after, fault.times, fault.error)
    try:
        storage.load()
        connection = storage._database._file.connection
        assert connection is not None
        pragma = f"PRAGMA wal_autocheckpoint = {WHOLE.autocheckpoint}"
        connection.execute(pragma).fetchall()
        for step in WHOLE.steps:
            shim.note("asked")
            meeting.wait_for(step(storage), lambda: shim.note("done"))
    except StorageError as error:
        shim.note(f"error {error}")
        for again in (save(HardState(99, NODE)), save(), take(FIRST[0])):
            if storage._is_loaded:
                _ask_again(storage, again, meeting, shim)
    if fault.is_closed:
        meeting.is_on = False
        meeting.wait_for(storage.close(), lambda: None)


def _ask_again(
    storage: SqliteStorage, step: Step, meeting: Meeting, shim: Shim
) -> None:
    try:
        meeting.wait_for(step(storage), lambda: shim.note("done"))
    except StorageError as error:
        shim.note(f"again {error}")


def fork(function: Callable[[], object]) -> None:
    """
    Do this in a process of its own, which is killed then.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            function()
            sys.stdout.flush()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        # Without closing or tidying up anything.
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status


def main(task: str, root: str, *faults: str) -> None:
    """
    Live all of it, or do more in all directories.
    """
    shim = Shim()
    note = shim.note
    for number, words in enumerate(faults):
        note(f"in {number:06}")
        (Path(root) / f"{number:06}").mkdir()
        directory = Path(root) / f"{number:06}" / NODE
        fork(partial(live_badly, Fault.read(words), directory, shim))
    if task == "all":
        for life in LIVES:
            fork(partial(live, lambda _, life=life: life, Path(root) / NODE, note))  # type: ignore[misc]
    if task != "again":
        return
    for directory in sorted(Path(root).iterdir()):
        note(f"in {directory.name}")
        fork(partial(live, life_again, directory / NODE, note))


if __name__ == "__main__":
    main(*sys.argv[1:])

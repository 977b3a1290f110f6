"""
A disk that fails: nothing is acknowledged any more, and nothing is lost that was.

Each test lives through all of :mod:`tests.crashes.workload` in a real process whose
calls to the file system are made to fail, one after the other: the first one in the
first run, the second one in the second. The ordinary run takes some of them,
``HRAFTD_CRASHES_SEED`` chooses others, and ``HRAFTD_CRASHES=all`` takes all.

Directories that cannot be written are mounted so, in a namespace that each of these
tests makes for itself, since root may write to anything else.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING

import pytest

from hraftd.database import Database
from hraftd.raft.messages import Entry, HardState
from tests.crashes import workload
from tests.crashes.moments import Moment, Opener, by_directory, check, record
from tests.crashes.power_cuts import Disk
from tests.crashes.recording import ROOT, plain_environment
from tests.crashes.workload import Fault
from tests.disks import FILE, NODE, WAL, crash_image, fill, reload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.crashes.recording import Call

STATES = workload.states([workload.WHOLE])


def run_with(
    faults: Sequence[Fault], shim: Path, memory: Path
) -> dict[str, tuple[Fault, list[Call]]]:
    """
    Live all of it with each of these, and return what was done, by directory.

    Those that never came to bear are left out.
    """
    calls = record(shim, memory, "badly", *map(str, faults))
    lives = by_directory(calls)
    assert len(lives) == len(faults)
    return {
        name: (fault, own)
        for fault, (name, own) in zip(faults, lives.items(), strict=True)
        if any(call.operation == "failure" for call in own)
    }


def texts(calls: Sequence[Call], beginning: str) -> list[str]:
    """
    Return the notes that begin so.
    """
    return [
        call.path.removeprefix(beginning).strip()
        for call in calls
        if call.operation == "note" and call.path.startswith(beginning)
    ]


def check_all(
    lives: dict[str, tuple[Fault, list[Call]]], memory: Path, random: Random
) -> None:
    """
    See that each process stopped in time, and left what it had acknowledged.
    """
    opener = Opener(memory / "copy")
    for name, (fault, calls) in lives.items():
        data_dir = memory / "root" / name / NODE
        failed = next(
            number for number, call in enumerate(calls) if call.operation == "failure"
        )
        errors, latched = texts(calls, "error"), texts(calls, "again")
        done, asked = len(texts(calls, "done")), len(texts(calls, "asked"))
        if errors:
            assert str(data_dir) in errors[0], fault
            assert not texts(calls[failed:], "done"), fault
            assert set(latched) <= set(errors), fault
        else:
            # Some tidying up was not done, which SQLite and hraftd do without.
            assert asked == done == len(STATES) - 1, fault
        assert reload(data_dir) in STATES[done : asked + 1], fault
        # A directory that cannot be synced may bring back an old mark, when the log
        # that it speaks of is gone. That is refused; it is never less without a word.
        may_be_refused = calls[failed].path.endswith(NODE)
        later = range(failed, len(calls))
        looked_at = {*later[:5], *random.sample(later, min(len(later), 20))}
        for is_forgetful in (False, True):
            disk = Disk(is_forgetful)
            done = asked = 0
            for number, call in enumerate(calls):
                disk.follow(call)
                if call.operation == "note":
                    done += call.path == "done"
                    asked += call.path == "asked"
                elif number in looked_at:
                    for image in disk.cut_off(random, 1):
                        moment = Moment(number, call, done, asked, image)
                        found = opener.open(image)
                        if may_be_refused and isinstance(found, str):
                            assert "is damaged" in found
                        else:
                            check(moment, found, STATES)


def chosen(faults: Sequence[Fault], random: Random, all_of_it: bool) -> list[Fault]:
    """
    Return those that are tried now.
    """
    if all_of_it:
        return list(faults)
    return random.sample(faults, min(len(faults), 16))


def counted(shim: Path, memory: Path, operation: str, path: str) -> int:
    """
    Return how many calls of that kind there are if none fails.
    """
    (memory / "counting").mkdir()
    never = Fault("sync", "nowhere", 0, 0, errno.EIO, is_closed=True)
    calls = record(shim, memory / "counting", "badly", str(never))
    return sum(
        call.operation == operation and call.path.endswith(path) for call in calls
    )


@pytest.mark.parametrize("times", [1, -1], ids=["once", "for ever"])
def test_failing_sync(
    shim: Path, memory: Path, all_of_it: bool, seed: int, times: int
) -> None:
    """
    The first sync that fails is the end, of a vote's too: rostam 94, RaftKeeper 287.

    Nothing is acknowledged after it, though the next sync succeeds. Whether the kernel
    has dropped what it could not write or not ("fsyncgate"), a new process finds all
    that had been acknowledged.
    """
    random = Random(seed)
    count = counted(shim, memory, "sync", "")
    faults = [
        Fault("sync", "", after, times, errno.EIO, is_closed=after % 2 == 0)
        for after in range(count)
    ]
    lives = run_with(chosen(faults, random, all_of_it), shim, memory)
    assert lives
    check_all(lives, memory, random)


def test_failing_sync_of_a_new_database(shim: Path, memory: Path) -> None:
    """
    A database whose first content could not be synced never gets its name.

    SQLite copies the write-ahead log back when it closes a file, and does not say if
    that fails; the file that was renamed then had no tables, and was damaged for good.
    """
    random = Random(0)
    faults = [
        Fault("sync", path, after, times, errno.EIO, is_closed=True)
        for path in (".new", ".new-wal", ".new-journal")
        for after in range(4)
        for times in (1, -1)
    ]
    lives = run_with(faults, shim, memory)
    assert len(lives) > 8
    check_all(lives, memory, random)


@pytest.mark.parametrize(
    ("operation", "path", "error"),
    [
        ("write", "", errno.ENOSPC),
        ("write", "", errno.EIO),
        ("truncate", "", errno.EIO),
        ("create", "", errno.ENOSPC),
        ("unlink", "", errno.EIO),
        ("rename", "", errno.EIO),
        ("mkdir", "", errno.ENOSPC),
        ("write", "", errno.EROFS),
    ],
)
def test_other_failures(
    shim: Path,
    memory: Path,
    all_of_it: bool,
    seed: int,
    operation: str,
    path: str,
    error: int,
) -> None:
    """
    A full disk, which takes half of what does not fit, and other calls that fail.

    RaftKeeper 287, and arcadedb 5345: with room again, a new process goes on.
    """
    random = Random(seed)
    faults = [
        Fault(operation, path, after, times, error, is_closed=after % 2 == 0)
        for after in range(counted(shim, memory, operation, path))
        for times in (1, -1)
    ]
    lives = run_with(chosen(faults, random, all_of_it), shim, memory)
    assert lives
    check_all(lives, memory, random)
    for name in lives:
        database = Database(memory / "root" / name / NODE, NODE)
        database.open()
        index = database.last_index + 1
        database.write(None, [Entry(index, 99, b"room again")], None)
        database.close()


def mounted(script: str, *arguments: object) -> str:
    """
    Run a shell script where it may mount what it likes, and return what it prints.
    """
    unshare = shutil.which("unshare")
    if sys.platform != "linux" or unshare is None:
        pytest.skip("there is no unshare: apt-get install util-linux")
    command = [unshare, "--mount", "--map-root-user", "sh", "-ec"]
    possible = subprocess.run(
        [*command, "mount -t tmpfs none /mnt"], capture_output=True, text=True
    )
    if possible.returncode != 0:
        pytest.skip(
            "this user may not mount anything in a namespace of its own: run as root, "
            f"or allow user namespaces ({possible.stderr.strip()})"
        )
    ran = subprocess.run(
        [*command, script, "sh", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


LOAD = f'"{sys.executable}" -m tests.storage_process load "$1"'


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """
    Return a directory with a bit of everything, closed in order.
    """
    database = Database(tmp_path / NODE, NODE)
    database.open()
    fill(database)
    database.close()
    return tmp_path / NODE


def test_read_only_directory(data_dir: Path) -> None:
    """
    A data directory on a disk that is read-only is refused by name, and not harmed.
    """
    intact = reload(data_dir)
    before = (data_dir / FILE).read_bytes()
    script = f'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; {LOAD}'
    said = mounted(script, data_dir)
    assert said.startswith(f"refused: {data_dir / FILE} cannot be opened")
    assert (data_dir / FILE).read_bytes() == before
    assert [path.name for path in data_dir.iterdir()] == [FILE]
    assert reload(data_dir) == intact


def test_read_only_place_for_a_new_directory(tmp_path: Path) -> None:
    """
    Where nothing can be made, that is said, and the same for the file in it.
    """
    script = f'mount --bind "$2" "$2"; mount -o remount,bind,ro "$2"; {LOAD}'
    for new in (tmp_path, tmp_path / "new", tmp_path / "new" / "below"):
        said = mounted(script, new, tmp_path)
        assert said.startswith(f"refused: {new / FILE} cannot be opened")
    assert [*tmp_path.iterdir()] == []


def test_read_only_file(data_dir: Path) -> None:
    """
    A database that alone is read-only is refused by name, and so is what a kill left.
    """
    intact = reload(data_dir)
    script = f'mount --bind "$2" "$2"; mount -o remount,bind,ro "$2"; {LOAD}'
    said = mounted(script, data_dir, data_dir / FILE)
    assert said.startswith(f"refused: {data_dir / FILE} cannot be opened")
    assert reload(data_dir) == intact
    database = Database(data_dir, NODE)
    database.open()
    database.write(HardState(9, NODE), [Entry(22, 9, b"last")], None)
    image = crash_image(data_dir, data_dir.with_name("image"))
    database.close()
    for name in (FILE, WAL):
        said = mounted(script, image, image / name)
        assert said.startswith(f"refused: {image / FILE}")
    assert reload(image).hard_state == HardState(9, NODE)

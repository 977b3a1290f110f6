"""
Each moment of a recorded life: what there may be on the disk, and what there must be.

A :class:`Moment` is one of the many directories that a kill or a power cut can leave
after one call; an :class:`Opener` opens them with the production storage; :func:`check`
compares. That is what the tests of power cuts and of failing disks share.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from hraftd.interfaces import StorageError
from hraftd.storage import SqliteStorage
from tests.crashes.power_cuts import Disk, Image, write_image
from tests.crashes.recording import ROOT, environment, read_recording
from tests.disks import NODE, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from random import Random

    from hraftd.interfaces import Stored
    from tests.crashes.recording import Call

__all__ = ["Moment", "Opener", "by_directory", "check", "moments", "record"]


@frozen
class Moment:
    """
    What there may be after one call.
    """

    #: Which call.
    number: int
    call: Call
    #: How many steps had been acknowledged, and how many asked for.
    done: int
    asked: int
    image: Image


def moments(
    calls: Sequence[Call], random: Random, samples: int, disk: Disk | None = None
) -> Iterator[Moment]:
    """
    Yield all that may be there after each call: a kill, and power cuts.
    """
    disk = disk or Disk()
    done = asked = 0
    for number, call in enumerate(calls):
        if call.operation == "note":
            asked += call.path == "asked"
            done += call.path == "done"
        disk.follow(call)
        yield Moment(number, call, done, asked, disk.killed())
        for image in disk.cut_off(random, samples):
            yield Moment(number, call, done, asked, image)


@define
class Opener:
    """
    Opens directories, each content once.
    """

    directory: Path
    #: How many contents there were.
    opened: int = 0
    _known: dict[int, Stored | str] = field(factory=dict)

    def open(self, image: Image) -> Stored | str:
        """
        Return what a storage finds there, or why it refuses.
        """
        key = hash(tuple(image.items()))
        if key not in self._known:
            self.opened += 1
            self._known[key] = self._open(image)
        return self._known[key]

    def _open(self, image: Image) -> Stored | str:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        write_image(image, self.directory)
        turns = Turns()
        storage = SqliteStorage(self.directory / NODE, NODE, turns)
        try:
            stored = storage.load()
            return evolve(stored, pieces=tuple(stored.pieces))
        except StorageError as error:
            return str(error)
        finally:
            turns.wait_for(storage.close())


def check(moment: Moment, found: Stored | str, states: Sequence[Stored]) -> None:
    """
    See that this may be found there.
    """
    legal = states[moment.done : moment.asked + 1]
    assert found in legal, (
        f"after call {moment.number}, {moment.call.operation} of {moment.call.path} at "
        f"{moment.call.offset}, with {moment.done} steps done and {moment.asked} asked "
        f"for, there is {found}"
    )


def record(
    shim: Path, directory: Path, task: str = "all", *faults: str
) -> Sequence[Call]:
    """
    Return all calls of the workload, in the subdirectory ``root``.
    """
    root, recording = directory / "root", directory / "recording"
    root.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "tests.crashes.workload", task, str(root), *faults],
        env=environment(shim, root, recording),
        cwd=ROOT,
        check=True,
    )
    return tuple(read_recording(recording))


def by_directory(calls: Sequence[Call]) -> dict[str, list[Call]]:
    """
    Return the calls in each directory below the root, with paths below that.
    """
    found: dict[str, list[Call]] = {}
    name = ""
    for call in calls:
        if call.path.startswith("in "):
            name = call.path.removeprefix("in ")
            found[name] = []
            continue
        if call.operation != "note":
            prefix = f"{name}/" if call.path != name else name
            assert call.path.startswith(prefix), call
            data = call.data
            if call.operation == "rename":
                data = data.removeprefix(prefix.encode())
            call = evolve(call, path=call.path.removeprefix(prefix), data=data)
        found[name].append(call)
    return found

"""
A power cut at every moment: what was acknowledged is there, and nothing else.

A process lives through all that a storage does (:mod:`tests.crashes.workload`), and
each of its calls to the file system is written down. From that, the data directory is
made anew as it may be after each single call: as a kill leaves it, and as power cuts
leave it, with any part of what was not synced (:mod:`tests.crashes.power_cuts`). Each
of these directories is opened with the production storage, which must find what was
stored after the last step that had been acknowledged, or after one that had been
begun: a state between two steps, a gap in the log, a term that goes backwards and half
a snapshot are none of these. None of them may be taken for damage.

The ordinary run takes each moment with some of its power cuts, in well under a minute;
``HRAFTD_CRASHES_SEED`` chooses others. ``HRAFTD_CRASHES=all`` takes many more, and
second power cuts after each of many first ones; how many states that are is printed
(``pytest -s``).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.crashes import workload
from tests.crashes.moments import Opener, by_directory, check, moments, record
from tests.crashes.power_cuts import Disk, write_image

if TYPE_CHECKING:
    from pathlib import Path


def test_the_model_is_that_of_the_file_system(shim: Path, memory: Path) -> None:
    """
    With all calls followed, there is what really is there.
    """
    disk = Disk()
    for call in record(shim, memory):
        disk.follow(call)
    image = disk.killed()
    assert image
    for path, content in image.items():
        if content is not None:
            assert (memory / "root" / path).read_bytes() == content, path
    real = {
        str(path.relative_to(memory / "root")) for path in (memory / "root").rglob("*")
    }
    assert real == set(image)


def test_every_moment(shim: Path, memory: Path, all_of_it: bool, seed: int) -> None:
    """
    After every call, whatever was not synced: etcd 14370, 6368, 6378 and 5230, amelie
    17, NATS 2.12.1, PySyncObj 84.
    """
    calls = record(shim, memory)
    states = workload.states()
    opener = Opener(memory / "copy")
    count = 0
    last = None
    for moment in moments(calls, Random(seed), 300 if all_of_it else 2):
        check(moment, opener.open(moment.image), states)
        count += 1
        last = moment
    assert last is not None
    assert last.done == last.asked == len(states) - 1
    assert opener.opened > 1000
    print(f"{len(calls)} calls, {count} power cuts, {opener.opened} directories opened")


def test_second_power_cuts(
    shim: Path, memory: Path, all_of_it: bool, seed: int
) -> None:
    """
    What a start after a power cut does, and what is saved then, can be cut off too.

    Nothing is ever taken for a later transaction that a torn tail had left there:
    amelie 17.
    """
    random = Random(seed)
    (memory / "first").mkdir()
    firsts = [*moments(record(shim, memory / "first"), random, 2)]
    opener = Opener(memory / "copy")
    root = memory / "root"
    root.mkdir()
    chosen = {
        f"{number:06}": moment.image
        for number, moment in enumerate(
            random.sample(firsts, len(firsts) // 2 if all_of_it else 14)
        )
    }
    for name, image in chosen.items():
        (root / name).mkdir()
        write_image(image, root / name)
    calls = record(shim, memory, "again")
    count = 0
    for name, own in by_directory(calls).items():
        stored = opener.open(chosen[name])
        assert not isinstance(stored, str), stored
        states = workload.states_again(stored)
        disk = Disk.holding(chosen[name])
        last = None
        for moment in moments(own, random, 10 if all_of_it else 1, disk):
            check(moment, opener.open(moment.image), states)
            count += 1
            last = moment
        assert last is not None
        assert last.done == len(states) - 1
    print(f"{len(chosen)} times {count} power cuts, {opener.opened} directories opened")

"""
What a disk may hold after a power cut: a model of a file system that syncs late.

:class:`Disk` follows the calls of a recording. Of each file and each directory it
knows what was synced, and what was done since then. After a power cut, that is there
or not, each part of it for itself and in no order (etcd 6378):

- any subset of the writes and truncations since the file's last sync;
- of a write, any subset of its sectors. Where it made the file longer, the file may
  end anywhere within it; a sector that was there before is old or new as a whole;
- any subset of the names made, changed and removed since the directory's last sync.
  A file's own sync does not keep its name: etcd 6368.

After a sync that failed, what it should have synced is as likely to be there as before,
or will never be, though the process may read it back and the next sync succeeds
("fsyncgate"): a disk can be told to be of that kind.

What was written and is missing in front of something that is there is zeros: etcd
5230. After a kill without a power cut, everything is there.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from tests.crashes.recording import Call

__all__ = ["Disk", "Image", "write_image"]

#: What is in a directory: names with a file's content, or ``None`` for a directory.
Image: TypeAlias = "dict[str, bytes | None]"

SECTOR = 512

#: Up to so many calls without a sync, each subset of them is tried.
EXHAUSTIVE = 6


@define(eq=False)
class _File:
    """
    A file or, without content, a directory.
    """

    is_directory: bool = False
    #: What is certain to be there.
    synced: bytes = b""


@frozen(eq=False)
class _Change:
    """
    One call that has not been synced.
    """

    call: Call
    #: Which file was changed, or which is called so now.
    file: _File
    #: The directory, if it was names that were changed.
    directory: str | None = None


@define
class Disk:
    """
    The state of a disk after some calls.
    """

    #: Whether a failed sync loses what it should have synced.
    is_forgetful: bool = False
    _synced_names: dict[str, _File] = field(factory=dict)
    _names: dict[str, _File] = field(factory=dict)
    #: In the order of the calls.
    _pending: list[_Change] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        """
        Begin with an empty directory.
        """
        self._names[""] = self._synced_names[""] = _File(is_directory=True)

    @classmethod
    def holding(cls, image: Image) -> Disk:
        """
        Return one that holds this, all of it synced.
        """
        disk = cls()
        for path, content in image.items():
            file = _File(is_directory=content is None, synced=content or b"")
            disk._names[path] = disk._synced_names[path] = file
        return disk

    @property
    def pending(self) -> int:
        """
        How many calls have not been synced.
        """
        return len(self._pending)

    def follow(self, call: Call) -> None:
        """
        Take the next call.
        """
        directory = str(PurePosixPath(call.path).parent).removeprefix(".")
        match call.operation:
            case "note":
                return
            case "failure":
                self._fail(call)
                return
            case "sync":
                self._sync(self._names[call.path], call.path)
                return
            case "write" | "truncate":
                change = _Change(call, self._names[call.path])
            case "create" | "mkdir":
                file = _File(is_directory=call.operation == "mkdir")
                change = _Change(call, file, directory)
            case "unlink":
                change = _Change(call, self._names[call.path], directory)
            case "rename":
                parent = str(PurePosixPath(call.data.decode()).parent)
                assert parent == directory, "nothing is moved elsewhere"
                change = _Change(call, self._names[call.path], directory)
        if change.directory is not None:
            _rename(self._names, change)
        self._pending.append(change)

    def _sync(self, file: _File, path: str) -> None:
        for change in self._forget(file, path):
            if file.is_directory:
                _rename(self._synced_names, change)
            else:
                file.synced = _written(file.synced, change.call)

    def _fail(self, call: Call) -> None:
        if self.is_forgetful and call.data == b"s":
            self._forget(self._names[call.path], call.path)

    def _forget(self, file: _File, path: str) -> list[_Change]:
        """
        Return what a sync of this is about, which is not pending any more.
        """
        done = [
            change
            for change in self._pending
            if (
                change.directory == path
                if file.is_directory
                else change.file is file and change.directory is None
            )
        ]
        self._pending = [change for change in self._pending if change not in done]
        return done

    def killed(self) -> Image:
        """
        Return what is there if nothing but the process has ended.
        """
        return self._image(self._pending)

    def cut_off(self, random: Random, samples: int) -> Iterator[Image]:
        """
        Yield what may be there after a power cut at this moment.

        :param samples: how many are chosen of each kind that has too many to try all.
        """
        pending = self._pending
        yield self._image([])
        yield self._image(pending)
        yield from self._torn(random, samples)
        if len(pending) <= EXHAUSTIVE:
            for chosen in product((False, True), repeat=len(pending)):
                yield self._image(_some(pending, chosen))
            return
        for missing in random.sample(pending, min(len(pending), samples)):
            yield self._image([change for change in pending if change is not missing])
        for _ in range(samples):
            chosen = tuple(random.random() < 0.5 for _ in pending)
            yield self._image(_some(pending, chosen))
            sectors = [
                piece for change in pending for piece in self._sectors(change, pending)
            ]
            share = random.choice((0.1, 0.5, 0.9))
            chosen = tuple(random.random() < share for _ in sectors)
            yield self._image(_some(sectors, chosen))

    def _torn(self, random: Random, samples: int) -> Iterator[Image]:
        """
        Yield what is there if the last write did not come to its end.
        """
        if not self._pending or self._pending[-1].call.operation != "write":
            return
        *before, last = self._pending
        start, data = last.call.offset, last.call.data
        size = len(self._content(last.file, before))
        cuts = {SECTOR * n - start % SECTOR for n in range(1, len(data) // SECTOR + 1)}
        if start + len(data) > size:
            # What is behind the old end has no sectors yet.
            old = max(size - start, 0)
            cuts |= {old + 1, old + 8, old + 23, (old + len(data)) // 2, len(data) - 1}
        cuts = {cut for cut in cuts if 0 < cut < len(data)}
        for cut in random.sample(sorted(cuts), min(len(cuts), 2 * samples)):
            torn = evolve(last, call=evolve(last.call, data=data[:cut]))
            yield self._image([*before, torn])
        sectors = self._sectors(last, self._pending)
        for _ in range(samples if len(sectors) > 1 else 0):
            chosen = tuple(random.random() < 0.5 for _ in sectors)
            yield self._image([*before, *_some(sectors, chosen)])

    def _sectors(self, change: _Change, pending: Sequence[_Change]) -> list[_Change]:
        """
        Return a write sector by sector; any other change as it is.
        """
        if change.call.operation != "write":
            return [change]
        call = change.call
        end = call.offset + len(call.data)
        pieces = []
        place = call.offset
        while place < end:
            after = min(end, place - place % SECTOR + SECTOR)
            data = call.data[place - call.offset : after - call.offset]
            pieces.append(evolve(change, call=evolve(call, offset=place, data=data)))
            place = after
        return pieces

    def _content(self, file: _File, changes: Sequence[_Change]) -> bytes:
        content = file.synced
        for change in changes:
            if change.file is file and change.directory is None:
                content = _written(content, change.call)
        return content

    def _image(self, changes: Sequence[_Change]) -> Image:
        """
        Return what there is if just these changes are there.
        """
        names = dict(self._synced_names)
        for change in changes:
            if change.directory is not None:
                _rename(names, change)
        image: Image = {}
        for path in sorted(names):
            parent = str(PurePosixPath(path).parent).removeprefix(".")
            if path and (not parent or parent in image):
                file = names[path]
                image[path] = (
                    None if file.is_directory else self._content(file, changes)
                )
        return image


def _some(changes: Sequence[_Change], chosen: Sequence[bool]) -> list[_Change]:
    return [
        change for change, is_there in zip(changes, chosen, strict=True) if is_there
    ]


def _rename(names: dict[str, _File], change: _Change) -> None:
    """
    Change names as a call did.
    """
    match change.call.operation:
        case "create" | "mkdir":
            names[change.call.path] = change.file
        case "unlink":
            names.pop(change.call.path, None)
        case "rename":
            names.pop(change.call.path, None)
            names[change.call.data.decode()] = change.file


def _written(content: bytes, call: Call) -> bytes:
    """
    Return a file's content after a call.
    """
    if call.operation == "truncate":
        return content[: call.offset].ljust(call.offset, b"\0")
    content = content.ljust(call.offset, b"\0")
    return content[: call.offset] + call.data + content[call.offset + len(call.data) :]


def write_image(image: Image, directory: Path) -> None:
    """
    Make this of an empty directory.
    """
    for path, content in image.items():
        if content is None:
            (directory / path).mkdir()
        else:
            (directory / path).write_bytes(content)

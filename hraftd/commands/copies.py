"""
The commands for whole copies of the data: backup and restore.

A backup is written beside its place and put there when it is complete and synced, so
that there is never half a one under its name. How far it is shows a bar, if somebody
looks.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hraftd.commands.endings import DONE, FAILED, USAGE, Stop
from hraftd.commands.screen import in_words, writing

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from hraftd.client import Client
    from hraftd.client.copies import Restored
    from hraftd.commands.screen import Screen

__all__ = ["backup", "check_backup", "check_restore", "restore"]

#: Behind the name of a file that is not complete.
_PART = ".part"


def check_backup(options: Namespace, screen: Screen) -> None:
    """
    See where the backup is to go, before the cluster is asked for it.

    :raises Stop: if it cannot go there.
    """
    if options.file == "-":
        if sys.stdout is None:
            raise Stop(USAGE, "the standard output is closed; name a file")
        if screen.is_terminal:
            raise Stop(USAGE, "a backup is no text for a terminal; name a file")
        if options.json:
            raise Stop(USAGE, "with --json name a file; - would mix the two up")
        return
    path = Path(options.file)
    # A device or a pipe would not be written to but replaced, as a name of a file.
    is_special = path.exists() and not path.is_file()
    if is_special or not path.absolute().parent.is_dir():
        raise Stop(FAILED, f"{path} is no place for a file; name another one")
    if path.exists() and not options.force:
        raise Stop(FAILED, f"{path} is there; name another file, or take --force")


def check_restore(options: Namespace, screen: Screen) -> None:
    """
    See that there is a backup, and ask whether it is really meant.

    :raises Stop: if it cannot be read, or is not meant.
    """
    if options.file == "-":
        if sys.stdin is None:
            raise Stop(USAGE, "the standard input is closed; name a file")
        if sys.stdin.isatty():
            raise Stop(USAGE, "a terminal is no backup; name a file")
        if not options.yes:
            raise Stop(USAGE, "from the standard input it cannot ask; take --yes")
        return
    try:
        with Path(options.file).open("rb"):
            pass
    except OSError as error:
        raise Stop(
            FAILED, f"{options.file}: {error.strerror}; name a backup"
        ) from error
    if not options.yes and not _is_agreed(options, screen):
        raise Stop(FAILED, "nothing was changed; --yes does it without asking")


def _is_agreed(options: Namespace, screen: Screen) -> bool:
    screen.err.write(
        f"All keys at {', '.join(options.endpoint)} go, and those of {options.file} "
        "take their place. Type yes to go on: "
    )
    screen.err.flush()
    answer = "" if sys.stdin is None else sys.stdin.readline()
    if not answer.endswith("\n"):
        screen.err.write("\n")
    return answer.strip() == "yes"


@contextmanager
def _bar(
    screen: Screen, what: str, total: int | None
) -> Iterator[Callable[[int], object]]:
    """
    Show on the standard error how far it is; yield what is to be told of more bytes.
    """
    # Not at the top: most commands need none of it, and all would wait for it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Console(file=screen.err),
        disable=not screen.err.isatty(),
        transient=True,
    )
    with progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


async def backup(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Write all keys to a file.
    """
    if options.file == "-":
        with writing():
            await _download(client, options, screen, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return DONE
    path = Path(options.file)
    part = path.with_name(path.name + _PART)
    try:
        with part.open("wb") as file:
            count = await _download(client, options, screen, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise Stop(FAILED, f"{path}: {error.strerror}; there is no backup") from error
    finally:
        # It is gone if all went well.
        with suppress(OSError):
            part.unlink(missing_ok=True)
    if options.json:
        screen.json({"file": options.file, "bytes": count})
    else:
        screen.line(f"{count} bytes in {path}")
    return DONE


async def _download(
    client: Client, options: Namespace, screen: Screen, file: BinaryIO
) -> int:
    count = 0
    with _bar(screen, "backup", None) as advance:

        def write(data: bytes) -> None:
            nonlocal count
            file.write(data)
            count += len(data)
            advance(len(data))

        await client.backup(write, level=options.level)
    return count


async def restore(client: Client, options: Namespace, screen: Screen) -> int:
    """
    Replace all keys with those of a backup.
    """
    if options.file == "-":
        restored = await _upload(client, screen, sys.stdin.buffer, None)
    else:
        with Path(options.file).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            restored = await _upload(client, screen, file, size)
    if options.json:
        screen.json({"index": restored.index, "keys": restored.keys})
    else:
        screen.line(f"done, index {restored.index}: {in_words(restored.keys)}")
    return DONE


async def _upload(
    client: Client, screen: Screen, file: BinaryIO, total: int | None
) -> Restored:
    with _bar(screen, "restore", total) as advance:

        def read(size: int) -> bytes:
            data = file.read(size)
            advance(len(data))
            return data

        return await client.restore(read)

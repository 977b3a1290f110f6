"""
How far the write-ahead log has been synced: what a torn tail cannot be part of.

From the write-ahead log alone, the last transaction that was acknowledged and then
damaged looks like one that was torn by a power cut before it was acknowledged, and a
log that somebody cut off looks like a shorter one. So right after each sync, and
before anybody is told, the mark is written into a small file beside it: the log's
salts and how many of its frames are synced (:class:`hraftd.wal.Synced`).

The mark itself is *not* synced. After a killed process, which is the usual case, it is
exact; after a power cut it is missing, or says less than is true, but never more: it
is written after the sync, so whatever of it reaches the disk speaks of frames that
are there. What is behind it can then be lost to damage that looks like a torn tail, as
is confessed in :mod:`hraftd.wal`.

When the log has begun anew, its first salt has grown, and all that the mark speaks of
is in the database. When the log is gone, that must be so as well: the mark's last page
is looked for there. The ``sqlite3`` shell leaves it so. hraftd itself removes the mark,
and syncs that, before it empties or removes the log.

Layout: salts, number of frames, page size, number of the last frame's page, CRC-32 of
that page, all as 32 bits, then the CRC-32 of these. It fits into a sector. One that is
damaged says nothing.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

from hraftd.wal import FRAME_HEADER, HEADER, Synced, read_salts

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SyncMark"]

_FIELDS = Struct(">6I")
_CRC = Struct(">I")

#: So many frames are looked at together; most transactions have fewer.
_FRAMES_READ = 3

#: Windows would change line ends.
_BINARY = getattr(os, "O_BINARY", 0)


class SyncMark:
    """
    The mark of one database.
    """

    def __init__(self, database: Path) -> None:
        """
        Name the database; touches nothing yet.
        """
        self._database = database
        self._wal_path = database.with_name(database.name + "-wal")
        self._path = database.with_name(database.name + "-synced")
        self._synced: Synced | None = None
        #: Of the write-ahead log and of the mark, once something has been synced.
        self._descriptors: tuple[int, int] | None = None

    def read(self) -> Synced | None:
        """
        Return what a former process has written, ``None`` if it is of no use.

        :raises OSError: if it cannot be read.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        fields = data[: _FIELDS.size]
        if len(data) < _FIELDS.size or data != fields + _CRC.pack(crc32(fields)):
            return None
        salt_1, salt_2, frames, page_size, page_number, crc = _FIELDS.unpack(fields)
        return Synced((salt_1, salt_2), frames, page_size, page_number, crc)

    def is_all_there_is(self, synced: Synced) -> bool:
        """
        Whether the write-ahead log says nothing of what was synced.

        Then it must all be in the database.
        """
        salts = read_salts(self._wal_path)
        return salts is None or not (salts == synced.salts or synced.is_before(salts))

    def is_in_database(self, synced: Synced) -> bool:
        """
        Whether what was synced has become part of the database.

        Opens the file, so no other connection of this process may have it open.
        """
        with self._database.open("rb") as file:
            file.seek((synced.page_number - 1) * synced.page_size)
            return crc32(file.read(synced.page_size)) == synced.page_crc

    def advance(self) -> None:
        """
        Write down that the write-ahead log, as it is now, has been synced.

        :raises OSError: if that fails.
        """
        if self._descriptors is None:
            log = os.open(self._wal_path, os.O_RDONLY | _BINARY)
            try:
                mark = os.open(self._path, os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
            except BaseException:
                os.close(log)
                raise
            self._descriptors = log, mark
        log, mark = self._descriptors
        synced = _end_of(log, self._synced)
        if synced is not None and synced != self._synced:
            fields = _FIELDS.pack(
                *synced.salts,
                synced.frames,
                synced.page_size,
                synced.page_number,
                synced.page_crc,
            )
            _write_at_start(mark, fields + _CRC.pack(crc32(fields)))
            self._synced = synced

    def remove(self) -> None:
        """
        Remove it, if there is one.

        :raises OSError: if that fails.
        """
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """
        Let go of the files.
        """
        descriptors, self._descriptors = self._descriptors or (), None
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def _end_of(log: int, before: Synced | None) -> Synced | None:
    """
    Return how far the write-ahead log goes, right after a transaction.

    :param before: how far it went at some earlier time.
    :return: ``None`` if there is nothing in it.
    """
    if before is not None:
        synced = _end_behind(log, before.salts, before.frames, before.page_size)
        if synced is not None:
            return synced
    header = _read_at(log, HEADER.size, 0)
    if len(header) < HEADER.size:
        return None
    _, _, page_size, _, salt_1, salt_2, _, _ = HEADER.unpack(header)
    if before is not None and before.salts == (salt_1, salt_2):
        return before
    return _end_behind(log, (salt_1, salt_2), 0, page_size)


def _end_behind(
    log: int, salts: tuple[int, int], frames: int, page_size: int
) -> Synced | None:
    """
    Return how far it goes behind so many frames, ``None`` if no further.
    """
    size = FRAME_HEADER.size + page_size
    synced = None
    while True:
        data = _read_at(log, _FRAMES_READ * size, HEADER.size + frames * size)
        last, count = b"", 0
        for place in range(0, len(data) - size + 1, size):
            # Frames of an earlier use, behind the last one, have other salts.
            if FRAME_HEADER.unpack_from(data, place)[2:4] != salts:
                break
            last = data[place : place + size]
            count += 1
        if count:
            frames += count
            page_number = FRAME_HEADER.unpack_from(last)[0]
            crc = crc32(last[FRAME_HEADER.size :])
            synced = Synced(salts, frames, page_size, page_number, crc)
        if count < _FRAMES_READ:
            return synced


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
    return os.pread(descriptor, size, offset)


def _write_at_start(descriptor: int, data: bytes) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, data)
    else:
        os.pwrite(descriptor, data, 0)

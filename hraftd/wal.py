"""
Damage in SQLite's write-ahead log, which SQLite itself takes for its end.

SQLite reads the ``-wal`` file up to the first frame whose checksum fails and ignores
the rest. That is right for the tail that a power cut leaves behind, and wrong for
damage in the middle: every later transaction, synced and acknowledged, would be gone
without a word (unistore 567). So before SQLite opens the database, hraftd reads the
file itself, and :func:`describe_damage` tells the two cases apart.

The layout is that of "Database File Format", section 4, "The Write-Ahead Log"
(https://www.sqlite.org/fileformat2.html#walformat). A header of 32 bytes::

    magic, version, page size, checkpoint number, salt 1, salt 2, checksum (2 words)

is followed by frames, each of them a header of 24 bytes and one page::

    page number, database size or 0, salt 1, salt 2, checksum (2 words)

The size is that of the database after the transaction, in pages, and marks the last
frame of a transaction. A frame's checksum goes on from the one before over its first
8 bytes and its page. Once all is copied into the database, the file is used again
from its start under other salts, so that frames of an earlier use do not count.

What a crash can leave: with ``synchronous=FULL`` each transaction is synced before
any frame of the next one is written. So whatever of the last transaction is missing
or torn, its last frame is the last of the file that carries the current salts. Two
conditions make that hold: hraftd writes nothing more after a failed transaction, and
after each start it empties the file before it writes, so that a torn tail is never
written over.

What cannot be told from this file: a frame that is damaged beyond recognition, was the
only one of its transaction, and has just one transaction behind it, looks like the
first frame of a torn one. Damage in the very last transaction looks like a torn tail,
too, and a file that was cut off or deleted like one that never was longer. That is what
:mod:`hraftd.sync_mark` is for: up to where a :class:`Synced` goes, nothing is torn.
"""

from __future__ import annotations

from struct import Struct, iter_unpack, unpack
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FRAME_HEADER", "HEADER", "Synced", "describe_damage", "read_salts"]

_Checksum: TypeAlias = tuple[int, int]
_Salts: TypeAlias = tuple[int, int]

HEADER = Struct(">8I")
FRAME_HEADER = Struct(">6I")

#: The last bit of the magic number tells the byte order of the checksums.
_WORD_PAIRS = {0x377F0682: "<II", 0x377F0683: ">II"}

_VERSION = 3007000

_PAGE_SIZES = frozenset(1 << power for power in range(9, 17))


@frozen
class _Frame:
    """
    One frame as it lies in the file, whether or not it is valid.
    """

    number: int
    #: The part of its header that the checksum covers.
    head: bytes
    #: Shorter than a page where the file ends within the frame.
    page: bytes
    #: Whether it says that it is the last of its transaction.
    is_last: bool
    salts: _Salts
    #: What its checksum and that of all before it should be.
    checksum: _Checksum


@frozen
class Synced:
    """
    What has been synced of a write-ahead log: its first frames, in one of its uses.
    """

    salts: _Salts
    frames: int
    page_size: int
    #: The page that the last one of them holds, and that page's CRC-32.
    page_number: int
    page_crc: int

    def is_before(self, salts: _Salts) -> bool:
        """
        Whether the file has been used again since, which is when all is copied.

        The first salt grows by one with each use, as long as the file is open.
        """
        return 0 < (salts[0] - self.salts[0]) & 0xFFFFFFFF < 1 << 31


def read_salts(wal_file: Path) -> _Salts | None:
    """
    Return what tells one use of the file from another; ``None`` if it has no header.

    :raises OSError: if it cannot be read.
    """
    try:
        with wal_file.open("rb") as file:
            header = file.read(HEADER.size)
    except FileNotFoundError:
        return None
    if len(header) < HEADER.size:
        return None
    _, _, _, _, salt_1, salt_2, _, _ = HEADER.unpack(header)
    return salt_1, salt_2


def describe_damage(wal_file: Path, synced: Synced | None = None) -> str | None:
    """
    Look for a frame that is damaged although it, or a later transaction, was synced.

    :param synced: what is known to have been.
    :return: what is wrong, to go on "... is damaged:", or ``None`` if SQLite can
        be trusted with the file. A file that is missing is nothing wrong.
    :raises OSError: if it cannot be read.
    """
    try:
        file = wal_file.open("rb")
    except FileNotFoundError:
        return None
    with file:
        return _describe(file, synced)


def _describe(file: BinaryIO, synced: Synced | None) -> str | None:
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        # The header is synced before the first frame is written.
        return None
    magic, version, page_size, _, salt_1, salt_2, *stored = HEADER.unpack(header)
    word_pairs = _WORD_PAIRS.get(magic)
    checksum = stored[0], stored[1]
    if (
        word_pairs is None
        or version != _VERSION
        or page_size not in _PAGE_SIZES
        or _forward((0, 0), header[:24], word_pairs) != checksum
    ):
        if _is_blank(file):
            return None
        return "the header in front of its frames is not valid"
    salts = salt_1, salt_2
    frames = 0
    if synced is not None and synced.salts == salts:
        frames = synced.frames
    return _describe_frames(
        _frames(file, page_size), page_size, salts, checksum, word_pairs, frames
    )


def _frames(file: BinaryIO, page_size: int) -> Iterator[_Frame]:
    number = 0
    while True:
        number += 1
        frame = file.read(FRAME_HEADER.size + page_size)
        if len(frame) < FRAME_HEADER.size:
            return
        _, size, salt_1, salt_2, *checksum = FRAME_HEADER.unpack_from(frame)
        yield _Frame(
            number,
            frame[:8],
            frame[FRAME_HEADER.size :],
            size != 0,
            (salt_1, salt_2),
            (checksum[0], checksum[1]),
        )


def _describe_frames(
    frames: Iterator[_Frame],
    page_size: int,
    salts: _Salts,
    checksum: _Checksum,
    word_pairs: str,
    synced: int,
) -> str | None:
    """
    Follow the checksums to the first bad frame, then see what lies behind it.

    :param synced: so many frames are known to be synced.
    """
    count = 0
    for frame in frames:
        if len(frame.page) < page_size:
            return _describe_missing(count, synced)
        head = _forward(checksum, frame.head, word_pairs)
        is_intact = _forward(head, frame.page, word_pairs) == frame.checksum
        if not is_intact or frame.salts != salts:
            break
        checksum = frame.checksum
        count = frame.number
    else:
        return _describe_missing(count, synced)
    bad = frame.number
    if bad <= synced:
        return f"frame {bad} is not valid, but {synced} frames were synced"
    # Was the bad frame the last one of its transaction? Its header says so, if it
    # belongs to this use of the file: it carries the salts, or else the checksum,
    # which no frame of an earlier use fits. Or it did say so before it was damaged.
    if frame.is_last:
        has_ended = is_intact or frame.salts == salts
    else:
        has_ended = _was_last(frame, checksum, word_pairs)
    for frame in frames:
        if frame.salts != salts:
            continue
        if has_ended:
            return (
                f"frame {bad} is not valid, but frame {frame.number} was written "
                "after its transaction"
            )
        has_ended = frame.is_last
    return None


def _describe_missing(count: int, synced: int) -> str | None:
    if count >= synced:
        return None
    return f"there are {count} frames, but {synced} were synced"


def _forward(checksum: _Checksum, data: bytes, word_pairs: str) -> _Checksum:
    """
    Carry SQLite's checksum on over these bytes, a multiple of 8.
    """
    first, second = checksum
    for left, right in iter_unpack(word_pairs, data):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return first, second


def _was_last(frame: _Frame, before: _Checksum, word_pairs: str) -> bool:
    """
    Whether this frame lost nothing but its mark as a transaction's last one.

    SQLite's checksum can be run backwards: from the one stored in the frame, over
    the page, to what it must have been in front of the page. The difference to the
    one before the frame is the 8 bytes between, as they once were.
    """
    first, second = frame.checksum
    for left, right in reversed(list(iter_unpack(word_pairs, frame.page))):
        second = (second - right - first) & 0xFFFFFFFF
        first = (first - left - second) & 0xFFFFFFFF
    page_number = (first - before[0] - before[1]) & 0xFFFFFFFF
    size = (second - before[1] - first) & 0xFFFFFFFF
    return page_number == unpack(word_pairs, frame.head)[0] and size != 0


def _is_blank(file: BinaryIO) -> bool:
    """
    Whether nothing but zeros follows.
    """
    while block := file.read(1 << 20):
        if block.count(0) != len(block):
            return False
    return True

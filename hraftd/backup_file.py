"""
The byte form of a backup: the pieces of a snapshot, one behind the other.

It begins with a line that says what it is, and one of JSON that tells which state it
holds. Then comes each piece behind its length, an unsigned number of 32 bits,
big-endian; the end is where the header has said it would be, so a backup that breaks
off is noticed, as is one with a byte changed::

    hraftd backup 1
    {"cluster": "...", "index": 42, "term": 3, "size": 1234, "digest": "..."}
    (length  piece) *

What is in the pieces is not looked at here; for the key-value store that is told in
:mod:`hraftd.kv.snapshot`. Size and digest (BLAKE2b of 32 bytes, in hexadecimal) are of
the pieces alone, without their lengths.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from struct import Struct

from attrs import frozen

from hraftd.raft.incoming import DIGEST_BYTES

__all__ = ["BackupDamaged", "BackupHeader", "BackupReader", "frame"]

_FIRST_LINE = b"hraftd backup 1\n"

#: What the line of JSON may have; it is far from that.
_MAX_HEADER_BYTES = 4096

#: Larger than any piece that a state of permitted keys and values gives.
MAX_PIECE_BYTES = 12 << 20

_LENGTH = Struct(">I")


class BackupDamaged(ValueError):
    """
    These bytes are no backup, or not a whole one. The text says why.
    """


@frozen
class BackupHeader:
    """
    Which state a backup holds.
    """

    #: The cluster that it was taken from.
    cluster: str
    #: The last entry that is in it, and that entry's term.
    index: int
    term: int
    #: Bytes of all pieces, and their digest.
    size: int
    digest: bytes

    def encode(self) -> bytes:
        """
        Return what a backup begins with.
        """
        content = {
            "cluster": self.cluster,
            "index": self.index,
            "term": self.term,
            "size": self.size,
            "digest": self.digest.hex(),
        }
        return _FIRST_LINE + json.dumps(content).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> BackupHeader:
        """
        Return what :meth:`encode` has put into the second line.

        :raises BackupDamaged: if it never puts that there.
        """
        try:
            match json.loads(line):
                case {
                    "cluster": str(cluster),
                    "index": int(index),
                    "term": int(term),
                    "size": int(size),
                    "digest": str(digest),
                } if size > 0 and len(digest) == 2 * DIGEST_BYTES:
                    return cls(cluster, index, term, size, bytes.fromhex(digest))
        except (ValueError, RecursionError):
            pass
        raise BackupDamaged("the header of the backup is damaged")


def frame(piece: bytes) -> bytes:
    """
    Return a piece as it stands in a backup.
    """
    return _LENGTH.pack(len(piece)) + piece


class BackupReader:
    """
    Takes the bytes of a backup as they come, and gives out its pieces.

    :ivar header: what the backup says of itself; ``None`` until that is there.
    """

    def __init__(self) -> None:
        """
        Begin without having seen anything.
        """
        self.header: BackupHeader | None = None
        self._held = bytearray()
        self._size = 0
        self._digest = blake2b(digest_size=DIGEST_BYTES)

    def feed(self, data: bytes) -> list[bytes]:
        """
        Return the pieces that are complete with these bytes.

        The last one comes only if all of them together are what the header says.

        :raises BackupDamaged: as soon as it is certain that this is no whole backup.
        """
        self._held += data
        if self.header is None:
            self.header = self._read_header()
        pieces: list[bytes] = []
        while self.header is not None and (piece := self._read_piece()) is not None:
            self._size += len(piece)
            self._digest.update(piece)
            if self._size >= self.header.size:
                self._check_whole(self.header)
            pieces.append(piece)
        if self.is_complete and self._held:
            raise BackupDamaged("something follows the end of the backup")
        return pieces

    @property
    def is_complete(self) -> bool:
        """
        Whether all pieces were given out.
        """
        return self.header is not None and self._size == self.header.size

    def end(self) -> None:
        """
        Say that no bytes follow.

        :raises BackupDamaged: if some are missing.
        """
        if not self.is_complete:
            raise BackupDamaged("the backup breaks off")

    def _read_header(self) -> BackupHeader | None:
        held = self._held
        begins = held[: len(_FIRST_LINE)]
        if not _FIRST_LINE.startswith(begins):
            raise BackupDamaged("this is no backup of this version of hraftd")
        end = held.find(b"\n", len(_FIRST_LINE))
        if end < 0:
            if len(held) > _MAX_HEADER_BYTES:
                raise BackupDamaged("the header of the backup is damaged")
            return None
        header = BackupHeader.decode(bytes(held[len(_FIRST_LINE) : end]))
        del held[: end + 1]
        return header

    def _read_piece(self) -> bytes | None:
        held = self._held
        if self.is_complete or len(held) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(held)
        if not 0 < length <= MAX_PIECE_BYTES:
            raise BackupDamaged("a piece of the backup has an impossible length")
        end = _LENGTH.size + length
        if len(held) < end:
            return None
        piece = bytes(held[_LENGTH.size : end])
        del held[:end]
        return piece

    def _check_whole(self, header: BackupHeader) -> None:
        if self._size > header.size or self._digest.digest() != header.digest:
            raise BackupDamaged("the backup is damaged: its digest is another one")

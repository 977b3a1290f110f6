"""
The byte form of a backup: whatever is accepted is whole, and what is not is refused.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hraftd.backup_file import (
    MAX_PIECE_BYTES,
    BackupDamaged,
    BackupHeader,
    BackupReader,
    frame,
)


def header_of(*pieces: bytes) -> BackupHeader:
    """
    Return the header of a backup that has these pieces.
    """
    content = b"".join(pieces)
    digest = blake2b(content, digest_size=32).digest()
    return BackupHeader("cluster", 42, 3, len(content), digest)


def backup_of(*pieces: bytes) -> bytes:
    """
    Return a whole backup.
    """
    return header_of(*pieces).encode() + b"".join(map(frame, pieces))


def read(*parts: bytes) -> list[bytes]:
    """
    Return the pieces of a backup that comes in these parts, and then ends.
    """
    reader = BackupReader()
    pieces = [piece for part in parts for piece in reader.feed(part)]
    reader.end()
    return pieces


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_every_way_of_arriving(pieces: list[bytes], cuts: list[int]) -> None:
    """
    However the network cuts a backup, its pieces come out as they went in.
    """
    whole = backup_of(*pieces)
    ends = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    parts = [whole[a:b] for a, b in pairwise(ends)]
    assert read(*parts) == pieces


def test_the_header_comes_through() -> None:
    """
    What a backup says of itself is there before any of its pieces.
    """
    reader = BackupReader()
    header = header_of(b"some", b"pieces")
    assert reader.feed(header.encode()) == []
    assert reader.header == header
    assert not reader.is_complete


def test_each_byte_counts() -> None:
    """
    A backup with any byte changed is refused, or is the same one under another name.
    """
    whole = backup_of(b"some", b"pieces")
    refused = 0
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        try:
            assert read(bytes(changed)) == [b"some", b"pieces"]
        except BackupDamaged:
            refused += 1
    # The name of the cluster, the index and the term are not part of the state.
    assert refused > len(whole) - 60


def test_each_length_counts() -> None:
    """
    A backup that breaks off anywhere is refused, as is one with more behind it.
    """
    whole = backup_of(b"some", b"pieces")
    for length in range(len(whole)):
        with pytest.raises(BackupDamaged):
            read(whole[:length])
    with pytest.raises(BackupDamaged, match="something follows"):
        read(whole + b"x")
    with pytest.raises(BackupDamaged, match="something follows"):
        read(whole, b"x")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"PK\x03\x04", "no backup of this version"),
        (b"hraftd backup 2\n", "no backup of this version"),
        (b"hraftd backup 1\n{}\n", "header of the backup is damaged"),
        (b"hraftd backup 1\n[1, 2\n", "header of the backup is damaged"),
        (b"hraftd backup 1\n" + b"[" * 5000, "header of the backup is damaged"),
        (b"hraftd backup 1\n" + b"[" * 3000 + b"\n", "header of the backup is damaged"),
        (header_of(b"x").encode() + bytes(4), "impossible length"),
        (
            header_of(b"x").encode() + (MAX_PIECE_BYTES + 1).to_bytes(4, "big"),
            "impossible length",
        ),
        (header_of(b"x").encode() + frame(b"xy"), "digest is another one"),
    ],
)
def test_what_is_no_backup(data: bytes, sentence: str) -> None:
    """
    It is refused as soon as that is certain: nothing is waited for, or kept.
    """
    with pytest.raises(BackupDamaged, match=sentence):
        BackupReader().feed(data)

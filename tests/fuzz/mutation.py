"""
Changing bytes at random, and cutting them into pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["mutated", "nonsense", "pieces"]

#: What breaks parsers: ends and signs of numbers, separators, text that is none.
_INTERESTING = (
    *(b"\0", b"\0\0", b"\xff", b"\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"),
    *(b"\xff" * 8, b"\0" * 8, b"-1", b"0", b"9" * 20, b"1e999", b"NaN", b"\r\n"),
    *(b"\n", b"\t", b" ", b'"', b"\\", b"{", b"}", b"[" * 30, b"%", b"%00", b"/"),
    *(b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\\ud800"),
)


def nonsense(rng: Random) -> bytes:
    """
    Return a few bytes, mostly, that mean nothing.
    """
    size = rng.choice((0, 1, 2, 7, 30, 300, 3000))
    if rng.random() < 0.3:
        return rng.choice(_INTERESTING) * (1 + size // 8)
    return rng.randbytes(size)


def mutated(rng: Random, data: bytes) -> bytes:
    """
    Return bytes that differ a little from these.
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.choice((1, 1, 2, 4, 16)))
        match rng.randrange(7):
            case 0 if changed and at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at:at] = rng.choice(_INTERESTING)
            case 2:
                changed[at:end] = rng.choice(_INTERESTING)
            case 3:
                del changed[at:end]
            case 4:
                del changed[at:]
            case 5:
                changed[at:at] = changed[at:end] * rng.choice((1, 2, 50))
            case _:
                changed[at:end] = rng.randbytes(end - at)
    return bytes(changed)


def pieces(rng: Random, data: bytes) -> Iterator[bytes]:
    """
    Cut bytes into pieces of random size: whole, two, many, or one by one.
    """
    size = rng.choice((len(data) or 1, 1 + len(data) // 2, 200, 20, 1))
    # Not thousands of single bytes: that finds no more than hundreds.
    size = max(size, len(data) // 500)
    start = 0
    while start < len(data):
        step = rng.randint(1, size) if size > 1 else 1
        yield data[start : start + step]
        start += step

"""
The fields that commands are written with: text and numbers, each at its position.

Text is UTF-8 behind its length in 32 bits, big-endian. A slice past the end of the
bytes is silently short; so whoever reads a whole command compares the position at its
end with the number of bytes there are.
"""

from __future__ import annotations

from struct import Struct

__all__ = ["COUNT", "read_text", "written_text"]

#: Of 32 bits, unsigned: a length, or how many there are.
COUNT = Struct(">I")


def written_text(text: str) -> bytes:
    """
    Return a text as a field.

    :raises UnicodeEncodeError: if it is no Unicode text (a lone surrogate).
    :raises struct.error: if it is of 4 GiB or more.
    """
    encoded = text.encode()
    return COUNT.pack(len(encoded)) + encoded


def read_text(data: bytes, position: int) -> tuple[str, int]:
    """
    Return the text at that position, and the position behind it.

    :raises UnicodeDecodeError: if it is not UTF-8.
    :raises struct.error: if there is not even a length.
    """
    (length,) = COUNT.unpack_from(data, position)
    start = position + COUNT.size
    end = start + length
    return data[start:end].decode(), end

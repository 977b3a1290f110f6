"""
What the Commands between servers carry, as bytes.

AMP's own argument types take numbers of any size and names of any content. The ones
here are strict, since what they read was written by somebody else: each refuses what no
server of ours writes with a :exc:`ValueError`.
"""

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

__all__ = [
    "MAX_COUNT",
    "MAX_NAME",
    "MAX_PACKED",
    "Count",
    "Flag",
    "Name",
    "PackedEntries",
    "StrictArgument",
]

#: The largest term or index; what SQLite can store.
MAX_COUNT = 2**63 - 1
#: Bytes of the id of a server or cluster.
MAX_NAME = 255
#: Bytes of packed entries in one request. With their keys, and what else there is to
#: an AppendEntries, they are less than :data:`hraftd.peers.boxes.MAX_BOX`.
MAX_PACKED = 31 << 20


class StrictArgument(amp.Argument):
    """
    An argument that reads only what it would write itself.
    """

    def __init__(self, *, optional: bool = False) -> None:
        """
        Describe an argument, which may be left out if it is optional.
        """
        amp.Argument.__init__(self, optional)


class Count(StrictArgument):
    """
    A term, an index or a version: decimal digits, 0 to ``MAX_COUNT``.
    """

    def fromString(self, inString: bytes) -> int:
        """
        Read digits and nothing else: no sign, no space, no underscore.
        """
        # The length first: converting many digits takes long.
        if len(inString) > 19 or not inString.isdigit():
            raise ValueError("a number is not 1 to 19 digits")
        return self._checked(int(inString))

    def toString(self, inObject: int) -> bytes:
        """
        Write digits.
        """
        return b"%d" % self._checked(inObject)

    @staticmethod
    def _checked(count: int) -> int:
        if not 0 <= count <= MAX_COUNT:
            raise ValueError(f"{count} is not between 0 and {MAX_COUNT}")
        return count


class Flag(StrictArgument):
    """
    Yes or no.
    """

    def fromString(self, inString: bytes) -> bool:
        """
        Read ``1`` or ``0``.
        """
        if inString not in (b"0", b"1"):
            raise ValueError("a flag is neither 0 nor 1")
        return inString == b"1"

    def toString(self, inObject: bool) -> bytes:
        """
        Write ``1`` or ``0``.
        """
        return b"1" if inObject else b"0"


class Name(StrictArgument):
    """
    The id of a server or a cluster: printable, 1 to ``MAX_NAME`` bytes of UTF-8.

    It ends up in logs and in sentences, so it must not be able to fake a line.
    """

    def fromString(self, inString: bytes) -> str:
        """
        Read a name.
        """
        return self._checked(inString, inString.decode("utf-8", "replace"))

    def toString(self, inObject: str) -> bytes:
        """
        Write a name.
        """
        encoded = inObject.encode("utf-8")
        self._checked(encoded, inObject)
        return encoded

    @staticmethod
    def _checked(encoded: bytes, name: str) -> str:
        if not 1 <= len(encoded) <= MAX_NAME:
            raise ValueError(f"a name is not 1 to {MAX_NAME} bytes long")
        if not name.isprintable() or "\N{REPLACEMENT CHARACTER}" in name:
            raise ValueError("a name is not printable UTF-8")
        return name


class PackedEntries(StrictArgument):
    """
    Bytes of any length up to ``MAX_PACKED``.

    A value of AMP has at most 65,535 bytes. Longer ones go over several keys of the
    same box: ``name``, ``name.1``, ``name.2`` and so on, all but the last of them full.
    """

    def toBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, Any],
        proto: object,
    ) -> None:
        """
        Cut the bytes into pieces.
        """
        packed: bytes = objects.pop(name.decode("ascii"))
        if len(packed) > MAX_PACKED:
            raise ValueError(
                f"{len(packed)} bytes of entries are more than the {MAX_PACKED} of a "
                f"request"
            )
        strings[name] = packed[: amp.MAX_VALUE_LENGTH]
        starts = range(amp.MAX_VALUE_LENGTH, len(packed), amp.MAX_VALUE_LENGTH)
        for number, start in enumerate(starts, 1):
            piece = packed[start : start + amp.MAX_VALUE_LENGTH]
            strings[b"%b.%d" % (name, number)] = piece

    def fromBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, Any],
        proto: object,
    ) -> None:
        """
        Put the pieces together; there must be neither too few nor too many.
        """
        pieces = [strings.pop(name)]
        while (piece := strings.pop(b"%b.%d" % (name, len(pieces)), None)) is not None:
            if len(pieces[-1]) != amp.MAX_VALUE_LENGTH or not piece:
                raise ValueError("a piece of the entries is shorter than it must be")
            pieces.append(piece)
        if any(key.startswith(name + b".") for key in strings):
            raise ValueError("a piece of the entries is missing")
        objects[name.decode("ascii")] = b"".join(pieces)

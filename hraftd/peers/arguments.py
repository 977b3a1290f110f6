"""
What the Commands between servers carry, as bytes.

AMP's own argument types take numbers of any size and names of any content. The ones
here are strict, since what they read was written by somebody else: each refuses what no
server of ours writes with a :exc:`ValueError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.protocols import amp

from hraftd.addresses import parse_address
from hraftd.peers.schema import StrictArgument
from hraftd.raft.configuration import check_server_id

if TYPE_CHECKING:
    from enum import Enum

__all__ = [
    "DIGEST_BYTES",
    "MAX_COUNT",
    "MAX_NAME",
    "MAX_PACKED",
    "Count",
    "DialledAddress",
    "Digest",
    "Flag",
    "LongBytes",
    "Name",
    "NewServerId",
    "OneOf",
]

#: The largest term or index; what SQLite can store.
MAX_COUNT = 2**63 - 1
#: Bytes of the id of a server or cluster.
MAX_NAME = 255
#: Bytes of packed entries, or of a piece of a snapshot, in one request. With their
#: keys, and what else there is to that request, they are less than
#: :data:`hraftd.peers.boxes.MAX_BOX`.
MAX_PACKED = 31 << 20
#: Bytes of the digest that names a snapshot.
DIGEST_BYTES = 32


class Count(StrictArgument):
    """
    A term, an index or a version: decimal digits, 0 to ``MAX_COUNT``.
    """

    def fromString(self, inString: bytes) -> int:
        """
        Read digits and nothing else: no sign, no space, no underscore, no zero before.
        """
        # The length first: converting many digits takes long.
        if len(inString) > 19 or not inString.isdigit():
            raise ValueError("a number is not 1 to 19 digits")
        if inString.startswith(b"0") and inString != b"0":
            raise ValueError("a number begins with a zero")
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


class OneOf(StrictArgument):
    """
    A member of an enumeration, by its value.
    """

    def __init__(self, choices: type[Enum], *, optional: bool = False) -> None:
        """
        Describe an argument that is one of these, whose values are text.
        """
        StrictArgument.__init__(self, optional=optional)
        self._name = choices.__name__.lower()
        self._choices = {str(choice.value).encode(): choice for choice in choices}

    def fromString(self, inString: bytes) -> Enum:
        """
        Read the value of a member.
        """
        choice = self._choices.get(inString)
        if choice is None:
            raise ValueError(f"no {self._name} that this version knows")
        return choice

    def toString(self, inObject: Enum) -> bytes:
        """
        Write the value of a member.
        """
        return str(inObject.value).encode()


class Digest(StrictArgument):
    """
    The digest of a snapshot: ``DIGEST_BYTES`` bytes.
    """

    def fromString(self, inString: bytes) -> bytes:
        """
        Read a digest.
        """
        if len(inString) != DIGEST_BYTES:
            raise ValueError(f"a digest is not {DIGEST_BYTES} bytes long")
        return inString

    def toString(self, inObject: bytes) -> bytes:
        """
        Write a digest.
        """
        return self.fromString(inObject)


class Name(StrictArgument):
    """
    The id of a server or a cluster: printable, 1 to ``MAX_NAME`` bytes of UTF-8.

    It ends up in logs and in sentences, so it must not be able to fake a line.
    """

    def fromString(self, inString: bytes) -> str:
        """
        Read a name.
        """
        name = inString.decode("utf-8", "replace")
        self._check(inString, name)
        return name

    def toString(self, inObject: str) -> bytes:
        """
        Write a name.
        """
        encoded = inObject.encode("utf-8")
        self._check(encoded, inObject)
        return encoded

    def _check(self, encoded: bytes, name: str) -> None:
        if not 1 <= len(encoded) <= MAX_NAME:
            raise ValueError(f"a name is not 1 to {MAX_NAME} bytes long")
        if not name.isprintable() or "\N{REPLACEMENT CHARACTER}" in name:
            raise ValueError("a name is not printable UTF-8")


class NewServerId(Name):
    """
    The id of a server that is to become a member.
    """

    def _check(self, encoded: bytes, name: str) -> None:
        check_server_id(name)


class DialledAddress(Name):
    """
    ``host:port``, as others dial it; empty where it is not known and may be so.
    """

    def __init__(self, *, may_be_empty: bool = False) -> None:
        """
        Describe an address.
        """
        Name.__init__(self)
        self._may_be_empty = may_be_empty

    def _check(self, encoded: bytes, name: str) -> None:
        if name or not self._may_be_empty:
            parse_address(name)


class LongBytes(StrictArgument):
    """
    Bytes of any length up to a limit.

    A value of AMP has at most 65,535 bytes. Longer ones go over several keys of the
    same box: ``name``, ``name.1``, ``name.2`` and so on, all but the last of them full.
    """

    def __init__(self, limit: int = MAX_PACKED, *, optional: bool = False) -> None:
        """
        Describe an argument of no more than that many bytes.
        """
        StrictArgument.__init__(self, optional=optional)
        self._limit = limit

    def toBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, Any],
        proto: object,
    ) -> None:
        """
        Cut the bytes into parts.
        """
        whole: bytes = objects.pop(name.decode("ascii"))
        self._check(name, len(whole))
        strings[name] = whole[: amp.MAX_VALUE_LENGTH]
        starts = range(amp.MAX_VALUE_LENGTH, len(whole), amp.MAX_VALUE_LENGTH)
        for number, start in enumerate(starts, 1):
            part = whole[start : start + amp.MAX_VALUE_LENGTH]
            strings[b"%b.%d" % (name, number)] = part

    def fromBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, Any],
        proto: object,
    ) -> None:
        """
        Put the parts together; there must be neither too few nor too many.
        """
        parts = [strings.pop(name)]
        while (part := strings.pop(b"%b.%d" % (name, len(parts)), None)) is not None:
            if len(parts[-1]) != amp.MAX_VALUE_LENGTH or not part:
                raise ValueError(f"a part of {name.decode()} is too short")
            parts.append(part)
        if any(key.startswith(name + b".") for key in strings):
            raise ValueError(f"a part of {name.decode()} is missing")
        self._check(name, sum(map(len, parts)))
        objects[name.decode("ascii")] = b"".join(parts)

    def _check(self, name: bytes, size: int) -> None:
        if size > self._limit:
            raise ValueError(
                f"{size} bytes of {name.decode()} are more than the {self._limit} of "
                f"a request"
            )

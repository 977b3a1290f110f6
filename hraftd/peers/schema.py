"""
AMP's Commands and boxes, on a shorter way than Twisted's.

On the wire is what Twisted would write, byte for byte, and read. But a leader writes an
AppendEntries for each follower several times for each batch of entries, and under a
hundred of its microseconds most went into names: into what each would be called in
Python, whether it is one of the Command's, and back again. The names here are the same
in both places, and each is looked at once.

What the values of arguments look like is told in :mod:`hraftd.peers.arguments`.
"""

from __future__ import annotations

from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from twisted.protocols import amp

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Box", "PeerCommand", "StrictArgument"]

_write_length = Struct(">H").pack


class Box(amp.AmpBox):
    """
    A box that is to be sent.
    """

    __slots__: list[str] = []

    def __init__(self, content: Mapping[bytes, bytes] = MappingProxyType({})) -> None:
        """
        Put these keys and values in.
        """
        dict.__init__(self, content)

    def serialize(self) -> bytes:
        """
        Return its bytes.

        :raises twisted.protocols.amp.TooLong: if a key or value is.
        """
        parts: list[bytes] = []
        for key in sorted(self):
            value = self[key]
            if len(key) > amp.MAX_KEY_LENGTH:
                raise amp.TooLong(True, True, key, None)
            if len(value) > amp.MAX_VALUE_LENGTH:
                raise amp.TooLong(False, True, value, key)
            parts += (_write_length(len(key)), key, _write_length(len(value)), value)
        parts.append(b"\0\0")
        return b"".join(parts)


class PeerCommand(amp.Command):
    """
    A Command whose arguments are :class:`StrictArgument`, all of them.
    """

    commandType = Box
    responseType = Box

    def __init__(self, **arguments: Any) -> None:
        """
        Take the arguments; :meth:`makeArguments` looks whether they are right.
        """
        self.structured = arguments

    @classmethod
    def makeArguments(cls, objects: dict[str, Any], proto: object) -> amp.AmpBox:
        """
        Write the arguments.

        :raises twisted.protocols.amp.InvalidSignature: if there is one too many, or
            too few.
        """
        arguments = cast("list[tuple[bytes, StrictArgument]]", cls.arguments)
        left = objects.copy()
        box = Box()
        try:
            for name, argument in arguments:
                argument.toBox(name, box, left, proto)
        except KeyError as error:
            raise amp.InvalidSignature(f"{cls.__name__} lacks {error}") from error
        if left:
            raise amp.InvalidSignature(f"{cls.__name__} takes no {', '.join(left)}")
        return box


class StrictArgument(amp.Argument):
    """
    An argument that reads only what it would write itself.
    """

    def __init__(self, *, optional: bool = False) -> None:
        """
        Describe an argument, which may be left out if it is optional.
        """
        amp.Argument.__init__(self, optional)

    def toString(self, inObject: Any) -> bytes:
        """
        Return the bytes of a value.

        :raises ValueError: if it has none.
        """
        raise NotImplementedError

    def fromString(self, inString: bytes) -> Any:
        """
        Return the value of these bytes.

        :raises ValueError: if they are none of a value.
        """
        raise NotImplementedError

    def toBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, Any],
        proto: object,
    ) -> None:
        """
        Write it, and take it out of the objects.

        :raises KeyError: if it is not there, and may not be left out.
        """
        identifier = name.decode("ascii")
        if not self.optional:
            strings[name] = self.toString(objects.pop(identifier))
        elif (value := objects.pop(identifier, None)) is not None:
            strings[name] = self.toString(value)

    def fromBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, Any],
        proto: object,
    ) -> None:
        """
        Read it, and take it out of the box.

        :raises KeyError: if it is not there, and may not be left out.
        """
        identifier = name.decode("ascii")
        if not self.optional:
            objects[identifier] = self.fromString(strings.pop(name))
        else:
            value = strings.pop(name, None)
            objects[identifier] = None if value is None else self.fromString(value)

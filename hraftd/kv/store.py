"""
The key-value store that the cluster agrees on.

A dictionary in memory, changed only by committed commands. What a command is, and
its bytes, is in :mod:`hraftd.kv.commands`.
"""

from __future__ import annotations

from typing import assert_never

from attrs import frozen
from zope.interface import implementer

from hraftd.interfaces import IStateMachine
from hraftd.kv.commands import Delete, Set, decode_command

__all__ = ["KeyValueStore", "Versioned"]


@frozen
class Versioned:
    """
    A value and when it was set.
    """

    value: str
    #: The log index of the last change.
    index: int


@implementer(IStateMachine)
class KeyValueStore:
    """
    Keys and their values, both text.
    """

    def __init__(self) -> None:
        """
        Begin empty.
        """
        self._values: dict[str, Versioned] = {}

    def __len__(self) -> int:
        """
        Return the number of keys.
        """
        return len(self._values)

    def get(self, key: str) -> Versioned | None:
        """
        Return what the key holds, or ``None``.
        """
        return self._values.get(key)

    def apply(self, index: int, command: bytes) -> object:
        """
        Carry out an encoded command.

        :return: ``None`` for :class:`~hraftd.kv.commands.Set`; for
            :class:`~hraftd.kv.commands.Delete`, whether the key was there.
        :raises CodecError: if this is no command that this version knows.
        """
        match decode_command(command):
            case Set(pairs):
                for key, value in pairs:
                    self._values[key] = Versioned(value, index)
                return None
            case Delete(key):
                return self._values.pop(key, None) is not None
            case other:
                assert_never(other)

"""
Keys that expire, in a simulated world: that none of them does before its time.

Only leaders tell the time, and a world knows at which moment each of them did so. So a
key has lived from the moment when the write that has set it got its time, to the one
when the entry was proposed that removes it; that must not be less than was asked for.
Which entry that is, and whether it does remove the key, says the log alone, see
:mod:`hraftd.simulator.histories`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from hraftd.kv.commands import Stamped, decode_command
from hraftd.raft.invariants import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from hraftd.simulator.clock import Process, World

__all__ = ["Expired", "Lifetimes", "Stamps"]

#: Milliseconds. The longest is less than it takes a cluster to come back.
_LIFETIMES = (50, 300, 1000)


@define(eq=False)
class Lifetimes:
    """
    Which keys clients let expire, and when.
    """

    #: With this and nothing else: a world without any is what it would be.
    rng: Random
    #: Of the keys, these; in some worlds none.
    keys: frozenset[str]

    @classmethod
    def chosen(cls, rng: Random, keys: Sequence[str]) -> Lifetimes:
        """
        Choose some of the keys in a third of all worlds.
        """
        if rng.random() >= 1 / 3:
            return cls(rng, frozenset())
        return cls(rng, frozenset(key for key in keys if rng.random() < 0.7))

    def of(self, key: str) -> int | None:
        """
        Return for how long a write of a key is to set it; ``None`` for ever.
        """
        if key not in self.keys or self.rng.random() < 0.3:
            return None
        return self.rng.choice(_LIFETIMES)


@frozen
class Expired:
    """
    A key that was removed because it was due.
    """

    key: str
    #: The command that had set it, as it is in the log, and for how many milliseconds.
    setting: bytes
    ttl: int
    #: The command that has removed it.
    removing: bytes


@define(eq=False)
class Stamps:
    """
    When which command got its time.
    """

    world: World
    #: How many keys have expired, as far as was checked.
    expired: int = 0
    #: By command as it is in logs: when it did first, and when it did last.
    _first: dict[bytes, float] = field(factory=dict)
    _last: dict[bytes, float] = field(factory=dict)
    #: How fast the clocks went of those that tell the time.
    _rates: set[float] = field(factory=set)

    def watch(
        self, process: Process, stamp: Callable[[bytes], bytes]
    ) -> Callable[[bytes], bytes]:
        """
        Return what does the same and is looked at.
        """
        self._rates.add(process.rate)

        def watched(command: bytes) -> bytes:
            stamped = stamp(command)
            if isinstance(decode_command(stamped), Stamped):
                self._first.setdefault(stamped, self.world.now)
                self._last[stamped] = self.world.now
            return stamped

        return watched

    def check(self, expired: Sequence[Expired]) -> None:
        """
        Make sure that these have lived for their time.

        Where one clock goes faster than another one there is no sharp limit.

        :raises InvariantViolated: if one has not.
        """
        self.expired = len(expired)
        if len(self._rates) > 1:
            return
        [rate] = self._rates
        for one in expired:
            lived = self._last[one.removing] - self._first[one.setting]
            # The time is told in whole milliseconds.
            require(
                lived * rate * 1000 > one.ttl - 1,
                f"{one.key} was set for {one.ttl} ms, and lived for {lived:.4f} s",
            )

"""
What clients have seen, compared with what was committed.

The log is the order in which everything happened, and a simulation knows all of it. So
whether a history is linearizable need not be searched for: an answer names the index of
its entry, or of the last change that a read saw, and it is enough that what was asked
for after an answer came is not older than that answer. What a command does is told here
once more, in a few lines, and not taken from the store that is to be checked.

:func:`check_history` also holds clients' other promises against the log: what was
acknowledged is there; what was declined is not; and nothing was done twice.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, field

from hraftd.kv.commands import (
    STAMP_BYTES,
    Delete,
    Get,
    Once,
    Restore,
    Set,
    Stamped,
    Transaction,
    decode_command,
    encode_command,
)
from hraftd.kv.conditions import Absent, HasValue
from hraftd.kv.records import Versioned
from hraftd.kv.results import Ran
from hraftd.kv.store import EXPIRED_AT_ONCE
from hraftd.outcomes import Applied, Misdirected, Read, Redirected, Unavailable
from hraftd.raft.invariants import require
from hraftd.reads import ReadLevel
from hraftd.simulator.lifetimes import Expired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hraftd.kv.commands import Command, Write
    from hraftd.kv.conditions import Condition
    from hraftd.outcomes import ReadOutcome, WriteOutcome
    from hraftd.raft.messages import Entry
    from hraftd.simulator.lifetimes import Stamps

__all__ = ["FRESH", "Operation", "check_history"]

#: The levels of reads that must be linearizable.
FRESH = (ReadLevel.LINEARIZABLE, ReadLevel.STRONG)

#: By key: when it changed and to what, from the beginning on.
_Changes: TypeAlias = "dict[str, tuple[list[int], list[str | None]]]"


@define(eq=False)
class Operation:
    """
    One thing that a client wanted, and what it was told.
    """

    #: Who wanted it; one thing at a time.
    client: str
    key: str
    #: A command, or at which level the key is to be read.
    wish: Write | ReadLevel
    #: When it was asked for: seconds, and the position among all such moments.
    invoked: float
    invoked_as: int
    #: When the answer came; ``None`` if it did not.
    returned: float | None = None
    returned_as: int | None = None
    outcome: WriteOutcome | ReadOutcome | None = None
    #: Which server it was asked of, and when that looked at it, if it did.
    server: str = ""
    arrived: float | None = None
    #: With what a write was sent so that it could be sent again.
    token: str | None = None
    #: Whether it was not told once what became of it, and cannot be declined any more.
    is_unsure: bool = False

    def __str__(self) -> str:
        """
        Return it as a sentence of an error names it.
        """
        wish = repr(self.wish)
        return (
            f"what {self.client} wanted at {self.invoked:.4f} s of {self.key}, "
            f"{wish if len(wish) < 99 else wish[:99] + '...'}, {self.outcome!r:.120}"
        )

    @property
    def command(self) -> Command | None:
        """
        What was to be committed; ``None`` if this is a read.
        """
        if isinstance(self.wish, ReadLevel):
            return None
        return self.wish if self.token is None else Once(self.token, self.wish)

    @property
    def is_fresh_read(self) -> bool:
        """
        Whether it is a read that must be linearizable.
        """
        return isinstance(self.wish, ReadLevel) and self.wish in FRESH


@define
class _Order:
    """
    What the log says of the keys.
    """

    committed: Mapping[int, Entry]
    changes: _Changes = field(factory=dict)
    #: How often which command was committed.
    times: dict[bytes, int] = field(factory=dict)
    #: What is answered to the command at each index.
    results: dict[int, object] = field(factory=dict)
    #: The first entry with each token.
    tokens: dict[str, int] = field(factory=dict)
    #: What time it is for the cluster, and when which key is due by that.
    clock: int = 0
    deadlines: dict[str, int] = field(factory=dict)
    #: By key that is to expire: what has set it, and for how long.
    given: dict[str, tuple[bytes, int]] = field(factory=dict)
    expired: list[Expired] = field(factory=list)
    #: The command of the entry that is being read.
    payload: bytes = b""

    def read_log(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.changes[key] = ([0], [None])
        for index in sorted(self.committed):
            payload = self.committed[index].payload
            if not isinstance(payload, bytes):
                continue
            command = decode_command(payload)
            self.payload = payload
            if isinstance(command, Stamped):
                self.clock = max(self.clock, command.now)
                if command.command is None:
                    self._expire(index)
                    continue
                command = command.command
                payload = payload[STAMP_BYTES:]
            self.times[payload] = self.times.get(payload, 0) + 1
            if isinstance(command, Once):
                if self.tokens.setdefault(command.token, index) != index:
                    # Done before, so it does nothing.
                    continue
                command = command.command
            # Nobody restores a backup here.
            assert not isinstance(command, Restore)
            self.results[index] = self._carry_out(index, command)

    def _carry_out(self, index: int, command: Write | Get) -> object:
        match command:
            case Set(pairs, ttl):
                for key, value in pairs:
                    self._changed(key, index, value)
                    if ttl is not None:
                        self.deadlines[key] = self.clock + ttl
                        self.given[key] = self.payload, ttl
                return None
            case Delete(key):
                was_there = self._latest(key) is not None
                self._changed(key, index, None)
                return was_there
            case Get(key):
                return self._latest(key)
            case Transaction(conditions, then, otherwise):
                holds = all(map(self._holds, conditions))
                results = [
                    self._carry_out(index, one)
                    for one in (then if holds else otherwise)
                ]
                return Ran(holds, tuple(results))  # type: ignore[arg-type]

    def _latest(self, key: str) -> Versioned | None:
        indexes, values = self.changes[key]
        return None if values[-1] is None else Versioned(values[-1], indexes[-1])

    def _holds(self, condition: Condition) -> bool:
        found = self._latest(condition.key)
        match condition:
            case Absent():
                return found is None
            case HasValue(value=value):
                return found is not None and found.value == value
            case _:
                raise TypeError(f"no client makes such a condition: {condition}")

    def _changed(self, key: str, index: int, value: str | None) -> None:
        indexes, values = self.changes[key]
        indexes.append(index)
        values.append(value)
        self.deadlines.pop(key, None)

    def _expire(self, index: int) -> None:
        due = [
            key for key, deadline in self.deadlines.items() if deadline <= self.clock
        ]
        require(
            len(due) <= EXPIRED_AT_ONCE, lambda: f"entry {index} cannot expire all keys"
        )
        for key in due:
            self.expired.append(Expired(key, *self.given[key], self.payload))
            self._changed(key, index, None)

    def seen_by(self, operation: Operation, since: int) -> int:
        """
        Return the first index at which a read's result was true, not before a moment.

        :param since: the index that it must not be older than.
        """
        assert isinstance(operation.outcome, Read)
        found = operation.outcome.found
        indexes, values = self.changes[operation.key]
        if found is not None:
            position = bisect_right(indexes, found.index) - 1
            require(
                (indexes[position], values[position]) == (found.index, found.value),
                lambda: f"{operation} has read what was never written",
            )
            first = position
        else:
            first = 0
        for position in range(first, len(indexes)):
            is_last = position == len(indexes) - 1
            if (is_last or indexes[position + 1] > since) and (
                position == first if found is not None else values[position] is None
            ):
                return max(since, indexes[position])
        require(
            not operation.is_fresh_read,
            lambda: f"{operation} is older than entry {since}, which was known before",
        )
        return since


def check_history(
    operations: Sequence[Operation],
    committed: Mapping[int, Entry],
    keys: Sequence[str],
    stamps: Stamps | None = None,
) -> None:
    """
    Hold what clients were told against the log.

    :param committed: everything that was ever committed, by index.
    :param stamps: if keys expire: when which command got its time.
    :raises InvariantViolated: if they were told what is not so.
    """
    order = _Order(committed)
    order.read_log(keys)
    if stamps is not None:
        stamps.check(order.expired)
    moments: list[tuple[int, bool, Operation]] = []
    for operation in operations:
        moments.append((operation.invoked_as, False, operation))
        if operation.returned_as is not None:
            moments.append((operation.returned_as, True, operation))
        if operation.command is not None:
            _check_write(operation, operation.command, order)
    moments.sort(key=lambda moment: moment[0])
    #: The last index that somebody knows to be committed, and what it was before each.
    known = 0
    known_before: dict[Operation, int] = {}
    for _, is_return, operation in moments:
        match operation.outcome:
            case _ if not is_return:
                known_before[operation] = known
            case Applied(index=index):
                _check_is_later(operation, index, known_before[operation])
                known = max(known, index)
            case Read():
                seen = order.seen_by(operation, known_before[operation])
                if operation.is_fresh_read:
                    known = max(known, seen)


def _check_is_later(operation: Operation, index: int, known: int) -> None:
    require(
        index > known,
        lambda: (
            f"{operation} comes before entry {known}, which was known when it began"
        ),
    )


def _without_time(payload: object) -> object:
    """
    Return a command as a client has sent it.
    """
    if isinstance(payload, bytes) and payload[:1] == b"C":
        return payload[STAMP_BYTES:]
    return payload


def _check_write(operation: Operation, command: Command, order: _Order) -> None:
    encoded = encode_command(command)
    times = order.times.get(encoded, 0)
    is_unique = not isinstance(command, Delete)
    require(
        times <= 1 or isinstance(command, Delete | Once),
        lambda: f"{operation} was done {times} times",
    )
    match operation.outcome:
        case Applied(index=index, result=result):
            entry = order.committed.get(index)
            require(
                entry is not None and _without_time(entry.payload) == encoded,
                lambda: f"{operation} is acknowledged, and is not in the log",
            )
            require(
                index in order.results,
                lambda: (
                    f"{operation} is acknowledged where it was not done: the token "
                    "has come before"
                ),
            )
            require(
                result == order.results[index],
                lambda: (
                    f"{operation} was answered with the wrong result, and should "
                    f"have been with {order.results[index]}"
                ),
            )
        case Unavailable() | Misdirected() | Redirected():
            require(
                not times or not is_unique,
                lambda: f"{operation} was declined, and is in the log",
            )

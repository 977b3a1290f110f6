"""
What a transaction does, worked out before anything is changed.

All of it is done at one index, so nothing comes between its conditions and its
operations. An operation sees what those before it have done. What comes out are the
changes, for :mod:`hraftd.kv.store` to make, and the result; if that grows too large
there are no changes, so that a transaction is carried out as a whole or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never

from hraftd.kv.commands import Delete, Get, Set
from hraftd.kv.conditions import holds
from hraftd.kv.records import record_of, versioned
from hraftd.kv.results import MAX_RESULT_BYTES, Ran, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hraftd.kv.commands import Transaction
    from hraftd.kv.results import OperationResult

__all__ = ["Changes", "run"]

#: By key: the record that it is to hold and for how many milliseconds, ``None`` for
#: ever; or ``None`` alone if it is to go.
Changes: TypeAlias = "Mapping[str, tuple[bytes, int | None] | None]"


def run(
    transaction: Transaction, index: int, look_up: Callable[[str], bytes | None]
) -> tuple[Ran | TooLarge, Changes]:
    """
    Return what a transaction comes to, and what is to be changed.

    :param index: of its entry.
    :param look_up: tells the record of a key as it is now.
    """
    succeeded = all(
        holds(condition, look_up(condition.key)) for condition in transaction.conditions
    )
    changes: dict[str, tuple[bytes, int | None] | None] = {}
    results: list[OperationResult] = []
    size = 0

    def now(key: str) -> bytes | None:
        if key not in changes:
            return look_up(key)
        change = changes[key]
        return None if change is None else change[0]

    for operation in transaction.then if succeeded else transaction.otherwise:
        match operation:
            case Set(pairs, ttl):
                for key, value in pairs:
                    changes[key] = record_of(index, value), ttl
                results.append(None)
            case Delete(key):
                results.append(now(key) is not None)
                changes[key] = None
            case Get(key):
                record = now(key)
                if record is None:
                    results.append(None)
                    continue
                size += len(record)
                if size > MAX_RESULT_BYTES:
                    return TooLarge(MAX_RESULT_BYTES), {}
                results.append(versioned(record))
            case _:
                assert_never(operation)
    return Ran(succeeded, tuple(results)), changes

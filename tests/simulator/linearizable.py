"""
Simulated histories in the terms of :mod:`tests.linearizability`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd import outcomes
from hraftd.kv.commands import Delete, Set, Transaction, needs_time
from hraftd.kv.conditions import Absent, HasValue
from hraftd.kv.results import Ran
from hraftd.reads import ReadLevel
from tests import linearizability as single

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.simulator.histories import Operation


def must_be_linearizable(operations: Sequence[Operation]) -> None:
    """
    Fail unless writes, and the reads that promise it, are as those of a single copy.

    Not of keys that expire: who removes those is no client.
    """
    expiring = {operation.key for operation in operations if _expires(operation)}
    violation = single.check(
        translated(operation)
        for operation in operations
        if operation.key not in expiring
        and (operation.is_fresh_read or not isinstance(operation.wish, ReadLevel))
    )
    assert violation is None, str(violation)


def _expires(operation: Operation) -> bool:
    return not isinstance(operation.wish, ReadLevel) and needs_time(operation.wish)


def translated(operation: Operation) -> single.Operation:
    """
    Return the same operation; moments are positions among all moments.
    """
    outcome, index = _outcome(operation)
    is_answered = isinstance(outcome, single.Ok | single.Failed)
    return single.Operation(
        operation.client,
        operation.key,
        _action(operation),
        outcome,
        operation.invoked_as,
        (operation.returned_as if is_answered else None) or float("inf"),
        index=index,
    )


def _action(operation: Operation) -> single.Action:
    match operation.wish:
        case Set(pairs=((_, value),)):
            return single.Write(value)
        case Delete():
            return single.Delete()
        case Transaction((HasValue(value=expected),), (Set(((_, value),)),)):
            return single.CompareAndSet(expected, value)
        case Transaction((Absent(),), (Set(((_, value),)),)):
            return single.CompareAndSet(None, value)
        case _:
            return single.Read()


def _outcome(operation: Operation) -> tuple[single.Outcome, int | None]:
    match operation.outcome:
        case outcomes.Applied(index=index, result=Ran(succeeded=succeeded)):
            return single.Ok(succeeded), index
        case outcomes.Applied(index=index, result=result):
            return single.Ok(result), index
        case outcomes.Read(found=None):
            return single.Ok(None), None
        case outcomes.Read(found=found):
            assert found is not None
            return single.Ok(found.value), found.index
        case outcomes.Unavailable() | outcomes.Misdirected() | outcomes.Redirected():
            return single.Failed(), None
        case outcomes.Unknown() | None:
            return single.Unknown(), None
        case outcome:
            raise TypeError(f"no client of a simulation should be told {outcome}")

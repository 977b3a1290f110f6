"""
Transactions as they are asked for and answered: ``POST /txn``.

The body has lists of small objects; an operation has its key under its own name::

    {"if":   [{"key": "a", "value": "1"}, {"key": "b", "exists": false},
              {"key": "c", "index": 42}],
     "then": [{"set": "a", "value": "2"}, {"delete": "b"}, {"get": "c"},
              {"set": "d", "value": "3", "ttl": 0.5}],
     "else": [{"get": "a"}]}

It is read as strictly as everything else, see :mod:`hraftd.web.asked`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from hraftd.kv.commands import Delete, Get, Set, Transaction
from hraftd.kv.conditions import Absent, ChangedAt, Exists, HasValue
from hraftd.kv.records import Versioned
from hraftd.web.answers import Refusal
from hraftd.web.asked import check_key, milliseconds, shown, size_of
from hraftd.web.bodies import Fractional, Object, check_value, document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.kv.commands import Operation
    from hraftd.kv.conditions import Condition
    from hraftd.kv.results import Ran
    from hraftd.limits import Limits

__all__ = ["ran", "transaction"]

_LARGEST_INDEX = 2**63 - 1


def transaction(body: bytes, limits: Limits) -> Transaction:
    """
    Return the transaction that a body asks for.

    :raises Refusal: if it asks for none, or for anything else as well.
    """
    lists: dict[str, list[Any]] = {"if": [], "then": [], "else": []}
    named = _members(document(body), "a transaction")
    for name, value in named.items():
        if name not in lists:
            raise Refusal(
                400, f"a transaction takes if, then, else, but no {shown(name)}"
            )
        if not isinstance(value, list) or isinstance(value, Object):
            raise Refusal(400, f"{name!r} of a transaction is not a list")
        lists[name] = value
    if "then" not in named:
        raise Refusal(400, "a transaction needs 'then'")
    count = sum(map(len, lists.values()))
    if count > limits.max_pairs:
        raise Refusal(
            413,
            f"a transaction has {limits.max_pairs} conditions and operations at most, "
            f"not {count}",
        )
    conditions = tuple(_condition(one, limits) for one in lists["if"])
    then = _operations("then", lists["then"], limits)
    otherwise = _operations("else", lists["else"], limits)
    if not then and not otherwise:
        raise Refusal(400, "the transaction has nothing to do")
    return Transaction(conditions, then, otherwise)


def _members(value: object, what: str) -> dict[str, object]:
    """
    Return the members of an object.

    :raises Refusal: if it is none, or names one of them twice.
    """
    if not isinstance(value, Object):
        raise Refusal(400, f"{what} is not an object")
    members: dict[str, object] = {}
    for name, member in value:
        size_of(name, "a name in the body")
        if name in members:
            raise Refusal(400, f"{what} names {shown(name)} twice")
        members[name] = member
    return members


def _condition(value: object, limits: Limits) -> Condition:
    members = _members(value, "a condition")
    match members:
        case {"key": str(key), "exists": bool(exists), **others} if not others:
            check_key(key, limits)
            return Exists(key) if exists else Absent(key)
        case {"key": str(key), "value": str(wanted), **others} if not others:
            check_key(key, limits)
            check_value(key, wanted, limits)
            return HasValue(key, wanted)
        case {"key": str(key), "index": int(index), **others} if (
            not others and not isinstance(index, bool)
        ):
            check_key(key, limits)
            if not 1 <= index <= _LARGEST_INDEX:
                raise Refusal(400, f"a key never has the index {index}")
            return ChangedAt(key, (index,))
        case _:
            raise Refusal(
                400,
                "a condition is a key with one of exists (true or false), value (a "
                f"string) and index (a number), not {_said(members)}",
            )


def _operations(
    name: str, values: Sequence[object], limits: Limits
) -> tuple[Operation, ...]:
    """
    Return one of the two lists of operations.
    """
    operations: list[Operation] = []
    changed: set[str] = set()
    for value in values:
        members = _members(value, "an operation")
        match members:
            case {"set": str(key), "value": str(text), **others} if (
                not others.keys() - {"ttl"}
            ):
                check_value(key, text, limits)
                ttl = _lifetime(others["ttl"]) if others else None
                operations.append(Set(((key, text),), ttl))
            case {"delete": str(key), **others} if not others:
                operations.append(Delete(key))
            case {"get": str(key), **others} if not others:
                operations.append(Get(key))
            case _:
                raise Refusal(
                    400,
                    "an operation is set with a value (both strings) and perhaps a "
                    f"ttl (a number), delete or get, not {_said(members)}",
                )
        check_key(key, limits)
        if "get" not in members:
            if key in changed:
                raise Refusal(400, f"{name!r} changes {shown(key)} twice")
            changed.add(key)
    return tuple(operations)


def _lifetime(value: object) -> int:
    """
    Return for how many milliseconds a key is to live.

    :raises Refusal: if that is no number, or there is no such lifetime.
    """
    match value:
        case Fractional(written):
            return milliseconds(written)
        case int() if not isinstance(value, bool):
            return milliseconds(str(value))
        case _:
            raise Refusal(400, "the ttl of a key is not a number of seconds")


def _said(members: dict[str, object]) -> str:
    """
    Name what an object has, for an error.
    """
    return ", ".join(map(shown, [*members][:5])) or "nothing"


def ran(command: Transaction, index: int, outcome: Ran) -> dict[str, object]:
    """
    Return what is answered: which branch ran, and of each operation what it did.
    """
    operations = command.then if outcome.succeeded else command.otherwise
    results: list[dict[str, object]] = []
    for operation, result in zip(operations, outcome.results, strict=True):
        match operation:
            case Set(pairs):
                results += [{"set": key, "index": index} for key, _ in pairs]
            case Delete(key):
                results.append({"delete": key, "deleted": result})
            case Get(key):
                found = result if isinstance(result, Versioned) else None
                results.append({"get": key, **value_and_index(found)})
            case _:
                assert_never(operation)
    branch = "then" if outcome.succeeded else "else"
    return {"index": index, "ran": branch, "results": results}


def value_and_index(found: Versioned | None) -> dict[str, object]:
    """
    Say what a key holds; nulls if there is no such key.
    """
    if found is None:
        return {"value": None, "index": None}
    return {"value": found.value, "index": found.index}

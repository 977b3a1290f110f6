"""
Transactions: conditions, operations, and what came of them.

The words of ``POST /txn``, see docs/http-api.rst, as Python has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from attrs import frozen

from hraftd.client.answers import (
    Found,
    NotUnderstood,
    found_or_none,
    index_in,
    objects,
    text,
    truth,
)
from hraftd.client.asking import checked_ttl, in_json, utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hraftd.client.answers import Reply

__all__ = [
    "Absent",
    "ChangedAt",
    "Condition",
    "Delete",
    "Exists",
    "Get",
    "HasValue",
    "Operation",
    "Ran",
    "Set",
    "as_body",
    "ran",
]


@frozen
class Exists:
    """
    There is such a key.
    """

    key: str


@frozen
class Absent:
    """
    There is no such key.
    """

    key: str


@frozen
class HasValue:
    """
    The key holds this.
    """

    key: str
    value: str


@frozen
class ChangedAt:
    """
    The key was last changed by this entry: nobody has changed it since.
    """

    key: str
    index: int


@frozen
class Set:
    """
    Let a key hold this, for so many seconds if they are given.
    """

    key: str
    value: str
    ttl: float | None = None


@frozen
class Delete:
    """
    Remove a key.
    """

    key: str


@frozen
class Get:
    """
    Read a key, as it is at that point of the transaction.
    """

    key: str


Condition: TypeAlias = Exists | Absent | HasValue | ChangedAt
Operation: TypeAlias = Set | Delete | Get


@frozen
class Ran:
    """
    A transaction that was done.
    """

    index: int
    #: Whether all conditions held, so that the operations of ``then`` were done.
    succeeded: bool
    #: What came of each operation, in their order: of a Set the index, of a Delete
    #: whether the key was there, of a Get what it holds, or ``None``.
    results: tuple[int | bool | Found | None, ...]


def as_body(
    conditions: Iterable[Condition],
    then: Iterable[Operation],
    otherwise: Iterable[Operation],
) -> bytes:
    """
    Write a transaction as the body of its request.

    :raises TypeError: if something in it is no condition, operation or string.
    :raises ValueError: for a time to live that is none.
    """
    return in_json(
        {
            "if": [_condition(one) for one in conditions],
            "then": [_operation(one) for one in then],
            "else": [_operation(one) for one in otherwise],
        }
    )


def _condition(condition: Condition) -> dict[str, object]:
    match condition:
        case Exists(key):
            wanted: dict[str, object] = {"exists": True}
        case Absent(key):
            wanted = {"exists": False}
        case HasValue(key, value):
            utf8(value, "a value")
            wanted = {"value": value}
        case ChangedAt(key, index):
            wanted = {"index": index}
        case _:
            raise TypeError(f"{condition!r} is no condition")
    utf8(key, "a key")
    return {"key": key, **wanted}


def _operation(operation: Operation) -> dict[str, object]:
    match operation:
        case Set(key, value, ttl):
            utf8(value, "a value")
            written: dict[str, object] = {"set": key, "value": value}
            if ttl is not None:
                written["ttl"] = checked_ttl(ttl)
        case Delete(key):
            written = {"delete": key}
        case Get(key):
            written = {"get": key}
        case _:
            raise TypeError(f"{operation!r} is no operation")
    utf8(key, "a key")
    return written


def ran(reply: Reply, then: Sequence[Operation], otherwise: Sequence[Operation]) -> Ran:
    """
    Read the answer to a transaction.
    """
    branch = text(reply.content, "ran")
    if branch not in ("then", "else"):
        raise NotUnderstood("'ran' in the answer is no branch")
    succeeded = branch == "then"
    operations = then if succeeded else otherwise
    answers = objects(reply.content, "results")
    if len(answers) != len(operations):
        raise NotUnderstood("the answer is to another transaction")
    results = tuple(map(_result, operations, answers))
    return Ran(index_in(reply.content), succeeded, results)


def _result(operation: Operation, answer: Any) -> int | bool | Found | None:
    match operation:
        case Set():
            return index_in(answer)
        case Delete():
            return truth(answer, "deleted")
        case Get():
            return found_or_none(answer)
        case _:
            assert_never(operation)

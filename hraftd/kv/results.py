"""
What commands return.

What comes of a :class:`~hraftd.kv.commands.Set` is ``None``, and of a
:class:`~hraftd.kv.commands.Delete` whether the key was there; the others have a class
each, here. A state machine returns plain values, since they travel from the leader to
the node that has passed the command on (:mod:`hraftd.plain_values`); so each class has
a form as an object of such, which :func:`plain` makes and :func:`result_of` reads::

    Ran          {"succeeded": true, "results": [null, true, ["value", 42], ...]}
    TooLarge     {"too_large": 8388608}
    Done         {"first": 42, "result": ...}
    TokenReused  {"reused": 42}
    PieceTaken   {"keys": 1000}
    Unusable     {"unusable": "a sentence"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from hraftd.codec import CodecError
from hraftd.kv.records import Versioned

if TYPE_CHECKING:
    from hraftd.plain_values import PlainValue

__all__ = [
    "MAX_RESULT_BYTES",
    "Done",
    "OperationResult",
    "PieceTaken",
    "Ran",
    "Result",
    "TokenReused",
    "TooLarge",
    "Unusable",
    "WriteResult",
    "plain",
    "result_of",
    "write_result_of",
]

#: What all the values may have together that one transaction gets: as much as the body
#: of a request, so that a single value never has more. It decides what a transaction
#: does, so it is the same for all nodes and for ever.
MAX_RESULT_BYTES = 8 << 20

#: Of an operation: nothing where a key was set; whether there was one to delete; what
#: a key holds, or nothing where there is none.
OperationResult: TypeAlias = bool | Versioned | None


@frozen
class Ran:
    """
    A transaction was carried out.
    """

    #: Whether all conditions held. If not, it was ``otherwise`` that was done.
    succeeded: bool
    #: One for each operation that was done.
    results: tuple[OperationResult, ...]


@frozen
class TooLarge:
    """
    A transaction would have got more than it may. It has changed nothing.
    """

    #: Bytes that it may get.
    limit: int


@frozen
class Done:
    """
    A command with a token was carried out: now, or when it came for the first time.
    """

    #: Of the entry that did it. A retry has an entry too, of which nobody hears.
    index: int
    result: WriteResult


@frozen
class TokenReused:
    """
    The token belongs to another command, so this one was not carried out.
    """

    #: Of the entry that brought that one.
    index: int


@frozen
class PieceTaken:
    """
    A piece of a backup was taken, or its end.
    """

    #: How many keys there are now; those of the backup only at its end.
    keys: int


@frozen
class Unusable:
    """
    A piece of a backup was not taken, and the restore is over. Nothing was changed.
    """

    #: One sentence.
    reason: str


WriteResult: TypeAlias = bool | Ran | TooLarge | None
Result: TypeAlias = WriteResult | Done | TokenReused | PieceTaken | Unusable


def plain(result: Result) -> PlainValue:
    """
    Return a result as a plain value.
    """
    match result:
        case Ran(succeeded, results):
            return {"succeeded": succeeded, "results": [*map(_plain_one, results)]}
        case TooLarge(limit):
            return {"too_large": limit}
        case Done(index, inner):
            return {"first": index, "result": plain(inner)}
        case TokenReused(index):
            return {"reused": index}
        case PieceTaken(keys):
            return {"keys": keys}
        case Unusable(reason):
            return {"unusable": reason}
        case _:
            return result


def _plain_one(result: OperationResult) -> PlainValue:
    if isinstance(result, Versioned):
        return [result.value, result.index]
    return result


def result_of(value: object) -> Result:
    """
    Return the result that a plain value stands for.

    :raises CodecError: if it stands for none.
    """
    match value:
        case {"first": int(index), "result": inner, **others} if not others:
            return Done(index, write_result_of(inner))
        case {"reused": int(index), **others} if not others:
            return TokenReused(index)
        case {"keys": int(keys), **others} if not others:
            return PieceTaken(keys)
        case {"unusable": str(reason), **others} if not others:
            return Unusable(reason)
        case _:
            return write_result_of(value)


def write_result_of(value: object) -> WriteResult:
    """
    Return the result of a command without a token; as :func:`result_of`.
    """
    match value:
        case None | True | False:
            return value
        case {"succeeded": bool(succeeded), "results": [*results], **others} if (
            not others
        ):
            return Ran(succeeded, tuple(map(_result_of_one, results)))
        case {"too_large": int(limit), **others} if not others:
            return TooLarge(limit)
        case _:
            raise CodecError("this is the result of no command")


def _result_of_one(value: object) -> OperationResult:
    match value:
        case None | True | False:
            return value
        case [str(text), int(index)]:
            return Versioned(text, index)
        case _:
            raise CodecError("this is the result of no operation")

"""
What may stand in the body of a request: one JSON object, and nothing else.

But for ``PUT``, whose body is the value itself. All is read as strictly as everything
else, see :mod:`hraftd.web.asked`. Keys and values are text; only a transaction has a
number, or an object in an object, see :mod:`hraftd.web.transactions`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.addresses import is_wildcard, parse_address
from hraftd.raft.configuration import Server, Suffrage
from hraftd.web.answers import Refusal
from hraftd.web.asked import check_id, check_key, shown, size_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from hraftd.limits import Limits

__all__ = [
    "Fractional",
    "Object",
    "check_value",
    "document",
    "json_object",
    "newcomer",
    "nothing",
    "pairs",
    "raw_value",
    "successor",
]


def json_object(body: bytes) -> dict[str, str]:
    """
    Return the members of a body that is a JSON object of strings, in order.

    :raises Refusal: if it is anything else, names a member twice, or has something
        behind it.
    """
    strings, _ = _strings_and_flags(body, ())
    return strings


def _strings_and_flags(
    body: bytes, flags: Collection[str]
) -> tuple[dict[str, str], dict[str, bool]]:
    """
    Return the members of a body, as :func:`json_object`, and those that are no strings.

    :param flags: the names of members that are truth values, if they are there.
    :raises Refusal: as :func:`json_object`.
    """
    members = document(body)
    strings: dict[str, str] = {}
    truths: dict[str, bool] = {}
    for name, value in members:
        size_of(name, "a name in the body")
        if name in strings or name in truths:
            raise Refusal(400, f"the body names {shown(name)} twice")
        if name in flags:
            if not isinstance(value, bool):
                raise Refusal(400, f"the value of {shown(name)} is not true or false")
            truths[name] = value
            continue
        if not isinstance(value, str):
            raise Refusal(400, f"the value of {shown(name)} is not a string")
        size_of(value, "a value in the body")
        strings[name] = value
    return strings, truths


class Object(list[tuple[str, object]]):
    """
    A JSON object as its members, so that a name given twice can be seen.
    """


@frozen
class Fractional:
    """
    A number with a point or an exponent, as it was written.
    """

    written: str


def document(body: bytes) -> Object:
    """
    Return the members of a body that is a JSON object, whatever they are.

    Whole numbers that can be no index are ``None``: none of them is wanted, and a long
    one takes long to convert. ``NaN`` and the infinite ones are too.

    :raises Refusal: if it is anything else, or has something behind it.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(
            400, f"the body is not UTF-8, from byte {error.start} on"
        ) from None
    if not text.strip(" \t\r\n"):
        raise Refusal(400, "the body is empty; it should be a JSON object")
    if text.startswith("\ufeff"):
        raise Refusal(400, "the body begins with a byte order mark")
    try:
        members = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Refusal(
            400,
            "the body is not one JSON object and nothing else: "
            f"{error.msg.removesuffix(' at')} at line {error.lineno}, "
            f"column {error.colno}",
        ) from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    if not isinstance(members, Object):
        raise Refusal(400, "the body is JSON, but not an object")
    return members


def _index(digits: str) -> int | None:
    return int(digits) if len(digits) <= _INDEX_DIGITS else None


def _no_number(_: str) -> None:
    pass


#: The largest index, 2**63 - 1, has so many.
_INDEX_DIGITS = 19

_DECODER = json.JSONDecoder(
    object_pairs_hook=Object,
    parse_int=_index,
    parse_float=Fractional,
    parse_constant=_no_number,
)


def pairs(body: bytes, limits: Limits) -> tuple[tuple[str, str], ...]:
    """
    Return the keys and values that a body asks to set, in the order given.

    :raises Refusal: if there is none, or if any of them is not acceptable.
    """
    strings = json_object(body)
    if not strings:
        raise Refusal(400, "the body names no key")
    if len(strings) > limits.max_pairs:
        raise Refusal(
            413, f"a body names {limits.max_pairs} keys at most, not {len(strings)}"
        )
    for key, value in strings.items():
        check_key(key, limits)
        check_value(key, value, limits)
    return tuple(strings.items())


def check_value(key: str, value: str, limits: Limits) -> None:
    """
    Make sure that this can be the value of a key.

    :raises Refusal: if it is too large.
    """
    if size_of(value, "a value") > limits.max_value_bytes:
        raise Refusal(
            413,
            f"the value of {shown(key)} holds more than {limits.max_value_bytes} bytes",
        )


def raw_value(body: bytes, key: str, limits: Limits) -> str:
    """
    Return the value that a body is, just as it stands there.

    :raises Refusal: if it is not UTF-8, or too large.
    """
    try:
        value = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(
            400, f"the value is not UTF-8, from byte {error.start} on"
        ) from None
    check_value(key, value, limits)
    return value


def newcomer(body: bytes) -> Server:
    """
    Return the server that asks to be a member.

    :raises Refusal: if the body does not say so, or says anything else as well.
    """
    members, flags = _strings_and_flags(body, ("voter",))
    _check_names("a join", members, ("id", "addr", "http", "voter"))
    for name in ("id", "addr"):
        if not members.get(name):
            raise Refusal(400, f"a join needs {name!r}")
    check_id(members["id"])
    return Server(
        members["id"],
        _dialled("addr", members["addr"]),
        _dialled("http", members["http"]) if members.get("http") else "",
        Suffrage.VOTER if flags.get("voter", True) else Suffrage.NONVOTER,
    )


def successor(body: bytes) -> str | None:
    """
    Return the id of the node that is to lead; ``None`` if any may.

    :raises Refusal: if the body is there and says anything else.
    """
    members = json_object(body) if _is_there(body) else {}
    _check_names("a transfer", members, ("id",))
    if "id" not in members:
        return None
    check_id(members["id"])
    return members["id"]


def nothing(body: bytes) -> None:
    """
    Make sure that there is no body, or one that says nothing.

    :raises Refusal: if it says something.
    """
    if _is_there(body):
        _check_names("this", json_object(body), ())


def _is_there(body: bytes) -> bool:
    return bool(body.strip(b" \t\r\n"))


def _check_names(what: str, members: Collection[str], known: Collection[str]) -> None:
    for name in members:
        if name not in known:
            takes = ", ".join(known) or "nothing"
            raise Refusal(400, f"{what} takes {takes}, but no {shown(name)}")


def _dialled(name: str, address: str) -> str:
    """
    Return an address as it is to be dialled by others.

    :raises Refusal: if it cannot be.
    """
    try:
        dialled = str(parse_address(address))
        if is_wildcard(dialled):
            raise ValueError(f"nobody can dial {dialled!r}")
    except ValueError as error:
        raise Refusal(400, f"{name}: {error}") from None
    return dialled

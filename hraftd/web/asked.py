"""
What may stand in a request: its path, its query and its body.

Everything is read strictly. What hraftd does not know it refuses by name, rather than
do something else than was asked; what can be understood in two ways it refuses too.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from hraftd.client_requests import OnFollower
from hraftd.web.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    from hraftd.client_requests import Limits
    from hraftd.web.channel import Request

__all__ = ["json_object", "key_in_path", "on_follower", "pairs", "query", "segments"]

_KEY_PREFIX = b"/key/"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_YES = frozenset({"", "1", "true", "yes"})
_NO = frozenset({"0", "false", "no"})


def segments(path: bytes) -> list[bytes]:
    """
    Split the path as it came in, before anything was decoded, into one part or two.

    A key may hold slashes, two in a row and a last one too, and routing knows better
    than to leave those alone. So ``/key/`` and all behind it make two parts, ``key``
    and the rest; any other path is one. Both come out percent-encoded in one way
    only, with slashes encoded.

    :raises Refusal: if the path is no path, is not encoded well, or is an empty key.
    """
    if not path.startswith(b"/"):
        raise Refusal(400, "the request names no path")
    if _BROKEN_ESCAPE.search(path):
        raise Refusal(400, "a % in the path must be followed by two hex digits")
    if path == _KEY_PREFIX:
        raise Refusal(400, "the key is empty")
    parts = [path[1:]]
    if path.startswith(_KEY_PREFIX):
        parts = [b"key", path[len(_KEY_PREFIX) :]]
    return [quote(unquote_to_bytes(part), safe="").encode("ascii") for part in parts]


def key_in_path(segment: str, limits: Limits) -> str:
    """
    Return the key that a percent-encoded part of a path stands for.

    :raises Refusal: if it is not UTF-8, or too long.
    """
    try:
        key = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "the key is not UTF-8") from None
    _check_key(key, limits)
    return key


def _check_key(key: str, limits: Limits) -> None:
    if not key:
        raise Refusal(400, "the key is empty")
    if _size(key, "a key") > limits.max_key_bytes:
        raise Refusal(400, f"a key holds at most {limits.max_key_bytes} bytes")


def _size(text: str, what: str) -> int:
    """
    Return how many bytes of UTF-8 a text is.

    :raises Refusal: if it cannot be said in UTF-8.
    """
    # A body may hold hundreds of thousands of texts, and the node waits meanwhile.
    if text.isascii():
        return len(text)
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise Refusal(
            400, f"{what} holds half of a surrogate pair, which is no character"
        ) from None


def query(request: Request, known: Collection[str] = ()) -> dict[str, str]:
    """
    Return the parameters behind the question mark.

    :param known: the names that this request may use.
    :raises Refusal: for any other name, so that none is ignored silently; for one
        given twice; for what is not UTF-8.
    """
    # Not request.args: there a parameter without "=" is missing.
    _, _, encoded = request.uri.partition(b"?")
    parameters: dict[str, str] = {}
    if not encoded:
        return parameters
    try:
        named = parse_qsl(
            encoded.decode("ascii"), keep_blank_values=True, errors="strict"
        )
    except ValueError:
        raise Refusal(400, "the query is not UTF-8 in percent encoding") from None
    for name, value in named:
        if name not in known:
            raise Refusal(400, f"the parameter {_shown(name)} is not known here")
        if name in parameters:
            raise Refusal(400, f"the parameter {_shown(name)} is given twice")
        parameters[name] = value
    return parameters


def on_follower(request: Request) -> OnFollower | None:
    """
    Return what a write asks of a follower; ``None`` if it asks for nothing special.

    :raises Refusal: as :func:`query`, and for a value that is neither yes nor no.
    """
    redirect = query(request, ("redirect",)).get("redirect")
    if redirect is None:
        return None
    if redirect.lower() in _YES:
        return OnFollower.REDIRECT
    if redirect.lower() in _NO:
        return OnFollower.ERROR
    raise Refusal(400, f"redirect takes true or false, not {_shown(redirect)}")


def _shown(text: str) -> str:
    """
    Quote what a client sent, for an error; never more than a line of it.
    """
    return repr(text if len(text) <= 60 else text[:60] + "...")


def json_object(body: bytes) -> dict[str, str]:
    """
    Return the members of a body that is a JSON object of strings, in order.

    :raises Refusal: if it is anything else, names a member twice, or has something
        behind it.
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
    if not isinstance(members, _Object):
        raise Refusal(400, "the body is JSON, but not an object")
    strings: dict[str, str] = {}
    for name, value in members:
        _size(name, "a name in the body")
        if name in strings:
            raise Refusal(400, f"the body names {_shown(name)} twice")
        if not isinstance(value, str):
            raise Refusal(400, f"the value of {_shown(name)} is not a string")
        _size(value, "a value in the body")
        strings[name] = value
    return strings


class _Object(list[tuple[str, object]]):
    """
    A JSON object as its members, so that a name given twice can be seen.
    """


def _no_number(_: str) -> None:
    """
    Make nothing of a number: none is wanted, and a long one takes long to convert.
    """


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object,
    parse_int=_no_number,
    parse_float=_no_number,
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
        _check_key(key, limits)
        if _size(value, "a value") > limits.max_value_bytes:
            raise Refusal(
                413,
                f"the value of {_shown(key)} holds more than "
                f"{limits.max_value_bytes} bytes",
            )
    return tuple(strings.items())

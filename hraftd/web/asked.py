"""
What may stand in the first line of a request: its path and its query.

Everything is read strictly, here and in :mod:`hraftd.web.bodies`. What hraftd does not
know it refuses by name, rather than do something else than was asked; what can be
understood in two ways it refuses too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from attrs import frozen

from hraftd.forwarding import OnFollower
from hraftd.raft.configuration import check_server_id
from hraftd.reads import Consistency, ReadLevel
from hraftd.web.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    from hraftd.limits import Limits
    from hraftd.web.channel import Request

__all__ = [
    "MAX_PAGE_KEYS",
    "Page",
    "check_id",
    "check_key",
    "consistency",
    "id_in_path",
    "key_in_path",
    "lifetime",
    "milliseconds",
    "on_follower",
    "page",
    "query",
    "segments",
    "shown",
    "size_of",
]

_KEY_PREFIX = b"/key/"
_NODE_PREFIX = b"/nodes/"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_YES = frozenset({"", "1", "true", "yes"})
_NO = frozenset({"0", "false", "no"})

_PAGE = ("after", "limit", "prefix")
_LIMIT = re.compile(r"[1-9][0-9]{0,4}")

#: Keys of a listing that asks for no number, and of any.
_PAGE_KEYS = 100
MAX_PAGE_KEYS = 1000

#: Seconds, with as many digits behind the point as anybody writes.
_LIFETIME = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,20}))?")
_MAX_LIFETIME_SECONDS = 10 * 365 * 24 * 60 * 60

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(|ms|s|m|h)")


@frozen
class Page:
    """
    Which keys a listing is to have.
    """

    prefix: str
    #: Those behind this one; ``None`` for all.
    after: str | None
    limit: int


def segments(path: bytes) -> list[bytes]:
    """
    Split the path as it came in, before anything was decoded, into one part or two.

    A key may hold slashes, two in a row and a last one too, and routing knows better
    than to leave those alone. So ``/key/`` and all behind it make two parts, ``key``
    and the rest, and ``/nodes/`` does the same; any other path is one. All come out
    percent-encoded in one way only, with slashes encoded.

    :raises Refusal: if the path is no path, is not encoded well, or is an empty key.
    """
    if not path.startswith(b"/"):
        raise Refusal(400, "the request names no path")
    if _BROKEN_ESCAPE.search(path):
        raise Refusal(400, "a % in the path must be followed by two hex digits")
    if path == _KEY_PREFIX:
        raise Refusal(400, "the key is empty")
    parts = [path[1:]]
    for prefix in (_KEY_PREFIX, _NODE_PREFIX):
        if path.startswith(prefix) and path != prefix:
            parts = [prefix.strip(b"/"), path[len(prefix) :]]
    return [quote(unquote_to_bytes(part), safe="").encode("ascii") for part in parts]


def key_in_path(segment: str | bytes, limits: Limits) -> str:
    """
    Return the key that a percent-encoded part of a path stands for.

    :raises Refusal: if it is not UTF-8, or too long.
    """
    try:
        key = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "the key is not UTF-8") from None
    check_key(key, limits)
    return key


def id_in_path(segment: str) -> str:
    """
    Return the id of a node that a percent-encoded part of a path stands for.

    :raises Refusal: if no node can have that id.
    """
    server_id = unquote_to_bytes(segment).decode("utf-8", "replace")
    check_id(server_id)
    return server_id


def check_id(server_id: str) -> None:
    """
    Make sure that a node can have that id.

    :raises Refusal: if not.
    """
    try:
        check_server_id(server_id)
    except ValueError as error:
        raise Refusal(400, str(error)) from None


def check_key(key: str, limits: Limits) -> None:
    """
    Make sure that this can be a key.

    :raises Refusal: if it is empty or too long.
    """
    if not key:
        raise Refusal(400, "the key is empty")
    if size_of(key, "a key") > limits.max_key_bytes:
        raise Refusal(400, f"a key holds at most {limits.max_key_bytes} bytes")


def size_of(text: str, what: str) -> int:
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
            raise Refusal(400, f"the parameter {shown(name)} is not known here")
        if name in parameters:
            raise Refusal(400, f"the parameter {shown(name)} is given twice")
        parameters[name] = value
    return parameters


def on_follower(request: Request, others: Collection[str] = ()) -> OnFollower | None:
    """
    Return what a write asks of a follower; ``None`` if it asks for nothing special.

    :param others: the names of other parameters that it may use.
    :raises Refusal: as :func:`query`, for a value that is neither yes nor no, and for
        two wishes at once.
    """
    parameters = query(request, ("forward", "redirect", *others))
    for name in others:
        parameters.pop(name, None)
    if not parameters:
        return None
    if len(parameters) > 1:
        raise Refusal(400, "take either forward or redirect, not both")
    [(name, value)] = parameters.items()
    if value.lower() in _YES:
        return OnFollower(name)
    if value.lower() in _NO:
        return OnFollower.ERROR
    raise Refusal(400, f"{name} takes true or false, not {shown(value)}")


def lifetime(request: Request) -> int | None:
    """
    Return for how many milliseconds a write asks its keys to live; ``None`` for ever.

    :raises Refusal: as :func:`query`, and for a lifetime that is none.
    """
    text = query(request, ("forward", "redirect", "ttl")).get("ttl")
    return None if text is None else milliseconds(text)


def milliseconds(seconds: str) -> int:
    """
    Return how many milliseconds a lifetime in seconds has, and no fewer.

    :raises Refusal: if there is no such lifetime.
    """
    parsed = _LIFETIME.fullmatch(seconds)
    if parsed is not None:
        whole, fraction = parsed.groups(default="")
        below = fraction.ljust(3, "0")
        found = 1000 * int(whole) + int(below[:3]) + bool(below[3:].strip("0"))
        if 0 < found <= 1000 * _MAX_LIFETIME_SECONDS:
            return found
    raise Refusal(
        400,
        f"ttl takes seconds, more than 0 and at most {_MAX_LIFETIME_SECONDS} (ten "
        f"years), such as 30 or 0.5, not {shown(seconds)}",
    )


def consistency(
    request: Request, default: ReadLevel, others: Collection[str] = ()
) -> Consistency:
    """
    Return how fresh a read is to be.

    :param default: the level of a read that names none.
    :param others: the names of other parameters that it may use.
    :raises Refusal: as :func:`query`, and for a level or a duration that is none.
    """
    parameters = query(request, ("freshness", "level", *others))
    level = default
    if "level" in parameters:
        try:
            level = ReadLevel(parameters["level"])
        except ValueError:
            known = ", ".join(each.value for each in ReadLevel)
            raise Refusal(
                400, f"{shown(parameters['level'])} is none of the levels: {known}"
            ) from None
    if "freshness" not in parameters:
        return Consistency(level)
    if level is not ReadLevel.NONE:
        raise Refusal(400, f"freshness goes with the level none, not {level.value}")
    return Consistency(level, _seconds("freshness", parameters["freshness"]))


def _seconds(name: str, duration: str) -> float:
    """
    Read a duration, such as 500ms, 1.5s or 2m; a number alone counts seconds.

    :raises Refusal: if it is none.
    """
    parsed = _DURATION.fullmatch(duration)
    if parsed is None:
        raise Refusal(
            400, f"{name} takes a time such as 500ms, 1s or 2m, not {shown(duration)}"
        )
    number, unit = parsed.groups()
    return float(number) * _UNITS[unit]


def page(request: Request, default: ReadLevel) -> tuple[Page, Consistency]:
    """
    Return which keys a listing is to have, and how fresh it is to be.

    :raises Refusal: as :func:`consistency`, and for a number of keys that is none.
    """
    fresh = consistency(request, default, _PAGE)
    parameters = query(request, ("freshness", "level", *_PAGE))
    limit = parameters.get("limit", str(_PAGE_KEYS))
    if not _LIMIT.fullmatch(limit) or int(limit) > MAX_PAGE_KEYS:
        raise Refusal(400, f"limit takes 1 to {MAX_PAGE_KEYS}, not {shown(limit)}")
    # No key is empty, so all of them come after that.
    after = parameters.get("after") or None
    return Page(parameters.get("prefix", ""), after, int(limit)), fresh


def shown(text: str) -> str:
    """
    Quote what a client sent, for an error; never more than a line of it.
    """
    return repr(text if len(text) <= 60 else text[:60] + "...")

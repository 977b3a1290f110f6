"""
What may stand in the header of a request, besides what HTTP itself needs.

The version of a key is the index of its last change; as an entity tag it is that number
in quotes (:func:`hraftd.web.answers.tag`). ``If-Match`` and ``If-None-Match`` of a
write become conditions of a transaction, to be looked at when the entry is applied and
not before (RFC 9110, 13.1). And ``Idempotency-Key`` is the token of a write.

Where such a header would have no effect it is refused: a client that sends it relies on
it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.kv.commands import MAX_TOKEN_LENGTH, is_token
from hraftd.kv.conditions import Absent, ChangedAt, Exists, NotChangedAt, holds
from hraftd.kv.records import record_of
from hraftd.web.answers import Refusal

if TYPE_CHECKING:
    from hraftd.kv.conditions import Condition
    from hraftd.kv.records import Versioned
    from hraftd.web.channel import Request

__all__ = [
    "NO_PRECONDITIONS",
    "Preconditions",
    "are_met",
    "idempotency_key",
    "no_preconditions",
    "preconditions",
]

_IF_MATCH = b"If-Match"
_IF_NONE_MATCH = b"If-None-Match"
_IDEMPOTENCY_KEY = b"Idempotency-Key"

#: One entity tag, weak or not, and what is between two (RFC 9110, 8.8.3 and 5.6.1).
_TAG = re.compile(rb'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_COMMA = re.compile(rb"[ \t]*(?:,[ \t]*)+")
#: A version as hraftd writes it; any other tag is of nothing that is here.
_VERSION = re.compile(rb"[1-9][0-9]{0,18}")


@frozen
class Preconditions:
    """
    What a request asks of a key.
    """

    if_match: tuple[Condition, ...]
    if_none_match: tuple[Condition, ...]

    @property
    def all(self) -> tuple[Condition, ...]:
        """
        Both.
        """
        return self.if_match + self.if_none_match


NO_PRECONDITIONS = Preconditions((), ())


def preconditions(request: Request, key: str) -> Preconditions:
    """
    Return the conditions that a request puts on a key.

    :raises Refusal: if one of the headers is neither ``*`` nor a list of entity tags.
    """
    if_match: tuple[Condition, ...] = ()
    if_none_match: tuple[Condition, ...] = ()
    value = _header(request, _IF_MATCH)
    if value == b"*":
        if_match = (Exists(key),)
    elif value is not None:
        # Compared strongly: what is only weakly the same does not match.
        indexes = (index for is_weak, index in _tags(_IF_MATCH, value) if not is_weak)
        if_match = (ChangedAt(key, tuple(filter(None, indexes))),)
    value = _header(request, _IF_NONE_MATCH)
    if value == b"*":
        if_none_match = (Absent(key),)
    elif value is not None:
        indexes = (index for _, index in _tags(_IF_NONE_MATCH, value))
        if_none_match = (NotChangedAt(key, tuple(filter(None, indexes))),)
    return Preconditions(if_match, if_none_match)


def are_met(conditions: tuple[Condition, ...], found: Versioned | None) -> bool:
    """
    Return whether conditions of this module hold for what was read.
    """
    # They ask about the index only.
    record = None if found is None else record_of(found.index, "")
    return all(holds(condition, record) for condition in conditions)


def no_preconditions(request: Request) -> None:
    """
    Make sure that a request which is not about one key has no conditions on it.

    :raises Refusal: if it has.
    """
    for name in (_IF_MATCH, _IF_NONE_MATCH):
        if request.requestHeaders.hasHeader(name):
            raise Refusal(
                400,
                f"{name.decode()} is for one key: use PUT or DELETE, or POST /txn "
                'with "if"',
            )


def idempotency_key(request: Request) -> str | None:
    """
    Return the token of a write; ``None`` if it has none.

    :raises Refusal: if it is no token, or there are two.
    """
    values = request.requestHeaders.getRawHeaders(_IDEMPOTENCY_KEY)
    if values is None:
        return None
    token = values[0].decode("utf-8", "replace")
    if len(values) > 1 or not is_token(token):
        raise Refusal(
            400,
            f"Idempotency-Key is given once, and is 1 to {MAX_TOKEN_LENGTH} visible "
            "ASCII characters",
        )
    return token


def _header(request: Request, name: bytes) -> bytes | None:
    values = request.requestHeaders.getRawHeaders(name)
    # Given twice it is one list (RFC 9110, 5.3).
    return None if values is None else b", ".join(values).strip(b" \t")


def _tags(name: bytes, value: bytes) -> list[tuple[bool, int | None]]:
    """
    Return of each tag whether it is weak, and the version that it names, if it does.
    """
    tags: list[tuple[bool, int | None]] = []
    position = 0
    while position < len(value):
        tag = _TAG.match(value, position)
        if tag is None:
            break
        weak, opaque = tag.groups()
        is_version = _VERSION.fullmatch(opaque) is not None
        index = int(opaque) if is_version else None
        tags.append((weak is not None, index))
        comma = _COMMA.match(value, tag.end())
        position = tag.end() if comma is None else comma.end()
        if comma is None:
            break
    if not tags or position < len(value):
        raise Refusal(
            400, f'{name.decode()} takes * or entity tags such as "42", with commas'
        )
    return tags

"""
What is asked of a node: path, query, headers and body.

And what may be done with it when no answer comes, see :class:`Kind`.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LEVELS",
    "Ask",
    "Kind",
    "checked_level",
    "checked_ttl",
    "in_json",
    "in_path",
    "query",
    "utf8",
]

#: How fresh a read may be asked to be; see docs/http-api.rst.
LEVELS = ("none", "weak", "linearizable", "strong", "auto")

#: The longest time to live that a node takes: ten years, in seconds.
_LONGEST_TTL = 10 * 365 * 86400.0


class Kind(Enum):
    """
    What a request is to those who send it once more.
    """

    #: Any node answers it, and that changes nothing: it can always be repeated. Local
    #: ones go to the node that is nearest.
    LOCAL = "local read"
    #: The same, but the leader answers it with the least ado.
    READ = "read"
    #: Changes keys, and has an idempotency key of its own, so it can be repeated.
    WRITE = "write"
    #: Changes the cluster, which has no idempotency keys: what is in doubt stays so.
    CHANGE = "change"


@frozen
class Ask:
    """
    A request to whichever node can do it.
    """

    kind: Kind
    method: str
    path: str
    query: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | None = None
    #: Status codes that are an answer; all others are errors.
    expected: tuple[int, ...] = (200,)

    @property
    def changes_something(self) -> bool:
        """
        Whether it may be in doubt.
        """
        return self.kind in (Kind.WRITE, Kind.CHANGE)

    @property
    def can_be_repeated(self) -> bool:
        """
        Whether to do it twice is the same as to do it once.
        """
        return self.kind is not Kind.CHANGE

    @property
    def target(self) -> str:
        """
        Path and query.
        """
        if not self.query:
            return self.path
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}"

    def forwarded(self) -> Ask:
        """
        Return the same, to be passed on to the leader by the node that is asked.
        """
        return evolve(self, query={**self.query, "forward": "true"})


def utf8(value: object, what: str) -> bytes:
    """
    Return a text in UTF-8.

    :raises TypeError: if it is no string.
    :raises ValueError: if it holds half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is a string, not {type(value).__name__}")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"{what} holds half of a surrogate pair, which is no character"
        ) from None


def in_path(key: str, what: str = "a key") -> str:
    """
    Return a key, or an id, as a part of a path.

    :raises ValueError: if it is empty.
    """
    encoded = utf8(key, what)
    if not encoded:
        raise ValueError(f"{what} is not empty")
    return quote(encoded, safe="")


def checked_level(level: str | None) -> str | None:
    """
    Return a level.

    :raises ValueError: if it is none.
    """
    if level is not None and level not in LEVELS:
        raise ValueError(f"{level!r} is none of the levels: {', '.join(LEVELS)}")
    return level


def checked_ttl(ttl: float) -> float:
    """
    Return a time to live in seconds, in whole milliseconds.

    :raises ValueError: if it is none that a key can have.
    """
    rounded = round(ttl, 3)
    if not 0 < rounded <= _LONGEST_TTL:
        raise ValueError(f"a time to live is 1 ms to ten years, not {ttl!r} s")
    return rounded


def query(**parameters: str | float | None) -> dict[str, str]:
    """
    Return what stands behind the question mark, without what is ``None``.
    """
    said: dict[str, str] = {}
    for name, value in parameters.items():
        if isinstance(value, float):
            # Never with an exponent.
            said[name] = f"{value:.3f}".rstrip("0").rstrip(".")
        elif value is not None:
            utf8(str(value), name)
            said[name] = str(value)
    return said


def in_json(content: object) -> bytes:
    """
    Return a body in JSON.

    :raises ValueError: if a string in it cannot be said in UTF-8.
    """
    return utf8(json.dumps(content, ensure_ascii=False), "a key or a value")

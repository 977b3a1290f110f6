"""
What the cluster answers, as Python has it, and how it is read out of JSON.

Read strictly: :exc:`NotUnderstood` is what a client gets from something that is no
hraftd, or from one of a much later version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

__all__ = [
    "Deleted",
    "Found",
    "Item",
    "Leader",
    "NotUnderstood",
    "Page",
    "Reply",
    "Taken",
    "deleted",
    "found_or_none",
    "index_in",
    "leader",
    "named_leader",
    "page",
    "retry_after",
    "taken",
    "text",
    "value_of",
]

_ETAG = re.compile(r'"([1-9][0-9]{0,18})"')
_SECONDS = re.compile(r"[0-9]{1,9}")


class NotUnderstood(Exception):
    """
    An answer that hraftd does not give.
    """


@frozen
class Found:
    """
    What a key holds, and the index of the entry that changed it last.
    """

    value: str
    index: int


@frozen
class Item:
    """
    A key, what it holds, and the index of the entry that changed it last.
    """

    key: str
    value: str
    index: int


@frozen
class Page:
    """
    Some keys in their order.
    """

    #: The last entry that had been applied when the page was read.
    index: int
    items: tuple[Item, ...]
    #: Whether there are keys behind the last one.
    more: bool


@frozen
class Deleted:
    """
    A deletion that was done.
    """

    index: int
    #: Whether the key was there.
    deleted: bool


@frozen
class Leader:
    """
    Who leads.
    """

    id: str
    #: Its HTTP address; empty if it has told none.
    http: str
    raft: str
    term: int


@frozen
class Taken:
    """
    A snapshot that a node has on its disk.
    """

    index: int
    term: int
    bytes: int


@frozen
class Reply:
    """
    The whole of what a node has answered.
    """

    status: int
    headers: Headers
    #: The JSON object in the body; empty if it is none.
    content: Mapping[str, Any]

    @classmethod
    def read(cls, status: int, headers: Headers, body: bytes) -> Reply:
        """
        Read the body.
        """
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = {}
        return cls(status, headers, content if isinstance(content, dict) else {})

    @property
    def is_error(self) -> bool:
        """
        Whether this is one of hraftd's own errors.
        """
        return isinstance(self.content.get("error"), str)

    @property
    def sentence(self) -> str:
        """
        What it says, for a person.
        """
        error = self.content.get("error")
        if isinstance(error, str):
            return error
        return f"an answer of status {self.status} that hraftd does not give"


def _member(content: Mapping[str, Any], name: str) -> Any:
    try:
        return content[name]
    except KeyError:
        raise NotUnderstood(f"the answer has no {name!r}") from None


def index_in(content: Mapping[str, Any], name: str = "index") -> int:
    """
    Return a whole number that has to be there.
    """
    number = _member(content, name)
    if not isinstance(number, int) or isinstance(number, bool):
        raise NotUnderstood(f"{name!r} in the answer is no number")
    return number


def text(content: Mapping[str, Any], name: str) -> str:
    """
    Return a string that has to be there.
    """
    value = _member(content, name)
    if not isinstance(value, str):
        raise NotUnderstood(f"{name!r} in the answer is no string")
    return value


def truth(content: Mapping[str, Any], name: str) -> bool:
    """
    Return a truth value that has to be there.
    """
    value = _member(content, name)
    if not isinstance(value, bool):
        raise NotUnderstood(f"{name!r} in the answer is neither true nor false")
    return value


def objects(content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """
    Return a list of objects that has to be there.
    """
    values = _member(content, name)
    if not isinstance(values, list) or not all(
        isinstance(value, Mapping) for value in values
    ):
        raise NotUnderstood(f"{name!r} in the answer is no list of objects")
    return values


def value_of(key: str, reply: Reply) -> Found | None:
    """
    Read the answer to ``GET /key/KEY``.
    """
    if reply.status == 404:
        return None
    [tag] = reply.headers.getRawHeaders("ETag") or [""]
    parsed = _ETAG.fullmatch(tag)
    if parsed is None:
        raise NotUnderstood("the answer has no ETag of hraftd")
    return Found(text(reply.content, key), int(parsed[1]))


def found_or_none(content: Mapping[str, Any]) -> Found | None:
    """
    Read a value and an index, or two nulls where there is no such key.
    """
    if _member(content, "value") is None:
        return None
    return Found(text(content, "value"), index_in(content))


def page(reply: Reply) -> Page:
    """
    Read the answer to ``GET /key``.
    """
    items = tuple(
        Item(text(one, "key"), text(one, "value"), index_in(one))
        for one in objects(reply.content, "keys")
    )
    return Page(index_in(reply.content), items, truth(reply.content, "more"))


def deleted(reply: Reply) -> Deleted:
    """
    Read the answer to ``DELETE /key/KEY``.
    """
    return Deleted(index_in(reply.content), truth(reply.content, "deleted"))


def leader(reply: Reply) -> Leader | None:
    """
    Read the answer to ``GET /leader`` or ``POST /leader``.

    :return: ``None`` if the node does not know yet who has taken over.
    """
    named = _member(reply.content, "leader")
    if named is None:
        return None
    if not isinstance(named, Mapping):
        raise NotUnderstood("'leader' in the answer is no object")
    return Leader(
        text(named, "id"),
        text(named, "http"),
        text(named, "raft"),
        index_in(reply.content, "term"),
    )


def named_leader(reply: Reply) -> str | None:
    """
    Return the HTTP address of the leader that a 421 or a 307 names, if it does.
    """
    named = reply.content.get("leader")
    address = named.get("http") if isinstance(named, Mapping) else None
    return address if isinstance(address, str) and address else None


def taken(reply: Reply) -> Taken:
    """
    Read the answer to ``POST /snapshot``.
    """
    return Taken(
        index_in(reply.content),
        index_in(reply.content, "term"),
        index_in(reply.content, "bytes"),
    )


def retry_after(reply: Reply) -> float | None:
    """
    Return the seconds after which a node wants to be asked again, if it says so.
    """
    values = reply.headers.getRawHeaders("Retry-After")
    if not values or not _SECONDS.fullmatch(values[0]):
        return None
    return float(values[0])

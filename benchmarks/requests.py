"""
Requests as patterns: what a load asks, with places for keys.

All keys are ``key`` and nine digits, which is twelve bytes and, where a system wants
base64, sixteen letters: each request of a load has the same length, and its head is
made once. What wrk sends and what fills a cluster before are made of the same pattern.
"""

from __future__ import annotations

from base64 import b64encode
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KEY", "Kind", "Pattern", "Request", "key_name", "value_of"]

#: Stands in a path or an item where the key belongs.
KEY = "@KEY@"

_KEY_LENGTH = len("key000000000")

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Kind(Enum):
    """
    What is asked of a system.
    """

    WRITE = "write"
    #: Answered from the asked node's own state, however old.
    LOCAL_READ = "local read"
    #: Misses nothing that was answered before.
    LINEARIZABLE_READ = "linearizable read"


def key_name(number: int) -> str:
    """
    Return the key of that number.
    """
    return f"key{number:09}"


def value_of(length: int) -> str:
    """
    Return a value of so many bytes that no one can make much shorter; always the same.
    """
    return "".join(Random(length).choices(_LETTERS, k=length))


@frozen
class Request:
    """
    One kind of request to one system.
    """

    method: str
    path: str
    #: What stands around the items of a body.
    opening: str = ""
    item: str = ""
    closing: str = ""
    #: Whether the system wants keys in base64.
    is_base64: bool = False

    def pattern(self, count: int = 1) -> Pattern:
        """
        Return the bytes around the keys of a request with so many items.
        """
        body = f"{self.opening}{','.join([self.item] * count)}{self.closing}"
        key_length = _KEY_LENGTH // 3 * 4 if self.is_base64 else _KEY_LENGTH
        length = len(body) + body.count(KEY) * (key_length - len(KEY))
        head = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost"]
        if body:
            head += ["Content-Type: application/json", f"Content-Length: {length}"]
        text = "\r\n".join([*head, "", body])
        prefix, *between, suffix = text.split(KEY)
        assert len(set(between)) <= 1, "items are alike"
        return Pattern(prefix, (between or [""])[0], suffix, count, self.is_base64)


@frozen
class Pattern:
    """
    A request as it is sent, but for its keys.
    """

    prefix: str
    between: str
    suffix: str
    count: int
    is_base64: bool

    def with_keys(self, numbers: Sequence[int]) -> bytes:
        """
        Return a request for these keys.
        """
        keys = [key_name(number) for number in numbers]
        if self.is_base64:
            keys = [b64encode(key.encode()).decode() for key in keys]
        return f"{self.prefix}{self.between.join(keys)}{self.suffix}".encode()

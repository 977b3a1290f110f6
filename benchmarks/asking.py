"""
Single requests, and waiting for something: what a run does besides its loads.
"""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.requests import Pattern

__all__ = ["Unanswered", "ask", "ask_raw", "fill", "until"]

#: Connections that fill a cluster.
_FILLERS = 8


class Unanswered(Exception):
    """
    No answer, or one that says that it was not done.
    """


def ask(
    port: int, method: str, path: str, content: object = None, timeout: float = 5.0
) -> Any:
    """
    Make a request, and return the JSON that comes back.

    :raises Unanswered: if none does, or one with a status of 400 or more.
    """
    body = None if content is None else json.dumps(content)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        with closing(connection):
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= 400:
            raise Unanswered(f"{answer.status}: {text[:200]!r}")
        return json.loads(text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(str(error)) from error


def ask_raw(port: int, request: bytes, timeout: float) -> None:
    """
    Send these bytes on a new connection, and wait for a good answer.

    :raises Unanswered: as :func:`ask`.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with closing(connection):
        _exchange(connection, request)


def _exchange(connection: http.client.HTTPConnection, request: bytes) -> None:
    try:
        if connection.sock is None:
            connection.connect()
        connection.send(request)
        answer = http.client.HTTPResponse(connection.sock, method="POST")
        answer.begin()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(str(error)) from error
    if answer.status >= 400:
        raise Unanswered(f"{answer.status}: {text[:200]!r}")


def until(
    condition: Callable[[], Any], what: str, seconds: float = 60.0, pause: float = 0.05
) -> Any:
    """
    Wait for something to be true, and return it; not being answered is not yet.

    :raises TimeoutError: with what was waited for.
    """
    end = time.monotonic() + seconds
    last = ""
    while time.monotonic() < end:
        try:
            found = condition()
        except Unanswered as error:
            found, last = None, f" ({error})"
        if found:
            return found
        time.sleep(pause)
    raise TimeoutError(f"waited {seconds:g} s for {what}{last}")


def fill(port: int, pattern: Pattern, keys: int) -> None:
    """
    Write each key once, with requests of as many keys as the pattern holds.

    :raises Unanswered: if any of these fails.
    """
    starts = range(0, keys, pattern.count)

    def share(mine: Sequence[int]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(connection):
            for start in mine:
                # The last ones may be written twice, but no key twice in one request.
                first = max(0, min(start, keys - pattern.count))
                numbers = range(first, first + pattern.count)
                _exchange(connection, pattern.with_keys(numbers))

    with ThreadPoolExecutor(_FILLERS) as pool:
        for done in [
            pool.submit(share, starts[each::_FILLERS]) for each in range(_FILLERS)
        ]:
            done.result()

"""
A client of the HTTP API, of Python's standard library alone.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "Connection"]


@frozen
class Answer:
    """
    What came back over HTTP.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """
        The body as what its JSON says.
        """
        return json.loads(self.body)


class Connection:
    """
    A client of one node that keeps its connection, opened when it is needed.
    """

    def __init__(self, port: int, timeout: float = 15.0) -> None:
        """
        Prepare to ask the node whose HTTP port this is.
        """
        self._connection = HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(self, method: str, path: str, content: object = None) -> Answer:
        """
        Make one request.

        :param content: bytes are sent as they are, everything else as JSON.
        :raises OSError: if there is no answer, in time.
        """
        body = (
            content
            if content is None or isinstance(content, bytes)
            else json.dumps(content).encode()
        )
        try:
            self._connection.request(method, path, body)
            response = self._connection.getresponse()
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        except HTTPException as error:
            self._connection.close()
            raise ConnectionError(f"no whole answer: {error!r}") from error
        except OSError:
            self._connection.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            self._connection.close()
        return answer

    def close(self) -> None:
        """
        Close the connection, if it is open.
        """
        self._connection.close()

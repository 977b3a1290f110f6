"""
A client that watches, over a connection in memory that a test holds in its hand.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from hraftd.web.site import HttpSite

__all__ = ["Event", "Stream", "parse"]


@frozen
class Event:
    """
    One block of the stream; one of only an id has neither kind nor data.
    """

    kind: str | None
    id: int | None
    data: dict[str, object] | None

    @property
    def change(self) -> tuple[str, object, object]:
        """
        What has happened, to which key, and what it is now.
        """
        assert self.data is not None
        return self.kind, self.data["key"], self.data["value"]


def parse(text: str) -> list[Event]:
    """
    Read whole blocks as the HTML standard has it; strictly, as hraftd writes them.
    """
    events = []
    *blocks, rest = text.split("\n\n")
    assert rest == "", f"half an event: {rest!r}"
    for block in blocks:
        fields = {}
        for line in block.split("\n"):
            name, colon, value = line.partition(": ")
            assert colon, line
            assert name in {"event", "id", "data"}, line
            assert name not in fields, block
            fields[name] = value
        place = fields.get("id")
        data = fields.get("data")
        events.append(
            Event(
                fields.get("event"),
                None if place is None else int(place),
                None if data is None else json.loads(data),
            )
        )
    return events


class _Transport(StringTransport):
    """
    One whose producer may be taken away twice, as from a real one.
    """

    def unregisterProducer(self) -> None:
        """
        Let there be none.
        """
        self.producer = None


class Stream:
    """
    One request for changes, and all that was answered.
    """

    def __init__(
        self, site: HttpSite, path: str = "/watch", *headers: str, method: str = "GET"
    ) -> None:
        """
        Connect and ask.
        """
        self.transport = _Transport()
        self.transport.abortConnection = self._abort
        self.is_aborted = False
        self.channel = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]
        self.channel.dataReceived("\r\n".join(lines).encode())

    def _abort(self) -> None:
        self.is_aborted = True

    @property
    def _parts(self) -> tuple[list[str], bytes]:
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        return head.decode().split("\r\n"), body

    @property
    def code(self) -> int:
        """
        The status code.
        """
        return int(self._parts[0][0].split(" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        """
        The headers of the answer.
        """
        return dict(line.split(": ", 1) for line in self._parts[0][1:])

    @property
    def json(self) -> object:
        """
        The body of an answer that has ended at once.
        """
        body = self._parts[1]
        assert len(body) == int(self.headers["Content-Length"])
        return json.loads(body)

    def _read(self) -> tuple[bytes, bool]:
        """
        Return the body so far, and whether it has ended well.
        """
        assert self.headers["Transfer-Encoding"] == "chunked"
        rest, text = self._parts[1], b""
        while rest:
            length, _, rest = rest.partition(b"\r\n")
            size = int(length, 16)
            text += rest[:size]
            assert rest[size : size + 2] == b"\r\n"
            rest = rest[size + 2 :]
            if not size:
                assert rest == b""
                return text, True
        return text, False

    @property
    def is_over(self) -> bool:
        """
        Whether the last was said, and the connection is being closed.
        """
        is_over = self._read()[1]
        assert not is_over or self.transport.disconnecting
        return is_over

    @property
    def body(self) -> bytes:
        """
        All of an answer that has ended, though its length was not said before.
        """
        body, is_over = self._read()
        assert is_over
        return body

    @property
    def text(self) -> str:
        """
        All that came, as it came.
        """
        return self._read()[0].decode()

    @property
    def received(self) -> list[Event]:
        """
        All that came, also that nothing has come.
        """
        return parse(self.text)

    @property
    def events(self) -> list[Event]:
        """
        What is an event.
        """
        return [event for event in self.received if event.kind is not None]

    @property
    def changes(self) -> list[tuple[str, object, object]]:
        """
        What is an event, in short.
        """
        return [event.change for event in self.events]

    @property
    def place(self) -> int:
        """
        The place to go on from.
        """
        return [event.id for event in self.received if event.id is not None][-1]

    def pause(self) -> None:
        """
        Read nothing any more: the transport's buffer is full.
        """
        self.channel.pauseProducing()

    def resume(self) -> None:
        """
        Read all there is, so that the transport wants more.
        """
        self.channel.resumeProducing()

    def lose(self) -> None:
        """
        Go away.
        """
        self.channel.stopProducing()
        self.channel.connectionLost(Failure(ConnectionLost()))

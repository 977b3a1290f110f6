"""
The form of ``text/event-stream``, as far as hraftd uses it: bytes in, messages out.

No connection here, and no meaning; see :mod:`hraftd.client.watching` for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.client.answers import NotUnderstood
from hraftd.client.bodies import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EventStream", "Message"]


@frozen
class Message:
    """
    What came between two empty lines.
    """

    #: Empty if it has none.
    event: str
    #: Where to go on from; ``None`` if it does not say.
    id: str | None
    #: ``None`` if it has none: then it is no event, only a place.
    data: str | None


class EventStream:
    """
    Reads messages out of pieces that may be cut anywhere.
    """

    def __init__(self) -> None:
        """
        Begin before the first message.
        """
        self._rest = bytearray()
        #: How much of the rest is known to be without the end of a line.
        self._searched = 0
        self._size = 0
        self._event = ""
        self._id: str | None = None
        self._data: list[str] = []

    def receive(self, piece: bytes) -> Iterator[Message]:
        """
        Take what has come, and yield the messages that it completes.

        :raises NotUnderstood: if it is not UTF-8, or a message does not end.
        """
        self._rest += piece
        begin = 0
        while (end := self._rest.find(b"\n", max(begin, self._searched))) >= 0:
            line = bytes(self._rest[begin:end])
            begin = end + 1
            self._searched = begin
            self._size += len(line)
            message = self._line(line.removesuffix(b"\r"))
            if message is not None:
                self._size = 0
                yield message
        del self._rest[:begin]
        self._searched = len(self._rest)
        if self._size + len(self._rest) > MAX_ANSWER_BYTES:
            raise NotUnderstood("an event does not end")

    def _line(self, line: bytes) -> Message | None:
        if not line:
            return self._message()
        try:
            name, _, value = line.decode("utf-8").partition(":")
        except UnicodeDecodeError:
            raise NotUnderstood("an event is not UTF-8") from None
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "id":
                self._id = value
            case "data":
                self._data.append(value)
            # All else, comments among them, says nothing.
        return None

    def _message(self) -> Message | None:
        data = "\n".join(self._data) if self._data else None
        message = Message(self._event, self._id, data)
        self._event, self._id = "", None
        self._data.clear()
        if message.id is None and message.data is None:
            return None
        return message

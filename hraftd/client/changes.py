"""
One connection to ``GET /watch``: from bytes to changes that were told as a whole.

The changes of one entry of the log are kept back until the last of them has come, which
has the entry's index as its id. So whoever goes on from there, on another connection,
is told nothing twice and misses nothing.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone

from hraftd.client.answers import NotUnderstood, index_in, text
from hraftd.client.errors import Compacted
from hraftd.client.event_stream import EventStream

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from hraftd.client.event_stream import Message

__all__ = ["Changes", "Event"]

#: With so many changes that nobody has taken yet, the connection is not read.
_ENOUGH = 256

_KINDS = ("set", "delete", "expire")


@frozen
class Event:
    """
    A change of a key.
    """

    #: ``set``, ``delete`` or ``expire``; or ``resync``: forget what you know, all that
    #: there is follows.
    kind: str
    #: Empty if all is to be forgotten.
    key: str
    #: ``None`` unless it was set.
    value: str | None
    #: The entry that has changed it.
    index: int


class Changes(Protocol):
    """
    Receives changes, and holds its connection back if they are not taken.

    :ivar ready: those that can be taken, with the index that all of them and everything
        before are behind; in order.
    :ivar failure: why no more will come; ``None`` as long as they may.
    """

    def __init__(self) -> None:
        """
        Wait for the connection.
        """
        self.ready: deque[tuple[tuple[Event, ...], int]] = deque()
        self.failure: Exception | None = None
        self._stream = EventStream()
        self._group: list[Event] = []
        self._count = 0
        self._is_paused = False
        self._waiting: Deferred[None] | None = None

    def more(self) -> Deferred[None]:
        """
        Wait for anything to come, be it that nothing will come any more.
        """
        if self.ready or self.failure is not None:
            return succeed(None)
        self._waiting = Deferred(self._forget)
        return self._waiting

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None

    def take(self) -> tuple[tuple[Event, ...], int]:
        """
        Take what is ready first.
        """
        events, index = self.ready.popleft()
        self._count -= len(events)
        if self._is_paused and self._count < _ENOUGH:
            self._is_paused = False
            self._transport.resumeProducing()
        return events, index

    def close(self) -> None:
        """
        Close the connection; take no notice of what may still come.
        """
        if self.failure is None:
            self.failure = NotUnderstood("it was closed")
            if self.transport is not None:
                self._transport.loseConnection()

    @property
    def _transport(self) -> Any:
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        """
        Take a piece.
        """
        if self.failure is not None:
            return
        try:
            for message in self._stream.receive(data):
                self._receive(message)
        except (NotUnderstood, Compacted) as error:
            self.failure = error
            self._transport.loseConnection()
        if self._count >= _ENOUGH and not self._is_paused and self.failure is None:
            self._is_paused = True
            self._transport.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Take note that nothing more will come.
        """
        if self.failure is None:
            self.failure = NotUnderstood(f"the connection was lost: {reason.value}")
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _receive(self, message: Message) -> None:
        content: Any = {}
        if message.data is not None:
            try:
                content = json.loads(message.data)
            except (ValueError, RecursionError):
                content = None
            if not isinstance(content, dict):
                raise NotUnderstood("an event is no JSON object")
        if message.event == "compacted":
            raise Compacted(text(content, "error"), index_in(content, "first"))
        if message.data is not None and message.event in _KINDS:
            value = text(content, "value") if message.event == "set" else None
            self._group.append(
                Event(message.event, text(content, "key"), value, index_in(content))
            )
        if message.id is not None:
            if not (message.id.isascii() and message.id.isdigit()):
                raise NotUnderstood("the id of an event is no index")
            index = int(message.id)
            if self.ready and not self._group:
                # Places alone do not pile up, however long nobody asks for them.
                events, _ = self.ready.pop()
                self.ready.append((events, index))
                return
            self.ready.append((tuple(self._group), index))
            self._count += len(self._group)
            self._group.clear()

"""
Those who watch, and the work of telling them.

A :class:`Watcher` is one request that is answered for as long as its client likes. What
has changed is in :class:`~hraftd.kv.history.History`; a watcher knows no more than how
far he was told. If his transport pauses him he is sent nothing, and when it resumes him
he goes on from there; if the history has gone past him meanwhile, he is dropped.

A write only marks what is watched. :class:`Watchers` looks at the marks in the same
iteration of the reactor or the next, and tells one watcher after the other, a little to
each, for no longer than a few milliseconds; then others have their turn. So thousands
who watch the same key delay each other, but neither a heartbeat nor a write.

One timer for all tells those who have missed nothing where they are: it keeps
connections alive, and later they can go on from there, even if all that they watch has
not changed for weeks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from hraftd.web.events import event_of, farewell, place

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.web.http import Request

    from hraftd.kv.history import History
    from hraftd.server import RaftServer
    from hraftd.web.channel import Channel

__all__ = ["ALIVE_SECONDS", "MAX_WATCHERS", "STALLED_TIMES", "Watcher", "Watchers"]

#: More are refused.
MAX_WATCHERS = 20_000

#: Seconds after which those who have nothing to be told are told so.
ALIVE_SECONDS = 15.0

#: One who was found paused so often in a row does not read, and is dropped.
STALLED_TIMES = 4

#: Seconds for which watchers are told, without a pause for others.
_TURN_SECONDS = 0.002

#: What one is told at once, at most, if it is more than one change; and how many
#: changes are looked at for that.
_BYTES_AT_ONCE = 32 * 1024
_CHANGES_AT_ONCE = 512


class Watchers:
    """
    All who watch at one node.
    """

    def __init__(
        self, history: History, server: RaftServer, clock: IReactorTime
    ) -> None:
        """
        Begin with nobody.
        """
        self.history = history
        self._server = server
        self._clock = clock
        self._all: dict[Watcher, None] = {}
        #: Who is to be told something, or that there is nothing.
        self._queue: deque[Watcher] = deque()
        self._turn: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._epoch = history.epoch
        #: Found out once in a turn, if anybody needs it.
        self._told_up_to: int | None = None
        self.is_stopped = False
        # If a snapshot was restored, now it is known which.
        self.complete_after()
        history.prefixes.wake = self._schedule_turn

    def __len__(self) -> int:
        """
        Return how many there are.
        """
        return len(self._all)

    @property
    def applied(self) -> int:
        """
        The last entry that this node has applied.
        """
        return self._server.status().last_applied

    @property
    def told_up_to(self) -> int:
        """
        Up to which entry those have seen all who are not to be told anything now.
        """
        if self._told_up_to is None:
            self._told_up_to = self.applied
        return self._told_up_to

    def complete_after(self) -> int:
        """
        Return the smallest index behind which nothing is missing here.
        """
        return self.history.complete_after(self.applied)

    def add(self, watcher: Watcher) -> None:
        """
        Tell somebody from now on.
        """
        self._all[watcher] = None
        self.history.prefixes.add(watcher.prefix, watcher)
        if self._timer is None:
            self._timer = self._clock.callLater(ALIVE_SECONDS, self._look_after_all)
        self.enqueue(watcher)

    def remove(self, watcher: Watcher) -> None:
        """
        Tell somebody no more, if he still is told.
        """
        if watcher not in self._all:
            return
        del self._all[watcher]
        self.history.prefixes.remove(watcher.prefix, watcher)
        if not self._all and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def enqueue(self, watcher: Watcher) -> None:
        """
        Have something told to a watcher soon.
        """
        if not watcher.is_queued:
            watcher.is_queued = True
            self._queue.append(watcher)
            self._schedule_turn()

    def stop(self) -> None:
        """
        End all answers, and take nobody any more.
        """
        self.is_stopped = True
        for watcher in list(self._all):
            watcher.end()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _schedule_turn(self) -> None:
        if self._turn is None and not self.is_stopped:
            self._turn = self._clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = self._told_up_to = None
        # First: or one for whom there is something would be told that there is not.
        self._look_at_marks()
        end = self._clock.seconds() + _TURN_SECONDS
        while self._queue:
            watcher = self._queue.popleft()
            watcher.is_queued = False
            if watcher in self._all and watcher.tell():
                self.enqueue(watcher)
            if self._clock.seconds() >= end:
                break
        if self._queue:
            self._schedule_turn()

    def _look_at_marks(self) -> None:
        if self._epoch != self.history.epoch:
            self._epoch = self.history.epoch
            complete_after = self.complete_after()
            for watcher in list(self._all):
                if watcher.after < complete_after:
                    watcher.lose()
                elif watcher.position is not None:
                    # He came later, or waits for what is still to be applied.
                    watcher.position = max(watcher.position, self.history.first)
        self.history.prefixes.tell()

    def _look_after_all(self) -> None:
        """
        Tell all where they are; drop who does not read, or all, if nothing will come.
        """
        self._timer = self._clock.callLater(ALIVE_SECONDS, self._look_after_all)
        is_member = self._server.is_member
        for watcher in list(self._all):
            if not is_member or watcher.is_stalled():
                watcher.end()
            else:
                self.enqueue(watcher)


@implementer(IPushProducer)
class Watcher:
    """
    One request for changes.

    :ivar over: fires, with nothing, when the last was said; to cancel it lets go.
    """

    __slots__ = (
        "_channel",
        "_is_paused",
        "_request",
        "_times_paused",
        "_watchers",
        "after",
        "is_queued",
        "over",
        "position",
        "prefix",
    )

    def __init__(
        self,
        watchers: Watchers,
        request: Request,
        channel: Channel,
        prefix: str,
        after: int,
    ) -> None:
        """
        Begin to watch, and to answer; the headers are set.

        :param channel: the connection, which ends with the answer.
        :param after: only what later entries change is told. Nothing behind it that
            was applied here may have been forgotten.
        """
        self._watchers = watchers
        self._request = request
        self._channel = channel
        self.prefix = prefix
        self.after = after
        #: Of the change to be looked at next; then he is in the queue, or paused.
        #: ``None`` if he has seen all, and those that come will be marked.
        self.position: int | None = watchers.history.position_behind(after)
        self.is_queued = False
        self._is_paused = False
        self._times_paused = 0
        self.over: Deferred[bytes] = Deferred(lambda _: self.stopProducing())
        request.write(place(after))
        request.registerProducer(self, True)
        watchers.add(self)

    def changed_at(self, position: int) -> None:
        """
        See :class:`hraftd.kv.history.Watched`.
        """
        if self.position is None:
            self.position = position
            if not self._is_paused:
                self._watchers.enqueue(self)

    def lose(self) -> None:
        """
        Take note that changes were forgotten which he was not told of.
        """
        self.position = -1
        self._watchers.enqueue(self)

    def tell(self) -> bool:
        """
        Tell what comes next, or where he is; return whether there is more to tell.
        """
        history = self._watchers.history
        if self.position is not None and self.position < history.first:
            self.end(farewell(self._watchers.complete_after() + 1))
            return False
        if self._is_paused:
            return False
        if self.position is None:
            self._request.write(place(max(self.after, self._watchers.told_up_to)))
            return False
        changes, self.position = history.read(
            self.position, self.prefix, self.after, _CHANGES_AT_ONCE, _BYTES_AT_ONCE
        )
        if changes:
            events = [event_of(change, is_last=is_last) for change, is_last in changes]
            self._request.write(b"".join(events))
        return self.position is not None and not self._is_paused

    def is_stalled(self) -> bool:
        """
        Whether he was found paused too often; to be asked by one timer only.
        """
        self._times_paused = self._times_paused + 1 if self._is_paused else 0
        return self._times_paused >= STALLED_TIMES

    def end(self, last_words: bytes = b"") -> None:
        """
        End the answer, and the connection with it.
        """
        self._watchers.remove(self)
        if last_words:
            self._request.write(last_words)
        self._request.unregisterProducer()
        self.over.callback(b"")
        self._channel.close()

    def pauseProducing(self) -> None:
        """
        Send nothing: what was sent is not gone yet.
        """
        self._is_paused = True

    def resumeProducing(self) -> None:
        """
        Go on.
        """
        self._is_paused = False
        self._times_paused = 0
        if self.position is not None:
            self._watchers.enqueue(self)

    def stopProducing(self) -> None:
        """
        Let go: nobody is there any more.
        """
        self._watchers.remove(self)

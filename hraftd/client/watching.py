"""
Watching keys, for as long as one likes: :class:`Watch` goes on where it was.

A watch is driven by who takes its changes: it opens a connection when it needs one, and
reads from it as far as something is wanted. When the connection is lost, or says
nothing for too long, the next node is asked to go on behind the last change that was
told. Where no node can, since too much has changed meanwhile, the watch ends with
:exc:`~hraftd.client.errors.Compacted`, or, if it was told to ``resync``, lists all that
there is.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater

from hraftd.client.answers import NotUnderstood, index_in
from hraftd.client.asking import Ask, Kind, query
from hraftd.client.attempts import pause_after
from hraftd.client.changes import Changes, Event
from hraftd.client.connections import AnswerLost, NotSent, read_whole, why
from hraftd.client.deadlines import within
from hraftd.client.errors import Compacted, Refused, Unavailable
from hraftd.client.listing import Items

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from hraftd.client.answers import Page, Reply
    from hraftd.client.attempts import Attempts

__all__ = ["Watch"]

#: Seconds in which a node has to begin to answer.
OPEN_SECONDS = 5.0

#: Seconds without a word after which a connection is taken for lost. A node that has
#: nothing to tell says so every 15 seconds.
SILENT_SECONDS = 40.0


class Watch:
    """
    An asynchronous iterator over changes; made by ``Client.watch``.

    Use it as an asynchronous context manager: then it watches from its beginning on,
    and its connection is closed at its end.

    :ivar index: all changes up to this one were told, also all of those that were made
        together in one transaction; ``None`` before that is known. A program that
        remembers it can have a later watch go on ``after`` it.
    """

    def __init__(
        self,
        attempts: Attempts,
        start: Callable[[Coroutine[Deferred[Any], Any, Any]], Deferred[Any]],
        read_page: Callable[[str | None], Deferred[Page]],
        *,
        prefix: str,
        after: int | None,
        resync: bool,
        timeout: float,
        patience: float | None,
    ) -> None:
        """
        Be ready to watch.

        :param start: runs what is waited for.
        :param read_page: lists what there is, a page behind a key.
        :param timeout: seconds in which the first connection has to be there.
        :param patience: seconds in which any later one has to be; ``None`` for ever.
        """
        self._reactor = attempts.reactor
        self._seconds = attempts.seconds
        self._connections = attempts.connections
        self._endpoints = attempts.endpoints
        self._start = start
        self._read_page = read_page
        self._prefix = prefix
        self.index = after
        #: All changes up to this one were told, or are about to be.
        self._reached = after
        self._resync = resync
        self._patience: float | None = timeout
        self._later_patience = patience
        self._rng = Random()
        self._events: deque[Event] = deque()
        self._changes: Changes | None = None
        self._address = ""
        #: What there is, while that is listed.
        self._listing: Items | None = None
        #: How often in a row it has come to nothing, and since when it does.
        self._rounds = 0
        self._trouble_since: float | None = None
        self._pending: Deferred[Any] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Watch:
        """
        Begin to watch.
        """
        if self._changes is None and not self._is_closed:
            await self._one_at_a_time(self._begin())
        return self

    def __del__(self) -> None:
        """
        Close the connection of one that was forgotten.
        """
        self._disconnect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Close it.
        """
        await self.close()

    def __aiter__(self) -> Watch:
        """
        Return itself.
        """
        return self

    def __anext__(self) -> Deferred[Event]:
        """
        Wait for the next change; to cancel that closes the connection.

        The iteration can go on all the same, where it was.
        """
        return self._one_at_a_time(self._next())

    def close(self) -> Deferred[None]:
        """
        Close the connection, and end the iteration.
        """
        self._is_closed = True
        self._disconnect()
        if self._pending is not None:
            self._pending.cancel()
        return succeed(None)

    def _one_at_a_time(self, work: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
        if self._pending is not None:
            work.close()
            raise RuntimeError("somebody else waits for the same watch already")
        pending = self._start(work)
        if not pending.called:
            self._pending = pending

            def ended(result: Any) -> Any:
                self._pending = None
                return result

            pending.addBoth(ended)
        return pending

    async def _next(self) -> Event:
        try:
            while not self._events:
                if self._is_closed:
                    raise StopAsyncIteration
                await self._more()
        except CancelledError:
            self._disconnect()
            if self._is_closed:
                raise StopAsyncIteration from None
            raise
        event = self._events.popleft()
        self._told_all()
        return event

    def _told_all(self) -> None:
        """
        Take note of how far it is, unless it is in the middle of something.
        """
        if not self._events and self._listing is None:
            self.index = self._reached

    async def _more(self) -> None:
        """
        Wait for something to happen.
        """
        if self._listing is not None:
            await self._list_some(self._listing)
            return
        if self._changes is None:
            await self._begin()
            return
        changes = self._changes
        if not changes.ready:
            try:
                await within(self._reactor, SILENT_SECONDS, changes.more(), _Silent)
            except _Silent:
                changes.close()
        if changes.ready:
            events, index = changes.take()
            self._events.extend(events)
            if events or index != self._reached:
                self._no_trouble()
            self._reached = index
            self._told_all()
        elif changes.failure is not None:
            self._disconnect()
            if isinstance(changes.failure, Compacted):
                self._compacted(changes.failure)
            else:
                self._endpoints.has_failed(self._address)

    def _disconnect(self) -> None:
        changes, self._changes = self._changes, None
        if changes is not None:
            changes.close()

    def _compacted(self, error: Compacted) -> None:
        """
        Begin anew, or say that this is the end.
        """
        if not self._resync:
            raise error
        self._listing = Items(self._first_page)

    def _first_page(self, after: str | None) -> Deferred[Page]:
        """
        Read a page; the first one is of the moment from which on changes are told.
        """

        def read(page: Page) -> Page:
            if after is None:
                self._reached = page.index
                self._events.append(Event("resync", "", None, page.index))
            return page

        return self._read_page(after).addCallback(read)

    async def _list_some(self, listing: Items) -> None:
        try:
            item = await listing.__anext__()
        except StopAsyncIteration:
            self._listing = None
            self._told_all()
            return
        except Unavailable as error:
            await self._wait(str(error))
            return
        self._no_trouble()
        self._events.append(Event("set", item.key, item.value, item.index))

    async def _begin(self) -> None:
        """
        Find a node that tells changes, or begin to list what there is.
        """
        reasons = {"": "the connection broke off again"} if self._rounds else {}
        while self._changes is None:
            if reasons:
                told = (f"{name}: {text}" for name, text in reasons.items())
                await self._wait("; ".join(told).removeprefix(": "))
                reasons.clear()
            for address in self._endpoints.route(by_leader=False):
                try:
                    self._changes = await self._connect(address)
                except (NotSent, AnswerLost, NotUnderstood, Unavailable) as error:
                    self._endpoints.has_failed(address)
                    reasons[address] = str(error)
                except Compacted as error:
                    self._compacted(error)
                    return
                else:
                    self._address = address
                    self._endpoints.has_answered(address)
                    # Until it has told something, this may be no success.
                    self._rounds += 1
                    self._patience = self._later_patience
                    return

    def _no_trouble(self) -> None:
        """
        Take note that something has worked.
        """
        self._rounds, self._trouble_since = 0, None

    async def _wait(self, reason: str) -> None:
        """
        Wait before the next round.

        :raises Unavailable: if there was no success for too long.
        """
        now = self._seconds()
        if self._trouble_since is None:
            self._trouble_since = now
        self._rounds += 1
        pause = pause_after(self._rounds, self._rng)
        if self._patience is not None:
            left = self._trouble_since + self._patience - now
            if left <= 0:
                self._no_trouble()
                raise Unavailable(f"cannot watch: {reason}")
            pause = min(pause, left)
        await deferLater(self._reactor, pause)

    async def _connect(self, address: str) -> Changes:
        after = None if self._reached is None else str(self._reached)
        ask = Ask(
            Kind.LOCAL,
            "GET",
            "/watch",
            query(prefix=self._prefix or None, after=after),
            {"Accept": "text/event-stream"},
        )
        response = await self._connections.open(address, ask, OPEN_SECONDS)
        [kind] = response.headers.getRawHeaders("Content-Type") or [""]
        if response.code == 200 and kind.startswith("text/event-stream"):
            changes = Changes()
            response.deliverBody(changes)
            return changes
        try:
            reply = await within(
                self._reactor,
                OPEN_SECONDS,
                Deferred.fromCoroutine(read_whole(response)),
                lambda: AnswerLost("the answer does not end"),
            )
        except (AnswerLost, NotUnderstood, CancelledError):
            raise
        except Exception as error:
            raise AnswerLost(why(error)) from error
        _decline(reply)


class _Silent(Exception):
    """
    Nothing has come for too long.
    """


def _decline(reply: Reply) -> NoReturn:
    """
    Tell what it means that a node does not let one watch.
    """
    if reply.status == 410 and reply.is_error:
        first = None
        if "first" in reply.content:
            first = index_in(reply.content, "first")
        raise Compacted(reply.sentence, first)
    if 400 <= reply.status < 500 and reply.is_error:
        raise Refused(reply.sentence, reply.status)
    raise Unavailable(reply.sentence)

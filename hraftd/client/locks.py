"""
Locks: one program at a time, and everybody else knows who was there later.

A lock is a key with a time to live. Who sets it while it is absent holds the lock; the
holder sets it anew three times in that time, and it expires if he does not: because he
has died, or is cut off, or stands still. He may stand still for any time, in the middle
of any line, and go on without knowing; no lock over a network can change that. Hence
two things besides:

- ``token``, the *fencing token*: the index of the entry with which the lock was taken.
  Who takes it later has a larger one. A resource that remembers the largest token it
  has seen, and refuses smaller ones, is safe whatever happens to a holder.
- the holder's own clock: he takes the lock for lost when it could have expired, which
  he knows without asking anybody. Where that is noticed: ``is_held``, ``check``,
  ``lost`` and ``guard``.

Who waits watches the key, and tries when it goes away; which of those who wait is the
next is chance.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from hraftd.client.deadlines import within
from hraftd.client.errors import (
    Compacted,
    Failed,
    HraftdError,
    LockLost,
    NotAcquired,
    NotMet,
    Unavailable,
    Unknown,
)
from hraftd.client.transactions import Delete, HasValue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from twisted.internet.interfaces import IReactorTime

    from hraftd.client.answers import Found
    from hraftd.client.client import Client

__all__ = ["SHORTEST_TTL", "Lock", "holder_in"]

_T = TypeVar("_T")

#: A lock does not live for less: an expiry may come a second early (docs/http-api.rst,
#: where it tells of ``ttl``).
SHORTEST_TTL = 1.0

#: Seconds between two renewals of which the first has failed.
PAUSE = 0.05

#: How it may end to give a lock back, while nobody waits for that.
_NOT_GIVEN = (HraftdError, CancelledError)


def holder_in(value: str) -> str:
    """
    Return who holds a lock, out of what its key holds.
    """
    return value.partition(" ")[2]


def _abandon(work: Awaitable[Any]) -> None:
    """
    Leave undone what has not begun; cancel what has.
    """
    if isinstance(work, Deferred):
        work.addErrback(lambda _: None)
        work.cancel()
    elif isinstance(work, Coroutine):
        work.close()


class Lock:
    """
    A lock; made by ``Client.lock``.

    Use it as an asynchronous context manager. It may be used again when it is left.

    :ivar name: the key that it is.
    :ivar token: grows from holder to holder; ``None`` as long as it was never taken.
    """

    def __init__(
        self,
        client: Client,
        reactor: IReactorTime,
        seconds: Callable[[], float],
        name: str,
        ttl: float,
        *,
        holder: str,
        wait: float | None,
        timeout: float,
    ) -> None:
        """
        Be ready to take it.

        :param seconds: the time, as something that is never set.
        :param holder: is shown to others.
        :param wait: seconds to wait for other holders; ``None`` for ever.
        :param timeout: seconds for each request.
        """
        if not ttl >= SHORTEST_TTL:
            raise ValueError(
                f"a lock lives for at least {SHORTEST_TTL:g} s, not {ttl!r} s"
            )
        self._client = client
        self._reactor = reactor
        self._seconds = seconds
        self.name = name
        self._ttl = ttl
        self._holder = holder
        self._wait = wait
        self._timeout = timeout
        #: By how much a lock is taken for lost before it may have expired.
        self._margin = min(1.0, ttl / 3)
        self.token: int | None = None
        self._value = ""
        self._index = 0
        self._valid_until = 0.0
        #: Why it is not held; ``None`` while it is, as far as anybody has noticed.
        self._reason: str | None = "not taken yet"
        self._keeping: Deferred[None] | None = None
        self._told: list[Deferred[LockLost | None]] = []
        self._is_in_use = False

    async def __aenter__(self) -> Lock:
        """
        Wait until it is held.

        :raises NotAcquired: if others have held it for too long.
        :raises HraftdError: if the cluster does not answer. If the error is
            :exc:`~hraftd.client.errors.Unknown`, or this is cancelled, it may be taken
            by nobody for as long as its time to live.
        """
        if self._is_in_use:
            raise RuntimeError(
                f"this lock on {self.name!r} is in use; each who wants it needs his own"
            )
        self._is_in_use = True
        try:
            await self._acquire()
        except BaseException:
            self._is_in_use = False
            raise
        self._keeping = Deferred.fromCoroutine(self._keep())
        self._keeping.addErrback(self._not_kept)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Give it back.

        If the cluster does not answer, it expires by itself.

        :raises LockLost: if it was lost before, and nothing else is wrong.
        """
        lost = self._loss()
        self._is_in_use = False
        self._stop_keeping()
        if lost is None:
            self._end("given back", None)
            giving = self._client.transact(
                [self.condition],
                [Delete(self.name)],
                timeout=min(self._timeout, self._ttl),
            )
            if kind is GeneratorExit:
                # Nobody goes on with this coroutine, so it cannot wait.
                giving.addErrback(lambda failure: failure.trap(*_NOT_GIVEN))
                return
            try:
                await giving
            except HraftdError:
                # What was to be done under it is done; the key will expire.
                return
        elif error is None:
            raise lost

    # Whether it is held.

    @property
    def condition(self) -> HasValue:
        """
        That it is held, as a condition for transactions: looked at when they are done.
        """
        return HasValue(self.name, self._value)

    @property
    def is_held(self) -> bool:
        """
        Whether it certainly is still held, by the clock of this machine.
        """
        return self._loss() is None

    def check(self) -> None:
        """
        Make sure that it is held.

        :raises LockLost: if that is not certain.
        """
        lost = self._loss()
        if lost is not None:
            raise lost

    def lost(self) -> Deferred[LockLost | None]:
        """
        Wait for its loss.

        :return: fires with the error if it is lost, with ``None`` when it is given
            back. It may be cancelled.
        """
        told: Deferred[LockLost | None] = Deferred(self._told.remove)
        loss = self._loss()
        if loss is not None:
            told.callback(loss)
        else:
            self._told.append(told)
        return told

    def guard(self, work: Awaitable[_T]) -> Deferred[_T]:
        """
        Do something as long as it is held; when it is lost, cancel that.

        :param work: a coroutine or a Deferred.
        :return: fires as that does; fails with :exc:`~hraftd.client.errors.LockLost`
            if the lock was lost before that was done. If it is lost already, a
            coroutine is not even begun.
        """
        loss = self._loss()
        if loss is not None:
            # Nothing of it is done, not even what comes before its first wait.
            _abandon(work)
            return fail(loss)
        doing: Deferred[_T] = ensureDeferred(work)  # type: ignore[arg-type]
        outcome: Deferred[_T] = Deferred(lambda _: doing.cancel())
        lost = self.lost()

        def on_loss(error: LockLost | None) -> None:
            if not outcome.called:
                text = f"the lock {self.name!r} was given back meanwhile"
                outcome.errback(Failure(error or LockLost(text)))
                doing.cancel()

        def done(result: Any) -> None:
            lost.cancel()
            if not outcome.called:
                outcome.callback(result)

        lost.addCallbacks(on_loss, lambda failure: failure.trap(CancelledError))
        doing.addBoth(done)
        return outcome

    def _loss(self) -> LockLost | None:
        if self._reason is None and self._seconds() >= self._valid_until:
            self._stop_keeping()
            self._lose("it was not renewed in time, and may have expired")
        if self._reason is None:
            return None
        return LockLost(f"the lock {self.name!r} is not held: {self._reason}")

    def _lose(self, reason: str) -> None:
        self._end(reason, LockLost(f"the lock {self.name!r} is not held: {reason}"))

    def _end(self, reason: str, loss: LockLost | None) -> None:
        """
        Take note that it is held no more, and tell everybody who waits for that.
        """
        self._reason = reason
        told, self._told = self._told, []
        for one in told:
            one.callback(loss)

    # How it is taken and kept.

    async def _acquire(self) -> None:
        deadline = None if self._wait is None else self._seconds() + self._wait
        while True:
            # Each time another one, since each may come to be there.
            self._value = f"{uuid4().hex} {self._holder}"
            began = self._seconds()
            try:
                index = await self._client.set(
                    self.name,
                    self._value,
                    ttl=self._ttl,
                    if_absent=True,
                    timeout=self._timeout,
                )
            except NotMet as other:
                if other.found is not None:
                    await self._until_free(other.found, deadline)
                continue
            self._taken(index, began)
            if self.is_held:
                self.token = index
                return
            # It took so long that it may have expired; so it has to.

    def _taken(self, index: int, began: float) -> None:
        """
        Take note that the key is ours.

        :param began: when that was asked for, which was before it was done.
        """
        self._index = index
        self._valid_until = began + self._ttl - self._margin
        self._reason = None

    async def _until_free(self, found: Found, deadline: float | None) -> None:
        """
        Wait until the key is not what it was found to be.

        :raises NotAcquired: if that takes too long.
        """
        text = f"{self.name!r} is held by {holder_in(found.value) or 'somebody else'}"
        if deadline is None:
            await self._freed(found)
            return
        await within(
            self._reactor,
            deadline - self._seconds(),
            Deferred.fromCoroutine(self._freed(found)),
            lambda: NotAcquired(text),
        )

    async def _freed(self, found: Found) -> None:
        watch = self._client.watch(self.name, after=found.index, patience=self._timeout)
        try:
            async for event in watch:
                if event.key == self.name and event.kind != "set":
                    return
        except Compacted:
            # Much has happened since the key was looked at; time to look again.
            return
        finally:
            await watch.close()

    async def _keep(self) -> None:
        """
        Set the key anew, again and again.
        """
        renewal = self._seconds() + self._ttl / 3
        while True:
            await deferLater(self._reactor, max(0.0, renewal - self._seconds()))
            began = self._seconds()
            renewal = began + self._ttl / 3
            left = self._valid_until - began
            if left <= 0:
                self._lose("it was not renewed in time, and may have expired")
                return
            try:
                index = await self._client.set(
                    self.name,
                    self._value,
                    ttl=self._ttl,
                    if_index=self._index,
                    timeout=left,
                )
            except NotMet as error:
                if error.found is None or error.found.value != self._value:
                    self._lose("it has expired, or somebody has removed it")
                    return
                # A renewal of which no answer came has been done. Ours is still to be.
                self._index, renewal = error.found.index, began
            except (Unavailable, Unknown):
                renewal = self._seconds() + PAUSE
            else:
                self._taken(index, began)

    def _stop_keeping(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()

    def _not_kept(self, failure: Failure) -> None:
        """
        Take note of the end of what keeps it.
        """
        if failure.check(CancelledError) is not None:
            if self._keeping is not None:
                self._lose("it is not renewed any more: the client was closed")
            return
        if failure.check(Failed) is None:
            self._lose("it is not renewed any more, because of an error")
            failure.raiseException()
        self._lose(f"it is not renewed any more: {failure.getErrorMessage()}")

"""
How long things are waited for on behalf of a client, and tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

__all__ = ["Deadline", "Patience", "within"]

_log = Logger()

_Outcome = TypeVar("_Outcome")

#: Seconds between two attempts.
PAUSE = 0.05


def within(
    clock: IReactorTime,
    seconds: float,
    pending: Deferred[_Outcome],
    too_late: _Outcome,
) -> Deferred[_Outcome]:
    """
    Wait for an outcome, so many seconds at most.

    What is waited for is cancelled when the time is over, or when the waiting is; a
    failure that comes after that is logged, since nobody else hears of it.

    :param too_late: the outcome when the time is over.
    """

    def abandon(_: Deferred[_Outcome]) -> None:
        expiry.cancel()
        pending.cancel()

    def expire() -> None:
        outcome.callback(too_late)
        pending.cancel()

    def settled(result: _Outcome) -> None:
        if expiry.active():
            expiry.cancel()
            outcome.callback(result)

    def failed(failure: Failure) -> None:
        if expiry.active():
            expiry.cancel()
            outcome.errback(failure)
        else:
            _nobody_waits(failure)

    outcome: Deferred[_Outcome] = Deferred(abandon)
    expiry = clock.callLater(seconds, expire)
    pending.addCallbacks(settled, failed)
    return outcome


def _nobody_waits(failure: Failure) -> None:
    if failure.check(CancelledError) is None:
        _log.failure("a request that nobody waits for any more failed", failure=failure)


class Deadline:
    """
    The same time for each of many who wait: as :func:`within`, with one timer for all.

    For what there are thousands of at a time. Who came first is late first, so only
    the time of that one has to be watched.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        """
        Give each of them so many seconds.
        """
        self._clock = clock
        self._seconds = seconds
        #: Until when, for what, and what it is when that is over; in this order.
        self._waiting: dict[Deferred[Any], tuple[float, Deferred[Any], Any]] = {}
        self._timer: IDelayedCall | None = None

    def wait(
        self, pending: Deferred[_Outcome], too_late: _Outcome
    ) -> Deferred[_Outcome]:
        """
        Wait for an outcome; see :func:`within`.
        """
        outcome: Deferred[_Outcome] = Deferred(self._abandon)
        due = self._clock.seconds() + self._seconds
        self._waiting[outcome] = due, pending, too_late
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._expire)
        pending.addCallbacks(
            self._settled,
            self._failed,
            callbackArgs=(outcome,),
            errbackArgs=(outcome,),
        )
        return outcome

    def _settled(self, result: _Outcome, outcome: Deferred[_Outcome]) -> None:
        if outcome in self._waiting:
            self._forget(outcome)
            outcome.callback(result)

    def _failed(self, failure: Failure, outcome: Deferred[Any]) -> None:
        if outcome in self._waiting:
            self._forget(outcome)
            outcome.errback(failure)
        else:
            _nobody_waits(failure)

    def _abandon(self, outcome: Deferred[Any]) -> None:
        if outcome in self._waiting:
            _, pending, _ = self._waiting[outcome]
            self._forget(outcome)
            pending.cancel()

    def _forget(self, outcome: Deferred[Any]) -> None:
        del self._waiting[outcome]
        if not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        now = self._clock.seconds()
        late = []
        for outcome, (due, pending, too_late) in self._waiting.items():
            if due > now:
                self._timer = self._clock.callLater(due - now, self._expire)
                break
            late.append((outcome, pending, too_late))
        else:
            self._timer = None
        # All of them first: who is told may begin to wait anew, or end another's wait.
        for outcome, _, _ in late:
            del self._waiting[outcome]
        for outcome, pending, too_late in late:
            if not outcome.called:
                outcome.callback(too_late)
            pending.cancel()


class Patience:
    """
    Tries again what cannot be done while leaders change, for some seconds.

    Only for what has not happened: whatever may have is never tried again.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        """
        Go on for so many seconds after each first attempt.
        """
        self._clock = clock
        self._seconds = seconds
        self._ended = False

    def end(self) -> None:
        """
        Try nothing again from now on.
        """
        self._ended = True

    def insist(
        self,
        attempt: Callable[[], Deferred[_Outcome]],
        *worth_another: type[Exception],
    ) -> Deferred[_Outcome]:
        """
        Make attempts until one succeeds.

        :param worth_another: an attempt that fails with anything else was the last.
        :return: as the last attempt. Cancelling ends the one under way.
        """
        last = self._clock.seconds() + self._seconds - PAUSE

        def failed(failure: Failure) -> Deferred[_Outcome]:
            failure.trap(*worth_another)
            if self._ended or self._clock.seconds() > last:
                failure.raiseException()
            return deferLater(self._clock, PAUSE).addCallback(again)

        def again(_: None = None) -> Deferred[_Outcome]:
            # The first attempt makes no more of all this than one errback.
            return attempt().addErrback(failed)

        return again()

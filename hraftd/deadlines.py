"""
How long things are waited for on behalf of a client, and tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

__all__ = ["Patience", "within"]

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
        elif failure.check(CancelledError) is None:
            _log.failure(
                "a request that nobody waits for any more failed", failure=failure
            )

    outcome: Deferred[_Outcome] = Deferred(abandon)
    expiry = clock.callLater(seconds, expire)
    pending.addCallbacks(settled, failed)
    return outcome


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

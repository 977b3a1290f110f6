"""
How long things are waited for, and how.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["steady_seconds", "within"]

_T = TypeVar("_T")


def steady_seconds(reactor: IReactorTime) -> Callable[[], float]:
    """
    Return a clock that goes at the reactor's pace but is never set.

    A reactor's own one usually can be: it is the time of day. Whatever is no real
    reactor, as in tests, is taken at its word.
    """
    if isinstance(reactor, ReactorBase):
        return time.monotonic
    seconds: Callable[[], float] = reactor.seconds
    return seconds


def within(
    reactor: IReactorTime,
    seconds: float | None,
    pending: Deferred[_T],
    too_late: Callable[[], Exception],
) -> Deferred[_T]:
    """
    Wait for something, so many seconds at most, if any are given.

    What is waited for is cancelled when the time is over, or when the waiting is.
    However it ends then, the waiting has ended with the error that the time is over,
    or that it was cancelled: HTTP clients have many names for either.

    :param too_late: makes the error for when the time is over.
    """
    expiry: IDelayedCall | None = None
    is_over = False

    def end() -> bool:
        nonlocal is_over
        was_over, is_over = is_over, True
        if expiry is not None and expiry.active():
            expiry.cancel()
        return not was_over

    def abandon(_: Deferred[_T]) -> None:
        end()
        pending.cancel()

    def expire() -> None:
        end()
        outcome.errback(Failure(too_late()))
        pending.cancel()

    def settled(result: Any) -> None:
        if end():
            # Called or failed, as it is.
            outcome.callback(result)

    outcome: Deferred[_T] = Deferred(abandon)
    if seconds is not None:
        expiry = reactor.callLater(max(0.0, seconds), expire)
    pending.addBoth(settled)
    return outcome

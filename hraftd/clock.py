"""
Time that only goes forward.

Twisted's reactors measure time with the wall clock. When that is set back, every
``callLater`` waits that much longer: heartbeats and elections stop. When it is set
forward, all timers fire at once: followers campaign against a healthy leader.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

__all__ = ["use_monotonic_time"]


def use_monotonic_time(reactor: ReactorBase) -> None:
    """
    Let a reactor measure time with the monotonic clock, for all that it runs.

    Calls that are scheduled already keep what is left of their delay. From now on
    ``reactor.seconds`` is no time of day.
    """
    if reactor.seconds is time.monotonic:
        return
    offset = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    for call in reactor.getDelayedCalls():
        call.delay(offset)

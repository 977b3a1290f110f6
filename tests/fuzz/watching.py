"""
What is true of a server whatever it is sent: nothing loud in the log, and no growth.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.logger import LogLevel, eventAsText, globalLogPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Growth", "attempt", "quiet"]


@contextmanager
def quiet(*silent: str) -> Iterator[None]:
    """
    Fail if anything is logged as a failure or an error, or at all from some modules.

    :param silent: what the names of these begin with.
    """
    events: list[str] = []
    levels = (LogLevel.error, LogLevel.critical)

    def observe(event: dict[str, Any]) -> None:
        if (
            event.get("log_failure")
            or event["log_level"] in levels
            or event["log_namespace"].startswith(silent)
        ):
            events.append(eventAsText(event, includeTimestamp=False))

    # What was left by whoever ran before is no fault of this.
    gc.collect()
    globalLogPublisher.addObserver(observe)
    try:
        yield
        # What is left in a Deferred is logged when that goes.
        gc.collect()
    except BaseException as error:
        # An answer of 500 comes with what has gone wrong.
        error.add_note("".join(events[:1]))
        raise
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not events, f"{len(events)} lines in the log, the first is {events[0]}"


@contextmanager
def attempt(seed: int, number: int, sent: object) -> Iterator[None]:
    """
    Say of an error which attempt it came from, and what was sent.
    """
    try:
        yield
    except BaseException as error:
        error.add_note(f"attempt {number} of seed {seed}: {sent!r}"[:4000])
        raise


@define
class Growth:
    """
    How many more objects there are than at some moment.

    Objects rather than bytes: they can be counted exactly and without slowing anything
    down, and nothing in a server grows without them but what has a limit of its own.
    """

    _before: int = 0

    def begin(self) -> None:
        """
        Count from here, when all that is made only once has been made.
        """
        self._before = _objects()

    def objects(self) -> int:
        """
        Return how many there are now more than then.
        """
        return _objects() - self._before


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())

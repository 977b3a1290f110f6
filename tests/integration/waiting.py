"""
Waiting for a condition, never for a time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEADLINE", "PAUSE", "until"]

#: Seconds after which a condition that does not come true fails its test. Much more
#: than anything takes, so that a busy machine fails no test.
DEADLINE = 30.0

#: Seconds between two looks at a condition.
PAUSE = 0.02


def until(
    condition: Callable[[], Any], what: str = "it", seconds: float = DEADLINE
) -> Any:
    """
    Wait for a condition, and return its true value.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} does not come true"
        time.sleep(PAUSE)
    return value

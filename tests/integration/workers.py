"""
Threads that go on until a test has seen enough.
"""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from threading import Thread
    from types import TracebackType

__all__ = ["Workers"]


class Workers:
    """
    A few threads. Use it as a context manager; when it is left, all have stopped.

    Each looks at ``_stopping`` between two requests.
    """

    _threads: list[Thread]

    def __init__(self) -> None:
        """
        Begin with none.
        """
        self._stopping = Event()
        self._threads = []

    def __enter__(self) -> Self:
        """
        Begin.
        """
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Stop.
        """
        self.stop()

    def stop(self) -> None:
        """
        Let all requests that are under way end, and begin no more.
        """
        self._stopping.set()
        for thread in self._threads:
            thread.join()

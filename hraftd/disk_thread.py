"""
The one thread that waits for the disk, so that the reactor's need not.

Three kinds of work, each in the order in which it was asked for: what is urgent comes
before what is not, and what nobody asked for is done while there is nothing else.
Work that has begun is never interrupted.
"""

from __future__ import annotations

from collections import deque
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads

__all__ = ["DiskThread"]

_T = TypeVar("_T")

#: What to do, and whom to tell what it returned or raised.
_Job: TypeAlias = (
    "tuple[Callable[[], Any], Callable[[Any], None], Callable[[Exception], None]]"
)


class DiskThread:
    """
    One thread that does one thing after the other.
    """

    def __init__(self, reactor: IReactorFromThreads, idle: Callable[[], bool]) -> None:
        """
        Start nothing yet.

        :param reactor: in whose thread all answers are given.
        :param idle: does a little of what is left to do whenever there is time, and
            returns whether there is more. It must not raise.
        """
        self._reactor = reactor
        self._idle = idle
        self._urgent: deque[_Job] = deque()
        self._others: deque[_Job] = deque()
        #: One truth for each job in the two, and a falsehood to end with.
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._thread: Thread | None = None

    def run(
        self,
        work: Callable[[], _T],
        done: Callable[[_T], None],
        failed: Callable[[Exception], None],
        *,
        is_urgent: bool = False,
    ) -> None:
        """
        Do this when its turn comes.

        :param done: is called in the reactor's thread with what ``work`` returned,
        :param failed: or this one with what it raised.
        :param is_urgent: whether it goes before all that is not and has not begun.
        """
        if self._thread is None:
            # A daemon, since a process that has no time to close its storage should
            # end all the same; SQLite is made for that.
            self._thread = Thread(target=self._run, name="hraftd disk", daemon=True)
            self._thread.start()
        (self._urgent if is_urgent else self._others).append((work, done, failed))
        self._calls.put(True)

    def stop(self) -> None:
        """
        Wait until all is done that was asked for, and for the end of the thread.
        """
        if self._thread is not None:
            self._calls.put(False)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while self._next():
            work, done, failed = (self._urgent or self._others).popleft()
            try:
                result = work()
            except Exception as error:
                self._reactor.callFromThread(failed, error)
            else:
                self._reactor.callFromThread(done, result)
                del result
            # Do not hold on to entries, which may be large, while idle.
            del work, done, failed

    def _next(self) -> bool:
        """
        Wait for the next job, and use the time until there is one.
        """
        while self._calls.empty() and self._idle():
            pass
        return self._calls.get()

"""
Many schedules, one after the other or several at once.

What a schedule comes to depends on its :class:`Order` alone, and results are handed out
in the order of their seeds. So whoever reads them cannot tell how many processes there
were, and of several that fail it is always the first.
"""

from __future__ import annotations

import signal
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen
from twisted.logger import globalLogBeginner

from hraftd.simulator.schedule import Schedule, ScheduleFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

__all__ = ["Order", "Result", "run", "run_many", "silence"]


@frozen
class Order:
    """
    What is to be run.
    """

    seed: int
    seconds: float = 10.0
    servers: int | None = None
    only: tuple[str, ...] | None = None
    is_traced: bool = False

    def schedule(self) -> Schedule:
        """
        Make the schedule, and do not begin it.
        """
        return Schedule(
            self.seed,
            seconds=self.seconds,
            servers=self.servers,
            only=self.only,
            is_traced=self.is_traced,
        )


@frozen
class Result:
    """
    What came of it.
    """

    seed: int
    #: What was wrong and how to see it again, if anything was.
    failure: str | None
    #: Seconds of virtual time.
    seconds: float
    events: int
    #: Of clients.
    requests: int
    seen: Counter[str] = field(factory=Counter)
    #: Of the transcript.
    lines: tuple[str, ...] = ()


def silence() -> None:
    """
    Let servers log to nobody but their schedule.
    """
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)


def run(order: Order) -> Result:
    """
    Run one schedule.
    """
    schedule = order.schedule()
    failure = None
    try:
        schedule.run()
    except ScheduleFailed as error:
        failure = str(error)
    return Result(
        order.seed,
        failure,
        schedule.world.now,
        schedule.world.events,
        len(schedule.clients.operations),
        schedule.transcript.seen,
        tuple(schedule.transcript.lines),
    )


def _begin_process() -> None:
    # An interrupt goes to all processes of a terminal; the first one sees to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence()


def run_many(
    order: Order, count: int | None, minutes: float | None, jobs: int
) -> Iterator[Result]:
    """
    Run schedules, of that seed and those after it, and stop behind one that fails.

    :param count: how many; as many as there is time for if not given.
    :param minutes: no schedule begins after that time.
    :param jobs: how many processes.
    """
    ends = None if minutes is None else monotonic() + minutes * 60
    orders = _orders(order, count, lambda: ends is None or monotonic() < ends)
    if jobs == 1:
        for one in orders:
            result = run(one)
            yield result
            if result.failure is not None:
                return
        return
    with ProcessPoolExecutor(jobs, initializer=_begin_process) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for one in orders:
                waiting.append(pool.submit(run, one))
                # A few more than there are processes, so that none has to wait.
                if len(waiting) > 2 * jobs:
                    result = waiting.popleft().result()
                    yield result
                    if result.failure is not None:
                        return
            while waiting:
                result = waiting.popleft().result()
                yield result
                if result.failure is not None:
                    return
        finally:
            pool.shutdown(cancel_futures=True)


def _orders(
    order: Order, count: int | None, is_time: Callable[[], bool]
) -> Iterator[Order]:
    number = 0
    # The first one in any case.
    while number != count and (not number or is_time()):
        yield evolve(order, seed=order.seed + number)
        number += 1

"""
Virtual time: one queue of events for the whole world, and a clock for each process.

Nothing takes time but what is said to. The next event is always the earliest, and of
those at the same moment the one that was asked for first; so a world in which chance
comes from a seed happens again exactly as it did.

A :class:`Process` is what runs on a machine from its start to its end. Its clock may go
faster or slower than the world's. While it is paused, as by ``SIGSTOP``, what should
happen to it piles up; when it has ended, nothing happens to it any more.
:class:`ProcessClock` is the ``IReactorTime`` that its services are given.
"""

from __future__ import annotations

from functools import partial
from heapq import heappop, heappush
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Event", "Process", "ProcessClock", "World"]


@define(eq=False)
class Event:
    """
    Something that happens at a moment; to a process, or to the world.
    """

    run: Callable[..., object]
    arguments: tuple[Any, ...]
    process: Process | None
    is_cancelled: bool = False
    has_happened: bool = False
    #: Its place among all that were ever put into the queue; it may be put there again.
    place: int = 0


@define(eq=False)
class Process:
    """
    What runs on a machine, from its start to its end.
    """

    name: str
    #: How many seconds its clock counts in one of the world's.
    rate: float = 1.0
    is_alive: bool = True
    is_paused: bool = False
    #: What would have happened while it was paused.
    backlog: list[Event] = field(factory=list)


class World:
    """
    The time that everything shares, and what is going to happen.

    :ivar now: seconds since the world began.
    :ivar events: how many things have happened.
    :ivar happened: called after each event that happened to a process.
    """

    happened: Callable[[Process], object] | None = None

    def __init__(self) -> None:
        """
        Begin at zero, with nothing to come.
        """
        self.now = 0.0
        self.events = 0
        self._queue: list[tuple[float, int, Event]] = []
        self._asked = 0

    def at(
        self,
        time: float,
        process: Process | None,
        run: Callable[..., object],
        *arguments: Any,
    ) -> Event:
        """
        Let something happen at a moment, at once if that is over.

        :param process: to which it happens; ``None`` for the world.
        """
        event = Event(run, arguments, process)
        self.put(time, event)
        return event

    def put(self, time: float, event: Event) -> None:
        """
        Let an event happen at that moment only, at once if that is over.
        """
        self._asked += 1
        event.place = self._asked
        heappush(self._queue, (max(time, self.now), self._asked, event))

    def after(
        self,
        seconds: float,
        process: Process | None,
        run: Callable[..., object],
        *arguments: Any,
    ) -> Event:
        """
        Let something happen after so many seconds of the world.
        """
        return self.at(self.now + seconds, process, run, *arguments)

    def run_until(self, time: float) -> None:
        """
        Let everything happen up to a moment.
        """
        queue = self._queue
        while queue and queue[0][0] <= time:
            self.now, place, event = heappop(queue)
            process = event.process
            if event.is_cancelled or event.place != place:
                continue
            if process is None:
                self.events += 1
                event.run(*event.arguments)
            elif not process.is_alive:
                continue
            elif process.is_paused:
                process.backlog.append(event)
            else:
                self.events += 1
                event.has_happened = True
                event.run(*event.arguments)
                if self.happened is not None:
                    self.happened(process)
        self.now = max(self.now, time)

    def to_come(self, process: Process) -> list[Event]:
        """
        Return what is going to happen to a process, as far as is known now.
        """
        queue = sorted(self._queue, key=itemgetter(0, 1))
        queued = [event for _, place, event in queue if event.place == place]
        return [
            event
            for event in (*process.backlog, *queued)
            if event.process is process and not event.is_cancelled
        ]

    def pause(self, process: Process) -> None:
        """
        Let nothing happen to a process until it is resumed.
        """
        process.is_paused = True

    def resume(self, process: Process, *, timers_first: bool = False) -> None:
        """
        Let everything happen to it now that should have meanwhile.

        :param timers_first: whether what it asked its clock for comes before what
            arrived from elsewhere, or after; a reactor may do both.
        """
        process.is_paused = False
        backlog, process.backlog = process.backlog, []
        backlog.sort(key=lambda event: _is_timer(event) is not timers_first)
        for event in backlog:
            # The same object: whoever asked for it may still cancel it.
            self.put(self.now, event)


def _is_timer(event: Event) -> bool:
    return isinstance(event, _DelayedCall)


@implementer(IDelayedCall)
@define(eq=False)
class _DelayedCall(Event):
    """
    What a process has asked its clock for.
    """

    _clock: ProcessClock = field(kw_only=True)
    #: When it is due, by that clock.
    _time: float = field(kw_only=True)

    def getTime(self) -> float:
        """
        Return when it is due, by the process's clock.
        """
        return self._time

    def cancel(self) -> None:
        """
        Let it not happen.
        """
        self._check_active()
        self.is_cancelled = True

    def delay(self, secondsLater: float) -> None:
        """
        Let it happen so much later than it would.
        """
        self._move(self._time + secondsLater)

    def reset(self, secondsFromNow: float) -> None:
        """
        Let it happen so long from now.
        """
        self._move(self._clock.seconds() + secondsFromNow)

    def _move(self, time: float) -> None:
        """
        Let it happen at another time by the process's clock.
        """
        self._check_active()
        self._time = time
        self._clock.put(time, self)

    def _check_active(self) -> None:
        if self.has_happened:
            raise AlreadyCalled
        if self.is_cancelled:
            raise AlreadyCancelled

    def active(self) -> bool:
        """
        Whether it is still to happen.
        """
        return not (self.has_happened or self.is_cancelled)


@implementer(IReactorTime)
class ProcessClock:
    """
    Time as one process sees it.
    """

    def __init__(self, world: World, process: Process) -> None:
        """
        Begin now, at zero.
        """
        self._world = world
        self._process = process
        self._began = world.now
        self._rate = process.rate

    def seconds(self) -> float:
        """
        Return how long the process has run, as it believes.
        """
        return (self._world.now - self._began) * self._rate

    def callLater(
        self, delay: float, callable: Any, *args: object, **kw: object
    ) -> _DelayedCall:
        """
        Let something happen to this process.
        """
        time = self.seconds() + delay
        run = partial(callable, **kw) if kw else callable
        call = _DelayedCall(run, args, self._process, clock=self, time=time)
        self.put(time, call)
        return call

    def put(self, time: float, event: Event) -> None:
        """
        Let something happen when this clock shows that.
        """
        # A hair later, so that it has come by this clock too.
        self._world.put(self._began + time / self._rate + 1e-9, event)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        Return what is still to happen of what this clock was asked for.
        """
        events = self._world.to_come(self._process)
        return [event for event in events if isinstance(event, _DelayedCall)]

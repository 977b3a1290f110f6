"""
Virtual time: what happens when, and to whom not at all.
"""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface.verify import verifyObject

from hraftd.simulator.clock import Process, ProcessClock, World


def test_the_earliest_comes_first_and_of_equal_ones_the_first() -> None:
    """
    There is one order of events, and it is the order of time.
    """
    world, seen = World(), list[str]()
    for name, time in [("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.5)]:
        world.at(time, None, seen.append, name)
    world.run_until(1.5)
    assert (seen, world.now) == (["a", "b"], 1.5)
    world.at(0.5, None, seen.append, "late")
    world.run_until(3.0)
    assert (seen, world.now, world.events) == (["a", "b", "late", "c", "d"], 3.0, 5)


def test_a_clock_of_another_speed() -> None:
    """
    A process with a slow clock waits longer, and cannot tell.
    """
    world = World()
    world.run_until(10.0)
    process = Process("s1", rate=0.5)
    clock = ProcessClock(world, process)
    seen: list[tuple[float, float]] = []
    clock.callLater(1.0, lambda: seen.append((clock.seconds(), world.now)))
    world.run_until(11.9)
    assert not seen
    world.run_until(12.1)
    [(own, real)] = seen
    assert (own, real) == pytest.approx((1.0, 12.0))
    assert own >= 1.0


@pytest.mark.parametrize("timers_first", [False, True])
def test_a_paused_process_makes_up_for_everything(timers_first: bool) -> None:
    """
    What should have happened meanwhile does so at once, timers first or last.
    """
    world, process, seen = World(), Process("s1"), list[str]()
    clock = ProcessClock(world, process)
    timer = clock.callLater(1.0, seen.append, "timer")
    cancelled = clock.callLater(1.0, seen.append, "never")
    world.at(1.5, process, seen.append, "message")
    world.at(2.0, process, cancelled.cancel)
    world.run_until(0.5)
    world.pause(process)
    world.run_until(5.0)
    assert (seen, timer.active()) == ([], True)
    world.resume(process, timers_first=timers_first)
    if timers_first:
        # It comes before whatever would have cancelled it.
        with pytest.raises(AlreadyCalled):
            world.run_until(5.0)
        assert seen == ["timer", "never", "message"]
    else:
        world.run_until(5.0)
        assert seen == ["message", "timer"]


def test_nothing_happens_to_a_process_that_has_ended() -> None:
    """
    Its timers and whatever was on its way to it are gone.
    """
    world, process, seen = World(), Process("s1"), list[str]()
    ProcessClock(world, process).callLater(1.0, seen.append, "timer")
    world.at(1.0, process, seen.append, "message")
    process.is_alive = False
    world.run_until(2.0)
    assert (seen, world.events) == ([], 0)


def test_whoever_looks_is_told_of_events_to_processes() -> None:
    """
    After each event to a process, and after no other.
    """
    world, process = World(), Process("s1")
    told: list[Process] = []
    world.happened = told.append
    world.at(1.0, None, int)
    world.at(2.0, process, int)
    world.run_until(3.0)
    assert told == [process]


def test_a_delayed_call_keeps_the_rules_of_twisted() -> None:
    """
    It is cancelled, moved and looked at as any reactor's.
    """
    world, process = World(), Process("s1", rate=2.0)
    clock = ProcessClock(world, process)
    verifyObject(IReactorTime, clock)
    seen: list[float] = []
    call = clock.callLater(1.0, partial(seen.append), 1.0)
    verifyObject(IDelayedCall, call)
    assert (call.getTime(), call.active()) == (1.0, True)
    call.delay(2.0)
    other = clock.callLater(1.0, seen.append, 2.0)
    world.run_until(0.4)
    call.reset(1.0)
    assert clock.getDelayedCalls() == [other, call]
    world.run_until(5.0)
    assert (seen, call.active()) == ([2.0, 1.0], False)
    with pytest.raises(AlreadyCalled):
        call.cancel()
    other = clock.callLater(1.0, seen.append, 3.0)
    other.cancel()
    with pytest.raises(AlreadyCancelled):
        other.delay(1.0)
    world.run_until(9.0)
    assert (seen, clock.getDelayedCalls()) == ([2.0, 1.0], [])

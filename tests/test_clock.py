"""
Timers on a monotonic clock.
"""

from __future__ import annotations

import time

from twisted.internet.selectreactor import SelectReactor

from hraftd.clock import use_monotonic_time


class TestMonotonicTime:
    """
    A wall clock that jumps, and a reactor that does not notice.
    """

    def make_reactor(self) -> SelectReactor:
        """
        Make a reactor of our own; it is never run, only asked what is due.
        """
        return SelectReactor()

    def test_wall_clock_set_back_stops_timers_without_it(self) -> None:
        """
        The fault is real: a timer of a plain reactor waits for the wall clock.
        """
        reactor = self.make_reactor()
        wall = [1000.0]
        reactor.seconds = lambda: wall[0]
        fired: list[str] = []
        reactor.callLater(1, fired.append, "tick")
        wall[0] -= 7200 - 2
        reactor.runUntilCurrent()
        assert fired == []

    def test_wall_clock_does_not_matter(self, monkeypatch) -> None:
        """
        With it, time is the monotonic clock's, whatever the wall clock says.
        """
        now = [50.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        reactor = self.make_reactor()
        use_monotonic_time(reactor)
        monkeypatch.setattr(time, "time", lambda: -7200.0)
        fired: list[str] = []
        reactor.callLater(1, fired.append, "tick")
        now[0] += 0.9
        reactor.runUntilCurrent()
        assert fired == []
        now[0] += 0.2
        reactor.runUntilCurrent()
        assert fired == ["tick"]

    def test_what_is_scheduled_keeps_its_delay(self, monkeypatch) -> None:
        """
        A call from before keeps what was left of its delay, also the second time.
        """
        reactor = self.make_reactor()
        reactor.seconds = lambda: 1_000_000.0
        fired: list[str] = []
        reactor.callLater(1, fired.append, "tick")
        now = [50.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        use_monotonic_time(reactor)
        use_monotonic_time(reactor)
        now[0] += 0.9
        reactor.runUntilCurrent()
        assert fired == []
        now[0] += 0.2
        reactor.runUntilCurrent()
        assert fired == ["tick"]

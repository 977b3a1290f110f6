"""
Waiting for an outcome, but not for ever: one at a time, and many with one timer.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.deadlines import Deadline, within


class WaitingContract:
    """
    What both ways to wait have in common.
    """

    def wait(self, pending: Deferred) -> Deferred:
        """
        Wait ten seconds.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """
        Begin with a clock.
        """
        self.clock = Clock()
        self.cancelled: list[Deferred] = []
        self.pending: Deferred = Deferred(self.cancelled.append)

    def assert_quiet(self) -> None:
        """
        Make sure that nothing is left to be called later.
        """
        assert self.clock.getDelayedCalls() == []

    def test_in_time(self) -> None:
        """
        What comes in time is the outcome, and the time is forgotten.
        """
        outcome = self.wait(self.pending)
        self.clock.advance(9.9)
        self.assertNoResult(outcome)
        self.pending.callback("result")
        assert self.successResultOf(outcome) == "result"
        self.assert_quiet()

    def test_there_already(self) -> None:
        """
        What is there already needs no time at all.
        """
        assert self.successResultOf(self.wait(succeed("result"))) == "result"
        self.assert_quiet()

    def test_failure(self) -> None:
        """
        A failure in time is the outcome too.
        """
        outcome = self.wait(self.pending)
        self.pending.errback(ZeroDivisionError())
        self.failureResultOf(outcome, ZeroDivisionError)
        self.assert_quiet()

    def test_too_late(self) -> None:
        """
        When the time is over that is the outcome, and what was waited for is cancelled.
        """
        outcome = self.wait(self.pending)
        self.clock.advance(10)
        assert self.successResultOf(outcome) == "too late"
        assert self.cancelled == [self.pending]
        self.assert_quiet()

    def test_cancelled(self) -> None:
        """
        Who does not want to wait any more cancels what was waited for.
        """
        outcome = self.wait(self.pending)
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        assert self.cancelled == [self.pending]
        self.assert_quiet()

    def test_failure_of_what_was_cancelled(self) -> None:
        """
        What goes wrong when nobody waits any more is logged; the rest is no news.
        """
        stubborn: Deferred = Deferred(lambda it: it.errback(ZeroDivisionError()))
        outcome = self.wait(stubborn)
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        proud: Deferred = Deferred(lambda it: it.callback("result"))
        outcome = self.wait(proud)
        self.clock.advance(10)
        assert self.successResultOf(outcome) == "too late"
        self.assert_quiet()


class WithinTests(WaitingContract, SynchronousTestCase):
    """
    A timer of one's own.
    """

    def wait(self, pending: Deferred) -> Deferred:
        """
        See :class:`WaitingContract`.
        """
        return within(self.clock, 10, pending, "too late")


class DeadlineTests(WaitingContract, SynchronousTestCase):
    """
    One timer for all.
    """

    def setUp(self) -> None:
        """
        Begin with nobody waiting.
        """
        super().setUp()
        self.deadline = Deadline(self.clock, 10)

    def wait(self, pending: Deferred) -> Deferred:
        """
        See :class:`WaitingContract`.
        """
        return self.deadline.wait(pending, "too late")

    def start(self, count: int) -> list[Deferred]:
        """
        Let that many wait, each from a second later on.
        """
        outcomes = []
        for _ in range(count):
            outcomes.append(self.wait(Deferred(self.cancelled.append)))
            self.clock.advance(1)
        return outcomes

    def test_each_has_its_own_time(self) -> None:
        """
        It is over for one after the other, with no more than one timer.
        """
        outcomes = self.start(5)
        for late, _ in enumerate(outcomes):
            assert [one.called for one in outcomes] == [
                index < late for index in range(5)
            ]
            assert len(self.clock.getDelayedCalls()) == 1
            self.clock.advance(5 if late == 0 else 1)
        assert all(one.called for one in outcomes)
        self.assert_quiet()

    def test_the_first_one_goes(self) -> None:
        """
        Those behind it lose no time and gain none.
        """
        first, second = self.start(2)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(8)
        self.assertNoResult(second)
        self.clock.advance(1)
        assert self.successResultOf(second) == "too late"
        self.assert_quiet()

    def test_one_more_when_the_time_is_over(self) -> None:
        """
        Who begins to wait because another one's time is over has all of his own.
        """
        again: list[Deferred] = []
        first, second = self.start(2)
        first.addCallback(lambda _: again.append(self.wait(self.pending)))
        self.clock.advance(8)
        assert len(again) == 1
        self.clock.advance(1)
        assert self.successResultOf(second) == "too late"
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.advance(8.5)
        self.assertNoResult(again[0])
        self.clock.advance(0.5)
        assert self.successResultOf(again[0]) == "too late"
        self.assert_quiet()

    def test_all_at_once(self) -> None:
        """
        Those whose time is over together are told together, also if one ends another.
        """
        outcomes = [self.wait(Deferred(self.cancelled.append)) for _ in range(3)]
        outcomes[0].addCallback(lambda _: outcomes[1].cancel())
        self.clock.advance(10)
        self.failureResultOf(outcomes[1], CancelledError)
        assert self.successResultOf(outcomes[2]) == "too late"
        assert len(self.cancelled) == 3
        self.assert_quiet()

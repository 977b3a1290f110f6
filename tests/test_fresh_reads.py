"""
Who waits for a fresh read, without a server around: what is shared, and what is not.
"""

from __future__ import annotations

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from hraftd import fresh_reads
from hraftd.errors import Overloaded
from hraftd.fresh_reads import SharedQuestion, Waiting


@define(eq=False)
class Leader:
    """
    Whoever is asked, and answers when a test says so.
    """

    asked: list[Deferred[int]] = field(factory=list)

    def ask(self) -> Deferred[int]:
        """
        Take a question.
        """
        answer: Deferred[int] = Deferred()
        self.asked.append(answer)
        return answer


class WaitingTests(SynchronousTestCase):
    """
    Those who wait, each for something.
    """

    def test_for_whom_it_comes(self) -> None:
        """
        Those are answered, in their order, for whom it comes; the others wait on.
        """
        waiting: Waiting[str, int] = Waiting()
        order: list[int] = []
        for key in (3, 1, 2, 1):
            waiting.add(key).addCallback(lambda _, key=key: order.append(key))
        waiting.answer("now", lambda key: key <= 2)
        assert order == [1, 2, 1]
        waiting.answer("now")
        assert order == [1, 2, 1, 3]
        assert not waiting

    def test_an_error_is_for_each(self) -> None:
        """
        An exception fails every one of them.
        """
        waiting: Waiting[str, int] = Waiting()
        answers = [waiting.add(key) for key in range(3)]
        waiting.answer(ValueError("no"))
        for answer in answers:
            self.failureResultOf(answer, ValueError)
        assert not waiting

    def test_cancelled_by_the_one_before(self) -> None:
        """
        Who is cancelled while others are answered is not answered as well.
        """
        waiting: Waiting[str, int] = Waiting()
        first, second = waiting.add(1), waiting.add(2)
        first.addCallback(lambda _: second.cancel())
        waiting.answer("now")
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_added_by_the_one_before(self) -> None:
        """
        Who comes while others are answered has not waited for this answer.
        """
        waiting: Waiting[str, int] = Waiting()
        late: list[Deferred[str]] = []
        waiting.add(1).addCallback(lambda _: late.append(waiting.add(1)))
        waiting.answer("now")
        self.assertNoResult(late[0])

    def test_bound(self) -> None:
        """
        No more than the number wait; who is answered or gives up makes room.
        """
        self.patch(fresh_reads, "MAX_WAITING_READS", 2)
        waiting: Waiting[str, int] = Waiting()
        first, second = waiting.add(1), waiting.add(2)
        with pytest.raises(Overloaded):
            waiting.add(3)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        waiting.add(3)
        with pytest.raises(Overloaded):
            waiting.add(4)
        waiting.answer("now", lambda key: key == 2)
        self.successResultOf(second)
        waiting.add(4)


class SharedQuestionTests(SynchronousTestCase):
    """
    A question is asked once for all who wait.
    """

    def setUp(self) -> None:
        """
        Let nobody have asked.
        """
        self.leader = Leader()
        self.question = SharedQuestion(self.leader.ask)

    def test_one_at_a_time(self) -> None:
        """
        Those who come while it is asked share the next one, and only that.
        """
        first = self.question.ask()
        others = [self.question.ask() for _ in range(10)]
        assert len(self.leader.asked) == 1
        self.leader.asked[0].callback(5)
        assert self.successResultOf(first) == 5
        for other in others:
            self.assertNoResult(other)
        assert len(self.leader.asked) == 2
        last = self.question.ask()
        self.leader.asked[1].callback(6)
        for other in others:
            assert self.successResultOf(other) == 6
        self.assertNoResult(last)
        self.leader.asked[2].callback(7)
        assert self.successResultOf(last) == 7
        assert len(self.leader.asked) == 3

    def test_nobody_waits_nobody_asks(self) -> None:
        """
        After an answer nothing is asked until somebody comes.
        """
        self.question.ask()
        self.leader.asked[0].callback(5)
        assert len(self.leader.asked) == 1
        self.question.ask()
        assert len(self.leader.asked) == 2

    def test_who_gave_up_is_not_asked_for(self) -> None:
        """
        A next question for which nobody waits any more is not asked.
        """
        first, second = self.question.ask(), self.question.ask()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.leader.asked[0].callback(5)
        self.successResultOf(first)
        assert len(self.leader.asked) == 1

    def test_a_failure_is_for_those_who_shared_it(self) -> None:
        """
        A failure fails those for whom it was asked; for the others it is asked again.
        """
        first, second = self.question.ask(), self.question.ask()
        self.leader.asked[0].errback(ConnectionError("gone"))
        self.failureResultOf(first, ConnectionError)
        self.assertNoResult(second)
        self.leader.asked[1].callback(6)
        assert self.successResultOf(second) == 6

    def test_who_asks_in_an_answer(self) -> None:
        """
        Who asks again from within the answer waits for another question.
        """
        again: list[Deferred[int]] = []
        self.question.ask().addCallback(lambda _: again.append(self.question.ask()))
        self.leader.asked[0].callback(5)
        self.assertNoResult(again[0])
        assert len(self.leader.asked) == 2
        self.leader.asked[1].callback(6)
        assert self.successResultOf(again[0]) == 6

"""
The commands that clients wait for: who is answered what, and how much may wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from hraftd.errors import LeadershipLost, Overloaded
from hraftd.proposals import MAX_PENDING, MAX_PENDING_BYTES, Applied, Proposals
from hraftd.raft.messages import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

#: So many of these fit, and no more.
HALF = MAX_PENDING_BYTES // 2


def entry(index: int, term: int = 1) -> Entry:
    """
    Return an entry of that index and term.
    """
    return Entry(index, term, b"x")


class AnswerTests(SynchronousTestCase):
    """
    What becomes of a command is told once, and to the one who asked.
    """

    def setUp(self) -> None:
        """
        Begin with nobody waiting.
        """
        self.proposals = Proposals()

    def test_applied(self) -> None:
        """
        Who waits for that entry gets the result, nobody else.
        """
        first = self.proposals.wait(entry(1), 1)
        second = self.proposals.wait(entry(2), 1)
        self.proposals.applied(entry(1), "done")
        assert self.successResultOf(first) == Applied(1, "done")
        self.assertNoResult(second)
        self.proposals.applied(entry(2), None)
        assert self.successResultOf(second) == Applied(2, None)

    def test_nobody_waits(self) -> None:
        """
        Most entries are other servers' clients'.
        """
        self.proposals.applied(entry(7), "done")
        self.proposals.check_room(MAX_PENDING_BYTES)

    def test_another_leaders_entry_took_its_place(self) -> None:
        """
        The index alone does not say that a command was applied; its term does, too.
        """
        answer = self.proposals.wait(entry(3, term=1), 1)
        self.proposals.applied(entry(3, term=2), "another's")
        self.failureResultOf(answer, LeadershipLost)

    def test_leadership_lost(self) -> None:
        """
        All that were proposed in an earlier term fail; those of the new one wait on.
        """
        old = self.proposals.wait(entry(3, term=1), 1)
        new = self.proposals.wait(entry(4, term=3), 1)
        self.proposals.fail("no leader", but_of_term=3)
        assert "no leader" in str(self.failureResultOf(old, LeadershipLost).value)
        self.assertNoResult(new)
        self.proposals.fail("no leader")
        self.failureResultOf(new, LeadershipLost)

    def test_postponed_are_resumed_in_order(self) -> None:
        """
        Who came first is proposed first.
        """
        order: list[int] = []
        for number in range(5):
            self.proposals.postpone(1).addCallback(
                lambda _, number=number: order.append(number)
            )
        assert order == []
        self.proposals.resume()
        assert order == [0, 1, 2, 3, 4]
        self.proposals.resume()
        assert order == [0, 1, 2, 3, 4]

    def test_postponed_again_while_resumed(self) -> None:
        """
        Who has to wait anew when its turn comes waits for the next time.
        """
        again: list[Deferred[None]] = []
        self.proposals.postpone(1).addCallback(
            lambda _: again.append(self.proposals.postpone(1))
        )
        self.proposals.resume()
        [waiting] = again
        self.assertNoResult(waiting)
        self.proposals.resume()
        self.successResultOf(waiting)

    def test_one_that_is_resumed_gives_another_up(self) -> None:
        """
        A postponed command may be cancelled by what the one before it leads to.
        """
        second: list[Deferred[None]] = []
        first = self.proposals.postpone(1)
        first.addCallback(lambda _: second[0].cancel())
        second.append(self.proposals.postpone(1))
        self.proposals.resume()
        self.failureResultOf(second[0], CancelledError)
        self.proposals.check_room(MAX_PENDING_BYTES)

    def test_when_empty(self) -> None:
        """
        Fires when the last is answered, postponed ones included; at once if none is.
        """
        self.successResultOf(self.proposals.when_empty())
        answer = self.proposals.wait(entry(1), 1)
        postponed = self.proposals.postpone(1)
        empty = self.proposals.when_empty()
        self.proposals.applied(entry(1), None)
        self.successResultOf(answer)
        self.assertNoResult(empty)
        self.proposals.resume()
        self.successResultOf(postponed)
        self.successResultOf(empty)

    def test_when_empty_and_all_fail(self) -> None:
        """
        Those who are told that nothing is known do not wait any more.
        """
        answer = self.proposals.wait(entry(1), 1)
        empty = self.proposals.when_empty()
        self.proposals.fail("gone")
        self.failureResultOf(answer, LeadershipLost)
        self.successResultOf(empty)

    def test_waiting_for_it_is_given_up(self) -> None:
        """
        Who cancels is not told; another one is.
        """
        answer = self.proposals.wait(entry(1), 1)
        cancelled = self.proposals.when_empty()
        empty = self.proposals.when_empty()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.proposals.applied(entry(1), None)
        self.successResultOf(answer)
        self.successResultOf(empty)


class RoomTests(SynchronousTestCase):
    """
    What waits is bounded, in number and in bytes.
    """

    def setUp(self) -> None:
        """
        Begin with nobody waiting.
        """
        self.proposals = Proposals()

    def test_bytes(self) -> None:
        """
        As many as are allowed, and not one more.
        """
        self.proposals.wait(entry(1), HALF)
        self.proposals.check_room(HALF)
        self.proposals.postpone(HALF)
        self.proposals.check_room(0)
        with pytest.raises(Overloaded):
            self.proposals.check_room(1)

    def test_number(self) -> None:
        """
        As many commands, however small, postponed or proposed.
        """
        for index in range(1, MAX_PENDING // 2 + 1):
            self.proposals.wait(entry(index), 0)
            self.proposals.check_room(0)
            self.proposals.postpone(0)
        with pytest.raises(Overloaded):
            self.proposals.check_room(0)

    def test_etcd_a370b6f_what_has_ended_leaves_room(self) -> None:
        """
        However a command ends, its bytes are given back (etcd a370b6f).

        If one way out forgets that, the count grows for months until every proposal is
        refused, on a server that does nothing (etcd a370b6f).
        """

        def applied() -> Deferred[Applied]:
            answer = self.proposals.wait(entry(1), HALF)
            self.proposals.applied(entry(1), None)
            return answer

        def replaced() -> Deferred[Applied]:
            answer = self.proposals.wait(entry(1), HALF)
            self.proposals.applied(entry(1, term=2), None)
            return answer

        def failed() -> Deferred[Applied]:
            answer = self.proposals.wait(entry(1), HALF)
            self.proposals.fail("gone", but_of_term=2)
            return answer

        def given_up() -> Deferred[Applied]:
            answer = self.proposals.wait(entry(1), HALF)
            answer.cancel()
            self.proposals.applied(entry(1), None)
            return answer

        def resumed() -> Deferred[None]:
            postponed = self.proposals.postpone(HALF)
            self.proposals.resume()
            return postponed

        def resumed_and_proposed() -> Deferred[Applied]:
            answer: Deferred[Applied] = self.proposals.postpone(HALF).addCallback(
                lambda _: self.proposals.wait(entry(1), HALF)
            )
            self.proposals.resume()
            self.proposals.applied(entry(1), None)
            return answer

        def postponed_and_given_up() -> Deferred[None]:
            postponed = self.proposals.postpone(HALF)
            postponed.cancel()
            self.proposals.resume()
            return postponed

        ways: list[Callable[[], Deferred[object]]] = [
            applied,
            replaced,
            failed,
            given_up,
            resumed,
            resumed_and_proposed,
            postponed_and_given_up,
        ]
        for way in ways:
            for _ in range(3):
                self.proposals.check_room(HALF)
                outcome: list[object] = []
                way().addBoth(outcome.append)
                assert len(outcome) == 1, way
            # There is room for this only if nothing is counted.
            self.proposals.check_room(MAX_PENDING_BYTES)

    def test_a_command_that_does_not_fit_is_not_counted(self) -> None:
        """
        To be refused costs the others nothing.
        """
        for _ in range(3):
            with pytest.raises(Overloaded):
                self.proposals.check_room(MAX_PENDING_BYTES + 1)
        self.proposals.check_room(MAX_PENDING_BYTES)

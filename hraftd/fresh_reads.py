"""
Who waits to read a state that is fresh enough.

Two waits follow each other. First for an index: the leader names its commit index of a
moment at which it is sure to have led (:meth:`FreshReads.index`); a server that does
not lead asks the leader for one, once for all who wait (:class:`SharedQuestion`). Then
for the own state machine to have applied that index (:meth:`FreshReads.now_applied`).

Dissertation 6.4; how the leader makes sure is told in :mod:`hraftd.raft.read_index`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar, assert_never

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from hraftd.errors import LeadershipLost, Overloaded
from hraftd.leader_requests import Assurance, ReadIndex
from hraftd.raft.errors import NotLeader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.ready import ConfirmedRead

__all__ = ["MAX_WAITING_READS", "FreshReads", "SharedQuestion"]

#: So many reads may wait at a server for the same thing.
MAX_WAITING_READS = 10_000

_Answer = TypeVar("_Answer")
_Key = TypeVar("_Key")


def _always(_: object) -> bool:
    return True


class Waiting(dict["Deferred[_Answer]", _Key]):
    """
    Those who wait, each for something; who is cancelled waits no more.
    """

    def add(self, key: _Key) -> Deferred[_Answer]:
        """
        Let one more wait.

        :raises Overloaded: if there are too many.
        """
        if len(self) >= MAX_WAITING_READS:
            raise Overloaded("too many reads wait already; try again later")
        answer: Deferred[_Answer] = Deferred(self._forget)
        self[answer] = key
        return answer

    def _forget(self, answer: Deferred[_Answer]) -> None:
        self.pop(answer, None)

    def answer(
        self, result: _Answer | BaseException, comes: Callable[[_Key], bool] = _always
    ) -> None:
        """
        Answer those for whom it comes now; they wait no more.
        """
        for answer in [answer for answer, key in self.items() if comes(key)]:
            # The answer before it may have made this one be cancelled.
            if answer in self:
                del self[answer]
                if isinstance(result, BaseException):
                    answer.errback(result)
                else:
                    answer.callback(result)


class FreshReads:
    """
    The reads that wait at one server.
    """

    def __init__(
        self,
        core: ConsensusModule,
        *,
        applied: Callable[[], int],
        wake: Callable[[], object],
        commit: Callable[[], Deferred[Applied]],
        ask_leader: Callable[[LeaderRequest], Deferred[int]],
    ) -> None:
        """
        Begin with none.

        :param applied: returns the last index that the state machine has applied.
        :param wake: makes the server take a turn.
        :param commit: commits an entry, of no matter what, and applies it.
        :param ask_leader: has another server answer.
        """
        self._core = core
        self._applied = applied
        self._wake = wake
        self._commit = commit
        self._for_round: Waiting[int, int] = Waiting()
        self._for_index: Waiting[None, int] = Waiting()
        self._to_leader = {
            assurance: SharedQuestion(partial(ask_leader, ReadIndex(assurance)))
            for assurance in Assurance
        }

    @property
    def count(self) -> int:
        """
        How many wait, for whatever it is.
        """
        asking = sum(question.count for question in self._to_leader.values())
        return len(self._for_round) + len(self._for_index) + asking

    def barrier(self, assurance: Assurance) -> Deferred[None]:
        """
        See :meth:`hraftd.server.RaftServer.read_barrier`.
        """
        try:
            if self._core.led_term is not None:
                index = self.index(assurance)
            else:
                index = self._to_leader[assurance].ask()
        except Overloaded:
            return fail()
        return index.addCallback(self._until_applied)

    def _until_applied(self, index: int) -> Deferred[None] | None:
        return self._for_index.add(index) if index > self._applied() else None

    def index(self, assurance: Assurance) -> Deferred[int]:
        """
        See :meth:`hraftd.server.RaftServer.read_index`.
        """
        try:
            match assurance:
                case Assurance.BELIEF:
                    self._core.check_leader()
                    return succeed(self._applied())
                case Assurance.MAJORITY:
                    index = self._for_round.add(self._core.read_index())
                    self._wake()
                    return index
                case Assurance.LOG:
                    return self._commit().addCallback(lambda applied: applied.index)
                case _:
                    assert_never(assurance)
        except (NotLeader, Overloaded):
            return fail()

    def confirmed(self, confirmed_reads: Sequence[ConfirmedRead]) -> None:
        """
        Give an index to those who waited for these rounds.
        """
        for confirmed in confirmed_reads:
            self._for_round.answer(confirmed.index, confirmed.round.__ge__)

    def leadership_lost(self, reason: str) -> None:
        """
        Tell those who wait for a round that it will not come.
        """
        self._for_round.answer(LeadershipLost(reason))

    def now_applied(self, index: int) -> None:
        """
        Let those read who waited for that index, or one before.
        """
        if self._for_index:
            self._for_index.answer(None, lambda key: key <= index)

    def fail(self, error: Exception) -> None:
        """
        Tell all of them that they wait in vain.
        """
        self._for_round.answer(error)
        self._for_index.answer(error)
        for question in self._to_leader.values():
            question.fail(error)


class SharedQuestion:
    """
    A question that is asked once for all who want an answer younger than their wish.

    Who comes while it is under way shares the next one: the answer to this one may be
    older than his wish.
    """

    def __init__(self, ask: Callable[[], Deferred[int]]) -> None:
        """
        Begin with nobody asking.

        :param ask: asks it once.
        """
        self._ask = ask
        #: Who waits for the answer to the question that is under way, if one is, and
        #: who for the next one.
        self._asked: Waiting[int, None] | None = None
        self._waiting: Waiting[int, None] = Waiting()

    @property
    def count(self) -> int:
        """
        How many wait for an answer.
        """
        return len(self._waiting) + len(self._asked or ())

    def ask(self) -> Deferred[int]:
        """
        Wait for an answer to a question that is asked from now on.

        :raises Overloaded: if too many wait.
        """
        answer = self._waiting.add(None)
        self._go_on()
        return answer

    def _go_on(self) -> None:
        if self._asked is not None or not self._waiting:
            return
        asked, self._waiting = self._waiting, Waiting()
        self._asked = asked

        def answered(result: int | Failure) -> None:
            self._asked = None
            if isinstance(result, Failure):
                asked.answer(result.value or LeadershipLost("no reason was given"))
            else:
                asked.answer(result)
            self._go_on()

        self._ask().addBoth(answered)

    def fail(self, error: Exception) -> None:
        """
        Tell all of them that they wait in vain.
        """
        self._waiting.answer(error)
        if self._asked is not None:
            self._asked.answer(error)

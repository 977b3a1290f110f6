"""
One request of a program, and the attempts that it takes.

A node that is down, that does not lead, or that is cut off is no reason to fail as long
as another one can do it: nodes are asked one after the other, the leader first where it
is known, and after each round there is a pause. All of this ends with the time that the
program has given.

What may be repeated is decided in one place, :meth:`Attempts.make`. An attempt that
certainly was not done (refused, not sent, 421, 503) leaves everything open. One whose
answer is lost leaves a write *in doubt*: it is repeated, since it carries an
``Idempotency-Key`` and so is done once, but only for a while, as a cluster forgets such
keys in the end; and whatever else happens then, it ends with a definite answer of the
cluster or with :exc:`~hraftd.client.errors.Unknown`, never with a failure. A change of
the cluster has no such key and is not repeated.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, NoReturn, TypeVar

from attrs import define, field, frozen
from twisted.internet.task import deferLater

from hraftd.client.answers import (
    NotUnderstood,
    found_or_none,
    named_leader,
    retry_after,
)
from hraftd.client.asking import Kind
from hraftd.client.connections import AnswerLost, NotSent
from hraftd.client.errors import NotMet, Refused, Unavailable, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from hraftd.client.answers import Reply
    from hraftd.client.asking import Ask
    from hraftd.client.connections import Connections
    from hraftd.client.endpoints import Endpoints

__all__ = ["Attempts", "pause_after"]

_T = TypeVar("_T")

#: Seconds between two rounds: the first time, and at most.
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 1.0

#: Seconds after which a write that is in doubt is not repeated any more. The cluster
#: remembers the last 131,072 tokens, more than this long at 10,000 writes a second.
REPEATED_FOR = 10.0

#: An attempt in less than so many seconds is none.
_SHORTEST_ATTEMPT = 0.02

#: If there was no answer in less than so many seconds, what the node has said or done
#: before says more.
_FAIR_ATTEMPT = 0.5

#: How many nodes' reasons are told at most.
_REASONS = 8


class _AskTheLeader(Exception):
    """
    The node does not lead.
    """

    def __init__(self, leader: str | None) -> None:
        super().__init__()
        self.leader = leader


class _NotNow(Exception):
    """
    The node cannot do it now, and has not.
    """

    def __init__(self, reason: str, seconds: float | None) -> None:
        super().__init__(reason)
        self.seconds = seconds


@frozen
class _Stop:
    """
    A node to be asked.
    """

    address: str
    #: Whether it is to ask the leader in our place, which we do not reach.
    forward: bool = False


@define
class _Course:
    """
    How one request has gone so far.
    """

    ask: Ask
    #: When it has to have an end.
    deadline: float
    #: Since when it is in doubt.
    doubtful_since: float | None = None
    #: What each node has said or done last.
    reasons: dict[str, str] = field(factory=dict)
    retry_after: float | None = None
    #: Nodes to which there was no connection.
    unreached: set[str] = field(factory=set)

    def note(self, address: str, reason: str) -> None:
        """
        Remember what a node has said.
        """
        self.reasons.pop(address, None)
        self.reasons[address] = reason
        if len(self.reasons) > _REASONS:
            del self.reasons[next(iter(self.reasons))]

    def told(self, address: str, error: NotSent | AnswerLost, seconds: float) -> str:
        """
        Return what is to be said of a node that has not answered.

        :param seconds: that it had.
        """
        if error.is_late and seconds < _FAIR_ATTEMPT:
            return self.reasons.get(address, str(error))
        return str(error)

    def end(self, reason: str | None = None) -> NoReturn:
        """
        Give up.

        :raises Unknown: if it is in doubt.
        :raises Unavailable: if not.
        """
        told = "; ".join(f"{address}: {why}" for address, why in self.reasons.items())
        text = ": ".join(filter(None, (reason, told or None)))
        if self.doubtful_since is not None:
            raise Unknown(f"it may or may not have happened: {text}")
        raise Unavailable(text or "there was no time to ask anybody", self.retry_after)


def pause_after(rounds: int, rng: Random) -> float:
    """
    Return the seconds to wait after so many rounds without success.
    """
    longest = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(rounds, 16))
    return rng.uniform(longest / 2, longest)


class Attempts:
    """
    Brings requests to an end.

    :ivar seconds: the time, as something that is never set.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        seconds: Callable[[], float],
        connections: Connections,
        endpoints: Endpoints,
        rng: Random | None = None,
    ) -> None:
        """
        Ask these nodes, over these connections.
        """
        self.reactor = reactor
        self.seconds = seconds
        self.connections = connections
        self.endpoints = endpoints
        self._rng = Random() if rng is None else rng

    async def make(
        self, ask: Ask, understood: Callable[[Reply], _T], timeout: float
    ) -> _T:
        """
        Ask until there is an answer, so many seconds at most.

        :param understood: reads an answer of a status that is expected.
        :raises HraftdError: all of :mod:`hraftd.client.errors`.
        """
        course = _Course(ask, self.seconds() + timeout)
        rounds = 0
        while True:
            asked_for = 0.0
            route = self.endpoints.route(by_leader=ask.kind is not Kind.LOCAL)
            stops = deque(_Stop(address) for address in route)
            seen = set()
            while stops:
                stop = stops.popleft()
                if stop in seen:
                    continue
                seen.add(stop)
                try:
                    return await self._attempt(course, stop, understood, bool(stops))
                except _AskTheLeader as answer:
                    leader = answer.leader
                    if leader in course.unreached:
                        stops.appendleft(_Stop(stop.address, forward=True))
                    elif leader is not None:
                        stops.appendleft(_Stop(leader))
                except _NotNow as answer:
                    if answer.seconds is not None:
                        course.retry_after = asked_for = answer.seconds
            rounds += 1
            await self._pause(course, max(pause_after(rounds, self._rng), asked_for))

    async def at(
        self, address: str, ask: Ask, understood: Callable[[Reply], _T], timeout: float
    ) -> _T:
        """
        Ask that very node, once.

        :raises HraftdError: as :meth:`make`.
        """
        course = _Course(ask, self.seconds() + timeout)
        try:
            return await self._attempt(course, _Stop(address), understood, False)
        except _AskTheLeader as answer:
            course.note(address, f"not the leader, which is {answer.leader}")
        except _NotNow as answer:
            course.retry_after = answer.seconds
        course.end()

    async def _pause(self, course: _Course, seconds: float) -> None:
        """
        Wait before the next round, but keep some of the time for it.
        """
        left = course.deadline - self.seconds()
        if left / 2 < _SHORTEST_ATTEMPT:
            course.end("no success in time")
        await deferLater(self.reactor, min(seconds, left / 2))

    async def _attempt(
        self,
        course: _Course,
        stop: _Stop,
        understood: Callable[[Reply], _T],
        others_wait: bool,
    ) -> _T:
        """
        Ask one node.

        :param others_wait: whether there are other nodes to ask, so that this one does
            not get all of the time.
        :raises _AskTheLeader: if it does not lead.
        :raises _NotNow: if it is no use, or was not reached.
        :raises HraftdError: if this is the end.
        """
        ask, address = course.ask, stop.address
        now = self.seconds()
        left = course.deadline - now
        if left < _SHORTEST_ATTEMPT:
            course.end("no success in time")
        since = course.doubtful_since
        if since is not None and now - since > REPEATED_FOR:
            course.end("not repeated any more")
        share = left / 2 if others_wait and ask.can_be_repeated else left
        try:
            reply = await self.connections.ask(
                address, ask.forwarded() if stop.forward else ask, share
            )
        except NotSent as error:
            self.endpoints.has_failed(address)
            course.unreached.add(address)
            told = course.told(address, error, share)
            course.note(address, told)
            raise _NotNow(told, None) from None
        except AnswerLost as error:
            self.endpoints.has_failed(address)
            course.unreached.add(address)
            self._doubt(course, address, course.told(address, error, share), now)
        course.unreached.discard(address)
        match reply.status:
            case status if status in ask.expected and (status == 200 or reply.is_error):
                try:
                    result = understood(reply)
                except NotUnderstood as error:
                    self._doubt(course, address, str(error), now)
                self.endpoints.has_answered(address)
                if ask.kind is Kind.WRITE and not stop.forward:
                    self.endpoints.leads(address)
                return result
            case 421 | 307 if reply.is_error:
                self._redirected(course, address, reply)
            case 503 if reply.is_error:
                self.endpoints.does_not_lead(address)
                course.note(address, reply.sentence)
                raise _NotNow(reply.sentence, retry_after(reply))
            case 412 if reply.is_error:
                # Also of a write that is in doubt: with its token, this answer is what
                # all of its attempts have come to.
                self.endpoints.has_answered(address)
                try:
                    found = found_or_none(reply.content)
                except NotUnderstood as error:
                    self._doubt(course, address, str(error), now)
                raise NotMet(reply.sentence, found)
            case status if 400 <= status < 500 and reply.is_error:
                # This node's own rules: another one may have done it.
                course.note(address, reply.sentence)
                if course.doubtful_since is not None:
                    course.end()
                raise Refused(reply.sentence, status)
            case _:
                self._doubt(course, address, reply.sentence, now)

    def _redirected(self, course: _Course, address: str, reply: Reply) -> NoReturn:
        """
        Go on from a node that does not lead.
        """
        self.endpoints.has_answered(address)
        self.endpoints.does_not_lead(address)
        leader = named_leader(reply)
        course.note(address, f"not the leader, which is {leader or 'unknown'}")
        if leader is not None and leader not in course.unreached:
            self.endpoints.leads(leader)
        raise _AskTheLeader(leader)

    def _doubt(
        self, course: _Course, address: str, reason: str, since: float
    ) -> NoReturn:
        """
        Go on from an attempt of which nobody knows whether it was successful.

        :param since: when it was made.
        """
        course.note(address, reason)
        if course.ask.changes_something:
            if course.doubtful_since is None:
                course.doubtful_since = since
            if not course.ask.can_be_repeated:
                course.end()
        raise _NotNow(reason, None)

"""
The commands that clients of one server wait for.

A command is known by the index and the term of its entry. It is done when that entry
is committed and applied; it never will be when another entry is committed at its
index; and when the server that proposed it no longer leads, nobody there can know.

While leadership is being handed over, commands are not proposed yet: they wait until it
is clear who leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import Deferred

from hraftd.errors import LeadershipLost, Overloaded

if TYPE_CHECKING:
    from hraftd.raft.messages import Entry

__all__ = ["Applied", "Proposals"]

#: So many proposals, and so many bytes of them, may wait to be committed.
MAX_PENDING = 10_000
MAX_PENDING_BYTES = 64 << 20


@frozen
class Applied:
    """
    A command that is committed and applied.

    What the server knows of it. A command that was a retry was carried out by an entry
    before its own: then it is for whoever reads the result to say which, see
    :meth:`hraftd.client_requests.ClientRequests.write`.
    """

    #: The index of its entry.
    index: int
    #: What the state machine returned for it.
    result: object


@frozen(eq=False)
class _Proposal:
    term: int
    size: int
    answer: Deferred[Applied]


class Proposals:
    """
    Who waits for which entry. Bounded in number and in bytes.
    """

    def __init__(self) -> None:
        """
        Begin with nobody waiting.
        """
        self._waiting: dict[int, _Proposal] = {}
        self._postponed: dict[Deferred[None], int] = {}
        self._bytes = 0
        self._when_empty: list[Deferred[None]] = []

    @property
    def count(self) -> int:
        """
        How many wait, to be proposed or for their entry.
        """
        return len(self._waiting) + len(self._postponed)

    @property
    def size(self) -> int:
        """
        How many bytes their commands have.
        """
        return self._bytes

    def when_empty(self) -> Deferred[None]:
        """
        Wait until nobody waits.
        """
        empty: Deferred[None] = Deferred(self._forget_empty)
        self._when_empty.append(empty)
        self._check_empty()
        return empty

    def _forget_empty(self, empty: Deferred[None]) -> None:
        if empty in self._when_empty:
            self._when_empty.remove(empty)

    def _check_empty(self) -> None:
        if not self._waiting and not self._postponed:
            waiting, self._when_empty = self._when_empty, []
            for empty in waiting:
                if not empty.called:
                    empty.callback(None)

    def check_room(self, size: int) -> None:
        """
        Make sure that a command of that many bytes may wait too.

        :raises Overloaded: if not.
        """
        if self.count >= MAX_PENDING or self._bytes + size > MAX_PENDING_BYTES:
            raise Overloaded("too many writes wait to be committed; try again later")

    def postpone(self, size: int) -> Deferred[None]:
        """
        Wait to be proposed; to be called when there is room for a command of that size.
        """
        postponed: Deferred[None] = Deferred(self._forget)
        self._postponed[postponed] = size
        self._bytes += size
        return postponed

    def _forget(self, postponed: Deferred[None]) -> None:
        self._bytes -= self._postponed.pop(postponed, 0)

    def resume(self) -> None:
        """
        Let those be proposed who wait for that, in their order.
        """
        for postponed in list(self._postponed):
            if postponed in self._postponed:
                self._forget(postponed)
                postponed.callback(None)
        self._check_empty()

    def wait(self, entry: Entry, size: int) -> Deferred[Applied]:
        """
        Wait for an entry whose command has that many bytes.
        """
        proposal = _Proposal(entry.term, size, Deferred())
        self._waiting[entry.index] = proposal
        self._bytes += size
        return proposal.answer

    def applied(self, entry: Entry, result: object) -> None:
        """
        Answer who waits at the index of that entry: it is committed and applied.
        """
        if entry.index not in self._waiting:
            return
        proposal = self._remove(entry.index)
        if proposal.term == entry.term:
            proposal.answer.callback(Applied(entry.index, result))
        else:
            proposal.answer.errback(
                LeadershipLost("another leader's entry took its place")
            )
        self._check_empty()

    def fail(self, reason: str, *, but_of_term: int | None = None) -> None:
        """
        Tell those who wait that this server will not learn what becomes of it.

        :param but_of_term: who waits for an entry of that term goes on waiting.
        """
        for index, proposal in list(self._waiting.items()):
            if proposal.term != but_of_term:
                self._remove(index).answer.errback(LeadershipLost(reason))
        self._check_empty()

    def _remove(self, index: int) -> _Proposal:
        proposal = self._waiting.pop(index)
        self._bytes -= proposal.size
        return proposal

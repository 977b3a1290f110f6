"""
Reads that are never stale: how a leader makes sure that it still leads.

A leader that was cut off may not know yet that another one leads and that its own state
is behind. So before it names an index at which to read, it notes its commit index and
has a majority answer a request that was sent *after* that. All reads that wait when a
round begins share it; those that come while it is under way wait for the next one.

What makes this correct is that answers to older requests confirm nothing: every request
carries the number of the latest round that had begun when it was sent, and numbers are
never used again by the same leader (etcd 20418). In another term the answer is not
looked at.

Dissertation 6.4, "Processing read-only queries more efficiently".
"""

from __future__ import annotations

from attrs import define, field

from hraftd.raft.ready import ConfirmedRead

__all__ = ["ReadRounds"]


@define
class ReadRounds:
    """
    The rounds of one leader, numbered from 1.
    """

    #: The latest round that has begun; requests that are sent carry it.
    latest: int = 0
    #: Whether somebody waits for the next one.
    wanted: bool = False
    #: The round that waits for a majority, and the commit index when it began.
    under_way: ConfirmedRead | None = None
    #: What is confirmed and was not handed out yet.
    confirmed: list[ConfirmedRead] = field(factory=list)

    def want(self) -> int:
        """
        Ask for a round that begins after this moment; return its number.
        """
        self.wanted = True
        return self.latest + 1

    def begin(self, commit_index: int) -> bool:
        """
        Begin a round if one is wanted and none is under way.

        :param commit_index: must include everything that was committed before this
            leader's term (etcd 7331).
        :return: whether one has begun, so that there must be requests that carry it.
        """
        if not self.wanted or self.under_way is not None:
            return False
        self.wanted = False
        self.latest += 1
        self.under_way = ConfirmedRead(self.latest, commit_index)
        return True

    def confirm(self) -> None:
        """
        Take it that a majority has answered requests of the round that is under way.
        """
        assert self.under_way is not None, "only a round under way is confirmed"
        self.confirmed.append(self.under_way)
        self.under_way = None

    def take_confirmed(self) -> tuple[ConfirmedRead, ...]:
        """
        Return what was confirmed since the last time.
        """
        confirmed, self.confirmed = tuple(self.confirmed), []
        return confirmed

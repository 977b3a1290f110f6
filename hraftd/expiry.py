"""
How keys come to expire: who tells the time, and when.

What time it is for the cluster only entries of the log say, and what is due is removed
by an entry, see :mod:`hraftd.kv.lifetimes`. Here is how such entries come about. Wall
clocks have no part in it, so it does not matter what they show or who sets them: a node
only measures how much time has *passed* since it was last told what time it is.

The leader tells. A write with a lifetime gets its time from the leader at the moment
when it enters the log (:meth:`Expiry.stamp`), whichever node it came in at. And as long
as there is anything to expire, the leader writes down how late it is when the next key
is due, and otherwise once in :data:`TELL_SECONDS`. With nothing to expire it writes
nothing.

All others set their clocks by these entries. A new leader goes on from what it was told
last and what has passed since, so it is never ahead of the one before: at most its time
is late by how long the entry took, and by what has passed while it did not run itself.
Hence a key lives for its time or somewhat longer, and never less, but for what the
processors' clocks run too fast. While no node runs no time passes.

The leader itself goes by what it has measured, or its time would stand still for as
long as each entry takes. Only where nothing was to expire before do all begin to count
from the same entry: until then they were told nothing, perhaps for days, and may differ
by as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.logger import Logger

from hraftd.errors import LeadershipLost, Overloaded, Stopped
from hraftd.kv.commands import Stamped, encode_command, stamped
from hraftd.raft.errors import NotLeader, TransferInProgress

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from hraftd.kv.store import KeyValueStore
    from hraftd.server import RaftServer

__all__ = ["LOOK_SECONDS", "TELL_SECONDS", "ClusterClock", "Expiry"]

#: A leader with something to expire writes down how late it is at least so often.
TELL_SECONDS = 1.0

#: Seconds after which a node looks again whether it is to do that. A key may be there
#: for so long after its time.
LOOK_SECONDS = 0.1


class ClusterClock:
    """
    What time it is for the cluster, as far as one node can tell.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        Begin at zero.

        :param clock: measures how much time passes; it should only go forward.
        """
        self._clock = clock
        self._told = 0
        self._told_at = clock.seconds()

    def now(self) -> int:
        """
        Return how late it is, in milliseconds.
        """
        passed = max(0.0, self._clock.seconds() - self._told_at)
        return self._told + int(passed * 1000)

    def set_to(self, now: int) -> None:
        """
        Let it be so late.
        """
        self._told, self._told_at = now, self._clock.seconds()


class Expiry(Service):
    """
    Sees to it at one node that keys expire, while that leads.
    """

    _log = Logger()

    def __init__(
        self, server: RaftServer, store: KeyValueStore, clock: IReactorTime
    ) -> None:
        """
        Tell the time to what this server proposes.

        :param store: the state machine that the server applies to.
        :param clock: as for :class:`ClusterClock`.
        """
        self._server = server
        self._store = store
        self._clock = clock
        self._now = ClusterClock(clock)
        self._now.set_to(store.clock)
        self._look_due: IDelayedCall | None = None
        #: Whether what was proposed has not come to anything yet.
        self._proposes = False
        store.when_told = self._told
        server.stamp_with(self.stamp)

    def stamp(self, command: bytes) -> bytes:
        """
        Put the time on a command that has a place for it.
        """
        return stamped(command, self._now.now())

    def _told(self, afresh: bool) -> None:
        told = self._store.clock
        leads = self._server.consensus.led_term is not None
        if afresh or not leads or told > self._now.now():
            self._now.set_to(told)
        self._look_soon()

    def startService(self) -> None:
        """
        Begin to look at what is due.
        """
        Service.startService(self)
        self._look_soon()

    def stopService(self) -> None:
        """
        Propose nothing any more. Nobody waits for what was.
        """
        Service.stopService(self)
        if self._look_due is not None:
            self._look_due.cancel()
            self._look_due = None

    def _look_soon(self, seconds: float = 0.0) -> None:
        """
        Look in so many seconds, unless that is to happen anyway, or need not.
        """
        if (
            self.running
            and self._store.deadlines
            and self._look_due is None
            and not self._proposes
        ):
            self._look_due = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        """
        Propose what is to be written down by now, or wait until something is.
        """
        self._look_due = None
        due = self._store.next_due
        if due is None or self._server.consensus.led_term is None:
            self._look_soon(LOOK_SECONDS)
            return
        now = self._now.now()
        tell_at = min(due, self._store.clock + int(TELL_SECONDS * 1000))
        if now < tell_at:
            self._look_soon(min((tell_at - now) / 1000, LOOK_SECONDS))
            return
        self._proposes = True
        proposed = self._server.propose(encode_command(Stamped(now)))
        proposed.addCallbacks(self._written, self._not_written)

    def _written(self, _: object) -> None:
        self._proposes = False
        self._look_soon()

    def _not_written(self, failure: Failure) -> None:
        self._proposes = False
        if not failure.check(
            NotLeader, LeadershipLost, TransferInProgress, Overloaded, Stopped
        ):
            self._log.failure(
                "{id} cannot expire keys", failure, id=self._server.server_id
            )
        self._look_soon(LOOK_SECONDS)

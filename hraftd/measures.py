"""
What a node counts and times while it works, for whoever wants to look at it.

Plain numbers that only grow: to count costs an addition, to time a few hundred
nanoseconds, and nothing here knows who reads them, or in which format; that is in
:mod:`hraftd.metrics`. What can be said by looking at the server, such as a term or how
many clients wait, is not counted at all but looked up when somebody asks: see
:class:`hraftd.status.Status` and, here, :class:`Backlog`.

Only the reactor's thread changes these, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left

from attrs import define, field, frozen

__all__ = ["BOUNDS", "Backlog", "Counts", "Durations"]

#: The upper bounds of the buckets, in seconds: from a sync on a good disk to one that
#: makes clients give up.
BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


@define
class Durations:
    """
    How long something took, each time it was done.
    """

    #: Seconds of all times together.
    total: float = 0.0
    #: For each bound how many took no longer, but longer than the bound before; the
    #: last ones took longer than any.
    counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1))

    def note(self, seconds: float) -> None:
        """
        Count one that took so many seconds.
        """
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> list[tuple[float, int]]:
        """
        Return each bound with how many took no longer, the last one being infinite.
        """
        count = 0
        cumulated = []
        for bound, more in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            count += more
            cumulated.append((bound, count))
        return cumulated


@define
class Counts:
    """
    What one server has done since it started.
    """

    #: Terms in which it asked for votes, and those that it then led.
    elections_started: int = 0
    elections_won: int = 0
    #: Times that it learned who leads, itself included.
    leader_changes: int = 0
    #: From handing a batch to the disk until it is synced, the wait for the disk's
    #: thread included; and how many entries there were in all batches.
    sync: Durations = field(factory=Durations)
    entries_synced: int = 0
    #: Applying what one turn has found committed, and how many entries that was in all.
    apply: Durations = field(factory=Durations)
    entries_applied: int = 0
    #: Snapshots that came from a leader and were put into the state machine.
    snapshots_restored: int = 0


@frozen
class Backlog:
    """
    What waits at a server at this moment.
    """

    #: Proposals that are neither applied nor given up, and the bytes of their commands.
    proposals: int
    proposal_bytes: int
    #: Reads that wait for their assurance.
    reads: int
    #: Entries in the log that are not synced yet, and their bytes.
    unsynced_entries: int
    unsynced_bytes: int
    #: For how many seconds the save that is under way has been so; 0.0 without one.
    save_seconds: float

"""
All that the cluster holds, out of it and in again.

A backup is a snapshot that this node takes, as fresh as a read would be, in the form of
:mod:`hraftd.backup_file`. A restore goes through the log: each piece is a command, and
nobody sees anything of it before the last one, which puts all of it in place of what
was there, at one index and on every node alike. So a node that was down, or that joins
later, ends with the same state as the others.

A command of a restore can be repeated: it is counted, and one that was applied already
does nothing. That is why a piece whose outcome is unknown is simply sent again, so that
a restore outlives the election of a new leader.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.task import deferLater

from hraftd.backup_file import BackupHeader, frame
from hraftd.errors import SnapshotImpossible, Stopped
from hraftd.forwarding import OnFollower
from hraftd.kv.commands import Restore
from hraftd.kv.results import Unusable
from hraftd.outcomes import Applied, Unavailable, Unknown

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from hraftd.client_requests import ClientRequests
    from hraftd.outcomes import WriteOutcome
    from hraftd.reads import Consistency
    from hraftd.server import RaftServer
    from hraftd.snapshot_reading import SnapshotReading

__all__ = ["Backup", "Backups", "Restoring"]

#: Seconds for which a piece is sent again and again; an election takes two or three.
PATIENCE_SECONDS = 30.0

#: Seconds between two attempts.
PAUSE_SECONDS = 0.25


class Backup:
    """
    A backup that is being read; to be closed in any case.
    """

    def __init__(self, cluster: str, reading: SnapshotReading) -> None:
        """
        Read this snapshot.
        """
        snapshot = reading.snapshot
        self.header = BackupHeader(
            cluster=cluster,
            index=snapshot.last_index,
            term=snapshot.last_term,
            size=snapshot.size,
            digest=snapshot.digest,
        )
        self._reading = reading

    async def read(self) -> bytes:
        """
        Return what comes next behind the header; no bytes if that was all.

        :raises SnapshotImpossible: if a later snapshot came in between.
        :raises StorageError: if the disk has not what it should.
        """
        piece = await self._reading.read()
        return frame(piece) if piece else b""

    def close(self) -> None:
        """
        Be done with it; may be called more than once.
        """
        self._reading.close()


@frozen
class Backups:
    """
    Makes backups of one node's state, and restores them into its cluster.
    """

    requests: ClientRequests
    server: RaftServer
    clock: IReactorTime

    async def begin_backup(self, consistency: Consistency) -> Backup | Unavailable:
        """
        Take a snapshot of the state, once that is as fresh as is asked for.
        """
        refused = await self.requests.until_fresh(consistency)
        if refused is not None:
            return refused
        cluster_id = self.server.cluster_id
        try:
            reading = await self.server.read_snapshot()
        except SnapshotImpossible as error:
            return Unavailable(str(error))
        except Stopped:
            return Unavailable("this node is stopping")
        return Backup(cluster_id or "", reading)

    def begin_restore(self, on_follower: OnFollower | None) -> Restoring:
        """
        Prepare to put a backup in place of what the cluster holds.

        :param on_follower: as for :meth:`ClientRequests.write`.
        """
        return Restoring(self.requests, self.clock, on_follower)


class Restoring:
    """
    One backup on its way into the cluster, in the order of its pieces.
    """

    def __init__(
        self,
        requests: ClientRequests,
        clock: IReactorTime,
        on_follower: OnFollower | None,
    ) -> None:
        """
        Begin a restore of its own name: pieces of two never get mixed.
        """
        self._requests = requests
        self._clock = clock
        self._on_follower = on_follower
        self._name = uuid.uuid4().hex
        self._number = 0

    async def put(self, piece: bytes) -> WriteOutcome | Unusable:
        """
        Have the next piece applied on all nodes.

        :param piece: no bytes for the end: then what was put is the state.
        """
        command = Restore(self._name, self._number, piece)
        until = self._clock.seconds() + PATIENCE_SECONDS
        may_have_happened = False
        while True:
            outcome = await self._requests.write(command, self._on_follower)
            match outcome:
                case Applied(result=Unusable() as unusable):
                    return unusable
                case Applied():
                    self._number += 1
                    # Whoever leads from now on goes on with it.
                    self._on_follower = OnFollower.FORWARD
                    return outcome
                case Unknown():
                    may_have_happened = True
                case _ if self._number == 0:
                    return outcome
                case _:
                    pass
            if self._clock.seconds() >= until:
                break
            await deferLater(self._clock, PAUSE_SECONDS)
        if may_have_happened and not piece:
            return Unknown("the restore was sent to the end, and may or may not happen")
        return Unavailable(
            f"no leader took a piece of the backup for {PATIENCE_SECONDS:g} seconds; "
            "nothing has changed, try again"
        )

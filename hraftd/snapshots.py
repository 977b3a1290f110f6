"""
Taking snapshots of the state machine, and restoring them into it.

Both go piece by piece, with everything else that a server does between two pieces: what
holds up the reactor is never more than making or reading one. A snapshot that is taken
counts once :meth:`hraftd.interfaces.IStorage.compact` has put it in place of the log,
in one transaction; one that came from the leader is on disk before it is restored. So a
crash at any moment leaves the old state or the new.

When one is due is told by :class:`SnapshotPolicy`. It waits while a follower is being
sent the one before, or a client that makes a backup; or that transfer would have to
begin anew, and again with the next one. But it does not wait for ever, or who is slow
could fill the disk.

Raft 7; dissertation 5.1 (what a snapshot holds), 5.1.2 (concurrency, when to take one).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hraftd.errors import SnapshotImpossible
from hraftd.interfaces import StorageError
from hraftd.raft.incoming import DIGEST_BYTES
from hraftd.raft.log import size_of
from hraftd.raft.messages import Piece, Snapshot
from hraftd.snapshot_reading import SnapshotReading

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from hraftd.interfaces import IStateMachine, IStorage, Stored
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Entry

__all__ = ["SnapshotPolicy", "Snapshots", "restore_stored"]

_Done = TypeVar("_Done")


@frozen
class SnapshotPolicy:
    """
    When a snapshot is taken, and how much of the log stays behind it.
    """

    #: A snapshot is due when so many entries, or so many bytes of them, were applied
    #: since the one before.
    threshold_entries: int = 8192
    threshold_bytes: int = 64 << 20
    #: Of the entries that it covers so many stay, and no more than so many bytes of
    #: them, for followers that are a little behind.
    trailing_entries: int = 10240
    trailing_bytes: int = 64 << 20


def restore_stored(stored: Stored, state_machine: IStateMachine) -> None:
    """
    Put the snapshot that was on disk at the start into the state machine; blocks.

    :raises StorageError: if it cannot be read.
    """
    if stored.snapshot is None:
        return
    restoration = state_machine.restore()
    try:
        for piece in stored.pieces:
            restoration.add(piece)
        restoration.finish()
    except ValueError as error:
        raise StorageError(
            f"the snapshot at entry {stored.snapshot.last_index} cannot be restored "
            f"({error}); was it written by a newer hraftd?"
        ) from error


class Snapshots:
    """
    The snapshots of one server.
    """

    _log = Logger()

    def __init__(
        self,
        core: ConsensusModule,
        storage: IStorage,
        state_machine: IStateMachine,
        clock: IReactorTime,
        policy: SnapshotPolicy,
        *,
        restored: Callable[[Snapshot], object],
        failed: Callable[[Failure], object],
    ) -> None:
        """
        Begin with nothing under way.

        :param restored: called when a snapshot is in the state machine.
        :param failed: called when the storage does not work, or the state machine.
        """
        self._core = core
        self._storage = storage
        self._state_machine = state_machine
        self._clock = clock
        self._policy = policy
        self._restored = restored
        self._failed = failed
        self._last_applied = core.log.snapshot_index
        #: How many this server has taken since it started.
        self.taken = 0
        #: Of the entries applied since the latest snapshot.
        self._bytes_applied = 0
        self._taking: Deferred[Snapshot] | None = None
        self._waiting: list[Deferred[Snapshot]] = []
        self._restoring: Deferred[None] | None = None
        #: How many read the latest one.
        self._readers = 0
        self._stopped = False

    def stop(self) -> None:
        """
        Give up what is under way.
        """
        self._stopped = True
        for under_way in (self._taking, self._restoring):
            if under_way is not None:
                under_way.cancel()

    # Taking.

    def applied(self, entry: Entry) -> None:
        """
        Take note that an entry is in the state machine.
        """
        self._last_applied = entry.index
        self._bytes_applied += size_of(entry)

    def take_if_due(self) -> None:
        """
        Begin to take a snapshot if enough was applied since the last one.
        """
        if self._is_due and not self._must_wait and not self._is_busy:
            self._begin()

    @property
    def _is_due(self) -> bool:
        policy = self._policy
        entries = self._last_applied - self._core.log.snapshot_index
        return (
            entries >= policy.threshold_entries
            or self._bytes_applied >= policy.threshold_bytes
        )

    @property
    def _must_wait(self) -> bool:
        """
        Whether somebody is being sent the latest one, and the log is still short.

        When the log has become longer than the snapshot, sending that anew costs no
        more than sending the log.
        """
        snapshot = self._core.log.snapshot
        return (
            snapshot is not None
            and (self._core.is_sending_snapshot or self._readers > 0)
            and self._bytes_applied < 4 * self._policy.threshold_bytes + snapshot.size
        )

    @property
    def _is_busy(self) -> bool:
        return self._taking is not None or self._is_behind or self._stopped

    @property
    def _is_behind(self) -> bool:
        """
        Whether the leader's snapshot is to be restored, or even to be saved before.
        """
        return self._last_applied < self._core.log.snapshot_index

    def take(self) -> Deferred[Snapshot]:
        """
        Take a snapshot now.

        :return: fires with it once it is in place; with the latest one if nothing was
            applied since. Fails with :exc:`~hraftd.errors.SnapshotImpossible`.
        """
        latest = self._core.log.snapshot
        if latest is not None and latest.last_index == self._last_applied:
            return succeed(latest)
        if self._last_applied == 0:
            return fail(SnapshotImpossible("nothing has been applied yet; try again"))
        if self._is_behind:
            return fail(
                SnapshotImpossible("the leader's snapshot is being restored; try again")
            )
        if self._must_wait:
            return fail(
                SnapshotImpossible(
                    "the latest snapshot is being sent to another node, or to a client "
                    "that makes a backup; try again"
                )
            )
        waiting: Deferred[Snapshot] = Deferred(self._forget)
        self._waiting.append(waiting)
        if self._taking is None:
            self._begin()
        return waiting

    def _forget(self, waiting: Deferred[Snapshot]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    async def read(self) -> SnapshotReading:
        """
        Take a snapshot of all that is applied, and begin to read it.

        It has to be closed. Until then no other one is taken, unless the log grows too
        long.

        :raises SnapshotImpossible: as :meth:`take`.
        """
        applied = self._last_applied
        snapshot = await self.take()
        while snapshot.last_index < applied:
            # It was being taken already, and that had begun before.
            snapshot = await self.take()
        self._readers += 1
        return SnapshotReading(self._storage, snapshot, self._reader_gone)

    def _reader_gone(self) -> None:
        self._readers -= 1

    def _begin(self) -> None:
        self._taking = taking = Deferred.fromCoroutine(self._take())
        taking.addBoth(self._taken)

    async def _take(self) -> Snapshot:
        """
        Write the state as it is now, piece by piece, then put it in place of the log.
        """
        core, policy = self._core, self._policy
        index = self._last_applied
        term = core.log.term_at(index)
        assert term is not None, "what was applied is in the log"
        # As it was at that entry: what came later may not be committed (canonical/raft
        # 250).
        configuration = core.log.configuration_at(index)
        began, bytes_before = self._clock.seconds(), self._bytes_applied
        digest = blake2b(digest_size=DIGEST_BYTES)
        size = 0
        pieces = self._state_machine.snapshot()
        try:
            for data in pieces:
                digest.update(data)
                await self._unless_overtaken(
                    self._storage.write_piece(Piece(size, data)), index
                )
                size += len(data)
                await self._let_others_run()
                self._check_not_overtaken(index)
        finally:
            pieces.close()
        snapshot = Snapshot(index, term, configuration, size, digest.digest())
        first_index = await self._unless_overtaken(
            self._storage.compact(
                snapshot, policy.trailing_entries, policy.trailing_bytes
            ),
            index,
        )
        core.compact(snapshot, first_index)
        self.taken += 1
        self._bytes_applied -= bytes_before
        self._log.info(
            "{id} took a snapshot at entry {index}: {size} bytes in {seconds:.1f} s; "
            "the log begins at entry {first}",
            id=core.server_id,
            index=index,
            size=size,
            seconds=self._clock.seconds() - began,
            first=first_index,
        )
        return snapshot

    async def _unless_overtaken(self, work: Deferred[_Done], index: int) -> _Done:
        """
        Wait for the storage, which drops what is taken when another one is installed.
        """
        try:
            return await work
        except ValueError as error:
            self._check_not_overtaken(index, error)
            raise

    def _check_not_overtaken(self, index: int, error: Exception | None = None) -> None:
        if self._core.log.snapshot_index >= index:
            raise SnapshotImpossible(
                "the leader has sent a later snapshot meanwhile; try again"
            ) from error

    def _taken(self, result: Snapshot | Failure) -> None:
        self._taking = None
        waiting, self._waiting = self._waiting, []
        outcome: Snapshot | SnapshotImpossible
        if isinstance(result, Snapshot):
            outcome = result
        elif isinstance(result.value, SnapshotImpossible):
            outcome = result.value
        else:
            outcome = SnapshotImpossible("this server is stopping")
            if result.check(CancelledError) is None and not self._stopped:
                self._failed(result)
        for one in waiting:
            # Who was told before may have cancelled this one.
            if one.called:
                continue
            if isinstance(outcome, Snapshot):
                one.callback(outcome)
            else:
                one.errback(outcome)

    def _let_others_run(self) -> Deferred[None]:
        """
        Go on in the reactor's next iteration, however fast the storage is.
        """
        return deferLater(self._clock, 0, lambda: None)

    # Restoring.

    def restore(self, snapshot: Snapshot) -> None:
        """
        Put an installed snapshot, which is on disk, into the state machine.

        One that is being restored already is given up: this one goes further.
        """
        if self._restoring is not None:
            self._restoring.cancel()
        restoring = Deferred.fromCoroutine(self._restore(snapshot))
        self._restoring = None if restoring.called else restoring
        restoring.addErrback(self._restore_failed)

    async def _restore(self, snapshot: Snapshot) -> None:
        began = self._clock.seconds()
        restoration = self._state_machine.restore()
        offset = 0
        while offset < snapshot.size:
            data = await self._storage.read_piece(snapshot, offset)
            restoration.add(data)
            offset += len(data)
            await self._let_others_run()
        restoration.finish()
        self._restoring = None
        self._last_applied = snapshot.last_index
        self._bytes_applied = 0
        self._log.info(
            "{id} restored the leader's snapshot at entry {index}: {size} bytes in "
            "{seconds:.1f} s",
            id=self._core.server_id,
            index=snapshot.last_index,
            size=snapshot.size,
            seconds=self._clock.seconds() - began,
        )
        self._restored(snapshot)

    def _restore_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None and not self._stopped:
            self._failed(failure)

"""
The ``IStorage`` of a simulated server: what its process asks of the disk, in order.

As in the real storage, one thing is done after the other, a save before all else that
waits, and each write is one transaction. At a crash, all whose Deferred has fired are
there. Of the others any number of the first ones may be: they reached the disk, and
nobody was told.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from hraftd.codec import decode_payload, encode_payload
from hraftd.interfaces import IStorage
from hraftd.raft.messages import Entry, Piece
from hraftd.raft.ready import Ready
from hraftd.simulator.disks import DiskTrouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hraftd.interfaces import Stored
    from hraftd.raft.messages import HardState, Snapshot
    from hraftd.simulator.clock import Process, World
    from hraftd.simulator.disks import Disk

__all__ = ["SimulatedStorage"]


@define(eq=False)
class _Operation:
    """
    One thing that the disk is to do.
    """

    work: Callable[[], Deferred[Any]]
    size: int
    done: Deferred[Any] = field(factory=Deferred)
    #: Told the result of a write when it is on the disk; ``None`` if this reads.
    witness: Callable[[Any], object] | None = None

    def carry_out(self) -> Any:
        """
        Do it; what the disk objects to is returned as a Failure.
        """
        results: list[Any] = []
        try:
            self.work().addBoth(results.append)
        except ValueError:
            return Failure()
        (result,) = results
        if self.witness is not None and not isinstance(result, Failure):
            self.witness(result)
        return result


@implementer(IStorage)
class SimulatedStorage:
    """
    One process's way to its disk.
    """

    def __init__(self, world: World, process: Process, disk: Disk) -> None:
        """
        Open the disk.
        """
        self._world = world
        self._process = process
        self._disk = disk
        self._platter = disk.platter
        #: What is being done, and what waits for that; the urgent ones go first.
        self._current: _Operation | None = None
        self._urgent: deque[_Operation] = deque()
        self._others: deque[_Operation] = deque()
        #: Why nothing is taken any more.
        self._refusal: DiskTrouble | None = None
        #: Called once, while the next write is under way.
        self.on_write: Callable[[], object] | None = None
        #: The pieces written of an own snapshot.
        self._taken: list[Piece] = []

    def load(self) -> Stored:
        """
        See :meth:`hraftd.interfaces.IStorage.load`; takes no time here.
        """
        stored = self._platter.load()
        entries = [
            Entry(
                entry.index, entry.term, decode_payload(encode_payload(entry.payload))
            )
            for entry in stored.entries
        ]
        return evolve(stored, entries=entries)

    def crash(self) -> int:
        """
        End with the process: some of what is under way may have been done.

        :return: how many writes nobody was told of, but are there.
        """
        waiting = self._take_all()
        reached = waiting[: self._disk.rng.randint(0, len(waiting))]
        written = [one for one in reached if one.witness is not None]
        if self._must_fail:
            return 0
        for operation in written:
            operation.carry_out()
        return len(written)

    def _take_all(self) -> list[_Operation]:
        current = [] if self._current is None else [self._current]
        waiting = [*current, *self._urgent, *self._others]
        self._current = None
        self._urgent.clear()
        self._others.clear()
        return waiting

    @property
    def _must_fail(self) -> bool:
        return self._disk.breaks or self._disk.is_full

    # One thing after the other.

    def _do(self, operation: _Operation, *, is_urgent: bool = False) -> Deferred[Any]:
        if self._refusal is not None:
            return fail(self._refusal)
        (self._urgent if is_urgent else self._others).append(operation)
        if self._current is None:
            self._begin()
        return operation.done

    def _begin(self) -> None:
        queue = self._urgent or self._others
        if queue:
            self._current = queue.popleft()
            seconds = self._disk.time_for(self._current.size)
            self._world.after(seconds, self._process, self._end)
            if self.on_write is not None and self._current.witness is not None:
                moment = self._disk.rng.uniform(0, seconds)
                self._world.after(moment, None, self.on_write)
                self.on_write = None

    def _end(self) -> None:
        operation = self._current
        assert operation is not None
        if operation.witness is not None and self._must_fail:
            self._break_down(operation)
            return
        self._current = None
        result = operation.carry_out()
        self._begin()
        operation.done.callback(result)

    def _break_down(self, operation: _Operation) -> None:
        """
        Fail, and refuse everything from now on. It may be there all the same.
        """
        disk = self._disk
        what = "is full" if disk.is_full else "does not write"
        self._refusal = DiskTrouble(f"the disk of {disk.server_id} {what}")
        if not disk.is_full and disk.rng.random() < 0.5:
            operation.carry_out()
        disk.breaks = False
        for one in self._take_all():
            one.done.errback(self._refusal)

    # IStorage.

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None = None,
        *,
        pieces: Sequence[Piece] = (),
        snapshot: Snapshot | None = None,
    ) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.save`.
        """
        saved = Ready(
            hard_state=hard_state,
            entries=tuple(entries),
            pieces=tuple(pieces),
            snapshot=snapshot,
            calls=(),
            early_calls=(),
            fetches=(),
            committed=(),
            confirmed_reads=(),
            servers=None,
        )
        return self._do(
            _Operation(
                lambda: self._platter.save(
                    hard_state, entries, cluster_id, pieces=pieces, snapshot=snapshot
                ),
                sum(len(piece.data) for piece in pieces),
                witness=lambda _: self._disk.watch.saved(self._disk.server_id, saved),
            ),
            is_urgent=True,
        )

    def write_piece(self, piece: Piece) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.write_piece`.
        """

        def written(_: None) -> None:
            if piece.offset == 0:
                self._taken.clear()
            self._taken.append(piece)

        return self._do(
            _Operation(
                lambda: self._platter.write_piece(piece),
                len(piece.data),
                witness=written,
            )
        )

    def compact(
        self, snapshot: Snapshot, trailing_entries: int, trailing_bytes: int
    ) -> Deferred[int]:
        """
        See :meth:`hraftd.interfaces.IStorage.compact`.
        """

        def compacted(first_index: int) -> None:
            self._disk.watch.compacted(
                self._disk.server_id, snapshot, self._taken, first_index
            )

        return self._do(
            _Operation(
                lambda: self._platter.compact(
                    snapshot, trailing_entries, trailing_bytes
                ),
                0,
                witness=compacted,
            )
        )

    def read_piece(self, snapshot: Snapshot, offset: int) -> Deferred[bytes]:
        """
        See :meth:`hraftd.interfaces.IStorage.read_piece`.
        """
        return self._do(
            _Operation(lambda: self._platter.read_piece(snapshot, offset), 0)
        )

    def read_entries(
        self, first: int, last: int, max_bytes: int
    ) -> Deferred[Sequence[Entry]]:
        """
        See :meth:`hraftd.interfaces.IStorage.read_entries`.
        """
        return self._do(
            _Operation(lambda: self._platter.read_entries(first, last, max_bytes), 0)
        )

    def close(self) -> Deferred[None]:
        """
        See :meth:`hraftd.interfaces.IStorage.close`.
        """
        if self._refusal is not None:
            # Closed already, or broken: there is nothing to wait for.
            closed: Deferred[None] = Deferred()
            closed.callback(None)
            return closed
        closing = self._do(_Operation(self._platter.close, 0))
        self._refusal = DiskTrouble("this storage is closed")
        return closing

"""
One server of a cluster: the only driver of the algorithm.

:class:`RaftServer` gives :class:`~hraftd.raft.consensus.ConsensusModule` time, the
requests and answers of peers and the wishes of clients, and does what the algorithm
asks in return. All of it goes through one turn, in one order: **persist, send, apply,
answer**. What promises durability waits for the disk; the one exception is a leader's
AppendEntries, which goes out while its own disk writes (dissertation 10.2.1).

How entries are kept, sent and applied lies behind :mod:`hraftd.interfaces`. What goes
on for longer than a turn has its own module: proposals (:mod:`hraftd.proposals`), reads
(:mod:`hraftd.fresh_reads`), snapshots (:mod:`hraftd.snapshots`), changes of members and
leaders (:mod:`hraftd.changes`).
"""

from __future__ import annotations

import uuid
from random import Random
from typing import TYPE_CHECKING, Any, assert_never

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from hraftd.admission import Admission
from hraftd.changes import MembershipChanges, Transfers
from hraftd.errors import (
    NoSuchServer,
    NotReached,
    Overloaded,
    Stopped,
    TransferFailed,
    WrongCluster,
)
from hraftd.fresh_reads import FreshReads
from hraftd.leader_requests import (
    AddServer,
    Assurance,
    ClientRequest,
    ReadIndex,
    RemoveServer,
    TransferLeadership,
)
from hraftd.measures import Backlog, Counts
from hraftd.proposals import Applied, Proposals
from hraftd.raft.configuration import MembershipConflict
from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.errors import (
    CannotTransfer,
    NotLeader,
    ProtocolViolation,
    TransferInProgress,
)
from hraftd.raft.log import Log, size_of
from hraftd.raft.messages import NoOp
from hraftd.raft.outbox import MAX_COMMITTED
from hraftd.raft.ready import FetchEntries, FetchPiece
from hraftd.snapshots import SnapshotPolicy, Snapshots, restore_stored
from hraftd.status import TICK, MemberStatus, Status, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from hraftd.interfaces import IPeers, IStateMachine, IStorage
    from hraftd.leader_requests import LeaderRequest
    from hraftd.raft.configuration import Configuration, Server
    from hraftd.raft.messages import Call, Entry, Request, Response, Snapshot
    from hraftd.raft.ready import Fetch, Ready, Timing
    from hraftd.snapshot_reading import SnapshotReading

__all__ = ["Applied", "MemberStatus", "RaftServer", "Status"]

#: A larger command is refused: with it an AppendEntries would not fit into what a
#: peer accepts.
MAX_COMMAND_BYTES = 24 << 20


#: Seconds that the leader has to name an index to read at.
READ_INDEX_SECONDS = 5.0


@frozen(eq=False)
class _Held:
    """
    An answer that may not leave before the next save is done.
    """

    answer: Deferred[Any]
    value: Response | None = None


class RaftServer(Service):
    """
    Drives the algorithm with real time, storage and peers.

    :ivar server_id: this server's name in the cluster.
    :ivar counts: what it has done since it started.
    """

    _log = Logger()

    def __init__(
        self,
        server_id: str,
        storage: IStorage,
        state_machine: IStateMachine,
        peers: IPeers,
        clock: IReactorTime,
        *,
        rng: Random | None = None,
        timing: Timing | None = None,
        snapshots: SnapshotPolicy | None = None,
        on_failure: Callable[[Failure], object] | None = None,
    ) -> None:
        """
        Read back what the storage holds; blocks while it does.

        :param on_failure: called once, when this server cannot go on because its
            storage failed or a committed command could not be applied. The process
            should end then and may start again.
        :raises StorageError: if the storage is damaged.
        """
        self.server_id = server_id
        self._storage = storage
        self._state_machine = state_machine
        self._peers = peers
        self._clock = clock
        self._on_failure = on_failure

        self._rng = rng or Random()

        stored = storage.load()
        restore_stored(stored, state_machine)
        self._admission = Admission(server_id, stored.cluster_id)
        #: While only a cluster id is being saved, of which the algorithm does not
        #: know, it must not be asked for more to save.
        self._joins_cluster = False
        self._core = ConsensusModule(
            server_id,
            stored.hard_state,
            Log(stored.entries, stored.snapshot),
            self._rng,
            timing,
        )
        self.counts = Counts()
        self._last_applied = self._core.log.snapshot_index
        self._saving: Deferred[None] | None = None
        self._saving_since = 0.0
        self._held: list[_Held] = []
        self._proposals = Proposals()
        self._stamp: Callable[[bytes], bytes] | None = None
        self._reads = FreshReads(
            self._core,
            applied=lambda: self._last_applied,
            wake=self._schedule_turn,
            commit=lambda: self._propose(NoOp(), 0),
            ask_leader=lambda request: self.ask_leader(request, READ_INDEX_SECONDS),
        )
        self._changes = MembershipChanges(
            self._core,
            peers,
            applied=lambda: self._last_applied,
            wake=self._schedule_turn,
        )
        self._transfers = Transfers(self._core)
        self._snapshots = Snapshots(
            self._core,
            storage,
            state_machine,
            clock,
            snapshots or SnapshotPolicy(),
            restored=self._restored,
            failed=self._fail,
        )
        self._ticker: IDelayedCall | None = None
        self._tick_due = self._ticked_at = 0.0
        self._turn_due = False
        self._failed = False
        self._draining = False
        self._led_term: int | None = None
        self._was_member = self.is_member
        #: What its description in the log is made of, as it was at the last turn.
        self._standing: tuple[object, ...] = (
            self._core.current_term,
            self._core.role.__class__,
            self._core.leader_id,
        )

    # Starting and stopping.

    def bootstrap(self, me: Server) -> None:
        """
        Begin a cluster of one. It is on disk with the first turn.

        :raises ValueError: if the storage held a log or a term already.
        """
        self._core.bootstrap(me)
        cluster_id = uuid.UUID(int=self._rng.getrandbits(128), version=4)
        self._admission.belong_to(str(cluster_id))

    def startService(self) -> None:
        """
        Begin to count time, and to answer.
        """
        Service.startService(self)
        self._tick_due = self._ticked_at = self._clock.seconds()
        self._await_tick()
        self._schedule_turn()

    def hand_over(self, seconds: float) -> Deferred[None]:
        """
        Let another server lead, if this one does and there is one that can.

        :return: fires when another one leads, or when nothing comes of it within so
            many seconds; never fails.
        """
        voters = [voter.id for voter in self._core.configuration.voters]
        if self._core.led_term is None or voters == [self.server_id]:
            return succeed(None)
        handed_over = self.transfer_leadership(None)
        handed_over.addTimeout(seconds, self._clock)

        def failed(failure: Failure) -> None:
            self._log.info(
                "{id} did not hand its leadership over: {reason}",
                id=self.server_id,
                reason=failure.getErrorMessage(),
            )

        return handed_over.addCallbacks(lambda _: None, failed)

    def drain(self, seconds: float) -> Deferred[None]:
        """
        Take no more proposals, and wait for those that were taken.

        :return: fires when none is left, or after so many seconds.
        """
        self._draining = True
        drained = self._proposals.when_empty()
        drained.addTimeout(seconds, self._clock)
        return drained.addErrback(_ignore, TimeoutError)

    def stopService(self) -> Deferred[None]:
        """
        Let the save under way finish, and close the storage.

        Whoever still waits for a proposal is told that its outcome is unknown.
        """
        Service.stopService(self)
        self._stop_answering("this server is stopping")
        done: Deferred[None] = Deferred()
        if self._saving is None:
            done.callback(None)
        else:
            self._saving.addBoth(lambda _: done.callback(None))
        done.addCallback(lambda _: self._storage.close())
        return done

    def _stop_answering(self, reason: str) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self._snapshots.stop()
        # Who waits for a transfer goes on to be refused.
        self._transfers.fail(TransferFailed(reason))
        self._proposals.resume()
        self._proposals.fail(reason)
        self._changes.stop(reason)
        self._reads.fail(Stopped(reason))
        held, self._held = self._held, []
        self._refuse(held, reason)

    @staticmethod
    def _refuse(held: Sequence[_Held], reason: str) -> None:
        for one in held:
            one.answer.errback(Stopped(reason))

    def _fail(self, failure: Failure) -> None:
        """
        Stop for good: what this server has in memory can no longer be trusted.
        """
        if self._failed:
            return
        self._failed = True
        self._stop_answering(failure.getErrorMessage())
        if self._on_failure is not None:
            self._on_failure(failure)

    @property
    def _works(self) -> bool:
        return bool(self.running) and not self._failed

    @property
    def has_failed(self) -> bool:
        """
        Whether it cannot go on: its storage failed, or an entry could not be applied.
        """
        return self._failed

    @property
    def is_stopping(self) -> bool:
        """
        Whether it is stopping, or has stopped, and takes nothing any more.
        """
        return self._draining or not self.running

    @property
    def consensus(self) -> ConsensusModule:
        """
        The algorithm inside, to be looked at; only this server may drive it.
        """
        return self._core

    # Which cluster this server belongs to.

    @property
    def cluster_id(self) -> str | None:
        """
        The cluster this server belongs to; ``None`` before it has joined one.
        """
        return self._admission.cluster_id

    @property
    def is_member(self) -> bool:
        """
        Whether this server is in the configuration that it knows.
        """
        return self._core.configuration.get(self.server_id) is not None

    @property
    def is_to_join(self) -> bool:
        """
        Whether this server was told to join a cluster, and has not found one yet.
        """
        return self._admission.is_to_join

    def be_to_join(self) -> None:
        """
        Remember, on disk with the first turn, that this server is to join a cluster.

        Otherwise, started once without being told so, it would begin one of its own.
        """
        self._admission.be_to_join()

    def expect_cluster(self, cluster_id: str) -> None:
        """
        Let a peer of that cluster take this server in, if it belongs to none.
        """
        self._admission.expected = cluster_id

    def admit(self, cluster_id: str) -> Deferred[None]:
        """
        See whether a peer belongs to the same cluster.

        A server without a log takes the cluster it expects, and has that on disk
        before it says so.

        :return: fires if the peer is welcome; fails with :exc:`WrongCluster`, or
            :exc:`Stopped`.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        if self._admission.is_known(cluster_id):
            return succeed(None)
        try:
            self._admission.join(cluster_id, has_log=bool(self._core.log.last_index))
        except WrongCluster:
            return fail()
        return self._hold(None)

    # What comes in.

    def _await_tick(self) -> None:
        """
        Have the next tick come when it is due; those that were missed do not come.
        """
        late = max(0.0, self._clock.seconds() - self._tick_due)
        self._tick_due += TICK * (1 + late // TICK)
        self._ticker = self._clock.callLater(TICK - late % TICK, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        now = self._clock.seconds()
        if now - self._ticked_at >= self._core.timing.election_timeout * TICK:
            # The process was stopped, or had no processor for as long.
            self._core.slept()
        else:
            try:
                if self._core.tick() or self._transfers.is_under_way:
                    self._schedule_turn()
            except Exception:
                self._fail(Failure())
        self._ticked_at = now
        if self._works:
            self._await_tick()

    def handle(self, request: Request) -> Deferred[Response]:
        """
        Answer a peer's request.

        :return: fires with the result once what it promises is on disk. Fails with
            :exc:`~hraftd.raft.errors.ProtocolViolation` or :exc:`Stopped`.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        try:
            response = self._core.handle(request)
        except ProtocolViolation:
            self._schedule_turn()
            return fail()
        return self._hold(response)

    def _hold(self, value: Response | None) -> Deferred[Any]:
        held = _Held(Deferred(), value)
        self._held.append(held)
        self._schedule_turn()
        return held.answer

    def stamp_with(self, stamp: Callable[[bytes], bytes]) -> None:
        """
        Put the leader's stamp on each command before it enters the log.

        :param stamp: returns the command that is to enter it, of the same size.
        """
        self._stamp = stamp

    def propose(self, command: bytes) -> Deferred[Applied]:
        """
        Have a command committed and applied.

        :return: fires when it is applied here. Fails with
            :exc:`~hraftd.raft.errors.NotLeader`, :exc:`Overloaded`, :exc:`Stopped`:
            it will not happen; or :exc:`~hraftd.errors.LeadershipLost`: it may.
        :raises ValueError: if the command is larger than ``MAX_COMMAND_BYTES``.
        """
        if len(command) > MAX_COMMAND_BYTES:
            raise ValueError(f"a command holds at most {MAX_COMMAND_BYTES} bytes")
        if not self._works or self._draining:
            return fail(Stopped("this server is stopping"))
        if self._stamp is not None:
            command = self._stamp(command)
        return self._propose(command, len(command))

    def _propose(self, payload: bytes | NoOp, size: int) -> Deferred[Applied]:
        if not self._works:
            return fail(Stopped("this server is stopping"))
        try:
            self._proposals.check_room(size)
            if self._transfers.is_under_way:
                return self._proposals.postpone(size).addCallback(
                    lambda _: self._propose(payload, size)
                )
            entry = self._core.propose(payload)
        except (NotLeader, Overloaded, TransferInProgress):
            return fail()
        self._schedule_turn()
        return self._proposals.wait(entry, size)

    def serve(self, request: LeaderRequest) -> Deferred[Any]:
        """
        Do what another server asks for its clients.

        Only the leader does; nothing is ever passed on from here.
        """
        match request:
            case ClientRequest(command):
                return self.propose(command)
            case ReadIndex(assurance):
                return self.read_index(assurance)
            case AddServer(server):
                me = self._core.configuration.get(self.server_id)
                if me and me.id == server.id and me.raft != server.raft:
                    # It would not look whether that is true.
                    return fail(
                        MembershipConflict(f"{me.id} is the leader, at {me.raft}")
                    )
                return self.add_server(server)
            case RemoveServer(server_id):
                return self.remove_server(server_id)
            case TransferLeadership(server_id):
                return self.transfer_leadership(server_id)
            case _:
                assert_never(request)

    def ask_leader(self, request: LeaderRequest, seconds: float) -> Deferred[Any]:
        """
        Have the leader do something, over one hop.

        :return: as :meth:`hraftd.interfaces.IPeers.ask`.
        """
        leader_id = self._core.leader_id
        if not self._works:
            return fail(Stopped("this server is stopping"))
        if leader_id is None or leader_id == self.server_id:
            return fail(NotReached("there is no leader at the moment; try again"))
        return self._peers.ask(leader_id, request, seconds)

    # Reads that are not stale: dissertation 6.4.

    def read_barrier(self, assurance: Assurance) -> Deferred[None]:
        """
        Wait until this server's own state is fresh enough to be read.

        :return: fires then. Fails with :exc:`~hraftd.raft.errors.NotLeader`,
            :exc:`~hraftd.errors.NotReached`, :exc:`~hraftd.errors.LeadershipLost`,
            :exc:`~hraftd.errors.Overloaded`, :exc:`~hraftd.errors.Stopped`, or with
            whatever became of asking the leader.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        return self._reads.barrier(assurance)

    def read_index(self, assurance: Assurance) -> Deferred[int]:
        """
        Name an index; a state that has applied it is fresh.

        :return: fires with it once it is that sure that this server leads. Fails with
            :exc:`~hraftd.raft.errors.NotLeader`, :exc:`~hraftd.errors.LeadershipLost`,
            :exc:`~hraftd.errors.Overloaded` or :exc:`~hraftd.errors.Stopped`.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        return self._reads.index(assurance)

    # Members and leaders come and go: dissertation 4, 3.10.

    def add_server(self, server: Server) -> Deferred[int]:
        """
        Make a server a member, or give a member other addresses or another suffrage.

        Nothing changes unless it answers at its address, and a member does not move
        while it still answers where it was.

        :return: fires, with the index of a configuration in which it is as it should
            be, a voter unless it is to have no vote, once that is committed. Fails with
            :exc:`~hraftd.raft.errors.NotLeader`,
            :exc:`~hraftd.raft.configuration.MembershipConflict`,
            :exc:`~hraftd.raft.errors.ChangeInProgress`,
            :exc:`~hraftd.raft.errors.TransferInProgress`,
            :exc:`~hraftd.errors.UnreachableServer`, :exc:`~hraftd.errors.Stopped`: it
            has not become one; or :exc:`~hraftd.errors.LeadershipLost`: it may.
            Cancelling it only stops the waiting.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        return Deferred.fromCoroutine(self._changes.add(server))

    def remove_server(self, server_id: str) -> Deferred[int]:
        """
        Remove a member; the leader too, which then steps down.

        :return: fires, with the index of the configuration, once that is committed.
            Fails as :meth:`add_server`, and with :exc:`~hraftd.errors.NoSuchServer`.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        return Deferred.fromCoroutine(self._changes.remove(server_id))

    def transfer_leadership(self, server_id: str | None) -> Deferred[int]:
        """
        Hand leadership over.

        :param server_id: the voter that is to lead; ``None`` for the one that can the
            soonest.
        :return: fires with the term in which it leads, at once if it does. Fails with
            :exc:`~hraftd.raft.errors.NotLeader`,
            :exc:`~hraftd.raft.errors.CannotTransfer`,
            :exc:`~hraftd.raft.errors.TransferInProgress`,
            :exc:`~hraftd.errors.NoSuchServer`, :exc:`~hraftd.errors.Stopped`: nothing
            has changed; :exc:`~hraftd.errors.TransferFailed`: this server goes on, or
            another one than wanted; or :exc:`~hraftd.errors.LeadershipLost`: who leads
            is not known.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        try:
            answer = self._transfers.begin(server_id)
        except (
            NotLeader,
            CannotTransfer,
            TransferInProgress,
            NoSuchServer,
            TransferFailed,
        ):
            return fail()
        self._schedule_turn()
        return answer

    # Snapshots: Raft 7.

    def take_snapshot(self) -> Deferred[Snapshot]:
        """
        Take a snapshot now.

        :return: fires with it when it is in place of the log; with the latest one if
            nothing was applied since. Fails with
            :exc:`~hraftd.errors.SnapshotImpossible` or :exc:`~hraftd.errors.Stopped`.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        return self._snapshots.take()

    def read_snapshot(self) -> Deferred[SnapshotReading]:
        """
        Take a snapshot now, and begin to read it.

        :return: fires with what has to be closed when it is read; fails as
            :meth:`take_snapshot`.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        return Deferred.fromCoroutine(self._snapshots.read())

    def _restored(self, snapshot: Snapshot) -> None:
        self._last_applied = snapshot.last_index
        self.counts.snapshots_restored += 1
        self._core.restored(snapshot)
        self._configuration_committed(snapshot.last_index, snapshot.configuration)
        self._reads.now_applied(self._last_applied)
        self._schedule_turn()

    # The turn.

    def _schedule_turn(self) -> None:
        """
        Take one turn for all that comes in during this iteration of the reactor.
        """
        if not self._turn_due and self._works:
            self._turn_due = True
            self._clock.callLater(0, self._scheduled_turn)

    def _scheduled_turn(self) -> None:
        self._turn_due = False
        if self._works and not self._joins_cluster:
            try:
                self._turn()
            except Exception:
                # Half a turn is done: a save may never be known to have ended.
                self._fail(Failure())

    def _turn(self) -> None:
        """
        Do what the algorithm asks: persist, send, apply, answer.

        What has to wait for the disk goes on when :meth:`_save` is done; what need
        not, a leader's AppendEntries and entries that were saved before, goes on here.
        """
        ready = self._core.ready()
        if ready.servers is not None and self.cluster_id is not None:
            self._peers.configure(self.cluster_id, ready.servers)
        if self._saving is None:
            held, self._held = self._held, []
            if ready.must_save or self._admission.unsaved is not None:
                self._save(ready, held)
            else:
                self._send(ready.calls)
                self._answer(held)
        self._send(ready.early_calls)
        self._fetch(ready.fetches)
        self._apply(ready.committed)
        self._reads.confirmed(ready.confirmed_reads)
        self._notice_change()
        self._snapshots.take_if_due()
        if len(ready.committed) == MAX_COMMITTED:
            self._schedule_turn()

    def _save(self, ready: Ready, held: list[_Held]) -> None:
        saving = self._saving = Deferred()
        self._saving_since = self._clock.seconds()
        cluster_id = self._admission.take_unsaved()
        self._joins_cluster = not ready.must_save

        def saved(_: None) -> None:
            self._saving = None
            self._joins_cluster = False
            self.counts.sync.note(self._clock.seconds() - self._saving_since)
            self.counts.entries_synced += len(ready.entries)
            if ready.must_save:
                self._core.advance(ready)
            self._answer(held)
            if self._works:
                self._send(ready.calls)
                if ready.snapshot is not None:
                    self._snapshots.restore(ready.snapshot)
                self._schedule_turn()

        def failed(failure: Failure) -> None:
            self._saving = None
            self._refuse(held, failure.getErrorMessage())
            self._fail(failure)

        self._storage.save(
            ready.hard_state,
            ready.entries,
            cluster_id,
            pieces=ready.pieces,
            snapshot=ready.snapshot,
        ).addCallbacks(saved, failed).addErrback(self._fail).chainDeferred(saving)

    def _send(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._peers.call(call).addCallbacks(
                self._answered,
                self._unanswered,
                callbackArgs=(call,),
                errbackArgs=(call,),
            ).addErrback(self._fail)

    def _answered(self, response: Response, call: Call) -> None:
        self._core.response_received(call, response)
        self._schedule_turn()

    def _unanswered(self, _: Failure, call: Call) -> None:
        # Not logged: the link says once that its peer is gone.
        self._core.call_failed(call)
        self._schedule_turn()

    def _fetch(self, fetches: Sequence[Fetch]) -> None:
        """
        Read from the disk what a follower needs and what is not in memory.
        """

        def failed(failure: Failure, fetch: Fetch) -> None:
            if failure.check(LookupError):
                # It was compacted meanwhile.
                self._core.fetch_failed(fetch)
            elif self._works:
                self._fail(failure)

        def fetched(content: Any, fetch: Fetch) -> None:
            self._core.fetched(fetch, content)
            self._schedule_turn()

        for fetch in fetches:
            reading: Deferred[Any]
            match fetch:
                case FetchEntries(first=first, last=last, max_bytes=max_bytes):
                    reading = self._storage.read_entries(first, last, max_bytes)
                case FetchPiece(snapshot=snapshot, offset=offset):
                    reading = self._storage.read_piece(snapshot, offset)
                case _:
                    assert_never(fetch)
            reading.addCallback(fetched, fetch).addErrback(failed, fetch)

    def _apply(self, committed: Sequence[Entry]) -> None:
        """
        Give committed entries to the state machine, and answer who proposed them.
        """
        began = self._clock.seconds()
        for entry in committed:
            result: object = None
            match entry.payload:
                case bytes() as command:
                    try:
                        result = self._state_machine.apply(entry.index, command)
                    except Exception:
                        # To leave it out would make this server differ from others.
                        self._fail(Failure())
                        return
                case NoOp():
                    pass
                case configuration:
                    self._configuration_committed(entry.index, configuration)
            self._last_applied = entry.index
            self._snapshots.applied(entry)
            self._proposals.applied(entry, result)
        if committed:
            self.counts.apply.note(self._clock.seconds() - began)
            self.counts.entries_applied += len(committed)
        self._reads.now_applied(self._last_applied)

    def _configuration_committed(
        self, index: int, configuration: Configuration
    ) -> None:
        self._changes.committed(index, configuration)
        if index < self._core.log.configuration_index:
            # An old one, applied again after a restart.
            return
        is_member = configuration.get(self.server_id) is not None
        if self._was_member and not is_member:
            self._log.warn(
                "{id} was removed from the cluster by entry {index}: it takes no part "
                "in it any more and can be stopped; to let it in again, start it with "
                "--join",
                id=self.server_id,
                index=index,
            )
        self._was_member = is_member

    @staticmethod
    def _answer(held: Sequence[_Held]) -> None:
        for one in held:
            one.answer.callback(one.value)

    def _notice_change(self) -> None:
        """
        Log what this server has become; without its leadership, free who waits.
        """
        core = self._core
        standing = (core.current_term, core.role.__class__, core.leader_id)
        if standing != self._standing:
            is_new_term = core.current_term != self._standing[0]
            if is_new_term and core.voted_for == self.server_id:
                self.counts.elections_started += 1
            if core.leader_id is not None:
                self.counts.leader_changes += 1
            self._standing = standing
            self._log.info(
                "{server_id} {what}", server_id=self.server_id, what=describe(core)
            )
        if self._core.led_term != self._led_term:
            self._led_term = self._core.led_term
            if self._led_term is not None:
                self.counts.elections_won += 1
            reason = f"{self.server_id} lost its leadership"
            self._proposals.fail(reason, but_of_term=self._led_term)
            self._reads.leadership_lost(reason)
            self._changes.fail(reason)
        if self._transfers.is_under_way:
            self._transfers.look()
            if not self._transfers.is_under_way:
                self._proposals.resume()

    # What others may ask.

    def status(self) -> Status:
        """
        Tell what this server knows, without asking anybody.
        """
        return Status.of(
            self._core, self.cluster_id, self._last_applied, self._peers.is_linked
        )

    @property
    def snapshots_taken(self) -> int:
        """
        How many snapshots this server has taken since it started.
        """
        return self._snapshots.taken

    def backlog(self) -> Backlog:
        """
        Tell what waits here at this moment.
        """
        log = self._core.log
        # While a snapshot is being installed nothing before it is there any more.
        synced = max(self._core.stable_index, log.memory_index)
        unsynced = log.between(synced + 1, log.last_index)
        return Backlog(
            proposals=self._proposals.count,
            proposal_bytes=self._proposals.size,
            reads=self._reads.count,
            unsynced_entries=len(unsynced),
            unsynced_bytes=sum(map(size_of, unsynced)),
            save_seconds=(
                0.0
                if self._saving is None
                else self._clock.seconds() - self._saving_since
            ),
        )


def _ignore(failure: Failure, *expected: type[Exception]) -> None:
    failure.trap(*expected)

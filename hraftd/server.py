"""
One server of a cluster: the only driver of the algorithm.

:class:`RaftServer` gives :class:`~hraftd.raft.consensus.ConsensusModule` time, the
requests and answers of peers and the wishes of clients, and does what the algorithm
asks in return. All of it goes through one turn, in one order: **persist, send, apply,
answer**. What promises durability waits for the disk; the one exception is a leader's
AppendEntries, which goes out while its own disk writes (dissertation 10.2.1).

How entries are kept, sent and applied lies behind :mod:`hraftd.interfaces`.
"""

from __future__ import annotations

import uuid
from random import Random
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from hraftd.proposals import Applied, LeadershipLost, Overloaded, Proposals
from hraftd.raft.consensus import MAX_COMMITTED, ConsensusModule
from hraftd.raft.errors import NotLeader, ProtocolViolation
from hraftd.raft.log import Log
from hraftd.raft.messages import NoOp
from hraftd.status import TICK, MemberStatus, Status, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime

    from hraftd.interfaces import IPeers, IStateMachine, IStorage
    from hraftd.raft.configuration import Configuration, Server
    from hraftd.raft.messages import Call, Entry, Request, Response
    from hraftd.raft.ready import Ready, Timing

__all__ = [
    "Applied",
    "LeadershipLost",
    "MemberStatus",
    "Overloaded",
    "RaftServer",
    "Status",
    "Stopped",
    "UnreachableServer",
    "WrongCluster",
]

#: A larger command is refused: with it an AppendEntries would not fit into what a
#: peer accepts.
MAX_COMMAND_BYTES = 24 << 20


class Stopped(Exception):
    """
    The server is not running, or its storage failed. Nothing was proposed.
    """


class WrongCluster(Exception):
    """
    The peer belongs to another cluster than this server. The text is a sentence.
    """


class UnreachableServer(Exception):
    """
    There is no server of that id at that address. The text is a sentence.
    """


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

        stored = storage.load()
        self._cluster_id = stored.cluster_id
        self._unsaved_cluster_id: str | None = None
        #: While only a cluster id is being saved, of which the algorithm does not
        #: know, it must not be asked for more to save.
        self._joins_cluster = False
        self._expected_cluster_id: str | None = None
        self._core = ConsensusModule(
            server_id, stored.hard_state, Log(stored.entries), rng or Random(), timing
        )
        self._last_applied = 0
        self._saving: Deferred[None] | None = None
        self._held: list[_Held] = []
        self._proposals = Proposals()
        self._promotions: list[tuple[str, Deferred[int]]] = []
        self._turn_due = False
        self._failed = False
        self._draining = False
        self._led_term: int | None = None
        self._described = describe(self._core)
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock

    # Starting and stopping.

    def bootstrap(self, me: Server) -> None:
        """
        Begin a cluster of one. It is on disk with the first turn.

        :raises ValueError: if the storage held a log or a term already.
        """
        self._core.bootstrap(me)
        self._cluster_id = self._unsaved_cluster_id = str(uuid.uuid4())

    def startService(self) -> None:
        """
        Begin to count time, and to answer.
        """
        Service.startService(self)
        self._ticker.start(TICK, now=False)
        self._schedule_turn()

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
        if self._ticker.running:
            self._ticker.stop()
        self._proposals.fail(reason)
        self._fail_promotions(reason)
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

    # Which cluster this server belongs to.

    @property
    def cluster_id(self) -> str | None:
        """
        The cluster this server belongs to; ``None`` before it has joined one.
        """
        return self._cluster_id

    @property
    def is_member(self) -> bool:
        """
        Whether this server is in the configuration that it knows.
        """
        return self._core.configuration.get(self.server_id) is not None

    def expect_cluster(self, cluster_id: str) -> None:
        """
        Let a peer of that cluster take this server in, if it belongs to none.
        """
        self._expected_cluster_id = cluster_id

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
        if cluster_id == self._cluster_id and self._unsaved_cluster_id is None:
            return succeed(None)
        if self._core.log.last_index or cluster_id not in (
            self._expected_cluster_id,
            self._cluster_id,
        ):
            return fail(
                WrongCluster(
                    f"{self.server_id} belongs to cluster {self._cluster_id}, not to "
                    f"{cluster_id}"
                    if self._cluster_id
                    else f"{self.server_id} belongs to no cluster and does not expect "
                    f"to join {cluster_id}"
                )
            )
        self._cluster_id = self._unsaved_cluster_id = cluster_id
        return self._hold(None)

    # What comes in.

    def _tick(self) -> None:
        self._core.tick()
        self._schedule_turn()

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

    def propose(self, command: bytes) -> Deferred[Applied]:
        """
        Have a command committed and applied.

        :return: fires when it is applied here. Fails with
            :exc:`~hraftd.raft.errors.NotLeader`, :exc:`Overloaded`, :exc:`Stopped`:
            it will not happen; or :exc:`LeadershipLost`: it may.
        :raises ValueError: if the command is larger than ``MAX_COMMAND_BYTES``.
        """
        if len(command) > MAX_COMMAND_BYTES:
            raise ValueError(f"a command holds at most {MAX_COMMAND_BYTES} bytes")
        if not self._works or self._draining:
            return fail(Stopped("this server is stopping"))
        try:
            self._proposals.check_room(len(command))
            entry = self._core.propose(command)
        except (NotLeader, Overloaded):
            return fail()
        self._schedule_turn()
        return self._proposals.wait(entry, len(command))

    def add_server(self, newcomer: Server) -> Deferred[int]:
        """
        Make a server a member; nothing changes unless it answers at its address.

        :return: fires, with the index of the configuration, once it is a voter and
            that is committed. Fails with :exc:`~hraftd.raft.errors.NotLeader`,
            :exc:`~hraftd.raft.configuration.MembershipConflict`,
            :exc:`~hraftd.raft.errors.ChangeInProgress`, :exc:`UnreachableServer`,
            :exc:`Stopped`: it has not become one; or :exc:`LeadershipLost`: it may.
            Cancelling it only stops the waiting.
        """
        return Deferred.fromCoroutine(self._add_server(newcomer))

    async def _add_server(self, newcomer: Server) -> int:
        known = self._core.configuration.get(newcomer.id)
        if known is None or known.raft != newcomer.raft:
            self._core.check_addition(newcomer)
            try:
                await self._peers.probe(newcomer)
            except Exception as error:
                raise UnreachableServer(str(error)) from error
            if not self._works:
                raise Stopped("this server is not running")
            self._core.add_server(newcomer)
            self._schedule_turn()
        return await self._promotion(newcomer.id)

    def _promotion(self, server_id: str) -> Deferred[int]:
        """
        Wait until that member votes, and until that is committed and applied.
        """
        if not self._works:
            return fail(Stopped("this server is not running"))
        try:
            self._core.check_leader()
        except NotLeader:
            return fail()
        index = self._core.log.configuration_index
        if self._core.configuration.is_voter(server_id) and index <= self._last_applied:
            return succeed(index)
        answer: Deferred[int] = Deferred(lambda _: self._promotions.remove(waiting))
        waiting = (server_id, answer)
        self._promotions.append(waiting)
        return answer

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
            self._turn()

    def _turn(self) -> None:
        """
        Do what the algorithm asks: persist, send, apply, answer.

        What has to wait for the disk goes on when :meth:`_save` is done; what need
        not, a leader's AppendEntries and entries that were saved before, goes on here.
        """
        ready = self._core.ready()
        if ready.configuration is not None and self._cluster_id is not None:
            self._peers.configure(self._cluster_id, ready.configuration)
        if self._saving is None:
            held, self._held = self._held, []
            if ready.must_save or self._unsaved_cluster_id is not None:
                self._save(ready, held)
            else:
                self._send(ready.calls)
                self._answer(held)
        self._send(ready.early_calls)
        self._apply(ready.committed)
        self._notice_change()
        if len(ready.committed) == MAX_COMMITTED:
            self._schedule_turn()

    def _save(self, ready: Ready, held: list[_Held]) -> None:
        saving = self._saving = Deferred()
        cluster_id, self._unsaved_cluster_id = self._unsaved_cluster_id, None
        self._joins_cluster = not ready.must_save

        def saved(_: None) -> None:
            self._saving = None
            self._joins_cluster = False
            if ready.must_save:
                self._core.advance(ready)
            self._answer(held)
            if self._works:
                self._send(ready.calls)
                self._schedule_turn()

        def failed(failure: Failure) -> None:
            self._saving = None
            self._refuse(held, failure.getErrorMessage())
            self._fail(failure)

        self._storage.save(ready.hard_state, ready.entries, cluster_id).addCallbacks(
            saved, failed
        ).addErrback(self._fail).chainDeferred(saving)

    def _send(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._peers.call(call).addCallbacks(
                self._answered,
                self._unanswered,
                callbackArgs=(call,),
                errbackArgs=(call,),
            )

    def _answered(self, response: Response, call: Call) -> None:
        self._core.response_received(call, response)
        self._schedule_turn()

    def _unanswered(self, _: Failure, call: Call) -> None:
        # Not logged: the link says once that its peer is gone.
        self._core.call_failed(call)
        self._schedule_turn()

    def _apply(self, committed: Sequence[Entry]) -> None:
        """
        Give committed entries to the state machine, and answer who proposed them.
        """
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
            self._proposals.applied(entry, result)

    def _configuration_committed(
        self, index: int, configuration: Configuration
    ) -> None:
        for waiting in list(self._promotions):
            server_id, answer = waiting
            if configuration.is_voter(server_id):
                self._promotions.remove(waiting)
                answer.callback(index)

    @staticmethod
    def _answer(held: Sequence[_Held]) -> None:
        for one in held:
            one.answer.callback(one.value)

    def _notice_change(self) -> None:
        """
        Log what this server has become; without its leadership, free who waits.
        """
        described = describe(self._core)
        if described != self._described:
            self._described = described
            self._log.info(
                "{server_id} {what}", server_id=self.server_id, what=described
            )
        if self._core.led_term != self._led_term:
            self._led_term = self._core.led_term
            reason = f"{self.server_id} lost its leadership"
            self._proposals.fail(reason, but_of_term=self._led_term)
            self._fail_promotions(reason)

    def _fail_promotions(self, reason: str) -> None:
        promotions, self._promotions = self._promotions, []
        for _, answer in promotions:
            answer.errback(LeadershipLost(reason))

    # What others may ask.

    def status(self) -> Status:
        """
        Tell what this server knows, without asking anybody.
        """
        return Status.of(self._core, self._cluster_id, self._last_applied)


def _ignore(failure: Failure, *expected: type[Exception]) -> None:
    failure.trap(*expected)

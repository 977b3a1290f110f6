"""
Real servers, joined without a network and driven by a clock that tests turn.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from hraftd.errors import NotReached
from hraftd.interfaces import IPeers, IStateMachine, IStorage, Stored
from hraftd.kv.commands import Set, encode_command
from hraftd.kv.store import KeyValueStore
from hraftd.raft.configuration import Server
from hraftd.server import RaftServer
from hraftd.status import TICK
from hraftd.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from hraftd.interfaces import Restoration
    from hraftd.leader_requests import LeaderRequest
    from hraftd.raft.messages import (
        Call,
        Entry,
        HardState,
        Piece,
        Response,
        Snapshot,
    )
    from hraftd.raft.ready import Timing
    from hraftd.snapshots import SnapshotPolicy

_Done = TypeVar("_Done")


def member(server_id: str) -> Server:
    """
    Name a server and two addresses after it.
    """
    return Server(server_id, f"{server_id}:12000", f"{server_id}:11000")


def set_command(key: str, value: str) -> bytes:
    """
    Encode the setting of one key.
    """
    return encode_command(Set(((key, value),)))


@implementer(IStateMachine)
class Journal:
    """
    A state machine that remembers what it was given, and takes nothing out of order.

    Each command is a piece of its snapshots, behind one for all.
    """

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        self.applied: list[tuple[int, bytes]] = []
        #: How many snapshots are neither exhausted nor closed.
        self.being_read = 0
        #: Refused when a snapshot is restored.
        self.refused: bytes | None = None

    def apply(self, index: int, command: bytes) -> object:
        """
        Remember a command.
        """
        if self.applied and index <= self.applied[-1][0]:
            raise ValueError(f"entry {index} comes behind {self.applied[-1][0]}")
        self.applied.append((index, command))
        return len(self.applied)

    def snapshot(self) -> Generator[bytes, None, None]:
        """
        Return everything as it is now.
        """
        return self._pieces(list(self.applied))

    def _pieces(self, applied: list[tuple[int, bytes]]) -> Generator[bytes, None, None]:
        self.being_read += 1
        try:
            yield b"journal"
            for index, command in applied:
                yield b"%d %b" % (index, command)
        finally:
            self.being_read -= 1

    def restore(self) -> Restoration:
        """
        Begin to read what another journal, or this one, has remembered.
        """
        return _JournalRestoration(self)


class _JournalRestoration:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._applied: list[tuple[int, bytes]] | None = None

    def add(self, piece: bytes) -> None:
        if piece == self._journal.refused:
            raise ValueError(f"{piece!r} is no piece")
        if self._applied is None:
            if piece != b"journal":
                raise ValueError("this is not the first piece")
            self._applied = []
        else:
            index, _, command = piece.partition(b" ")
            self._applied.append((int(index), command))

    def finish(self) -> None:
        if self._applied is None:
            raise ValueError("nothing was added")
        self._journal.applied = self._applied


def _later(
    held: list[Callable[[], object]], work: Callable[[], Deferred[_Done]]
) -> Deferred[_Done]:
    """
    Put work among what a test holds back.
    """
    done: Deferred[_Done] = Deferred()
    held.append(lambda: work().chainDeferred(done))
    return done


@implementer(IStorage)
class HeldStorage:
    """
    A storage whose saves end when a test says so.
    """

    def __init__(self) -> None:
        """
        Begin empty, and let saves end at once.
        """
        self.kept = MemoryStorage()
        self.held = False
        self.saves: list[tuple[HardState | None, Sequence[Entry], str | None]] = []
        #: Pieces and compactions wait too, while this is so.
        self.held_snapshots = False
        self.compacted: list[Snapshot] = []
        self._waiting: list[tuple[Deferred[None], Callable[[], Deferred[None]]]] = []
        self._snapshot: list[Callable[[], object]] = []
        #: Reading back waits too, while this is so.
        self.held_reads = False
        self._reads: list[Callable[[], object]] = []
        #: By the name of the method, what that fails with from now on.
        self.broken: dict[str, Exception] = {}
        #: The arguments of each call.
        self.reads: list[tuple[object, ...]] = []
        self.is_closed = False

    def load(self) -> Stored:
        """
        Read what was kept.
        """
        self.is_closed = False
        return self.kept.load()

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
        Begin to keep this.
        """
        assert not self._waiting, "only one save is under way at a time"
        self.saves.append((hard_state, entries, cluster_id))

        def keep() -> Deferred[None]:
            return self.kept.save(
                hard_state, entries, cluster_id, pieces=pieces, snapshot=snapshot
            )

        if not self.held:
            return keep()
        saving: Deferred[None] = Deferred()
        self._waiting.append((saving, keep))
        return saving

    @property
    def save_waits(self) -> bool:
        """
        Whether a save waits for a test to let it end.
        """
        return bool(self._waiting)

    def finish(self) -> None:
        """
        Let the save under way succeed.
        """
        saving, keep = self._waiting.pop()
        keep().chainDeferred(saving)

    def break_down(self, error: Exception) -> None:
        """
        Let the save under way fail.
        """
        self._waiting.pop()[0].errback(error)

    def crash(self, *, written: bool) -> None:
        """
        Forget what is under way, of which nobody hears any more.

        :param written: whether the save under way reaches the disk all the same.
        """
        waiting, self._waiting = self._waiting, []
        for _, keep in waiting:
            if written:
                keep()
        self._snapshot.clear()
        self._reads.clear()

    def write_piece(self, piece: Piece) -> Deferred[None]:
        """
        Keep a piece of an own snapshot.
        """
        if "write_piece" in self.broken:
            return fail(self.broken["write_piece"])
        return self._when_let(lambda: self.kept.write_piece(piece))

    def compact(
        self, snapshot: Snapshot, trailing_entries: int, trailing_bytes: int
    ) -> Deferred[int]:
        """
        Put an own snapshot in place.
        """
        if "compact" in self.broken:
            return fail(self.broken["compact"])

        def compact() -> Deferred[int]:
            self.compacted.append(snapshot)
            return self.kept.compact(snapshot, trailing_entries, trailing_bytes)

        return self._when_let(compact)

    def _when_let(self, work: Callable[[], Deferred[_Done]]) -> Deferred[_Done]:
        return _later(self._snapshot, work) if self.held_snapshots else work()

    @property
    def snapshot_waits(self) -> bool:
        """
        Whether a piece or a compaction waits for a test to let it go on.
        """
        return bool(self._snapshot)

    def let_snapshot_go_on(self) -> None:
        """
        Let what a snapshot waits for be done.
        """
        self._snapshot.pop()()

    def read_piece(self, snapshot: Snapshot, offset: int) -> Deferred[bytes]:
        """
        Read a piece back.
        """
        self.reads.append(("read_piece", snapshot, offset))
        if "read_piece" in self.broken:
            return fail(self.broken["read_piece"])
        return self._when_read(lambda: self.kept.read_piece(snapshot, offset))

    def read_entries(
        self, first: int, last: int, max_bytes: int
    ) -> Deferred[Sequence[Entry]]:
        """
        Read entries back.
        """
        self.reads.append(("read_entries", first, last, max_bytes))
        if "read_entries" in self.broken:
            return fail(self.broken["read_entries"])
        return self._when_read(lambda: self.kept.read_entries(first, last, max_bytes))

    def _when_read(self, work: Callable[[], Deferred[_Done]]) -> Deferred[_Done]:
        return _later(self._reads, work) if self.held_reads else work()

    @property
    def reads_waiting(self) -> int:
        """
        How many times something is to be read back.
        """
        return len(self._reads)

    def let_reads_go_on(self) -> None:
        """
        Let all be read that is waited for, as it is now.
        """
        reads, self._reads = self._reads, []
        for read in reads:
            read()

    def close(self) -> Deferred[None]:
        """
        Let go.
        """
        self.is_closed = True
        return self.kept.close()


@implementer(IReactorTime)
class Lifetime:
    """
    The clock of one server, for which time ends when it is killed.
    """

    def __init__(self, clock: Clock) -> None:
        """
        Go with a clock.
        """
        self._clock = clock
        self.is_over = False

    def seconds(self) -> float:
        """
        Return what the clock says.
        """
        return self._clock.seconds()

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> IDelayedCall:
        """
        Call that later, if there still is a later.
        """

        def call() -> None:
            if not self.is_over:
                callable(*args, **kwargs)

        return self._clock.callLater(delay, call)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        Return what is to be called, by whomever.
        """
        return self._clock.getDelayedCalls()


@implementer(IPeers)
@define(eq=False)
class Wires:
    """
    The way of one server to the others: straight into their ``handle``.
    """

    group: Group
    server_id: str
    configurations: list[tuple[str, Sequence[Server]]] = field(factory=list)
    calls: list[Call] = field(factory=list)
    asked: list[tuple[str, LeaderRequest]] = field(factory=list)
    #: What others are asked for, the answers to that, and probes do not arrive while
    #: these are so, until a test lets them.
    requests_held: bool = False
    answers_held: bool = False
    probes_held: bool = False
    #: Nor do calls of which this says so; others go past them.
    holds_call: Callable[[Call], bool] = lambda _: False
    _on_their_way: list[Callable[[], object]] = field(factory=list)
    _unanswered: list[Deferred[Any]] = field(factory=list)

    def deliver(self) -> None:
        """
        Let everything arrive that is on its way.
        """
        on_their_way, self._on_their_way = self._on_their_way, []
        for arrive in on_their_way:
            arrive()

    def hang_up(self) -> None:
        """
        Let nobody be answered who has asked.
        """
        self._on_their_way.clear()
        unanswered, self._unanswered = self._unanswered, []
        for answer in unanswered:
            if not answer.called:
                answer.errback(ConnectionError("the link is lost"))

    def configure(self, cluster_id: str, servers: Sequence[Server]) -> None:
        """
        Remember the members.
        """
        self.configurations.append((cluster_id, servers))

    def is_linked(self, server_id: str) -> bool:
        """
        Whether neither of the two is cut off.
        """
        return server_id in self.group.servers and not (
            {server_id, self.server_id} & self.group.cut_off
        )

    def ask(
        self, server_id: str, request: LeaderRequest, seconds: float
    ) -> Deferred[Any]:
        """
        Hand the request over, unless one of the two is cut off.
        """
        self.asked.append((server_id, request))
        if not self.is_linked(server_id):
            return fail(NotReached(f"no link to {server_id} is open"))
        answer: Deferred[Any] = Deferred()
        self._unanswered.append(answer)

        def arrive() -> None:
            self._answer(self.group.servers[server_id].serve(request), answer)

        self._on_its_way(arrive, is_held=self.requests_held)
        return answer

    def _answer(self, served: Deferred[Any], answer: Deferred[Any]) -> None:
        def come_back() -> None:
            served.addCallbacks(answered, failed)

        def answered(result: object) -> None:
            if not answer.called:
                answer.callback(result)

        def failed(failure: Failure) -> None:
            if not answer.called:
                answer.errback(failure)

        self._on_its_way(come_back, is_held=self.answers_held)

    def _on_its_way(self, arrive: Callable[[], object], *, is_held: bool) -> None:
        if is_held:
            self._on_their_way.append(arrive)
        else:
            arrive()

    def call(self, call: Call) -> Deferred[Response]:
        """
        Hand the request over, unless one of the two is cut off.
        """
        self.calls.append(call)
        if self.holds_call(call):
            answer: Deferred[Response] = Deferred()
            self._on_their_way.append(lambda: self._call(call).chainDeferred(answer))
            return answer
        return self._call(call)

    def _call(self, call: Call) -> Deferred[Response]:
        if {call.to, self.server_id} & self.group.cut_off:
            return fail(ConnectionError("cut off"))
        peer = self.group.servers.get(call.to)
        if peer is None:
            return fail(ConnectionError("there is no such server"))
        return peer.handle(call.request)

    def probe(self, server: Server) -> Deferred[None]:
        """
        See whether the server is in the group, and admits this cluster.
        """
        if not self.probes_held:
            return self._probe(server)
        answer: Deferred[None] = Deferred()
        self._on_their_way.append(lambda: self._probe(server).chainDeferred(answer))
        return answer

    def _probe(self, server: Server) -> Deferred[None]:
        peer = self.group.servers.get(server.id)
        is_there = (
            self.group.addresses.get(server.id) == server.raft
            and server.id not in self.group.cut_off
        )
        if peer is None or not is_there:
            return fail(ConnectionError(f"no server answers at {server.raft}"))
        cluster_id = self.group.servers[self.server_id].cluster_id
        assert cluster_id is not None
        return peer.admit(cluster_id)


class Group:
    """
    Servers by id, on one clock.
    """

    def __init__(self) -> None:
        """
        Begin with none.
        """
        self.clock = Clock()
        self.lifetimes: dict[str, Lifetime] = {}
        self.servers: dict[str, RaftServer] = {}
        self.stores: dict[str, KeyValueStore] = {}
        self.wires: dict[str, Wires] = {}
        self.cut_off: set[str] = set()
        self.failures: list[str] = []
        #: Where each server listens; a test can move it.
        self.addresses: dict[str, str] = {}
        self.storages: dict[str, IStorage] = {}

    def add(
        self,
        server_id: str,
        storage: IStorage | None = None,
        snapshots: SnapshotPolicy | None = None,
        timing: Timing | None = None,
        state_machine: IStateMachine | None = None,
        rng: Random | None = None,
    ) -> RaftServer:
        """
        Make a server, not started, that knows what the storage holds.
        """
        storage = MemoryStorage() if storage is None else storage
        self.storages[server_id] = storage
        self.addresses[server_id] = member(server_id).raft
        self.stores[server_id] = KeyValueStore()
        if isinstance(state_machine, KeyValueStore):
            self.stores[server_id] = state_machine
        self.wires[server_id] = self.make_wires(server_id)
        self.lifetimes[server_id] = Lifetime(self.clock)
        server = self.servers[server_id] = RaftServer(
            server_id,
            storage,
            self.stores[server_id] if state_machine is None else state_machine,
            self.wires[server_id],
            self.lifetimes[server_id],
            rng=rng or Random(server_id),
            timing=timing,
            snapshots=snapshots,
            on_failure=lambda failure: self.failures.append(failure.getErrorMessage()),
        )
        return server

    def make_wires(self, server_id: str) -> Wires:
        """
        Make the way of a server to the others.
        """
        return Wires(self, server_id)

    def kill(self, server_id: str) -> None:
        """
        Let there be no such server any more, without a word to anybody.
        """
        self.lifetimes[server_id].is_over = True
        del self.servers[server_id]

    def first(
        self,
        server_id: str,
        storage: IStorage | None = None,
        snapshots: SnapshotPolicy | None = None,
        timing: Timing | None = None,
        state_machine: IStateMachine | None = None,
    ) -> RaftServer:
        """
        Make a server that begins a cluster of one and leads it.
        """
        server = self.add(server_id, storage, snapshots, timing, state_machine)
        server.bootstrap(member(server_id))
        server.startService()
        self.until(lambda: server.status().role == "leader")
        return server

    def join(
        self,
        server_id: str,
        leader: RaftServer,
        storage: IStorage | None = None,
        snapshots: SnapshotPolicy | None = None,
        timing: Timing | None = None,
        state_machine: IStateMachine | None = None,
    ) -> RaftServer:
        """
        Make a server that becomes a voter of the leader's cluster.
        """
        server = self.add(server_id, storage, snapshots, timing, state_machine)
        assert leader.cluster_id is not None
        server.expect_cluster(leader.cluster_id)
        server.startService()
        added = leader.add_server(member(server_id))
        added.addErrback(lambda failure: self.failures.append(str(failure)))
        self.until(lambda: bool(added.called))
        return server

    def ready_to_join(self, server_id: str, leader: RaftServer) -> RaftServer:
        """
        Make a server that lets itself be taken into the leader's cluster.
        """
        server = self.add(server_id)
        assert leader.cluster_id is not None
        server.expect_cluster(leader.cluster_id)
        server.startService()
        return server

    def turn(self) -> None:
        """
        Let everything happen that needs no time.
        """
        for _ in range(20):
            self.clock.advance(0)

    def ticks(self, count: int) -> None:
        """
        Let time pass.
        """
        for _ in range(count):
            self.clock.advance(TICK)
            self.turn()

    def until(self, condition: Callable[[], bool], ticks: int = 400) -> None:
        """
        Let time pass until something is so.
        """
        self.turn()
        for _ in range(ticks):
            if condition():
                return
            self.ticks(1)
        raise AssertionError(f"not so after {ticks} ticks")

    def leader(self) -> RaftServer:
        """
        Return the server that leads the highest term, of those not cut off.
        """
        leaders = [
            server
            for server_id, server in self.servers.items()
            if server_id not in self.cut_off and server.status().role == "leader"
        ]
        return max(leaders, key=lambda server: server.status().term)

    def has_leader(self) -> bool:
        """
        Whether one of those that are not cut off leads.
        """
        return any(
            server.status().role == "leader"
            for server_id, server in self.servers.items()
            if server_id not in self.cut_off
        )

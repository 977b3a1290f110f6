"""
Random schedules of real servers: every fault of network, disk and process at once.

A schedule is its seed. Here the whole server is driven, with its storage, its reads,
its snapshots and its changes of members; what the algorithm alone does in any order is
looked at in :mod:`tests.raft.test_random_schedules`. One that fails names its seed,
prints what happened, and is run again by::

    python -c 'from tests.test_server_schedules import run_seed; run_seed(SEED)'
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from attrs import Factory, define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, fail

from hraftd.errors import (
    LeadershipLost,
    NoSuchServer,
    NotReached,
    SnapshotImpossible,
    Stopped,
    TransferFailed,
    UnreachableServer,
)
from hraftd.kv.commands import Delete, encode_command
from hraftd.kv.store import KeyValueStore
from hraftd.leader_requests import (
    AddServer,
    Assurance,
    ClientRequest,
    RemoveServer,
    TransferLeadership,
)
from hraftd.raft.configuration import Configuration, MembershipConflict, Suffrage
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)
from hraftd.raft.messages import InstallSnapshot
from hraftd.raft.ready import Timing
from hraftd.snapshots import SnapshotPolicy
from hraftd.status import TICK
from tests.servers import Group, HeldStorage, Wires, member, set_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from hraftd.interfaces import IStorage
    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied
    from hraftd.raft.configuration import Server
    from hraftd.raft.messages import Call
    from hraftd.server import RaftServer

SEEDS = range(12)
EVENTS = 1000
#: So many ticks after the last fault everything works again.
RECOVERY = 400

#: Short timeouts and a short memory, so that much happens in few ticks.
HASTY = Timing(
    election_timeout=6, heartbeat_interval=2, max_append_bytes=100, memory_entries=4
)
#: A request is not waited for any longer than so many ticks.
PATIENCE = 30

KEYS = ("k", "l", "m", "n")

#: It has not happened, and never will.
REFUSALS = (
    CannotTransfer,
    ChangeInProgress,
    MembershipConflict,
    NoSuchServer,
    NotLeader,
    NotReached,
    SnapshotImpossible,
    Stopped,
    TransferInProgress,
    UnreachableServer,
)
#: It may have happened, or happen still.
UNKNOWN = (CancelledError, ConnectionError, LeadershipLost, TransferFailed)


class Store(KeyValueStore):
    """
    A store that sees whether all are given the same.
    """

    def __init__(self, history: dict[int, bytes]) -> None:
        """
        Begin empty.

        :param history: by their index, the commands that any store was given.
        """
        super().__init__()
        self._history = history

    def apply(self, index: int, command: bytes) -> object:
        """
        Carry out a command, which must be the same in every store.
        """
        known = self._history.setdefault(index, command)
        assert known == command, f"entry {index} is {known!r} and {command!r}"
        return super().apply(index, command)

    def content(self) -> dict[str, tuple[str, int]]:
        """
        Return all there is in it.
        """
        found = {key: self.get(key) for key in KEYS}
        return {key: (one.value, one.index) for key, one in found.items() if one}


@define(eq=False)
class Way:
    """
    A request on its way to another server, or the answer on its way back.
    """

    schedule: Schedule
    source: str
    destination: str
    serve: Callable[[RaftServer], Deferred[Any]]
    due: float
    is_snapshot: bool
    answer: Deferred[Any] = field(factory=Deferred)
    #: What waits to be delivered: the request, and later its answer.
    arrive: Callable[[], None] | None = None
    is_over: bool = False

    def begin(self) -> None:
        """
        Send the request.
        """
        self.schedule.ways.append(self)
        self._go(self._request)

    def _go(self, arrive: Callable[[], None]) -> None:
        self.arrive = arrive
        if not self.schedule.is_slow():
            self.deliver()

    def deliver(self) -> None:
        """
        Let what is on its way arrive.
        """
        arrive, self.arrive = self.arrive, None
        if arrive is not None and not self.is_over:
            arrive()

    def _request(self) -> None:
        server = self.schedule.reached(self.source, self.destination)
        if server is None:
            self.lose()
        else:
            self.serve(server).addBoth(self._served)

    def _served(self, result: Any) -> None:
        self._go(lambda: self._end(result))

    def _end(self, result: Any) -> None:
        self.is_over = True
        self.schedule.ways.remove(self)
        self.give_up(result)

    def lose(self) -> None:
        """
        Let neither the request arrive, nor its answer.
        """
        if not self.is_over:
            self._end(ConnectionError("it was lost"))

    def give_up(self, result: Any = None) -> None:
        """
        Wait no longer for the answer; the request may arrive all the same.
        """
        if not self.answer.called:
            if result is None and not self.is_over:
                result = ConnectionError("there was no answer in time")
            if isinstance(result, Exception):
                self.answer.errback(result)
            else:
                self.answer.callback(result)

    def vanish(self) -> None:
        """
        Be gone with who sent the request.
        """
        self.is_over = True
        self.schedule.ways.remove(self)


@define(eq=False)
class RoughWires(Wires):
    """
    A way to the others on which everything can be late, lost, or overtaken.
    """

    schedule: Schedule | None = None

    def _send(
        self,
        to: str,
        serve: Callable[[RaftServer], Deferred[Any]],
        *,
        is_snapshot: bool = False,
    ) -> Deferred[Any]:
        assert self.schedule is not None
        due = self.group.clock.seconds() + PATIENCE * TICK
        way = Way(self.schedule, self.server_id, to, serve, due, is_snapshot)
        way.begin()
        return way.answer

    def call(self, call: Call) -> Deferred[Any]:
        """
        Send a request.
        """
        is_snapshot = isinstance(call.request, InstallSnapshot)
        return self._send(
            call.to, lambda peer: peer.handle(call.request), is_snapshot=is_snapshot
        )

    def ask(
        self, server_id: str, request: LeaderRequest, seconds: float
    ) -> Deferred[Any]:
        """
        Send a client's request, if there is a link.
        """
        assert self.schedule is not None
        if self.schedule.reached(self.server_id, server_id) is None:
            return fail(NotReached(f"no link to {server_id} is open"))
        return self._send(server_id, lambda peer: peer.serve(request))

    def probe(self, server: Server) -> Deferred[None]:
        """
        See whether it is there, after a while.
        """

        def admit(peer: RaftServer) -> Deferred[None]:
            if self.group.addresses[server.id] != server.raft:
                return fail(ConnectionError(f"nobody answers at {server.raft}"))
            cluster_id = self.group.servers[self.server_id].cluster_id
            assert cluster_id is not None
            return peer.admit(cluster_id)

        return self._send(server.id, admit)


class RoughGroup(Group):
    """
    Servers with rough ways between them.
    """

    def __init__(self, schedule: Schedule) -> None:
        """
        Begin with none.
        """
        super().__init__()
        self._schedule = schedule

    def make_wires(self, server_id: str) -> Wires:
        """
        Make a rough way.
        """
        return RoughWires(self, server_id, schedule=self._schedule)


@define(eq=False)
class Schedule:
    """
    One history, made of a seed.
    """

    seed: int
    rng: Random = field(init=False)
    group: RoughGroup = field(init=False)
    cluster_id: str = field(init=False)
    policy: SnapshotPolicy = field(init=False)
    #: How often what happens.
    weights: dict[Callable[[], None], float] = field(init=False)
    #: What happened, for who looks into a failure; and how often what did.
    chronicle: list[str] = Factory(list)
    seen: Counter[str] = Factory(Counter)

    # The network.
    ways: list[Way] = Factory(list)
    cut: set[frozenset[str]] = Factory(set)
    slowness: float = 0.0

    # The servers.
    storages: dict[str, HeldStorage | None] = Factory(dict)
    kept: dict[str, IStorage] = Factory(dict)
    addresses: dict[str, Server] = Factory(dict)
    down: set[str] = Factory(set)
    lives: Counter[str] = Factory(Counter)
    #: Of whom it is known that they are no members, and nobody has tried to let them
    #: in since; and how often it is not known what became of such a trial.
    out: set[str] = Factory(set)
    trials: Counter[str] = Factory(Counter)

    # What clients know.
    history: dict[int, bytes] = Factory(dict)
    leaders: dict[int, str] = Factory(dict)
    #: By index, the commands that were answered.
    answered: dict[int, bytes] = Factory(dict)
    #: By key, the newest index that somebody was told.
    newest: Counter[str] = Factory(Counter)
    written: int = 0
    #: What was asked for and not answered yet, and by which server.
    waiting: dict[Deferred[Any], tuple[str, str]] = Factory(dict)
    wrong: list[str] = Factory(list)

    def __attrs_post_init__(self) -> None:
        """
        Start one to four servers, and let some be there that could join.
        """
        self.rng = Random(self.seed)
        self.group = RoughGroup(self)
        self.policy = SnapshotPolicy(
            self.rng.choice((6, 12, 30)), 1 << 20, self.rng.choice((0, 3, 9)), 1 << 20
        )
        members = self.rng.choice(("a", "abc", "abc", "abc", "abcd"))
        for server_id in "abcde":
            disk = HeldStorage() if self.rng.random() < 0.75 else None
            self.storages[server_id] = disk
            self.addresses[server_id] = member(server_id)
        a = self._make("a")
        a.bootstrap(member("a"))
        a.startService()
        self.group.until(self.group.has_leader)
        assert a.cluster_id is not None
        self.cluster_id = a.cluster_id
        for server_id in "bcde":
            self._start(server_id)
            if server_id in members:
                joined = a.add_server(member(server_id))
                self.group.until(lambda joined=joined: bool(joined.called))
        self.weights = {
            event: weight * self.rng.choice((0.3, 1, 1, 2))
            for event, weight in {
                self._pass: 200,
                self._deliver: 120,
                self._lose: 5,
                self._be_slow: 8,
                self._cut: 3,
                self._heal: 12,
                self._write: 40,
                self._read: 30,
                self._hold_disk: 8,
                self._let_disk: 60,
                self._snapshot: 5,
                self._kill: 2,
                self._kill_in_mid_snapshot: 3,
                self._stop: 1,
                self._start_again: 25,
                self._add: 8,
                self._remove: 5,
                self._vote_or_not: 3,
                self._move: 1.5,
                self._wipe: 2,
                self._transfer: 4,
                self._cancel: 3,
            }.items()
        }

    def run(self) -> None:
        """
        Let it happen, then heal everything and see that all works.
        """
        with patch("hraftd.kv.snapshot.PIECE_KEYS", 1):
            for _ in range(EVENTS):
                [event] = self.rng.choices(
                    list(self.weights), list(self.weights.values())
                )
                event()
                self._check()
            self._recover()

    def _note(self, what: str) -> None:
        self.chronicle.append(f"{self.group.clock.seconds() / TICK:7.1f} {what}")

    def _check(self) -> None:
        """
        See that nothing has gone wrong so far.
        """
        assert not self.group.failures, self.group.failures[0]
        assert not self.wrong, self.wrong[0]
        for server_id, server in self.group.servers.items():
            status = server.status()
            if status.role == "leader":
                known = self.leaders.setdefault(status.term, server_id)
                assert known == server_id, f"{known} and {server_id} led {status.term}"

    # Servers.

    def _make(self, server_id: str) -> RaftServer:
        self.lives[server_id] += 1
        server = self.group.add(
            server_id,
            self.storages[server_id] or self.kept.get(server_id),
            self.policy,
            HASTY,
            Store(self.history),
            Random(f"{self.seed} {server_id} {self.lives[server_id]}"),
        )
        self.kept[server_id] = self.group.storages[server_id]
        self.group.addresses[server_id] = self.addresses[server_id].raft
        return server

    def _start(self, server_id: str) -> None:
        server = self._make(server_id)
        if server.cluster_id is None:
            server.expect_cluster(self.cluster_id)
        server.startService()
        self.down.discard(server_id)

    def _some_server(self) -> RaftServer | None:
        """
        Return any that runs, but often one that leads.
        """
        running = list(self.group.servers.values())
        leading = [one for one in running if one.status().role == "leader"]
        if leading and self.rng.random() < 0.6:
            return self.rng.choice(leading)
        return self.rng.choice(running) if running else None

    def _down(self, server_id: str, *, written: bool) -> None:
        """
        Let a server be gone, and with it who waited for it.
        """
        self.down.add(server_id)
        self.group.kill(server_id)
        disk = self.storages[server_id]
        if disk is not None:
            disk.crash(written=written)
        for way in list(self.ways):
            if way.source == server_id:
                way.vanish()
        for way in list(self.ways):
            if way.destination == server_id:
                way.lose()
        for waiting, (at, _) in list(self.waiting.items()):
            if at == server_id:
                del self.waiting[waiting]

    def _kill(self, server_id: str | None = None) -> None:
        if server_id is None and self.group.servers:
            server_id = self.rng.choice(sorted(self.group.servers))
        if server_id is not None:
            written = self.rng.random() < 0.5
            self._note(f"{server_id} is killed, what it wrote is there: {written}")
            self._down(server_id, written=written)
            self.seen["killed"] += 1

    def _kill_in_mid_snapshot(self) -> None:
        """
        Kill who sends a snapshot, receives one, restores one, or takes one.
        """
        ids = {id_ for way in self.ways if way.is_snapshot for id_ in self._ends(way)}
        for server_id, server in self.group.servers.items():
            disk, status = self.storages[server_id], server.status()
            if status.last_applied < status.snapshot_index or (
                disk is not None and disk.snapshot_waits
            ):
                ids.add(server_id)
        ids &= self.group.servers.keys()
        if ids:
            self.seen["killed in mid-snapshot"] += 1
            self._kill(self.rng.choice(sorted(ids)))

    @staticmethod
    def _ends(way: Way) -> tuple[str, str]:
        return way.source, way.destination

    def _stop(self) -> None:
        """
        Stop a server in good order; whoever waits for it must be told.
        """
        server = self._some_server()
        if server is None:
            return
        server_id, disk = server.server_id, self.storages[server.server_id]
        self._note(f"{server_id} stops")
        stopped = server.stopService()
        if disk is not None:
            self._let_go(disk)
        assert stopped.called
        self._see_all_answered(server_id)
        self._down(server_id, written=True)
        self.seen["stopped"] += 1

    def _see_all_answered(self, server_id: str) -> None:
        # Of what the leader was asked in their place, the answer may still come.
        for way in list(self.ways):
            if way.source == server_id:
                way.lose()
        left = [what for at, what in self.waiting.values() if at == server_id]
        assert left == [], f"{server_id} has stopped and left open {left}"

    def _start_again(self) -> None:
        if self.down:
            server_id = self.rng.choice(sorted(self.down))
            self._note(f"{server_id} starts again")
            self._start(server_id)

    def _wipe(self) -> None:
        """
        Let a server that is certainly no member any more begin anew, with nothing.
        """
        certain = sorted(id_ for id_ in self.out if not self.trials[id_])
        if certain:
            server_id = self.rng.choice(certain)
            self._note(f"{server_id} loses its data")
            self.out.discard(server_id)
            if server_id in self.group.servers:
                self._down(server_id, written=False)
            self.kept.pop(server_id)
            if self.storages[server_id] is not None:
                self.storages[server_id] = HeldStorage()
            self._start(server_id)
            self.seen["wiped"] += 1

    # Time and the network.

    def _pass(self) -> None:
        self.group.clock.advance(TICK)
        for way in list(self.ways):
            if way.due <= self.group.clock.seconds():
                way.give_up()
        self.group.clock.advance(0)

    def is_slow(self) -> bool:
        """
        Whether what is sent now arrives later.
        """
        return self.rng.random() < self.slowness

    def reached(self, source: str, destination: str) -> RaftServer | None:
        """
        Return the server there, if it can be reached from here.
        """
        if frozenset((source, destination)) in self.cut:
            return None
        return self.group.servers.get(destination)

    def _deliver(self) -> None:
        for _ in range(self.rng.choice((1, 1, 3))):
            if self.ways:
                self.rng.choice(self.ways).deliver()
        self.group.clock.advance(0)

    def _lose(self) -> None:
        if self.ways:
            way = self.rng.choice(self.ways)
            way.lose() if self.rng.random() < 0.7 else way.give_up()
            self.group.clock.advance(0)

    def _be_slow(self) -> None:
        self.slowness = self.rng.choice((0.0, 0.0, 0.1, 0.3, 0.7))

    def _cut(self) -> None:
        one = self.rng.choice(sorted(self.addresses))
        others = [id_ for id_ in sorted(self.addresses) if id_ != one]
        some = self.rng.sample(others, self.rng.choice((1, 2, 4)))
        self._note(f"{one} is cut off from {some}")
        self.cut |= {frozenset((one, other)) for other in some}

    def _heal(self) -> None:
        self._note("all are linked")
        self.cut.clear()

    # Disks.

    def _some_disk(self) -> HeldStorage | None:
        disks = [self.storages[id_] for id_ in self.group.servers]
        held = [disk for disk in disks if disk is not None]
        return self.rng.choice(held) if held else None

    def _hold_disk(self) -> None:
        disk = self._some_disk()
        if disk is not None:
            disk.held = self.rng.random() < 0.5
            disk.held_snapshots = self.rng.random() < 0.4
            disk.held_reads = self.rng.random() < 0.4

    def _let_disk(self) -> None:
        """
        Let a disk do something of what it was asked for.
        """
        disk = self._some_disk()
        if disk is not None:
            [step] = self.rng.choices((self._save, self._go_on, self._read_back))
            step(disk)
            self.group.clock.advance(0)

    @staticmethod
    def _save(disk: HeldStorage) -> None:
        if disk.save_waits:
            disk.finish()

    @staticmethod
    def _go_on(disk: HeldStorage) -> None:
        if disk.snapshot_waits:
            disk.let_snapshot_go_on()

    @staticmethod
    def _read_back(disk: HeldStorage) -> None:
        disk.let_reads_go_on()

    def _let_go(self, disk: HeldStorage) -> None:
        disk.held = disk.held_snapshots = disk.held_reads = False
        self._save(disk)
        while disk.snapshot_waits:
            self._go_on(disk)
        self._read_back(disk)

    # Clients.

    def _wait(
        self,
        server_id: str,
        what: str,
        asked: Deferred[Any],
        done: Callable[[Any], object] = lambda _: None,
        refused: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Wait for an answer of that server.

        :param done: is given it.
        :param refused: is called if what was asked for will not happen.
        """
        self._note(f"{server_id} is asked to {what}")
        life = self.lives[server_id]
        self.waiting[asked] = server_id, what

        def answered(result: Any) -> None:
            self._note(f"{server_id} has done: {what}: {result!r}"[:120])
            self.seen[what.split()[0]] += 1
            done(result)

        def failed(failure: Failure) -> None:
            reason = failure.type.__name__
            self._note(f"{server_id} has not done: {what}: {reason}")
            self.seen[f"{what.split()[0]}: {reason}"] += 1
            if failure.check(*REFUSALS):
                refused()
            elif not failure.check(*UNKNOWN):
                self.wrong.append(failure.getTraceback())

        def ended(result: Any) -> None:
            self.waiting.pop(asked, None)

        def unforeseen(failure: Failure) -> None:
            self.wrong.append(failure.getTraceback())

        def is_alive(result: Any) -> Any:
            # What a server that was killed still says to itself nobody hears.
            if self.lives[server_id] != life or server_id in self.down:
                raise CancelledError
            return result

        asked.addBoth(is_alive).addCallbacks(answered, failed)
        asked.addErrback(unforeseen).addBoth(ended)

    def _now_or_with_the_tick(self, wish: Callable[[], None]) -> None:
        """
        Let clients come also between a tick and what the servers do about it.
        """
        if self.rng.random() < 0.3:
            self.group.clock.callLater(TICK, wish)
        else:
            wish()
            if self.rng.random() < 0.7:
                self.group.clock.advance(0)

    def _wish(
        self,
        what: str,
        here: Callable[[RaftServer], Deferred[Any]],
        request: LeaderRequest | None,
        done: Callable[[Any], object] = lambda _: None,
        refused: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Ask some server, which may ask the leader.
        """

        def wish() -> None:
            server = self._some_server()
            if server is None:
                refused()
            elif request is not None and server.status().role != "leader":
                asked = server.ask_leader(request, PATIENCE * TICK)
                self._wait(server.server_id, what, asked, done, refused)
            else:
                self._wait(server.server_id, what, here(server), done, refused)

        self._now_or_with_the_tick(wish)

    def _write(self) -> None:
        for _ in range(self.rng.choice((1, 1, 1, 6))):
            self.written += 1
            key = self.rng.choice(KEYS)
            command = set_command(key, str(self.written) * self.rng.choice((1, 1, 9)))
            if self.rng.random() < 0.1:
                command = encode_command(Delete(key))

            def done(
                applied: Applied, key: str = key, command: bytes = command
            ) -> None:
                assert self.history[applied.index] == command
                self.answered[applied.index] = command
                self.newest[key] = max(self.newest[key], applied.index)

            self._wish(
                f"write {key} {self.written}",
                lambda server, command=command: server.propose(command),
                ClientRequest(command),
                done,
            )

    def _read(self) -> None:
        """
        Read at any server; what was answered before must be there.
        """
        assurance = self.rng.choice(list(Assurance))

        def wish() -> None:
            server = self._some_server()
            if server is not None:
                self._read_at(server, assurance)

        self._now_or_with_the_tick(wish)

    def _read_at(self, server: RaftServer, assurance: Assurance) -> None:
        newest = Counter(self.newest)
        store = self.group.stores[server.server_id]

        def done(_: None) -> None:
            if assurance is not Assurance.BELIEF:
                for key in KEYS:
                    self._check_read(store, key, newest[key])

        self._wait(
            server.server_id,
            f"read {assurance.value}",
            server.read_barrier(assurance),
            done,
        )

    def _check_read(self, store: KeyValueStore, key: str, newest: int) -> None:
        """
        See that a key is not older than what was known when the read began.
        """
        found = store.get(key)
        # Only a deletion leaves nothing that tells its index.
        deletion = encode_command(Delete(key))
        deletions = [i for i, command in self.history.items() if command == deletion]
        index = max(deletions, default=0) if found is None else found.index
        assert index >= newest, f"{key} is of entry {index}, and {newest} was known"
        if found is not None:
            self.newest[key] = max(self.newest[key], index)

    def _snapshot(self) -> None:
        self._wish("snapshot", lambda server: server.take_snapshot(), None)

    def _cancel(self) -> None:
        """
        Let somebody go away who waits.
        """
        if self.waiting:
            self.rng.choice(list(self.waiting)).cancel()
            self.group.clock.advance(0)

    # Changes.

    def _add(self) -> None:
        newcomer = self.addresses[self.rng.choice("abcde")]
        if self.rng.random() < 0.3:
            newcomer = evolve(newcomer, suffrage=Suffrage.NONVOTER)
        self._let_in(newcomer)

    def _vote_or_not(self) -> None:
        """
        Promote or demote a member.
        """
        server = self._some_server()
        servers = server.status().configuration.servers if server else ()
        if servers:
            known = self.rng.choice(servers)
            suffrage = Suffrage.NONVOTER if known.is_voter else Suffrage.VOTER
            self._let_in(evolve(known, suffrage=suffrage))

    def _move(self) -> None:
        """
        Start a server anew at another address, and have the others told.
        """
        server_id = self.rng.choice("abcde")
        if server_id in self.group.servers:
            self._kill(server_id)
        address = f"{server_id}:{self.rng.choice((12000, 12001, 12002))}"
        self.addresses[server_id] = evolve(self.addresses[server_id], raft=address)
        self._start(server_id)
        self._let_in(self.addresses[server_id])

    def _let_in(self, server: Server) -> None:
        self.out.discard(server.id)
        self.trials[server.id] += 1

        def ended() -> None:
            self.trials[server.id] -= 1

        def done(index: int) -> None:
            ended()
            self.seen["moved"] += server.raft != member(server.id).raft

        self._change(
            f"add {server.id} at {server.raft} as {server.suffrage.value}",
            lambda leader: leader.add_server(server),
            AddServer(server),
            done,
            ended,
        )

    def _remove(self) -> None:
        server_id = self.rng.choice("abcde")

        def done(_: int) -> None:
            if not self.trials[server_id]:
                self.out.add(server_id)

        self._change(
            f"remove {server_id}",
            lambda leader: leader.remove_server(server_id),
            RemoveServer(server_id),
            done,
        )

    def _change(
        self,
        what: str,
        here: Callable[[RaftServer], Deferred[Any]],
        request: LeaderRequest,
        done: Callable[[int], object],
        refused: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Want another configuration, and see that it is committed when that is said.
        """
        before = 0

        def at_leader(server: RaftServer) -> Deferred[Any]:
            nonlocal before
            before = server._core.log.configuration_index
            return here(server)

        def changed(index: int) -> None:
            assert index >= before, f"{what}: {index} was before {before}"
            assert index <= max(
                server.status().commit_index for server in self.group.servers.values()
            )
            done(index)

        self._wish(what, at_leader, request, changed, refused)

    def _transfer(self) -> None:
        to = self.rng.choice((None, *"abcde"))
        self._wish(
            f"transfer {to}",
            lambda server: server.transfer_leadership(to),
            TransferLeadership(to),
        )

    # When the faults are over.

    def _recover(self) -> None:
        """
        Heal everything; all that was asked for is answered, and all are the same.
        """
        self._note("the faults are over")
        self.cut.clear()
        self.slowness = 0.0
        for server_id in sorted(self.down):
            self._start(server_id)
        for disk in self.storages.values():
            if disk is not None:
                self._let_go(disk)
        for way in list(self.ways):
            way.deliver()
        for _ in range(RECOVERY):
            self._pass()
            self._check()
            if self._is_calm():
                break
        assert self._is_calm(), "there is no calm"
        self._check_all_works()
        for server_id in sorted(self.group.servers.keys() - set(self._members())):
            # It may never learn what it waits for.
            assert self.group.servers[server_id].stopService().called
            self._see_all_answered(server_id)
        left = list(self.waiting.values())
        assert left == [], f"nobody has answered {left}"
        self._count()

    def _configuration(self) -> Configuration:
        return self.group.leader().status().configuration

    def _members(self) -> list[str]:
        return [server.id for server in self._configuration().servers]

    def _is_calm(self) -> bool:
        """
        Whether all members follow one leader and have applied all there is.
        """
        if not self.group.has_leader():
            return False
        leader = self.group.leader()
        last = leader.status().last_log_index
        return (
            leader._core.transferring_to is None
            and leader.status().commit_index == last
            and not any(
                server.suffrage is Suffrage.LEARNER
                for server in self._configuration().servers
            )
            and all(
                status.last_applied == last and status.leader is not None
                for status in map(self._status, self._members())
            )
        )

    def _status(self, server_id: str) -> Any:
        return self.group.servers[server_id].status()

    def _check_all_works(self) -> None:
        """
        Write, then read with each assurance at each member; nothing may be lost.
        """
        leader, members = self.group.leader(), self._members()
        self._wait(leader.server_id, "write last", leader.propose(set_command("k", "")))
        self.group.ticks(2 * HASTY.heartbeat_interval)
        assert self.group.leader() is leader, "the leader changed without a reason"
        before = self.seen.total()
        for server_id in members:
            for assurance in Assurance:
                self._read_at(self.group.servers[server_id], assurance)
        self.group.ticks(2 * HASTY.heartbeat_interval)
        self._check()
        assert self.seen.total() == before + len(members) * len(Assurance)
        stores = [self.group.stores[server_id] for server_id in members]
        content = stores[0].content()
        assert all(store.content() == content for store in stores)
        assert content["k"][0] == ""
        for index, command in self.answered.items():
            assert self.history[index] == command
        for key in KEYS:
            self._check_read(stores[0], key, self.newest[key])

    def _count(self) -> None:
        self.seen["elections"] += len(self.leaders)
        self.seen["committed"] += len(self.history)
        for disk in self.storages.values():
            if disk is not None:
                self.seen["compacted"] += len(disk.compacted)
                self.seen["read back"] += len(disk.reads)


def run_seed(seed: int) -> Schedule:
    """
    Run one schedule; if it fails, print what happened.
    """
    schedule = Schedule(seed)
    try:
        schedule.run()
    except BaseException:
        print("\n".join(schedule.chronicle))
        print(f"seed {seed} fails")
        raise
    return schedule


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_everybody_is_answered(seed: int) -> None:
    """
    No read is stale, no answered write is lost, no server fails, no two servers lead a
    term or apply different commands; and once the faults are over all members are level
    in due time, and nobody who asked for anything still waits.
    """
    run_seed(seed)


def test_the_same_seed_is_the_same_history() -> None:
    """
    A failure can be replayed: a schedule depends on its seed and nothing else.
    """
    first, again = (run_seed(7).chronicle for _ in range(2))
    assert first == again
    assert len(first) > EVENTS // 4

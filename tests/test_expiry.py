"""
Who tells the time that keys expire by: only the leader, only if there is anything to
expire, and never so that a key ends before its time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from hraftd.errors import Overloaded, Stopped
from hraftd.expiry import LOOK_SECONDS, TELL_SECONDS, Expiry
from hraftd.kv.commands import Delete, Set, Stamped, decode_command, encode_command
from hraftd.kv.store import EXPIRED_AT_ONCE
from hraftd.raft.errors import NotLeader
from hraftd.raft.messages import AppendEntries
from hraftd.snapshots import SnapshotPolicy
from hraftd.status import TICK
from tests.servers import Group, HeldStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IDelayedCall

    from hraftd.kv.commands import Write
    from hraftd.server import RaftServer

#: A snapshot only when asked for, and then nothing of the log stays.
POLICY = SnapshotPolicy(1 << 30, 1 << 40, 0, 0)

#: Seconds that the steps of time in these tests may add to anything.
STEP = 4 * TICK


@implementer(IReactorTime)
@define(eq=False)
class Skewed:
    """
    A clock that runs at another speed than the one it goes by.
    """

    clock: IReactorTime
    rate: float = 1.0
    #: What it shows more, as if it had been set.
    ahead: float = 0.0
    #: What is to happen by it.
    due: list[IDelayedCall] = field(factory=list)

    def seconds(self) -> float:
        """
        Return what it shows.
        """
        return self.clock.seconds() * self.rate + self.ahead

    def callLater(self, delay: float, *call: object, **kwargs: object) -> object:
        """
        Call something later, by its own speed.
        """
        self.due = [each for each in self.due if each.active()]
        due = self.clock.callLater(delay / self.rate, *call, **kwargs)
        self.due.append(due)
        return due

    def getDelayedCalls(self) -> Sequence[object]:
        """
        Return what is to be called, by whomever.
        """
        return self.clock.getDelayedCalls()


@define(eq=False)
class Expiring:
    """
    Three servers whose keys expire; ``a`` leads.
    """

    group: Group = field(factory=Group)
    disks: dict[str, HeldStorage] = field(
        factory=lambda: {name: HeldStorage() for name in "abc"}
    )
    #: How fast time passes for each.
    rates: dict[str, float] = field(factory=dict)
    clocks: dict[str, Skewed] = field(factory=dict)
    expiries: dict[str, Expiry] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        """
        Let the first one begin, and take in two.
        """
        first = self.group.first("a", self.disks["a"], POLICY)
        for name in "bc":
            self.group.join(name, first, self.disks[name], POLICY)
        for name in "abc":
            self.serve(name)
        self.group.ticks(8)

    def serve(self, name: str) -> None:
        """
        Let keys expire by this server.
        """
        clock = Skewed(self.group.lifetimes[name], self.rates.get(name, 1.0))
        self.clocks[name] = clock
        expiry = Expiry(self.group.servers[name], self.group.stores[name], clock)
        self.expiries[name] = expiry
        expiry.startService()

    @property
    def now(self) -> float:
        """
        How late it is for nobody but the test.
        """
        return self.group.clock.seconds()

    def pass_time(self, seconds: float) -> None:
        """
        Let so much time pass, in small steps.
        """
        self.group.ticks(round(seconds / TICK))

    def do(self, write: Write, name: str = "") -> float:
        """
        Have a write carried out by the leader, and return when that was asked for.
        """
        began = self.now
        server = self.group.servers[name] if name else self.group.leader()
        done = server.propose(encode_command(Stamped(0, write)))
        self.group.until(lambda: bool(done.called))
        return began

    def put(self, key: str, ttl: float) -> float:
        """
        Set a key that is to live so many seconds, and return when that was asked for.
        """
        return self.do(Set(((key, "v"),), int(1000 * ttl)))

    def has(self, key: str) -> set[bool]:
        """
        Return whether the servers that are there have a key.
        """
        stores = self.group.stores
        return {stores[name].get(key) is not None for name in self.group.servers}

    def lasts(self, key: str, began: float, seconds: float = 60.0) -> float:
        """
        Wait until the first server does not have a key any more, and then until none
        has; return how long it lived.
        """
        self.group.until(lambda: False in self.has(key), round(seconds / TICK))
        lived = self.now - began
        # The others hear of it with the next heartbeat.
        self.group.until(lambda: self.has(key) == {False}, 8)
        return lived

    @property
    def looks(self) -> list[object]:
        """
        When somebody is going to look at what is due.
        """
        return [
            name
            for name, clock in self.clocks.items()
            for call in clock.due
            if call.active()
        ]

    @property
    def length(self) -> int:
        """
        How long the longest log is.
        """
        servers = self.group.servers.values()
        return max(server.status().last_log_index for server in servers)

    def elect(self) -> RaftServer:
        """
        Wait for a leader among those that are there.
        """
        self.group.until(self.group.has_leader)
        return self.group.leader()

    def lead(self, name: str) -> None:
        """
        Let a server take over.
        """
        done = self.group.leader().transfer_leadership(name)
        self.group.until(lambda: bool(done.called))
        assert self.group.leader().server_id == name

    def stop(self, name: str) -> None:
        """
        Stop a server in an orderly way.
        """
        self.expiries[name].stopService()
        stopping = self.group.servers[name].stopService()
        self.group.turn()
        assert stopping.called
        self.group.kill(name)

    def start(self, name: str) -> None:
        """
        Start a server again with what its disk holds.
        """
        self.group.add(name, self.disks[name], POLICY)
        self.serve(name)
        self.group.servers[name].startService()


def told_by(server: RaftServer) -> list[int]:
    """
    Return the times that are told in a server's log with nothing else.
    """
    commands = (
        decode_command(entry.payload)
        for entry in server.consensus.log.between(1, server.status().last_log_index)
        if isinstance(entry.payload, bytes)
    )
    return [
        command.now
        for command in commands
        if isinstance(command, Stamped) and command.command is None
    ]


class LifetimeTests(SynchronousTestCase):
    """
    A key lives for its time, and hardly any longer.
    """

    def setUp(self) -> None:
        """
        Begin with three servers.
        """
        self.cluster = Expiring()
        self.group = self.cluster.group

    def assert_lives(self, key: str, began: float, seconds: float, late: float) -> None:
        """
        See that a key lives for its time, and at most so much longer.
        """
        lived = self.cluster.lasts(key, began)
        assert lived >= seconds - 1e-6
        assert lived <= seconds + late

    def test_on_time(self) -> None:
        """
        Short or long, a key ends everywhere when its time is over.
        """
        for ttl in (0.001, 0.03, 0.3, 1.0, 2.5, 10.0):
            key = f"{ttl}"
            began = self.cluster.put(key, ttl)
            self.assert_lives(key, began, ttl, LOOK_SECONDS + STEP)

    def test_shorter_than_one_before(self) -> None:
        """
        A key that is due before the one that is waited for does not wait for that.
        """
        self.cluster.put("long", 50)
        self.cluster.pass_time(3.3)
        began = self.cluster.put("short", 0.2)
        self.assert_lives("short", began, 0.2, LOOK_SECONDS + STEP)
        assert self.cluster.has("long") == {True}

    def test_renewed(self) -> None:
        """
        A key that is set again and again lives on, and ends after the last time.
        """
        for _ in range(10):
            began = self.cluster.put("a", 2)
            self.cluster.pass_time(1.9)
            assert self.cluster.has("a") == {True}
        self.assert_lives("a", began, 2, LOOK_SECONDS + STEP)

    def test_writes_do_not_stop_time(self) -> None:
        """
        Time goes on as it should while writes that tell it come one after the other.
        """
        began = self.cluster.put("a", 10)
        self.group.until(
            lambda: self.cluster.put("b", 60) < 0 or False in self.cluster.has("a"), 800
        )
        lived = self.cluster.now - began
        assert lived >= 10
        assert lived <= 10 + LOOK_SECONDS + STEP

    def test_nothing_to_expire(self) -> None:
        """
        Without keys that expire nothing is written, and nobody waits for anything.
        """
        self.cluster.do(Set((("stays", "v"),)))
        self.cluster.put("a", 1)
        self.cluster.do(Delete("a"))
        self.cluster.pass_time(2)
        length = self.cluster.length
        self.cluster.pass_time(60)
        assert self.cluster.length == length
        assert self.cluster.looks == []

    def test_once_in_a_while(self) -> None:
        """
        While a key is far from its end, the time is told once a second, and only by the
        leader.
        """
        self.cluster.put("a", 1000)
        for name in "bc":
            self.group.servers[name].propose = None
        length = self.cluster.length
        self.cluster.pass_time(20)
        added = self.cluster.length - length
        assert added <= 20 / TELL_SECONDS + 1
        assert added >= 15
        times = told_by(self.group.leader())
        assert times == sorted(times)

    def test_very_many(self) -> None:
        """
        Where more are due than one entry removes, the next entries follow at once.
        """
        pairs = tuple((f"{number:05}", "v") for number in range(3 * EXPIRED_AT_ONCE))
        began = self.cluster.do(Set(pairs, 2000))
        self.cluster.pass_time(1.9)
        length = self.cluster.length
        store = self.group.stores["a"]
        self.group.until(lambda: len(store) == 0)
        assert self.cluster.now - began <= 2 + LOOK_SECONDS + 3 * STEP
        assert self.cluster.length - length <= 4

    def test_one_at_a_time(self) -> None:
        """
        A leader whose entries nobody takes does not fill its log with the time.
        """
        self.cluster.put("a", 1)
        self.group.cut_off.add("a")
        length = self.group.servers["a"].status().last_log_index
        self.cluster.pass_time(20)
        grown = self.group.servers["a"].status().last_log_index - length
        assert grown <= 1
        self.group.cut_off.clear()
        self.cluster.pass_time(5)
        assert self.cluster.has("a") == {False}


class ChangeTests(SynchronousTestCase):
    """
    Lifetimes go on when leaders change, servers restart, and clocks differ.
    """

    def assert_lives(
        self,
        cluster: Expiring,
        key: str,
        began: float,
        seconds: float,
        late: float = LOOK_SECONDS + STEP,
    ) -> None:
        """
        See that a key lives for its time, and at most so much longer.
        """
        lived = cluster.lasts(key, began, 2 * seconds + 60)
        assert lived >= seconds - 1e-6
        assert lived <= seconds + late

    def test_leader_dies(self) -> None:
        """
        The next leader lets a key end when the one before would have: what passed
        without a leader has passed.
        """
        cluster = Expiring()
        began = cluster.put("a", 10)
        cluster.pass_time(4)
        cluster.group.kill("a")
        self.assert_lives(cluster, "a", began, 10, 4 * LOOK_SECONDS)

    def test_leader_dies_when_it_is_due(self) -> None:
        """
        A key that is due while nobody leads ends as soon as somebody does.
        """
        cluster = Expiring()
        began = cluster.put("a", 3)
        cluster.pass_time(2.9)
        cluster.group.kill("a")
        cluster.elect()
        assert cluster.has("a") == {True}
        assert cluster.now - began >= 3
        cluster.pass_time(1)
        assert cluster.has("a") == {False}

    def test_leaders_that_were_told_nothing(self) -> None:
        """
        Where nothing has expired for days, servers differ in what they think how late
        it is, by as much as one of them was restarted later. A key gets its time from
        one leader, and ends by the clock of another one; it still lives for its time.
        """
        for restarted in "ab":
            cluster = Expiring()
            cluster.put("first", 1)
            cluster.pass_time(2)
            cluster.group.clock.advance(0)
            for clock in cluster.clocks.values():
                # Nothing came for a day.
                clock.ahead = 86_400.0
            if restarted == "a":
                cluster.lead("b")
            cluster.stop(restarted)
            cluster.start(restarted)
            cluster.pass_time(2)
            if restarted == "a":
                cluster.lead("a")
            assert cluster.group.leader().server_id == "a"
            began = cluster.put("a", 5)
            if restarted == "a":
                cluster.group.kill("a")
                cluster.elect()
            else:
                cluster.lead("b")
            self.assert_lives(cluster, "a", began, 5, 4 * LOOK_SECONDS)

    def test_entry_of_the_leader_before(self) -> None:
        """
        A new leader that has counted for a day counts from the first key that expires
        too, also if it only comes to apply it as a leader.
        """
        cluster = Expiring()
        cluster.clocks["b"].ahead = cluster.clocks["c"].ahead = 86_400.0
        leader = cluster.group.servers["a"]
        began = cluster.now
        leader.propose(encode_command(Stamped(0, Set((("a", "v"),), 5000)))).addErrback(
            lambda _: None
        )
        # It reaches the others' logs; that it is committed they never hear.
        index = leader.status().last_log_index
        cluster.group.wires["a"].holds_call = lambda call: (
            isinstance(call.request, AppendEntries)
            and call.request.leader_commit >= index
        )
        cluster.group.turn()
        for name in "bc":
            status = cluster.group.servers[name].status()
            assert (status.last_log_index, status.last_applied) == (index, index - 1)
        cluster.group.kill("a")
        cluster.elect()
        cluster.group.until(lambda: cluster.has("a") == {True})
        self.assert_lives(cluster, "a", began, 5, 3)

    def test_clocks_that_are_set(self) -> None:
        """
        What the clock of a server shows that is told the time has no meaning.
        """
        cluster = Expiring()
        cluster.clocks["b"].ahead = 1e6
        cluster.clocks["c"].ahead = -1e6
        began = cluster.put("a", 6)
        cluster.pass_time(2)
        cluster.lead("b")
        cluster.pass_time(2)
        cluster.lead("c")
        self.assert_lives(cluster, "a", began, 6, 4 * LOOK_SECONDS)

    def test_followers_with_another_speed(self) -> None:
        """
        However fast or slow a follower's clock is, a key lives by the leader's.
        """
        cluster = Expiring(rates={"b": 1.5, "c": 0.5})
        began = cluster.put("a", 20)
        self.assert_lives(cluster, "a", began, 20)

    def test_another_speed_takes_over(self) -> None:
        """
        One that has gone too fast for hours was set right every second: taking over, it
        is ahead by what it has gained since then.
        """
        cluster = Expiring(rates={"b": 1.2})
        began = cluster.put("a", 100)
        cluster.pass_time(96)
        cluster.lead("b")
        lived = cluster.lasts("a", began)
        # Of five seconds, that and the last one of a's.
        assert lived >= 100 - 0.2 * 5.5
        assert lived < 100

    def test_old_leader_comes_back(self) -> None:
        """
        A leader that was cut off, and goes by its own clock meanwhile, goes by that of
        the next one again.
        """
        cluster = Expiring(rates={"a": 3.0})
        cluster.group.cut_off.add("a")
        cluster.pass_time(6)
        cluster.elect()
        began = cluster.put("a", 12)
        cluster.pass_time(1)
        cluster.group.cut_off.clear()
        cluster.pass_time(7)
        cluster.lead("a")
        lived = cluster.lasts("a", began)
        assert lived >= 8 + (12 - 8) / 3 - 1

    def test_all_restart(self) -> None:
        """
        While no server runs no time passes; then keys live on for what was left.
        """
        cluster = Expiring()
        cluster.put("a", 10)
        cluster.pass_time(4)
        for name in "abc":
            cluster.stop(name)
        cluster.pass_time(1000)
        for name in "abc":
            cluster.start(name)
        began = cluster.now
        cluster.group.until(lambda: cluster.has("a") == {True})
        lived = cluster.lasts("a", began)
        assert lived >= 6
        assert lived <= 6 + TELL_SECONDS + 3

    def test_restart_from_snapshots(self) -> None:
        """
        Deadlines are in snapshots, and the clock that they go by.
        """
        cluster = Expiring()
        began = cluster.put("a", 40)
        cluster.do(Set((("b", "v"),)))
        cluster.pass_time(30)
        for name in "abc":
            taken = cluster.group.servers[name].take_snapshot()
            cluster.group.until(lambda taken=taken: bool(taken.called))
        for name in "abc":
            cluster.stop(name)
            cluster.start(name)
            assert cluster.group.stores[name].deadlines == 1
        self.assert_lives(cluster, "a", began, 40, TELL_SECONDS + 3)
        assert cluster.has("b") == {True}

    def test_installed_snapshot(self) -> None:
        """
        One that was away for longer than a key should live gets it in a snapshot, takes
        over, and lets it live.
        """
        cluster = Expiring()
        cluster.group.cut_off.add("c")
        cluster.pass_time(30)
        began = cluster.put("a", 10)
        for name in "ab":
            taken = cluster.group.servers[name].take_snapshot()
            cluster.group.until(lambda taken=taken: bool(taken.called))
        cluster.group.cut_off.clear()
        cluster.group.until(lambda: cluster.has("a") == {True})
        assert cluster.group.servers["c"].status().snapshot_index > 0
        cluster.elect()
        cluster.pass_time(2)
        if cluster.group.leader().server_id != "c":
            cluster.lead("c")
        self.assert_lives(cluster, "a", began, 10, 4 * LOOK_SECONDS)


class RefusalTests(SynchronousTestCase):
    """
    What keeps the time from being told for a while, and what ends it.
    """

    def setUp(self) -> None:
        """
        Begin with three servers, and a key.
        """
        self.cluster = Expiring()
        self.group = self.cluster.group
        self.cluster.put("a", 2)
        self.logged: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def refuse(self, *errors: Exception) -> list[float]:
        """
        Let the leader refuse so often, with these, and then go on; return when it was
        asked.
        """
        asked: list[float] = []
        server = self.group.servers["a"]
        really, waiting = server.propose, [*errors]

        def propose(command: bytes) -> Deferred[object]:
            asked.append(self.cluster.now)
            return fail(waiting.pop(0)) if waiting else really(command)

        server.propose = propose
        return asked

    def failures(self) -> list[object]:
        """
        Return what was logged as a failure.
        """
        return [
            one
            for one in self.logged
            if one["log_level"] in (LogLevel.critical, LogLevel.error)
        ]

    def test_refused(self) -> None:
        """
        What a busy server, or one that has just lost its leadership, refuses is tried
        again after a pause, and is no failure.
        """
        asked = self.refuse(Overloaded(), NotLeader(None), Overloaded())
        self.cluster.pass_time(3)
        assert self.cluster.has("a") == {False}
        pauses = [later - before for before, later in pairwise(asked)]
        assert min(pauses) >= LOOK_SECONDS - 1e-6
        assert self.failures() == []

    def test_unforeseen(self) -> None:
        """
        What nobody foresaw is logged, and tried again.
        """
        self.refuse(RuntimeError("surprise"))
        self.cluster.pass_time(3)
        assert self.cluster.has("a") == {False}
        assert len(self.failures()) == 1
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    def test_stop(self) -> None:
        """
        Stopped, it proposes nothing more, and leaves nothing behind that is to happen.
        """
        asked = self.refuse()
        before = self.cluster.looks
        for expiry in self.cluster.expiries.values():
            expiry.stopService()
        assert before != []
        assert self.cluster.looks == []
        self.cluster.pass_time(10)
        assert asked == []
        assert self.cluster.has("a") == {True}

    def test_waits_for_the_one_before(self) -> None:
        """
        What is told meanwhile is no reason to propose again.
        """
        pending: list[Deferred[object]] = []

        def propose(_: bytes) -> Deferred[object]:
            pending.append(Deferred())
            return pending[-1]

        self.group.servers["a"].propose = propose
        self.cluster.pass_time(3)
        assert len(pending) == 1
        store = self.group.stores["a"]
        store.apply(90, encode_command(Stamped(0, Set((("b", "v"),), 1))))
        self.cluster.pass_time(3)
        assert len(pending) == 1
        pending[0].callback(None)
        self.cluster.pass_time(1)
        assert len(pending) == 2

    def test_stop_while_it_proposes(self) -> None:
        """
        An answer that comes after it was stopped changes nothing.
        """
        pending: Deferred[object] = Deferred()
        server = self.group.servers["a"]
        server.propose = lambda _: pending
        self.cluster.pass_time(2)
        self.cluster.expiries["a"].stopService()
        pending.errback(Stopped("this server is stopping"))
        self.cluster.pass_time(2)
        assert self.failures() == []
        assert self.cluster.has("a") == {True}

"""
One history from its seed to its end.

A :class:`Schedule` makes everything of its seed: how many servers there are and how
they are set, what their clients do, what goes wrong. It lets that go on for some
seconds of virtual time, then heals everything and sees to it that the cluster comes
back: a leader, equal logs, equal stores, an answer for every client. All the while
:class:`~hraftd.simulator.checks.Watch` looks on, and at the end the clients' history is
held against the log. What is wrong is raised as :exc:`ScheduleFailed`, which says how
to see it again.
"""

from __future__ import annotations

import shlex
from random import Random
from traceback import format_exception
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from hraftd.raft.invariants import InvariantViolated, require
from hraftd.raft.ready import Timing
from hraftd.reads import ReadLevel
from hraftd.simulator.checks import Watch
from hraftd.simulator.clients import Clients, Habits
from hraftd.simulator.clock import World
from hraftd.simulator.cluster import Cluster
from hraftd.simulator.disks import FAST
from hraftd.simulator.faults import KINDS, Faults
from hraftd.simulator.histories import check_history
from hraftd.simulator.lifetimes import Lifetimes
from hraftd.simulator.operators import DEEDS, Operators
from hraftd.simulator.origin import origin
from hraftd.simulator.trace import Transcript
from hraftd.snapshots import SnapshotPolicy
from hraftd.status import TICK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.logger import LogEvent

    from hraftd.raft.messages import Entry
    from hraftd.simulator.clock import Process
    from hraftd.simulator.histories import Operation

__all__ = ["Schedule", "ScheduleFailed"]

#: After the last trouble: so many election timeouts until everything is well again.
HEALING_TIMEOUTS = 30

#: Seconds in which nothing goes wrong yet.
_CALM = 0.5

#: Ticks of an election timeout, and between two heartbeats: usual ones, hasty ones, and
#: those for slow networks.
_TIMINGS = ((20, 4), (20, 4), (12, 3), (30, 5), (40, 8), (40, 16), (60, 12))

_LEVELS = (
    ReadLevel.NONE,
    ReadLevel.WEAK,
    ReadLevel.LINEARIZABLE,
    ReadLevel.LINEARIZABLE,
    ReadLevel.STRONG,
    ReadLevel.AUTO,
)


class ScheduleFailed(Exception):
    """
    Something is wrong in what servers did. The text says what, and how to replay it.
    """


@implementer(ILogObserver)
@frozen(eq=False)
class _LogReader:
    """
    Gives a schedule what is logged while it runs.
    """

    _schedule: Schedule

    def __call__(self, event: LogEvent) -> None:
        """
        See ``ILogObserver``.
        """
        self._schedule.logged(event)


@define(eq=False)
class Schedule:
    """
    A history.
    """

    seed: int
    seconds: float = 10.0
    #: ``None`` to let the seed decide.
    servers: int | None = None
    #: The only kinds of faults and of deeds; ``None`` to let the seed choose some.
    only: Sequence[str] | None = None
    is_traced: bool = False
    #: Also asked whether the clients' history is right; raises something if not.
    check: Callable[[Sequence[Operation]], object] | None = None
    world: World = field(factory=World)
    transcript: Transcript = field(init=False)
    watch: Watch = field(init=False)
    cluster: Cluster = field(init=False)
    clients: Clients = field(init=False)
    faults: Faults = field(init=False)
    operators: Operators = field(init=False)
    _names: list[str] = field(init=False)
    #: Whether the first server begins a cluster and lets the others in.
    _begins_small: bool = field(init=False)
    #: Seconds.
    _slowest_disk: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Make everything that the seed says, and start nothing.
        """
        rng = Random(f"schedule {self.seed}")
        keys = [f"k{number}" for number in range(rng.choice((1, 2, 4, 8)))]
        self.transcript = Transcript(self.world, self.is_traced)
        self.watch = Watch(self.transcript, keys)
        election_timeout, heartbeat_interval = rng.choice(_TIMINGS)
        timing = Timing(
            election_timeout=election_timeout,
            heartbeat_interval=heartbeat_interval,
            max_append_bytes=rng.choice((1 << 20, 30, 200, 2000)),
            memory_entries=rng.choice((4096, 1, 8, 64)),
        )
        policy = SnapshotPolicy(
            threshold_entries=rng.choice((8192, 8, 8, 30)),
            trailing_entries=rng.choice((0, 3, 20, 10240)),
        )
        self.cluster = Cluster(
            self.world,
            self.watch,
            self.transcript,
            str(self.seed),
            timing,
            policy,
            piece_bytes=rng.choice((1 << 18, 60, 60)),
        )
        count = self.servers or rng.choice((1, 2, 3, 3, 3, 3, 4, 5, 5, 7))
        names = [f"s{number + 1}" for number in range(count)]
        count_of_clients = rng.choice((1, 2, 3, 5))
        self.clients = Clients(
            self.cluster,
            Random(f"{self.seed} clients"),
            keys,
            Habits(
                count=count_of_clients,
                # From all of them together so many requests a second.
                pause=count_of_clients / rng.choice((5, 10, 20, 40)),
                weights=(
                    rng.choice((1, 3)),
                    rng.choice((0, 0.3)),
                    rng.choice((1, 3)),
                    rng.choice((0, 1)),
                ),
                with_token=rng.choice((0.0, 0.5, 1.0)),
                levels=_LEVELS,
                forwarded=rng.choice((0.0, 0.5, 1.0)),
                impatient=rng.choice((0.0, 0.0, 0.2)),
                value_length=rng.choice((0, 0, 0, 3000)),
                lifetimes=Lifetimes.chosen(Random(f"{self.seed} lifetimes"), keys),
            ),
        )
        some = rng.choice((0.15, 0.3, 0.5))
        self.faults = Faults(
            self.cluster,
            Random(f"{self.seed} faults"),
            [kind for kind in KINDS if rng.random() < some],
            pace=rng.choice((0.5, 1, 1, 2)),
        )
        self.operators = Operators(
            self.cluster,
            Random(f"{self.seed} operators"),
            [deed for deed in DEEDS if rng.random() < rng.choice((0.0, 0.4))],
            at_once=rng.choice((1, 1, 3)),
            pace=rng.choice((0.5, 1, 1, 3)),
        )
        if self.only is not None:
            self.faults.kinds = [kind for kind in KINDS if kind in self.only]
            self.operators.deeds = [deed for deed in DEEDS if deed in self.only]
        self._begins_small = count > 1 and rng.random() < 0.3
        self._names = names
        self._slowest_disk = rng.choice((FAST, FAST, 0.01, 0.1))
        self.world.happened = self._happened

    def run(self) -> None:
        """
        Let it happen.

        :raises ScheduleFailed: if anything is wrong.
        """
        observer = _LogReader(self)
        globalLogPublisher.addObserver(observer)
        try:
            self._run()
        except Exception as error:
            self.watch.object_to(error)
        finally:
            globalLogPublisher.removeObserver(observer)
        violation = self.watch.violation
        if violation is not None:
            raise ScheduleFailed(self._explain(violation)) from violation

    def _explain(self, violation: Exception) -> str:
        sentence = f"{type(violation).__name__}: {violation}"
        if not isinstance(violation, InvariantViolated):
            sentence = "".join(format_exception(violation)).rstrip()
        return (
            f"seed {self.seed}, after {self.world.now:.4f} s: {sentence}\n"
            f"{self.command} --trace FILE --diagram FILE\n{origin()}".rstrip()
        )

    @property
    def command(self) -> str:
        """
        What is to be typed to see this history again.
        """
        words = [
            f"python -m hraftd.simulator --seed {self.seed} --schedules 1",
            f"--seconds {self.seconds:g}",
        ]
        if self.servers is not None:
            words.append(f"--servers {self.servers}")
        if self.only is not None:
            words.append(f"--only {shlex.quote(','.join(self.only))}")
        return " ".join(words)

    def logged(self, event: LogEvent) -> None:
        """
        Take what servers log into the transcript; what they did not foresee is wrong.
        """
        failure = event.get("log_failure")
        if failure is not None and event["log_level"] >= LogLevel.error:
            self.watch.object_to(failure.value)
        elif self.is_traced:
            self.transcript.say("log", formatEvent(event))

    def _happened(self, process: Process) -> None:
        self.watch.look(process.name)
        if self.watch.violation is not None:
            raise self.watch.violation

    def _run(self) -> None:
        if self._begins_small:
            self.cluster.add(self._names[0]).start(begins=True)
            for name in self._names[1:]:
                self.cluster.add(name).start()
        else:
            self.cluster.found(self._names)
            self.faults.set_clocks()
            for name in self._names:
                self.cluster.machines[name].start()
        self.world.run_until(_CALM)
        for name in self._names[1:] if self._begins_small else ():
            self.operators.join(self.cluster.machines[name])
            self.world.run_until(self.world.now + 0.5)
        for machine in self.cluster.machines.values():
            machine.disk.slowest = self._slowest_disk
        self.clients.start()
        self.faults.start()
        self.operators.start()
        self.world.run_until(self.seconds)
        self._heal()
        self._check_end()

    def _heal(self) -> None:
        """
        End all trouble, and let the cluster come back.
        """
        self.transcript.say("*", "everything is well from now on")
        self.operators.is_over = True
        self.faults.heal()
        timeout = self.cluster.timing.election_timeout * TICK
        last = self.world.now + HEALING_TIMEOUTS * timeout
        self.world.run_until(self.world.now + timeout)
        self.clients.are_done = True
        while (reason := self._what_is_missing()) is not None:
            require(
                self.world.now < last,
                f"{HEALING_TIMEOUTS} election timeouts after the last trouble {reason}",
            )
            self.operators.move_back()
            for machine in self.cluster.machines.values():
                # It was being stopped in order, or its disk's last error came late.
                machine.start()
            self.world.run_until(self.world.now + timeout / 2)

    def _what_is_missing(self) -> str | None:
        """
        Say what is not well yet.
        """
        leader = self.cluster.leader()
        if leader is None or leader.running is None:
            return "nobody leads"
        if self.clients.waiting:
            return f"there is no answer to {self.clients.waiting[0]}"
        mine = leader.running.server.status()
        if not mine.last_applied == mine.commit_index == mine.last_log_index:
            return f"{leader.server_id} leads and has not committed everything"
        for member in mine.configuration.servers:
            running = self.cluster.machines[member.id].running
            if running is None:
                return f"{member.id} does not run"
            status = running.server.status()
            if status.term != mine.term or status.last_applied != mine.last_applied:
                return f"{member.id} has not followed {leader.server_id}"
        if leader.running.store.deadlines:
            return f"{leader.server_id} leads and has not let all keys expire"
        return None

    def _check_end(self) -> None:
        self.watch.compare_all()
        leader = self.cluster.leader()
        assert leader is not None
        assert leader.running is not None
        expected = self.watch.state_of(leader.running.store)
        for member in leader.running.server.status().configuration.servers:
            running = self.cluster.machines[member.id].running
            assert running is not None
            state = self.watch.state_of(running.store)
            require(
                state == expected,
                f"at the end {member.id} holds {state} and {leader.server_id} "
                f"{expected}",
            )
        operations = self.clients.operations
        committed: dict[int, Entry] = self.watch.observer.committed
        check_history(operations, committed, self.clients.keys, self.cluster.stamps)
        if self.cluster.stamps.expired:
            self.transcript.seen["keys expired"] += self.cluster.stamps.expired
        if self.check is not None:
            self.check(operations)

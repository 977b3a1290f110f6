"""
Many short histories with every fault, the invariants checked after each event.

A schedule is its seed: which faults, in which order, at which servers. One that fails
prints its chronicle and the command that replays it.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
from attrs import Factory, define, field

from hraftd.raft.configuration import MembershipConflict, Suffrage
from hraftd.raft.errors import CannotTransfer, ChangeInProgress, TransferInProgress
from hraftd.raft.messages import InstallSnapshot
from hraftd.raft.ready import Timing
from tests.raft.network import Message, Network, Node, Read

if TYPE_CHECKING:
    from collections.abc import Iterator

#: So many schedules are run by each of so many test cases.
SCHEDULES_PER_CASE = 40
CASES = 6
EVENTS = 400

#: Short timeouts, so that much happens in few events.
HASTY = Timing(
    election_timeout=6, heartbeat_interval=2, max_append_bytes=70, memory_entries=4
)


@define(eq=False)
class Schedule:
    """
    One history, made of a seed.
    """

    seed: int
    chronicled: bool = False
    rng: Random = field(init=False)
    network: Network = field(init=False)
    weights: list[float] = field(init=False)
    #: How often what happened.
    seen: Counter[str] = Factory(Counter)
    proposed: int = 0
    reads: list[Read] = Factory(list)

    def __attrs_post_init__(self) -> None:
        """
        Start one, three, four or five servers.
        """
        self.rng = Random(self.seed)
        self.network = Network.of(
            self.rng.choice(["a", "abc", "abc", "abcd", "abcde"]),
            seed=self.seed,
            timing=HASTY,
        )
        # Some clusters are troubled more than others, and by different things.
        usual = [40, 120, 4, 4, 25, 4, 3, 3, 9, 2, 12, 4, 3, 4, 4, 8, 16, 5, 8, 2]
        self.weights = [weight * self.rng.choice((0.3, 1, 1, 2)) for weight in usual]
        self.network.chronicle.is_open = self.chronicled
        self.network.choose = self.rng.choice

    def run(self) -> None:
        """
        Let it happen, then heal everything and see that work goes on.
        """
        for _ in range(EVENTS):
            self._event()
        self.network.check()
        self._recover()

    def _event(self) -> None:
        """
        Let one thing happen: mostly time and messages, sometimes a fault.
        """
        [event] = self.rng.choices(
            [
                self._tick,
                self._deliver,
                self._duplicate,
                self._lose,
                self._propose,
                self._add,
                self._remove,
                self._transfer,
                self._read,
                self._crash,
                self._crash_while_installing,
                self._restart,
                self._cut,
                self._heal,
                self._slow,
                self._finish,
                self._snapshot,
                self._slow_snapshots,
                self._finish_snapshots,
                self._fail_reads,
            ],
            self.weights,
        )
        event()

    def _some(self, nodes: list[Node]) -> Node | None:
        return self.rng.choice(nodes) if nodes else None

    def _tick(self) -> None:
        node = self._some(self.network.running)
        if node is not None:
            self.network.tick(node.server_id, self.rng.randint(1, 8))

    def _message(self) -> Message | None:
        waiting = self.network.in_transit
        return self.rng.choice(waiting) if waiting else None

    def _deliver(self) -> None:
        if (message := self._message()) is not None:
            self.network.deliver(message)

    def _duplicate(self) -> None:
        message = self._message()
        if message is not None and message.response is None:
            self.network.deliver(message, keep=True)

    def _lose(self) -> None:
        if (message := self._message()) is not None:
            self.network.lose(message)

    def _leaders(self) -> list[Node]:
        return [
            node
            for node in self.network.running
            if self.network[node.server_id].led_term is not None
        ]

    def _propose(self) -> None:
        leader = self._some(self._leaders())
        if leader is None:
            return
        self.proposed += 1
        with self._refusals():
            self.network.propose(leader.server_id, b"x%d" % self.proposed)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """
        Count what a leader may refuse.
        """
        try:
            yield
        except (
            ChangeInProgress,
            MembershipConflict,
            TransferInProgress,
            CannotTransfer,
        ) as refusal:
            self.seen[type(refusal).__name__] += 1

    def _add(self) -> None:
        leader = self._some(self._leaders())
        newcomer = self.rng.choice("abxyz")
        if leader is None:
            return
        if newcomer not in self.network.nodes:
            self.network.nodes[newcomer] = Node(newcomer)
        suffrage = self.rng.choice([Suffrage.VOTER, Suffrage.VOTER, Suffrage.NONVOTER])
        with self._refusals():
            self.network.add_server(leader.server_id, newcomer, suffrage)

    def _remove(self) -> None:
        leader = self._some(self._leaders())
        if leader is None:
            return
        members = self.network[leader.server_id].configuration.servers
        if members:
            leaving = self.rng.choice(members).id
            with self._refusals():
                self.network.remove_server(leader.server_id, leaving)
                self.seen["removed"] += 1

    def _transfer(self) -> None:
        leader = self._some(self._leaders())
        if leader is not None:
            to = self.rng.choice(sorted(self.network.nodes))
            with self._refusals():
                self.network.transfer(leader.server_id, to)
                self.seen["transfers"] += 1

    def _read(self) -> None:
        leader = self._some(self._leaders())
        if leader is not None:
            self.reads.append(self.network.read_index(leader.server_id))

    # Snapshots.

    def _snapshot(self) -> None:
        """
        Begin a snapshot, often of a leader, and finish it at once or later.
        """
        node = self._some(self._leaders()) if self.rng.random() < 0.5 else None
        node = node or self._some(self.network.running)
        if node is None:
            return
        if node.taking is None:
            self.network.begin_snapshot(node.server_id)
            if self.rng.random() < 0.5:
                return
        if node.taking is not None:
            self.seen["snapshots"] += 1
            self.network.finish_snapshot(node.server_id, self.rng.choice((0, 0, 2, 9)))

    def _slow_snapshots(self) -> None:
        node = self._some(list(self.network.nodes.values()))
        assert node is not None
        node.has_slow_reads = not node.has_slow_reads
        node.has_slow_restore = self.rng.random() < 0.7

    def _finish_snapshots(self) -> None:
        node = self._some(self.network.running)
        if node is None:
            return
        if node.fetching:
            fetch = self.rng.choice(node.fetching)
            self.network.finish_fetch(node.server_id, fetch)
        elif node.restoring is not None:
            self.network.finish_restore(node.server_id)
            self.seen["slow restores"] += 1

    def _fail_reads(self) -> None:
        node = self._some(list(self.network.nodes.values()))
        assert node is not None
        node.fails_reads = not node.fails_reads and self.rng.random() < 0.3

    def _crash_while_installing(self) -> None:
        """
        Crash the sender or the receiver of a snapshot, or one that restores it.
        """
        network = self.network
        ids = [node.server_id for node in network.running if node.restoring]
        for message in network.waiting(kind=InstallSnapshot):
            ids += [message.source, message.destination]
        ids = [id_ for id_ in ids if network.nodes[id_].core is not None]
        if ids:
            network.crash(self.rng.choice(ids), written=self.rng.random() < 0.5)
            self.seen["crashes while installing"] += 1

    def _crash(self) -> None:
        running = self.network.running
        node = self._some([one for one in running if one.saving is not None])
        if node is None or self.rng.random() < 0.5:
            node = self._some(running)
        if node is None:
            return
        lost = node.saving is not None
        written = self.rng.random() < 0.5
        self.network.crash(node.server_id, written=written)
        self.seen["crash"] += 1
        self.seen["unsaved writes lost"] += lost and not written
        self.seen["write survived crash"] += lost and written

    def _restart(self) -> None:
        down = [node for node in self.network.nodes.values() if node.core is None]
        node = self._some(down)
        if node is not None:
            self.network.restart(node.server_id)

    def _cut(self) -> None:
        ids = sorted(self.network.nodes)
        one = self.rng.choice(ids)
        if self.rng.random() < 0.5:
            group = "".join(id_ for id_ in ids if self.rng.random() < 0.5)
            self.network.partition(group)
        else:
            self.network.cut_links.add((one, self.rng.choice(ids)))

    def _heal(self) -> None:
        self.network.heal()

    def _slow(self) -> None:
        node = self._some(list(self.network.nodes.values()))
        assert node is not None
        node.has_slow_disk = not node.has_slow_disk

    def _finish(self) -> None:
        saving = [node for node in self.network.running if node.saving is not None]
        node = self._some(saving)
        if node is not None:
            self.network.finish_save(node.server_id)

    def _recover(self) -> None:
        """
        Heal everything; a command must then be applied by everybody in due time.
        """
        network = self.network
        network.heal()
        for node in network.nodes.values():
            node.has_slow_disk = node.has_slow_reads = node.has_slow_restore = False
            node.fails_reads = False
            if node.core is None:
                network.restart(node.server_id)
            if node.saving is not None:
                network.finish_save(node.server_id)
            if node.restoring is not None:
                network.finish_restore(node.server_id)
            if node.fetching:
                network.finish_fetch(node.server_id)
        network.settle()
        network.run_until(self._is_calm, 20 * HASTY.election_timeout)
        leader = network.leader
        assert leader is not None
        network.propose(leader, b"last")
        read = network.read_index(leader)
        network.run(HASTY.heartbeat_interval)
        assert network.leader == leader, "the leader changed without a reason"
        assert read.index is not None, "a read was never answered"
        for member in network[leader].configuration.servers:
            assert network.commands(member.id)[-1:] == [b"last"], member.id
            assert network.nodes[member.id].applied == network.nodes[leader].applied
        network.check()
        self._count()

    def _is_calm(self) -> bool:
        """
        Whether all members follow one leader and nothing is left to be done.
        """
        if self.network.leader is None:
            return False
        leader = self.network[self.network.leader]
        members = [self.network[one.id] for one in leader.configuration.servers]
        return (
            leader.transferring_to is None
            and not any(
                one.suffrage is Suffrage.LEARNER for one in leader.configuration.servers
            )
            and all(
                member.leader_id == leader.server_id
                and member.commit_index == leader.log.last_index
                for member in members
            )
        )

    def _count(self) -> None:
        observer = self.network.observer
        self.seen["committed"] += len(observer.committed)
        self.seen["elections"] += len(observer.leaders)
        self.seen["grown"] += any(id_ in self.network.nodes for id_ in "xyz")
        self.seen["installs"] += sum(
            one.installs for one in self.network.nodes.values()
        )
        self.seen["reads"] += sum(read.index is not None for read in self.reads)
        self.seen["reads never answered"] += sum(r.index is None for r in self.reads)
        self.seen["entries that were given up"] += sum(
            observer.committed[index].term != term
            for index, term in observer._entries
            if index in observer.committed
        )


def run_seed(seed: int) -> Counter[str]:
    """
    Run one schedule; if it fails, run it again and print what happened.
    """
    schedule = Schedule(seed)
    try:
        schedule.run()
    except Exception as error:
        again = Schedule(seed, chronicled=True)
        with pytest.raises(type(error)):
            again.run()
        print("\n".join(again.network.chronicle.lines))
        raise AssertionError(
            f"seed {seed} fails; replay it with: python -c 'from tests.raft."
            f"test_random_schedules import run_seed; run_seed({seed})'"
        ) from error
    return schedule.seen


@pytest.mark.parametrize("case", range(CASES))
def test_invariants_hold_and_work_goes_on(case: int) -> None:
    """
    Figure 3 at every moment of every history, and progress once the faults are over.

    Also that the histories are worth it: all that is meant to happen in them does.
    """
    seen: Counter[str] = Counter()
    first = case * SCHEDULES_PER_CASE
    for seed in range(first, first + SCHEDULES_PER_CASE):
        seen += run_seed(seed)
    for what, least in {
        "committed": 5 * SCHEDULES_PER_CASE,
        "elections": SCHEDULES_PER_CASE,
        "crash": SCHEDULES_PER_CASE,
        "grown": 5,
        "unsaved writes lost": 1,
        "write survived crash": 1,
        "entries that were given up": 5,
        "removed": 3,
        "transfers": 3,
        "reads": SCHEDULES_PER_CASE // 2,
        "reads never answered": 3,
        "snapshots": SCHEDULES_PER_CASE,
        "installs": 5,
        "crashes while installing": 1,
    }.items():
        assert seen[what] >= least, f"{what}: only {seen[what]}"


def test_the_same_seed_is_the_same_history() -> None:
    """
    A failure can be replayed: a schedule depends on its seed and nothing else.
    """
    histories = []
    for _ in range(2):
        schedule = Schedule(7, chronicled=True)
        schedule.run()
        histories.append(schedule.network.chronicle.lines)
    assert histories[0] == histories[1]
    assert len(histories[0]) > 100

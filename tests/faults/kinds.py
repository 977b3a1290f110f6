"""
What can go wrong, each kind as a context manager: it begins, and it is over.

What is chosen within a kind, such as which node it meets, comes from the generator of
random numbers that it is given. Half of the time a fault looks for the leader, since
that is where it does most.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from tests.integration.node import TERMINATED, ended_with_one_line
from tests.integration.waiting import DEADLINE
from tests.integration.wall_clock import WHY_NO_WALL_CLOCK

from .disks import why_no_small_disk
from .wires import Clear, Lost, Refused, Slow, Stalled, Torn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from random import Random

    from .cluster import Cluster
    from .wires import Condition, Direction

    Kind: TypeAlias = Callable[[Cluster, Random], AbstractContextManager[None]]

__all__ = ["KINDS", "Kind", "why_not"]


@contextmanager
def killed(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Kill -9 one node, sometimes several or all at once.
    """
    most = len(cluster.nodes) if rng.random() < 0.3 else 1
    with cluster.taking(rng, most) as nodes:
        for node in nodes:
            assert node.process is not None
            node.process.kill()
        for node in nodes:
            node.kill()
        yield
        for node in nodes:
            node.launch()
        for node in nodes:
            cluster.await_answer(node)


@contextmanager
def frozen(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Let nodes do nothing for a while, and know nothing of that (SIGSTOP).
    """
    with ExitStack() as still:
        nodes = still.enter_context(cluster.taking(rng, 2))
        for node in nodes:
            still.enter_context(node.standing_still())
        yield


@contextmanager
def parted(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Part the nodes into two sides that hear nothing of each other.
    """
    names = cluster.names
    rng.shuffle(names)
    leader = cluster.leader()
    if leader is not None and rng.random() < 0.5:
        # Alone, it must find out that it does not lead any more.
        names.sort(key=lambda name: name != leader.id)
        side = set(names[:1])
    else:
        side = set(names[: rng.randint(1, len(names) - 1)])
    ways = [way for way in cluster.pairs() if (way[0] in side) != (way[1] in side)]
    with _condition(cluster, ways, rng.choice([Stalled(), Lost(), Refused()])):
        yield


@contextmanager
def one_way(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Let links carry nothing in one direction, and everything in the other.
    """
    ways = cluster.pairs()
    leader = cluster.leader()
    if leader is not None and rng.random() < 0.7:
        # It is heard and does not hear, or the other way round.
        heard = rng.choice([0, 1])
        ways = [way for way in ways if way[heard] == leader.id]
    else:
        ways = rng.sample(ways, rng.randint(1, len(ways) // 2))
    with _condition(cluster, ways, rng.choice([Stalled(), Lost()])):
        yield


@contextmanager
def bridged(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Let each node hear only its neighbours in a ring; of three, one is the bridge
    between the others, which is a majority with each (openraft 2080).
    """
    names = cluster.names
    rng.shuffle(names)
    count = len(names)
    near = {
        (names[at], names[(at + step) % count])
        for at in range(count if count > 3 else count - 1)
        for step in (1, -1)
        if count > 3 or 0 <= at + step < count
    }
    near |= {way[::-1] for way in near}
    ways = [way for way in cluster.pairs() if way not in near]
    with _condition(cluster, ways, rng.choice([Stalled(), Lost(), Refused()])):
        yield


@contextmanager
def slowed(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Let links take long, sometimes longer than a follower waits for its leader.
    """
    ways = cluster.pairs()
    ways = rng.sample(ways, rng.randint(1, len(ways)))
    with _condition(cluster, ways, Slow(rng.choice([0.02, 0.1, 0.4, 1.0]))):
        yield


@contextmanager
def torn(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Break connections off in the middle of a frame, again and again.
    """
    with _condition(cluster, cluster.pairs(), Torn(rng.choice([3, 20, 100]))):
        yield


@contextmanager
def filled(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Fill a node's disk: it ends with one line, and runs again when there is room.
    """
    with cluster.taking(rng) as nodes:
        before = {node.id: len(node.log) for node in nodes}
        for node in nodes:
            cluster.disks[node.id].fill()
        yield
        for node in nodes:
            if not node.is_running:
                said = ended_with_one_line(node, node.log[: before[node.id]])
                assert "could not be written" in said
            cluster.disks[node.id].free()
            if not node.is_running:
                node.launch()
                cluster.await_answer(node)


@contextmanager
def jumped(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Let wall clocks jump by hours, there and back, each on its own.
    """
    for clock in cluster.clocks.values():
        clock.jump(rng.choice([-48, -2, -1, 1, 2, 48]))
    yield
    for clock in cluster.clocks.values():
        if rng.random() < 0.5:
            clock.jump(0)


@contextmanager
def removed(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Remove a node; then it comes again, with all that it had or with nothing.
    """
    with cluster.taking(rng) as nodes:
        [leaving] = nodes or [None]
        leader = cluster.leader()
        answer = None
        if leaving is not None and leader is not None:
            with suppress(OSError):
                answer = leader.ask("DELETE", f"/nodes/{leaving.id}", timeout=3)
        yield
        if answer is None or leaving is None or leader is None:
            return
        if answer.status == 200 and rng.random() < 0.5:
            # Only now: what it has promised counts until it is surely no member.
            leaving.kill()
            cluster.wipe(leaving)
            leaving.join = [node.http for node in cluster.nodes if node is not leaving]
            leaving.launch()
            cluster.await_answer(leaving)
        else:
            with suppress(OSError):
                cluster.add(leaving)


@contextmanager
def restarted(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Tell one node after the other to stop, and run it again: a rolling restart.
    """
    yield
    for node in rng.sample(cluster.nodes, len(cluster.nodes)):
        with cluster.taking(rng, 1, only=node) as nodes:
            for one in nodes:
                one.terminate()
                assert one.ended(DEADLINE) == TERMINATED, one.log[-2000:]
                one.launch()
                cluster.await_answer(one)


@contextmanager
def handed_over(cluster: Cluster, rng: Random) -> Iterator[None]:
    """
    Tell the leader to let another one lead.
    """
    leader = cluster.leader()
    if leader is not None:
        with suppress(OSError):
            wanted = {"id": rng.choice(cluster.names)}
            leader.ask("POST", "/leader", wanted, timeout=3)
    yield


@contextmanager
def _condition(
    cluster: Cluster, ways: list[Direction], condition: Condition
) -> Iterator[None]:
    cluster.wires.set(ways, condition)
    yield
    cluster.wires.set(ways, Clear())


#: All of them, by name.
KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        *(killed, frozen, parted, one_way, bridged, slowed, torn, filled, jumped),
        *(removed, restarted, handed_over),
    )
}


def why_not(name: str) -> str | None:
    """
    Return what a kind of fault needs that is not here, as one line.
    """
    if name == "filled":
        return why_no_small_disk()
    if name == "jumped":
        return WHY_NO_WALL_CLOCK
    return None

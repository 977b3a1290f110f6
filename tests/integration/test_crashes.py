"""
Kill -9, of one and of all; what was answered 200 is never lost.

Promise: a write that was answered 200 is on the disks of a majority, synced, before the
answer (PySyncObj 84 and 201, etcd 14370 broke it).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .load import Load, check_nothing_lost
from .processes import leader_among, write
from .waiting import until

if TYPE_CHECKING:
    from .node import Node
    from .processes import Processes


def test_leader_killed_under_load(trio: list[Node]) -> None:
    """
    The leader dies while clients write; a new one goes on, and nothing is lost.

    The dead one comes back and learns what it missed (redisraft 14: all data lost at a
    failover).
    """
    with Load(trio) as load:
        load.until_more(200)
        dead = leader_among(trio)
        dead.kill()
        load.until_more(200)
        dead.start()
        load.until_more(100)
    check_nothing_lost(load, trio)


def test_all_killed_under_load(trio: list[Node]) -> None:
    """
    All nodes die at once while clients write; nothing that was answered is lost.
    """
    with Load(trio) as load:
        load.until_more(300)
        # All signals first: nobody outlives the others long enough to help them.
        for node in trio:
            assert node.process is not None
            node.process.kill()
        for node in trio:
            node.kill()
        load.stop()
    for node in trio:
        node.launch()
    check_nothing_lost(load, trio)
    write(trio, after="all")


def test_five_bear_two_failures(processes: Processes) -> None:
    """
    Five nodes work without two; without three, they read, and say that they cannot
    write, in bounded time.
    """
    nodes = processes.cluster(5)
    write(nodes, alive="five")
    for node in nodes[:2]:
        node.kill()
    write(nodes[2:], alive="three")
    for node in nodes[2:]:
        node.learns("alive", "three")

    leader = leader_among(nodes[2:])
    followers = [node for node in nodes[2:] if node is not leader]
    followers[0].kill()
    began = time.monotonic()
    first = leader.set(alive="two")
    assert first.status in (503, 504)
    # The limit for a write is ten seconds; it is over when the leader steps down.
    assert time.monotonic() - began < 9
    if first.status == 504:
        assert first.content["outcome"] == "unknown"
    until(lambda: not leader.leads(), "it steps down")
    for node in (leader, followers[1]):
        until(lambda n=node: n.status()["leader"] is None, f"{node.id} misses one")
        began = time.monotonic()
        refused = node.set(alive="two")
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert time.monotonic() - began < 5
        assert node.get("alive") in ("three", "two")

    followers[0].start()
    write(nodes[2:], alive="three again")


def test_rejoins_without_being_told(processes: Processes, trio: list[Node]) -> None:
    """
    A node that was a member is one after its restart, with and without ``--join``.
    """
    node0 = processes.start("node0")
    node1 = processes.start("node1", join=[node0.http])
    until(node1.is_voter, "node1 is a member")
    node1.stop()
    alone = node0.set(foo="1")
    assert alone.status != 200, "one of two cannot write"

    node1.join = ()
    node1.start()
    write([node0, node1], foo="2")
    node1.learns("foo", "2")
    node1.stop()

    # Somebody tells it to join another cluster; it is a member of this one.
    node1.join = [trio[0].http]
    node1.start()
    write([node0, node1], foo="3")
    node1.learns("foo", "3")
    assert node1.status()["cluster"] == node0.status()["cluster"]
    assert len(trio[0].status()["members"]) == 3

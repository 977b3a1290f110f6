"""
A wall clock that jumps, see :mod:`tests.integration.wall_clock`.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

from .processes import ask_leader, leader_among, write
from .waiting import until
from .wall_clock import WHY_NO_WALL_CLOCK, WallClock

if TYPE_CHECKING:
    from pathlib import Path

    from .node import Node
    from .processes import Processes


def _ahead(node: Node) -> float:
    """
    Return how many seconds a node's clock is ahead of the real one.
    """
    date = node.ask("GET", "/status").headers["date"]
    return parsedate_to_datetime(date).timestamp() - time.time()


@pytest.mark.skipif(WHY_NO_WALL_CLOCK is not None, reason=str(WHY_NO_WALL_CLOCK))
def test_clock_jumps(processes: Processes, tmp_path: Path) -> None:
    """
    Neither heartbeats nor elections nor expiry care whether the wall clock jumps.
    """
    clock = WallClock(tmp_path)
    nodes = processes.cluster(3, environment=clock.environment)
    write(nodes, before="jump")
    for path in ("/key?ttl=3600", "/key?ttl=0.1"):
        name = path.partition("=")[2]
        assert ask_leader(nodes, "POST", path, {name: "expires"}).status == 200
    until(lambda: leader_among(nodes).get("0.1") is None, "it has expired")

    def is_ignored(hours: int) -> bool:
        """
        Set the clock, and tell whether the leader takes no note of it.
        """
        leader = leader_among(nodes)
        length = len(leader.log)
        clock.jump(hours)
        until(lambda: abs(_ahead(leader) - 3600 * hours) < 600, "the clock has jumped")
        # More time than a follower waits for its leader.
        end = time.monotonic() + 1.5
        until(lambda: time.monotonic() > end)
        return len(leader.log) == length

    # On a busy machine an election may come for another reason, but not each time.
    assert any(is_ignored(hours) for hours in (2, 4, 6)), "set forward, nobody notices"
    assert any(is_ignored(hours) for hours in (-2, -4, -6)), "set back, nobody notices"

    # Two hours and more were said to pass, in either direction.
    found = ask_leader(nodes, "GET", "/key?level=linearizable").content
    assert [item["key"] for item in found["keys"]] == ["3600", "before"]

    # Nodes whose timers stand still would notice nothing either; but they elect nobody.
    leader = leader_among(nodes)
    leader.kill()
    write([node for node in nodes if node is not leader], after="jump")

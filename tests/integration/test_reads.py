"""
Reads of every level, and writes that a follower passes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .processes import leader_among, write
from .waiting import until

if TYPE_CHECKING:
    from .node import Node
    from .processes import Processes


def test_linearizable_at_every_node(trio: list[Node]) -> None:
    """
    Whatever was answered before is in every linearizable read after, at any node.
    """
    for number in range(30):
        write(trio, counter=str(number))
        for node in trio:
            answer = node.ask("GET", "/key/counter?level=linearizable")
            assert (answer.status, answer.content) == (200, {"counter": str(number)})


def test_all_levels(trio: list[Node]) -> None:
    """
    Each level answers at each node.
    """
    write(trio, level="any")
    for node in trio:
        node.learns("level", "any")
        for level in ("none", "weak", "linearizable", "strong", "auto"):
            answer = node.ask("GET", f"/key/level?level={level}")
            assert (answer.status, answer.content) == (200, {"level": "any"})


def test_stale_leader_answers_no_linearizable_read(processes: Processes) -> None:
    """
    A leader that stood still while another one was elected does not answer, when it
    goes on, with what it knew (jepsen's classic stale read).
    """
    nodes = processes.cluster(3)
    old = leader_among(nodes)
    others = [node for node in nodes if node is not old]
    write(nodes, seen="old")
    with old.standing_still():
        until(lambda: any(node.leads() for node in others), "another one leads")
        write(others, seen="new")
    answer = old.ask("GET", "/key/seen?level=linearizable")
    assert answer.status == 503 or answer.content == {"seen": "new"}


def test_without_a_majority_only_stale_reads(processes: Processes) -> None:
    """
    A node that is alone answers level none, and refuses what it cannot know.
    """
    nodes = processes.cluster(3)
    write(nodes, some="thing")
    left = leader_among(nodes)
    for node in nodes:
        if node is not left:
            node.kill()
    assert left.ask("GET", "/key/some?level=none").content == {"some": "thing"}
    until(lambda: left.status()["leader"] is None, "it has stepped down")
    for level in ("weak", "linearizable", "strong"):
        answer = left.ask("GET", f"/key/some?level={level}")
        assert answer.status == 503
        assert "retry-after" in answer.headers
    stale = "/key/some?level=none&freshness=1ms"
    assert left.ask("GET", stale).status == 503


def test_writes_by_way_of_followers(trio: list[Node]) -> None:
    """
    ``?forward`` at a follower is a write at the leader; ``?redirect`` leads there.
    """
    leader = leader_among(trio)
    for node in trio:
        if node is leader:
            continue
        forwarded = node.ask("POST", "/key?forward", {f"by-{node.id}": "forward"})
        assert forwarded.status == 200
        leader.learns(f"by-{node.id}", "forward")
        deleted = node.ask("DELETE", f"/key/by-{node.id}?forward")
        assert deleted.content["deleted"] is True
        redirected = node.ask("POST", "/key?redirect", {"by": "redirect"})
        assert redirected.status == 307
        assert redirected.headers["location"].startswith(f"http://{leader.http}/key")

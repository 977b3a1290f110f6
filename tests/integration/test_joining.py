"""
How nodes become members, and how they do not.
"""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

from .node import free_port
from .processes import ask_leader, write
from .waiting import until

if TYPE_CHECKING:
    from .node import Node
    from .processes import Processes


def members_of(node: Node) -> list[tuple[str, str, str]]:
    """
    Return what a node knows of its cluster: ids, addresses, who votes.
    """
    return [
        (member["id"], member["raft"], member["suffrage"])
        for member in node.status()["members"]
    ]


def test_joiner_comes_first(processes: Processes) -> None:
    """
    A joiner that is up before the server it joins goes on trying, and says so.

    It says it once, not each time it tries, and never begins a cluster of its own. The
    first of those that it is to ask never answers at all.
    """
    dead = f"localhost:{free_port()}"
    node0 = processes.prepare("node0")
    node1 = processes.start("node1", join=[dead, node0.http])
    until(lambda: node1.log.count("not joined through") == 2, "it says that it waits")
    status = node1.status()
    assert (status["cluster"], status["leader"], status["members"]) == (None, None, [])
    assert node1.set(foo="bar").status == 503
    assert node1.get("foo") is None

    node0.start()
    until(node1.is_voter, "node1 is a member")
    write([node0, node1], foo="bar")
    node1.learns("foo", "bar")
    assert node1.log.count("connection refused") == 2
    until(lambda: node1.log.count("joined cluster") == 1, "and then says that it has")


def test_nobody_at_the_address(trio: list[Node]) -> None:
    """
    To add an address where nobody answers changes nothing.

    In the original it costs the cluster its quorum.
    """
    before = members_of(trio[0])
    began = time.monotonic()
    answer = ask_leader(
        trio, "POST", "/join", {"id": "ghost", "addr": f"localhost:{free_port()}"}
    )
    assert answer.status == 503
    assert "no server answers" in answer.content["error"]
    assert time.monotonic() - began < 5
    write(trio, foo="bar")
    assert members_of(trio[0]) == before


def test_somebody_else_at_the_address(trio: list[Node]) -> None:
    """
    Nor does an address where something else answers, or accepts and is silent.
    """
    before = members_of(trio[0])
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        for address in (f"localhost:{port}", trio[0].http):
            began = time.monotonic()
            content = {"id": "ghost", "addr": address}
            answer = ask_leader(trio, "POST", "/join", content)
            assert answer.status == 503, answer
            assert time.monotonic() - began < 6
            write(trio, foo="bar")
    assert members_of(trio[0]) == before


def test_conflicts(trio: list[Node]) -> None:
    """
    A live node's id with another address, or the reverse, is 409 and changes nothing;
    both as they are is 200, with nothing to do.
    """
    before = members_of(trio[0])
    other = f"localhost:{free_port()}"
    for content in (
        {"id": "node1", "addr": other},
        {"id": "node9", "addr": trio[1].raft},
        {"id": "node0", "addr": other},
    ):
        answer = ask_leader(trio, "POST", "/join", content)
        assert answer.status == 409, answer
        assert set(answer.content) == {"error"}
    same = {"id": "node1", "addr": trio[1].raft}
    again = ask_leader(trio, "POST", "/join", same)
    assert again.status == 200
    assert again.content["index"] <= write(trio, foo="bar").content["index"]
    assert members_of(trio[0]) == before


def test_same_id_somewhere_else(processes: Processes, trio: list[Node]) -> None:
    """
    A second node that calls itself like a member is not taken in, and does no harm.

    It says why, and goes on trying: the operator gives it another id.
    """
    before = members_of(trio[0])
    twin = processes.start("node1", folder="twin", join=[trio[0].http])
    until(lambda: "not joined" in twin.log, "it says why it has not joined")
    write(trio, after="twin")
    trio[1].learns("after", "twin")
    assert members_of(trio[1]) == before
    assert twin.get("after") is None
    assert twin.status()["members"] == []


def test_two_clusters_do_not_mix(processes: Processes) -> None:
    """
    A node of another cluster, at an address that a cluster expects, is refused.

    Both sides say so, once and not with every attempt; neither is harmed.
    """
    node0 = processes.start("node0")
    node1 = processes.start("node1", join=[node0.http])
    until(node1.is_voter, "node1 is a member")
    node1.stop()
    stranger = processes.start("node1", folder="stranger")
    until(stranger.leads, "it has a cluster of its own")
    assert stranger.set(whose="its own").status == 200
    ours, theirs = node0.status()["cluster"], stranger.status()["cluster"]
    stranger.stop()

    stranger.raft_port = node1.raft_port
    stranger.start()
    refusal = f"node1 belongs to cluster {theirs}, not to {ours}"
    until(lambda: refusal in node0.log, "node0 hears why")
    until(lambda: refusal in stranger.log, "the stranger tells")
    # Time for more attempts; the links try again each second at most.
    attempts = time.monotonic() + 2.5
    until(lambda: time.monotonic() > attempts)
    assert node0.log.count(refusal) == 1
    assert stranger.log.count(refusal) == 1
    assert stranger.status()["cluster"] == theirs
    assert stranger.leads()
    assert stranger.get("whose") == "its own"
    assert node0.get("whose") is None
    # It may not notice, but for this line, that its own cluster dials it elsewhere.
    assert "the cluster knows node1 by the Raft address" in stranger.log

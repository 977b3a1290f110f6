"""
The walkthrough of the original hraftd, as its users type it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .installed import command
from .node import TERMINATED
from .processes import leader_among, write
from .waiting import until

if TYPE_CHECKING:
    from .processes import Processes


def test_walkthrough(processes: Processes) -> None:
    """
    Three nodes elect, replicate, outlive their leader, and teach it when it is back.

    The third joins through the second, which is a follower: the original's joiner
    ignores what that answers, and reports a success that there was not.
    """
    node0 = processes.start("node0")
    until(node0.leads, "one node alone leads itself")
    assert node0.set(user1="batman").status == 200
    assert node0.get("user1") == "batman"

    node1 = processes.start("node1", join=[node0.http])
    until(node1.is_voter, "node1 is a member")
    node2 = processes.start("node2", join=[node1.http])
    until(node2.is_voter, "node2 is a member, through a follower")
    joined = f"joined cluster {node0.status()['cluster']} through {node1.http}"
    until(lambda: joined in node2.log, "node2 says so")

    write([node0, node1, node2], user2="robin")
    for node in (node0, node1, node2):
        node.learns("user1", "batman")
        node.learns("user2", "robin")

    leader = leader_among([node0, node1, node2])
    followers = [node for node in (node0, node1, node2) if node is not leader]
    refused = followers[0].set(user2="joker")
    assert refused.status == 421
    assert refused.content["leader"] == {
        "id": leader.id,
        "http": leader.http,
        "raft": leader.raft,
    }

    leader.kill()
    write(followers, user3="penguin")

    leader.start()
    for key, value in (("user1", "batman"), ("user2", "robin"), ("user3", "penguin")):
        leader.learns(key, value)
    successor = leader_among([node0, node1, node2])
    assert leader.status()["leader"] == {"id": successor.id, "address": successor.raft}

    for node in (node0, node1, node2):
        node.terminate()
    assert {node.ended() for node in (node0, node1, node2)} == {TERMINATED}
    for node in (node0, node1, node2):
        assert "Traceback" not in node.log


def test_single_dashes(processes: Processes) -> None:
    """
    The same commands in the original's spelling do the same.
    """
    node0 = processes.prepare("node0")
    node0.spelled = [
        command("hraftd"),
        *("-id", "node0", "-haddr", node0.http, "-raddr", node0.raft),
        str(node0.data_dir),
    ]
    node0.start()
    node1 = processes.prepare("node1")
    node1.spelled = [
        command("hraftd"),
        # As Go takes it too.
        *(f"-haddr={node1.http}", f"-raddr={node1.raft}", "-id", "node1"),
        *("-join", f":{node0.http_port}", "-inmem"),
    ]
    node1.start()
    until(node1.is_voter, "node1 is a member")
    write([node0, node1], foo="bar")
    node1.learns("foo", "bar")
    for node in (node0, node1):
        node.terminate()
    assert {node.ended() for node in (node0, node1)} == {TERMINATED}
    assert (node0.data_dir / "hraftd.sqlite3").is_file()
    # What is kept in memory leaves nothing behind.
    assert [file.name for file in node1.directory.iterdir()] == ["log"]
    assert "data in memory" in node1.log


def test_twistd(processes: Processes) -> None:
    """
    ``twistd -n hraftd`` runs the plugin; the data's place defaults to the id.
    """
    node = processes.prepare("node0")
    node.spelled = [
        command("twistd"),
        *("-n", "--pidfile=", "hraftd"),
        *("--haddr", node.http, "--raddr", node.raft),
    ]
    node.start()
    until(node.leads, "it leads itself")
    assert node.status()["me"] == {"id": node.raft, "address": node.raft}
    folder = node.directory / node.raft.replace(":", "_")
    assert (folder / "hraftd.sqlite3").is_file()
    node.stop()
    assert sorted(file.name for file in node.directory.iterdir()) == sorted(
        ["log", folder.name]
    )

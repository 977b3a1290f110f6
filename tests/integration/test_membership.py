"""
A cluster that grows, shrinks, moves and changes its leader while clients write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .load import Load, check_nothing_lost
from .node import free_port
from .processes import ask_leader, leader_among, write
from .waiting import until

if TYPE_CHECKING:
    from .node import Node
    from .processes import Processes

#: Seconds. A follower waits one second at most before it campaigns, and may have to
#: campaign twice; on a machine that is busy with other tests the clients need some
#: time, too, to find the leader.
ONE_ELECTION = 2.5


def _members(node: Node) -> set[str]:
    return {member["id"] for member in node.status().get("members", ())}


def _remove(nodes: list[Node], leaving: Node) -> None:
    """
    Remove a node from the cluster of these, and take it out of the list.
    """
    answer = ask_leader(nodes, "DELETE", f"/nodes/{leaving.id}")
    assert answer.status == 200, answer
    nodes.remove(leaving)
    until(
        lambda: "was removed from the cluster" in leaving.log, f"{leaving.id} knows it"
    )


def test_one_to_five_to_three_under_load(processes: Processes) -> None:
    """
    A cluster grows from one to five and shrinks to three while clients write; its
    leader is removed on the way. No answered write is lost, and at no time is there
    none that succeeds for longer than an election takes.
    """
    first = processes.start("node0")
    everyone = [first] + [
        processes.prepare(f"node{number}", join=[first.http]) for number in range(1, 5)
    ]
    nodes = [first]
    with Load(everyone) as load:
        load.until_more(50)
        for newcomer in everyone[1:]:
            newcomer.start()
            until(newcomer.is_voter, f"{newcomer.id} is a voter")
            nodes.append(newcomer)
            load.until_more(50)
        leader = leader_among(nodes)
        follower = next(node for node in nodes if node is not leader)
        _remove(nodes, follower)
        load.until_more(50)
        _remove(nodes, leader)
        load.until_more(100)
    until(
        lambda: all(_members(node) == {one.id for one in nodes} for node in nodes),
        "three are left",
    )
    # Who was removed may run on: it disturbs nobody.
    term = leader_among(nodes).status()["term"]
    write(nodes, still="here")
    assert leader_among(nodes).status()["term"] == term
    check_nothing_lost(load, nodes)
    print(load.summary())
    assert load.longest_gap() < ONE_ELECTION


def test_rolling_restart_under_load(processes: Processes) -> None:
    """
    All nodes are restarted, one after the other, the leader too, while clients write;
    the leader hands over first, so that clients need not wait for an election.
    """
    nodes = processes.cluster(3, options=("--on-follower", "forward"))
    with Load(nodes) as load:
        load.until_more(100)
        for node in nodes:
            leader_among(nodes)
            node.stop()
            load.until_more(50)
            node.start()
            until(node.is_voter, f"{node.id} is back")
            load.until_more(50)
    check_nothing_lost(load, nodes)
    print(load.summary())
    assert load.longest_gap() < ONE_ELECTION
    # No request was answered "maybe"; those that got no answer at all met a port that
    # nobody listened on.
    assert 504 not in load.tried.values()


def test_leadership_goes_where_it_should(trio: list[Node]) -> None:
    """
    ``POST /leader`` hands over to each node in turn; writes go on, and a term is all
    that it costs.
    """
    with Load(trio) as load:
        for node in trio:
            answer = ask_leader(trio, "POST", "/leader", {"id": node.id})
            assert answer.status == 200, answer
            assert leader_among(trio) is node
            load.until_more(30)
    check_nothing_lost(load, trio)


def test_stopped_node_stays_a_member(processes: Processes) -> None:
    """
    A node that is stopped in order is still a member, and is back when it starts.
    """
    nodes = processes.cluster(3)
    leader = leader_among(nodes)
    stopped = next(node for node in nodes if node is not leader)
    stopped.stop()
    write([node for node in nodes if node is not stopped], without="it")
    assert _members(leader) == {node.id for node in nodes}
    stopped.start()
    stopped.learns("without", "it")


def test_node_moves(processes: Processes) -> None:
    """
    A member that starts with other addresses and ``--join`` replaces its old ones, and
    goes on voting; its data moves with it.
    """
    nodes = processes.cluster(3)
    leader = leader_among(nodes)
    moving = next(node for node in nodes if node is not leader)
    moving.stop()
    write([node for node in nodes if node is not moving], before="the move")
    moving.http_port, moving.raft_port = free_port(), free_port()
    moving.join = [node.http for node in nodes if node is not moving]
    moving.start()
    until(
        lambda: any(
            member["id"] == moving.id and member["raft"] == moving.raft
            for member in leader.status()["members"]
        ),
        "the cluster knows the new address",
    )
    moving.learns("before", "the move")
    until(moving.is_voter, "it votes")
    # It counts: with another one away it makes the majority.
    other = next(node for node in nodes if node not in (moving, leader))
    other.kill()
    write([leader, moving], after="the move")


def test_dead_node_is_replaced(processes: Processes) -> None:
    """
    A node whose disk is lost is removed and comes back, empty, under the same id.
    """
    nodes = processes.cluster(3)
    leader = leader_among(nodes)
    dead = next(node for node in nodes if node is not leader)
    dead.kill()
    write([node for node in nodes if node is not dead], kept="value")
    assert leader.ask("DELETE", f"/nodes/{dead.id}").status == 200
    for file in dead.data_dir.iterdir():
        file.unlink()
    dead.join = [leader.http]
    dead.start()
    until(dead.is_voter, "it is a voter again")
    dead.learns("kept", "value")


def test_nonvoter(processes: Processes) -> None:
    """
    A nonvoter learns everything and counts for nothing: without it writes go on, and
    with it alone they do not.
    """
    first = processes.start("node0")
    reader = processes.start("reader", join=[first.http], options=["--nonvoter"])
    until(lambda: reader.status().get("role") == "nonvoter", "it is a member")
    write([first], some="thing")
    reader.learns("some", "thing")
    fresh = reader.ask("GET", "/key/some?level=linearizable")
    assert fresh.content == {"some": "thing"}
    reader.kill()
    write([first], without="the reader")
    reader.start()
    reader.learns("without", "the reader")
    first.kill()
    assert reader.get("without") == "the reader"
    assert reader.set(a="b").status in (421, 503)

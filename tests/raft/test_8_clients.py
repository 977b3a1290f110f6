"""
Raft 8: what a leader knows of commitment when its term begins.

Here is the no-op, and how a command is known; reads are in ``test_diss_6_4_reads.py``.
"""

from __future__ import annotations

from hraftd.raft.messages import Entry, NoOp
from tests.raft.network import Network


def test_a_leader_commits_a_no_op_at_the_start_of_its_term() -> None:
    """
    Without any client, all that came before is committed.

    "Raft handles this by having each leader commit a blank no-op entry into the log at
    the start of its term" (8): without any client, all before it is committed.
    """
    network = Network.with_logs(dict.fromkeys("abc", (1, 1, 1)))
    network.elect("a")
    network.settle()
    assert network["a"].log.between(4, 4) == (Entry(4, 2, NoOp()),)
    assert {network[id_].commit_index for id_ in "abc"} == {4}
    assert len(network.commands("b")) == 2


def test_each_term_has_its_own() -> None:
    """
    One leader after the other, each with one no-op, at the place where its term begins.
    """
    network = Network.of("abc")
    for leader in "abcab":
        network.elect(leader)
        network.settle()
        network.propose(leader, leader.encode())
        network.settle()
    log = network["c"].log.between(2, network["c"].log.last_index)
    assert [entry.payload for entry in log] == [
        payload for leader in "abcab" for payload in (NoOp(), leader.encode())
    ]


def test_a_command_that_was_proposed_is_identified_by_index_and_term() -> None:
    """
    Who proposed can tell what became of it.

    "If the leader crashes, client requests will time out" (8) with an unknown outcome:
    another entry at its index says that a command will never be applied.
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.isolate("a")
    lost = network.propose("a", b"x")
    network.elect("b")
    kept = network.propose("b", b"y")
    network.settle()
    network.heal()
    network.run(10)
    [applied] = [e for e in network.nodes["a"].applied if e.index == lost.index]
    assert (applied.index, applied.term) != (lost.index, lost.term)
    assert kept in network.nodes["a"].applied

"""
Raft 5.5: follower and candidate crashes, and what must have been on disk before.
"""

from __future__ import annotations

import pytest

from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HardState,
    RequestVote,
    RequestVoteResponse,
)
from hraftd.raft.roles import Follower
from tests.raft.network import Network, save, server, terms


def started(voters: str = "abc") -> Network:
    """
    Return a cluster that ``a`` leads, with nothing on its way.
    """
    network = Network.of(voters)
    network.elect("a")
    network.settle()
    return network


def slow(network: Network, *server_ids: str) -> None:
    """
    Let writes of these servers wait until the test finishes them.
    """
    for server_id in server_ids:
        network.nodes[server_id].has_slow_disk = True


def test_pysyncobj_84_a_vote_survives_a_restart() -> None:
    """
    Term and vote are saved before they are told (PySyncObj 84, 201).

    Term and vote are on disk before the answer leaves, and a server that comes back
    votes for nobody else in that term (PySyncObj 84, 201).
    """
    core = server()
    assert core.handle(RequestVote(2, "b", 1, 1)) == RequestVoteResponse(2, True)
    ready = core.ready()
    assert ready.hard_state == HardState(2, "b")
    core.advance(ready)
    # A vote for another in a term that is known already has to be saved as well.
    core.handle(RequestVote(3, "b", 0, 0))
    assert save(core).hard_state == HardState(3, None)
    core.handle(RequestVote(3, "c", 1, 1))
    saved = save(core).hard_state
    assert saved == HardState(3, "c")
    again = server(term=saved.current_term, voted_for=saved.voted_for)
    assert again.handle(RequestVote(3, "b", 9, 9)) == RequestVoteResponse(3, False)
    assert again.handle(RequestVote(3, "c", 1, 1)) == RequestVoteResponse(3, True)


def test_a_crash_before_the_vote_is_saved() -> None:
    """
    A vote that was not on disk was not given.

    A vote that was not on disk was not given: the candidate never hears of it, and the
    server may vote for another.
    """
    network = Network.of("abc")
    slow(network, "b")
    network.isolate("c")
    network.campaign("a")
    network.settle()
    [_] = network.nodes["b"].held_by_save
    network.crash("b")
    network.restart("b")
    network.settle()
    assert network["b"].hard_state == HardState(1, None)
    assert network.leader is None


def test_a_crash_after_the_vote_is_saved_but_before_the_answer() -> None:
    """
    The vote stands though nobody knows of it.
    """
    network = Network.of("abc")
    slow(network, "b")
    network.isolate("c")
    network.campaign("a")
    network.settle()
    network.crash("b", written=True)
    network.restart("b")
    network.settle()
    assert network["b"].hard_state == HardState(2, "a")
    assert network.leader is None
    refused = network["b"].handle(RequestVote(2, "c", 9, 9))
    assert refused == RequestVoteResponse(2, False)


def test_a_crash_before_entries_are_saved() -> None:
    """
    Entries that were not saved are sent again.

    "If a server crashes after completing an RPC but before responding, then it will
    receive the same RPC again after it restarts" (5.5); what was not saved is asked
    again.
    """
    network = started()
    network.isolate("c")
    slow(network, "b")
    network.propose("a", b"x")
    network.settle()
    assert terms(network["b"]) == [1, 2, 2]
    assert network["a"].match_index("b") == 2
    network.crash("b")
    network.nodes["b"].has_slow_disk = False
    network.restart("b")
    assert terms(network["b"]) == [1, 2]
    assert network["a"].commit_index == 2
    network.run(network.timing.heartbeat_interval)
    assert network["a"].commit_index == 3
    assert network.commands("b") == [b"x"]


def test_a_crash_after_entries_are_saved_but_before_the_answer() -> None:
    """
    Entries that were saved are not taken twice.

    "If a follower receives an AppendEntries request that includes log entries already
    present in its log, it ignores those entries in the new request" (5.5).
    """
    network = started()
    network.isolate("c")
    slow(network, "b")
    network.propose("a", b"x")
    network.settle()
    network.crash("b", written=True)
    network.nodes["b"].has_slow_disk = False
    network.restart("b")
    assert terms(network["b"]) == [1, 2, 2]
    assert network["a"].commit_index == 2
    network.run(2 * network.timing.heartbeat_interval)
    assert network["a"].commit_index == 3
    assert terms(network["b"]) == [1, 2, 2]


def test_a_leader_that_crashes_before_its_own_write() -> None:
    """
    What others saved is committed without the leader's disk.

    A leader may replicate while it writes (dissertation 10.2.1): what the others saved
    is committed without it, and it gets its own entries back from its successor.
    """
    network = started()
    slow(network, "a")
    network.propose("a", b"x")
    network.settle()
    assert network["a"].commit_index == 3
    assert network["a"].stable_index == 2
    assert network.commands("a") == [], "it applies only what its disk holds"
    network.crash("a")
    network.nodes["a"].has_slow_disk = False
    network.restart("a")
    assert terms(network["a"]) == [1, 2]
    network.elect("b")
    network.run(network.timing.heartbeat_interval)
    assert network.commands("a") == network.commands("b") == [b"x"]


def test_a_leader_that_crashes_before_anybody_heard_of_an_entry() -> None:
    """
    What only the leader had is lost with its memory, and nobody was told otherwise.
    """
    network = started()
    slow(network, "a")
    network.isolate("a")
    network.propose("a", b"lost")
    network.settle()
    network.crash("a")
    network.nodes["a"].has_slow_disk = False
    network.heal()
    network.restart("a")
    network.elect("a")
    network.settle()
    assert network.commands("b") == []
    assert network.logs()["a"] == network.logs()["b"] == [1, 2, 3]


def test_a_leader_that_crashes_with_entries_on_its_disk_only() -> None:
    """
    An entry that one server has may be kept or given up.

    An entry that was written and not replicated may be kept or given up; here its
    server leads again, and it is kept.
    """
    network = started()
    network.isolate("a")
    network.propose("a", b"late")
    network.settle()
    network.crash("a")
    network.heal()
    network.restart("a")
    network.elect("a")
    network.settle()
    assert network.commands("b") == network.commands("c") == [b"late"]


def test_a_restarted_server_learns_anew_what_is_committed() -> None:
    """
    What is committed is not remembered but learned.

    commitIndex and lastApplied are volatile (figure 2): after a restart entries are
    applied again from the first, once the leader says how far.
    """
    network = started()
    network.propose("a", b"x")
    network.settle()
    network.crash("b")
    network.restart("b")
    assert network["b"].commit_index == 0
    assert network["b"].role == Follower(None)
    assert network.commands("b") == []
    network.run(network.timing.heartbeat_interval)
    assert network.commands("b") == [b"x"]


def test_the_whole_cluster_restarts_at_once() -> None:
    """
    All that was committed survives a restart of all.

    Everything that was committed is there afterwards, and is applied when the new
    leader has committed its no-op.
    """
    network = started()
    for n in range(10):
        network.propose("a", b"%d" % n)
    network.settle()
    for id_ in "abc":
        network.crash(id_)
    for id_ in "abc":
        network.restart(id_)
    network.run_until(lambda: network.leader is not None)
    network.run(5)
    for id_ in "abc":
        assert network.commands(id_) == [b"%d" % n for n in range(10)]


def test_the_whole_cluster_loses_every_unsaved_write() -> None:
    """
    What was answered is on the disks of a majority, whatever else their memories held.
    """
    network = started("abcde")
    network.propose("a", b"answered")
    network.settle()
    slow(network, *"abcde")
    for n in range(5):
        network.propose("a", b"%d" % n)
        network.settle()
    assert network.commands("a") == [b"answered"]
    for id_ in "abcde":
        network.crash(id_)
    for id_ in "abcde":
        network.nodes[id_].has_slow_disk = False
        network.restart(id_)
    network.run_until(lambda: network.leader is not None)
    network.run(5)
    assert network.commands("c") == [b"answered"]


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("victims", ["b", "bc", "abc"])
def test_a_crash_while_a_conflict_is_resolved(written: bool, victims: str) -> None:
    """
    Entries are replaced on disk at once or not at all.

    A follower that dies while entries of its own are being replaced has either all of
    the old ones or all of the new ones.
    """
    network = Network.with_logs(
        {"a": [1, 2, 4, 4], "b": [1, 2, 3, 3, 3], "c": [1, 2, 3]}
    )
    network.campaign("a")
    network.deliver_until(lambda: network.leader is not None)
    slow(network, "a", "b", "c")
    network.settle()
    assert network.nodes["b"].saving is not None
    for victim in victims:
        network.crash(victim, written=written)
    b = [entry.term for entry in network.nodes["b"].entries]
    assert b == ([1, 2, 4, 4] if written else [1, 2, 3, 3, 3]) or b == [1, 2, 4, 4, 5]
    for node in network.nodes.values():
        node.has_slow_disk = False
        if node.saving is not None:
            network.finish_save(node.server_id)
        if node.core is None:
            network.restart(node.server_id)
    network.run_until(lambda: network.leader is not None)
    network.run(10)
    assert len({tuple(log) for log in network.logs().values()}) == 1
    assert network.logs()["a"][:4] == [1, 2, 4, 4]


def test_an_answer_waits_for_the_save_after_the_one_under_way() -> None:
    """
    What comes while the disk is busy waits for a write of its own.
    """
    network = started("ab")
    slow(network, "b")
    network.propose("a", b"x")
    network.settle()
    network.tick("a", network.timing.heartbeat_interval)
    network.propose("a", b"y")
    network.settle()
    node = network.nodes["b"]
    assert len(node.held_by_save) == 1
    assert len(node.held) == 1
    network.finish_save("b")
    # The heartbeat's answer has nothing to wait for any more.
    assert [m.response for m in network.waiting("b")] == [
        AppendEntriesResponse(2, True),
        AppendEntriesResponse(2, True),
    ]
    network.settle()
    assert [m.call.request for m, _ in node.held_by_save] == [
        AppendEntries(2, "a", 3, 2, network["a"].log.between(4, 4), 3)
    ]
    network.finish_save("b")
    network.settle()
    assert network["a"].commit_index == 4

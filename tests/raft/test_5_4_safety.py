"""
Raft 5.4: who may lead, and what counts as committed.
"""

from __future__ import annotations

from random import Random

import pytest

from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestVote,
    RequestVoteResponse,
)
from hraftd.raft.ready import Timing
from tests.raft.network import Message, Network, lead, save, server, terms


@pytest.mark.parametrize(
    ("mine", "last", "granted"),
    [
        ((1, 1), (2, 1), True),
        ((1, 1), (3, 1), True),
        ((1, 1), (1, 1), False),
        ((1, 1), (1, 2), True),
        ((1, 2), (9, 1), False),
        ((1,), (0, 0), False),
    ],
)
def test_the_newer_log_wins(
    mine: tuple[int, ...], last: tuple[int, int], granted: bool
) -> None:
    """
    Nobody votes for a log that is behind its own.

    "The voter denies its vote if its own log is more up-to-date than that of the
    candidate" (5.4.1).
    """
    core = server(log=mine, term=3)
    answer = core.handle(RequestVote(4, "b", *last))
    assert answer == RequestVoteResponse(4, granted)
    assert core.voted_for == ("b" if granted else None)


def test_the_newer_log_wins_elections() -> None:
    """
    A server that lacks committed entries is never elected (5.4.1).
    """
    network = Network.with_logs({"a": (1, 1), "b": (1, 1), "c": (1,)})
    network.isolate("b")
    with pytest.raises(AssertionError, match="c was not elected"):
        network.elect("c")
    network.elect("a")
    assert network.logs()["c"][:2] == [1, 1]


def figure_8_c() -> Network:
    """
    Return the cluster of figure 8 (c): S1 leads term 4, index 2 is on a majority.

    Entries go one by one here, and its own first entry has reached nobody.
    """
    network = Network.with_logs(
        {"1": (1, 2), "2": (1, 2), "3": (1,), "4": (1,), "5": (1, 3)},
        terms=dict.fromkeys("12345", 3),
        timing=Timing(max_append_bytes=1),
    )
    network.crash("5")
    network.elect_quietly("1", lambda message: _has_entry_of_term(message, 4))
    assert network.logs() == {"1": [1, 2, 4], "2": [1, 2], "3": [1, 2], "4": [1, 2]}
    return network


def _has_entry_of_term(message: Message, term: int) -> bool:
    request = message.call.request
    return (
        isinstance(request, AppendEntries)
        and message.response is None
        and any(entry.term == term for entry in request.entries)
    )


def test_pysyncobj_169_entries_of_older_terms_are_not_counted() -> None:
    """
    Entries of older terms are not committed by counting (PySyncObj 169).

    "Raft never commits log entries from previous terms by counting replicas" (5.4.2):
    S1 of figure 8 has index 2 on a majority and does not commit it (PySyncObj 169).
    """
    network = figure_8_c()
    assert {id_: network["1"].match_index(id_) for id_ in "1234"} == {
        "1": 3,
        "2": 2,
        "3": 2,
        "4": 2,
    }
    assert network["1"].commit_index == 0
    assert network.nodes["1"].applied == []


def test_figure_8_d_what_is_not_committed_can_be_replaced() -> None:
    """
    Figure 8 (d): what is on a majority can still be lost.

    "If S1 crashes as in (d), S5 could be elected leader (with votes from S2, S3, and
    S4) and overwrite the entry with its own entry from term 3" (figure 8).
    """
    network = figure_8_c()
    network.crash("1")
    network.in_transit.clear()
    network.restart("5")
    network.elect("5")
    network.run(10)
    assert {tuple(log) for log in network.logs().values()} == {(1, 3, 5)}
    assert network["5"].commit_index == 3


def test_figure_8_e_an_entry_of_the_own_term_commits_those_before_it() -> None:
    """
    Figure 8 (e): an entry of the own term commits those before it.

    "However, if S1 replicates an entry from its current term on a majority of the
    servers before crashing, as in (e), then this entry is committed (S5 cannot win an
    election)".
    """
    network = figure_8_c()
    for to in "23":
        [message] = [m for m in network.waiting("1", to) if _has_entry_of_term(m, 4)]
        network.deliver(message)
        [answer] = network.waiting(to, "1")
        network.deliver(answer)
    assert network["1"].commit_index == 3
    network.crash("1")
    network.restart("5")
    with pytest.raises(AssertionError, match="5 was not elected"):
        network.elect("5")
    network.elect("2")
    network.settle()
    network.run(5)
    assert {tuple(log[:3]) for log in network.logs().values()} == {(1, 2, 4)}


@pytest.mark.parametrize(
    ("voters", "needed"), [("ab", 1), ("abc", 1), ("abcd", 2), ("abcde", 2)]
)
def test_a_majority_commits(voters: str, needed: int) -> None:
    """
    A majority commits, and less does not.

    "A log entry is committed once the leader that created the entry has replicated it
    on a majority of the servers" (5.3).
    """
    core = server(voters=voters)
    answers = 0
    for probe in lead(core):
        core.response_received(probe, AppendEntriesResponse(2, True))
        for call in save(core).early_calls:
            if not call.request.entries:
                continue
            assert core.commit_index == (2 if answers >= needed else 0)
            core.response_received(call, AppendEntriesResponse(2, True))
            answers += 1
            assert core.commit_index == (2 if answers >= needed else 0)


def test_hashicorp_163a55f_half_of_an_even_cluster_commits_nothing() -> None:
    """
    Two of four are no majority (hashicorp 163a55f).

    In a cluster of four, two are no majority (hashicorp 163a55f): the other two could
    elect a leader that has never heard of the entry.
    """
    network = Network.of("abcd")
    network.elect("a")
    network.settle()
    network.partition("ab", "cd")
    network.propose("a", b"x")
    network.settle()
    assert network["a"].match_index("b") == 3
    assert network["a"].commit_index == 2
    network.heal()
    network.partition("abc", "d")
    network.run(network.timing.heartbeat_interval)
    assert network["a"].commit_index == 3


def test_ccf_only_what_a_voter_accepted_is_counted_for_it() -> None:
    """
    Only what a voter accepted is counted for it (the CCF paper's three bugs).

    No commitment on a refusal, none by the wrong quorum, and none by an answer that is
    taken for more than was asked (the three bugs of the CCF paper).
    """
    # A refusal says nothing of what the follower has, whatever it names.
    core = server(log=(1, 1))
    to_b, to_c = lead(core)
    core.response_received(to_b, AppendEntriesResponse(2, False, 1, 1))
    core.response_received(to_c, AppendEntriesResponse(2, False, 0, 3))
    assert core.match_index("b") == core.match_index("c") == 0
    assert core.commit_index == 0

    # Those without a vote are no part of a majority.
    network = Network.of("abc")
    for learner in "xy":
        network.begin(learner)
    network.elect("a")
    network.settle()
    network.add_server("a", "x")
    network.isolate("b")
    network.isolate("c")
    network.settle()
    assert network["a"].match_index("x") == 3
    assert network["a"].commit_index == 2

    # A follower says yes to what was asked; what else it holds nobody has compared.
    core = server(log=(1, 1), voters="ab")
    core.handle(RequestVote(3, "b", 9, 2))
    save(core)
    for _ in range(2 * core.timing.election_timeout):
        core.tick()
    [probe] = lead(core)
    core.propose(b"x")
    save(core)
    core.response_received(probe, AppendEntriesResponse(core.current_term, True))
    assert probe.request.prev_log_index == 2
    assert core.log.last_index == 4
    assert core.match_index("b") == 2
    assert core.commit_index == 0


def test_a_leader_never_changes_its_own_log() -> None:
    """
    A leader's log only grows.

    "A leader never overwrites or deletes entries in its log; it only appends new
    entries" (figure 3), whatever its followers say.
    """
    core = server(log=(1, 1, 2))
    to_b, to_c = lead(core)
    before = core.log.between(1, core.log.last_index)
    core.response_received(to_b, AppendEntriesResponse(3, False, 2, 1))
    core.handle(RequestVote(9, "b", 9, 9))
    core.handle(AppendEntries(2, "c", 1, 1, (), 9))
    core.call_failed(to_c)
    core.propose(b"x")
    assert core.log.between(1, len(before)) == before


def test_a_new_leader_does_not_know_yet_what_is_committed() -> None:
    """
    A new leader holds all that is committed, and does not know it yet.

    What its predecessor committed it holds, and learns that it is committed with its
    own no-op (5.4.2, 8).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.propose("a", b"x")
    network.deliver_until(lambda: network["a"].commit_index == 3)
    network.crash("a")
    network.in_transit.clear()
    network.lapse("b", "c")
    assert network["b"].commit_index == network["c"].commit_index == 2
    network.elect("b")
    network.settle()
    assert network["b"].commit_index == 4
    assert network.commands("b") == network.commands("c") == [b"x"]


def test_figure_8_on_an_unreliable_network() -> None:
    """
    What was committed stays, whoever crashes (MIT 2C).

    Leaders that crash right after they proposed, again and again, over a network that
    loses and reorders: what was committed stays (MIT 2C).
    """
    rng = Random(8)
    network = Network.of("abcde", seed=8)
    network.choose = rng.choice
    for number in range(60):
        network.run_until(lambda: network.leader is not None)
        leader = network.leader
        assert leader is not None
        network.propose(leader, b"%d" % number)
        for _ in range(rng.randrange(25)):
            waiting = network.in_transit
            if waiting and rng.random() < 0.2:
                network.lose(rng.choice(waiting))
            elif waiting:
                network.deliver(rng.choice(waiting))
        if rng.random() < 0.6:
            network.crash(leader)
        down = [node.server_id for node in network.nodes.values() if not node.core]
        if len(down) > 2:
            network.restart(rng.choice(down))
    for node in network.nodes.values():
        if node.core is None:
            network.restart(node.server_id)
    network.run(120)
    assert len({tuple(network.commands(id_)) for id_ in "abcde"}) == 1
    assert len(network.observer.leaders) > 10
    network.check()


def test_long_divergence_and_equal_suffixes() -> None:
    """
    Index and term tell entries apart (suffix collisions, CCF).

    Logs that were apart for long, and entries that look alike at other indexes, are
    told apart by index and term (suffix collisions, CCF).
    """
    network = Network.with_logs(
        {
            "a": [1] + [2] * 30 + [5] * 3,
            "b": [1] + [3] * 60,
            "c": [1] + [2] * 10 + [4] * 50,
        }
    )
    network.elect("a")
    network.run(10)
    assert {tuple(log) for log in network.logs().values()} == {
        tuple([1] + [2] * 30 + [5] * 3 + [6])
    }
    assert terms(network["c"]) == terms(network["a"])

"""
Raft 6 in the form of dissertation chapter 4: servers are added one at a time.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.raft.configuration import Configuration, MembershipConflict
from hraftd.raft.errors import ChangeInProgress, NotLeader
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    RequestVote,
)
from hraftd.raft.roles import Follower
from tests.raft.network import Network, entries, lead, member, save, server, terms


def started(voters: str = "abc", *newcomers: str) -> Network:
    """
    Return a cluster that ``a`` leads, and servers that wait to be added.
    """
    network = Network.of(voters)
    for newcomer in newcomers:
        network.begin(newcomer)
    network.elect("a")
    network.settle()
    return network


def voters(network: Network, server_id: str) -> str:
    """
    Return the ids of the voters that a server counts on.
    """
    return "".join(one.id for one in network[server_id].configuration.voters)


def test_a_server_is_added() -> None:
    """
    A newcomer becomes a learner, then a voter.

    A learner first, a voter once it has caught up (4.2.1), and then part of every
    majority.
    """
    network = started("abc", "d")
    network.propose("a", b"x")
    network.add_server("a", "d")
    assert network["a"].configuration.learners == (network["a"].configuration.get("d"),)
    network.settle()
    assert voters(network, "a") == "abcd"
    assert {voters(network, id_) for id_ in "abcd"} == {"abcd"}
    assert network.commands("d") == [b"x"]
    assert network.logs()["d"] == network.logs()["a"]
    network.partition("ad", "bc")
    network.propose("a", b"y")
    network.run(2)
    assert network.commands("a") == [b"x"], "two of four are no majority"


def test_a_cluster_grows_from_one_to_five_while_it_works() -> None:
    """
    The walkthrough: one server, others added one by one, and writes all the time.
    """
    network = Network()
    network.bootstrap("a")
    network.tick("a")
    for number, newcomer in enumerate("bcde"):
        network.propose("a", b"before %d" % number)
        network.begin(newcomer)
        network.add_server("a", newcomer)
        network.propose("a", b"during %d" % number)
        network.settle()
    network.run(1)
    assert voters(network, "a") == "abcde"
    assert {tuple(network.commands(id_)) for id_ in "abcde"} == {
        tuple(network.commands("a"))
    }
    assert len(network.commands("a")) == 8
    network.crash("a")
    network.crash("b")
    network.run_until(lambda: network.leader is not None)
    network.check()


def test_a_configuration_is_in_force_when_it_is_appended() -> None:
    """
    Nobody waits for a configuration to be committed.

    "The new configuration takes effect on each server as soon as it is added to that
    server's log" (4.1), committed or not.
    """
    core = server()
    newer = core.configuration.with_learner(member("d"))
    core.handle(AppendEntries(1, "b", 1, 1, (Entry(2, 1, newer),), 0))
    assert core.commit_index == 0
    assert core.configuration == newer
    leader = server()
    lead(leader)
    leader.response_received(
        leader.role.progress["b"].in_flight, AppendEntriesResponse(2, True)
    )
    for call in save(leader).early_calls:
        leader.response_received(call, AppendEntriesResponse(2, True))
    entry = leader.add_server(member("d"))
    assert leader.configuration is entry.payload
    assert leader.match_index("d") == 0
    assert "d" in {call.to for call in save(leader).early_calls}


def test_ongaro_2015_no_change_before_an_entry_of_the_term_is_committed() -> None:
    """
    A term's first commitment comes before any change (Ongaro, raft-dev 2015).

    A new leader may hold an unfinished change of an earlier one. To begin another
    before it has committed in its own term can make two disjoint majorities (Ongaro,
    raft-dev 2015).
    """
    core = server()
    # It has learned that all it holds is committed, from the leader before.
    core.handle(AppendEntries(1, "b", 1, 1, (), 1))
    calls = lead(core)
    assert core.commit_index == core.log.configuration_index == 1
    with pytest.raises(ChangeInProgress):
        core.add_server(member("d"))
    with pytest.raises(ChangeInProgress):
        core.check_addition(member("d"))
    core.response_received(calls[0], AppendEntriesResponse(2, True))
    with pytest.raises(ChangeInProgress):
        core.add_server(member("d"))
    assert core.log.last_index == 2
    for call in save(core).early_calls:
        core.response_received(call, AppendEntriesResponse(2, True))
    assert core.commit_index == 2
    core.check_addition(member("d"))
    assert core.log.last_index == 2
    core.add_server(member("d"))


def test_camunda_57393_a_configuration_goes_with_its_entry() -> None:
    """
    A configuration is rolled back with its entry (camunda 57393).

    A configuration whose entry is replaced is in force no more (camunda 57393), nor is
    it for votes, calls and commitment: what counts is the latest that the log still
    holds.
    """
    network = started("abc", "d")
    before = network["a"].configuration
    network.isolate("a")
    network.add_server("a", "d")
    assert network["a"].configuration != before
    network.elect("b")
    network.settle()
    network.heal()
    network.run(10)
    assert network["a"].role == Follower("b")
    assert network["a"].configuration == before
    assert {voters(network, id_) for id_ in "abc"} == {"abc"}
    assert network["a"].configuration.get("d") is None
    network.elect("a")
    assert network["a"].configuration == before
    assert not network.waiting("a", "d")


def test_scylla_30936_one_change_at_a_time() -> None:
    """
    While a change is not committed no other begins (Scylla 30936).

    While a change is not committed no other begins (Scylla 30936): two at once can make
    two majorities that do not overlap (4.1).
    """
    network = started("abc", "d", "e")
    network.partition("ade", "bc")
    network.add_server("a", "d")
    network.settle()
    for _ in range(2):
        with pytest.raises(ChangeInProgress):
            network.add_server("a", "e")
    assert network["a"].configuration.get("e") is None
    assert network["a"].configuration.learners[0].id == "d", "it waits to be promoted"
    network.heal()
    network.run(network.timing.heartbeat_interval)
    assert voters(network, "a") == "abcd"
    network.add_server("a", "e")
    network.settle()
    assert voters(network, "a") == "abcde"


def test_an_address_where_nobody_answers_costs_no_quorum() -> None:
    """
    A learner that never answers stays one (4.2.1): the cluster works as it did.
    """
    network = started("ab")
    network.begin("d")
    network.crash("d")
    network.add_server("a", "d")
    network.run(10 * network.timing.election_timeout)
    assert voters(network, "a") == "ab"
    network.propose("a", b"x")
    network.settle()
    assert network.commands("a") == network.commands("b") == [b"x"]
    # When it comes up at last it is let in.
    network.restart("d")
    network.run(3 * network.timing.heartbeat_interval)
    assert voters(network, "d") == "abd"


def test_a_learner_does_not_count() -> None:
    """
    A learner is no part of a majority.

    "The leader replicates entries to it, but it is not yet counted towards majorities
    for voting or commitment purposes" (4.2.1).
    """
    network = started("abc", "d")
    network.partition("ad", "bc")
    network.add_server("a", "d")
    network.settle()
    assert network["a"].match_index("d") == 3
    assert network["a"].commit_index == 2
    assert all(message.call.to != "d" for message in network.in_transit)
    network.lapse("b", "c", "d")
    network.campaign("b")
    assert {m.call.to for m in network.waiting("b")} == {"a", "c"}


def test_a_learner_does_not_campaign() -> None:
    """
    Only who has a vote stands for election (4.2.1).
    """
    configuration = entries((1,), "abc")[0].payload
    assert isinstance(configuration, Configuration)
    core = server("d", voters="abc")
    learner = configuration.with_learner(member("d"))
    core.handle(AppendEntries(1, "a", 1, 1, (Entry(2, 1, learner),), 0))
    for _ in range(5 * core.timing.election_timeout):
        core.tick()
    assert core.role == Follower("a")
    assert core.current_term == 1


def test_a_learner_votes_if_it_is_asked() -> None:
    """
    Who asks for a vote knows why.

    "Servers process incoming RPC requests without consulting their current
    configurations" (4.1): it may have been promoted without knowing it yet.
    """
    core = server("d", voters="abc")
    assert core.handle(RequestVote(5, "x", 1, 1)).vote_granted


def test_a_newcomer_is_promoted_after_a_short_round_only() -> None:
    """
    A newcomer that is far behind does not vote yet.

    "If the last round lasts less than an election timeout, then the leader adds the new
    server to the cluster" (4.2.1); otherwise there is another round.
    """
    core = server()
    for call in lead(core):
        core.response_received(call, AppendEntriesResponse(2, True))
    for call in save(core).early_calls:
        core.response_received(call, AppendEntriesResponse(2, True))
    save(core)
    core.add_server(member("d"))
    probe, *others = sorted(
        save(core).early_calls, key=lambda call: call.to, reverse=True
    )
    for call in others:
        core.response_received(call, AppendEntriesResponse(2, True))
    core.response_received(probe, AppendEntriesResponse(2, False, 0, 1))
    [probe] = [call for call in save(core).early_calls if call.to == "d"]
    core.response_received(probe, AppendEntriesResponse(2, True))
    [long] = [call for call in save(core).early_calls if call.to == "d"]
    for _ in range(core.timing.election_timeout + 5):
        core.tick()
        for call in save(core).early_calls:
            if call.to != "d":
                core.response_received(call, AppendEntriesResponse(2, True))
    core.propose(b"x")
    core.response_received(long, AppendEntriesResponse(2, True))
    assert core.match_index("d") == 3
    assert not core.configuration.is_voter("d"), "the first round took too long"
    [short] = [call for call in save(core).early_calls if call.to == "d"]
    core.response_received(short, AppendEntriesResponse(2, True))
    assert core.match_index("d") == 4
    assert core.configuration.is_voter("d")


def test_a_newcomer_that_falls_silent_is_not_promoted() -> None:
    """
    A round ends with an answer of the newcomer itself.

    That the others go on answering shows nothing about it: as a voter it would cost a
    majority one of its servers.
    """
    network = started("abc", "d")
    network.cut_links |= {("a", "d"), ("d", "a")}
    network.add_server("a", "d")
    network.run(2 * network.timing.election_timeout)
    assert not network["a"].configuration.is_voter("d")
    # It gets everything, too late for the round to count, and dies.
    network.heal()
    network.tick_until("a", lambda: bool(network.in_transit))
    network.deliver_until(
        lambda: network["a"].match_index("d") == network["a"].log.last_index
    )
    assert not network["a"].configuration.is_voter("d"), "the round took too long"
    network.crash("d")
    network.run(2 * network.timing.election_timeout)
    assert voters(network, "a") == "abc"


def test_a_new_leader_goes_on_with_an_addition() -> None:
    """
    The learner is in the configuration: whoever leads brings it up and promotes it.
    """
    network = started("abc", "d")
    network.isolate("d")
    network.add_server("a", "d")
    network.settle()
    network.crash("a")
    network.elect("b")
    network.settle()
    network.heal()
    network.run(2 * network.timing.heartbeat_interval)
    assert voters(network, "b") == "abcd"
    assert voters(network, "d") == "abcd"


def test_a_change_in_a_partition_without_a_majority_is_given_up() -> None:
    """
    It is committed by nobody, and the other side decides what happens.
    """
    network = started("abc", "d", "e")
    network.partition("ad", "bce")
    network.add_server("a", "d")
    network.settle()
    network.elect("b")
    network.settle()
    network.add_server("b", "e")
    network.settle()
    network.heal()
    network.run(10)
    assert {voters(network, id_) for id_ in "abce"} == {"abce"}
    network.check()


def test_a_leader_that_dies_in_the_middle_of_an_addition() -> None:
    """
    An addition happens or does not, and all agree which.

    At each moment of it: either the change is finished by the next leader, or it is not
    there; and all agree which.
    """
    outcomes = set()
    for deliveries in range(40):
        network = started("abc", "d")
        network.add_server("a", "d")
        for _ in range(deliveries):
            if network.in_transit:
                network.deliver(network.in_transit[0])
        network.crash("a")
        network.in_transit.clear()
        network.lapse("b", "c")
        network.run_until(lambda network=network: network.leader is not None)
        network.run(20)
        leader = network.leader
        assert leader is not None
        outcomes.add(voters(network, leader))
        assert {voters(network, id_) for id_ in "bc"} == {voters(network, leader)}
        network.check()
    assert outcomes == {"abc", "abcd"}


def test_nobody_is_added_twice() -> None:
    """
    The same id, or one of its addresses, again is a conflict and not a change.
    """
    network = started("abc", "d")
    log = network.logs()["a"]
    with pytest.raises(MembershipConflict, match="b is a member already"):
        network["a"].add_server(member("b"))
    with pytest.raises(MembershipConflict, match="b:12000 belongs to b"):
        network["a"].add_server(evolve(member("x"), raft="b:12000"))
    network.add_server("a", "d")
    with pytest.raises(MembershipConflict, match="d is a member already"):
        network.add_server("a", "d")
    assert len(network.logs()["a"]) == len(log) + 1


def test_only_the_leader_changes_the_cluster() -> None:
    """
    Others name the leader.
    """
    network = started("abc", "d")
    with pytest.raises(NotLeader) as refusal:
        network["b"].check_addition(member("d"))
    assert refusal.value.leader == member("a")


def test_a_learner_that_joins_with_a_higher_term() -> None:
    """
    A newcomer of a later term costs an election and no more (hashicorp).

    Its term makes the leader step down once; then the cluster goes on, with it
    (hashicorp).
    """
    network = started("abc", "d")
    network.crash("d")
    network.nodes["d"].hard_state = HardState(7, None)
    network.observer._disks["d"].hard_state = HardState(7, None)
    network.restart("d")
    network.add_server("a", "d")
    network.run(5 * network.timing.election_timeout)
    leader = network.leader
    assert leader is not None
    assert network[leader].current_term > 7
    assert voters(network, leader) in ("abcd", "abc")
    assert terms(network["b"]) == terms(network["c"])
    network.check()


def test_a_restart_brings_back_the_configuration_in_the_log() -> None:
    """
    The latest in the log, committed or not, as before (4.1).
    """
    network = started("abc", "d")
    network.add_server("a", "d")
    network.settle()
    for id_ in "abcd":
        network.crash(id_)
    for id_ in "abcd":
        network.restart(id_)
        assert voters(network, id_) == "abcd"
    network.run_until(lambda: network.leader is not None)

"""
Raft 6 in the form of dissertation chapter 4: members change one at a time.

Servers are added, move, and get or give up their votes here; how they are removed is in
``test_diss_4_2_removal.py``.
"""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve

from hraftd.raft.configuration import Configuration, MembershipConflict, Suffrage
from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.errors import ChangeInProgress, NotLeader
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    NoOp,
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
    newer = core.configuration.with_server(member("d"))
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
    assert entry is not None
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
        core.remove_server("c")
    with pytest.raises(ChangeInProgress):
        core.check_leader().check_change()
    core.response_received(calls[0], AppendEntriesResponse(2, True))
    with pytest.raises(ChangeInProgress):
        core.add_server(member("d"))
    assert core.log.last_index == 2
    for call in save(core).early_calls:
        core.response_received(call, AppendEntriesResponse(2, True))
    assert core.commit_index == 2
    core.check_leader().check_change()
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

    When its leader is silent it names nobody any more, and goes on waiting.
    """
    configuration = entries((1,), "abc")[0].payload
    assert isinstance(configuration, Configuration)
    core = server("d", voters="abc")
    learner = configuration.with_server(member("d"))
    core.handle(AppendEntries(1, "a", 1, 1, (Entry(2, 1, learner),), 0))
    for _ in range(core.timing.election_timeout):
        core.tick()
        assert core.role == Follower("a")
    for _ in range(5 * core.timing.election_timeout):
        core.tick()
        assert isinstance(core.role, Follower)
    assert core.role == Follower(None)
    assert save(core).calls == ()
    assert core.current_term == 1


def test_a_learner_votes_if_it_is_asked() -> None:
    """
    Who asks for a vote knows why.

    "Servers process incoming RPC requests without consulting their current
    configurations" (4.1): it may have been promoted without knowing it yet.
    """
    core = server("d", voters="abc")
    learner = core.configuration.with_server(member("d"))
    core.handle(AppendEntries(1, "a", 1, 1, (Entry(2, 1, learner),), 2))
    save(core)
    for _ in range(core.timing.election_timeout):
        core.tick()
    assert core.handle(RequestVote(5, "x", 2, 1)).vote_granted


def test_who_is_no_member_as_far_as_it_knows_gives_no_vote() -> None:
    """
    One that was removed, and comes back under its name with an empty disk.

    To c, which has not heard of the removal, it is still a voter: with its vote c would
    lead beside the majority that has removed it, and a log would be overwritten.
    """
    core = server("b", (), voters="")
    for pre_vote in (True, False):
        assert not core.handle(RequestVote(5, "c", 1, 1, pre_vote)).vote_granted
    assert not save(core).must_save
    # With its data it has the entry that let it in, and votes as the logs allow.
    removed = server("b", (1,), voters="abc")
    removal = removed.configuration.without("b")
    removed.handle(AppendEntries(1, "a", 1, 1, (Entry(2, 1, removal),), 1))
    save(removed)
    for _ in range(removed.timing.election_timeout):
        removed.tick()
    assert removed.handle(RequestVote(5, "c", 2, 1)).vote_granted


@pytest.mark.parametrize("restarts", [False, True])
def test_who_begins_with_nothing_does_not_go_by_what_is_long_over(
    restarts: bool,
) -> None:
    """
    A former only voter comes back under its name, empty, and is sent the log again.

    By the first entry of that it would be the only voter, and elect itself.
    """
    core = server("a", (), voters="")
    first = Entry(1, 1, Configuration((member("a"),)))
    assert core.handle(AppendEntries(7, "b", 9, 7, (), 8)).success is False
    assert core.handle(AppendEntries(7, "b", 0, 0, (first,), 8)).success
    ready = save(core)
    assert ready.hard_state == HardState(7, None, 8)
    if restarts:
        core = ConsensusModule("a", ready.hard_state, Log((first,)), Random(0))
    for _ in range(5 * core.timing.election_timeout):
        core.tick()
        save(core)
    assert (core.current_term, core.led_term) == (7, None)
    assert not core.handle(RequestVote(8, "c", 20, 7)).vote_granted
    # What was committed by then has come, and says that it votes.
    others = tuple(Entry(index, 7, NoOp()) for index in range(2, 9))
    assert core.handle(AppendEntries(8, "c", 1, 1, others, 8)).success
    save(core)
    for _ in range(5 * core.timing.election_timeout):
        core.tick()
        save(core)
    assert core.led_term is not None


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
    for _ in range(core.timing.heartbeat_interval):
        core.tick()
    for call in save(core).early_calls:
        core.response_received(call, AppendEntriesResponse(2, True))
    assert not core.configuration.is_voter("d"), "the next round goes further"
    core.response_received(short, AppendEntriesResponse(2, True))
    assert core.match_index("d") == 4
    assert core.configuration.is_voter("d")


def test_a_newcomer_is_promoted_with_what_was_there_when_it_first_answered() -> None:
    """
    Not only with what was there when it was added: it may have been down for long.

    Otherwise its vote, which it gives only from then on, could be needed too early.
    """
    network = started("abc", "d")
    network.cut_links |= {("a", "d"), ("d", "a")}
    network.add_server("a", "d")
    for _ in range(5):
        network.propose("a", b"x")
    network.settle()
    network.heal()
    network.tick_until("a", lambda: bool(network.in_transit))
    network.deliver_until(lambda: network["a"].configuration.is_voter("d"))
    d = network["d"]
    assert d.votes_from is not None
    assert network["a"].match_index("d") >= d.votes_from > 5


def test_a_newcomer_that_falls_silent_is_not_promoted() -> None:
    """
    A round ends with an answer of the newcomer itself.

    That the others go on answering shows nothing about it: as a voter it would cost a
    majority one of its servers.
    """
    network = started("abc", "d")
    network.add_server("a", "d")
    network.deliver_until(lambda: network["a"].ticks_since_contact("d") is not None)
    network.cut_links |= {("a", "d"), ("d", "a")}
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


def test_what_is_so_already_is_no_change() -> None:
    """
    A member that joins again, as it does at each start, costs no entry.

    Also before the first one has been committed: two that are the same are one.
    """
    network = started("abc", "d")
    log = network.logs()["a"]
    assert network["a"].add_server(member("b")) is None
    assert network["a"].add_server(evolve(member("b"), http="")) is None
    assert network.logs()["a"] == log
    network.add_server("a", "d")
    assert network["a"].add_server(member("d")) is None
    assert len(network.logs()["a"]) == len(log) + 1
    network.settle()
    assert voters(network, "a") == "abcd"
    assert network["a"].add_server(member("d")) is None


def test_an_address_belongs_to_one_member() -> None:
    """
    Two servers at one address would be one server that is counted twice.
    """
    network = started("abc")
    log = network.logs()["a"]
    with pytest.raises(MembershipConflict, match="b:12000 belongs to b"):
        network["a"].add_server(evolve(member("x"), raft="b:12000"))
    with pytest.raises(MembershipConflict, match="b:11000 belongs to b"):
        network["a"].add_server(evolve(member("c"), http="b:11000"))
    assert network.logs()["a"] == log


def test_only_the_leader_changes_the_cluster() -> None:
    """
    Others name the leader.
    """
    network = started("abc", "d")
    with pytest.raises(NotLeader) as refusal:
        network["b"].add_server(member("d"))
    assert refusal.value.leader == member("a")
    with pytest.raises(NotLeader) as refusal:
        network["b"].remove_server("c")
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


# Members that do not vote, and members that move.


def test_a_nonvoter_stays_one() -> None:
    """
    It has everything and counts for nothing, however long it is there.
    """
    network = started("abc", "d")
    network.add_server("a", member("d", Suffrage.NONVOTER))
    network.run(3 * network.timing.election_timeout)
    assert network["a"].configuration.get("d") == member("d", Suffrage.NONVOTER)
    network.propose("a", b"x")
    network.settle()
    assert network.commands("d") == [b"x"]
    network.partition("ad", "bc")
    network.propose("a", b"y")
    network.run(2)
    assert network["a"].match_index("d") == network["a"].log.last_index
    assert network.commands("a") == [b"x"]
    network.run_until(lambda: network.leader in ("b", "c"))
    for _ in range(3):
        assert not network.waiting("d")
        network.run(network.timing.election_timeout)
    assert network["d"].current_term == 2, "it never campaigns"


def test_a_nonvoter_becomes_a_voter() -> None:
    """
    If it is added again as one, it is a learner first, as a newcomer would be.
    """
    network = started("abc", "d")
    network.add_server("a", member("d", Suffrage.NONVOTER))
    network.settle()
    entry = network.add_server("a", "d")
    assert entry is not None
    assert isinstance(entry.payload, Configuration)
    assert entry.payload.get("d") == member("d", Suffrage.LEARNER)
    network.run(2 * network.timing.heartbeat_interval)
    assert {voters(network, id_) for id_ in "abcd"} == {"abcd"}


@pytest.mark.parametrize("first", [Suffrage.VOTER, Suffrage.LEARNER])
def test_a_member_gives_up_its_vote(first: Suffrage) -> None:
    """
    A voter, or a learner that would be one, becomes a nonvoter and stays it.
    """
    network = started("abc", "d")
    network.add_server("a", "d")
    if first is Suffrage.VOTER:
        network.settle()
        assert voters(network, "a") == "abcd"
    else:
        network.settle(lambda message: "d" in (message.source, message.destination))
        assert voters(network, "a") == "abc"
    network.add_server("a", member("d", Suffrage.NONVOTER))
    assert voters(network, "a") == "abc", "in force at once"
    network.run(3 * network.timing.election_timeout)
    assert network["d"].configuration.get("d") == member("d", Suffrage.NONVOTER)
    network.partition("ab", "cd")
    network.propose("a", b"x")
    network.run(2)
    assert network.commands("a") == [b"x"], "two of three are a majority"
    network.run(5 * network.timing.election_timeout)
    assert network["d"].current_term == 2, "it never campaigns"
    network.check()


def test_a_member_moves() -> None:
    """
    It keeps its vote and its log; who calls it is told the new address at once.
    """
    network = started("abc")
    moved = evolve(member("c"), raft="elsewhere:12000")
    match_index = network["a"].match_index("c")
    network.add_server("a", moved)
    assert moved in network.nodes["a"].servers, "the leader keeps a link to it"
    assert network["a"].match_index("c") == match_index
    network.settle()
    for id_ in "abc":
        assert network[id_].configuration.get("c") == moved
        assert moved in network.nodes[id_].servers
    network.elect("c")
    assert network["c"].led_term == 3


def test_a_leader_moves() -> None:
    """
    Itself, too, by an entry; it leads on.
    """
    network = started("abc")
    moved = evolve(member("a"), raft="elsewhere:12000", http="")
    network.add_server("a", moved)
    network.settle()
    assert network["a"].led_term == 2
    assert network["b"].configuration.get("a") == evolve(moved, http="a:11000")


def test_two_members_exchange_their_addresses_by_way_of_a_third() -> None:
    """
    An address is free once the move of the one that had it is in force.
    """
    network = started("abc")
    with pytest.raises(MembershipConflict):
        network.add_server("a", evolve(member("b"), raft="c:12000"))
    network.add_server("a", evolve(member("c"), raft="x:1"))
    network.settle()
    network.add_server("a", evolve(member("b"), raft="c:12000"))
    network.settle()
    network.add_server("a", evolve(member("c"), raft="b:12000"))
    network.settle()
    assert {one.id: one.raft for one in network["c"].configuration.servers} == {
        "a": "a:12000",
        "b": "c:12000",
        "c": "b:12000",
    }


def test_a_restart_goes_by_the_latest_configuration_whatever_the_snapshot_says() -> (
    None
):
    """
    A snapshot holds older members than the log behind it (PySyncObj 133).

    What is in force after a restart is the latest configuration in the log; only where
    there is none, the snapshot's (PySyncObj 133).
    """
    network = started("abc", "d")
    network.propose("a", b"x")
    network.settle()
    for id_ in "abc":
        network.take_snapshot(id_)
    network.add_server("a", "d")
    network.run(3 * network.timing.heartbeat_interval)
    assert voters(network, "b") == "abcd"
    for id_ in "abcd":
        network.crash(id_)
        network.restart(id_)
        assert voters(network, id_) == "abcd"
    network.run_until(lambda: network.leader is not None)
    assert voters(network, network.leader or "") == "abcd"


def test_a_newcomer_that_needs_a_snapshot() -> None:
    """
    It gets the leader's snapshot, and then it votes as any other.
    """
    network = started("abc", "d")
    for number in range(5):
        network.propose("a", b"%d" % number)
    network.settle()
    network.take_snapshot("a")
    network.add_server("a", "d")
    network.run(2 * network.timing.heartbeat_interval)
    assert network["d"].log.snapshot_index == 7
    assert {voters(network, id_) for id_ in "abcd"} == {"abcd"}
    assert network.commands("d") == [b"0", b"1", b"2", b"3", b"4"]
    network.partition("ad", "bc")
    network.propose("a", b"x")
    network.run(2)
    assert len(network.commands("a")) == 5, "two of four are no majority"

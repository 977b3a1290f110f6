"""
Dissertation 4.2.2 and 4.2.3: servers leave, the leader among them.

A leader that removes itself manages a cluster of which it is no part, until that is
committed. A server that was removed has to be told, or it campaigns for ever.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from hraftd.raft.configuration import Configuration, MembershipConflict, Suffrage
from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.errors import ChangeInProgress
from hraftd.raft.leader import FAREWELL_TIMEOUTS
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    NoOp,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from hraftd.raft.roles import Candidate, Follower, PreCandidate
from tests.raft.answers import accept, beat, converse, fail, lapse, leading
from tests.raft.network import Network, campaign, member, save, server, terms

if TYPE_CHECKING:
    from hraftd.raft.messages import Call


def configuration(voters: str) -> Configuration:
    """
    Return the configuration of these voters.
    """
    return Configuration(tuple(map(member, voters)))


def restarted(
    server_id: str, *configurations: Configuration, term: int = 1
) -> ConsensusModule:
    """
    Return a server that has just started with a log of these configurations.
    """
    log = [
        Entry(index, term, each) for index, each in enumerate(configurations, start=1)
    ]
    return ConsensusModule(
        server_id, HardState(term), Log(log), Random(server_id), None
    )


def to(calls: tuple[Call, ...], server_id: str) -> Call:
    """
    Return the one call of these that goes to that server.
    """
    [call] = [call for call in calls if call.to == server_id]
    return call


# Who leaves.


def test_a_server_is_removed() -> None:
    """
    It counts no more from the moment when the entry is appended (4.1).
    """
    core = leading("abcde")
    entry = core.remove_server("e")
    assert entry.payload == core.configuration == configuration("abcd")
    calls = save(core).early_calls
    accept(core, to(calls, "e"), to(calls, "b"))
    assert core.commit_index == 2, "the removed one is no part of the majority"
    accept(core, to(calls, "c"))
    assert core.commit_index == 3


def test_a_server_that_is_down_is_removed() -> None:
    """
    That is what makes a majority of fewer: afterwards one more may go down.
    """
    core = leading("abcd", silent="d")
    core.remove_server("d")
    converse(core, silent="d")
    core.propose(b"x")
    converse(core, silent="cd")
    assert core.commit_index == 4


def test_nobody_is_removed_who_is_not_there() -> None:
    """
    A removal that is asked for twice is done once; the log is as before.
    """
    core = leading("abcd")
    core.remove_server("d")
    converse(core)
    for stranger in ("d", "x", ""):
        with pytest.raises(KeyError):
            core.remove_server(stranger)
    assert core.log.last_index == 3


@pytest.mark.parametrize("how", ["remove", "demote"])
def test_the_only_voter_cannot_leave(how: str) -> None:
    """
    Nobody would be left who could ever commit anything, learners or not.
    """
    core = leading("ab")
    core.add_server(evolve(member("b"), suffrage=Suffrage.NONVOTER))
    converse(core)
    leave = {
        "remove": lambda: core.remove_server("a"),
        "demote": lambda: core.add_server(
            evolve(member("a"), suffrage=Suffrage.NONVOTER)
        ),
    }
    with pytest.raises(MembershipConflict, match="a is the only voter"):
        leave[how]()
    assert core.log.last_index == 3
    core.propose(b"x")
    assert core.led_term == 2


def test_a_learner_is_removed() -> None:
    """
    Also one that has never answered.
    """
    core = leading("abc")
    core.add_server(member("d"))
    converse(core, silent="d")
    core.remove_server("d")
    converse(core, silent="d")
    assert core.configuration == configuration("abc")
    assert core.commit_index == 4


@pytest.mark.parametrize("first", ["add", "remove", "demote", "move", "promote"])
@pytest.mark.parametrize("second", ["add", "remove", "demote", "move"])
def test_no_two_changes_at_once(first: str, second: str) -> None:
    """
    Whichever they are: the second waits until the first is committed (Scylla 30936).
    """
    changes = {
        "add": lambda: core.add_server(member("x")),
        "remove": lambda: core.remove_server("c"),
        "demote": lambda: core.add_server(
            evolve(member("d"), suffrage=Suffrage.NONVOTER)
        ),
        "move": lambda: core.add_server(evolve(member("e"), raft=f"{first}:1")),
    }
    core = leading("abcde")
    if first == "promote":
        core.add_server(member("n"))
        converse(core, silent="n")
        accept(core, *beat(core))
        assert core.configuration.is_voter("n")
    else:
        changes[first]()
        if first == "add":
            changes["add"] = lambda: core.add_server(member("y"))
        if first == "remove":
            changes["remove"] = lambda: core.remove_server("b")
        if first == "demote":
            changes["demote"] = lambda: core.add_server(member("d"))
        if first == "move":
            changes["move"] = lambda: core.add_server(member("e"))
    last_index = core.log.last_index
    with pytest.raises(ChangeInProgress):
        changes[second]()
    assert core.log.last_index == last_index
    converse(core, silent="nxy")
    assert core.commit_index == last_index
    changes[second]()
    assert core.log.last_index == last_index + 1


# The leader leaves.


def test_a_leader_that_removes_itself_leads_until_that_is_committed() -> None:
    """
    It "replicates log entries but does not count itself in majorities" (4.2.2).

    Then it tells who is furthest to take over, and steps down.
    """
    core = leading("abcd")
    core.remove_server("a")
    assert core.led_term == 2
    calls = save(core).early_calls
    assert {call.to for call in calls} == set("bcd")
    accept(core, to(calls, "c"))
    core.propose(b"x")
    assert core.commit_index == 2, "with itself that would be two of three"
    assert core.led_term == 2
    calls_then = save(core).early_calls
    accept(core, to(calls, "d"))
    assert core.commit_index == 3
    accept(core, to(calls_then, "c"))
    ready = save(core)
    assert [one.index for one in ready.committed] == [3]
    assert core.role == Follower(None)
    assert core.current_term == 2
    [now] = [c for c in ready.early_calls if isinstance(c.request, TimeoutNow)]
    assert (now.to, now.request) == ("c", TimeoutNow(2, "a"))
    # The news goes out before.
    news = [c for c in ready.early_calls if isinstance(c.request, AppendEntries)]
    assert {c.request.leader_commit for c in news} == {3}
    assert "d" in {call.to for call in news}


def test_a_leader_leaves_when_its_own_disk_has_its_removal() -> None:
    """
    Whatever was answered to those who waited has been applied here first.
    """
    core = leading()
    core.remove_server("a")
    saving = core.ready()
    accept(core, *saving.early_calls)
    assert core.commit_index == 3
    for _ in range(3):
        assert core.ready().committed == ()
        assert core.led_term == 2
    core.advance(saving)
    assert [entry.index for entry in core.ready().committed] == [3]
    assert core.led_term is None


def test_a_leader_that_demotes_itself_steps_down() -> None:
    """
    It stays a member, which follows and never campaigns.
    """
    core = leading()
    core.add_server(evolve(member("a"), suffrage=Suffrage.NONVOTER))
    [to_b, to_c] = save(core).early_calls
    accept(core, to_b)
    assert core.commit_index == 2
    assert core.led_term == 2
    accept(core, to_c)
    calls = save(core).early_calls
    assert [c.to for c in calls if isinstance(c.request, TimeoutNow)] == ["c"]
    assert core.role == Follower(None)
    for _ in range(5 * core.timing.election_timeout):
        core.tick()
        assert core.role == Follower(None)
    assert core.configuration.get("a") is not None


def test_a_leader_that_leaves_asks_nobody_who_is_silent() -> None:
    """
    An election timer will do, if of those that answer none has a vote any more.
    """
    core = leading("abc")
    core.remove_server("a")
    calls = save(core).early_calls
    for _ in range(core.timing.election_timeout - 1):
        core.tick()
        for call in save(core).early_calls:
            if call.to == "b":
                accept(core, call)
    core.tick()
    save(core)
    assert core.role == Follower(None), "a majority of b and c is both"
    core = leading("abc")
    core.remove_server("a")
    calls = save(core).early_calls
    accept(core, *calls)
    for _ in range(core.timing.election_timeout):
        core.now += 1
    ready = save(core)
    assert core.role == Follower(None)
    assert not [c for c in ready.early_calls if isinstance(c.request, TimeoutNow)]


def test_a_leader_that_left_does_not_campaign() -> None:
    """
    Nor is it asked, nor does it lead again.
    """
    core = leading()
    core.remove_server("a")
    converse(core)
    assert core.role == Follower(None)
    for _ in range(5 * core.timing.election_timeout):
        core.tick()
        assert core.role == Follower(None)
        assert save(core).calls == ()


# Who was removed is told.


def test_a_removed_server_is_told_and_then_let_go() -> None:
    """
    It gets the entry and the news that it is committed; after that nothing.

    Otherwise it "will no longer receive heartbeats, so it will time out and start new
    elections" (4.2.3), again and again.
    """
    core = leading()
    core.remove_server("c")
    ready = save(core)
    assert ready.servers is None, "c is still to be reached"
    to_b, to_c = ready.early_calls
    assert to_c.request.entries == core.log.between(3, 3)
    accept(core, to_c)
    ready = save(core)
    assert ready.early_calls == ready.early_calls[:0]
    assert ready.servers is None, "it has the entry, but nobody knows it committed"
    accept(core, to_b)
    ready = save(core)
    news = to(ready.early_calls, "c")
    assert news.request.leader_commit == 3
    assert ready.servers is None
    accept(core, news)
    ready = save(core)
    assert ready.servers == configuration("ab").servers
    assert {call.to for call in beat(core)} == {"b"}
    assert core.match_index("c") is None
    assert save(core).servers is None


def test_a_removed_server_is_told_by_heartbeats_too() -> None:
    """
    It may be away for a while; what it lacks is sent as to any other.
    """
    core = leading()
    core.remove_server("c")
    converse(core, silent="c")
    assert core.commit_index == 3
    lapse(core, silent="c")
    calls = beat(core)
    assert to(calls, "c").request.entries == ()
    accept(core, *calls)
    assert to(save(core).early_calls, "c").request.entries == core.log.between(3, 3)


def test_a_removed_server_that_is_gone_is_let_go() -> None:
    """
    After ten election timeouts nobody tries to tell it any more.
    """
    core = leading()
    core.remove_server("c")
    converse(core, silent="c")
    for _ in range(FAREWELL_TIMEOUTS * core.timing.election_timeout - 1):
        core.tick()
        ready = save(core)
        assert ready.servers is None
        for call in ready.early_calls:
            (fail if call.to == "c" else accept)(core, call)
        assert core.match_index("c") is not None
    core.tick()
    ready = save(core)
    assert ready.servers == configuration("ab").servers
    assert not [call for call in ready.early_calls if call.to == "c"]
    assert core.led_term == 2


def test_an_old_answer_does_not_let_it_go() -> None:
    """
    It knows that it was removed when it has that entry, committed; not before.
    """
    core = leading()
    before = beat(core)
    core.remove_server("c")
    converse(core, silent="c")
    accept(core, to(before, "c"))
    assert core.match_index("c") is not None
    # c has the entry, from a request that did not say that it is committed.
    core = leading()
    core.remove_server("c")
    to_b, to_c = save(core).early_calls
    accept(core, to_b, to_c)
    assert core.commit_index == 3
    assert core.match_index("c") == 3, "it is still there"
    # c knows that all is committed, of a log that ends before the entry.
    core = leading()
    core.remove_server("c")
    converse(core, silent="c")
    news = to(beat(core), "c")
    assert news.request.leader_commit == 3
    core.response_received(news, AppendEntriesResponse(2, True))
    assert core.match_index("c") is not None


def test_a_server_that_comes_back_is_a_new_one() -> None:
    """
    Who was removed may have lost its disk; what it once had says nothing.

    Whether it was told in between or not.
    """
    for silent in ("", "c"):
        core = leading()
        core.remove_server("c")
        converse(core, silent=silent)
        assert core.match_index("c") == (2 if silent else None)
        core.add_server(member("c"))
        assert core.match_index("c") == 0
        learner = core.configuration.get("c")
        assert learner is not None
        assert learner.suffrage is Suffrage.LEARNER
        calls = save(core).early_calls
        assert to(calls, "c").request.entries == (), "it is asked what it has"
        accept(core, to(calls, "b"))
        fail(core, to(calls, "c"))
        converse(core, silent="c")
        assert core.commit_index == 4, "a and b are the voters"
        # Nobody takes it for one that departs any more.
        for _ in range(FAREWELL_TIMEOUTS + 1):
            lapse(core, silent="c")
        assert core.match_index("c") == 0
        core.response_received(
            to(beat(core), "c"), AppendEntriesResponse(2, False, 0, 1)
        )
        assert not core.configuration.is_voter("c")
        lapse(core)
        assert core.configuration == configuration("abc")


def test_a_follower_that_lost_its_log_costs_no_more_than_a_heartbeat() -> None:
    """
    It rejects what it had acknowledged; to send the same at once would never end.
    """
    core = leading()
    core.propose(b"x")
    converse(core)
    core.propose(b"y")
    [lost] = [call for call in save(core).early_calls if call.to == "c"]
    core.response_received(lost, AppendEntriesResponse(core.current_term, False, 0, 1))
    assert [call for call in save(core).early_calls if call.to == "c"] == []
    assert "c" in {call.to for call in beat(core)}


def test_an_answer_from_before_it_was_removed_says_nothing() -> None:
    """
    The call's server was removed and let in again, perhaps with an empty disk.

    To believe that it still has what it had then could commit what a majority does not
    have.
    """
    core = leading()
    core.propose(b"x")
    to_b, late = save(core).early_calls
    accept(core, to_b)
    converse(core)
    core.remove_server("c")
    converse(core, silent="c")
    core.add_server(member("c"))
    converse(core, silent="c")
    accept(core, late)
    assert core.match_index("c") == 0
    assert not core.configuration.is_voter("c")


def test_a_new_leader_tells_whom_the_one_before_has_removed() -> None:
    """
    A removal that the leader before has not committed is the next one's to announce.

    If d does not learn of it, it does not know that it is no voter any more, and goes
    on campaigning (4.2.3).
    """
    core = restarted("a", configuration("abcd"), configuration("abc"))
    core.handle(AppendEntries(1, "b", 2, 1, (), 1))
    assert core.commit_index == 1
    for _ in range(3):
        for call in campaign(core):
            core.response_received(call, RequestVoteResponse(core.current_term, True))
        for call in save(core).calls:
            core.response_received(call, RequestVoteResponse(core.current_term, True))
        if core.led_term:
            break
    ready = save(core)
    assert ready.servers == configuration("abcd").servers
    assert {call.to for call in ready.early_calls} == set("bcd")
    accept(core, *ready.early_calls)
    converse(core)
    assert core.commit_index == 3
    assert {call.to for call in beat(core)} == {"b", "c"}, "it knows, and is let go"


def test_a_leader_that_left_is_not_told_by_itself() -> None:
    """
    Whoever removes itself knows; it keeps nothing about itself.
    """
    core = leading()
    core.remove_server("a")
    ready = save(core)
    assert {call.to for call in ready.early_calls} == {"b", "c"}
    assert ready.servers == configuration("bc").servers


# Who was removed, on its own side.


def test_a_server_that_knows_of_its_removal_starts_no_election() -> None:
    """
    Once it is committed, as it knows, there is nothing it is needed for (hashicorp).
    """
    core = server("d", voters="abcd")
    removal = Entry(2, 1, configuration("abc"))
    core.handle(AppendEntries(1, "a", 1, 1, (removal,), 2))
    save(core)
    for _ in range(10 * core.timing.election_timeout):
        core.tick()
        assert isinstance(core.role, Follower)
    assert core.hard_state == HardState(1)
    assert save(core).calls == ()


def test_cowsql_150_one_outside_its_latest_configuration_campaigns() -> None:
    """
    It may be the only one that can commit its own removal (cowsql 150).

    A server "not part of its own latest configuration should still start new elections,
    as it might still be needed until the Cnew entry is committed", and it does not
    count its own vote (4.2.2; cowsql 150).
    """
    core = server("a", voters="abcd")
    removal = Entry(2, 1, configuration("bcd"))
    core.handle(AppendEntries(1, "b", 1, 1, (removal,), 1))
    save(core)
    calls = campaign(core)
    assert {call.to for call in calls} == set("bcd")
    assert core.role == PreCandidate({"a"})
    core.response_received(calls[0], RequestVoteResponse(1, True))
    assert isinstance(core.role, PreCandidate), "with its own that would be two"
    core.response_received(calls[1], RequestVoteResponse(1, True))
    votes = save(core).calls
    assert core.role == Candidate({"a"})
    core.response_received(votes[0], RequestVoteResponse(2, True))
    assert isinstance(core.role, Candidate)
    core.response_received(votes[2], RequestVoteResponse(2, True))
    assert core.led_term == 2
    converse(core)
    assert core.role == Follower(None), "the removal is committed with its no-op"
    assert core.commit_index == 3


def test_cowsql_150_after_a_restart() -> None:
    """
    It has forgotten what is committed, and is needed all the same.

    Two servers; one has appended its own removal, and crashed before the other had it.
    The other's log is behind, so that only this one can be elected.
    """
    core = restarted("a", configuration("ab"), configuration("b"))
    other = restarted("b", configuration("ab"))
    for call in campaign(other):
        answer = core.handle(call.request)
        assert answer == RequestVoteResponse(1, False)
    [call] = campaign(core)
    assert call.to == "b"
    core.response_received(call, RequestVoteResponse(1, True))
    [vote] = save(core).calls
    core.response_received(vote, RequestVoteResponse(2, True))
    assert core.led_term == 2


def test_a_demoted_server_waits() -> None:
    """
    Demotion is removal from the voters: one that knows it is committed is quiet.

    It does not name a leader that it has not heard for long.
    """
    core = server("c")
    demoted = core.configuration.with_server(
        evolve(member("c"), suffrage=Suffrage.NONVOTER)
    )
    core.handle(AppendEntries(1, "a", 1, 1, (Entry(2, 1, demoted),), 1))
    save(core)
    assert {call.to for call in campaign(core)} == {"a", "b"}
    core.handle(AppendEntries(1, "a", 2, 1, (), 2))
    assert core.leader_id == "a"
    for _ in range(10 * core.timing.election_timeout):
        core.tick()
        assert isinstance(core.role, Follower)
    assert core.leader_id is None


def test_logcabin_56_a_removed_server_disturbs_nobody() -> None:
    """
    A removed server that never learns of it costs no election (LogCabin 56).

    While its leader is alive nobody votes for it or follows its term (4.2.3;
    LogCabin 56).
    """
    core = leading()
    core.remove_server("c")
    converse(core, silent="c")
    for pre_vote in (True, False):
        answer = core.handle(RequestVote(9, "c", 9, 9, pre_vote))
        assert answer == RequestVoteResponse(2, False)
    assert core.led_term == 2
    follower = server("b", (1, 2), voters="ab")
    follower.handle(AppendEntries(2, "a", 2, 2, (), 2))
    for pre_vote in (True, False):
        answer = follower.handle(RequestVote(9, "c", 9, 9, pre_vote))
        assert answer == RequestVoteResponse(2, False)
    assert follower.role == Follower("a")


# In a whole cluster.


def voters(network: Network, server_id: str) -> str:
    """
    Return the ids of the voters that a server counts on.
    """
    return "".join(one.id for one in network[server_id].configuration.voters)


def test_a_cluster_shrinks_from_five_to_one_while_it_works() -> None:
    """
    One after the other leaves, leaders too, and what was written stays.
    """
    network = Network.of("abcde")
    network.elect("a")
    left = "abcde"
    for number in range(4):
        leader = network.leader
        assert leader is not None
        network.propose(leader, b"%d" % number)
        gone = leader if number % 2 else next(id_ for id_ in left if id_ != leader)
        network.remove_server(leader, gone)
        left = left.replace(gone, "")
        network.settle()
        network.run_until(
            lambda left=left: network.leader is not None and network.leader in left
        )
        network.settle()
        assert voters(network, network.leader or "") == left
        network.crash(gone)
    network.propose(left, b"last")
    network.settle()
    assert network.commands(left) == [b"0", b"1", b"2", b"3", b"last"]
    network.check()


def test_a_leader_that_removes_itself_is_followed_at_once() -> None:
    """
    The next leader is elected without anybody's timer running out.
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.remove_server("a", "a")
    network.settle()
    assert network.leader in ("b", "c")
    leader = network.leader
    assert leader is not None
    assert network[leader].current_term == 3
    assert voters(network, leader) == "bc"
    assert network["a"].led_term is None
    network.run(5 * network.timing.election_timeout)
    assert network.leader == leader
    assert network["a"].role == Follower(None)
    network.propose(leader, b"x")
    network.settle()
    assert network.commands("b") == network.commands("c") == [b"x"]


def test_a_partitioned_server_is_removed() -> None:
    """
    It learns of it when the partition heals, and disturbs nobody meanwhile (hashicorp).
    """
    network = Network.of("abcd")
    network.elect("a")
    network.settle()
    network.isolate("d")
    network.run(2 * network.timing.election_timeout)
    assert isinstance(network["d"].role, PreCandidate)
    network.remove_server("a", "d")
    network.run(2 * network.timing.election_timeout)
    network.heal()
    network.run(2 * network.timing.election_timeout)
    assert voters(network, "d") == "abc"
    for _ in range(5):
        assert isinstance(network["d"].role, Follower), "it waits for ever"
        network.run(network.timing.election_timeout)
    assert network.observer.leaders == {2: "a"}


def test_a_removed_server_that_was_never_told_disturbs_nobody() -> None:
    """
    Its pre-votes are refused by all that hear their leader (4.2.3).
    """
    network = Network.of("abcd")
    network.elect("a")
    network.settle()
    network.isolate("d")
    network.remove_server("a", "d")
    network.run((FAREWELL_TIMEOUTS + 2) * network.timing.election_timeout)
    network.heal()
    network.run(10 * network.timing.election_timeout)
    assert network.observer.leaders == {2: "a"}
    assert {network[id_].current_term for id_ in "abc"} == {2}
    assert voters(network, "d") == "abcd", "as far as it knows"
    assert isinstance(network["d"].role, PreCandidate)


def test_a_removal_in_a_partition_without_a_majority_is_given_up() -> None:
    """
    The other side decides; the server that was to go stays, and votes.
    """
    network = Network.of("abcde")
    network.elect("a")
    network.settle()
    network.partition("ab", "cde")
    network.remove_server("a", "e")
    network.settle()
    assert voters(network, "a") == voters(network, "b") == "abcd"
    assert network["a"].commit_index == 2
    network.run_until(lambda: network.leader is not None and network.leader in "cde")
    network.heal()
    network.run(2 * network.timing.election_timeout)
    assert {voters(network, id_) for id_ in "abcde"} == {"abcde"}
    network.check()


def test_a_leader_that_crashes_in_the_middle_of_its_own_removal() -> None:
    """
    At each moment of it: the cluster has a leader again, and all agree who is in it.
    """
    outcomes = set()
    for deliveries in range(16):
        network = Network.of("abc")
        network.elect("a")
        network.settle()
        network.remove_server("a", "a")
        for _ in range(deliveries):
            if network.in_transit:
                network.deliver(network.in_transit[0])
        network.crash("a")
        network.in_transit.clear()
        network.run_until(lambda network=network: network.leader is not None)
        network.run(5)
        network.restart("a")
        network.run(5 * network.timing.election_timeout)
        leader = network.leader
        assert leader is not None
        outcomes.add(voters(network, leader))
        assert len({voters(network, id_) for id_ in voters(network, leader)}) == 1
        network.check()
    assert outcomes == {"abc", "bc"}


def test_what_the_removed_leader_had_not_committed_may_be_lost() -> None:
    """
    Commands behind its removal are the next leader's to keep or not; all agree.
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.remove_server("a", "a")
    network.propose("a", b"x")
    network.settle()
    network.run_until(lambda: network.leader in ("b", "c"))
    network.run(10)
    assert terms(network["b"]) == terms(network["c"])
    assert network.commands("b") == network.commands("c")
    assert isinstance(network["b"].log.between(2, 2)[0].payload, NoOp)
    network.check()


def test_a_removed_server_learns_of_it_from_a_snapshot() -> None:
    """
    The entry that removed it may be compacted before it is back.
    """
    network = Network.of("abcd")
    network.elect("a")
    network.settle()
    network.isolate("d")
    network.remove_server("a", "d")
    network.propose("a", b"x")
    network.settle()
    network.take_snapshot("a")
    assert "d" in {one.id for one in network.nodes["a"].servers}
    network.heal()
    network.run(2 * network.timing.heartbeat_interval)
    assert network["d"].log.snapshot_index == 4
    assert voters(network, "d") == "abc"
    assert "d" not in {one.id for one in network.nodes["a"].servers}
    for _ in range(5):
        assert isinstance(network["d"].role, Follower)
        network.run(network.timing.election_timeout)
    assert network.observer.leaders == {2: "a"}

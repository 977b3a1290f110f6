"""
Raft 5.2: leader election.
"""

from __future__ import annotations

import pytest

from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.errors import NotLeader, ProtocolViolation
from hraftd.raft.leader import Leader
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HardState,
    NoOp,
    RequestVote,
    RequestVoteResponse,
)
from hraftd.raft.roles import Candidate, Follower, PreCandidate
from tests.raft.network import (
    Network,
    campaign,
    entries,
    lead,
    member,
    save,
    server,
    stand,
    tick_until,
)

YES, NO = True, False


def test_servers_start_as_followers() -> None:
    """
    "When servers start up, they begin as followers" (5.2), whatever they were before.
    """
    core = server(voted_for="a")
    assert core.role == Follower(None)
    assert core.leader_id is None
    assert core.led_term is None
    assert core.ticks_since_leader is None


def test_a_follower_stays_one_while_it_hears_a_leader() -> None:
    """
    A living leader is not challenged.

    "A server remains in follower state as long as it receives valid RPCs from a leader"
    (5.2).
    """
    core = server()
    for _ in range(20):
        for _ in range(core.timing.election_timeout):
            core.tick()
        core.handle(AppendEntries(1, "b", 1, 1, (), 0))
        assert core.role == Follower("b")
        assert core.ticks_since_leader == 0
        assert core.leader_id == "b"


def test_a_follower_that_gave_its_vote_waits_for_the_outcome() -> None:
    """
    A vote that is given begins the wait anew.

    An election timeout elapses "without receiving AppendEntries RPC from current leader
    or granting vote to candidate" (figure 2): the vote begins it again.
    """
    core = server()
    for term in range(2, 30):
        for _ in range(core.timing.election_timeout):
            core.tick()
        core.handle(RequestVote(term, "b", 1, 1))
        assert core.role == Follower(None)


def test_a_refused_vote_keeps_nobody_waiting() -> None:
    """
    A candidate that cannot win must not hold back one that can.
    """
    core = server(log=(1, 1))
    for term in range(2, 100):
        core.tick()
        if isinstance(core.role, PreCandidate):
            return
        core.handle(RequestVote(term, "b", 1, 1))
    pytest.fail("refused requests held back the election")


def test_a_candidate_increments_its_term_and_votes_for_itself() -> None:
    """
    An election begins with a new term and the own vote.

    "To begin an election, a follower increments its current term and transitions to
    candidate state. It then votes for itself and issues RequestVote RPCs" (5.2).
    """
    core = server(log=(1, 1, 3), term=4)
    calls = stand(core)
    assert core.role == Candidate({"a"})
    assert core.hard_state == HardState(5, "a")
    assert [call.to for call in calls] == ["b", "c"]
    assert {call.request for call in calls} == {RequestVote(5, "a", 3, 3)}
    assert core.leader_id is None


def test_a_candidate_speaks_only_when_its_vote_is_on_disk() -> None:
    """
    Votes are asked for when the own one is on disk.

    "votedFor ... Updated on stable storage before responding to RPCs" (figure 2): its
    requests are handed out together with the vote, to be sent after it is saved.
    """
    core = server()
    for call in campaign(core):
        core.response_received(call, RequestVoteResponse(1, YES))
    ready = core.ready()
    assert ready.hard_state == HardState(2, "a")
    assert len(ready.calls) == 2
    assert ready.early_calls == ()


@pytest.mark.parametrize(
    ("voters", "yes", "wins"),
    [
        ("abc", "", False),
        ("abc", "b", True),
        ("abcd", "b", False),
        ("abcd", "bc", True),
        ("abcde", "b", False),
        ("abcde", "ce", True),
    ],
)
def test_a_majority_makes_a_leader(voters: str, yes: str, wins: bool) -> None:
    """
    A majority elects, and less does not.

    "A candidate wins an election if it receives votes from a majority of the servers in
    the full cluster for the same term" (5.2).
    """
    core = server(voters=voters)
    for call in stand(core):
        core.response_received(call, RequestVoteResponse(2, call.to in yes))
    assert (core.led_term == 2) is wins
    assert isinstance(core.role, Leader) is wins


def test_a_leader_tells_everybody_at_once() -> None:
    """
    A new leader makes itself known.

    "It then sends heartbeat messages to all of the other servers to establish its
    authority" (5.2).
    """
    core = server(log=(1, 1))
    calls = lead(core)
    assert [call.to for call in calls] == ["b", "c"]
    assert {call.request for call in calls} == {AppendEntries(2, "a", 2, 1, (), 0)}
    assert core.leader_id == "a"
    assert core.ticks_since_leader == 0


def test_jgroups_raft_24_a_voter_counts_once() -> None:
    """
    A voter that answers twice, say after a restart, has one vote (jgroups-raft 24).
    """
    core = server(voters="abcde")
    to_b, *_ = stand(core)
    core.response_received(to_b, RequestVoteResponse(2, YES))
    core.response_received(to_b, RequestVoteResponse(2, YES))
    assert core.role == Candidate({"a", "b"})


def test_akka_raft_49_votes_of_others_do_not_count() -> None:
    """
    Only members with a vote make a majority, not strangers or learners (akka-raft 49).

    Here the configuration loses two voters while the candidate waits for their answers.
    """
    network = Network.of("abcde")
    core = network["a"]
    calls = stand(core)
    newer = entries((1,), "ade")
    core.log.truncate(1)
    core.log.append(newer)
    for call in calls[:2]:
        assert call.to in "bc"
        core.response_received(call, RequestVoteResponse(2, YES))
    assert isinstance(core.role, Candidate)
    core.response_received(calls[2], RequestVoteResponse(2, YES))
    assert isinstance(core.role, Leader)


def test_one_vote_a_term() -> None:
    """
    A server has one vote in each term.

    "Each server will vote for at most one candidate in a given term, on a
    first-come-first-served basis" (5.2). The same candidate may ask twice.
    """
    core = server()
    assert core.handle(RequestVote(2, "b", 1, 1)) == RequestVoteResponse(2, YES)
    assert core.handle(RequestVote(2, "c", 1, 1)) == RequestVoteResponse(2, NO)
    assert core.handle(RequestVote(2, "b", 1, 1)) == RequestVoteResponse(2, YES)
    assert core.handle(RequestVote(3, "c", 1, 1)) == RequestVoteResponse(3, YES)


def test_a_candidate_has_voted_for_itself() -> None:
    """
    Two candidates of one term do not vote for each other (5.2).
    """
    core = server()
    stand(core)
    assert core.handle(RequestVote(2, "b", 1, 1)) == RequestVoteResponse(2, NO)
    assert isinstance(core.role, Candidate)


def test_ccf_8094_stepping_down_does_not_take_back_the_vote() -> None:
    """
    A candidate or leader that becomes a follower in its own term has still voted in it.

    Where that vote is forgotten, a second leader is elected in the term (CCF 8094).
    """
    candidate = server()
    stand(candidate)
    candidate.handle(AppendEntries(2, "b", 1, 1, (), 0))
    assert candidate.hard_state == HardState(2, "a")
    for _ in range(candidate.timing.election_timeout):
        candidate.tick()
    assert candidate.handle(RequestVote(2, "c", 9, 1)) == RequestVoteResponse(2, NO)

    leader = server()
    lead(leader)
    for _ in range(leader.timing.election_timeout):
        leader.tick()
    assert leader.role == Follower(None)
    assert leader.handle(RequestVote(2, "c", 9, 2)) == RequestVoteResponse(2, NO)
    assert leader.hard_state == HardState(2, "a")


@pytest.mark.parametrize("begin", [campaign, stand])
def test_a_candidate_recognises_the_leader_of_its_term(begin) -> None:
    """
    Another has won: the candidate follows.

    "If the leader's term ... is at least as large as the candidate's current term, then
    the candidate recognizes the leader as legitimate and returns to follower state".
    """
    core = server()
    begin(core)
    term = core.current_term
    core.handle(AppendEntries(term, "b", 1, 1, (), 0))
    assert core.role == Follower("b")
    assert core.current_term == term
    assert save(core).calls == (), "it asks for no more votes"


def test_a_candidate_ignores_the_leader_of_an_earlier_term() -> None:
    """
    A leader of the past does not stop a candidate.

    "If the term in the RPC is smaller than the candidate's current term, then the
    candidate rejects the RPC and continues in candidate state" (5.2).
    """
    core = server()
    stand(core)
    answer = core.handle(AppendEntries(1, "b", 1, 1, (), 0))
    assert answer == AppendEntriesResponse(2, False)
    assert isinstance(core.role, Candidate)


def test_a_split_vote_ends_in_another_term() -> None:
    """
    Where nobody wins there is another election.

    "Each candidate will time out and start a new election by incrementing its term"
    (5.2), after having asked whether it could win.
    """
    core = server()
    for call in stand(core):
        core.response_received(call, RequestVoteResponse(2, NO))
    assert isinstance(core.role, Candidate)
    for _ in range(2 * core.timing.election_timeout):
        core.tick()
    assert isinstance(core.role, PreCandidate)
    for call in save(core).calls:
        core.response_received(call, RequestVoteResponse(2, YES))
    assert core.role == Candidate(set())
    assert save(core).hard_state == HardState(3, "a")
    assert core.role == Candidate({"a"})


def test_a_vote_that_comes_too_late_is_not_counted() -> None:
    """
    A candidate that asks again counts what it is told from then on.
    """
    core = server()
    late, _ = stand(core)
    tick_until(core, lambda: isinstance(core.role, PreCandidate))
    save(core)
    core.response_received(late, RequestVoteResponse(2, YES))
    assert core.role == PreCandidate({"a"})


def test_timeouts_are_random_and_of_the_right_length() -> None:
    """
    How long a follower waits is random, within limits.

    "Election timeouts are chosen randomly from a fixed interval" (5.2): from one to two
    election timeouts, and all of that range.
    """
    network = Network.of("a")
    waits = set()
    for seed in range(300):
        core = Network.of("abc", seed=seed)["a"]
        waits.add(
            tick_until(core, lambda core=core: isinstance(core.role, PreCandidate))
        )
    timeout = network.timing.election_timeout
    assert waits == set(range(timeout + 1, 2 * timeout + 1))


def test_each_campaign_waits_anew_for_a_random_time() -> None:
    """
    Candidates that collide once do not go on colliding.

    "Each candidate restarts its randomized election timeout at the start of an
    election" (5.2), so two that split the vote once do not do it again and again.
    """
    core = server()
    waits = set()
    for _ in range(50):
        role = core.role
        waits.add(tick_until(core, lambda role=role: core.role is not role))
    assert len(waits) > 5


def test_initial_election() -> None:
    """
    A cluster that starts elects one leader, and keeps it (MIT 2A).
    """
    network = Network.of("abc")
    network.run_until(lambda: network.leader is not None)
    leader = network.leader
    network.run(200)
    assert network.leader == leader
    assert list(network.observer.leaders.values()) == [leader]
    assert {network[id_].leader_id for id_ in "abc"} == {leader}


def test_re_election() -> None:
    """
    A leader that is lost is replaced, and one that returns follows (MIT 2A).
    """
    network = Network.of("abc")
    network.elect("a")
    network.isolate("a")
    network.run_until(lambda: network.leader not in (None, "a"))
    new = network.leader
    assert new is not None
    network.run(3 * network.timing.election_timeout)
    assert network["a"].led_term is None, "it noticed that nobody hears it"
    network.heal()
    network.run(3 * network.timing.election_timeout)
    assert network.leader == new
    assert network["a"].leader_id == new


def test_no_quorum_no_leader() -> None:
    """
    Without a majority nobody leads; with it somebody does again (MIT 2A).
    """
    network = Network.of("abc")
    network.elect("a")
    network.partition("a", "b", "c")
    network.run(10 * network.timing.election_timeout)
    assert network.leader is None
    assert max(network[id_].current_term for id_ in "abc") == 2
    network.heal()
    network.run_until(lambda: network.leader is not None)


def test_many_elections_with_seven_servers() -> None:
    """
    Again and again three of seven are cut off (MIT 2A).

    Again and again three of seven are cut off; there is never more than one leader a
    term, and always one in the end (MIT 2A).
    """
    network = Network.of("abcdefg", seed=3)
    for cut in ("abc", "cde", "efg", "gab", "bdf", "ace"):
        network.partition(cut)
        network.run(5 * network.timing.election_timeout)
        leaders = {network[id_].leader_id for id_ in "abcdefg" if id_ not in cut}
        assert len(leaders) == 1
        assert leaders != {None}
    network.heal()
    network.run(5 * network.timing.election_timeout)
    assert len({network[id_].leader_id for id_ in "abcdefg"}) == 1
    network.check()


def test_duelling_candidates() -> None:
    """
    Of two that campaign at once one wins, and the other follows it (etcd).
    """
    network = Network.of("abc")
    network.campaign("a")
    network.campaign("b")
    network.settle()
    network.run(5 * network.timing.election_timeout)
    assert network.leader is not None
    assert {network[id_].leader_id for id_ in "abc"} == {network.leader}


def test_no_vote_is_given_from_a_former_life() -> None:
    """
    Delayed requests for votes elect nobody (CCF).

    A request that arrives after its candidate has given up gets an answer that nobody
    counts (delayed vote requests, CCF).
    """
    network = Network.of("abc")
    network.campaign("a")
    for message in network.waiting("a"):
        network.deliver(message)
    for message in network.waiting(destination="a"):
        network.deliver(message)
    late = network.waiting("a")
    assert all(not message.call.request.pre_vote for message in late)
    network.crash("a")
    network.restart("a")
    for message in late:
        network.deliver(message)
    network.settle()
    assert network.leader is None
    assert network["b"].hard_state == HardState(2, "a")
    assert network["a"].hard_state == HardState(2, "a")
    assert network["a"].role == Follower(None)


@pytest.mark.parametrize("begin", [save, campaign, stand, lead])
def test_a_vote_asked_from_every_state(begin) -> None:
    """
    In any state but that of a living leader a server votes in a later term (etcd).
    """
    core = server()
    begin(core)
    is_leader = core.led_term is not None
    answer = core.handle(RequestVote(9, "b", 9, 8))
    assert answer.vote_granted is not is_leader
    assert (core.hard_state == HardState(9, "b")) is not is_leader


def test_two_leaders_of_one_term_are_a_broken_promise() -> None:
    """
    Election Safety (figure 3): a second leader of a term is not believed.
    """
    leader = server()
    lead(leader)
    with pytest.raises(
        ProtocolViolation, match="b claims to lead term 2, which a leads"
    ):
        leader.handle(AppendEntries(2, "b", 1, 1, (), 0))
    follower = server()
    follower.handle(AppendEntries(2, "b", 1, 1, (), 0))
    with pytest.raises(
        ProtocolViolation, match="c claims to lead term 2, which b leads"
    ):
        follower.handle(AppendEntries(2, "c", 1, 1, (), 0))
    assert follower.role == Follower("b")


def test_one_that_is_no_voter_does_not_campaign() -> None:
    """
    A server without a configuration, or a vote in it, waits to be made a voter.
    """
    stranger = ConsensusModule("a", HardState(), Log(), server()._rng)
    for _ in range(5 * stranger.timing.election_timeout):
        stranger.tick()
    assert stranger.role == Follower(None)
    other = server("x", voters="abc")
    for _ in range(5 * other.timing.election_timeout):
        other.tick()
    assert other.role == Follower(None)


def test_a_voter_on_its_own_does_not_wait() -> None:
    """
    A cluster of one, newly made or started again, has a leader after one tick.
    """
    network = Network()
    network.bootstrap("a")
    network.tick("a")
    assert network.leader == "a"
    assert network["a"].commit_index == 2
    network.crash("a")
    network.restart("a")
    network.tick("a")
    assert network.leader == "a"
    assert network["a"].current_term == 3


def test_a_cluster_is_bootstrapped_once() -> None:
    """
    A server with a log or a term has been in a cluster, and cannot begin another.
    """
    with pytest.raises(ValueError, match="already has a log or a term"):
        server().bootstrap(member("a"))
    fresh = ConsensusModule("a", HardState(3), Log(), server()._rng)
    with pytest.raises(ValueError, match="already has a log or a term"):
        fresh.bootstrap(member("a"))


def test_only_the_leader_takes_commands() -> None:
    """
    "All requests go through the leader" (5.1): others name it, if they know it.
    """
    core = server()
    with pytest.raises(NotLeader, match="the leader is None") as refusal:
        core.propose(b"x")
    assert refusal.value.leader is None
    core.handle(AppendEntries(1, "b", 1, 1, (), 0))
    with pytest.raises(NotLeader, match="the leader is b") as refusal:
        core.propose(b"x")
    assert refusal.value.leader == member("b")
    with pytest.raises(NotLeader):
        core.check_leader()
    with pytest.raises(NotLeader):
        core.add_server(member("d"))
    assert core.log.last_index == 1
    leader = server()
    lead(leader)
    leader.check_leader()


def test_only_leaders_know_what_others_hold() -> None:
    """
    Where followers' logs stand is "volatile state on leaders" (figure 2).
    """
    core = server()
    assert core.match_index("a") is None
    assert core.ticks_since_contact("b") is None
    calls = lead(core)
    assert core.match_index("a") == 2
    assert core.match_index("b") == 0
    assert core.match_index("x") is None
    assert core.ticks_since_contact("b") is None, "it has not answered yet"
    assert core.ticks_since_contact("x") is None
    core.response_received(calls[0], AppendEntriesResponse(2, True))
    core.tick()
    assert core.ticks_since_contact("b") == 1
    assert core.match_index("b") == 1


def test_a_term_begins_with_an_empty_entry_of_the_leader() -> None:
    """
    The first entry of a leader is a no-op in its own term (8).
    """
    core = server(log=(1, 1))
    lead(core)
    [entry] = core.log.between(3, 3)
    assert (entry.term, entry.payload) == (2, NoOp())

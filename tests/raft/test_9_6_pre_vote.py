"""
Dissertation 9.6 and 4.2.3: pre-vote, and the lease on votes.

Nobody is disturbed by a server that was away, cannot hear, or cannot win.
"""

from __future__ import annotations

import pytest

from hraftd.raft.leader import Leader
from hraftd.raft.messages import (
    AppendEntries,
    HardState,
    RequestVote,
    RequestVoteResponse,
)
from hraftd.raft.roles import Candidate, Follower, PreCandidate
from tests.raft.network import (
    Network,
    campaign,
    lead,
    save,
    server,
    stand,
    tick_until,
)


def test_a_pre_vote_changes_nothing_at_the_candidate() -> None:
    """
    Who asks whether it would win stays in its term.

    "A candidate only increments its term if it first learns from a majority of the
    cluster that they would be willing to grant the candidate their votes" (9.6).
    """
    core = server(log=(1, 1))
    calls = campaign(core)
    assert core.role == PreCandidate({"a"})
    assert core.hard_state == HardState(1, None)
    assert core.leader_id is None
    assert {call.request for call in calls} == {
        RequestVote(2, "a", 2, 1, pre_vote=True)
    }


def test_a_pre_vote_changes_nothing_at_the_voter() -> None:
    """
    It only asks: no term, no vote and no timer moves, and many may be told yes (9.6).
    """
    core = server()
    for candidate in "bcb":
        answer = core.handle(RequestVote(9, candidate, 1, 1, pre_vote=True))
        assert answer == RequestVoteResponse(1, True)
    assert core.hard_state == HardState(1, None)
    assert not save(core).must_save
    for _ in range(2 * core.timing.election_timeout):
        core.handle(RequestVote(9, "b", 1, 1, pre_vote=True))
        core.tick()
        if isinstance(core.role, PreCandidate):
            break
    else:
        pytest.fail("pre-votes held it back")


@pytest.mark.parametrize(
    ("term", "last", "granted"),
    [
        (4, (2, 3), True),
        (9, (9, 3), True),
        # It would not get the vote in a term that is over or given away.
        (3, (2, 3), False),
        (2, (2, 3), False),
        # Nor with a log that is behind.
        (4, (1, 3), False),
        (9, (9, 2), False),
    ],
)
def test_a_pre_vote_is_given_where_the_vote_would_be(
    term: int, last: tuple[int, int], granted: bool
) -> None:
    """
    The candidate's "log is sufficiently up-to-date" and its term later (9.6).
    """
    core = server(log=(1, 3), term=3)
    answer = core.handle(RequestVote(term, "b", *last, pre_vote=True))
    assert answer == RequestVoteResponse(3, granted)


@pytest.mark.parametrize("pre_vote", [True, False])
def test_the_lease_on_votes(pre_vote: bool) -> None:
    """
    While a leader is heard, nobody else gets a vote.

    "If a server receives a RequestVote request within the minimum election timeout of
    hearing from a current leader, it does not update its term or grant its vote"
    (4.2.3).
    """
    core = server()
    core.handle(AppendEntries(1, "b", 1, 1, (), 0))
    for _ in range(core.timing.election_timeout):
        answer = core.handle(RequestVote(9, "c", 9, 9, pre_vote))
        assert answer == RequestVoteResponse(1, False)
        assert core.current_term == 1
        core.tick()
    assert core.handle(RequestVote(9, "c", 9, 9, pre_vote)).vote_granted


@pytest.mark.parametrize("pre_vote", [True, False])
def test_a_leader_gives_no_vote(pre_vote: bool) -> None:
    """
    A leader hears itself: while it has its majority nobody else needs votes (4.2.3).
    """
    core = server()
    lead(core)
    answer = core.handle(RequestVote(9, "b", 9, 9, pre_vote))
    assert answer == RequestVoteResponse(2, False)
    assert core.led_term == 2


def test_hashicorp_605_the_leader_that_restarts_gets_its_votes_back() -> None:
    """
    The lease is not held against the leader itself (hashicorp 605).

    The lease protects a leader; it must not be held against that leader itself when it
    has restarted and asks for votes (hashicorp 605).
    """
    core = server()
    core.handle(AppendEntries(1, "b", 1, 1, (), 0))
    assert core.handle(RequestVote(2, "b", 1, 1, True)) == RequestVoteResponse(1, True)
    assert not core.handle(RequestVote(2, "c", 1, 1, True)).vote_granted
    assert core.handle(RequestVote(2, "b", 1, 1)) == RequestVoteResponse(2, True)


def test_rabbitmq_ra_439_a_candidate_answers_pre_votes_of_its_own_term() -> None:
    """
    A candidate answers pre-votes of its own term (rabbitmq/ra 439).

    A candidate that cannot win is in the very term that another asks for: it must tell
    it so, and then say yes, or nobody is ever elected (rabbitmq/ra 439).
    """
    network = Network.with_logs({"a": (1,), "b": (1, 1), "c": (1,)})
    network.isolate("b")
    network.campaign("a")
    network.deliver_until(lambda: isinstance(network["a"].role, Candidate))
    network.crash("c")
    network.settle()
    network.heal()
    # b has the newer log and asks for the term in which a is a candidate.
    assert network["a"].current_term == network["b"].current_term + 1 == 2
    answers = []
    for _ in range(2):
        role = network["b"].role
        network.tick_until("b", lambda role=role: network["b"].role is not role)
        [request] = network.waiting("b", "a")
        network.deliver(request)
        answers.append(request.response)
        assert isinstance(network["a"].role, Candidate)
        network.settle()
        if network.leader:
            break
    assert answers == [RequestVoteResponse(2, False), RequestVoteResponse(2, True)]
    assert network.leader == "b"
    assert network["b"].current_term == 3


def test_canonical_raft_279_a_voter_of_an_older_term_is_counted() -> None:
    """
    A pre-vote from an older term counts (canonical/raft 279).

    A pre-vote's answer carries the voter's own term, which may be behind. A candidate
    that ignores it as stale stands still for ever (canonical/raft 279).
    """
    network = Network.with_logs(
        {"a": (1, 2, 5), "b": (1, 2), "c": (1, 2)}, terms={"a": 5, "b": 2, "c": 3}
    )
    network.crash("c")
    network.campaign("a")
    [request] = network.waiting("a", "b")
    network.deliver(request)
    assert request.response == RequestVoteResponse(2, True)
    network.settle()
    assert network.leader == "a"
    assert network["a"].current_term == 6


def test_a_pre_vote_is_not_a_vote() -> None:
    """
    Who would vote has not voted.

    An answer to the question before is not counted in the election itself, though both
    are about the same term.
    """
    core = server(voters="abcde")
    calls = campaign(core)
    for call in calls[:2]:
        core.response_received(call, RequestVoteResponse(1, True))
    save(core)
    assert core.role == Candidate({"a"})
    for call in calls[2:]:
        core.response_received(call, RequestVoteResponse(1, True))
    assert core.role == Candidate({"a"})


def test_an_old_pre_vote_is_not_counted_in_a_later_term() -> None:
    """
    Who would have voted in one term has not said so of another.
    """
    core = server(voters="abcde")
    old = campaign(core)
    core.handle(RequestVote(7, "b", 0, 0))
    save(core)
    campaign(core)
    for call in old:
        core.response_received(call, RequestVoteResponse(1, True))
    assert core.role == PreCandidate({"a"})
    assert core.current_term == 7


def test_a_pre_vote_refused_for_its_term_teaches_the_term() -> None:
    """
    Whoever is behind asks again for a term that can be won.
    """
    core = server()
    [to_b, _] = campaign(core)
    core.response_received(to_b, RequestVoteResponse(6, False))
    assert core.role == Follower(None)
    calls = campaign(core)
    assert {call.request.term for call in calls} == {7}


def test_a_partitioned_server_does_not_raise_its_term() -> None:
    """
    However long it is alone, it asks and asks, and changes nothing (9.6).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.isolate("c")
    network.run(20 * network.timing.election_timeout)
    assert isinstance(network["c"].role, PreCandidate)
    assert network["c"].current_term == 2


def test_a_partitioned_server_rejoins_without_disturbing() -> None:
    """
    The leader goes on leading in the same term, and the server follows it (hashicorp).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.isolate("c")
    network.run(10 * network.timing.election_timeout)
    network.propose("a", b"x")
    network.heal()
    network.run(2 * network.timing.election_timeout)
    assert network.observer.leaders == {2: "a"}
    assert network["c"].role == Follower("a")
    assert network.commands("c") == [b"x"]


def test_a_server_that_can_speak_but_not_hear_disturbs_nobody() -> None:
    """
    Its requests for pre-votes are refused by all that hear the leader (4.2.3, 9.6).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.cut_links |= {("a", "c"), ("b", "c")}
    network.run(20 * network.timing.election_timeout)
    assert network.observer.leaders == {2: "a"}
    assert network["a"].led_term == 2
    assert {network[id_].current_term for id_ in "abc"} == {2}


def test_two_that_both_may_campaign() -> None:
    """
    Both learn that they would win, one does: pre-votes promise nothing (CCF).
    """
    network = Network.of("abcde")
    network.campaign("a")
    network.campaign("b")
    pre_votes = [m for m in network.in_transit if m.call.request.pre_vote]
    for message in pre_votes:
        network.deliver(message)
    for message in pre_votes:
        network.deliver(message)
    assert network["a"].role == Candidate({"a"})
    assert network["b"].role == Candidate({"b"})
    network.settle()
    roles = {type(network[id_].role) for id_ in "ab"}
    assert roles == {Leader, Follower}
    assert network.observer.leaders.keys() == {2}


def test_split_votes_with_pre_votes() -> None:
    """
    After a vote that nobody won, there is another campaign and then a leader (etcd).
    """
    network = Network.of("abc")
    network.isolate("c")
    network.campaign("a")
    network.campaign("b")
    network.settle()
    assert network.leader is None
    assert isinstance(network["a"].role, Candidate)
    assert isinstance(network["b"].role, Candidate)
    network.run(4 * network.timing.election_timeout)
    assert network.leader in "ab"
    assert network[network.leader].current_term >= 3


def test_a_server_of_a_smaller_term_completes_an_election() -> None:
    """
    The one with the newer log is behind in term; it learns the term and wins (etcd).
    """
    network = Network.with_logs(
        {"a": (1, 2, 2), "b": (1, 2), "c": (1,)}, terms={"a": 2, "b": 4, "c": 6}
    )
    network.run(8 * network.timing.election_timeout)
    assert network.leader in ("a", "b")
    assert network[network.leader].current_term >= 6
    network.check()


def test_a_stuck_candidate_is_freed() -> None:
    """
    A server of a later term does not refuse its leader for ever (etcd, tikv).

    One whose term is later than the leader's, and whose log is behind, does not refuse
    its leader for ever: the leader steps down and comes back in a later term (etcd,
    tikv).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.propose("a", b"x")
    network.settle()
    network.isolate("c")
    network.propose("a", b"y")
    network.settle()
    network.crash("c")
    network.nodes["c"].hard_state = HardState(9, "c")
    network.observer._disks["c"].hard_state = HardState(9, "c")
    network.restart("c")
    network.heal()
    network.run(6 * network.timing.election_timeout)
    assert network.leader in ("a", "b")
    assert network["c"].leader_id == network.leader
    assert network["c"].current_term >= 10
    assert network.commands("c") == [b"x", b"y"]


def test_pre_votes_are_asked_before_each_campaign() -> None:
    """
    Also after a vote was split: a candidate that lost its majority goes quiet again.
    """
    core = server()
    stand(core)
    tick_until(core, lambda: not isinstance(core.role, Candidate))
    assert core.role == PreCandidate({"a"})
    assert core.current_term == 2
    assert {call.request.pre_vote for call in save(core).calls} == {True}


def test_who_votes_for_another_asks_no_more() -> None:
    """
    A vote given in its own term ends a pre-candidate's campaign: that is the election.
    """
    core = server()
    calls = campaign(core)
    assert core.handle(RequestVote(1, "b", 1, 1)).vote_granted
    assert core.role == Follower(None)
    for call in calls:
        core.response_received(call, RequestVoteResponse(1, True))
    assert core.hard_state == HardState(1, "b")

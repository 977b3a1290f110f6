"""
Raft 5.1: terms, the logical clock by which servers notice what is out of date.
"""

from __future__ import annotations

import pytest

from hraftd.raft.leader import Leader
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HardState,
    RequestVote,
    RequestVoteResponse,
)
from hraftd.raft.roles import Candidate, Follower, PreCandidate
from tests.raft.network import campaign, lead, save, server, stand


@pytest.mark.parametrize("begin", [campaign, stand, lead])
def test_a_later_term_in_an_answer_makes_a_follower(begin) -> None:
    """
    Whoever learns of a later term follows.

    "If a candidate or leader discovers that its term is out of date, it immediately
    reverts to follower state" (5.1), and its term becomes the later one.
    """
    core = server()
    calls = begin(core)
    core.response_received(
        calls[0],
        RequestVoteResponse(9, False)
        if isinstance(calls[0].request, RequestVote)
        else AppendEntriesResponse(9, False),
    )
    assert core.role == Follower(None)
    assert core.hard_state == HardState(9, None)
    assert save(core).hard_state == HardState(9, None)


def test_a_later_term_in_append_entries_makes_a_follower() -> None:
    """
    A leader of a later term is followed.

    The same for a request: "if one server's current term is smaller than the other's,
    then it updates its current term" (5.1).
    """
    core = server()
    lead(core)
    core.handle(AppendEntries(9, "b", 1, 1, (), 0))
    assert core.role == Follower("b")
    assert core.current_term == 9


@pytest.mark.parametrize("begin", [save, campaign, stand])
def test_a_later_term_in_a_request_for_a_vote_makes_a_follower(begin) -> None:
    """
    Even where the vote is refused for its log, the later term is taken over (5.1).
    """
    core = server(log=(1, 1, 1))
    begin(core)
    answer = core.handle(RequestVote(9, "b", 1, 1))
    assert answer == RequestVoteResponse(9, False)
    assert core.role == Follower(None)
    assert core.current_term == 9


def test_requests_of_an_old_term_are_refused() -> None:
    """
    What comes from an old term is refused, and told which term it is.

    "If a server receives a request with a stale term number, it rejects the request"
    (5.1), and the answer carries the later term.
    """
    core = server(log=(1, 1), term=5)
    vote = core.handle(RequestVote(4, "b", 9, 4))
    append = core.handle(AppendEntries(4, "b", 2, 1, (), 2))
    assert vote == RequestVoteResponse(5, False)
    assert append == AppendEntriesResponse(5, False)
    assert core.hard_state == HardState(5, None)
    assert core.role == Follower(None)
    assert core.commit_index == 0
    assert not save(core).must_save


def test_a_request_of_an_old_term_does_not_keep_a_server_waiting() -> None:
    """
    Only "AppendEntries RPC from current leader" holds back an election (figure 2).
    """
    core = server(term=5)
    for _ in range(3 * core.timing.election_timeout):
        core.tick()
        core.handle(AppendEntries(4, "b", 1, 1, (), 0))
        if isinstance(core.role, PreCandidate):
            return
    pytest.fail("an old leader kept the server from campaigning")


def test_the_term_is_on_disk_before_anything_speaks_of_it() -> None:
    """
    "currentTerm ... Updated on stable storage before responding to RPCs" (figure 2).
    """
    core = server()
    core.handle(AppendEntries(7, "b", 1, 1, (), 0))
    ready = core.ready()
    assert ready.hard_state == HardState(7, None)
    assert ready.must_save


def test_answers_of_an_old_term_are_ignored() -> None:
    """
    What was asked in one term says nothing about another (5.1).
    """
    core = server(voters="abcde")
    old = stand(core)
    core.handle(AppendEntries(4, "b", 1, 1, (), 0))
    save(core)
    stand(core)
    assert core.current_term == 5
    for call in old:
        core.response_received(call, RequestVoteResponse(2, True))
    assert isinstance(core.role, Candidate)
    assert core.role.votes == {"a"}


def test_answers_to_an_earlier_leadership_are_ignored() -> None:
    """
    A leader that leads again knows nothing about its followers but what they say now.
    """
    core = server()
    first = lead(core)
    core.handle(AppendEntries(4, "b", 1, 1, (), 0))
    save(core)
    lead(core)
    assert isinstance(core.role, Leader)
    core.response_received(first[0], AppendEntriesResponse(2, True))
    assert not core.role.progress["b"].heard
    assert core.match_index("b") == 0


def test_late_answers_to_someone_who_does_not_lead_any_more() -> None:
    """
    Answers and failures of a former leader's calls change nothing.
    """
    core = server()
    calls = lead(core)
    core.handle(AppendEntries(4, "b", 1, 1, (), 0))
    save(core)
    core.response_received(calls[0], AppendEntriesResponse(2, True))
    core.call_failed(calls[1])
    assert core.role == Follower("b")
    assert not save(core).must_save


def test_an_answer_of_the_wrong_kind_is_an_error_of_the_driver() -> None:
    """
    Each request has one kind of result (figure 2).
    """
    core = server()
    with pytest.raises(TypeError, match="does not answer"):
        core.response_received(stand(core)[0], AppendEntriesResponse(2, True))

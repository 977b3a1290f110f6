"""
Dissertation 6.4: reads that are never stale, without an entry in the log.

A leader notes its commit index, makes sure that it still leads by a round of requests
that a majority answers, and only then names that index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from hraftd.raft.configuration import Configuration, Suffrage
from hraftd.raft.errors import NotLeader
from hraftd.raft.leader import Leader
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    Snapshot,
)
from hraftd.raft.ready import ConfirmedRead, FetchPiece
from hraftd.raft.roles import Follower
from tests.raft.answers import accept, beat, converse, fail, leading, settled
from tests.raft.network import Network, lead, member, save, server

if TYPE_CHECKING:
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Call


def confirmed(core: ConsensusModule) -> tuple[ConfirmedRead, ...]:
    """
    Return the reads that the server has confirmed since the last time.
    """
    return save(core).confirmed_reads


def sent(core: ConsensusModule) -> dict[str, Call]:
    """
    Return the calls that go out now; no more than one to each server.
    """
    calls = save(core).early_calls
    by_name = {call.to: call for call in calls}
    assert len(by_name) == len(calls)
    return by_name


def test_a_majority_confirms_that_the_leader_leads() -> None:
    """
    The index is named once a majority has answered, and no sooner.

    "The leader knows that there could not have existed a leader for a greater term at
    the moment it sent the heartbeats" (6.4).
    """
    core = leading("abcde")
    number = core.read_index()
    ready = save(core)
    assert ready.confirmed_reads == ()
    assert not ready.must_save, "nothing of it is in the log"
    calls = {call.to: call for call in ready.early_calls}
    assert calls.keys() == set("bcde")
    accept(core, calls["b"])
    assert confirmed(core) == ()
    accept(core, calls["d"])
    assert confirmed(core) == (ConfirmedRead(number, 2),)
    assert core.log.last_index == 2


def test_a_confirmation_is_handed_out_once() -> None:
    """
    The answers that come after the majority's confirm nothing again.
    """
    core = leading("abcde")
    core.read_index()
    calls = sent(core)
    accept(core, calls["b"], calls["c"])
    assert len(confirmed(core)) == 1
    accept(core, calls["d"], calls["e"])
    assert confirmed(core) == ()
    assert sent(core) == {}


def test_etcd_7331_no_read_before_the_leader_has_committed_in_its_term() -> None:
    """
    A new leader's commit index may be behind what is committed (etcd 7331).

    "If the leader has not yet marked an entry from its current term committed, it waits
    until it has done so" (6.4): the round begins only then, and with that index
    (etcd 7331).
    """
    core = server(log=(1, 1, 1))
    calls = lead(core)
    number = core.read_index()
    assert core.commit_index == 0
    # They answer that it leads, but do not have the no-op yet.
    accept(core, *calls)
    assert isinstance(core.role, Leader)
    assert core.role.reads.under_way is None
    with_no_op = sent(core)
    assert confirmed(core) == ()
    accept(core, with_no_op["b"])
    assert core.commit_index == 4
    calls = sent(core)
    assert confirmed(core) == (), "the no-op's answer was to an earlier question"
    accept(core, calls["b"])
    assert confirmed(core) == (ConfirmedRead(number, 4),)


def test_reads_that_wait_share_a_round() -> None:
    """
    However many wait: one request to each server confirms them all (6.4).
    """
    core = leading()
    numbers = {core.read_index() for _ in range(1000)}
    assert len(numbers) == 1
    calls = sent(core)
    assert calls.keys() == {"b", "c"}
    accept(core, calls["c"])
    assert confirmed(core) == (ConfirmedRead(numbers.pop(), 2),)


def test_a_read_that_comes_during_a_round_waits_for_the_next() -> None:
    """
    The round under way began before the read: it may name too old an index.

    And what it had sent says that this server led before the read was asked for.
    """
    core = leading("abcde")
    first = core.read_index()
    calls = sent(core)
    second = core.read_index()
    assert core.read_index() == second == first + 1
    assert sent(core) == {}, "one round after the other"
    core.propose(b"x")
    appends = sent(core)
    accept(core, calls["b"], calls["c"])
    ready = save(core)
    assert ready.confirmed_reads == (ConfirmedRead(first, 2),)
    assert {call.to for call in ready.early_calls} == set("bcde"), "now it begins"
    accept(core, appends["b"], appends["c"])
    assert core.commit_index == 3
    assert confirmed(core) == (), "those were sent in the round before"
    accept(core, *ready.early_calls[:2])
    assert confirmed(core) == (ConfirmedRead(second, 2),)


def test_the_index_is_that_of_the_beginning_of_the_round() -> None:
    """
    A commitment during the round does not move it: who asked need not wait for that.
    """
    core = leading("abc")
    number = core.read_index()
    calls = sent(core)
    core.propose(b"x")
    appends = sent(core)
    # An answer to what was sent later confirms too, and commits on top of that.
    accept(core, appends["b"])
    assert core.commit_index == 3
    assert confirmed(core) == (ConfirmedRead(number, 2),)
    accept(core, *calls.values())
    assert confirmed(core) == ()


def test_etcd_20418_answers_to_earlier_requests_confirm_nothing() -> None:
    """
    Only what was sent in the round confirms it (etcd 20418).

    The answers to a heartbeat of before the round are on their way for long: by now
    another leader may have been elected, and have committed. Nor do they confirm the
    round after the one in which they were asked (etcd 20418).
    """
    core = leading()
    before = beat(core)
    first = core.read_index()
    in_first = sent(core)
    accept(core, *before)
    assert confirmed(core) == ()
    accept(core, in_first["b"])
    assert confirmed(core) == (ConfirmedRead(first, 2),)
    second = core.read_index()
    in_second = sent(core)
    accept(core, in_first["c"])
    assert confirmed(core) == ()
    accept(core, in_second["c"])
    assert confirmed(core) == (ConfirmedRead(second, 2),)


def test_answers_of_an_earlier_term_confirm_nothing() -> None:
    """
    Rounds are numbered anew in each term, and answers are of one term.

    The same server leads again; the number that was asked for in its first term says
    nothing in the other.
    """
    core = leading()
    old_number = core.read_index()
    old = sent(core)
    core.handle(AppendEntries(3, "b", 2, 2, (), 2))
    for _ in range(core.timing.election_timeout):
        core.tick()
    converse(core)
    calls = lead(core)
    accept(core, *calls)
    converse(core)
    assert core.led_term == 4
    number = core.read_index()
    new = sent(core)
    assert number == old_number, "or this shows nothing"
    accept(core, *old.values())
    assert confirmed(core) == ()
    accept(core, new["b"])
    assert confirmed(core) == (ConfirmedRead(number, 3),)


def test_a_deposed_leader_confirms_nothing() -> None:
    """
    Who learns of a later term while a round is under way never confirms it.
    """
    core = leading("abcde")
    core.read_index()
    calls = sent(core)
    accept(core, calls["b"])
    core.response_received(calls["c"], AppendEntriesResponse(3, False))
    assert core.role == Follower(None)
    accept(core, calls["d"], calls["e"])
    assert confirmed(core) == ()
    with pytest.raises(NotLeader):
        core.read_index()


def test_a_leader_that_was_cut_off_confirms_nothing() -> None:
    """
    It still believes that it leads, and that is not enough (sofa-jraft 34).

    Until it steps down by itself, for want of answers, time proves nothing: neither a
    clock nor the lease on votes takes part in this.
    """
    core = leading()
    core.read_index()
    for _ in range(core.timing.election_timeout):
        ready = save(core)
        assert ready.confirmed_reads == ()
        fail(core, *ready.early_calls)
        core.tick()
    assert core.role == Follower(None)
    assert confirmed(core) == ()


def test_only_the_leader_begins_a_round() -> None:
    """
    Others name the leader.
    """
    core = server()
    core.handle(AppendEntries(1, "b", 1, 1, (), 1))
    with pytest.raises(NotLeader) as refusal:
        core.read_index()
    assert refusal.value.leader == member("b")


def test_a_voter_on_its_own_confirms_at_once() -> None:
    """
    It is a majority itself; but it, too, commits in its term first.
    """
    core = server(voters="a")
    for _ in range(3):
        core.tick()
        if core.current_term == 2:
            break
    core.advance(core.ready())
    assert core.led_term == 2
    number = core.read_index()
    no_op = core.ready()
    assert no_op.must_save
    assert no_op.confirmed_reads == ()
    core.advance(no_op)
    assert confirmed(core) == (ConfirmedRead(number, 2),)
    second = core.read_index()
    assert confirmed(core) == (ConfirmedRead(second, 2),)


def test_a_leader_outside_the_configuration_does_not_count_itself() -> None:
    """
    While it commits its own removal a leader needs a majority of the others.

    It "does not count itself in majorities" (4.2.2): b and c both have to answer.
    """
    core = leading()
    core.remove_server("a")
    calls = sent(core)
    number = core.read_index()
    calls = sent(core)
    accept(core, calls["b"])
    assert confirmed(core) == ()
    accept(core, calls["c"])
    assert confirmed(core) == (ConfirmedRead(number, 2),)


@pytest.mark.parametrize("suffrage", [Suffrage.LEARNER, Suffrage.NONVOTER])
def test_who_has_no_vote_confirms_nothing(suffrage: Suffrage) -> None:
    """
    Answers of learners do not make a majority: the next leader is elected without them.
    """
    core = leading()
    core.add_server(evolve(member("d"), suffrage=suffrage))
    converse(core, silent="d")
    d = core.configuration.get("d")
    assert d is not None
    assert d.suffrage is suffrage
    number = core.read_index()
    calls = {call.to: call for call in save(core).early_calls}
    assert calls.keys() == set("bcd")
    core.response_received(calls["d"], AppendEntriesResponse(2, False, 0, 1))
    assert confirmed(core) == ()
    accept(core, calls["b"])
    assert confirmed(core) == (ConfirmedRead(number, 3),)


def test_lost_requests_are_made_up_for_by_later_ones() -> None:
    """
    A round has no requests of its own: whatever is sent after it began confirms it.
    """
    core = leading()
    number = core.read_index()
    fail(core, *sent(core).values())
    assert sent(core) == {}, "not before the next heartbeat"
    fail(core, *beat(core))
    calls = beat(core)
    assert confirmed(core) == ()
    accept(core, calls[0])
    assert confirmed(core) == (ConfirmedRead(number, 2),)


def test_a_rejection_confirms_too() -> None:
    """
    A follower whose log differs has still recognised the leader of its term.
    """
    core = leading("abc", silent="c")
    [late] = beat(core)[1:]
    assert late.to == "c"
    number = core.read_index()
    calls = sent(core)
    core.response_received(calls["c"], AppendEntriesResponse(2, False, 0, 1))
    assert confirmed(core) == (ConfirmedRead(number, 2),)


def test_a_round_does_not_wait_for_what_is_in_flight() -> None:
    """
    Followers that have not taken the last entries yet are asked all the same.
    """
    core = leading()
    core.propose(b"x")
    appends = sent(core)
    number = core.read_index()
    calls = sent(core)
    assert calls.keys() == {"b", "c"}
    assert {call.request.entries for call in calls.values()} == {()}
    accept(core, *appends.values())
    assert confirmed(core) == ()
    accept(core, calls["b"])
    assert confirmed(core) == (ConfirmedRead(number, 2),)


def test_a_round_asks_a_follower_that_is_paused() -> None:
    """
    One whose last call failed may be back; the round asks it before its heartbeat does.
    """
    core = leading()
    fail(core, *beat(core))
    number = core.read_index()
    calls = sent(core)
    assert calls.keys() == {"b", "c"}
    accept(core, calls["c"])
    assert confirmed(core) == (ConfirmedRead(number, 2),)


def test_a_round_goes_with_the_entries_that_wait() -> None:
    """
    Who is sent entries just then is not sent a second request.
    """
    core = leading()
    core.propose(b"x")
    number = core.read_index()
    calls = sent(core)
    assert {len(call.request.entries) for call in calls.values()} == {1}
    accept(core, calls["b"])
    assert confirmed(core) == (ConfirmedRead(number, 2),)


def test_a_round_asks_a_follower_that_is_sent_a_snapshot() -> None:
    """
    While a piece is fetched or under way a heartbeat asks; a piece's answer counts too.
    """
    core = leading("abc", silent="c")
    for _ in range(3):
        core.propose(b"x")
        converse(core, silent="c")
    core.compact(Snapshot(4, 2, core.configuration, 8, bytes(32)), 5)
    # c has been silent in this term so far, and what it lacks is gone.
    _, to_c = beat(core)
    core.response_received(to_c, AppendEntriesResponse(2, True))
    [fetch] = save(core).fetches
    assert isinstance(fetch, FetchPiece)

    number = core.read_index()
    calls = sent(core)
    assert calls.keys() == {"b", "c"}
    accept(core, calls["c"])
    assert confirmed(core) == (ConfirmedRead(number, 5),)

    number = core.read_index()
    heartbeats = sent(core)
    assert heartbeats.keys() == {"b", "c"}
    core.fetched(fetch, b"1234")
    piece = sent(core)["c"]
    assert isinstance(piece.request, InstallSnapshot)
    accept(core, piece)
    assert confirmed(core) == (ConfirmedRead(number, 5),)


def test_members_that_left_are_not_counted() -> None:
    """
    A removed server that still answers is no part of a majority any more.
    """
    core = leading("abcde")
    core.remove_server("e")
    converse(core, silent="e")
    number = core.read_index()
    calls = sent(core)
    assert "e" in calls, "it is still told that it was removed"
    accept(core, calls["e"], calls["b"])
    assert confirmed(core) == ()
    accept(core, calls["c"])
    assert confirmed(core) == (ConfirmedRead(number, 3),)


def test_two_rounds_after_each_other_have_two_numbers() -> None:
    """
    Numbers grow and are never used again, whoever asks and when.
    """
    core = leading()
    numbers = []
    for _ in range(5):
        numbers.append(core.read_index())
        accept(core, *sent(core).values())
        assert [read.round for read in confirmed(core)] == numbers[-1:]
    assert numbers == sorted(set(numbers))


def test_a_round_in_which_members_change_goes_by_those_there_are() -> None:
    """
    The configuration in force decides when the answers are counted (4.1).
    """
    core = leading("abc")
    settled(
        core,
        Configuration(tuple(map(member, "abcd"))),
    )
    number = core.read_index()
    calls = sent(core)
    accept(core, calls["d"])
    assert confirmed(core) == (), "two of four are no majority"
    core.remove_server("c")
    accept(core, *sent(core).values())
    assert confirmed(core) == (ConfirmedRead(number, core.commit_index - 1),)


# All together.


def test_what_was_committed_before_is_read_from_the_next_leader() -> None:
    """
    However the leaders follow each other: no read misses what was answered before it.
    """
    network = Network.of("abc")
    for number, leader in enumerate("abcab"):
        network.elect(leader)
        before = network.read_index(leader)
        network.settle()
        assert before.index is not None
        assert before.index >= network[leader].log.last_index
        entry = network.propose(leader, b"%d" % number)
        network.settle()
        after = network.read_index(leader)
        network.settle()
        assert after.index is not None
        assert after.index >= entry.index
        network.isolate(leader)
        network.run(2 * network.timing.election_timeout)
        network.heal()


def test_who_reaches_only_the_deposed_leader_reads_nothing() -> None:
    """
    The leader of a partition's smaller side does not name an index any more.

    It has not noticed yet, and the other side has committed already.
    """
    network = Network.of("abcde")
    network.elect("a")
    network.settle()
    network.partition("ab", "cde")
    for id_ in "cde":
        network.tick(id_, network.timing.election_timeout)
    network.elect_quietly("c", lambda message: False)
    entry = network.propose("c", b"x")
    network.settle()
    assert network["c"].commit_index == entry.index
    assert network["a"].led_term == 2, "it still believes that it leads"
    stale = network.read_index("a")
    fresh = network.read_index("c")
    network.settle()
    assert stale.index is None
    assert fresh.index == entry.index
    network.run(2 * network.timing.election_timeout)
    network.heal()
    network.run(network.timing.election_timeout)
    assert stale.index is None


def test_a_leader_that_paused_between_the_question_and_the_answers() -> None:
    """
    Answers that come when another leads long since still say what was true.

    A read confirmed by them is as of the time when it was asked for: it may be late but
    is not wrong, for whoever asked has waited all the time.
    """
    network = Network.of("abc")
    network.elect("a")
    entry = network.propose("a", b"x")
    network.settle()
    read = network.read_index("a")
    network.settle(lambda message: message.destination == "a")
    network.lapse("b", "c")
    network.elect_quietly(
        "b", lambda message: "a" in (message.source, message.destination)
    )
    network.propose("b", b"y")
    network.settle(lambda message: "a" in (message.source, message.destination))
    assert network["b"].commit_index == 5
    answers = [m for m in network.waiting("b", "a") if m.response is not None]
    network.deliver(answers[0])
    assert read.index == entry.index
    late = network.read_index("a")
    network.settle()
    assert late.index is None
    assert network["a"].role == Follower("b")

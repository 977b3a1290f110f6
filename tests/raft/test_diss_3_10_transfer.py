"""
Dissertation 3.10: a leader hands its leadership over.

It stops appending, lets the other catch up, and tells it to campaign at once. The votes
are given though the leader is alive, and only because the candidate says that the
leader wants it (4.2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from hraftd.raft.configuration import Suffrage
from hraftd.raft.errors import (
    CannotTransfer,
    NotLeader,
    ProtocolViolation,
    TransferInProgress,
)
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    InstallSnapshot,
    NoOp,
    RequestVote,
    RequestVoteResponse,
    Snapshot,
    TimeoutNow,
    TimeoutNowResponse,
)
from hraftd.raft.ready import Timing
from hraftd.raft.roles import Candidate, Follower, PreCandidate
from tests.raft.answers import accept, beat, converse, fail, lapse, leading
from tests.raft.network import Network, member, save, server

if TYPE_CHECKING:
    from hraftd.raft.consensus import ConsensusModule

NOW = TimeoutNow(2, "a")


def told(core: ConsensusModule) -> list[str]:
    """
    Return whom the server tells now to campaign.
    """
    calls = save(core).early_calls
    return [call.to for call in calls if isinstance(call.request, TimeoutNow)]


def following(log: tuple[int, ...] = (1, 2), leader: str = "a") -> ConsensusModule:
    """
    Return server ``b``, which has just heard its leader.
    """
    core = server("b", log)
    core.handle(AppendEntries(log[-1], leader, len(log), log[-1], (), len(log)))
    save(core)
    return core


# The leader.


def test_a_server_that_has_everything_is_told_at_once() -> None:
    """
    "The prior leader sends a TimeoutNow request to the target server" (3.10).
    """
    core = leading()
    core.transfer_leadership("b")
    assert core.transferring_to == "b"
    [call] = save(core).early_calls
    assert (call.to, call.request) == ("b", NOW)
    accept(core, call)
    assert core.transferring_to == "b", "it does not lead yet"
    assert core.led_term == 2, "nor does anybody else"
    assert told(core) == [], "once is enough"


def test_a_slow_server_catches_up_first() -> None:
    """
    "The prior leader fully updates the target server's log to match its own" (3.10).

    Whether the entries are committed does not matter; what matters is that the next
    leader has them all.
    """
    core = leading("abc", timing=Timing(max_append_bytes=1))
    core.propose(b"x")
    core.propose(b"y")
    core.transfer_leadership("c")
    [to_b, to_c] = save(core).early_calls
    accept(core, to_b)
    [to_b] = save(core).early_calls
    accept(core, to_b)
    assert core.commit_index == 4, "b has all"
    assert told(core) == []
    accept(core, to_c)
    [to_c] = save(core).early_calls
    assert to_c.request.entries == core.log.between(4, 4)
    accept(core, to_c)
    assert core.match_index("c") == core.log.last_index
    assert told(core) == ["c"]


def test_a_server_that_needs_a_snapshot_gets_it_first() -> None:
    """
    Also one whose entries are compacted is brought up to date before it leads (etcd).
    """
    core = leading("abc", silent="c")
    core.propose(b"x")
    core.propose(b"y")
    converse(core, silent="c")
    snapshot = Snapshot(4, 2, core.configuration, 4, bytes(32))
    core.compact(snapshot, 5)
    core.transfer_leadership("c")
    to_b, to_c = beat(core)
    accept(core, to_b, to_c)
    [fetch] = save(core).fetches
    core.fetched(fetch, b"1234")
    [piece] = save(core).early_calls
    assert isinstance(piece.request, InstallSnapshot)
    assert told(core) == []
    accept(core, piece)
    assert told(core) == ["c"]


def test_nothing_is_appended_meanwhile() -> None:
    """
    Writes during a transfer would make the next leader's vote fail (hashicorp 581).

    "The prior leader stops accepting new client requests" (3.10). Neither a command nor
    a membership change is appended, so that the log the target has stays the whole log
    (hashicorp 581).
    """
    core = leading()
    core.transfer_leadership("b")
    log = core.log.between(1, 2)
    for _ in range(2):
        with pytest.raises(TransferInProgress, match="handed over to b"):
            core.propose(b"x")
        with pytest.raises(TransferInProgress):
            core.propose(NoOp())
        with pytest.raises(TransferInProgress):
            core.add_server(member("d"))
        with pytest.raises(TransferInProgress):
            core.remove_server("c")
        accept(core, *save(core).early_calls)
    assert core.log.between(1, core.log.last_index) == log
    assert core.configuration.get("d") is None
    assert told(core) == []


def test_a_learner_is_not_promoted_meanwhile() -> None:
    """
    Promotion is an entry, too; it waits until the transfer is over.
    """
    core = leading()
    core.add_server(member("d"))
    converse(core, silent="d")
    core.transfer_leadership("b")
    last_index = core.log.last_index
    accept(core, *beat(core))
    converse(core)
    assert core.match_index("d") == last_index, "it has caught up"
    assert core.log.last_index == last_index
    lapse(core)
    assert core.transferring_to is None
    accept(core, *beat(core))
    assert core.configuration.is_voter("d")


def test_it_is_given_up_after_an_election_timeout() -> None:
    """
    "If leadership transfer does not complete after about an election timeout, the prior
    leader aborts the transfer and resumes accepting client requests" (3.10).
    """
    core = leading()
    core.transfer_leadership("b")
    assert told(core) == ["b"]
    for _ in range(core.timing.election_timeout - 1):
        core.tick()
        converse(core)
    assert core.transferring_to == "b"
    with pytest.raises(TransferInProgress):
        core.propose(b"x")
    core.tick()
    assert core.transferring_to is None
    core.propose(b"x")
    converse(core)
    assert core.commit_index == core.log.last_index == 3
    core.transfer_leadership("c")
    assert told(core) == ["c"], "another may be tried"


def test_a_target_that_never_catches_up_is_never_told() -> None:
    """
    It could not win, and all would wait for a vote that fails.
    """
    core = leading(silent="c")
    core.propose(b"x")
    core.transfer_leadership("c")
    for _ in range(core.timing.election_timeout):
        assert told(core) == []
        core.tick()
        converse(core, silent="c")
    assert core.transferring_to is None
    assert told(core) == []


def test_a_call_that_failed_ends_it_at_once() -> None:
    """
    Who did not get the request will not campaign: nobody has to wait for a timeout.
    """
    core = leading()
    core.transfer_leadership("b")
    [call] = save(core).early_calls
    fail(core, call)
    assert core.transferring_to is None
    core.propose(b"x")
    converse(core)
    assert core.commit_index == 3


def test_a_failure_of_an_earlier_attempt_does_not_end_a_later_one() -> None:
    """
    The first target did not answer; long after, while another is tried, it fails.
    """
    core = leading()
    core.transfer_leadership("b")
    [late] = save(core).early_calls
    lapse(core)
    assert core.transferring_to is None
    core.transfer_leadership("c")
    fail(core, late)
    assert core.transferring_to == "c"


def test_one_at_a_time() -> None:
    """
    While one is under way there is no other, not even to the same server.
    """
    core = leading()
    core.transfer_leadership("b")
    for target in "bc":
        with pytest.raises(TransferInProgress):
            core.transfer_leadership(target)
    assert core.transferring_to == "b"
    assert told(core) == ["b"]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [("a", "is the leader already"), ("x", "not a voter"), ("d", "not a voter")],
)
@pytest.mark.parametrize("suffrage", [Suffrage.LEARNER, Suffrage.NONVOTER])
def test_to_whom_it_is_not_handed(
    target: str, sentence: str, suffrage: Suffrage
) -> None:
    """
    Itself, a stranger, a learner and a nonvoter cannot be the next leader (etcd).
    """
    core = leading()
    core.add_server(evolve(member("d"), suffrage=suffrage))
    converse(core, silent="d")
    with pytest.raises(CannotTransfer, match=f"^{target} .*{sentence}"):
        core.transfer_leadership(target)
    assert core.transferring_to is None
    core.propose(b"x")


def test_only_a_leader_hands_over() -> None:
    """
    Others name the leader, and hand over nothing.
    """
    core = following()
    with pytest.raises(NotLeader) as refusal:
        core.transfer_leadership("c")
    assert refusal.value.leader == member("a")
    assert core.transferring_to is None


def test_it_goes_on_replicating_and_hearing() -> None:
    """
    Heartbeats are sent, and entries from before are committed, while it hands over.
    """
    core = leading()
    core.propose(b"x")
    core.transfer_leadership("b")
    to_b, to_c = save(core).early_calls
    accept(core, to_c)
    assert core.commit_index == 3
    heartbeats = [call for call in beat(core) if call.request != NOW]
    assert {call.to for call in heartbeats} == {"b", "c"}
    number = core.read_index()
    accept(core, *save(core).early_calls)
    assert [read.round for read in save(core).confirmed_reads] == [number]
    accept(core, to_b)
    assert told(core) == ["b"]


def test_the_old_leader_follows_the_new_one() -> None:
    """
    When the new one asks for its vote the leader gives it: the lease is its own.
    """
    core = leading()
    core.transfer_leadership("b")
    save(core)
    vote = RequestVote(3, "b", 2, 2, leadership_transfer=True)
    assert core.handle(vote) == RequestVoteResponse(3, True)
    assert core.role == Follower(None)
    assert core.transferring_to is None
    assert save(core).hard_state == HardState(3, "b")
    core.handle(AppendEntries(3, "b", 2, 2, (Entry(3, 3, NoOp()),), 2))
    assert core.leader_id == "b"


def test_a_target_that_is_removed_before_stays_out() -> None:
    """
    Whoever was removed is not a voter, though the leader still talks with it.
    """
    core = leading()
    core.remove_server("c")
    converse(core, silent="c")
    assert any(call.to == "c" for call in beat(core)), "it is being told"
    with pytest.raises(CannotTransfer):
        core.transfer_leadership("c")


def test_a_leader_that_is_removed_hands_over_by_itself() -> None:
    """
    When its removal is committed the server that is furthest takes over (4.2.2).

    Whoever answers; one that is silent for an election timeout is not asked, however
    long its log.
    """
    core = leading("abcde")
    core.remove_server("a")
    to_b, to_c, to_d, _ = save(core).early_calls
    core.propose(b"x")
    accept(core, to_b, to_c)
    assert core.led_term == 2
    [_, more_c] = save(core).early_calls
    accept(core, more_c)
    accept(core, to_d)
    assert core.commit_index == 3
    assert core.led_term == 2, "as far as it knows: not handed out yet"
    assert told(core) == ["c"]
    assert core.role == Follower(None)


# The target.


def test_the_target_campaigns_at_once_and_without_a_pre_vote() -> None:
    """
    As if its "election timer" had fired (3.10), but for the pre-vote; and its requests
    say that the leader wants it (4.2.3).
    """
    core = following()
    assert core.handle(NOW) == TimeoutNowResponse(3)
    assert core.role == Candidate()
    ready = core.ready()
    assert ready.hard_state == HardState(3, "b")
    assert {call.to for call in ready.calls} == {"a", "c"}
    assert {call.request for call in ready.calls} == {
        RequestVote(3, "b", 2, 2, pre_vote=False, leadership_transfer=True)
    }


def test_a_target_that_does_not_win_campaigns_as_others_do() -> None:
    """
    The leader's wish is for one election: the next asks for pre-votes, without it.
    """
    core = following()
    core.handle(NOW)
    save(core)
    for _ in range(2 * core.timing.election_timeout):
        core.tick()
        if isinstance(core.role, PreCandidate):
            break
    pre_votes = save(core).calls
    assert {call.request for call in pre_votes} == {
        RequestVote(4, "b", 2, 2, pre_vote=True, leadership_transfer=False)
    }
    for call in pre_votes:
        core.response_received(call, RequestVoteResponse(3, True))
    assert {call.request for call in save(core).calls} == {RequestVote(4, "b", 2, 2)}


@pytest.mark.parametrize("leader", ["a", "c"])
def test_raft_rs_234_a_late_timeout_now_does_nothing(leader: str) -> None:
    """
    A request of a term that is over starts no election (raft-rs 234).

    It would be one that passes by the lease of a leader that nobody wants to replace,
    be it the same server as before (raft-rs 234).
    """
    core = following()
    core.handle(AppendEntries(3, leader, 2, 2, (), 2))
    save(core)
    assert core.handle(NOW) == TimeoutNowResponse(3)
    assert core.role == Follower(leader)
    assert not save(core).must_save
    assert save(core).calls == ()


def test_a_timeout_now_that_waited_while_the_server_slept_does_nothing() -> None:
    """
    A server that stood still may find an order that its leader has long given up.

    From the next tick on what comes in was sent since, or it hears so by then.
    """
    core = following()
    core.slept()
    assert core.handle(NOW) == TimeoutNowResponse(2)
    assert not save(core).must_save
    core.tick()
    assert core.handle(NOW) == TimeoutNowResponse(3)


def test_a_timeout_now_that_comes_twice_is_late_the_second_time() -> None:
    """
    The first has begun another term.
    """
    core = following()
    core.handle(NOW)
    save(core)
    assert core.handle(NOW) == TimeoutNowResponse(3)
    assert core.current_term == 3
    assert not save(core).must_save


def test_a_timeout_now_of_a_later_term_does_nothing() -> None:
    """
    The target lacks what that leader has; it is not the one that should lead.
    """
    core = following()
    assert core.handle(TimeoutNow(5, "c")) == TimeoutNowResponse(2)
    assert core.role == Follower("a")
    assert core.hard_state == HardState(2)


def test_a_timeout_now_of_who_does_not_lead_does_nothing() -> None:
    """
    Nobody has the right to pass by the lease but the leader.

    A second leader of the term there is not; and as long as a server has heard no
    leader, none has told it that its log is complete.
    """
    core = following()
    with pytest.raises(ProtocolViolation, match="c claims to lead term 2"):
        core.handle(TimeoutNow(2, "c"))
    assert core.role == Follower("a")
    core = server("b", (1, 2))
    assert core.handle(NOW) == TimeoutNowResponse(2)
    assert core.role == Follower(None)
    assert core.current_term == 2


def test_a_server_without_a_vote_does_not_campaign_if_told() -> None:
    """
    A learner that is told by mistake, or too early, stays one.
    """
    core = server("d", (1, 2))
    core.handle(AppendEntries(2, "a", 2, 2, (), 2))
    assert core.handle(NOW) == TimeoutNowResponse(2)
    assert core.role == Follower("a")


def test_canonical_raft_203_a_heartbeat_does_not_undo_the_campaign() -> None:
    """
    The old leader's heartbeats do not call it back (canonical/raft 203).

    A target that asks for pre-votes first is a follower again with the next heartbeat.
    Here it is in a later term at once, and refuses the heartbeat (canonical/raft 203).
    """
    core = following()
    core.handle(NOW)
    answer = core.handle(AppendEntries(2, "a", 2, 2, (), 2))
    assert answer == AppendEntriesResponse(3, False)
    assert core.role == Candidate()
    calls = save(core).calls
    core.response_received(calls[0], RequestVoteResponse(3, True))
    assert core.led_term == 3


def test_a_target_with_a_slow_disk() -> None:
    """
    It asks for votes, and counts its own, when its disk has the vote; never before.

    A heartbeat, a second request and its election timer do not make it begin again
    meanwhile.
    """
    core = following()
    core.handle(NOW)
    saving = core.ready()
    for _ in range(3 * core.timing.election_timeout):
        core.handle(NOW)
        core.handle(AppendEntries(2, "a", 2, 2, (), 2))
        core.tick()
        ready = core.ready()
        assert not ready.must_save
        assert ready.calls == ()
    assert core.current_term == 3
    assert core.role == Candidate()
    core.advance(saving)
    assert core.role == Candidate({"b"})
    core.response_received(saving.calls[0], RequestVoteResponse(3, True))
    assert core.led_term == 3


def test_a_save_under_way_holds_back_the_campaign() -> None:
    """
    The candidate's requests wait for its vote, which waits for the write before.
    """
    core = following()
    core.handle(AppendEntries(2, "a", 2, 2, (Entry(3, 2, b"x"),), 2))
    first = core.ready()
    assert first.entries
    core.handle(NOW)
    assert core.ready().calls == ()
    core.advance(first)
    assert core.role == Candidate(), "the first save held no vote"
    second = core.ready()
    assert second.hard_state == HardState(3, "b")
    assert {call.to for call in second.calls} == {"a", "c"}


# The others.


def test_the_votes_pass_by_the_lease_only_if_the_leader_wants_it() -> None:
    """
    They are given "even when they believe a current cluster leader exists" (4.2.3), if
    the candidate says that the leader wants it; and not otherwise.
    """
    core = server("c", (1, 2))
    core.handle(AppendEntries(2, "a", 2, 2, (), 2))
    plain = RequestVote(3, "b", 2, 2)
    assert core.handle(plain) == RequestVoteResponse(2, False)
    assert core.hard_state == HardState(2)
    wanted = RequestVote(3, "b", 2, 2, leadership_transfer=True)
    assert core.handle(wanted) == RequestVoteResponse(3, True)
    assert save(core).hard_state == HardState(3, "b")


@pytest.mark.parametrize(
    ("vote", "answer"),
    [
        # Its log is behind.
        (RequestVote(3, "b", 1, 1, False, True), RequestVoteResponse(3, False)),
        # That term is over.
        (RequestVote(1, "b", 9, 1, False, True), RequestVoteResponse(2, False)),
        # The vote of that term is given away.
        (RequestVote(2, "b", 2, 2, False, True), RequestVoteResponse(2, False)),
    ],
)
def test_the_leaders_wish_gives_nobody_a_vote(
    vote: RequestVote, answer: RequestVoteResponse
) -> None:
    """
    All else is as in any election: the log, the term, one vote in it (5.2, 5.4.1).
    """
    core = server("c", (1, 2), voted_for="a")
    core.handle(AppendEntries(2, "a", 2, 2, (), 2))
    assert core.handle(vote) == answer


# All together.


def started(voters: str = "abc") -> Network:
    """
    Return a cluster that ``a`` leads in term 2.
    """
    network = Network.of(voters)
    network.elect("a")
    network.settle()
    return network


def test_leadership_goes_round_without_any_timer() -> None:
    """
    No time passes from one leader to the next, and nothing is lost.
    """
    network = started()
    for number, (one, next_) in enumerate(["ab", "bc", "ca", "ac"]):
        network.propose(one, b"%d" % number)
        network.transfer(one, next_)
        network.settle()
        assert network.leader == next_
        assert network[next_].current_term == 3 + number
        assert network[one].leader_id == next_
    assert network.commands("b") == [b"0", b"1", b"2", b"3"]
    network.check()


def test_a_target_that_was_away_catches_up_and_leads() -> None:
    """
    It is the leader that waits, not the clients who write before.
    """
    network = started()
    network.isolate("c")
    for number in range(3):
        network.propose("a", b"%d" % number)
    network.settle()
    network.heal()
    network.transfer("a", "c")
    network.run(2 * network.timing.heartbeat_interval)
    assert network.leader == "c"
    assert network.commands("c") == [b"0", b"1", b"2"]


def test_a_target_that_is_restored_from_a_snapshot_leads() -> None:
    """
    What it lacks has been compacted at the leader (etcd).
    """
    network = started()
    network.isolate("c")
    for number in range(3):
        network.propose("a", b"%d" % number)
    network.settle()
    network.take_snapshot("a")
    network.heal()
    network.transfer("a", "c")
    network.run(2 * network.timing.heartbeat_interval)
    assert network.leader == "c"
    assert network["c"].log.snapshot_index == 5
    assert network.commands("c") == [b"0", b"1", b"2"]


def test_hashicorp_581_a_leader_that_is_written_to_hands_over() -> None:
    """
    Clients that never stop writing do not keep it from happening (hashicorp 581).

    If their entries were appended the target's log would be behind again when it asks
    for votes (hashicorp 581).
    """
    network = started()
    written = 0

    def write(leader: str) -> None:
        nonlocal written
        try:
            network.propose(leader, b"%d" % written)
        except (TransferInProgress, NotLeader):
            return
        written += 1

    write("a")
    network.transfer("a", "b")
    for _ in range(100):
        write("a")
        if not network.in_transit:
            break
        network.deliver(network.in_transit[0])
    assert network.leader == "b"
    assert network[network.leader].current_term == 3
    assert written == 1
    write("b")
    network.settle()
    assert network.commands("c") == [b"0", b"1"]


def test_a_target_that_crashes_before_it_wins() -> None:
    """
    Nobody knows; after an election timeout the leader appends again.
    """
    network = started()
    network.transfer("a", "b")
    [message] = network.waiting("a", "b")
    network.nodes["b"].has_slow_disk = True
    network.deliver(message)
    network.crash("b")
    network.run(network.timing.election_timeout)
    assert network["a"].transferring_to is None
    network.propose("a", b"x")
    network.settle()
    assert network.commands("c") == [b"x"]
    assert network["a"].led_term == 2


def test_a_target_that_is_too_late_does_no_harm() -> None:
    """
    Its disk took longer than the leader waited, who has appended since.

    It still passes by the lease, which costs an election; but its log is behind, so
    that it does not win, and what was committed stays.
    """
    network = started()
    network.transfer("a", "b")
    network.nodes["b"].has_slow_disk = True
    network.settle(lambda message: message.response is not None)
    assert isinstance(network["b"].role, Candidate)
    network.run(network.timing.election_timeout)
    network.propose("a", b"x")
    network.settle()
    assert network.commands("c") == [b"x"]
    network.nodes["b"].has_slow_disk = False
    network.finish_save("b")
    network.run_until(lambda: (network[network.leader or "b"].led_term or 0) > 2)
    assert network.leader in ("a", "c")
    network.run(5)
    assert network.commands("b") == [b"x"]
    network.check()


def test_a_leader_that_is_cut_off_while_it_hands_over() -> None:
    """
    Whoever is elected by the others, there is one leader in the end, and one history.
    """
    for deliveries in range(8):
        network = started("abcde")
        network.propose("a", b"x")
        network.transfer("a", "b")
        for _ in range(deliveries):
            network.deliver(network.in_transit[0])
        network.isolate("a")
        network.run(5 * network.timing.election_timeout)
        assert network.leader is not None
        assert network.leader != "a"
        network.heal()
        network.run(2 * network.timing.election_timeout)
        assert network["a"].leader_id == network.leader
        network.check()

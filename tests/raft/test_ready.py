"""
The contract between the algorithm and whoever drives it: Ready and advance.

What waits for the disk, what need not, and what an acknowledged write still means after
the log has changed (Raft figure 2; dissertation 3.8 and 10.2.1).
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.raft.configuration import Configuration
from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.leader import Leader
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    Piece,
    RequestVote,
    RequestVoteResponse,
)
from hraftd.raft.ready import ConfirmedRead
from hraftd.raft.roles import Candidate, PreCandidate
from tests.raft.disk import snapshot_of
from tests.raft.network import (
    campaign,
    entries,
    lead,
    member,
    save,
    server,
    stand,
    tick_until,
)
from tests.raft.observing import NOTHING


def make(index: int, term: int) -> Entry:
    """
    Return an entry that names itself.
    """
    return Entry(index, term, b"%d of %d" % (index, term))


def append(
    core: ConsensusModule,
    term: int,
    prev: tuple[int, int],
    *new: Entry,
    commit: int = 0,
) -> None:
    """
    Have the leader of that term append entries behind ``prev``; it must succeed.
    """
    request = AppendEntries(term, f"leader {term}", *prev, new, commit)
    assert core.handle(request) == AppendEntriesResponse(term, True)


def test_what_a_server_began_with_is_on_disk_already() -> None:
    """
    After a start there is nothing to write; only the members are news.
    """
    core = server(log=(1, 1))
    ready = core.ready()
    assert not ready.must_save
    assert ready.servers == core.configuration.servers
    assert core.stable_index == 2
    assert core.ready() == NOTHING


def test_a_bootstrapped_server_writes_its_first_entry() -> None:
    """
    The configuration is the first entry of the log, and saved like any other.
    """
    core = ConsensusModule("a", HardState(), Log(), server()._rng)
    core.bootstrap(member("a"))
    ready = core.ready()
    assert ready.must_save
    assert ready.hard_state == HardState(1, None)
    assert ready.entries == core.log.between(1, 1)
    assert ready.servers == (member("a"),)
    assert ready.committed == ()


def test_nothing_is_written_twice() -> None:
    """
    What a Ready held and ``advance`` acknowledged is not handed out again.
    """
    core = server()
    append(core, 3, (1, 1), make(2, 3))
    ready = core.ready()
    assert (ready.hard_state, ready.entries) == (HardState(3), (make(2, 3),))
    core.advance(ready)
    assert not core.ready().must_save


def test_entries_replace_what_follows_on_disk() -> None:
    """
    After a conflict the first entry to be written is the one that replaces another.
    """
    core = server(log=(1, 1, 1, 1))
    append(core, 3, (2, 1), make(3, 3))
    assert core.stable_index == 2
    assert save(core).entries == (make(3, 3),)
    assert core.stable_index == 3


def test_while_a_save_is_under_way_no_other_begins() -> None:
    """
    One write at a time: what must be saved, or wait for it, is withheld until then.
    """
    core = server()
    append(core, 3, (1, 1), make(2, 3))
    first = core.ready()
    append(core, 3, (2, 3), make(3, 3))
    assert core.ready() == NOTHING
    campaign(core)
    core.handle(RequestVote(4, "b", 0, 0))
    assert core.ready() == NOTHING
    campaign(core)
    assert core.ready() == NOTHING
    core.advance(first)
    second = core.ready()
    assert second.hard_state == HardState(4, None)
    assert second.entries == (make(3, 3),)
    assert {call.request for call in second.calls} == {RequestVote(5, "a", 3, 3, True)}


def test_calls_are_withheld_while_saving() -> None:
    """
    A request for votes speaks of a log and a vote that are to be on disk.
    """
    core = server()
    for call in campaign(core):
        core.response_received(call, RequestVoteResponse(1, True))
    first = core.ready()
    assert [call.to for call in first.calls] == ["b", "c"]
    for _ in range(3 * core.timing.election_timeout):
        core.tick()
    assert isinstance(core.role, Candidate), "its own vote is not on disk yet"
    assert core.ready().calls == ()
    core.handle(RequestVote(9, "b", 9, 8))
    tick_until(core, lambda: isinstance(core.role, PreCandidate))
    assert core.ready().calls == ()
    core.advance(first)
    assert all(call.request.pre_vote for call in core.ready().calls)


def test_only_the_save_under_way_is_acknowledged() -> None:
    """
    An acknowledgement of anything else is an error of the driver.
    """
    core = server()
    with pytest.raises(ValueError, match="not the Ready that is being saved"):
        core.advance(core.ready())
    append(core, 3, (1, 1), make(2, 3))
    ready = core.ready()
    core.advance(ready)
    with pytest.raises(ValueError, match="not the Ready that is being saved"):
        core.advance(ready)


def test_a_leader_sends_entries_while_its_disk_writes() -> None:
    """
    A leader's disk and its followers' disks work at the same time.

    Dissertation 10.2.1: "the leader can write to its disk in parallel with replicating
    to the followers"; nothing else is sent early.
    """
    core = server(voters="ab")
    [probe] = lead(core)
    core.response_received(probe, AppendEntriesResponse(2, True))
    [first] = save(core).early_calls
    core.response_received(first, AppendEntriesResponse(2, True))
    save(core)
    entry = core.propose(b"x")
    ready = core.ready()
    assert ready.entries == (entry,)
    assert [call.request.entries for call in ready.early_calls] == [(entry,)]
    assert ready.calls == ()


def test_a_majority_without_the_leader_commits() -> None:
    """
    A leader's own disk may be the last.

    "The leader may even commit an entry before it has been written to its own disk, if
    a majority of followers have written it" (10.2.1), but it applies it only
    afterwards.
    """
    core = server()
    probes = lead(core)
    for probe in probes:
        core.response_received(probe, AppendEntriesResponse(2, True))
    for call in save(core).early_calls:
        core.response_received(call, AppendEntriesResponse(2, True))
    save(core)
    entry = core.propose(b"x")
    ready = core.ready()
    to_b, to_c = ready.early_calls
    core.response_received(to_b, AppendEntriesResponse(2, True))
    assert core.commit_index == 2
    core.response_received(to_c, AppendEntriesResponse(2, True))
    assert core.commit_index == 3
    assert core.ready().committed == ()
    core.advance(ready)
    assert core.ready().committed == (entry,)


def test_etcd_14370_a_cluster_of_one_commits_when_its_disk_has_it() -> None:
    """
    Being a majority on its own, a leader still waits for its own write (etcd 14370).
    """
    core = server(voters="a")
    core.tick()
    save(core)
    save(core)
    assert core.led_term == 2
    entry = core.propose(b"x")
    ready = core.ready()
    assert core.commit_index == 2
    assert ready.entries == (entry,)
    later = core.propose(b"y")
    assert core.ready().committed == ()
    core.advance(ready)
    assert core.commit_index == 3
    ready = core.ready()
    assert (ready.committed, ready.entries) == ((entry,), (later,))
    core.advance(ready)
    assert core.ready().committed == (later,)


def test_a_candidate_counts_its_own_vote_when_its_disk_has_it() -> None:
    """
    A vote is a promise like that of any other voter (5.2).
    """
    core = server(voters="a")
    core.tick()
    ready = core.ready()
    assert core.role == Candidate(set())
    core.advance(ready)
    assert isinstance(core.role, Leader)


def test_a_save_of_an_older_term_is_not_a_vote_in_this_one() -> None:
    """
    Only the write that holds the vote makes it count.
    """
    core = server(voters="ab")
    core.handle(RequestVote(4, "b", 0, 0))
    older = core.ready()
    assert older.hard_state == HardState(4, None)
    tick_until(core, lambda: isinstance(core.role, PreCandidate))
    # Its request waits for the disk; say that it was granted all the same.
    [call] = core.calls
    core.response_received(call, RequestVoteResponse(4, True))
    assert core.hard_state == HardState(5, "a")
    core.advance(older)
    assert core.role == Candidate(set())
    save(core)
    assert core.role == Candidate({"a"})


def test_etcd_897e1cf_an_acknowledgement_after_a_truncation() -> None:
    """
    An old acknowledgement makes no new entry stable (etcd 897e1cf).

    A write that is acknowledged after its entries were replaced makes none of the new
    ones stable (etcd 897e1cf).
    """
    core = server()
    append(core, 2, (1, 1), make(2, 2), make(3, 2), make(4, 2))
    old = core.ready()
    append(core, 3, (2, 2), make(3, 3), make(4, 3), make(5, 3), commit=5)
    core.advance(old)
    assert core.stable_index == 2
    ready = core.ready()
    assert [entry.index for entry in ready.committed] == [1, 2]
    assert ready.entries == (make(3, 3), make(4, 3), make(5, 3))
    core.advance(ready)
    assert core.stable_index == 5
    assert [entry.index for entry in core.ready().committed] == [3, 4, 5]


def test_an_acknowledgement_after_a_truncation_of_all_of_it() -> None:
    """
    Nothing of what was written is in the log any more: nothing becomes stable.
    """
    core = server(log=(1, 1))
    append(core, 2, (2, 1), make(3, 2), make(4, 2))
    old = core.ready()
    append(core, 3, (1, 1), make(2, 3))
    core.advance(old)
    assert core.stable_index == 1
    assert save(core).entries == (make(2, 3),)


def test_an_acknowledgement_of_entries_that_came_back() -> None:
    """
    ABA: replaced and put back during the write, they are on disk after all.
    """
    core = server()
    append(core, 2, (1, 1), make(2, 2), make(3, 2))
    old = core.ready()
    append(core, 3, (1, 1), make(2, 3))
    append(core, 4, (1, 1), make(2, 2), make(3, 2))
    core.advance(old)
    assert core.stable_index == 3
    assert save(core).entries == ()


def test_what_was_stable_and_came_back_is_written_again() -> None:
    """
    The disk may hold the replacement by then, so nothing is taken for granted.
    """
    core = server(log=(1, 1, 1))
    append(core, 2, (1, 1), make(2, 2))
    old = core.ready()
    again = entries((1, 1, 1), "abc")[1:]
    append(core, 3, (1, 1), *again)
    core.advance(old)
    assert core.stable_index == 1
    assert save(core).entries == again
    assert core.stable_index == 3


def test_committed_entries_wait_for_the_disk_of_a_follower() -> None:
    """
    Applied entries are stable: what is applied is never lost from the log.
    """
    core = server()
    append(core, 2, (1, 1), make(2, 2), make(3, 2), commit=3)
    ready = core.ready()
    assert core.commit_index == 3
    assert [entry.index for entry in ready.committed] == [1]
    core.advance(ready)
    assert [entry.index for entry in core.ready().committed] == [2, 3]
    assert core.ready().committed == ()


def test_entries_are_handed_out_while_another_save_is_under_way() -> None:
    """
    What is on disk already waits for nothing.
    """
    core = server(log=(1, 1))
    append(core, 2, (2, 1), make(3, 2))
    core.ready()
    append(core, 2, (3, 2), commit=3)
    assert [entry.index for entry in core.ready().committed] == [1, 2]


def test_the_servers_are_told_when_they_change() -> None:
    """
    When it is appended, and when truncation puts an older one in force again.
    """
    core = server()
    older = core.configuration
    assert core.ready().servers == older.servers
    assert core.ready().servers is None
    newer = older.with_server(member("d"))
    append(core, 2, (1, 1), Entry(2, 2, newer))
    assert save(core).servers == newer.servers
    append(core, 3, (1, 1), make(2, 3))
    assert save(core).servers == older.servers


def test_what_was_not_sent_is_forgotten_with_the_campaign() -> None:
    """
    Votes that nobody needs any more are not asked for.
    """
    core = server()
    stand(core)
    tick_until(core, lambda: not isinstance(core.role, Candidate))
    append(core, 2, (1, 1))
    assert save(core).calls == ()


def test_what_is_no_request_is_an_error_of_the_driver() -> None:
    """
    Whatever a peer sends is one of the four requests before it comes here.
    """
    core = server()
    with pytest.raises(AssertionError):
        core.handle(AppendEntriesResponse(1, True))  # type: ignore[arg-type]
    assert not core.ready().must_save


def test_must_save() -> None:
    """
    A term or an entry has to be written; nothing else has.
    """
    core = server()
    calls = campaign(core)
    assert calls
    assert not core.ready().must_save
    core.handle(RequestVote(9, "b", 0, 0))
    assert save(core).must_save
    append(core, 9, (1, 1), make(2, 9))
    assert save(core).must_save
    append(core, 9, (2, 9), commit=2)
    assert not core.ready().must_save


def test_a_piece_and_a_snapshot_must_be_saved() -> None:
    """
    Each on its own is something to write.
    """
    piece, snapshot = Piece(0, b"state"), snapshot_of([b"state"], 5, 1, Configuration())
    assert evolve(NOTHING, pieces=(piece,)).must_save
    assert evolve(NOTHING, snapshot=snapshot).must_save
    assert not evolve(NOTHING, confirmed_reads=(ConfirmedRead(1, 1),)).must_save

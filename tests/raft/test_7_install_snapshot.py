"""
InstallSnapshot RPC, receiver implementation (figure 13), and what its sender learns.

One server alone, of which the test plays the peers. Whole transfers are in
:mod:`tests.raft.test_7_snapshots`.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.raft.configuration import Configuration
from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.errors import ProtocolViolation
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Call,
    Entry,
    HardState,
    InstallSnapshot,
    InstallSnapshotResponse,
    Piece,
    RequestVoteResponse,
    Snapshot,
)
from hraftd.raft.progress import Progress, Sending
from hraftd.raft.ready import FetchPiece
from hraftd.raft.roles import Candidate, Follower
from tests.raft.disk import snapshot_of
from tests.raft.network import campaign, lead, member, save, server, stand, terms

ABC = Configuration(tuple(map(member, "abc")))
ABCD = Configuration(tuple(map(member, "abcd")))
CONTENT = (b"first", b"second", b"third")


def at(
    last_index: int,
    last_term: int,
    content: tuple[bytes, ...] = CONTENT,
    configuration: Configuration = ABC,
) -> Snapshot:
    """
    Return a snapshot at that entry.
    """
    return snapshot_of(content, last_index, last_term, configuration)


def requests(
    snapshot: Snapshot, content: tuple[bytes, ...] = CONTENT, *, term: int = 3
) -> list[InstallSnapshot]:
    """
    Return the requests with which b, the leader of that term, sends that snapshot.
    """
    made: list[InstallSnapshot] = []
    offset = 0
    for data in content:
        done = offset + len(data) == snapshot.size
        piece = Piece(offset, data)
        made.append(InstallSnapshot(term, "b", snapshot, piece, done))
        offset += len(data)
    return made


def send(core: ConsensusModule, *some: InstallSnapshot) -> list[int]:
    """
    Have a server handle these; return which offset it says to need after each.
    """
    needed: list[int] = []
    for request in some:
        answer = core.handle(request)
        assert isinstance(answer, InstallSnapshotResponse)
        assert answer.term == core.current_term
        needed.append(answer.next_offset)
    return needed


def append(
    core: ConsensusModule, prev: tuple[int, int], *new: Entry, commit: int = 0
) -> None:
    """
    Have b, the leader of term 3, append entries; it must succeed.
    """
    answer = core.handle(AppendEntries(3, "b", *prev, new, commit))
    assert answer == AppendEntriesResponse(3, True)


def make(index: int, term: int) -> Entry:
    """
    Return an entry that names itself.
    """
    return Entry(index, term, b"%d of %d" % (index, term))


# The steps of the figure.


def test_step_1_an_older_term_is_refused() -> None:
    """
    "Reply immediately if term < currentTerm": nothing else happens.
    """
    core = server(term=4)
    assert send(core, *requests(at(5, 2))) == [0, 0, 0]
    assert core.leader_id is None
    assert not save(core).must_save
    assert core.log.snapshot is None


def test_steps_2_to_4_pieces_are_written_as_they_come() -> None:
    """
    Each is on disk before it is answered, and answered with where the next begins.
    """
    core = server()
    first, second, third = requests(at(5, 2))
    assert send(core, first) == [5]
    ready = save(core)
    assert ready.hard_state == HardState(3)
    assert (ready.pieces, ready.snapshot) == ((first.piece,), None)
    assert send(core, second) == [11]
    assert save(core).pieces == (second.piece,)
    assert terms(core) == [1], "nothing changes before the last"
    assert core.commit_index == 0
    assert send(core, third) == [16]
    ready = save(core)
    assert (ready.pieces, ready.snapshot) == ((third.piece,), first.snapshot)
    assert ready.entries == ()


def test_pieces_that_come_together_are_written_together() -> None:
    """
    While the disk is busy they collect; then all of it is one transaction.
    """
    core = server()
    append(core, (1, 1), make(2, 3))
    busy = core.ready()
    assert send(core, *requests(at(5, 2))) == [5, 11, 16]
    ready = core.ready()
    assert not ready.must_save
    core.advance(busy)
    ready = save(core)
    assert [piece.data for piece in ready.pieces] == list(CONTENT)
    assert ready.snapshot == at(5, 2)


def test_steps_5_to_8_the_snapshot_takes_the_place_of_the_log() -> None:
    """
    It is in force at once, on disk with the next save, and in the state after that.
    """
    core = server(log=(1, 1), term=3)
    append(core, (2, 1), commit=2)
    snapshot = at(5, 2, configuration=ABCD)
    send(core, *requests(snapshot))
    assert core.log.snapshot is snapshot
    assert (core.commit_index, core.log.last_index, core.log.last_term) == (5, 5, 2)
    assert core.configuration == ABCD
    assert core.stable_index == 2
    ready = save(core)
    assert ready.servers == ABCD.servers
    assert core.stable_index == 5
    append(core, (5, 2), make(6, 3), commit=6)
    save(core)
    assert core.ready().committed == (), "the state is not what they follow"
    core.restored(snapshot)
    assert core.ready().committed == (make(6, 3),)


def test_step_6_what_follows_the_snapshot_stays() -> None:
    """
    "If existing log entry has same index and term", then the entries after it are kept.
    """
    core = server(log=(1, 1, 2, 2, 3), term=3)
    append(core, (5, 3), commit=1)
    send(core, *requests(at(4, 2)))
    assert terms(core) == [3]
    ready = save(core)
    assert ready.entries == core.log.between(5, 5), "the whole log is written anew"
    assert core.stable_index == 5
    append(core, (4, 2), make(5, 3))
    assert not save(core).must_save


@pytest.mark.parametrize("last", [(3, 1), (4, 3), (6, 2)])
def test_step_7_a_log_that_differs_is_discarded(last: tuple[int, int]) -> None:
    """
    "Discard the entire log", also what was on disk behind it.
    """
    core = server(log=(1, 1, 2, 2, 2), term=3)
    send(core, *requests(at(*last)))
    assert (core.log.last_index, core.log.last_term) == last
    assert terms(core) == []
    assert core.stable_index == 0
    assert save(core).entries == ()
    assert core.stable_index == last[0]


# Who sends.


def test_the_sender_is_the_leader() -> None:
    """
    A piece is a sign of life like a heartbeat, and of a later term.
    """
    core = server(term=2)
    stand(core)
    assert isinstance(core.role, Candidate)
    for request in requests(at(5, 2), term=3):
        core.tick()
        send(core, request)
        assert core.role == Follower("b")
        assert core.ticks_since_leader == 0
    for _ in range(core.timing.election_timeout):
        core.tick()
    assert core.role == Follower("b")


def test_nobody_believes_in_two_leaders_of_a_term() -> None:
    """
    Nor does a leader take a snapshot from another one of its own term.
    """
    core = server(term=3)
    append(core, (1, 1))
    [request, *_] = requests(at(5, 2))
    with pytest.raises(ProtocolViolation, match="c claims to lead term 3, which b"):
        core.handle(evolve(request, leader_id="c"))
    core = server(term=2)
    lead(core)
    with pytest.raises(ProtocolViolation, match="b claims to lead term 3, which a"):
        core.handle(request)
    assert not save(core).pieces


# What does not come as it should.


def test_a_piece_that_does_not_follow_is_not_taken() -> None:
    """
    One that comes twice, or too early, is answered with what is needed.
    """
    core = server()
    first, second, third = requests(at(5, 2))
    assert send(core, second, third) == [0, 0]
    assert save(core).pieces == ()
    assert send(core, first, third, first) == [5, 5, 5]
    assert save(core).pieces == (first.piece,)
    assert send(core, second, second, third) == [11, 11, 16]
    assert [piece.data for piece in save(core).pieces] == [b"second", b"third"]


def test_logcabin_174_after_a_restart_the_beginning_is_needed() -> None:
    """
    What was received of a snapshot is no use without the rest (LogCabin 174).
    """
    first, second, third = requests(at(5, 2))
    core = server()
    assert send(core, first, second) == [5, 11]
    save(core)
    core = server(term=3)
    assert send(core, third) == [0]
    assert send(core, first, second, third) == [5, 11, 16]
    assert save(core).snapshot == at(5, 2)


def test_smg_837_pieces_of_two_snapshots_are_not_mixed() -> None:
    """
    The first piece of another one begins anew (smg 837).

    A later piece of another one is not taken, and does not disturb what is going on.
    """
    other_content = (b"FIRST", b"SECOND", b"THIRD")
    one, other = at(5, 2), at(5, 2, other_content)
    core = server()
    first, second, third = requests(one)
    other_first, other_second, other_third = requests(other, other_content)
    assert send(core, first, other_second, second) == [5, 0, 11]
    assert send(core, other_first, third) == [5, 0]
    assert send(core, other_second, other_third) == [11, 16]
    ready = save(core)
    assert ready.snapshot is other
    at_the_last_zero = max(i for i, p in enumerate(ready.pieces) if p.offset == 0)
    written = ready.pieces[at_the_last_zero:]
    assert tuple(piece.data for piece in written) == other_content


@pytest.mark.parametrize("wrong_one", [0, 1, 2])
def test_what_is_not_its_digest_is_thrown_away(wrong_one: int) -> None:
    """
    A snapshot is what its digest says, or it is not installed.
    """
    core = server()
    good = requests(at(5, 2))
    bad = good[:]
    wrong = Piece(good[wrong_one].piece.offset, good[wrong_one].piece.data[::-1])
    bad[wrong_one] = evolve(good[wrong_one], piece=wrong)
    assert send(core, *bad[:2]) == [5, 11]
    with pytest.raises(
        ProtocolViolation, match="snapshot at 5 that b sent is not what"
    ):
        core.handle(bad[2])
    assert core.log.snapshot is None
    assert save(core).snapshot is None
    assert send(core, good[2]) == [0], "all of it is needed again"
    assert send(core, *good) == [5, 11, 16]
    ready = save(core)
    assert ready.snapshot == at(5, 2)
    assert [piece.data for piece in ready.pieces] == list(CONTENT)


@pytest.mark.parametrize(
    ("number", "data", "done"),
    [
        # Empty; too much; the last, but not so called; not the last, but so called.
        (0, b"", False),
        (1, b"x" * 12, False),
        (1, b"x" * 12, True),
        (1, b"x" * 11, False),
        (1, b"second", True),
    ],
)
def test_pieces_that_no_leader_sends(number: int, data: bytes, done: bool) -> None:
    """
    They are not taken, and neither is what came before.
    """
    core = server()
    good = requests(at(5, 2))
    send(core, *good[:number])
    wrong = evolve(
        good[number], piece=Piece(good[number].piece.offset, data), done=done
    )
    with pytest.raises(ProtocolViolation, match="of a snapshot of 16 bytes"):
        core.handle(wrong)
    assert send(core, good[1]) == [0]
    assert send(core, *good) == [5, 11, 16]


@pytest.mark.parametrize("last", [(1, 1), (3, 2)])
def test_hashicorp_ec99ca3_a_snapshot_that_is_not_needed(last: tuple[int, int]) -> None:
    """
    It is answered as if it were installed, and its stream is over (hashicorp ec99ca3).

    A snapshot that holds nothing that is not committed here already is ignored (etcd):
    to install it would take a step back.
    """
    core = server(log=(1, 1, 2, 2), term=3)
    append(core, (4, 2), commit=3)
    for request in requests(at(*last)):
        assert send(core, request) == [16]
    ready = save(core)
    assert (ready.pieces, ready.snapshot) == ((), None)
    assert (core.log.snapshot, core.log.last_index) == (None, 4)


def test_what_is_received_is_forgotten_when_entries_came_instead() -> None:
    """
    The leader may have found that the follower needs no snapshot.
    """
    core = server(log=(1,))
    first, second, _ = requests(at(3, 2))
    assert send(core, first) == [5]
    append(core, (1, 1), make(2, 2), make(3, 2), commit=3)
    assert send(core, second) == [16]
    save(core)
    later = requests(at(4, 3))
    assert send(core, later[1]) == [0]


def test_camunda_3573_an_older_snapshot_after_a_newer_one() -> None:
    """
    The log would have a gap, with what lies between gone from it (camunda 3573).
    """
    core = server()
    send(core, *requests(at(9, 3)))
    assert send(core, *requests(at(5, 2))) == [16, 16, 16]
    assert core.log.snapshot == at(9, 3)
    assert save(core).snapshot == at(9, 3)
    core.compact(at(5, 2), 6)
    assert core.log.snapshot == at(9, 3)


# A save or a restore that is under way.


def test_a_snapshot_before_the_one_before_is_written() -> None:
    """
    The disk is busy with the first one; the second one takes its place after that.
    """
    core = server()
    send(core, *requests(at(5, 2)))
    first = core.ready()
    send(core, *requests(at(9, 3)))
    assert core.log.snapshot_index == 9
    assert not core.ready().must_save
    core.advance(first)
    assert core.stable_index == 5
    second = core.ready()
    assert second.snapshot == at(9, 3)
    assert first.snapshot is not None
    core.restored(first.snapshot)
    core.advance(second)
    assert core.stable_index == 9
    append(core, (9, 3), make(10, 3), commit=10)
    save(core)
    assert core.ready().committed == (), "the state has only the first one"
    core.restored(second.snapshot)
    assert core.ready().committed == (make(10, 3),)


def test_two_snapshots_in_one_save() -> None:
    """
    Only the newer one is written, with what belongs to it.
    """
    core = server()
    append(core, (1, 1), make(2, 3))
    busy = core.ready()
    send(core, *requests(at(5, 2)))
    send(core, *requests(at(9, 3)))
    append(core, (9, 3), make(10, 3))
    core.advance(busy)
    assert core.stable_index == 0
    ready = core.ready()
    assert ready.snapshot == at(9, 3)
    assert ready.entries == (make(10, 3),)
    assert [piece.data for piece in ready.pieces] == [*CONTENT, *CONTENT]
    core.advance(ready)
    assert core.stable_index == 10


def test_a_save_that_ends_after_an_install_that_kept_its_entries() -> None:
    """
    What it wrote is in the log still; it is written again with the snapshot.
    """
    core = server(log=(1, 1), term=3)
    append(core, (2, 1), make(3, 3), make(4, 3), make(5, 3))
    busy = core.ready()
    send(core, *requests(at(4, 3)))
    assert terms(core) == [3]
    core.advance(busy)
    assert core.stable_index == 5
    ready = core.ready()
    assert (ready.snapshot, ready.entries) == (at(4, 3), (make(5, 3),))
    core.advance(ready)
    assert core.stable_index == 5
    assert not core.ready().must_save


def test_what_follows_may_be_truncated_while_the_snapshot_is_written() -> None:
    """
    Only the snapshot is stable then, and the entries that replace others are written.
    """
    core = server(log=(1, 1, 2, 2, 2), term=2)
    send(core, *requests(at(3, 2)))
    first = core.ready()
    assert [entry.index for entry in first.entries] == [4, 5]
    append(core, (3, 2), make(4, 3))
    core.advance(first)
    assert core.stable_index == 3
    assert save(core).entries == (make(4, 3),)


def test_a_server_that_has_not_restored_yet_can_vote_and_lead() -> None:
    """
    What it has in its log counts, not what it has applied; it applies it later.
    """
    core = server(voters="abc")
    snapshot = at(5, 2)
    send(core, *requests(snapshot))
    save(core)
    for call in campaign(core):
        core.response_received(call, RequestVoteResponse(3, True))
    for call in save(core).calls:
        core.response_received(call, RequestVoteResponse(4, True))
        if core.led_term:
            break
    assert core.led_term == 4
    for call in save(core).early_calls:
        core.response_received(call, AppendEntriesResponse(4, True))
    for call in save(core).early_calls:
        core.response_received(call, AppendEntriesResponse(4, True))
    assert core.commit_index == 6
    assert core.ready().committed == ()
    core.restored(snapshot)
    assert [entry.index for entry in core.ready().committed] == [6]


# A log behind a snapshot.


def test_openraft_510_requests_that_begin_behind_an_installed_snapshot() -> None:
    """
    What is older than the snapshot is no conflict, and what is new is taken.
    """
    core = server()
    send(core, *requests(at(5, 2)))
    save(core)
    append(core, (3, 2), make(4, 2), make(5, 2), make(6, 3), commit=6)
    append(core, (0, 0), commit=6)
    append(core, (2, 1), make(3, 1))
    assert terms(core) == [3]
    assert core.commit_index == 6
    assert [entry.index for entry in save(core).entries] == [6]


def test_a_leader_that_contradicts_a_snapshot_is_not_believed() -> None:
    """
    Its last entry is committed like any other before it (5.4).
    """
    core = server()
    send(core, *requests(at(5, 2)))
    save(core)
    with pytest.raises(ProtocolViolation, match="differs at entry 5"):
        core.handle(AppendEntries(3, "b", 5, 3, (), 5))


def test_a_rejection_does_not_look_behind_the_snapshot() -> None:
    """
    The conflict begins with the first entry that can conflict.
    """
    snapshot = at(5, 2)
    log = Log([make(6, 2), make(7, 2)], snapshot)
    core = ConsensusModule("a", HardState(3), log, server()._rng)
    answer = core.handle(AppendEntries(3, "b", 7, 3, (), 5))
    assert answer == AppendEntriesResponse(3, False, 2, 6)
    answer = core.handle(AppendEntries(3, "b", 9, 3, (), 5))
    assert answer == AppendEntriesResponse(3, False, 0, 8)


# What the sender learns.


def sender() -> tuple[ConsensusModule, FetchPiece]:
    """
    Return a leader with a snapshot at 4 that b needs, and what it reads for b.
    """
    core = server(log=(1, 1, 1, 1, 1), voters="ab")
    [probe] = lead(core)
    core.commit_to(5)
    assert save(core).committed[-1].index == 5
    core.compact(at(4, 1), first_index=5)
    core.response_received(probe, AppendEntriesResponse(2, False, 0, 2))
    [fetch] = save(core).fetches
    assert isinstance(fetch, FetchPiece)
    return core, fetch


def test_where_the_sender_goes_on() -> None:
    """
    With the piece that the receiver needs, forward or back; then with entries.
    """
    core, fetch = sender()
    assert (fetch.to, fetch.snapshot, fetch.offset) == ("b", at(4, 1), 0)
    for needed in (5, 11, 0, 5, 11):
        core.fetched(fetch, CONTENT[(0, 5, 11).index(fetch.offset)])
        [call] = save(core).early_calls
        assert isinstance(call.request, InstallSnapshot)
        assert call.request.done is (fetch.offset == 11)
        core.response_received(call, InstallSnapshotResponse(2, needed))
        [fetch] = save(core).fetches
        assert isinstance(fetch, FetchPiece)
        assert fetch.offset == needed
    core.fetched(fetch, CONTENT[2])
    [call] = save(core).early_calls
    core.response_received(call, InstallSnapshotResponse(2, 16))
    assert core.match_index("b") == 4
    ready = save(core)
    assert ready.fetches == ()
    [call] = ready.early_calls
    assert isinstance(call.request, AppendEntries)
    assert (call.request.prev_log_index, call.request.prev_log_term) == (4, 1)
    assert [entry.index for entry in call.request.entries] == [5, 6]


def test_a_receiver_that_has_it_all_says_so_at_once() -> None:
    """
    The first piece is enough to learn that no more is needed (etcd "ignored").
    """
    core, fetch = sender()
    core.fetched(fetch, CONTENT[0])
    [call] = save(core).early_calls
    core.response_received(call, InstallSnapshotResponse(2, 16))
    assert core.match_index("b") == 4
    assert save(core).fetches == ()
    assert not core.is_sending_snapshot


@pytest.mark.parametrize(("needed", "match"), [(5, 0), (16, 4)])
def test_an_answer_about_an_older_snapshot(needed: int, match: int) -> None:
    """
    Where to go on in another one it does not say; at most that it is installed.
    """
    core, fetch = sender()
    core.fetched(fetch, CONTENT[0])
    [call] = save(core).early_calls
    newer = at(5, 1, (b"other", b"content"))
    core.compact(newer, first_index=6)
    core.response_received(call, InstallSnapshotResponse(2, needed))
    assert core.match_index("b") == match
    [fetch] = save(core).fetches
    assert isinstance(fetch, FetchPiece)
    assert (fetch.snapshot, fetch.offset) == (newer, 0)


def test_an_answer_about_what_is_not_being_sent_any_more() -> None:
    """
    Where the sender stands in one snapshot says nothing about another (smg 837).
    """
    older, newer = at(4, 1), at(5, 1, (b"other", b"content"))
    [request, *_] = requests(older)
    progress = Progress(next_index=2, last_contact=0, round_target=1, round_start=0)
    progress.received_piece(request, InstallSnapshotResponse(3, 5))
    assert progress.sending is None
    progress.sending = Sending(newer)
    progress.received_piece(request, InstallSnapshotResponse(3, 5))
    assert progress.sending == Sending(newer)
    progress.received_piece(request, InstallSnapshotResponse(3, older.size))
    assert (progress.match_index, progress.next_index) == (4, 5)


def test_a_failed_piece_waits_for_a_sign_of_life() -> None:
    """
    One that is down costs heartbeats and not pieces.
    """
    core, fetch = sender()
    core.fetched(fetch, CONTENT[0])
    [call] = save(core).early_calls
    core.call_failed(call)
    assert save(core).fetches == ()
    for _ in range(core.timing.heartbeat_interval):
        core.tick()
    ready = save(core)
    assert ready.fetches == ()
    [heartbeat] = ready.early_calls
    core.response_received(heartbeat, AppendEntriesResponse(2, True))
    [again] = save(core).fetches
    assert isinstance(again, FetchPiece)
    assert again.offset == 0


def test_answers_of_another_term_or_to_no_leader_change_nothing() -> None:
    """
    A piece of an earlier term, or of one that leads no more, tells nothing.
    """
    core, fetch = sender()
    core.fetched(fetch, CONTENT[0])
    [call] = save(core).early_calls
    assert isinstance(call.request, InstallSnapshot)
    older = Call("b", evolve(call.request, term=1))
    core.response_received(older, InstallSnapshotResponse(2, 16))
    assert core.match_index("b") == 0
    core.response_received(call, InstallSnapshotResponse(5, 0))
    assert core.role == Follower(None)
    assert core.current_term == 5
    core.response_received(call, InstallSnapshotResponse(5, 16))
    core.fetched(fetch, CONTENT[0])
    core.fetch_failed(fetch)
    assert not core.is_sending_snapshot
    assert save(core).early_calls == ()

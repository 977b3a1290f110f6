"""
Raft 5.3: log replication.
"""

from __future__ import annotations

import pytest

from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.errors import ProtocolViolation
from hraftd.raft.leader import Leader
from hraftd.raft.log import ENTRY_OVERHEAD, Log
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Call,
    Entry,
    HardState,
    NoOp,
)
from hraftd.raft.outbox import MAX_COMMITTED
from hraftd.raft.ready import Timing
from tests.raft.disk import snapshot_of
from tests.raft.network import Network, entries, lead, save, server, terms

#: Figure 7: the leader of term 8 and the logs that its followers may have.
FIGURE_7 = {
    "leader": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6),
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


def make(index: int, term: int) -> Entry:
    """
    Return an entry as :func:`tests.raft.network.entries` makes it.
    """
    return Entry(index, term, b"%d of %d" % (index, term))


def ask(core: ConsensusModule, prev: tuple[int, int], *new: Entry, commit: int = 0):
    """
    Have the leader ``l`` of the server's term append entries behind ``prev``.
    """
    return core.handle(AppendEntries(core.current_term, "l", *prev, new, commit))


def accept(core: ConsensusModule, call: Call) -> tuple[Call, ...]:
    """
    Have a follower accept what a leader sent; return what the leader sends then.
    """
    core.response_received(call, AppendEntriesResponse(core.current_term, True))
    return save(core).early_calls


# The receiver.


@pytest.mark.parametrize(
    ("prev", "answer"),
    [
        ((0, 0), (True, 0, 0)),
        ((1, 1), (True, 0, 0)),
        ((5, 4), (True, 0, 0)),
        ((6, 4), (False, 0, 6)),
        ((9, 9), (False, 0, 6)),
        ((5, 5), (False, 4, 3)),
        ((4, 3), (False, 4, 3)),
        ((2, 2), (False, 1, 1)),
    ],
)
def test_consistency_check(
    prev: tuple[int, int], answer: tuple[bool, int, int]
) -> None:
    """
    Entries are refused where what comes before them differs.

    "If the follower does not find an entry in its log with the same index and term,
    then it refuses the new entries" (5.3), and says "the term of the conflicting entry
    and the first index it stores for that term", or where its log ends.
    """
    core = server(log=(1, 1, 4, 4, 4))
    assert ask(core, prev) == AppendEntriesResponse(4, *answer)
    assert terms(core) == [1, 1, 4, 4, 4]


@pytest.mark.parametrize(
    ("prev", "new", "result"),
    [
        # Nothing is there yet: append.
        ((3, 2), (4, 4), [1, 1, 2, 4, 4]),
        # The first conflicts: delete it and all that follow.
        ((1, 1), (4,), [1, 4]),
        # The second conflicts; the first stays.
        ((1, 1), (1, 4), [1, 1, 4]),
        # All of it is there already: delete nothing.
        ((0, 0), (1, 1), [1, 1, 2]),
        ((1, 1), (1, 2), [1, 1, 2]),
        # It is there, and goes on.
        ((1, 1), (1, 2, 4), [1, 1, 2, 4]),
    ],
)
def test_entries_are_taken_over(
    prev: tuple[int, int], new: tuple[int, ...], result: list[int]
) -> None:
    """
    A follower's log becomes the leader's.

    "If an existing entry conflicts with a new one, delete the existing entry and all
    that follow it. Append any new entries not already in the log" (figure 2).
    """
    core = server(log=(1, 1, 2), term=4)
    sent = entries((0,) * prev[0] + new, "abc")[prev[0] :]
    assert ask(core, prev, *sent).success
    assert terms(core) == result


def test_akka_raft_66_a_delayed_short_request_cuts_off_nothing() -> None:
    """
    Entries are deleted for a conflict and for nothing else (akka-raft 66).

    A request that arrives late, after longer ones, deletes no accepted entry (akka-raft
    66): entries are deleted for a conflict and for nothing else.
    """
    core = server(term=2)
    long = [make(index, 2) for index in (2, 3, 4)]
    assert ask(core, (1, 1), *long).success
    assert ask(core, (1, 1), long[0]).success
    assert ask(core, (1, 1)).success
    assert terms(core) == [1, 2, 2, 2]


def test_copycat_265_a_heartbeat_commits_only_what_it_has_compared() -> None:
    """
    A heartbeat commits no tail that nobody has compared (copycat 265).

    A heartbeat with a high commit index says nothing of what follows its previous entry
    (copycat 265): "commitIndex = min(leaderCommit, index of last new entry)".
    """
    core = server(log=(1, 1, 2, 2))
    ask(core, (2, 1), commit=4)
    assert core.commit_index == 2
    assert [entry.index for entry in core.ready().committed] == [1, 2]


@pytest.mark.parametrize(
    ("prev", "new", "commit", "committed"),
    [
        ((4, 2), 0, 9, 4),
        ((4, 2), 0, 3, 3),
        ((3, 2), 0, 9, 3),
        ((4, 2), 2, 9, 6),
        ((4, 2), 2, 5, 5),
        ((1, 1), 0, 0, 0),
    ],
)
def test_a_follower_commits_what_the_leader_committed(
    prev: tuple[int, int], new: int, commit: int, committed: int
) -> None:
    """
    A follower commits as far as the leader did and the logs agree.

    "Once a follower learns that a log entry is committed, it applies the entry to its
    local state machine (in log order)" (5.3), but not beyond what has been compared.
    """
    core = server(log=(1, 1, 2, 2))
    ask(core, prev, *(make(5 + n, 2) for n in range(new)), commit=commit)
    assert core.commit_index == committed
    save(core)
    assert [entry.index for entry in save(core).committed][-1:] in ([committed], [])


def test_a_refused_request_commits_nothing() -> None:
    """
    What does not match does not count, whatever the leader has committed (5.3).
    """
    core = server(log=(1, 1, 2, 2))
    assert not ask(core, (4, 3), commit=4).success
    assert core.commit_index == 0


def test_pysyncobj_166_the_commit_index_never_goes_back() -> None:
    """
    Neither commit index nor match index goes back (PySyncObj 166, 167).

    Old requests that arrive late, and a new leader that knows less, take nothing back
    (PySyncObj 166, 167); nor does an old answer take back what a leader knows.
    """
    core = server(log=(1, 1, 2, 2))
    ask(core, (4, 2), commit=4)
    ask(core, (2, 1), commit=1)
    assert core.commit_index == 4
    core.handle(AppendEntries(7, "m", 4, 2, (), 2))
    assert core.commit_index == 4

    leader = server(voters="abcde")
    to_b, *_ = lead(leader)
    [sent] = [call for call in accept(leader, to_b) if call.to == "b"]
    accept(leader, sent)
    assert leader.match_index("b") == 2
    leader.response_received(to_b, AppendEntriesResponse(2, True))
    assert leader.match_index("b") == 2
    assert isinstance(leader.role, Leader)
    assert leader.role.progress["b"].next_index == 3


def test_openraft_510_a_compacted_previous_entry_is_no_conflict() -> None:
    """
    A request that begins behind the snapshot deletes nothing (openraft 510).

    What a snapshot holds is committed and agrees with every leader: a request that
    begins behind it deletes nothing (openraft 510) and brings what follows.
    """
    configuration = server().configuration
    snapshot = snapshot_of([b"state"], 5, 2, configuration)
    for sent, kept in [(4, [3, 3]), (6, [3, 3]), (7, [3, 3]), (8, [3, 3, 3])]:
        core = ConsensusModule(
            "a",
            HardState(3),
            Log([make(6, 3), make(7, 3)], snapshot),
            server()._rng,
        )
        new = [make(3, 2), make(4, 2), make(5, 2), make(6, 3), make(7, 3), make(8, 3)]
        answer = ask(core, (2, 1), *new[: sent - 2], commit=9)
        assert answer == AppendEntriesResponse(3, True)
        assert terms(core) == kept
        assert core.commit_index == max(5, sent)


def test_a_leader_that_contradicts_what_is_committed_is_not_believed() -> None:
    """
    Committed entries are never deleted (5.4).

    Committed entries are never deleted (5.4): such a request breaks the connection, and
    the log stays as it was.
    """
    core = server(log=(1, 1, 2))
    ask(core, (3, 2), commit=3)
    with pytest.raises(ProtocolViolation, match="differs at entry 3"):
        core.handle(AppendEntries(5, "m", 2, 1, (make(3, 5),), 3))
    with pytest.raises(ProtocolViolation, match="differs at entry 2"):
        core.handle(AppendEntries(5, "m", 2, 5, (), 3))
    with pytest.raises(ProtocolViolation, match="differs at entry 0"):
        core.handle(AppendEntries(5, "m", 0, 5, (), 3))
    assert terms(core) == [1, 1, 2]
    assert save(core).entries == ()


@pytest.mark.parametrize(
    ("prev", "new"),
    [
        # Terms that go back, or that are still to come.
        ((1, 1), [(2, 3), (3, 2)]),
        ((4, 2), [(5, 1)]),
        ((1, 1), [(2, 3), (3, 8)]),
        # Entries that do not follow each other, or what comes before them.
        ((1, 1), [(2, 3), (4, 3)]),
        ((1, 1), [(3, 3)]),
    ],
)
def test_entries_that_no_leader_has_are_not_taken(
    prev: tuple[int, int], new: list[tuple[int, int]]
) -> None:
    """
    In a log terms never decrease, indexes have no gap, and nothing is of the future.

    Searches by term rely on it, and a request that breaks it leaves the log alone.
    """
    core = server(log=(1, 1, 2, 2), term=3)
    with pytest.raises(ProtocolViolation):
        ask(core, prev, *(make(index, term) for index, term in new))
    assert terms(core) == [1, 1, 2, 2]
    assert core.stable_index == 4


# The leader.


def test_a_new_leader_first_asks_where_logs_agree() -> None:
    """
    Before it sends entries, a leader finds out where logs agree.

    "When a leader first comes to power, it initializes all nextIndex values to the
    index just after the last one in its log" (5.3). Until one is accepted it sends no
    entries.
    """
    core = server(log=(1, 1, 2))
    calls = lead(core)
    assert {call.request for call in calls} == {AppendEntries(3, "a", 3, 2, (), 0)}
    assert save(core).early_calls == (), "one question at a time"
    [sent] = accept(core, calls[0])
    assert sent.to == "b"
    assert sent.request == AppendEntries(3, "a", 3, 2, (Entry(4, 3, NoOp()),), 0)


@pytest.mark.parametrize("follower", "abcdef")
def test_figure_7_every_follower_is_brought_into_line(follower: str) -> None:
    """
    Any log becomes the leader's in the end.

    "The leader handles inconsistencies by forcing the followers' logs to duplicate its
    own" (5.3), whichever of the scenarios in figure 7 it meets.
    """
    network = Network.with_logs(
        {
            "l": FIGURE_7["leader"],
            follower: FIGURE_7[follower],
            "x": FIGURE_7["b"],
            "y": FIGURE_7["b"],
        },
        terms=dict.fromkeys("lxy" + follower, 7),
    )
    network.isolate(follower)
    network.elect("l")
    network.heal()
    network.run(2 * network.timing.heartbeat_interval)
    assert terms(network[follower]) == [*FIGURE_7["leader"], 8]
    assert network[follower].commit_index == 11


def test_fast_back_up_takes_one_rejection_for_each_term() -> None:
    """
    A leader skips whole terms on its way back (MIT 2B).

    "One AppendEntries RPC will be required for each term with conflicting entries,
    rather than one RPC per entry" (5.3; MIT 2B).
    """
    long = [1] + [term for term in (2, 4, 6, 8) for _ in range(50)]
    other = [1] + [term for term in (3, 5, 7, 9) for _ in range(50)]
    network = Network.with_logs({"a": other, "b": long, "c": [1]})
    network.isolate("b")
    network.elect("a")
    network.heal()
    rejected = 0
    network.tick("a", network.timing.heartbeat_interval)
    for _ in range(200):
        if not network.in_transit:
            break
        [message, *_] = network.in_transit
        response = message.response
        if isinstance(response, AppendEntriesResponse) and message.call.to == "b":
            rejected += not response.success
        network.deliver(message)
    assert terms(network["b"]) == terms(network["a"])
    # Terms 8, 6, 4 and 2, and two heartbeats that were already on their way.
    assert 4 <= rejected <= 6


@pytest.mark.parametrize(
    ("conflict_term", "conflict_index", "prev"),
    [
        # The follower's log ends at 3.
        (0, 4, 3),
        # The leader has that term too: right behind its last entry of it.
        (2, 2, 4),
        # The leader does not know the term: skip all of it.
        (3, 5, 4),
        (3, 2, 1),
        # Never forward, and never before the beginning.
        (0, 99, 5),
        (4, 99, 5),
        (3, -7, 0),
    ],
)
def test_where_the_leader_goes_on_after_a_rejection(
    conflict_term: int, conflict_index: int, prev: int
) -> None:
    """
    A rejection says where to go on.

    "The leader can decrement nextIndex to bypass all of the conflicting entries in that
    term" (5.3), always by at least one and never below what is known to match.
    """
    core = server(log=(1, 1, 2, 2, 4, 4), term=4)
    to_b, _ = lead(core)
    core.response_received(
        to_b, AppendEntriesResponse(5, False, conflict_term, conflict_index)
    )
    [call] = save(core).early_calls
    assert call.to == "b"
    assert call.request.prev_log_index == prev
    assert call.request.entries == ()


def test_a_rejection_that_comes_late_moves_nothing_back() -> None:
    """
    Old rejections are old news (reordered messages, etcd).

    Rejections of requests from before the last step back, or from before a success, are
    old news (reordered messages, etcd).
    """
    core = server(log=(1, 1, 2, 2, 4, 4), term=4)
    to_b, _ = lead(core)
    for _ in range(core.timing.heartbeat_interval):
        core.tick()
    heartbeat, _ = save(core).early_calls
    core.response_received(to_b, AppendEntriesResponse(5, False, 0, 3))
    [second] = save(core).early_calls
    assert second.request.prev_log_index == 2
    core.response_received(heartbeat, AppendEntriesResponse(5, False, 0, 3))
    assert save(core).early_calls == ()
    assert isinstance(core.role, Leader)
    assert core.role.progress["b"].next_index == 3
    [third] = accept(core, second)
    accept(core, third)
    assert core.match_index("b") == 7
    core.response_received(heartbeat, AppendEntriesResponse(5, False, 0, 1))
    assert core.role.progress["b"].next_index == 8


def test_requests_hold_many_entries_and_go_one_at_a_time() -> None:
    """
    What is proposed while a request is under way goes out together in the next one.
    """
    core = server(voters="ab")
    [probe] = lead(core)
    [first] = accept(core, probe)
    for n in range(5):
        core.propose(b"%d" % n)
        assert save(core).early_calls == ()
    [second] = accept(core, first)
    assert [entry.index for entry in second.request.entries] == [3, 4, 5, 6, 7]


def test_followers_that_need_the_same_are_sent_the_very_same() -> None:
    """
    One batch for all who go on at the same entry, so that it is written only once.
    """
    core = server(voters="abc")
    firsts = [call for probe in lead(core) for call in accept(core, probe)]
    assert [call.to for call in firsts] == ["b", "c"]
    core.propose(b"x")
    for call in firsts:
        core.response_received(call, AppendEntriesResponse(core.current_term, True))
    [to_b, to_c] = save(core).early_calls
    assert [entry.index for entry in to_b.request.entries] == [3]
    assert to_b.request.entries is to_c.request.entries


def test_requests_are_as_large_as_allowed() -> None:
    """
    Bounded bytes (MIT 2B): a follower that lacks much gets it in several requests.
    """
    timing = Timing(max_append_bytes=3 * (ENTRY_OVERHEAD + 10))
    core = server(log=(1,) * 10, voters="ab", timing=timing)
    [probe] = lead(core)
    core.response_received(probe, AppendEntriesResponse(2, False, 0, 1))
    [probe] = save(core).early_calls
    sizes = []
    calls = accept(core, probe)
    for _ in range(11):
        sizes.append(len(calls[0].request.entries))
        calls = accept(core, calls[0])
        if core.match_index("b") == 11:
            break
    assert len(sizes) >= 4
    assert sum(sizes) == 11
    assert core.match_index("b") == 11


def test_a_heartbeat_goes_while_a_request_is_under_way() -> None:
    """
    A follower that is slow to answer must not take its leader for dead (5.2).
    """
    core = server()
    calls = lead(core)
    assert len(calls) == 2
    beats = []
    for tick in range(1, 13):
        core.tick()
        beats += [(tick, call.to) for call in save(core).early_calls]
    interval = core.timing.heartbeat_interval
    assert beats == [(n * interval, to) for n in (1, 2, 3) for to in "bc"]


def test_recovery_on_the_answer_to_a_heartbeat() -> None:
    """
    A follower that was away comes back with a heartbeat (etcd).

    A follower that was away costs a heartbeat and no more; when it answers one, it gets
    what it lacks (etcd).
    """
    core = server(voters="ab")
    [probe] = lead(core)
    core.call_failed(probe)
    core.propose(b"x")
    assert save(core).early_calls == ()
    for _ in range(core.timing.heartbeat_interval):
        core.tick()
    [heartbeat] = save(core).early_calls
    [sent] = accept(core, heartbeat)
    assert [entry.index for entry in sent.request.entries] == [2, 3]


def test_a_call_to_one_that_is_no_member_fails() -> None:
    """
    What happens to it changes nothing.
    """
    core = server()
    lead(core)
    stray = Call("x", AppendEntries(2, "a", 1, 1, (), 0))
    core.call_failed(stray)
    core.response_received(stray, AppendEntriesResponse(2, True))
    assert isinstance(core.role, Leader)
    assert sorted(core.role.progress) == ["b", "c"]


def test_openraft_1795_no_request_without_its_previous_entry() -> None:
    """
    The leader makes no previous entry up (openraft 1795).

    Where the log no longer reaches back far enough, or the disk cannot be read, no
    entry is sent behind one that the leader does not know (openraft 1795): heartbeats
    begin where all logs agree.
    """
    core = server(log=(1, 1, 1, 1, 1), voters="ab")
    snapshot = snapshot_of([b"state"], 4, 1, core.configuration)
    [probe] = lead(core)
    core.compact(snapshot, first_index=5)
    core.response_received(probe, AppendEntriesResponse(2, False, 0, 2))
    for _ in range(3):
        ready = save(core)
        [fetch] = ready.fetches
        assert ready.early_calls == ()
        core.fetch_failed(fetch)
        for _ in range(core.timing.heartbeat_interval):
            core.tick()
        [heartbeat] = save(core).early_calls
        assert heartbeat.request == AppendEntries(2, "a", 0, 0, (), 0)
        core.response_received(heartbeat, AppendEntriesResponse(2, True))


def test_followers_hear_of_a_commitment_at_once() -> None:
    """
    No follower waits for a heartbeat to learn of a commitment.

    The news goes with the next request, or alone where there is none to come; a client
    that reads from a follower does not wait for a heartbeat.
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.propose("a", b"x")
    network.settle()
    assert {network[id_].commit_index for id_ in "abc"} == {3}


def test_a_heartbeat_that_cannot_bring_the_news_does_not_count_as_news() -> None:
    """
    News counts as told when it can be understood.

    A heartbeat that overtakes an entry's answer commits nothing at the follower; when
    the answer comes, the follower is told without waiting for the next heartbeat.
    """
    core = server()
    to_b, to_c = lead(core)
    [entry_to_b] = accept(core, to_b)
    [entry_to_c] = accept(core, to_c)
    accept(core, entry_to_c)
    assert core.commit_index == 2
    for _ in range(core.timing.heartbeat_interval):
        core.tick()
    beat = [call for call in save(core).early_calls if call.to == "b"]
    assert [
        (call.request.prev_log_index, call.request.leader_commit) for call in beat
    ] == [(1, 2)]
    news = [call for call in accept(core, entry_to_b) if call.to == "b"]
    assert [
        (call.request.prev_log_index, call.request.leader_commit) for call in news
    ] == [(2, 2)]


def test_agreement() -> None:
    """
    What is proposed is applied by all, in one order (MIT 2B).

    "When the entry has been safely replicated ..., the leader applies the entry to its
    state machine" (5.3), and then so do all others, in the same order (MIT 2B).
    """
    network = Network.of("abcde")
    network.elect("a")
    for n in range(20):
        network.propose("a", b"%d" % n)
    network.settle()
    network.run(1)
    for id_ in "abcde":
        assert network.commands(id_) == [b"%d" % n for n in range(20)]
    network.check()


def test_agreement_with_a_failed_follower() -> None:
    """
    A minority can be missing, and is brought up later (MIT 2B).

    "A minority of slow servers need not impact overall system performance" (2), and
    "the leader retries AppendEntries RPCs indefinitely" (5.3) until they have it too
    (MIT 2B).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.isolate("c")
    for n in range(5):
        network.propose("a", b"%d" % n)
    network.run(network.timing.heartbeat_interval)
    assert len(network.commands("a")) == len(network.commands("b")) == 5
    assert network.commands("c") == []
    network.heal()
    network.run(2 * network.timing.heartbeat_interval)
    assert network.commands("c") == network.commands("a")


def test_no_agreement_without_a_quorum() -> None:
    """
    What no majority has is not committed, and what is proposed later is after it (MIT).
    """
    network = Network.of("abcde")
    network.elect("a")
    network.settle()
    network.partition("ab", "cde")
    network.propose("a", b"lost?")
    network.run(3)
    assert network.commands("a") == []
    assert network["a"].commit_index == 2


def test_a_partitioned_leader_rejoins() -> None:
    """
    Its entries that nobody else has are replaced by those of its successor (MIT 2B).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.isolate("a")
    network.propose("a", b"given up")
    network.elect("b")
    network.propose("b", b"kept")
    network.settle()
    network.heal()
    network.run(10)
    assert network.logs()["a"] == network.logs()["b"] == [1, 2, 3, 3]
    assert network.commands("a") == [b"kept"]


def test_links_stopped_one_by_one_and_restored_in_another_order() -> None:
    """
    Whatever links work, in the end everybody has everything (FoundationDB).
    """
    network = Network.of("abcde", seed=5)
    network.elect("a")
    links = [(x, y) for x in "abcde" for y in "abcde" if x != y]
    for number, link in enumerate(links):
        network.cut_links.add(link)
        if (leader := network.leader) is not None:
            network.propose(leader, b"%d" % number)
        network.run(7)
    assert network.leader is None
    for link in reversed(links[::2] + links[1::2]):
        network.cut_links.discard(link)
        network.run(7)
    network.run(60)
    assert len({tuple(log) for log in network.logs().values()}) == 1
    assert len({tuple(network.commands(id_)) for id_ in "abcde"}) == 1
    network.check()


def test_much_is_handed_out_in_portions() -> None:
    """
    A long log that becomes committed at once does not keep everything else waiting.
    """
    core = server(log=(1,) * (2 * MAX_COMMITTED + 10))
    ask(core, (2 * MAX_COMMITTED + 10, 1), commit=2 * MAX_COMMITTED + 10)
    sizes = [len(core.ready().committed) for _ in range(4)]
    assert sizes == [MAX_COMMITTED, MAX_COMMITTED, 10, 0]


def test_a_duplicated_request_is_harmless() -> None:
    """
    "Raft RPCs are idempotent, so this causes no harm" (5.5).
    """
    network = Network.of("abc")
    network.elect("a")
    network.propose("a", b"x")
    for _ in range(200):
        if not network.in_transit:
            break
        message = network.in_transit[0]
        if message.response is None:
            network.deliver(message, keep=True)
        network.deliver(message)
    assert network.commands("a") == [b"x"]
    assert network.logs()["b"] == network.logs()["a"]

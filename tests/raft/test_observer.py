"""
The observer notices what it is there to notice: terms, votes, entries and commitment.

Each test breaks a server by hand, or shows the observer what no correct server does.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.leader import Leader
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from hraftd.raft.observer import Observer
from tests.raft.network import Network, entries, member, server
from tests.raft.observing import NOTHING, violated, watched


def test_a_healthy_history_passes() -> None:
    """
    All of an election, writes, a restart and a compaction is in order.
    """
    network = Network.of("abc")
    network.elect("a")
    network.propose("a", b"x")
    network.settle()
    assert sorted(network.observer.committed) == [1, 2, 3]
    assert network.observer.leaders == {2: "a"}
    network.take_snapshot("b")
    network.propose("a", b"y")
    network.settle()
    network.crash("a")
    network.elect("b")
    network.settle()
    assert network.observer.leaders == {2: "a", 3: "b"}


def test_two_leaders_of_one_term_at_different_times() -> None:
    """
    Election Safety is remembered.
    """
    observer, a, b, _ = watched((1,), (1,), (1,))
    a.role = Leader(a)
    observer.observe(a)
    a.role = b.role
    observer.observe(a)
    b.role = Leader(b)
    with violated("Election Safety: a and b were both elected in term 4"):
        observer.observe(b)


@pytest.mark.parametrize(
    ("votes", "is_elected"),
    [("aab", True), ("abb", False), ("a--", False), ("-aa", True)],
)
def test_who_leads_has_the_votes_of_a_majority_on_disks(
    votes: str, is_elected: bool
) -> None:
    """
    "A candidate wins an election if it receives votes from a majority" (Raft 5.2).
    """
    observer = Observer()
    cores = [
        server(server_id, term=2, voted_for=None if vote == "-" else vote)
        for server_id, vote in zip("abc", votes, strict=True)
    ]
    for core in cores:
        observer.observe(core)
    if is_elected:
        observer.elected(cores[0])
    else:
        with violated("a leads term 2 without the votes of"):
            observer.elected(cores[0])


def test_who_was_wiped_is_another_one() -> None:
    """
    To come back with nothing is a fault, unless the disk was taken away.
    """
    observer, *_ = watched((1, 1), (1,), (1,))
    empty = server("a", (), voters="")
    with violated("a did not start with what its disk holds"):
        observer.observe(empty)
    observer.forget("a")
    observer.observe(empty)
    assert observer.committed == {}


@pytest.mark.parametrize("is_deposed", [True, False])
def test_what_a_leader_knows_of_a_disk_that_is_gone(is_deposed: bool) -> None:
    """
    Who was removed and wiped may not have been heard of by a leader that was deposed.
    """
    observer, a, _, c = watched((1, 1), (1, 1), (1, 1))
    a.role = Leader(a)
    observer.observe(a)
    if is_deposed:
        c.current_term, c.voted_for = 5, "c"
        c.role = Leader(c)
        observer.observe(c)
    observer.forget("b")
    observer.observe(server("b", (), voters=""))
    a.role.progress["b"].match_index = 2
    if is_deposed:
        observer.observe(a)
    else:
        with violated("a takes entry 2 to be on the disk of b, and knew of 0 before"):
            observer.observe(a)


def test_leader_append_only() -> None:
    """
    "A leader never overwrites or deletes entries in its log" (figure 3).
    """
    observer, a, *_ = watched((1, 1, 2), (1,), (1,))
    a.role = Leader(a)
    observer.observe(a)
    a.log.append([Entry(4, 4, b"new")])
    observer.observe(a)
    a.log.truncate(3)
    a.stable_index = 2
    a.log.append([Entry(3, 4, b"changed"), Entry(4, 4, b"new")])
    with violated("Log Matching|Leader Append-Only: a leads term 4 and has changed"):
        observer.observe(a)
    a.log.truncate(3)
    with violated("Leader Append-Only: a leads term 4 and has changed its log after"):
        observer.observe(a)


def test_log_matching_by_induction() -> None:
    """
    A new entry is compared, and so is the term of the one before it.
    """
    observer, _, b, _ = watched((1, 1, 3), (1, 2), (1,))
    b.log.append([Entry(3, 3, b"3 of 3")])
    with violated("Log Matching: there are two of entry 3 of term 3"):
        observer.observe(b)


@pytest.mark.parametrize("term", [1, 9])
def test_terms_of_entries_are_in_order(term: int) -> None:
    """
    They never decrease along a log, and none is of a term to come.
    """
    observer, a, *_ = watched((1, 2), (1,), (1,))
    a.log.append([Entry(3, term, b"")])
    with violated(f"a holds entry 3 of term {term} after one of term 2, in term 4"):
        observer.observe(a)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HardState(4, None), HardState(3, None)),
        (HardState(4, "b"), HardState(4, None)),
        (HardState(4, "b"), HardState(4, "c")),
    ],
)
def test_terms_and_votes_stand(before: HardState, after: HardState) -> None:
    """
    A term never goes back, and a vote is given once in it (5.1, 5.2).
    """
    observer = Observer()
    a = server(term=4, voted_for=before.voted_for)
    observer.observe(a)
    a.current_term, a.voted_for = after.current_term, after.voted_for
    with violated("a was in term 4 with a vote for"):
        observer.observe(a)


def test_the_commit_index_never_goes_back() -> None:
    """
    What is committed stays so while a server lives (PySyncObj 166).
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network["b"].commit_index = 1
    with violated("the commit index of b went from 2 to 1"):
        network.observer.observe(network["b"])


def test_the_commit_index_lies_within_the_log() -> None:
    """
    What is not there is not committed.
    """
    observer, a, *_ = watched((1,), (1,), (1,))
    a.commit_index = 2
    with violated("the commit index of a went from 0 to 2, .* from behind 0 to 1"):
        observer.observe(a)


def test_only_leaders_commit() -> None:
    """
    A follower learns what is committed, after its leader has decided it.
    """
    observer, a, *_ = watched((1, 1), (1, 1), (1, 1))
    a.commit_index = 2
    with violated("a takes entry 1 of term 1 for committed, which no leader"):
        observer.observe(a)


def test_a_committed_entry_is_on_the_disks_of_a_majority() -> None:
    """
    Not in their memories: this is what an answer to a client promises.
    """
    observer, a, *_ = watched((1, 4), (1,), (1,))
    a.role, a.commit_index = Leader(a), 2
    with violated(r"a has committed entry 2 of term 4, .* on the disks of \['a'\]"):
        observer.observe(a)


def test_a_leader_counts_entries_of_its_own_term() -> None:
    """
    Figure 8: the last entry that a count commits is of the leader's term.
    """
    observer, a, *_ = watched((1, 2), (1, 2), (1,))
    a.role, a.commit_index = Leader(a), 2
    with violated(r"a leads term 4 and has committed entry 2 of term 2 by counting"):
        observer.observe(a)


def test_committed_entries_agree() -> None:
    """
    State Machine Safety, before anything is applied.
    """
    observer, a, _, c = watched((1, 4), (1, 4), (1, 3))
    a.role, a.commit_index = Leader(a), 2
    observer.observe(a)
    c.commit_index = 2
    with violated("entry 2 of term 3 is committed for c, and entry 2 of term 4 was"):
        observer.observe(c)


def test_a_new_leader_has_what_was_committed() -> None:
    """
    Leader Completeness, at the moment of the election.
    """
    observer, a, _, c = watched((1, 4), (1, 4), (1,))
    a.role, a.commit_index = Leader(a), 2
    observer.observe(a)
    c.current_term, c.role = 5, Leader(c)
    with violated("Leader Completeness: c leads term 5 without entry 2 of term 4"):
        observer.observe(c)


def test_an_older_leader_need_not_have_what_was_committed_later() -> None:
    """
    One that was elected before and does not know of its successor is no contradiction.
    """
    observer, a, _, c = watched((1, 4), (1, 4), (1,))
    a.role, a.commit_index = Leader(a), 2
    observer.observe(a)
    c.current_term, c.role = 4, Leader(c)
    observer.leaders[4] = "c"
    observer.observe(c)


def test_what_is_committed_is_in_the_logs_of_later_leaders() -> None:
    """
    Leader Completeness, at the moment of the commitment by an older leader.
    """
    observer, a, _, c = watched((1, 4), (1, 4), (1,))
    c.current_term, c.role = 5, Leader(c)
    observer.observe(c)
    a.role, a.commit_index = Leader(a), 2
    with violated("Leader Completeness: c leads term 5 without entry 2 of term 4"):
        observer.observe(a)


def test_the_configuration_in_force_is_in_the_log() -> None:
    """
    A configuration whose entry is gone, or another one, is not in force (4.1).
    """
    observer, a, *_ = watched((1, 1), (1,), (1,))
    newer = a.configuration.with_server(member("d"))
    a.log.append([Entry(3, 4, newer)])
    observer.observe(a)
    a.log.truncate(3)
    observer.observe(a)
    for index in (2, 3):
        a.log._configurations.append((index, newer))
        with violated(f"a goes by a configuration of entry {index} that is not in"):
            observer.observe(a)


@pytest.mark.parametrize(
    ("log", "commit_index", "is_allowed"),
    [
        # Nothing is committed; only an entry of an older term is; one of this is.
        ((1, 4), 0, False),
        ((1, 4), 1, False),
        ((1, 4), 2, True),
    ],
)
def test_no_change_before_the_first_commitment(
    log: tuple[int, ...], commit_index: int, is_allowed: bool
) -> None:
    """
    A leader changes nothing before it has committed in its own term (raft-dev 2015).
    """
    observer, a, *_ = watched(log, log, (1,))
    # An earlier leader had committed them.
    observer.committed = {entry.index: entry for entry in a.log.between(1, 2)}
    observer._committed_in = {1: 1, 2: 4}
    a.commit_index = commit_index
    observer.observe(a)
    a.role = Leader(a)
    a.log.append([Entry(3, 4, a.configuration.with_server(member("d")))])
    if is_allowed:
        observer.observe(a)
    else:
        with violated(
            f"a leads term 4 and has begun .* up to {commit_index} committed"
        ):
            observer.observe(a)


def test_one_change_at_a_time() -> None:
    """
    A leader begins a change when the one before is committed (4.1).
    """
    observer, a, *_ = watched((1, 4), (1, 4), (1,))
    a.role, a.commit_index = Leader(a), 2
    observer.observe(a)
    a.log.append([Entry(3, 4, a.configuration.with_server(member("d")))])
    observer.observe(a)
    a.log.append([Entry(4, 4, a.configuration.with_server(member("e")))])
    with violated("a leads term 4 and has begun a change at entry 4, .* up to 2 comm"):
        observer.observe(a)


def test_stable_entries_are_on_disk() -> None:
    """
    A server that takes an entry for saved that is not would promise it.
    """
    observer, a, *_ = watched((1,), (1,), (1,))
    a.log.append([Entry(2, 4, b"")])
    a.stable_index = 2
    with violated("a takes entry 2 of term 4 to be on its disk, where it is not"):
        observer.observe(a)


def test_a_server_starts_with_what_its_disk_holds() -> None:
    """
    A restart brings back everything that was saved, and nothing else.
    """
    for again in (
        server(log=(1, 1), term=4, voted_for="b"),
        server(log=(1,), term=4),
        server(log=(1, 2), term=4),
        server(log=(1, 1, 1), term=4),
    ):
        observer, *_ = watched((1, 1), (1,), (1,))
        with violated("a did not start with what its disk holds"):
            observer.observe(again)
    observer, *_ = watched((1, 1), (1,), (1,))
    observer.observe(server(log=(1, 1), term=4))


@pytest.mark.parametrize(
    "wrong",
    [
        # Not the next one, not the one that is committed, not committed.
        entries((1, 4), "abc")[1],
        Entry(1, 1, b"other"),
        Entry(3, 4, b"3 of 4"),
    ],
)
def test_what_is_applied_is_next_and_committed(wrong: Entry) -> None:
    """
    Entries are applied in order, and only when they are committed.
    """
    observer, a, *_ = watched((1, 4, 4), (1, 4), (1,))
    a.role, a.commit_index = Leader(a), 2
    observer.observe(a)
    with violated("State Machine Safety: a applies entry"):
        observer.handed_out(a, evolve(NOTHING, committed=(wrong,)))
    observer.handed_out(a, evolve(NOTHING, committed=a.log.between(1, 2)))


def test_what_is_applied_is_on_disk() -> None:
    """
    Applied entries are stable.
    """
    observer, a, _, c = watched((1, 4), (1, 4), (1,))
    a.role, a.commit_index = Leader(a), 2
    observer.observe(a)
    c.log.append(a.log.between(2, 2))
    c.commit_index = 2
    observer.observe(c)
    with violated("State Machine Safety: c applies entry 2 of term 4"):
        observer.handed_out(c, evolve(NOTHING, committed=a.log.between(1, 2)))


def test_a_disk_loses_no_vote() -> None:
    """
    What was saved in a term is not saved differently.
    """
    observer, *_ = watched((1,), (1,), (1,))
    observer.saved("a", evolve(NOTHING, hard_state=HardState(5, "b")))
    with violated("a was in term 5 with a vote for b, and is in term 5 with one for c"):
        observer.saved("a", evolve(NOTHING, hard_state=HardState(5, "c")))


def test_a_disk_loses_no_committed_entry() -> None:
    """
    Truncation reaches only what was never committed.
    """
    observer, a, *_ = watched((1, 4), (1, 4, 4), (1,))
    a.role, a.commit_index = Leader(a), 2
    observer.observe(a)
    observer.saved("b", evolve(NOTHING, entries=(Entry(3, 5, b""),)))
    observer.saved("b", evolve(NOTHING, entries=a.log.between(2, 2)))
    with violated("b has deleted entry 2 of term 4 from its disk, which is committed"):
        observer.saved("b", evolve(NOTHING, entries=(Entry(2, 5, b""),)))


@pytest.mark.parametrize(
    "request_",
    [
        RequestVote(5, "a", 1, 1),
        AppendEntries(5, "a", 1, 1, (), 0),
        TimeoutNow(5, "a"),
    ],
)
def test_nobody_speaks_in_a_term_that_is_not_on_disk(
    request_: RequestVote | AppendEntries | TimeoutNow,
) -> None:
    """
    Candidates and leaders have voted for themselves, on disk, before they speak.
    """
    observer, *_ = watched((1,), (1,), (1,))
    for saved in (None, HardState(5, None), HardState(5, "b")):
        observer, *_ = watched((1,), (1,), (1,))
        observer.saved("a", evolve(NOTHING, hard_state=saved))
        with violated("a speaks in term 5, but its disk holds term"):
            observer.called("a", request_)
    observer, *_ = watched((1,), (1,), (1,))
    observer.called("a", RequestVote(5, "a", 1, 1, pre_vote=True))
    observer.saved("a", evolve(NOTHING, hard_state=HardState(5, "a")))
    observer.called("a", request_)
    observer.saved("a", evolve(NOTHING, hard_state=HardState(6, "b")))
    observer.called("a", request_)


def test_no_vote_is_told_before_it_is_on_disk() -> None:
    """
    "Updated on stable storage before responding to RPCs" (figure 2).
    """
    observer, *_ = watched((1,), (1,), (1,))
    request = RequestVote(5, "b", 1, 1)
    observer.answered("a", request, RequestVoteResponse(5, False))
    with violated("a grants b its vote in term 5, which is not on its disk"):
        observer.answered("a", request, RequestVoteResponse(5, True))
    pre_vote = RequestVote(5, "b", 1, 1, pre_vote=True)
    observer.answered("a", pre_vote, RequestVoteResponse(4, True))
    observer.saved("a", evolve(NOTHING, hard_state=HardState(5, "b")))
    observer.answered("a", request, RequestVoteResponse(5, True))
    observer.saved("a", evolve(NOTHING, hard_state=HardState(6, None)))
    observer.answered("a", request, RequestVoteResponse(5, True))


def test_no_entry_is_accepted_before_it_is_on_disk() -> None:
    """
    Neither those of the request nor the one before them.
    """
    observer, *_ = watched((1, 2), (1,), (1,))
    yes = AppendEntriesResponse(4, True)
    new = Entry(3, 4, b"")
    observer.answered("a", AppendEntries(4, "b", 0, 0, (), 0), yes)
    observer.answered("a", AppendEntries(4, "b", 2, 2, (), 0), yes)
    observer.answered(
        "a", AppendEntries(4, "b", 2, 1, (), 0), AppendEntriesResponse(4, False)
    )
    for request in (
        AppendEntries(4, "b", 2, 2, (new,), 0),
        AppendEntries(4, "b", 2, 4, (), 0),
        AppendEntries(5, "b", 2, 2, (), 0),
    ):
        with violated("a accepts entries of b in term . that are not on its disk"):
            observer.answered("a", request, yes)
    observer.saved("a", evolve(NOTHING, entries=(new,)))
    observer.answered("a", AppendEntries(4, "b", 2, 2, (new,), 0), yes)


def test_no_entry_is_left_out_on_disk() -> None:
    """
    What is written follows what is there.
    """
    observer, *_ = watched((1, 1), (1,), (1,))
    with violated("a leaves a gap on its disk behind entry 2"):
        observer.saved("a", evolve(NOTHING, entries=(Entry(4, 1, b""),)))


def test_an_event_costs_what_it_changed() -> None:
    """
    A long log is not read again when nothing, or one entry, has changed.
    """

    class CountedLog(Log):
        reads = 0

        def between(self, first: int, last: int) -> tuple[Entry, ...]:
            self.reads += max(last + 1 - first, 0)
            return super().between(first, last)

    log = CountedLog(entries((1,) * 5000, "abc"))
    core = ConsensusModule("a", HardState(1), log, server()._rng)
    observer = Observer()
    observer.observe(core)
    log.reads = 0
    for index in range(5001, 5101):
        observer.observe(core)
        core.handle(AppendEntries(1, "b", index - 1, 1, (Entry(index, 1, b""),), 0))
        observer.observe(core)
    assert log.reads < 100 * 10

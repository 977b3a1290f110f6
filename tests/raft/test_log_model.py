"""
The log against the plainest description of it, on logs that nobody has thought of.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.raft.configuration import Configuration
from hraftd.raft.log import ENTRY_OVERHEAD, Compacted, Log
from hraftd.raft.messages import AppendEntries, AppendEntriesResponse, Entry
from tests.raft.disk import snapshot_of
from tests.raft.network import lead, save, server, terms

#: Logs of terms that never decrease; the first entry is of term 1.
rows = st.lists(st.integers(1, 7), max_size=20).map(lambda row: [1, *sorted(row)])


@given(rows, st.data())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_the_log_is_a_list(row: list[int], data: st.DataObject) -> None:
    """
    What is asked of a log is what a search through a plain list of its terms finds.
    """
    log = Log([Entry(index, term, b"x") for index, term in enumerate(row, start=1)])
    compacted = data.draw(st.integers(0, len(row)))
    known = 0
    if compacted:
        known = data.draw(st.integers(1, compacted))
        configuration = Configuration()
        snapshot = snapshot_of([b""], compacted, row[compacted - 1], configuration)
        log.compact(snapshot, known)
        known = max(known, log.first_index - 1)
    forgotten = data.draw(st.integers(known, len(row)))
    log.forget(forgotten, max_entries=0, max_bytes=0)
    # The terms that are known; the entries that are in memory.
    known_terms = {
        index: row[index - 1] for index in range(max(known, 1), len(row) + 1)
    }
    kept = list(range(forgotten + 1, len(row) + 1))
    assert (log.first_index, log.memory_index) == (known + 1, forgotten)
    assert log.last_index == len(row)
    assert log.last_term == row[-1]
    assert [entry.index for entry in log.between(forgotten + 1, len(row))] == kept
    for index, term in known_terms.items():
        assert log.term_at(index) == term
    for index in range(compacted + 1, len(row) + 1):
        assert log.first_index_of_term(index) == min(
            i
            for i in range(compacted + 1, len(row) + 1)
            if row[i - 1] == row[index - 1]
        )
    for index in range(known):
        with pytest.raises(Compacted):
            log.term_at(index)
    for term in range(1, 9):
        of_term = [index for index, known in known_terms.items() if known == term]
        assert log.last_index_of_term(term) == max(of_term, default=None)
    first = data.draw(st.integers(forgotten + 1, len(row) + 1))
    fit = data.draw(st.integers(0, 20))
    batch = log.batch(first, fit * (ENTRY_OVERHEAD + 1))
    assert [entry.index for entry in batch] == [
        index for index in kept if first <= index < first + max(fit, 1)
    ]


@st.composite
def diverging(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """
    Return two logs that can meet: a common beginning, and no term in common after it.
    """
    common = draw(rows)
    last = common[-1]
    split = draw(st.integers(0, 12))
    mine = draw(st.sets(st.integers(last + 1, last + split + 1)))
    tails: list[list[int]] = []
    for is_mine in (True, False):
        tail: list[int] = []
        for term in range(last, last + split + 2):
            belongs = term == last if is_mine else False
            belongs = belongs or (term > last and (term in mine) is is_mine)
            tail += [term] * (draw(st.integers(0, 3)) if belongs else 0)
        tails.append(tail)
    return common + tails[0], common + tails[1]


@given(diverging())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_logs_converge_in_one_rejection_a_term(
    pair: tuple[list[int], list[int]],
) -> None:
    """
    Whatever a follower holds, the leader's log soon replaces it (end of Raft 5.3).

    One rejection for the length of its log, and one for each of its terms that
    conflict, are the most.
    """
    mine, theirs = pair
    newest = max(*mine, *theirs)
    leader = server("a", mine, voters="ab", term=newest)
    follower = server("b", theirs, voters="ab", term=newest)
    [call] = lead(leader)
    rejections = 0
    for _ in range(100):
        assert isinstance(call.request, AppendEntries)
        answer = follower.handle(call.request)
        save(follower)
        assert isinstance(answer, AppendEntriesResponse)
        rejections += not answer.success
        leader.response_received(call, answer)
        calls = save(leader).early_calls
        if not calls:
            break
        [call] = calls
    assert terms(follower) == terms(leader) == [*mine, newest + 1]
    assert follower.log.between(1, len(mine)) == leader.log.between(1, len(mine))
    assert rejections <= 1 + len(set(theirs) - set(mine)) + 1
    assert follower.commit_index == leader.commit_index == len(mine) + 1

"""
The log of one server: Raft 5.3, 5.4.1, 7.
"""

from __future__ import annotations

import pytest

from hraftd.raft.configuration import Configuration
from hraftd.raft.log import ENTRY_OVERHEAD, Compacted, Log
from hraftd.raft.messages import Entry, NoOp
from tests.raft.network import entries, member

ABC = Configuration(tuple(map(member, "abc")))
ABCD = ABC.with_learner(member("d"))


def log(*terms: int) -> Log:
    """
    Return a log of these terms; its first entry is a configuration.
    """
    return Log(entries(terms, "abc"))


def compacted(*terms: int) -> Log:
    """
    Return a log behind a snapshot of 5 entries, the last of term 2.
    """
    return Log(
        [Entry(index, term, NoOp()) for index, term in enumerate(terms, start=6)],
        snapshot_index=5,
        snapshot_term=2,
        snapshot_configuration=ABC,
    )


def test_an_empty_log_ends_at_zero() -> None:
    """
    The first index is 1; before it there is 0 of term 0, on which all logs agree.
    """
    empty = Log()
    assert (empty.last_index, empty.last_term) == (0, 0)
    assert empty.matches(0, 0)
    assert empty.term_at(1) is None
    assert empty.configuration == Configuration()
    assert empty.configuration_index == 0


def test_terms_at_indexes() -> None:
    """
    An entry is there with its term, and after the last one there is nothing.
    """
    some = log(1, 1, 3)
    assert [some.term_at(index) for index in range(5)] == [0, 1, 1, 3, None]
    assert (some.last_index, some.last_term) == (3, 3)
    assert some.matches(2, 1)
    assert not some.matches(2, 3)
    assert not some.matches(4, 3)


def test_etcd_76f1249_nothing_is_known_behind_a_snapshot() -> None:
    """
    No compacted entry has a term, not even 0, that could match (etcd 76f1249).

    Only the snapshot's own index has one. An entry behind it reads as an error, so
    nobody can take it for the beginning of the log or for a conflict.
    """
    some = compacted(2, 3)
    for index in range(5):
        with pytest.raises(Compacted):
            some.term_at(index)
        with pytest.raises(Compacted):
            some.matches(index, 0)
    assert some.matches(5, 2)
    assert not some.matches(5, 0)
    assert [some.term_at(index) for index in (6, 7, 8)] == [2, 3, None]


@pytest.mark.parametrize(
    ("index", "term", "enough"),
    [(3, 3, True), (4, 3, True), (2, 3, False), (9, 2, False), (1, 4, True)],
)
def test_the_later_term_wins_and_then_the_longer_log(
    index: int, term: int, enough: bool
) -> None:
    """
    5.4.1: "the log with the later term is more up-to-date"; then length decides.
    """
    assert log(1, 1, 3).is_up_to_date(index, term) is enough


def test_a_log_behind_a_snapshot_is_as_long_as_before() -> None:
    """
    What a snapshot holds counts for being up-to-date (Raft 7).
    """
    empty = compacted()
    assert (empty.last_index, empty.last_term) == (5, 2)
    assert not empty.is_up_to_date(4, 2)
    assert empty.is_up_to_date(5, 2)


def test_the_first_and_last_index_of_a_term() -> None:
    """
    What a rejection says, and where the leader goes on from it (end of 5.3).
    """
    some = log(1, 1, 4, 4, 4, 6)
    assert [some.first_index_of_term(i) for i in range(1, 7)] == [1, 1, 3, 3, 3, 6]
    assert [some.last_index_of_term(term) for term in range(8)] == [
        None,
        2,
        None,
        None,
        5,
        None,
        6,
        None,
    ]


def test_terms_behind_a_snapshot_are_not_looked_for() -> None:
    """
    Only entries that can still be sent are named.
    """
    some = compacted(2, 2, 3)
    assert some.first_index_of_term(7) == 6
    assert some.last_index_of_term(2) == 7
    assert compacted(3).last_index_of_term(2) is None
    assert compacted().last_index_of_term(2) is None


def test_slices_include_both_ends() -> None:
    """
    From first to last, and nothing where last comes before first.
    """
    some = log(1, 2, 3)
    assert [entry.term for entry in some.between(1, 3)] == [1, 2, 3]
    assert [entry.index for entry in some.between(2, 2)] == [2]
    assert some.between(3, 2) == ()
    assert some.between(1, 0) == ()
    assert [entry.index for entry in compacted(2, 3).between(6, 7)] == [6, 7]


def test_no_slice_begins_behind_the_snapshot() -> None:
    """
    What is gone is an error and never a shorter slice.
    """
    some = compacted(2, 3)
    with pytest.raises(Compacted):
        some.between(5, 7)
    with pytest.raises(Compacted):
        some.batch(5, 1000)


def test_a_batch_is_as_large_as_allowed() -> None:
    """
    As many entries as fit; the bytes of commands and a little for each entry count.
    """
    some = Log(
        [
            Entry(1, 1, ABC),
            Entry(2, 1, b"x" * 100),
            Entry(3, 1, NoOp()),
            Entry(4, 1, b"y" * 100),
        ]
    )
    three = 3 * ENTRY_OVERHEAD + 100
    assert [entry.index for entry in some.batch(1, three)] == [1, 2, 3]
    assert [entry.index for entry in some.batch(1, three - 1)] == [1, 2]
    assert [entry.index for entry in some.batch(1, 10_000)] == [1, 2, 3, 4]
    assert [entry.index for entry in some.batch(3, ENTRY_OVERHEAD)] == [3]
    assert some.batch(5, 10_000) == ()


def test_an_entry_that_is_too_large_goes_alone() -> None:
    """
    A large value is sent like any other; a limit that stops it would for ever.
    """
    some = Log([Entry(1, 1, b"x" * 1000), Entry(2, 1, b"y")])
    assert [entry.index for entry in some.batch(1, 10)] == [1]


def test_only_the_next_entry_can_be_appended() -> None:
    """
    A log has no gaps and no index twice.
    """
    some = log(1, 1)
    for index in (1, 2, 4):
        with pytest.raises(ValueError, match=f"entry {index} does not follow entry 2"):
            some.append([Entry(index, 1, NoOp())])
    assert some.last_index == 2


def test_a_configuration_is_in_force_from_its_entry_on() -> None:
    """
    The latest in the log is the one in force, committed or not (dissertation 4.1).
    """
    some = Log([Entry(1, 1, ABC), Entry(2, 1, b"x")])
    assert (some.configuration, some.configuration_index) == (ABC, 1)
    some.append([Entry(3, 1, ABCD), Entry(4, 1, b"y")])
    assert (some.configuration, some.configuration_index) == (ABCD, 3)


def test_truncation_deletes_an_entry_and_all_that_follow() -> None:
    """
    5.3: a conflicting entry goes, and everything behind it.
    """
    some = log(1, 1, 2, 2)
    some.truncate(3)
    assert some.last_index == 2
    some.truncate(1)
    assert (some.last_index, some.last_term) == (0, 0)


def test_nothing_behind_the_snapshot_is_truncated() -> None:
    """
    What a snapshot holds is committed.
    """
    some = compacted(2, 3)
    with pytest.raises(Compacted):
        some.truncate(5)
    some.truncate(6)
    assert (some.last_index, some.last_term) == (5, 2)
    assert some.configuration == ABC


def test_discarding_keeps_what_follows() -> None:
    """
    Raft 7: the prefix goes, its last index and term stay, and the log goes on.
    """
    some = log(1, 1, 2, 3)
    some.discard(3)
    assert (some.snapshot_index, some.snapshot_term) == (3, 2)
    assert (some.last_index, some.last_term) == (4, 3)
    assert some.matches(3, 2)
    assert some.term_at(4) == 3
    with pytest.raises(Compacted):
        some.term_at(2)
    some.append([Entry(5, 3, NoOp())])
    assert some.term_at(5) == 3


def test_discarding_twice_is_discarding_once() -> None:
    """
    A later snapshot is never undone by an earlier one.
    """
    some = log(1, 1, 2, 3)
    some.discard(3)
    some.discard(2)
    some.discard(3)
    assert (some.snapshot_index, some.last_index) == (3, 4)


def test_what_is_not_there_cannot_be_discarded() -> None:
    """
    A snapshot of the log's own entries ends within the log.
    """
    some = log(1, 1)
    with pytest.raises(ValueError, match="the log ends at 2, before 3"):
        some.discard(3)


def test_the_configuration_outlives_its_entry() -> None:
    """
    A discarded configuration stays in force until a later one, and after that one goes.
    """
    some = Log([Entry(1, 1, ABC), Entry(2, 1, ABCD), Entry(3, 1, b"x")])
    some.append([Entry(4, 1, ABCD.with_voter("d"))])
    some.discard(3)
    assert (some.configuration, some.configuration_index) == (ABCD.with_voter("d"), 4)
    some.truncate(4)
    assert (some.configuration, some.configuration_index) == (ABCD, 2)

"""
The log of one server: Raft 5.3, 5.4.1, 7.
"""

from __future__ import annotations

import pytest

from hraftd.raft.configuration import Configuration
from hraftd.raft.log import ENTRY_OVERHEAD, Compacted, Log
from hraftd.raft.messages import Entry, NoOp, Snapshot
from tests.raft.disk import snapshot_of
from tests.raft.network import entries, member

ABC = Configuration(tuple(map(member, "abc")))
ABCD = ABC.with_server(member("d"))


def log(*terms: int) -> Log:
    """
    Return a log of these terms; its first entry is a configuration.
    """
    return Log(entries(terms, "abc"))


def snapshot(
    last_index: int, last_term: int, configuration: Configuration = ABC
) -> Snapshot:
    """
    Return a snapshot at that entry.
    """
    return snapshot_of([b"state"], last_index, last_term, configuration)


def compacted(*terms: int) -> Log:
    """
    Return a log behind a snapshot of 5 entries, the last of term 2.
    """
    return Log(
        [Entry(index, term, NoOp()) for index, term in enumerate(terms, start=6)],
        snapshot(5, 2),
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
    assert [some.last_index_of_term(term) for term in range(1, 8)] == [
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
    A conflict begins behind the snapshot, and of what it holds only the end is known.
    """
    some = compacted(2, 2, 3)
    assert some.first_index_of_term(7) == 6
    assert some.last_index_of_term(2) == 7
    assert some.last_index_of_term(1) is None
    assert compacted(3).last_index_of_term(2) == 5
    assert compacted().last_index_of_term(2) == 5


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
    with pytest.raises(LookupError):
        some.between(5, 7)
    with pytest.raises(LookupError):
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
    with pytest.raises(LookupError):
        some.truncate(5)
    assert (some.first_index, some.last_index) == (6, 7)
    some.truncate(6)
    assert (some.last_index, some.last_term) == (5, 2)
    assert some.configuration == ABC


# Snapshots of this server.


def test_a_snapshot_takes_the_place_of_the_log_before_it() -> None:
    """
    Raft 7: the prefix goes, its last index and term stay, and the log goes on.
    """
    some = log(1, 1, 2, 3)
    some.compact(snapshot(3, 2), first_index=4)
    assert (some.snapshot_index, some.snapshot_term) == (3, 2)
    assert (some.first_index, some.memory_index) == (4, 3)
    assert (some.last_index, some.last_term) == (4, 3)
    assert some.matches(3, 2)
    assert some.term_at(4) == 3
    with pytest.raises(Compacted):
        some.term_at(2)
    some.append([Entry(5, 3, NoOp())])
    assert some.term_at(5) == 3


def test_a_snapshot_of_everything_leaves_an_empty_log() -> None:
    """
    Its last index and term are where the next entry has to follow.
    """
    some = log(1, 1, 2)
    some.compact(snapshot(3, 2), first_index=4)
    assert (some.last_index, some.last_term) == (3, 2)
    assert some.between(4, 3) == ()
    some.append([Entry(4, 2, NoOp())])
    assert some.last_index_of_term(2) == 4


@pytest.mark.parametrize("first_index", [2, 3, 4])
def test_trailing_entries_stay_for_slow_followers(first_index: int) -> None:
    """
    Of what is left on disk the first is only known by its term, and the others are all
    there: sending needs the entry before.
    """
    some = log(1, 1, 2, 2, 3)
    some.compact(snapshot(4, 2), first_index)
    assert some.first_index == first_index + 1
    assert some.term_at(first_index) == (1, 1, 2, 2, 3)[first_index - 1]
    with pytest.raises(Compacted):
        some.term_at(first_index - 1)
    kept = some.between(some.first_index, some.last_index)
    assert [entry.index for entry in kept] == list(range(first_index + 1, 6))
    assert some.batch(first_index + 1, 10_000) == kept
    assert some.last_index_of_term(1) == (2 if first_index == 2 else None)


def test_a_log_starts_again_as_it_was_before() -> None:
    """
    From the disk comes what was in memory, the first trailing entry but for its term.
    """
    before = log(1, 1, 2, 2, 3)
    disk = before.between(3, 5)
    before.compact(snapshot(4, 2), first_index=3)
    again = Log(disk, snapshot(4, 2))
    for some in (before, again):
        assert (some.first_index, some.last_index) == (4, 5)
        assert (some.snapshot_index, some.memory_index) == (4, 3)
        assert [some.term_at(index) for index in range(3, 7)] == [2, 2, 3, None]
        assert (some.configuration, some.configuration_index) == (ABC, 4)
        with pytest.raises(Compacted):
            some.term_at(2)


def test_a_snapshot_stands_for_entries_that_are_there() -> None:
    """
    A snapshot of the log's own entries ends within the log, at an entry of its term.
    """
    some = log(1, 1)
    for wrong in (snapshot(3, 1), snapshot(2, 2)):
        with pytest.raises(ValueError, match="the log does not hold entry"):
            some.compact(wrong, first_index=1)
    assert (some.snapshot_index, some.first_index) == (0, 1)


def test_a_disk_that_ends_before_its_snapshot_is_damaged() -> None:
    """
    So is one with a gap behind it: nothing may be missing (camunda 3573).
    """
    with pytest.raises(ValueError, match="ends at 2, before its snapshot's last entry"):
        Log(entries((1, 1), "abc"), snapshot(3, 1))
    with pytest.raises(ValueError, match="entry 5 does not follow entry 3"):
        Log([Entry(5, 1, NoOp())], snapshot(3, 1))
    with pytest.raises(ValueError, match="entry 2 does not follow entry 0"):
        Log([Entry(2, 1, NoOp())])


def test_the_configuration_outlives_its_entry() -> None:
    """
    A compacted configuration stays in force until a later one, and after that one goes.
    """
    some = Log([Entry(1, 1, ABC), Entry(2, 1, ABCD), Entry(3, 1, b"x")])
    some.append([Entry(4, 1, ABCD.with_voter("d"))])
    some.compact(snapshot(3, 1, ABCD), first_index=4)
    assert (some.configuration, some.configuration_index) == (ABCD.with_voter("d"), 4)
    some.truncate(4)
    assert (some.configuration, some.configuration_index) == (ABCD, 3)


def test_canonical_raft_250_the_configuration_at_an_entry() -> None:
    """
    A snapshot has the configuration of its own entry, not one that came after it.

    The later one may never be committed (canonical/raft 250).
    """
    some = Log([Entry(1, 1, ABC), Entry(2, 1, b"x"), Entry(3, 1, ABCD)])
    assert [some.configuration_at(index) for index in range(5)] == [
        Configuration(),
        ABC,
        ABC,
        ABCD,
        ABCD,
    ]
    some.compact(snapshot(2, 1), first_index=1)
    assert [some.configuration_at(index) for index in (2, 3)] == [ABC, ABCD]
    with pytest.raises(Compacted):
        some.configuration_at(1)


def test_pysyncobj_133_configurations_among_trailing_entries_are_history() -> None:
    """
    What a snapshot says about the members holds, not an entry that is older.

    A restart that went by the older one would count with the wrong servers (PySyncObj
    133).
    """
    disk = [Entry(1, 1, ABC), Entry(2, 1, ABCD), Entry(3, 1, ABC), Entry(4, 1, b"x")]
    some = Log(disk, snapshot(4, 1, ABC))
    assert (some.configuration, some.configuration_index) == (ABC, 4)


# Another server's snapshot.


def test_an_installed_snapshot_keeps_what_follows_it() -> None:
    """
    Figure 13, step 6: with the same last entry here, "retain log entries following it".
    """
    some = log(1, 1, 2, 2, 3)
    some.install(snapshot(3, 2, ABCD))
    assert (some.first_index, some.last_index, some.last_term) == (4, 5, 3)
    assert [entry.term for entry in some.between(4, 5)] == [2, 3]
    assert some.term_at(3) == 2
    assert (some.configuration, some.configuration_index) == (ABCD, 3)
    assert some.snapshot == snapshot(3, 2, ABCD)


@pytest.mark.parametrize("last", [(3, 3), (5, 4), (6, 3), (9, 9)])
def test_an_installed_snapshot_discards_what_differs(last: tuple[int, int]) -> None:
    """
    Figure 13, step 7: "discard the entire log", also where it does not reach so far.
    """
    some = log(1, 1, 2, 2, 3)
    some.install(snapshot(*last))
    assert (some.last_index, some.last_term) == last
    assert (some.first_index, some.memory_index) == (last[0] + 1, last[0])
    with pytest.raises(Compacted):
        some.term_at(last[0] - 1)


def test_a_configuration_behind_an_installed_snapshot_is_in_force() -> None:
    """
    What follows the snapshot may have changed the members again.
    """
    some = Log([Entry(1, 1, ABC), Entry(2, 1, b"x"), Entry(3, 1, ABCD)])
    some.install(snapshot(2, 1))
    assert (some.configuration, some.configuration_index) == (ABCD, 3)
    some.install(snapshot(3, 2))
    assert (some.configuration, some.configuration_index) == (ABC, 3)


# Memory.


def test_what_is_forgotten_is_still_known() -> None:
    """
    Its terms can be asked for and its configurations hold; the entries are on disk.
    """
    some = log(1, 1, 2, 2, 3)
    some.forget(4, max_entries=2, max_bytes=1000)
    assert (some.first_index, some.memory_index, some.last_index) == (1, 3, 5)
    assert [some.term_at(index) for index in range(6)] == [0, 1, 1, 2, 2, 3]
    assert some.configuration == ABC
    assert [entry.index for entry in some.between(4, 5)] == [4, 5]
    assert [entry.index for entry in some.batch(4, 10_000)] == [4, 5]
    for first in (1, 3):
        with pytest.raises(LookupError):
            some.between(first, 5)
        with pytest.raises(LookupError):
            some.batch(first, 10_000)
    with pytest.raises(LookupError):
        some.truncate(3)
    some.append([Entry(6, 3, NoOp())])
    assert some.last_index_of_term(3) == 6


@pytest.mark.parametrize(
    ("index", "max_entries", "max_bytes", "kept"),
    [
        # All may be forgotten: the limits decide. Each of these has 36 bytes.
        (5, 5, 180, 5),
        (5, 4, 180, 4),
        (5, 5, 179, 4),
        (5, 5, 73, 2),
        (5, 0, 180, 0),
        # What is not applied stays, however large.
        (2, 0, 0, 3),
        (0, 0, 0, 5),
    ],
)
def test_the_memory_has_limits(
    index: int, max_entries: int, max_bytes: int, kept: int
) -> None:
    """
    At most so many entries and so many bytes stay, but all that is still needed does.
    """
    some = Log([Entry(i, 1, bytes(20)) for i in range(1, 6)])
    for _ in range(2):
        some.forget(index, max_entries, max_bytes)
        assert some.last_index - some.memory_index == kept


def test_bytes_are_counted_through_everything() -> None:
    """
    A log that lost count of its bytes would forget too much, or nothing (etcd a370b6f).
    """

    def make(index: int) -> Entry:
        return Entry(index, 1, bytes(10 * index))

    some = Log([make(index) for index in range(1, 11)])
    some.truncate(9)
    some.forget(2, 0, 0)
    some.compact(snapshot(4, 1), first_index=4)
    some.append([make(9)])
    some.install(snapshot(6, 1))
    left = sum(ENTRY_OVERHEAD + 10 * index for index in (7, 8, 9))
    some.forget(9, 9, left)
    assert some.memory_index == 6
    some.forget(9, 9, left - 1)
    assert some.memory_index == 7


def test_a_compacted_entry_that_was_forgotten() -> None:
    """
    What is in memory stays there when older ones go from the disk.
    """
    some = log(1, 1, 2, 2, 3)
    some.forget(4, max_entries=1, max_bytes=1000)
    some.compact(snapshot(3, 2), first_index=2)
    assert (some.first_index, some.memory_index) == (3, 4)
    assert [some.term_at(index) for index in range(2, 6)] == [1, 2, 2, 3]
    some.compact(snapshot(4, 2), first_index=5)
    assert (some.first_index, some.memory_index) == (5, 4)

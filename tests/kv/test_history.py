"""
The latest changes of a store, and who is to look at them.
"""

from __future__ import annotations

from random import Random

import pytest
from attrs import define, field

from hraftd.kv.commands import Delete, Once, Set, Transaction, encode_command
from hraftd.kv.history import Change, History
from hraftd.kv.records import record_of
from hraftd.kv.store import KeyValueStore

#: Enough to see everything at once.
ALL = (1 << 30, 1 << 30)


def told(
    history: History, after: int = 0, prefix: str = ""
) -> list[tuple[int, str, str]]:
    """
    Return what changed behind an index: the index, the key, and what is there now.
    """
    position = history.position_behind(after)
    found, end = history.read(position, prefix, after, *ALL)
    assert end is None
    return [(change[0], change[1], shown(change)) for change in by_change(found)]


def by_change(found: list[tuple[Change, bool]]) -> list[Change]:
    """
    Return the changes alone.
    """
    return [change for change, _ in found]


def shown(change: Change) -> str:
    """
    Return the value, or how it went.
    """
    _, _, record, is_expiry = change
    if record is None:
        return "expired" if is_expiry else "deleted"
    return record[8:].decode()


@define(eq=False)
class Watcher:
    """
    Writes down what it is told.
    """

    positions: list[int] = field(factory=list)

    def changed_at(self, position: int) -> None:
        """
        See :class:`hraftd.kv.history.Watched`.
        """
        self.positions.append(position)


class TestStore:
    """
    What a store notes.
    """

    def test_commands(self) -> None:
        """
        Each change has the index of its entry, in the order of the command.

        What changes nothing is not noted: the deletion of what is not there, a
        transaction that reads, a retry.
        """
        store = KeyValueStore()
        once = encode_command(Once("token", Set((("a", "3"),))))
        for index, command in enumerate(
            [
                encode_command(Set((("b", "1"), ("a", "2")))),
                encode_command(Delete("a")),
                encode_command(Delete("a")),
                once,
                once,
                encode_command(
                    Transaction((), (Set((("c", "4"),)), Delete("b"), Delete("x")), ())
                ),
                encode_command(Transaction((), (), ())),
            ],
            start=3,
        ):
            store.apply(index, command)
        assert told(store.history) == [
            (3, "b", "1"),
            (3, "a", "2"),
            (4, "a", "deleted"),
            (6, "a", "3"),
            (8, "c", "4"),
            (8, "b", "deleted"),
        ]

    def test_restore(self) -> None:
        """
        A restored state has no history; only what comes behind it is told.
        """
        store, other = KeyValueStore(), KeyValueStore()
        store.apply(1, encode_command(Set((("a", "1"),))))
        other.apply(1, encode_command(Set((("a", "1"),))))
        other.apply(2, encode_command(Set((("a", "2"),))))
        restoration = store.restore()
        for piece in other.snapshot():
            restoration.add(piece)
        assert told(store.history) == [(1, "a", "1")]
        restoration.finish()
        assert told(store.history) == []
        assert store.history.complete_after(2) == 2
        store.apply(5, encode_command(Set((("a", "5"),))))
        assert told(store.history) == [(5, "a", "5")]
        assert store.history.complete_after(5) == 2


class TestBounds:
    """
    How much is kept, and from where on all of it.
    """

    def test_number(self) -> None:
        """
        The oldest go; behind the index that is told nothing is missing.
        """
        history = History(max_changes=32)
        for index in range(1, 1001):
            history.note(index, "key", record_of(index, "x"))
            complete_after = history.complete_after(index)
            assert 30 <= history.end - history.first <= 32 or index < 32
            indexes = [index for index, *_ in told(history, complete_after)]
            assert indexes == list(range(complete_after + 1, index + 1))

    def test_bytes(self) -> None:
        """
        Large values count, and one that is larger than all is not kept at all.
        """
        history = History(max_bytes=10_000)
        for index in range(1, 100):
            history.note(index, "key", record_of(index, "x" * 1000))
            found, _ = history.read(history.first, "", 0, *ALL)
            assert sum(len(record) for _, _, record, _ in by_change(found)) <= 10_000
        assert 95 > history.complete_after(99) > 80
        history.note(100, "key", record_of(100, "x" * 10_000))
        assert history.complete_after(100) == 100
        assert told(history, 100) == []
        history.note(101, "key", record_of(101, "x"))
        assert told(history, 100) == [(101, "key", "x")]

    def test_an_entry_that_is_kept_in_part(self) -> None:
        """
        Of an entry whose first changes have gone the rest is no basis to go on from.
        """
        history = History(max_changes=32)
        for _ in range(20):
            history.note(1, "key", None)
        for _ in range(20):
            history.note(2, "key", None)
        assert history.complete_after(2) == 1
        assert [index for index, *_ in told(history, 1)] == [2] * 20

    @pytest.mark.parametrize(
        ("applied", "first_noted", "expected"), [(7, None, 7), (9, 8, 7), (7, 9, 7)]
    )
    def test_forgotten(
        self, applied: int, first_noted: int | None, expected: int
    ) -> None:
        """
        After a restore it is known from what is applied, or from what came next.

        Entries that change no key may have come between.
        """
        history = History()
        history.note(3, "key", None)
        history.forget()
        if first_noted is not None:
            history.note(first_noted, "key", None)
        assert history.complete_after(applied) == expected
        history.note(12, "key", None)
        assert history.complete_after(12) == expected


class TestRead:
    """
    Changes, some at a time.
    """

    def test_against_all_there_was(self) -> None:
        """
        Whoever reads on and on gets everything of his prefix, once and in order.

        However little he takes at once, and whatever is noted meanwhile; the last of
        each entry is known as such. Or he is told that he has come too late.
        """
        late = on_time = 0
        for seed in range(200):
            rng = Random(seed)
            history = History(max_changes=rng.choice([20, 30, 400]))
            everything: list[Change] = []
            index = 0

            def write(history=history, everything=everything, rng=rng) -> None:
                nonlocal index
                index += rng.randint(1, 3)
                for _ in range(rng.randint(1, 6)):
                    key = rng.choice(["a", "a/1", "a/2", "b", "b/1"])
                    record = rng.choice(
                        [None, record_of(index, "x" * rng.randint(0, 50))]
                    )
                    everything.append((index, key, record, False))
                    history.note(index, key, record)

            for _ in range(20):
                write()
            prefix = rng.choice(["", "a", "a/", "b/", "c"])
            after = rng.randint(history.complete_after(index), index + 3)
            position: int | None = history.position_behind(after)
            got: list[tuple[Change, bool]] = []
            for _ in range(60):
                if position is None:
                    position = history.end
                    write()
                if rng.random() < 0.6:
                    write()
                if position < history.first:
                    late += 1
                    break
                limits = rng.choice([1, 5, 100]), rng.choice([1, 300, 5000])
                found, position = history.read(position, prefix, after, *limits)
                got += found
            else:
                on_time += 1
            wanted = [
                change
                for change in everything
                if change[0] > after and change[1].startswith(prefix)
            ]
            assert by_change(got) == wanted[: len(got)]
            for at, (change, is_last) in enumerate(got):
                following = wanted[at + 1 :]
                assert is_last == (not following or following[0][0] != change[0])
            if position is None:
                assert len(got) == len(wanted)
        assert late > 10
        assert on_time > 100

    def test_position(self) -> None:
        """
        The first change of a later entry has it, whether that is there or not.
        """
        history = History(max_changes=32)
        for index in (3, 3, 5, 7, 7):
            history.note(index, "key", None)
        positions = [history.position_behind(index) for index in range(9)]
        assert positions == [0, 0, 0, 2, 2, 3, 3, 5, 5]

    def test_it_is_enough_at_some_time(self) -> None:
        """
        A reader gets no more at once than it asks for, but for the rest of one change.
        """
        history = History()
        for index in range(1, 1001):
            history.note(index, f"key{index}", record_of(index, "x" * 1000))
        found, position = history.read(0, "", 0, 10, 1 << 30)
        assert (len(found), position) == (10, 10)
        found, position = history.read(0, "key1000", 0, 10, 1 << 30)
        assert (len(found), position) == (0, 10)
        found, position = history.read(0, "", 0, 1000, 5000)
        assert (len(found), position) == (5, 5)

    def test_it_is_enough_within_an_entry(self) -> None:
        """
        So it is where one entry has changed very much.
        """
        history = History()
        for number in range(1000):
            history.note(1, f"key{number}", record_of(1, "x" * 1000))
        found, position = history.read(0, "", 0, 10, 5000)
        assert (len(found), position) == (5, 5)
        assert not any(is_last for _, is_last in found)


class TestPrefixes:
    """
    Who is told of a key.
    """

    def test_told(self) -> None:
        """
        All whose prefix the key has, once, with the first change since the last time.
        """
        history = History()
        prefixes = history.prefixes
        watchers = {prefix: Watcher() for prefix in ("", "a", "a/b", "a/bc", "é", "b")}
        for prefix, watcher in watchers.items():
            prefixes.add(prefix, watcher)
        second = Watcher()
        prefixes.add("a", second)
        for key in ("x", "a", "a/b", "a/b", "aé"):
            history.note(1, key, None)
        assert not any(watcher.positions for watcher in watchers.values())
        prefixes.tell()
        prefixes.tell()
        assert {prefix: w.positions for prefix, w in watchers.items()} == {
            "": [0],
            "a": [1],
            "a/b": [2],
            "a/bc": [],
            "é": [],
            "b": [],
        }
        assert second.positions == [1]
        history.note(2, "é!", None)
        prefixes.tell()
        assert watchers["é"].positions == [5]
        assert watchers[""].positions == [0, 5]

    def test_woken(self) -> None:
        """
        Who looks is woken by the first change that somebody watches, and by a restore.
        """
        history = History()
        woken: list[int] = []
        history.prefixes.wake = lambda: woken.append(history.end)
        history.note(1, "a", None)
        history.forget()
        assert woken == []
        watcher = Watcher()
        history.prefixes.add("a", watcher)
        history.note(2, "b", None)
        history.note(3, "a", None)
        history.note(4, "a", None)
        assert woken == [3]
        history.prefixes.tell()
        history.note(5, "a", None)
        assert woken == [3, 5]
        history.forget()
        assert woken == [3, 5, 5]
        history.prefixes.tell()
        assert watcher.positions == [2]

    def test_nothing_stays(self) -> None:
        """
        What is left when all have gone is nothing.
        """
        prefixes = History().prefixes
        watchers = [(f"{number % 7}" * (number % 5), Watcher()) for number in range(50)]
        for prefix, watcher in watchers:
            prefixes.add(prefix, watcher)
        assert prefixes.lengths == [0, 1, 2, 3, 4]
        for prefix, watcher in watchers:
            prefixes.remove(prefix, watcher)
        assert prefixes.lengths == []
        assert prefixes._groups == {}

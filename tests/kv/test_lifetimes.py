"""
Lifetimes of keys: when they end, what else ends them, and that a snapshot has them.
"""

from __future__ import annotations

import tracemalloc
from time import perf_counter
from typing import TYPE_CHECKING

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hraftd.kv.commands import (
    Delete,
    Get,
    Once,
    Restore,
    Set,
    Stamped,
    Transaction,
    encode_command,
)
from hraftd.kv.conditions import Absent, Exists
from hraftd.kv.store import EXPIRED_AT_ONCE, KeyValueStore

if TYPE_CHECKING:
    from hraftd.kv.commands import Command, Write


@define
class Told:
    """
    A store, and the next index.
    """

    store: KeyValueStore = field(factory=KeyValueStore)
    index: int = 0
    #: What was said each time when the time was told.
    afresh: list[bool] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        """
        Listen to what the store tells of the time.
        """
        self.store.when_told = self.afresh.append

    def do(self, command: Command) -> object:
        """
        Apply a command, and return what came of it.
        """
        self.index += 1
        return self.store.apply(self.index, encode_command(command))

    def put(self, now: int, ttl: int | None, *keys: str, value: str = "v") -> object:
        """
        Set keys at a moment, for so long.
        """
        return self.do(Stamped(now, Set(tuple((key, value) for key in keys), ttl)))

    def keys(self) -> str:
        """
        Return the keys that are there.
        """
        return "".join(key for key, _ in self.store.page("", None, 1000).items)


def copy_of(store: KeyValueStore) -> KeyValueStore:
    """
    Return what is restored from a store's snapshot.
    """
    copy = KeyValueStore()
    restoration = copy.restore()
    for piece in store.snapshot():
        restoration.add(piece)
    restoration.finish()
    return copy


def test_ends() -> None:
    """
    A key is there until the time is told at which it is due, and then it is not.
    """
    told = Told()
    told.put(1000, 50, "a", "b")
    told.put(1010, None, "c")
    assert (told.store.clock, told.store.deadlines) == (1010, 2)
    assert told.store.next_due == 1050
    told.do(Stamped(1049))
    assert told.keys() == "abc"
    told.do(Stamped(1050))
    assert told.keys() == "c"
    assert (told.store.deadlines, told.store.next_due) == (0, None)


def test_only_telling_the_time_removes() -> None:
    """
    A write that tells the time removes nothing: what it does may depend on a key.
    """
    told = Told()
    told.put(0, 10, "a")
    told.put(99, None, "b")
    assert told.store.clock == 99
    assert told.keys() == "ab"
    told.do(Stamped(0))
    assert told.keys() == "b"


def test_time_never_goes_back() -> None:
    """
    A time that is over changes nothing; a lifetime counts from the latest one told.
    """
    told = Told()
    told.put(500, 100, "a")
    told.put(20, 100, "b")
    assert (told.store.clock, told.store.next_due) == (500, 600)
    told.do(Stamped(3))
    assert told.store.clock == 500
    told.do(Stamped(599))
    assert told.keys() == "ab"
    told.do(Stamped(600))
    assert told.keys() == ""


def test_lifetime_is_replaced() -> None:
    """
    Another write gives a key another lifetime, a shorter one too; without any, and
    after a deletion, nothing is left of the first.
    """
    told = Told()
    for key in "abcd":
        told.put(0, 100, key)
    told.put(10, 1000, "a")
    told.put(10, 20, "b")
    told.do(Set((("c", "v"),)))
    told.do(Delete("d"))
    assert told.store.deadlines == 2
    told.do(Stamped(30))
    assert told.keys() == "ac"
    told.do(Set((("d", "v"),)))
    told.do(Stamped(500))
    assert told.keys() == "acd"
    told.do(Stamped(1010))
    assert told.keys() == "cd"
    assert told.store.deadlines == 0


def test_in_transactions() -> None:
    """
    Each operation gives its own key its own lifetime, the last one of a key counts, and
    only those of the branch that runs do.
    """
    told = Told()

    def pair(key: str, ttl: int | None) -> Set:
        return Set(((key, "v"),), ttl)

    then = (pair("a", 10), pair("b", 20), pair("c", None), pair("a", 30), Delete("b"))
    told.do(Stamped(0, Transaction((Absent("a"),), then, (pair("x", 1),))))
    assert told.store.deadlines == 1
    told.do(Stamped(29))
    assert told.keys() == "ac"
    refused = Transaction((Absent("a"),), (pair("c", 1),), (Get("c"),))
    told.do(Stamped(29, refused))
    told.do(Stamped(30))
    assert told.keys() == "c"
    told.do(Stamped(30, Transaction((Exists("a"),), (), (pair("y", 5),))))
    told.do(Stamped(35))
    assert told.keys() == "c"


def test_no_change_without_room_for_the_result() -> None:
    """
    A transaction that is not carried out gives nothing a lifetime.
    """
    told = Told()
    large = "x" * (3 << 20)
    told.do(Set((("a", large),)))
    short = Set((("a", "1"), ("b", "1")), 1)
    command = Transaction((), (Get("a"), Get("a"), Get("a"), short))
    assert told.do(Stamped(0, command)) == {"too_large": 8 << 20}
    assert told.store.deadlines == 0
    told.do(Stamped(1))
    assert told.keys() == "a"


def test_retry_does_not_renew() -> None:
    """
    A retry with a token is known however late it comes, and gives no second lifetime;
    with another lifetime it is another command.
    """
    told = Told()

    def once(now: int, ttl: int) -> object:
        return told.do(Stamped(now, Once("token", Set((("a", "v"),), ttl))))

    first = once(0, 10)
    assert first == {"first": 1, "result": None}
    assert once(5, 10) == first
    assert told.store.next_due == 10
    assert once(6, 11) == {"reused": 1}
    told.do(Stamped(10))
    assert once(20, 10) == first
    assert told.keys() == ""
    assert told.store.clock == 20


def test_in_order_and_so_many_at_once() -> None:
    """
    One command removes the keys that are due first, and no more of them than it may.
    """
    told = Told()
    total = EXPIRED_AT_ONCE + 10
    for number in reversed(range(total)):
        told.put(0, 100 + number, f"{(number * 7919) % total:05}")
    assert told.store.next_due == 100
    told.do(Stamped(10_000))
    assert told.store.deadlines == len(told.store) == 10
    left = {f"{(number * 7919) % total:05}" for number in range(total - 10, total)}
    assert {key for key, _ in told.store.page("", None, 99).items} == left
    told.do(Stamped(10_000))
    assert len(told.store) == 0


def test_who_is_told() -> None:
    """
    Each telling of the time is passed on, and whether there was nothing to expire: then
    all nodes are to count from this one.
    """
    told = Told()
    told.do(Set((("x", "v"),)))
    assert told.afresh == []
    told.put(5, 10, "a")
    told.put(6, 10, "b")
    told.do(Stamped(20))
    told.do(Stamped(30, Set((("a", "v"),), 1)))
    assert told.afresh == [True, False, False, True]
    restoration = told.store.restore()
    for piece in KeyValueStore().snapshot():
        restoration.add(piece)
    assert told.afresh[4:] == []
    restoration.finish()
    assert told.afresh[4:] == [True]
    assert told.store.clock == 0


def test_snapshot_stands_still() -> None:
    """
    A snapshot has the clock and the deadlines of the moment when it was begun.
    """
    told = Told()
    numbers = range(3000)
    told.put(7, 1000, *(f"{number:04}" for number in numbers))
    before = b"".join(told.store.snapshot())
    pieces = told.store.snapshot()
    told.do(Set((("0000", "v"),)))
    told.do(Delete("2999"))
    told.put(8, 5, "1500", "new")
    told.do(Stamped(20))
    assert b"".join(pieces) == before
    after = copy_of(told.store)
    assert (after.clock, after.deadlines) == (20, 2997)
    assert [*after.snapshot()] == [*told.store.snapshot()]


def test_restored_deadlines() -> None:
    """
    Restored from a snapshot, keys end when they would have; also those that are due
    already.
    """
    told = Told()
    told.put(100, 50, "a")
    told.put(100, 10, "b")
    told.put(120, None, "c")
    told.store = copy_of(told.store)
    assert (told.store.clock, told.store.next_due) == (120, 110)
    told.do(Stamped(120))
    assert told.keys() == "ac"
    told.do(Stamped(149))
    assert told.keys() == "ac"
    told.do(Stamped(150))
    assert told.keys() == "c"


def test_restored_backup() -> None:
    """
    A deadline in a backup is as far from the restore as it was from the backup, however
    late it is by now, and also if nobody had been told for long how late that is.
    """
    backed_up = Told()
    backed_up.put(100, 50, "a")
    pieces = [*backed_up.store.snapshot(), b""]
    told = Told()
    told.put(0, None, "b")
    day = 86_400_000
    for number, piece in enumerate(pieces):
        told.do(Stamped(day, Restore("r", number, piece)))
    assert told.afresh[-1]
    assert (told.store.clock, told.store.next_due) == (day, day + 50)
    told.put(day + 49, 1, "c")
    told.do(Stamped(day + 49))
    assert told.keys() == "ac"
    told.do(Stamped(day + 50))
    assert told.keys() == ""


def test_nothing_is_left_behind() -> None:
    """
    However often a key gets another lifetime, it takes the room of one.
    """
    told = Told()

    def renew(times: int) -> None:
        for now in range(times):
            told.put(now, 1_000_000, "a")

    renew(500)
    tracemalloc.start()
    try:
        renew(3000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What the history of changes keeps is no part of this: about 300 bytes each.
    assert held < 3000 * 500
    assert told.store.deadlines == 1
    pieces = [*told.store.snapshot()]
    assert sum(map(len, pieces)) < 200


def test_many_deadlines_take_no_longer() -> None:
    """
    With a hundred thousand deadlines a look at the next one, and removing those that
    are due, takes about as long as with a thousand.
    """

    def measured(count: int) -> float:
        told = Told()
        for start in range(0, count, 500):
            keys = (f"{number:06}" for number in range(start, start + 500))
            told.put(0, 1000 + start, *keys)
        best = 1.0
        for step in range(5):
            began = perf_counter()
            assert told.store.next_due is not None
            told.do(Stamped(1000 + 100 * step))
            best = min(best, perf_counter() - began)
        return best

    assert measured(100_000) < 20 * max(measured(2_000), 1e-3)


class LifetimesModel(RuleBasedStateMachine):
    """
    Compares the store with a dictionary that is looked through as a whole each time.
    """

    def __init__(self) -> None:
        """
        Begin empty.
        """
        super().__init__()
        self.told = Told()
        self.clock = 0
        self.model: dict[str, tuple[str, int | None]] = {}

    def change(self, now: int | None, write: Write) -> None:
        """
        Apply a write, in an envelope or not, and do the same to the model.
        """
        if now is None:
            self.told.do(write)
        else:
            self.told.do(Stamped(now, write))
            self.clock = max(self.clock, now)
        match write:
            case Set(pairs, ttl):
                for key, value in pairs:
                    self.model[key] = value, None if ttl is None else self.clock + ttl
            case Delete(key):
                self.model.pop(key, None)

    @rule(
        now=st.none() | st.integers(0, 60),
        key=st.sampled_from("abcdef"),
        other=st.sampled_from("abcdef"),
        ttl=st.none() | st.integers(1, 20),
    )
    def set(self, now: int | None, key: str, other: str, ttl: int | None) -> None:
        """
        Set two keys, or one of them twice.
        """
        self.change(now, Set(((key, "1"), (other, "2")), ttl))

    @rule(now=st.none() | st.integers(0, 60), key=st.sampled_from("abcdef"))
    def delete(self, now: int | None, key: str) -> None:
        """
        Remove a key.
        """
        self.change(now, Delete(key))

    @rule(now=st.integers(0, 60))
    def tell(self, now: int) -> None:
        """
        Let it be so late.
        """
        self.told.do(Stamped(now))
        self.clock = max(self.clock, now)
        for key, (_, deadline) in [*self.model.items()]:
            if deadline is not None and deadline <= self.clock:
                del self.model[key]

    @rule()
    def move(self) -> None:
        """
        Go on with what a snapshot has.
        """
        self.told.store = copy_of(self.told.store)

    @invariant()
    def same(self) -> None:
        """
        Both hold the same, until when too.
        """
        store = self.told.store
        held = {key: found.value for key, found in store.page("", None, 99).items}
        assert held == {key: value for key, (value, _) in self.model.items()}
        deadlines = [when for _, when in self.model.values() if when is not None]
        assert store.deadlines == len(deadlines)
        assert store.next_due == min(deadlines, default=None)
        assert store.clock == self.clock


TestLifetimesModel = LifetimesModel.TestCase
TestLifetimesModel.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)

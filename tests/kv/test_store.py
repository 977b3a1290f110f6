"""
The key-value store: commands change it, a snapshot holds it still, a restore replaces
it; and none of these takes long at once.
"""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from zope.interface.verify import verifyObject

from hraftd.codec import CodecError
from hraftd.interfaces import IStateMachine
from hraftd.kv import ordered, snapshot
from hraftd.kv.commands import Delete, Set, encode_command
from hraftd.kv.records import Listing
from hraftd.kv.store import KeyValueStore, Versioned

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

KEYS = [*"abcdefgh", "", "ключ", "😀", "a/b", "a" * 300]


def put(store: KeyValueStore, index: int, **values: str) -> None:
    """
    Apply a command that sets keys.
    """
    store.apply(index, encode_command(Set(tuple(values.items()))))


def content(store: KeyValueStore, keys: list[str] = KEYS) -> dict[str, Versioned]:
    """
    Return what those keys hold, after a look at how many there are in all.
    """
    held = {key: versioned for key in keys if (versioned := store.get(key))}
    assert len(store) == len(held)
    return held


def restore(store: KeyValueStore, pieces: Iterator[bytes]) -> None:
    """
    Put a snapshot in place of what a store holds.
    """
    restoration = store.restore()
    for piece in pieces:
        restoration.add(piece)
    restoration.finish()


def test_interface() -> None:
    """
    It is a state machine.
    """
    verifyObject(IStateMachine, KeyValueStore())


def test_set_and_delete() -> None:
    """
    A key holds its latest value and the index of that change, until it is deleted.
    """
    store = KeyValueStore()
    assert store.get("a") is None
    assert store.apply(7, encode_command(Set((("a", "1"), ("é", ""))))) is None
    assert content(store, ["a", "é"]) == {"a": Versioned("1", 7), "é": Versioned("", 7)}
    put(store, 2**62, a="ж")
    assert store.get("a") == Versioned("ж", 2**62)
    assert store.apply(2**62 + 1, encode_command(Delete("a"))) is True
    assert store.apply(2**62 + 2, encode_command(Delete("a"))) is False
    assert content(store, ["a", "é"]) == {"é": Versioned("", 7)}


def test_last_of_a_command_counts() -> None:
    """
    Where a command sets a key twice, the last value stays.
    """
    store = KeyValueStore()
    store.apply(1, encode_command(Set((("a", "1"), ("b", "2"), ("a", "3")))))
    assert content(store) == {"a": Versioned("3", 1), "b": Versioned("2", 1)}


def test_unknown_command() -> None:
    """
    What is no command changes nothing.
    """
    store = KeyValueStore()
    with pytest.raises(CodecError):
        store.apply(1, b"X")
    assert len(store) == 0


def test_key_without_a_byte_form() -> None:
    """
    One may ask for a lone surrogate; it is never there.
    """
    assert KeyValueStore().get("\ud800") is None


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="the collector knows every dictionary there"
)
def test_nothing_for_the_garbage_collector() -> None:
    """
    However many keys there are, the collector is not given more objects to visit.
    """
    held = KeyValueStore()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(5000):
        put(held, number + 1, **{f"key {number}": "value"})
    for _ in held.snapshot():
        put(held, 5001, a="b")
    restored = KeyValueStore()
    restore(restored, held.snapshot())
    assert len(held) == len(restored) == 5001
    gc.collect()
    assert len(gc.get_objects()) < before + 100


def test_snapshot_of_the_moment() -> None:
    """
    A snapshot is of the moment when it was asked for, not of when it is read.
    """
    store, copy = KeyValueStore(), KeyValueStore()
    put(store, 1, a="1", b="1")
    pieces = store.snapshot()
    put(store, 2, a="2", c="2")
    store.apply(3, encode_command(Delete("b")))
    restore(copy, pieces)
    assert content(copy) == {"a": Versioned("1", 1), "b": Versioned("1", 1)}
    assert content(store) == {"a": Versioned("2", 2), "c": Versioned("2", 2)}


def test_restored_store_is_no_copy_of_it() -> None:
    """
    What becomes of one of two stores does not show in the other.
    """
    store, copy = KeyValueStore(), KeyValueStore()
    put(store, 1, a="1")
    restore(copy, store.snapshot())
    put(store, 2, a="2")
    put(copy, 2, b="2")
    assert content(store) == {"a": Versioned("2", 2)}
    assert content(copy) == {"a": Versioned("1", 1), "b": Versioned("2", 2)}


def test_one_snapshot_at_a_time() -> None:
    """
    While one is read there is no second; closed, even unread, or dropped, it is gone.
    """
    store = KeyValueStore()
    put(store, 1, a="1")
    pieces = store.snapshot()
    with pytest.raises(RuntimeError, match="another snapshot"):
        store.snapshot()
    pieces.close()
    assert list(pieces) == []
    assert len(list(store.snapshot())) == 1
    dropped = store.snapshot()
    del dropped
    gc.collect()
    exhausted = store.snapshot()
    assert len(list(exhausted)) == 1
    store.snapshot().close()


def test_same_pieces_in_every_process() -> None:
    """
    The same commands make the same snapshot, whatever seed the process hashes with.
    """
    script = (
        "from hraftd.kv.commands import Set, encode_command\n"
        "from hraftd.kv.store import KeyValueStore\n"
        "store = KeyValueStore()\n"
        "pairs = tuple((str(number), 'v') for number in range(100))\n"
        "store.apply(1, encode_command(Set(pairs)))\n"
        "print([*store.snapshot()])\n"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    )
    assert len(first) > 1000
    assert first == second


class _Held:
    """
    How much memory a store of 4 MB in 4,096 keys lets go, and when.
    """

    #: Bytes of all values.
    FULL = 4096 * 1024

    def __init__(self) -> None:
        self.store = KeyValueStore()
        for number in range(4096):
            put(self.store, number + 1, **{str(number): "v" * 1024})
        self._index = 4096
        self._last, _ = tracemalloc.get_traced_memory()
        #: The most that was let go at once, in bytes.
        self.most = 0
        #: What was let go in all.
        self.total = 0

    def look(self) -> None:
        """
        See what is gone since the last look.
        """
        held, _ = tracemalloc.get_traced_memory()
        self.most = max(self.most, self._last - held)
        self.total += self._last - held
        self._last = held

    def start_anew(self, store: KeyValueStore) -> None:
        """
        Forget what was seen, and apply to another store from now on.
        """
        self.store = store
        self.most = self.total = 0
        self.look()
        self.most = self.total = 0

    def go_on(self) -> None:
        """
        Apply commands, as a server does that goes on.
        """
        for _ in range(100):
            self._index += 1
            self.store.apply(self._index, encode_command(Delete("none")))
            self.look()

    def assert_gone_bit_by_bit(self) -> None:
        """
        See that all of it was let go, and never much of it at once.
        """
        assert self.total > 0.9 * self.FULL
        # No more at once than a piece of a snapshot holds.
        assert self.most < 0.1 * self.FULL


@pytest.fixture
def held() -> Iterator[_Held]:
    """
    Return a store whose memory is watched.
    """
    tracemalloc.start()
    try:
        yield _Held()
    finally:
        tracemalloc.stop()


def test_old_state_is_let_go_bit_by_bit(held: _Held) -> None:
    """
    The state that a restored one replaces is not freed at once: with a million keys
    that would take a tenth of a second.
    """
    restore(held.store, KeyValueStore().snapshot())
    held.look()
    assert held.most < 0.1 * held.FULL
    held.go_on()
    held.assert_gone_bit_by_bit()


def test_old_state_is_let_go_by_the_next_restore(held: _Held) -> None:
    """
    A server that gets one snapshot after the other, and no command between them, does
    not keep all of their states.
    """
    restore(held.store, KeyValueStore().snapshot())
    held.look()
    pieces = [struct.pack(">BQI", 1, 0, 0)] + [bytes(4)] * 100
    restoration = held.store.restore()
    for piece in pieces:
        restoration.add(piece)
        held.look()
    held.assert_gone_bit_by_bit()


def test_closed_snapshot_is_let_go_bit_by_bit(held: _Held) -> None:
    """
    Nor is it if a snapshot of it was the last that held it.
    """
    pieces = held.store.snapshot()
    restore(held.store, KeyValueStore().snapshot())
    held.go_on()
    pieces.close()
    held.look()
    held.go_on()
    held.assert_gone_bit_by_bit()


def test_snapshot_is_let_go_as_it_is_read(held: _Held) -> None:
    """
    What a snapshot has read, and nobody else needs, it does not hold on to.
    """
    pieces = held.store.snapshot()
    restore(held.store, KeyValueStore().snapshot())
    held.go_on()
    for _ in pieces:
        held.look()
    held.look()
    assert held.total > 0.9 * held.FULL
    assert held.most < 0.2 * held.FULL


def test_abandoned_restore_is_let_go_bit_by_bit(held: _Held) -> None:
    """
    Nor is what a restore has read that is given up for a later snapshot.
    """
    other = KeyValueStore()
    given_up = other.restore()
    for piece in held.store.snapshot():
        given_up.add(piece)
    restore(held.store, KeyValueStore().snapshot())
    held.go_on()
    held.start_anew(other)
    del given_up
    restore(other, KeyValueStore().snapshot())
    held.look()
    held.go_on()
    held.assert_gone_bit_by_bit()
    assert len(other) == 0


def test_copies_once_for_a_snapshot(
    held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Keys are copied for a snapshot before the first change to one of them, not with
    each change, and not at all once they are read.
    """
    monkeypatch.setattr(snapshot, "PIECE_KEYS", 999)

    def peak_of_a_change() -> int:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        put(crowded, 1, **{"500": "w"})
        return tracemalloc.get_traced_memory()[1] - before

    crowded = KeyValueStore()
    put(crowded, 1, **{str(number): "v" for number in range(1000)})
    pieces = crowded.snapshot()
    assert peak_of_a_change() > 20_000
    assert peak_of_a_change() < 5_000
    assert len([*pieces]) == 2
    pieces = crowded.snapshot()
    assert next(pieces)
    assert peak_of_a_change() > 20_000
    pieces.close()
    # Lets go of what the view had, which would hide a copy made at the same time.
    peak_of_a_change()
    pieces = crowded.snapshot()
    assert next(pieces)
    assert next(pieces)
    assert peak_of_a_change() < 5_000


class SnapshotMachine(RuleBasedStateMachine):
    """
    Commands between a snapshot's beginning, its pieces, its end and its restore.
    """

    #: Keys in a leaf: so few that there are many, or so many that there is one.
    leaf_keys = 2
    leaf_bytes = 64 * 1024

    def __init__(self) -> None:
        """
        Begin with an empty store.
        """
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(ordered, "LEAF_KEYS", self.leaf_keys)
        self._patch.setattr(ordered, "LEAF_BYTES", self.leaf_bytes)
        self._patch.setattr(snapshot, "PIECE_KEYS", 2)
        self.store = KeyValueStore()
        self.model: dict[str, Versioned] = {}
        self.index = 0
        self.reading: Generator[bytes, None, None] | None = None
        self.pieces: list[bytes] = []
        self.at_its_time: dict[str, Versioned] = {}
        self.last: tuple[list[bytes], dict[str, Versioned]] | None = None

    def teardown(self) -> None:
        """
        Put the sizes back.
        """
        self._patch.undo()

    @rule(
        pairs=st.lists(st.tuples(st.sampled_from(KEYS), st.text("xж", max_size=3))),
    )
    def set(self, pairs: list[tuple[str, str]]) -> None:
        """
        Set keys.
        """
        self.index += 1
        self.store.apply(self.index, encode_command(Set(tuple(pairs))))
        self.model |= {key: Versioned(value, self.index) for key, value in pairs}

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: str) -> None:
        """
        Delete a key, there or not.
        """
        self.index += 1
        was_there = self.store.apply(self.index, encode_command(Delete(key)))
        assert was_there == (self.model.pop(key, None) is not None)

    @precondition(lambda self: self.reading is None)
    @rule()
    def begin(self) -> None:
        """
        Ask for a snapshot.
        """
        self.reading = self.store.snapshot()
        self.pieces = []
        self.at_its_time = dict(self.model)

    @precondition(lambda self: self.reading is not None)
    @rule()
    def read(self) -> None:
        """
        Read its next piece; at its end, see what it restores to.
        """
        assert self.reading is not None
        piece = next(self.reading, None)
        if piece is not None:
            self.pieces.append(piece)
            return
        assert len(self.pieces) == max(1, (len(self.at_its_time) + 1) // 2)
        self.last = self.pieces, self.at_its_time
        self.reading = None
        other = KeyValueStore()
        put(other, 1, a="?", z="?")
        restore(other, iter(self.pieces))
        assert content(other) == self.at_its_time

    @precondition(lambda self: self.reading is not None)
    @rule()
    def close(self) -> None:
        """
        Do without the rest of it.
        """
        assert self.reading is not None
        self.reading.close()
        self.reading = None

    @precondition(lambda self: self.last is not None)
    @rule()
    def restore(self) -> None:
        """
        Go back to what the last snapshot holds.
        """
        assert self.last is not None
        pieces, state = self.last
        restore(self.store, iter(pieces))
        self.model = dict(state)

    @invariant()
    def holds_what_it_should(self) -> None:
        """
        See that the store holds what the commands left in it, in order.
        """
        assert content(self.store) == self.model
        page = self.store.page("", None, 100)
        assert page == Listing(tuple(sorted(self.model.items())), more=False)


class OneLeaf(SnapshotMachine):
    """
    The same with all keys in one leaf.
    """

    leaf_keys = 1024


class SmallLeaves(SnapshotMachine):
    """
    The same with leaves that are full for the bytes they have.
    """

    leaf_keys = 1024
    leaf_bytes = 40


TestSnapshots = SnapshotMachine.TestCase
TestSnapshotsInOneLeaf = OneLeaf.TestCase
TestSnapshotsInSmallLeaves = SmallLeaves.TestCase
TestSnapshots.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestSnapshotsInOneLeaf.settings = TestSnapshotsInSmallLeaves.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None
)

"""
Records in the order of their keys: like a sorted dictionary, in small leaves.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.kv import ordered
from hraftd.kv.commands import Delete, Set, encode_command
from hraftd.kv.ordered import LEAF_BYTES, LEAF_KEYS, OrderedRecords
from hraftd.kv.records import Versioned
from hraftd.kv.store import LISTING_BYTES, KeyValueStore

#: Keys whose order in UTF-16 is another one than in UTF-8, and prefixes of each other.
KEYS = ["", "a", "a/", "a/1", "a/10", "a/2", "a0", "b", "é", "\uffff", "\U0001f600"]


@pytest.fixture
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let a leaf be full at three keys.
    """
    monkeypatch.setattr(ordered, "LEAF_KEYS", 3)


def sizes(records: OrderedRecords) -> list[tuple[int, int]]:
    """
    Return how many keys and bytes each leaf has.
    """
    return [
        (len(leaf), sum(len(key) + len(record) for key, record in leaf.items()))
        for leaf in records.release()
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.binary(max_size=12) | st.none()),
        max_size=40,
    ),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from([10, 1000]),
)
@settings(max_examples=300, deadline=None)
def test_against_a_dictionary(
    changes: list[tuple[str, bytes | None]], leaf_keys: int, leaf_bytes: int
) -> None:
    """
    Whatever is put and removed, what is there is what a sorted dictionary has: all of
    it, and each page of it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "LEAF_KEYS", leaf_keys)
        patch.setattr(ordered, "LEAF_BYTES", leaf_bytes)
        records, model = OrderedRecords(), dict[str, bytes]()
        for key, record in changes:
            if record is None:
                assert records.remove(key) == (model.pop(key, None) is not None)
            else:
                records.put(key, record)
                model[key] = record
        assert len(records) == len(model)
        for key in KEYS:
            assert records.get(key) == model.get(key)
        for prefix in ("", "a", "a/", "a/1", "b", "é", "zz"):
            for after in (None, *KEYS, "a/0", "zzz"):
                assert [*records.items(prefix, after)] == [
                    (key, model[key])
                    for key in sorted(model)
                    if key.startswith(prefix) and (after is None or key > after)
                ]
        assert all(keys <= leaf_keys for keys, _ in sizes(records))


def test_order_is_that_of_bytes() -> None:
    """
    The order of a listing is that of the keys' bytes, which a client can compute.
    """
    records = OrderedRecords()
    for key in KEYS:
        records.put(key, b"")
    listed = [key for key, _ in records.items("", None)]
    assert listed == sorted(KEYS, key=str.encode)


@pytest.mark.parametrize("step", [1, -1, 7919])
def test_leaves_are_small(step: int) -> None:
    """
    In whatever order keys come, no leaf has many of them, and few have hardly any.
    """
    records = OrderedRecords()
    count = 20_000
    for number in range(count):
        records.put(f"{number * step % count:06}", b"v" * 8)
    found = sizes(records)
    assert sum(keys for keys, _ in found) == count
    assert max(keys for keys, _ in found) <= LEAF_KEYS
    assert len(found) <= 2 * count / LEAF_KEYS + 2


def test_leaves_have_few_bytes() -> None:
    """
    Large values are few in a leaf; a value that is larger than a leaf has one.
    """
    records = OrderedRecords()
    for number in range(1000):
        records.put(f"{number:04}", b"v" * 2000)
    # Values that grow are noticed too.
    for number in range(0, 1000, 100):
        records.put(f"{number:04}", b"v" * 40_000)
        records.put(f"{number:04}", b"v" * 41_000)
    for key in ("0500", "0555", "large"):
        records.put(key, b"v" * 100_000)
    found = sizes(records)
    assert max(size for keys, size in found if keys > 1) <= LEAF_BYTES
    assert sum(keys for keys, _ in found) == 1001
    assert len(found) < 100


def test_what_is_removed_does_not_count() -> None:
    """
    Keys that come and go do not make a leaf look larger than it is.
    """
    records = OrderedRecords()
    for key in ("a", "z"):
        records.put(key, b"")
    for _ in range(1000):
        records.put("k", b"v" * 1000)
        assert records.remove("k")
    assert sizes(records) == [(2, 2)]


@pytest.mark.usefixtures("small_leaves")
def test_empty_leaves_are_dropped() -> None:
    """
    What is removed leaves nothing behind.
    """
    records = OrderedRecords()
    keys = [f"{number:03}" for number in range(300)]
    for key in keys:
        records.put(key, b"")
    for key in keys[:150] + keys[:149:-1]:
        assert records.remove(key)
        assert not records.remove(key)
    assert sizes(records) == [(0, 0)]


@pytest.mark.usefixtures("small_leaves")
def test_listing_looks_at_few_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A page takes no look at what comes before it, or behind its prefix.
    """
    sorted_keys: list[int] = []

    def counting(keys: list[str]) -> list[str]:
        sorted_keys.append(len(keys))
        return sorted(keys)

    monkeypatch.setattr(ordered, "sorted", counting, raising=False)
    records = OrderedRecords()
    for number in range(1000):
        records.put(f"{number:04}", b"")
    sorted_keys.clear()
    assert len([*records.items("05", "0550")]) == 49
    assert sum(sorted_keys) <= 49
    assert len(sorted_keys) <= 49


def test_equal_states_have_equal_snapshots() -> None:
    """
    However a state came to be, and wherever its leaves were cut, its snapshot is made
    of the same bytes.
    """
    one, other = KeyValueStore(), KeyValueStore()
    pairs = [(f"k{number % 5000}", "v" * (number % 50)) for number in range(12_000)]
    for index, (key, value) in enumerate(pairs, 1):
        one.apply(index, encode_command(Set(((key, value),))))
    last = {key: (index, value) for index, (key, value) in enumerate(pairs, 1)}
    for key, (index, value) in sorted(last.items(), reverse=True):
        other.apply(index, encode_command(Set(((key, value), ("gone", "")))))
        other.apply(index, encode_command(Delete("gone")))
    assert [*one.snapshot()] == [*other.snapshot()]


def test_pages_of_a_store() -> None:
    """
    A page ends at its limit, or where its values have so many bytes; and says whether
    there are others.
    """
    store = KeyValueStore()
    assert store.page("", None, 1).items == ()
    for index, key in enumerate("abcd", 1):
        value = "x" * (LISTING_BYTES // 2 + 1) if key in "bc" else ""
        store.apply(index, encode_command(Set(((key, value),))))
    page = store.page("", None, 4)
    assert ([key for key, _ in page.items], page.more) == (["a", "b", "c"], True)
    page = store.page("", "c", 1)
    assert (page.items, page.more) == ((("d", Versioned("", 4)),), False)
    page = store.page("", "a", 1)
    assert ([key for key, _ in page.items], page.more) == (["b"], True)
    assert store.page("e", None, 1).more is False

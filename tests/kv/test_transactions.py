"""
Transactions and conditional writes: what they ask, what they do, what they answer.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.codec import CodecError
from hraftd.kv import transactions
from hraftd.kv.commands import (
    Delete,
    Get,
    Operation,
    Set,
    Transaction,
    encode_command,
)
from hraftd.kv.conditions import (
    Absent,
    ChangedAt,
    Condition,
    Exists,
    HasValue,
    NotChangedAt,
    holds,
)
from hraftd.kv.records import Versioned, record_of
from hraftd.kv.results import (
    MAX_RESULT_BYTES,
    Done,
    Ran,
    Result,
    TokenReused,
    TooLarge,
    plain,
    result_of,
)
from hraftd.kv.store import KeyValueStore
from hraftd.plain_values import decode_value, encode_value


def filled(**values: str) -> KeyValueStore:
    """
    Return a store whose keys were set by entries 1, 2, 3 and so on.
    """
    store = KeyValueStore()
    for index, (key, value) in enumerate(values.items(), 1):
        store.apply(index, encode_command(Set(((key, value),))))
    return store


def apply(
    store: KeyValueStore,
    index: int,
    conditions: tuple[Condition, ...],
    then: tuple[Operation, ...],
    otherwise: tuple[Operation, ...] = (),
) -> Result:
    """
    Apply a transaction.
    """
    command = encode_command(Transaction(conditions, then, otherwise))
    return result_of(store.apply(index, command))


@pytest.mark.parametrize(
    ("condition", "of_7", "of_nothing"),
    [
        (Exists("k"), True, False),
        (Absent("k"), False, True),
        (HasValue("k", "vé"), True, False),
        (HasValue("k", "v"), False, False),
        (HasValue("k", "é"), False, False),
        (HasValue("k", ""), False, False),
        (HasValue("k", "\x07vé"), False, False),
        (ChangedAt("k", (7,)), True, False),
        (ChangedAt("k", (6, 7, 8)), True, False),
        (ChangedAt("k", (6, 8)), False, False),
        (ChangedAt("k", ()), False, False),
        (NotChangedAt("k", (7,)), False, True),
        (NotChangedAt("k", (6, 7)), False, True),
        (NotChangedAt("k", (6,)), True, True),
        (NotChangedAt("k", ()), True, True),
    ],
)
def test_conditions(condition: Condition, of_7: bool, of_nothing: bool) -> None:
    """
    Each condition, of a key that entry 7 has set and of one that is not there.
    """
    assert holds(condition, record_of(7, "vé")) == of_7
    assert holds(condition, None) == of_nothing


def test_value_that_begins_like_an_index() -> None:
    """
    A value is compared with the value, never with the index before it in the record.
    """
    assert not holds(HasValue("k", "\x01ab"), record_of(1, "ab"))
    assert holds(HasValue("k", ""), record_of(1, ""))


def test_then() -> None:
    """
    If all conditions hold, ``then`` is done, all at the one index.
    """
    store = filled(a="1", b="2")
    result = apply(
        store,
        9,
        (Exists("a"), HasValue("b", "2"), Absent("c"), ChangedAt("b", (2,))),
        (Set((("c", "3"), ("d", "4"))), Delete("a"), Delete("x"), Get("b"), Get("y")),
        (Set((("wrong", ""),)),),
    )
    assert result == Ran(True, (None, True, False, Versioned("2", 2), None))
    assert store.get("c") == Versioned("3", 9)
    assert store.get("d") == Versioned("4", 9)
    assert store.get("a") is None
    assert len(store) == 3


def test_otherwise() -> None:
    """
    If one does not, ``otherwise`` is done, and nothing of ``then``.
    """
    store = filled(a="1")
    result = apply(
        store,
        9,
        (Exists("a"), Exists("b")),
        (Set((("wrong", ""),)),),
        (Get("a"), Set((("b", "2"),))),
    )
    assert result == Ran(False, (Versioned("1", 1), None))
    assert store.get("b") == Versioned("2", 9)
    assert store.get("wrong") is None


def test_empty() -> None:
    """
    No condition holds always; nothing to do is done.
    """
    assert apply(filled(), 1, (), ()) == Ran(True, ())
    assert apply(filled(), 1, (Exists("a"),), (Get("a"),)) == Ran(False, ())


def test_operations_see_those_before() -> None:
    """
    Operations are done in their order: each sees what the ones before have done.
    """
    store = filled(a="1")
    operations = (
        Get("a"),
        Set((("a", "2"), ("a", "3"))),
        Get("a"),
        Delete("a"),
        Get("a"),
        Delete("a"),
        Set((("a", "4"),)),
        Delete("b"),
    )
    result = apply(store, 9, (), operations)
    assert result == Ran(
        True,
        (
            Versioned("1", 1),
            None,
            Versioned("3", 9),
            True,
            None,
            False,
            None,
            False,
        ),
    )
    assert store.get("a") == Versioned("4", 9)


def test_conditions_are_of_the_moment_before() -> None:
    """
    A condition does not see what the transaction itself does.
    """
    store = filled()
    then = (Set((("a", "1"),)),)
    assert apply(store, 1, (Absent("a"),), then) == Ran(True, (None,))
    assert apply(store, 2, (Absent("a"),), then, (Get("a"),)) == Ran(
        False, (Versioned("1", 1),)
    )


def test_too_large_changes_nothing() -> None:
    """
    A transaction that gets more than it may is not carried out at all.
    """
    large = "x" * (3 << 20)
    store = filled(a=large, b=large, c="1")
    both = (Set((("c", "2"), ("d", "3"))), Delete("c"), Get("a"), Get("b"))
    assert apply(store, 9, (), (*both, Get("c"))) == Ran(
        True, (None, True, Versioned(large, 1), Versioned(large, 2), None)
    )
    assert apply(store, 10, (), (Set((("c", "9"),)), *both, Get("a"))) == TooLarge(
        MAX_RESULT_BYTES
    )
    assert (store.get("c"), store.get("d")) == (None, Versioned("3", 9))


def test_one_value_is_never_too_large() -> None:
    """
    Whatever one request can set, one can get.
    """
    large = "x" * ((8 << 20) - 8)
    store = filled(a=large)
    assert apply(store, 2, (), (Get("a"),)) == Ran(True, (Versioned(large, 1),))


def test_large_result_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However often a large value is asked for, it is not read more often than it may be.
    """
    reads = []

    def counted(record: bytes) -> Versioned:
        reads.append(record)
        return Versioned("", 1)

    monkeypatch.setattr(transactions, "versioned", counted)
    store = filled(a="x" * (1 << 20))
    apply(store, 2, (), (Get("a"),) * 100_000)
    assert len(reads) == 7


def test_changes_go_beside_a_snapshot() -> None:
    """
    A transaction while a snapshot is read does not show in it.
    """
    store = filled(a="1", b="2")
    pieces = store.snapshot()
    apply(store, 9, (), (Delete("a"), Set((("b", "3"), ("c", "4")))))
    copy = KeyValueStore()
    restoration = copy.restore()
    for piece in pieces:
        restoration.add(piece)
    restoration.finish()
    assert (copy.get("a"), copy.get("b")) == (Versioned("1", 1), Versioned("2", 2))
    assert len(copy) == 2
    assert (store.get("a"), store.get("b")) == (None, Versioned("3", 9))


KEYS = st.sampled_from("abc")
VALUES = st.sampled_from(["", "1", "2"])
INDEXES = st.lists(st.integers(0, 9), max_size=3).map(tuple)
CONDITIONS = st.one_of(
    st.builds(Exists, KEYS),
    st.builds(Absent, KEYS),
    st.builds(HasValue, KEYS, VALUES),
    st.builds(ChangedAt, KEYS, INDEXES),
    st.builds(NotChangedAt, KEYS, INDEXES),
)
OPERATIONS = st.one_of(
    st.builds(Set, st.lists(st.tuples(KEYS, VALUES), max_size=2).map(tuple)),
    st.builds(Delete, KEYS),
    st.builds(Get, KEYS),
)
TRANSACTIONS = st.builds(
    Transaction,
    st.lists(CONDITIONS, max_size=2).map(tuple),
    st.lists(OPERATIONS, max_size=4).map(tuple),
    st.lists(OPERATIONS, max_size=4).map(tuple),
)


@given(st.lists(TRANSACTIONS, max_size=8))
@settings(max_examples=150, deadline=None)
def test_against_a_model(wanted: list[Transaction]) -> None:
    """
    Transactions do to a store what they do to a dictionary, one operation at a time.
    """
    store = KeyValueStore()
    model: dict[str, Versioned] = {}
    for index, transaction in enumerate(wanted, 1):
        met = [
            _is_met(condition, model.get(condition.key))
            for condition in transaction.conditions
        ]
        results: list[object] = []
        for operation in transaction.then if all(met) else transaction.otherwise:
            match operation:
                case Set(pairs):
                    model |= {key: Versioned(value, index) for key, value in pairs}
                    results.append(None)
                case Delete(key):
                    results.append(model.pop(key, None) is not None)
                case Get(key):
                    results.append(model.get(key))
        result = result_of(store.apply(index, encode_command(transaction)))
        assert result == Ran(all(met), tuple(results))
        assert {key: store.get(key) for key in model} == model
        assert len(store) == len(model)


def _is_met(condition: Condition, found: Versioned | None) -> bool:
    match condition:
        case Exists():
            return found is not None
        case Absent():
            return found is None
        case HasValue(value=value):
            return found is not None and found.value == value
        case ChangedAt(indexes=indexes):
            return found is not None and found.index in indexes
        case NotChangedAt(indexes=indexes):
            return found is None or found.index not in indexes


RESULTS: list[Result] = [
    None,
    True,
    False,
    Ran(True, ()),
    Ran(False, (None, True, False, Versioned("é", 2**62), Versioned("", 1))),
    TooLarge(MAX_RESULT_BYTES),
    Done(7, None),
    Done(7, Ran(True, (Versioned("x" * 100_000, 3),))),
    TokenReused(9),
]


@pytest.mark.parametrize("result", RESULTS)
def test_results_travel(result: Result) -> None:
    """
    Every result is the same on the node that has passed the command on.
    """
    assert result_of(decode_value(encode_value(plain(result)))) == result


@pytest.mark.parametrize(
    "value",
    [
        0,
        1,
        "x",
        [],
        {},
        {"first": 1},
        {"first": True and "1", "result": None},
        {"first": 1, "result": {"first": 2, "result": None}},
        {"first": 1, "result": {"reused": 2}},
        {"reused": 1, "more": 2},
        {"succeeded": 1, "results": []},
        {"succeeded": True, "results": None},
        {"succeeded": True, "results": [1]},
        {"succeeded": True, "results": [["x"]]},
        {"succeeded": True, "results": [["x", "1"]]},
        {"too_large": None},
    ],
)
def test_wrong_results(value: object) -> None:
    """
    What no command returns is not taken for a result.
    """
    with pytest.raises(CodecError, match="the result of no"):
        result_of(value)

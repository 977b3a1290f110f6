"""
The judge of histories is right: it accepts what one copy could have answered, no more.

Histories by hand come first, then those that a real register answered, then the same
with one answer made stale, and at last small ones of every sort, on which it has to
agree with a judge that tries all orders.
"""

from __future__ import annotations

import math
import random
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability import (
    CompareAndSet,
    Delete,
    Failed,
    Ok,
    Operation,
    Read,
    Undecided,
    Unknown,
    Write,
    check,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from tests.linearizability import Action, Outcome

KEY = "k"


def history(*told: str) -> list[Operation]:
    """
    Return operations on one key, told as `client invoked responded action outcome`.

    An action is `w1`, `d`, `r` or `c1:2`, with `-` for no value; an outcome is `fail`,
    `?`, `ok`, `yes`, `no` or what was read; `@5` behind it is an index.
    """
    words = {"-": None, "yes": True, "no": False, "ok": None}
    operations = []
    for line in told:
        client, invoked, responded, what, came, *at = line.split()
        action: Action
        match what[0], what[1:].split(":"):
            case "w", [value]:
                action = Write(value)
            case "d", _:
                action = Delete()
            case "r", _:
                action = Read()
            case _, [expected, new]:
                action = CompareAndSet(words.get(expected, expected), new)
        outcome: Outcome
        match came:
            case "fail":
                outcome = Failed()
            case "?":
                outcome = Unknown()
            case answer:
                outcome = Ok(words.get(answer, answer))
        operations.append(
            Operation(
                client,
                KEY,
                action,
                outcome,
                int(invoked),
                math.inf if responded == "-" else int(responded),
                index=int(at[0][1:]) if at else None,
            )
        )
    return operations


GOOD = {
    "nothing": [],
    "absent at first": ["a 0 1 r -"],
    "read what was written": ["a 0 1 w1 ok", "b 2 3 r 1"],
    "a read during a write, the value before": ["a 0 9 w1 ok", "b 2 3 r -"],
    "a read during a write, the value after": ["a 0 9 w1 ok", "b 2 3 r 1"],
    "equal times overlap": ["a 0 2 w1 ok", "b 2 3 r -"],
    "two writes at once, either last": ["a 0 9 w1 ok", "b 0 9 w2 ok", "c 10 11 r 1"],
    "failed write not seen": ["a 0 1 w1 ok", "b 2 3 w2 fail", "c 4 5 r 1"],
    "unknown write never seen": ["a 0 1 w1 ok", "b 2 - w2 ?", "c 4 5 r 1"],
    "unknown write seen late": [
        "a 0 1 w1 ok",
        "b 2 3 w2 ?",
        "c 4 5 r 1",
        "c 6 7 r 1",
        "c 8 9 r 2",
    ],
    "unknown write seen after another write": [
        "b 2 3 w2 ?",
        "a 4 5 w1 ok",
        "c 6 7 r 1",
        "c 8 9 r 2",
    ],
    "two unknown writes of one value": [
        "a 0 1 w1 ?",
        "b 0 1 w1 ?",
        "c 2 3 r 1",
        "c 4 5 w2 ok",
        "c 6 7 r 1",
    ],
    "unknown read": ["a 0 1 w1 ok", "b 2 3 r ?"],
    "deleted": ["a 0 1 w1 ok", "a 2 3 d yes", "a 4 5 r -", "a 6 7 d no"],
    "untold delete": ["a 0 1 d ok", "a 2 3 w1 ok", "a 4 5 d ok", "a 6 7 r -"],
    "unknown delete seen late": [
        "a 0 1 w1 ok",
        "a 2 3 d ?",
        "a 4 5 r 1",
        "a 6 7 r -",
    ],
    "delete of what an unknown write left": ["a 0 1 w1 ?", "a 2 3 d yes"],
    "compare and set": ["a 0 1 w1 ok", "a 2 3 c1:2 yes", "a 4 5 c1:3 no", "b 6 7 r 2"],
    "compare with nothing": ["a 0 1 c-:1 yes", "a 2 3 c-:2 no", "a 4 5 r 1"],
    "unknown compare and set": [
        "a 0 1 w1 ok",
        "a 2 3 c1:2 ?",
        "b 4 5 r 1",
        "b 6 7 r 2",
    ],
    "a chain of unknowns": [
        "a 0 1 c2:3 ?",
        "b 0 1 w1 ?",
        "c 0 1 c1:2 ?",
        "d 4 5 r -",
        "d 6 7 r 3",
    ],
    "the other unknown write was deleted": [
        "a 0 - w1 ?",
        "b 0 - w2 ?",
        "c 2 3 d yes",
        "c 4 5 r -",
        "c 6 7 r 1",
    ],
    "refused because of an unknown write": ["a 0 1 w1 ?", "a 2 3 c-:2 no", "b 4 5 r 1"],
    "in the order of the log": [
        "a 0 9 w1 ok @5",
        "b 0 9 w2 ok @4",
        "c 10 11 r 1 @5",
        "c 12 13 r 1 @7",
    ],
    "a refusal after what a read saw": [
        "a 0 1 w1 ok @5",
        "a 2 3 c2:3 no @9",
        "b 4 5 r 1 @5",
    ],
}

#: What cannot be, and the lines at which it becomes impossible.
BAD = {
    "stale read": (["a 0 1 w1 ok", "a 2 3 w2 ok", "b 4 5 r 1"], [2]),
    "lost write": (["a 0 1 w1 ok", "b 2 3 r -", "b 4 5 r 1"], [1]),
    "a value never written": (["a 0 1 w1 ok", "b 2 3 r 7", "b 4 5 r 1"], [1]),
    "a value not written yet": (["b 0 1 r 1", "a 2 3 w1 ok"], [0]),
    "back and forth between two readers": (
        ["a 0 9 w1 ok", "b 1 2 r 1", "c 3 4 r -"],
        [2],
    ),
    "two readers in two orders": (
        ["a 0 9 w1 ok", "b 0 9 w2 ok", "c 1 2 r 1", "d 3 4 r 2", "c 5 6 r 1"],
        [4],
    ),
    "a value that comes back": (
        ["a 0 9 w1 ok", "c 1 2 r 1", "a 10 11 w2 ok", "c 12 13 r 1"],
        [3],
    ),
    "failed write seen": (["a 0 1 w1 fail", "b 2 3 r 1"], [1]),
    "failed delete seen": (["a 0 1 w1 ok", "a 2 3 d fail", "b 4 5 r -"], [2]),
    "failed compare and set seen": (["a 0 1 c-:1 fail", "b 4 5 r 1"], [1]),
    "unknown write seen, then gone": (
        ["a 0 1 w1 ok", "b 2 3 w2 ?", "c 4 5 r 2", "c 6 7 r 1"],
        [3],
    ),
    "unknown write seen twice": (
        ["a 0 1 w1 ?", "c 2 3 r 1", "c 4 5 w2 ok", "c 6 7 r 1"],
        [3],
    ),
    "unknown write before its call": (["c 0 1 r 1", "a 2 3 w1 ?"], [0]),
    "deleted and still there": (["a 0 1 w1 ok", "a 2 3 d yes", "b 4 5 r 1"], [2]),
    "untold delete without effect": (["a 0 1 w1 ok", "a 2 3 d ok", "b 4 5 r 1"], [2]),
    "deleted twice": (["a 0 1 w1 ok", "a 2 3 d yes", "b 4 5 d yes"], [2]),
    "deleted twice at once": (["a 0 1 w1 ok", "a 2 9 d yes", "b 2 9 d yes"], [1, 2]),
    "nothing to delete though there was": (["a 0 1 w1 ok", "a 2 3 d no"], [1]),
    "set against expectation": (["a 0 1 w1 ok", "a 2 3 c2:3 yes"], [1]),
    "refused though as expected": (["a 0 1 w1 ok", "a 2 3 c1:3 no"], [1]),
    "two that both were first": (["a 0 9 c-:1 yes", "b 0 8 c-:2 yes"], [0]),
    "refused and set": (["a 0 1 w1 ok", "a 2 3 c2:3 no", "a 4 5 r 3"], [2]),
    "a chain of unknowns broken": (
        ["b 0 1 w1 ?", "c 0 1 c1:2 ?", "d 2 3 r 2", "d 4 5 r 1"],
        [3],
    ),
    "a chain of unknowns not begun": (
        ["b 0 1 c2:3 ?", "d 2 3 r 3", "c 4 5 w2 ?"],
        [1],
    ),
    "against the order of the log": (
        ["a 0 9 w1 ok @5", "b 0 9 w2 ok @4", "c 10 11 r 2"],
        [2],
    ),
    "read from before the write": (["a 0 1 w1 ok @5", "c 2 3 r 1 @4"], [1]),
    "one index for two": (["a 0 1 w1 ok @5", "c 2 3 w2 ok @5"], [1]),
    "index zero": (["a 0 1 w1 ok @0", "c 2 3 w2 ok @0"], [1]),
    "write from before a read": (["a 0 1 r - @5", "c 2 3 w2 ok @5"], [1]),
}


class TestByHand:
    """
    Histories whose verdict is plain to see.
    """

    @pytest.mark.parametrize("told", GOOD.values(), ids=GOOD)
    def test_one_copy_could_have_answered_this(self, told: list[str]) -> None:
        """
        A history is accepted, in whatever order its operations are given.
        """
        assert check(history(*told)) is None
        assert check(history(*reversed(told))) is None

    @pytest.mark.parametrize(("told", "lines"), BAD.values(), ids=BAD)
    def test_no_single_copy_could_have(self, told: list[str], lines: list[int]) -> None:
        """
        A history is refused, and the answer named at which it became impossible.
        """
        operations = history(*told)
        for given_order in (operations, operations[::-1]):
            violation = check(given_order)
            assert violation is not None
            told_lines = str(violation).splitlines()
            marked = {line[2:] for line in told_lines if line.startswith(">")}
            assert marked == {str(operations[line]) for line in lines}

    def test_keys_do_not_mix(self) -> None:
        """
        What happens to one key says nothing of another, and the bad one is named.
        """
        bad = [evolve(each, key="bad") for each in history("a 0 1 w1 ok", "a 2 3 r 2")]
        good = [
            evolve(each, key="good") for each in history("a 0 1 w2 ok", "a 2 3 r 2")
        ]
        violation = check(good + bad)
        assert violation is not None
        assert violation.key == "bad"
        assert violation.prefix == tuple(bad)
        assert check(good) is None

    def test_a_violation_is_readable(self) -> None:
        """
        Each operation until then has a line; what came later is not shown, and an
        answer that came later not known.
        """
        violation = check(
            history(
                "a 0 3 w1 ok @7",
                "b 4 5 d fail",
                "d 4 30 w3 ok @9",
                "c 5 6 c-:2 ?",
                "d 6 - r ?",
                "a 10 12 r 5",
                "b 13 20 r 1",
            )
        )
        assert str(violation).splitlines() == [
            "key 'k': no order explains these operations",
            "           0 .. 3          client a      write '1' -> ok at index 7",
            "           4 .. 5          client b      delete -> failed",
            "           4 ..            client d      write '3' -> unknown",
            "           5 .. 6          client c      cas None, '2' -> unknown",
            ">         10 .. 12         client a      read -> '5'",
        ]

    @pytest.mark.parametrize(
        "told",
        [
            "a 2 1 w1 ok",
            "a 0 - w1 ok",
            "a 0 1 w1 yes",
            "a 0 1 d 5",
            "a 0 1 c1:2 ok",
            "a 0 1 w1 ? @5",
            "a 0 1 w1 fail @5",
        ],
    )
    def test_what_no_client_can_have_seen(self, told: str) -> None:
        """
        An operation whose parts do not belong together is refused at once.
        """
        with pytest.raises(ValueError, match="answer"):
            history(told)

    @pytest.mark.parametrize("action", [Write(None), CompareAndSet("1", None)])
    def test_none_is_not_a_value(self, action: Action) -> None:
        """
        None stands for a key that is not there and cannot be written.
        """
        with pytest.raises(ValueError, match="no value"):
            Operation("a", KEY, action, Unknown(), 0)


@frozen
class Planned:
    """
    What a client is going to do, and how it goes.
    """

    client: int
    key: str
    action: Action
    #: Until the client starts, then until it takes effect, then until the answer.
    pauses: tuple[int, int, int]
    #: What the client hears at last, if not an answer.
    loss: Failed | Unknown | None
    #: When it takes effect after all, counted from the answer, if that got lost.
    late: int | None
    tells_index: bool


def run(plans: Sequence[Planned]) -> list[Operation]:
    """
    Return the history of clients that do this on a real register.
    """
    clock: dict[int, int] = {}
    runs = []
    for planned in plans:
        invoked = clock.get(planned.client, 0) + planned.pauses[0]
        effect = invoked + planned.pauses[1]
        clock[planned.client] = responded = effect + planned.pauses[2]
        if planned.loss == Unknown() and planned.late is not None:
            effect = responded + planned.late
        happens = planned.loss is None or (
            planned.loss == Unknown() and planned.late is not None
        )
        runs.append((effect, happens, planned, invoked, responded))
    values: dict[str, Hashable] = {}
    operations = []
    index = 0
    for _, happens, planned, invoked, responded in sorted(runs, key=lambda run: run[0]):
        answer = None
        if happens:
            index += not isinstance(planned.action, Read)
            answer, value = apply(planned.action, values.get(planned.key))
            values[planned.key] = value
        told = planned.loss is None and planned.tells_index
        operations.append(
            Operation(
                planned.client,
                planned.key,
                planned.action,
                planned.loss or Ok(answer),
                invoked,
                responded,
                index=index if told else None,
            )
        )
    return operations


def apply(action: Action, value: Hashable) -> tuple[Hashable, Hashable]:
    """
    Return what a register answers and the value it has afterwards.
    """
    match action:
        case Write(new):
            return None, new
        case Delete():
            return value is not None, None
        case CompareAndSet(expected, new):
            return value == expected, new if value == expected else value
        case _:
            return value, value


SPAN = st.integers(0, 4)
LOSSES = st.sampled_from([None, None, None, Failed(), Unknown()])
PLANS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from("kkl"),
        st.sampled_from([Read, Read, Write, Write, Delete, CompareAndSet]),
        st.none() | st.integers(0, 30),
        st.tuples(SPAN, SPAN, SPAN),
        LOSSES,
        st.none() | st.integers(0, 50),
        st.booleans(),
    ),
    max_size=30,
)

#: A client that can be told a stale value.
OVERWRITES = [
    (0, "k", kind, None, (1, 1, 1), None, None, False) for kind in (Write, Write, Read)
]


def with_values(plans: Sequence[tuple[Any, ...]], values: int) -> list[Planned]:
    """
    Return these plans with so many different values to write.
    """
    planned = []
    for number, (client, key, kind, expected, *rest) in enumerate(plans):
        action = {
            Read: Read(),
            Write: Write(number % values),
            Delete: Delete(),
            CompareAndSet: CompareAndSet(
                expected if expected is None else expected % values, number % values
            ),
        }[kind]
        planned.append(Planned(client, key, action, *rest))
    return planned


class TestOfRegisters:
    """
    Histories of a register that really is a single copy.
    """

    @settings(max_examples=200, deadline=None)
    @given(PLANS, st.sampled_from([1, 3, 100]))
    def test_a_register_is_always_accepted(self, plans: list[Any], values: int) -> None:
        """
        Each operation takes effect at one moment, hence there is an order.
        """
        assert check(run(with_values(plans, values))) is None

    @settings(max_examples=200, deadline=None)
    @given(PLANS, st.integers(0))
    def test_a_stale_read_is_always_found(self, plans: list[Any], which: int) -> None:
        """
        A read never returns a value whose successor was there before it was called.
        """
        operations = run(with_values([*plans, *OVERWRITES], 100))
        stale = list(stale_reads(operations))
        read, value = stale[which % len(stale)]
        operations[read] = evolve(operations[read], outcome=Ok(value))
        violation = check(operations)
        assert violation is not None
        assert check(violation.prefix) == violation


def stale_reads(operations: Sequence[Operation]) -> Iterator[tuple[int, Hashable]]:
    """
    Yield where a read is and a value that was overwritten before it began.
    """
    done = [
        each
        for each in operations
        if isinstance(each.outcome, Ok)
        and (isinstance(each.action, Write) or each.outcome.answer is True)
    ]
    for number, read in enumerate(operations):
        if read.action != Read() or not isinstance(read.outcome, Ok):
            continue
        for first in done:
            if isinstance(first.action, Write) and any(
                first.responded < then.invoked and then.responded < read.invoked
                for then in done
                if first.key == then.key == read.key
            ):
                yield number, first.action.value


def load(
    count: int,
    *,
    keys: int,
    clients: int,
    seed: int,
    action: Callable[[random.Random, int], Action],
    indexes: bool = False,
) -> list[Operation]:
    """
    Return the history of many clients at work, of which 1 % never hear an answer.
    """
    rng = random.Random(seed)
    return run(
        [
            Planned(
                number % clients,
                f"k{rng.randrange(keys)}",
                action(rng, number),
                (rng.randint(0, 2), rng.randint(1, 50), rng.randint(1, 50)),
                Unknown() if rng.random() < 0.01 else None,
                rng.choice([None, 0, 10, 1000, 100_000]),
                indexes,
            )
            for number in range(count)
        ]
    )


def unique_values(rng: random.Random, number: int) -> Action:
    """
    Return reads and writes of values that are new each time.
    """
    return rng.choice([Read(), Write(number)])


def few_values(rng: random.Random, number: int) -> Action:
    """
    Return operations of all sorts, with a few values.
    """
    return rng.choice(
        [
            Read(),
            Read(),
            Write(rng.randrange(5)),
            Delete(),
            CompareAndSet(rng.choice([None, *range(5)]), rng.randrange(5)),
        ]
    )


class TestOfLoads:
    """
    Histories as long as those of a real test, within a budget.

    A step done and never taken back is one configuration explored. The budgets, for
    each key, are about twice what was measured.
    """

    @pytest.mark.parametrize("action", [unique_values, few_values])
    @pytest.mark.parametrize("indexes", [False, True])
    def test_10_000_operations_on_20_keys_by_30_clients(
        self, action: Callable[[random.Random, int], Action], indexes: bool
    ) -> None:
        """
        Two configurations for each of the 500 operations on a key suffice.
        """
        operations = load(
            10_000, keys=20, clients=30, seed=1, action=action, indexes=indexes
        )
        assert sum(each.outcome == Unknown() for each in operations) > 80
        assert check(operations, budget=1_000) is None

    @pytest.mark.parametrize("indexes", [False, True])
    def test_30_clients_at_one_key(self, indexes: bool) -> None:
        """
        Nor does it take more than 4 for each operation if all clients want one key.
        """
        operations = load(
            2_000, keys=1, clients=30, seed=1, action=unique_values, indexes=indexes
        )
        assert check(operations, budget=8_000) is None

    def test_30_clients_at_one_key_with_a_few_values(self) -> None:
        """
        The hardest sort, since a hundred unknown operations could explain anything,
        takes some 20 for each operation.
        """
        operations = load(2_000, keys=1, clients=30, seed=2, action=few_values)
        assert check(operations, budget=60_000) is None

    def test_a_fault_in_a_long_history(self) -> None:
        """
        A stale read near the end is found though everything has to be tried.
        """
        operations = load(10_000, keys=20, clients=30, seed=1, action=unique_values)
        of_key = [each for each in operations if each.key == "k7"]
        read, value = list(stale_reads(of_key))[-1]
        of_key[read] = evolve(of_key[read], outcome=Ok(value))
        others = [each for each in operations if each.key != "k7"]
        violation = check(others + of_key, budget=5_000)
        assert violation is not None
        assert violation.key == "k7"
        assert len(violation.prefix) > 400

    def test_unknown_writes_nobody_saw_cost_nothing(self) -> None:
        """
        A hundred writes without an answer do not make a search longer, nor a fault
        harder to find.
        """
        told = [f"u{number} 0 - w{number} ?" for number in range(100)]
        told += ["a 0 1 wx ok", *(f"a {at} {at} r x" for at in range(2, 100))]
        assert check(history(*told), budget=99) is None
        told += ["a 100 101 wy ok", "a 102 103 r x"]
        assert check(history(*told), budget=101) is not None

    def test_a_search_that_takes_too_long_says_so(self) -> None:
        """
        Where the budget ends, nothing is claimed; a shorter prefix is then only looked
        for as far as it reaches.
        """
        told = ["a 0 1 w1 ok", "a 2 3 w2 ok", "a 4 5 r 2"]
        assert check(history(*told), budget=3) is None
        with pytest.raises(Undecided):
            check(history(*told), budget=2)

    def test_a_value_from_nowhere_needs_no_search(self) -> None:
        """
        What nobody wrote is refused within any budget, and the answer is named.
        """
        told = history("a 0 1 w1 ok", "a 2 3 r 7", "a 4 5 w3 ok")
        violation = check(told, budget=0)
        assert violation is not None
        assert violation.prefix == tuple(told[:2])


def all_orders_fail(operations: Sequence[Operation]) -> bool:
    """
    Return whether no order explains a history of one key, by trying all of them.
    """
    answered = [each for each in operations if isinstance(each.outcome, Ok)]
    unknown = [each for each in operations if isinstance(each.outcome, Unknown)]
    return not any(
        explains(order)
        for count in range(len(unknown) + 1)
        for chosen in combinations(unknown, count)
        for order in permutations([*answered, *chosen])
    )


def explains(order: Sequence[Operation]) -> bool:
    """
    Return whether operations in this order are answered as they were.
    """
    value: Hashable = None
    floor = -1
    latest_call = -math.inf
    for each in order:
        was_answered = isinstance(each.outcome, Ok)
        if was_answered and each.responded < latest_call:
            return False
        latest_call = max(latest_call, each.invoked)
        if each.index is not None and each.index < floor + (each.action != Read()):
            return False
        answer, value = apply(each.action, value)
        if isinstance(each.outcome, Ok):
            untold = each.action == Delete() and each.outcome.answer is None
            if not untold and each.outcome.answer != answer:
                return False
            if each.index is not None and not untold and answer is not False:
                floor = each.index
    return True


def tiny_history(rng: random.Random) -> list[Operation]:
    """
    Return a few operations with answers that mean little.
    """
    operations = []
    for client in range(rng.randint(1, 5)):
        value = rng.choice([1, 2])
        maybe = rng.choice([None, 1, 2])
        action, answer = rng.choice(
            [
                (Read(), maybe),
                (Read(), maybe),
                (Write(value), None),
                (Delete(), rng.choice([None, False, True])),
                (CompareAndSet(maybe, value), rng.choice([False, True])),
            ]
        )
        outcome = rng.choice([Ok(answer)] * 4 + [Unknown()] * 2 + [Failed()])
        invoked = rng.randint(0, 8)
        index = rng.randint(0, 3) if rng.random() < 0.2 else None
        operations.append(
            Operation(
                client,
                KEY,
                action,
                outcome,
                invoked,
                invoked + rng.randint(0, 5),
                index=index if isinstance(outcome, Ok) else None,
            )
        )
    return operations


class TestAgainstAllOrders:
    """
    A judge that is too simple to be wrong, and too slow for anything else.
    """

    @pytest.mark.parametrize("seed", range(4))
    def test_both_judges_agree(self, seed: int) -> None:
        """
        They agree on small histories of every sort, on the violations that are
        returned, and that no earlier answer was impossible already.
        """
        rng = random.Random(seed)
        refused = 0
        for _ in range(3_000):
            operations = tiny_history(rng)
            violation = check(operations)
            assert (violation is not None) == all_orders_fail(operations), operations
            if violation is None:
                continue
            refused += 1
            assert all_orders_fail(violation.prefix), operations
            earlier = [
                evolve(each, outcome=Unknown(), index=None)
                if isinstance(each.outcome, Ok) and each.responded == violation.ends
                else each
                for each in violation.prefix
            ]
            assert not all_orders_fail(earlier), operations
        assert 500 < refused < 2_500

"""
Whether what clients saw of a key-value store could have come from a single copy.

A history is linearizable if each operation can be given a moment between its call
and its answer such that all of them, done one after the other in the order of these
moments, would have been answered as they were (Herlihy and Wing). Keys are checked
one by one: operations touch a single key, and such a history is linearizable exactly
if the part of each key is. The search is that of Wing and Gong, a depth-first search
for an order, with the memory that Lowe added: what was done, together with the value
that it left, is explored once.

Each operation becomes a step: the value it must find and the value it leaves. Four
arguments, each of which turns one order into another that is as good, keep the
search close to a straight walk:

* What only looks (a read, a refused compare-and-set, a delete of nothing) is done at
  once where it fits. It leaves everything else as possible as before.
* Of steps that are alike, the one answered first goes first. Values that nobody asks
  for are all alike, too.
* A value is not left while somebody still has to find it and nobody could bring it
  back.
* What has an unknown outcome may take effect at any time after its call, or never.
  It is used only where the very next step does not fit without it: if that step
  fits anyway, it can go first if it only looks, and hides the effect if it does not.
  So an unknown write whose value is never seen costs nothing, and the others remain
  possible for ever at the price of a counter for each kind.

An answer may come with the index of the log; orders that contradict it are not
considered. Times are compared, never subtracted. Equal times overlap, even those of
one client, which can hide a fault and never invents one.

What is not here: whether reads that promise less are good enough, and operations on
several keys. Deciding is NP-hard, so a search has a budget and gives up with
:exc:`Undecided`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import takewhile
from operator import le
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

__all__ = [
    "Action",
    "CompareAndSet",
    "Delete",
    "Failed",
    "Ok",
    "Operation",
    "Outcome",
    "Read",
    "Undecided",
    "Unknown",
    "Violation",
    "Write",
    "check",
]

#: Configurations that a search may explore unless told otherwise: some seconds.
BUDGET: Final = 200_000


@frozen
class Write:
    """
    Set the key to a value, which is not None.
    """

    value: Hashable


@frozen
class Delete:
    """
    Remove the key. The answer is whether it was there, or None if that was not told.
    """


@frozen
class Read:
    """
    Get the value. The answer is the value, or None if there is none.
    """


@frozen
class CompareAndSet:
    """
    Set the key to a new value if it has the expected one; None expects no value.

    The answer is whether it was set.
    """

    expected: Hashable
    new: Hashable


@frozen
class Ok:
    """
    It was done, with this answer.
    """

    answer: Hashable = None


@frozen
class Failed:
    """
    It was not done and never will be.
    """


@frozen
class Unknown:
    """
    It may have been done, may still be done, or not.
    """


Action: TypeAlias = Write | Delete | Read | CompareAndSet
Outcome: TypeAlias = Ok | Failed | Unknown


class Undecided(Exception):
    """
    The search for an order was given up because it took too long.
    """


@frozen
class Operation:
    """
    What one client asked for, and what came of it.

    Raises `ValueError` if the parts do not belong together.
    """

    client: Hashable
    key: str
    action: Action
    outcome: Outcome
    invoked: float
    #: Infinite if no answer came; the time at which a client gave up means nothing.
    responded: float = math.inf
    #: Of a change, the index of its log entry; of a read, an index that the log had
    #: been applied to, or that of the change it saw. None if it is not known.
    index: int | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """
        Refuse what no client can have seen.
        """
        if not self.invoked <= self.responded:
            raise ValueError(f"answered before it was invoked: {self}")
        match self.outcome:
            case Ok(answer):
                if not _is_answer(self.action, answer):
                    raise ValueError(f"not an answer to this: {self}")
                if math.isinf(self.responded):
                    raise ValueError(f"an answer without a time: {self}")
            case Failed() | Unknown():
                if self.index is not None:
                    raise ValueError(f"an index without an answer: {self}")
            case unreachable:
                assert_never(unreachable)
        match self.action:
            case Write(None) | CompareAndSet(_, None):
                raise ValueError(f"None is no value: {self}")

    def __str__(self) -> str:
        """
        Return times, client, what and outcome.
        """
        ended = "" if math.isinf(self.responded) else f"{self.responded:g}"
        match self.action:
            case Write(value):
                what = f"write {value!r}"
            case Delete():
                what = "delete"
            case Read():
                what = "read"
            case CompareAndSet(expected, new):
                what = f"cas {expected!r}, {new!r}"
            case unreachable:
                assert_never(unreachable)
        match self.outcome:
            case Ok(answer):
                came = "ok" if isinstance(self.action, Write) else repr(answer)
            case Failed():
                came = "failed"
            case Unknown():
                came = "unknown"
            case unreachable_too:
                assert_never(unreachable_too)
        at = "" if self.index is None else f" at index {self.index}"
        times = f"{self.invoked:>10g} .. {ended:<10}"
        return f"{times} client {self.client!s:<6} {what} -> {came}{at}"


def _is_answer(action: Action, answer: Hashable) -> bool:
    """
    Return whether this can be answered to that.
    """
    match action:
        case Write():
            return answer is None
        case Delete():
            return answer is None or isinstance(answer, bool)
        case Read():
            return True
        case CompareAndSet():
            return isinstance(answer, bool)
        case unreachable:
            assert_never(unreachable)


@frozen
class Violation:
    """
    A history of one key that no order explains.

    It ends with an answer; without that answer there is an order, unless the search
    for it was given up. What was still to be answered then has an unknown outcome.
    """

    key: str
    #: In order of invocation, those that failed included.
    prefix: tuple[Operation, ...]
    #: The time of the answer, or of the answers, that nothing explains.
    ends: float

    def __str__(self) -> str:
        """
        Return one line for each operation; the mark is at those that came last.
        """
        lines = [f"key {self.key!r}: no order explains these operations"]
        for operation in self.prefix:
            done = isinstance(operation.outcome, Ok)
            last = done and operation.responded == self.ends
            lines.append(("> " if last else "  ") + str(operation))
        return "\n".join(lines)


def check(history: Iterable[Operation], budget: int = BUDGET) -> Violation | None:
    """
    Return why a history is not linearizable, or None if it is.

    The order in which operations are given does not matter. Raises
    :exc:`Undecided` if a key takes more configurations than the budget allows.
    """
    of_key = defaultdict(list)
    for operation in history:
        of_key[operation.key].append(operation)
    for key, operations in of_key.items():
        if not _Search(operations).finds_order(budget):
            return _shortest(key, operations, budget)
    return None


def _shortest(key: str, operations: list[Operation], budget: int) -> Violation:
    """
    Return the shortest prefix of a history without an order that has none either.

    What is linearizable has prefixes that are, so this can halve the distance. A
    prefix for which the budget does not suffice counts as linearizable.
    """
    ends = sorted({each.responded for each in _answered(operations)})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            explained = _Search(_until(operations, ends[middle])).finds_order(budget)
        except Undecided:
            explained = True
        if explained:
            low = middle + 1
        else:
            high = middle
    return Violation(key, _until(operations, ends[high]), ends[high])


def _answered(operations: Iterable[Operation]) -> list[Operation]:
    return [each for each in operations if isinstance(each.outcome, Ok)]


def _until(operations: Iterable[Operation], end: float) -> tuple[Operation, ...]:
    """
    Return what was known of these operations at some time.
    """
    prefix = []
    for each in sorted(operations, key=lambda each: each.invoked):
        known = each
        if isinstance(each.outcome, Ok) and each.responded > end:
            known = evolve(each, outcome=Unknown(), responded=math.inf, index=None)
        says_nothing = isinstance(each.action, Read) and not _answered([known])
        if each.invoked <= end and not says_nothing:
            prefix.append(known)
    return tuple(prefix)


@frozen
class _Mark:
    """
    What stands in the place of a value.
    """

    meaning: str


_ANY: Final = _Mark("any value, or none")
_SAME: Final = _Mark("the value that was found")
_UNSEEN: Final = _Mark("a value that nobody asks for")


@frozen
class _Rule:
    """
    The value that a step must find and the one it leaves.
    """

    equal: Hashable = _ANY
    unequal: Hashable = _ANY
    leaves: Hashable = _SAME

    def fits(self, value: Hashable) -> bool:
        """
        Return whether the step can be done when the key has this value.
        """
        return self.equal in (_ANY, value) and self.unequal != value


def _rule(action: Action, outcome: Outcome) -> _Rule | None:
    """
    Return what has to hold of an operation, or None if it says nothing.

    The rule of one that is unknown is that of taking effect.
    """
    if isinstance(outcome, Failed):
        return None
    answer = outcome.answer if isinstance(outcome, Ok) else None
    match action:
        case Write(value):
            return _Rule(leaves=value)
        case Read():
            return _Rule(equal=answer) if isinstance(outcome, Ok) else None
        case Delete() if answer is None:
            return _Rule(leaves=None)
        case Delete():
            return _Rule(unequal=None, leaves=None) if answer else _Rule(equal=None)
        case CompareAndSet(expected, _) if answer is False:
            return _Rule(unequal=expected)
        case CompareAndSet(expected, new):
            return _Rule(equal=expected, leaves=new)
        case unreachable:
            assert_never(unreachable)


@frozen
class _Step:
    """
    An operation that was answered.
    """

    rule: _Rule
    invoked: float
    responded: float
    index: int | None
    is_read: bool
    #: Whether what comes later must have a larger index, or as a read the same one.
    #: Not if the key may have been left as it was: a read that comes later may have
    #: the index of the change it saw, which is an earlier one.
    is_lower_bound: bool

    def is_late_enough(self, floor: int) -> bool:
        """
        Return whether the index lets this come after what has the floor as its own.
        """
        if self.index is None:
            return True
        return self.index > floor or (self.is_read and self.index == floor)

    def floor(self, floor: int) -> int:
        """
        Return the floor for what comes later.
        """
        if self.index is None or not self.is_lower_bound:
            return floor
        return self.index


@frozen
class _Configuration:
    """
    How far an order has come.
    """

    #: All steps before this one are done; bit i says so of the one i further.
    first: int
    done: int
    value: Hashable
    #: The largest index so far.
    floor: int
    #: How many unknown operations of each kind have taken effect.
    used: tuple[int, ...]

    def lacks(self, position: int) -> bool:
        """
        Return whether a step is still to be done.
        """
        return position >= self.first and not self.done >> (position - self.first) & 1


class _Search:
    """
    The search for an order of the operations on one key.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        """
        Turn operations into steps, in order of invocation, and kinds of unknowns.
        """
        rules = [
            (each, rule)
            for each in sorted(operations, key=lambda each: each.invoked)
            if (rule := _rule(each.action, each.outcome)) is not None
        ]
        seen = {rule.equal for _, rule in rules} | {rule.unequal for _, rule in rules}
        self._start = None if None in seen else _UNSEEN
        self._steps: list[_Step] = []
        unknown = defaultdict(list)
        for each, told in rules:
            is_asked_for = told.leaves == _SAME or told.leaves in seen
            rule = told if is_asked_for else evolve(told, leaves=_UNSEEN)
            if isinstance(each.outcome, Unknown):
                unknown[rule].append(each.invoked)
                continue
            is_read = isinstance(each.action, Read)
            surely_changed = told.leaves != _SAME and told != _Rule(leaves=None)
            self._steps.append(
                _Step(
                    rule,
                    each.invoked,
                    each.responded,
                    each.index,
                    is_read,
                    is_read or surely_changed,
                )
            )
        #: Each kind of unknown operation and when they were invoked, early ones first.
        self._unknown = list(unknown.items())
        self._looking = defaultdict(list)
        self._leaving = defaultdict(list)
        for position, step in enumerate(self._steps):
            self._looking[step.rule.equal].append(position)
            self._leaving[step.rule.leaves].append(position)
        self._bringing = defaultdict(list)
        for kind, (rule, _) in enumerate(self._unknown):
            self._bringing[rule.leaves].append(kind)

    def finds_order(self, budget: int) -> bool:
        """
        Return whether there is one; :exc:`Undecided` if that explores too much.
        """
        there = {self._start, _ANY, *self._leaving, *self._bringing}
        if not there.issuperset(self._looking):
            return False
        used = (0,) * len(self._unknown)
        #: What was explored without success, and the unknown operations used up
        #: before. Whoever comes there again having used those and more fails as well.
        explored: defaultdict[object, list[tuple[int, ...]]] = defaultdict(list)
        path = [iter([_Configuration(0, 0, self._start, -1, used)])]
        while path:
            at = next(path[-1], None)
            if at is None:
                path.pop()
                continue
            if at.first == len(self._steps):
                return True
            # The floor follows from what was done.
            before = explored[at.first, at.done, at.value]
            if any(all(map(le, less, at.used)) for less in before):
                continue
            if budget == 0:
                raise Undecided("the search for an order takes too long")
            budget -= 1
            before.append(at.used)
            path.append(iter(self._after(at)))
        return False

    def _after(self, at: _Configuration) -> list[_Configuration]:
        """
        Return the configurations worth going to, the most promising first.
        """
        candidates, horizon = self._candidates(at)
        alike: dict[object, int] = {}
        for position in candidates:
            step = self._steps[position]
            if not step.is_late_enough(at.floor):
                return []
            if (
                step.rule.leaves == _SAME
                and step.rule.fits(at.value)
                and step.floor(at.floor) == at.floor
            ):
                return [self._do(at, position, at.value, at.used)]
            kind = step.rule if step.index is None else position
            best = self._steps[alike.setdefault(kind, position)]
            if step.responded < best.responded:
                alike[kind] = position
        ways = []
        for position in alike.values():
            step = self._steps[position]
            if step.rule.fits(at.value):
                ways.append((False, step.responded, position, at.value, at.used))
                continue
            for value, used in self._bring(at.value, at.used, horizon, step.rule):
                ways.append((True, step.responded, position, value, used))
        ways.sort(key=lambda way: way[:3])
        found = [
            self._do(at, position, value, used) for _, _, position, value, used in ways
        ]
        return [each for each in found if not self._is_hopeless(at.value, each)]

    def _candidates(self, at: _Configuration) -> tuple[list[int], float]:
        """
        Return the steps that can be next, and the first answer still to come.
        """
        candidates = []
        horizon = math.inf
        for position in range(at.first, len(self._steps)):
            if at.lacks(position):
                step = self._steps[position]
                if step.invoked > horizon:
                    break
                candidates.append(position)
                horizon = min(horizon, step.responded)
        return candidates, horizon

    def _bring(
        self, value: Hashable, used: tuple[int, ...], horizon: float, wanted: _Rule
    ) -> Iterator[tuple[Hashable, tuple[int, ...]]]:
        """
        Yield what unknown operations can make of a value so that a rule fits.

        They form a chain in which each needs the one before, so it is followed from
        its end: something leaves what is wanted, and wants something in turn.
        """
        kinds: Iterable[int] = range(len(self._unknown))
        if wanted.equal != _ANY:
            kinds = self._bringing[wanted.equal]
        for kind in kinds:
            rule, invoked = self._unknown[kind]
            count = used[kind]
            if count == len(invoked) or invoked[count] > horizon:
                continue
            if not wanted.fits(rule.leaves):
                continue
            spent = (*used[:kind], count + 1, *used[kind + 1 :])
            if rule.fits(value):
                yield rule.leaves, spent
            else:
                for _, all_spent in self._bring(value, spent, horizon, rule):
                    yield rule.leaves, all_spent

    def _do(
        self,
        at: _Configuration,
        position: int,
        value: Hashable,
        used: tuple[int, ...],
    ) -> _Configuration:
        """
        Return what a step makes of a configuration with this value.
        """
        step = self._steps[position]
        first = at.first
        done = at.done | 1 << (position - first)
        while done & 1:
            done >>= 1
            first += 1
        leaves = step.rule.leaves
        left = value if leaves == _SAME else leaves
        return _Configuration(first, done, left, step.floor(at.floor), used)

    def _is_hopeless(self, before: Hashable, at: _Configuration) -> bool:
        """
        Return whether a value is gone for good that some step has to find.
        """

        def remains(positions: list[int]) -> bool:
            recent = takewhile(lambda each: each >= at.first, reversed(positions))
            return any(at.lacks(position) for position in recent)

        return (
            before != at.value
            and remains(self._looking[before])
            and not remains(self._leaving[before])
            and all(
                at.used[kind] == len(self._unknown[kind][1])
                for kind in self._bringing[before]
            )
        )

"""
What clients may have been told, given the log.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.kv.commands import (
    Command,
    Delete,
    Get,
    Once,
    Set,
    Transaction,
    Write,
    encode_command,
)
from hraftd.kv.conditions import HasValue
from hraftd.kv.results import Ran
from hraftd.kv.store import Versioned
from hraftd.outcomes import Applied, Misdirected, Read, Unavailable, Unknown
from hraftd.raft.configuration import Server
from hraftd.raft.invariants import InvariantViolated
from hraftd.raft.messages import Entry, NoOp
from hraftd.reads import ReadLevel
from hraftd.simulator.histories import Operation, check_history
from tests.simulator.linearizable import must_be_linearizable


def write(value: int) -> Set:
    """
    Return a command for the key of all these tests.
    """
    return Set((("k", str(value)),))


def log(*commands: Command) -> dict[int, Entry]:
    """
    Return what was committed: a no-op and these, from index 2 on.
    """
    entries = [Entry(1, 1, NoOp())]
    for index, command in enumerate(commands, 2):
        entries.append(Entry(index, 1, encode_command(command)))
    return {entry.index: entry for entry in entries}


def done(
    wish: Write | ReadLevel, outcome: object, began: int, ended: int | None
) -> Operation:
    """
    Return an operation from one moment to another.
    """
    return Operation(
        f"c{began}",
        "k",
        wish,
        began,
        began,
        ended,
        ended,
        outcome,  # type: ignore[arg-type]
    )


COMMITTED = log(write(1), write(2), Delete("k"), write(3))

#: All of it, one after the other, and a write of which nobody knows.
RIGHT = [
    done(write(1), Applied(2, None), 1, 2),
    done(ReadLevel.LINEARIZABLE, Read(Versioned("1", 2)), 3, 4),
    done(write(2), Unknown("?"), 5, 6),
    done(Delete("k"), Applied(4, True), 7, 8),
    done(ReadLevel.STRONG, Read(None), 9, 10),
    done(ReadLevel.NONE, Read(Versioned("2", 3)), 11, 12),
    done(write(3), Applied(5, None), 13, 14),
    done(write(4), Unavailable("no"), 15, 16),
    done(write(5), None, 17, None),
]


def test_a_right_history() -> None:
    """
    Reads that promise nothing may be old; what is unknown may have happened.
    """
    check_history(RIGHT, COMMITTED, ["k"])
    must_be_linearizable(RIGHT)


def test_reads_beside_a_write_may_see_either() -> None:
    """
    What overlaps has no order; but who has seen the new value has seen it.
    """
    fresh = ReadLevel.LINEARIZABLE
    beside = [
        done(write(1), Applied(2, None), 1, 9),
        done(fresh, Read(None), 2, 3),
        done(fresh, Read(Versioned("1", 2)), 4, 5),
    ]
    check_history(beside, log(write(1)), ["k"])
    with pytest.raises(InvariantViolated, match="older than entry 2"):
        check_history([*beside, done(fresh, Read(None), 6, 7)], log(write(1)), ["k"])


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        (done(ReadLevel.STRONG, Read(Versioned("2", 3)), 20, 21), "older than"),
        (done(ReadLevel.STRONG, Read(None), 20, 21), "older than"),
        (done(ReadLevel.NONE, Read(Versioned("9", 5)), 20, 21), "never written"),
        (done(ReadLevel.NONE, Read(Versioned("3", 4)), 20, 21), "never written"),
        (done(write(4), Applied(6, None), 20, 21), "not in the log"),
        (done(write(1), Applied(2, None), 20, 21), "comes before entry"),
        (done(write(3), Unavailable("no"), 20, 21), "was declined"),
        (done(write(3), Misdirected(Server("s", "s:1")), 20, 21), "was declined"),
        (done(Delete("k"), Applied(4, False), 1, 21), "wrong result"),
    ],
)
def test_what_clients_must_not_be_told(operation: Operation, sentence: str) -> None:
    """
    Old values, values of nobody, writes that are lost, or that were declined.
    """
    with pytest.raises(InvariantViolated, match=sentence):
        check_history([*RIGHT, operation], COMMITTED, ["k"])


def test_nothing_is_done_twice() -> None:
    """
    A value that was asked for once is in the log once (fluree 1839).
    """
    twice = log(write(1), write(1))
    with pytest.raises(InvariantViolated, match="done 2 times"):
        check_history([done(write(1), Applied(2, None), 1, 2)], twice, ["k"])


def test_the_other_check_sees_old_reads_too() -> None:
    """
    The search for an order knows nothing of the log, and comes to the same.
    """
    old = done(ReadLevel.STRONG, Read(Versioned("2", 3)), 20, 21)
    with pytest.raises(AssertionError, match="no order"):
        must_be_linearizable([*RIGHT, old])
    must_be_linearizable([*RIGHT, evolve(old, wish=ReadLevel.NONE)])


def cas(expected: str, value: str) -> Transaction:
    """
    Return a write that depends on what the key holds.
    """
    return Transaction((HasValue("k", expected),), (Set((("k", value),)),), (Get("k"),))


AGAIN = Once("token", cas("1", "2"))
#: The retry finds another value, and changes nothing.
RETRIED = log(write(1), AGAIN, AGAIN, cas("1", "9"))
DONE = Ran(succeeded=True, results=(None,))
REFUSED = Ran(succeeded=False, results=(Versioned("2", 3),))


@pytest.mark.parametrize(
    ("wish", "token", "outcome", "sentence"),
    [
        (AGAIN.command, "token", Applied(3, DONE), None),
        (cas("1", "9"), None, Applied(5, REFUSED), None),
        (AGAIN.command, "token", Applied(4, DONE), "the token has come before"),
        (AGAIN.command, "token", Applied(3, REFUSED), "with the wrong result"),
        (cas("1", "9"), None, Applied(5, DONE), "with the wrong result"),
        (AGAIN.command, "token", Unavailable("no"), "declined, and is in the log"),
        (AGAIN.command, "other", Applied(3, DONE), "not in the log"),
    ],
)
def test_what_is_sent_twice_is_done_once(
    wish: Write, token: str | None, outcome: object, sentence: str | None
) -> None:
    """
    The first entry with a token counts, for the state and for the answer.
    """
    operation = evolve(done(wish, outcome, 1, 2), token=token)
    history = [operation, done(ReadLevel.STRONG, Read(Versioned("2", 3)), 3, 4)]
    if sentence is None:
        check_history(history, RETRIED, ["k"])
    else:
        with pytest.raises(InvariantViolated, match=sentence):
            check_history(history, RETRIED, ["k"])

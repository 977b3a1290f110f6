"""
The properties of figure 3 notice what they are there to notice.

Each test breaks a server of a group by hand. What is seen of histories is in
:mod:`tests.raft.test_observer` and :mod:`tests.raft.test_observer_snapshots`.
"""

from __future__ import annotations

from hraftd.raft.invariants import check_group
from hraftd.raft.leader import Leader
from hraftd.raft.messages import (
    Entry,
)
from tests.raft.disk import snapshot_of
from tests.raft.observing import trio, violated


def test_a_healthy_group_passes() -> None:
    """
    Different logs, one leader, some of it committed: nothing is wrong.
    """
    a, b, c = trio((1, 1, 3), (1, 1, 2, 2), (1,))
    a.role = Leader(a)
    a.commit_index = b.commit_index = 2
    check_group([a, b, c])


def test_election_safety() -> None:
    """
    "At most one leader can be elected in a given term" (figure 3).
    """
    a, b, c = trio((1,), (1,), (1,))
    a.role, b.role = Leader(a), Leader(b)
    with violated("Election Safety: a and b both lead term 4"):
        check_group([a, b, c])
    b.current_term = 5
    check_group([a, b, c])


def test_log_matching() -> None:
    """
    A common entry with different ones before it is noticed.

    "If two logs contain an entry with the same index and term, then the logs are
    identical in all entries up through the given index" (figure 3).
    """
    with violated("Log Matching: a and c share the term of entry 3 of term 3"):
        check_group(trio((1, 1, 3), (1, 2, 2), (1, 2, 3)))


def test_log_matching_compares_what_entries_hold() -> None:
    """
    An entry is named by index and term; two of one name are the same.
    """
    a, b, c = trio((1, 1), (1, 1), (1,))
    b.log.truncate(2)
    b.log.append([Entry(2, 1, b"something else")])
    with violated("Log Matching: a and b .* entry 2 of term 1"):
        check_group([a, b, c])


def test_log_matching_behind_a_snapshot() -> None:
    """
    Compared is what both still hold.
    """
    a, b, c = trio((1, 1, 1), (1, 1, 1), (1, 1))
    b.log.compact(snapshot_of([b""], 2, 1, b.configuration), first_index=3)
    c.log.forget(2, 0, 0)
    check_group([a, b, c])


def test_leader_completeness() -> None:
    """
    A leader that lacks what is committed is noticed.

    "If a log entry is committed in a given term, then that entry will be present in the
    logs of the leaders for all higher-numbered terms" (figure 3).
    """
    a, b, c = trio((1, 3), (1, 2), (1, 2))
    b.commit_index = 2
    a.role, a.current_term = Leader(a), 5
    with violated("Leader Completeness: a leads term 5 without entry 2, which b knows"):
        check_group([a, b, c])
    a.log.compact(snapshot_of([b""], 2, 3, a.configuration), first_index=3)
    check_group([a, c])


def test_state_machine_safety() -> None:
    """
    Two committed entries of one index are noticed.

    "If a server has applied a log entry at a given index to its state machine, no other
    server will ever apply a different log entry for the same index" (figure 3).
    """
    a, b, c = trio((1, 3), (1, 2), (1, 2))
    a.commit_index = b.commit_index = 2
    with violated("State Machine Safety: entry 2 of term 3 is committed for a"):
        check_group([a, b, c])

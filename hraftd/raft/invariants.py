"""
What must be true of a group of servers at every moment.

The properties of figure 3 of the paper, as plainly as the figure says them: functions
that look at a group of servers as it stands, and compare what all of them have in
memory. What can only be said of a history is in :mod:`hraftd.raft.observer`.

Nothing here takes part in the algorithm. Tests and simulators ask, and
:exc:`InvariantViolated` is raised if something is wrong.

Raft figure 3 and 5.4.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Entry

__all__ = [
    "InvariantViolated",
    "check_group",
    "election_safety",
    "leader_completeness",
    "log_matching",
    "name",
    "require",
    "state_machine_safety",
]


class InvariantViolated(Exception):
    """
    The servers are in a state that no correct ones reach. The text says which.
    """


def require(holds: bool, sentence: str | Callable[[], str]) -> None:
    """
    Make sure of something.

    :param sentence: what is wrong if it does not hold; where that is asked often, a
        function which says it.
    :raises InvariantViolated: with that sentence, if it does not hold.
    """
    if not holds:
        raise InvariantViolated(sentence if isinstance(sentence, str) else sentence())


def name(entry: Entry) -> str:
    """
    Return how sentences name an entry.
    """
    return f"entry {entry.index} of term {entry.term}"


# Figure 3, of a group as it stands.


def check_group(servers: Sequence[ConsensusModule]) -> None:
    """
    Check all that can be seen without knowing the past; compares all in memory.

    :raises InvariantViolated: if a property does not hold.
    """
    election_safety(servers)
    log_matching(servers)
    leader_completeness(servers)
    state_machine_safety(servers)


def election_safety(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that no two lead the same term (Raft 5.2).

    :raises InvariantViolated: if two lead one term now.
    """
    leaders = [server for server in servers if server.led_term is not None]
    for one, other in combinations(leaders, 2):
        require(
            one.led_term != other.led_term,
            f"Election Safety: {one.server_id} and {other.server_id} both lead term "
            f"{one.led_term}",
        )


def log_matching(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that logs with a common entry are the same up to there (Raft 5.3).

    A common entry is one of the same index and term.

    :raises InvariantViolated: if two logs agree behind a difference.
    """
    for one, other in combinations(servers, 2):
        first = max(one.log.memory_index, other.log.memory_index) + 1
        last = min(one.log.last_index, other.log.last_index)
        differs: Entry | None = None
        for mine, theirs in zip(
            one.log.between(first, last), other.log.between(first, last), strict=True
        ):
            if mine != theirs and differs is None:
                differs = mine
            require(
                differs is None or mine.term != theirs.term,
                f"Log Matching: {one.server_id} and {other.server_id} share the term "
                f"of {name(mine)}, but differ at {differs and name(differs)}",
            )


def leader_completeness(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that what was committed is in the logs of later terms' leaders (Raft 5.4.3).

    :raises InvariantViolated: if a leader lacks what a server of an earlier term
        knows to be committed.
    """
    for leader in servers:
        for server in servers:
            if leader.led_term is None or leader.led_term <= server.current_term:
                continue
            require(
                server.commit_index <= leader.log.snapshot_index
                or leader.log.term_at(server.commit_index)
                == server.log.term_at(server.commit_index),
                f"Leader Completeness: {leader.server_id} leads term "
                f"{leader.led_term} without entry {server.commit_index}, which "
                f"{server.server_id} knows to be committed",
            )


def state_machine_safety(servers: Sequence[ConsensusModule]) -> None:
    """
    Check that nobody applies another entry at an index than the others (Raft 5.4.3).

    :raises InvariantViolated: if two servers hold different entries for committed.
    """
    for one, other in combinations(servers, 2):
        first = max(one.log.memory_index, other.log.memory_index) + 1
        last = min(one.commit_index, other.commit_index)
        for mine, theirs in zip(
            one.log.between(first, last), other.log.between(first, last), strict=True
        ):
            require(
                mine == theirs,
                f"State Machine Safety: {name(mine)} is committed for "
                f"{one.server_id}, and {name(theirs)} for {other.server_id}",
            )

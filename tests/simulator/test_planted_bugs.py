"""
Bugs that are planted in the real code, each of which schedules find.

A simulator that finds nothing may be looking at nothing. Some are bugs that real
implementations had; their names say which.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from hraftd import forwarding
from hraftd.deadlines import Patience
from hraftd.fresh_reads import FreshReads
from hraftd.kv import store
from hraftd.kv.snapshot import encode_pieces
from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.leader import Leader
from hraftd.raft.outbox import Outbox
from hraftd.raft.read_index import ReadRounds
from hraftd.server import RaftServer
from hraftd.simulator.schedule import Schedule, ScheduleFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A planted bug shows in one of so many schedules.
SEEDS = 40


@frozen
class Bug:
    """
    Something that takes the place of right code.
    """

    where: Any
    name: str
    wrong: Any
    #: Searched for in the sentence that says what is wrong.
    found: str
    #: The only troubles there are, if not all are to come.
    kinds: tuple[str, ...] | None = None


def _count_older_terms(leader: Any) -> None:
    """
    Commit whatever is on a majority's disks.
    """
    server = leader._server
    voters = server.configuration.voters
    matched = sorted(leader.match_index(voter.id) or 0 for voter in voters)
    server.commit_to(matched[len(voters) - server.configuration.majority])


def _answer_at_once(server: Any, value: object) -> Deferred[Any]:
    """
    Answer a peer before the disk has what the answer promises.
    """
    server._schedule_turn()
    return succeed(value)


_begin = ReadRounds.begin


def _skip_round(rounds: ReadRounds, commit_index: int) -> bool:
    """
    Take a round of reads for confirmed when it begins.
    """
    begun = _begin(rounds, commit_index)
    if begun:
        rounds.confirm()
    return begun


def _lose_a_key(count: int, records: Iterator[Any]) -> Iterator[bytes]:
    """
    Leave a key out of a snapshot.
    """
    others = list(records)[1:]
    return encode_pieces(len(others), iter(others))


_become_follower = ConsensusModule._become_follower


def _forget_vote(
    server: ConsensusModule, term: int, leader_id: str | None = None
) -> None:
    """
    Begin every following without a vote.
    """
    if term == server.current_term:
        server.voted_for = None
    _become_follower(server, term, leader_id)


_insist = Patience.insist


def _ask_again(patience: Patience, attempt: Any, *worth_another: Any) -> Any:
    """
    Ask a leader again that has not answered.
    """
    return _insist(patience, attempt, *worth_another, forwarding.Unanswered)


BUGS = {
    "the vote is not saved (PySyncObj 84)": Bug(
        Outbox, "is_vote_saved", property(lambda _: True), "term"
    ),
    "the vote is forgotten within its term (CCF 8094)": Bug(
        ConsensusModule, "_become_follower", _forget_vote, "with a vote for"
    ),
    "entries of older terms are counted (PySyncObj 169)": Bug(
        Leader, "advance_commit_index", _count_older_terms, "by counting"
    ),
    "an answer leaves before the save": Bug(
        RaftServer, "_hold", _answer_at_once, "not on"
    ),
    "the round of a read is skipped": Bug(
        ReadRounds,
        "begin",
        _skip_round,
        "when that was asked for",
        ("stale leader",),
    ),
    "what was lost on its way is asked again (fluree 1839)": Bug(
        Patience, "insist", _ask_again, "times|is in the log", ("reset", "kill")
    ),
    "a snapshot lacks a key": Bug(
        store, "encode_pieces", _lose_a_key, "in a snapshot at entry"
    ),
    "a read does not wait for what it has to see": Bug(
        FreshReads, "_until_applied", lambda *_: None, "is older than entry"
    ),
    "what is written gets into a snapshot that has begun": Bug(
        store.KeyValueStore,
        "_bucket_to_change",
        lambda self, key: self._buckets[store._bucket_number(key.encode())],
        "in a snapshot at entry",
    ),
}


@pytest.mark.parametrize("what", BUGS)
def test_a_planted_bug_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A schedule fails, says what is wrong, and how to see it again.
    """
    bug = BUGS[what]
    monkeypatch.setattr(bug.where, bug.name, bug.wrong)
    failure = _first_failure(bug)
    assert failure is not None, f"not found by {SEEDS} schedules"
    assert re.search(bug.found, failure)
    assert "python -m hraftd.simulator --seed" in failure


def _first_failure(bug: Bug) -> str | None:
    # From here on they are found soon, as it happens.
    for seed in range(25, 25 + SEEDS):
        schedule = Schedule(seed, servers=None if bug.kinds is None else 3)
        if bug.kinds is not None:
            schedule.faults.kinds = bug.kinds
        try:
            schedule.run()
        except ScheduleFailed as failure:
            return str(failure)
    return None

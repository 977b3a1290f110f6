"""
Raft 7: what a leader reads from its own disk for a follower that is far behind.

One leader alone, of which the test plays the peers and the disk. Whole transfers are in
:mod:`tests.raft.test_7_snapshots`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.raft.messages import (
    AppendEntriesResponse,
    InstallSnapshotResponse,
    Snapshot,
)
from hraftd.raft.ready import FetchEntries, FetchPiece, Timing
from tests.raft.answers import beat, converse, leading
from tests.raft.network import save

if TYPE_CHECKING:
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Call


def to_c(calls: tuple[Call, ...]) -> Call:
    """
    Return the one call to the follower that is behind.
    """
    [call] = [call for call in calls if call.to == "c"]
    return call


def behind(timing: Timing | None = None) -> ConsensusModule:
    """
    Return a leader whose ``c`` has been silent while three entries were committed.
    """
    core = leading(silent="c", timing=timing)
    for _ in range(3):
        core.propose(b"x")
        converse(core, silent="c")
    return core


def test_a_piece_that_is_not_there_is_looked_for_from_the_beginning() -> None:
    """
    The disk may have another snapshot by now; what of this one was sent says nothing.

    It is asked for again with the follower's next sign of life, and not at once, since
    the disk would decline again.
    """
    core = behind()
    core.compact(Snapshot(4, 2, core.configuration, 8, bytes(32)), 5)
    core.response_received(to_c(beat(core)), AppendEntriesResponse(2, True))
    [first] = save(core).fetches
    assert isinstance(first, FetchPiece)
    assert first.offset == 0
    core.fetched(first, b"1234")
    piece = to_c(save(core).early_calls)
    core.response_received(piece, InstallSnapshotResponse(2, 4))
    [second] = save(core).fetches
    assert isinstance(second, FetchPiece)
    assert second.offset == 4
    core.fetch_failed(second)
    assert not core.is_sending_snapshot
    assert save(core).fetches == ()
    heartbeat = to_c(beat(core))
    assert save(core).fetches == ()
    core.response_received(heartbeat, AppendEntriesResponse(2, True))
    [again] = save(core).fetches
    assert isinstance(again, FetchPiece)
    assert again.offset == 0


def test_entries_that_left_the_memory_are_read() -> None:
    """
    What is compacted nowhere but only not in memory any more is read from the disk.

    Up to the last one that is not in memory, and about as much as a message holds.
    """
    core = behind(Timing(memory_entries=0, max_append_bytes=100))
    assert core.log.memory_index == 5
    probe = to_c(beat(core))
    core.response_received(probe, AppendEntriesResponse(2, True))
    [fetch] = save(core).fetches
    assert isinstance(fetch, FetchEntries)
    assert (fetch.to, fetch.first, fetch.last, fetch.max_bytes) == ("c", 2, 5, 100)
    assert save(core).fetches == (), "one at a time"

"""
The observer notices what is wrong about snapshots, memory and reads.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from hraftd.raft.consensus import ConsensusModule
from hraftd.raft.leader import Leader
from hraftd.raft.log import Log
from hraftd.raft.messages import (
    Entry,
    HardState,
    InstallSnapshot,
    InstallSnapshotResponse,
    Piece,
    Snapshot,
)
from hraftd.raft.observer import Observer
from hraftd.raft.ready import ConfirmedRead, Timing
from tests.raft.disk import make_snapshot, snapshot_of
from tests.raft.network import member, server
from tests.raft.observing import NOTHING, violated, watched


def history(*, committed: int = 4) -> tuple[Observer, ConsensusModule, ConsensusModule]:
    """
    Return an observer, and two of three servers that have committed so many entries.
    """
    observer, a, b, _ = watched((1, 4, 4, 4, 4), (1, 4, 4, 4, 4), (1,))
    a.role, a.commit_index = Leader(a), committed
    observer.observe(a)
    observer.handed_out(a, evolve(NOTHING, committed=a.log.between(1, committed)))
    return observer, a, b


def of(core: ConsensusModule, last_index: int) -> tuple[Snapshot, tuple[Piece, ...]]:
    """
    Return a correct snapshot of that server's log up to an entry.
    """
    return make_snapshot(core.log.between(1, last_index), core.configuration)


def test_a_snapshot_in_place_of_the_log_is_in_order() -> None:
    """
    Taken by one server, sent to another, installed, restored, and the log goes on.
    """
    observer, a, b = history()
    snapshot, pieces = of(a, 4)
    observer.compacted("a", snapshot, pieces, 3)
    a.log.compact(snapshot, 3)
    observer.observe(a)
    observer.saved("a", evolve(NOTHING, hard_state=HardState(4, "a")))
    a.voted_for = "a"
    observer.observe(a)
    for piece in pieces:
        done = piece is pieces[-1]
        observer.called("a", InstallSnapshot(4, "a", snapshot, piece, done))
        observer.saved("b", evolve(NOTHING, pieces=(piece,)))
    b.log.install(snapshot)
    b.commit_to(4)
    observer.observe(b)
    observer.saved("b", evolve(NOTHING, snapshot=snapshot, entries=b.log.between(5, 5)))
    request = InstallSnapshot(4, "a", snapshot, pieces[-1], True)
    observer.answered("b", request, InstallSnapshotResponse(4, snapshot.size))
    observer.restored(b, snapshot)
    observer.observe(b)
    a.commit_index = 5
    observer.observe(a)
    b.commit_to(5)
    observer.observe(b)
    observer.handed_out(b, evolve(NOTHING, committed=b.log.between(5, 5)))


def test_nothing_is_compacted_that_was_not_applied() -> None:
    """
    A snapshot of a state stands for the entries that are in it.
    """
    observer, _, b = history()
    b.commit_index = 4
    observer.observe(b)
    with violated("b has a snapshot at 4, but has applied only up to 0"):
        observer.compacted("b", *of(b, 4), 1)


@pytest.mark.parametrize(("last_index", "last_term"), [(4, 3), (5, 4)])
def test_a_snapshot_stands_for_what_is_committed(
    last_index: int, last_term: int
) -> None:
    """
    Its last entry is committed, in the term that it names.
    """
    observer, _, b = history()
    b.log.install(snapshot_of([b""], last_index, last_term, b.configuration))
    b.commit_to(last_index)
    with violated(
        f"b has a snapshot at entry {last_index} of term {last_term}, which is not"
    ):
        observer.observe(b)


def test_canonical_raft_250_a_snapshot_has_a_committed_configuration() -> None:
    """
    One that came later, or no longer holds, is not that of the snapshot's last entry.
    """
    observer, a, b = history()
    older = a.configuration
    newer = older.with_server(member("d"))
    snapshot, pieces = make_snapshot(a.log.between(1, 4), newer)
    with violated("the snapshot of a at 4 is not with the configuration"):
        observer.compacted("a", snapshot, pieces, 5)
    b.log.install(snapshot)
    b.commit_to(4)
    with violated("the snapshot of b at 4 is not with the configuration"):
        observer.observe(b)


def test_the_configuration_behind_a_snapshot_is_the_one_in_it() -> None:
    """
    A server whose log has none goes by that of its snapshot (dissertation 5.1).
    """
    observer, a, _ = history()
    snapshot, pieces = of(a, 4)
    observer.compacted("a", snapshot, pieces, 5)
    a.log.compact(snapshot, 5)
    observer.observe(a)
    a.log._configurations = [(4, a.configuration.without("c"))]
    with violated("a goes by another configuration than that of its snapshot at 4"):
        observer.observe(a)


@pytest.mark.parametrize("how", ["content", "cut off", "configuration"])
def test_a_snapshot_is_all_there(how: str) -> None:
    """
    What is on disk has the digest and the size that name it.
    """
    observer, a, _ = history()
    snapshot, pieces = of(a, 4)
    wrong = snapshot, pieces[:-1]
    if how == "content":
        wrong = snapshot, (*pieces[:-1], Piece(pieces[-1].offset, b"x"))
    if how == "configuration":
        wrong = evolve(snapshot, size=snapshot.size + 1), pieces
    with violated("what a keeps is not the content of its snapshot at 4"):
        observer.compacted("a", *wrong, 5)


def test_pieces_are_never_cut_or_joined() -> None:
    """
    Where the same content is in other pieces, a transfer could not go on.
    """
    observer, a, _ = history()
    snapshot, pieces = of(a, 4)
    observer.compacted("a", snapshot, pieces, 5)
    joined = Piece(0, b"".join(piece.data for piece in pieces))
    with violated("what b keeps is not the content of its snapshot at 4"):
        observer.saved("b", evolve(NOTHING, pieces=(joined,), snapshot=snapshot))


def test_smg_837_pieces_of_two_snapshots_are_not_mixed() -> None:
    """
    Each follows the one before, and all together are the snapshot (smg 837).
    """
    observer, a, _ = history()
    snapshot, (first, second) = of(a, 4)
    with violated(f"b puts the piece at {second.offset} of a snapshot behind 0 bytes"):
        observer.saved("b", evolve(NOTHING, pieces=(second,)))
    observer, a, _ = history()
    observer.saved("b", evolve(NOTHING, pieces=(first,)))
    other = Piece(second.offset, second.data[::-1])
    with violated("what b keeps is not the content of its snapshot at 4"):
        observer.saved("b", evolve(NOTHING, pieces=(other,), snapshot=snapshot))
    observer, a, _ = history()
    observer.saved("b", evolve(NOTHING, pieces=(first,)))
    observer.saved("b", evolve(NOTHING, pieces=(first, second), snapshot=snapshot))


def test_received_pieces_do_not_outlive_a_restart() -> None:
    """
    A transfer to a server that starts again begins anew.
    """
    observer, a, _ = history()
    _, (first, second) = of(a, 4)
    observer.saved("b", evolve(NOTHING, pieces=(first,)))
    observer.observe(server("b", (1, 4, 4, 4, 4), term=4))
    with violated(f"b puts the piece at {second.offset} of a snapshot behind 0 bytes"):
        observer.saved("b", evolve(NOTHING, pieces=(second,)))


def test_camunda_3573_no_older_snapshot_after_a_newer_one() -> None:
    """
    Neither on disk nor in memory, where it would leave a gap (camunda 3573).
    """
    for last_index in (3, 4):
        observer, a, _ = history()
        observer.compacted("a", *of(a, 4), 5)
        with violated(f"a puts a snapshot at {last_index} in place of one at 4"):
            observer.compacted("a", *of(server("a", (1, 4, 4, 4)), last_index), 5)
    observer, a, _ = history()
    older, _ = of(a, 3)
    newer, pieces = of(a, 4)
    observer.compacted("a", newer, pieces, 5)
    a.log.compact(newer, 5)
    observer.observe(a)
    a.log.snapshot = older
    with violated("a puts a snapshot at 3 in place of one at 4"):
        observer.observe(a)


def test_nothing_behind_a_snapshot_is_deleted_with_the_log() -> None:
    """
    Compaction leaves whatever the snapshot does not stand for.
    """
    observer, a, _ = history()
    with violated("a has deleted entry 5 of term 4, which is not in its snapshot at 4"):
        observer.compacted("a", *of(a, 4), 6)


def test_an_install_deletes_nothing_committed_behind_it() -> None:
    """
    What follows the snapshot and is committed is written again with it (figure 13).
    """
    observer, a, _ = history(committed=5)
    snapshot, pieces = of(a, 4)
    with violated("b has deleted entry 5 of term 4 from its disk, which is committed"):
        observer.saved("b", evolve(NOTHING, pieces=pieces, snapshot=snapshot))
    observer, a, _ = history(committed=5)
    gap = evolve(NOTHING, pieces=pieces, snapshot=snapshot, entries=(Entry(6, 4, b""),))
    observer.committed.pop(5)
    with violated("b leaves a gap on its disk behind entry 4"):
        observer.saved("b", gap)


def test_a_snapshot_is_not_taken_to_be_on_disk_before_it_is() -> None:
    """
    Nor is what it stands for.
    """
    observer, a, _ = history()
    snapshot, _ = of(a, 4)
    c = server("c", (1,), term=4)
    observer.observe(c)
    c.log.install(snapshot)
    c.commit_to(4)
    observer.observe(c)
    c.stable_index = 4
    with violated("c takes its snapshot at 4 to be on its disk, where it is not"):
        observer.observe(c)


def test_the_commit_index_is_not_behind_the_snapshot() -> None:
    """
    All that a snapshot stands for is committed.
    """
    observer, a, b = history()
    b.log.install(of(a, 4)[0])
    with violated("the commit index of b went from 0 to 0, .* from behind 4 to 5"):
        observer.observe(b)


def test_no_snapshot_is_accepted_before_it_is_on_disk() -> None:
    """
    The last answer says that it is installed; the earlier ones promise nothing.
    """
    observer, a, _ = history()
    snapshot, pieces = of(a, 4)
    request = InstallSnapshot(4, "a", snapshot, pieces[-1], True)
    observer.answered("c", request, InstallSnapshotResponse(4, pieces[-1].offset))
    with violated("c accepts a snapshot of a at 4 that is not on its disk"):
        observer.answered("c", request, InstallSnapshotResponse(4, snapshot.size))
    observer.saved("c", evolve(NOTHING, pieces=pieces, snapshot=snapshot))
    observer.answered("c", request, InstallSnapshotResponse(4, snapshot.size))
    later = evolve(request, term=5)
    with violated("c accepts a snapshot of a at 4 that is not on its disk"):
        observer.answered("c", later, InstallSnapshotResponse(5, snapshot.size))


def test_only_pieces_of_a_snapshot_are_sent() -> None:
    """
    A piece is sent as it is on some disk, and the last one is sent as the last.
    """
    observer, a, _ = history()
    snapshot, pieces = of(a, 4)
    observer.saved("a", evolve(NOTHING, hard_state=HardState(4, "a")))
    request = InstallSnapshot(4, "a", snapshot, pieces[0], False)
    with violated("a sends a piece at 0 of a snapshot at 4 that has no such piece"):
        observer.called("a", request)
    observer.compacted("a", snapshot, pieces, 5)
    observer.called("a", request)
    for wrong in (
        evolve(request, done=True),
        evolve(request, piece=pieces[1]),
        evolve(request, piece=Piece(0, b"x")),
    ):
        with violated("that has no such piece"):
            observer.called("a", wrong)


def test_what_is_restored_is_on_disk_and_a_step_forward() -> None:
    """
    A state never goes back, and what it came from is not lost in a crash.
    """
    observer, a, b = history()
    snapshot, pieces = of(a, 3)
    with violated("b has applied up to 0 and restores a snapshot at 3; on disk is one"):
        observer.restored(b, snapshot)
    observer.compacted("a", snapshot, pieces, 4)
    with violated("a has applied up to 4 and restores a snapshot at 3; on disk is"):
        observer.restored(a, snapshot)


@pytest.mark.parametrize("first", [4, 6])
def test_nothing_is_left_out_or_applied_twice_around_an_install(first: int) -> None:
    """
    What is applied after a restore is what follows the snapshot.
    """
    observer, a, b = history()
    snapshot, pieces = of(a, 4)
    b.log.install(snapshot)
    b.log.append([Entry(6, 4, b"")])
    b.commit_to(4)
    behind = b.log.between(5, 6)
    observer.observe(b)
    saved = evolve(NOTHING, pieces=pieces, snapshot=snapshot, entries=behind)
    observer.saved("b", saved)
    with violated("State Machine Safety: b applies entry 5 of term 4 after entry 0"):
        observer.handed_out(b, evolve(NOTHING, committed=behind))
    observer.restored(b, snapshot)
    wrong = Entry(first, 4, b"%d of 4" % first)
    with violated(f"State Machine Safety: b applies entry {first} of term 4 after"):
        observer.handed_out(b, evolve(NOTHING, committed=(wrong,)))


def test_a_server_starts_with_the_snapshot_on_its_disk() -> None:
    """
    Neither with another one, nor with a log that reaches back behind it.
    """
    observer, a, _ = history()
    snapshot, pieces = of(a, 4)
    observer.compacted("a", snapshot, pieces, 3)
    disk = a.log.between(3, 5)

    def start(log: Log) -> ConsensusModule:
        return ConsensusModule("a", HardState(4), log, server()._rng)

    with violated("a did not start with what its disk holds"):
        observer.observe(start(Log(a.log.between(1, 5))))
    with violated("a did not start with what its disk holds"):
        observer.observe(start(Log(disk[:-1], snapshot)))
    with violated("a did not start with what its disk holds"):
        observer.observe(start(Log(disk, evolve(snapshot, digest=b""))))
    observer.observe(start(Log(disk, snapshot)))


def test_the_memory_is_bounded() -> None:
    """
    What is applied and on disk need not all be in memory.
    """
    observer = Observer()
    a = server("a", (1, 4, 4, 4), term=4, timing=Timing(memory_entries=3), voters="a")
    observer.observe(a)
    a.role, a.commit_index = Leader(a), 4
    observer.observe(a)
    ready = evolve(NOTHING, committed=a.log.between(1, 4))
    with violated("a has applied everything and has still 4 entries in memory"):
        observer.handed_out(a, ready)


# Reads.


def test_no_read_is_stale() -> None:
    """
    A read sees what was committed, anywhere, when it was asked for (6.4).
    """
    observer, a, b = history()
    b.current_term, b.role = 5, Leader(b)
    observer.observe(b)
    observer.asked(b, 1)
    observer.asked(a, 2)
    stale = evolve(NOTHING, confirmed_reads=(ConfirmedRead(1, 3),))
    with violated("b lets entry 3 be read, but entry 4 was committed when that was"):
        observer.handed_out(b, stale)
    fresh = evolve(NOTHING, confirmed_reads=(ConfirmedRead(2, 4),))
    observer.handed_out(a, fresh)
    future = evolve(NOTHING, confirmed_reads=(ConfirmedRead(3, 5),))
    with violated("a lets entry 5 be read, but"):
        observer.handed_out(a, future)


def test_rounds_of_reads_end_with_the_term() -> None:
    """
    The same number in another term is another round.
    """
    observer, a, _ = history()
    observer.asked(a, 1)
    a.role = server().role
    observer.observe(a)
    assert observer._lives["a"].reads == {}

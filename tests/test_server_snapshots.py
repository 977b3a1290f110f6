"""
Snapshots of a running server: taken, sent, installed, and restored (Raft 7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from hraftd.errors import SnapshotImpossible, Stopped
from hraftd.interfaces import StorageError
from hraftd.leader_requests import Assurance
from hraftd.raft.configuration import Configuration
from hraftd.raft.messages import InstallSnapshot
from hraftd.raft.ready import Timing
from hraftd.snapshots import SnapshotPolicy
from tests.servers import Group, HeldStorage, Journal, member

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from hraftd.raft.messages import Piece, Snapshot
    from hraftd.server import RaftServer

#: Nothing is taken unless a test asks for it, and no entry stays behind it.
ON_DEMAND = SnapshotPolicy(1 << 30, 1 << 40, 0, 0)


class SnapshotsTestCase(SynchronousTestCase):
    """
    A group of servers that keep journals.
    """

    #: Of every server.
    policy = ON_DEMAND
    timing = Timing()
    names: Sequence[str] = "abc"

    def setUp(self) -> None:
        """
        Let a lead.
        """
        self.group = Group()
        self.disks = {server_id: HeldStorage() for server_id in self.names}
        self.journals = {server_id: Journal() for server_id in self.names}
        self.servers: dict[str, RaftServer] = {}
        for server_id in self.names:
            parts = (
                self.disks[server_id],
                self.policy,
                self.timing,
                self.journals[server_id],
            )
            self.servers[server_id] = (
                self.group.join(server_id, self.servers["a"], *parts)
                if self.servers
                else self.group.first(server_id, *parts)
            )
        self.a = self.servers["a"]
        self.group.ticks(5)
        assert self.group.failures == []

    def write(self, count: int = 1, server: RaftServer | None = None) -> int:
        """
        Have commands applied, each another one.
        """
        server = server or self.a
        index = 0
        for _ in range(count):
            number = server.status().last_log_index
            answer = server.propose(b"command %d" % number)
            self.group.turn()
            index = self.successResultOf(answer).index
        return index

    def take(self, server_id: str = "a") -> Snapshot:
        """
        Take a snapshot and let it be done.
        """
        taken = self.servers[server_id].take_snapshot()
        for _ in range(100):
            self.group.turn()
            if taken.called:
                break
        return self.successResultOf(taken)

    def restart(self, server_id: str) -> RaftServer:
        """
        Start a server that has stopped, with what its disk holds.
        """
        self.journals[server_id] = Journal()
        self.disks[server_id].held = False
        server = self.servers[server_id] = self.group.add(
            server_id,
            self.disks[server_id],
            self.policy,
            self.timing,
            self.journals[server_id],
        )
        server.startService()
        return server

    def be_level(self, ticks: int = 400) -> None:
        """
        Let time pass until all have applied the same, and see that it is the same.
        """

        def is_level() -> bool:
            last = {server.status().last_applied for server in self.servers.values()}
            return last == {self.group.leader().status().last_log_index}

        self.group.until(is_level, ticks)
        journal = self.journals[self.group.leader().server_id].applied
        for server_id in self.names:
            assert self.journals[server_id].applied == journal, server_id
        indexes = [index for index, _ in journal]
        assert indexes == sorted(set(indexes))


class AloneTestCase(SnapshotsTestCase):
    """
    A cluster of one.
    """

    names = "a"

    def setUp(self) -> None:
        """
        Give it short names.
        """
        super().setUp()
        self.disk, self.journal = self.disks["a"], self.journals["a"]


class EntryThresholdTests(AloneTestCase):
    """
    A snapshot is due after a number of entries.
    """

    policy = SnapshotPolicy(10, 1 << 40, 3, 1 << 40)

    def test_taken_when_due(self) -> None:
        """
        It is taken with the tenth entry, not before, and again ten entries later.
        """
        status = self.a.status()
        self.write(9 - status.last_applied)
        self.group.ticks(5)
        assert self.a.status().snapshot_index == 0
        self.write()
        self.group.ticks(5)
        assert self.a.status().snapshot_index == 10
        assert self.a.status().snapshot_bytes > 0
        self.write(9)
        self.group.ticks(5)
        assert self.a.status().snapshot_index == 10
        self.write()
        self.group.ticks(5)
        assert self.a.status().snapshot_index == 20
        assert [one.last_index for one in self.disk.compacted] == [10, 20]

    def test_what_stays(self) -> None:
        """
        So many entries stay behind it, in memory and on disk.
        """
        self.write(12)
        self.group.ticks(5)
        status = self.a.status()
        assert status.snapshot_index >= 10
        assert status.first_log_index == status.snapshot_index - 3 + 1 + 1
        stored = self.disk.load()
        assert stored.entries[0].index == status.snapshot_index - 2
        assert stored.snapshot is not None

    def test_what_it_says(self) -> None:
        """
        It is of its entry: that one's term, configuration and state.
        """
        self.write(12)
        self.group.ticks(5)
        snapshot = self.disk.compacted[0]
        assert snapshot.last_term == self.a.status().term
        assert snapshot.configuration == Configuration((member("a"),))
        pieces = list(self.disk.load().pieces)
        assert sum(map(len, pieces)) == snapshot.size
        assert pieces[0] == b"journal"
        assert len(pieces) == 1 + sum(
            index <= snapshot.last_index for index, _ in self.journal.applied
        )
        assert self.journal.being_read == 0

    def test_busy(self) -> None:
        """
        While one is taken no other is begun, however many entries come.
        """
        self.disk.held_snapshots = True
        self.write(40)
        assert self.journal.being_read == 1
        self.disk.held_snapshots = False
        self.disk.let_snapshot_go_on()
        self.group.ticks(10)
        # What came meanwhile is enough for another one.
        assert [one.last_index for one in self.disk.compacted] == [
            10,
            self.a.status().last_applied,
        ]


class ByteThresholdTests(AloneTestCase):
    """
    A snapshot is due after a number of bytes.
    """

    policy = SnapshotPolicy(1 << 30, 10_000, 1 << 30, 5_000)

    def propose(self, size: int) -> None:
        """
        Have a command of that size applied.
        """
        answer = self.a.propose(bytes(size))
        self.group.ticks(2)
        self.successResultOf(answer)

    def test_taken_when_due(self) -> None:
        """
        It is taken when the entries have so many bytes, and again after as many.
        """
        for _ in range(9):
            self.propose(1000)
        assert self.disk.compacted == []
        self.propose(1000)
        assert len(self.disk.compacted) == 1
        for _ in range(9):
            self.propose(1000)
        assert len(self.disk.compacted) == 1
        self.propose(1000)
        assert len(self.disk.compacted) == 2

    def test_what_stays(self) -> None:
        """
        Of the entries stay no more than have so many bytes.
        """
        for _ in range(10):
            self.propose(1000)
        status = self.a.status()
        assert status.snapshot_index == status.last_applied
        stored = self.disk.load()
        assert 3 <= len(stored.entries) <= 5

    def test_what_came_meanwhile_counts(self) -> None:
        """
        Bytes that were applied while one was taken count for the next one.
        """
        self.disk.held_snapshots = True
        for _ in range(18):
            self.propose(1000)
        self.disk.held_snapshots = False
        self.disk.let_snapshot_go_on()
        self.group.ticks(2)
        assert len(self.disk.compacted) == 1
        self.propose(1000)
        self.propose(1000)
        assert len(self.disk.compacted) == 2


class OnDemandTests(AloneTestCase):
    """
    A snapshot is taken because somebody wants one.
    """

    def test_now(self) -> None:
        """
        It holds everything that is applied, and takes the place of the log.
        """
        last = self.write(5)
        taken = self.a.take_snapshot()
        self.assertNoResult(taken)
        self.group.turn()
        snapshot = self.successResultOf(taken)
        assert snapshot.last_index == last
        status = self.a.status()
        assert status.snapshot_index == last
        assert status.snapshot_bytes == snapshot.size
        assert status.first_log_index == last + 1
        assert self.disk.load().entries == ()

    def test_nothing_new(self) -> None:
        """
        If nothing was applied since, the latest is the answer and nothing is written.
        """
        self.write()
        first = self.take()
        assert self.successResultOf(self.a.take_snapshot()) is first
        assert len(self.disk.compacted) == 1
        self.write()
        assert self.take().last_index == first.last_index + 1

    def test_nothing_at_all(self) -> None:
        """
        A server that has applied nothing yet has nothing to take.
        """
        fresh = self.group.add("x")
        fresh.startService()
        self.failureResultOf(fresh.take_snapshot(), SnapshotImpossible)

    def test_while_one_is_taken(self) -> None:
        """
        Who wants one while one is taken gets that one.
        """
        self.write(3)
        self.disk.held_snapshots = True
        first = self.a.take_snapshot()
        second = self.a.take_snapshot()
        assert self.journal.being_read == 1
        self.disk.held_snapshots = False
        self.disk.let_snapshot_go_on()
        self.group.turn()
        assert self.successResultOf(first) is self.successResultOf(second)
        assert len(self.disk.compacted) == 1

    def test_cancelled(self) -> None:
        """
        Who waits for one no more does not stop it, nor the others that wait.
        """
        self.write(3)
        first, second = self.a.take_snapshot(), self.a.take_snapshot()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.group.turn()
        self.successResultOf(second)
        assert self.group.failures == []

    def test_it_is_of_the_moment_when_it_began(self) -> None:
        """
        What is applied while it is written is not in it, and stays in the log.
        """
        last = self.write(5)
        self.disk.held_snapshots = True
        taken = self.a.take_snapshot()
        self.write(5)
        while self.disk.snapshot_waits:
            self.disk.let_snapshot_go_on()
            self.group.turn()
        snapshot = self.successResultOf(taken)
        assert snapshot.last_index == last
        stored = self.disk.load()
        assert len(list(stored.pieces)) == 1 + 5
        assert [entry.index for entry in stored.entries] == list(
            range(last + 1, last + 6)
        )

    def test_writes_do_not_wait(self) -> None:
        """
        While a snapshot is written the answers of writes are not held up.
        """
        self.write(5)
        self.disk.held_snapshots = True
        taken = self.a.take_snapshot()
        for _ in range(20):
            self.write()
            self.assertNoResult(taken)
        while self.disk.snapshot_waits:
            self.disk.let_snapshot_go_on()
            # Each piece is its own step, and so is putting it in place.
            self.write()
        self.successResultOf(taken)

    def test_others_run_between_two_pieces(self) -> None:
        """
        However fast the disk is, no two pieces are made without a pause.
        """
        self.write(5)
        beats: list[int] = []
        seen: list[int] = []

        def beat() -> None:
            beats.append(len(beats))
            if len(beats) < 100:
                self.group.clock.callLater(0, beat)

        def write_piece(piece: Piece) -> Deferred[None]:
            seen.append(len(beats))
            return self.disk.kept.write_piece(piece)

        self.patch(self.disk, "write_piece", write_piece)
        taken = self.a.take_snapshot()
        beat()
        self.group.turn()
        self.successResultOf(taken)
        assert len(seen) == 6
        assert sorted(set(seen)) == seen

    def test_stopped(self) -> None:
        """
        A stop ends what is under way, and answers who waits for it.
        """
        self.write(3)
        self.disk.held_snapshots = True
        taken = self.a.take_snapshot()
        self.group.turn()
        self.successResultOf(self.a.stopService())
        failure = self.failureResultOf(taken, SnapshotImpossible)
        assert "stopping" in str(failure.value)
        assert self.journal.being_read == 0
        self.failureResultOf(self.a.take_snapshot(), Stopped)
        assert self.group.failures == []
        assert self.disk.is_closed

    def test_stopped_between_two_pieces(self) -> None:
        """
        A stop between two pieces lets go of the state machine and calls nothing later.
        """
        self.write(3)
        taken = self.a.take_snapshot()
        assert self.journal.being_read == 1
        self.successResultOf(self.a.stopService())
        self.failureResultOf(taken, SnapshotImpossible)
        assert self.journal.being_read == 0
        assert self.group.clock.getDelayedCalls() == []
        assert self.group.failures == []

    def test_stopped_before_it_is_in_place(self) -> None:
        """
        A server that stopped before its snapshot was in place has its whole log.
        """
        self.write(3)
        self.disk.held_snapshots = True
        taken = self.a.take_snapshot()
        for _ in range(4):
            self.disk.let_snapshot_go_on()
            self.group.turn()
        self.successResultOf(self.a.stopService())
        self.failureResultOf(taken, SnapshotImpossible)
        applied = list(self.journal.applied)
        self.disk.held_snapshots = False
        again = self.restart("a")
        self.group.until(lambda: again.status().role == "leader")
        self.group.ticks(2)
        assert self.journals["a"].applied == applied
        assert again.status().snapshot_index == 0
        # What was left behind is no obstacle.
        self.a = again
        self.write()
        self.take()

    def test_the_disk_refuses(self) -> None:
        """
        A disk that does not take a piece, or the whole, ends the server, once.
        """
        for method in ("write_piece", "compact"):
            self.setUp()
            self.write(3)
            self.disk.broken[method] = StorageError("the disk is full")
            taken = self.a.take_snapshot()
            self.group.turn()
            self.failureResultOf(taken, SnapshotImpossible)
            assert self.group.failures == ["the disk is full"]
            self.failureResultOf(self.a.propose(b"x"), Stopped)
            assert self.journal.being_read == 0
            self.group.ticks(50)
            assert self.group.failures == ["the disk is full"]

    def test_the_state_machine_cannot(self) -> None:
        """
        A state that cannot be written ends the server: it would run out of disk later.
        """
        self.write(3)
        self.patch(self.journal, "snapshot", one_piece_and_no_more)
        taken = self.a.take_snapshot()
        self.group.turn()
        self.failureResultOf(taken, SnapshotImpossible)
        assert self.group.failures == ["no state"]


def one_piece_and_no_more() -> Generator[bytes, None, None]:
    """
    Yield a piece, and break.
    """
    yield b"journal"
    raise RuntimeError("no state")


class RestartTests(AloneTestCase):
    """
    A server begins with its snapshot.
    """

    policy = SnapshotPolicy(10, 1 << 40, 3, 1 << 40)

    def test_the_same_state(self) -> None:
        """
        It has the same state and configuration again, applied once, and goes on.
        """
        self.write(25)
        self.group.ticks(5)
        before, journal = self.a.status(), list(self.journal.applied)
        assert before.snapshot_index == 20
        self.successResultOf(self.a.stopService())
        again = self.restart("a")
        status = again.status()
        assert status.snapshot_index == status.last_applied == 20
        assert status.snapshot_bytes == before.snapshot_bytes
        assert status.first_log_index == before.first_log_index
        assert status.configuration == before.configuration
        self.group.until(lambda: again.status().role == "leader")
        self.group.ticks(2)
        assert self.journals["a"].applied == journal
        self.a = again
        self.write(10)
        assert self.journals["a"].applied[: len(journal)] == journal
        assert again.status().snapshot_index == 30

    def test_nothing_of_the_log_left(self) -> None:
        """
        A snapshot with no log behind it is enough.
        """
        self.write(3)
        snapshot = self.take()
        journal = list(self.journal.applied)
        self.successResultOf(self.a.stopService())
        again = self.restart("a")
        assert self.journals["a"].applied == journal
        assert again.status().last_log_index >= snapshot.last_index
        assert self.successResultOf(again.take_snapshot()).last_index == (
            snapshot.last_index
        )
        self.group.until(lambda: again.status().role == "leader")
        self.a = again
        self.write()

    def test_a_state_that_it_cannot_read(self) -> None:
        """
        A snapshot that the state machine refuses is told with a sentence, at the start.
        """
        self.write(3)
        self.take()
        self.successResultOf(self.a.stopService())
        journal = Journal()
        journal.refused = b"journal"
        with pytest.raises(StorageError, match="newer hraftd"):
            self.group.add("a", self.disk, state_machine=journal)
        assert journal.applied == []


class BehindTestCase(SnapshotsTestCase):
    """
    A follower that is too far behind.
    """

    def leave_behind(self, server_id: str = "c", count: int = 10) -> Snapshot:
        """
        Cut a server off, and put a snapshot in place of what it misses.
        """
        self.group.cut_off.add(server_id)
        self.write(count)
        self.group.ticks(25)
        return self.take()

    def hold_pieces(self) -> None:
        """
        Let the leader's pieces be on their way until a test lets them arrive.
        """
        self.group.wires["a"].holds_call = lambda call: isinstance(
            call.request, InstallSnapshot
        )

    def let_pieces_go(self) -> None:
        """
        Let them arrive again.
        """
        self.group.wires["a"].holds_call = lambda call: False
        self.group.wires["a"].deliver()

    def pieces_sent(self) -> list[InstallSnapshot]:
        """
        Return what the leader has sent of snapshots.
        """
        return [
            call.request
            for call in self.group.wires["a"].calls
            if isinstance(call.request, InstallSnapshot)
        ]

    def let_c_install_but_not_save(self) -> Snapshot:
        """
        Let c have all of the snapshot, and its disk be slow with the last of it.
        """
        snapshot = self.leave_behind()
        disk, c = self.disks["c"], self.servers["c"]
        self.group.cut_off.clear()
        disk.held = True
        for _ in range(100):
            self.group.ticks(1)
            if c.status().snapshot_index:
                break
            if disk.save_waits:
                disk.finish()
        assert c.status().snapshot_index == snapshot.last_index
        assert c.status().last_applied < snapshot.last_index
        return snapshot


class FollowerTests(BehindTestCase):
    """
    A follower that is too far behind is sent a snapshot.
    """

    def test_comes_back(self) -> None:
        """
        It gets the snapshot and what came after, while writes go on; nothing twice.
        """
        snapshot = self.leave_behind()
        self.group.cut_off.clear()
        for _ in range(20):
            self.write()
        self.be_level()
        status = self.servers["c"].status()
        assert status.snapshot_index == snapshot.last_index
        assert self.disks["c"].load().snapshot == snapshot
        # Each piece once.
        offsets = [request.piece.offset for request in self.pieces_sent()]
        assert offsets == sorted(set(offsets))
        assert self.group.failures == []

    def test_no_piece_waits_for_a_heartbeat(self) -> None:
        """
        A transfer takes as long as the disks and the links do, and no time besides.
        """
        self.leave_behind()
        self.disks["a"].held_reads = True
        self.group.cut_off.clear()
        self.group.until(lambda: self.disks["a"].reads_waiting == 1)
        self.disks["a"].held_reads = False
        self.disks["a"].let_reads_go_on()
        self.group.turn()
        assert self.pieces_sent()[-1].done
        assert self.journals["c"].applied == self.journals["a"].applied

    def test_an_installed_one_is_the_latest(self) -> None:
        """
        Who has applied nothing since it installed a snapshot need not take another.
        """
        snapshot = self.leave_behind()
        self.group.cut_off.clear()
        self.be_level()
        assert self.successResultOf(self.servers["c"].take_snapshot()) == snapshot
        assert self.disks["c"].compacted == []

    def test_bytes_are_counted_from_it(self) -> None:
        """
        What was applied before a snapshot was installed does not make the next one due.
        """
        c, disk = self.servers["c"], self.disks["c"]
        self.successResultOf(c.stopService())
        self.policy = SnapshotPolicy(1 << 30, 5_000, 0, 0)
        self.restart("c")
        self.write_bytes(4_000)
        self.leave_behind()
        self.group.cut_off.clear()
        self.be_level()
        self.write_bytes(4_000)
        assert disk.compacted == []
        self.write_bytes(1_000)
        assert len(disk.compacted) == 1

    def write_bytes(self, size: int) -> None:
        """
        Have a command of that size applied everywhere.
        """
        answer = self.a.propose(bytes(size))
        self.group.ticks(5)
        self.successResultOf(answer)

    def test_restarts_from_it(self) -> None:
        """
        An installed snapshot is on disk: a restart begins with it.
        """
        snapshot = self.leave_behind()
        self.group.cut_off.clear()
        self.be_level()
        self.write(3)
        self.successResultOf(self.servers["c"].stopService())
        c = self.restart("c")
        assert c.status().last_applied == snapshot.last_index
        self.be_level()

    def test_pieces_are_on_disk_before_they_are_acknowledged(self) -> None:
        """
        A piece is answered when the disk has it, as an entry is.
        """
        self.leave_behind()
        disk = self.disks["c"]
        self.group.cut_off.clear()
        disk.held = True
        self.group.ticks(5)
        count = len(self.pieces_sent())
        self.group.ticks(5)
        assert len(self.pieces_sent()) == count
        disk.held = False
        disk.finish()
        self.be_level()

    def test_not_restored_before_it_is_on_disk(self) -> None:
        """
        A state is replaced only by one that a crash would not lose.
        """
        disk, c = self.disks["c"], self.servers["c"]
        before = list(self.journals["c"].applied)
        snapshot = self.let_c_install_but_not_save()
        self.group.ticks(10)
        assert self.journals["c"].applied == before
        assert c.status().last_applied < snapshot.last_index
        disk.held = False
        disk.finish()
        self.be_level()

    def test_a_read_waits_for_the_restored_state(self) -> None:
        """
        A fresh read at a server that restores a snapshot waits for that.
        """
        snapshot = self.leave_behind()
        c = self.servers["c"]
        self.disks["c"].held_reads = True
        self.group.cut_off.clear()
        self.group.until(lambda: self.disks["c"].reads_waiting == 1)
        barrier = c.read_barrier(Assurance.MAJORITY)
        self.group.ticks(3)
        self.assertNoResult(barrier)
        assert c.status().last_applied < snapshot.last_index
        self.disks["c"].held_reads = False
        self.disks["c"].let_reads_go_on()
        self.group.ticks(5)
        self.successResultOf(barrier)
        self.be_level()

    def test_none_is_taken_while_one_is_restored(self) -> None:
        """
        A server that restores a snapshot takes none.
        """
        self.leave_behind()
        self.disks["c"].held_reads = True
        self.group.cut_off.clear()
        self.group.until(lambda: self.disks["c"].reads_waiting == 1)
        failure = self.failureResultOf(
            self.servers["c"].take_snapshot(), SnapshotImpossible
        )
        assert "restored" in str(failure.value)
        self.disks["c"].held_reads = False
        self.disks["c"].let_reads_go_on()
        self.be_level()
        self.write()
        self.take("c")

    def test_none_is_taken_while_an_installed_one_is_saved(self) -> None:
        """
        A server whose disk has yet to take the leader's snapshot takes none, and lives.
        """
        disk, c = self.disks["c"], self.servers["c"]
        self.let_c_install_but_not_save()
        taken = c.take_snapshot()
        self.group.turn()
        self.failureResultOf(taken, SnapshotImpossible)
        assert self.group.failures == []
        disk.held = False
        disk.finish()
        self.be_level()

    def test_stopped_between_two_pieces_of_a_restore(self) -> None:
        """
        A stop while others run between two pieces ends the restore, and is no failure.
        """
        self.leave_behind()
        disk, c = self.disks["c"], self.servers["c"]
        before = list(self.journals["c"].applied)

        def read_piece(snapshot: Snapshot, offset: int) -> Deferred[bytes]:
            if offset:
                self.group.clock.callLater(0, c.stopService)
                self.patch(disk, "read_piece", disk.kept.read_piece)
            return disk.kept.read_piece(snapshot, offset)

        self.patch(disk, "read_piece", read_piece)
        self.group.cut_off.clear()
        self.group.until(lambda: not c.running)
        self.group.turn()
        assert self.journals["c"].applied == before
        assert self.group.failures == []

    def test_due_while_an_installed_one_is_saved(self) -> None:
        """
        Nor is one taken because it is due: the own one was given up for the leader's.
        """
        policy = SnapshotPolicy(1 << 30, 500, 0, 0)
        disk = self.disks["c"]
        disk.held_snapshots = True
        self.successResultOf(self.servers["c"].stopService())
        self.policy = policy
        self.restart("c")
        self.write(20)
        self.group.ticks(5)
        assert disk.snapshot_waits
        self.let_c_install_but_not_save()
        disk.held_snapshots = False
        disk.let_snapshot_go_on()
        self.group.ticks(3)
        assert self.group.failures == []
        disk.held = False
        disk.finish()
        self.be_level()

    def test_stopped_while_restoring(self) -> None:
        """
        A server that stopped in mid-restore has the snapshot when it starts again.
        """
        snapshot = self.leave_behind()
        disk, c = self.disks["c"], self.servers["c"]
        before = list(self.journals["c"].applied)
        disk.held_reads = True
        self.group.cut_off.clear()
        self.group.until(lambda: disk.reads_waiting == 1)
        self.successResultOf(c.stopService())
        disk.held_reads = False
        disk.let_reads_go_on()
        self.group.turn()
        assert self.journals["c"].applied == before
        assert self.group.failures == []
        c = self.restart("c")
        assert c.status().last_applied == snapshot.last_index
        self.be_level()

    def test_logcabin_174_stopped_in_mid_transfer(self) -> None:
        """
        A server that restarts in mid-transfer is sent the snapshot from its beginning.

        LogCabin 174.
        """
        self.leave_behind()
        c = self.servers["c"]
        self.hold_pieces()
        self.group.cut_off.clear()
        for _ in range(3):
            self.group.ticks(5)
            self.group.wires["a"].deliver()
        self.group.ticks(1)
        assert max(request.piece.offset for request in self.pieces_sent()) > 0
        self.successResultOf(c.stopService())
        self.let_pieces_go()
        c = self.restart("c")
        assert c.status().snapshot_index == 0
        self.be_level()
        offsets = [request.piece.offset for request in self.pieces_sent()]
        assert offsets.count(0) == 2

    def test_a_piece_that_it_cannot_restore(self) -> None:
        """
        A server that cannot read the leader's state ends, and says so once.
        """
        self.leave_behind()
        self.journals["c"].refused = b"journal"
        before = list(self.journals["c"].applied)
        self.group.cut_off.clear()
        self.group.ticks(20)
        assert self.group.failures == ["b'journal' is no piece"]
        assert self.journals["c"].applied == before
        self.failureResultOf(self.servers["c"].take_snapshot(), Stopped)
        self.group.ticks(50)
        assert len(self.group.failures) == 1
        self.write()

    def test_it_cannot_be_read_back(self) -> None:
        """
        A server whose disk does not give the snapshot back ends.
        """
        self.leave_behind()
        self.disks["c"].broken["read_piece"] = StorageError("the disk is gone")
        self.group.cut_off.clear()
        self.group.ticks(20)
        assert self.group.failures == ["the disk is gone"]

    def test_the_leader_cannot_read_it(self) -> None:
        """
        A leader whose disk does not give a piece back ends, and another one leads.
        """
        self.leave_behind()
        self.disks["a"].broken["read_piece"] = StorageError("the disk is gone")
        self.group.cut_off.clear()
        self.group.ticks(5)
        assert self.group.failures == ["the disk is gone"]
        self.failureResultOf(self.a.propose(b"x"), Stopped)

    def test_none_is_taken_while_one_is_sent(self) -> None:
        """
        A leader takes no other on demand while a follower that answers is sent one.
        """
        self.leave_behind()
        self.hold_pieces()
        self.group.cut_off.clear()
        self.group.ticks(6)
        self.write()
        failure = self.failureResultOf(self.a.take_snapshot(), SnapshotImpossible)
        assert "being sent" in str(failure.value)
        self.let_pieces_go()
        self.be_level()
        self.take()

    def test_one_is_taken_when_the_follower_is_gone(self) -> None:
        """
        A follower that has stopped answering in mid-transfer is not waited for.
        """
        self.leave_behind()
        self.hold_pieces()
        self.group.cut_off.clear()
        self.group.ticks(6)
        self.group.cut_off.add("c")
        self.let_pieces_go()
        self.write()
        self.group.ticks(30)
        last = self.take()
        self.group.cut_off.clear()
        self.be_level()
        assert self.servers["c"].status().snapshot_index == last.last_index

    def test_of_an_old_leader_and_of_a_new_one(self) -> None:
        """
        When the leader changes in mid-transfer the next one's snapshot is not mixed in.

        smg 837: the two were taken at different moments, of pieces that begin alike.
        """
        self.leave_behind()
        self.take("b")
        self.hold_pieces()
        self.group.cut_off.clear()
        for _ in range(3):
            self.group.ticks(5)
            self.group.wires["a"].deliver()
        self.write(server=self.a)
        transferred = self.a.transfer_leadership("b")
        self.group.ticks(5)
        self.successResultOf(transferred)
        self.let_pieces_go()
        self.write(3, self.servers["b"])
        self.be_level()

    def test_a_newcomer(self) -> None:
        """
        A server that joins a cluster with a compacted log becomes a voter.
        """
        self.write(10)
        self.take()
        self.disks["d"], self.journals["d"] = HeldStorage(), Journal()
        self.servers["d"] = self.group.join(
            "d", self.a, self.disks["d"], self.policy, self.timing, self.journals["d"]
        )
        self.names = "abcd"
        assert self.group.failures == []
        self.be_level()
        assert self.a.status().configuration.is_voter("d")


class OvertakenTests(BehindTestCase):
    """
    A snapshot from the leader comes while this server takes its own.
    """

    def take_at_c(self, pieces: int) -> None:
        """
        Let c write so many pieces of its own, and have the next on its way to disk.
        """
        self.write(3)
        self.disks["c"].held_snapshots = True
        self.taken = self.servers["c"].take_snapshot()
        self.group.turn()
        for _ in range(pieces):
            self.disks["c"].let_snapshot_go_on()
            self.group.turn()
        assert self.disks["c"].snapshot_waits

    def install_at_c(self) -> Snapshot:
        """
        Let c have a later one from the leader.
        """
        snapshot = self.leave_behind()
        self.group.cut_off.clear()
        self.group.until(lambda: self.servers["c"].status().snapshot_index > 0)
        self.group.ticks(5)
        return snapshot

    def let_c_go_on(self) -> None:
        """
        Let c's disk do what it was asked for before that.
        """
        self.disks["c"].held_snapshots = False
        self.disks["c"].let_snapshot_go_on()
        self.group.turn()

    def check(self, snapshot: Snapshot) -> None:
        """
        See that the own one was given up, and that nobody was hurt.
        """
        failure = self.failureResultOf(self.taken, SnapshotImpossible)
        assert self.group.failures == []
        assert "later snapshot" in str(failure.value)
        assert self.journals["c"].being_read == 0
        self.be_level()
        assert self.servers["c"].status().snapshot_index == snapshot.last_index
        self.write()
        assert self.take("c").last_index > snapshot.last_index

    def test_before_its_first_piece(self) -> None:
        """
        A first piece that is written after the leader's snapshot is the last one.
        """
        self.take_at_c(0)
        snapshot = self.install_at_c()
        self.let_c_go_on()
        self.check(snapshot)

    def test_between_its_pieces(self) -> None:
        """
        A piece that waits for the disk finds those before it dropped.
        """
        self.take_at_c(2)
        snapshot = self.install_at_c()
        self.let_c_go_on()
        self.check(snapshot)

    def test_before_it_is_in_place(self) -> None:
        """
        One that is about to be put in place finds a later one there.
        """
        self.take_at_c(4)
        snapshot = self.install_at_c()
        self.let_c_go_on()
        self.check(snapshot)

    def test_it_was_in_place_but_that_was_not_known(self) -> None:
        """
        One that is in place on disk before the later one comes is passed by.
        """
        c = self.servers["c"]
        self.take_at_c(4)
        self.let_c_go_on()
        self.successResultOf(self.taken)
        before = c.status().snapshot_index
        self.group.cut_off.add("c")
        snapshot = self.leave_behind()
        self.group.cut_off.clear()
        self.be_level()
        assert c.status().snapshot_index == snapshot.last_index > before


class SecondInstallTests(BehindTestCase):
    """
    A second snapshot is installed while the first is restored.
    """

    def test_the_later_one_counts(self) -> None:
        """
        The first is given up, though all of it was on disk; the second is the state.
        """
        self.leave_behind()
        disk, c = self.disks["c"], self.servers["c"]
        disk.held_reads = True
        self.group.cut_off.clear()
        self.group.until(lambda: disk.reads_waiting == 1)
        second = self.leave_behind()
        self.group.cut_off.clear()
        self.group.until(lambda: c.status().snapshot_index == second.last_index)
        self.group.ticks(2)
        assert disk.reads_waiting == 2
        disk.held_reads = False
        disk.let_reads_go_on()
        self.be_level()
        assert self.group.failures == []

    def test_the_first_is_restored_while_the_second_is_saved(self) -> None:
        """
        The first may get into the state before the second is on disk; nothing is lost.
        """
        first = self.leave_behind()
        disk, c = self.disks["c"], self.servers["c"]
        disk.held_reads = True
        self.group.cut_off.clear()
        self.group.until(lambda: disk.reads_waiting == 1)
        second = self.leave_behind()
        self.group.cut_off.clear()
        disk.held = True
        for _ in range(200):
            self.group.ticks(1)
            if c.status().snapshot_index == second.last_index:
                break
            if disk.save_waits:
                disk.finish()
        disk.held_reads = False
        disk.let_reads_go_on()
        self.group.ticks(5)
        assert c.status().last_applied == first.last_index
        assert disk.save_waits
        disk.held = False
        disk.finish()
        self.be_level()
        assert self.group.failures == []


class PostponementTests(BehindTestCase):
    """
    While a follower is sent a snapshot the next one waits, but not for ever.
    """

    policy = SnapshotPolicy(20, 2_000, 0, 0)

    def write_until(self, size: int) -> None:
        """
        Apply so many bytes and a few more.
        """
        answer = self.a.propose(bytes(size))
        self.group.ticks(2)
        self.successResultOf(answer)
        self.group.ticks(1)

    def test_until_the_log_has_outgrown_it(self) -> None:
        """
        It waits while the log is short of four thresholds and the snapshot's bytes.
        """
        self.leave_behind()
        self.hold_pieces()
        self.group.cut_off.clear()
        self.group.ticks(6)
        snapshot = self.disks["a"].compacted[-1]
        count = len(self.disks["a"].compacted)
        applied = 0
        while applied + 1016 < 4 * 2_000 + snapshot.size:
            self.write_until(1000)
            applied += 1016
            assert len(self.disks["a"].compacted) == count
        self.write_until(1000)
        self.write_until(1000)
        assert len(self.disks["a"].compacted) == count + 1
        self.let_pieces_go()
        self.be_level()

    def test_until_it_is_sent(self) -> None:
        """
        It is taken as soon as the follower has the one before.
        """
        self.leave_behind()
        self.hold_pieces()
        self.group.cut_off.clear()
        self.group.ticks(6)
        count = len(self.disks["a"].compacted)
        for _ in range(3):
            self.write_until(1000)
        assert len(self.disks["a"].compacted) == count
        self.let_pieces_go()
        self.be_level()
        self.group.ticks(10)
        assert len(self.disks["a"].compacted) == count + 1


class SlowFollowerTests(BehindTestCase):
    """
    A follower needs entries that are on the leader's disk only.
    """

    timing = Timing(memory_entries=4)

    def test_entries_from_disk(self) -> None:
        """
        They are read back for it, as few as it needs; no snapshot is sent.
        """
        self.group.cut_off.add("c")
        behind = self.servers["c"].status().last_log_index
        self.disks["a"].reads.clear()
        self.write(30)
        self.group.ticks(25)
        self.group.cut_off.clear()
        self.be_level()
        reads = [read for read in self.disks["a"].reads if read[0] == "read_entries"]
        assert reads
        assert min(int(str(read[1])) for read in reads) == behind + 1
        assert all(read[3] == self.timing.max_append_bytes for read in reads)
        assert self.pieces_sent() == []

    def test_writes_do_not_wait_for_them(self) -> None:
        """
        While the disk reads for a follower the others agree, and it is heard from.
        """
        self.group.cut_off.add("c")
        self.write(30)
        self.disks["a"].held_reads = True
        self.group.cut_off.clear()
        self.group.ticks(10)
        assert self.disks["a"].reads_waiting == 1
        self.write(5)
        contact = self.a.status().members[2].last_contact
        assert contact is not None
        assert contact < 0.5
        self.disks["a"].held_reads = False
        self.disks["a"].let_reads_go_on()
        self.be_level()

    def test_compacted_meanwhile(self) -> None:
        """
        If the entries are gone when they are read, a snapshot is sent; nobody ends.
        """
        self.group.cut_off.add("c")
        self.write(30)
        self.disks["a"].held_reads = True
        self.group.cut_off.clear()
        self.group.ticks(10)
        assert self.disks["a"].reads_waiting == 1
        snapshot = self.take()
        self.disks["a"].held_reads = False
        self.disks["a"].let_reads_go_on()
        self.be_level()
        assert self.group.failures == []
        assert self.servers["c"].status().snapshot_index == snapshot.last_index

    def test_the_disk_does_not_give_them(self) -> None:
        """
        A leader whose disk cannot read its own log ends, once.
        """
        self.group.cut_off.add("c")
        self.write(30)
        self.disks["a"].broken["read_entries"] = StorageError("the disk is gone")
        self.group.cut_off.clear()
        self.group.ticks(10)
        assert self.group.failures == ["the disk is gone"]
        self.failureResultOf(self.a.propose(b"x"), Stopped)

    def test_stopped_while_they_are_read(self) -> None:
        """
        What comes of reading for a follower after the end is nobody's business.
        """
        self.group.cut_off.add("c")
        self.write(30)
        disk = self.disks["a"]
        disk.held_reads = True
        self.group.cut_off.clear()
        self.group.ticks(10)
        assert disk.reads_waiting == 1
        self.successResultOf(self.a.stopService())
        disk.held_reads = False
        # The storage is closed, and says so.
        disk.let_reads_go_on()
        self.group.ticks(2)
        assert self.group.failures == []


class ConfigurationTests(BehindTestCase):
    """
    Members come and go by way of a snapshot.
    """

    def test_canonical_250_configuration_not_committed(self) -> None:
        """
        A snapshot holds the configuration of its entry, not one that may never be.

        canonical/raft 250.
        """
        self.write(3)
        before = self.a.status().configuration
        self.group.cut_off |= {"b", "c"}
        self.a.remove_server("b").addErrback(lambda _: None)
        self.group.ticks(2)
        assert self.a.status().configuration != before
        assert self.take().configuration == before

    def test_changes_learnt_from_it(self) -> None:
        """
        Who missed a change learns it from the snapshot, and keeps links accordingly.
        """
        self.group.cut_off.add("c")
        self.group.ticks(25)
        journal = Journal()
        d = self.group.join("d", self.a, None, self.policy, self.timing, journal)
        self.write(5)
        self.take()
        self.group.cut_off.clear()
        self.be_level()
        self.group.ticks(5)
        assert journal.applied == self.journals["c"].applied
        assert self.servers["c"].status().configuration == d.status().configuration
        ids = [one.id for one in self.group.wires["c"].configurations[-1][1]]
        assert ids == ["a", "b", "c", "d"]

    def test_removed_by_it(self) -> None:
        """
        Who missed its removal, and is told by a snapshot, knows that it is removed.
        """
        c = self.servers.pop("c")
        self.group.cut_off.add("c")
        self.group.ticks(25)
        # The leader tells it for a while, and by then the log is gone.
        removed = self.a.remove_server("c")
        self.write(5)
        self.take()
        self.successResultOf(removed)
        self.group.cut_off.clear()
        self.group.ticks(20)
        assert c.status().role == "removed"
        assert c.status().snapshot_index > 0
        assert self.group.failures == []

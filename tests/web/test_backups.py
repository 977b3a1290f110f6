"""
All that a cluster holds: out of it, and into it or another one, over HTTP.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hraftd.backup_file import BackupReader
from hraftd.backups import Restoring
from hraftd.kv.commands import Delete, Set, encode_command
from hraftd.web.backups import STALLED_SECONDS
from tests.web import OneNode
from tests.web.test_anywhere import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of letters that nothing makes shorter; in pieces of 256 KiB that is more than one.
VALUE = Random(1).randbytes(150_000).hex()


def filled() -> Cluster:
    """
    Return a cluster that holds more than one piece.
    """
    cluster = Cluster()
    for key in "abc":
        assert cluster.ask("a", "PUT", f"/key/{key}", VALUE.encode()).code == 200
    cluster.ask("a", "PUT", "/key/brief?ttl=30", b"x")
    return cluster


def values(cluster: Cluster, name: str) -> dict[str, str]:
    """
    Return what a node holds.
    """
    return {
        key: found.value
        for key, found in cluster.group.stores[name].page("", None, 99).items
    }


class BackupTests(SynchronousTestCase):
    """
    ``GET /backup``.
    """

    def test_anywhere(self) -> None:
        """
        Each node gives a whole one, of what it has applied.
        """
        cluster = filled()
        for name in "abc":
            answer = cluster.ask(name, "GET", "/backup")
            assert answer.code == 200
            assert answer.headers["Content-Type"] == "application/octet-stream"
            reader = BackupReader()
            pieces = reader.feed(answer.body)
            reader.end()
            assert len(pieces) > 1
            status = cluster.group.servers[name].status()
            header = reader.header
            assert (header.index, header.term) == (status.last_applied, status.term)
            assert header.cluster == status.cluster_id
            expected = f'attachment; filename="hraftd-{header.index}.backup"'
            assert answer.headers["Content-Disposition"] == expected

    def test_fresh_or_not_at_all(self) -> None:
        """
        As for a read, ``level`` says how fresh it is to be.
        """
        cluster = filled()
        cluster.group.cut_off.update("bc")
        assert cluster.ask("c", "GET", "/backup").code == 200
        answer = cluster.ask("c", "GET", "/backup?level=linearizable")
        assert answer.code == 503
        assert cluster.ask("c", "GET", "/backup?level=best").code == 400
        assert cluster.ask("c", "GET", "/backup?of=all").code == 400

    def test_a_snapshot_that_had_begun_before(self) -> None:
        """
        What is written while a snapshot is taken is in a backup that is asked for then.
        """
        cluster = filled()
        disk = cluster.disks["a"]
        disk.held_snapshots = True
        taken = cluster.start("a", "POST", "/snapshot")
        assert cluster.ask("a", "PUT", "/key/late", b"1").code == 200
        answer = cluster.start("a", "GET", "/backup")
        disk.held_snapshots = False
        disk.let_snapshot_go_on()
        before = cluster.wait(taken).json["index"]
        reader = BackupReader()
        reader.feed(cluster.wait(answer).body)
        reader.end()
        assert reader.header.index == before + 1

    def test_only_the_headers(self) -> None:
        """
        HEAD tells what GET would answer, and sends nothing.
        """
        answer = filled().ask("a", "HEAD", "/backup")
        assert (answer.code, answer.body) == (200, b"")
        assert answer.headers["Content-Type"] == "application/octet-stream"


class SlowClientTests(SynchronousTestCase):
    """
    Who takes a backup slowly, or not at all.
    """

    def setUp(self) -> None:
        """
        Begin with one node, and a client that takes nothing after the first piece.
        """
        self.clock = Clock()
        self.node = OneNode(self.clock)
        for key in "abcdef":
            written = self.node.server.propose(encode_command(Set(((key, VALUE),))))
            self.until(lambda written=written: written.called)
        self.transport = StringTransport()
        self.aborted = False

        def abort() -> None:
            self.aborted = True

        self.transport.abortConnection = abort
        self.channel = self.node.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(b"GET /backup HTTP/1.1\r\nHost: x\r\n\r\n")
        self.channel.pauseProducing()
        self.clock.pump([0.025] * 20)

    def until(self, done: Callable[[], bool]) -> None:
        """
        Let time pass until that is so.
        """
        for _ in range(400):
            if done():
                return
            self.clock.advance(0.025)
        raise AssertionError("nothing has come of it")

    def received(self) -> int:
        """
        Return how many bytes have been written to the client.
        """
        return len(self.transport.value())

    def test_nothing_is_piled_up(self) -> None:
        """
        What the client does not take stays on the disk, until it does.
        """
        whole = 6 * len(VALUE)
        before = self.received()
        assert before < whole / 2
        self.clock.pump([0.025] * 40)
        assert self.received() == before
        for _ in range(10):
            self.channel.resumeProducing()
            self.channel.pauseProducing()
            self.clock.pump([0.025] * 4)
        self.channel.resumeProducing()
        self.until(lambda: self.transport.value().endswith(b"0\r\n\r\n"))
        assert self.received() > whole
        assert not self.aborted

    def test_a_client_that_takes_nothing(self) -> None:
        """
        It does not keep a snapshot in place for ever.
        """
        self.clock.advance(STALLED_SECONDS - 1.5)
        assert not self.aborted
        self.clock.advance(1.5)
        assert self.aborted

    def test_no_other_snapshot_meanwhile(self) -> None:
        """
        The one that is read stays, and may be replaced when the client is gone.
        """
        self.node.server.propose(encode_command(Delete("a")))
        self.clock.pump([0.025] * 4)
        refused = self.node.server.take_snapshot()
        self.failureResultOf(refused)
        self.channel.connectionLost(RuntimeError())
        taken = self.node.server.take_snapshot()
        self.until(lambda: taken.called)
        assert self.successResultOf(taken).last_index > 0


class RestoreTests(SynchronousTestCase):
    """
    ``POST /restore``.
    """

    def setUp(self) -> None:
        """
        Begin with a backup, and a cluster that holds something else.
        """
        self.backup = filled().ask("a", "GET", "/backup").body
        self.cluster = Cluster()
        self.cluster.ask("a", "PUT", "/key/other", b"1")

    def restored(self, name: str) -> bool:
        """
        Whether a node holds what is in the backup.
        """
        return values(self.cluster, name) == {
            **dict.fromkeys("abc", VALUE),
            "brief": "x",
        }

    def test_everywhere_the_same(self) -> None:
        """
        All nodes hold what is in the backup, at one index, and nothing else.
        """
        answer = self.cluster.ask("a", "POST", "/restore", self.backup)
        assert (answer.code, answer.json["keys"]) == (200, 4)
        assert answer.json["index"] == self.cluster.group.leader().status().last_applied
        for name in "abc":
            assert self.restored(name)
        self.cluster.be_level()
        # What was to expire in the other cluster expires in this one.
        self.cluster.group.ticks(10)
        assert self.cluster.group.stores["b"].deadlines == 1

    def test_at_a_follower(self) -> None:
        """
        It names the leader, or passes it on piece by piece.
        """
        answer = self.cluster.ask("b", "POST", "/restore", self.backup)
        assert (answer.code, answer.json["leader"]["id"]) == (421, "a")
        answer = self.cluster.ask("b", "POST", "/restore?redirect", self.backup)
        assert answer.headers["Location"] == "http://a:11000/restore?redirect"
        assert values(self.cluster, "b") == {"other": "1"}
        answer = self.cluster.ask("b", "POST", "/restore?forward", self.backup)
        assert answer.code == 200
        assert self.restored("c")

    def test_the_leader_goes_in_the_middle(self) -> None:
        """
        A restore outlives its leader.
        """
        put, numbers = Restoring.put, []

        async def put_and_cut_off(restoring: Restoring, piece: bytes) -> object:
            numbers.append(len(piece))
            if len(numbers) == 2:
                self.cluster.group.cut_off.add("a")
            return await put(restoring, piece)

        self.patch(Restoring, "put", put_and_cut_off)
        answer = self.cluster.start("b", "POST", "/restore?forward", self.backup)
        assert not answer.called
        assert self.cluster.wait(answer).code == 200
        assert len(numbers) > 3
        assert self.restored("b")
        assert self.restored("c")

    def test_restarts_and_snapshots(self) -> None:
        """
        What was restored is there after a restart, from the log or from a snapshot.
        """
        assert self.cluster.ask("a", "POST", "/restore", self.backup).code == 200
        self.cluster.snapshot("c")
        for name in "bc":
            self.cluster.restart(name)
            self.cluster.group.until(lambda name=name: self.restored(name))
        self.cluster.be_level()

    def test_damaged_backups(self) -> None:
        """
        They change nothing, wherever the damage is, and the sentence says what it is.
        """
        middle = len(self.backup) // 2
        damaged = bytearray(self.backup)
        damaged[middle] ^= 1
        for body, code, sentence in (
            (bytes(damaged), 400, "digest is another one"),
            (self.backup[:middle], 400, "the backup breaks off"),
            (self.backup + b"x", 400, "something follows"),
            (b"", 400, "the backup breaks off"),
            (b'{"foo": "bar"}', 400, "no backup of this version"),
        ):
            answer = self.cluster.ask("a", "POST", "/restore", body)
            assert answer.code == code, answer
            assert sentence in answer.json["error"]
        answer = self.cluster.ask("a", "POST", "/restore?from=disk", self.backup)
        assert answer.code == 400
        for name in "abc":
            assert values(self.cluster, name) == {"other": "1"}

    def test_a_client_that_goes_in_the_middle(self) -> None:
        """
        What it has not sent is not waited for, and what it has sent changes nothing.
        """
        clock = Clock()
        node = OneNode(clock)
        transport = StringTransport()
        channel = node.site.buildProtocol(None)
        channel.makeConnection(transport)
        head = b"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        channel.dataReceived(head % len(self.backup))
        channel.dataReceived(self.backup[:-1])
        # More pieces than are taken at a time: the sender is to wait.
        assert transport.producerState == "paused"
        clock.pump([0.025] * 40)
        assert transport.producerState == "producing"
        channel.connectionLost(Failure(ConnectionLost()))
        clock.pump([0.025] * 40)
        assert len(node.store) == 0
        assert self.flushLoggedErrors() == []

    def test_the_node_goes_on(self) -> None:
        """
        A connection that has brought a backup brings other requests too.
        """
        for _ in range(2):
            assert self.cluster.ask("a", "POST", "/restore", self.backup).code == 200
        assert self.cluster.ask("a", "PUT", "/key/a", b"1").code == 200
        assert self.cluster.ask("c", "GET", "/key/a?level=linearizable").json == {
            "a": "1"
        }

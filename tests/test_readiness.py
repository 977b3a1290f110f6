"""
When a node is ready for requests, and when it should be started again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.interfaces import StorageError
from hraftd.raft.configuration import Server, Suffrage
from hraftd.readiness import READY_SECONDS, Readiness
from tests.servers import Group, HeldStorage, member, set_command

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hraftd.outcomes import Unavailable
    from hraftd.server import RaftServer


class ReadinessTests(SynchronousTestCase):
    """
    Real servers, and what they say.
    """

    def setUp(self) -> None:
        """
        Begin with a leader of its own.
        """
        self.group = Group()
        self.storage = HeldStorage()
        self.leader = self.group.first("node0", self.storage)

    def readiness(self, server: RaftServer) -> Readiness:
        """
        Return what tells of that server.
        """
        store = self.group.stores[server.server_id]
        clock = self.group.clock
        return Readiness(server, ClientRequests(server, store, clock), clock)

    def begin(self, server: RaftServer) -> Deferred[Unavailable | None]:
        """
        Ask, and do not wait for longer than it takes without time passing.
        """
        asked = self.readiness(server).until_ready()
        self.group.turn()
        return asked

    def ask(self, server: RaftServer) -> str | None:
        """
        Return why a server is not ready; ``None`` if it is.
        """
        asked = self.begin(server)
        began = self.group.clock.seconds()
        self.group.until(lambda: bool(asked.called))
        assert self.group.clock.seconds() - began < READY_SECONDS + 0.05
        reason = self.successResultOf(asked)
        return None if reason is None else reason.reason

    def dead(self, server: RaftServer) -> bool:
        """
        Return whether it should be started again.
        """
        return self.readiness(server).why_dead() is not None

    def test_leader_and_follower(self) -> None:
        """
        Both are ready while they hear of each other.
        """
        follower = self.group.join("node1", self.leader)
        assert self.ask(self.leader) is None
        assert self.ask(follower) is None

    def test_nonvoter(self) -> None:
        """
        A node that never votes is ready like any other: it serves what they serve.
        """
        copy = self.group.ready_to_join("node1", self.leader)
        server = Server("node1", member("node1").raft, "", Suffrage.NONVOTER)
        added = self.leader.add_server(server)
        self.group.until(lambda: bool(added.called))
        self.group.until(lambda: copy.status().role == "nonvoter")
        assert self.ask(copy) is None

    def test_newcomer(self) -> None:
        """
        Who has not joined yet, or catches up, is alive, and not ready until it votes.
        """
        newcomer = self.group.add("node1", HeldStorage())
        newcomer.expect_cluster(self.leader.cluster_id)
        newcomer.startService()
        self.group.ticks(4)
        assert self.ask(newcomer) == "this node has not joined a cluster yet"
        assert not self.dead(newcomer)
        storage = self.group.storages["node1"]
        storage.held = True
        self.leader.add_server(member("node1"))

        def is_member() -> bool:
            if storage.save_waits and not newcomer.is_member:
                storage.finish()
            return newcomer.is_member

        self.group.until(is_member)
        assert newcomer.status().leader is not None
        assert "still catching up" in self.ask(newcomer)
        assert not self.dead(newcomer)
        storage.held = False
        if storage.save_waits:
            storage.finish()
        self.group.until(lambda: newcomer.status().role == "follower")
        assert self.ask(newcomer) is None

    def test_removed(self) -> None:
        """
        Who was removed gets no requests; to start it again would not help.
        """
        follower = self.group.join("node1", self.leader)
        removed = self.leader.remove_server("node1")
        self.group.until(lambda: bool(removed.called))
        self.group.until(lambda: follower.status().role == "removed")
        assert self.ask(follower) == "this node was removed from the cluster"
        assert not self.dead(follower)

    def test_without_a_leader(self) -> None:
        """
        A voter that misses its leader is alive, and not ready.
        """
        follower = self.group.join("node1", self.leader)
        self.group.cut_off.add("node0")
        self.group.until(lambda: follower.status().leader is None)
        assert self.ask(follower) == "this node knows no leader now"
        assert not self.dead(follower)
        self.group.cut_off.clear()
        self.group.until(lambda: follower.status().leader is not None)
        self.group.ticks(20)
        assert self.ask(follower) is None

    def test_a_node_that_is_cut_off(self) -> None:
        """
        It goes on believing in its leader for a while, but does not reach it.
        """
        copy = self.group.ready_to_join("node1", self.leader)
        server = Server("node1", member("node1").raft, "", Suffrage.NONVOTER)
        added = self.leader.add_server(server)
        self.group.until(lambda: bool(added.called))
        self.group.cut_off.add("node1")
        assert copy.status().leader is not None
        assert self.ask(copy) is not None

    def test_a_leader_that_is_cut_off(self) -> None:
        """
        A leader that nobody answers is not ready, also before it knows that it is none.
        """
        self.group.join("node1", self.leader)
        self.group.join("node2", self.leader)
        self.group.cut_off.add("node0")
        asked = self.begin(self.leader)
        assert self.leader.status().role == "leader"
        self.group.until(lambda: bool(asked.called))
        assert self.successResultOf(asked) is not None

    def test_a_node_that_is_behind(self) -> None:
        """
        A node that has heard of its leader again is not ready before it has applied
        what was committed while it was away.
        """
        storage = HeldStorage()
        follower = self.group.join("node1", self.leader, storage)
        self.group.join("node2", self.leader)
        storage.held = True
        self.leader.propose(set_command("a", "1"))
        self.group.ticks(8)
        assert follower.status().last_applied < self.leader.status().last_applied
        assert follower.status().last_contact < 0.5
        assert "not caught up" in self.ask(follower)
        storage.held = False
        storage.finish()
        self.group.ticks(8)
        assert self.ask(follower) is None

    def test_restarted(self) -> None:
        """
        A node knows its log when it has started, but not how much of it counts.
        """
        self.group.join("node1", self.leader)
        self.group.join("node2", self.leader)
        self.group.kill("node1")
        kept = self.group.storages["node1"]
        for key in "abc":
            self.leader.propose(set_command(key, "1"))
        self.group.ticks(20)
        again = self.group.add("node1", kept)
        again.startService()
        assert self.ask(again) == "this node knows no leader now"
        self.group.until(lambda: again.status().leader is not None)
        assert self.ask(again) is None
        assert self.group.stores["node1"].get("c").value == "1"

    def test_stopping(self) -> None:
        """
        As soon as a node begins to stop, requests should go elsewhere.
        """
        self.leader.drain(1.0)
        assert self.ask(self.leader) == "this node is stopping"
        assert not self.dead(self.leader)

    def test_stopping_meanwhile(self) -> None:
        """
        Also when it begins to, while a question is under way.
        """
        self.group.join("node1", self.leader)
        asked = self.readiness(self.leader).until_ready()
        assert not asked.called
        self.leader.drain(1.0)
        self.group.until(lambda: bool(asked.called))
        assert self.successResultOf(asked).reason == "this node is stopping"

    def test_failed(self) -> None:
        """
        A node whose disk has failed is neither alive nor ready.
        """
        assert not self.dead(self.leader)
        self.storage.held = True
        self.leader.propose(set_command("a", "1")).addErrback(lambda _: None)
        self.group.turn()
        self.storage.break_down(StorageError("the disk is gone"))
        self.group.turn()
        assert self.dead(self.leader)
        assert "has failed" in self.ask(self.leader)

    def test_nobody_waits_any_more(self) -> None:
        """
        A question that is given up leaves nothing behind.
        """
        follower = self.group.join("node1", self.leader)
        self.group.wires["node1"].answers_held = True
        asked = self.begin(follower)
        assert follower.backlog().reads == 1
        asked.addErrback(lambda _: None)
        asked.cancel()
        self.group.wires["node1"].hang_up()
        self.group.turn()
        assert follower.backlog().reads == 0

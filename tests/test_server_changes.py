"""
Changes of the cluster: members come, move and go, and another one leads.

Dissertation 4 (membership), 3.10 (leadership transfer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from hraftd import proposals
from hraftd.changes import has_member, lacks_member
from hraftd.errors import (
    LeadershipLost,
    NoSuchServer,
    NotReached,
    Overloaded,
    Stopped,
    TransferFailed,
    UnreachableServer,
)
from hraftd.leader_requests import (
    AddServer,
    Assurance,
    ClientRequest,
    ReadIndex,
    RemoveServer,
    TransferLeadership,
)
from hraftd.proposals import Applied
from hraftd.raft.configuration import (
    Configuration,
    MembershipConflict,
    Server,
    Suffrage,
)
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)
from hraftd.raft.messages import TimeoutNow
from hraftd.status import TICK
from tests.servers import Group, HeldStorage, member, set_command

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from hraftd.server import RaftServer


def nonvoter(server_id: str) -> Server:
    """
    Name a server that is to have no vote.
    """
    return evolve(member(server_id), suffrage=Suffrage.NONVOTER)


class WishTests(SynchronousTestCase):
    """
    Which configuration is the one that somebody wants.
    """

    def test_as_it_was_to_be(self) -> None:
        """
        A member counts with its address, its suffrage, and its HTTP address if named.
        """
        learner = evolve(member("d"), suffrage=Suffrage.LEARNER)
        for wanted, there, is_so in (
            (member("d"), member("d"), True),
            (member("d"), member("e"), False),
            (member("d"), learner, False),
            (member("d"), nonvoter("d"), False),
            (member("d"), evolve(member("d"), raft="elsewhere:1"), False),
            (member("d"), evolve(member("d"), http="elsewhere:2"), False),
            (evolve(member("d"), http=""), member("d"), True),
            (nonvoter("d"), nonvoter("d"), True),
            (nonvoter("d"), member("d"), False),
        ):
            configuration = Configuration((member("a"), there))
            assert has_member(wanted)(configuration) is is_so, (wanted, there)

    def test_gone(self) -> None:
        """
        A server that is to be no member is in it in no way.
        """
        configuration = Configuration((member("a"), nonvoter("d")))
        assert not lacks_member("d")(configuration)
        assert lacks_member("e")(configuration)


class ChangesTestCase(SynchronousTestCase):
    """
    Three voters; a leads, and its disk can be held.
    """

    def setUp(self) -> None:
        """
        Let them agree.
        """
        self.group = Group()
        self.disk_a = HeldStorage()
        self.a = self.group.first("a", self.disk_a)
        self.b = self.group.join("b", self.a)
        self.c = self.group.join("c", self.a)
        self.group.ticks(5)
        assert self.group.failures == []

    def done(self, change: Deferred[int], ticks: int = 10) -> int:
        """
        Let a change happen.
        """
        self.group.ticks(ticks)
        return self.successResultOf(change)

    def write(self, server: RaftServer) -> int:
        """
        See that writes are possible.
        """
        answer = server.propose(set_command("k", "v"))
        self.group.ticks(2)
        return self.successResultOf(answer).index

    def member(self, server_id: str) -> Server:
        """
        Return a member as the leader knows it.
        """
        found = self.a.status().configuration.get(server_id)
        assert found is not None
        return found

    def others_lead(self) -> RaftServer:
        """
        Cut a off until another one leads.
        """
        self.group.cut_off.add("a")
        self.group.until(self.group.has_leader)
        return self.group.leader()


class AddingTests(ChangesTestCase):
    """
    A server becomes a member, or another kind of member.
    """

    def test_a_newcomer_becomes_a_voter(self) -> None:
        """
        It is answered when the newcomer votes, with the index of that configuration.
        """
        d = self.group.ready_to_join("d", self.a)
        index = self.done(self.a.add_server(member("d")))
        assert self.member("d") == member("d")
        assert d.status().configuration == self.a.status().configuration
        # The learner is one entry, and the voter the next.
        assert index == self.a.status().last_log_index

    def test_again_is_nothing_to_do(self) -> None:
        """
        To add a member just so succeeds at once and changes nothing.
        """
        before = self.a.status().last_log_index
        index = self.successResultOf(self.a.add_server(member("b")))
        assert index <= before
        self.successResultOf(self.a.add_server(evolve(member("b"), http="")))
        assert self.a.status().last_log_index == before
        assert self.member("b") == member("b")

    def test_new_http_address(self) -> None:
        """
        A member that is told to have another HTTP address is not probed for it.
        """
        self.group.cut_off.add("b")
        wanted = evolve(member("b"), http="b:11999")
        self.done(self.a.add_server(wanted), 3)
        assert self.member("b") == wanted

    def test_moves_where_nobody_answers_any_more(self) -> None:
        """
        A member that is gone from its old address, and answers at a new one, moves.
        """
        self.group.addresses["b"] = "elsewhere:1"
        self.done(self.a.add_server(evolve(member("b"), raft="elsewhere:1")))
        assert self.member("b") == evolve(member("b"), raft="elsewhere:1")
        assert self.group.wires["a"].configurations[-1][1] == (
            self.a.status().configuration.servers
        )

    def test_does_not_move_while_it_answers(self) -> None:
        """
        A member that still answers at its address does not move.
        """
        before = self.a.status()
        failure = self.failureResultOf(
            self.a.add_server(evolve(member("b"), raft="elsewhere:1")),
            MembershipConflict,
        )
        assert "answers at b:12000" in str(failure.value)
        assert self.a.status().configuration == before.configuration

    def test_does_not_move_to_where_nobody_answers(self) -> None:
        """
        A member that is gone, and does not answer at the new address either, stays.
        """
        self.group.addresses["b"] = "nowhere:1"
        self.failureResultOf(
            self.a.add_server(evolve(member("b"), raft="elsewhere:1")),
            UnreachableServer,
        )
        assert self.member("b") == member("b")

    def test_giving_up_is_no_sign_that_it_is_gone(self) -> None:
        """
        Who stops waiting for the old address does not make its server move.
        """
        wires = self.group.wires["a"]
        wires.probes_held = True
        moving = self.a.add_server(evolve(member("b"), raft="elsewhere:1"))
        self.assertNoResult(moving)
        # Somebody answers at the new one.
        wires.probes_held = False
        self.group.addresses["b"] = "elsewhere:1"
        moving.cancel()
        self.group.ticks(5)
        moving.addErrback(lambda _: None)
        assert self.member("b") == member("b")

    def test_the_leader_itself_moves(self) -> None:
        """
        A leader that is told its own new address does not look for itself there.
        """
        self.done(self.a.add_server(evolve(member("a"), raft="elsewhere:1")), 3)
        assert self.member("a").raft == "elsewhere:1"
        assert self.member("a").is_voter

    def test_the_leader_does_not_move_because_others_say_so(self) -> None:
        """
        That a leader knows its own address does not make true what others say of it.
        """
        before = self.a.status().configuration
        elsewhere = AddServer(evolve(member("a"), raft="elsewhere:1"))
        asked = self.b.ask_leader(elsewhere, 5.0)
        self.group.ticks(5)
        self.failureResultOf(asked, MembershipConflict, UnreachableServer)
        assert self.a.status().configuration == before

    def test_a_nonvoter(self) -> None:
        """
        A member that is to have no vote is answered when it is in, and stays so.
        """
        d = self.group.ready_to_join("d", self.a)
        before = self.a.status().last_log_index
        added = self.a.add_server(nonvoter("d"))
        self.group.turn()
        assert self.successResultOf(added) == before + 1
        self.group.ticks(100)
        assert self.member("d") == nonvoter("d")
        assert d.status().role == "nonvoter"
        self.successResultOf(self.a.add_server(nonvoter("d")))

    def test_promotion(self) -> None:
        """
        A member without a vote is given one, when it has caught up.
        """
        self.group.ready_to_join("d", self.a)
        self.done(self.a.add_server(nonvoter("d")))
        promoted = self.a.add_server(member("d"))
        self.assertNoResult(promoted)
        self.done(promoted)
        assert self.member("d").is_voter

    def test_demotion(self) -> None:
        """
        A voter is to vote no more, and still gets everything.
        """
        self.done(self.a.add_server(nonvoter("b")), 3)
        assert self.member("b") == nonvoter("b")
        self.group.cut_off.add("b")
        # Of two voters both are needed, and both are there.
        self.write(self.a)
        self.group.cut_off.clear()
        self.group.ticks(10)
        assert self.b.status().role == "nonvoter"
        assert self.b.status().last_applied == self.a.status().last_applied

    def test_demotion_of_the_leader(self) -> None:
        """
        A leader that is to vote no more is answered, and then another leads.
        """
        demoted = self.a.add_server(nonvoter("a"))
        self.group.ticks(2)
        self.successResultOf(demoted)
        self.group.until(self.group.has_leader)
        assert self.group.leader() is not self.a
        self.group.ticks(10)
        assert self.a.status().role == "nonvoter"
        self.write(self.group.leader())
        assert self.a.status().last_applied == self.group.leader().status().last_applied

    def test_the_only_voter_is_not_demoted(self) -> None:
        """
        A cluster keeps a voter.
        """
        self.done(self.a.remove_server("b"))
        self.done(self.a.remove_server("c"))
        self.failureResultOf(self.a.add_server(nonvoter("a")), MembershipConflict)
        self.write(self.a)

    def test_not_at_a_follower(self) -> None:
        """
        A follower changes nothing, and names the leader.
        """
        for change in (
            self.b.add_server(member("d")),
            self.b.add_server(member("b")),
            self.b.remove_server("c"),
            self.b.remove_server("ghost"),
        ):
            failure = self.failureResultOf(change, NotLeader)
            assert failure.value.leader == member("a")


class RemovingTests(ChangesTestCase):
    """
    A server is a member no more.
    """

    def setUp(self) -> None:
        """
        Hear what is logged.
        """
        super().setUp()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def removals_logged(self) -> list[str]:
        """
        Return the ids of the servers that were told they are removed.
        """
        return [
            event["id"]
            for event in self.events
            if "was removed from the cluster" in (event.get("log_format") or "")
        ]

    def test_a_follower(self) -> None:
        """
        It is answered when the rest agrees; the removed one learns it, and says so.
        """
        index = self.done(self.a.remove_server("b"), 3)
        assert index == self.a.status().commit_index
        assert self.a.status().configuration.get("b") is None
        self.group.ticks(100)
        assert self.b.status().role == "removed"
        assert not self.b.is_member
        assert self.removals_logged() == ["b"]
        self.write(self.a)

    def test_unknown(self) -> None:
        """
        Who is no member cannot be removed, nor twice.
        """
        failure = self.failureResultOf(self.a.remove_server("ghost"), NoSuchServer)
        assert "ghost" in str(failure.value)
        self.done(self.a.remove_server("b"))
        self.failureResultOf(self.a.remove_server("b"), NoSuchServer)

    def test_twice_at_once(self) -> None:
        """
        Who wants the same removal while it is under way waits for it too.
        """
        first, second = self.a.remove_server("b"), self.a.remove_server("b")
        self.assertNoResult(second)
        assert self.done(first, 2) == self.successResultOf(second)

    def test_the_only_voter(self) -> None:
        """
        The last voter cannot be removed.
        """
        self.done(self.a.remove_server("b"))
        self.done(self.a.remove_server("c"))
        self.failureResultOf(self.a.remove_server("a"), MembershipConflict)
        self.write(self.a)

    def test_the_leader(self) -> None:
        """
        A leader that is removed answers that, leads no more, and another one does.
        """
        removed = self.a.remove_server("a")
        write = self.a.propose(set_command("k", "v"))
        self.group.ticks(2)
        self.successResultOf(removed)
        # What was proposed behind it is another's now.
        write.addErrback(lambda failure: failure.trap(LeadershipLost) and None)
        # Nobody had to wait for an election timeout.
        assert self.group.has_leader()
        assert self.group.leader() in (self.b, self.c)
        assert self.a.status().role == "removed"
        assert self.removals_logged() == ["a"]
        self.failureResultOf(self.a.propose(b""), NotLeader)
        self.write(self.group.leader())

    def test_while_it_is_down(self) -> None:
        """
        A member that is down can be removed; when it is back it disturbs nobody.
        """
        self.group.cut_off.add("c")
        self.done(self.a.remove_server("c"), 3)
        term = self.a.status().term
        self.group.ticks(20)
        self.group.cut_off.clear()
        self.group.ticks(100)
        assert self.a.status().role == "leader"
        assert self.a.status().term == term
        assert self.removals_logged() == ["c"]

    def test_a_restarted_member_was_not_removed(self) -> None:
        """
        A server that starts again reads old configurations, and says nothing of them.

        It was in none of the first ones.
        """
        self.successResultOf(self.c.stopService())
        c = self.group.add("c", self.group.storages["c"])
        c.startService()
        self.group.until(lambda: c.status().last_applied > 2)
        self.group.ticks(5)
        assert c.status().role == "follower"
        assert self.removals_logged() == []

    def test_a_newcomer_was_not_removed(self) -> None:
        """
        A newcomer reads configurations without it, and takes none of them for an end.
        """
        d = self.group.join("d", self.a)
        self.group.ticks(5)
        assert d.is_member
        assert self.removals_logged() == []

    def test_removed_and_added_again(self) -> None:
        """
        A server that was removed can be let in again, and told so again.
        """
        self.done(self.a.remove_server("c"))
        self.done(self.a.add_server(member("c")))
        self.done(self.a.remove_server("c"))
        assert self.removals_logged() == ["c", "c"]


class WaitingTests(ChangesTestCase):
    """
    Only one change at a time, and what becomes of those who wait for one.
    """

    def test_change_in_progress(self) -> None:
        """
        While a change is not committed there is no other, of either kind.
        """
        self.group.cut_off |= {"b", "c"}
        first = self.a.remove_server("b")
        self.failureResultOf(self.a.remove_server("c"), ChangeInProgress)
        self.failureResultOf(self.a.add_server(member("d")), ChangeInProgress)
        self.failureResultOf(self.a.add_server(nonvoter("c")), ChangeInProgress)
        self.assertNoResult(first)
        self.group.cut_off.clear()
        self.done(first, 5)

    def test_leadership_lost(self) -> None:
        """
        Who waits for a change of a leader that was cut off learns that it may come.
        """
        self.group.ready_to_join("d", self.a)
        added = self.a.add_server(nonvoter("d"))
        self.group.cut_off.add("a")
        self.group.ticks(60)
        self.failureResultOf(added, LeadershipLost)
        self.group.cut_off.clear()
        self.group.until(self.group.has_leader)
        leader = self.group.leader()
        removed = leader.remove_server("a")
        self.group.cut_off |= {leader.server_id}
        self.group.ticks(60)
        self.failureResultOf(removed, LeadershipLost)

    def test_leadership_lost_while_probing(self) -> None:
        """
        Who is let in is looked at first; if another leads by then, nothing happens.
        """
        d = self.group.ready_to_join("d", self.a)
        admitted = d.admit(self.a.cluster_id or "")
        self.group.turn()
        self.successResultOf(admitted)
        self.group.wires["a"].probes_held = True
        added = self.a.add_server(member("d"))
        self.assertNoResult(added)
        self.others_lead()
        before = self.a.status().last_log_index
        self.group.wires["a"].deliver()
        self.group.turn()
        self.failureResultOf(added, NotLeader)
        assert self.a.status().last_log_index == before

    def test_another_change_while_probing(self) -> None:
        """
        A change that began while a newcomer was looked at goes first.
        """
        self.group.ready_to_join("d", self.a)
        self.group.wires["a"].probes_held = True
        added = self.a.add_server(member("d"))
        self.disk_a.held = True
        self.group.cut_off.add("b")
        removed = self.a.remove_server("c")
        self.group.wires["a"].deliver()
        self.group.turn()
        self.failureResultOf(added, ChangeInProgress)
        self.group.cut_off.clear()
        self.disk_a.held = False
        self.disk_a.finish()
        self.done(removed)

    def test_stopped_while_probing(self) -> None:
        """
        A server that stopped while it looked at a newcomer lets nobody in.
        """
        self.group.ready_to_join("d", self.a)
        wires = self.group.wires["a"]
        wires.probes_held = True
        added = self.a.add_server(member("d"))
        stopping = self.a.stopService()
        saves = len(self.disk_a.saves)
        wires.deliver()
        self.group.turn()
        self.failureResultOf(added, Stopped)
        self.successResultOf(stopping)
        assert self.a.status().configuration.get("d") is None
        assert len(self.disk_a.saves) == saves

    def test_stopped(self) -> None:
        """
        Who waits at a server that stops learns that it may come; others are refused.
        """
        removed = self.a.remove_server("b")
        self.successResultOf(self.a.stopService())
        self.failureResultOf(removed, LeadershipLost)
        self.failureResultOf(self.a.add_server(member("d")), Stopped)
        self.failureResultOf(self.a.remove_server("b"), Stopped)
        self.failureResultOf(self.a.transfer_leadership("b"), Stopped)

    def test_cancelled(self) -> None:
        """
        Who stops waiting does not stop the change.
        """
        removed = self.a.remove_server("b")
        removed.cancel()
        self.failureResultOf(removed, CancelledError)
        self.group.ticks(5)
        assert self.a.status().configuration.get("b") is None
        assert self.group.failures == []
        self.write(self.a)

    def test_cancelled_while_probing(self) -> None:
        """
        Who gives up while the newcomer is looked at has changed nothing.
        """
        self.group.ready_to_join("d", self.a)
        self.group.wires["a"].probes_held = True
        added = self.a.add_server(member("d"))
        added.cancel()
        self.failureResultOf(added, CancelledError, UnreachableServer)
        self.group.wires["a"].deliver()
        self.group.ticks(5)
        assert self.a.status().configuration.get("d") is None

    def test_removed_while_somebody_waits_for_its_promotion(self) -> None:
        """
        Who waits for a newcomer that is removed meanwhile does not wait for ever.
        """
        self.group.ready_to_join("d", self.a)
        added = self.a.add_server(member("d"))
        self.group.cut_off.add("d")
        self.group.ticks(5)
        assert self.member("d").suffrage is Suffrage.LEARNER
        self.assertNoResult(added)
        self.done(self.a.remove_server("d"))
        self.failureResultOf(added)

    def test_others_answered(self) -> None:
        """
        A change answers those who waited for it, and nobody else.
        """
        self.group.ready_to_join("d", self.a)
        added = self.a.add_server(member("d"))
        self.group.cut_off.add("d")
        self.group.ticks(5)
        removed = self.a.remove_server("c")
        self.done(removed)
        self.assertNoResult(added)
        self.group.cut_off.clear()
        self.done(added, 20)


class TransferTests(ChangesTestCase):
    """
    Leadership goes to another server.
    """

    def setUp(self) -> None:
        """
        Hold what tells another server to lead, when a test wants that.
        """
        super().setUp()
        self.wires = self.group.wires["a"]

    def hold_timeout_now(self) -> None:
        """
        Let the word that makes another one campaign be long on its way.
        """
        self.wires.holds_call = lambda call: isinstance(call.request, TimeoutNow)

    def test_to_a_named_one(self) -> None:
        """
        The named one leads, and the term of that is the answer, without a timeout.
        """
        term = self.a.status().term
        transferred = self.a.transfer_leadership("c")
        self.assertNoResult(transferred)
        self.group.turn()
        assert self.successResultOf(transferred) == term + 1
        assert self.c.status().role == "leader"
        assert self.group.leader() is self.c
        self.write(self.c)

    def test_to_the_best(self) -> None:
        """
        Without a name it goes to the one that has the most and answers.
        """
        self.group.cut_off.add("c")
        self.group.ticks(21)
        self.write(self.a)
        transferred = self.a.transfer_leadership(None)
        self.group.turn()
        self.successResultOf(transferred)
        assert self.b.status().role == "leader"

    def test_to_one_that_is_behind(self) -> None:
        """
        The next leader is told when it has everything, and loses nothing.
        """
        self.group.cut_off.add("b")
        indexes = [self.write(self.a) for _ in range(5)]
        self.group.cut_off.clear()
        transferred = self.a.transfer_leadership("b")
        self.group.ticks(10)
        self.successResultOf(transferred)
        assert self.b.status().role == "leader"
        assert self.b.status().last_applied > indexes[-1]

    def test_to_itself(self) -> None:
        """
        To hand over to oneself is done already.
        """
        transferred = self.a.transfer_leadership("a")
        assert self.successResultOf(transferred) == self.a.status().term
        self.group.turn()
        assert self.a.status().role == "leader"

    def test_to_nobody(self) -> None:
        """
        Not to a stranger, not to one without a vote, not by a follower.
        """
        self.group.ready_to_join("d", self.a)
        self.done(self.a.add_server(nonvoter("d")))
        self.failureResultOf(self.a.transfer_leadership("ghost"), NoSuchServer)
        self.failureResultOf(self.a.transfer_leadership("d"), CannotTransfer)
        self.failureResultOf(self.b.transfer_leadership("c"), NotLeader)
        self.failureResultOf(self.b.transfer_leadership("b"), NotLeader)
        self.failureResultOf(self.b.transfer_leadership(None), NotLeader)
        self.write(self.a)

    def test_without_another_that_answers(self) -> None:
        """
        If no other voter answers there is nobody to hand over to.
        """
        group = Group()
        alone = group.first("x")
        self.failureResultOf(alone.transfer_leadership(None), CannotTransfer)
        assert alone.status().role == "leader"

    def test_to_one_that_is_cut_off(self) -> None:
        """
        A transfer that nobody takes fails within an election timeout; writes go on.
        """
        self.group.cut_off.add("c")
        self.write(self.a)
        transferred = self.a.transfer_leadership("c")
        write = self.a.propose(set_command("k", "v"))
        self.group.ticks(19)
        self.assertNoResult(transferred)
        self.assertNoResult(write)
        self.group.ticks(2)
        failure = self.failureResultOf(transferred, TransferFailed)
        assert "c did not take over; a leads" in str(failure.value)
        self.successResultOf(write)
        self.write(self.a)

    def test_word_lost(self) -> None:
        """
        If the word to campaign is lost the leader goes on after an election timeout.
        """
        self.hold_timeout_now()
        transferred = self.a.transfer_leadership("c")
        self.group.ticks(19)
        self.assertNoResult(transferred)
        self.group.ticks(2)
        self.failureResultOf(transferred, TransferFailed)
        assert self.a.status().role == "leader"
        self.write(self.a)

    def test_one_at_a_time(self) -> None:
        """
        While one is under way there is no other, and no change of members.
        """
        self.hold_timeout_now()
        transferred = self.a.transfer_leadership("c")
        self.group.turn()
        self.failureResultOf(self.a.transfer_leadership("b"), TransferInProgress)
        self.failureResultOf(self.a.transfer_leadership(None), TransferInProgress)
        self.failureResultOf(self.a.remove_server("b"), TransferInProgress)
        self.failureResultOf(self.a.add_server(nonvoter("b")), TransferInProgress)
        self.wires.deliver()
        self.group.turn()
        self.successResultOf(transferred)

    def test_writes_wait_and_are_told_who_leads(self) -> None:
        """
        A write during a transfer was never proposed, and learns the new leader's name.
        """
        self.hold_timeout_now()
        transferred = self.a.transfer_leadership("c")
        last = self.a.status().last_log_index
        writes = [self.a.propose(set_command("k", str(i))) for i in range(5)]
        log_read = self.a.read_index(Assurance.LOG)
        self.group.ticks(3)
        for write in writes:
            self.assertNoResult(write)
        assert self.a.status().last_log_index == last
        self.wires.deliver()
        self.group.turn()
        self.successResultOf(transferred)
        for write in [*writes, log_read]:
            failure = self.failureResultOf(write, NotLeader)
            assert failure.value.leader == member("c")
        assert self.group.stores["c"].get("k") is None

    def test_writes_wait_until_the_next_leader_is_known(self) -> None:
        """
        Between the old leader's last word and the new one's first, writes wait.
        """
        transferred = self.a.transfer_leadership("c")
        write = self.a.propose(set_command("k", "v"))
        self.group.wires["c"].holds_call = lambda call: (
            call.to == "a" and self.c.status().role == "leader"
        )
        self.group.turn()
        assert self.a.status().leader is None
        assert self.c.status().role == "leader"
        late = self.a.propose(set_command("k", "v"))
        self.assertNoResult(transferred)
        self.assertNoResult(write)
        self.assertNoResult(late)
        self.group.wires["c"].deliver()
        self.group.turn()
        self.successResultOf(transferred)
        for one in (write, late):
            failure = self.failureResultOf(one, NotLeader)
            assert failure.value.leader == member("c")

    def test_to_one_that_is_silent(self) -> None:
        """
        A server that has not answered for long is not even asked.
        """
        self.group.cut_off.add("c")
        self.group.ticks(25)
        failure = self.failureResultOf(self.a.transfer_leadership("c"), TransferFailed)
        assert "does not answer" in str(failure.value)
        self.done(self.a.propose(set_command("k", "v")), 2)

    def test_one_that_stood_still_takes_nothing_over(self) -> None:
        """
        The order to lead waited while its receiver was stopped, and is too late then.
        """
        self.hold_timeout_now()
        transferred = self.a.transfer_leadership("c")
        self.group.ticks(25)
        self.failureResultOf(transferred, TransferFailed)
        term = self.a.status().term
        # c was stopped for two seconds, and finds the order when it goes on.
        self.c._ticked_at -= 2.0
        self.group.clock.advance(TICK)
        self.wires.deliver()
        self.group.ticks(60)
        assert self.a.status().term == term
        assert self.a.status().role == "leader"

    def test_no_leader_comes_of_it(self) -> None:
        """
        When nobody is known to lead for two election timeouts, nobody waits longer.
        """
        transferred = self.a.transfer_leadership("c")
        write = self.a.propose(set_command("k", "v"))
        # a has to write its vote for c, and then nobody hears any more of anybody.
        self.disk_a.held = True
        self.group.wires["c"].holds_call = lambda call: call.to == "b"
        self.group.turn()
        assert self.a.status().role == "follower"
        self.group.cut_off |= {"b", "c"}
        self.assertNoResult(transferred)
        self.group.ticks(38)
        self.assertNoResult(transferred)
        self.assertNoResult(write)
        self.group.ticks(4)
        # c may still be elected.
        failure = self.failureResultOf(transferred, LeadershipLost)
        assert "no leader is known" in str(failure.value)
        assert self.failureResultOf(write, NotLeader).value.leader is None

    def test_writes_wait_in_order_and_are_applied_if_it_fails(self) -> None:
        """
        Writes that waited for a transfer which failed are applied in their order.
        """
        self.hold_timeout_now()
        self.a.transfer_leadership("c").addErrback(lambda _: None)
        writes = [self.a.propose(set_command("k", str(i))) for i in range(5)]
        self.group.ticks(25)
        indexes = [self.successResultOf(write).index for write in writes]
        assert indexes == list(range(indexes[0], indexes[0] + 5))

    def test_bounded(self) -> None:
        """
        Only so many writes wait for a transfer, in number and in bytes.
        """
        self.patch(proposals, "MAX_PENDING", 3)
        self.hold_timeout_now()
        self.a.transfer_leadership("c").addErrback(lambda _: None)
        writes = [self.a.propose(set_command("k", "v")) for _ in range(3)]
        self.failureResultOf(self.a.propose(set_command("k", "v")), Overloaded)
        writes[0].cancel()
        self.failureResultOf(writes.pop(0), CancelledError)
        writes.append(self.a.propose(set_command("k", "v")))
        self.patch(proposals, "MAX_PENDING", 4)
        self.patch(proposals, "MAX_PENDING_BYTES", 100)
        self.failureResultOf(self.a.propose(bytes(101)), Overloaded)
        self.group.ticks(25)
        for write in writes:
            self.successResultOf(write)

    def test_reads_go_on(self) -> None:
        """
        A leader that hands over still confirms reads.
        """
        self.hold_timeout_now()
        self.a.transfer_leadership("c").addErrback(lambda _: None)
        for server in (self.a, self.b):
            barrier = server.read_barrier(Assurance.MAJORITY)
            self.group.turn()
            self.successResultOf(barrier)
        self.group.ticks(25)

    def test_drained_writes(self) -> None:
        """
        To be drained includes the writes that wait for a transfer.
        """
        self.hold_timeout_now()
        self.a.transfer_leadership("c").addErrback(lambda _: None)
        write = self.a.propose(set_command("k", "v"))
        drained = self.a.drain(5.0)
        self.group.ticks(5)
        self.assertNoResult(drained)
        self.group.ticks(20)
        self.successResultOf(write)
        self.successResultOf(drained)

    def test_stopped(self) -> None:
        """
        Who waits at a server that stops is told: for the transfer, and to write.
        """
        self.hold_timeout_now()
        transferred = self.a.transfer_leadership("c")
        write = self.a.propose(set_command("k", "v"))
        self.group.turn()
        self.successResultOf(self.a.stopService())
        self.failureResultOf(transferred, TransferFailed)
        self.failureResultOf(write, Stopped)

    def test_disk_breaks(self) -> None:
        """
        A transfer at a server whose storage fails is answered too.
        """
        self.disk_a.held = True
        before = self.a.propose(set_command("k", "v"))
        self.group.turn()
        self.hold_timeout_now()
        transferred = self.a.transfer_leadership("c")
        write = self.a.propose(set_command("k", "v"))
        self.disk_a.break_down(OSError("the disk is gone"))
        self.failureResultOf(transferred, TransferFailed)
        self.failureResultOf(before, LeadershipLost)
        self.failureResultOf(write, Stopped)
        assert self.group.failures == ["the disk is gone"]

    def test_deposed_by_another(self) -> None:
        """
        If another one than was told takes over, the transfer failed, and names it.
        """
        self.group.cut_off.add("c")
        self.write(self.a)
        transferred = self.a.transfer_leadership("c")
        self.group.turn()
        self.group.wires["a"].holds_call = lambda call: True
        # b hears nothing of its leader and c nothing of anybody.
        self.group.until(lambda: self.a.status().role != "leader")
        self.group.wires["a"].holds_call = lambda call: False
        self.group.cut_off.clear()
        self.group.until(self.group.has_leader)
        self.group.ticks(45)
        self.failureResultOf(transferred, TransferFailed)


class HandingOverTests(ChangesTestCase):
    """
    A leader that is about to stop lets another one lead.
    """

    def test_to_another(self) -> None:
        """
        It is done when another one leads, and nobody had to wait for an election.
        """
        handed_over = self.a.hand_over(1.0)
        self.assertNoResult(handed_over)
        self.group.turn()
        assert self.successResultOf(handed_over) is None
        assert self.group.has_leader()
        assert self.group.leader() is not self.a

    def test_nothing_to_do(self) -> None:
        """
        Who does not lead, or not any more, has nothing to hand over.
        """
        self.successResultOf(self.b.hand_over(1.0))
        assert self.a.status().role == "leader"
        self.successResultOf(self.a.stopService())
        assert self.successResultOf(self.a.hand_over(1.0)) is None

    def test_nobody_there(self) -> None:
        """
        A leader alone, or whom nobody answers, does not fail.
        """
        group = Group()
        assert self.successResultOf(group.first("x").hand_over(1.0)) is None

    def test_in_time(self) -> None:
        """
        If nothing comes of it, it is over after the time that was given.
        """
        self.group.wires["a"].holds_call = lambda call: isinstance(
            call.request, TimeoutNow
        )
        handed_over = self.a.hand_over(0.2)
        self.group.ticks(7)
        self.assertNoResult(handed_over)
        self.group.ticks(2)
        assert self.successResultOf(handed_over) is None
        # What comes of it later is answered to nobody, and hurts nobody.
        self.group.ticks(30)
        self.write(self.a)

    def test_it_fails(self) -> None:
        """
        A transfer that fails before the time is over is no failure of handing over.
        """
        self.group.cut_off |= {"b", "c"}
        handed_over = self.a.hand_over(60.0)
        self.group.ticks(70)
        assert self.successResultOf(handed_over) is None

    def test_during_a_transfer(self) -> None:
        """
        A transfer that is under way already is not waited for, and not disturbed.
        """
        self.group.wires["a"].holds_call = lambda call: isinstance(
            call.request, TimeoutNow
        )
        transferred = self.a.transfer_leadership("b")
        self.group.turn()
        assert self.successResultOf(self.a.hand_over(1.0)) is None
        self.group.wires["a"].deliver()
        self.group.turn()
        self.successResultOf(transferred)


class AskingTests(ChangesTestCase):
    """
    What a server asks the leader for, over one hop.
    """

    def requests(self) -> list[object]:
        """
        Return one request of each kind.
        """
        self.group.ready_to_join("d", self.a)
        return [
            ClientRequest(set_command("k", "v")),
            *(ReadIndex(assurance) for assurance in Assurance),
            AddServer(nonvoter("d")),
            RemoveServer("d"),
            TransferLeadership("c"),
        ]

    def test_each(self) -> None:
        """
        Each request is done by the leader, and answered as the leader answers it.
        """
        answers = []
        for request in self.requests():
            answer = self.b.ask_leader(request, 5.0)
            self.group.ticks(5)
            answers.append(self.successResultOf(answer))
        assert [to for to, _ in self.group.wires["b"].asked] == ["a"] * 7
        write, belief, majority, log, added, removed, term = answers
        assert isinstance(write, Applied)
        assert write.result is None
        assert belief == majority == write.index
        assert log == write.index + 1
        assert added == log + 1
        assert removed == added + 1
        assert self.c.status().role == "leader"
        assert term == self.c.status().term

    def test_transfer_to_the_best(self) -> None:
        """
        A transfer without a name can be asked for too.
        """
        answer = self.b.ask_leader(TransferLeadership(None), 5.0)
        self.group.turn()
        self.successResultOf(answer)
        assert self.group.leader() is not self.a

    def test_failures_come_back(self) -> None:
        """
        What the leader refuses is refused to the server that asked, just so.
        """
        asked = self.b.ask_leader(RemoveServer("ghost"), 5.0)
        self.failureResultOf(asked, NoSuchServer)
        asked = self.b.ask_leader(TransferLeadership("ghost"), 5.0)
        self.failureResultOf(asked, NoSuchServer)
        asked = self.b.ask_leader(AddServer(member("ghost")), 5.0)
        self.failureResultOf(asked, UnreachableServer)

    def test_one_hop(self) -> None:
        """
        Who is asked and does not lead declines, and asks nobody.
        """
        for request in self.requests():
            failure = self.failureResultOf(self.c.serve(request), NotLeader)
            assert failure.value.leader == member("a")
        assert self.group.wires["c"].asked == []

    def test_nobody_to_ask(self) -> None:
        """
        Without a leader, as the leader, and when stopped, nobody is asked.
        """
        request = ReadIndex(Assurance.BELIEF)
        self.failureResultOf(self.a.ask_leader(request, 5.0), NotReached)
        assert self.group.wires["a"].asked == []
        self.group.cut_off |= {"a", "b", "c"}
        self.failureResultOf(self.b.ask_leader(request, 5.0), NotReached)
        self.group.ticks(60)
        before = len(self.group.wires["b"].asked)
        self.failureResultOf(self.b.ask_leader(request, 5.0), NotReached)
        assert len(self.group.wires["b"].asked) == before
        self.successResultOf(self.b.stopService())
        self.failureResultOf(self.b.ask_leader(request, 5.0), Stopped)

    def test_served_by_one_that_has_stopped(self) -> None:
        """
        A server that has stopped serves nothing.
        """
        requests = self.requests()
        self.successResultOf(self.a.stopService())
        for request in requests:
            self.failureResultOf(self.a.serve(request), Stopped)

"""
A joiner goes on until it has joined, follows the leader's name, and does not lie.
"""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest_twisted
from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from hraftd.client_requests import ClientRequests
from hraftd.errors import LeadershipLost, Stopped, UnreachableServer
from hraftd.forwarding import OnFollower
from hraftd.join_attempts import JOIN_TIMEOUT, STATUS_TIMEOUT
from hraftd.joining import LONGEST_PAUSE, Joiner
from hraftd.kv.store import KeyValueStore
from hraftd.raft.configuration import Configuration, MembershipConflict, Suffrage
from hraftd.raft.errors import ChangeInProgress, NotLeader, TransferInProgress
from hraftd.web.site import HttpSite
from tests.servers import Group
from tests.servers import member as member_of_group
from tests.web import LEADER, ME, OTHER, Network, OneNode, ScriptedServer

if TYPE_CHECKING:
    from twisted.web.server import Request

    from hraftd.raft.configuration import Server

NEWCOMER = OTHER
BEFORE = Configuration((ME, LEADER))


@define
class Member:
    """
    A running member of the cluster whose outcomes the test decides.
    """

    server: ScriptedServer
    site: HttpSite


class Fixed(Resource):
    """
    A web server that is no hraftd: it has the same for everybody.
    """

    isLeaf = True

    def __init__(self, code: int, body: bytes | None) -> None:
        """
        Answer with this; with nothing at all, ever, if there is no body.
        """
        super().__init__()
        self._code, self._body = code, body

    def render(self, request: Request) -> bytes | int:
        """
        Answer.
        """
        request.setResponseCode(self._code)
        return NOT_DONE_YET if self._body is None else self._body


@implementer(IAgent)
@define
class SilentAgent:
    """
    Never gets an answer; says how many requests are under way.
    """

    under_way: int = 0
    asked: list[bytes] = field(factory=list)

    def request(self, method: bytes, uri: bytes, *_: object, **__: object) -> Deferred:
        """
        See :class:`twisted.web.iweb.IAgent`.
        """

        def cancelled(_: object) -> None:
            self.under_way -= 1

        self.asked.append(uri)
        self.under_way += 1
        return Deferred(cancelled)


class Joining(SynchronousTestCase):
    """
    A newcomer, and a network with members in memory.
    """

    def setUp(self) -> None:
        """
        Begin with a newcomer that is not a member of anything.
        """
        self.clock = Clock()
        self.network = Network(self.clock)
        self.newcomer = ScriptedServer(
            server_id=NEWCOMER.id, cluster_id=None, configuration=Configuration()
        )
        self.events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def member(self, me: object = ME, **options: object) -> Member:
        """
        Start a member, which does not answer joins yet.
        """
        server = ScriptedServer(server_id=me.id, configuration=BEFORE)
        requests = ClientRequests(server, KeyValueStore(), self.clock, **options)
        site = HttpSite(requests, server, self.clock)
        self.network.sites[me.http] = site
        return Member(server, site)

    def joiner(self, *targets: str, **options: object) -> Joiner:
        """
        Start a joiner.
        """
        options.setdefault("agent", self.network.agent)
        joiner = Joiner(
            self.newcomer,
            targets or (ME.http,),
            options.pop("me", NEWCOMER),
            self.clock,
            rng=Random(1),
            **options,
        )
        joiner.startService()
        self.network.settle()
        self.addCleanup(self.stop, joiner)
        return joiner

    def stop(self, joiner: Joiner) -> None:
        """
        Stop it, and see that nothing is left of it.
        """
        self.successResultOf(joiner.stopService())
        self.network.settle()
        assert self.network.open_connections == 0
        ours = [
            call for call in self.clock.getDelayedCalls() if "joining" in str(call.func)
        ]
        assert ours == []

    def take_in(self) -> None:
        """
        Let the newcomer see itself in a configuration.
        """
        self.newcomer.configuration = Configuration((ME, LEADER, NEWCOMER))

    def texts(self, level: LogLevel) -> list[str]:
        """
        Return what the joiner has logged so far, at that level.
        """
        return [
            event["log_format"].format(**event)
            for event in self.events
            if event["log_level"] is level
            and event["log_namespace"] == "hraftd.joining.Joiner"
        ]

    @property
    def warnings(self) -> list[str]:
        """
        What it has warned of so far.
        """
        return self.texts(LogLevel.warn)

    @property
    def joined(self) -> list[str]:
        """
        Its words on having joined.
        """
        return self.texts(LogLevel.info)


class JoinedTests(Joining):
    """
    Ways that end well.
    """

    def test_through_the_leader(self) -> None:
        """
        It learns the cluster, asks, sees itself a member, and says so, once.
        """
        member = self.member()
        self.joiner()
        assert self.newcomer.expected == ["cluster"]
        [(asked_for, answer)] = member.server.newcomers
        assert asked_for == NEWCOMER
        self.take_in()
        assert self.joined == []
        answer.callback(42)
        self.network.settle()
        assert self.joined == [
            "joined cluster cluster through localhost:11000 as node2"
        ]
        self.network.settle(*[10.0] * 20)
        assert len(member.server.newcomers) == 1
        assert len(self.joined) == 1
        assert self.warnings == []

    def test_not_joined_before_it_is_a_member(self) -> None:
        """
        The leader's word is not enough: the newcomer must know by its own log.
        """
        member = self.member()
        member.server.outcome = 42
        self.joiner()
        self.network.settle(1.0, 1.0)
        assert self.joined == []
        self.take_in()
        self.network.settle(0.1)
        assert len(self.joined) == 1

    def test_not_joined_before_the_leader_says_so(self) -> None:
        """
        Nor is it enough to be a learner: the leader's word is waited for.
        """
        member = self.member()
        learner = evolve(NEWCOMER, suffrage=Suffrage.LEARNER)
        self.newcomer.configuration = Configuration((ME, learner))
        self.joiner()
        self.network.settle(1.0, 1.0)
        assert self.joined == []
        member.server.newcomers[0][1].callback(42)
        self.network.settle(0.1)
        assert len(self.joined) == 1

    def test_through_a_follower(self) -> None:
        """
        A follower names the leader, and the leader is asked (the original's node3).
        """
        for way in OnFollower:
            follower = self.member(ME, on_follower=way)
            follower.server.outcome = NotLeader(LEADER)
            leader = self.member(LEADER)
            leader.server.outcome = 42
            self.newcomer.configuration = Configuration()
            joiner = self.joiner(ME.http)
            self.take_in()
            self.network.settle(0.1)
            assert leader.server.newcomers[0][0] == NEWCOMER
            self.stop(joiner)
        assert len(self.joined) == len(OnFollower)
        assert self.warnings == []

    def test_through_the_second(self) -> None:
        """
        Where one member is down the next one is asked at once.
        """
        self.member(LEADER).server.outcome = 42
        self.take_in()
        self.newcomer.configuration = Configuration()
        self.joiner(ME.http, LEADER.http)
        self.take_in()
        self.network.settle(0.1)
        assert self.joined == [
            "joined cluster cluster through localhost:11001 as node2"
        ]
        assert len(self.warnings) == 1

    def test_member_comes_up_later(self) -> None:
        """
        A joiner that comes up before the server it joins waits for it.
        """
        self.joiner()
        self.network.settle(*[1.0] * 60)
        self.member().server.outcome = 42
        self.network.settle(*[1.0] * 10)
        self.take_in()
        self.network.settle(0.1)
        assert len(self.joined) == 1
        assert len(self.warnings) == 1

    def test_leader_changes_meanwhile(self) -> None:
        """
        What is unknown, or cannot be done now, is asked again soon.
        """
        member = self.member()
        for outcome in (
            NotLeader(None),
            LeadershipLost("deposed"),
            ChangeInProgress("another change"),
        ):
            member.server.outcome = outcome
            if len(member.server.newcomers) == 0:
                self.joiner()
            before = len(member.server.newcomers)
            self.network.settle(1.0)
            assert len(member.server.newcomers) == before + 1
        member.server.outcome = 42
        self.take_in()
        self.network.settle(1.0, 0.1)
        assert len(self.joined) == 1

    def test_voter_already(self) -> None:
        """
        A node that has its vote asks nobody.
        """
        member = self.member()
        self.take_in()
        joiner = self.joiner()
        assert member.server.newcomers == []
        assert self.joined == []
        self.successResultOf(joiner.stopService())

    def test_real_leader(self) -> None:
        """
        A real cluster of one refuses a newcomer whose Raft address nobody answers.
        """
        node = OneNode(self.clock)
        self.network.sites[ME.http] = node.site
        self.joiner()
        self.network.settle(*[0.5] * 6)
        assert self.newcomer.expected[0] == node.server.cluster_id
        [warning] = self.warnings
        assert NEWCOMER.raft in warning or "nobody" in warning
        assert self.joined == []


class NotJoinedTests(Joining):
    """
    Ways that lead nowhere: each is named once, with what to do, and tried again.
    """

    def warned(self, *targets: str, settle: int = 30, **options: object) -> str:
        """
        Run a joiner for a while; return its only warning.
        """
        joiner = self.joiner(*targets, **options)
        self.network.settle(*[1.0] * settle)
        [warning] = self.warnings
        assert self.joined == []
        self.stop(joiner)
        return warning

    def test_a_voter_that_lost_its_data(self) -> None:
        """
        One that has forgotten its vote and its log may not come back as a voter.

        The cluster is not even expected, so that its leader is refused as well.
        """
        member = self.member()
        member.server.outcome = 42
        member.server.configuration = Configuration((ME, LEADER, NEWCOMER))
        self.joiner()
        self.network.settle(*[1.0] * 20)
        assert self.newcomer.expected == []
        assert member.server.newcomers == []
        assert self.joined == []
        [warning] = self.warnings
        assert "take another --id" in warning
        assert f"curl -XDELETE 'http://{ME.http}/nodes/node2?forward'" in warning

    def test_the_way_back_after_losing_data(self) -> None:
        """
        It goes on asking, so it joins once the operator has removed it.
        """
        member = self.member()
        member.server.configuration = Configuration((ME, LEADER, NEWCOMER))
        member.server.outcome = 42
        self.joiner()
        self.network.settle(*[1.0] * 20)
        assert member.server.newcomers == []
        member.server.configuration = BEFORE
        self.network.settle(*[1.0] * 20)
        assert [newcomer for newcomer, _ in member.server.newcomers] != []
        self.take_in()
        self.network.settle(*[1.0] * 20)
        assert len(self.joined) == 1

    def test_the_command_can_be_typed(self) -> None:
        """
        An id may hold what neither a shell nor curl would leave alone.
        """
        me = evolve(NEWCOMER, id="[::1]:12000")
        member = self.member()
        member.server.configuration = Configuration((ME, LEADER, me))
        self.joiner(me=me)
        [warning] = self.warnings
        assert f"'http://{ME.http}/nodes/%5B%3A%3A1%5D%3A12000?forward'" in warning

    def test_names_the_leader_that_does_not_answer(self) -> None:
        """
        Who is asked by name of another is named when it does not answer.
        """
        self.member(ME).server.outcome = NotLeader(LEADER)
        self.joiner()
        self.network.settle(1.0)
        [warning] = self.warnings
        assert f"through {ME.http}" in warning
        assert f"its leader at {LEADER.http}: connection refused" in warning

    def test_a_learner_that_lost_its_data(self) -> None:
        """
        A learner has promised nothing, and may begin again.
        """
        member = self.member()
        learner = evolve(NEWCOMER, suffrage=Suffrage.LEARNER)
        member.server.configuration = Configuration((ME, LEADER, learner))
        self.joiner()
        assert self.newcomer.expected == ["cluster"]

    def test_connection_refused(self) -> None:
        """
        Nobody listens there.
        """
        assert "connection refused" in self.warned()

    def test_unknown_host(self) -> None:
        """
        There is no such host.
        """
        network = Network(self.clock)
        network.connect = lambda *_: fail(DNSLookupError())
        assert "host name is not known" in self.warned(agent=network.agent)

    def test_conflict(self) -> None:
        """
        The id or the address is taken: the leader's own words.
        """
        member = self.member()
        member.server.outcome = MembershipConflict("node2 is a member already, at x:1")
        assert "node2 is a member already, at x:1" in self.warned()
        assert len(member.server.newcomers) > 1

    def test_own_address(self) -> None:
        """
        The target is this node itself; it is not even asked.
        """
        agent = SilentAgent()
        assert "own address" in self.warned(NEWCOMER.http, agent=agent)
        assert agent.asked == []

    def test_own_address_in_other_words(self) -> None:
        """
        The same where the address is written in another way.
        """
        server = ScriptedServer(server_id=NEWCOMER.id, configuration=Configuration())
        requests = ClientRequests(server, KeyValueStore(), self.clock)
        self.network.sites["127.0.0.1:11002"] = HttpSite(requests, server, self.clock)
        assert "the node itself" in self.warned("127.0.0.1:11002")
        assert server.newcomers == []

    def test_same_id(self) -> None:
        """
        A running node with this node's id is never asked.
        """
        twin = self.member(evolve(NEWCOMER, http=ME.http))
        twin.server.configuration = Configuration((ME, evolve(NEWCOMER, raft="x:1")))
        assert "another --id" in self.warned()
        assert twin.server.newcomers == []

    def test_no_cluster_there(self) -> None:
        """
        The node there is itself still looking for a cluster.
        """
        member = self.member()
        member.server.cluster_id = None
        assert "not a member of any cluster" in self.warned()
        assert self.newcomer.expected == []

    def test_another_cluster(self) -> None:
        """
        A node that belongs to a cluster does not look for another one.
        """
        self.newcomer.cluster_id = "mine"
        member = self.member()
        warning = self.warned()
        assert "mine" in warning
        assert "empty data directory" in warning
        assert member.server.newcomers == []
        assert self.newcomer.expected == []

    def test_leader_without_http_address(self) -> None:
        """
        A leader that is named, but not where to ask it.
        """
        self.member().server.outcome = NotLeader(evolve(LEADER, http=""))
        assert "name the leader itself" in self.warned()

    def test_naming_in_circles(self) -> None:
        """
        Members that name each other are not followed for ever.
        """
        members = self.member(ME), self.member(LEADER)
        members[0].server.outcome = NotLeader(LEADER)
        members[1].server.outcome = NotLeader(ME)
        assert "naming each other" in self.warned()

    def test_not_hraftd(self) -> None:
        """
        Other web servers, whatever they answer, are not what was meant.
        """
        for code, body in (
            (200, b"<html>"),
            (200, b"[]"),
            (200, b"{}"),
            (200, b"[" * 10_000),
            (404, b""),
            (500, b'{"me": {}}'),
        ):
            self.events.clear()
            site = Site(Fixed(code, body), reactor=self.clock)
            self.network.sites[ME.http] = site
            assert "HTTP address of a member" in self.warned(settle=5)

    def test_answer_that_breaks_off(self) -> None:
        """
        Half an answer is none, even where the half could be read.
        """

        class Half(Resource):
            isLeaf = True

            def render(self, request: Request) -> int:
                request.setHeader(b"Content-Length", b"100")
                request.write(b'{"me": {"id": "x"}, "cluster": "c"}')
                request.loseConnection()
                return NOT_DONE_YET

        self.network.sites[ME.http] = Site(Half(), reactor=self.clock)
        assert "no answer: " in self.warned(settle=2)
        assert self.newcomer.expected == []

    def test_endless_answer(self) -> None:
        """
        An answer that is far too long is not read to its end.
        """
        site = Site(Fixed(200, b"x" * (1 << 22)), reactor=self.clock)
        self.network.sites[ME.http] = site
        assert "endlessly" in self.warned(settle=2)

    def test_no_answer_to_status(self) -> None:
        """
        Who takes the request and never answers is given up after some seconds.
        """
        self.network.sites[ME.http] = Site(Fixed(200, None), reactor=self.clock)
        assert f"{STATUS_TIMEOUT:g} seconds" in self.warned()

    def test_no_answer_to_join(self) -> None:
        """
        The same for the join itself, which takes longer than the leader's ten seconds.
        """
        self.member(change_timeout=1000.0)
        assert f"{JOIN_TIMEOUT:g} seconds" in self.warned()

    def test_never_seen_by_a_peer(self) -> None:
        """
        The leader says yes, but no peer ever reaches this node.
        """
        self.member().server.outcome = 42
        warning = self.warned()
        assert NEWCOMER.raft in warning
        assert "is that address right" in warning

    def test_a_new_reason_is_a_new_warning(self) -> None:
        """
        The same reason is told once, another one again.
        """
        self.joiner()
        self.network.settle(*[1.0] * 10)
        member = self.member()
        member.server.outcome = MembershipConflict("taken")
        self.network.settle(*[1.0] * 20)
        assert len(self.warnings) == 2
        assert "taken" in self.warnings[1]
        del self.network.sites[ME.http]
        self.network.settle(*[1.0] * 20)
        assert len(self.warnings) == 3


MOVED = evolve(NEWCOMER, raft="localhost:22002", http="localhost:21002")


class MovingTests(Joining):
    """
    A member that comes back with other addresses, and joins again for that.
    """

    def setUp(self) -> None:
        """
        Begin with a member that the cluster knows by its old addresses.
        """
        super().setUp()
        self.take_in()
        self.newcomer.cluster_id = "cluster"
        self.newcomer.leader = None

    def member(self, me: object = ME, **options: object) -> Member:
        """
        Start another member of the same cluster.
        """
        member = super().member(me, **options)
        member.server.configuration = Configuration((ME, LEADER, NEWCOMER))
        return member

    def test_moves(self) -> None:
        """
        It asks for its new addresses, and has moved once its own log says so.
        """
        member = self.member()
        member.server.outcome = 42
        self.joiner(me=MOVED)
        self.network.settle(1.0)
        assert [newcomer for newcomer, _ in member.server.newcomers] == [MOVED]
        assert self.joined == []
        self.newcomer.configuration = Configuration((ME, LEADER, MOVED))
        self.network.settle(0.1)
        assert len(self.joined) == 1
        self.network.settle(*[10.0] * 10)
        assert len(member.server.newcomers) == 1
        assert self.warnings == []

    def test_either_address(self) -> None:
        """
        One of the two is enough, also one that the cluster did not know at all.
        """
        for known in (
            evolve(NEWCOMER, raft="localhost:1"),
            evolve(NEWCOMER, http="localhost:1"),
            evolve(NEWCOMER, http=""),
        ):
            member = self.member()
            member.server.outcome = 42
            self.newcomer.configuration = Configuration((ME, LEADER, known))
            joiner = self.joiner()
            assert [newcomer for newcomer, _ in member.server.newcomers] == [NEWCOMER]
            self.take_in()
            self.network.settle(0.1)
            self.stop(joiner)

    def test_keeps_its_rank(self) -> None:
        """
        To move is not to be promoted, or to lose a vote, whatever --nonvoter says.
        """
        for known, told, asked in (
            (Suffrage.VOTER, Suffrage.NONVOTER, Suffrage.VOTER),
            (Suffrage.LEARNER, Suffrage.VOTER, Suffrage.VOTER),
            (Suffrage.NONVOTER, Suffrage.VOTER, Suffrage.NONVOTER),
        ):
            member = self.member()
            self.newcomer.configuration = Configuration(
                (ME, LEADER, evolve(NEWCOMER, suffrage=known))
            )
            joiner = self.joiner(me=evolve(MOVED, suffrage=told))
            [(newcomer, _)] = member.server.newcomers
            assert newcomer == evolve(MOVED, suffrage=asked)
            self.successResultOf(joiner.stopService())
            self.network.settle()

    def test_asks_itself(self) -> None:
        """
        Its own API still tells of the old address; that is no other node.
        """
        requests = ClientRequests(self.newcomer, KeyValueStore(), self.clock)
        site = HttpSite(requests, self.newcomer, self.clock)
        self.network.sites["127.0.0.1:21002"] = site
        self.joiner("127.0.0.1:21002", me=MOVED)
        [warning] = self.warnings
        assert "this is the node itself" in warning

    def test_leads_itself(self) -> None:
        """
        If it leads it changes its addresses itself: nobody else could.
        """
        member = self.member()
        self.newcomer.role = "leader"
        self.joiner(me=MOVED)
        [(moved, answer)] = self.newcomer.newcomers
        assert moved == MOVED
        assert self.texts(LogLevel.info) == []
        answer.callback(9)
        [said] = self.texts(LogLevel.info)
        assert "has changed its addresses to localhost:22002 and" in said
        self.network.settle(*[10.0] * 5)
        assert member.server.newcomers == []
        assert len(self.newcomer.newcomers) == 1

    def test_leads_no_more(self) -> None:
        """
        If it cannot do so, or leads no more, it goes on as any other.
        """
        member = self.member()
        self.newcomer.role = "leader"
        self.newcomer.outcome = LeadershipLost("deposed")
        self.joiner(me=MOVED)
        for error in (
            ChangeInProgress("another change"),
            TransferInProgress(),
            NotLeader(None),
            UnreachableServer("nobody"),
            Stopped("stopping"),
            MembershipConflict("taken"),
        ):
            before = len(self.newcomer.newcomers)
            self.newcomer.outcome = error
            self.network.settle(*[1.0] * 3)
            assert len(self.newcomer.newcomers) > before
        self.newcomer.role = "follower"
        member.server.outcome = 42
        self.network.settle(*[1.0] * 3)
        self.newcomer.configuration = Configuration((ME, LEADER, MOVED))
        self.network.settle(*[1.0] * 3)
        assert len(self.joined) == 1
        assert all("not joined" in warning for warning in self.warnings)

    def test_conflict(self) -> None:
        """
        The leader's reason not to move it is told as it is.
        """
        member = self.member()
        member.server.outcome = MembershipConflict("the address belongs to node1")
        self.joiner(me=MOVED)
        assert "the address belongs to node1" in self.warnings[0]

    def test_real_servers(self) -> None:
        """
        A real follower that moves is dialled at its new address from then on.
        """
        group = Group()
        leader = group.first("a")
        moving = group.join("b", leader)
        group.join("c", leader)
        network = Network(group.clock)
        for server_id in "abc":
            server = group.servers[server_id]
            requests = ClientRequests(server, group.stores[server_id], group.clock)
            site = HttpSite(requests, server, group.clock)
            network.sites[member_of_group(server_id).http] = site
        group.addresses["b"] = "moved:12000"
        moved = evolve(member_of_group("b"), raft="moved:12000", http="moved:11000")
        joiner = Joiner(moving, ["c:11000"], moved, group.clock, agent=network.agent)
        joiner.startService()
        network.settle(*[0.025] * 80)
        assert leader.status().configuration.get("b") == moved
        assert moving.status().configuration.get("b") == moved
        assert self.joined == [
            f"joined cluster {leader.cluster_id} through c:11000 as b"
        ]
        self.successResultOf(joiner.stopService())


class NonvoterTests(Joining):
    """
    A newcomer that wants no vote.
    """

    def test_joins_without_a_vote(self) -> None:
        """
        It says so, and has joined as soon as it is a member.
        """
        me = evolve(NEWCOMER, suffrage=Suffrage.NONVOTER)
        member = self.member()
        member.server.outcome = 42
        self.joiner(me=me)
        assert [newcomer for newcomer, _ in member.server.newcomers] == [me]
        self.newcomer.configuration = Configuration((ME, LEADER, me))
        self.network.settle(0.1)
        assert len(self.joined) == 1

    def test_is_one_already(self) -> None:
        """
        Back at its addresses it asks nobody.
        """
        me = evolve(NEWCOMER, suffrage=Suffrage.NONVOTER)
        member = self.member()
        self.newcomer.configuration = Configuration((ME, LEADER, me))
        self.joiner(me=me)
        self.network.settle(*[1.0] * 5)
        assert member.server.newcomers == []

    def test_that_lost_its_data(self) -> None:
        """
        Without a vote it has promised nothing, and may begin again.
        """
        me = evolve(NEWCOMER, suffrage=Suffrage.NONVOTER)
        member = self.member()
        member.server.configuration = Configuration((ME, LEADER, me))
        self.joiner(me=me)
        assert len(member.server.newcomers) == 1


class RemovedTests(Joining):
    """
    A node that was removed, and is told to join again.
    """

    def test_joins_again(self) -> None:
        """
        It belongs to that cluster still, and comes back to it as any newcomer.
        """
        self.newcomer.cluster_id = "cluster"
        self.newcomer.configuration = BEFORE
        member = self.member()
        member.server.outcome = 42
        self.joiner()
        assert [newcomer for newcomer, _ in member.server.newcomers] == [NEWCOMER]
        self.take_in()
        self.network.settle(0.1)
        assert len(self.joined) == 1

    def test_a_list_of_all_members(self) -> None:
        """
        The same list can stand in the settings of every node: itself is left out.
        """
        self.member().server.outcome = 42
        self.take_in()
        self.newcomer.configuration = Configuration()
        self.joiner(NEWCOMER.http, ME.http)
        self.take_in()
        self.network.settle(0.1)
        assert len(self.joined) == 1
        assert self.warnings == []

    def be_member(self) -> None:
        """
        Let the node be a voter by its own log that has heard nobody since its start.
        """
        self.take_in()
        self.newcomer.cluster_id = "cluster"
        self.newcomer.last_contact = None

    def test_member_that_hears_a_leader_asks_nothing(self) -> None:
        """
        Nobody is asked, and nothing said, where a member finds its leader in time.
        """
        self.be_member()
        member = self.member()
        self.joiner()
        self.network.settle(*[0.5] * 15)
        self.newcomer.last_contact = 0.1
        self.network.settle(*[0.5] * 100)
        assert member.server.newcomers == []
        assert self.joined == []

    def test_member_that_hears_no_leader_asks(self) -> None:
        """
        It may have been removed while it was away, and nobody would tell it.
        """
        self.be_member()
        member = self.member()
        self.joiner()
        self.network.settle(*[0.5] * 19)
        assert member.server.newcomers == []
        self.network.settle(*[0.5] * 2)
        [(asked_for, answer)] = member.server.newcomers
        assert asked_for == NEWCOMER
        answer.callback(42)
        self.network.settle()
        [asks, joined] = self.joined
        assert "no leader for 10 s" in asks
        assert joined.startswith("joined cluster cluster")

    def test_stopped_while_it_listens_for_a_leader(self) -> None:
        """
        A node that stops meanwhile leaves no timer.
        """
        self.be_member()
        self.member()
        self.stop(self.joiner())


class PauseTests(Joining):
    """
    How often it asks.
    """

    def times(self, seconds: int) -> list[float]:
        """
        Return when a target that refuses connections is dialled.
        """
        dialled: list[float] = []
        connect = self.network.connect

        def noting(address: str, factory: object) -> Deferred:
            dialled.append(self.clock.seconds())
            return connect(address, factory)

        self.network.connect = noting
        self.joiner()
        self.network.settle(*[0.05] * (seconds * 20))
        return dialled

    def test_growing_pause(self) -> None:
        """
        Soon at first, then ever more seldom, but at least every ten seconds.
        """
        times = self.times(120)
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert 0.2 <= pauses[0] <= 0.5
        assert max(pauses) <= LONGEST_PAUSE + 0.1
        assert min(pauses[-3:]) >= LONGEST_PAUSE / 2
        assert pauses[:5] == sorted(pauses[:5])
        assert len(set(pauses[-6:])) > 1

    def test_member_says_when(self) -> None:
        """
        A member that cannot take it in now is asked again when it says, not sooner.
        """
        member = self.member()
        member.server.outcome = ChangeInProgress("another change")
        self.joiner()
        for second in range(1, 20):
            self.network.settle(0.95)
            assert len(member.server.newcomers) == second
            self.network.settle(0.06)


class StopTests(Joining):
    """
    Stopping in the middle of everything.
    """

    def test_stop_before_start(self) -> None:
        """
        Nothing to stop, nothing to wait for.
        """
        joiner = Joiner(
            self.newcomer, [ME.http], NEWCOMER, self.clock, agent=SilentAgent()
        )
        self.successResultOf(joiner.stopService())

    def test_stop_while_asking(self) -> None:
        """
        The request under way is cancelled, and the stop is done at once.
        """
        agent = SilentAgent()
        joiner = self.joiner(agent=agent)
        assert agent.under_way == 1
        self.stop(joiner)
        assert agent.under_way == 0
        assert self.clock.getDelayedCalls() == []
        assert self.events == []

    def test_stop_while_waiting_for_status(self) -> None:
        """
        A connection that was open is closed.
        """
        self.network.sites[ME.http] = Site(Fixed(200, None), reactor=self.clock)
        joiner = self.joiner()
        assert self.network.open_connections == 1
        self.successResultOf(joiner.stopService())
        self.network.settle()
        assert self.network.open_connections == 0
        assert self.warnings == []

    def test_stop_while_waiting_for_the_leader(self) -> None:
        """
        So is the one on which the leader's answer is waited for.
        """
        member = self.member()
        joiner = self.joiner()
        assert self.network.open_connections == 1
        self.successResultOf(joiner.stopService())
        self.network.settle()
        assert self.network.open_connections == 0
        assert member.server.newcomers[0][1].called
        assert self.clock.getDelayedCalls() == []
        assert self.warnings == []

    def test_stop_in_a_body(self) -> None:
        """
        So is one over which half an answer has come.
        """

        class Half(Resource):
            isLeaf = True

            def render(self, request: Request) -> int:
                request.setHeader(b"Content-Length", b"100")
                request.write(b"{")
                return NOT_DONE_YET

        self.network.sites[ME.http] = Site(Half(), reactor=self.clock)
        joiner = self.joiner()
        assert self.network.open_connections == 1
        self.successResultOf(joiner.stopService())
        self.network.settle()
        assert self.network.open_connections == 0
        assert self.warnings == []

    def test_stop_in_a_pause(self) -> None:
        """
        Between two attempts nothing is left either.
        """
        joiner = self.joiner()
        self.network.settle(5.0)
        self.successResultOf(joiner.stopService())
        assert self.clock.getDelayedCalls() == []

    def test_stop_while_waiting_for_membership(self) -> None:
        """
        Nor while the newcomer waits to see itself a member.
        """
        self.member().server.outcome = 42
        joiner = self.joiner()
        self.network.settle(1.0)
        self.successResultOf(joiner.stopService())
        self.network.settle()
        assert self.clock.getDelayedCalls() == []
        assert self.joined == []

    def test_stop_when_joined(self) -> None:
        """
        A joiner that is done has nothing to stop.
        """
        self.member().server.outcome = 42
        joiner = self.joiner()
        self.take_in()
        self.network.settle(0.1)
        assert len(self.joined) == 1
        self.successResultOf(joiner.stopService())

    def test_unforeseen(self) -> None:
        """
        A bug ends the joiner, with a line in the log and nothing else.
        """
        self.member()
        self.newcomer.expect_cluster = None
        joiner = self.joiner()
        assert len(self.flushLoggedErrors(TypeError)) == 1
        self.successResultOf(joiner.stopService())


def bodies_sent_by(newcomer: Server) -> list[dict[str, object]]:
    """
    Return what a joiner posts in its first attempt.
    """
    clock = Clock()
    bodies: list[dict[str, object]] = []

    class Recorder(Resource):
        isLeaf = True

        def render_GET(self, request: Request) -> bytes:
            return b'{"me": {"id": "x", "address": "y:1"}, "cluster": "c"}'

        def render_POST(self, request: Request) -> bytes:
            bodies.append(json.loads(request.content.read()))
            return b"{}"

    network = Network(clock)
    network.sites[ME.http] = Site(
        Recorder(), reactor=clock, parsePOSTFormSubmission=False
    )
    server = ScriptedServer(server_id=newcomer.id, configuration=Configuration())
    server.cluster_id = None
    joiner = Joiner(server, [ME.http], newcomer, clock, agent=network.agent)
    joiner.startService()
    network.settle()
    joiner.stopService()
    return bodies


def test_the_request_is_what_the_original_sends() -> None:
    """
    The joiner sends the original's two fields, and its HTTP address.
    """
    assert bodies_sent_by(NEWCOMER) == [
        {"id": "node2", "addr": "localhost:12002", "http": "localhost:11002"}
    ]


def test_a_newcomer_without_a_vote_says_so() -> None:
    """
    Only then there is a third field, which members of older versions do not know.
    """
    for suffrage, fields in (
        (Suffrage.VOTER, {"id", "addr", "http"}),
        (Suffrage.NONVOTER, {"id", "addr", "http", "voter"}),
    ):
        [body] = bodies_sent_by(evolve(NEWCOMER, suffrage=suffrage))
        assert set(body) == fields
        assert body.get("voter", True) is (suffrage is Suffrage.VOTER)


@pytest_twisted.ensureDeferred
async def test_over_a_real_network() -> None:
    """
    With the reactor's own connections it joins too, and leaves no line for each.
    """
    from twisted.internet import reactor

    events: list[dict[str, object]] = []
    globalLogPublisher.addObserver(events.append)
    server = ScriptedServer(outcome=42)
    requests = ClientRequests(server, KeyValueStore(), reactor)
    site = HttpSite(requests, server, reactor)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    address = f"127.0.0.1:{port.getHost().port}"
    newcomer = ScriptedServer(server_id=NEWCOMER.id, configuration=Configuration())
    newcomer.cluster_id = None
    joined: Deferred[object] = Deferred()

    def notice(event: dict[str, object]) -> None:
        if event["log_level"] is LogLevel.info and "joined" in event["log_format"]:
            joined.callback(event["target"])

    globalLogPublisher.addObserver(notice)
    joiner = Joiner(newcomer, [address], NEWCOMER, reactor)
    try:
        joiner.startService()
        newcomer.configuration = Configuration((ME, NEWCOMER))
        assert await joined.addTimeout(20, reactor) == address
    finally:
        globalLogPublisher.removeObserver(events.append)
        globalLogPublisher.removeObserver(notice)
        await joiner.stopService()
        await port.stopListening()
        await site.disconnect().addTimeout(20, reactor)
    assert server.newcomers[0][0] == NEWCOMER
    assert [event for event in events if "HTTP11" in str(event)] == []

"""
The cluster over HTTP: how it is, who belongs to it, who leads, what is not there.
"""

from __future__ import annotations

import json

from attrs import evolve
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.errors import (
    LeadershipLost,
    NoSuchServer,
    NotReached,
    SnapshotImpossible,
    Stopped,
    TransferFailed,
    UnreachableServer,
)
from hraftd.forwarding import OnFollower
from hraftd.kv.store import KeyValueStore
from hraftd.leader_requests import AddServer, RemoveServer, TransferLeadership
from hraftd.raft.configuration import Configuration, MembershipConflict, Suffrage
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)
from hraftd.raft.messages import Snapshot
from hraftd.web.site import HttpSite
from tests.web import LEADER, ME, OTHER, Answer, Browser, OneNode, ScriptedServer

JOIN = {"id": OTHER.id, "addr": OTHER.raft, "http": OTHER.http}
NAMED = {"id": LEADER.id, "http": LEADER.http, "raft": LEADER.raft}


class AgainstScript(SynchronousTestCase):
    """
    A browser and a server whose answers the test decides.
    """

    def setUp(self) -> None:
        """
        Begin with a server that does not answer.
        """
        self.clock = Clock()
        self.server = ScriptedServer()
        self.options: dict[str, object] = {}

    def ask(self, method: str, path: str, content: object = None) -> Answer:
        """
        Make one request.
        """
        requests = ClientRequests(
            self.server, KeyValueStore(), self.clock, **self.options
        )
        site = HttpSite(requests, self.server, self.clock)
        browser = Browser(site, self.clock)
        body = content
        if content is not None and not isinstance(content, bytes):
            body = json.dumps(content).encode()
        pending = browser.start(method, path, body)
        if not pending.called:
            browser.network.settle(10.0)
        answer = self.successResultOf(pending)
        assert answer.headers["Content-Type"] == "application/json"
        return answer


class StatusTests(AgainstScript):
    """
    What a node tells about itself.
    """

    def test_status(self) -> None:
        """
        The original's ``me``, ``leader`` and ``followers``, then everything else.
        """
        self.server.leader = LEADER
        learner = evolve(OTHER, suffrage=Suffrage.LEARNER)
        self.server.configuration = Configuration((ME, LEADER, learner))
        answer = self.ask("GET", "/status")
        assert answer.code == 200
        member = {"match_index": 7, "last_contact_ms": 500}
        assert answer.json == {
            "me": {"id": "node0", "address": "localhost:12000"},
            "leader": {"id": "node1", "address": "localhost:12001"},
            "followers": [
                {"id": "node0", "address": "localhost:12000"},
                {"id": "node2", "address": "localhost:12002"},
            ],
            "cluster": "cluster",
            "role": "follower",
            "term": 3,
            "commit_index": 7,
            "last_applied": 6,
            "first_log_index": 2,
            "last_log_index": 8,
            "snapshot_index": 5,
            "snapshot_bytes": 1000,
            "last_contact_ms": 13,
            "members": [
                {
                    "id": "node0",
                    "raft": "localhost:12000",
                    "http": "localhost:11000",
                    "suffrage": "voter",
                    **member,
                },
                {
                    "id": "node1",
                    "raft": "localhost:12001",
                    "http": "localhost:11001",
                    "suffrage": "voter",
                    **member,
                },
                {
                    "id": "node2",
                    "raft": "localhost:12002",
                    "http": "localhost:11002",
                    "suffrage": "learner",
                    **member,
                },
            ],
            "keys": 0,
            "tokens": 0,
        }

    def test_without_leader(self) -> None:
        """
        Without a leader everybody is a follower.
        """
        self.server.leader = None
        status = self.ask("GET", "/status").json
        assert status["leader"] is None
        assert [one["id"] for one in status["followers"]] == ["node0", "node1", "node2"]

    def test_outside_of_any_cluster(self) -> None:
        """
        A node that has not joined yet says so.
        """
        self.server.leader = self.server.cluster_id = None
        self.server.configuration = Configuration()
        status = self.ask("GET", "/status").json
        assert status["me"] == {"id": "node0", "address": None}
        assert status["leader"] is status["cluster"] is None
        assert status["followers"] == status["members"] == []

    def test_head(self) -> None:
        """
        ``HEAD`` tells whether the node answers.
        """
        answer = self.ask("HEAD", "/status")
        assert (answer.code, answer.body) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 100

    def test_no_parameters(self) -> None:
        """
        ``/status`` takes no parameter.
        """
        assert self.ask("GET", "/status?pretty").code == 400


class RealStatusTests(SynchronousTestCase):
    """
    The status of a real cluster of one.
    """

    def test_status(self) -> None:
        """
        It leads itself, and counts its keys.
        """
        clock = Clock()
        node = OneNode(clock)
        browser = Browser(node.site, clock)
        browser.start("POST", "/key", b'{"a": "1", "b": "2"}')
        browser.network.settle(0.0, 0.025)
        status = self.successResultOf(browser.start("GET", "/status")).json
        assert status["leader"] == status["me"]
        assert status["followers"] == []
        assert (status["role"], status["last_contact_ms"]) == ("leader", 0)
        assert status["keys"] == 2
        assert status["cluster"] == node.server.cluster_id
        assert status["commit_index"] == status["last_applied"] > 0
        [member] = status["members"]
        assert member["match_index"] == status["last_log_index"]


class JoinTests(AgainstScript):
    """
    Becoming a member.
    """

    def test_joined(self) -> None:
        """
        200 once the newcomer has a vote; its addresses arrive as it gave them.
        """
        self.server.outcome = 12
        answer = self.ask("POST", "/join", JOIN)
        assert (answer.code, answer.json) == (200, {"index": 12, "id": "node2"})
        [(newcomer, _)] = self.server.newcomers
        assert newcomer == OTHER

    def test_http_is_optional(self) -> None:
        """
        The original's two fields are enough; an empty ``http`` is as good as none.
        """
        self.server.outcome = 12
        for more in ({}, {"http": ""}):
            content = {"id": "node2", "addr": "localhost:12002", **more}
            assert self.ask("POST", "/join", content).code == 200
            newcomer, _ = self.server.newcomers.pop()
            assert newcomer == evolve(OTHER, http="")

    def test_malformed(self) -> None:
        """
        Anything but these fields, with a name and with addresses to dial, is a 400.
        """
        for content in (
            b"",
            b"[]",
            b"{}",
            b'{"id": "a", "id": "a", "addr": "x:1"}',
            {"id": "node2"},
            {"addr": "x:1"},
            {"id": "", "addr": "x:1"},
            {"id": "a", "addr": ""},
            {"id": 2, "addr": "x:1"},
            {"id": "a b", "addr": "x:1"},
            {"id": "a\n", "addr": "x:1"},
            {"id": "a" * 129, "addr": "x:1"},
            {"id": "a", "addr": "x"},
            {"id": "a", "addr": "x:0"},
            {"id": "a", "addr": "x:65536"},
            {"id": "a", "addr": "::1:1"},
            {"id": "a", "addr": "0.0.0.0:1"},
            {"id": "a", "addr": "[::]:1"},
            {"id": "a", "addr": "x:1\r\nEvil: 1"},
            {"id": "a", "addr": "x:1", "http": "y"},
            {"id": "a", "addr": "x:1", "http": "http://y:1/"},
            {"id": "a", "addr": "x:1", "http": "0.0.0.0:1"},
            {"id": "a", "addr": "x:1", "Addr": "x:1"},
        ):
            answer = self.ask("POST", "/join", content)
            assert answer.code == 400, content
            assert answer.json["error"]
        assert self.server.newcomers == []

    def test_voter(self) -> None:
        """
        ``voter`` says whether the newcomer is to have a vote, which it is otherwise.
        """
        self.server.outcome = 12
        for voter, suffrage in ((True, Suffrage.VOTER), (False, Suffrage.NONVOTER)):
            answer = self.ask("POST", "/join", {**JOIN, "voter": voter})
            assert (answer.code, answer.json) == (200, {"index": 12, "id": "node2"})
            newcomer, _ = self.server.newcomers.pop()
            assert newcomer == evolve(OTHER, suffrage=suffrage)

    def test_voter_is_a_truth_value(self) -> None:
        """
        Not a text that looks like one, and nothing else.
        """
        for voter in ("false", 0, None, []):
            answer = self.ask("POST", "/join", {**JOIN, "voter": voter})
            assert answer.code == 400
            assert "'voter'" in answer.json["error"]
        assert self.server.newcomers == []

    def test_parameters(self) -> None:
        """
        As for writes: what is unknown is refused by name.
        """
        for parameter in ("level=none", "voter=false", "forward&redirect"):
            assert self.ask("POST", f"/join?{parameter}", JOIN).code == 400

    def test_follower(self) -> None:
        """
        A follower names the leader, and the newcomer goes there.
        """
        self.server.outcome = NotLeader(LEADER)
        answer = self.ask("POST", "/join", JOIN)
        assert answer.code == 421
        assert answer.json["leader"]["http"] == LEADER.http

    def test_redirect(self) -> None:
        """
        It redirects if it was asked to, or told to; a request can ask it not to.
        """
        self.server.outcome = NotLeader(LEADER)
        answer = self.ask("POST", "/join?redirect", JOIN)
        assert answer.code == 307
        assert answer.headers["Location"] == "http://localhost:11001/join?redirect"
        self.options["on_follower"] = OnFollower.REDIRECT
        assert self.ask("POST", "/join", JOIN).code == 307
        assert self.ask("POST", "/join?redirect=false", JOIN).code == 421

    def test_forward(self) -> None:
        """
        A follower can ask the leader in the newcomer's place, and tell its words.
        """
        self.server.outcome = NotLeader(LEADER)
        for outcome, code in (
            (12, 200),
            (MembershipConflict("taken"), 409),
            (UnreachableServer("no server answers"), 503),
            (ChangeInProgress("another change"), 503),
            (TransferInProgress(), 503),
            (NotReached("no link"), 503),
            (NotLeader(None), 503),
            (NotLeader(OTHER), 421),
            (LeadershipLost("x"), 504),
            (ConnectionLost(), 504),
            (None, 504),
        ):
            self.server.leaders_outcome = outcome
            answer = self.ask("POST", "/join?forward", {**JOIN, "voter": False})
            assert answer.code == code, outcome
            method, (request, _), _ = self.server.asked.pop()
            assert method == "ask_leader"
            assert request == AddServer(evolve(OTHER, suffrage=Suffrage.NONVOTER))

    def test_no_leader(self) -> None:
        """
        Without a leader nobody can join: 503 with Retry-After.
        """
        self.server.outcome = NotLeader(None)
        answer = self.ask("POST", "/join", JOIN)
        assert answer.code == 503
        assert "Retry-After" in answer.headers

    def test_conflict(self) -> None:
        """
        The id of a member with another address, or the reverse: 409.
        """
        self.server.outcome = MembershipConflict("node2 is a member already")
        answer = self.ask("POST", "/join", JOIN)
        assert (answer.code, answer.json) == (
            409,
            {"error": "node2 is a member already"},
        )

    def test_try_again(self) -> None:
        """
        503 with Retry-After while it cannot be done, and the reason in a sentence.
        """
        for error in (
            UnreachableServer("no server node2 answers at localhost:12002"),
            ChangeInProgress("another membership change is not committed yet"),
            TransferInProgress(),
            Stopped("stopping"),
        ):
            self.server.outcome = error
            answer = self.ask("POST", "/join", JOIN)
            assert answer.code == 503
            assert "Retry-After" in answer.headers
            if str(error) and not isinstance(error, Stopped):
                assert answer.json["error"] == str(error)

    def test_unknown(self) -> None:
        """
        504 when the leader is deposed, or the newcomer takes long to catch up.
        """
        for outcome in (LeadershipLost("x"), None):
            self.server.outcome = outcome
            answer = self.ask("POST", "/join", JOIN)
            assert (answer.code, answer.json["outcome"]) == (504, "unknown")

    def test_nobody_at_that_address(self) -> None:
        """
        A join that names an address where nobody answers changes nothing.
        """
        node = OneNode(self.clock)
        before = node.server.status()
        browser = Browser(node.site, self.clock)
        pending = browser.start("POST", "/join", json.dumps(JOIN).encode())
        browser.network.settle(0.025)
        assert self.successResultOf(pending).code == 503
        after = node.server.status()
        assert after.configuration == before.configuration
        assert after.last_log_index == before.last_log_index


class NodesTests(AgainstScript):
    """
    Who belongs to the cluster.
    """

    def test_nodes(self) -> None:
        """
        Each member with its role, addresses and vote, as this node sees it.
        """
        self.server.leader = LEADER
        nonvoter = evolve(OTHER, suffrage=Suffrage.NONVOTER)
        self.server.configuration = Configuration((ME, LEADER, nonvoter))
        answer = self.ask("GET", "/nodes")
        assert answer.code == 200
        assert answer.json["leader"] == "node1"
        assert answer.json["me"] == "node0"
        me, leader, other = answer.json["nodes"]
        assert leader == {
            "id": "node1",
            "role": "leader",
            "raft": "localhost:12001",
            "http": "localhost:11001",
            "suffrage": "voter",
            "match_index": 7,
            "last_contact_ms": 500,
            "reachable": True,
        }
        # It has no link to itself, and needs none.
        assert (me["id"], me["reachable"]) == ("node0", True)
        assert (other["suffrage"], other["reachable"]) == ("nonvoter", False)

    def test_without_leader(self) -> None:
        """
        Without a leader, and outside of any cluster, it says so.
        """
        self.server.leader = None
        self.server.configuration = Configuration()
        assert self.ask("GET", "/nodes").json == {
            "nodes": [],
            "leader": None,
            "me": "node0",
        }

    def test_no_parameters(self) -> None:
        """
        Nothing can be asked of it that would be ignored.
        """
        assert self.ask("GET", "/nodes?all").code == 400

    def test_real_node(self) -> None:
        """
        A cluster of one leads itself, and has its own log.
        """
        node = OneNode(self.clock)
        answer = self.successResultOf(
            Browser(node.site, self.clock).start("GET", "/nodes")
        ).json
        [member] = answer["nodes"]
        assert (answer["leader"], member["role"]) == ("node0", "leader")
        assert member["reachable"] is True
        assert member["match_index"] == node.server.status().last_log_index


class RemovalTests(AgainstScript):
    """
    Removing a node.
    """

    def test_removed(self) -> None:
        """
        200 with the index once it is committed; any id that a node can have will do.
        """
        self.server.outcome = 15
        for server_id, path in (
            ("node2", "node2"),
            ("[::1]:12000", "[::1]:12000"),
            ("ünï", "%C3%BCn%C3%AF"),
        ):
            answer = self.ask("DELETE", f"/nodes/{path}")
            assert (answer.code, answer.json) == (200, {"index": 15, "id": server_id})
            assert self.server.asked.pop()[:2] == ("remove_server", (server_id,))

    def test_not_removed(self) -> None:
        """
        404, 409, 503, 421 and 504, each for its own reason.
        """
        for outcome, code in (
            (NoSuchServer("no member is called node2"), 404),
            (MembershipConflict("node2 is the only voter"), 409),
            (ChangeInProgress("another change is not committed"), 503),
            (TransferInProgress(), 503),
            (Stopped("stopping"), 503),
            (NotLeader(None), 503),
            (NotLeader(LEADER), 421),
            (LeadershipLost("deposed"), 504),
            (None, 504),
        ):
            self.server.outcome = outcome
            answer = self.ask("DELETE", "/nodes/node2")
            assert answer.code == code, outcome
            assert (code == 503) == ("Retry-After" in answer.headers)
            assert (code == 504) == ("outcome" in answer.json)
            if code in (404, 409):
                assert answer.json["error"] == str(outcome)

    def test_at_a_follower(self) -> None:
        """
        A follower can send the client to the leader, or ask in its place.
        """
        self.server.outcome = NotLeader(LEADER)
        answer = self.ask("DELETE", "/nodes/node2?redirect")
        assert answer.code == 307
        assert answer.headers["Location"] == (
            "http://localhost:11001/nodes/node2?redirect"
        )
        for outcome, code in (
            (16, 200),
            (NoSuchServer("no member is called node2"), 404),
            (MembershipConflict("the only voter"), 409),
            (ConnectionLost(), 504),
        ):
            self.server.leaders_outcome = outcome
            assert self.ask("DELETE", "/nodes/node2?forward").code == code
            _, (request, _), _ = self.server.asked.pop()
            assert request == RemoveServer("node2")

    def test_malformed(self) -> None:
        """
        What no node can be called is a 400, and nobody is asked.
        """
        for path in ("a%20b", "a/b", "%FF", "node2/", ".", "a%2"):
            assert self.ask("DELETE", f"/nodes/{path}").code == 400, path
        assert self.ask("DELETE", "/nodes/node2?force").code == 400
        assert self.server.asked == []


class LeaderTests(AgainstScript):
    """
    Who leads, and who is to.
    """

    def test_leader(self) -> None:
        """
        The leader that this node knows, with both its addresses, and the term.
        """
        self.server.leader = LEADER
        answer = self.ask("GET", "/leader")
        assert (answer.code, answer.json) == (200, {"leader": NAMED, "term": 3})
        assert self.ask("HEAD", "/leader").code == 200
        assert self.ask("GET", "/leader?id=node1").code == 400

    def test_no_leader(self) -> None:
        """
        503 with Retry-After where there is none.
        """
        self.server.leader = None
        answer = self.ask("GET", "/leader")
        assert answer.code == 503
        assert "Retry-After" in answer.headers

    def test_transfer(self) -> None:
        """
        200 with the new leader and its term.
        """
        self.server.outcome = 4
        answer = self.ask("POST", "/leader", {"id": "node1"})
        assert (answer.code, answer.json) == (200, {"leader": NAMED, "term": 4})
        assert self.server.asked.pop()[:2] == ("transfer_leadership", ("node1",))

    def test_transfer_to_the_best(self) -> None:
        """
        Without an id the leader chooses; who it is this node says if it knows already.
        """
        for body in (None, b"", b"{}"):
            self.server.leader, self.server.outcome = LEADER, 3
            answer = self.ask("POST", "/leader", body)
            assert (answer.code, answer.json) == (200, {"leader": NAMED, "term": 3})
            assert self.server.asked.pop()[:2] == ("transfer_leadership", (None,))
        self.server.leader, self.server.outcome = LEADER, 4
        assert self.ask("POST", "/leader").json == {"leader": None, "term": 4}

    def test_not_transferred(self) -> None:
        """
        404 for a stranger, 409 for a member that cannot lead, 503 if it fails.
        """
        learner = evolve(OTHER, suffrage=Suffrage.NONVOTER)
        self.server.configuration = Configuration((ME, LEADER, learner))
        for server_id, outcome, code in (
            ("node9", NoSuchServer("no member is called node9"), 404),
            ("node2", CannotTransfer("node2 has no vote"), 409),
            (None, CannotTransfer("there is nobody else"), 409),
            ("node1", TransferFailed("node1 has not taken over"), 503),
            ("node1", TransferInProgress(), 503),
            ("node1", Stopped("stopping"), 503),
            ("node1", NotLeader(None), 503),
            ("node1", NotLeader(LEADER), 421),
            ("node1", LeadershipLost("deposed"), 504),
            ("node1", None, 504),
        ):
            self.server.outcome = outcome
            body = None if server_id is None else {"id": server_id}
            answer = self.ask("POST", "/leader", body)
            assert answer.code == code, outcome
            assert answer.json["error"]
            assert (code == 503) == ("Retry-After" in answer.headers)

    def test_at_a_follower(self) -> None:
        """
        A follower passes it on if it is asked to, with an id and without.
        """
        self.server.outcome = NotLeader(LEADER)
        assert self.ask("POST", "/leader?redirect", {"id": "node2"}).code == 307
        for body, server_id in (({"id": "node2"}, "node2"), (None, None)):
            for outcome, code in (
                (5, 200),
                (TransferFailed("not taken over"), 503),
                (NoSuchServer("no"), 404),
                (CannotTransfer("no"), 409),
                (ConnectionLost(), 504),
            ):
                self.server.leaders_outcome = outcome
                assert self.ask("POST", "/leader?forward", body).code == code
                _, (request, _), _ = self.server.asked.pop()
                assert request == TransferLeadership(server_id)

    def test_malformed(self) -> None:
        """
        A body that says anything else is a 400, and nobody is asked.
        """
        for body in (b"null", b"x", {"id": 1}, {"id": "a b"}, {"node": "node1"}):
            assert self.ask("POST", "/leader", body).code == 400, body
        assert self.server.asked == []


class SnapshotTests(AgainstScript):
    """
    A snapshot on demand.
    """

    def test_taken(self) -> None:
        """
        200 with what is in it, and how large it is.
        """
        configuration = self.server.configuration
        self.server.outcome = Snapshot(9, 3, configuration, 1234, b"digest")
        for body in (None, b"{}"):
            answer = self.ask("POST", "/snapshot", body)
            assert answer.code == 200
            assert answer.json == {"index": 9, "term": 3, "bytes": 1234}

    def test_not_taken(self) -> None:
        """
        503 with Retry-After: nothing has become of it.
        """
        for error in (SnapshotImpossible("nothing is applied yet"), Stopped("x")):
            self.server.outcome = error
            answer = self.ask("POST", "/snapshot")
            assert answer.code == 503
            assert "Retry-After" in answer.headers
        self.server.outcome = SnapshotImpossible("nothing is applied yet")
        assert self.ask("POST", "/snapshot").json["error"] == "nothing is applied yet"

    def test_takes_long(self) -> None:
        """
        Nobody waits for ever.
        """
        self.options["snapshot_timeout"] = 9.0
        answer = self.ask("POST", "/snapshot")
        assert answer.code == 503
        assert "9 seconds" in answer.json["error"]

    def test_unforeseen(self) -> None:
        """
        A bug is a 500, with a line in the log.
        """
        self.server.outcome = RuntimeError("a bug")
        assert self.ask("POST", "/snapshot").code == 500
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    def test_malformed(self) -> None:
        """
        There is nothing to say about it.
        """
        assert self.ask("POST", "/snapshot", {"index": "9"}).code == 400
        assert self.ask("POST", "/snapshot?forward").code == 400
        assert self.server.asked == []


class RoutingTests(AgainstScript):
    """
    What is not there, and what is not done.
    """

    def test_unknown_paths(self) -> None:
        """
        404 for any path that is no route, with any method; nothing is half there.
        """
        for path in (
            *("/", "/favicon.ico", "/keys", "/status/x", "/join/x", "/Key"),
            *("/nodes/", "/nodess", "/leader/", "/leader/x", "/snapshot/x"),
            *("/metrics/", "/healthz/x", "/readyz/", "/txn/", "/txn/x"),
            *("/openapi", "/openapi.json/", "/watch/", "/backup/x", "/restore/"),
        ):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                answer = self.ask(method, path)
                assert answer.code == 404, path
                assert method == "HEAD" or answer.json["error"]

    def test_methods(self) -> None:
        """
        405 with Allow for any other method of a route.
        """
        for path, allowed in (
            ("/status", "GET, HEAD"),
            ("/join", "POST"),
            ("/nodes", "GET, HEAD"),
            ("/nodes/node1", "DELETE"),
            ("/leader", "GET, HEAD, POST"),
            ("/snapshot", "POST"),
            ("/healthz", "GET, HEAD"),
            ("/readyz", "GET, HEAD"),
            ("/metrics", "GET, HEAD"),
            ("/openapi.json", "GET, HEAD"),
        ):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                if method not in allowed:
                    answer = self.ask(method, path)
                    assert answer.code == 405, (method, path)
                    assert answer.headers["Allow"] == allowed

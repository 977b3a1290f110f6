"""
The cluster over HTTP: ``/status``, ``/join``, and what is not there.
"""

from __future__ import annotations

import json

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests, OnFollower
from hraftd.kv.store import KeyValueStore
from hraftd.raft.configuration import Configuration, MembershipConflict, Suffrage
from hraftd.raft.errors import ChangeInProgress, NotLeader
from hraftd.server import LeadershipLost, Stopped, UnreachableServer
from hraftd.web.site import HttpSite
from tests.web import LEADER, ME, OTHER, Answer, Browser, OneNode, ScriptedServer

JOIN = {"id": OTHER.id, "addr": OTHER.raft, "http": OTHER.http}


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
            "last_log_index": 8,
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

    def test_voter_is_not_there_yet(self) -> None:
        """
        What a later version may do is refused by name, not ignored.
        """
        for voter in (True, "false"):
            answer = self.ask("POST", "/join", {**JOIN, "voter": voter})
            assert answer.code == 400
            assert "'voter'" in answer.json["error"]

    def test_parameters(self) -> None:
        """
        As for writes: what is unknown is refused by name.
        """
        for parameter in ("forward", "voter=false"):
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
            Stopped("stopping"),
        ):
            self.server.outcome = error
            answer = self.ask("POST", "/join", JOIN)
            assert answer.code == 503
            assert "Retry-After" in answer.headers
            if not isinstance(error, Stopped):
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
            *("/nodes", "/leader", "/metrics", "/healthz", "/readyz", "/txn"),
            *("/watch", "/backup", "/snapshot", "/restore"),
        ):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                answer = self.ask(method, path)
                assert answer.code == 404, path
                assert method == "HEAD" or answer.json["error"]

    def test_methods(self) -> None:
        """
        405 with Allow for any other method of a route.
        """
        for path, allowed in (("/status", "GET, HEAD"), ("/join", "POST")):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                if method not in allowed:
                    answer = self.ask(method, path)
                    assert answer.code == 405
                    assert answer.headers["Allow"] == allowed

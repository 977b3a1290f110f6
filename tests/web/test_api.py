"""
The keys over HTTP: each row of the contract, and every error row.
"""

from __future__ import annotations

import json

from attrs import evolve
from twisted.internet.error import ConnectionLost, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.errors import LeadershipLost, NotReached, Overloaded, Stopped
from hraftd.forwarding import OnFollower
from hraftd.kv.commands import Set, decode_command, encode_command
from hraftd.kv.store import KeyValueStore
from hraftd.leader_requests import Assurance, ClientRequest
from hraftd.limits import Limits
from hraftd.outcomes import Applied
from hraftd.raft.configuration import Configuration, Suffrage
from hraftd.raft.errors import NotLeader
from hraftd.reads import ReadLevel
from hraftd.web.site import HttpSite
from tests.web import LEADER, ME, OTHER, Answer, Browser, OneNode, ScriptedServer


class AgainstOneNode(SynchronousTestCase):
    """
    A browser and a real cluster of one.
    """

    limits = Limits()

    def setUp(self) -> None:
        """
        Begin with a leader that knows no key.
        """
        self.clock = Clock()
        self.node = OneNode(self.clock, limits=self.limits)
        self.browser = Browser(self.node.site, self.clock)

    def ask(self, *request: object, **more: object) -> Answer:
        """
        Make one request, and give the node the time it needs.
        """
        pending = self.browser.start(*request, **more)
        self.browser.network.settle(0.0, 0.025, 0.025)
        answer = self.successResultOf(pending)
        assert answer.headers["Content-Type"] == "application/json"
        if answer.code >= 400 and answer.body:
            assert isinstance(answer.json["error"], str)
        return answer

    def set(self, **pairs: str) -> Answer:
        """
        Set these keys.
        """
        answer = self.ask("POST", "/key", json.dumps(pairs).encode())
        assert answer.code == 200
        return answer


class KeyTests(AgainstOneNode):
    """
    Reading, setting and deleting at a leader.
    """

    def test_get(self) -> None:
        """
        ``GET /key/foo``: 200 and the pair.
        """
        self.set(foo="bar")
        answer = self.ask("GET", "/key/foo")
        assert (answer.code, answer.body) == (200, b'{"foo": "bar"}')

    def test_get_of_no_key(self) -> None:
        """
        ``GET`` of a key that is not there: 404 and an error.
        """
        assert self.ask("GET", "/key/foo").code == 404

    def test_head(self) -> None:
        """
        ``HEAD`` has the status and the length of ``GET``, and no body.
        """
        self.set(foo="bar")
        answer = self.ask("HEAD", "/key/foo")
        assert (answer.code, answer.body) == (200, b"")
        assert answer.headers["Content-Length"] == "14"
        assert self.ask("HEAD", "/key/other").code == 404

    def test_post(self) -> None:
        """
        ``POST /key``: 200 with the index, once it can be read.
        """
        pending = self.browser.start("POST", "/key", b'{"foo": "bar"}')
        self.assertNoResult(pending)
        assert len(self.node.store) == 0
        self.browser.network.settle(0.0, 0.025)
        answer = self.successResultOf(pending)
        assert answer.code == 200
        assert answer.json == {"index": self.node.store.get("foo").index}

    def test_post_is_one_entry(self) -> None:
        """
        All pairs of one body are one log entry: they share its index.
        """
        before = self.node.server.status().last_log_index
        index = self.set(a="1", b="2", c="3").json["index"]
        assert {self.node.store.get(key).index for key in "abc"} == {index}
        assert self.node.server.status().last_log_index == before + 1

    def test_post_replaces(self) -> None:
        """
        A key that is set again has the new value.
        """
        self.set(foo="bar")
        self.set(foo="")
        assert self.ask("GET", "/key/foo").json == {"foo": ""}

    def test_delete(self) -> None:
        """
        ``DELETE``: 200 also where the key was not there; the body says which.
        """
        index = self.set(foo="bar").json["index"]
        answer = self.ask("DELETE", "/key/foo")
        assert (answer.code, answer.json) == (
            200,
            {"index": index + 1, "deleted": True},
        )
        answer = self.ask("DELETE", "/key/foo")
        assert (answer.code, answer.json) == (
            200,
            {"index": index + 2, "deleted": False},
        )
        assert self.ask("GET", "/key/foo").code == 404

    def test_any_content_type(self) -> None:
        """
        The body is JSON whatever it is called; curl calls it a form by default.
        """
        for content_type in (
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "text/plain; charset=latin-1",
            "nonsense",
        ):
            answer = self.ask(
                "POST",
                "/key",
                json.dumps({"type": content_type}).encode(),
                headers={"Content-Type": content_type},
            )
            assert answer.code == 200
            assert self.node.store.get("type").value == content_type

    def test_unicode(self) -> None:
        """
        Keys and values are any text, written as UTF-8, in paths in percent encoding.
        """
        self.set(**{"schlüssel 🗝": "wert ✓"})
        answer = self.ask("GET", "/key/schl%C3%BCssel%20%F0%9F%97%9D")
        assert answer.body == '{"schlüssel 🗝": "wert ✓"}'.encode()

    def test_slashes(self) -> None:
        """
        A slash in a key may be encoded or not; every slash counts.
        """
        keys = ("a/b", "a//b", "a/b/", "/a", "/", "//", "a/../b", "a/./b")
        self.set(**{key: f"<{key}>" for key in keys})
        for key in keys:
            for path in (key, key.replace("/", "%2F"), key.replace("/", "%2f")):
                answer = self.ask("GET", f"/key/{path}")
                assert answer.code == 200, path
                assert answer.json == {key: f"<{key}>"}

    def test_other_signs_in_keys(self) -> None:
        """
        A plus is a plus; what is encoded twice is decoded once.
        """
        keys = {
            "a+b": "/key/a+b",
            "a b": "/key/a%20b",
            "a%20b": "/key/a%2520b",
            "a?b&c=d": "/key/a%3Fb%26c=d",
            "a;b:c@d": "/key/a;b:c@d",
            "\x00": "/key/%00",
            "*": "/key/*",
            "key": "/key/key",
        }
        self.set(**{key: key for key in keys})
        for key, path in keys.items():
            assert self.ask("GET", path).json == {key: key}

    def test_key_of_1024_bytes(self) -> None:
        """
        A key may have 1,024 bytes of UTF-8, and not one more.
        """
        longest = "é" * 512
        self.set(**{longest: "x"})
        assert self.ask("GET", "/key/" + "%C3%A9" * 512).json == {longest: "x"}
        too_long = "%C3%A9" * 512 + "x"
        for method in ("GET", "DELETE"):
            assert self.ask(method, f"/key/{too_long}").code == 400
        body = json.dumps({"a": "1", longest + "x": "2"}).encode()
        assert self.ask("POST", "/key", body).code == 400
        assert self.node.store.get("a") is None

    def test_value_of_1_mib(self) -> None:
        """
        A value may have 1 MiB of UTF-8; one byte more is a 413, and sets nothing.
        """
        value = "é" * (1 << 19)
        self.set(big=value)
        assert self.ask("GET", "/key/big").json == {"big": value}
        body = json.dumps({"a": "1", "big": value + "x"}).encode()
        assert self.ask("POST", "/key", body).code == 413
        assert self.node.store.get("a") is None
        assert self.node.store.get("big").value == value

    def test_bad_paths(self) -> None:
        """
        An empty key, bad UTF-8 and bad percent encoding are 400, with any method.
        """
        for path in ("", "%FF", "%C3", "%ED%A0%80", "a%", "a%2", "a%zz"):
            for method in ("GET", "HEAD", "DELETE"):
                assert self.ask(method, f"/key/{path}").code == 400, path

    def test_methods(self) -> None:
        """
        Any other method is 405, with the allowed ones in Allow.
        """
        for path, allowed in (
            ("/key", "GET, HEAD, POST"),
            ("/key/foo", "DELETE, GET, HEAD, PUT"),
            ("/txn", "POST"),
        ):
            for method in (
                *("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"),
                *("OPTIONS", "TRACE", "BREW"),
            ):
                if method not in allowed.split(", "):
                    answer = self.ask(method, path, b"{}")
                    assert answer.code == 405, method
                    assert answer.headers["Allow"] == allowed

    def test_unknown_parameters(self) -> None:
        """
        What this version does not know is refused by name, never ignored.
        """
        for method, path, name in (
            ("GET", "/key/foo?redirect", "redirect"),
            ("GET", "/key/foo?levels=none", "levels"),
            ("GET", "/key/foo?l%65vels", "levels"),
            ("POST", "/key?level=none", "level"),
            ("POST", "/key?tt=5", "tt"),
            ("DELETE", "/key/foo?ttl=5", "ttl"),
            ("GET", "/key/foo?redirect&ttl=5", "redirect"),
            ("DELETE", "/key/foo?freshness=1s", "freshness"),
        ):
            answer = self.ask(method, path, b'{"a": "1"}')
            assert answer.code == 400
            assert f"'{name}'" in answer.json["error"]
        body = b'{"then": [{"get": "a"}]}'
        answer = self.ask("POST", "/txn?ttl=5", body)
        assert answer.code == 400
        assert "'ttl'" in answer.json["error"]
        assert len(self.node.store) == 0

    def test_redirect_and_forward(self) -> None:
        """
        Either is yes or no, once, and not both; at the leader it changes nothing.
        """
        body = b'{"a": "1"}'
        for name in ("redirect", "forward"):
            for value in ("", "=", "=true", "=1", "=yes", "=False", "=0", "=no", "&"):
                assert self.ask("POST", f"/key?{name}{value}", body).code == 200
            for value in ("=maybe", f"&{name}", "=%FF"):
                assert self.ask("POST", f"/key?{name}{value}", body).code == 400
        assert self.ask("POST", "/key?forward&redirect", body).code == 400
        assert self.ask("DELETE", "/key/foo?redirect=no&forward").code == 400

    def test_empty_query(self) -> None:
        """
        A question mark with nothing behind it asks for nothing.
        """
        assert self.ask("POST", "/key?", b'{"a": "1"}').code == 200


class SmallLimitsTests(AgainstOneNode):
    """
    The limits are settings.
    """

    limits = Limits(max_key_bytes=4, max_value_bytes=8, max_body_bytes=64)

    def test_limits(self) -> None:
        """
        Each of them holds, up to its last byte.
        """
        self.set(**{"éé": "éééé"})
        assert self.ask("POST", "/key", b'{"abcde": ""}').code == 400
        assert self.ask("POST", "/key", b'{"a": "123456789"}').code == 413
        assert self.ask("POST", "/key", b'{"a": ""}' + b" " * 55).code == 200
        assert self.ask("POST", "/key", b'{"a": ""}' + b" " * 56).code == 413


class LongKeyTests(AgainstOneNode):
    """
    A limit for keys that is far above the default.
    """

    limits = Limits(max_key_bytes=64 * 1024)

    def test_long_key_in_a_path(self) -> None:
        """
        A key as long as allowed can be asked for, although it is encoded.
        """
        key = "é" * (32 * 1024)
        self.set(**{key: "x"})
        assert self.ask("GET", "/key/" + "%C3%A9" * (32 * 1024)).json == {key: "x"}


class AgainstScript(SynchronousTestCase):
    """
    A browser and a server whose answers the test decides.
    """

    body = b'{"foo": "bar"}'

    def setUp(self) -> None:
        """
        Begin with a server that does not answer.
        """
        self.clock = Clock()
        self.server = ScriptedServer()
        self.store = KeyValueStore()

    def ask(
        self,
        outcome: object,
        method: str = "POST",
        path: str = "/key",
        **options: object,
    ) -> Answer:
        """
        Make a request that the server answers with this outcome.
        """
        self.server.outcome = outcome
        requests = ClientRequests(self.server, self.store, self.clock, **options)
        site = HttpSite(requests, self.server, self.clock)
        self.browser = Browser(site, self.clock)
        pending = self.browser.start(method, path, self.body)
        if not pending.called:
            self.browser.network.settle(10.0)
        answer = self.successResultOf(pending)
        assert answer.headers["Content-Type"] == "application/json"
        return answer


class FollowerTests(AgainstScript):
    """
    Any write at a follower.
    """

    def test_leader_is_named(self) -> None:
        """
        421, with the leader's id and both its addresses.
        """
        for method, path in (("POST", "/key"), ("DELETE", "/key/foo")):
            answer = self.ask(NotLeader(LEADER), method, path)
            assert answer.code == 421
            assert answer.json == {
                "error": "not the leader",
                "leader": {
                    "id": "node1",
                    "http": "localhost:11001",
                    "raft": "localhost:12001",
                },
            }

    def test_no_leader(self) -> None:
        """
        503 with Retry-After where there is no leader, redirect or not.
        """
        for path in ("/key", "/key?redirect"):
            answer = self.ask(NotLeader(None), path=path)
            assert answer.code == 503
            assert int(answer.headers["Retry-After"]) >= 1

    def test_redirect_on_request(self) -> None:
        """
        307 to the same path and query at the leader.
        """
        for method, path in (
            ("POST", "/key?redirect"),
            ("POST", "/key?redirect=true"),
            ("DELETE", "/key/a%2Fb//c?redirect=1"),
        ):
            answer = self.ask(NotLeader(LEADER), method, path)
            assert answer.code == 307
            assert answer.headers["Location"] == f"http://localhost:11001{path}"
            assert answer.json["leader"]["id"] == "node1"

    def test_redirect_by_default(self) -> None:
        """
        A node can be told to redirect; a request can ask it not to.
        """
        redirecting = {"on_follower": OnFollower.REDIRECT}
        answer = self.ask(NotLeader(LEADER), **redirecting)
        assert answer.code == 307
        assert answer.headers["Location"] == "http://localhost:11001/key"
        answer = self.ask(NotLeader(LEADER), path="/key?redirect=no", **redirecting)
        assert answer.code == 421

    def test_no_redirect_to_nowhere(self) -> None:
        """
        A leader whose HTTP address is unknown is named, whatever was asked for.
        """
        leader = evolve(LEADER, http="")
        answer = self.ask(NotLeader(leader), path="/key?redirect")
        assert answer.code == 421
        assert answer.json["leader"]["http"] == ""

    def test_malformed_is_malformed_everywhere(self) -> None:
        """
        A follower does not send a client to the leader to learn of its mistake.
        """
        self.body = b"[]"
        assert self.ask(NotLeader(LEADER)).code == 400
        assert self.server.proposed == []


class ForwardTests(AgainstScript):
    """
    Writes at a follower that passes them on.
    """

    def forwarded(self, leaders_outcome: object, **request: object) -> Answer:
        """
        Make a request to a follower whose leader answers with this outcome.
        """
        self.server.leaders_outcome = leaders_outcome
        request.setdefault("path", "/key?forward")
        return self.ask(NotLeader(LEADER), **request)

    def test_set(self) -> None:
        """
        The leader is asked for the same command, once, and its answer is the answer.
        """
        answer = self.forwarded(Applied(42, None))
        assert (answer.code, answer.json) == (200, {"index": 42})
        [(method, (request, seconds), _)] = self.server.asked
        assert method == "ask_leader"
        assert request == ClientRequest(encode_command(Set((("foo", "bar"),))))
        assert 0 < seconds <= 10

    def test_delete(self) -> None:
        """
        What the leader's state machine has returned arrives too.
        """
        answer = self.forwarded(
            Applied(43, True), method="DELETE", path="/key/foo?forward=yes"
        )
        assert (answer.code, answer.json) == (200, {"index": 43, "deleted": True})

    def test_by_default(self) -> None:
        """
        A node can be told to pass writes on; a request can ask it not to.
        """
        forwarding = {"on_follower": OnFollower.FORWARD}
        assert self.forwarded(Applied(1, None), path="/key", **forwarding).code == 200
        for path, code in (
            ("/key?forward=no", 421),
            ("/key?redirect=no", 421),
            ("/key?redirect", 307),
        ):
            answer = self.forwarded(Applied(1, None), path=path, **forwarding)
            assert answer.code == code
        assert len(self.server.asked) == 1

    def test_not_done(self) -> None:
        """
        Where the leader was not reached, or has declined, nothing was done: 503 or 421.
        """
        for error, code in (
            (NotReached("no link"), 503),
            (NotLeader(OTHER), 421),
            (NotLeader(None), 503),
            (NotLeader(ME), 503),
            (Overloaded("too many"), 503),
            (Stopped("stopping"), 503),
        ):
            answer = self.forwarded(error)
            assert answer.code == code, error
            assert "outcome" not in answer.json
            assert (code == 503) == ("Retry-After" in answer.headers)

    def test_unknown(self) -> None:
        """
        504 and an unknown outcome where the leader was asked and its word is missing.

        It is asked once only: its answer may be what was lost (fluree 1839).
        """
        for failure in (
            LeadershipLost("deposed"),
            ConnectionLost(),
            TimeoutError(),
            RuntimeError("whatever a link may fail with"),
            None,
        ):
            self.server.asked.clear()
            answer = self.forwarded(failure)
            assert (answer.code, answer.json["outcome"]) == (504, "unknown"), failure
            assert len(self.server.asked) == 1


class ReadLevelTests(AgainstScript):
    """
    Reads that want to be sure of something, with ``level`` and ``freshness``.
    """

    body = None

    def setUp(self) -> None:
        """
        Begin with a key in this node's own state.
        """
        super().setUp()
        self.store.apply(1, encode_command(Set((("foo", "bar"),))))

    def get(self, query: str, outcome: object = True, **options: object) -> Answer:
        """
        Read the key, or make sure that it is not waited for anything.
        """
        return self.ask(outcome, "GET", f"/key/foo{query}", **options)

    @property
    def assurances(self) -> list[object]:
        """
        How sure each of the reads so far wanted to be.
        """
        assert all(method == "read_barrier" for method, _, _ in self.server.asked)
        return [assurance for _, (assurance,), _ in self.server.asked]

    def test_levels(self) -> None:
        """
        Each level has its own assurance, and then reads this node's own state.
        """
        for level, assurance in (
            ("weak", Assurance.BELIEF),
            ("linearizable", Assurance.MAJORITY),
            ("strong", Assurance.LOG),
        ):
            answer = self.get(f"?level={level}")
            assert (answer.code, answer.json) == (200, {"foo": "bar"})
            assert self.assurances[-1] is assurance
        assert len(self.assurances) == 3

    def test_missing_key(self) -> None:
        """
        A key that is not there is a 404 at every level.
        """
        for level in ReadLevel:
            path = f"/key/other?level={level.value}"
            assert self.ask(True, "GET", path).code == 404

    def test_read_is_after_the_barrier(self) -> None:
        """
        The state is looked at when the assurance is there, not before.
        """
        requests = ClientRequests(self.server, self.store, self.clock)
        browser = Browser(HttpSite(requests, self.server, self.clock), self.clock)
        pending = browser.start("GET", "/key/foo?level=linearizable")
        self.assertNoResult(pending)
        self.store.apply(2, encode_command(Set((("foo", "new"),))))
        [(_, _, barrier)] = self.server.asked
        barrier.callback(None)
        browser.network.settle()
        assert self.successResultOf(pending).json == {"foo": "new"}
        assert self.clock.getDelayedCalls() == []

    def test_default_level(self) -> None:
        """
        A node can be told which level to use; a request can ask for another one.
        """
        strict = {"read_level": ReadLevel.LINEARIZABLE}
        self.get("", **strict)
        self.get("?level=none", **strict)
        self.get("?level=weak", **strict)
        assert self.assurances == [Assurance.MAJORITY, Assurance.BELIEF]
        assert self.get("?freshness=1s", **strict).code == 400

    def test_auto(self) -> None:
        """
        ``auto`` asks the leader where this node votes, and nobody where it does not.
        """
        assert self.get("?level=auto").code == 200
        assert self.assurances == [Assurance.BELIEF]
        for suffrage in (Suffrage.NONVOTER, Suffrage.LEARNER):
            me = evolve(ME, suffrage=suffrage)
            self.server.configuration = Configuration((me, LEADER))
            assert self.get("?level=auto").code == 200
        self.server.configuration = Configuration()
        assert self.get("?level=auto").code == 200
        assert len(self.assurances) == 1

    def test_freshness(self) -> None:
        """
        503 where no leader was heard from for so long; a tick counts as a whole.
        """
        for role, last_contact, freshness, code in (
            ("follower", 0.4, "500ms", 200),
            ("follower", 0.5, "500ms", 503),
            ("follower", 0.0, "0", 503),
            ("follower", None, "1h", 503),
            ("candidate", 2.0, "1s", 503),
            ("leader", 0.0, "0", 200),
        ):
            self.server.role, self.server.last_contact = role, last_contact
            answer = self.get(f"?level=none&freshness={freshness}")
            assert answer.code == code, (role, last_contact)
            assert (code == 503) == ("Retry-After" in answer.headers)
        assert self.assurances == []

    def test_no_freshness(self) -> None:
        """
        Without that wish a node serves what it has, however long it was alone.
        """
        self.server.last_contact = None
        assert self.get("").code == self.get("?level=none").code == 200

    def test_no_assurance(self) -> None:
        """
        503 with Retry-After, whatever is missing: a read has no unknown outcome.
        """
        for failure in (
            NotLeader(None),
            NotLeader(LEADER),
            NotReached("no link"),
            LeadershipLost("deposed"),
            Overloaded("too many"),
            Stopped("stopping"),
            ConnectionLost(),
        ):
            for level in ("weak", "linearizable", "strong", "auto"):
                answer = self.get(f"?level={level}", failure)
                assert answer.code == 503
                assert "Retry-After" in answer.headers
                assert list(answer.json) == ["error"]

    def test_no_assurance_in_time(self) -> None:
        """
        After ten seconds the client hears so; the barrier is not waited for any more.
        """
        answer = self.get("?level=linearizable", None)
        assert answer.code == 503
        assert "10 seconds" in answer.json["error"]
        [(_, _, barrier)] = self.server.asked
        assert barrier.called
        assert self.clock.getDelayedCalls() == []

    def test_client_goes_away(self) -> None:
        """
        A barrier for nobody is given up, and no timer is left.
        """
        requests = ClientRequests(self.server, self.store, self.clock)
        browser = Browser(HttpSite(requests, self.server, self.clock), self.clock)
        pending = browser.start("GET", "/key/foo?level=strong")
        pending.cancel()
        self.failureResultOf(pending)
        browser.network.settle()
        assert self.server.asked[0][2].called
        assert self.clock.getDelayedCalls() == []

    def test_malformed(self) -> None:
        """
        What cannot be understood is a 400, and nobody is asked.
        """
        for query in (
            *("?level=", "?level=Strong", "?level=weak&level=weak", "?freshness=1x"),
            *("?level=weak&freshness=1s", "?level=auto&freshness=1s", "?freshness="),
        ):
            assert self.get(query).code == 400, query
        assert self.server.asked == []


class NotDoneTests(AgainstScript):
    """
    Writes that do not come to an end.
    """

    def test_overloaded_and_stopped(self) -> None:
        """
        503 with Retry-After: it did not happen.
        """
        for error in (Overloaded("too many"), Stopped("stopping")):
            answer = self.ask(error)
            assert answer.code == 503
            assert "Retry-After" in answer.headers
            assert "outcome" not in answer.json

    def test_leadership_lost(self) -> None:
        """
        504 and an unknown outcome: the entry may yet be committed (openraft 2096).
        """
        answer = self.ask(LeadershipLost("deposed"))
        assert (answer.code, answer.json["outcome"]) == (504, "unknown")

    def test_timeout(self) -> None:
        """
        504 and an unknown outcome after ten seconds without an answer.
        """
        answer = self.ask(None)
        assert (answer.code, answer.json["outcome"]) == (504, "unknown")

    def test_unforeseen(self) -> None:
        """
        500 with a sentence, and the traceback goes to the log, not to the client.
        """
        answer = self.ask(RuntimeError("secret"))
        assert answer.code == 500
        assert list(answer.json) == ["error"]
        assert b"secret" not in answer.body
        [failure] = self.flushLoggedErrors(RuntimeError)
        assert str(failure.value) == "secret"

    def test_client_goes_away(self) -> None:
        """
        Nothing is logged, and no timer is left, when nobody waits for the answer.
        """
        self.server.outcome = None
        requests = ClientRequests(self.server, KeyValueStore(), self.clock)
        site = HttpSite(requests, self.server, self.clock)
        browser = Browser(site, self.clock)
        pending = browser.start("POST", "/key", self.body)
        pending.cancel()
        self.failureResultOf(pending)
        browser.network.settle()
        [(command, answer)] = self.server.proposed
        assert decode_command(command) == Set((("foo", "bar"),))
        assert answer.called
        assert self.clock.getDelayedCalls() == []

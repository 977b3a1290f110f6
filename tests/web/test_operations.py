"""
Whether a node is alive and ready over HTTP, and its figures.
"""

from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.kv.store import KeyValueStore
from hraftd.outcomes import Applied
from hraftd.raft.configuration import Configuration
from hraftd.web.api import KeyAPI
from hraftd.web.site import APIS, HttpSite
from hraftd.web.traffic import OTHER, Traffic, route_template
from tests.web import LEADER, ME, Answer, Browser, OneNode, ScriptedServer
from tests.web import OTHER as THIRD


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """
    Read figures, by name and sorted labels.
    """
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class OperationsTests(SynchronousTestCase):
    """
    One real node that leads.
    """

    def setUp(self) -> None:
        """
        Elect it.
        """
        self.clock = Clock()
        self.node = OneNode(self.clock)
        self.browser = Browser(self.node.site, self.clock)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """
        Make one request.
        """
        pending = self.browser.start(method, path, body, headers or None)
        self.browser.network.settle(0.025, 0.025)
        return self.successResultOf(pending)

    def figures(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """
        Ask for the figures.
        """
        answer = self.ask("GET", "/metrics")
        assert answer.code == 200
        return samples(answer.body.decode())

    def figure(self, name: str, **labels: str) -> float:
        """
        Return one figure.
        """
        return self.figures()[name, tuple(sorted(labels.items()))]

    def test_alive_and_ready(self) -> None:
        """
        200, for HEAD too, which is what some load balancers send; never from a cache.
        """
        for path, content in (
            ("/healthz", {"alive": True}),
            ("/readyz", {"ready": True}),
        ):
            answer = self.ask("GET", path)
            assert (answer.code, answer.json) == (200, content)
            assert answer.headers["Cache-Control"] == "no-store"
            assert self.ask("HEAD", path).code == 200
            assert self.ask("GET", f"{path}?verbose").code == 400
            assert self.ask("POST", path).code == 405

    def test_stopping(self) -> None:
        """
        A node that stops is alive, but 503 to the question whether it is ready.
        """
        self.node.server.drain(1.0)
        assert self.ask("GET", "/healthz").code == 200
        answer = self.ask("GET", "/readyz")
        assert (answer.code, answer.json) == (503, {"error": "this node is stopping"})
        assert "Retry-After" in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"

    def test_text_format(self) -> None:
        """
        Prometheus' text format, and OpenMetrics for who asks for that.
        """
        answer = self.ask("GET", "/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        answer = self.ask("GET", "/metrics", Accept="application/openmetrics-text")
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.body.endswith(b"# EOF\n")
        assert self.ask("GET", "/metrics?name[]=up").code == 400
        head = self.ask("HEAD", "/metrics")
        assert (head.code, head.body) == (200, b"")

    def test_standing(self) -> None:
        """
        What the node is, in figures that agree with ``/status``.
        """
        for key in ("a", "b"):
            self.ask("PUT", f"/key/{key}", b"1", **{"Idempotency-Key": key})
        status = self.ask("GET", "/status").json
        figures = self.figures()
        for name, figure in (
            ("term", "term"),
            ("commit_index", "commit_index"),
            ("last_applied", "applied_index"),
            ("first_log_index", "first_log_index"),
            ("last_log_index", "last_log_index"),
            ("snapshot_index", "snapshot_index"),
            ("snapshot_bytes", "snapshot_bytes"),
            ("keys", "keys"),
            ("tokens", "tokens"),
        ):
            assert figures[f"hraftd_{figure}", ()] == status[name], name
        assert status["tokens"] == 2
        assert figures["hraftd_role", (("role", "leader"),)] == 1
        assert figures["hraftd_role", (("role", "follower"),)] == 0
        assert figures["hraftd_has_leader", ()] == 1
        assert figures["hraftd_members", (("suffrage", "voter"),)] == 1
        cluster = status["cluster"]
        assert figures["hraftd_node_info", (("cluster", cluster), ("id", "node0"))] == 1
        assert figures["hraftd_elections_won_total", ()] == 1

    def test_work(self) -> None:
        """
        Each write is synced and applied, and that takes a time that is counted.
        """
        before = self.figures()
        for number in range(3):
            self.ask("PUT", f"/key/{number}", b"1")
        after = self.figures()
        for name in ("synced_entries_total", "applied_entries_total"):
            assert after[f"hraftd_{name}", ()] == before[f"hraftd_{name}", ()] + 3
        for name in ("sync", "apply"):
            name = f"hraftd_{name}_duration_seconds"
            assert after[f"{name}_count", ()] == before[f"{name}_count", ()] + 3
            infinite = (("le", "+Inf"),)
            assert after[f"{name}_bucket", infinite] == after[f"{name}_count", ()]

    def test_process(self) -> None:
        """
        The process is there, and Python; none of it in the registry for all.
        """
        names = {name for name, _ in self.figures()}
        assert {"python_info", "python_gc_collections_total"} <= names
        assert not [n for n in REGISTRY._names_to_collectors if n.startswith("hraftd")]

    def test_two_nodes_in_a_process(self) -> None:
        """
        Each has its own figures.
        """
        other = OneNode(self.clock)
        self.ask("PUT", "/key/a", b"1")
        browser = Browser(other.site, self.clock)
        pending = browser.start("GET", "/metrics")
        assert (
            samples(self.successResultOf(pending).body.decode())["hraftd_keys", ()] == 0
        )
        assert self.figure("hraftd_keys") == 1

    # HTTP.

    def test_requests(self) -> None:
        """
        Requests are counted by route, method and status, and timed by the first two.
        """
        for path in ("/key/a", "/key/a", "/key/b%2Fc", "/key/d/e/f"):
            self.ask("PUT", path, b"1")
        self.ask("GET", "/key/nobody")
        self.ask("DELETE", "/nodes/nobody")
        self.ask("GET", "/key?limit=7")
        total = "hraftd_http_requests_total"
        put = {"route": "/key/{key}", "method": "PUT"}
        assert self.figure(total, **put, status="200") == 4
        assert self.figure("hraftd_http_request_duration_seconds_count", **put) == 4
        assert self.figure(total, route="/key/{key}", method="GET", status="404") == 1
        assert (
            self.figure(total, route="/nodes/{id}", method="DELETE", status="404") == 1
        )
        assert self.figure(total, route="/key", method="GET", status="200") == 1
        # This one is not over while it is answered.
        metrics = self.figure(total, route="/metrics", method="GET", status="200")
        assert self.figure(total, route="/metrics", method="GET", status="200") == (
            metrics + 1
        )

    def test_labels_are_bounded(self) -> None:
        """
        Whatever clients ask for makes no more than one route and one method of it all.
        """
        for number in range(30):
            self.ask("GET", f"/nothing{number}")
            self.ask("GET", f"/nothing/{number}")
            self.ask("GET", f"/status/{number}")
            self.ask(f"M{number}", "/key/a")
            self.ask("GET", f"/key/{number}")
            self.ask("GET", f"/key/%{number}x")
        labels = [
            dict(labels)
            for name, labels in self.figures()
            if name == "hraftd_http_requests_total"
        ]
        assert {one["route"] for one in labels} <= {OTHER, "/key/{key}", "/metrics"}
        assert {one["method"] for one in labels} == {"GET", OTHER}
        assert len(labels) < 10

    def test_refused_bodies(self) -> None:
        """
        A body that is refused before it has arrived counts for its own method.
        """
        self.node.site.max_body_bytes = 10
        assert self.ask("PUT", "/key/a", b"x" * 11).code == 413
        labels = {"route": "/key/{key}", "method": "PUT", "status": "413"}
        self.browser = Browser(self.node.site, self.clock)
        assert self.figure("hraftd_http_requests_total", **labels) == 1

    def test_connections(self) -> None:
        """
        Open connections are counted at the moment, and those that watch.
        """
        assert self.figure("hraftd_http_connections") == 1
        assert self.figure("hraftd_watchers") == 0
        watching = Browser(self.node.site, self.clock)
        pending = watching.start("GET", "/watch")
        pending.addErrback(lambda _: None)
        figures = self.figures()
        assert figures["hraftd_watchers", ()] == 1
        assert figures["hraftd_http_connections", ()] == 2
        [channel] = [one for one in self.node.site.channels if one.requests]
        channel.connectionLost(Failure(ConnectionDone()))
        figures = self.figures()
        assert figures["hraftd_watchers", ()] == 0
        labels = (("method", "GET"), ("route", "/watch"), ("status", "none"))
        assert figures["hraftd_http_requests_total", labels] == 1
        # How long somebody has listened says nothing about the node.
        assert not [
            labels
            for name, labels in figures
            if name.startswith("hraftd_http_request_d")
            and ("route", "/watch") in labels
        ]

    def test_expiring(self) -> None:
        """
        Keys that were set with a ttl are counted.
        """
        self.ask("PUT", "/key/a?ttl=30", b"1")
        self.ask("PUT", "/key/b", b"1")
        assert self.figure("hraftd_expiring_keys") == 1
        assert self.figure("hraftd_keys") == 2


class SlowTests(SynchronousTestCase):
    """
    A server that does not answer before the test says so.
    """

    def setUp(self) -> None:
        """
        Send it a write.
        """
        self.clock = Clock()
        self.server = ScriptedServer()
        requests = ClientRequests(self.server, KeyValueStore(), self.clock)
        self.site = HttpSite(requests, self.server, self.clock)
        self.browser = Browser(self.site, self.clock)
        self.pending = self.browser.start("PUT", "/key/a", b"1")
        self.browser.network.settle(0.3)
        assert not self.pending.called

    def figures(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """
        Ask for the figures.
        """
        answer = Browser(self.site, self.clock).start("GET", "/metrics")
        return samples(self.successResultOf(answer).body.decode())

    def test_durations(self) -> None:
        """
        From the end of the request to the end of its answer, by the node's own clock.
        """
        [(_, proposed)] = self.server.proposed
        proposed.callback(Applied(7, None))
        self.browser.network.settle()
        self.successResultOf(self.pending)
        figures, name = self.figures(), "hraftd_http_request_duration_seconds"
        labels = (("method", "PUT"), ("route", "/key/{key}"))
        assert abs(figures[f"{name}_sum", labels] - 0.3) < 0.001
        assert figures[f"{name}_bucket", (("le", "0.25"), *labels)] == 0
        assert figures[f"{name}_bucket", (("le", "0.5"), *labels)] == 1

    def test_clients_that_are_gone(self) -> None:
        """
        A client that does not wait for its answer is counted, and not timed.
        """
        self.pending.addErrback(lambda _: None)
        self.pending.cancel()
        self.browser.network.settle()
        figures, name = self.figures(), "hraftd_http_request_duration_seconds"
        labels = (("method", "PUT"), ("route", "/key/{key}"))
        lost = (*labels, ("status", "none"))
        assert figures["hraftd_http_requests_total", lost] == 1
        assert (f"{name}_count", labels) not in figures


class MembersTests(SynchronousTestCase):
    """
    What a node knows of the others.
    """

    def ask(self, server: ScriptedServer, path: str) -> Answer:
        """
        Make one request.
        """
        clock = Clock()
        requests = ClientRequests(server, KeyValueStore(), clock)
        browser = Browser(HttpSite(requests, server, clock), clock)
        pending = browser.start("GET", path)
        browser.network.settle(1.0)
        return self.successResultOf(pending)

    def test_leader(self) -> None:
        """
        How far each other member is, and since when it has been silent.
        """
        server = ScriptedServer(leader=ME, role="leader")
        figures = samples(self.ask(server, "/metrics").body.decode())
        for peer in (LEADER, THIRD):
            label = (("peer", peer.id),)
            assert figures["hraftd_peer_match_index", label] == 7
            assert figures["hraftd_peer_lag_entries", label] == 1
            assert figures["hraftd_peer_last_contact_seconds", label] == 0.5
        assert ("hraftd_peer_lag_entries", (("peer", ME.id),)) not in figures

    def test_follower(self) -> None:
        """
        It does not know, and says nothing rather than zeros.
        """
        server = ScriptedServer(leader=LEADER)
        figures = samples(self.ask(server, "/metrics").body.decode())
        names = {name for name, _ in figures}
        assert "hraftd_peer_linked" in names
        assert "hraftd_peer_lag_entries" not in names
        assert figures["hraftd_leader_last_contact_seconds", ()] == 0.0126

    def test_nobody(self) -> None:
        """
        A node that never heard of anybody has figures, too.
        """
        server = ScriptedServer(
            leader=None,
            cluster_id=None,
            role="learner",
            last_contact=None,
            configuration=Configuration(),
        )
        figures = samples(self.ask(server, "/metrics").body.decode())
        assert figures["hraftd_has_leader", ()] == 0
        assert ("hraftd_leader_last_contact_seconds", ()) not in figures
        assert figures["hraftd_node_info", (("cluster", ""), ("id", "node0"))] == 1

    def test_failed(self) -> None:
        """
        A node that cannot go on is not alive.
        """
        answer = self.ask(ScriptedServer(has_failed=True), "/healthz")
        assert answer.code == 503
        assert "has failed" in answer.json["error"]

    def test_not_in_time(self) -> None:
        """
        When no leader answers, then it says so, before the asker gives up.
        """
        server = ScriptedServer(leader=LEADER)
        answer = self.ask(server, "/readyz")
        assert answer.code == 503
        assert "not caught up" in answer.json["error"]


def test_every_route_is_known_to_the_figures() -> None:
    """
    No route of hraftd's counts as another one, or as none.
    """
    rules = [rule.rule for api in APIS for rule in api.app.url_map.iter_rules()]
    traffic = Traffic(rules, lambda: 0, lambda: 0)
    for rule in rules:
        path = rule.replace("<segment>", "a").encode()
        assert traffic.route_of(path) == route_template(rule)
    for path in (b"", b"/", b"x", b"/x", b"/key/", b"/status/a", b"/\xff", b"/*"):
        assert traffic.route_of(path) == OTHER
    assert len(rules) > len(list(KeyAPI.app.url_map.iter_rules()))


def test_streams_are_not_timed() -> None:
    """
    How long a backup takes says how fast its client is, and how much there is.
    """
    rules = [rule.rule for api in APIS for rule in api.app.url_map.iter_rules()]
    traffic = Traffic(rules, lambda: 0, lambda: 0)
    for path in (b"/watch", b"/backup", b"/restore", b"/status"):
        traffic.note(b"GET", path, 200, 3.0)
    counted, timed = (
        {sample.labels["route"] for sample in family.samples if sample.value}
        for family in list(traffic.collect())[:2]
    )
    assert counted == {"/watch", "/backup", "/restore", "/status"}
    assert timed == {"/status"}

"""
Keys that expire over HTTP: at any node of a cluster of three, before and after the
leader has gone, all were restarted, or a snapshot has come.
"""

from __future__ import annotations

import json

import pytest
from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from hraftd.expiry import LOOK_SECONDS, Expiry
from hraftd.status import TICK
from hraftd.web.answers import Refusal
from hraftd.web.asked import milliseconds
from tests.web.test_anywhere import Cluster

#: Seconds by which answers and heartbeats may make anything later here.
LATE = LOOK_SECONDS + 20 * TICK


@define(eq=False)
class Expiring(Cluster):
    """
    Three nodes as they are, with what lets keys expire.
    """

    expiries: dict[str, Expiry] = field(factory=dict)

    def serve(self, name: str) -> None:
        """
        Let keys expire at a node too.
        """
        Cluster.serve(self, name)
        self.expiries[name] = Expiry(
            self.group.servers[name],
            self.group.stores[name],
            self.group.lifetimes[name],
        )
        self.expiries[name].startService()

    def restart(self, name: str) -> None:
        """
        Start a node again with what its disk holds.
        """
        self.expiries[name].stopService()
        Cluster.restart(self, name)

    def found(self, key: str) -> set[int]:
        """
        Return what each node that is there answers of a key.
        """
        self.group.ticks(2)
        names = [*self.group.servers]
        return {self.ask(name, "GET", f"/key/{key}").code for name in names}

    def ends(self, key: str, began: float) -> float:
        """
        Wait until no node has a key any more; return how long it lived at each.
        """
        stores, servers = self.group.stores, self.group.servers
        self.group.until(
            lambda: all(stores[name].get(key) is None for name in servers), 4000
        )
        return self.group.clock.seconds() - began


#: Each way to set a key ``t`` for five seconds.
WAYS: list[tuple[object, ...]] = [
    ("PUT", "/key/t?ttl=5", b"v"),
    ("PUT", "/key/t?ttl=5.000", b"v", {"If-None-Match": "*"}),
    ("POST", "/key?ttl=4.9999", b'{"t": "v", "u": "v"}'),
    ("PUT", "/key/t?ttl=5", b"v", {"Idempotency-Key": "one"}),
    ("PUT", "/key/t?ttl=5", b"v", {"Idempotency-Key": "2", "If-None-Match": '"7"'}),
    ("POST", "/key?ttl=5", b'{"t": "v"}', {"Idempotency-Key": "three"}),
    ("POST", "/txn", b'{"then": [{"set": "t", "value": "v", "ttl": 5}]}'),
    ("POST", "/txn", b'{"then": [{"value": "v", "ttl": 4.9991, "set": "t"}]}'),
    (
        "POST",
        "/txn",
        b'{"if": [{"key": "t", "exists": true}], "then": [],'
        b' "else": [{"set": "t", "value": "v", "ttl": 5.0}, {"get": "t"}]}',
        {"Idempotency-Key": "four"},
    ),
]


class EverywhereTests(SynchronousTestCase):
    """
    A key with a lifetime is on all nodes for that long, and then on none.
    """

    def test_each_way(self) -> None:
        """
        Each kind of write gives a lifetime, at the leader and through a follower; reads
        and listings have the key until then.
        """
        cluster = Expiring()
        for number, (method, path, *rest) in enumerate(WAYS * 2):
            name = "ac"[number // len(WAYS)]
            began = cluster.group.clock.seconds()
            asked = f"{path}{'&' if '?' in path else '?'}forward"
            if rest[1:] and "Idempotency-Key" in rest[1]:
                tokens = {**rest[1], "Idempotency-Key": f"{number}"}
                rest = [rest[0], tokens]
            answer = cluster.ask(name, method, asked, *rest)
            assert answer.code == 200, answer
            assert cluster.found("t") == {200}
            assert cluster.ask("b", "GET", "/key").json["keys"][0]["key"] == "t"
            left = 4.9 - (cluster.group.clock.seconds() - began)
            cluster.group.ticks(int(left / TICK))
            assert {cluster.group.stores[name].get("t") for name in "abc"} != {None}
            lived = cluster.ends("t", began)
            assert lived >= 5 - 1e-6
            assert lived < 5 + LATE
            assert cluster.found("t") == {404}
            assert cluster.ask("b", "GET", "/key?level=linearizable").json["keys"] == []
        cluster.be_level()

    def test_sent_there(self) -> None:
        """
        A client that is sent to the leader takes the lifetime along.
        """
        cluster = Expiring()
        answer = cluster.ask("b", "PUT", "/key/t?ttl=5&redirect", b"v")
        assert answer.code == 307
        assert answer.headers["Location"] == "http://a:11000/key/t?ttl=5&redirect"
        assert cluster.ask("b", "PUT", "/key/t?ttl=5", b"v").code == 421

    def test_conditions_see_that_it_is_gone(self) -> None:
        """
        Conditions hold as if the key had been deleted: that it is absent, at once; its
        old ETag, never again.
        """
        cluster = Expiring()
        tag = cluster.ask("a", "PUT", "/key/t?ttl=1", b"v").headers["ETag"]
        create = ("PUT", "/key/t?ttl=3", b"w", {"If-None-Match": "*"})
        assert cluster.ask("a", *create).code == 412
        cluster.ends("t", 0)
        assert cluster.ask("a", "PUT", "/key/t", b"x", {"If-Match": tag}).code == 412
        began = cluster.group.clock.seconds()
        assert cluster.ask("a", *create).code == 200
        assert cluster.ends("t", began) >= 3

    def test_refused_write_changes_no_lifetime(self) -> None:
        """
        A write whose conditions do not hold leaves the lifetime that there is.
        """
        cluster = Expiring()
        began = cluster.group.clock.seconds()
        cluster.ask("a", "PUT", "/key/t?ttl=2", b"v")
        for path in ("/key/t", "/key/t?ttl=900"):
            refused = cluster.ask("a", "PUT", path, b"v", {"If-Match": '"1"'})
            assert refused.code == 412
        assert cluster.ends("t", began) < 2 + LATE

    def test_retry_gives_no_second_lifetime(self) -> None:
        """
        A retry is answered as the first was, also when the key is gone; it does not
        come back, nor live any longer. With another lifetime it is another request.
        """
        cluster = Expiring()
        began = cluster.group.clock.seconds()
        headers = {"Idempotency-Key": "y"}
        request = ("PUT", "/key/t?ttl=2&forward", b"v", headers)
        first = cluster.ask("b", *request)
        cluster.group.ticks(int(1 / TICK))
        again = cluster.ask("c", *request)
        assert (again.code, again.body) == (200, first.body)
        assert cluster.ends("t", began) < 2 + LATE + 1
        last = cluster.ask("a", *request)
        assert (last.code, last.body) == (200, first.body)
        assert cluster.found("t") == {404}
        other = cluster.ask("a", "PUT", "/key/t?ttl=3", b"v", headers)
        assert other.code == 409


class AfterwardsTests(SynchronousTestCase):
    """
    Lifetimes outlast what happens to nodes.
    """

    def setUp(self) -> None:
        """
        Set keys, at the leader and through a follower: one that stays, and two for long
        enough that something can happen.
        """
        self.cluster = Expiring()
        self.group = self.cluster.group
        self.began = self.group.clock.seconds()
        for name, path in (
            ("b", "/key/t?ttl=30&forward"),
            ("a", "/key/u?ttl=30"),
            ("a", "/key/stays"),
        ):
            assert self.cluster.ask(name, "PUT", path, b"v").code == 200

    def assert_lives_on(self, late: float = LATE) -> None:
        """
        See that the keys end when they should, at each node, and the other one stays.
        """
        assert self.cluster.found("t") == self.cluster.found("u") == {200}
        for key in "tu":
            lived = self.cluster.ends(key, self.began)
            assert lived >= 30 - 1e-6
            assert lived < 30 + late
        assert self.cluster.found("stays") == {200}
        self.cluster.be_level()
        for name in self.group.servers:
            answer = self.cluster.ask(name, "PUT", "/key/t?ttl=1&forward", b"v")
            assert answer.code == 200
            self.cluster.ends("t", self.began)

    def test_after_a_failover(self) -> None:
        """
        When the leader is dead that has told the time so far.
        """
        self.group.kill("a")
        self.cluster.elect()
        self.assert_lives_on()

    def test_after_a_transfer(self) -> None:
        """
        When leaders take turns.
        """
        for name in "bca":
            body = json.dumps({"id": name}).encode()
            assert self.cluster.ask("a", "POST", "/leader?forward", body).code == 200
            self.group.ticks(20)
        self.assert_lives_on()

    def test_after_a_restart(self) -> None:
        """
        When all have read it from their logs again. What passes until one of them leads
        is lost, and what has passed since the time was told last.
        """
        for name in "abc":
            self.cluster.restart(name)
        self.cluster.elect()
        self.assert_lives_on(late=5)

    def test_after_a_restart_from_snapshots(self) -> None:
        """
        When there is no log any more that it could be read from.
        """
        for name in "abc":
            self.cluster.snapshot(name)
        for name in "abc":
            self.cluster.restart(name)
        assert {self.group.stores[name].deadlines for name in "abc"} == {2}
        self.cluster.elect()
        self.assert_lives_on(late=5)

    def test_after_an_installed_snapshot(self) -> None:
        """
        When a node that was away got it in a snapshot, and leads now.
        """
        self.group.cut_off.add("c")
        self.cluster.ask("a", "PUT", "/key/more", b"v")
        self.group.ticks(200)
        for name in "ab":
            self.cluster.snapshot(name)
        self.group.cut_off.clear()
        self.cluster.be_level()
        assert self.group.servers["c"].status().snapshot_index > 0
        assert (
            self.cluster.ask("a", "POST", "/leader?forward", b'{"id": "c"}').code == 200
        )
        self.group.kill("a")
        self.assert_lives_on()


class RefusedTests(SynchronousTestCase):
    """
    What is no lifetime is refused, and sets nothing.
    """

    def test_refused(self) -> None:
        """
        In the query, with a sentence that says what is taken.
        """
        cluster = Cluster()
        for text in (
            *("", "0", "0.0", "0.000", "-1", "+1", "1e3", "inf", "nan", "1s", "500ms"),
            *(".5", "5.", " 5", "5 ", "1_0", "٣", "0x10", "315360001", "1" * 5000),
            *("315360000.001", "true", "null"),
        ):
            for method, path in (("PUT", "/key/t"), ("POST", "/key")):
                quoted = "".join(f"%{byte:02x}" for byte in text.encode())
                answer = cluster.ask("a", method, f"{path}?ttl={quoted}", b'{"t": "v"}')
                assert answer.code == 400, text
                assert "ttl takes seconds" in answer.json["error"]
                assert len(answer.body) < 300
        for query, why in (
            ("ttl=1&ttl=2", "twice"),
            ("ttl", "not ''"),
            ("TTL=1", "'TTL' is not known"),
            ("ttl=1&redirect&forward", "not both"),
        ):
            answer = cluster.ask("a", "PUT", f"/key/t?{query}", b"v")
            assert (answer.code, why in answer.json["error"]) == (400, True)
        for method, path in (
            ("DELETE", "/key/t?ttl=1"),
            ("GET", "/key/t?ttl=1"),
            ("GET", "/key?ttl=1"),
            ("POST", "/txn?ttl=1"),
        ):
            body = b'{"then": [{"get": "t"}]}' if method == "POST" else None
            answer = cluster.ask("a", method, path, body)
            assert (answer.code, "'ttl'" in answer.json["error"]) == (400, True)
        assert len(cluster.group.stores["a"]) == 0


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ("1", 1000),
        ("30", 30_000),
        ("0030", 30_000),
        ("0.5", 500),
        ("0.25", 250),
        ("1.001", 1001),
        ("0.001", 1),
        ("0.0001", 1),
        ("1.0010", 1001),
        ("1.00101", 1002),
        ("2.9999", 3000),
        ("0.0000000000000001", 1),
        ("315360000", 315_360_000_000),
        ("315360000.000", 315_360_000_000),
    ],
)
def test_milliseconds(seconds: str, expected: int) -> None:
    """
    A lifetime is never cut short: what is below a millisecond counts as one.
    """
    assert milliseconds(seconds) == expected


def test_no_milliseconds() -> None:
    """
    Nothing is no lifetime, however many digits it has.
    """
    with pytest.raises(Refusal):
        milliseconds("0.00000000000000000000")

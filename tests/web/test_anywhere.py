"""
Writes, listings and tokens over HTTP at any node of a cluster of three; and after a
leader has gone, a snapshot has come, or all were restarted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import define, field
from treq import content
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.kv.records import Versioned
from hraftd.snapshots import SnapshotPolicy
from hraftd.web.site import HttpSite
from tests.servers import Group, HeldStorage, member
from tests.web import Answer, Network, Sent

if TYPE_CHECKING:
    from hraftd.server import RaftServer

#: A snapshot only when asked for, and then nothing of the log stays.
POLICY = SnapshotPolicy(1 << 30, 1 << 40, 0, 0)


@define(eq=False)
class Cluster:
    """
    Three nodes with their HTTP sites; ``a`` leads.
    """

    group: Group = field(factory=Group)
    disks: dict[str, HeldStorage] = field(
        factory=lambda: {name: HeldStorage() for name in "abc"}
    )
    network: Network = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Let the first one begin, and take in two.
        """
        self.network = Network(self.group.clock)
        first = self.group.first("a", self.disks["a"], POLICY)
        for name in "bc":
            self.group.join(name, first, self.disks[name], POLICY)
        for name in "abc":
            self.serve(name)
        self.group.ticks(8)

    def serve(self, name: str) -> None:
        """
        Put a node's HTTP API on the network.
        """
        server = self.group.servers[name]
        requests = ClientRequests(server, self.group.stores[name], self.group.clock)
        site = HttpSite(requests, server, self.group.clock)
        self.network.sites[member(name).http] = site

    def start(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Deferred[Answer]:
        """
        Send a request to a node, and do not wait.
        """
        client = HTTPClient(self.network.agent, data_to_body_producer=Sent)

        async def exchange() -> Answer:
            response = await client.request(
                method,
                f"http://{member(name).http}{path}",
                data=body,
                headers=headers,
                allow_redirects=False,
                unbuffered=True,
                reactor=self.group.clock,
            )
            received = {
                name.decode(): values[0].decode()
                for name, values in response.headers.getAllRawHeaders()
            }
            return Answer(response.code, received, await content(response))

        answer = Deferred.fromCoroutine(exchange())
        self.network.settle()
        return answer

    def wait(self, answer: Deferred[Answer]) -> Answer:
        """
        Let time pass until that is answered.
        """

        def answered() -> bool:
            self.network.settle()
            return bool(answer.called)

        self.group.until(answered, 800)
        # Followers hear of it with the next heartbeat.
        self.group.ticks(8)
        assert isinstance(answer.result, Answer), answer.result
        return answer.result

    def ask(self, *request: object, **more: object) -> Answer:
        """
        Make a request, and wait.
        """
        return self.wait(self.start(*request, **more))

    def once(self, name: str, token: str, *request: object) -> Answer:
        """
        Make a write with a token, anywhere.
        """
        method, path, *body = request
        return self.ask(
            name,
            method,
            f"{path}?forward",
            body[0] if body else None,
            {"Idempotency-Key": token},
        )

    def elect(self) -> RaftServer:
        """
        Wait for a leader among those that are there.
        """
        self.group.until(self.group.has_leader)
        leader = self.group.leader()
        self.group.until(lambda: leader.status().commit_index > 0)
        self.group.ticks(40)
        return self.group.leader()

    def be_level(self) -> None:
        """
        Wait until all have applied the same.
        """
        self.group.until(
            lambda: (
                len(
                    {
                        (status.last_applied, status.last_log_index)
                        for server in self.group.servers.values()
                        for status in [server.status()]
                    }
                )
                == 1
            )
        )
        states = {
            b"".join(self.group.stores[name].snapshot()) for name in self.group.servers
        }
        assert len(states) == 1

    def snapshot(self, name: str) -> None:
        """
        Have a node put a snapshot in place of its log.
        """
        assert self.ask(name, "POST", "/snapshot").code == 200
        status = self.group.servers[name].status()
        assert status.first_log_index > status.snapshot_index - 1

    def restart(self, name: str) -> None:
        """
        Start a node again with what its disk holds.
        """
        server = self.group.servers[name]
        stopping = server.stopService()
        self.group.turn()
        assert stopping.called
        self.group.add(name, self.disks[name], POLICY)
        self.serve(name)
        self.group.servers[name].startService()


#: Every kind of write, with what has to be there before.
WRITES: list[tuple[object, ...]] = [
    ("POST", "/key", b'{"a": "1", "b": "2"}'),
    ("PUT", "/key/a", b"2"),
    ("PUT", "/key/a", b"3", {"If-None-Match": "*"}),
    ("PUT", "/key/a", b"3", {"If-Match": "*"}),
    ("PUT", "/key/a", b"4", {"If-Match": '"1"'}),
    ("DELETE", "/key/b", None, {"If-None-Match": "*"}),
    ("DELETE", "/key/b", None, {"If-Match": "*"}),
    ("DELETE", "/key/b"),
    ("PUT", "/key/new", "é".encode(), {"If-None-Match": "*"}),
    (
        "POST",
        "/txn",
        b'{"if": [{"key": "new", "exists": true}],'
        b' "then": [{"get": "a"}, {"get": "b"}, {"delete": "b"}]}',
    ),
    (
        "POST",
        "/txn",
        b'{"if": [{"key": "new", "value": "x"}], "then": [], "else": [{"get": "new"}]}',
    ),
    ("PUT", "/key/t", b"1", {"Idempotency-Key": "token"}),
    ("PUT", "/key/t", b"1", {"Idempotency-Key": "token"}),
    ("PUT", "/key/t", b"2", {"Idempotency-Key": "token"}),
]


class AnywhereTests(SynchronousTestCase):
    """
    A follower answers as the leader would, or sends there.
    """

    def test_forwarded(self) -> None:
        """
        Passed on to the leader, each kind of write is answered as the leader answers.
        """
        leader, follower = Cluster(), Cluster()
        codes = []
        for method, path, *rest in WRITES:
            direct = leader.ask("a", method, path, *rest)
            passed_on = follower.ask("b", method, f"{path}?forward", *rest)
            assert (passed_on.code, passed_on.body) == (direct.code, direct.body)
            assert passed_on.headers.get("ETag") == direct.headers.get("ETag")
            codes.append(direct.code)
        assert set(codes) == {200, 409, 412}
        leader.be_level()
        follower.be_level()

    def test_large_results_are_forwarded(self) -> None:
        """
        So is what holds megabytes, of letters that JSON writes six times as long.
        """
        cluster = Cluster()
        for key in "abcdefg":
            answer = cluster.ask("a", "PUT", f"/key/{key}", b"\x00" * (1 << 20))
            assert answer.code == 200
        body = json.dumps({"then": [{"get": key} for key in "abcdefg"]}).encode()
        answer = cluster.ask("b", "POST", "/txn?forward", body)
        assert answer.code == 200
        values = [one["value"] for one in answer.json["results"]]
        assert values == ["\x00" * (1 << 20)] * 7

    def test_declined_and_redirected(self) -> None:
        """
        Without ``forward`` the leader is named, or the client is sent there.
        """
        cluster = Cluster()
        for method, path, *rest in WRITES:
            answer = cluster.ask("c", method, path, *rest)
            assert answer.code == 421
            assert answer.json["leader"]["id"] == "a"
            answer = cluster.ask("c", method, f"{path}?redirect", *rest)
            assert answer.code == 307
            assert answer.headers["Location"] == f"http://a:11000{path}?redirect"
        assert cluster.ask("a", "GET", "/key").json["keys"] == []

    def test_listing(self) -> None:
        """
        A page is the same everywhere, at each level, and so is an ETag.
        """
        cluster = Cluster()
        first = cluster.ask("a", "POST", "/key", b'{"a/2": "x", "a/1": "y", "b": ""}')
        cluster.ask("a", "PUT", "/key/a/2", b"z")
        index = first.json["index"]
        for name in "abc":
            for level in ("none", "weak", "linearizable", "auto"):
                answer = cluster.ask(name, "GET", f"/key?prefix=a/&level={level}")
                assert answer.json == {
                    "index": index + 1,
                    "keys": [
                        {"key": "a/1", "value": "y", "index": index},
                        {"key": "a/2", "value": "z", "index": index + 1},
                    ],
                    "more": False,
                }
            tag = {"If-None-Match": f'"{index + 1}"'}
            assert cluster.ask(name, "GET", "/key/a/2", None, tag).code == 304
        # Each of these makes an entry.
        for name in "abc":
            answer = cluster.ask(name, "GET", "/key?level=strong&limit=1&after=a/1")
            assert [one["key"] for one in answer.json["keys"]] == ["a/2"]
            assert answer.json["more"] is True

    def test_a_listing_waits_for_its_level(self) -> None:
        """
        Who cannot be assured that its state is fresh lists nothing.
        """
        cluster = Cluster()
        cluster.ask("a", "PUT", "/key/a", b"1")
        cluster.group.cut_off.update("bc")
        for level in ("weak", "linearizable", "strong"):
            answer = cluster.ask("c", "GET", f"/key?level={level}")
            assert (answer.code, answer.headers["Retry-After"]) == (503, "1")
        assert cluster.ask("c", "GET", "/key").json["keys"][0]["key"] == "a"


class ExactlyOnceTests(SynchronousTestCase):
    """
    A write with a token is done once, whoever is asked and whatever happens between.
    """

    def setUp(self) -> None:
        """
        Begin with a counter.
        """
        self.cluster = Cluster()
        self.group = self.cluster.group

    def counted(self) -> set[int]:
        """
        Return at which indexes, as far as the nodes that are there tell, it was last
        changed.
        """
        found = {self.group.stores[name].get("counter") for name in self.group.servers}
        return {one.index for one in found if one is not None}

    def first_writes(self) -> dict[str, tuple[tuple[object, ...], Answer]]:
        """
        Make some writes with tokens, and others after them.
        """
        made = {}
        for token, request in {
            "set": ("PUT", "/key/counter", b"1"),
            "swap": (
                "POST",
                "/txn",
                b'{"if": [{"key": "counter", "value": "1"}],'
                b' "then": [{"set": "counter", "value": "2"}, {"get": "counter"}]}',
            ),
            "gone": ("DELETE", "/key/nothing"),
        }.items():
            made[token] = request, self.cluster.once("b", token, *request)
            assert made[token][1].code == 200
        self.cluster.ask("a", "PUT", "/key/counter", b"another's")
        return made

    def assert_remembered(
        self, made: dict[str, tuple[tuple[object, ...], Answer]]
    ) -> None:
        """
        See that each of them is answered as it was, at every node, and not done again.
        """
        self.cluster.be_level()
        before = self.counted()
        assert len(before) == 1
        for name in self.group.servers:
            for token, (request, first) in made.items():
                again = self.cluster.once(name, token, *request)
                assert (again.code, again.body) == (first.code, first.body), name
            answer = self.cluster.once(name, "set", "PUT", "/key/counter", b"other")
            assert answer.code == 409
        self.cluster.be_level()
        assert self.counted() == before
        value = {
            found.value
            for name in self.group.servers
            for found in [self.group.stores[name].get("counter")]
            if isinstance(found, Versioned)
        }
        assert value == {"another's"}

    def test_same_leader(self) -> None:
        """
        While nothing happens at all.
        """
        self.assert_remembered(self.first_writes())

    def test_after_a_failover(self) -> None:
        """
        When the leader that has done it is dead.
        """
        made = self.first_writes()
        self.group.kill("a")
        assert self.cluster.elect().server_id != "a"
        self.assert_remembered(made)

    def test_after_a_restart(self) -> None:
        """
        When all have read it from their logs again.
        """
        made = self.first_writes()
        for name in "abc":
            self.cluster.restart(name)
        self.cluster.elect()
        self.assert_remembered(made)

    def test_after_a_restart_from_snapshots(self) -> None:
        """
        When there is no log any more that it could be read from (openraft 2096: the
        table of duplicates was missing from snapshots).
        """
        made = self.first_writes()
        for name in "abc":
            self.cluster.snapshot(name)
        for name in "abc":
            self.cluster.restart(name)
        assert all(self.group.stores[name].tokens == 3 for name in "abc")
        self.cluster.elect()
        self.assert_remembered(made)

    def test_after_an_installed_snapshot(self) -> None:
        """
        When a node that was away got it in a snapshot, and leads now.
        """
        self.group.cut_off.add("c")
        made = self.first_writes()
        assert self.group.stores["c"].tokens == 0
        for name in "ab":
            self.cluster.snapshot(name)
        self.group.cut_off.clear()
        self.cluster.be_level()
        assert self.group.servers["c"].status().snapshot_index > 0
        answer = self.cluster.ask("a", "POST", "/leader", b'{"id": "c"}')
        assert answer.code == 200
        self.assert_remembered(made)
        self.group.kill("a")
        self.assert_remembered(made)

    def test_answer_that_was_lost(self) -> None:
        """
        Fluree 1839, jetcd 0.8.2: the leader did it, its answer was lost on the way
        to the follower that had passed it on, and the client asks again elsewhere.
        """
        wires = self.group.wires["b"]
        wires.answers_held = True
        headers = {"Idempotency-Key": "t"}
        request = ("PUT", "/key/counter?forward", b"1", headers)
        pending = self.cluster.start("b", *request)
        self.group.until(lambda: self.group.stores["a"].get("counter") is not None)
        wires.hang_up()
        answer = self.cluster.wait(pending)
        assert (answer.code, answer.json["outcome"]) == (504, "unknown")
        wires.answers_held = False
        self.cluster.be_level()
        [index] = self.counted()
        self.group.kill("a")
        self.cluster.elect()
        for name in "bc":
            again = self.cluster.ask(name, *request)
            assert (again.code, again.json) == (200, {"index": index})
        assert self.counted() == {index}

    def test_leader_that_lost_it(self) -> None:
        """
        Openraft 2096: a leader that was cut off before it could replicate the write
        says that the outcome is unknown. The retry does it, once; and the old entry
        is never applied beside it.
        """
        self.group.cut_off.add("a")
        headers = {"Idempotency-Key": "t"}
        pending = self.cluster.start("a", "PUT", "/key/counter", b"1", headers)
        answer = self.cluster.wait(pending)
        assert (answer.code, answer.json["outcome"]) == (504, "unknown")
        self.cluster.elect()
        request = ("PUT", "/key/counter?forward", b"1", headers)
        first = self.cluster.ask("b", *request)
        assert first.code == 200
        self.group.cut_off.clear()
        self.cluster.be_level()
        for name in "abc":
            again = self.cluster.ask(name, *request)
            assert (again.code, again.body) == (200, first.body)
        assert self.counted() == {first.json["index"]}

    def test_leader_that_had_replicated_it(self) -> None:
        """
        Openraft 2096: the leader steps down between replicating and answering; the
        next one commits the entry, and the retry is told so.
        """
        wires = self.group.wires["a"]
        headers = {"Idempotency-Key": "t"}
        # What the others answer does not arrive, so the leader commits nothing.
        index = self.group.servers["a"].status().last_log_index + 1
        for disk in (self.disk("b"), self.disk("c")):
            disk.held = True
        pending = self.cluster.start("a", "PUT", "/key/counter", b"1", headers)
        self.group.ticks(2)
        assert wires.calls
        self.group.cut_off.add("a")
        for disk in (self.disk("b"), self.disk("c")):
            disk.held = False
            if disk.save_waits:
                disk.finish()
        leader = self.cluster.elect()
        assert leader.server_id != "a"
        assert self.counted() == {index}
        answer = self.cluster.wait(pending)
        self.group.cut_off.clear()
        self.cluster.be_level()
        again = self.cluster.ask("a", "PUT", "/key/counter?forward", b"1", headers)
        assert (again.code, again.json) == (200, {"index": index})
        # It may have been told before it was cut off for good; never another index.
        assert answer.code == 504 or answer.json == {"index": index}
        assert self.counted() == {index}

    def disk(self, name: str) -> HeldStorage:
        """
        Return a node's storage.
        """
        return self.cluster.disks[name]

"""
Which requests take the fast lane, and how it behaves on a connection.

That it answers what twisted.web would is shown in :mod:`tests.web.test_lanes`; here,
that it is there at all, where it should be and nowhere else.
"""

from __future__ import annotations

import json

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hraftd.client_requests import ClientRequests
from hraftd.kv.store import KeyValueStore
from hraftd.outcomes import Applied
from hraftd.reads import ReadLevel
from hraftd.snapshots import SnapshotPolicy
from hraftd.web.channel import LINGER, Request
from hraftd.web.fast_lane import MAX_KNOWN, MAX_KNOWN_BYTES
from hraftd.web.keys import pair_as_json
from hraftd.web.site import CLOSE_SECONDS, TIMEOUT, HttpSite
from tests.servers import Group, member, set_command
from tests.test_at_once import Line
from tests.web import OneNode, ScriptedServer, received
from tests.web.test_channel import GET, SET, STATUS, Wire, post


class Visitor:
    """
    A connection to a site, and how many requests on it twisted.web has seen.
    """

    def __init__(self, site: HttpSite) -> None:
        """
        Connect.
        """
        self.seen = 0

        def count(*args: object) -> Request:
            self.seen += 1
            return Request(*args)

        self.transport = StringTransport()
        self.transport.abortConnection = self.transport.loseConnection
        self.channel = site.buildProtocol(None)
        self.channel.requestFactory = count
        self.channel.makeConnection(self.transport)

    def ask(self, data: bytes) -> None:
        """
        Send something.
        """
        self.channel.dataReceived(data)

    def told(self) -> list[tuple[int, object]]:
        """
        Return what has come back since the last time.
        """
        told = [(answer.code, answer.json) for answer in received(self.transport)]
        self.transport.clear()
        return told


HOT = [
    GET,
    SET,
    b"GET /key/foo HTTP/1.1\r\n\r\n",
    b"GET /key/none HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"GET /key/f%6Fo?level=none HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo?level=linearizable HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo?level=weak HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo?level=strong HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo?level=auto HTTP/1.1\r\nHost: x\r\n\r\n",
    # As curl, wrk and Python's requests write them.
    b"GET /key/foo HTTP/1.1\r\nHost: localhost:11000\r\nUser-Agent: curl/8.5.0\r\n"
    b"Accept: */*\r\n\r\n",
    post(
        b'{"foo": "bar"}',
        b"User-Agent: curl/8.5.0",
        b"Accept: */*",
        b"Content-Type: application/x-www-form-urlencoded",
    ),
    b"GET /key/foo HTTP/1.1\r\nHost: localhost:11000\r\nUser-Agent: requests/2\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    # What is wrong only with the body is told here too.
    post(b"[]"),
    post(b'{"foo": 1}'),
]

COLD = [
    STATUS,
    b"HEAD /key/foo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /key/foo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PUT /key/foo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    b"GET /key HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/" + b"x" * 1025 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo?freshness=1s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo?level=odd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo HTTP/1.0\r\nHost: x\r\n\r\n",
    b"GET /key/foo HTTP/1.1\r\nConnection: close\r\n\r\n",
    b'GET /key/foo HTTP/1.1\r\nIf-None-Match: "1"\r\n\r\n',
    b"GET /key/foo HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /key/foo HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    post(b'{"foo": "bar"}', path=b"/key?ttl=1"),
    post(b'{"foo": "bar"}', path=b"/key?forward"),
    post(b'{"foo": "bar"}', b"Idempotency-Key: x"),
    post(b'{"foo": "bar"}', b"If-Match: *"),
    post(b'{"foo": "bar"}', b"Expect: 100-continue"),
    post(b""),
    post(b'{"then": []}', path=b"/txn"),
    b"POST /key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("request_", HOT)
def test_hot_requests_take_it(request_: bytes) -> None:
    """
    The requests that it is for are answered without twisted.web, and again.
    """
    clock = Clock()
    visitor = Visitor(OneNode(clock).site)
    for _ in range(3):
        visitor.ask(request_)
        clock.pump([0.0, 0.025, 0.025])
    assert visitor.seen == 0
    assert len(visitor.told()) == 3


@pytest.mark.parametrize("request_", COLD)
def test_others_do_not(request_: bytes) -> None:
    """
    All others twisted.web gets, on the same connection and between hot ones.
    """
    clock = Clock()
    visitor = Visitor(OneNode(clock).site)
    visitor.ask(GET)
    visitor.ask(request_)
    clock.pump([0.0, 0.025, 0.025])
    assert visitor.seen == 1
    if not visitor.transport.disconnecting:
        visitor.ask(GET)
        assert visitor.seen == 1


@pytest.mark.parametrize("request_", [GET, SET])
def test_requests_in_pieces_do_not(request_: bytes) -> None:
    """
    Nor do hot requests that come in more than one piece; the next one does again.
    """
    clock = Clock()
    for end in range(1, len(request_)):
        visitor = Visitor(OneNode(clock).site)
        for data in (request_[:end], request_[end:], request_):
            visitor.ask(data)
            clock.pump([0.0, 0.025, 0.025])
        assert visitor.seen == 1
        assert len(visitor.told()) == 2


def test_without_it() -> None:
    """
    A site that is told to do without has none.
    """
    clock = Clock()
    node = OneNode(clock)
    visitor = Visitor(HttpSite(node.requests, node.server, clock, fast_lane=False))
    visitor.ask(GET + GET)
    assert visitor.seen == 2


def test_before_and_after_a_failover() -> None:
    """
    Whoever leads and whoever follows, hot requests take it, and what it says is so.
    """
    group = Group()
    leader = group.first("node0")
    for server_id in ("node1", "node2"):
        group.join(server_id, leader)
    sites = {
        server_id: HttpSite(
            ClientRequests(server, group.stores[server_id], group.clock),
            server,
            group.clock,
        )
        for server_id, server in group.servers.items()
    }
    visitors = {server_id: Visitor(site) for server_id, site in sites.items()}

    def ask(server_id: str, data: bytes) -> list[tuple[int, object]]:
        visitors[server_id].ask(data)
        group.ticks(20)
        return visitors[server_id].told()

    [(code, written)] = ask("node0", SET)
    assert (code, list(written)) == (200, ["index"])
    assert ask("node1", GET) == [(200, {"foo": "bar"})]
    [(code, declined)] = ask("node1", SET)
    assert (code, declined["leader"]["id"]) == (421, "node0")
    group.cut_off.add("node0")
    group.until(group.has_leader)
    new = group.leader().server_id
    other = ({"node1", "node2"} - {new}).pop()
    group.ticks(20)
    [(code, later)] = ask(new, post(b'{"foo": "baz"}'))
    assert code == 200
    assert later["index"] > written["index"]
    fresh = b"GET /key/foo?level=linearizable HTTP/1.1\r\nHost: x\r\n\r\n"
    assert ask(other, fresh + GET) == [(200, {"foo": "baz"})] * 2
    # The one that was cut off knows no better, and does not pretend to.
    assert ask("node0", GET) == [(200, {"foo": "bar"})]
    assert ask("node0", SET)[0][0] in (421, 503)
    group.cut_off.clear()
    group.ticks(80)
    assert ask("node0", GET) == [(200, {"foo": "baz"})]
    assert [visitor.seen for visitor in visitors.values()] == [0, 0, 0]


def test_after_a_snapshot_was_installed() -> None:
    """
    What a snapshot has put in place of a state is read as soon as it is there.
    """
    group = Group()
    leader = group.first("node0", snapshots=SnapshotPolicy(10, 1))
    for number in range(40):
        leader.propose(set_command("foo", f"value {number}"))
        group.ticks(2)
    assert leader.snapshots_taken > 0
    newcomer = group.ready_to_join("node1", leader)
    clock = group.clock
    requests = ClientRequests(newcomer, group.stores["node1"], clock)
    visitor = Visitor(HttpSite(requests, newcomer, clock))
    leader.add_server(member("node1"))
    group.until(lambda: newcomer.counts.snapshots_restored > 0)
    group.ticks(20)
    visitor.ask(GET)
    assert visitor.told() == [(200, {"foo": "value 39"})]
    assert visitor.seen == 0


def test_together() -> None:
    """
    The answers to requests that came together leave together, in their order.
    """
    visitor = Visitor(OneNode(Clock()).site)
    written: list[bytes] = []
    visitor.transport.write = written.append
    none = b"GET /key/none HTTP/1.1\r\nHost: x\r\n\r\n"
    visitor.ask(GET + none + post(b"{}") + GET)
    [answers] = written
    assert answers.count(b"HTTP/1.1 404") == 3
    assert answers.count(b"HTTP/1.1 400") == 1
    assert answers.index(b"400") > answers.rindex(b"404", 0, answers.index(b"400"))
    assert visitor.seen == 0


class WaitingTests(Wire):
    """
    A hot write that is not answered at once.
    """

    def setUp(self) -> None:
        """
        Leave the write open.
        """
        super().setUp()
        self.server.outcome = None
        self.send(SET)
        [(_, self.write)] = self.server.proposed

    def test_nothing_overtakes(self) -> None:
        """
        What comes behind it is answered behind it, whichever lane it takes.
        """
        self.send(GET)
        self.send(STATUS[:10])
        self.send(STATUS[10:] + GET + SET)
        assert self.answers == []
        self.write.callback(Applied(1, None))
        assert self.codes == [200, 404, 200, 404]
        self.server.proposed[1][1].callback(Applied(2, None))
        assert self.codes == [200, 404, 200, 404, 200]

    def test_half_a_request_behind_it(self) -> None:
        """
        What has begun meanwhile goes on where it broke off.
        """
        self.send(GET[:20])
        self.write.callback(Applied(1, None))
        assert self.codes == [200]
        self.send(GET[20:] + GET)
        assert self.codes == [200, 404, 404]

    def test_what_is_sent_meanwhile_is_bounded(self) -> None:
        """
        Who goes on sending is read no further, until the answer is there.
        """
        self.send(GET * 1000)
        assert self.transport.producerState == "paused"
        self.write.callback(Applied(1, None))
        assert self.codes == [200] + [404] * 1000
        assert self.transport.producerState == "producing"

    def test_client_goes_away(self) -> None:
        """
        It is cancelled, counted as not waited for, and no news.
        """
        self.send(GET)
        self.lose()
        assert self.write.called
        assert self.clock.getDelayedCalls() == []
        assert self.site.channels == set()
        assert self.events == []
        tally = self.site._traffic.tally(b"POST", b"/key")
        assert (tally.codes, tally.is_timed) == ({None: 1}, False)

    def test_stopping(self) -> None:
        """
        An answer that comes while the node stops is still sent.
        """
        gone = self.site.disconnect()
        self.clock.advance(CLOSE_SECONDS / 2)
        self.write.callback(Applied(1, None))
        assert self.codes == [200]
        self.lose()
        self.successResultOf(gone)
        assert self.clock.getDelayedCalls() == []

    def test_no_timeout(self) -> None:
        """
        The client is not idle; it is we who let it wait. Afterwards it has its time.
        """
        self.requests = ClientRequests(
            self.server, KeyValueStore(), self.clock, write_timeout=10 * TIMEOUT
        )
        self.site = HttpSite(self.requests, self.server, self.clock)
        self.connect()
        self.send(SET)
        for _ in range(3):
            self.clock.advance(TIMEOUT + 1)
        assert not self.transport.disconnecting
        self.server.proposed[-1][1].callback(Applied(1, None))
        assert self.codes == [200]
        self.clock.advance(TIMEOUT - 1)
        assert not self.transport.disconnecting
        self.clock.advance(1)
        assert self.transport.disconnecting

    def test_duration(self) -> None:
        """
        It is timed from when it had come in.
        """
        self.clock.advance(0.2)
        self.write.callback(Applied(1, None))
        durations = self.site._traffic.tally(b"POST", b"/key").durations
        assert durations.total == pytest.approx(0.2)


class TimeoutTests(Wire):
    """
    Connections on which nothing happens.
    """

    def test_each_answer_gives_new_time(self) -> None:
        """
        The time begins with the last answer, and is over when it is over.
        """
        for _ in range(5):
            self.clock.advance(TIMEOUT - 1)
            self.send(GET)
        self.clock.advance(TIMEOUT - 0.5)
        assert not self.transport.disconnecting
        self.clock.advance(0.5)
        assert self.transport.disconnecting
        self.lose()
        assert self.clock.getDelayedCalls() == []

    def test_a_request_that_does_not_end(self) -> None:
        """
        Hot requests before it give it no more time than it has.
        """
        self.send(GET)
        self.clock.advance(1)
        self.send(GET + SET[:-1])
        for _ in range(TIMEOUT - 1):
            self.clock.advance(1)
            assert not self.transport.disconnecting
        self.clock.advance(1)
        assert self.transport.disconnecting

    def test_a_body_that_is_refused(self) -> None:
        """
        It is read on for as long as ever, not longer.
        """
        self.send(GET)
        self.send(post(b"x" * 2000)[:-500])
        assert self.codes == [404, 413]
        self.clock.advance(LINGER)
        assert self.transport.disconnecting

    def test_nothing_is_served_behind_the_end(self) -> None:
        """
        Once the connection is being closed, it is over for the fast lane too.
        """
        self.clock.advance(TIMEOUT)
        self.channel.dataReceived(GET + SET)
        assert self.server.proposed == []
        self.connect()
        self.send(b"GET /key/foo HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.channel.dataReceived(GET + SET)
        assert self.codes == [404]


class UnforeseenTests(Wire):
    """
    What nobody foresaw, in the fast lane.
    """

    def test_answers_500(self) -> None:
        """
        At once or later: 500 in JSON, the log has the traceback, and it goes on.
        """
        self.server.outcome = ZeroDivisionError()
        self.send(SET)
        self.server.outcome = None
        self.send(SET)
        self.server.proposed[-1][1].errback(ZeroDivisionError())
        self.server.propose = lambda command: 1 / 0
        self.send(SET)
        assert self.codes == [500, 500, 500]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 3
        self.send(GET)
        assert self.codes[-1] == 404
        tally = self.site._traffic.tally(b"POST", b"/key")
        assert tally.codes == {500: 3}


@pytest.mark.parametrize("fast_lane", [True, False])
@pytest.mark.parametrize("request_", [GET, STATUS.replace(b"status", b"key")])
def test_who_does_not_read_is_not_answered(fast_lane: bool, request_: bytes) -> None:
    """
    A client that sends requests on and on and takes no answer gets no more of them.

    What waits for it stays below two answers more than what a transport keeps before
    it says that this is enough. When it reads, everything comes, in order.
    """
    clock = Clock()
    store = KeyValueStore()
    store.apply(1, set_command("foo", "x" * 30_000))
    server = ScriptedServer()
    requests = ClientRequests(server, store, clock)
    site = HttpSite(requests, server, clock, fast_lane=fast_lane)
    channel = site.buildProtocol(None)
    line = Line(channel)
    line.transport.setTcpNoDelay = lambda enabled: None
    line.transport.getPeer = line.transport.getHost = lambda: None
    line.transport.startReading()
    channel.makeConnection(line.transport)
    sent = most = 0
    for _ in range(200):
        if line.reads:
            channel.dataReceived(request_ * 100)
            sent += 100
        most = max(most, line.buffered)
    assert sent < 300
    assert 2**16 < most < 2**16 + 2**16
    line.drain()
    assert line.reads
    answers = StringTransport()
    answers.write(line.received)
    assert [answer.code for answer in received(answers)] == [200] * sent
    # And it is served as ever.
    channel.dataReceived(GET)
    assert line.drain().endswith(json.dumps({"foo": "x" * 30_000}).encode())
    channel.connectionLost(Failure(ConnectionLost()))
    line.close()


def test_default_level() -> None:
    """
    What the node was told about reads holds here too, and a request may say otherwise.
    """
    clock = Clock()
    server = ScriptedServer()
    requests = ClientRequests(
        server, KeyValueStore(), clock, read_level=ReadLevel.LINEARIZABLE
    )
    visitor = Visitor(HttpSite(requests, server, clock))
    visitor.ask(GET)
    assert [method for method, _, _ in server.asked] == ["read_barrier"]
    server.asked[0][2].callback(None)
    visitor.ask(b"GET /key/foo?level=none HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [method for method, _, _ in server.asked] == ["read_barrier"]
    assert [code for code, _ in visitor.told()] == [404, 404]
    assert visitor.seen == 0


def test_answers_that_are_known() -> None:
    """
    A read that comes again is answered anew whenever the key has changed since.
    """
    clock = Clock()
    node = OneNode(clock)
    visitor = Visitor(node.site)

    def ask(data: bytes) -> list[tuple[int, object]]:
        visitor.ask(data)
        clock.pump([0.0, 0.025, 0.025])
        return visitor.told()

    change = b"%b /key/foo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
    ask(SET)
    for value in (b"baz", b"bar", b"bar"):
        for _ in range(3):
            assert [code for code, _ in ask(GET)] == [200]
            assert visitor.seen == 0
        tag = node.store.get("foo").index
        ask(change % (b"PUT", len(value), value))
        visitor.seen = 0
        visitor.ask(GET)
        [answer] = received(visitor.transport)
        visitor.transport.clear()
        # Set to what it was, it has another version.
        assert answer.json == {"foo": value.decode()}
        assert answer.headers["ETag"] == f'"{node.store.get("foo").index}"'
        assert node.store.get("foo").index > tag
    ask(change % (b"DELETE", 0, b""))
    assert [code for code, _ in ask(GET)] == [404]
    counted = node.site._traffic.tally(b"GET", b"/key/x")
    assert counted.codes == {200: 12, 404: 1}
    assert sum(counted.durations.counts) == 13


def test_known_answers_are_bounded() -> None:
    """
    However many keys are read, and however much is in them.
    """
    node = OneNode(Clock())
    lane = node.site._lane
    visitor = Visitor(node.site)
    visitor.ask(GET)
    for number in range(MAX_KNOWN + 5):
        node.store.apply(10 + number, set_command(f"key{number}", "x"))
        visitor.ask(b"GET /key/key%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        assert len(lane._known) <= MAX_KNOWN
    assert len(lane._known) == 5
    node.store.apply(9999, set_command("foo", "x" * MAX_KNOWN_BYTES))
    visitor.ask(GET)
    assert len(lane._known) == 5
    assert visitor.seen == 0


@pytest.mark.parametrize(
    "text", ["", "bar", '"\\', "\n\x00\x7f", "é\u2028\U0001f600", "</"]
)
def test_pair_as_json(text: str) -> None:
    """
    The body of a read, in both lanes, is the JSON that anybody would write.
    """
    expected = json.dumps({text: text}, ensure_ascii=False).encode()
    assert pair_as_json(text, text) == expected

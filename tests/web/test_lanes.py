"""
The fast lane and twisted.web, side by side: whatever comes in, they answer the same.

Two equal nodes get the same bytes, split at the same places, at the same times. One has
the fast lane and the other does without. What they write is compared byte for byte, but
for the time in ``Date``; what they count and what they store is compared too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hraftd.client_requests import ClientRequests
from hraftd.errors import LeadershipLost, Overloaded, Stopped
from hraftd.forwarding import OnFollower
from hraftd.kv.store import KeyValueStore
from hraftd.limits import Limits
from hraftd.outcomes import Applied
from hraftd.raft.configuration import Configuration
from hraftd.raft.errors import NotLeader, TransferInProgress
from hraftd.reads import ReadLevel
from hraftd.web.site import HttpSite
from tests.servers import Group, set_command
from tests.web import LEADER, OTHER, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMITS = Limits(max_key_bytes=20, max_value_bytes=40, max_body_bytes=300, max_pairs=3)

#: What the keys of each node hold, so that there is something to read.
KNOWN = {"foo": "bar", "é/ü": '"\\\n\x00é\u2028\U0001f600', "a//b": "", "%": "x"}

_DATE = re.compile(rb"\r\nDate: [^\r]*\r\n")


@frozen
class Step:
    """
    Some bytes, and how much time passes when they have come.
    """

    data: bytes
    ticks: int


class Lane:
    """
    One connection to one node.
    """

    def __init__(self, site: HttpSite, tick: Callable[[], object]) -> None:
        """
        Connect.

        :param tick: lets a moment pass for the node.
        """
        self.site = site
        self.tick = tick
        self.transport = StringTransport()
        self.transport.abortConnection = self.transport.loseConnection
        self.channel = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        #: How much was written after each step, and whether that was the end.
        self.progress: list[tuple[int, bool]] = []

    def take(self, step: Step) -> None:
        """
        Let bytes arrive.
        """
        if not self.transport.disconnecting:
            self.channel.dataReceived(step.data)
        for _ in range(step.ticks):
            self.tick()
        self.progress.append((len(self.transport.value()), self.is_closed))

    @property
    def is_closed(self) -> bool:
        """
        Whether the node has ended the connection.
        """
        return self.transport.disconnecting

    @property
    def answers(self) -> bytes:
        """
        All that has come back, without its time.
        """
        return _DATE.sub(b"\r\nDate: now\r\n", self.transport.value())

    def counted(self) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
        """
        Return what the node says of its requests.
        """
        return {
            (sample.name, tuple(sorted(sample.labels.items())), sample.value)
            for family in self.site._traffic.collect()
            for sample in family.samples
        }

    def lose(self) -> None:
        """
        Let the client go away.
        """
        self.channel.connectionLost(Failure(ConnectionLost()))


# What is sent.

KEYS = [
    *(b"foo", b"none", b"a//b", b"%C3%A9/%c3%BC", b"f%6fo", b"%25", b"%", b"%ff", b"/"),
    *(
        b"",
        b"x" * 20,
        b"x" * 21,
        b"%C3%A9" * 10,
        b"%C3%A9" * 11,
        b"+",
        b"a%20b",
        b"\xa0",
    ),
    *(b"#", b"..", b"?", b"%2", b"%%", b"foo?", b"foo#x", b";", b"a b", b"%00"),
]
QUERIES = [
    *(b"", b"", b"", b"?level=none", b"?level=weak", b"?level=linearizable"),
    *(b"?level=strong", b"?level=auto", b"?level=", b"?level=x", b"?freshness=1s"),
    *(b"?level=none&level=none", b"?x=y", b"?", b"?forward", b"?redirect", b"?ttl=1"),
]
HEADERS = [
    *(b"Host: x", b"host:x", b"HOST: \t x \t", b"Host: [::1]:11000", b"Host:"),
    *(b"User-Agent: curl/8", b"Accept: */*", b"Accept-Encoding: gzip, br"),
    *(b"Accept-Language: de", b"Connection: keep-alive", b"connection: Keep-Alive"),
    *(b"Connection: close", b"Connection: Close", b"Connection: keep-alive, close"),
    *(b"Connection: upgrade", b"Content-Type: application/json", b"Cookie: a=b"),
    *(b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"If-None-Match: *"),
    *(b"If-Match: *", b"Idempotency-Key: k", b"X", b"X: ", b": x", b"X : y", b" x: y"),
    *(b"Transfer-Encoding: identity", b"Host: \xff", b"Host: a\x00b", b"Host: a\nb"),
    *(b"Accept: " + b"a" * 1100, b"Content-Length: 0", b"Content-Length: 14"),
    *(b"Content-Length: +14", b"Content-Length: 014", b"Content-Length: -1"),
    *(b"Content-Length: 14, 14", b"Content-Length: 1_4", b"Accept: \x0b", b"\rX: y"),
]
BODIES = [
    *(b'{"foo": "bar"}', b'{"a": "1", "b": "2"}', b'{"foo": "bar"} ', b"{}", b"[]"),
    *(b'{"a": "1", "a": "2"}', b'{"a": 1}', b"", b" ", b"x", b'{"": "x"}', b"\xff"),
    *(b'{"\\ud800": ""}', b"[" * 200, b'{"k": "%b"}' % (b"v" * 41), b" " * 301),
    *(b'{"%b": ""}' % (b"k" * 21), b'{"a":"","b":"","c":"","d":""}', b'{"a": NaN}'),
    *(b'{"\xc3\xa9": "\\u00e9\\n"}', b"\xef\xbb\xbf{}", b"\r\n\r\n", b'{"a": "1"}{'),
]
OTHERS = [
    b"HEAD /key/foo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /key/foo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PUT /key/foo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nbaz",
    b"GET /key?limit=3 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo HTTP/1.0\r\nHost: x\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://x/key/foo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"get /key/foo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET  /key/foo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /key/foo HTTP/1.2\r\nHost: x\r\n\r\n",
    b"POST /key/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'e\r\n{"foo": "baz"}\r\n0\r\n\r\n',
    b'POST /txn HTTP/1.1\r\nContent-Length: 25\r\n\r\n{"then": [{"get": "foo"}]}',
    b"GET /key/foo HTTP/1.1\nHost: x\n\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\x16\x03\x01",
]

#: What a client sends that is in its right mind.
PLAIN = [b"Host: x", b"User-Agent: x", b"Accept: */*"]


def head(line: bytes, headers: Sequence[bytes]) -> bytes:
    """
    Return a request up to its body.
    """
    return b"\r\n".join((line, *headers, b"", b""))


def get(key: bytes, query: bytes = b"", headers: Sequence[bytes] = PLAIN) -> bytes:
    """
    Return a read.
    """
    return head(b"GET /key/%b%b HTTP/1.1" % (key, query), headers)


def post(body: bytes, query: bytes = b"", headers: Sequence[bytes] = PLAIN) -> bytes:
    """
    Return a write.
    """
    length = b"Content-Length: %d" % len(body)
    return head(b"POST /key%b HTTP/1.1" % query, [*headers, length]) + body


_headers = st.one_of(
    st.just(PLAIN),
    st.just(PLAIN),
    st.lists(st.sampled_from(HEADERS), max_size=3).map(lambda more: PLAIN[:1] + more),
    st.lists(st.sampled_from(HEADERS), max_size=3),
)
_requests = st.one_of(
    st.builds(get, st.sampled_from(KEYS), st.sampled_from(QUERIES), _headers),
    st.builds(get, st.sampled_from(KEYS[:6]), st.sampled_from(QUERIES[:8])),
    st.builds(post, st.sampled_from(BODIES), st.sampled_from(QUERIES), _headers),
    st.builds(post, st.sampled_from(BODIES)),
    st.sampled_from(OTHERS),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Step]:
    """
    Draw what one client sends: requests, maybe damaged, in pieces.
    """
    data = bytearray(b"".join(draw(st.lists(_requests, min_size=1, max_size=5))))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        position = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["change", "remove", "insert"])):
            case "change":
                data[position] = draw(st.integers(0, 255))
            case "remove" if len(data) > 1:
                del data[position]
            case _:
                data.insert(position, draw(st.sampled_from(b"\r\n \x00a:%?")))
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=4).map(sorted))
    return [
        Step(bytes(data[start:end]), draw(st.sampled_from([0, 0, 1, 4])))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    ]


# Who is asked.


class Cluster:
    """
    A leader and a follower in memory, always the same ones.
    """

    def __init__(self, asked: str, *, fast_lane: bool, **options: object) -> None:
        """
        Let them know some keys, and serve HTTP at one of the two.
        """
        self.group = Group()
        leader = self.group.first("node0")
        self.group.join("node1", leader)
        for key, value in KNOWN.items():
            leader.propose(set_command(key, value))
        self.group.ticks(20)
        self.store = self.group.stores[asked]
        clock = self.group.clock
        server = self.group.servers[asked]
        requests = ClientRequests(server, self.store, clock, limits=LIMITS, **options)
        self.site = HttpSite(requests, server, clock, fast_lane=fast_lane)
        self.lane = Lane(self.site, lambda: self.group.ticks(1))

    def state(self) -> object:
        """
        Return what the node that was asked knows at the end.
        """
        return self.store.page("", None, 1000)


class Stage:
    """
    A node whose Raft server does what a script says.
    """

    def __init__(self, script: dict[str, object], *, fast_lane: bool) -> None:
        """
        Serve HTTP there.
        """
        self.clock = Clock()
        self.server = ScriptedServer(**script)
        store = KeyValueStore()
        for index, (key, value) in enumerate(KNOWN.items(), 1):
            store.apply(index, set_command(key, value))
        requests = ClientRequests(self.server, store, self.clock, limits=LIMITS)
        self.site = HttpSite(requests, self.server, self.clock, fast_lane=fast_lane)
        self.lane = Lane(self.site, lambda: self.clock.advance(1.0))

    def state(self) -> object:
        """
        Return what the server was asked.
        """
        return [command for command, _ in self.server.proposed]


Node: TypeAlias = Cluster | Stage


def compare(fast: Node, slow: Node, steps: Sequence[Step]) -> None:
    """
    Let both hear the same, and make sure that they say the same.
    """
    settle = Step(b"", 12)
    for step in (*steps, settle):
        for node in (fast, slow):
            node.lane.take(step)
        assert fast.lane.answers == slow.lane.answers
        assert fast.lane.progress == slow.lane.progress
    assert fast.state() == slow.state()
    for node in (fast, slow):
        node.lane.lose()
    assert fast.lane.counted() == slow.lane.counted()
    for node in (fast, slow):
        assert node.site.channels == set()


ONE_BY_ONE = [Step(get(b"foo"), 1), Step(post(BODIES[0]), 4), Step(get(b"foo"), 0)]
AT_ONCE = [Step(get(b"foo") + post(BODIES[0]) + get(b"foo") + post(b"x") + get(b""), 4)]
#: Bytes that look like a request, where they are part of another one.
IN_DISGUISE = [
    Step(post(get(b"foo"))[: -len(get(b"foo"))], 1),
    Step(get(b"foo"), 1),
    Step(b"GET /key/foo HTTP/1.1\r\nHost: x\r\n", 1),
    Step(get(b"foo"), 1),
]
HALF_A_LINE = [Step(OTHERS[0] + b"X", 1), Step(get(b"foo"), 1)]
#: An empty line is let pass before a request, but only one.
BLANK_LINES = [Step(OTHERS[0] + b"\r\n", 1), Step(get(b"foo"), 1), Step(b"\r\n", 1)]


def compare_for_any_bytes(pair: Callable[[], tuple[Node, Node]], examples: int) -> None:
    """
    Compare two equal nodes, new ones each time, in many conversations.
    """

    # Inside, since each test has more than one pair.
    @given(conversations())
    @example(ONE_BY_ONE)
    @example(AT_ONCE)
    @example(IN_DISGUISE)
    @example(HALF_A_LINE)
    @example([*BLANK_LINES, *ONE_BY_ONE])
    @settings(max_examples=examples, deadline=None, derandomize=True)
    def converse(steps: list[Step]) -> None:
        compare(*pair(), steps)

    converse()


ALONE = [
    *(get(key) for key in KEYS),
    *(get(b"foo", query) for query in QUERIES),
    *(get(b"foo", headers=[*PLAIN, header]) for header in HEADERS),
    *(get(b"foo", headers=[header]) for header in HEADERS),
    *(post(body) for body in BODIES),
    *(post(BODIES[0], query) for query in QUERIES),
    *(post(BODIES[0], headers=[*PLAIN, header]) for header in HEADERS),
    *OTHERS,
]


def test_each_request_alone() -> None:
    """
    Each request of which the conversations are made is answered the same, twice.
    """
    script = SCRIPTS["applied"]
    for request in ALONE:
        pair = Stage(script, fast_lane=True), Stage(script, fast_lane=False)
        compare(*pair, [Step(request, 2), Step(request, 2), Step(get(b"foo"), 2)])


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ("node0", {}),
        ("node0", {"read_level": ReadLevel.LINEARIZABLE}),
        ("node1", {}),
        ("node1", {"on_follower": OnFollower.FORWARD, "read_level": ReadLevel.AUTO}),
        ("node1", {"on_follower": OnFollower.REDIRECT}),
    ],
    ids=["leader", "leader linearizable", "follower", "forwarding", "redirecting"],
)
def test_real_nodes(asked: str, options: dict[str, object]) -> None:
    """
    A leader and a follower answer the same, whatever they were told at their start.
    """

    def pair() -> tuple[Cluster, Cluster]:
        return (
            Cluster(asked, fast_lane=True, **options),
            Cluster(asked, fast_lane=False, **options),
        )

    compare_for_any_bytes(pair, 60)


SCRIPTS: dict[str, dict[str, object]] = {
    "applied": {"outcome": Applied(42, None)},
    "no answer": {"outcome": None},
    "elsewhere": {"outcome": NotLeader(LEADER)},
    "nowhere": {"outcome": NotLeader(None)},
    "lost": {"outcome": LeadershipLost("x")},
    "overloaded": {"outcome": Overloaded("x")},
    "stopping": {"outcome": Stopped("x")},
    "handing over": {"outcome": TransferInProgress()},
    "token": {"outcome": Applied(7, {"reused": 3})},
    "no member": {"configuration": Configuration((LEADER, OTHER))},
    "no cluster": {"cluster_id": None, "configuration": Configuration(())},
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_whatever_becomes_of_it(script: dict[str, object]) -> None:
    """
    A node answers the same whatever becomes of what it was asked.
    """
    compare_for_any_bytes(
        lambda: (Stage(script, fast_lane=True), Stage(script, fast_lane=False)), 30
    )

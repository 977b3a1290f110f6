"""
HTTP requests at the site.

Routes are taken from the site itself, so one that is added is fuzzed too; with them go
all methods, the queries, headers and bodies of :mod:`tests.web.test_fuzz`, and more.
Two sites take turns: of a real node that leads a cluster of one, and of a server to
which each request turns out in another way.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hraftd.client_requests import ClientRequests
from hraftd.kv.store import KeyValueStore
from hraftd.web.site import HttpSite
from tests.web import OneNode
from tests.web import test_fuzz as web

from .mutation import mutated, nonsense, pieces
from .watching import Growth, attempt, quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Requests", "routes"]

METHODS = [
    *(b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE"),
    *(b"CONNECT", b"PRI", b"get", b"\xff"),
]

#: What stands in a route where it has a variable.
SEGMENTS = [
    *(b"foo", b"a/b", b"%C3%A9", b"%00", b"%2F", b"..", b"%FF", b"+", b"a;b", b"node1"),
    b"k" * 21,
]

MORE_HEADERS = [
    *(b'If-Match: "1"', b"If-Match: *", b'If-None-Match: "7", W/"8"', b'If-Match: "'),
    *(b"If-None-Match: *", b"If-Match: ", b'If-Match: "99999999999999999999"'),
    *(b"Idempotency-Key: token", b"Idempotency-Key: ", b"Idempotency-Key: \xff"),
    *(b"Idempotency-Key: " + b"t" * 300, b"Range: bytes=0-", b"Upgrade: h2c"),
    *(
        b"Connection: upgrade, close",
        b"X-Large: " + b"x" * 9000,
        b": empty",
        b" folded",
    ),
    *(b"Transfer-Encoding: gzip", b"Content-Length: 5", b"Content-Length: -1"),
    *(b"Authorization: Basic \xff", b"Last-Event-ID: 1", b"Host: a", b"Host: b"),
]

MORE_BODIES = [
    *(b"raw value", b"\xff\xfe", b"[]", b"1e999", b'{"id": "node1", "voter": 1}'),
    b'{"if": [], "then": [], "else": []}',
    b'{"if": [{"key": "a", "value": "1"}], "then": [{"set": {"a": "2"}}]}',
    b'{"then": [{"set": {"b": "1"}}, {"delete": "a"}, {"get": "b"}]}',
    b'{"if": [{"key": "a", "exists": false}], "then": [{"delete": 1}], "else": null}',
    b'{"if": [{"key": "a", "index": 3}], "then": [' + b'{"get": "a"},' * 20 + b"{}]}",
]

#: What the fickle server fails with.
_ERRORS = [
    error
    for outcomes in vars(web).values()
    if isinstance(outcomes, list)
    for error in outcomes
    if isinstance(error, Exception)
]

#: What is sent to see whether the site still serves, and what it answers.
_RIGHT = b"GET /nodes HTTP/1.1\r\nHost: localhost\r\n\r\n"


def routes(site: HttpSite) -> list[bytes]:
    """
    Return the rules of all routes of a site, as in ``/key/<segment>``.
    """
    root = site.resource
    apps = (root._keys._app, root._cluster._app)
    rules = {rule.rule for app in apps for rule in app.url_map.iter_rules()}
    return [rule.encode() for rule in sorted(rules)]


class _Fickle(web.FickleServer):
    """
    A fickle server that can forget.
    """

    def forget(self) -> None:
        """
        Forget what is written down for tests, since that grows.
        """
        for told in (self.asked, self.proposed, self.newcomers, self.expected):
            told.clear()
        # The same exceptions all the time; each remembers where it has come along.
        for error in _ERRORS:
            error.with_traceback(None)
            error.__context__ = error.__cause__ = None


class Requests:
    """
    Connections with requests on them, one after the other.
    """

    def __init__(self, seed: int, first: int = 0) -> None:
        """
        Begin with that attempt.
        """
        self._seed = seed
        self._number = first
        self._clock = Clock()
        self._fickle = _Fickle()
        scripted = ClientRequests(
            self._fickle,
            KeyValueStore(),
            self._clock,
            limits=web.LIMITS,
            snapshot_timeout=9.0,
        )
        self._sites = [
            OneNode(self._clock, limits=web.LIMITS).site,
            HttpSite(scripted, self._fickle, self._clock),
        ]
        self._routes = routes(self._sites[0])
        self._timers = len(self._clock.getDelayedCalls())
        self.growth = Growth()
        self.sent = 0
        #: How many answers had which status.
        self.statuses: dict[int, int] = {}

    def send(self, requests: int, *, real: bool | None = None) -> None:
        """
        Send so many requests.

        :param real: whether only to the real node; ``None`` lets them take turns.
        """
        enough = self.sent + requests
        with (
            attempt(self._seed, self._number, "or one that follows"),
            quiet("hraftd.web", "twisted.web"),
        ):
            while self.sent < enough:
                which = self._number % 2 if real is None else int(not real)
                self._connect(self._sites[which])

    def _connect(self, site: HttpSite) -> None:
        """
        Send a few requests on a connection of their own.
        """
        number, self._number = self._number, self._number + 1
        rng = Random(f"{self._seed} {number}")
        self._fickle.rng = rng
        requests = [self._request(rng) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
        sent = b"".join(requests)
        if rng.random() < 0.1:
            sent = mutated(rng, sent)
        self.sent += len(requests)
        with attempt(self._seed, number, sent):
            for code in self._answers(site, rng, sent):
                self.statuses[code] = self.statuses.get(code, 0) + 1
            self._fickle.forget()
            if number % 50 < 2:
                assert list(self._answers(site, rng, _RIGHT)) == [200]
            assert site.channels == set()
            assert len(self._clock.getDelayedCalls()) <= self._timers

    def _answers(self, site: HttpSite, rng: Random, sent: bytes) -> Iterator[int]:
        transport = StringTransport()
        channel = site.buildProtocol(None)
        channel.makeConnection(transport)
        for piece in pieces(rng, sent):
            if transport.disconnecting or transport.disconnected:
                break
            channel.dataReceived(piece)
        # Time enough for whatever a node does, and for its deadlines.
        self._clock.pump([0.0, 0.025, 0.025, 0.025])
        if rng.random() < 0.3:
            self._clock.pump([10.0, 0.025])
        channel.connectionLost(Failure(ConnectionLost()))
        # What was asked for and nobody waits for any more.
        self._clock.pump([10.0, 60.0, 0.025])
        yield from _read(transport.value())

    def _request(self, rng: Random) -> bytes:
        """
        Return a whole request, which may be nonsense.
        """
        kind = rng.random()
        if kind < 0.05:
            return nonsense(rng)
        if kind < 0.35:
            return web.random_request(rng)
        if kind < 0.6:
            method, target, body = rng.choice(web.SENSIBLE)
        else:
            method, body = rng.choice(METHODS), rng.choice([*web.BODIES, *MORE_BODIES])
            target = rng.choice(self._routes)
        while b"<" in target:
            before, _, rest = target.partition(b"<")
            target = before + rng.choice(SEGMENTS) + rest.partition(b">")[2]
        if rng.random() < 0.3:
            target += b"".join(rng.choices(web.PIECES, k=rng.choice((1, 2))))
        if rng.random() < 0.1:
            target = mutated(rng, target).replace(b" ", b"")
        if rng.random() < 0.15:
            body = mutated(rng, body)
        headers = rng.sample(
            [*web.HEADERS, *MORE_HEADERS], rng.choice((0, 0, 0, 0, 1, 3))
        )
        headers.append(b"Content-Length: %d" % len(body))
        head = b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), *headers])
        return head + b"\r\n\r\n" + body


def _read(data: bytes) -> Iterator[int]:
    """
    Read answers, one after the other; make sure that all are as documented.

    :return: their statuses.
    """
    assert b"Traceback" not in data
    while data := data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"):
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        status, *lines = head.split(b"\r\n")
        assert status.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), status
        code = int(status.split(b" ")[1])
        assert code < 500 or code in (503, 504), status
        headers = dict(line.split(b": ", 1) for line in lines)
        if code not in (204, 304):
            assert headers[b"Content-Type"] == b"application/json", head
        assert (code == 405) == (b"Allow" in headers)
        assert (code == 503) == (b"Retry-After" in headers)
        if data.startswith((b"{", b"[")):
            # Not so behind HEAD.
            length = int(headers[b"Content-Length"])
            body, data = data[:length], data[length:]
            content = json.loads(body)
            assert code < 300 or isinstance(content["error"], str)
        yield code

"""
HTTP as bytes: what a connection takes, how long, and what it says to garbage.
"""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hraftd.client_requests import ClientRequests
from hraftd.kv.store import KeyValueStore
from hraftd.limits import Limits
from hraftd.outcomes import Applied
from hraftd.raft.errors import NotLeader
from hraftd.web.channel import LINGER
from hraftd.web.site import CLOSE_SECONDS, TIMEOUT, HttpSite
from tests.web import LEADER, Answer, OneNode, ScriptedServer, received

LIMITS = Limits(max_body_bytes=1000)


class Wire(SynchronousTestCase):
    """
    One connection to a node, as bytes.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        self.clock = Clock()
        self.server = ScriptedServer(outcome=Applied(42, None))
        self.requests = ClientRequests(
            self.server, KeyValueStore(), self.clock, limits=LIMITS
        )
        self.site = HttpSite(self.requests, self.server, self.clock)
        self.events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.connect()

    def connect(self) -> None:
        """
        Open another connection, used from now on.
        """
        self.transport = StringTransport()
        self.transport.abortConnection = self.transport.loseConnection
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """
        Let bytes arrive, unless the node has closed the connection.
        """
        assert not self.transport.disconnecting
        self.channel.dataReceived(data)

    def lose(self) -> None:
        """
        Let the client go away.
        """
        self.channel.connectionLost(Failure(ConnectionLost()))

    @property
    def answers(self) -> list[Answer]:
        """
        What has come back so far.
        """
        return list(received(self.transport))

    @property
    def codes(self) -> list[int]:
        """
        The status codes of what has come back so far.
        """
        return [answer.code for answer in self.answers]


def post(body: bytes, *headers: bytes, path: bytes = b"/key") -> bytes:
    """
    Return a complete POST.
    """
    lines = [b"POST %b HTTP/1.1" % path, b"Host: x", *headers]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


GET = b"GET /key/foo HTTP/1.1\r\nHost: x\r\n\r\n"
SET = post(b'{"foo": "bar"}')
#: Nothing for the fast lane.
STATUS = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"


class ConnectionTests(Wire):
    """
    Many requests on one connection.
    """

    def test_keep_alive(self) -> None:
        """
        A connection stays open for the next request.
        """
        for _ in range(3):
            self.send(SET)
        assert self.codes == [200, 200, 200]
        assert not self.transport.disconnecting

    def test_close(self) -> None:
        """
        A client that asks for it gets the connection closed, as does HTTP/1.0.
        """
        self.send(post(b'{"a": "1"}', b"Connection: close"))
        assert self.transport.disconnecting
        assert self.answers[0].headers["Connection"] == "close"
        self.connect()
        self.send(b"GET /key/foo HTTP/1.0\r\n\r\n")
        assert self.transport.disconnecting
        assert self.codes == [404]

    def test_pipelining(self) -> None:
        """
        Requests that come together are served one after another, in order.
        """
        self.server.outcome = None
        self.send(SET + GET + SET)
        assert self.codes == []
        assert len(self.server.proposed) == 1
        self.server.proposed[0][1].callback(Applied(1, None))
        assert self.codes == [200, 404]
        self.server.proposed[1][1].callback(Applied(2, None))
        assert [answer.json.get("index") for answer in self.answers] == [1, None, 2]

    def test_byte_by_byte(self) -> None:
        """
        Where the network splits a request makes no difference.
        """
        for byte in SET + GET:
            self.send(bytes([byte]))
        assert self.codes == [200, 404]

    def test_many_pipelined_bytes_wait_outside(self) -> None:
        """
        Who sends on and on without waiting for answers is not read any further.
        """
        self.server.outcome = None
        self.send(SET)
        self.send(SET * 1000)
        assert self.transport.producerState == "paused"
        assert len(self.server.proposed) == 1

    def test_client_goes_away(self) -> None:
        """
        A client that leaves before its answer leaves nothing behind, and no log.
        """
        self.server.outcome = None
        self.send(SET + SET)
        self.lose()
        [(_, answer)] = self.server.proposed
        assert answer.called
        assert self.clock.getDelayedCalls() == []
        assert self.site.channels == set()
        assert self.events == []

    def test_client_goes_away_in_mid_request(self) -> None:
        """
        Half a request has no effect and leaves nothing behind.
        """
        self.lose()
        for end in (3, 20, 60, len(SET) - 1):
            self.connect()
            self.send(SET[:end])
            self.lose()
        assert self.server.proposed == []
        assert self.clock.getDelayedCalls() == []
        assert self.events == []

    def test_nothing_is_logged(self) -> None:
        """
        Requests that went well, or were refused, are no news.
        """
        self.site.doStart()
        self.send(SET + GET + post(b"nonsense"))
        self.lose()
        self.site.doStop()
        assert self.codes == [200, 404, 400]
        assert self.events == []
        assert self.clock.getDelayedCalls() == []

    def test_any_host(self) -> None:
        """
        What the client calls the node does not matter, nor that it is no name.
        """
        for host in (b"[::1]:1", b"\xff\xfe", b"a" * 300, b"..", b"", b"x:y:z"):
            self.connect()
            self.send(b"GET /key/foo HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            assert self.codes == [404], host

    def test_status_lines(self) -> None:
        """
        Each status has its own phrase, also the one that twisted.web does not know.
        """
        self.send(GET)
        self.server.outcome = NotLeader(LEADER)
        self.send(SET)
        value = self.transport.value()
        assert value.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"\nHTTP/1.1 421 Misdirected Request\r\n" in value.replace(b"}", b"}\n")

    def test_server_does_not_tell_its_version(self) -> None:
        """
        What serves HTTP here is nobody's business.
        """
        self.send(GET)
        assert self.answers[0].headers["Server"] == "hraftd"


class TargetTests(SynchronousTestCase):
    """
    Paths as they come over the wire, where no client library has touched them.
    """

    def ask(self, target: bytes, method: bytes = b"GET", body: bytes = b"") -> Answer:
        """
        Make one request to a node that knows some odd keys.
        """
        clock = Clock()
        node = OneNode(clock)
        keys = (b"/", b"//", b"a//b", b"a/", b"../a", b"a/../b", b"?", b"+ +")
        for index, key in enumerate(keys):
            command = b"S" + b"\0\0\0\1" + bytes([0, 0, 0, len(key), 0, 0, 0, 1])
            node.store.apply(index, command + key + b"v")
        transport = StringTransport()
        channel = node.site.buildProtocol(None)
        channel.makeConnection(transport)
        head = b"%b %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
        channel.dataReceived(head % (method, target, len(body)) + body)
        clock.pump([0.0, 0.025])
        [answer] = received(transport)
        return answer

    def test_keys(self) -> None:
        """
        The key is all that stands behind ``/key/``, dots and slashes included.
        """
        for path, key in {
            b"/key//": "/",
            b"/key/%2F": "/",
            b"/key///": "//",
            b"/key/a//b": "a//b",
            b"/key/a/%2fb": "a//b",
            b"/key/a/": "a/",
            b"/key/../a": "../a",
            b"/key/a/../b": "a/../b",
            b"/key/a/%2E%2e/b": "a/../b",
            b"/key/%3f": "?",
            b"/key/+%20+": "+ +",
        }.items():
            answer = self.ask(path)
            assert (answer.code, answer.json) == (200, {key: "v"}), path

    def test_no_redirect_for_slashes(self) -> None:
        """
        No path is sent to another one that looks nicer.
        """
        for path in (
            *(b"/", b"//", b"/key//x", b"//key/a/", b"/status/", b"/join/"),
            *(b"/keys", b"/key.", b"/./key/a/", b"/KEY/a/", b"//status"),
        ):
            assert self.ask(path).code == 404, path

    def test_raw_bytes(self) -> None:
        """
        Bytes that should be encoded are never taken for something else.
        """
        assert self.ask(b"/key/\x80").code == 400
        assert self.ask(b"/\x80").code == 404
        assert self.ask(b"/status?\x80").code == 400
        assert self.ask(b"/key/a/#frag").code == 404

    def test_absolute_form(self) -> None:
        """
        A target as it is sent to proxies is understood (RFC 9112 3.2.2).
        """
        assert self.ask(b"http://anything:1/key/a/").json == {"a/": "v"}
        assert self.ask(b"HTTPS://x/status").code == 200
        assert self.ask(b"http://x").code == 400
        assert self.ask(b"http://x?a").code == 400

    def test_no_path(self) -> None:
        """
        What does not begin with a slash is refused, in JSON as everything.
        """
        for target in (b"key/a/", b"x:1", b"mailto:me", b"?a"):
            assert self.ask(target).code == 400, target
        assert self.ask(b"*", b"OPTIONS").code == 404
        assert self.ask(b"*").json["error"]

    def test_odd_methods(self) -> None:
        """
        Methods are case-sensitive, and any token may be one.
        """
        assert self.ask(b"/key/a/", b"get").code == 400
        assert self.ask(b"/key/a/", b"head").code == 400
        assert self.ask(b"/key/a/", b"!#$%&'*+-.^_`|~").code == 405
        assert self.ask(b"/key/a/", b"CONNECT").code == 405
        assert self.ask(b"/nowhere", b"DELETE").code == 404


class BodyTests(Wire):
    """
    Bodies, in each way in which they can be sent.
    """

    def test_chunked(self) -> None:
        """
        A body in chunks is as good as one with a length.
        """
        self.send(
            b"POST /key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'8\r\n{"foo": \r\n6;x=y\r\n"bar"}\r\n0\r\nTrailer: x\r\n\r\n' + GET
        )
        assert self.codes == [200, 404]

    def test_expect_continue(self) -> None:
        """
        A client that asks first (curl, above 1 MiB) is invited, then served.
        """
        head, body = post(b'{"a": "1"}', b"Expect: 100-continue").split(b"\r\n\r\n")
        self.send(head + b"\r\n\r\n")
        assert self.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
        self.send(body)
        assert self.codes == [100, 200]

    def test_too_large_by_length(self) -> None:
        """
        A body that says it is too large is refused before it comes, and not kept.
        """
        self.send(b"POST /key HTTP/1.1\r\nContent-Length: 1001\r\n\r\n")
        [answer] = self.answers
        assert answer.code == 413
        assert answer.headers["Connection"] == "close"
        assert answer.headers["Content-Type"] == "application/json"
        assert "1000 bytes" in answer.json["error"]
        assert not self.transport.disconnecting
        self.send(b"x" * 1000)
        assert self.channel.requests[0].content.getvalue() == b""
        self.send(b"x")
        assert self.transport.disconnecting
        assert self.codes == [413]
        assert self.server.proposed == []

    def test_absurd_length(self) -> None:
        """
        A length that no machine has is only a number.
        """
        self.send(b"POST /key HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % 10**30)
        assert self.codes == [413]

    def test_too_large_is_not_invited(self) -> None:
        """
        Who asks first whether to send a body that is too large hears a no.
        """
        self.send(
            b"POST /key HTTP/1.1\r\nExpect: 100-continue\r\n"
            b"Content-Length: 1001\r\n\r\n"
        )
        assert self.codes == [413]

    def test_too_large_in_chunks(self) -> None:
        """
        A body without a length is refused as soon as it is too large.
        """
        self.send(b"POST /key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            self.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        assert self.codes == []
        self.send(b"1\r\n")
        assert self.codes == []
        self.send(b"x\r\n")
        assert self.codes == [413]
        self.send(b"FFFFFFFF\r\n" + b"x" * 100_000)
        assert self.channel.requests[0].content.getvalue() == b""
        assert self.codes == [413]

    def test_refused_sender_gets_some_time(self) -> None:
        """
        The rest of a refused body is read for a moment, however much it is.

        To close at once would reset the connection under a client that sends, and
        take the answer from it.
        """
        self.send(b"POST /key HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(10):
            self.clock.advance(LINGER / 10 - 0.001)
            self.send(b"x" * 1000)
        self.clock.advance(0.02)
        assert self.transport.disconnecting
        self.lose()
        assert self.clock.getDelayedCalls() == []
        assert self.events == []

    def test_garbage_in_a_refused_body(self) -> None:
        """
        A body that was refused gets no second answer.
        """
        self.send(b"POST /key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.send(b"fff\r\n" + b"x" * 4095 + b"\r\n")
        self.send(b"garbage\r\n")
        assert self.codes == [413]
        assert self.transport.disconnecting

    def test_exact_limit(self) -> None:
        """
        A body of exactly the limit is taken, in both ways.
        """
        body = b'{"a": ""}' + b" " * 991
        self.send(post(body))
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self.send(b"POST /key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        assert self.codes == [200, 200]

    def test_forms_are_not_parsed(self) -> None:
        """
        Whatever the body is called, it is read as JSON and as nothing else.
        """
        body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
        for content_type, sent in (
            (b"multipart/form-data; boundary=x", body),
            (b"multipart/form-data; boundary=x", b"--x\r\nno multipart"),
            (b"multipart/form-data", b"x"),
            (b"application/x-www-form-urlencoded", b"a=1&b=2" * 50),
        ):
            self.connect()
            self.send(post(sent, b"Content-Type: " + content_type))
            assert self.codes == [400]
            assert "JSON" in self.answers[0].json["error"]
            assert not self.transport.disconnecting


class TimeTests(Wire):
    """
    How long a client may take.
    """

    def test_idle(self) -> None:
        """
        A connection on which nothing is asked is closed after a while, quietly.
        """
        self.send(GET)
        self.clock.advance(TIMEOUT - 1)
        assert not self.transport.disconnecting
        self.clock.advance(1)
        assert self.transport.disconnecting
        self.lose()
        assert self.events == []

    def test_silent_from_the_start(self) -> None:
        """
        So is one on which nothing was ever asked.
        """
        self.clock.advance(TIMEOUT)
        assert self.transport.disconnecting

    def test_slow_sender(self) -> None:
        """
        A byte now and then does not keep a connection open for ever.
        """
        for sender in (b"GET /key/" + b"x" * 500, SET.ljust(500)):
            self.connect()
            self.clock.advance(TIMEOUT - 1)
            for byte in sender[: TIMEOUT - 1]:
                self.send(bytes([byte]))
                self.clock.advance(1)
            self.send(b"x")
            self.clock.advance(1)
            assert self.transport.disconnecting
            self.lose()

    def test_slow_body(self) -> None:
        """
        The time counts for head and body together.
        """
        head, body = SET[:-14], SET[-14:]
        self.send(head)
        self.clock.advance(TIMEOUT - 1)
        self.send(body[:-1])
        self.clock.advance(1)
        assert self.transport.disconnecting
        assert self.server.proposed == []

    def test_each_request_has_its_own_time(self) -> None:
        """
        A request that begins late on an idle connection is not cut off.
        """
        for _ in range(3):
            self.clock.advance(TIMEOUT - 1)
            self.send(SET[:10])
            self.clock.advance(TIMEOUT - 1)
            self.send(SET[10:])
        assert self.codes == [200, 200, 200]

    def test_slow_answer(self) -> None:
        """
        While the node works on a request no time runs but the write's own.
        """
        self.requests = ClientRequests(
            self.server, KeyValueStore(), self.clock, write_timeout=10 * TIMEOUT
        )
        self.site = HttpSite(self.requests, self.server, self.clock)
        self.connect()
        self.server.outcome = None
        self.send(SET)
        self.clock.advance(9 * TIMEOUT)
        assert not self.transport.disconnecting
        self.server.proposed[0][1].callback(Applied(1, None))
        assert self.codes == [200]
        self.clock.advance(TIMEOUT)
        assert self.transport.disconnecting

    def test_client_that_does_not_read(self) -> None:
        """
        A closed connection whose rest nobody takes is cut off in the end.
        """
        cut: list[bool] = []
        self.transport.abortConnection = lambda: cut.append(True)
        self.clock.advance(TIMEOUT)
        assert cut == []
        self.clock.advance(15)
        assert cut == [True]


class GarbageTests(Wire):
    """
    What is not HTTP is answered in JSON nevertheless, and ends its connection only.
    """

    def setUp(self) -> None:
        """
        Begin without a connection.
        """
        super().setUp()
        self.lose()

    def refused(self, data: bytes) -> None:
        """
        Send garbage on a new connection.
        """
        self.connect()
        self.send(data)
        [answer] = self.answers
        assert answer.code == 400
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json["error"]
        assert self.transport.disconnecting
        self.lose()
        assert self.clock.getDelayedCalls() == []
        assert self.events == []
        assert self.server.proposed == []

    def test_request_lines(self) -> None:
        """
        Lines that are no request line.
        """
        for line in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET",
            b"GET /",
            b"GET / HTTP/9.9",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/1.1 x",
            b"G\xc3\x89T / HTTP/1.1",
            b"GET /\x00 HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"SSH-2.0-OpenSSH",
        ):
            self.refused(line + b"\r\n\r\n")

    def test_headers(self) -> None:
        """
        Headers that are none, or that say two things about the length.
        """
        for header in (
            b"no colon",
            b": no name",
            b"sp ace: x",
            b"X: \x00",
            b"Content-Length: -1",
            b"Content-Length: 1x",
            b"Content-Length: " + b"9" * 5000,
            b"Content-Length: 1\r\nContent-Length: 2",
            b"Content-Length: 1\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: gzip",
        ):
            self.refused(b"POST /key HTTP/1.1\r\n" + header + b"\r\n\r\n")

    def test_chunks(self) -> None:
        """
        Chunks that are none.
        """
        for chunk in (b"x\r\n", b"-1\r\n", b"1\r\nxy\r\n", b"1" * 2000, b"0x1\r\nx"):
            self.refused(
                b"POST /key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
            )

    def test_huge_header(self) -> None:
        """
        A line that does not end, a header line or all lines that are too long.
        """
        self.refused(b"x" * 40_000)
        self.refused(b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n")
        self.refused(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n")
        self.refused(b"GET / HTTP/1.1\r\n" + b"X: xxxxxx\r\n" * 4000 + b"\r\n")
        self.refused(b"GET / HTTP/1.1\r\n" + b"X:\r\n" * 501 + b"\r\n")


class StopTests(Wire):
    """
    Letting go of all connections.
    """

    def test_disconnect(self) -> None:
        """
        All connections are closed, with an answer under way or not.
        """
        first = self.channel, self.transport
        self.server.outcome = None
        self.send(SET)
        self.connect()
        gone = self.site.disconnect()
        again = self.site.disconnect()
        assert self.transport.disconnecting
        assert first[1].disconnecting
        self.lose()
        self.assertNoResult(gone)
        first[0].connectionLost(Failure(ConnectionLost()))
        self.successResultOf(gone)
        self.successResultOf(again)
        assert self.clock.getDelayedCalls() == []
        assert self.site.buildProtocol(None) is None

    def test_disconnect_without_connections(self) -> None:
        """
        Where there is nobody there is nothing to wait for.
        """
        self.lose()
        self.successResultOf(self.site.disconnect())
        self.successResultOf(self.site.disconnect())

    def test_client_that_does_not_read(self) -> None:
        """
        A client that does not take its answer holds nothing up for long.
        """
        cut: list[bool] = []
        self.transport.abortConnection = lambda: cut.append(True)
        self.site.disconnect()
        self.clock.advance(CLOSE_SECONDS)
        assert cut == [True]


class UnforeseenTests(Wire):
    """
    Errors outside of the routes, where twisted.web would answer in HTML.
    """

    def test_processing_failed(self) -> None:
        """
        Whatever fails, wherever: 500 in JSON, and the log has the traceback.
        """
        self.site.resource.render = lambda request: 1 / 0
        self.send(STATUS)
        [answer] = self.answers
        assert answer.code == 500
        assert answer.headers["Content-Type"] == "application/json"
        assert list(answer.json) == ["error"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        self.send(STATUS)
        assert self.codes == [500, 500]
        self.flushLoggedErrors(ZeroDivisionError)

    def test_processing_failed_without_a_client(self) -> None:
        """
        The same when the client has gone meanwhile: nobody is answered.
        """

        def leave(request: object) -> None:
            self.lose()
            raise ZeroDivisionError

        self.site.resource.render = leave
        self.send(STATUS)
        assert self.codes == []
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1


@pytest.mark.parametrize("headers", [b"", b"Content-Length: 5\r\n"])
def test_get_with_a_body(headers: bytes) -> None:
    """
    A body that means nothing is read, and does not become the next request.
    """
    clock = Clock()
    transport = StringTransport()
    channel = OneNode(clock).site.buildProtocol(None)
    channel.makeConnection(transport)
    body = b"hello" if headers else b""
    channel.dataReceived(b"GET /key/foo HTTP/1.1\r\n" + headers + b"\r\n" + body + GET)
    assert [answer.code for answer in received(transport)] == [404, 404]

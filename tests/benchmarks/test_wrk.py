"""
What wrk is told to send, and what is read out of what it prints.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
from base64 import b64decode
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.requests import KEY, Kind, Request, key_name, value_of
from benchmarks.systems import SYSTEMS
from benchmarks.wrk import INSTALL, read_output, run_wrk

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the benchmarks need Linux"
)

WELL = """\
Running 1s test @ http://127.0.0.1:21211/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    17.30ms    7.02ms  64.53ms   78.11%
    Req/Sec     1.62k   211.30     1.89k    70.00%
  1614 requests in 1.01s, 1.02MB read
Requests/sec:   1598.05
Transfer/sec:      1.01MB
figures {"requests": 1614, "seconds": 1.009978, "p50_us": 17302, "p99_us": 45898, \
"max_us": 64526, "bad": 0, "socket_errors": 0, "timeouts": 0}
"""

BADLY = """\
Running 8s test @ http://127.0.0.1:30303/
  1 threads and 512 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.93s   311.00ms   4.98s    91.70%
    Req/Sec   211.00     52.10   380.00     66.67%
  1000 requests in 8.00s, 0.30MB read
  Socket errors: connect 1, read 2, write 0, timeout 40
  Non-2xx or 3xx responses: 200
Requests/sec:    125.00
Transfer/sec:     38.40KB
figures {"requests": 1000, "seconds": 8.000000, "p50_us": 1930000, "p99_us": 4900000, \
"max_us": 4980000, "bad": 200, "socket_errors": 3, "timeouts": 40}
"""


def test_what_wrk_says() -> None:
    """
    A load without anything wrong is read as it was printed.
    """
    result = read_output(WELL)
    assert (result.requests, result.good, result.bad) == (1614, 1614, 0)
    assert (result.p50_us, result.p99_us, result.max_us) == (17302, 45898, 64526)
    assert result.rate == pytest.approx(1598.05, rel=1e-4)


def test_what_went_wrong_is_no_achievement() -> None:
    """
    Answers with an error are counted, and are no part of the rate.
    """
    result = read_output(BADLY)
    assert (result.bad, result.socket_errors, result.timeouts) == (200, 3, 40)
    assert result.rate == 100


def test_a_wrk_that_fails() -> None:
    """
    Output without figures is an error that shows the output.
    """
    with pytest.raises(ValueError, match="unable to connect"):
        read_output("unable to connect to 127.0.0.1:9 Connection refused\n")


def split(data: bytes) -> tuple[list[str], bytes]:
    """
    Take a request apart.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("name", ["hraftd", "etcd", "pysyncobj"])
def test_bodies(name: str, count: int) -> None:
    """
    A body is JSON of the length that its head says, with the keys and the value that
    are meant, whatever the system wants them to look like.
    """
    request = SYSTEMS[name].body_of_many(value_of(100))
    assert request is not None
    lines, body = split(request.pattern(count).with_keys(range(count)))
    assert f"Content-Length: {len(body)}" in lines
    content = json.loads(body)
    if name == "etcd":
        puts = [each["request_put"] for each in content["success"]]
        content = {
            b64decode(put["key"]).decode(): b64decode(put["value"]).decode()
            for put in puts
        }
    assert content == {key_name(number): value_of(100) for number in range(count)}


def test_reads_name_their_key() -> None:
    """
    Where the key is in the path there is no body.
    """
    request = SYSTEMS["hraftd"].request(Kind.LINEARIZABLE_READ, "")
    assert request is not None
    lines, body = split(request.pattern().with_keys([42]))
    assert lines[0] == "GET /key/key000000042?level=linearizable HTTP/1.1"
    assert body == b""
    assert not any(line.startswith("Content-Length") for line in lines)


class Recorder:
    """
    A server that keeps what it is sent, and answers every third request with an error.
    """

    def __init__(self) -> None:
        """
        Listen.
        """
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            while data := connection.recv(65536):
                self.requests.append(data)
                good = len(self.requests) % 3
                status = b"200 OK" if good else b"503 Service Unavailable"
                connection.send(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)

    def close(self) -> None:
        """
        Stop, and wait for all threads.
        """
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """
    Serve for the time of a test.
    """
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.mark.skipif(shutil.which("wrk") is None, reason=INSTALL)
def test_what_wrk_sends(recorder: Recorder) -> None:
    """
    Wrk sends the same bytes as are made here, in plain and in base64, spread over all
    keys; and what is answered with an error is counted as that.
    """
    item = f'{{"key": "{KEY}"}}'
    plain = Request("GET", f"/key/{KEY}?level=none").pattern()
    encoded = Request("POST", "/range", "", item, "", True).pattern()
    several = Request("POST", "/all", "[", item, "]", True).pattern(3)
    result = run_wrk(recorder.port, 1, 1, 10, [plain, encoded, several])
    assert result.requests > 100
    sent = recorder.requests
    assert result.bad > 0
    assert abs(result.bad - len(sent) // 3) <= 1
    patterns = [plain, encoded, several]
    assert result.good + result.bad == result.requests
    # In turn, as long as there is time.
    numbers: dict[int, set[Any]] = {0: set(), 1: set(), 2: set()}
    for place, data in enumerate(sent[:3000]):
        # wrk has made one request before, to see what it is like.
        kind = (place + 1) % 3
        [numbers_sent] = [
            start
            for start in range(10)
            if data
            == patterns[kind].with_keys(
                [(start + more) % 10 for more in range(patterns[kind].count)]
            )
        ]
        numbers[kind].add(numbers_sent)
    assert [len(each) for each in numbers.values()] == [10, 10, 10]

"""
What the fast lane takes for a hot request, and what it leaves to twisted.web.
"""

from __future__ import annotations

import pytest

from hraftd.web.hot_requests import MAX_BLOCK_BYTES, MAX_BLOCKS, HotRequests

GET = b"GET /key/foo HTTP/1.1\r\n"
POST = b"POST /key HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"Host: x\r\n",
        b"host:x\r\nACCEPT:\t*/* \r\n",
        b"Host: x\r\nUser-Agent: a b (c; d)\r\nAccept-Encoding: gzip\r\n",
        b"Connection: keep-alive\r\nAccept-Language: de\r\n",
        b"Connection: Keep-Alive\r\nContent-Type: a/b\r\nContent-Length: 0\r\n",
    ],
)
def test_harmless_headers(headers: bytes) -> None:
    """
    Headers that change nothing are let through, in any order and spelling.
    """
    data = b"before" + GET + headers + b"\r\nbehind"
    assert HotRequests().get(data, 6) == (len(data) - 6, b"foo", None)


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: x\r\nHost: x\r\n",
        b"Host: x\r\nhOST: y\r\n",
        b"Content-Length: 1\r\n",
        b"Content-Length: 0\r\nContent-Length: 0\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length:\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive, close\r\n",
        b"Connection: Upgrade\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"If-Match: *\r\n",
        b'If-None-Match: "1"\r\n',
        b"Idempotency-Key: x\r\n",
        b"Cookie: a=b\r\n",
        b"X-Unknown: x\r\n",
        b"Host : x\r\n",
        b" Host: x\r\n",
        b"Host: x\r\n folded\r\n",
        b"Host: \xff\r\n",
        b"Host: a\x00b\r\n",
        b"Host: a\rb\r\n",
        b"Host: a\nX: b\r\n",
        b"Host\r\n",
        b"Host: %b\r\n" % (b"x" * MAX_BLOCK_BYTES),
    ],
)
def test_other_headers(headers: bytes) -> None:
    """
    Whatever might mean something is not, and neither is what is wrong.
    """
    assert HotRequests().get(GET + headers + b"\r\n", 0) is None
    assert HotRequests().post(POST + headers + b"\r\n", 0) is None


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"GET /key/foo HTTP/1.1", (b"foo", None)),
        (b"GET /key/a//b/ HTTP/1.1", (b"a//b/", None)),
        (b"GET /key/%C3%a9#;+ HTTP/1.1", (b"%C3%a9#;+", None)),
        (b"GET /key/foo?level=weak HTTP/1.1", (b"foo", b"?level=weak")),
        (b"GET /key/foo?level= HTTP/1.1", None),
        (b"GET /key/foo?level=weak&level=weak HTTP/1.1", None),
        (b"GET /key/foo?freshness=1s HTTP/1.1", None),
        (b"GET /key/foo? HTTP/1.1", None),
        (b"GET /key/ HTTP/1.1", None),
        (b"GET /key HTTP/1.1", None),
        (b"GET /key/%f HTTP/1.1", None),
        (b"GET /key/%zz HTTP/1.1", None),
        (b"GET /key/a b HTTP/1.1", None),
        (b"GET /key/\xa0 HTTP/1.1", None),
        (b"GET /key/\x7f HTTP/1.1", None),
        (b"GET /keys/a HTTP/1.1", None),
        (b"GET http://x/key/a HTTP/1.1", None),
        (b"GET /key/foo HTTP/1.0", None),
        (b"GET /key/foo  HTTP/1.1", None),
        (b"GET  /key/foo HTTP/1.1", None),
        (b"get /key/foo HTTP/1.1", None),
        (b"HEAD /key/foo HTTP/1.1", None),
        (b"\r\nGET /key/foo HTTP/1.1", None),
    ],
)
def test_targets(line: bytes, found: tuple[bytes, bytes | None] | None) -> None:
    """
    A key is anything that is encoded well; a query is a level or nothing.
    """
    data = line + b"\r\nHost: x\r\n\r\n"
    expected = None if found is None else (len(data), *found)
    assert HotRequests().get(data, 0) == expected
    assert HotRequests().post(data, 0) is None


def test_body() -> None:
    """
    A write is found when its whole body is there, and ends with it.
    """
    head = POST + b"Host: x\r\nContent-Length: 4\r\n\r\n"
    hot = HotRequests()
    assert hot.post(head + b"body and more", 0) == (len(head) + 4, b"body")
    assert hot.post(b"GET" + head + b"body", 3) == (len(head) + 7, b"body")
    assert hot.post(head + b"bod", 0) is None
    assert hot.get(head + b"body", 0) is None
    for line in (
        b"POST /key?ttl=1 HTTP/1.1",
        b"POST /key/ HTTP/1.1",
        b"PUT /key HTTP/1.1",
    ):
        assert hot.post(head.replace(POST, line + b"\r\n") + b"body", 0) is None


@pytest.mark.parametrize("end", range(len(GET + b"Host: x\r\n\r\n")))
def test_not_all_there(end: int) -> None:
    """
    A header that goes on is no hot request, wherever it breaks off.
    """
    assert HotRequests().get((GET + b"Host: x\r\n\r\n")[:end], 0) is None


def test_headers_are_remembered_in_bounds() -> None:
    """
    Whoever sends other headers each time does not fill the memory with them.
    """
    hot = HotRequests()
    for number in range(2 * MAX_BLOCKS + 10):
        data = GET + b"Host: %d\r\n\r\n" % number
        assert hot.get(data, 0) is not None
        assert len(hot._lengths) <= MAX_BLOCKS
    assert len(hot._lengths) == 10
    assert hot.get(GET + b"X: x\r\n\r\n", 0) is None
    # The second time it is not read, but looked up.
    assert hot.get(GET + b"X: x\r\n\r\n", 0) is None

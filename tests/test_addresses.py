"""
Addresses as operators write them.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock

from hraftd.addresses import (
    Address,
    advertised_address,
    is_wildcard,
    listening_endpoint,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:11000", "localhost", 11000),
        (":11000", "localhost", 11000),
        ("node1.example.org:12000", "node1.example.org", 12000),
        ("node_1:1", "node_1", 1),
        ("node1.:65535", "node1.", 65535),
        ("192.0.2.1:12000", "192.0.2.1", 12000),
        ("[::1]:12000", "::1", 12000),
        ("[fe80::1%eth0]:12000", "fe80::1%eth0", 12000),
        ("bücher.example:012", "bücher.example", 12),
        ("7node:12000", "7node", 12000),
    ],
)
def test_address(text: str, host: str, port: int) -> None:
    """
    A host and a port are told apart, whichever way the host is written.
    """
    assert parse_address(text) == Address(host, port)
    assert parse_address(str(parse_address(text))) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not host:port"),
        ("11000", "not host:port"),
        ("localhost", "not host:port"),
        ("localhost:", "'' in 'localhost:' is no port"),
        ("localhost:http", "'http' in"),
        ("localhost:-1", "'-1' in"),
        ("localhost:+1", "no port"),
        ("localhost: 1", "no port"),
        ("localhost:1_0", "no port"),
        ("localhost:\u0661", "no port"),
        ("localhost:65536", "more than the largest port"),
        ("localhost:999999", "no port"),
        ("localhost:0", "nobody can dial port 0"),
        ("::1:12000", "needs brackets"),
        ("a:b:12000", "needs brackets"),
        ("[::1]12000", "needs brackets"),
        ("[::1:12000", "needs brackets"),
        ("[::g]:12000", "no IPv6 address"),
        ("[127.0.0.1]:12000", "no IPv6 address"),
        ("[]:12000", "no IPv6 address"),
        ("http://localhost:11000", "needs brackets"),
        ("a/b:11000", "no name of a host"),
        ("a b:11000", "no name of a host"),
        ("a..b:11000", "no name of a host"),
        (".:11000", "no name of a host"),
        ("a\n:11000", "no name of a host"),
        ("a@b:11000", "no name of a host"),
        ("*:11000", "no name of a host"),
        ("x" * 64 + ":1", "no name of a host"),
        ("x." * 127 + "x:1", "no name of a host"),
        ("1.2.3:11000", "no IPv4 address"),
        ("256.0.0.1:11000", "no IPv4 address"),
        ("0:11000", "no IPv4 address"),
        ("127.0.0.1.:11000", "no IPv4 address"),
    ],
)
def test_no_address(text: str, reason: str) -> None:
    """
    What is no address is refused with a sentence that says what is wrong with it.
    """
    with pytest.raises(ValueError, match=reason.replace("[", r"\[")) as raised:
        parse_address(text)
    assert repr(text) in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text("ab01:.[]%=-_ /@\\\n\x00é\u0661", max_size=30))
def test_any_text(text: str) -> None:
    """
    Any text is an address or a ValueError, for each of these functions.
    """
    for function in (listening_endpoint, is_wildcard, advertised_address):
        with contextlib.suppress(ValueError):
            function(text)
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
    assert advertised_address(text) in (str(address), None)


@pytest.mark.parametrize(
    ("bind", "endpoint", "port", "interface"),
    [
        (":11000", "tcp:11000:interface=127.0.0.1", 11000, "127.0.0.1"),
        ("localhost:11000", "tcp:11000:interface=127.0.0.1", 11000, "127.0.0.1"),
        ("0.0.0.0:11000", "tcp:11000:interface=0.0.0.0", 11000, "0.0.0.0"),
        ("192.0.2.1:0", "tcp:0:interface=192.0.2.1", 0, "192.0.2.1"),
        ("node1:12000", "tcp:12000:interface=node1", 12000, "node1"),
        ("[::1]:12000", r"tcp6:12000:interface=\:\:1", 12000, "::1"),
        ("[::]:12000", r"tcp6:12000:interface=\:\:", 12000, "::"),
        ("tcp:12000", "tcp:12000", 12000, ""),
        (
            "tcp:12000:interface=127.0.0.1",
            "tcp:12000:interface=127.0.0.1",
            12000,
            "127.0.0.1",
        ),
        ("tcp6:port=1:backlog=9", "tcp6:port=1:backlog=9", 1, "::"),
    ],
)
def test_listening(bind: str, endpoint: str, port: int, interface: str) -> None:
    """
    Every bind address becomes an endpoint string that Twisted listens on as meant.
    """
    assert listening_endpoint(bind) == endpoint
    reactor = MemoryReactorClock()
    serverFromString(reactor, endpoint).listen(None)
    [(listening_port, _, _, listening_interface)] = reactor.tcpServers
    assert (listening_port, listening_interface) == (port, interface)


@pytest.mark.parametrize(
    ("bind", "wildcard", "advertised"),
    [
        (":11000", False, "localhost:11000"),
        ("localhost:11000", False, "localhost:11000"),
        ("node1:12000", False, "node1:12000"),
        ("[::1]:12000", False, "[::1]:12000"),
        ("192.0.2.1:0", False, None),
        ("0.0.0.0:11000", True, None),
        ("[::]:11000", True, None),
        ("[0:0:0:0:0:0:0:0]:11000", True, None),
        ("tcp:12000", True, None),
        ("tcp:12000:interface=", True, None),
        ("tcp:12000:interface=0.0.0.0", True, None),
        ("tcp6:12000", True, None),
        (r"tcp6:12000:interface=\:\:", True, None),
        (r"tcp6:12000:interface=\:\:1", False, "[::1]:12000"),
        ("tcp:12000:interface=127.0.0.1", False, "127.0.0.1:12000"),
        ("tcp:port=12000:interface=127.0.0.1", False, "127.0.0.1:12000"),
        ("TCP:12000:interface=192.0.2.1", False, "192.0.2.1:12000"),
        ("tcp:0:interface=127.0.0.1", False, None),
        ("unix:/run/hraftd.sock", False, None),
        ("systemd:domain=INET:index=0", False, None),
        ("ssl:443:interface=192.0.2.1", False, None),
        ("ssl:443", True, None),
        ("onion:port=80", False, None),
    ],
)
def test_advertised(bind: str, wildcard: bool, advertised: str | None) -> None:
    """
    What others dial follows from the bind address, or has to be told.
    """
    assert is_wildcard(bind) is wildcard
    assert advertised_address(bind) == advertised


@pytest.mark.parametrize(
    "bind",
    ["tcp:x:interface=127.0.0.1", "tcp:", "tcp6:65536", "nonsense", "tcp", "a b:1"],
)
def test_no_bind_address(bind: str) -> None:
    """
    A bind address that is none is refused, whatever is asked about it.
    """
    for function in (advertised_address, listening_endpoint, is_wildcard):
        with pytest.raises(ValueError, match=r"port|not|name"):
            function(bind)

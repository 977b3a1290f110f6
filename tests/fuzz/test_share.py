"""
A share of all fuzzing, for every change: half a minute.

Seeds are new each time; an error says which one it was.
"""

from __future__ import annotations

import os
from random import Random, SystemRandom
from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hraftd.addresses import parse_address
from hraftd.peers.arguments import Count
from hraftd.peers.inbound import InboundPeer
from hraftd.peers.locator import PeerFactory
from hraftd.tap import Options
from hraftd.web.channel import Channel
from tests.web import OneNode

from .answers import Answers
from .bytes_read import READERS, Reader, read_at_random
from .command_lines import parse_at_random
from .frames import Frames
from .mutation import pieces
from .requests import Requests, routes
from .watching import quiet

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

_SEED = os.environ.get("HRAFTD_FUZZ_SEED")
SEED = int(_SEED) if _SEED else SystemRandom().randrange(10**9)


def test_frames() -> None:
    """
    Frames of every kind on the peer port do no harm, and leave nothing behind.
    """
    frames = Frames(SEED)
    frames.send(5_000)
    frames.growth.begin()
    frames.send(15_000)
    # Some connections stay as they are, and some do not; or else this proves nothing.
    assert 500 < frames.dropped < 15_000
    # Less than one for each connection.
    assert frames.growth.objects() < 500


def test_answers() -> None:
    """
    Answers of every kind end what was asked, in one way or another.
    """
    answers = Answers(SEED)
    answers.send(1_000)
    answers.growth.begin()
    answers.send(4_000)
    assert answers.answered > 1_000
    assert answers.failed > 500
    assert answers.growth.objects() < 500


@pytest.mark.parametrize("real", [True, False], ids=["leader", "scripted"])
def test_requests(real: bool) -> None:
    """
    Requests of every kind at every route are answered as documented, if at all.
    """
    requests = Requests(SEED)
    requests.send(1_000, real=real)
    requests.growth.begin()
    requests.send(3_000, real=real)
    assert set(requests.statuses) >= {200, 400, 404, 405, 413}
    assert real or set(requests.statuses) >= {421, 503, 504}
    # The real node's log grows by what is written.
    assert real or requests.growth.objects() < 500


def test_bytes() -> None:
    """
    Whatever decodes bytes takes its own, and refuses others as it documents.
    """
    taken = read_at_random(SEED, 1_000)
    assert min(taken.values()) < 1_000


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_examples(reader: Reader) -> None:
    """
    What is mutated is right to begin with.
    """
    assert all(reader.take(example) for example in reader.examples)


def test_command_lines() -> None:
    """
    Whatever is typed is understood, or refused in one line.
    """
    assert 50 < parse_at_random(SEED, 2_000) < 2_000


def test_all_routes_are_known() -> None:
    """
    The routes come from the site, all of them.
    """
    found = routes(OneNode(Clock()).site)
    assert {b"/key", b"/key/<segment>", b"/status", b"/join", b"/nodes"} <= set(found)


def test_pieces() -> None:
    """
    What was cut into pieces is the same when they are put together.
    """
    for number in range(200):
        rng = Random(number)
        data = rng.randbytes(rng.choice((0, 1, 10, 1000)))
        assert b"".join(pieces(rng, data)) == data


class TestPlantedBugs:
    """
    Fuzzing notices what it is there to notice.
    """

    def test_failure_of_a_reader(self) -> None:
        """
        An error that is not documented.
        """

        def read(data: bytes) -> int:
            return data[3]

        with pytest.raises(IndexError):
            Reader("broken", [b"abcd"], read).take(b"ab")

    def test_two_forms(self) -> None:
        """
        Two byte forms of one thing.
        """
        lenient = Reader("lenient", [b"1"], int, lambda n: b"%d" % n, ValueError)
        assert not lenient.take(b"x")
        with pytest.raises(AssertionError, match="is written as"):
            lenient.take(b" 1")

    def test_failing_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        An exception in a request of a peer that nobody foresaw.
        """

        def fails(self: object, what: str, details: str) -> Deferred[None]:
            raise KeyError(what)

        monkeypatch.setattr(InboundPeer, "_unanswered", fails)
        with pytest.raises((AssertionError, KeyError)):
            Frames(1).send(3_000)

    def test_connection_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A connection that is remembered after its end.
        """
        monkeypatch.setattr(PeerFactory, "lost", lambda self, peer: None)
        with pytest.raises(AssertionError):
            Frames(1).send(100)

    def test_channel_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        The same of an HTTP connection.
        """
        monkeypatch.setattr("hraftd.web.site.HttpSite.channel_lost", lambda *_: None)
        with pytest.raises(AssertionError):
            Requests(1).send(10)

    def test_no_bound_of_a_body(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        An answer in HTML, and a line in the log, of what is not HTTP.
        """
        monkeypatch.delattr(Channel, "_respondToBadRequestAndDisconnect")
        with pytest.raises((AssertionError, KeyError)):
            Requests(1).send(500)


class TestOnceFound:
    """
    What fuzzing has found.
    """

    def test_head_of_a_bad_path(self) -> None:
        """
        A HEAD whose path is refused is no line in the log.
        """
        site = OneNode(Clock()).site
        transport = StringTransport()
        channel = site.buildProtocol(None)
        with quiet("hraftd.web", "twisted.web"):
            channel.makeConnection(transport)
            channel.dataReceived(b"HEAD /% HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"Content-Type: application/json" in head
        assert body == b""
        channel.setTimeout(None)

    @pytest.mark.parametrize("host", ["a" * 5000, "[fe80::1%" + "z" * 5000 + "]"])
    def test_endless_address(self, host: str) -> None:
        """
        An address that is far too long is not quoted, and is none even if it could be:
        what IPv6 allows behind a percent sign has no end.
        """
        with pytest.raises(ValueError, match="at most 259 characters, not 50") as error:
            parse_address(f"{host}:1")
        assert len(str(error.value)) < 100

    @pytest.mark.parametrize("digits", [b"00", b"01", b"0000000000000000001"])
    def test_number_with_a_zero_before(self, digits: bytes) -> None:
        """
        A number has one byte form, like all else between servers.
        """
        with pytest.raises(ValueError, match="begins with a zero"):
            Count().fromString(digits)

    @pytest.mark.parametrize("word", ["--a\nb", "--a\u2028", "--\udcff", "--a\x1b[1m"])
    def test_option_that_ends_the_line(self, word: str) -> None:
        """
        An unknown option cannot make two lines of one, nor move a terminal's cursor.
        """
        with pytest.raises(SystemExit) as ended:
            Options().parseOptions([word])
        assert str(ended.value.code).isprintable()

"""
URLs that treq leaves alone.
"""

from __future__ import annotations

from treq.client import HTTPClient
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.urls import ReadyURL
from hraftd.web.exchange import exchange
from tests.web import ME, Network, OneNode


class ReadyTests(SynchronousTestCase):
    """
    A URL is asked for as it is.
    """

    def test_what_is_encoded_stays(self) -> None:
        """
        Neither brackets nor escapes change; only a host in another script does.
        """
        for url in ("http://[::1]:11000/key/a%2Fb%20?x=%25", "http://h:1/key/.."):
            assert ReadyURL.from_text(url).to_uri().to_text() == url
        named = ReadyURL.from_text("http://b\u00fcc:1/")
        assert named.to_uri().to_text() == "http://xn--bc-xka:1/"

    def test_a_node_asks_another_at_an_ipv6_address(self) -> None:
        """
        A newcomer may be told to join through one.
        """
        clock = Clock()
        network = Network(clock)
        network.sites["::1:11000"] = OneNode(clock).site
        http = HTTPClient(network.agent)
        asked = exchange(http, clock, 5.0, "GET", "http://[::1]:11000/leader")
        network.settle()
        code, content = self.successResultOf(asked)
        assert (code, content["leader"]["id"]) == (200, ME.id)

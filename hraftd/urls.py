"""
URLs of nodes, for treq.

treq lets hyperlink encode each URL, host and all, as if it were still to be encoded;
and hyperlink takes an IPv6 address for a name with wrong characters. The URLs that
hraftd asks for are encoded already, so they stay as they are.
"""

from __future__ import annotations

from hyperlink import EncodedURL

__all__ = ["ReadyURL"]


class ReadyURL(EncodedURL):
    """
    A URL that is encoded.
    """

    def to_uri(self) -> EncodedURL:
        """
        Encode it only if it is not: a name of a host may be in any script.
        """
        return self if self.host.isascii() else super().to_uri()

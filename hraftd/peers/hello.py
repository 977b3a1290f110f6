"""
How two servers introduce themselves to each other.

The side that connects says :class:`Hello` before anything else: who it is, whom it
wants to reach, and which wire versions it speaks. Both sides then use the newest one
that both know; servers of neighbouring versions can so be members of one cluster while
it is being upgraded.
"""

from __future__ import annotations

from attrs import frozen

from hraftd.peers.arguments import Count, Name
from hraftd.peers.schema import PeerCommand

__all__ = [
    "OLDEST_WIRE_VERSION",
    "OUR_VERSIONS",
    "WIRE_VERSION",
    "Hello",
    "Introduction",
    "Refused",
    "Versions",
]

#: The wire version that this code speaks best.
WIRE_VERSION = 1
#: The oldest one that it still speaks, so that a cluster can be upgraded server by
#: server.
OLDEST_WIRE_VERSION = 1


class Refused(Exception):
    """
    The other side does not want this connection. The text is a sentence that says why.
    """


@frozen
class Versions:
    """
    The wire versions that one side speaks: all from the oldest to the newest.
    """

    newest: int = WIRE_VERSION
    oldest: int = OLDEST_WIRE_VERSION

    def common(self, other: Versions) -> int | None:
        """
        Return the version that both sides use, or ``None`` if they share none.
        """
        version = min(self.newest, other.newest)
        return version if version >= max(self.oldest, other.oldest) else None

    def __str__(self) -> str:
        """
        Name them as an operator would.
        """
        if self.oldest == self.newest:
            return f"wire version {self.newest}"
        return f"wire versions {self.oldest} to {self.newest}"


OUR_VERSIONS = Versions()


@frozen
class Introduction:
    """
    What a server says of itself when it calls another.
    """

    cluster_id: str
    sender: str
    versions: Versions


class Hello(PeerCommand):
    """
    Who calls, whom, and in which language. The first command of a connection.
    """

    commandName = b"Hello"
    arguments = [
        (b"version", Count()),
        (b"oldest", Count()),
        (b"cluster", Name()),
        (b"sender", Name()),
        #: Whom the sender believes to have reached.
        (b"receiver", Name()),
    ]
    response = [
        (b"version", Count()),
        (b"oldest", Count()),
        (b"cluster", Name(optional=True)),
        (b"server", Name()),
    ]
    fatalErrors = {Refused: b"REFUSED"}

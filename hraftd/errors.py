"""
Why a server does not do what it was asked, or cannot say whether it did.

These cross layers: :mod:`hraftd.server` raises them, :mod:`hraftd.peers` carries them
from the leader to the server that asked on a client's behalf, and
:mod:`hraftd.client_requests` says what each means for the client. What the algorithm
itself raises is in :mod:`hraftd.raft.errors`.
"""

from __future__ import annotations

__all__ = [
    "LeadershipLost",
    "NoSuchServer",
    "NotReached",
    "Overloaded",
    "SnapshotImpossible",
    "Stopped",
    "TransferFailed",
    "UnreachableServer",
    "WrongCluster",
]


class LeadershipLost(Exception):
    """
    A command was proposed, and whether it will be applied nobody here can know.
    """


class Overloaded(Exception):
    """
    Too much waits already. Nothing was proposed; try again later.
    """


class Stopped(Exception):
    """
    The server is not running, or its storage failed. Nothing was proposed.
    """


class WrongCluster(Exception):
    """
    The peer belongs to another cluster than this server. The text is a sentence.
    """


class UnreachableServer(Exception):
    """
    There is no server of that id at that address. The text is a sentence.
    """


class NoSuchServer(Exception):
    """
    No member has that id. The text is a sentence.
    """


class TransferFailed(Exception):
    """
    The leadership did not go where it should. The text is a sentence.
    """


class NotReached(Exception):
    """
    The leader was not asked, since there is no link to it. Nothing was done.
    """


class SnapshotImpossible(Exception):
    """
    No snapshot can be taken at the moment. The text is a sentence.
    """

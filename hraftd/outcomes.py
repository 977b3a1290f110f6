"""
Every way in which a client's request can turn out.

:mod:`hraftd.client_requests` and :mod:`hraftd.reads` return these, and
:mod:`hraftd.web` turns them into answers. The line that matters most runs between those
that say that nothing has happened, :class:`Unavailable` first of all, and
:class:`Unknown`: it may have happened or may still happen. A read has no unknown
outcome, since nothing happens by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from hraftd.proposals import Applied

if TYPE_CHECKING:
    from hraftd.kv.records import Listing, Versioned
    from hraftd.raft.configuration import Server

__all__ = [
    "Applied",
    "Conflict",
    "Declined",
    "Excessive",
    "JoinOutcome",
    "Joined",
    "ListOutcome",
    "Listed",
    "Misdirected",
    "Missing",
    "NotDone",
    "Read",
    "ReadOutcome",
    "Redirected",
    "RemovalOutcome",
    "Removed",
    "SnapshotOutcome",
    "Taken",
    "TransferOutcome",
    "Transferred",
    "Unavailable",
    "Unknown",
    "WriteOutcome",
]


@frozen
class Read:
    """
    What a key holds, as fresh as was asked for.
    """

    #: ``None`` if there is no such key.
    found: Versioned | None


@frozen
class Listed:
    """
    A page of the keys, as fresh as was asked for.
    """

    #: The last index that had been applied then.
    index: int
    listing: Listing


@frozen
class Joined:
    """
    The newcomer is a member of the cluster, and a voter if that was asked for.
    """

    #: Of the configuration in which it is.
    index: int


@frozen
class Removed:
    """
    That node is not a member of the cluster any more.
    """

    #: Of the configuration in which it is missing.
    index: int


@frozen
class Transferred:
    """
    Another node leads now, or the one that was asked for did so already.
    """

    term: int
    #: ``None`` if nobody was asked for, and this node does not know yet who it is.
    leader: Server | None


@frozen
class Taken:
    """
    The node has a snapshot of all that it has applied.
    """

    #: The last entry that is in it.
    index: int
    term: int
    #: How many bytes it has.
    size: int


@frozen
class Misdirected:
    """
    Not this node leads, but that one. Nothing has been done.
    """

    leader: Server


@frozen
class Redirected:
    """
    The client is to ask the leader, whose HTTP address is known. Nothing was done.
    """

    leader: Server


@frozen
class Unavailable:
    """
    It cannot be done now, and nothing has been done.
    """

    #: One sentence.
    reason: str
    #: Seconds after which it is worth another try.
    retry_after: int = 1


@frozen
class Unknown:
    """
    It may have happened, may still happen, or may never.
    """

    #: One sentence.
    reason: str


@frozen
class Conflict:
    """
    It contradicts what the cluster knows already. Nothing has been done.
    """

    #: One sentence.
    reason: str


@frozen
class Excessive:
    """
    The answer would hold more than an answer may. Nothing has been done.
    """

    #: One sentence.
    reason: str


@frozen
class Missing:
    """
    It speaks of a node that is not a member. Nothing has been done.
    """

    #: One sentence.
    reason: str


NotDone: TypeAlias = Misdirected | Redirected | Unavailable | Unknown
Declined: TypeAlias = Conflict | Missing | NotDone

ReadOutcome: TypeAlias = Read | Unavailable
ListOutcome: TypeAlias = Listed | Unavailable
WriteOutcome: TypeAlias = Applied | Excessive | Conflict | NotDone
JoinOutcome: TypeAlias = Joined | Declined
RemovalOutcome: TypeAlias = Removed | Declined
TransferOutcome: TypeAlias = Transferred | Declined
SnapshotOutcome: TypeAlias = Taken | Unavailable

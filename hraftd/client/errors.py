"""
What can become of a request, other than that it was done.

The one distinction that matters to whoever has to decide what to do next is in the base
classes: :exc:`Failed` means that nothing has happened and nothing will, :exc:`Unknown`
that a write may have happened, may still happen, or may never. A read is never in
doubt, so it never ends with :exc:`Unknown`.

A Deferred that is cancelled fails with Twisted's
:exc:`~twisted.internet.defer.CancelledError`; a write that is cancelled is in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hraftd.client.answers import Found

__all__ = [
    "Closed",
    "Compacted",
    "Failed",
    "HraftdError",
    "LockLost",
    "NotAcquired",
    "NotMet",
    "Refused",
    "Unavailable",
    "Unknown",
]


class HraftdError(Exception):
    """
    A request that was not done, or maybe not. The text is for a person.
    """


class Failed(HraftdError):
    """
    It was certainly not done, and will not be.
    """


class NotMet(Failed):
    """
    A condition does not hold: somebody else has changed the key, or was there first.

    :ivar found: what the key holds instead; ``None`` if there is no such key.
    """

    def __init__(self, text: str, found: Found | None) -> None:
        """
        Tell what there is.
        """
        super().__init__(text)
        self.found = found


class Refused(Failed):
    """
    The cluster has understood, and does not do this; to ask again does not help.

    :ivar status: the HTTP status code, which says why, as the text does.
    """

    def __init__(self, text: str, status: int) -> None:
        """
        Tell what the node has said.
        """
        super().__init__(text)
        self.status = status


class Unavailable(Failed):
    """
    No node could do it in time; to ask again later may help.

    None was reached, or there is no leader, or there is too much to do.

    :ivar retry_after: the seconds for which a node has asked to be left alone; ``None``
        if none has.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        """
        Tell why.
        """
        super().__init__(text)
        self.retry_after = retry_after


class Compacted(Failed):
    """
    A watch cannot go on from where it is: the changes behind that are no longer kept.

    Read everything again, and watch from there; or let the watch do it (``resync``).

    :ivar first: the changes of this entry, and of those behind it, are still known;
        ``None`` if the node does not say.
    """

    def __init__(self, text: str, first: int | None) -> None:
        """
        Tell from where on it would go.
        """
        super().__init__(text)
        self.first = first


class NotAcquired(Failed):
    """
    Somebody else has held the lock for as long as one was ready to wait.
    """


class Closed(Failed):
    """
    The client was closed before.
    """


class LockLost(HraftdError):
    """
    A lock, or a leadership, is held no more, or cannot be known to be.
    """


class Unknown(HraftdError):
    """
    A write, or a change of the cluster, may or may not have happened.
    """

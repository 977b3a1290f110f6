"""
The client itself: all that a program can ask of a cluster.

What it asks about keys is in :mod:`hraftd.client.keys`, about the cluster in
:mod:`hraftd.client.cluster`; how a request comes to its end is told in
:mod:`hraftd.client.attempts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.client.asking import checked_ttl, in_path, utf8
from hraftd.client.cluster import Cluster
from hraftd.client.elections import Election
from hraftd.client.keys import Keys
from hraftd.client.locks import Lock
from hraftd.client.requests import checked_timeout

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Client"]


class Client(Keys, Cluster):
    """
    A client of one cluster; it may be used by many at the same time.

    All methods return Deferreds, which can be awaited; to cancel one closes its
    connection and ends its retries. They fail with the errors of
    :mod:`hraftd.client.errors`, within ``timeout`` seconds; wrong arguments are a
    ``TypeError`` or ``ValueError`` at once. Each method takes a ``timeout`` of its own.

    Use it as an asynchronous context manager, or ``close`` it.
    """

    async def __aenter__(self) -> Client:
        """
        Return itself.
        """
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Close it.
        """
        closing = self.close()
        if kind is not GeneratorExit:
            await closing
        # Else nobody goes on with this coroutine, so it cannot wait.

    def lock(
        self, name: str, ttl: float, *, holder: str = "", wait: float | None = None
    ) -> Lock:
        """
        Return a lock, to be taken with ``async with``.

        :param name: its key.
        :param ttl: seconds for which others have to wait when the holder is gone.
        :param holder: is shown to those.
        :param wait: seconds to wait for others, after which it fails with
            :exc:`~hraftd.client.errors.NotAcquired`; ``None`` for ever.
        """
        in_path(name)
        utf8(holder, "a holder")
        if wait is not None:
            checked_timeout(wait)
        return Lock(
            self,
            self._reactor,
            self._seconds,
            name,
            checked_ttl(ttl),
            holder=holder,
            wait=wait,
            timeout=self._timeout,
        )

    def election(self, name: str, candidate: str, ttl: float) -> Election:
        """
        Return this candidate's part in an election, to be won with ``async with``.

        :param name: its key.
        :param candidate: is shown to others when it leads.
        :param ttl: seconds without a leader when that is gone.
        """
        return Election(self, self.lock(name, ttl, holder=candidate))

"""
Elections: of several candidates one leads, and everybody can know which.

An election is a lock (:mod:`hraftd.client.locks`) that says who holds it. It has
nothing to do with the election of the cluster's own leader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.client.errors import Compacted
from hraftd.client.locks import holder_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from twisted.internet.defer import Deferred

    from hraftd.client.client import Client
    from hraftd.client.locks import Lock

__all__ = ["Elected", "Election"]


@frozen
class Elected:
    """
    Who leads.
    """

    #: ``None`` if nobody does.
    candidate: str | None
    #: The entry that says so.
    index: int


class Election:
    """
    One candidate's part in an election; made by ``Client.election``.

    As an asynchronous context manager it waits until the candidate leads, and gives
    back the :class:`~hraftd.client.locks.Lock` that is the leadership: its ``token``
    grows from leader to leader, and its ``lost`` tells when somebody else may lead.
    """

    def __init__(self, client: Client, lock: Lock) -> None:
        """
        Stand for election.

        :param lock: what is to be held to lead.
        """
        self._client = client
        self._lock = lock

    async def __aenter__(self) -> Lock:
        """
        Wait until this candidate leads.
        """
        return await self._lock.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Resign.
        """
        await self._lock.__aexit__(kind, error, trace)

    def leader(self) -> Deferred[str | None]:
        """
        Ask who leads; ``None`` if nobody does.
        """
        return self._client.get(self._lock.name, level="linearizable").addCallback(
            lambda found: None if found is None else holder_in(found.value)
        )

    async def observe(self) -> AsyncIterator[Elected]:
        """
        Go through the leaders: who leads now, and then each that comes.
        """
        name = self._lock.name
        told = False
        value: str | None = None
        while True:
            page = await self._client.list(name, limit=1, level="linearizable")
            now = next((item.value for item in page.items if item.key == name), None)
            if now != value or not told:
                value, told = now, True
                yield _elected(value, page.index)
            try:
                async with self._client.watch(name, after=page.index) as changes:
                    async for change in changes:
                        # A leader says again and again that it leads.
                        if change.key == name and change.value != value:
                            value = change.value
                            yield _elected(value, change.index)
            except Compacted:
                # Not told of some changes; what has come of them is there to be read.
                continue
            return


def _elected(value: str | None, index: int) -> Elected:
    return Elected(None if value is None else holder_in(value), index)

"""
All pages of a listing, as one iterator.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.client.answers import Item, Page

__all__ = ["Items"]


class Items:
    """
    An asynchronous iterator over keys; it reads the next page when it needs one.
    """

    def __init__(self, read: Callable[[str | None], Deferred[Page]]) -> None:
        """
        Begin with the first key.

        :param read: reads the page behind a key.
        """
        self._read = read
        self._after: str | None = None
        self._more = True
        self._items: deque[Item] = deque()

    def __aiter__(self) -> Items:
        """
        Return itself.
        """
        return self

    def __anext__(self) -> Deferred[Item]:
        """
        Return the next key, perhaps of the next page.
        """
        return Deferred.fromCoroutine(self._next())

    async def _next(self) -> Item:
        while not self._items:
            if not self._more:
                raise StopAsyncIteration
            page = await self._read(self._after)
            # A page without keys would be read for ever.
            self._more = page.more and bool(page.items)
            self._items.extend(page.items)
            if page.items:
                self._after = page.items[-1].key
        return self._items.popleft()

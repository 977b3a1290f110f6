"""
What a client asks about keys.

Each method says what is asked, in the words of the HTTP API, and how the answer is
read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from hraftd.client import answers, transactions
from hraftd.client.asking import (
    Ask,
    Kind,
    checked_level,
    checked_ttl,
    in_json,
    in_path,
    query,
    utf8,
)
from hraftd.client.listing import Items
from hraftd.client.requests import Requests, checked_timeout
from hraftd.client.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.internet.defer import Deferred

    from hraftd.client.answers import Deleted, Found, Page, Reply
    from hraftd.client.transactions import Condition, Operation, Ran

__all__ = ["Keys"]


class Keys(Requests):
    """
    Reads, changes and watches keys.
    """

    def get(
        self, key: str, *, level: str | None = None, timeout: float | None = None
    ) -> Deferred[Found | None]:
        """
        Read a key.

        With the level ``none`` the nearest node is asked, with all others the leader
        as long as it is known, so that one reads what one has just written.

        :return: fires with what it holds, or with ``None`` if there is no such key.
        """
        said = self._level_of(level)
        ask = Ask(
            _kind(said),
            "GET",
            f"/key/{in_path(key)}",
            query(level=said),
            expected=(200, 404),
        )
        return self._ask(ask, lambda reply: answers.value_of(key, reply), timeout)

    def set(
        self,
        key: str,
        value: str,
        *,
        ttl: float | None = None,
        if_index: int | None = None,
        if_absent: bool = False,
        timeout: float | None = None,
    ) -> Deferred[int]:
        """
        Let a key hold a value.

        :param ttl: seconds after which the key is removed, unless it is set again.
        :param if_index: only if this is the index of its last change.
        :param if_absent: only if there is no such key.
        :return: fires with the index of the change; fails with
            :exc:`~hraftd.client.errors.NotMet` if a condition does not hold.
        """
        conditions = _if_index(if_index)
        if if_absent:
            if conditions:
                raise ValueError("a key that is absent has no index")
            conditions = {"If-None-Match": "*"}
        ask = self._write(
            "PUT",
            f"/key/{in_path(key)}",
            utf8(value, "a value"),
            query(ttl=None if ttl is None else checked_ttl(ttl)),
            conditions,
        )
        return self._ask(ask, _index, timeout)

    def set_all(
        self,
        pairs: Mapping[str, str],
        *,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Deferred[int]:
        """
        Set several keys together.

        :param ttl: as for :meth:`set`, for all of them.
        :return: fires with the index of the change.
        """
        for key, value in pairs.items():
            utf8(key, "a key")
            utf8(value, "a value")
        ask = self._write(
            "POST",
            "/key",
            in_json(dict(pairs)),
            query(ttl=None if ttl is None else checked_ttl(ttl)),
        )
        return self._ask(ask, _index, timeout)

    def delete(
        self, key: str, *, if_index: int | None = None, timeout: float | None = None
    ) -> Deferred[Deleted]:
        """
        Remove a key, also if there is none.

        :param if_index: as for :meth:`set`.
        :return: fires with whether it was there.
        """
        path = f"/key/{in_path(key)}"
        ask = self._write("DELETE", path, None, conditions=_if_index(if_index))
        return self._ask(ask, answers.deleted, timeout)

    def list(
        self,
        prefix: str = "",
        *,
        after: str | None = None,
        limit: int = 100,
        level: str | None = None,
        timeout: float | None = None,
    ) -> Deferred[Page]:
        """
        Read one page of keys in the order of their bytes.

        :param prefix: what the keys begin with.
        :param after: they come behind this one, there or not.
        :param limit: how many there may be, 1,000 at most; a page of large values has
            fewer.
        :return: fires with the page; all of it is of one moment.
        """
        said = self._level_of(level)
        asked = query(prefix=prefix or None, after=after, limit=str(limit), level=said)
        return self._ask(Ask(_kind(said), "GET", "/key", asked), answers.page, timeout)

    def items(self, prefix: str = "", *, level: str | None = None) -> Items:
        """
        Go through all keys with a prefix, page by page.

        :return: an asynchronous iterator of :class:`~hraftd.client.answers.Item`. What
            changes meanwhile may be seen or not.
        """
        utf8(prefix, "a prefix")
        said = checked_level(level)
        return Items(
            lambda after: self.list(prefix, after=after, limit=1000, level=said)
        )

    def transact(
        self,
        conditions: Iterable[Condition],
        then: Iterable[Operation],
        otherwise: Iterable[Operation] = (),
        *,
        timeout: float | None = None,
    ) -> Deferred[Ran]:
        """
        Do the operations of ``then`` if all conditions hold, else of ``otherwise``.

        All of it is one change: nobody sees the half of it.

        :return: fires with which of them were done, and what came of each.
        """
        then, otherwise = tuple(then), tuple(otherwise)
        body = transactions.as_body(conditions, then, otherwise)
        return self._ask(
            self._write("POST", "/txn", body),
            lambda reply: transactions.ran(reply, then, otherwise),
            timeout,
        )

    def watch(
        self,
        prefix: str = "",
        *,
        after: int | None = None,
        resync: bool = False,
        patience: float | None = None,
    ) -> Watch:
        """
        Be told of changes of keys with a prefix, as they happen.

        It goes on by itself at another node when one is lost, without missing or
        repeating anything. As ``async with`` it begins at once, else with the first
        change that is waited for.

        :param after: all behind this index; from now on if it is ``None``.
        :param resync: where changes in between are no longer known, do not fail with
            :exc:`~hraftd.client.errors.Compacted`, but tell all that there is, behind
            an event ``resync``.
        :param patience: seconds without any node to go on at, after which it fails;
            ``None`` for never. At its beginning it has the client's ``timeout``.
        :return: an asynchronous iterator of :class:`~hraftd.client.changes.Event`.
        """
        utf8(prefix, "a prefix")
        if patience is not None:
            checked_timeout(patience)
        if after is not None and (isinstance(after, bool) or after < 0):
            raise ValueError(f"no change has the index {after!r}")

        def read_page(behind: str | None) -> Deferred[Page]:
            # Not before what was told already.
            return self.list(prefix, after=behind, limit=1000, level="linearizable")

        watch = Watch(
            self._attempts,
            self._start,
            read_page,
            prefix=prefix,
            after=after,
            resync=resync,
            timeout=self._timeout,
            patience=patience,
        )
        self._watches.add(watch)
        return watch

    @staticmethod
    def _write(
        method: str,
        path: str,
        body: bytes | None,
        query: Mapping[str, str] | None = None,
        conditions: Mapping[str, str] | None = None,
    ) -> Ask:
        """
        Return a write with a token of its own, under which it is done once.
        """
        headers = {"Idempotency-Key": uuid4().hex, **(conditions or {})}
        return Ask(Kind.WRITE, method, path, query or {}, headers, body)


def _kind(level: str | None) -> Kind:
    return Kind.LOCAL if level == "none" else Kind.READ


def _if_index(index: int | None) -> dict[str, str]:
    """
    Return the condition that a key was last changed there.
    """
    if index is None:
        return {}
    if isinstance(index, bool) or not isinstance(index, int) or index < 1:
        raise ValueError(f"a key never has the index {index!r}")
    return {"If-Match": f'"{index}"'}


def _index(reply: Reply) -> int:
    return answers.index_in(reply.content)

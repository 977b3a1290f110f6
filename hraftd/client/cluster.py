"""
What a client asks about the cluster, and the copies of all that is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hraftd.client import answers
from hraftd.client.asking import Ask, Kind, in_json, in_path, query, utf8
from hraftd.client.copies import back_up, restore
from hraftd.client.endpoints import read_address
from hraftd.client.requests import Requests, checked_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.defer import Deferred

    from hraftd.client.answers import Leader, Reply, Taken
    from hraftd.client.copies import Read, Restored, Write

__all__ = ["Cluster"]

#: Seconds in which a backup, or a restore, has to go on.
_COPY_SECONDS = 60.0


class Cluster(Requests):
    """
    Looks after a cluster.
    """

    def status(
        self, endpoint: str | None = None, *, timeout: float | None = None
    ) -> Deferred[Mapping[str, Any]]:
        """
        Read what a node knows of itself and its cluster, as in ``GET /status``.

        :param endpoint: the address of that node; the nearest one that answers if none
            is given.
        """
        return self._ask(Ask(Kind.LOCAL, "GET", "/status"), _content, timeout, endpoint)

    def nodes(
        self, endpoint: str | None = None, *, timeout: float | None = None
    ) -> Deferred[Mapping[str, Any]]:
        """
        Read who belongs to the cluster, as in ``GET /nodes``.

        :param endpoint: as for :meth:`status`; the leader knows most.
        """
        return self._ask(Ask(Kind.READ, "GET", "/nodes"), _content, timeout, endpoint)

    def leader(self, *, timeout: float | None = None) -> Deferred[Leader]:
        """
        Ask who leads; where nobody does, wait for somebody, as long as there is time.
        """
        ask = Ask(Kind.LOCAL, "GET", "/leader")
        return self._ask(ask, self._known_leader, timeout)

    def remove(self, node: str, *, timeout: float | None = None) -> Deferred[int]:
        """
        Remove a member from the cluster.

        :param node: its id.
        :return: fires with the index of the change.
        """
        ask = Ask(Kind.CHANGE, "DELETE", f"/nodes/{in_path(node, 'an id')}")
        return self._ask(ask, _index, timeout)

    def transfer(
        self, node: str | None = None, *, timeout: float | None = None
    ) -> Deferred[Leader | None]:
        """
        Hand the leadership over.

        :param node: to the member with this id; to the best prepared if it is ``None``.
        :return: fires with who leads now, ``None`` if that is not known yet.
        """
        body = None
        if node is not None:
            utf8(node, "an id")
            body = in_json({"id": node})
        ask = Ask(Kind.CHANGE, "POST", "/leader", body=body)

        def transferred(reply: Reply) -> Leader | None:
            leader = answers.leader(reply)
            self._endpoints.leader = leader.http or None if leader else None
            return leader

        return self._ask(ask, transferred, timeout)

    def snapshot(
        self, endpoint: str | None = None, *, timeout: float | None = None
    ) -> Deferred[Taken]:
        """
        Have a node put a snapshot in place of its log.

        :param endpoint: as for :meth:`status`.
        :param timeout: a large one takes more than the usual seconds; it goes on even
            if nobody waits for it any more.
        """
        ask = Ask(Kind.LOCAL, "POST", "/snapshot")
        seconds = self._timeout if timeout is None else checked_timeout(timeout)
        address = None if endpoint is None else read_address(endpoint)

        async def found_and_asked() -> Taken:
            found = address or await self._nearest()
            return await self._attempts.at(found, ask, answers.taken, seconds)

        return self._start(found_and_asked())

    def backup(
        self,
        write: Write,
        *,
        level: str | None = None,
        endpoint: str | None = None,
        timeout: float | None = None,
    ) -> Deferred[int]:
        """
        Read all that the cluster holds, at one moment.

        :param write: is called with one piece after the other; where it returns a
            Deferred, that is waited for.
        :param endpoint: of the node that is to be asked; the nearest one that answers
            if none is given.
        :param timeout: seconds in which something has to come, 60 if not given.
        :return: fires with the size in bytes. If it fails, what was written is not a
            backup; a node that breaks off is not replaced by another one.
        """
        seconds = _COPY_SECONDS if timeout is None else checked_timeout(timeout)
        asked = query(level=self._level_of(level))
        address = None if endpoint is None else read_address(endpoint)

        async def found_and_read() -> int:
            found = address or await self._nearest()
            return await back_up(self._attempts, found, asked, write, seconds)

        return self._start(found_and_read())

    def restore(
        self, read: Read, *, timeout: float | None = None
    ) -> Deferred[Restored]:
        """
        Put a backup in place of all that the cluster holds.

        :param read: is called with a number of bytes, and returns as many or fewer of
            the backup, and none at its end; or a Deferred of them.
        :param timeout: as for :meth:`backup`.
        :return: fires with how many keys there are then. It fails with
            :exc:`~hraftd.client.errors.Unknown` only if all was sent; it is not
            repeated, since nothing can be read twice.
        """
        seconds = _COPY_SECONDS if timeout is None else checked_timeout(timeout)

        async def found_and_sent() -> Restored:
            # It passes on what comes: the leader may be out of reach from here, and
            # nothing can be sent twice.
            return await restore(self._attempts, await self._nearest(), read, seconds)

        return self._start(found_and_sent())

    async def _nearest(self) -> str:
        """
        Return the address of a node that is there.
        """
        await self.status()
        return self._endpoints.route(by_leader=False)[0]

    def _known_leader(self, reply: Reply) -> Leader:
        leader = answers.leader(reply)
        if leader is None:
            raise answers.NotUnderstood("the answer names no leader")
        if leader.http:
            self._endpoints.leads(leader.http)
        return leader


def _index(reply: Reply) -> int:
    return answers.index_in(reply.content)


def _content(reply: Reply) -> Mapping[str, Any]:
    if not reply.content:
        raise answers.NotUnderstood("the answer is no JSON object")
    return reply.content

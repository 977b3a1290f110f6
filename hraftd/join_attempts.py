"""
One attempt to join a cluster through one of its members.

The member is asked for its cluster first, then to take the node in. Where it names the
leader instead, the leader is asked. What may come of it, other than that a leader says
"joined", is :exc:`NotJoined`, in a sentence for the operator. When to try, and how
often, is told in :mod:`hraftd.joining`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hraftd.web.exchange import NoAnswer, exchange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treq.client import HTTPClient
    from twisted.internet.interfaces import IReactorTime

    from hraftd.raft.configuration import Server
    from hraftd.server import RaftServer

__all__ = ["JOIN_TIMEOUT", "STATUS_TIMEOUT", "JoinAttempts", "NotJoined"]

#: Seconds that a member gets to answer. It waits itself for the newcomer to catch up,
#: and says after ten seconds that this takes longer.
STATUS_TIMEOUT = 5.0
JOIN_TIMEOUT = 15.0

#: How often in a row a member may send us to another one.
MAX_HOPS = 4


class NotJoined(Exception):
    """
    One attempt has failed. The text says why and, if it can, what to do.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        """
        Tell a reason, and after how many seconds the member wants to be asked again.
        """
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class JoinAttempts:
    """
    Asks members, one at a time, to take a node in.
    """

    def __init__(
        self, server: RaftServer, me: Server, http: HTTPClient, reactor: IReactorTime
    ) -> None:
        """
        Ask for this node.

        :param me: what others are to know of it.
        :param http: makes the requests.
        """
        self._server = server
        self._me = me
        self._http = http
        self._reactor = reactor

    async def join_through(self, target: str) -> str:
        """
        Ask one member, and the leader if that member names another.

        :return: the id of the cluster whose leader says that the node is a member.
        :raises NotJoined: if none does.
        """
        if target == self._me.http:
            raise NotJoined(
                "this is the node's own address; --join takes another member's"
            )
        cluster = await self._expect_cluster_of(target)
        address = target
        for _ in range(MAX_HOPS):
            try:
                code, answer = await self._ask(
                    "POST",
                    # Whatever it does for other clients, here it is to name the leader.
                    f"http://{address}/join?redirect=false",
                    JOIN_TIMEOUT,
                    self._request(),
                )
            except NotJoined as error:
                if address == target:
                    raise
                raise NotJoined(f"its leader at {address}: {error.reason}") from error
            if code == 200:
                return cluster
            address = _leader_named_by(address, code, answer)
        raise NotJoined(f"members keep naming each other as the leader, last {address}")

    def _request(self) -> Mapping[str, str | bool]:
        request: dict[str, str | bool] = {
            "id": self._me.id,
            "addr": self._me.raft,
            "http": self._me.http,
        }
        # Left out for a voter, since it means the same, and older versions lack it.
        if not self._me.is_voter:
            request["voter"] = False
        return request

    async def _expect_cluster_of(self, target: str) -> str:
        """
        Let the peers of that member's cluster, and no others, take this node in.

        :return: the id of the cluster.
        """
        code, status = await self._ask("GET", f"http://{target}/status", STATUS_TIMEOUT)
        me, cluster = status.get("me"), status.get("cluster")
        if code != 200 or not isinstance(me, dict):
            raise _not_hraftd(code)
        if me.get("id") == self._me.id:
            # A node that has moved still tells of the address that the cluster knows.
            known = self._server.status().configuration.get(self._me.id)
            if me.get("address") in (None, self._me.raft, known and known.raft):
                raise NotJoined(
                    "this is the node itself; --join takes another member's"
                )
            raise NotJoined(
                f"the node there is called {self._me.id} as well; choose another --id"
            )
        if not isinstance(cluster, str):
            raise NotJoined(
                "the node there is not a member of any cluster itself yet", 1
            )
        if self._server.cluster_id not in (None, cluster):
            raise NotJoined(
                f"it belongs to cluster {cluster}, this node to "
                f"{self._server.cluster_id}; to change, start with an empty data "
                "directory"
            )
        if _votes(status, self._me.id) and not self._server.is_member:
            # It could vote again for what it has forgotten, and it lacks entries that
            # were committed with its help.
            raise NotJoined(
                f"{self._me.id} is a voter there already, and this node does not know "
                "it: that is another node, or this one has lost its data; remove it "
                f"first, with: curl -XDELETE 'http://{target}/nodes/"
                f"{quote(self._me.id, safe='')}?forward' -- or take another --id and "
                "other addresses"
            )
        self._server.expect_cluster(cluster)
        return cluster

    async def _ask(
        self,
        method: str,
        url: str,
        timeout: float,
        content: Mapping[str, str | bool] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        asked = exchange(self._http, self._reactor, timeout, method, url, content)
        try:
            return await asked
        except NoAnswer as error:
            raise NotJoined(str(error)) from error


def _not_hraftd(code: int) -> NotJoined:
    return NotJoined(
        f"it answers, with status {code}, but not as hraftd does; --join takes the "
        "HTTP address of a member"
    )


def _leader_named_by(address: str, code: int, answer: Mapping[str, Any]) -> str:
    """
    Return where to ask next, after a member did not take this node in.

    :raises NotJoined: if it does not name another address.
    """
    reason = answer.get("error")
    if not isinstance(reason, str):
        raise _not_hraftd(code)
    if code in (503, 504):
        raise NotJoined(reason, retry_after=1.0)
    if code != 421:
        raise NotJoined(reason)
    leader = answer.get("leader")
    http = leader.get("http") if isinstance(leader, dict) else None
    if not isinstance(http, str) or not http:
        raise NotJoined(
            "it is not the leader, and does not know the leader's HTTP address; "
            "name the leader itself in --join",
            retry_after=1.0,
        )
    if http == address:
        raise NotJoined(f"{address} names itself as another node, the leader", 1.0)
    return http


def _votes(status: Mapping[str, object], server_id: str) -> bool:
    """
    Whether a member's status says that this server has a vote in its cluster.
    """
    members = status.get("members")
    return isinstance(members, list) and any(
        isinstance(member, dict)
        and (member.get("id"), member.get("suffrage")) == (server_id, "voter")
        for member in members
    )

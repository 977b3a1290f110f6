"""
How a new node becomes a member of a cluster that is there already.

:class:`Joiner` asks the members it was given, over their HTTP API, to take its node
in; where one names the leader it asks the leader. It does not give up: members may
come up later than the node, and a cluster may be without a leader for a while. And it
tells the truth: it says "joined" once a leader has said so *and* this node has seen
itself in a configuration, never before.

The other half, what a leader does with a newcomer, is in :mod:`hraftd.raft.consensus`
(dissertation 4.1 and 4.2.1).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hraftd.web.exchange import NoAnswer, exchange, new_agent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent

    from hraftd.raft.configuration import Server
    from hraftd.server import RaftServer

__all__ = ["Joiner", "NotJoined"]

#: Seconds that a member gets to answer. It waits itself for the newcomer to catch up,
#: and says after ten seconds that this takes longer.
STATUS_TIMEOUT = 5.0
JOIN_TIMEOUT = 15.0

#: Seconds between a leader's word and the moment when this node must know it as well.
MEMBERSHIP_TIMEOUT = 10.0
MEMBERSHIP_POLL = 0.1

#: Seconds between two rounds through all members, the first time and at most.
SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 10.0

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


class Joiner(Service):
    """
    Asks until its node is a member, then keeps quiet.
    """

    _log = Logger()

    def __init__(
        self,
        server: RaftServer,
        targets: Sequence[str],
        me: Server,
        reactor: IReactorTime,
        *,
        agent: IAgent | None = None,
        rng: Random | None = None,
    ) -> None:
        """
        Prepare to join; nothing is asked before the service starts.

        :param server: the node that is to become a member.
        :param targets: ``host:port`` of the HTTP APIs of members, any of them.
        :param me: id and addresses under which others are to know this node.
        :param reactor: for time, and for connections unless there is an agent.
        :param agent: makes the requests.
        """
        self._server = server
        self._targets = tuple(targets)
        self._me = me
        self._reactor = reactor
        self._http = HTTPClient(new_agent(reactor) if agent is None else agent)
        self._rng = Random() if rng is None else rng
        self._joining: Deferred[None] | None = None
        #: What was said last about each target, so that it is not said again.
        self._warned: dict[str, str] = {}

    def startService(self) -> None:
        """
        Begin to ask, unless the node is a voter already.
        """
        Service.startService(self)
        if not self._server.status().configuration.is_voter(self._me.id):
            self._joining = Deferred.fromCoroutine(self._join())
            self._joining.addErrback(self._ended)

    def stopService(self) -> Deferred[None]:
        """
        Give up what is under way.

        :return: fires when nothing is any more.
        """
        Service.stopService(self)
        joining, self._joining = self._joining, None
        if joining is None:
            return succeed(None)
        joining.cancel()
        return joining

    def _ended(self, failure: Failure) -> None:
        if self.running or failure.check(CancelledError) is None:
            self._log.failure("cannot go on joining", failure=failure)

    async def _join(self) -> None:
        """
        Go round the members until one of them has taken this node in.
        """
        rounds = 0
        while self.running:
            retry_after: float | None = None
            for target in self._targets:
                try:
                    cluster = await self._join_through(target)
                except NotJoined as attempt:
                    if not self.running:
                        return
                    self._warn(target, attempt.reason)
                    retry_after = retry_after or attempt.retry_after
                else:
                    self._log.info(
                        "joined cluster {cluster} through {target} as {id}",
                        cluster=cluster,
                        target=target,
                        id=self._me.id,
                    )
                    return
            # A cluster that answers is not helped by ever longer pauses.
            rounds = 0 if retry_after else rounds + 1
            await self._sleep(retry_after or self._pause(rounds))

    def _pause(self, rounds: int) -> float:
        """
        Return the seconds to wait after so many rounds in which nobody answered.
        """
        longest = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(rounds, 16))
        return self._rng.uniform(max(SHORTEST_PAUSE, longest / 2), longest)

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds, lambda: None)

    def _warn(self, target: str, reason: str) -> None:
        if self._warned.get(target) != reason:
            self._warned[target] = reason
            self._log.warn(
                "not joined through {target} yet, will go on trying: {reason}",
                target=target,
                reason=reason,
            )

    async def _join_through(self, target: str) -> str:
        """
        Ask one member, and the leader if that member names another.

        :return: the id of the cluster that this node is now a member of.
        :raises NotJoined: if it is not.
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
                    {"id": self._me.id, "addr": self._me.raft, "http": self._me.http},
                )
            except NotJoined as error:
                if address == target:
                    raise
                raise NotJoined(f"its leader at {address}: {error.reason}") from error
            if code == 200:
                await self._until_member()
                return cluster
            address = _leader_named_by(address, code, answer)
        raise NotJoined(f"members keep naming each other as the leader, last {address}")

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
            if me.get("address") in (None, self._me.raft):
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
                f"{self._me.id} is a voter there already, and this node's data "
                "directory is empty: that is another node, or this one has lost its "
                "data; take another --id and other addresses"
            )
        self._server.expect_cluster(cluster)
        return cluster

    async def _until_member(self) -> None:
        """
        Wait until this node knows by its own log that it is a member.
        """
        deadline = self._reactor.seconds() + MEMBERSHIP_TIMEOUT
        while not self._server.is_member:
            if self._reactor.seconds() >= deadline:
                raise NotJoined(
                    "the leader says that this node is a member, but no peer has "
                    f"reached it at {self._me.raft}; is that address right?"
                )
            await self._sleep(MEMBERSHIP_POLL)

    async def _ask(
        self,
        method: str,
        url: str,
        timeout: float,
        content: Mapping[str, str] | None = None,
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

"""
How a new node becomes a member of a cluster that is there already.

:class:`Joiner` asks the members it was given, over their HTTP API, to take its node
in, see :mod:`hraftd.join_attempts`. It does not give up: members may come up later than
the node, and a cluster may be without a leader for a while. And it tells the truth: it
says "joined" once a leader has said so *and* this node has seen itself in a
configuration, never before.

A member that comes back with other addresses goes the same way: it joins again, and the
leader puts the new addresses in place of the old ones. Until then nobody can reach it.
And one that is a member by its own log, but hears from no leader for long, asks as
well: it may have been removed while it was away, and nobody tells it.

The other half, what a leader does with a newcomer, is in :mod:`hraftd.raft.consensus`
(dissertation 4.1 and 4.2.1).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from attrs import evolve
from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hraftd.errors import LeadershipLost, Stopped, UnreachableServer
from hraftd.join_attempts import JoinAttempts, NotJoined
from hraftd.raft.configuration import MembershipConflict, Suffrage
from hraftd.raft.errors import ChangeInProgress, NotLeader, TransferInProgress
from hraftd.web.exchange import new_agent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent

    from hraftd.raft.configuration import Configuration, Server
    from hraftd.server import RaftServer

__all__ = ["Joiner", "is_known_as"]

#: Seconds between a leader's word and the moment when this node must know it as well.
MEMBERSHIP_TIMEOUT = 10.0
MEMBERSHIP_POLL = 0.1

#: Seconds for which a member waits to hear from a leader before it asks whether it is
#: one: much longer than an election takes.
LEADER_TIMEOUT = 10.0
LEADER_POLL = 0.5

#: Seconds between two rounds through all members, the first time and at most.
SHORTEST_PAUSE = 0.2
LONGEST_PAUSE = 10.0


def is_known_as(configuration: Configuration, me: Server) -> bool:
    """
    Whether that configuration has this server as a member, at these addresses.
    """
    known = configuration.get(me.id)
    return known is not None and (known.raft, known.http) == (me.raft, me.http)


class Joiner(Service):
    """
    Asks until its node is a member at its addresses, then keeps quiet.
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
        :param me: id and addresses under which others are to know this node, and
            whether it is to vote. A member that only moves keeps the vote that it has.
        :param reactor: for time, and for connections unless there is an agent.
        :param agent: makes the requests.
        """
        self._server = server
        # A list of all members, the same at each of them, has this node in it too.
        others = tuple(target for target in targets if target != me.http)
        self._targets = others or tuple(targets)
        known = server.status().configuration.get(me.id)
        if known is not None:
            keeps = Suffrage.VOTER
            if known.suffrage is Suffrage.NONVOTER:
                keeps = Suffrage.NONVOTER
            me = evolve(me, suffrage=keeps)
        self._me = me
        self._reactor = reactor
        http = HTTPClient(new_agent(reactor) if agent is None else agent)
        self._attempts = JoinAttempts(server, me, http, reactor)
        self._rng = Random() if rng is None else rng
        self._joining: Deferred[None] | None = None
        #: What was said last about each target, so that it is not said again.
        self._warned: dict[str, str] = {}

    def startService(self) -> None:
        """
        Begin to ask; a member first waits for a leader, which leaves nothing to ask.
        """
        Service.startService(self)
        self._joining = Deferred.fromCoroutine(self._join_if_needed())
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

    @property
    def _is_member_here(self) -> bool:
        """
        Whether this node knows by its own log that it is a member, at its addresses.
        """
        return is_known_as(self._server.status().configuration, self._me)

    def _has_its_vote(self, configuration: Configuration) -> bool:
        return not self._me.is_voter or configuration.is_voter(self._me.id)

    def _ended(self, failure: Failure) -> None:
        if self.running or failure.check(CancelledError) is None:
            self._log.failure("cannot go on joining", failure=failure)

    async def _join_if_needed(self) -> None:
        known = self._server.status().configuration
        if self._is_member_here and self._has_its_vote(known):
            deadline = self._reactor.seconds() + LEADER_TIMEOUT
            while self._server.status().last_contact is None:
                if self._reactor.seconds() >= deadline:
                    self._log.info(
                        "{id} has heard from no leader for {seconds:.0f} s, and asks "
                        "whether it is still a member",
                        id=self._me.id,
                        seconds=LEADER_TIMEOUT,
                    )
                    break
                await self._sleep(LEADER_POLL)
            else:
                return
        await self._join()

    async def _join(self) -> None:
        """
        Go round the members until one of them has taken this node in.
        """
        rounds = 0
        while self.running:
            retry_after: float | None = None
            for target in self._targets:
                try:
                    if self._server.status().role == "leader":
                        await self._move_itself()
                        return
                    cluster = await self._attempts.join_through(target)
                    await self._until_member()
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

    async def _move_itself(self) -> None:
        """
        As the leader, change the own addresses; nobody else can.

        :raises NotJoined: if that does not work.
        """
        try:
            await self._server.add_server(self._me)
        except (
            ChangeInProgress,
            LeadershipLost,
            NotLeader,
            Stopped,
            TransferInProgress,
            UnreachableServer,
        ) as error:
            raise NotJoined(str(error), 1) from error
        except MembershipConflict as error:
            raise NotJoined(str(error)) from error
        self._log.info(
            "{id} leads, and has changed its addresses to {raft} and {http}",
            id=self._me.id,
            raft=self._me.raft,
            http=self._me.http,
        )

    async def _until_member(self) -> None:
        """
        Wait until this node knows by its own log that it is a member.
        """
        deadline = self._reactor.seconds() + MEMBERSHIP_TIMEOUT
        while not self._is_member_here:
            if self._reactor.seconds() >= deadline:
                raise NotJoined(
                    "the leader says that this node is a member, but no peer has "
                    f"reached it at {self._me.raft}; is that address right?"
                )
            await self._sleep(MEMBERSHIP_POLL)

"""
Changes of the cluster that somebody wants: members come and go, another one leads.

What a change is, and when one may begin, is told in :mod:`hraftd.raft.leader`; here is
what is looked at before, and when those are answered who wanted it.

Dissertation 4 (membership), 3.10 (leadership transfer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, succeed

from hraftd.errors import (
    LeadershipLost,
    NoSuchServer,
    Stopped,
    TransferFailed,
    UnreachableServer,
)
from hraftd.raft.configuration import MembershipConflict, Suffrage
from hraftd.raft.errors import CannotTransfer, ChangeInProgress, TransferInProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.interfaces import IPeers
    from hraftd.raft.configuration import Configuration, Server
    from hraftd.raft.consensus import ConsensusModule

__all__ = ["MembershipChanges", "Transfers", "has_member", "lacks_member"]

_Condition: TypeAlias = "Callable[[Configuration], bool]"


def has_member(wanted: Server) -> _Condition:
    """
    Say of a configuration whether that server is in it as it was to be.

    Who was to vote does: a learner has not come as far.
    """

    def is_there(configuration: Configuration) -> bool:
        member = configuration.get(wanted.id)
        return (
            member is not None
            and member.raft == wanted.raft
            and wanted.http in ("", member.http)
            and (wanted.suffrage is Suffrage.NONVOTER) != member.is_voter
        )

    return is_there


def lacks_member(server_id: str) -> _Condition:
    """
    Say of a configuration whether that server is not in it.
    """
    return lambda configuration: configuration.get(server_id) is None


@frozen(eq=False)
class _Wish:
    is_fulfilled: _Condition
    answer: Deferred[int]
    #: The entry of the configuration that was in force then. What an older one says,
    #: which may still be applied, is no answer.
    since: int
    #: Who is to be a member; if it is something else, there is nothing to wait for.
    newcomer: Server | None = None

    def is_in_vain(self, configuration: Configuration) -> bool:
        """
        Whether another change has come in between, so that it is not catching up.
        """
        if self.newcomer is None:
            return False
        member = configuration.get(self.newcomer.id)
        return (
            member is None
            or member.raft != self.newcomer.raft
            or self.newcomer.http not in ("", member.http)
            or member.suffrage is not Suffrage.LEARNER
            or self.newcomer.suffrage is Suffrage.NONVOTER
        )


class MembershipChanges:
    """
    The changes that clients of one server want, and wait for.
    """

    def __init__(
        self,
        core: ConsensusModule,
        peers: IPeers,
        *,
        applied: Callable[[], int],
        wake: Callable[[], object],
    ) -> None:
        """
        Begin with none.

        :param applied: returns the last index that the state machine has applied.
        :param wake: makes the server take a turn.
        """
        self._core = core
        self._peers = peers
        self._applied = applied
        self._wake = wake
        self._wishes: list[_Wish] = []
        self._stopped = False

    async def add(self, server: Server) -> int:
        """
        See :meth:`hraftd.server.RaftServer.add_server`.
        """
        core = self._core
        leader = core.check_leader()
        known = core.configuration.get(server.id)
        if core.configuration.with_server(server) is not core.configuration:
            leader.check_change()
            if server.id != core.server_id and (
                known is None or known.raft != server.raft
            ):
                if known is not None:
                    await self._check_gone(known)
                await self._probe(server)
            if self._stopped:
                raise Stopped("this server is not running")
            if core.configuration.get(server.id) != known:
                raise ChangeInProgress(
                    f"{server.id} has become another member meanwhile; try again"
                )
            core.add_server(server)
            self._wake()
        return await self._until_committed(has_member(server), server)

    async def _probe(self, server: Server) -> None:
        try:
            await self._peers.probe(server)
        except CancelledError:
            # Who wanted the change does not wait any more; that says nothing.
            raise
        except Exception as error:
            raise UnreachableServer(str(error)) from error

    async def _check_gone(self, member: Server) -> None:
        """
        Make sure that a member which is to move no longer answers where it was.
        """
        try:
            await self._probe(member)
        except UnreachableServer:
            return
        raise MembershipConflict(
            f"{member.id} is a member already and answers at {member.raft}; stop it "
            "there before it moves, or choose another id"
        )

    async def remove(self, server_id: str) -> int:
        """
        See :meth:`hraftd.server.RaftServer.remove_server`.
        """
        core = self._core
        leader = core.check_leader()
        if core.configuration.get(server_id) is not None:
            leader.check_change()
            core.remove_server(server_id)
            self._wake()
        elif not any(
            configuration.get(server_id)
            for configuration in core.log.configurations_since(core.commit_index)
        ):
            raise NoSuchServer(f"no member of this cluster is called {server_id}")
        return await self._until_committed(lacks_member(server_id))

    def _until_committed(
        self, is_fulfilled: _Condition, newcomer: Server | None = None
    ) -> Deferred[int]:
        """
        Wait for a configuration that is committed, and applied, and as it should be.
        """
        log = self._core.log
        if log.configuration_index <= self._applied() and is_fulfilled(
            log.configuration
        ):
            return succeed(log.configuration_index)
        answer: Deferred[int] = Deferred(lambda _: self._forget(wish))
        wish = _Wish(is_fulfilled, answer, log.configuration_index, newcomer)
        self._wishes.append(wish)
        return answer

    def _forget(self, wish: _Wish) -> None:
        if wish in self._wishes:
            self._wishes.remove(wish)

    def committed(self, index: int, configuration: Configuration) -> None:
        """
        Answer those who waited for such a configuration.
        """
        for wish in list(self._wishes):
            if wish not in self._wishes or index < wish.since:
                # Who was answered before has cancelled it; or this is an old one.
                continue
            if wish.is_fulfilled(configuration):
                self._wishes.remove(wish)
                wish.answer.callback(index)
            elif wish.newcomer and wish.is_in_vain(configuration):
                self._wishes.remove(wish)
                what = "changed" if configuration.get(wish.newcomer.id) else "removed"
                wish.answer.errback(
                    MembershipConflict(
                        f"{wish.newcomer.id} was {what} while it was catching up"
                    )
                )

    def stop(self, reason: str) -> None:
        """
        Begin nothing any more.
        """
        self._stopped = True
        self.fail(reason)

    def fail(self, reason: str) -> None:
        """
        Tell those who wait that this server will not learn what becomes of it.
        """
        wishes, self._wishes = self._wishes, []
        for wish in wishes:
            if not wish.answer.called:
                wish.answer.errback(LeadershipLost(reason))


@frozen(eq=False)
class _Transfer:
    to: str
    #: The tick from which on nobody waits any longer.
    due: int
    answer: Deferred[int]


class Transfers:
    """
    The leadership transfer that is under way, from its beginning to the next leader.
    """

    def __init__(self, core: ConsensusModule) -> None:
        """
        Begin without one.
        """
        self._core = core
        self._transfer: _Transfer | None = None

    @property
    def is_under_way(self) -> bool:
        """
        Whether nobody knows yet who leads when it is over.
        """
        return self._transfer is not None

    def begin(self, server_id: str | None) -> Deferred[int]:
        """
        See :meth:`hraftd.server.RaftServer.transfer_leadership`.

        :return: fires, or fails with :exc:`~hraftd.errors.TransferFailed`, within two
            election timeouts.
        :raises NotLeader: what :meth:`ConsensusModule.transfer_leadership` raises,
        :raises TransferInProgress: likewise,
        :raises CannotTransfer: likewise.
        :raises NoSuchServer: if that is no member.
        :raises TransferFailed: if that member does not answer.
        """
        core = self._core
        leader = core.check_leader()
        if server_id == core.server_id:
            return succeed(core.current_term)
        if server_id is None:
            server_id = leader.successor
        if server_id is None:
            raise CannotTransfer("no other voter answers; nobody can take over")
        if core.configuration.get(server_id) is None:
            raise NoSuchServer(f"no member of this cluster is called {server_id}")
        if server_id in leader.progress and not leader.has_contact(server_id):
            raise TransferFailed(f"{server_id} does not answer and cannot take over")
        if self._transfer is not None:
            # It is over in the algorithm; the next turn will say how.
            raise TransferInProgress(
                f"leadership is being handed over to {self._transfer.to}; try again"
            )
        core.transfer_leadership(server_id)
        answer: Deferred[int] = Deferred()
        due = core.now + 2 * core.timing.election_timeout
        self._transfer = _Transfer(server_id, due, answer)
        return answer

    def look(self) -> None:
        """
        See whether it is over.
        """
        transfer, core = self._transfer, self._core
        if transfer is None or core.transferring_to is not None:
            return
        if core.leader_id is None and core.now < transfer.due:
            return
        self._transfer = None
        if core.leader_id == transfer.to:
            transfer.answer.callback(core.current_term)
        elif core.leader_id is None:
            # It may still be elected.
            transfer.answer.errback(
                LeadershipLost(f"{transfer.to} was told to lead; no leader is known")
            )
        else:
            transfer.answer.errback(
                TransferFailed(
                    f"{transfer.to} did not take over; {core.leader_id} leads"
                )
            )

    def fail(self, error: Exception) -> None:
        """
        Tell who waits that it will not be known here.
        """
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            transfer.answer.errback(error)

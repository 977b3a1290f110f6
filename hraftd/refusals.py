"""
What a Raft server's refusal means for a client.

Each exception that a server foresees becomes an outcome of :mod:`hraftd.outcomes`; one
that it does not foresee stays what it is. "Not the leader" means that nothing was done
only because whoever says so has not taken the request in (openraft 2096).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.codec import CodecError
from hraftd.errors import (
    LeadershipLost,
    NoSuchServer,
    NotReached,
    Overloaded,
    Stopped,
    TransferFailed,
    UnreachableServer,
)
from hraftd.forwarding import OnFollower, Unanswered
from hraftd.outcomes import (
    Conflict,
    Misdirected,
    Missing,
    Redirected,
    Unavailable,
    Unknown,
)
from hraftd.raft.configuration import MembershipConflict
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from hraftd.outcomes import Declined, NotDone
    from hraftd.raft.configuration import Server

__all__ = ["change_declined", "not_done"]


def not_done(failure: Failure, server_id: str, on_follower: OnFollower) -> NotDone:
    """
    Say what the failure of a write means, or of anything else that the leader does.

    :param server_id: of the server that was asked here.
    :param on_follower: what it is to do with a request that only the leader can serve.
    """
    match failure.value:
        case NotLeader(leader=leader):
            return _elsewhere(leader, server_id, on_follower)
        case NotReached():
            return Unavailable(
                "there is no leader that this node reaches at the moment; try again"
            )
        case LeadershipLost():
            return Unknown(
                "the leader lost its leadership before this was committed; "
                "it may or may not happen"
            )
        case CodecError():
            return Unknown(
                "the leader's answer is not understood here; is it of another version? "
                "What was asked for may have happened"
            )
        case Unanswered():
            return Unknown("the leader did not answer; it may or may not happen")
        case TransferInProgress():
            return Unavailable("the leader is handing its leadership over; try again")
        case Overloaded():
            return Unavailable("too many requests wait already; try again")
        case Stopped():
            return Unavailable("this node or the leader is stopping; try again")
        case _:
            failure.raiseException()


def change_declined(
    failure: Failure, server_id: str, on_follower: OnFollower
) -> Declined:
    """
    Say what the failure of a change of the cluster means; as :func:`not_done`.
    """
    match failure.value:
        case MembershipConflict() | CannotTransfer() as error:
            return Conflict(str(error))
        case NoSuchServer() as error:
            return Missing(str(error))
        case ChangeInProgress() | UnreachableServer() | TransferFailed() as error:
            return Unavailable(str(error))
        case _:
            return not_done(failure, server_id, on_follower)


def _elsewhere(
    leader: Server | None, server_id: str, on_follower: OnFollower
) -> NotDone:
    # If it named itself, a client that follows would come back for ever.
    if leader is None or leader.id == server_id:
        return Unavailable("there is no leader at the moment; try again")
    if on_follower is OnFollower.REDIRECT and leader.http and leader.http.isascii():
        return Redirected(leader)
    return Misdirected(leader)

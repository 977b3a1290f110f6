"""
What any server can ask the leader for, on behalf of its own clients.

One hop and no more: a server that does not lead, or not any more, declines. The paper's
figure 2 leaves clients out; the names are those of the dissertation's boxes for them
(figures 4.1 and 6.1). :class:`ReadIndex` and :class:`TransferLeadership` stand beside
them in sections 6.4 and 3.10.

Who carries them is :class:`hraftd.interfaces.IPeers`, who serves them is
:meth:`hraftd.server.RaftServer.serve`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

if TYPE_CHECKING:
    from hraftd.raft.configuration import Server

__all__ = [
    "AddServer",
    "Assurance",
    "ClientRequest",
    "LeaderRequest",
    "ReadIndex",
    "RemoveServer",
    "TransferLeadership",
]


class Assurance(Enum):
    """
    How sure a leader makes that it leads before it names an index to read at.
    """

    #: It believes so.
    BELIEF = "belief"
    #: A majority has confirmed it since it was asked (dissertation 6.4).
    MAJORITY = "majority"
    #: It has committed an entry since it was asked.
    LOG = "log"


@frozen
class ClientRequest:
    """
    Commit and apply a command. Answered with an :class:`hraftd.proposals.Applied`.
    """

    command: bytes


@frozen
class ReadIndex:
    """
    Name an index; a state that has applied it is fresh. Answered with that index.
    """

    assurance: Assurance


@frozen
class AddServer:
    """
    Make a server a member, or move one. Answered with the index of the change.
    """

    server: Server


@frozen
class RemoveServer:
    """
    Remove a member. Answered with the index of the change.
    """

    server_id: str


@frozen
class TransferLeadership:
    """
    Hand leadership over. Answered with the new leader's term.
    """

    #: A voter; ``None`` for the one that can take over the soonest.
    server_id: str | None


LeaderRequest: TypeAlias = (
    ClientRequest | ReadIndex | AddServer | RemoveServer | TransferLeadership
)

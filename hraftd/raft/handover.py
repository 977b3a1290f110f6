"""
A leader that hands its leadership over.

It stops appending, lets the other catch up, and tells it to campaign at once; the
others vote for that candidate though their leader is alive, since it says that the
leader itself asked (dissertation 3.10, 4.2.3). Within an election timeout it is over:
either another server leads, or this one appends again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from hraftd.raft.messages import Call

__all__ = ["HandOver"]


@define
class HandOver:
    """
    What a leader remembers while it hands over.
    """

    #: The id of the server that is to lead.
    to: str
    #: The tick at which this leader gives up and goes on.
    due: int
    #: The TimeoutNow, once it is sent.
    call: Call | None = None

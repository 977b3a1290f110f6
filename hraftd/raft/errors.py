"""
Why the algorithm declines to do something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hraftd.raft.configuration import Server

__all__ = [
    "CannotTransfer",
    "ChangeInProgress",
    "NotLeader",
    "ProtocolViolation",
    "TransferInProgress",
]


class NotLeader(Exception):
    """
    Only the leader can do this. Nothing has been done.
    """

    def __init__(self, leader: Server | None) -> None:
        """
        Name the leader, or nobody if none is known.
        """
        super().__init__(f"not the leader; the leader is {leader and leader.id}")
        self.leader = leader


class ChangeInProgress(Exception):
    """
    No membership change may start yet.

    Another is not committed, or the leader has committed nothing in its term so far.
    Nothing has been done; try again soon.
    """


class TransferInProgress(Exception):
    """
    The leader is handing its leadership over and appends nothing meanwhile.

    Nothing has been done. It ends within an election timeout.
    """


class CannotTransfer(Exception):
    """
    That server cannot be the next leader. The text is a sentence.
    """


class ProtocolViolation(Exception):
    """
    A peer sent what no server that follows the rules sends.

    The log is as it was before.
    """

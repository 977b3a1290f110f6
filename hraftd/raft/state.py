"""
What a server knows whatever its role: the "State" box of figure 2, and its outbox.

Rules that change it are in :mod:`hraftd.raft.consensus` and, for leaders,
:mod:`hraftd.raft.leader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.raft.messages import HardState

if TYPE_CHECKING:
    from hraftd.raft.configuration import Configuration
    from hraftd.raft.log import Log
    from hraftd.raft.messages import Call
    from hraftd.raft.ready import Fetch, Timing

__all__ = ["ServerState"]


class ServerState:
    """
    The persistent and the volatile state on all servers.
    """

    def __init__(
        self, server_id: str, hard_state: HardState, log: Log, timing: Timing
    ) -> None:
        """
        Begin with what was on disk.
        """
        self.server_id = server_id
        self.timing = timing

        # Persistent state on all servers.
        self.current_term = hard_state.current_term
        self.voted_for = hard_state.voted_for
        self.votes_from = hard_state.votes_from
        if not log.last_index and not hard_state.current_term:
            # It has nothing, and perhaps has lost what it had.
            self.votes_from = None
        self.log = log

        # Volatile state on all servers. What was applied is the driver's to know;
        # here it counts what was handed out to be.
        self.commit_index = log.snapshot_index
        #: The last entry of which this server's disk holds the log.
        self.stable_index = log.last_index
        #: Ticks since this server started.
        self.now = 0

        #: Requests that wait for the disk, and those that need not (see Ready).
        self.calls: list[Call] = []
        self.early_calls: list[Call] = []
        #: What is to be read from the disk.
        self.fetches: list[Fetch] = []

    @property
    def hard_state(self) -> HardState:
        """
        What must be on disk besides the log, as it is now.
        """
        return HardState(self.current_term, self.voted_for, self.votes_from)

    @property
    def configuration(self) -> Configuration:
        """
        The configuration in force: the latest in the log (dissertation 4.1).
        """
        return self.log.configuration

    def commit_to(self, index: int) -> None:
        """
        Move the commit index forward, never back (PySyncObj 166).
        """
        self.commit_index = max(self.commit_index, index)

"""
What a leader knows of one other member, and what it learns from an answer.

Figure 2, "Volatile state on leaders"; Raft 5.3, 7; dissertation 4.2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from hraftd.raft.log import Log
    from hraftd.raft.messages import (
        AppendEntries,
        AppendEntriesResponse,
        Call,
        InstallSnapshot,
        InstallSnapshotResponse,
        Snapshot,
    )
    from hraftd.raft.ready import Fetch

__all__ = ["Progress", "Sending"]


@define
class Sending:
    """
    The snapshot that a member is being sent, and where its next piece begins.
    """

    snapshot: Snapshot
    next_offset: int = 0


@define
class Progress:
    """
    How far one member's log agrees with the leader's.

    A new leader does not know where the logs agree. It *probes*: sends requests
    without entries until one is accepted, going back at each rejection. Then it
    sends entries, one request at a time; what is proposed meanwhile goes with the
    next. Where the log does not reach back as far as the member needs, it is sent the
    *snapshot* instead, a piece at a time. A call that failed *pauses* all of this, so
    that a peer which is down costs a heartbeat and no more; the next answer resumes it.
    """

    #: The next entry to send.
    next_index: int
    #: The tick of the last answer, or of the moment when this began.
    last_contact: int
    #: A learner's round: it ends when this index is reached (dissertation 4.2.1).
    round_target: int
    #: The tick at which the round began; see :meth:`begin_round`.
    round_start: int
    #: What was sent in an earlier round of reads was sent to this server before it was
    #: removed and let in again; its answers say nothing.
    since_round: int = 0
    #: The last entry known to be on that server's disk. Never goes back.
    match_index: int = 0
    #: Whether an answer ever came in this term.
    heard: bool = False
    probing: bool = True
    paused: bool = False
    #: What holds back the next request but never a heartbeat: a call until it is
    #: answered or fails, or a fetch for the next one until it has come.
    in_flight: Call | Fetch | None = None
    #: While the log does not reach back to ``next_index``.
    sending: Sending | None = None
    #: The latest round of reads of which a request was answered.
    round: int = 0
    #: The highest commit index that was sent.
    sent_commit: int = 0
    #: Whether a round was short enough for the learner to vote without a gap.
    caught_up: bool = False

    def answered(self, call: Call, now: int) -> None:
        """
        Take note that the member is there, at that tick.
        """
        self._ended(call)
        self.paused = False
        self.heard = True
        self.last_contact = now
        self.round = max(self.round, call.round)

    def failed(self, what: Call | Fetch) -> None:
        """
        Take note that a call was not answered, or that nothing came of a fetch.
        """
        self._ended(what)
        self.paused = True

    def _ended(self, what: Call | Fetch) -> None:
        if self.in_flight is what:
            self.in_flight = None

    def accepted(self, request: AppendEntries) -> None:
        """
        Update nextIndex and matchIndex: the logs agree up to the request's last entry.

        An old answer may come late, so neither goes back (PySyncObj 167).
        """
        self.probing = False
        self._matches(request.prev_log_index + len(request.entries))

    def _matches(self, match_index: int) -> None:
        self.match_index = max(self.match_index, match_index)
        self.next_index = max(self.next_index, self.match_index + 1)

    def received_piece(
        self, request: InstallSnapshot, response: InstallSnapshotResponse
    ) -> None:
        """
        Go on with the piece that is needed next, or behind the snapshot.

        An answer to what was sent of another snapshot, before this one, says at most
        that it is installed.
        """
        snapshot = request.snapshot
        if response.next_offset == snapshot.size:
            self.probing = False
            self._matches(snapshot.last_index)
        elif self.sending is not None and self.sending.snapshot is snapshot:
            self.sending.next_offset = response.next_offset

    def rejected(
        self, request: AppendEntries, response: AppendEntriesResponse, log: Log
    ) -> None:
        """
        Decrement nextIndex: by a term for each rejection, not by an entry.

        A rejection of what was sent before the last step back, or of what was accepted
        meanwhile, says nothing new.
        """
        if request.prev_log_index != self.next_index - 1:
            return
        if request.prev_log_index <= self.match_index:
            # It has lost what it had: to send the same at once would go on for ever.
            self.paused = True
            return
        next_index = response.conflict_index
        if response.conflict_term:
            last_of_term = log.last_index_of_term(response.conflict_term)
            if last_of_term is not None:
                next_index = last_of_term + 1
        self.next_index = max(
            self.match_index + 1, min(next_index, self.next_index - 1)
        )
        self.probing = True

    def end_round(self, last_index: int, now: int, election_timeout: int) -> None:
        """
        See whether a learner has reached the end of its round, and begin the next.

        Each round goes as far as the log reached when it began. One that took less
        than an election timeout shows that the newcomer, once it votes, delays no
        commitment for longer than that.
        """
        if self.match_index >= self.round_target:
            self.caught_up = now - self.round_start < election_timeout
            self.begin_round(last_index, now)

    def begin_round(self, last_index: int, now: int) -> None:
        """
        Let a learner catch up with all that is in the log at this moment.

        The first round begins with the first answer. Who began with nothing votes only
        when it has what was committed when it first heard a leader, and that is in the
        log now; so once it is made a voter its vote can be had.
        """
        self.round_target = last_index
        self.round_start = now

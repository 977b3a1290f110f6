"""
The Raft algorithm as one server runs it, told in the order of "Rules for Servers".

:class:`ConsensusModule` is a state machine without a world around it. It is *given*
the passing of time (:meth:`~ConsensusModule.tick`), the requests of peers
(:meth:`~ConsensusModule.handle`), the answers to its own
(:meth:`~ConsensusModule.response_received`, :meth:`~ConsensusModule.call_failed`)
and what clients want (:meth:`~ConsensusModule.propose`,
:meth:`~ConsensusModule.add_server`). It *says* what has to be done about them
(:meth:`~ConsensusModule.ready`), and is told when that is on disk
(:meth:`~ConsensusModule.advance`). It never waits, and two of them that are given
the same do the same.

Implements Raft 5 (leader election, log replication, safety), 8 (the no-op), and of
the dissertation 4.1 to 4.2.3 (adding servers one at a time, catching up, the lease on
votes), 6.2 (a leader without a majority steps down), 9.6 (pre-vote) and 10.2.1 (the
leader writes to its disk beside replicating). Snapshots, removal of servers,
leadership transfer and linearizable reads are not here yet.

Departures from the paper:

- A request for a vote is refused without looking at its term while the leader is
  alive (dissertation 4.2.3), unless the leader itself asks.
- A candidate counts its own vote, and a leader its own log, only when its disk has
  them; the paper counts them at once and writes before it sends.
- AppendEntries goes to one follower one at a time, but for heartbeats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.raft.configuration import Configuration, Server
from hraftd.raft.errors import ChangeInProgress, NotLeader, ProtocolViolation
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Call,
    Entry,
    HardState,
    NoOp,
    Payload,
    Request,
    RequestVote,
    RequestVoteResponse,
    Response,
)
from hraftd.raft.ready import Ready, Timing
from hraftd.raft.roles import (
    Candidate,
    Follower,
    Leader,
    PreCandidate,
    Progress,
    Role,
)

if TYPE_CHECKING:
    from random import Random

    from hraftd.raft.log import Log

__all__ = ["ConsensusModule"]

#: At most so many entries are handed out to be applied at a time, so that a long log
#: does not keep everything else waiting.
MAX_COMMITTED = 1024


class ConsensusModule:
    """
    One server's part in the agreement.
    """

    def __init__(
        self,
        server_id: str,
        hard_state: HardState,
        log: Log,
        rng: Random,
        timing: Timing | None = None,
    ) -> None:
        """
        Begin as a follower with what was on disk (Raft 5.2, 5.5).

        :param rng: makes the election timeouts differ; nothing else.
        """
        self.server_id = server_id
        self.log = log
        self.timing = timing or Timing()
        self._rng = rng

        self.current_term = hard_state.current_term
        self.voted_for = hard_state.voted_for
        self.commit_index = log.snapshot_index
        self.role: Role = Follower()

        #: The last entry of which this server's disk holds the log.
        self.stable_index = log.last_index
        #: The last entry that was handed out to be applied.
        self._handed_out = log.snapshot_index
        self._saved_hard_state = hard_state
        self._saving: Ready | None = None
        self._calls: list[Call] = []
        self._early_calls: list[Call] = []
        self._announced: Configuration | None = None

        self._now = 0
        self._heard_leader_at: int | None = None
        self._election_due = 0
        self._reset_election_timer()
        if [server.id for server in self.configuration.voters] == [server_id]:
            # A voter on its own has nobody to wait for.
            self._election_due = 0

    def bootstrap(self, server: Server) -> None:
        """
        Begin a new cluster with this server as its only voter.

        The configuration is the first entry of every log of that cluster.

        :raises ValueError: if this server has been part of one already.
        """
        if self.log.last_index or self.current_term:
            raise ValueError("this server already has a log or a term")
        self.current_term = 1
        self.log.append((Entry(1, 1, Configuration((server,))),))
        self._election_due = self._now

    # What others may ask about this server.

    @property
    def hard_state(self) -> HardState:
        """
        What must be on disk besides the log, as it is now.
        """
        return HardState(self.current_term, self.voted_for)

    @property
    def configuration(self) -> Configuration:
        """
        The configuration in force: the latest in the log (dissertation 4.1).
        """
        return self.log.configuration

    @property
    def leader_id(self) -> str | None:
        """
        The leader of the current term, as far as this server knows.
        """
        match self.role:
            case Leader():
                return self.server_id
            case Follower(leader_id):
                return leader_id
            case _:
                return None

    @property
    def led_term(self) -> int | None:
        """
        The term that this server leads, if it does.
        """
        return self.current_term if isinstance(self.role, Leader) else None

    @property
    def ticks_since_leader(self) -> int | None:
        """
        Ticks since the leader was heard; 0 at the leader; ``None`` if never.
        """
        if isinstance(self.role, Leader):
            return 0
        if self._heard_leader_at is None:
            return None
        return self._now - self._heard_leader_at

    def ticks_since_contact(self, server_id: str) -> int | None:
        """
        Ticks since that member answered; ``None`` if it did not in this term.
        """
        if not isinstance(self.role, Leader):
            return None
        progress = self.role.progress.get(server_id)
        if progress is None or not progress.heard:
            return None
        return self._now - progress.last_contact

    def match_index(self, server_id: str) -> int | None:
        """
        Return the last entry known to be on that member's disk; leaders know that.
        """
        if not isinstance(self.role, Leader):
            return None
        if server_id == self.server_id:
            return self.stable_index
        progress = self.role.progress.get(server_id)
        return None if progress is None else progress.match_index

    # Rules for Servers: all servers.

    def _become_follower(self, term: int, leader_id: str | None = None) -> None:
        """
        Follow whoever leads that term, which is at least the current one.

        The vote is forgotten only with the term it was given in: to forget it when
        stepping down within a term lets this server vote twice (CCF 8094).
        """
        if term > self.current_term:
            self.current_term = term
            self.voted_for = None
        if isinstance(self.role, Leader):
            # A leader has let its own timer run out long ago.
            self._reset_election_timer()
        self.role = Follower(leader_id)
        self._calls.clear()

    def _commit_to(self, index: int) -> None:
        """
        Move the commit index forward, never back (PySyncObj 166).
        """
        self.commit_index = max(self.commit_index, index)

    def handle(self, request: Request) -> Response:
        """
        Answer a peer: the "Receiver implementation" of its RPC box.

        The answer must not leave before the disk has what the next :meth:`ready`
        hands out.

        :raises ProtocolViolation: if no correct server can have sent this.
        """
        match request:
            case RequestVote():
                return self._handle_request_vote(request)
            case AppendEntries():
                return self._handle_append_entries(request)

    def _handle_request_vote(self, request: RequestVote) -> RequestVoteResponse:
        """
        RequestVote RPC, receiver implementation (Raft 5.2, 5.4).
        """
        refusal = RequestVoteResponse(self.current_term, False)
        # While the leader is alive nobody else needs votes, whatever the term: this
        # keeps servers that were cut off or removed from disturbing (dissertation
        # 4.2.3). The leader itself may ask, after a restart (hashicorp 605).
        if self._leader_is_alive() and request.candidate_id != self.leader_id:
            return refusal
        up_to_date = self.log.is_up_to_date(
            request.last_log_index, request.last_log_term
        )
        if request.pre_vote:
            # Would it get the vote? Nothing changes here, not even the term
            # (dissertation 9.6).
            granted = request.term > self.current_term and up_to_date
            return RequestVoteResponse(self.current_term, granted)
        # 1. Reply false if term < currentTerm.
        if request.term < self.current_term:
            return refusal
        if request.term > self.current_term:
            self._become_follower(request.term)
        # 2. If votedFor is null or candidateId, and candidate's log is at least as
        # up-to-date as receiver's log, grant vote.
        granted = self.voted_for in (None, request.candidate_id) and up_to_date
        if granted:
            self.voted_for = request.candidate_id
            self._reset_election_timer()
        return RequestVoteResponse(self.current_term, granted)

    def _leader_is_alive(self) -> bool:
        """
        Whether a leader was heard within the shortest election timeout.

        A leader that has lost its majority steps down by itself, so one that is
        still a leader counts.
        """
        silence = self.ticks_since_leader
        return (
            self.leader_id is not None
            and silence is not None
            and silence < self.timing.election_timeout
        )

    def _handle_append_entries(self, request: AppendEntries) -> AppendEntriesResponse:
        """
        AppendEntries RPC, receiver implementation (Raft 5.3).
        """
        # 1. Reply false if term < currentTerm.
        if request.term < self.current_term:
            return AppendEntriesResponse(self.current_term, False)
        if request.term == self.current_term and (
            isinstance(self.role, Leader)
            or self.leader_id not in (None, request.leader_id)
        ):
            raise ProtocolViolation(
                f"{request.leader_id} claims to lead term {request.term}, which "
                f"{self.leader_id} leads"
            )
        _check_entries(request)
        self._become_follower(request.term, request.leader_id)
        self._reset_election_timer()
        self._heard_leader_at = self._now

        prev_index, prev_term = request.prev_log_index, request.prev_log_term
        entries = request.entries
        if prev_index < self.log.snapshot_index:
            # What a snapshot holds is committed, so it agrees with every leader, and
            # must not be taken for a conflict (openraft 510).
            entries = entries[self.log.snapshot_index - prev_index :]
            prev_index, prev_term = self.log.snapshot_index, self.log.snapshot_term
        # 2. Reply false if log does not contain an entry at prevLogIndex whose term
        # matches prevLogTerm.
        if not self.log.matches(prev_index, prev_term):
            return self._reject(prev_index)
        for entry in entries:
            if self.log.matches(entry.index, entry.term):
                continue
            # 3. If an existing entry conflicts with a new one, delete it and all that
            # follow. Only then: a short request that was delayed must not cut off
            # what came after it (akka-raft 66).
            if entry.index <= self.log.last_index:
                self._truncate(entry.index)
            # 4. Append any new entries not already in the log.
            self.log.append(entries[entry.index - entries[0].index :])
            break
        # 5. If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index
        # of last new entry): what lies beyond has not been compared (copycat 265).
        verified = max(prev_index, request.prev_log_index + len(request.entries))
        self._commit_to(min(request.leader_commit, verified))
        return AppendEntriesResponse(self.current_term, True)

    def _reject(self, prev_index: int) -> AppendEntriesResponse:
        """
        Say where the logs may begin to differ (end of Raft 5.3).
        """
        conflict_term = self.log.term_at(prev_index)
        if conflict_term is None:
            return AppendEntriesResponse(
                self.current_term, False, 0, self.log.last_index + 1
            )
        self._check_not_committed(prev_index)
        return AppendEntriesResponse(
            self.current_term,
            False,
            conflict_term,
            self.log.first_index_of_term(prev_index),
        )

    def _truncate(self, index: int) -> None:
        """
        Delete the entries from that one on; the disk follows with the next save.
        """
        self._check_not_committed(index)
        self.log.truncate(index)
        self.stable_index = min(self.stable_index, index - 1)

    def _check_not_committed(self, index: int) -> None:
        """
        Refuse to believe a leader that contradicts a committed entry (Raft 5.4).
        """
        if index <= self.commit_index:
            raise ProtocolViolation(
                f"the leader's log differs at entry {index}, but this server knows "
                f"that entries up to {self.commit_index} are committed"
            )

    def response_received(self, call: Call, response: Response) -> None:
        """
        Take a peer's answer to one of ours.

        Each call ends in exactly one of this and :meth:`call_failed`.
        """
        # If RPC response contains term T > currentTerm: set currentTerm = T, convert
        # to follower.
        if response.term > self.current_term:
            self._become_follower(response.term)
            return
        match call.request, response:
            case RequestVote() as request, RequestVoteResponse():
                self._vote_received(call.to, request, response)
            case AppendEntries() as request, AppendEntriesResponse():
                self._append_answered(call, request, response)
            case _:
                raise TypeError(f"{response} does not answer {call.request}")

    # Rules for Servers: followers and candidates.

    def tick(self) -> None:
        """
        Let one unit of time pass.
        """
        self._now += 1
        if isinstance(self.role, Leader):
            self._leader_tick(self.role)
        elif self._now >= self._election_due:
            self._reset_election_timer()
            if self._may_campaign():
                self._start_pre_vote()

    def _may_campaign(self) -> bool:
        """
        Whether this server is a voter, and not still about to vote for itself.

        One that is no voter, as far as it knows, waits to be made one. And a disk
        slower than the timeout must not keep every campaign from its own vote.
        """
        if isinstance(self.role, Candidate) and self.server_id not in self.role.votes:
            return False
        return self.configuration.is_voter(self.server_id)

    def _reset_election_timer(self) -> None:
        """
        Wait for a random time from one to two election timeouts (Raft 5.2).
        """
        timeout = self.timing.election_timeout
        self._election_due = self._now + self._rng.randint(timeout + 1, 2 * timeout)

    def _start_pre_vote(self) -> None:
        """
        Ask who would vote for this server in the next term (dissertation 9.6).
        """
        self.role = PreCandidate({self.server_id})
        self._request_votes(self.current_term + 1, pre_vote=True)
        self._count_votes()

    def _start_election(self) -> None:
        """
        Increment currentTerm, vote for self, send RequestVote RPCs (Raft 5.2).

        The own vote counts when it is on disk: :meth:`advance`.
        """
        self.current_term += 1
        self.voted_for = self.server_id
        self.role = Candidate()
        self._reset_election_timer()
        self._request_votes(self.current_term, pre_vote=False)

    def _request_votes(self, term: int, *, pre_vote: bool) -> None:
        """
        Ask all other voters.
        """
        request = RequestVote(
            term=term,
            candidate_id=self.server_id,
            last_log_index=self.log.last_index,
            last_log_term=self.log.last_term,
            pre_vote=pre_vote,
        )
        # What an earlier campaign had not sent yet nobody needs any more.
        self._calls = [
            Call(server.id, request)
            for server in self.configuration.voters
            if server.id != self.server_id
        ]

    def _vote_received(
        self, voter_id: str, request: RequestVote, response: RequestVoteResponse
    ) -> None:
        """
        Count a vote, if it is for the campaign that is going on.
        """
        if not response.vote_granted:
            return
        match self.role:
            case PreCandidate(votes) if (
                request.pre_vote and request.term == self.current_term + 1
            ):
                votes.add(voter_id)
            case Candidate(votes) if (
                not request.pre_vote and request.term == self.current_term
            ):
                votes.add(voter_id)
        self._count_votes()

    def _count_votes(self) -> None:
        """
        Go on if a majority of the voters agrees; others' votes count for nothing.
        """
        match self.role:
            case PreCandidate(votes) if self.configuration.is_majority(votes):
                self._start_election()
            case Candidate(votes) if self.configuration.is_majority(votes):
                self._become_leader()

    # Rules for Servers: leaders.

    def _become_leader(self) -> None:
        """
        Begin a term as its leader.

        The no-op lets entries of older terms be committed with it (Raft 5.4.2, 8).
        """
        leader = Leader(term_start=self.log.last_index + 1)
        leader.heartbeat_due = self._now + self.timing.heartbeat_interval
        self.role = leader
        self._follow_configuration(leader)
        self._append(NoOp())

    def _follow_configuration(self, leader: Leader) -> None:
        """
        Keep a Progress for each other member of the configuration in force.
        """
        leader.progress = {
            server.id: leader.progress.get(server.id)
            or Progress(
                next_index=self.log.last_index + 1,
                last_contact=self._now,
                round_target=self.log.last_index,
                round_start=self._now,
            )
            for server in self.configuration.servers
            if server.id != self.server_id
        }

    def _append(self, payload: Payload) -> Entry:
        """
        Append an entry of the current term to the leader's own log (Raft 5.3).
        """
        entry = Entry(self.log.last_index + 1, self.current_term, payload)
        self.log.append((entry,))
        return entry

    def propose(self, command: bytes) -> Entry:
        """
        Append a client's command to the log.

        :return: the entry. It is committed when an entry of its index *and* term is
            handed out in :attr:`Ready.committed`; another at its index says that it
            never will be.
        :raises NotLeader: if this server does not lead.
        """
        self._leading()
        return self._append(command)

    def check_leader(self) -> None:
        """
        Do nothing at the leader.

        :raises NotLeader: elsewhere; it names the leader if one is known.
        """
        self._leading()

    def _leading(self) -> Leader:
        """
        Return the leader's state.

        :raises NotLeader: if this server does not lead.
        """
        if isinstance(self.role, Leader):
            return self.role
        leader_id = self.leader_id
        raise NotLeader(self.configuration.get(leader_id) if leader_id else None)

    def _leader_tick(self, leader: Leader) -> None:
        """
        Step down without a majority, send heartbeats in time.
        """
        alive = {
            server_id
            for server_id, progress in leader.progress.items()
            if self._now - progress.last_contact < self.timing.election_timeout
        }
        # Dissertation 6.2: clients of a leader that nobody hears must not wait.
        if not self.configuration.is_majority(alive | {self.server_id}):
            self._become_follower(self.current_term)
            return
        if self._now >= leader.heartbeat_due:
            leader.heartbeat_due = self._now + self.timing.heartbeat_interval
            for server_id, progress in leader.progress.items():
                self._send_append(server_id, progress, ())

    def _send_append(
        self, server_id: str, progress: Progress, entries: tuple[Entry, ...]
    ) -> Call:
        """
        Send AppendEntries with these entries, which begin at its ``next_index``.

        :raises Compacted: if the log no longer reaches back to the entry before
            them. There is no request without it (openraft 1795).
        """
        prev_log_index = progress.next_index - 1
        prev_log_term = self.log.term_at(prev_log_index)
        assert prev_log_term is not None, "next_index lies within the leader's log"
        call = Call(
            server_id,
            AppendEntries(
                term=self.current_term,
                leader_id=self.server_id,
                prev_log_index=prev_log_index,
                prev_log_term=prev_log_term,
                entries=entries,
                leader_commit=self.commit_index,
            ),
        )
        # It takes the news only as far as it can compare (see handling it).
        progress.sent_commit = min(self.commit_index, prev_log_index + len(entries))
        self._early_calls.append(call)
        return call

    def _replicate(self, leader: Leader) -> None:
        """
        Send to each follower what it lacks: entries, or the news of a commitment.
        """
        for server_id, progress in leader.progress.items():
            if progress.in_flight is not None or progress.paused:
                continue
            if progress.probing:
                progress.in_flight = self._send_append(server_id, progress, ())
            elif progress.next_index <= self.log.last_index:
                entries = self.log.batch(
                    progress.next_index, self.timing.max_append_bytes
                )
                progress.in_flight = self._send_append(server_id, progress, entries)
            elif progress.sent_commit < self.commit_index:
                self._send_append(server_id, progress, ())

    def _append_answered(
        self, call: Call, request: AppendEntries, response: AppendEntriesResponse
    ) -> None:
        """
        Learn from a follower's answer where its log stands (Raft 5.3).
        """
        if not isinstance(self.role, Leader) or request.term != self.current_term:
            return
        progress = self.role.progress.get(call.to)
        if progress is None:
            return
        self._call_ended(progress, call)
        progress.paused = False
        progress.heard = True
        progress.last_contact = self._now
        if response.success:
            # If successful: update nextIndex and matchIndex for follower. An old
            # answer may come late, so neither goes back (PySyncObj 167).
            match_index = request.prev_log_index + len(request.entries)
            progress.match_index = max(progress.match_index, match_index)
            progress.next_index = max(progress.next_index, progress.match_index + 1)
            progress.probing = False
            self._advance_commit_index()
            self._promote_if_caught_up(self.role, call.to)
        elif (
            request.prev_log_index == progress.next_index - 1
            and request.prev_log_index > progress.match_index
        ):
            # If AppendEntries fails because of log inconsistency: decrement
            # nextIndex and retry. Answers to requests before the last step back are
            # not asked twice.
            progress.next_index = self._back_up(progress, response)
            progress.probing = True

    def _back_up(self, progress: Progress, response: AppendEntriesResponse) -> int:
        """
        Return where to try next: one rejection for each term, not for each entry.
        """
        next_index = response.conflict_index
        if response.conflict_term:
            last_of_term = self.log.last_index_of_term(response.conflict_term)
            if last_of_term is not None:
                next_index = last_of_term + 1
        return max(progress.match_index + 1, min(next_index, progress.next_index - 1))

    def call_failed(self, call: Call) -> None:
        """
        Take it that a request was not answered; whether it arrived nobody knows.
        """
        if isinstance(self.role, Leader):
            progress = self.role.progress.get(call.to)
            if progress is not None:
                self._call_ended(progress, call)
                progress.paused = True

    @staticmethod
    def _call_ended(progress: Progress, call: Call) -> None:
        """
        Let the next request go if this is the one that held it back.
        """
        if progress.in_flight is call:
            progress.in_flight = None

    def _advance_commit_index(self) -> None:
        """
        Commit what is on the disks of a majority (Raft 5.3, 5.4.2).

        If there exists an N such that N > commitIndex, a majority of matchIndex[i]
        >= N, and log[N].term == currentTerm: set commitIndex = N. An entry of an
        older term is never counted; figure 8 shows why.
        """
        matched = sorted(
            (self.match_index(server.id) or 0 for server in self.configuration.voters),
            reverse=True,
        )
        majority_match = matched[self.configuration.majority - 1]
        if majority_match > self.commit_index and self.log.matches(
            majority_match, self.current_term
        ):
            self._commit_to(majority_match)

    # Membership: dissertation chapter 4.

    def add_server(self, newcomer: Server) -> Entry:
        """
        Add a server as a learner; it becomes a voter when it has caught up.

        :return: the entry with the new configuration, in force already.
        :raises NotLeader: if this server does not lead.
        :raises ChangeInProgress: if no change may start now.
        :raises MembershipConflict: if id or address belong to a member.
        """
        leader, configuration = self._check_addition(newcomer)
        return self._change_configuration(leader, configuration)

    def check_addition(self, newcomer: Server) -> None:
        """
        Raise what :meth:`add_server` would; change nothing.
        """
        self._check_addition(newcomer)

    def _check_addition(self, newcomer: Server) -> tuple[Leader, Configuration]:
        leader = self._leading()
        configuration = self.configuration.with_learner(newcomer)
        if not self._may_change_configuration(leader):
            raise ChangeInProgress(
                "another membership change is not committed yet; try again"
            )
        return leader, configuration

    def _may_change_configuration(self, leader: Leader) -> bool:
        """
        Whether the change before, and an entry of this term, are committed.

        Without the first, two changes at once can make two disjoint majorities;
        without the second, an unfinished change of an earlier leader and this one
        can (Ongaro on raft-dev, 2015).
        """
        return self.commit_index >= max(leader.term_start, self.log.configuration_index)

    def _change_configuration(
        self, leader: Leader, configuration: Configuration
    ) -> Entry:
        """
        Append a configuration and act by it from now on (dissertation 4.1).
        """
        entry = self._append(configuration)
        self._follow_configuration(leader)
        return entry

    def _promote_if_caught_up(self, leader: Leader, server_id: str) -> None:
        """
        Make a learner that has caught up, and has just answered, a voter (4.2.1).

        Replication to it goes in rounds, each as far as the log reached when the
        round began. One that took less than an election timeout shows that the
        newcomer, once it votes, delays no commitment for longer than that.
        """
        if self.configuration.is_voter(server_id):
            return
        progress = leader.progress[server_id]
        if progress.match_index >= progress.round_target:
            took = self._now - progress.round_start
            progress.caught_up = took < self.timing.election_timeout
            progress.round_target = self.log.last_index
            progress.round_start = self._now
        if progress.caught_up and self._may_change_configuration(leader):
            self._change_configuration(leader, self.configuration.with_voter(server_id))

    # What comes out.

    def ready(self) -> Ready:
        """
        Say what there is to do since the last call.

        While a save is under way (:meth:`advance` has not been called for it),
        nothing that must be saved, or wait for a save, is handed out.
        """
        if isinstance(self.role, Leader):
            self._replicate(self.role)
        hard_state: HardState | None = None
        entries: tuple[Entry, ...] = ()
        calls: tuple[Call, ...] = ()
        if self._saving is None:
            if self.hard_state != self._saved_hard_state:
                hard_state = self.hard_state
            if self.stable_index < self.log.last_index:
                entries = self.log.between(self.stable_index + 1, self.log.last_index)
            calls, self._calls = tuple(self._calls), []
        early_calls, self._early_calls = tuple(self._early_calls), []
        configuration: Configuration | None = None
        if self.configuration is not self._announced:
            configuration = self._announced = self.configuration
        ready = Ready(
            hard_state=hard_state,
            entries=entries,
            calls=calls,
            early_calls=early_calls,
            committed=self._hand_out_committed(),
            configuration=configuration,
        )
        if ready.must_save:
            self._saving = ready
        return ready

    def _hand_out_committed(self) -> tuple[Entry, ...]:
        """
        Return the next entries to apply: committed, and on this server's disk.
        """
        last = min(
            self.commit_index, self.stable_index, self._handed_out + MAX_COMMITTED
        )
        if last <= self._handed_out:
            return ()
        first, self._handed_out = self._handed_out + 1, last
        return self.log.between(first, last)

    def advance(self, ready: Ready) -> None:
        """
        Take it that what that Ready held is on disk.

        Only now does a candidate count its own vote, and a leader its own log
        (etcd 14370).

        :raises ValueError: if that is not the save that is under way.
        """
        if ready is not self._saving:
            raise ValueError("this is not the Ready that is being saved")
        self._saving = None
        if ready.hard_state is not None:
            self._saved_hard_state = ready.hard_state
        # Some of it may have been truncated or replaced meanwhile: what counts is
        # what the log still holds (etcd 897e1cf).
        for entry in reversed(ready.entries):
            if self.log.matches(entry.index, entry.term):
                self.stable_index = max(self.stable_index, entry.index)
                break
        match self.role:
            case Candidate(votes) if self._saved_hard_state == self.hard_state:
                votes.add(self.server_id)
                self._count_votes()
            case Leader():
                self._advance_commit_index()


def _check_entries(request: AppendEntries) -> None:
    """
    Make sure that this may be a part of some leader's log.

    :raises ProtocolViolation: if an index is left out, or if a term goes back or lies
        in the future.
    """
    index, term = request.prev_log_index, request.prev_log_term
    for entry in request.entries:
        index += 1
        if entry.index != index or not term <= entry.term <= request.term:
            raise ProtocolViolation(
                f"entry {entry.index} of term {entry.term} cannot follow entry "
                f"{index - 1} of term {term} in a log of term {request.term}"
            )
        term = entry.term

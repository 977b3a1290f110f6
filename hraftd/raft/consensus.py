"""
The Raft algorithm as one server runs it, told in the order of "Rules for Servers".

:class:`ConsensusModule` is a state machine without a world around it. It is *given*
the passing of time (:meth:`~ConsensusModule.tick`), the requests of peers
(:meth:`~ConsensusModule.handle`), the answers to its own
(:meth:`~ConsensusModule.response_received`, :meth:`~ConsensusModule.call_failed`)
and what clients want (:meth:`~ConsensusModule.propose`,
:meth:`~ConsensusModule.read_index` and those below them). It *says* what has to be done
about them (:meth:`~ConsensusModule.ready`), and is told when that is done
(:meth:`~ConsensusModule.advance`, :meth:`~ConsensusModule.restored`,
:meth:`~ConsensusModule.fetched`). It never waits, and two of them that are given the
same do the same.

Implements Raft 5 (leader election, log replication, safety), 7 (snapshots), 8 (the
no-op), and of the dissertation 3.10 (leadership transfer), 4 (membership changes, one
server at a time; catching up; the lease on votes), 6.2 (a leader without a majority
steps down), 6.4 (reads without the log), 9.6 (pre-vote) and 10.2.1 (the leader writes
to its disk beside replicating).

Departures from the paper:

- A request for a vote is refused without looking at its term while the leader is
  alive (dissertation 4.2.3), unless the leader itself asks, or has asked for it.
- A server that is no member, as far as its own log goes, gives no vote. The
  dissertation has it vote (4.1), and does without data being lost.
- A server that began with nothing neither votes nor campaigns until its log is as long
  as what was committed when it first heard a leader.
- A candidate counts its own vote, and a leader its own log, only when its disk has
  them; the paper counts them at once and writes before it sends.
- AppendEntries goes to one follower one at a time, but for heartbeats.
- A follower answers a piece of a snapshot with what it needs next; the paper's answer
  has only the term.

What only a leader does is in :mod:`hraftd.raft.leader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never

from hraftd.raft.configuration import Configuration, Server
from hraftd.raft.errors import NotLeader, ProtocolViolation
from hraftd.raft.incoming import IncomingSnapshot
from hraftd.raft.leader import Leader
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Call,
    Entry,
    HardState,
    InstallSnapshot,
    InstallSnapshotResponse,
    NoOp,
    Request,
    RequestVote,
    RequestVoteResponse,
    Response,
    Snapshot,
    TimeoutNow,
    TimeoutNowResponse,
)
from hraftd.raft.outbox import Outbox
from hraftd.raft.ready import ConfirmedRead, Fetch, Ready, Timing
from hraftd.raft.roles import Candidate, Follower, PreCandidate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from hraftd.raft.log import Log

__all__ = ["ConsensusModule"]

#: The states of figure 4, and the pre-candidate of dissertation 9.6.
Role: TypeAlias = Follower | PreCandidate | Candidate | Leader


class ConsensusModule(Outbox):
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
        super().__init__(server_id, hard_state, log, timing or Timing())
        self._rng = rng
        self.role: Role = Follower()

        #: The snapshot that is being received.
        self._incoming: IncomingSnapshot | None = None

        self._heard_leader_at: int | None = None
        #: The tick at which it was known that this server had stood still.
        self._slept_at = -1
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
        self.votes_from = 0
        self.log.append((Entry(1, 1, Configuration((server,))),))
        self._election_due = self.now

    # What others may ask about this server.

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
        return self.now - self._heard_leader_at

    def ticks_since_contact(self, server_id: str) -> int | None:
        """
        Ticks since that member answered; ``None`` if it did not in this term.
        """
        if not isinstance(self.role, Leader):
            return None
        progress = self.role.progress.get(server_id)
        if progress is None or not progress.heard:
            return None
        return self.now - progress.last_contact

    def match_index(self, server_id: str) -> int | None:
        """
        Return the last entry known to be on that member's disk; leaders know that.
        """
        return (
            self.role.match_index(server_id) if isinstance(self.role, Leader) else None
        )

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
        self.calls.clear()

    def handle(self, request: Request) -> Response:
        """
        Answer a peer: the "Receiver implementation" of its RPC box.

        The answer must not leave before the disk has what the next :meth:`ready`
        hands out that is not taken during a save.

        :raises ProtocolViolation: if no correct server can have sent this.
        """
        match request:
            case RequestVote():
                return self._handle_request_vote(request)
            case AppendEntries():
                return self._handle_append_entries(request)
            case InstallSnapshot():
                return self._handle_install_snapshot(request)
            case TimeoutNow():
                return self._handle_timeout_now(request)
            case _:
                assert_never(request)

    def _handle_request_vote(self, request: RequestVote) -> RequestVoteResponse:
        """
        RequestVote RPC, receiver implementation (Raft 5.2, 5.4).
        """
        refusal = RequestVoteResponse(self.current_term, False)
        # While the leader is alive nobody else needs votes, whatever the term: this
        # keeps servers that were cut off or removed from disturbing (dissertation
        # 4.2.3). The leader itself may ask, after a restart (hashicorp 605), and so
        # may the server to which it hands over.
        if (
            self._leader_is_alive()
            and request.candidate_id != self.leader_id
            and not request.leadership_transfer
        ):
            return refusal
        if not self._knows_to_be_member:
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
            if isinstance(self.role, PreCandidate):
                self._become_follower(self.current_term)
        return RequestVoteResponse(self.current_term, granted)

    @property
    def _knows_to_be_member(self) -> bool:
        """
        Whether this server is in its own log's configuration, or was until just now.

        Who was removed, and comes back under its name without its data, could otherwise
        make a leader of one that still takes it for a voter. Nobody needs the vote of
        one that is no member as far as it knows: to become a voter it has caught up
        with the entry that let it in.
        """
        return self._has_caught_up and any(
            configuration.get(self.server_id) is not None
            for configuration in self._configurations_in_force
        )

    @property
    def _has_caught_up(self) -> bool:
        """
        Whether this server's log tells who the members are, or were until just now.

        Who begins with nothing is sent the log from its beginning, and in between goes
        by configurations that are long over. If its name is in them, since it was a
        member before, was removed, and has lost its data, it could elect itself: the
        first entry of each log says that one server is the only voter. So it takes no
        part in elections before it has all that was committed when it first heard a
        leader; its removal is among that.
        """
        return self.votes_from is not None and self.log.last_index >= self.votes_from

    @property
    def _configurations_in_force(self) -> list[Configuration]:
        """
        The configurations of which any may be in force, as far as this server knows.

        The latest; and the one before, while that may not be committed. Those before
        are over, or the last would not be there.
        """
        return self.log.configurations_since(self.commit_index)[-2:]

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
        self._check_only_leader(request)
        _check_entries(request)
        self._hear_leader(request)
        if self.votes_from is None:
            self.votes_from = request.leader_commit

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
        self.commit_to(min(request.leader_commit, verified))
        return AppendEntriesResponse(self.current_term, True)

    def _check_only_leader(
        self, request: AppendEntries | InstallSnapshot | TimeoutNow
    ) -> None:
        """
        Refuse to believe in two leaders of one term (Raft 5.2).
        """
        if request.term == self.current_term and (
            isinstance(self.role, Leader)
            or self.leader_id not in (None, request.leader_id)
        ):
            raise ProtocolViolation(
                f"{request.leader_id} claims to lead term {request.term}, which "
                f"{self.leader_id} leads"
            )

    def _hear_leader(self, request: AppendEntries | InstallSnapshot) -> None:
        """
        Recognise the sender as the leader of its term, which is no older than ours.
        """
        self._become_follower(request.term, request.leader_id)
        self._reset_election_timer()
        self._heard_leader_at = self.now

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

    def _handle_install_snapshot(
        self, request: InstallSnapshot
    ) -> InstallSnapshotResponse:
        """
        InstallSnapshot RPC, receiver implementation (figure 13).
        """
        # 1. Reply immediately if term < currentTerm.
        if request.term < self.current_term:
            return InstallSnapshotResponse(self.current_term, 0)
        self._check_only_leader(request)
        self._hear_leader(request)
        snapshot = request.snapshot
        if snapshot.last_index <= self.commit_index:
            # It holds nothing that is not here.
            return InstallSnapshotResponse(self.current_term, snapshot.size)
        # 2. Create new snapshot file if first chunk (offset is 0).
        incoming = self._incoming
        if incoming is None or incoming.snapshot != snapshot:
            incoming = IncomingSnapshot(snapshot)
        # 3. Write data into snapshot file at given offset. What does not follow was
        # sent twice, or belongs to what was lost in a restart: say what is needed.
        if request.piece.offset != incoming.next_offset:
            return InstallSnapshotResponse(self.current_term, incoming.next_offset)
        # If the piece is a wrong one, all of them are thrown away.
        self._incoming = None
        incoming.add(request)
        self._incoming = incoming
        self.pieces.append(request.piece)
        # 4. Reply and wait for more data chunks if done is false.
        if incoming.is_complete:
            self._install(snapshot)
        return InstallSnapshotResponse(self.current_term, incoming.next_offset)

    def _install(self, snapshot: Snapshot) -> None:
        """
        InstallSnapshot RPC, steps 5 to 8.

        Of the old log's entries on disk, those that are committed agree with the
        snapshot; the disk follows with the next save, the state machine after that.
        """
        self._incoming = None
        self.stable_index = min(self.stable_index, self.commit_index)
        # 5. to 7. Discard the log; but not what follows the snapshot's last entry.
        self.log.install(snapshot)
        self.commit_to(snapshot.last_index)
        # 8. Reset state machine using snapshot contents.
        self.installed = self.to_restore = snapshot

    def _handle_timeout_now(self, request: TimeoutNow) -> TimeoutNowResponse:
        """
        Campaign at once, without a pre-vote: the leader wants it (dissertation 3.10).

        A request that comes late, when another term has begun, does nothing (raft-rs
        234); nor does one from who does not lead, or one that may have waited here
        until the leader had given up.
        """
        self._check_only_leader(request)
        if (
            request.term == self.current_term
            and request.leader_id == self.leader_id
            and self.now > self._slept_at
            and self._may_campaign()
        ):
            self._start_election(leadership_transfer=True)
        return TimeoutNowResponse(self.current_term)

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
                if isinstance(self.role, Leader):
                    self.role.append_answered(call, request, response)
            case InstallSnapshot() as request, InstallSnapshotResponse():
                if isinstance(self.role, Leader):
                    self.role.piece_answered(call, request, response)
            case TimeoutNow(), TimeoutNowResponse():
                # What comes of it shows in the elections.
                pass
            case _:
                raise TypeError(f"{response} does not answer {call.request}")

    # Rules for Servers: followers and candidates.

    def tick(self) -> bool:
        """
        Let one unit of time pass.

        :return: whether :meth:`ready` should be asked what has come of it; mostly
            nothing has.
        """
        self.now += 1
        if isinstance(self.role, Leader):
            if self.role.has_majority():
                return self.role.tick()
            # Clients of a leader that nobody hears must not wait for it.
            self._become_follower(self.current_term)
            return True
        if self.now < self._election_due:
            return False
        self._reset_election_timer()
        if self._may_campaign():
            self._start_pre_vote()
        elif isinstance(self.role, Follower):
            # Who cannot campaign must not send clients to a leader that is gone.
            self.role = Follower()
        return True

    def slept(self) -> None:
        """
        Take it that this server stood still for long, and did not notice.

        What comes in now, until the next tick, may have been sent at any time.
        """
        self._slept_at = self.now

    def _may_campaign(self) -> bool:
        """
        Whether this server is a voter, and not still about to vote for itself.

        One that is no voter, as far as it knows, waits to be made one. But as long as
        it does not know that its removal is committed it may be needed to commit it,
        though its own vote does not count any more (dissertation 4.2.2; cowsql 150).
        And a disk slower than the timeout must not keep every campaign from its own
        vote.
        """
        if isinstance(self.role, Candidate) and self.server_id not in self.role.votes:
            return False
        return self._has_caught_up and any(
            configuration.is_voter(self.server_id)
            for configuration in self._configurations_in_force
        )

    def _reset_election_timer(self) -> None:
        """
        Wait for a random time from one to two election timeouts (Raft 5.2).
        """
        timeout = self.timing.election_timeout
        self._election_due = self.now + self._rng.randint(timeout + 1, 2 * timeout)

    def _start_pre_vote(self) -> None:
        """
        Ask who would vote for this server in the next term (dissertation 9.6).
        """
        self.role = PreCandidate({self.server_id})
        self._request_votes(self.current_term + 1, pre_vote=True)
        self._count_votes()

    def _start_election(self, *, leadership_transfer: bool = False) -> None:
        """
        Increment currentTerm, vote for self, send RequestVote RPCs (Raft 5.2).

        The own vote counts when it is on disk: :meth:`advance`.
        """
        self.current_term += 1
        self.voted_for = self.server_id
        self.role = Candidate()
        self._reset_election_timer()
        self._request_votes(
            self.current_term, pre_vote=False, leadership_transfer=leadership_transfer
        )

    def _request_votes(
        self, term: int, *, pre_vote: bool, leadership_transfer: bool = False
    ) -> None:
        """
        Ask all other voters.
        """
        request = RequestVote(
            term=term,
            candidate_id=self.server_id,
            last_log_index=self.log.last_index,
            last_log_term=self.log.last_term,
            pre_vote=pre_vote,
            leadership_transfer=leadership_transfer,
        )
        # What an earlier campaign had not sent yet nobody needs any more.
        self.calls = [
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
                self.role = leader = Leader(self)
                leader.begin()

    # Rules for Servers: leaders. See hraftd.raft.leader.

    def check_leader(self) -> Leader:
        """
        Return the leader's state, if this server leads.

        :raises NotLeader: if not; it names the leader if one is known.
        """
        if isinstance(self.role, Leader):
            return self.role
        leader_id = self.leader_id
        raise NotLeader(self.configuration.get(leader_id) if leader_id else None)

    def propose(self, command: bytes | NoOp) -> Entry:
        """
        Append a client's command to the log (Raft 5.3).

        :return: the entry. It is committed when an entry of its index *and* term is
            handed out in :attr:`Ready.committed`; another at its index says that it
            never will be.
        :raises NotLeader: if this server does not lead.
        :raises TransferInProgress: while it hands its leadership over.
        """
        return self.check_leader().propose(command)

    def read_index(self) -> int:
        """
        Ask for a round in which a majority confirms that this server leads (6.4).

        :return: the number with which it comes in :attr:`Ready.confirmed_reads`, or
            never, if this server ceases to lead before.
        :raises NotLeader: if this server does not lead.
        """
        return self.check_leader().reads.want()

    def add_server(self, server: Server) -> Entry | None:
        """
        Let a server in, or give a member other addresses or another suffrage.

        One that is to vote is a learner until it has caught up (dissertation 4.2.1).

        :return: the entry with the new configuration, in force already; ``None`` if
            it is a member just so.
        :raises NotLeader: if this server does not lead.
        :raises ChangeInProgress: if no change may start now.
        :raises TransferInProgress: while it hands its leadership over.
        :raises MembershipConflict: as :meth:`Configuration.with_server`.
        """
        return self.check_leader().add_server(server)

    def remove_server(self, server_id: str) -> Entry:
        """
        Remove a member (dissertation 4.2.2).

        :return: as :meth:`add_server`, and it raises the same.
        :raises KeyError: if there is no such member.
        """
        return self.check_leader().remove_server(server_id)

    def transfer_leadership(self, server_id: str) -> None:
        """
        Hand over to another voter (dissertation 3.10).

        Until it leads, or an election timeout has passed, nothing can be proposed.

        :raises NotLeader: if this server does not lead.
        :raises TransferInProgress: if it hands over already.
        :raises CannotTransfer: if that server cannot lead.
        """
        self.check_leader().transfer_to(server_id)

    @property
    def transferring_to(self) -> str | None:
        """
        To whom leadership is being handed over, if it is.
        """
        if not isinstance(self.role, Leader) or self.role.hand_over is None:
            return None
        return self.role.hand_over.to

    # Snapshots: Raft 7. Taking one is the driver's business.

    def compact(self, snapshot: Snapshot, first_index: int) -> None:
        """
        Take it that a snapshot of what was applied here is on disk, before the log.

        :param first_index: the first entry that is still on disk.
        """
        # One that was installed meanwhile may go further.
        if snapshot.last_index > self.log.snapshot_index:
            self.log.compact(snapshot, first_index)

    @property
    def is_sending_snapshot(self) -> bool:
        """
        Whether a member that answers is being sent the snapshot there is now.
        """
        return isinstance(self.role, Leader) and any(
            progress.sending is not None and self.role.has_contact(server_id)
            for server_id, progress in self.role.progress.items()
        )

    def restored(self, snapshot: Snapshot) -> None:
        """
        Take it that an installed snapshot is in the state machine.
        """
        if snapshot is self.to_restore:
            self.to_restore = None
            self.handed_out = snapshot.last_index

    def fetched(self, fetch: Fetch, content: Sequence[Entry] | bytes) -> None:
        """
        Take what was read from the disk: entries, or the data of a piece.
        """
        if isinstance(self.role, Leader):
            self.role.fetched(fetch, content)

    def fetch_failed(self, fetch: Fetch) -> None:
        """
        Take it that the disk does not have that any more.
        """
        if isinstance(self.role, Leader):
            self.role.fetch_failed(fetch)

    def call_failed(self, call: Call) -> None:
        """
        Take it that a request was not answered; whether it arrived nobody knows.
        """
        if isinstance(self.role, Leader):
            self.role.call_failed(call)

    # What comes out.

    def ready(self) -> Ready:
        """
        Say what there is to do since the last call.

        While a save is under way (:meth:`advance` has not been called for it),
        nothing that must be saved, or wait for a save, is handed out.
        """
        committed = self.hand_out_committed()
        confirmed_reads: tuple[ConfirmedRead, ...] = ()
        servers = self._followed
        if isinstance(self.role, Leader):
            self.role.replicate()
            confirmed_reads = self.role.reads.take_confirmed()
            servers = self.role.servers
            self._leave_if_removed(self.role)
        return self.take_ready(committed, confirmed_reads, servers)

    @property
    def _followed(self) -> tuple[Server, ...]:
        """
        Whom a follower has to reach: the members, and the leader even while it leaves.
        """
        leader_id = self.leader_id
        if leader_id is None or self.configuration.get(leader_id) is not None:
            return self.configuration.servers
        known = [
            configuration.get(leader_id)
            for configuration in self.log.configurations_since(self.log.snapshot_index)
        ]
        return (*self.configuration.servers, *filter(None, known[-2:-1]))

    def _leave_if_removed(self, leader: Leader) -> None:
        """
        Step down once it is committed that this server has no vote (diss. 4.2.2).

        Who is closest to taking over is told to, so that nobody has to wait.
        """
        if (
            not self.configuration.is_voter(self.server_id)
            and self.handed_out >= self.log.configuration_index
        ):
            if leader.successor is not None and not leader.has_handed_over:
                leader.send_timeout_now(leader.successor)
            self._become_follower(self.current_term)

    def advance(self, ready: Ready) -> None:
        """
        Take it that what that Ready held is on disk.

        Only now does a candidate count its own vote, and a leader its own log
        (etcd 14370).

        :raises ValueError: if that is not the save that is under way.
        """
        self.saved(ready)
        match self.role:
            case Candidate(votes) if self.is_vote_saved:
                votes.add(self.server_id)
                self._count_votes()
            case Leader() as leader:
                leader.advance_commit_index()


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

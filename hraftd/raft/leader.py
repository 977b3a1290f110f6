"""
What a leader does: "Rules for Servers", leaders.

A :class:`Leader` exists for one term of one server. It appends what is proposed,
replicates its log, commits what a majority has, sees whether it still has a majority,
and lets members in and out. How a server becomes a leader, and what makes it stop, is
told in :mod:`hraftd.raft.consensus`; how one other member stands, in
:mod:`hraftd.raft.progress`.

Raft 5.3 (log replication), 5.4.2 (which entries may be committed), 7 (sending
snapshots), 8 (the no-op); dissertation 3.10 (leadership transfer), 4 (adding and
removing servers one at a time), 6.2 (a leader without a majority), 6.4 (reads).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from hraftd.raft.configuration import Suffrage
from hraftd.raft.errors import CannotTransfer, ChangeInProgress, TransferInProgress
from hraftd.raft.handover import HandOver
from hraftd.raft.messages import (
    AppendEntries,
    Call,
    Entry,
    InstallSnapshot,
    NoOp,
    Payload,
    Piece,
    TimeoutNow,
)
from hraftd.raft.progress import Progress, Sending
from hraftd.raft.read_index import ReadRounds
from hraftd.raft.ready import Fetch, FetchEntries, FetchPiece

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hraftd.raft.configuration import Configuration, Server
    from hraftd.raft.messages import (
        AppendEntriesResponse,
        InstallSnapshotResponse,
        Request,
    )
    from hraftd.raft.state import ServerState

__all__ = ["Leader"]

#: So many election timeouts a removed server is still told that it was removed.
FAREWELL_TIMEOUTS = 10


@define
class _Departing:
    """
    A server that was removed and does not know yet that this is committed.
    """

    server: Server
    #: The entry that removed it.
    index: int
    #: The tick at which the leader stops telling it.
    due: int


class Leader:
    """
    The leader of the server's current term.
    """

    def __init__(self, server: ServerState) -> None:
        """
        Know nothing of the others yet (figure 2, "Reinitialized after election").
        """
        self._server = server
        #: The index of the no-op that began its term.
        self.term_start = server.log.last_index + 1
        #: By id, what is known of each other member, and of those that depart.
        self.progress: dict[str, Progress] = {}
        self._departing: dict[str, _Departing] = {}
        self.reads = ReadRounds()
        self.hand_over: HandOver | None = None
        self._heartbeat_due = server.now + server.timing.heartbeat_interval
        # Whom the leader before has removed, if it has not committed that.
        self._follow_configuration(server.log.configuration_at(server.commit_index))

    def begin(self) -> None:
        """
        Begin the term with a no-op.

        Entries of older terms are committed with it (Raft 5.4.2, 8).
        """
        self._append(NoOp())

    # Replication: Raft 5.3.

    def _append(self, payload: Payload) -> Entry:
        """
        Append an entry of the current term to the leader's own log (Raft 5.3).
        """
        server = self._server
        entry = Entry(server.log.last_index + 1, server.current_term, payload)
        server.log.append((entry,))
        return entry

    def propose(self, command: bytes | NoOp) -> Entry:
        """
        Append a client's command, or nothing but an entry.
        """
        self._check_no_transfer()
        return self._append(command)

    def tick(self) -> bool:
        """
        Send heartbeats in time: AppendEntries to each server, also without entries.

        :return: whether anything has changed, or is to be sent.
        """
        server = self._server
        is_due = False
        if self.hand_over is not None and server.now >= self.hand_over.due:
            self.hand_over = None
            is_due = True
        for server_id, departing in list(self._departing.items()):
            if server.now >= departing.due:
                self._part_with(server_id)
                is_due = True
        if server.now >= self._heartbeat_due:
            self._heartbeat_due = server.now + server.timing.heartbeat_interval
            for server_id, progress in self.progress.items():
                self._send_append(server_id, progress, ())
            is_due = True
        return is_due

    def has_majority(self) -> bool:
        """
        Whether a majority has answered within an election timeout (dissertation 6.2).
        """
        return self._is_majority(self.has_contact)

    def has_contact(self, server_id: str) -> bool:
        """
        Whether that member has answered within an election timeout.
        """
        server = self._server
        silence = server.now - self.progress[server_id].last_contact
        return silence < server.timing.election_timeout

    def replicate(self) -> None:
        """
        Send to each follower what it lacks: entries, or the news of a commitment.

        And to each what confirms a round of reads, if one begins now.
        """
        server = self._server
        begins_round = server.commit_index >= self.term_start and self.reads.begin(
            server.commit_index
        )
        batches: dict[int, tuple[Entry, ...]] = {}
        for server_id, progress in self.progress.items():
            if not self._send_next(server_id, progress, batches) and begins_round:
                self._send_append(server_id, progress, ())
        if begins_round:
            self._confirm_reads()
        self._hand_over_when_level()

    def _send_next(
        self,
        server_id: str,
        progress: Progress,
        batches: dict[int, tuple[Entry, ...]],
    ) -> bool:
        """
        Send one follower what it needs next, unless it has not taken the last yet.

        :param batches: what others are sent in this turn, by the first index. Who
            needs the same is sent the very same, which is written only once then.
        :return: whether anything went out.
        """
        server, log = self._server, self._server.log
        if progress.in_flight is not None or progress.paused:
            return False
        if progress.next_index < log.first_index:
            self._fetch_piece(server_id, progress)
            return False
        progress.sending = None
        if progress.probing:
            progress.in_flight = self._send_append(server_id, progress, ())
        elif progress.next_index <= log.memory_index:
            fetch = FetchEntries(
                server_id,
                progress.next_index,
                log.memory_index,
                server.timing.max_append_bytes,
            )
            progress.in_flight = fetch
            server.fetches.append(fetch)
            return False
        elif progress.next_index <= log.last_index:
            first = progress.next_index
            entries = batches.get(first)
            if entries is None:
                entries = log.batch(first, server.timing.max_append_bytes)
                batches[first] = entries
            progress.in_flight = self._send_append(server_id, progress, entries)
        elif progress.sent_commit < server.commit_index:
            self._send_append(server_id, progress, ())
        else:
            return False
        return True

    def _send_append(
        self, server_id: str, progress: Progress, entries: Sequence[Entry]
    ) -> Call:
        """
        Send AppendEntries with these entries, which begin at its ``next_index``.

        There is no request without the entry before them (openraft 1795), but for
        heartbeats of a follower that lacks what is compacted: the very beginning is
        where every log agrees.
        """
        server = self._server
        prev_log_index, prev_log_term = 0, 0
        if progress.next_index >= server.log.first_index:
            prev_log_index = progress.next_index - 1
            term = server.log.term_at(prev_log_index)
            assert term is not None, "next_index lies within the leader's log"
            prev_log_term = term
        # It takes the news only as far as it can compare (see handling it).
        progress.sent_commit = min(server.commit_index, prev_log_index + len(entries))
        return self._call(
            server_id,
            AppendEntries(
                term=server.current_term,
                leader_id=server.server_id,
                prev_log_index=prev_log_index,
                prev_log_term=prev_log_term,
                entries=tuple(entries),
                leader_commit=server.commit_index,
            ),
        )

    def _call(self, server_id: str, request: Request) -> Call:
        call = Call(server_id, request, self.reads.latest)
        self._server.early_calls.append(call)
        return call

    def _fetch_piece(self, server_id: str, progress: Progress) -> None:
        """
        Have the piece of the snapshot read that a follower needs next (Raft 7).
        """
        snapshot = self._server.log.snapshot
        assert snapshot is not None, "only a snapshot takes the place of entries"
        if progress.sending is None or progress.sending.snapshot is not snapshot:
            progress.sending = Sending(snapshot)
        fetch = FetchPiece(server_id, snapshot, progress.sending.next_offset)
        progress.in_flight = fetch
        self._server.fetches.append(fetch)

    def fetched(self, fetch: Fetch, content: Sequence[Entry] | bytes) -> None:
        """
        Send what was read for a follower, if that is still what it needs.
        """
        server = self._server
        progress = self.progress.get(fetch.to)
        if progress is None or progress.in_flight is not fetch:
            return
        progress.in_flight = None
        match fetch, content:
            case FetchPiece(snapshot=snapshot, offset=offset), bytes() as data:
                if snapshot is not server.log.snapshot:
                    return
                progress.in_flight = self._call(
                    fetch.to,
                    InstallSnapshot(
                        term=server.current_term,
                        leader_id=server.server_id,
                        snapshot=snapshot,
                        piece=Piece(offset, data),
                        done=offset + len(data) == snapshot.size,
                    ),
                )
            case FetchEntries(first=first), entries if (
                first == progress.next_index >= server.log.first_index
            ):
                assert not isinstance(entries, bytes)
                progress.in_flight = self._send_append(fetch.to, progress, entries)

    def fetch_failed(self, fetch: Fetch) -> None:
        """
        Look again what a follower needs, at the next heartbeat.
        """
        progress = self.progress.get(fetch.to)
        if progress is not None and progress.in_flight is fetch:
            progress.failed(fetch)
            progress.sending = None

    def append_answered(
        self, call: Call, request: AppendEntries, response: AppendEntriesResponse
    ) -> None:
        """
        Learn from a follower's answer where its log stands.
        """
        progress = self._answered(call, request.term)
        if progress is None:
            return
        if response.success:
            progress.accepted(request)
            self._part_if_told(call.to, request)
            self._match_index_moved(call.to, progress)
        else:
            progress.rejected(request, response, self._server.log)

    def piece_answered(
        self, call: Call, request: InstallSnapshot, response: InstallSnapshotResponse
    ) -> None:
        """
        Learn from a follower's answer how much of the snapshot it has.
        """
        progress = self._answered(call, request.term)
        if progress is not None:
            progress.received_piece(request, response)
            self._match_index_moved(call.to, progress)

    def _answered(self, call: Call, term: int) -> Progress | None:
        """
        Take note that a follower has answered, unless it was of another term.
        """
        server = self._server
        progress = self.progress.get(call.to)
        if (
            progress is None
            or term != server.current_term
            or call.round < progress.since_round
        ):
            return None
        if not progress.heard:
            progress.begin_round(server.log.last_index, server.now)
        progress.answered(call, server.now)
        self._confirm_reads()
        return progress

    def _match_index_moved(self, server_id: str, progress: Progress) -> None:
        self.advance_commit_index()
        self._promote_if_caught_up(server_id, progress)

    def call_failed(self, call: Call) -> None:
        """
        Leave a follower that did not answer alone until the next heartbeat.
        """
        progress = self.progress.get(call.to)
        if progress is not None:
            progress.failed(call)
        if self.hand_over is not None and self.hand_over.call is call:
            self.hand_over = None

    def match_index(self, server_id: str) -> int | None:
        """
        Return the last entry known to be on that member's disk.
        """
        if server_id == self._server.server_id:
            return self._server.stable_index
        progress = self.progress.get(server_id)
        return None if progress is None else progress.match_index

    def advance_commit_index(self) -> None:
        """
        Commit what is on the disks of a majority (Raft 5.3, 5.4.2).

        If there exists an N such that N > commitIndex, a majority of matchIndex[i]
        >= N, and log[N].term == currentTerm: set commitIndex = N. An entry of an
        older term is never counted; figure 8 shows why.
        """
        server = self._server
        matched = sorted(
            (self.match_index(voter.id) or 0 for voter in server.configuration.voters),
            reverse=True,
        )
        majority_match = matched[server.configuration.majority - 1]
        if majority_match > server.commit_index and server.log.matches(
            majority_match, server.current_term
        ):
            server.commit_to(majority_match)

    # Reads: dissertation 6.4.

    def _is_majority(self, agrees: Callable[[str], bool]) -> bool:
        """
        Whether a majority of the voters agrees; the leader does, if it is a voter.
        """
        server = self._server
        agreeing = {server_id for server_id in self.progress if agrees(server_id)}
        return server.configuration.is_majority(agreeing | {server.server_id})

    def _confirm_reads(self) -> None:
        """
        See whether a majority has answered what was sent in the round under way.
        """
        under_way = self.reads.under_way
        if under_way is not None and self._is_majority(
            lambda server_id: self.progress[server_id].round >= under_way.round
        ):
            self.reads.confirm()

    # Membership: dissertation chapter 4.

    @property
    def servers(self) -> tuple[Server, ...]:
        """
        Whom this leader has to reach: the members, and who was one until just now.
        """
        departing = (one.server for one in self._departing.values())
        return (*self._server.configuration.servers, *departing)

    def _follow_configuration(self, before: Configuration) -> None:
        """
        Keep a Progress for each other member of the configuration in force.

        And for a server that was removed, until it knows: without the entry that
        removes it, it would campaign for ever (dissertation 4.2.3).
        """
        server = self._server
        configuration = server.configuration
        others = [one for one in configuration.servers if one.id != server.server_id]
        for member in others:
            if member.id in self._departing:
                self._part_with(member.id)
            self._begin_progress(member.id)
        for member in before.servers:
            if configuration.get(member.id) is None and member.id != server.server_id:
                self._begin_progress(member.id)
                self._departing[member.id] = _Departing(
                    member,
                    server.log.last_index,
                    server.now + FAREWELL_TIMEOUTS * server.timing.election_timeout,
                )

    def _begin_progress(self, server_id: str) -> None:
        """
        Know nothing of a server yet, unless something is known already.
        """
        server = self._server
        if server_id not in self.progress:
            self.progress[server_id] = Progress(
                next_index=server.log.last_index + 1,
                last_contact=server.now,
                round_target=server.log.last_index,
                round_start=server.now,
                since_round=self.reads.latest,
            )

    def _part_if_told(self, server_id: str, request: AppendEntries) -> None:
        """
        Let go of a removed server that has the entry and knows it to be committed.
        """
        departing = self._departing.get(server_id)
        if departing is None:
            return
        told = min(request.prev_log_index + len(request.entries), request.leader_commit)
        if told >= departing.index:
            self._part_with(server_id)

    def _part_with(self, server_id: str) -> None:
        del self._departing[server_id]
        del self.progress[server_id]
        # If it comes back it may have lost what it had, so that nothing which was sent
        # before may be taken for an answer.
        self.reads.latest += 1

    def add_server(self, newcomer: Server) -> Entry | None:
        """
        Let a server in, as a learner until it has caught up; or change a member.

        :return: ``None`` if it is a member just so already.
        """
        configuration = self._server.configuration.with_server(newcomer)
        if configuration is self._server.configuration:
            return None
        return self._change_configuration(configuration)

    def remove_server(self, server_id: str) -> Entry:
        """
        Remove a member; if that is the leader, it steps down when it is committed.
        """
        return self._change_configuration(self._server.configuration.without(server_id))

    def check_change(self) -> None:
        """
        Make sure that a membership change may start now.

        Without the change before being committed, two at once can make two disjoint
        majorities; without an entry of this term being so, an unfinished change of an
        earlier leader and this one can (Ongaro on raft-dev, 2015).

        :raises ChangeInProgress: if it may not yet.
        :raises TransferInProgress: while leadership is handed over.
        """
        self._check_no_transfer()
        if not self._may_change_configuration():
            raise ChangeInProgress(
                "another membership change is not committed yet; try again"
            )

    def _may_change_configuration(self) -> bool:
        server = self._server
        return server.commit_index >= max(
            self.term_start, server.log.configuration_index
        )

    def _change_configuration(self, configuration: Configuration) -> Entry:
        """
        Append a configuration and act by it from now on (dissertation 4.1).
        """
        self.check_change()
        before = self._server.configuration
        entry = self._append(configuration)
        self._follow_configuration(before)
        return entry

    def _promote_if_caught_up(self, server_id: str, progress: Progress) -> None:
        """
        Make a learner that has caught up, and has just answered, a voter (4.2.1).

        That others answer shows nothing about it: as a voter that is down it would
        cost a majority.
        """
        server = self._server
        member = server.configuration.get(server_id)
        if member is None or member.suffrage is not Suffrage.LEARNER:
            return
        progress.end_round(
            server.log.last_index, server.now, server.timing.election_timeout
        )
        if (
            progress.caught_up
            and self.hand_over is None
            and self._may_change_configuration()
        ):
            self._change_configuration(server.configuration.with_voter(server_id))

    # Leadership transfer: dissertation 3.10.

    def transfer_to(self, server_id: str) -> None:
        """
        Begin to hand over; nothing is appended until that is done or given up.

        :raises CannotTransfer: if that is no other voter.
        :raises TransferInProgress: if there is one under way.
        """
        server = self._server
        self._check_no_transfer()
        if not server.configuration.is_voter(server_id):
            raise CannotTransfer(f"{server_id} is not a voter and cannot lead")
        if server_id not in self.progress:
            raise CannotTransfer(f"{server_id} is the leader already")
        self.hand_over = HandOver(
            server_id, server.now + server.timing.election_timeout
        )

    def _check_no_transfer(self) -> None:
        if self.hand_over is not None:
            raise TransferInProgress(
                f"leadership is being handed over to {self.hand_over.to}; try again"
            )

    @property
    def successor(self) -> str | None:
        """
        The voter that could take over the soonest, of those that answer.
        """
        candidates = [
            (self.progress[voter.id].match_index, voter.id)
            for voter in self._server.configuration.voters
            if voter.id in self.progress and self.has_contact(voter.id)
        ]
        return max(candidates)[1] if candidates else None

    @property
    def has_handed_over(self) -> bool:
        """
        Whether the next leader has been told to campaign.
        """
        return self.hand_over is not None and self.hand_over.call is not None

    def _hand_over_when_level(self) -> None:
        """
        Tell the next leader to campaign as soon as it has the whole log.
        """
        hand_over = self.hand_over
        if hand_over is None or hand_over.call is not None:
            return
        progress = self.progress.get(hand_over.to)
        if progress is not None and (
            progress.match_index == self._server.log.last_index
        ):
            hand_over.call = self.send_timeout_now(hand_over.to)

    def send_timeout_now(self, server_id: str) -> Call:
        """
        Tell a server to campaign without waiting.
        """
        server = self._server
        return self._call(server_id, TimeoutNow(server.current_term, server.server_id))

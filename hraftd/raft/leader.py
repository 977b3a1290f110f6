"""
What a leader does: "Rules for Servers", leaders.

A :class:`Leader` exists for one term of one server. It appends what is proposed,
replicates its log, commits what a majority has, sees whether it still has a majority,
and lets members in. How a server becomes a leader, and what makes it stop, is told in
:mod:`hraftd.raft.consensus`.

Raft 5.3 (log replication), 5.4.2 (which entries may be committed), 8 (the no-op);
dissertation 4 (adding servers one at a time), 6.2 (a leader without a majority).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.raft.errors import ChangeInProgress
from hraftd.raft.messages import AppendEntries, Call, Entry, NoOp, Payload
from hraftd.raft.progress import Progress

if TYPE_CHECKING:
    from hraftd.raft.configuration import Configuration, Server
    from hraftd.raft.messages import AppendEntriesResponse
    from hraftd.raft.state import ServerState

__all__ = ["Leader"]


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
        #: By id, what is known of each other member.
        self.progress: dict[str, Progress] = {}
        self._heartbeat_due = server.now + server.timing.heartbeat_interval
        self._follow_configuration()

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

    def propose(self, command: bytes) -> Entry:
        """
        Append a client's command.
        """
        return self._append(command)

    def tick(self) -> None:
        """
        Send heartbeats in time: AppendEntries to each server, also without entries.
        """
        server = self._server
        if server.now >= self._heartbeat_due:
            self._heartbeat_due = server.now + server.timing.heartbeat_interval
            for server_id, progress in self.progress.items():
                self._send_append(server_id, progress, ())

    def has_majority(self) -> bool:
        """
        Whether a majority has answered within an election timeout (dissertation 6.2).
        """
        server = self._server
        alive = {
            server_id
            for server_id, progress in self.progress.items()
            if server.now - progress.last_contact < server.timing.election_timeout
        }
        return server.configuration.is_majority(alive | {server.server_id})

    def replicate(self) -> None:
        """
        Send to each follower what it lacks: entries, or the news of a commitment.
        """
        server = self._server
        for server_id, progress in self.progress.items():
            if progress.in_flight is not None or progress.paused:
                continue
            if progress.probing:
                progress.in_flight = self._send_append(server_id, progress, ())
            elif progress.next_index <= server.log.last_index:
                entries = server.log.batch(
                    progress.next_index, server.timing.max_append_bytes
                )
                progress.in_flight = self._send_append(server_id, progress, entries)
            elif progress.sent_commit < server.commit_index:
                self._send_append(server_id, progress, ())

    def _send_append(
        self, server_id: str, progress: Progress, entries: tuple[Entry, ...]
    ) -> Call:
        """
        Send AppendEntries with these entries, which begin at its ``next_index``.

        :raises Compacted: if the log no longer reaches back to the entry before
            them. There is no request without it (openraft 1795).
        """
        server = self._server
        prev_log_index = progress.next_index - 1
        prev_log_term = server.log.term_at(prev_log_index)
        assert prev_log_term is not None, "next_index lies within the leader's log"
        call = Call(
            server_id,
            AppendEntries(
                term=server.current_term,
                leader_id=server.server_id,
                prev_log_index=prev_log_index,
                prev_log_term=prev_log_term,
                entries=entries,
                leader_commit=server.commit_index,
            ),
        )
        # It takes the news only as far as it can compare (see handling it).
        progress.sent_commit = min(server.commit_index, prev_log_index + len(entries))
        server.early_calls.append(call)
        return call

    def append_answered(
        self, call: Call, request: AppendEntries, response: AppendEntriesResponse
    ) -> None:
        """
        Learn from a follower's answer where its log stands.
        """
        server = self._server
        progress = self.progress.get(call.to)
        if progress is None or request.term != server.current_term:
            return
        progress.answered(call, server.now)
        if response.success:
            progress.accepted(request)
            self.advance_commit_index()
            self._promote_if_caught_up(call.to, progress)
        else:
            progress.rejected(request, response, server.log)

    def call_failed(self, call: Call) -> None:
        """
        Leave a follower that did not answer alone until the next heartbeat.
        """
        progress = self.progress.get(call.to)
        if progress is not None:
            progress.failed(call)

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

    # Membership: dissertation chapter 4.

    def _follow_configuration(self) -> None:
        """
        Keep a Progress for each other member of the configuration in force.
        """
        server = self._server
        self.progress = {
            member.id: self.progress.get(member.id)
            or Progress(
                next_index=server.log.last_index + 1,
                last_contact=server.now,
                round_target=server.log.last_index,
                round_start=server.now,
            )
            for member in server.configuration.servers
            if member.id != server.server_id
        }

    def add_server(self, newcomer: Server) -> Entry:
        """
        Add a server as a learner; it becomes a voter when it has caught up.
        """
        return self._change_configuration(self.with_learner(newcomer))

    def with_learner(self, newcomer: Server) -> Configuration:
        """
        Return the configuration with one more learner, if a change may start.

        :raises MembershipConflict: if id or address belong to a member.
        :raises ChangeInProgress: if no change may start now.
        """
        configuration = self._server.configuration.with_learner(newcomer)
        if not self._may_change_configuration():
            raise ChangeInProgress(
                "another membership change is not committed yet; try again"
            )
        return configuration

    def _may_change_configuration(self) -> bool:
        """
        Whether the change before, and an entry of this term, are committed.

        Without the first, two changes at once can make two disjoint majorities;
        without the second, an unfinished change of an earlier leader and this one
        can (Ongaro on raft-dev, 2015).
        """
        server = self._server
        return server.commit_index >= max(
            self.term_start, server.log.configuration_index
        )

    def _change_configuration(self, configuration: Configuration) -> Entry:
        """
        Append a configuration and act by it from now on (dissertation 4.1).
        """
        entry = self._append(configuration)
        self._follow_configuration()
        return entry

    def _promote_if_caught_up(self, server_id: str, progress: Progress) -> None:
        """
        Make a learner that has caught up, and has just answered, a voter (4.2.1).

        That others answer shows nothing about it: as a voter that is down it would
        cost a majority.
        """
        server = self._server
        if server.configuration.is_voter(server_id):
            return
        progress.end_round(
            server.log.last_index, server.now, server.timing.election_timeout
        )
        if progress.caught_up and self._may_change_configuration():
            self._change_configuration(server.configuration.with_voter(server_id))

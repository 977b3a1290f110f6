"""
Bugs that are planted in the production code, each in its own run of the simulator.

Most of them are bugs that real implementations had; what they are called says which. A
bug is a change of the text of one module, so that anybody can see what it is; the text
that is replaced is there exactly once, or the catalogue is out of date and a test says
so. How they are planted and looked for is in :mod:`tests.mutants.planting`.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["MUTANTS", "Mutant"]


@frozen
class Mutant:
    """
    One bug.
    """

    #: What is wrong, in half a sentence.
    name: str
    #: The module, and what of its text is replaced by what.
    module: str
    right: str
    wrong: str
    #: Which implementation had it, or the section that says why it matters.
    source: str
    #: The only faults and deeds of its schedules, where it needs a rare coincidence of
    #: some; ``None`` to let each seed choose.
    only: tuple[str, ...] | None = None


_CONSENSUS = "hraftd.raft.consensus"
_LEADER = "hraftd.raft.leader"
_LOG = "hraftd.raft.log"
_OUTBOX = "hraftd.raft.outbox"
_PROGRESS = "hraftd.raft.progress"
_CONFIGURATION = "hraftd.raft.configuration"
_SERVER = "hraftd.server"

MUTANTS = (
    # Terms and votes.
    Mutant(
        "term and vote are not saved",
        _OUTBOX,
        "            if not self.is_vote_saved:\n",
        "            if False:\n",
        "PySyncObj 84",
    ),
    Mutant(
        "the vote is forgotten with each step down",
        _CONSENSUS,
        "            self.current_term = term\n            self.voted_for = None\n",
        "            self.current_term = term\n        self.voted_for = None\n",
        "CCF 8094",
    ),
    Mutant(
        "a server votes for whoever asks, whatever it voted before",
        _CONSENSUS,
        "granted = self.voted_for in (None, request.candidate_id) and up_to_date",
        "granted = up_to_date",
        "Raft 5.2",
    ),
    Mutant(
        "a candidate need not have all that is committed",
        _LOG,
        "return (last_log_term, last_log_index) >= (self.last_term, self.last_index)",
        "return True",
        "Raft 5.4.1",
    ),
    Mutant(
        "the longer log wins, whatever its last term",
        _LOG,
        "return (last_log_term, last_log_index) >= (self.last_term, self.last_index)",
        "return last_log_index >= self.last_index",
        "Raft 5.4.1",
    ),
    Mutant(
        "a promise to vote counts as a vote",
        _CONSENSUS,
        "                not request.pre_vote and request.term == self.current_term\n",
        "                request.term == self.current_term\n",
        "dissertation 9.6",
    ),
    Mutant(
        "pre-votes are refused in the next term",
        _CONSENSUS,
        "granted = request.term > self.current_term and up_to_date",
        "granted = request.term > self.current_term + 1 and up_to_date",
        "rabbitmq/ra 439",
    ),
    Mutant(
        "who was removed, and comes back empty, may vote",
        _CONSENSUS,
        "        if not self._knows_to_be_member:\n",
        "        if False:\n",
        "hraftd; dissertation 4.1",
        ("replace", "remove", "isolate leader", "partition", "power"),
    ),
    Mutant(
        "who begins with nothing goes by what is long over",
        _CONSENSUS,
        "return self.votes_from is not None and self.log.last_index >= self.votes_from",
        "return True",
        "hraftd",
        ("replace", "add"),
    ),
    Mutant(
        "requests of an earlier term's leader are obeyed",
        _CONSENSUS,
        "        if request.term < self.current_term:\n"
        "            return AppendEntriesResponse(self.current_term, False)\n",
        "",
        "Raft 5.1",
    ),
    # Log and commitment.
    Mutant(
        "a short request cuts off what follows it",
        _CONSENSUS,
        "            if self.log.matches(entry.index, entry.term):\n"
        "                continue\n",
        "",
        "akka-raft 66",
    ),
    Mutant(
        "what was not compared is taken for committed",
        _CONSENSUS,
        "self.commit_to(min(request.leader_commit, verified))",
        "self.commit_to(min(request.leader_commit, self.log.last_index))",
        "copycat 265",
    ),
    Mutant(
        "entries of older terms are counted",
        _LEADER,
        "        if majority_match > server.commit_index and server.log.matches(\n"
        "            majority_match, server.current_term\n"
        "        ):\n",
        "        if majority_match > server.commit_index:\n",
        "PySyncObj 169",
    ),
    Mutant(
        "the commit index goes back",
        "hraftd.raft.state",
        "self.commit_index = max(self.commit_index, index)",
        "self.commit_index = index",
        "PySyncObj 166",
    ),
    Mutant(
        "what is known of a follower goes back",
        _PROGRESS,
        "        self.match_index = max(self.match_index, match_index)\n"
        "        self.next_index = max(self.next_index, self.match_index + 1)\n",
        "        self.match_index = match_index\n"
        "        self.next_index = self.match_index + 1\n",
        "PySyncObj 167",
    ),
    Mutant(
        "what a snapshot stands for is taken for a conflict",
        _CONSENSUS,
        "        if prev_index < self.log.snapshot_index:\n",
        "        if False:\n",
        "openraft 510",
    ),
    Mutant(
        "the term of a compacted entry reads as 0",
        _LOG,
        "return 0 if self.snapshot is None else self.snapshot.last_term",
        "return 0",
        "etcd 76f1249",
    ),
    Mutant(
        "a half of an even number is a majority",
        _CONFIGURATION,
        "return len(self.voters) // 2 + 1",
        "return (len(self.voters) + 1) // 2",
        "hashicorp 163a55f",
    ),
    Mutant(
        "a leader counts its own log before that is on its disk",
        _LEADER,
        "            return self._server.stable_index\n",
        "            return self._server.log.last_index\n",
        "etcd 14370",
    ),
    Mutant(
        "a leader begins its term without an entry",
        _LEADER,
        "        self._append(NoOp())\n",
        "        self._server.log.last_index\n",
        "Raft 8",
    ),
    Mutant(
        "entries are compared by their index alone",
        _LOG,
        "        return self.term_at(index) == term\n",
        "        return self.term_at(index) is not None\n",
        "Raft 5.3",
    ),
    Mutant(
        "a refusal counts as an agreement",
        _LEADER,
        "            progress.rejected(request, response, self._server.log)\n",
        "            progress.accepted(request)\n"
        "            self._match_index_moved(call.to, progress)\n",
        "CCF, NACK",
    ),
    Mutant(
        "after a refusal the leader goes back no further",
        _PROGRESS,
        "            self.match_index + 1, min(next_index, self.next_index - 1)\n",
        "            self.match_index + 1, self.next_index\n",
        "Raft 5.3",
    ),
    Mutant(
        "entries are applied that are not on the disk yet",
        _OUTBOX,
        "            self.commit_index, self.stable_index, self.handed_out",
        "            self.commit_index, self.log.last_index, self.handed_out",
        "etcd 14370",
    ),
    # The turn: persist, send, apply, answer.
    Mutant(
        "an answer leaves before the save",
        _SERVER,
        "                self._save(ready, held)\n",
        "                self._save(ready, [])\n                self._answer(held)\n",
        "etcd 14370",
    ),
    Mutant(
        "a request for votes leaves before the save",
        _SERVER,
        "                self._save(ready, held)\n",
        "                self._save(ready, held)\n"
        "                self._send(ready.calls)\n",
        "PySyncObj 84",
    ),
    Mutant(
        "a failed save counts as a save",
        _SERVER,
        "        ).addCallbacks(saved, failed).addErrback(self._fail)",
        "        ).addCallbacks(saved, lambda _: saved(None)).addErrback(self._fail)",
        "rostam 94",
    ),
    Mutant(
        "a client is answered when its write is appended",
        _SERVER,
        "        return self._proposals.wait(entry, size)\n",
        "        self._proposals.wait(entry, size).addErrback(lambda _: None)\n"
        "        return succeed(Applied(entry.index, None))\n",
        "NATS 2.12.1",
    ),
    # Snapshots.
    Mutant(
        "pieces of two snapshots are mixed",
        _CONSENSUS,
        "        if incoming is None or incoming.snapshot != snapshot:\n",
        "        if incoming is None:\n",
        "smg 837",
    ),
    Mutant(
        "a snapshot has the latest configuration, committed or not",
        "hraftd.snapshots",
        "configuration = core.log.configuration_at(index)",
        "configuration = core.log.configuration",
        "canonical/raft 250",
    ),
    Mutant(
        "who was restarted in mid-transfer does not say what it needs",
        _CONSENSUS,
        "        if request.piece.offset != incoming.next_offset:\n"
        "            return InstallSnapshotResponse(self.current_term, "
        "incoming.next_offset)\n",
        "        if request.piece.offset != incoming.next_offset:\n"
        "            offset = request.piece.offset\n"
        "            return InstallSnapshotResponse(self.current_term, offset)\n",
        "LogCabin 174",
        ("replace", "add", "slow disk", "take snapshot"),
    ),
    Mutant(
        "entries are applied while an installed snapshot is being restored",
        _OUTBOX,
        "        if self.to_restore is not None:\n            return ()\n",
        "",
        "Raft 7, figure 13",
    ),
    Mutant(
        "what is written meanwhile gets into a snapshot",
        "hraftd.kv.ordered",
        "        if id(leaf) in self._shared:\n",
        "        if False:\n",
        "Raft 7, copy on write",
        ("slow disk", "take snapshot"),
    ),
    Mutant(
        "snapshots lack the tokens of requests",
        "hraftd.kv.store",
        "            self._tokens.view(),\n",
        "            [],\n",
        "openraft 2096",
    ),
    # Keys that expire.
    Mutant(
        "snapshots lack the deadlines of keys",
        "hraftd.kv.store",
        "            self._lifetimes.view(),\n",
        "            [],\n",
        "openraft 2096, where it was tokens",
    ),
    Mutant(
        "a new leader goes by its own clock, whatever the key was set by",
        "hraftd.expiry",
        "        if afresh or not leads or told > self._now.now():\n",
        "        if told > self._now.now():\n",
        "dissertation 6.4.1: clocks differ",
        ("kill", "power", "stop", "stale leader"),
    ),
    Mutant(
        "the time goes back with whoever is behind",
        "hraftd.kv.lifetimes",
        "        self.clock = max(self.clock, now)\n",
        "        self.clock = now\n",
        "dissertation 6.4.1: clocks differ",
    ),
    # Membership.
    Mutant(
        "a change may begin before the leader has committed anything",
        _LEADER,
        "            self.term_start, server.log.configuration_index\n",
        "            0, server.log.configuration_index\n",
        "Ongaro, raft-dev 2015",
    ),
    Mutant(
        "a change may begin before the one before is committed",
        _LEADER,
        "            self.term_start, server.log.configuration_index\n",
        "            self.term_start, 0\n",
        "Scylla 30936",
    ),
    Mutant(
        "a configuration that is cut off stays in force",
        _LOG,
        "        while self.configuration_index >= index:\n"
        "            self._configurations.pop()\n",
        "",
        "camunda 57393",
    ),
    Mutant(
        "after a restart the snapshot's members are in force",
        _LOG,
        "                self._configurations.append((entry.index, entry.payload))\n",
        "                if self.snapshot is None or self._configurations[1:]:\n"
        "                    one = entry.index, entry.payload\n"
        "                    self._configurations.append(one)\n",
        "PySyncObj 133",
    ),
    Mutant(
        "a removed leader does not campaign to have it committed",
        _CONSENSUS,
        "            configuration.is_voter(self.server_id)\n"
        "            for configuration in self._configurations_in_force\n",
        "            configuration.is_voter(self.server_id)\n"
        "            for configuration in (self.configuration,)\n",
        "cowsql 150",
        ("remove", "add", "kill", "power"),
    ),
    # Reads and transfers.
    Mutant(
        "the round of a read is skipped",
        _LEADER,
        "        if begins_round:\n            self._confirm_reads()\n",
        "        if begins_round:\n            self.reads.confirm()\n",
        "dissertation 6.4",
    ),
    Mutant(
        "a leader names an index before it has committed one of its term",
        _LEADER,
        "begins_round = server.commit_index >= self.term_start and self.reads.begin(",
        "begins_round = server.commit_index >= 0 and self.reads.begin(",
        "etcd 7331",
    ),
    Mutant(
        "answers to what was sent before confirm a round",
        _PROGRESS,
        "        self.round = max(self.round, call.round)\n",
        "        self.round = 1 << 60\n",
        "etcd 20418",
    ),
    Mutant(
        "a read does not wait until what it must see is applied",
        "hraftd.fresh_reads",
        "return self._for_index.add(index) if index > self._applied() else None\n",
        "return None\n",
        "dissertation 6.4",
    ),
    # Clients.
    Mutant(
        "a retry is carried out again, whatever its token",
        "hraftd.kv.store",
        "        known = self._tokens.find(token)\n",
        "        known = None\n",
        "jetcd 0.8.2",
    ),
    Mutant(
        "what a lost leader was asked is asked again",
        "hraftd.forwarding",
        "            lambda: here().addErrback(elsewhere), NotLeader, NotReached, "
        "_LeaderStopped\n",
        "            lambda: here().addErrback(elsewhere),\n"
        "            NotLeader,\n"
        "            NotReached,\n"
        "            _LeaderStopped,\n"
        "            Unanswered,\n",
        "fluree 1839",
    ),
    Mutant(
        "a lost leadership is taken for a write that did not happen",
        "hraftd.proposals",
        "                self._remove(index).answer.errback(LeadershipLost(reason))\n",
        "                self._remove(index).answer.errback(Overloaded(reason))\n",
        "openraft 2096",
    ),
)

"""
What happened in a cluster, in lines that can be read.

An entry is written as index and term: ``3t2`` is entry 3, made in term 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import Factory, define

from hraftd.raft.configuration import Suffrage
from hraftd.raft.leader import Leader
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    RequestVote,
    TimeoutNow,
)
from hraftd.raft.roles import Candidate, Follower, PreCandidate

if TYPE_CHECKING:
    from hraftd.raft.configuration import Configuration
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Entry, Response
    from tests.raft.network import Message


def describe_role(core: ConsensusModule) -> str:
    """
    Say what a server is.
    """
    term = core.current_term
    match core.role:
        case Leader():
            return f"leads term {term}"
        case Candidate():
            return f"is a candidate in term {term}"
        case PreCandidate():
            return f"is a pre-candidate in term {term}"
        case Follower(None):
            return f"follows nobody in term {term}"
        case Follower(leader_id):
            return f"follows {leader_id} in term {term}"


def describe_configuration(configuration: Configuration) -> str:
    """
    Name the voters, and the others if there are any.
    """
    voters = " ".join(server.id for server in configuration.voters)
    others = ", ".join(
        f"{suffrage.value} {' '.join(ids)}"
        for suffrage in (Suffrage.LEARNER, Suffrage.NONVOTER)
        if (ids := [s.id for s in configuration.servers if s.suffrage is suffrage])
    )
    return f"{voters} ({others})" if others else voters


def describe_entry(entry: Entry) -> str:
    """
    Write an entry as index and term.
    """
    return f"{entry.index}t{entry.term}"


def describe_message(message: Message) -> str:
    """
    Write a message in one line.
    """
    return f"{message.source} -> {message.destination}: {_words(message)}"


def _words(message: Message) -> str:
    request, response = message.call.request, message.response
    if isinstance(request, RequestVote):
        if response is not None:
            granted = getattr(response, "vote_granted", False)
            return f"{'yes' if granted else 'no'} (term {response.term})"
        asked = "pre-vote" if request.pre_vote else "vote"
        if request.leadership_transfer:
            asked = "vote, as the leader wants it,"
        last = f"{request.last_log_index}t{request.last_log_term}"
        return f"{asked} for term {request.term}? log ends with {last}"
    if isinstance(request, TimeoutNow):
        if response is None:
            return f"term {request.term}, campaign now"
        return f"received (term {response.term})"
    if isinstance(request, InstallSnapshot):
        return _words_of_snapshot(request, response)
    assert isinstance(request, AppendEntries)
    reach = request.prev_log_index + len(request.entries)
    if response is None:
        sent = " ".join(map(describe_entry, request.entries)) or "nothing"
        prev = f"{request.prev_log_index}t{request.prev_log_term}"
        return (
            f"term {request.term}, after {prev}: {sent}; commit {request.leader_commit}"
        )
    assert isinstance(response, AppendEntriesResponse)
    if response.success:
        return f"yes, up to {reach}"
    if response.conflict_term:
        return (
            f"no, {request.prev_log_index} is of term {response.conflict_term}, "
            f"like all from {response.conflict_index}"
        )
    if response.conflict_index:
        return f"no, the log ends at {response.conflict_index - 1}"
    return f"no, this is term {response.term}"


def _words_of_snapshot(request: InstallSnapshot, response: Response | None) -> str:
    snapshot, first = request.snapshot, request.piece.offset
    if response is None:
        last = f"{snapshot.last_index}t{snapshot.last_term}"
        end = first + len(request.piece.data)
        return (
            f"term {request.term}, snapshot at {last}: bytes {first} to {end} of "
            f"{snapshot.size}"
        )
    assert isinstance(response, InstallSnapshotResponse)
    if response.term > request.term:
        return f"no, this is term {response.term}"
    if response.next_offset == snapshot.size:
        return f"yes, up to {snapshot.last_index}"
    return f"needs it from byte {response.next_offset} on"


@define(eq=False)
class _Seen:
    role: str
    commit_index: int
    #: From the entry that follows ``memory_index`` on.
    entries: tuple[Entry, ...]
    memory_index: int
    snapshot_index: int
    configuration: Configuration

    def after(self, index: int) -> tuple[Entry, ...]:
        """
        Return the entries behind that one.
        """
        return self.entries[max(index - self.memory_index, 0) :]


@define(eq=False)
class Chronicle:
    """
    Writes down what servers become and which messages arrive, while it is open.
    """

    is_open: bool = False
    lines: list[str] = Factory(list)
    #: Whether messages are written down too, or only what comes of them.
    with_messages: bool = True
    _seen: dict[str, _Seen] = Factory(dict)

    def look(self, core: ConsensusModule) -> None:
        """
        Write down what has changed about a server.
        """
        if not self.is_open:
            return
        server_id, log = core.server_id, core.log
        now = _Seen(
            describe_role(core),
            core.commit_index,
            log.between(log.memory_index + 1, log.last_index),
            log.memory_index,
            log.snapshot_index,
            core.configuration,
        )
        before = self._seen.get(server_id)
        self._seen[server_id] = now
        if before is None:
            self.lines.append(f"{server_id} starts and {now.role}")
            return
        if now.role != before.role:
            self.lines.append(f"{server_id} {now.role}")
        if now.snapshot_index != before.snapshot_index:
            self.lines.append(f"{server_id} has a snapshot at {now.snapshot_index}")
        # What left the memory was not deleted.
        first = max(before.memory_index, now.memory_index)
        old_ones, new_ones = before.after(first), now.after(first)
        kept = 0
        for old, new in zip(old_ones, new_ones, strict=False):
            if old != new:
                break
            kept += 1
        if old_ones[kept:]:
            gone = " ".join(map(describe_entry, old_ones[kept:]))
            self.lines.append(f"{server_id} deletes {gone}")
        if new_ones[kept:]:
            added = " ".join(map(describe_entry, new_ones[kept:]))
            self.lines.append(f"{server_id} appends {added}")
        if now.configuration != before.configuration:
            members = describe_configuration(now.configuration) or "nobody"
            self.lines.append(f"{server_id} now counts on {members}")
        if now.commit_index != before.commit_index:
            self.lines.append(f"{server_id} commits up to {now.commit_index}")

    def arrived(self, message: Message) -> None:
        """
        Write down a message that is about to be handled.
        """
        if self.is_open and self.with_messages:
            self.lines.append(describe_message(message))

    def lost(self, message: Message) -> None:
        """
        Write down a message that nobody will ever handle.
        """
        if self.is_open and self.with_messages:
            self.lines.append(f"{describe_message(message)} (lost)")

    def crashed(self, server_id: str) -> None:
        """
        Write down that a server is gone.
        """
        self._seen.pop(server_id, None)
        if self.is_open:
            self.lines.append(f"{server_id} crashes")

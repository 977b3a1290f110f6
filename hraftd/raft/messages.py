"""
The words of Raft.

Entries, snapshots, the state that is persisted, and one class for each side of each
RPC box in figures 2 and 13 of the paper; TimeoutNow is of dissertation 3.10.

Field names are the paper's in snake case. Nothing here has behaviour; how these
become bytes is in :mod:`hraftd.codec` and :mod:`hraftd.peers.commands`.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from hraftd.raft.configuration import Configuration

__all__ = [
    "AppendEntries",
    "AppendEntriesResponse",
    "Call",
    "Entry",
    "HardState",
    "InstallSnapshot",
    "InstallSnapshotResponse",
    "NoOp",
    "Payload",
    "Piece",
    "Request",
    "RequestVote",
    "RequestVoteResponse",
    "Response",
    "Snapshot",
    "TimeoutNow",
    "TimeoutNowResponse",
]


@frozen
class NoOp:
    """
    The empty entry with which a leader begins its term (Raft 8).
    """


#: What an entry holds: a command of the state machine, opaque to Raft; a new
#: configuration; or nothing.
Payload: TypeAlias = bytes | Configuration | NoOp


@frozen
class Entry:
    """
    One entry of the replicated log. Index and term together name it (Raft 5.3).
    """

    #: Its position in the log; the first is 1.
    index: int
    #: The term of the leader that made it; the first is 1.
    term: int
    payload: Payload


@frozen
class HardState:
    """
    What a server must have on disk before it answers an RPC, besides the log.

    Figure 2, "Persistent state on all servers".
    """

    #: The latest term this server has seen; 0 before the first.
    current_term: int = 0
    #: The candidate that got this server's vote in ``current_term``, or ``None``.
    voted_for: str | None = None
    #: The server neither votes nor campaigns before its log reaches that entry; not in
    #: the paper. ``None`` if it began with nothing, until a leader says how far the log
    #: goes.
    votes_from: int | None = 0


@frozen
class Snapshot:
    """
    What stands in place of the log up to an index; its content is in pieces (Raft 7).
    """

    #: The last entry whose effects are in it, and that entry's term.
    last_index: int
    last_term: int
    #: The configuration in force at that entry (dissertation 5.1).
    configuration: Configuration
    #: Bytes of all pieces together; at least 1.
    size: int
    #: BLAKE2b, of 32 bytes, over the bytes of all pieces in order. It names the
    #: content, so that pieces of two snapshots are never mixed (smg 837).
    digest: bytes


@frozen
class Piece:
    """
    A part of a snapshot's content. Pieces are never cut or joined on their way.
    """

    #: Where its first byte stands in the whole.
    offset: int
    data: bytes


@frozen
class RequestVote:
    """
    Invoked by candidates to gather votes (Raft 5.2).
    """

    #: The candidate's term. In a pre-vote: the term it *would* campaign in.
    term: int
    candidate_id: str
    last_log_index: int
    last_log_term: int
    #: Only asks whether the vote would be given; changes nothing anywhere
    #: (dissertation 9.6).
    pre_vote: bool = False
    #: The leader itself has asked for this election, so its being alive is no reason
    #: to refuse (dissertation 4.2.3).
    leadership_transfer: bool = False


@frozen
class RequestVoteResponse:
    """
    A voter's answer (Raft 5.2).
    """

    #: The voter's ``current_term``, for the candidate to update itself.
    term: int
    vote_granted: bool


@frozen
class AppendEntries:
    """
    Invoked by the leader to replicate entries; without any, a heartbeat.

    Raft 5.3 and 5.2.
    """

    term: int
    leader_id: str
    #: Index and term of the entry that comes right before ``entries``; 0 and 0
    #: before the first.
    prev_log_index: int
    prev_log_term: int
    #: Consecutive entries, the first at ``prev_log_index + 1``.
    entries: tuple[Entry, ...]
    leader_commit: int


@frozen
class AppendEntriesResponse:
    """
    A follower's answer (Raft 5.3).

    The two ``conflict`` fields are the shortcut that the end of section 5.3
    describes: they let the leader skip a whole term for each rejection.
    """

    #: The follower's ``current_term``, for the leader to update itself.
    term: int
    #: Whether the follower held ``prev_log_index`` at ``prev_log_term``, and so
    #: now holds every entry of the request on its disk.
    success: bool
    #: On a rejection, the term of the follower's entry at ``prev_log_index``, or
    #: 0 if its log ends before that.
    conflict_term: int = 0
    #: On a rejection, the first index the follower holds for ``conflict_term``,
    #: or, where its log is too short, the index after its last entry. 0 if the
    #: request was refused for its term.
    conflict_index: int = 0


@frozen
class InstallSnapshot:
    """
    Invoked by the leader to send a piece of its snapshot to a follower (figure 13).

    The paper's lastIncludedIndex, lastIncludedTerm and, from the dissertation,
    lastConfig are in ``snapshot``.
    """

    term: int
    leader_id: str
    snapshot: Snapshot
    piece: Piece
    #: Whether this is the last piece.
    done: bool


@frozen
class InstallSnapshotResponse:
    """
    A follower's answer to a piece.

    The paper's has only the term. Saying what is still missing lets a transfer go on
    where it broke off, whoever of the two restarted meanwhile.
    """

    #: The follower's ``current_term``, for the leader to update itself.
    term: int
    #: The offset of the piece that it needs next; the snapshot's size once it is
    #: installed, or if it was not needed.
    next_offset: int


@frozen
class TimeoutNow:
    """
    Invoked by the leader to hand over: the receiver is to campaign (diss. 3.10).
    """

    term: int
    leader_id: str


@frozen
class TimeoutNowResponse:
    """
    Says only that it was received.
    """

    #: The receiver's ``current_term``, for the leader to update itself.
    term: int


Request: TypeAlias = RequestVote | AppendEntries | InstallSnapshot | TimeoutNow
Response: TypeAlias = (
    RequestVoteResponse
    | AppendEntriesResponse
    | InstallSnapshotResponse
    | TimeoutNowResponse
)


@frozen(eq=False)
class Call:
    """
    A request on its way to one peer.

    Two calls are the same only if they are the same object, so that an answer is
    never taken for another call's.
    """

    to: str
    request: Request
    #: The leader's round of confirming its leadership at the time (see
    #: :mod:`hraftd.raft.read_index`); an answer confirms this one and those before.
    round: int = 0

"""
What a server remembers only while it plays a role.

One class for each state of figure 4 of the paper, and one between follower and
candidate for the pre-vote of dissertation 9.6. The rules by which a server goes from
one to the next are in :mod:`hraftd.raft.consensus`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import Factory, define

if TYPE_CHECKING:
    from hraftd.raft.messages import Call

__all__ = ["Candidate", "Follower", "Leader", "PreCandidate", "Progress", "Role"]


@define
class Follower:
    """
    Answers RPCs and waits for a leader to be silent (Raft 5.2).
    """

    #: The leader of the current term, once it has been heard.
    leader_id: str | None = None


@define
class PreCandidate:
    """
    Asks who would vote for it, before it disturbs anybody with a new term.
    """

    #: Who would. A set: an answer that comes twice counts once.
    votes: set[str]


@define
class Candidate:
    """
    Asks for votes in a term of its own (Raft 5.2).
    """

    #: Who gave theirs, itself included once its own vote is on disk.
    votes: set[str] = Factory(set)


@define
class Progress:
    """
    What the leader knows of one other member (figure 2, state on leaders).

    A new leader does not know where the logs agree. It *probes*: sends requests
    without entries until one is accepted, going back at each rejection. Then it
    sends entries, one request at a time; what is proposed meanwhile goes with the
    next. A call that failed *pauses* this, so that a peer which is down costs a
    heartbeat and no more; the next answer resumes it.
    """

    #: The next entry to send.
    next_index: int
    #: The tick of the last answer, or of the moment when this began.
    last_contact: int
    #: The last entry known to be on that server's disk. Never goes back.
    match_index: int = 0
    #: Whether an answer ever came in this term.
    heard: bool = False
    probing: bool = True
    paused: bool = False
    #: The call that holds back the next one, until it is answered or fails.
    in_flight: Call | None = None
    #: The highest commit index that was sent.
    sent_commit: int = 0
    #: A learner's round: it ends when this index is reached (dissertation 4.2.1).
    round_target: int = 0
    #: The tick at which the round began.
    round_start: int = 0
    #: Whether a round was short enough for the learner to vote without a gap.
    caught_up: bool = False


@define
class Leader:
    """
    Replicates its log to all others (Raft 5.3).
    """

    #: The index of the no-op that began its term.
    term_start: int
    #: By id, one for each other member.
    progress: dict[str, Progress] = Factory(dict)
    #: The tick at which the next heartbeat is due.
    heartbeat_due: int = 0


Role: TypeAlias = Follower | PreCandidate | Candidate | Leader

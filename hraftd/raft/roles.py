"""
What a server remembers only while it plays a role.

One class for each state of figure 4 of the paper, and one between follower and
candidate for the pre-vote of dissertation 9.6. The rules by which a server goes from
one to the next are in :mod:`hraftd.raft.consensus`; the fourth, the leader, does so
much that it is in :mod:`hraftd.raft.leader`.
"""

from __future__ import annotations

from attrs import Factory, define

__all__ = ["Candidate", "Follower", "PreCandidate"]


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

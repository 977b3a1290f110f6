"""
What a server can tell about itself and its cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from attrs import frozen

from hraftd.raft.leader import Leader
from hraftd.raft.roles import Candidate, Follower, PreCandidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.raft.configuration import Configuration, Server
    from hraftd.raft.consensus import ConsensusModule

__all__ = ["TICK", "MemberStatus", "Status", "describe"]

#: Seconds of one tick of the algorithm.
TICK = 0.025


@frozen
class MemberStatus:
    """
    A member as this server sees it.
    """

    server: Server
    #: ``leader``, ``follower``, ``learner`` or ``nonvoter``.
    role: str
    #: Whether there is a link to it; ``None`` for the server itself.
    linked: bool | None
    #: The last entry known to be on its disk; ``None`` unless this is the leader.
    match_index: int | None
    #: Seconds since it answered; ``None`` unless this is the leader, or if never.
    last_contact: float | None


@frozen
class Status:
    """
    What this server knows about itself and its cluster at this moment.
    """

    server_id: str
    cluster_id: str | None
    #: ``leader``, ``follower``, ``pre-candidate``, ``candidate``, ``learner``,
    #: ``nonvoter``, or ``removed``: it has a log, and no configuration names it.
    role: str
    term: int
    leader: Server | None
    commit_index: int
    last_applied: int
    last_log_index: int
    #: The first entry that can still be sent to others.
    first_log_index: int
    #: The last entry that the latest snapshot covers, and the bytes of that; 0 and 0
    #: before the first.
    snapshot_index: int
    snapshot_bytes: int
    configuration: Configuration
    members: tuple[MemberStatus, ...]
    #: Seconds since the leader was heard; 0.0 at the leader, ``None`` if never.
    last_contact: float | None

    @classmethod
    def of(
        cls,
        core: ConsensusModule,
        cluster_id: str | None,
        last_applied: int,
        is_linked: Callable[[str], bool],
    ) -> Status:
        """
        Look at the algorithm's state and put it into seconds and names.
        """
        configuration = core.configuration
        return cls(
            server_id=core.server_id,
            cluster_id=cluster_id,
            role=_role(core),
            term=core.current_term,
            leader=configuration.get(core.leader_id) if core.leader_id else None,
            commit_index=core.commit_index,
            last_applied=last_applied,
            last_log_index=core.log.last_index,
            first_log_index=core.log.first_index,
            snapshot_index=core.log.snapshot_index,
            snapshot_bytes=core.log.snapshot.size if core.log.snapshot else 0,
            configuration=configuration,
            members=tuple(
                MemberStatus(
                    server=server,
                    role=_member_role(core, server),
                    linked=(
                        None if server.id == core.server_id else is_linked(server.id)
                    ),
                    match_index=core.match_index(server.id),
                    last_contact=_seconds(core.ticks_since_contact(server.id)),
                )
                for server in configuration.servers
            ),
            last_contact=_seconds(core.ticks_since_leader),
        )


def _role(core: ConsensusModule) -> str:
    match core.role:
        case Leader():
            return "leader"
        case Candidate():
            return "candidate"
        case PreCandidate():
            return "pre-candidate"
        case Follower():
            me = core.configuration.get(core.server_id)
            if me is not None:
                return _member_role(core, me)
            return "removed" if core.configuration.servers else "learner"
        case role:
            assert_never(role)


def _member_role(core: ConsensusModule, server: Server) -> str:
    if server.id == core.leader_id:
        return "leader"
    return "follower" if server.is_voter else str(server.suffrage.value)


def _seconds(ticks: int | None) -> float | None:
    return None if ticks is None else ticks * TICK


def describe(core: ConsensusModule) -> str:
    """
    Say in half a sentence, for the log, what the server is now.
    """
    term = core.current_term
    match core.role:
        case Leader():
            return f"leads term {term}"
        case Candidate():
            return f"is a candidate in term {term}"
        case PreCandidate():
            return f"misses a leader in term {term} and asks who would vote for it"
        case Follower(None):
            return f"knows no leader in term {term}"
        case Follower(leader_id):
            return f"follows {leader_id} in term {term}"
        case role:
            assert_never(role)

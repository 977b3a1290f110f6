"""
The members of a cluster and what may change about them.

A :class:`Configuration` says who takes part, who votes, and how many of them are
a majority; its methods answer what a change would make of it. When a change may
start is the business of :mod:`hraftd.raft.consensus`; who is a member of what is
decided by the log, since a configuration is an entry in it.

Raft section 6 in the single-server form of dissertation chapter 4.
"""

from __future__ import annotations

import re
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Configuration",
    "MembershipConflict",
    "Server",
    "Suffrage",
    "check_server_id",
]

_SERVER_ID = re.compile(r"[\w.:\[\]-]{1,128}")


class MembershipConflict(Exception):
    """
    The change contradicts a member that is there already.
    """


def check_server_id(server_id: str) -> None:
    """
    Make sure that this can name a server: in URLs, in log lines, and as a folder.

    :raises ValueError: with a sentence.
    """
    if not _SERVER_ID.fullmatch(server_id) or not server_id.strip("."):
        raise ValueError(
            f"{server_id[:130]!r} is no id of a node; take up to 128 letters, digits "
            f"and . _ - : [ ]"
        )


class Suffrage(Enum):
    """
    Whether a member's vote and acknowledgement count.
    """

    VOTER = "voter"
    #: Receives entries but counts for nothing until it has caught up
    #: (dissertation 4.2.1); then the leader makes it a voter.
    LEARNER = "learner"
    #: Receives entries and never counts: for reads, or as a copy far away.
    NONVOTER = "nonvoter"


@frozen
class Server:
    """
    One member: its name, where its peers reach it, and where its clients do.
    """

    id: str
    #: ``host:port`` of its Raft listener, as its peers must dial it.
    raft: str
    #: ``host:port`` of its HTTP API, as clients must dial it; empty if unknown.
    http: str = ""
    suffrage: Suffrage = Suffrage.VOTER

    @property
    def is_voter(self) -> bool:
        """
        Whether this member's vote and acknowledgement count.
        """
        return self.suffrage is Suffrage.VOTER


def _by_id(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    return tuple(sorted(servers, key=lambda server: server.id))


@frozen
class Configuration:
    """
    The members of the cluster, always in the order of their ids.
    """

    servers: tuple[Server, ...] = field(default=(), converter=_by_id)
    #: The members whose votes and acknowledgements count.
    voters: tuple[Server, ...] = field(init=False, eq=False, repr=False)
    #: How many voters are more than a half of them: 2 of 3, 3 of 4, 3 of 5.
    majority: int = field(init=False, eq=False, repr=False)
    _by_name: Mapping[str, Server] = field(init=False, eq=False, repr=False)

    @voters.default
    def _voters(self) -> tuple[Server, ...]:
        return tuple(server for server in self.servers if server.is_voter)

    @majority.default
    def _majority(self) -> int:
        return len(self.voters) // 2 + 1

    @_by_name.default
    def _index(self) -> Mapping[str, Server]:
        return MappingProxyType({server.id: server for server in self.servers})

    def get(self, server_id: str) -> Server | None:
        """
        Return the member of that id, or ``None``.
        """
        return self._by_name.get(server_id)

    @property
    def learners(self) -> tuple[Server, ...]:
        """
        The members without a vote, for now or for ever.
        """
        return tuple(server for server in self.servers if not server.is_voter)

    def is_voter(self, server_id: str) -> bool:
        """
        Whether that server is a member with a vote.
        """
        server = self.get(server_id)
        return server is not None and server.is_voter

    def is_majority(self, server_ids: frozenset[str] | set[str]) -> bool:
        """
        Whether the voters among these servers are a majority.

        Ids of learners and of strangers count for nothing.
        """
        agreeing = [server for server in self.voters if server.id in server_ids]
        return len(agreeing) >= self.majority

    def with_server(self, newcomer: Server) -> Configuration:
        """
        Let a server be a member at these addresses, with or without a vote.

        Who is to vote and is new, or was none of the voters, begins as a learner. A
        member that moves keeps its vote; without a new HTTP address it keeps the old.

        :return: this configuration if there is nothing to change.
        :raises MembershipConflict: if one of the addresses belongs to another member,
            or if the only voter is not to vote any more.
        """
        for member in self.servers:
            if member.id == newcomer.id:
                continue
            if member.raft == newcomer.raft:
                raise MembershipConflict(
                    f"the Raft address {newcomer.raft} belongs to {member.id}"
                )
            if newcomer.http and member.http == newcomer.http:
                raise MembershipConflict(
                    f"the HTTP address {newcomer.http} belongs to {member.id}"
                )
        known = self.get(newcomer.id)
        http = newcomer.http or (known.http if known else "")
        suffrage = Suffrage.LEARNER
        if newcomer.suffrage is Suffrage.NONVOTER:
            suffrage = Suffrage.NONVOTER
            self._check_others_vote(newcomer.id)
        elif known is not None and known.suffrage is not Suffrage.NONVOTER:
            suffrage = known.suffrage
        member = evolve(newcomer, http=http, suffrage=suffrage)
        return self if member == known else self._with(member)

    def without(self, server_id: str) -> Configuration:
        """
        Remove a member.

        :raises KeyError: if there is no such member.
        :raises MembershipConflict: if nobody would be left to vote.
        """
        leaving = self._by_name[server_id]
        self._check_others_vote(server_id)
        return Configuration(
            tuple(server for server in self.servers if server is not leaving)
        )

    def _check_others_vote(self, server_id: str) -> None:
        if [server.id for server in self.voters] == [server_id]:
            raise MembershipConflict(
                f"{server_id} is the only voter, and a cluster needs one; let another "
                "node join first"
            )

    def with_voter(self, server_id: str) -> Configuration:
        """
        Let that member vote.

        :raises KeyError: if there is no such member.
        """
        return self._with(evolve(self._by_name[server_id], suffrage=Suffrage.VOTER))

    def _with(self, member: Server) -> Configuration:
        others = tuple(server for server in self.servers if server.id != member.id)
        return Configuration((*others, member))

"""
What servers say to each other: one AMP Command for each RPC box of the paper.

The ``arguments`` of a Command are the box's Arguments, its ``response`` the box's
Results; the functions at the end turn both into the classes of
:mod:`hraftd.raft.messages` and back. :class:`Hello` is ours: the connecting side
introduces itself with it before anything else.

Raft figure 2; 5.2 and 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from attrs import frozen
from twisted.protocols import amp

from hraftd.codec import pack_entries, unpack_entries
from hraftd.peers.arguments import Count, Flag, Name, PackedEntries
from hraftd.raft import messages

if TYPE_CHECKING:
    from hraftd.raft.messages import Request, Response

__all__ = [
    "OLDEST_WIRE_VERSION",
    "OUR_VERSIONS",
    "WIRE_VERSION",
    "AppendEntries",
    "Hello",
    "PackedEntries",
    "Refused",
    "RequestVote",
    "Versions",
    "arguments_of",
    "read_append_entries",
    "read_request_vote",
    "read_response",
    "results_of",
]

#: The wire version that this code speaks best.
WIRE_VERSION = 1
#: The oldest one that it still speaks, so that a cluster can be upgraded server by
#: server.
OLDEST_WIRE_VERSION = 1


class Refused(Exception):
    """
    The other side does not want this connection. The text is a sentence that says why.
    """


@frozen
class Versions:
    """
    The wire versions that one side speaks: all from the oldest to the newest.
    """

    newest: int = WIRE_VERSION
    oldest: int = OLDEST_WIRE_VERSION

    def common(self, other: Versions) -> int | None:
        """
        Return the version that both sides use, or ``None`` if they share none.
        """
        version = min(self.newest, other.newest)
        return version if version >= max(self.oldest, other.oldest) else None

    def __str__(self) -> str:
        """
        Name them as an operator would.
        """
        if self.oldest == self.newest:
            return f"wire version {self.newest}"
        return f"wire versions {self.oldest} to {self.newest}"


OUR_VERSIONS = Versions()


class Hello(amp.Command):
    """
    Who calls, whom, and in which language. The first command of a connection.
    """

    commandName = b"Hello"
    arguments = [
        (b"version", Count()),
        (b"oldest", Count()),
        (b"cluster", Name()),
        (b"sender", Name()),
        #: Whom the sender believes to have reached.
        (b"receiver", Name()),
    ]
    response = [
        (b"version", Count()),
        (b"oldest", Count()),
        (b"cluster", Name(optional=True)),
        (b"server", Name()),
    ]
    fatalErrors = {Refused: b"REFUSED"}


class RequestVote(amp.Command):
    """
    Figure 2, "RequestVote RPC".
    """

    commandName = b"RequestVote"
    arguments = [
        (b"term", Count()),
        (b"candidate_id", Name()),
        (b"last_log_index", Count()),
        (b"last_log_term", Count()),
        (b"pre_vote", Flag()),
    ]
    response = [(b"term", Count()), (b"vote_granted", Flag())]


class AppendEntries(amp.Command):
    """
    Figure 2, "AppendEntries RPC", with the conflict that the end of 5.3 describes.
    """

    commandName = b"AppendEntries"
    arguments = [
        (b"term", Count()),
        (b"leader_id", Name()),
        (b"prev_log_index", Count()),
        (b"prev_log_term", Count()),
        (b"entries", PackedEntries()),
        (b"leader_commit", Count()),
    ]
    response = [
        (b"term", Count()),
        (b"success", Flag()),
        (b"conflict_term", Count()),
        (b"conflict_index", Count()),
    ]


def arguments_of(request: Request) -> tuple[type[amp.Command], dict[str, Any]]:
    """
    Return the Command for a request, and its arguments.
    """
    match request:
        case messages.RequestVote():
            return RequestVote, {
                "term": request.term,
                "candidate_id": request.candidate_id,
                "last_log_index": request.last_log_index,
                "last_log_term": request.last_log_term,
                "pre_vote": request.pre_vote,
            }
        case messages.AppendEntries():
            return AppendEntries, {
                "term": request.term,
                "leader_id": request.leader_id,
                "prev_log_index": request.prev_log_index,
                "prev_log_term": request.prev_log_term,
                "entries": pack_entries(request.entries),
                "leader_commit": request.leader_commit,
            }
        case _:
            assert_never(request)


def read_request_vote(**arguments: Any) -> messages.RequestVote:
    """
    Return the request that these arguments of :class:`RequestVote` are.
    """
    return messages.RequestVote(**arguments)


def read_append_entries(*, entries: bytes, **arguments: Any) -> messages.AppendEntries:
    """
    Return the request that these arguments of :class:`AppendEntries` are.

    :raises hraftd.codec.CodecError: if the entries cannot be unpacked.
    """
    prev_log_index: int = arguments["prev_log_index"]
    unpacked = unpack_entries(entries, prev_log_index + 1)
    return messages.AppendEntries(entries=unpacked, **arguments)


def results_of(response: Response) -> dict[str, Any]:
    """
    Return a response as the results of its Command.
    """
    match response:
        case messages.RequestVoteResponse():
            return {"term": response.term, "vote_granted": response.vote_granted}
        case messages.AppendEntriesResponse():
            return {
                "term": response.term,
                "success": response.success,
                "conflict_term": response.conflict_term,
                "conflict_index": response.conflict_index,
            }
        case _:
            assert_never(response)


def read_response(request: Request, results: dict[str, Any]) -> Response:
    """
    Return the response that these results of a request's Command are.
    """
    match request:
        case messages.RequestVote():
            return messages.RequestVoteResponse(**results)
        case messages.AppendEntries():
            return messages.AppendEntriesResponse(**results)
        case _:
            assert_never(request)

"""
What one simulated server says to another, through the byte forms of the real ones.

Requests, answers and refusals become the arguments and results of AMP Commands and are
read back from them, so that a server never gets an object that another one holds, and
whatever has no byte form cannot be said. Entries, configurations and commands are bytes
in between; AMP's boxes around them are not made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hraftd import leader_requests
from hraftd.peers import client_commands
from hraftd.peers.commands import (
    arguments_of,
    read_append_entries,
    read_install_snapshot,
    read_response,
    read_timeout_now,
    results_of,
)
from hraftd.raft.configuration import Server
from hraftd.raft.messages import AppendEntries, InstallSnapshot, RequestVote, TimeoutNow

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied
    from hraftd.raft.messages import Request, Response

__all__ = [
    "carried_outcome",
    "carried_question",
    "carried_refusal",
    "carried_request",
    "carried_response",
    "size_of",
    "speaker_of",
]

#: Bytes of a message besides what it carries, about.
_OVERHEAD = 200


def carried_request(request: Request) -> Request:
    """
    Return a request of Raft as the peer reads it.
    """
    match request:
        case AppendEntries(entries=()) | RequestVote():
            # Numbers and a name: nothing to be read another way.
            return request
        case AppendEntries():
            return read_append_entries(**arguments_of(request)[1])
        case InstallSnapshot():
            return read_install_snapshot(**arguments_of(request)[1])
        case TimeoutNow():
            return read_timeout_now(**arguments_of(request)[1])


def carried_response(request: Request, response: Response) -> Response:
    """
    Return an answer to a request of Raft as the asker reads it.
    """
    return read_response(request, results_of(response))


def speaker_of(request: Request) -> str:
    """
    Return who a request of Raft says that it is from.
    """
    if isinstance(request, RequestVote):
        return request.candidate_id
    return request.leader_id


def size_of(request: Request) -> int:
    """
    Return how many bytes a request of Raft has, about.
    """
    match request:
        case AppendEntries(entries=entries):
            return _OVERHEAD + sum(
                len(entry.payload) if isinstance(entry.payload, bytes) else _OVERHEAD
                for entry in entries
            )
        case InstallSnapshot(piece=piece):
            return _OVERHEAD + len(piece.data)
        case _:
            return _OVERHEAD


_QUESTIONS: dict[type[Any], Callable[..., LeaderRequest]] = {
    client_commands.ClientRequest: leader_requests.ClientRequest,
    client_commands.ReadIndex: leader_requests.ReadIndex,
    client_commands.AddServer: lambda **server: leader_requests.AddServer(
        Server(**server)
    ),
    client_commands.RemoveServer: leader_requests.RemoveServer,
    client_commands.TransferLeadership: leader_requests.TransferLeadership,
}


def carried_question(request: LeaderRequest) -> LeaderRequest:
    """
    Return what is asked for a client as the peer reads it.
    """
    command, arguments = client_commands.asked_for(request)
    return _QUESTIONS[command](**arguments)


def carried_outcome(outcome: Applied | int) -> Applied | int:
    """
    Return what a client's request came to as the asker reads it.
    """
    return client_commands.read_outcome(client_commands.outcome_of(outcome))


def carried_refusal(error: Exception) -> Exception | None:
    """
    Return why a request was declined as the asker reads it.

    :return: ``None`` if it cannot be said: the connection is closed instead.
    """
    if not isinstance(error, client_commands.DECLINED):
        return None
    return client_commands.read_declined(client_commands.written_declined(error))

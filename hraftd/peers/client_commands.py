"""
What a server asks the leader for its own clients, as AMP Commands.

One for each class of :mod:`hraftd.leader_requests`, in both directions like those of
:mod:`hraftd.peers.commands`. They go over the same connections and are a different kind
of question. Raft's RPCs are answered at once or not at all. These may wait as long as a
client does, and the answer may be that the leader declines: such an error travels as an
AMP error with its sentence, is an exception of the same class on the other side, and
harms no connection.

Dissertation figures 4.1 and 6.1, 3.10 and 6.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from hraftd import leader_requests
from hraftd.codec import CodecError, decode_configuration, encode_configuration
from hraftd.errors import (
    LeadershipLost,
    NoSuchServer,
    Overloaded,
    Stopped,
    TransferFailed,
    UnreachableServer,
)
from hraftd.leader_requests import Assurance
from hraftd.peers.arguments import (
    MAX_PACKED,
    Count,
    DialledAddress,
    LongBytes,
    Name,
    NewServerId,
    OneOf,
)
from hraftd.peers.schema import PeerCommand
from hraftd.plain_values import PlainValue, decode_value, encode_value
from hraftd.proposals import Applied
from hraftd.raft.configuration import (
    Configuration,
    MembershipConflict,
    Server,
    Suffrage,
)
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)

if TYPE_CHECKING:
    from hraftd.leader_requests import LeaderRequest

__all__ = [
    "DECLINED",
    "MAX_COMMAND",
    "AddServer",
    "ClientRequest",
    "LeaderElsewhere",
    "ReadIndex",
    "RemoveServer",
    "TransferLeadership",
    "asked_for",
    "outcome_of",
    "read_declined",
    "read_outcome",
    "written_declined",
]

#: Bytes of a command that goes to the leader: less than what an entry may have, so that
#: Raft's RPCs have room beside it on the connection.
MAX_COMMAND = 24 << 20

#: Characters of the sentence of an error.
MAX_SENTENCE = 1000


class LeaderElsewhere(Exception):
    """
    :exc:`NotLeader` on its way; the text is a configuration of the leader, or nobody.
    """


_CODES: dict[type[Exception], bytes] = {
    LeaderElsewhere: b"NOT_LEADER",
    LeadershipLost: b"LEADERSHIP_LOST",
    Overloaded: b"OVERLOADED",
    Stopped: b"STOPPED",
    MembershipConflict: b"MEMBERSHIP_CONFLICT",
    ChangeInProgress: b"CHANGE_IN_PROGRESS",
    UnreachableServer: b"UNREACHABLE_SERVER",
    NoSuchServer: b"NO_SUCH_SERVER",
    CannotTransfer: b"CANNOT_TRANSFER",
    TransferFailed: b"TRANSFER_FAILED",
    TransferInProgress: b"TRANSFER_IN_PROGRESS",
}

#: With what a leader may decline, or say that it does not know, before it is written
#: and after it was received.
DECLINED: tuple[type[Exception], ...] = (NotLeader, *_CODES)


class ClientRequest(PeerCommand):
    """
    Dissertation figure 6.1, "ClientRequest RPC".

    The result is a plain value: the JSON text of ``null``, ``true`` or ``false``, which
    is all that the first servers could be told; and anything else, behind a byte that
    begins no JSON, as in :mod:`hraftd.plain_values`.
    """

    commandName = b"ClientRequest"
    arguments = [(b"command", LongBytes(MAX_COMMAND))]
    response = [(b"index", Count()), (b"result", LongBytes(MAX_PACKED))]
    errors = _CODES


class ReadIndex(PeerCommand):
    """
    Dissertation 6.4: the index that a read must wait for.
    """

    commandName = b"ReadIndex"
    arguments = [(b"assurance", OneOf(Assurance))]
    response = [(b"index", Count())]
    errors = _CODES


class AddServer(PeerCommand):
    """
    Dissertation figure 4.1, "AddServer RPC".
    """

    commandName = b"AddServer"
    arguments = [
        (b"id", NewServerId()),
        (b"raft", DialledAddress()),
        (b"http", DialledAddress(may_be_empty=True)),
        (b"suffrage", OneOf(Suffrage)),
    ]
    response = [(b"index", Count())]
    errors = _CODES


class RemoveServer(PeerCommand):
    """
    Dissertation figure 4.1, "RemoveServer RPC".
    """

    commandName = b"RemoveServer"
    arguments = [(b"server_id", Name())]
    response = [(b"index", Count())]
    errors = _CODES


class TransferLeadership(PeerCommand):
    """
    Dissertation 3.10: what makes a leader send TimeoutNow.
    """

    commandName = b"TransferLeadership"
    arguments = [(b"server_id", Name(optional=True))]
    response = [(b"term", Count())]
    errors = _CODES


def asked_for(request: LeaderRequest) -> tuple[type[PeerCommand], dict[str, Any]]:
    """
    Return the Command for a request, and its arguments.

    The other way round, the arguments of a Command are those of its request's class,
    and AddServer's those of its server.
    """
    match request:
        case leader_requests.ClientRequest():
            return ClientRequest, {"command": request.command}
        case leader_requests.ReadIndex():
            return ReadIndex, {"assurance": request.assurance}
        case leader_requests.AddServer(server=server):
            return AddServer, {
                "id": server.id,
                "raft": server.raft,
                "http": server.http,
                "suffrage": server.suffrage,
            }
        case leader_requests.RemoveServer():
            return RemoveServer, {"server_id": request.server_id}
        case leader_requests.TransferLeadership():
            return TransferLeadership, {"server_id": request.server_id}
        case _:
            assert_never(request)


def outcome_of(outcome: Applied | int, *, name: str = "index") -> dict[str, Any]:
    """
    Return what a request came to as the results of its Command.

    :param name: which result a number is.
    :raises LeadershipLost: if it was done and what it came to is too large to be told,
        so that nobody there can know.
    :raises TypeError: if what it came to is no plain value.
    """
    if not isinstance(outcome, Applied):
        return {name: outcome}
    try:
        result = _written_result(outcome.result)
    except CodecError as error:
        # Nobody has sent wrong bytes: it is the state machine here that is wrong.
        raise TypeError(str(error)) from error
    if len(result) > MAX_PACKED:
        raise LeadershipLost(
            f"the outcome of the command at index {outcome.index} is {len(result)} "
            "bytes long, more than one server can tell another"
        )
    return {"index": outcome.index, "result": result}


def read_outcome(results: dict[str, Any]) -> Applied | int:
    """
    Return what a request came to, from the results of its Command.

    :raises CodecError: if it cannot be read.
    """
    match results:
        case {"index": int(index), "result": bytes(result)}:
            return Applied(index, _read_result(result))
        case {"index": int(number)} | {"term": int(number)}:
            return number
        case _:
            raise CodecError(f"results that no command has: {list(results)}")


_JSON: dict[bytes, PlainValue] = {b"null": None, b"true": True, b"false": False}

#: Before a result that is not one of these.
_VALUE = b"\x01"


def _written_result(result: object) -> bytes:
    for text, value in _JSON.items():
        if result is value:
            return text
    return _VALUE + encode_value(result)


def _read_result(result: bytes) -> PlainValue:
    if result[:1] == _VALUE:
        return decode_value(result[1:])
    if result not in _JSON:
        raise CodecError("the outcome of a command is nothing that servers write")
    return _JSON[result]


def written_declined(error: Exception) -> Exception:
    """
    Return what is sent for one of the reasons for which a leader declines.
    """
    if not isinstance(error, NotLeader):
        return type(error)(_sentence(error))
    leader = (error.leader,) if error.leader is not None else ()
    return LeaderElsewhere(encode_configuration(Configuration(leader)).decode())


def read_declined(error: Exception) -> Exception:
    """
    Return the reason for which the leader declined, from what was received.

    :raises CodecError: if it cannot be read.
    """
    if not isinstance(error, LeaderElsewhere):
        return type(error)(_sentence(error))
    match decode_configuration(str(error).encode()).servers:
        case []:
            return NotLeader(None)
        case [Server() as leader]:
            return NotLeader(leader)
        case _:
            raise CodecError("more than one leader is named")


def _sentence(error: Exception) -> str:
    """
    Return the sentence of an error, fit for a line in a log.
    """
    text = str(error)[:MAX_SENTENCE]
    return "".join(letter if letter.isprintable() else "?" for letter in text)

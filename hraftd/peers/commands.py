"""
What servers say to each other: one AMP Command for each RPC box of the paper.

The ``arguments`` of a Command are the box's Arguments, its ``response`` the box's
Results; the functions at the end turn both into the classes of
:mod:`hraftd.raft.messages` and back. What comes before all of them is in
:mod:`hraftd.peers.hello`, and what a server asks the leader for its clients in
:mod:`hraftd.peers.client_commands`.

Raft figures 2 and 13; 5.2, 5.3 and 7; dissertation 3.10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from hraftd.codec import (
    decode_configuration,
    encode_configuration,
    pack_entries,
    unpack_entries,
)
from hraftd.peers.arguments import MAX_PACKED, Count, Digest, Flag, LongBytes, Name
from hraftd.peers.schema import PeerCommand
from hraftd.raft import messages
from hraftd.raft.errors import ProtocolViolation

if TYPE_CHECKING:
    from hraftd.raft.messages import Entry, Request, Response

__all__ = [
    "MAX_CONFIGURATION",
    "AppendEntries",
    "InstallSnapshot",
    "RequestVote",
    "TimeoutNow",
    "arguments_of",
    "read_append_entries",
    "read_install_snapshot",
    "read_request_vote",
    "read_response",
    "read_timeout_now",
    "results_of",
]

#: Bytes of the configuration beside a snapshot: thousands of members.
MAX_CONFIGURATION = 512 << 10


class RequestVote(PeerCommand):
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
        (b"leadership_transfer", Flag()),
    ]
    response = [(b"term", Count()), (b"vote_granted", Flag())]


class AppendEntries(PeerCommand):
    """
    Figure 2, "AppendEntries RPC", with the conflict that the end of 5.3 describes.
    """

    commandName = b"AppendEntries"
    arguments = [
        (b"term", Count()),
        (b"leader_id", Name()),
        (b"prev_log_index", Count()),
        (b"prev_log_term", Count()),
        (b"entries", LongBytes(MAX_PACKED)),
        (b"leader_commit", Count()),
    ]
    response = [
        (b"term", Count()),
        (b"success", Flag()),
        (b"conflict_term", Count()),
        (b"conflict_index", Count()),
    ]


class InstallSnapshot(PeerCommand):
    """
    Figure 13, "InstallSnapshot RPC", with the configuration of dissertation 5.1.

    A piece of the snapshot at a time; ``size`` and ``digest`` say which snapshot.
    """

    commandName = b"InstallSnapshot"
    arguments = [
        (b"term", Count()),
        (b"leader_id", Name()),
        (b"last_included_index", Count()),
        (b"last_included_term", Count()),
        (b"configuration", LongBytes(MAX_CONFIGURATION)),
        (b"size", Count()),
        (b"digest", Digest()),
        (b"offset", Count()),
        (b"data", LongBytes(MAX_PACKED)),
        (b"done", Flag()),
    ]
    response = [(b"term", Count()), (b"next_offset", Count())]


class TimeoutNow(PeerCommand):
    """
    Dissertation 3.10, "TimeoutNow request".
    """

    commandName = b"TimeoutNow"
    arguments = [(b"term", Count()), (b"leader_id", Name())]
    response = [(b"term", Count())]


def arguments_of(request: Request) -> tuple[type[PeerCommand], dict[str, Any]]:
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
                "leadership_transfer": request.leadership_transfer,
            }
        case messages.AppendEntries():
            return AppendEntries, {
                "term": request.term,
                "leader_id": request.leader_id,
                "prev_log_index": request.prev_log_index,
                "prev_log_term": request.prev_log_term,
                "entries": _packed(request.entries),
                "leader_commit": request.leader_commit,
            }
        case messages.InstallSnapshot(snapshot=snapshot, piece=piece):
            return InstallSnapshot, {
                "term": request.term,
                "leader_id": request.leader_id,
                "last_included_index": snapshot.last_index,
                "last_included_term": snapshot.last_term,
                "configuration": encode_configuration(snapshot.configuration),
                "size": snapshot.size,
                "digest": snapshot.digest,
                "offset": piece.offset,
                "data": piece.data,
                "done": request.done,
            }
        case messages.TimeoutNow():
            return TimeoutNow, {"term": request.term, "leader_id": request.leader_id}
        case _:
            assert_never(request)


class _Latest:
    """
    The entries that were written last: each follower is sent the same ones.
    """

    entries: tuple[Entry, ...] = ()
    packed = pack_entries(())


def _packed(entries: tuple[Entry, ...]) -> bytes:
    if entries is not _Latest.entries:
        _Latest.packed = pack_entries(entries)
        _Latest.entries = entries
    return _Latest.packed


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


def read_install_snapshot(
    *,
    term: int,
    leader_id: str,
    last_included_index: int,
    last_included_term: int,
    configuration: bytes,
    size: int,
    digest: bytes,
    offset: int,
    data: bytes,
    done: bool,
) -> messages.InstallSnapshot:
    """
    Return the request that these arguments of :class:`InstallSnapshot` are.

    :raises hraftd.codec.CodecError: if the configuration cannot be read.
    :raises ProtocolViolation: if there is no such snapshot. Whether the piece is one
        of it, and the one that is needed, is the receiver's question.
    """
    if not (last_included_index and last_included_term and size):
        raise ProtocolViolation(
            f"a snapshot of {size} bytes cannot end at index {last_included_index} "
            f"of term {last_included_term}"
        )
    snapshot = messages.Snapshot(
        last_included_index,
        last_included_term,
        decode_configuration(configuration),
        size,
        digest,
    )
    piece = messages.Piece(offset, data)
    return messages.InstallSnapshot(term, leader_id, snapshot, piece, done)


def read_timeout_now(**arguments: Any) -> messages.TimeoutNow:
    """
    Return the request that these arguments of :class:`TimeoutNow` are.
    """
    return messages.TimeoutNow(**arguments)


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
        case messages.InstallSnapshotResponse():
            return {"term": response.term, "next_offset": response.next_offset}
        case messages.TimeoutNowResponse():
            return {"term": response.term}
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
        case messages.InstallSnapshot():
            return messages.InstallSnapshotResponse(**results)
        case messages.TimeoutNow():
            return messages.TimeoutNowResponse(**results)
        case _:
            assert_never(request)

"""
How messages are called in a diagram: in few words, and in many.

What stands beside an arrow has to be short, so a request for a vote is ``vote in 4?``
and entries are ``+5..7``. All fields are in the tooltip.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from hraftd.leader_requests import (
    AddServer,
    ClientRequest,
    ReadIndex,
    RemoveServer,
    TransferLeadership,
)
from hraftd.proposals import Applied
from hraftd.raft.configuration import Configuration
from hraftd.raft.errors import NotLeader
from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)

if TYPE_CHECKING:
    from hraftd.raft.messages import Entry
    from hraftd.simulator.recording import Message

__all__ = [
    "Kind",
    "details",
    "is_quiet",
    "kind_of",
    "short",
    "term_of",
]


class Kind(Enum):
    """
    Kinds of messages; answers are of the kind of their question.
    """

    VOTE = "RequestVote"
    PRE_VOTE = "RequestVote, only asking (pre-vote)"
    APPEND = "AppendEntries"
    HEARTBEAT = "heartbeat (no entries)"
    SNAPSHOT = "InstallSnapshot"
    HAND_OVER = "TimeoutNow"
    FORWARDED = "a client's request, passed on"


def kind_of(message: Message) -> Kind:
    """
    Return what kind a message is of.
    """
    asked = (message.question or message).content
    match asked:
        case RequestVote(pre_vote=True):
            return Kind.PRE_VOTE
        case RequestVote():
            return Kind.VOTE
        case AppendEntries(entries=()):
            return Kind.HEARTBEAT
        case AppendEntries():
            return Kind.APPEND
        case InstallSnapshot():
            return Kind.SNAPSHOT
        case TimeoutNow():
            return Kind.HAND_OVER
        case _:
            return Kind.FORWARDED


def is_quiet(message: Message) -> bool:
    """
    Whether nothing comes of it.

    So it is with a heartbeat in an ordinary life, with a request that is passed on in
    vain, and with the answers to both.
    """
    question = message.question or message
    answer = question.answer
    if kind_of(message) is Kind.FORWARDED and answer is not None:
        return isinstance(answer.content, NotLeader)
    if not isinstance(question.content, AppendEntries) or question.arrived is None:
        return False
    return (
        not question.content.entries
        and answer is not None
        and answer.arrived is not None
        and isinstance(answer.content, AppendEntriesResponse)
        and answer.content.success
        and answer.content.term == question.content.term
        # What was held up is no ordinary life.
        and answer.arrived - question.sent < 0.1
    )


def term_of(message: Message) -> int | None:
    """
    Return the term that a message names; ``None`` for what is no message of Raft.
    """
    return getattr(message.content, "term", None)


def short(message: Message) -> str:
    """
    Return what stands beside the arrow; nothing for heartbeats.
    """
    match message.content:
        case RequestVote(term=term, pre_vote=True):
            return f"would you, in {term}?"
        case RequestVote(term=term):
            return f"vote in {term}?"
        case RequestVoteResponse(vote_granted=granted):
            return "yes" if granted else "no"
        case AppendEntries(entries=()):
            return ""
        case AppendEntries(entries=entries):
            return _entries(entries)
        case AppendEntriesResponse(success=False, conflict_index=index):
            return f"no, from {index}" if index else "no"
        case AppendEntriesResponse():
            question = message.question
            request = None if question is None else question.content
            if isinstance(request, AppendEntries) and request.entries:
                return f"has {request.entries[-1].index}"
            return ""
        case InstallSnapshot(snapshot=snapshot, piece=piece, done=done):
            if piece.offset == 0 and done:
                return f"snapshot up to {snapshot.last_index}"
            share = (piece.offset + len(piece.data)) * 100 // snapshot.size
            return f"snapshot up to {snapshot.last_index}, {share} %"
        case InstallSnapshotResponse(next_offset=offset):
            asked = None if message.question is None else message.question.content
            if isinstance(asked, InstallSnapshot) and asked.snapshot.size == offset:
                return "has all of it"
            return f"needs it from {offset} on"
        case TimeoutNow():
            return "campaign now!"
        case TimeoutNowResponse():
            return "will do"
        case ClientRequest():
            return "a write"
        case ReadIndex():
            return "read at?"
        case AddServer(server=server):
            return f"add {server.id}"
        case RemoveServer(server_id=server_id):
            return f"remove {server_id}"
        case TransferLeadership():
            return "hand over"
        case Applied(index=index):
            return f"done at {index}"
        case int(index):
            return f"at {index}"
        case Exception() as error:
            return type(error).__name__
        case other:
            return type(other).__name__


def _entries(entries: tuple[Entry, ...]) -> str:
    first, last = entries[0], entries[-1]
    text = f"+{first.index}" if first is last else f"+{first.index}..{last.index}"
    for entry in entries:
        if isinstance(entry.payload, Configuration):
            ids = " ".join(server.id for server in entry.payload.servers)
            return f"{text} members {ids}"
    return text


# Tooltips.


def details(message: Message) -> str:
    """
    Return all that is known of a message, a line for each thing.
    """
    content = message.content
    kind = type(content).__name__
    lines = [f"{kind} from {message.sender} to {message.receiver}"]
    lines.append(f"sent at {message.sent:.4f} s")
    if message.arrived is not None:
        milliseconds = (message.arrived - message.sent) * 1000
        lines[-1] += f", there {milliseconds:.1f} ms later"
    elif message.is_under_way:
        lines[-1] += ", still under way"
    else:
        lines[-1] += ", lost"
    names = [one.name for one in getattr(type(content), "__attrs_attrs__", ())]
    if names:
        lines += [f"{name}: {_field(getattr(content, name))}" for name in names]
    else:
        lines.append(_clip(str(content)))
    return "\n".join(lines)


def _field(value: Any) -> str:
    match value:
        case tuple():
            return (
                ", ".join(
                    f"{entry.index} of term {entry.term} ({_payload(entry.payload)})"
                    for entry in value[:6]
                )
                + (f" and {len(value) - 6} more" if len(value) > 6 else "")
                or "none"
            )
        case bytes():
            return f"{len(value)} bytes"
        case Enum():
            return str(value.value)
        case _ if hasattr(value, "last_index"):
            return f"up to entry {value.last_index} of term {value.last_term}"
        case _ if hasattr(value, "offset"):
            return f"{len(value.data)} bytes at {value.offset}"
        case _:
            return _clip(str(value))


def _payload(payload: object) -> str:
    match payload:
        case bytes():
            return f"{len(payload)} bytes"
        case Configuration(servers=servers):
            return "members " + " ".join(server.id for server in servers)
        case _:
            return "no-op"


def _clip(text: str, longest: int = 160) -> str:
    return text if len(text) <= longest else text[:longest] + "..."

"""
What a server asks the leader for its clients, as bytes and back.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.protocols import amp

from hraftd import errors, leader_requests
from hraftd.codec import CodecError
from hraftd.leader_requests import Assurance
from hraftd.peers.arguments import MAX_COUNT, MAX_PACKED
from hraftd.peers.boxes import MAX_BOX, PAIR_COST, QUESTION_COST
from hraftd.peers.client_commands import (
    DECLINED,
    MAX_COMMAND,
    AddServer,
    ClientRequest,
    LeaderElsewhere,
    ReadIndex,
    asked_for,
    outcome_of,
    read_declined,
    read_outcome,
    written_declined,
)
from hraftd.peers.questions import MAX_ASKED, MAX_ASKED_BYTES
from hraftd.proposals import Applied
from hraftd.raft.configuration import MembershipConflict, Server, Suffrage
from hraftd.raft.errors import (
    CannotTransfer,
    ChangeInProgress,
    NotLeader,
    TransferInProgress,
)

LEADER = Server("n3", "127.0.0.1:12003", "127.0.0.1:11003")

REQUESTS = [
    leader_requests.ClientRequest(b""),
    leader_requests.ClientRequest(b"x" * (8 << 20)),
    *[leader_requests.ReadIndex(assurance) for assurance in Assurance],
    *[
        leader_requests.AddServer(Server("n4", "node4:12000", http, suffrage))
        for http in ("", "node4:11000")
        for suffrage in Suffrage
    ],
    leader_requests.RemoveServer("n4"),
    leader_requests.TransferLeadership("n4"),
    leader_requests.TransferLeadership(None),
]


def sent(box: amp.AmpBox) -> amp.AmpBox:
    """
    Return what the other side parses.
    """
    [parsed] = amp.parseString(box.serialize())
    return parsed


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests(request_: leader_requests.LeaderRequest) -> None:
    """
    Every argument of every Command arrives as it was sent.
    """
    command, arguments = asked_for(request_)
    box = sent(command.makeArguments(dict(arguments), None))
    assert command.parseArguments(box, None) == arguments
    assert command.__name__ == type(request_).__name__


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        (REQUESTS[0], Applied(42, {"index": 42, "found": [None, True, 1.5, "ñ\n"]})),
        (REQUESTS[0], Applied(MAX_COUNT, None)),
        (REQUESTS[0], Applied(1, "x" * (8 << 20))),
        (REQUESTS[0], Applied(1, "\ud800")),
        (leader_requests.ReadIndex(Assurance.LOG), 7),
        (leader_requests.RemoveServer("n4"), MAX_COUNT),
        (leader_requests.TransferLeadership("n4"), 9),
    ],
)
def test_outcomes(
    request_: leader_requests.LeaderRequest, outcome: Applied | int
) -> None:
    """
    What a request came to arrives as it was, whatever JSON can say and however long.
    """
    command, _ = asked_for(request_)
    [(name, _), *_] = command.response
    box = command.makeResponse(outcome_of(outcome, name=name.decode()), None)
    assert read_outcome(command.parseResponse(sent(box), None)) == outcome


def test_outcome_too_large() -> None:
    """
    An outcome that no box can carry makes the answer unknown, not the write undone.
    """
    with pytest.raises(errors.LeadershipLost, match="index 7 is"):
        outcome_of(Applied(7, "x" * MAX_PACKED))


def test_largest_outcome_of_a_transaction() -> None:
    """
    All that a transaction may get fits, whatever letters it is made of: JSON would need
    six bytes for each of these.
    """
    values = ["\x00" * (1 << 20)] * 8
    outcome = Applied(7, {"succeeded": True, "results": [[each, 1] for each in values]})
    box = ClientRequest.makeResponse(outcome_of(outcome), None)
    assert read_outcome(ClientRequest.parseResponse(sent(box), None)) == outcome


def test_outcome_that_is_no_plain_value() -> None:
    """
    A state machine that returns anything else is a fault here, not a peer's.
    """
    with pytest.raises(TypeError, match="object is not a plain value"):
        outcome_of(Applied(7, [object()]))


@pytest.mark.parametrize("result", [None, True, False])
def test_outcomes_as_the_first_servers_wrote_them(result: object) -> None:
    """
    What servers could be told before is told in the same bytes: while a cluster is
    upgraded, old and new ones pass writes on to each other.
    """
    text = json.dumps(result).encode()
    assert outcome_of(Applied(7, result)) == {"index": 7, "result": text}
    assert read_outcome({"index": 7, "result": text}) == Applied(7, result)


@pytest.mark.parametrize(
    "results",
    [
        {"index": 1, "result": b""},
        {"index": 1, "result": b"\xff"},
        {"index": 1, "result": b"[" * 1_000_000},
        {"index": 1, "result": b"\x01" + b"l\0\0\0\x01" * 200_000},
        {"index": 1, "result": b"\x01"},
        {"index": 1, "result": b"\x02n"},
        {"index": 1, "result": b"9" * 100_000},
        {"index": 1, "result": b"{} {}"},
        {"result": b"{}"},
        {},
    ],
)
def test_wrong_outcomes(results: dict[str, Any]) -> None:
    """
    What is no outcome is refused, and nothing else happens, however deep it is nested.
    """
    with pytest.raises(CodecError):
        read_outcome(results)


@pytest.mark.parametrize(
    "error",
    [
        NotLeader(None),
        NotLeader(LEADER),
        NotLeader(Server("nöde", "[::1]:12000", "")),
        errors.LeadershipLost("it stepped down"),
        errors.Overloaded("too much"),
        errors.Stopped("it is stopping"),
        errors.UnreachableServer("nobody there"),
        errors.NoSuchServer("no n9"),
        errors.TransferFailed("it did not get there"),
        TransferInProgress(),
        CannotTransfer("n4 has no vote"),
        MembershipConflict("that address is taken"),
        ChangeInProgress(""),
    ],
)
def test_declined(error: Exception) -> None:
    """
    Each reason to decline arrives with its class and its sentence, or its leader.
    """
    assert isinstance(error, DECLINED)
    written = written_declined(error)
    read = read_declined(type(written)(str(written)))
    assert type(read) is type(error)
    assert str(read) == str(error)
    assert getattr(read, "leader", None) == getattr(error, "leader", None)
    for request in REQUESTS:
        command, _ = asked_for(request)
        code = command.allErrors[type(written)]
        assert command.reverseErrors[code] is type(written)
        assert type(written) not in command.fatalErrors


def test_sentence() -> None:
    """
    A sentence can neither fake a line in a log nor be too long for a box.
    """
    wild = errors.NoSuchServer("no such\n[critical] \x1b[2J" + "x" * 100_000)
    for convert in (written_declined, read_declined):
        text = str(convert(wild))
        assert text.startswith("no such?[critical] ?[2Jx")
        assert len(text) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n3",
        "[]",
        '{"servers":[1]}',
        '{"servers": []}',
        '{"servers":[{"http":"","id":"a","raft":"a:1","suffrage":"king"}]}',
        '{"servers":[{"http":"","id":"a","raft":"a:1","suffrage":"voter"},'
        '{"http":"","id":"b","raft":"b:1","suffrage":"voter"}]}',
    ],
)
def test_wrong_leader(text: str) -> None:
    """
    Anything but one leader or none, in the one form there is, is refused.
    """
    with pytest.raises(CodecError):
        read_declined(LeaderElsewhere(text))


GOOD = dict(
    map(
        asked_for,
        (
            leader_requests.ClientRequest(b"set"),
            leader_requests.ReadIndex(Assurance.MAJORITY),
            leader_requests.AddServer(Server("n4", "a:1", "a:2")),
        ),
    )
)


@pytest.mark.parametrize(
    ("command", "change"),
    [
        (ReadIndex, {b"assurance": b"none"}),
        (ReadIndex, {b"assurance": b""}),
        (ReadIndex, {b"assurance": b"\xff" * 60_000}),
        (ReadIndex, {b"assurance": b"BELIEF"}),
        (AddServer, {b"suffrage": b"king"}),
        (AddServer, {b"suffrage": b"Suffrage.VOTER"}),
        (AddServer, {b"id": b""}),
        (AddServer, {b"id": b"a/b"}),
        (AddServer, {b"id": b".."}),
        (AddServer, {b"id": b"\xff"}),
        (AddServer, {b"id": b"x" * 129}),
        (AddServer, {b"raft": b""}),
        (AddServer, {b"raft": b"nowhere"}),
        (AddServer, {b"raft": b"a:70000"}),
        (AddServer, {b"raft": b"a:1\r\nX: y"}),
        (AddServer, {b"http": b"a:0"}),
        (AddServer, {b"http": b"x" * 60_000}),
        (ClientRequest, {b"command.1": b"x"}),
    ],
)
def test_wrong_arguments(
    command: type[amp.Command], change: dict[bytes, bytes]
) -> None:
    """
    Whatever no server asks is refused where it is read.
    """
    box = command.makeArguments(dict(GOOD[command]), None)
    command.parseArguments(amp.AmpBox(box), None)
    with pytest.raises(ValueError, match=r"\w"):
        command.parseArguments(amp.AmpBox(box | change), None)


def test_what_is_unanswered_leaves_room() -> None:
    """
    With all that may be asked unanswered, a peer still reads requests for its vote.
    """
    pairs = 3 + MAX_ASKED_BYTES // amp.MAX_VALUE_LENGTH
    many = MAX_ASKED_BYTES + MAX_ASKED * (QUESTION_COST + 3 * (PAIR_COST + 64))
    one = MAX_COMMAND + QUESTION_COST + 3 * pairs * (PAIR_COST + 64)
    assert many + (PAIR_COST + 64) * pairs < MAX_BOX / 2
    assert one < MAX_BOX - (4 << 20)

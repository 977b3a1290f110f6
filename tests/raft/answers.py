"""
The answers of peers that a test plays by hand.

For tests of one :class:`~hraftd.raft.consensus.ConsensusModule` alone: what followers
say that have everything, and what they go on saying until there is nothing to ask them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from tests.raft.network import lead, save, server

if TYPE_CHECKING:
    from hraftd.raft.configuration import Configuration
    from hraftd.raft.consensus import ConsensusModule
    from hraftd.raft.messages import Call, Request, Response
    from hraftd.raft.ready import Timing


def consent(request: Request) -> Response:
    """
    Return the answer of a follower that can do what it is asked.
    """
    match request:
        case AppendEntries():
            return AppendEntriesResponse(request.term, True)
        case InstallSnapshot():
            end = request.piece.offset + len(request.piece.data)
            return InstallSnapshotResponse(request.term, end)
        case TimeoutNow():
            return TimeoutNowResponse(request.term)
    raise AssertionError(f"a leader does not ask {request}")


def accept(core: ConsensusModule, *calls: Call) -> None:
    """
    Let each of these calls be answered by a follower that can do what it is asked.
    """
    for call in calls:
        core.response_received(call, consent(call.request))


def fail(core: ConsensusModule, *calls: Call) -> None:
    """
    Let each of these calls come to nothing.
    """
    for call in calls:
        core.call_failed(call)


def converse(core: ConsensusModule, *, silent: str = "") -> None:
    """
    Let all but the silent answer, until there is nothing more to say.

    :param silent: whose calls come to nothing.
    """
    for _ in range(100):
        ready = save(core)
        if not ready.early_calls and not ready.must_save:
            return
        for call in ready.early_calls:
            (fail if call.to in silent else accept)(core, call)
    raise AssertionError("the leader never stops talking")


def beat(core: ConsensusModule) -> tuple[Call, ...]:
    """
    Let time pass at a leader until its next heartbeat; return all it sends then.
    """
    for _ in range(core.timing.heartbeat_interval):
        core.tick()
    return save(core).early_calls


def lapse(core: ConsensusModule, *, silent: str = "") -> None:
    """
    Let an election timeout pass at a leader that the others answer.
    """
    for _ in range(core.timing.election_timeout):
        core.tick()
        converse(core, silent=silent)


def leading(
    voters: str = "abc", *, silent: str = "", timing: Timing | None = None
) -> ConsensusModule:
    """
    Return a server ``a`` that leads term 2 and has committed all of its log.

    :param silent: whose calls have come to nothing since it leads.
    """
    core = server("a", voters=voters, timing=timing)
    for call in lead(core):
        (fail if call.to in silent else accept)(core, call)
    converse(core, silent=silent)
    assert core.led_term == 2
    assert core.commit_index == core.log.last_index == 2
    return core


def settled(core: ConsensusModule, configuration: Configuration) -> ConsensusModule:
    """
    Have the leader go by a configuration that its peers have accepted and know.
    """
    for one in configuration.servers:
        if core.configuration.get(one.id) != one:
            core.add_server(one)
            converse(core)
    assert core.configuration == configuration
    assert core.commit_index == core.log.last_index
    return core

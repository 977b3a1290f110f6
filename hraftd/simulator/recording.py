"""
What a diagram is drawn from: who said what to whom, and what everybody was when.

A :class:`Recording` is made of a schedule that has not begun, and listens at its parts:
at the network for messages, at the watch for what servers are, at the world for pauses.
What has no recording pays nothing for that; with one, a schedule is the same history.
Faults and deeds are in the :class:`~hraftd.simulator.trace.Transcript`, which is
opened.

What is recorded of a message is when it was sent and when its receiver looked at it.
Between the two it may have waited: for a blocked path, or for a process to go on.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from hraftd.raft.leader import Leader
from hraftd.raft.roles import Candidate, PreCandidate
from hraftd.simulator.connections import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from hraftd.raft.consensus import ConsensusModule, Role
    from hraftd.simulator.clock import Process
    from hraftd.simulator.network import Stream
    from hraftd.simulator.schedule import Schedule

__all__ = ["Interval", "Message", "Part", "Recording", "State"]


class Part(Enum):
    """
    What a server is for the others.
    """

    #: There is no process.
    DOWN = "down"
    #: It follows, and has no vote.
    NONVOTER = "without a vote"
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@frozen
class State:
    """
    A server from a moment on.
    """

    time: float
    part: Part
    term: int = 0
    commit_index: int = 0
    last_index: int = 0
    voted_for: str | None = None


@define
class Interval:
    """
    Something that lasts for a while.
    """

    began: float
    #: ``None`` if it was not over when the recording was.
    ended: float | None = None


@define(eq=False)
class Message:
    """
    One question or answer on its way.
    """

    sender: str
    receiver: str
    #: A request or response of Raft; what is asked of a leader for a client, and the
    #: outcome or refusal.
    content: object
    #: What this is an answer to.
    question: Message | None
    sent: float
    #: When its receiver looked at it; ``None`` if it never did.
    arrived: float | None = None
    #: Its answer, once that has been sent.
    answer: Message | None = None
    #: Whether it might still arrive if the recording went on.
    is_under_way: bool = False
    _stream: Stream | None = None

    def look_whether_under_way(self, now: float) -> None:
        """
        See, at the end, whether it is lost or only late.
        """
        stream, self._stream = self._stream, None
        if stream is not None and self.arrived is None:
            path = stream.path
            is_late = path.is_blocked or now <= self.sent + path.slowest
            self.is_under_way = is_late and stream.receiver.is_alive


@define(eq=False)
class Recording:
    """
    What a schedule did.
    """

    schedule: Schedule
    #: In the order in which they were sent.
    messages: list[Message] = field(factory=list)
    #: What each server was, one after the other.
    states: dict[str, list[State]] = field(factory=dict)
    pauses: dict[str, list[Interval]] = field(factory=dict)
    #: By sender and receiver, when the way from the one to the other was blocked.
    blocks: dict[tuple[str, str], list[Interval]] = field(factory=dict)
    #: What was wrong, and when, if anything was.
    violation: Exception | None = None
    violated: float | None = None
    #: The servers that run.
    cores: dict[str, ConsensusModule] = field(factory=dict)
    _questions: dict[tuple[Connection, int], Message] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        """
        Begin to listen.
        """
        schedule = self.schedule
        world, watch, network = schedule.world, schedule.watch, schedule.cluster.network
        schedule.transcript.is_open = True
        network.on_send = self._sent
        look, enter, leave = watch.look, watch.enter, watch.leave
        object_to, pause, resume = watch.object_to, world.pause, world.resume
        block, unblock = network.block, network.unblock

        def heard_look(server_id: str) -> None:
            watched = self.cores.get(server_id)
            if watched is not None:
                self._looked(watched)
            look(server_id)

        def heard_enter(core: ConsensusModule, *store: Any) -> None:
            self.cores[core.server_id] = core
            self._looked(core)
            enter(core, *store)

        def heard_leave(server_id: str) -> None:
            self.cores.pop(server_id, None)
            self._end(self.pauses.get(server_id))
            self._add(server_id, State(world.now, Part.DOWN))
            leave(server_id)

        def heard_objection(error: Exception) -> None:
            if self.violation is None:
                self.violation, self.violated = error, world.now
            object_to(error)

        def heard_pause(process: Process) -> None:
            self._begin(self.pauses.setdefault(process.name, []))
            pause(process)

        def heard_resume(process: Process, **options: bool) -> None:
            self._end(self.pauses.get(process.name))
            resume(process, **options)

        def heard_block(*way: str) -> None:
            self._begin(self.blocks.setdefault((way[0], way[1]), []))
            block(*way)

        def heard_unblock(*way: str) -> None:
            self._end(self.blocks.get((way[0], way[1])))
            unblock(*way)

        # As the watch does with the algorithm: methods are where one can listen.
        vars(watch).update(
            look=heard_look,
            enter=heard_enter,
            leave=heard_leave,
            object_to=heard_objection,
        )
        vars(world).update(pause=heard_pause, resume=heard_resume)
        vars(network).update(block=heard_block, unblock=heard_unblock)

    def _begin(self, intervals: list[Interval]) -> None:
        if not intervals or intervals[-1].ended is not None:
            intervals.append(Interval(self.schedule.world.now))

    def _end(self, intervals: list[Interval] | None) -> None:
        if intervals and intervals[-1].ended is None:
            intervals[-1].ended = self.schedule.world.now

    # Servers.

    def _looked(self, core: ConsensusModule) -> None:
        self._add(
            core.server_id,
            State(
                self.schedule.world.now,
                _part(core),
                core.current_term,
                core.commit_index,
                core.log.last_index,
                core.voted_for,
            ),
        )

    def _add(self, server_id: str, state: State) -> None:
        states = self.states.setdefault(server_id, [])
        if not states or evolve(states[-1], time=state.time) != state:
            states.append(state)

    # Messages.

    def _sent(
        self, stream: Stream, run: Callable[..., object], arguments: tuple[Any, ...]
    ) -> Callable[..., object]:
        """
        Record a message on its way.

        :param run: what its arrival does to the receiver.
        :return: what does that and records it.
        """
        connection = getattr(run, "__self__", None)
        if not isinstance(connection, Connection) or len(arguments) != 2:
            # Two servers get to know each other, or take leave.
            return run
        number, content = arguments
        ends = connection.asker.name, connection.answerer.name
        is_question = stream is connection.there
        sender, receiver = ends if is_question else ends[::-1]
        question = None if is_question else self._questions.get((connection, number))
        message = Message(
            sender,
            receiver,
            content,
            question,
            self.schedule.world.now,
            stream=stream,
        )
        self.messages.append(message)
        if is_question:
            self._questions[connection, number] = message
        elif question is not None:
            question.answer = message

        def arrived(*arguments: Any) -> object:
            if message.arrived is None:
                message.arrived = self.schedule.world.now
            return run(*arguments)

        return arrived

    def finish(self) -> None:
        """
        Take note that nothing more comes.
        """
        for message in self.messages:
            message.look_whether_under_way(self.schedule.world.now)
        self._questions.clear()


def _part(core: ConsensusModule) -> Part:
    role: Role = core.role
    if isinstance(role, Leader):
        return Part.LEADER
    if isinstance(role, Candidate):
        return Part.CANDIDATE
    if isinstance(role, PreCandidate):
        return Part.PRE_CANDIDATE
    voters = core.configuration.voters
    is_voter = any(voter.id == core.server_id for voter in voters)
    return Part.FOLLOWER if is_voter else Part.NONVOTER

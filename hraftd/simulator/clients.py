"""
Clients that write, delete and read, and remember what they were told.

Each does one thing at a time, at any server, through
:class:`~hraftd.client_requests.ClientRequests` as the HTTP API does. Values are never
used twice. Who has not been told anything for a while, or whose server has ended, goes
on under another name, for what it wanted may still happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from hraftd.forwarding import OnFollower
from hraftd.kv.commands import Delete, Set
from hraftd.reads import Consistency, ReadLevel
from hraftd.simulator.histories import Operation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from hraftd.simulator.cluster import Cluster
    from hraftd.simulator.machines import Machine, Running

__all__ = ["Clients", "Habits"]

#: Seconds for a request to reach a server, at most.
_ARRIVAL = 0.002

#: Seconds after which a client gives up; more than a server takes, unless it is paused.
_PATIENCE = 5.0


@define
class Habits:
    """
    What the clients of a world do.
    """

    count: int
    #: Seconds between two requests of one client, on average.
    pause: float
    #: How often which is done: writing, deleting, reading.
    weights: tuple[float, float, float]
    levels: Sequence[ReadLevel]
    #: Of all requests, so many are passed on by servers that do not lead.
    forwarded: float
    #: Of all clients that wait, so many do not wait for the answer.
    impatient: float
    #: Characters of each value.
    value_length: int


@define(eq=False)
class _Client:
    number: int
    names: int = 0
    under_way: Operation | None = None
    answer: Deferred[Any] | None = None
    running: Running | None = None
    #: Whom it has asked before.
    machine: Machine | None = None

    @property
    def name(self) -> str:
        return f"c{self.number}.{self.names}"


@define(eq=False)
class Clients:
    """
    The clients of one world, and its history.

    :ivar operations: everything that they ever wanted.
    """

    cluster: Cluster
    rng: Random
    keys: Sequence[str]
    habits: Habits
    operations: list[Operation] = field(factory=list)
    #: Whether they want nothing more.
    are_done: bool = False
    _clients: list[_Client] = field(factory=list)
    _moments: int = 0

    def start(self) -> None:
        """
        Let them begin.
        """
        self.cluster.on_end = self._ended
        for number in range(self.habits.count):
            client = _Client(number + 1)
            self._clients.append(client)
            self._pause(client)

    @property
    def waiting(self) -> list[Operation]:
        """
        What is not answered.
        """
        return [one.under_way for one in self._clients if one.under_way is not None]

    def _pause(self, client: _Client) -> None:
        seconds = self.rng.expovariate(1 / self.habits.pause)
        self.cluster.world.after(seconds, None, self._begin, client)

    def _moment(self) -> int:
        self._moments += 1
        return self._moments

    def _begin(self, client: _Client) -> None:
        if self.are_done:
            return
        machine = self._choose(client)
        running = None if machine is None else machine.running
        if running is None:
            self._pause(client)
            return
        client.machine = machine
        world = self.cluster.world
        operation = self._wish(client.name, self._moment())
        self.operations.append(operation)
        client.under_way, client.running = operation, running
        seconds = self.rng.uniform(0, _ARRIVAL)
        world.after(seconds, running.process, self._arrive, client, operation, running)
        patience = _PATIENCE
        if self.rng.random() < self.habits.impatient:
            patience = self.rng.uniform(0, 0.5)
        world.after(patience, None, self._give_up, client, operation)

    def _choose(self, client: _Client) -> Machine | None:
        """
        Choose whom to ask: often the same as before, often who seems to lead.
        """
        chance = self.rng.random()
        if chance < 0.4 and client.machine is not None:
            return client.machine
        leader = self.cluster.leader()
        if chance < 0.7 and leader is not None:
            return leader
        machines = self.cluster.running
        return self.rng.choice(machines) if machines else None

    def _wish(self, client: str, moment: int) -> Operation:
        key = self.rng.choice(self.keys)
        kind = self.rng.choices(range(3), self.habits.weights)[0]
        wish: Set | Delete | ReadLevel
        if kind == 0:
            value = str(len(self.operations)).ljust(self.habits.value_length, ".")
            wish = Set(((key, value),))
        elif kind == 1:
            wish = Delete(key)
        else:
            wish = self.rng.choice(self.habits.levels)
        return Operation(client, key, wish, self.cluster.world.now, moment)

    def _arrive(self, client: _Client, operation: Operation, running: Running) -> None:
        if client.under_way is not operation:
            # The connection was closed before anybody looked at it.
            return
        answer: Deferred[Any]
        if isinstance(operation.wish, ReadLevel):
            answer = running.requests.read(operation.key, Consistency(operation.wish))
        else:
            forwards = self.rng.random() < self.habits.forwarded
            on_follower = OnFollower.FORWARD if forwards else OnFollower.ERROR
            answer = running.requests.write(operation.wish, on_follower)
        client.answer = answer
        answer.addCallbacks(
            self._answered,
            self._failed,
            callbackArgs=(client, operation),
            errbackArgs=(client, operation),
        )

    def _answered(self, outcome: Any, client: _Client, operation: Operation) -> None:
        if client.under_way is not operation:
            return
        operation.outcome = outcome
        operation.returned = self.cluster.world.now
        operation.returned_as = self._moment()
        transcript = self.cluster.transcript
        transcript.seen[type(outcome).__name__] += 1
        if transcript.is_open:
            transcript.say(
                client.name,
                f"{operation.wish} of {operation.key} at "
                f"{client.running and client.running.process.name} since "
                f"{operation.invoked:.4f}: {outcome}",
            )
        self._go_on(client)

    def _failed(self, failure: Failure, client: _Client, operation: Operation) -> None:
        if client.under_way is operation:
            assert isinstance(failure.value, Exception)
            self.cluster.watch.object_to(failure.value)
            self._go_on(client)

    def _go_on(self, client: _Client) -> None:
        client.under_way = client.answer = client.running = None
        self._pause(client)

    def _give_up(self, client: _Client, operation: Operation) -> None:
        if client.under_way is not operation:
            return
        answer, running = client.answer, client.running
        self.cluster.transcript.count(
            "abandoned", client.name, f"does not wait for {operation.wish} any more"
        )
        client.names += 1
        self._go_on(client)
        if answer is not None and running is not None:
            # The server sees the connection being closed.
            self.cluster.world.after(0, running.process, answer.cancel)

    def _ended(self, running: Running) -> None:
        for client in self._clients:
            if client.running is running:
                client.names += 1
                self._go_on(client)

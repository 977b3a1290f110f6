"""
Clients that write, compare and set, delete and read, and remember what they were told.

Each does one thing at a time, at any server, through
:class:`~hraftd.client_requests.ClientRequests` as the HTTP API does. Values are never
used twice. Who has not been told anything for a while, or whose server has ended, asks
another server again, if its write has a token; else it goes on under another name, for
what it wanted may still happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from hraftd.forwarding import OnFollower
from hraftd.kv.commands import Delete, Get, Set, Transaction
from hraftd.kv.conditions import Absent, HasValue
from hraftd.kv.results import Ran
from hraftd.outcomes import Applied, Read, Unknown
from hraftd.reads import Consistency, ReadLevel
from hraftd.simulator.histories import Operation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from hraftd.simulator.cluster import Cluster
    from hraftd.simulator.lifetimes import Lifetimes
    from hraftd.simulator.machines import Machine, Running

__all__ = ["Clients", "Habits"]

#: Seconds for a request to reach a server, at most.
_ARRIVAL = 0.002

#: Seconds after which a client gives up; more than a server takes, unless it is paused.
_PATIENCE = 5.0

#: How often a write with a token is sent, at most.
_ATTEMPTS = 5


@define
class Habits:
    """
    What the clients of a world do.
    """

    count: int
    #: Seconds between two requests of one client, on average.
    pause: float
    #: How often which is done: writing, deleting, reading, comparing and setting.
    weights: tuple[float, float, float, float]
    levels: Sequence[ReadLevel]
    #: Of all requests, so many are passed on by servers that do not lead.
    forwarded: float
    #: Of all clients that wait, so many do not wait for the answer.
    impatient: float
    #: Of all writes, so many have a token and are tried again.
    with_token: float
    #: Characters of each value.
    value_length: int
    lifetimes: Lifetimes


@define(eq=False)
class _Client:
    number: int
    names: int = 0
    under_way: Operation | None = None
    #: How often it was sent, and what tells the latest time from all others.
    attempts: int = 0
    attempt: object = None
    answer: Deferred[Any] | None = None
    running: Running | None = None
    #: Whom it has asked before.
    machine: Machine | None = None
    #: By key: the value that it wrote or saw last.
    seen: dict[str, str | None] = field(factory=dict)

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
        """
        Ask for something, or again for what it has asked for.
        """
        if client.under_way is None and self.are_done:
            return
        machine = self._choose(client)
        running = None if machine is None else machine.running
        if running is None:
            self._pause(client)
            return
        client.machine, client.running = machine, running
        operation = client.under_way
        if operation is None:
            operation = self._wish(client, self._moment())
            operation.server = running.process.name
            self.operations.append(operation)
            client.under_way, client.attempts = operation, 0
        client.attempts += 1
        attempt = client.attempt = object()
        world = self.cluster.world
        seconds = self.rng.uniform(0, _ARRIVAL)
        world.after(seconds, running.process, self._arrive, client, attempt, running)
        patience = _PATIENCE
        if self.rng.random() < self.habits.impatient:
            patience = self.rng.uniform(0, 0.5)
        world.after(patience, None, self._give_up, client, attempt)

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

    def _wish(self, client: _Client, moment: int) -> Operation:
        key = self.rng.choice(self.keys)
        number = len(self.operations)
        value = str(number).ljust(self.habits.value_length, ".")
        wish: Set | Delete | Transaction | ReadLevel
        match self.rng.choices(range(4), self.habits.weights)[0]:
            case 0:
                wish = Set(((key, value),), self.habits.lifetimes.of(key))
            case 1:
                wish = Delete(key)
            case 2:
                wish = self.rng.choice(self.habits.levels)
            case _:
                seen = client.seen.get(key)
                condition = Absent(key) if seen is None else HasValue(key, seen)
                then = Set(((key, value),), self.habits.lifetimes.of(key))
                wish = Transaction((condition,), (then,), (Get(key),))
        token = None
        if (
            not isinstance(wish, ReadLevel)
            and self.rng.random() < self.habits.with_token
        ):
            token = f"token-{number}"
        return Operation(
            client.name, key, wish, self.cluster.world.now, moment, token=token
        )

    def _arrive(self, client: _Client, attempt: object, running: Running) -> None:
        operation = client.under_way
        if client.attempt is not attempt or operation is None:
            # The connection was closed before anybody looked at it.
            return
        operation.arrived = self.cluster.world.now
        answer: Deferred[Any]
        if operation.command is None:
            assert isinstance(operation.wish, ReadLevel)
            answer = running.requests.read(operation.key, Consistency(operation.wish))
        else:
            forwards = self.rng.random() < self.habits.forwarded
            on_follower = OnFollower.FORWARD if forwards else OnFollower.ERROR
            answer = running.requests.write(operation.command, on_follower)
        client.answer = answer
        answer.addCallbacks(
            self._answered,
            self._failed,
            callbackArgs=(client, attempt),
            errbackArgs=(client, attempt),
        )

    def _answered(self, outcome: Any, client: _Client, attempt: object) -> None:
        operation = client.under_way
        if client.attempt is not attempt or operation is None:
            return
        transcript = self.cluster.transcript
        transcript.seen[type(outcome).__name__] += 1
        if transcript.is_open:
            transcript.say(
                client.name,
                f"{operation.wish} of {operation.key} at "
                f"{client.running and client.running.process.name} since "
                f"{operation.invoked:.4f}: {outcome}",
            )
        operation.is_unsure = operation.is_unsure or isinstance(outcome, Unknown)
        if isinstance(outcome, Unknown) and self._tries_again(client):
            return
        if not operation.is_unsure or isinstance(outcome, Applied):
            operation.outcome = outcome
        operation.returned = self.cluster.world.now
        operation.returned_as = self._moment()
        self._learn(client, operation)
        self._go_on(client)

    def _learn(self, client: _Client, operation: Operation) -> None:
        """
        Remember what the key held last, as far as the client was told.
        """
        key = operation.key
        match operation.outcome, operation.wish:
            case Read(found=found), _:
                client.seen[key] = None if found is None else found.value
            case Applied(), Set(pairs):
                client.seen[key] = pairs[0][1]
            case Applied(), Delete():
                client.seen[key] = None
            case Applied(result=Ran(succeeded=True)), Transaction(then=(Set(pairs),)):
                client.seen[key] = pairs[0][1]
            case Applied(result=Ran(succeeded=False, results=(found,))), Transaction():
                assert not isinstance(found, bool)
                client.seen[key] = None if found is None else found.value

    def _tries_again(self, client: _Client) -> bool:
        """
        Ask again for what may or may not have happened, if that does no harm.
        """
        operation = client.under_way
        assert operation is not None
        if operation.token is None or client.attempts >= _ATTEMPTS:
            return False
        self.cluster.transcript.count(
            "asked again", client.name, f"asks again for {operation.wish}"
        )
        client.attempt = client.answer = client.running = None
        self._pause(client)
        return True

    def _failed(self, failure: Failure, client: _Client, attempt: object) -> None:
        if client.attempt is attempt:
            assert isinstance(failure.value, Exception)
            self.cluster.watch.object_to(failure.value)
            self._go_on(client)

    def _go_on(self, client: _Client) -> None:
        client.under_way = client.attempt = client.answer = client.running = None
        self._pause(client)

    def _give_up(self, client: _Client, attempt: object) -> None:
        if client.attempt is not attempt or client.under_way is None:
            return
        answer, running = client.answer, client.running
        self.cluster.transcript.count(
            "abandoned",
            client.name,
            f"does not wait for {client.under_way.wish} any more",
        )
        self._not_told(client)
        if answer is not None and running is not None:
            # The server sees the connection being closed.
            self.cluster.world.after(0, running.process, answer.cancel)

    def _not_told(self, client: _Client) -> None:
        """
        Go on without knowing what became of what it wanted.
        """
        assert client.under_way is not None
        client.under_way.is_unsure = True
        if not self._tries_again(client):
            client.names += 1
            self._go_on(client)

    def _ended(self, running: Running) -> None:
        for client in self._clients:
            if client.running is running:
                self._not_told(client)

"""
The paths between machines, and what a connection makes of them.

Servers talk over TCP, so a message is never lost alone, never comes twice and never
overtakes another one of its connection. What happens instead: it is late; its path is
blocked, in this direction or in both, and it arrives when that is over, if anybody
still listens; or its connection ends, and what is under way arrives up to some message
and not beyond. Two connections know nothing of each other: what one carried may arrive
after what was said later on the next.

Raft promises more than TCP makes it prove: to be safe also where messages are lost,
come twice, or overtake each other (Raft 2). So a path may do that too, to the requests
of Raft and their answers: :attr:`Path.loss`, :attr:`Path.duplication`,
:attr:`Path.overtaking`. What is asked for clients is never treated so; nothing but TCP
keeps a write that was forwarded from being done twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from hraftd.simulator.clock import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from hraftd.server import RaftServer
    from hraftd.simulator.clock import World
    from hraftd.simulator.connections import Connection

__all__ = ["IMachines", "Network", "Path", "Stream"]

#: Bytes in a second, besides the time of each message.
_RATE = 20 << 20

#: Seconds that a message takes at most which is overtaken by others, or comes again.
_SIDEWAYS = 0.2


@define(eq=False)
class Path:
    """
    The way from one machine to another; the way back is another one.
    """

    #: Seconds that a message takes.
    fastest: float
    slowest: float
    #: The parts of Raft's messages, from 0 to 1, that are lost, come twice, or are so
    #: late that others overtake them.
    loss: float = 0.0
    duplication: float = 0.0
    overtaking: float = 0.0
    is_blocked: bool = False
    #: What waits for the end of that, with the stream of each.
    held: list[tuple[Stream, int, Callable[..., object], tuple[Any, ...]]] = field(
        factory=list
    )

    def calm(self) -> None:
        """
        Treat all messages well.
        """
        self.loss = self.duplication = self.overtaking = 0.0


@define(eq=False)
class Stream:
    """
    One direction of a connection.
    """

    network: Network
    path: Path
    receiver: Process
    _sent: int = 0
    _arrived: int = 0
    #: When the last one sent arrives.
    _last: float = 0.0
    #: Nothing behind that one arrives any more.
    _cut: int | None = None

    def send(self, size: int, run: Callable[..., object], *arguments: Any) -> None:
        """
        Let something happen to the receiver when a message of so many bytes arrives.
        """
        run = self._show(run, arguments)
        self._sent += 1
        if self._cut is not None:
            return
        if self.path.is_blocked:
            self.path.held.append((self, size, run, arguments))
        else:
            self._carry(size, run, arguments)

    def _show(
        self, run: Callable[..., object], arguments: tuple[Any, ...]
    ) -> Callable[..., object]:
        on_send = self.network.on_send
        return run if on_send is None else on_send(self, run, arguments)

    def send_rpc(self, size: int, run: Callable[..., object], *arguments: Any) -> None:
        """
        Send a message of Raft: as :meth:`send`, where the path treats it well.
        """
        path, rng = self.path, self.network.rng
        if path.loss and rng.random() < path.loss:
            self._show(run, arguments)
        elif path.overtaking and rng.random() < path.overtaking:
            self._carry_aside(_SIDEWAYS * rng.random(), run, arguments)
        else:
            self.send(size, run, *arguments)
        if path.duplication and rng.random() < path.duplication:
            self._carry_aside(_SIDEWAYS * rng.random(), run, arguments)

    def _carry_aside(
        self, seconds: float, run: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        """
        Let a message arrive after so long, whatever arrives before or after it.
        """
        run = self._show(run, arguments)
        world = self.network.world

        def arrive() -> None:
            if self._cut is None and not self.path.is_blocked:
                run(*arguments)

        world.after(seconds, self.receiver, arrive)

    def _carry(
        self, size: int, run: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        network, path = self.network, self.path
        delay = path.fastest + (path.slowest - path.fastest) * network.rng.random()
        self._last = max(self._last, network.world.now + delay + size / _RATE)
        network.world.at(self._last, self.receiver, self._arrive, run, arguments)

    def carry_held(
        self, size: int, run: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        """
        Send what was held up.
        """
        self._carry(size, run, arguments)

    def _arrive(self, run: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._arrived += 1
        if self._cut is None or self._arrived <= self._cut:
            run(*arguments)

    def cut(self) -> None:
        """
        Lose what is under way, from some message on.
        """
        if self._cut is None:
            self._cut = self.network.rng.randint(self._arrived, self._sent)


class IMachines(Protocol):
    """
    What the network asks about machines.
    """

    def machine_at(self, address: str) -> str | None:
        """
        Return the name of the machine that has that address, if any has.
        """

    def is_up(self, machine: str) -> bool:
        """
        Whether that machine answers, if only that nobody listens.
        """

    def listening_at(self, address: str) -> tuple[Process, RaftServer] | None:
        """
        Return the process that listens there, and its server, if any does.
        """


class Network:
    """
    All paths, and all connections over them.

    :ivar connections: those that are open, in the order in which they were opened.
    :ivar on_send: told of each message; returns what its arrival does to the receiver.
    """

    on_send: (
        Callable[
            [Stream, Callable[..., object], tuple[Any, ...]], Callable[..., object]
        ]
        | None
    ) = None

    def __init__(self, world: World, rng: Random, machines: IMachines) -> None:
        """
        Begin without any trouble.
        """
        self.world = world
        self.rng = rng
        self.machines = machines
        #: Receives what is for a machine and not for a process on it.
        self.nobody = Process("")
        self.fastest, self.slowest = 0.0002, 0.002
        self.connections: dict[Connection, None] = {}
        self._paths: dict[tuple[str, str], Path] = {}

    def path(self, sender: str, receiver: str) -> Path:
        """
        Return the way from one machine to another.
        """
        path = self._paths.get((sender, receiver))
        if path is None:
            path = Path(self.fastest, self.slowest)
            self._paths[sender, receiver] = path
        return path

    def block(self, sender: str, receiver: str) -> None:
        """
        Let nothing through in that direction.
        """
        self.path(sender, receiver).is_blocked = True

    def unblock(self, sender: str, receiver: str) -> None:
        """
        Let everything through again, and what was held up now.
        """
        path = self.path(sender, receiver)
        path.is_blocked = False
        held, path.held = path.held, []
        for stream, size, run, arguments in held:
            stream.carry_held(size, run, arguments)

    def heal(self) -> None:
        """
        Let everything through, and fast.
        """
        for (sender, receiver), path in list(self._paths.items()):
            path.fastest, path.slowest = self.fastest, self.slowest
            path.calm()
            if path.is_blocked:
                self.unblock(sender, receiver)

    def refuse(self, connection: Connection) -> None:
        """
        Let a machine answer on a connection of which it knows nothing any more.
        """
        machine = connection.answerer.name
        there, back = connection.there.path, connection.back.path
        if self.machines.is_up(machine) and not (there.is_blocked or back.is_blocked):
            # Not behind what the process before has sent, which may be lost.
            self.world.after(
                there.slowest + back.slowest,
                connection.asker,
                connection.end,
                "the peer has started again",
            )

    def break_one(self) -> bool:
        """
        Let some connection end for no reason.
        """
        if not self.connections:
            return False
        connection = self.rng.choice(list(self.connections))
        connection.there.cut()
        connection.back.send(0, connection.end, "the connection was reset")
        return True

    def process_ended(self, process: Process, *, says_so: bool) -> None:
        """
        Let the connections of a process end.

        :param says_so: whether its machine tells the other ends.
        """
        for connection in list(self.connections):
            if connection.asker is process:
                connection.there.cut()
                del self.connections[connection]
            elif connection.answerer is process:
                connection.there.cut()
                if says_so:
                    connection.back.send(0, connection.end, "the peer is gone")
                else:
                    connection.back.cut()

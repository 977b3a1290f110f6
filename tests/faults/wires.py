"""
Wires between nodes, through the test: it can cut, clog, lose and slow down.

Each node tells the others, as its ``--radv``, a port of the test's, a *gate*, which
passes on to its ``--raddr``. Who calls is said by the first thing on a connection, its
Hello; so it is known of every byte from which node to which other it goes, also of the
answers, which come back on the connection of the question. For each such direction
there is a condition, and all bytes that go that way obey it:

* :class:`Clear`: they arrive.
* :class:`Slow`: they arrive later.
* :class:`Stalled`: they wait until the condition changes; so does the end of the
  connection. No byte is lost: a network that was down for less than TCP's patience.
* :class:`Lost`: they vanish, and the connections that they were on are reset when the
  condition changes, since nothing in order can come behind them.
* :class:`Torn`: the connection breaks off within one of the next pieces, mostly in the
  middle of a frame.
* :class:`Refused`: connections break off at once, and so does each new one.

A gate accepts a connection before it knows who calls, so a node never waits for the
connection itself, only for the answer to its Hello.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias, assert_never

from attrs import define, frozen
from twisted.protocols import amp

from tests.integration.node import free_port

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Iterable

__all__ = [
    "Clear",
    "Condition",
    "Direction",
    "Lost",
    "Refused",
    "Slow",
    "Stalled",
    "Torn",
    "Wires",
]

_PIECE = 64 << 10

#: Behind the last pair of a box; no name or number in a Hello contains it.
_END_OF_BOX = b"\0\0"

#: Seconds for the thread to do what it is told.
_SOON = 10.0


@frozen
class Clear:
    """
    All bytes arrive.
    """


@frozen
class Slow:
    """
    Each piece arrives so many seconds later.
    """

    seconds: float


@frozen
class Stalled:
    """
    All bytes wait.
    """


@frozen
class Lost:
    """
    All bytes vanish.
    """


@frozen
class Torn:
    """
    One piece in so many is cut short, and its connection with it.
    """

    one_in: int


@frozen
class Refused:
    """
    There are no connections.
    """


Condition: TypeAlias = Clear | Slow | Stalled | Lost | Torn | Refused
#: From which node to which other.
Direction: TypeAlias = tuple[str, str]


@define(eq=False)
class _Connection:
    """
    One connection, in two halves: from the caller to the gate, and on from there.
    """

    caller: str
    called: str
    writers: tuple[StreamWriter, StreamWriter]
    #: The directions in which bytes of it have vanished.
    holes: set[Direction]

    def reset(self) -> None:
        """
        Break off, and lose what is under way.
        """
        for writer in self.writers:
            _reset(writer)


def _reset(writer: StreamWriter) -> None:
    """
    Close a connection as a machine does that knows nothing of it.
    """
    end: socket.socket | None = writer.get_extra_info("socket")
    if end is not None:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Wires:
    """
    All gates, and the conditions between their nodes.

    They work in a thread of their own; the methods are for any other.
    """

    def __init__(self, seed: int = 0) -> None:
        """
        Begin without gates; all is clear.

        :param seed: decides where connections are torn.
        """
        self._rng = Random(seed)
        self._conditions: dict[Direction, Condition] = {}
        self._connections: set[_Connection] = set()
        #: What runs for each connection, so that none is left behind.
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        #: Pieces that met each kind of condition, to see that a test was one.
        self.met: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()

    def gate(self, name: str, port: int) -> int:
        """
        Open a gate to a node that listens on that port; return the gate's own.
        """
        own = free_port()

        async def opened(reader: StreamReader, writer: StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._serve(name, port, reader, writer)
            finally:
                self._tasks.discard(task)

        async def listen() -> None:
            self._servers.append(await asyncio.start_server(opened, "127.0.0.1", own))

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(_SOON)
        return own

    def set(self, directions: Iterable[Direction], condition: Condition) -> None:
        """
        Let bytes that go these ways meet this condition from now on.
        """
        wanted = list(directions)

        async def change() -> None:
            for direction in wanted:
                self._conditions[direction] = condition
            for connection in list(self._connections):
                self._settle(connection)
            self._changed.set()
            self._changed = asyncio.Event()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(_SOON)

    def close(self) -> None:
        """
        End all connections, and the thread.
        """

        async def end() -> None:
            for server in self._servers:
                server.close()
            for connection in list(self._connections):
                connection.reset()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(_SOON)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SOON)
        self._loop.close()

    # In the thread.

    def _condition(self, direction: Direction) -> Condition:
        return self._conditions.get(direction, Clear())

    def _settle(self, connection: _Connection) -> None:
        """
        Reset a connection that cannot go on under the conditions of now.
        """
        there = (connection.caller, connection.called)
        now = {way: self._condition(way) for way in (there, there[::-1])}
        if Refused() in now.values() or any(
            now[way] != Lost() for way in connection.holes
        ):
            connection.reset()

    async def _serve(
        self, called: str, port: int, reader: StreamReader, writer: StreamWriter
    ) -> None:
        onward: StreamWriter | None = None
        connection: _Connection | None = None
        try:
            hello = await reader.readuntil(_END_OF_BOX)
            caller = amp.parseString(hello)[0][b"sender"].decode()
            back, onward = await asyncio.open_connection("127.0.0.1", port)
            connection = _Connection(caller, called, (writer, onward), set())
            self._connections.add(connection)
            self._settle(connection)
            await asyncio.gather(
                self._carry(connection, (caller, called), reader, onward, hello),
                self._carry(connection, (called, caller), back, writer, b""),
            )
        except (OSError, asyncio.IncompleteReadError):
            # Either side is gone, as processes are that are killed.
            _reset(writer)
        finally:
            if connection is not None:
                self._connections.discard(connection)
            for each in (writer, onward):
                if each is not None:
                    each.close()

    async def _carry(
        self,
        connection: _Connection,
        direction: Direction,
        reader: StreamReader,
        writer: StreamWriter,
        data: bytes,
    ) -> None:
        """
        Pass bytes on in one direction, to the end of the connection.
        """
        while True:
            data = data or await reader.read(_PIECE)
            condition = self._condition(direction)
            while condition == Stalled() or (condition == Lost() and not data):
                self._meet(condition)
                await self._changed.wait()
                condition = self._condition(direction)
            self._meet(condition)
            if not data:
                writer.close()
                return
            match condition:
                case Clear() | Stalled():
                    pass
                case Slow(seconds):
                    await asyncio.sleep(seconds)
                case Lost():
                    connection.holes.add(direction)
                    data = b""
                case Torn(one_in):
                    if self._rng.randrange(one_in) == 0:
                        writer.write(data[: self._rng.randrange(len(data))])
                        # In order, so that the half of it arrives.
                        writer.close()
                        raise ConnectionResetError("torn")
                case Refused():
                    raise ConnectionRefusedError("refused")
                case _:
                    assert_never(condition)
            if data:
                writer.write(data)
                await writer.drain()
                data = b""

    def _meet(self, condition: Condition) -> None:
        name = type(condition).__name__
        self.met[name] = self.met.get(name, 0) + 1

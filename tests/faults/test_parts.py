"""
What the runs rely on: that wires do what they are told, that disks are small, and that
a wrong history is noticed.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from twisted.protocols import amp

from tests.linearizability import Failed, Ok, Operation, Read, Unknown, Write

from .clients import Clients
from .disks import SmallDisk, why_no_small_disk
from .run import verdict
from .wires import Clear, Lost, Refused, Slow, Stalled, Torn, Wires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = amp.AmpBox({b"_command": b"Hello", b"sender": b"a"}).serialize()
THERE, BACK = ("a", "b"), ("b", "a")


class Echo:
    """
    A server in place of node b, which answers with what it was sent.
    """

    def __init__(self) -> None:
        """
        Listen.
        """
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        #: What has arrived, on all connections.
        self.heard = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """
        Listen no more.
        """
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(
                target=self._answer, args=(connection,), daemon=True
            ).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(4096):
                self.heard += data
                connection.sendall(data)
        except OSError:
            pass
        finally:
            connection.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """
    Return a server.
    """
    with closing(Echo()) as server:
        yield server


@pytest.fixture
def wires() -> Iterator[Wires]:
    """
    Return wires that end with the test.
    """
    with closing(Wires(1)) as made:
        yield made


@pytest.fixture
def caller(wires: Wires, echo: Echo) -> Iterator[socket.socket]:
    """
    Return node a's connection to b, on which Hello was said and answered.
    """
    gate = wires.gate("b", echo.port)
    with closing(socket.create_connection(("127.0.0.1", gate), 10)) as connection:
        connection.sendall(HELLO)
        assert connection.recv(4096) == HELLO
        yield connection


def is_silent(connection: socket.socket, seconds: float = 0.2) -> bool:
    """
    Return whether nothing comes on a connection for a while, not even its end.
    """
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)
    return False


def is_over(connection: socket.socket) -> bool:
    """
    Wait for the end of a connection; whatever comes before it is read.
    """
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_clear(caller: socket.socket) -> None:
    """
    What one side sends the other gets, and the end too.
    """
    caller.sendall(b"x" * 200_000)
    got = 0
    while got < 200_000:
        got += len(caller.recv(65536))
    caller.shutdown(socket.SHUT_WR)
    assert caller.recv(1) == b""


@pytest.mark.parametrize("way", [THERE, BACK])
def test_stalled(wires: Wires, caller: socket.socket, echo: Echo, way: object) -> None:
    """
    Bytes of one direction wait, and arrive in the end; those of the other do not wait.
    """
    wires.set([way], Stalled())
    caller.sendall(b"later")
    assert is_silent(caller)
    assert echo.heard.endswith(b"later") == (way == BACK)
    wires.set([way], Clear())
    assert caller.recv(10) == b"later"
    assert wires.met["Stalled"] > 0


def test_stalled_end(wires: Wires, caller: socket.socket, echo: Echo) -> None:
    """
    The end of a connection waits like its bytes.
    """
    wires.set([THERE], Stalled())
    caller.shutdown(socket.SHUT_WR)
    assert is_silent(caller)
    wires.set([THERE], Clear())
    assert caller.recv(1) == b""


def test_lost(wires: Wires, caller: socket.socket, echo: Echo) -> None:
    """
    Bytes vanish, and with them, when all is well again, the connection.
    """
    wires.set([THERE], Lost())
    caller.sendall(b"never")
    assert is_silent(caller)
    wires.set([THERE], Clear())
    assert is_over(caller)
    assert b"never" not in echo.heard


def test_slow(wires: Wires, caller: socket.socket) -> None:
    """
    Bytes take their time.
    """
    wires.set([THERE], Slow(0.3))
    began = time.monotonic()
    caller.sendall(b"slow")
    assert caller.recv(10) == b"slow"
    assert time.monotonic() - began >= 0.3


def test_torn(wires: Wires, caller: socket.socket, echo: Echo) -> None:
    """
    A part of what was sent arrives, and no more.
    """
    wires.set([THERE], Torn(1))
    caller.sendall(b"0123456789" * 100)
    assert is_over(caller)
    heard = echo.heard.removeprefix(HELLO)
    assert (b"0123456789" * 100).startswith(heard)
    assert len(heard) < 1000


def test_refused(wires: Wires, caller: socket.socket) -> None:
    """
    Connections break off, old ones and new ones.
    """
    gate = caller.getpeername()
    wires.set([BACK], Refused())
    assert is_over(caller)
    with closing(socket.create_connection(gate, 10)) as another:
        another.sendall(HELLO)
        assert is_over(another)


@pytest.mark.skipif(why_no_small_disk() is not None, reason=str(why_no_small_disk()))
def test_small_disk(tmp_path: Path) -> None:
    """
    It is full when it was filled, has room when it was freed, and is nowhere else.
    """
    with closing(SmallDisk(tmp_path / "data", "1m")) as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "more").write_bytes(b"x" * 8192)
        disk.free()
        (disk.path / "more").write_bytes(b"x" * 8192)
        assert list((tmp_path / "data").iterdir()) == []


def written(value: str, outcome: object, began: float) -> Operation:
    """
    Return a write to a shared key.
    """
    ended = began + 1 if isinstance(outcome, Ok | Failed) else float("inf")
    return Operation("c0", "shared0", Write(value), outcome, began, ended)


class TestVerdict:
    """
    What clients were told, and what is there in the end.
    """

    @pytest.fixture
    def clients(self) -> Clients:
        """
        Return clients that were told what is true.
        """
        clients = Clients([], 1, number=0)
        clients.once = {
            "yes": ("1", Ok()),
            "no": ("2", Failed()),
            "maybe": ("3", Unknown()),
        }
        clients.history = [
            written("a", Ok(), 0.0),
            written("b", Unknown(), 2.0),
            Operation("end", "shared0", Read(), Ok("b"), 5.0, 6.0),
        ]
        return clients

    @pytest.mark.parametrize("maybe", [{}, {"maybe": "3"}])
    def test_truth(self, clients: Clients, maybe: dict[str, str]) -> None:
        """
        It is accepted, whatever became of what nobody knows.
        """
        verdict(clients, {"yes": "1", "shared0": "b", **maybe})

    @pytest.mark.parametrize(
        ("found", "said"),
        [
            ({}, "yes was answered 200 and is lost"),
            ({"yes": "0"}, "yes was answered 200 and is lost"),
            ({"yes": "1", "no": "2"}, "no was declined, and is there"),
            ({"yes": "1", "maybe": "4"}, "maybe is 4"),
        ],
    )
    def test_lies(self, clients: Clients, found: dict[str, str], said: str) -> None:
        """
        An answer that was not true is noticed.
        """
        with pytest.raises(AssertionError, match=said):
            verdict(clients, found)

    def test_declined_and_read(self, clients: Clients) -> None:
        """
        A value that was declined must not be read.
        """
        clients.history[1] = evolve(clients.history[1], outcome=Failed(), responded=3.0)
        with pytest.raises(AssertionError, match="no order explains"):
            verdict(clients, {"yes": "1"})

    def test_impossible(self, clients: Clients) -> None:
        """
        So is an answer that there is none of.
        """
        clients.impossible.append("500")
        with pytest.raises(AssertionError, match="500"):
            verdict(clients, {"yes": "1"})

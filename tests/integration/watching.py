"""
Clients that watch: one as a program would, and thousands to see what they cost.

``python -m tests.integration.watching 10000`` starts a node, lets so many watch, and
prints what the documentation states: the memory of each, what a write costs while they
watch something else, how long it takes to tell them all, and what to keep them costs.
It needs as many open files, twice: see ``ulimit -n``.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.web.streams import Event, parse

from .client import Connection
from .processes import Processes
from .waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .node import Node

__all__ = ["Crowd", "Watch"]


#: Connections that are opened at once; a listener keeps 50 waiting, and more would have
#: to try again.
_AT_ONCE = 40


class Watch:
    """
    One client that watches, of the standard library alone.
    """

    def __init__(self, port: int, path: str = "/watch", *headers: str) -> None:
        """
        Ask the node whose HTTP port this is, and wait for the headers.
        """
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        self._file = self._socket.makefile("rb")
        self.code = int(self._file.readline().split()[1])
        while self._file.readline() != b"\r\n":
            pass
        self._text = ""
        self.is_over = False
        #: The place to go on from.
        self.place: int | None = None

    def __enter__(self) -> Watch:
        """
        Do nothing more.
        """
        return self

    def __exit__(self, *error: object) -> None:
        """
        Go away.
        """
        self._file.close()
        self._socket.close()

    def next(self) -> Event | None:
        """
        Wait for the next event; ``None`` at the end of the answer.
        """
        while True:
            block, end, rest = self._text.partition("\n\n")
            if end:
                self._text = rest
                [event] = parse(block + end)
                if event.id is not None:
                    self.place = event.id
                if event.kind is not None:
                    return event
            elif self.is_over:
                return None
            else:
                self._read_chunk()

    def _read_chunk(self) -> None:
        size = int(self._file.readline(), 16)
        self._text += self._file.read(size).decode()
        assert self._file.readline() == b"\r\n"
        self.is_over = size == 0


class Crowd:
    """
    Many who watch, of whom only is known that something has come.
    """

    def __init__(self, port: int, prefix: str, count: int) -> None:
        """
        Connect all of them, and wait until each is answered.
        """
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        for number in range(count):
            one = socket.create_connection(("127.0.0.1", port), DEADLINE)
            path = prefix.format(number)
            one.sendall(
                f"GET /watch?prefix={path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
            one.setblocking(False)
            self._sockets.append(one)
            self._selector.register(one, selectors.EVENT_READ)
            if number % _AT_ONCE == _AT_ONCE - 1 or number == count - 1:
                self._await(self._sockets[-(number % _AT_ONCE) - 1 :], b"id: ")

    def await_all(self, what: bytes) -> None:
        """
        Wait until each has got this, and forget what it got.
        """
        self._await(self._sockets, what)

    def _await(self, sockets: Sequence[socket.socket], what: bytes) -> None:
        waiting = set(sockets)
        got: dict[socket.socket, bytes] = {}
        deadline = time.monotonic() + 4 * DEADLINE
        while waiting:
            assert time.monotonic() < deadline, f"{len(waiting)} wait for {what!r}"
            for key, _ in self._selector.select(1.0):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                data = one.recv(65536)
                assert data, "a connection was closed"
                got[one] = got.get(one, b"") + data
                if what in got[one]:
                    waiting.discard(one)

    def close(self) -> None:
        """
        Go away.
        """
        self._selector.close()
        for one in self._sockets:
            one.close()


def _memory(node: Node) -> int:
    """
    Return the bytes of memory that a node's process holds.
    """
    assert node.process is not None
    text = Path(f"/proc/{node.process.pid}/status").read_text("ascii")
    [line] = [line for line in text.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def _cpu(node: Node) -> float:
    """
    Return the seconds of CPU that it has used.
    """
    assert node.process is not None
    text = Path(f"/proc/{node.process.pid}/stat").read_text("ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _writes(node: Node, count: int) -> tuple[float, float]:
    """
    Write one after the other; return the seconds and those of CPU that each takes.
    """
    with contextlib.closing(Connection(node.http_port)) as connection:
        cpu, began = _cpu(node), time.monotonic()
        for number in range(count):
            assert connection.ask("PUT", f"/key/k{number}", b"x").status == 200
        return (time.monotonic() - began) / count, (_cpu(node) - cpu) / count


def measure(count: int) -> None:
    """
    Let so many watch a node, and print what it costs.
    """
    # Not on Windows, where the rest of this module works.
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard > count + 100, f"no more than {hard} files may be open; see ulimit -n"
    with tempfile.TemporaryDirectory() as directory:
        processes = Processes(Path(directory))
        try:
            _measure(processes.start("node0"), count)
        finally:
            processes.end()


def _measure(node: Node, count: int) -> None:
    until(node.leads, "it leads itself")
    _writes(node, 500)
    for seconds, cpu in (_writes(node, 2000), _writes(node, 2000)):
        print(f"a write: {seconds * 1e3:.2f} ms, {cpu * 1e3:.2f} ms of CPU")
    before = _memory(node)
    began = time.monotonic()
    crowd = Crowd(node.http_port, "other/{}/", count)
    print(f"{count} watch after {time.monotonic() - began:.1f} s")
    print(f"memory of each: {(_memory(node) - before) / count / 1024:.1f} kB")
    for seconds, cpu in (_writes(node, 2000), _writes(node, 2000)):
        print(f"a write of another key: {seconds * 1e3:.2f} ms, {cpu * 1e3:.2f} of CPU")
    cpu, began = _cpu(node), time.monotonic()
    for _ in range(2):
        crowd.await_all(b"id: ")
    passed = time.monotonic() - began
    print(f"idle: {(_cpu(node) - cpu) / passed:.1%} of a CPU")
    print(f"memory of each then: {(_memory(node) - before) / count / 1024:.1f} kB")
    crowd.close()
    crowd = Crowd(node.http_port, "shared", count)
    for _ in range(3):
        cpu, began = _cpu(node), time.monotonic()
        assert node.ask("PUT", "/key/shared", b"x").status == 200
        answered = time.monotonic() - began
        asked = time.monotonic()
        assert node.ask("GET", "/key/shared").status == 200
        read = time.monotonic() - asked
        crowd.await_all(b"event: set")
        passed = time.monotonic() - began
        print(
            f"all told after {passed:.2f} s, {_cpu(node) - cpu:.2f} of CPU; the write "
            f"was answered after {answered:.3f} s, a read meanwhile after {read:.3f} s"
        )
    crowd.close()


if __name__ == "__main__":
    measure(int(sys.argv[1]))

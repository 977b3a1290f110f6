"""
One node, as a child process.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from .client import Answer, Connection
from .installed import command, environment
from .waiting import DEADLINE, PAUSE, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["TERMINATED", "Node", "ended_with_one_line", "free_port"]

#: How a node ends that was told to: by the signal, once it has put everything in
#: order. ``twistd`` raises it again at its end, so that a shell and a supervisor see
#: what has ended the process. On Windows nothing can be told; the process just ends.
TERMINATED = 1 if sys.platform == "win32" else -signal.SIGTERM

#: Below what Linux, macOS and Windows take for outgoing connections: a port that has
#: no listener for a moment is not taken by one of those meanwhile, and a dialler
#: cannot meet itself there.
_PORTS = range(15_000, 32_000)

_taken: set[int] = set()


def free_port() -> int:
    """
    Return a port of the loopback interface on which nobody listens.
    """
    while True:
        port = random.choice(_PORTS)
        if port in _taken:
            continue
        with closing(socket.socket()) as probe:
            if sys.platform != "win32":
                # As the listener will do; on Windows it means something else.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port


@define(eq=False)
class Node:
    """
    One node: its place, its ports, and its process as long as there is one.
    """

    id: str
    #: Where its process runs; it keeps its data in ``data_dir`` there.
    directory: Path
    #: HTTP addresses given as ``--join``.
    join: Sequence[str] = ()
    #: More of the command line, before DATA_DIR.
    options: Sequence[str] = ()
    #: For preexec_fn and the like.
    popen: Mapping[str, Any] = field(factory=dict)
    environment: Mapping[str, str] = field(factory=dict)
    #: A command that runs the rest of its command line, as ``nsenter`` does.
    prefix: Sequence[str] = ()
    http_port: int = field(factory=free_port)
    raft_port: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    #: Its command line in the spelling of the test, instead of the usual one.
    spelled: Sequence[str] | None = None

    @property
    def http(self) -> str:
        """
        Where clients find it.
        """
        return f"localhost:{self.http_port}"

    @property
    def raft(self) -> str:
        """
        Where peers find it.
        """
        return f"localhost:{self.raft_port}"

    @property
    def data_dir(self) -> Path:
        """
        Where its database lives.
        """
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        """
        Everything that its processes have written, one behind the other.
        """
        return self.directory / "log"

    @property
    def log(self) -> str:
        """
        What it has logged so far.
        """
        with suppress(FileNotFoundError):
            return self.log_file.read_text("utf-8", "replace")
        return ""

    def arguments(self) -> list[str]:
        """
        Return its command line.
        """
        if self.spelled is not None:
            return list(self.spelled)
        join = ["--join", ",".join(self.join)] if self.join else []
        return [
            *self.prefix,
            command("hraftd"),
            *("--id", self.id, "--haddr", self.http, "--raddr", self.raft),
            *join,
            *self.options,
            *(() if "--inmem" in self.options else (str(self.data_dir),)),
        ]

    # Its life.

    def launch(self) -> None:
        """
        Start a process, and wait for nothing.
        """
        assert not self.is_running, f"{self.id} is running already"
        self.directory.mkdir(exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.arguments(),
                cwd=self.directory,
                env=environment(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self.popen,
            )

    def start(self) -> Node:
        """
        Start a process, and wait until it answers.
        """
        for _ in range(5):
            before = len(self.log)
            self.launch()
            if until(lambda: self.answers() or not self.is_running, f"{self.id} is up"):
                if self.answers():
                    return self
                # Another program was faster; the port of a restarted node is known
                # to others and stays.
                assert "already in use" in self.log[before:], f"{self.id} has ended"
                time.sleep(PAUSE)
        raise AssertionError(f"{self.id} finds its ports taken")

    @property
    def is_running(self) -> bool:
        """
        Whether there is a process, and it has not ended.
        """
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """
        End the process as a failing machine would: between two instructions.
        """
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """
        Let the process do nothing for a while, and know nothing of that.
        """
        if sys.platform == "win32":
            pytest.skip("needs SIGSTOP, which Windows has not")
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """
        Tell the process to stop, and wait for nothing.
        """
        assert self.process is not None
        self.process.terminate()

    def ended(self, seconds: float = DEADLINE) -> int:
        """
        Wait for the end of the process; return its status, or minus the signal.
        """
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> None:
        """
        Stop in order, and wait for the end.
        """
        self.terminate()
        assert self.ended() == TERMINATED

    # Talking to it.

    def ask(
        self, method: str, path: str, content: object = None, timeout: float = 15.0
    ) -> Answer:
        """
        Make one request, on a connection of its own.
        """
        connection = Connection(self.http_port, timeout)
        with closing(connection):
            return connection.ask(method, path, content)

    def set(self, **pairs: str) -> Answer:
        """
        Ask it to set these keys.
        """
        return self.ask("POST", "/key", pairs)

    def get(self, key: str) -> str | None:
        """
        Return its own value of a key; ``None`` if it has none, or nothing to tell yet.
        """
        answer = self.ask("GET", f"/key/{key}")
        if answer.status == 404 or b"is not a member" in answer.body:
            return None
        value: str = answer.content[key]
        return value

    def status(self) -> dict[str, Any]:
        """
        Return what it says of itself; empty if it does not answer.
        """
        try:
            content: dict[str, Any] = self.ask("GET", "/status", timeout=5).content
        except OSError:
            return {}
        return content

    def answers(self) -> bool:
        """
        Whether it is there.
        """
        return self.is_running and bool(self.status())

    def leads(self) -> bool:
        """
        Whether it is the leader, as far as it knows.
        """
        return self.status().get("role") == "leader"

    def is_voter(self) -> bool:
        """
        Whether it finds itself among the voters of a cluster that has a leader.
        """
        status = self.status()
        return bool(status.get("leader")) and any(
            member["id"] == self.id and member["suffrage"] == "voter"
            for member in status["members"]
        )

    def learns(self, key: str, value: str) -> None:
        """
        Wait until its own state has that value under that key.
        """
        until(lambda: self.get(key) == value, f"{self.id} learns {key}")


def ended_with_one_line(node: Node, log_before: str = "") -> str:
    """
    Wait for a process that cannot run to end with status 1; return what it says.
    """
    assert node.ended() == 1, node.log
    log = node.log[len(log_before) :]
    assert "Traceback" not in log, log
    [line] = [line for line in log.splitlines() if "hraftd: " in line]
    return line.partition("hraftd: ")[2]

"""
SIGTERM: the end in order, in two seconds, with everything that was answered.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import closing, suppress
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from .client import Connection
from .installed import command
from .load import Load, check_nothing_lost, read_all
from .node import TERMINATED
from .processes import leader_among
from .waiting import until

if TYPE_CHECKING:
    from .client import Answer
    from .node import Node
    from .processes import Processes

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="a process on Windows cannot be told to stop"
)

#: Seconds in which a node promises to stop.
STOP_SECONDS = 2.0


def test_leader_stopped_under_load(trio: list[Node]) -> None:
    """
    The leader stops while clients write: in time, and with all that was answered.
    """
    with Load(trio) as load:
        load.until_more(100)
        leader = leader_among(trio)
        began = time.monotonic()
        leader.terminate()
        assert leader.ended() == TERMINATED
        assert time.monotonic() - began < STOP_SECONDS
        load.until_more(100)
        leader.start()
    check_nothing_lost(load, trio)


def test_alone_and_told_twice(processes: Processes) -> None:
    """
    A cluster of one has nobody else to remember: all is on its own disk when it stops.

    An impatient operator, who says it again meanwhile, does no harm. The write-ahead
    log is part of the database then.
    """
    node = processes.start("node0")
    until(node.leads, "it leads")
    with Load([node]) as load:
        load.until_more(200)
        node.terminate()
        until(lambda: "shutting down" in node.log, "it stops")
        with suppress(ProcessLookupError):
            node.terminate()
        assert node.ended() == TERMINATED
    assert [file.name for file in node.data_dir.iterdir()] == ["hraftd.sqlite3"]
    assert "Traceback" not in node.log
    node.start()
    check_nothing_lost(load, [node])

    # Ctrl-C is the same, but for the signal.
    assert node.process is not None
    node.process.send_signal(signal.SIGINT)
    assert node.ended() == -signal.SIGINT


def test_without_a_quorum(processes: Processes) -> None:
    """
    What cannot be committed holds up the end by no more than it may, and whoever
    waits for it hears that its outcome is unknown.
    """
    nodes = processes.cluster(2)
    leader = leader_among(nodes)
    [other] = [node for node in nodes if node is not leader]
    other.kill()
    answers: list[Answer | OSError] = []
    index = leader.status()["last_log_index"]

    def wait_for_it() -> None:
        try:
            answers.append(leader.set(foo="bar"))
        except OSError as error:
            answers.append(error)

    writer = Thread(target=wait_for_it)
    writer.start()
    until(lambda: leader.status()["last_log_index"] > index or answers, "it is there")
    began = time.monotonic()
    leader.terminate()
    assert leader.ended() == TERMINATED
    assert time.monotonic() - began < STOP_SECONDS
    writer.join()
    [answer] = answers
    assert not isinstance(answer, OSError), answer
    assert answer.status in (503, 504)
    assert answer.status == 503 or answer.content["outcome"] == "unknown"


def test_clients_that_do_not_care(processes: Processes) -> None:
    """
    Idle connections, and those that never read, do not hold up the end.
    """
    node = processes.start("node0")
    until(node.leads, "it leads")
    value = "x" * 1_000_000
    assert node.set(big=value).status == 200
    idle = Connection(node.http_port)
    assert idle.ask("GET", "/status").status == 200
    with closing(socket.create_connection(("127.0.0.1", node.http_port))) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b"GET /key/big HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        began = time.monotonic()
        node.terminate()
        assert node.ended() == TERMINATED
        assert time.monotonic() - began < STOP_SECONDS
    idle.close()


def test_daemon(processes: Processes) -> None:
    """
    ``twistd`` without ``-n`` forks: the database is opened behind that, and works.

    It stops by the process id that it has left.
    """
    node = processes.prepare("node0")
    pid_file = node.directory / "pid"
    log_file = node.directory / "daemon.log"
    node.spelled = [
        command("twistd"),
        *(f"--pidfile={pid_file}", f"--logfile={log_file}", "hraftd"),
        *("--id", "node0", "--haddr", node.http, "--raddr", node.raft),
        str(node.data_dir),
    ]
    node.launch()
    # The first process ends when its child has started.
    assert node.ended() == 0, node.log
    pid = int(pid_file.read_text())
    try:
        until(lambda: node.status().get("role") == "leader", "the daemon leads itself")
        assert node.set(foo="bar").status == 200

        node.launch()
        assert node.ended() == 1, "twistd sees its pid file"
        second = processes.prepare("second", folder="second")
        second.spelled = [
            command("twistd"),
            *("--pidfile=second.pid", "--logfile=second.log", "hraftd"),
            *("--id", "node0", "--haddr", second.http, "--raddr", second.raft),
            str(node.data_dir),
        ]
        second.launch()
        assert second.ended() == 1, "the daemon's directory is in use"
        assert (
            "in use by another process" in (second.directory / "second.log").read_text()
        )
        assert not (second.directory / "second.pid").exists()
        assert node.get("foo") == "bar"
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not pid_file.exists(), "the daemon stops")
    log = log_file.read_text()
    assert "Traceback" not in log

    node.spelled = None
    until(lambda: _is_gone(pid), "its process has ended")
    node.start()
    until(lambda: read_all(node, ["foo"]) == {"foo": "bar"}, "it was on the disk")


def test_daemon_that_cannot_start(processes: Processes, trio: list[Node]) -> None:
    """
    Whoever started the daemon hears that it did not, and no pid file stays behind.
    """
    node = processes.prepare("node0")
    node.spelled = [
        command("twistd"),
        *("--pidfile=pid", "--logfile=daemon.log", "hraftd"),
        *("--id", "node0", "--haddr", trio[0].http, "--raddr", node.raft),
        str(node.data_dir),
    ]
    node.launch()
    assert node.ended() == 1
    assert "cannot listen" in node.log
    assert not (node.directory / "pid").exists()
    log = (node.directory / "daemon.log").read_text()
    assert f"127.0.0.1:{trio[0].http_port}" in log
    assert "Traceback" not in log


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False

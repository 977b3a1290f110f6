"""
``hraftd dev`` and the commands for people, as processes.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hraftd.closed_pipe import BROKEN_PIPE
from hraftd.commands.endings import FAILED, INTERRUPTED, NOT_SO, UNKNOWN, USAGE
from hraftd.dev.cluster import STOPPED

from .real import DEADLINE, ROOT, Process, command, free_base, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="needs signals, which Windows has not"
)

#: The last line of what is said when everything is there.
READY = "Ctrl-C stops it."


def pids_of(dev: Process) -> dict[str, int]:
    """
    Return the nodes' processes.
    """
    found = re.findall(r"^    (node\d)  http://\S+  process (\d+)$", dev.text, re.M)
    return {name: int(pid) for name, pid in found}


def exchange(method: str, port: int, path: str, body: str | None) -> tuple[int, str]:
    """
    Make a request, as curl would.
    """
    with closing(HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as http:
        http.request(method, path, body)
        response = http.getresponse()
        return response.status, response.read().decode()


def is_running(pid: int) -> bool:
    """
    Look whether there is such a process, other than one that waits to be looked at.
    """
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return sys.platform != "linux"


@pytest.fixture(autouse=True, scope="module")
def _ctrl_c() -> None:
    """
    Let processes hear of Ctrl-C also where a shell has the tests ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """
    Collect processes, so that none of them is left behind.
    """
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.end()


def start(started: list[Process], *arguments: str) -> Process:
    """
    Start a cluster, and wait until it is there.
    """
    dev = Process("dev", *arguments)
    started.append(dev)
    dev.says(READY)
    return dev


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Process, str]]:
    """
    Run a cluster that many tests use; give its process, and an address.
    """
    port = free_base()
    dev = Process("dev", "--port", str(port))
    try:
        dev.says(READY)
        yield dev, f"localhost:{port}"
        dev.process.terminate()
        assert dev.ended() == 0
    finally:
        dev.end()


def test_what_it_prints_can_be_typed(cluster: tuple[Process, str]) -> None:
    """
    Each command that is suggested does what one would expect.
    """
    dev, _ = cluster
    typed = re.findall(r"^    ((?:curl|\S.*hraftd) (?!--id).+)$", dev.text, re.M)
    assert len(typed) == 5
    answers = []
    for line in typed:
        # Some shells look for files that are named like a word with one of these.
        assert not set("?*[]") & set(re.sub(r'".*?"', "", line))
        name, *words = shlex.split(line)
        if name != "curl":
            done = subprocess.run(
                [name, *words],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), line
            answers.append(done.stdout)
            continue
        method = "PUT" if "-XPUT" in words else "GET"
        [url] = [word for word in words if word.startswith("localhost:")]
        host, _, path = url.partition("/")
        body = words[words.index("-d") + 1] if "-d" in words else None
        # A follower may be a moment behind.
        ask = partial(exchange, method, int(host.rpartition(":")[2]), f"/{path}", body)
        until(lambda ask=ask: ask()[0] == 200, line)
        answers.append(ask()[1])
    assert '"index"' in answers[0]
    assert answers[1].strip() == answers[2].strip() == '{"greeting": "hello"}'
    assert "greeting" in answers[3]
    assert "3 of 3 members answer" in answers[4]
    assert "leads" in answers[4]


def test_commands_as_processes(cluster: tuple[Process, str]) -> None:
    """
    Outputs, errors and statuses are those that scripts rely on.
    """
    _, address = cluster
    at = ("--endpoint", address)
    done = run("set", "from/stdin", "-", *at, given="first\nsecond\n")
    assert (done.returncode, done.stderr) == (0, "")
    done = run("get", "from/stdin", "--raw", *at)
    assert (done.returncode, done.stdout, done.stderr) == (0, "first\nsecond\n", "")
    done = run("get", "no/such", *at)
    assert (done.returncode, done.stdout) == (NOT_SO, "")
    assert done.stderr == "hraftd get: there is no key 'no/such'\n"
    done = run("get", *at)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["set", "on/full", "x"], UNKNOWN),
        (["backup", "-"], FAILED),
    ],
)
def test_an_output_that_is_full(
    cluster: tuple[Process, str], words: list[str], status: int
) -> None:
    """
    One line says so, and the status does not say of a write that nothing was changed.
    """
    _, address = cluster
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(*words, "--endpoint", address),
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode == status
    assert done.stderr.count("\n") == 1
    assert "cannot be written: No space left on device" in done.stderr


@needs_signals
@pytest.mark.parametrize(
    ("closed", "words", "status"),
    [
        ("0<&-", ["set", "k", "-"], USAGE),
        ("1>&-", ["set", "k", "x"], 0),
        ("2>&-", ["get", "no/such"], NOT_SO),
    ],
)
def test_what_was_closed_before(
    cluster: tuple[Process, str], closed: str, words: list[str], status: int
) -> None:
    """
    Without a standard input nothing is taken for an empty one; without an output
    nothing is said.
    """
    _, address = cluster
    line = shlex.join(command(*words, "--endpoint", address))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} {closed}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr


@needs_signals
def test_a_reader_that_goes_away(cluster: tuple[Process, str]) -> None:
    """
    ``hraftd list | head -1`` ends quietly.
    """
    _, address = cluster
    at = ("--endpoint", address)
    # More than fits into any pipe.
    for number in range(3):
        big = run("set", f"big/{number}", "-", *at, given="x" * 500_000)
        assert big.returncode == 0
    lister = subprocess.Popen(
        command("list", "big/", *at),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert lister.stdout is not None
    assert lister.stderr is not None
    assert lister.stdout.readline().startswith(b"KEY")
    lister.stdout.close()
    assert lister.wait(DEADLINE) == BROKEN_PIPE
    assert lister.stderr.read() == b""
    lister.stderr.close()


@needs_signals
def test_ctrl_c_ends_a_watch(
    cluster: tuple[Process, str], started: list[Process]
) -> None:
    """
    With status 0 and not a word more than the changes.
    """
    _, address = cluster
    watch = Process("watch", "seen/", "--after", "1", "--endpoint", address)
    started.append(watch)
    run("set", "seen/1", "x", "--endpoint", address)
    watch.says("set     seen/1 = x")
    watch.ctrl_c()
    assert watch.ended() == 0
    assert len(watch.lines) == 1


@needs_signals
def test_ctrl_c_leaves_a_write_in_doubt(started: list[Process]) -> None:
    """
    Where nobody has answered yet, it is said that the write may have been done.
    """
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        asked = threading.Event()

        def take() -> None:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(10)
                asked.set()
                while connection.recv(1000):
                    pass

        threading.Thread(target=take, daemon=True).start()
        address = f"localhost:{silent.getsockname()[1]}"
        write = Process("set", "a", "b", "--endpoint", address)
        started.append(write)
        assert asked.wait(DEADLINE)
        write.ctrl_c()
        assert write.ended() == INTERRUPTED
        assert write.lines == ["hraftd set: interrupted; it may or may not be done"]


# What becomes of the nodes.


@needs_signals
def test_ctrl_c(started: list[Process]) -> None:
    """
    Ctrl-C stops all nodes in order, one that was killed before or not; nothing is left.
    """
    dev = start(started, "--port", str(free_base()))
    pids = pids_of(dev)
    assert list(pids) == ["node0", "node1", "node2"]
    [directory] = re.findall(r"^The data is in (\S+) until it stops", dev.text, re.M)
    assert sorted(path.name for path in Path(directory).iterdir()) == list(pids)
    # Every line of a node says whose it is.
    assert all(re.search(rf"^{name} \| .*HTTP on", dev.text, re.M) for name in pids)
    assert "\x1b" not in dev.text
    os.kill(pids["node1"], signal.SIGKILL)
    dev.says("node1 | has ended, by signal 9")
    dev.ctrl_c()
    assert dev.ended() == 0, dev.text
    assert "Traceback" not in dev.text
    assert dev.text.count("has ended, with status 0") == 2
    assert not any(map(is_running, pids.values()))
    assert not Path(directory).exists()


@needs_signals
def test_a_second_ctrl_c(started: list[Process]) -> None:
    """
    A node that does not stop is ended by asking once more.
    """
    dev = start(started, "--port", str(free_base()), "--nodes", "2")
    pids = pids_of(dev)
    os.kill(pids["node1"], signal.SIGSTOP)
    dev.ctrl_c()
    dev.says("node0 | has ended")
    assert is_running(pids["node1"])
    asked = time.monotonic()
    dev.ctrl_c()
    assert dev.ended() == 0
    # It has not waited for the node as long as it does by itself.
    assert time.monotonic() - asked < STOPPED / 2
    assert "node1 was killed" in dev.text
    assert not is_running(pids["node1"])


@needs_signals
def test_no_orphans(started: list[Process], tmp_path: Path) -> None:
    """
    The nodes stop even if who started them is killed, and says nothing to them.
    """
    where = ("--port", str(free_base()), "--data-dir", str(tmp_path / "data"))
    dev = start(started, *where, "--nodes", "2")
    pids = pids_of(dev)
    assert len(pids) == 2
    dev.process.kill()
    until(lambda: not any(map(is_running, pids.values())), "all have ended")


@needs_signals
def test_a_reader_of_the_logs_that_goes_away() -> None:
    """
    ``hraftd dev | head`` stops the nodes too, once there is something to say.
    """
    dev = subprocess.Popen(
        command("dev", "--port", str(free_base()), "--nodes", "2"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert dev.stdout is not None
    assert dev.stderr is not None
    seen = ""
    while READY not in seen:
        line = dev.stdout.readline().decode()
        assert line, seen
        seen += line
    dev.stdout.close()
    first, second = map(int, re.findall(r"process (\d+)$", seen, re.M))
    os.kill(second, signal.SIGKILL)
    assert dev.wait(DEADLINE) == BROKEN_PIPE
    assert not is_running(first)
    assert dev.stderr.read() == b""
    dev.stderr.close()


@needs_signals
def test_data_that_is_kept(started: list[Process], tmp_path: Path) -> None:
    """
    The next start goes on where this one has stopped. What is printed has the whole
    path: typed in another directory, a command would begin another cluster.
    """
    port = free_base()
    at = ("--endpoint", f"localhost:{port}")
    directory = tmp_path.resolve() / "kept"
    kept = ("--data-dir", os.path.relpath(directory, ROOT), "--nodes", "1")
    for word in ("first", "second"):
        dev = start(started, "--port", str(port), *kept)
        assert re.search(rf"^    \S.*hraftd --id node0 .* {directory}", dev.text, re.M)
        if word == "second":
            assert run("get", "first", *at).stdout == "x\n"
        assert run("set", word, "x", *at).returncode == 0
        dev.ctrl_c()
        assert dev.ended() == 0
        assert f"the data is kept in {directory}" in dev.text


def test_a_port_that_is_taken() -> None:
    """
    It is said in one line which, and nothing was started.
    """
    port = free_base()
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", port + 1002))
        listener.listen()
        done = run("dev", "--port", str(port))
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert done.stderr == (
        f"hraftd dev: port {port + 1002} is taken; stop what listens there, or take "
        "--free-ports or another --port\n"
    )


@needs_signals
def test_a_node_that_cannot_start(started: list[Process], tmp_path: Path) -> None:
    """
    If one ends before there is a cluster, all stop, and its last line says why.
    """
    port = free_base()
    dev = start(
        started,
        *("--port", str(port), "--data-dir", str(tmp_path / "data"), "--nodes", "2"),
    )
    dev.ctrl_c()
    dev.ended()
    [database] = (tmp_path / "data" / "node1").glob("hraftd.sqlite3")
    database.write_bytes(b"x" * 8192)
    dev = Process("dev", "--data-dir", str(tmp_path / "data"))
    started.append(dev)
    assert dev.ended() == FAILED
    assert re.search(r"^node1 \| .*hraftd: .*hraftd.sqlite3", dev.text, re.M), dev.text
    assert "hraftd dev: node1 has ended; its last lines above say why" in dev.text
    assert dev.text.count("has ended, with status") == 2

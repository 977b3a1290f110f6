"""
Watching real nodes, as curl and a program do it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.web.streams import parse

from .node import TERMINATED
from .processes import leader_among, write
from .waiting import DEADLINE, until
from .watching import Crowd, Watch

if TYPE_CHECKING:
    from .node import Node
    from .processes import Processes


def test_a_watch_outlives_nodes(processes: Processes) -> None:
    """
    A client that goes on at another node with the place that it has misses nothing.

    Its node is killed, others elect; and the one that is back tells all that it has
    learned meanwhile, though it was not there.
    """
    nodes = processes.cluster(3)
    leader = leader_among(nodes)
    [first, second] = [node for node in nodes if node is not leader]
    values = []
    with Watch(first.http_port, "/watch?prefix=a") as watch:
        for number in range(5):
            write(nodes, a=str(number), b="x")
            event = watch.next()
            assert event is not None
            values.append(event.change)
        place = watch.place
        first.kill()
        with pytest.raises((ConnectionError, ValueError)):
            watch.next()
    write([leader, second], a="5")
    leader.kill()
    first.start()
    write([first, second], a="6")
    for node in (first, second):
        until(lambda node=node: node.get("a") == "6", "it has learned")
        with Watch(node.http_port, f"/watch?prefix=a&after={place}") as watch:
            got = [watch.next(), watch.next()]
            assert [one.change for one in got] == [("set", "a", "5"), ("set", "a", "6")]
    assert values == [("set", "a", str(number)) for number in range(5)]
    for node in (first, second):
        assert "Traceback" not in node.log


def test_curl(processes: Processes) -> None:
    """
    ``curl -N`` shows what is set, and ends well when the node is stopped.
    """
    node = processes.start("node0")
    until(node.leads, "it leads itself")
    curl = subprocess.Popen(
        ["curl", "-sSN", f"http://{node.http}/watch?prefix=a/"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with curl:
        assert curl.stdout is not None
        first = curl.stdout.readline() + curl.stdout.readline()
        [begin] = parse(first.decode())
        assert begin.kind is None
        assert node.set(**{"a/1": "é", "b": "x", "a/2": "y"}).status == 200
        assert node.ask("DELETE", "/key/a/1").status == 200
        node.terminate()
        rest, _ = curl.communicate(timeout=DEADLINE)
        assert curl.returncode == 0, rest
    assert node.ended() == TERMINATED
    events = [event for event in parse(rest.decode()) if event.kind is not None]
    assert [event.change for event in events] == [
        ("set", "a/1", "é"),
        ("set", "a/2", "y"),
        ("delete", "a/1", None),
    ]
    assert "Traceback" not in node.log


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_crowd(processes: Processes) -> None:
    """
    Hundreds watch one key and are all told; nothing of them is left when they are gone.
    """
    node = processes.start("node0")
    until(node.leads, "it leads itself")
    before = open_files(node)
    with closing(Crowd(node.http_port, "a", 300)) as crowd:
        # The connection that has asked who leads may have been one of those before.
        assert open_files(node) >= before - 1 + 300
        for number in range(3):
            assert node.set(a=str(number)).status == 200
            crowd.await_all(b'"value": "%d"' % number)
    until(lambda: open_files(node) <= before, "all connections are closed")
    assert node.set(a="x").status == 200
    assert "Traceback" not in node.log


def open_files(node: Node) -> int:
    """
    Return how many files and connections its process has open.
    """
    assert node.process is not None
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))

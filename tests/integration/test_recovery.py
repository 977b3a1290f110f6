"""
An operator's way back: a majority that is lost for good, and addresses that all change.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

from .installed import command, environment
from .node import free_port
from .processes import leader_among, write
from .waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .node import Node
    from .processes import Processes


def members_file(directory: Path, nodes: Sequence[Node]) -> Path:
    """
    Write down that these nodes are the members, where they are now.
    """
    file = directory / "members.json"
    file.write_text(
        json.dumps(
            [{"id": node.id, "raft": node.raft, "http": node.http} for node in nodes]
        ),
        "utf-8",
    )
    return file


def recover(
    node: Node, members: Path, *options: str, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """
    Run ``hraftd recover`` on a node, and type something.
    """
    return subprocess.run(
        [command("hraftd"), "recover", *options, str(node.data_dir), str(members)],
        input=typed,
        capture_output=True,
        text=True,
        env=environment({}),
        timeout=DEADLINE,
        check=False,
    )


def recovered(node: Node, members: Path) -> None:
    """
    Recover a node as an operator does who is sure.
    """
    done = recover(node, members, typed="yes\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_majority_lost(processes: Processes, tmp_path: Path) -> None:
    """
    Two nodes of three are lost with their disks. The third, recovered, goes on alone
    with all that was answered, and others may join it.
    """
    nodes = processes.cluster(3)
    for number in range(20):
        write(nodes, **{f"key{number}": str(number)})
    left, *lost = sorted(nodes, key=lambda node: node is leader_among(nodes))
    left.learns("key19", "19")
    for node in lost:
        node.kill()
        shutil.rmtree(node.data_dir)
    members = members_file(tmp_path, [left])

    running = recover(left, members, "--yes")
    assert running.returncode == 1
    assert running.stderr.startswith("hraftd recover: ")
    assert running.stderr.endswith(
        "is in use by another process; stop the node first\n"
    )
    assert left.set(more="1").status != 200

    left.stop()
    recovered(left, members)
    left.start()
    until(left.leads, "it leads itself")
    assert {left.get(f"key{number}") for number in range(20)} == set(
        map(str, range(20))
    )
    write([left], after="1")

    fresh = processes.start("node9", join=[left.http])
    until(fresh.is_voter, "another one is a member")
    fresh.learns("key0", "0")
    write([left, fresh], both="1")
    fresh.learns("both", "1")
    assert "Traceback" not in left.log + fresh.log


def test_all_addresses_changed(processes: Processes, tmp_path: Path) -> None:
    """
    All nodes stop and come back elsewhere. Recovered from one file, they are a cluster
    again, whatever each of them had, and go on with all that was answered.
    """
    nodes = processes.cluster(3)
    write(nodes, early="1")
    for node in nodes:
        node.learns("early", "1")
    behind = next(node for node in nodes if node is not leader_among(nodes))
    behind.stop()
    others = [node for node in nodes if node is not behind]
    write(others, late="1")
    for node in others:
        node.terminate()
    for node in others:
        node.ended()
    for node in nodes:
        node.http_port, node.raft_port = free_port(), free_port()
        # What they joined through is not there any more, either.
        node.join = ()
    members = members_file(tmp_path, nodes)
    for node in nodes:
        recovered(node, members)
    for node in nodes:
        node.launch()
    leader_among(nodes)
    for node in nodes:
        node.learns("early", "1")
        node.learns("late", "1")
    write(nodes, after="1")
    for node in nodes:
        node.learns("after", "1")
        assert "Traceback" not in node.log

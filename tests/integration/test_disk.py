"""
A disk that takes no more.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from socket import create_connection
from typing import TYPE_CHECKING

import pytest

from .load import Load, check_nothing_lost
from .node import ended_with_one_line
from .waiting import until

if TYPE_CHECKING:
    from .processes import Processes

#: Bytes that a file may have. A node needs less to start, and its log file less.
FILE_LIMIT = 600_000


def _limit_files() -> None:
    """
    Let writes beyond the limit fail, as on a full disk; runs in the child process.
    """
    import resource
    import signal

    # Python ignores the signal as well; what is left is the error.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))


pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no limit on the size of files"
)


def test_full_disk(processes: Processes) -> None:
    """
    The first failed write ends the process, with one clear line and status 1.

    Who waits for a write hears that its outcome is unknown; with room again, all that
    was answered is there (RaftKeeper 287, rostam 94, arcadedb 5345).
    """
    node = processes.prepare("node0", popen={"preexec_fn": _limit_files})
    node.start()
    until(node.leads, "it leads")
    with Load([node], value_bytes=10_000) as load:
        until(lambda: not node.is_running, "the disk is full")
    said = ended_with_one_line(node)
    assert str(node.data_dir / "hraftd.sqlite3") in said
    assert "could not be written" in said
    assert load.answered
    assert 504 in load.tried.values(), "who waited was told"
    assert set(load.tried.values()) <= {200, 503, 504, None}

    node.popen = {}
    node.start()
    check_nothing_lost(load, [node])
    assert node.set(room="again").status == 200


def test_full_disk_of_a_follower(processes: Processes) -> None:
    """
    A follower whose disk is full ends too; the others go on, and it catches up when
    there is room again.
    """
    node0 = processes.start("node0")
    others = [
        processes.start("node1", join=[node0.http]),
        processes.start("node2", join=[node0.http], popen={"preexec_fn": _limit_files}),
    ]
    nodes = [node0, *others]
    for node in others:
        until(node.is_voter, f"{node.id} is a member")
    with Load(nodes[:2], value_bytes=10_000) as load:
        until(lambda: not nodes[2].is_running, "the follower's disk is full")
        load.until_more(20)
    assert "could not be written" in ended_with_one_line(nodes[2])
    nodes[2].popen = {}
    nodes[2].start()
    check_nothing_lost(load, nodes)


def test_no_descriptors_left(processes: Processes) -> None:
    """
    More clients than file descriptors: the node outlives them, and serves again.
    """

    def limit() -> None:
        """
        Allow few descriptors; runs in the child process.
        """
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    node = processes.prepare("node0", popen={"preexec_fn": limit})
    node.start()
    until(node.leads, "it leads")
    assert node.set(foo="1").status == 200
    with ExitStack() as crowd:
        for _ in range(100):
            crowd.enter_context(
                closing(create_connection(("127.0.0.1", node.http_port), 5))
            )
        until(lambda: "EMFILE" in node.log, "there are too many")
    until(node.answers, "it serves again")
    assert node.set(foo="2").status == 200
    assert len(node.log) < 100_000, "and has not filled the disk with its complaints"

"""
Snapshots between processes: the log stays short, and who was away is sent one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from .load import Load, check_nothing_lost
from .processes import leader_among, write
from .waiting import until

if TYPE_CHECKING:
    from .node import Node
    from .processes import Processes

#: Small enough for a test to go past it in a second.
SHORT_LOG = ("--snapshot-threshold", "200", "--snapshot-trailing", "50")


def _compacted_past(node: Node, index: int) -> bool:
    return bool(node.status()["first_log_index"] > index + 1)


def test_follower_comes_back_by_snapshot(processes: Processes) -> None:
    """
    A follower is killed until the leader has compacted past all that it has; it comes
    back by the snapshot while writes go on, and no answered write is missing anywhere.
    """
    nodes = processes.cluster(3, options=SHORT_LOG)
    leader = leader_among(nodes)
    away = next(node for node in nodes if node is not leader)
    with Load(nodes) as load:
        load.until_more(100)
        last = away.status()["last_log_index"]
        away.kill()
        until(lambda: _compacted_past(leader, last), "the leader has compacted")
        before = len(away.log)
        away.start()
        until(
            lambda: "restored the leader's snapshot" in away.log[before:],
            "the snapshot is restored",
        )
        load.until_more(200)
    check_nothing_lost(load, nodes)


def test_stopped_follower_comes_back_by_snapshot(processes: Processes) -> None:
    """
    The same with a follower that stands still (SIGSTOP) and goes on as if nothing was.
    """
    nodes = processes.cluster(3, options=SHORT_LOG)
    leader = leader_among(nodes)
    away = next(node for node in nodes if node is not leader)
    with Load([node for node in nodes if node is not away]) as load:
        load.until_more(100)
        last = away.status()["last_log_index"]
        with away.standing_still():
            until(lambda: _compacted_past(leader, last), "the leader has compacted")
        until(
            lambda: "restored the leader's snapshot" in away.log,
            "the snapshot is restored",
        )
        load.until_more(200)
    check_nothing_lost(load, nodes)


def test_receiver_killed_in_mid_transfer(processes: Processes) -> None:
    """
    A newcomer dies while it is sent a large snapshot, and is sent it again when it is
    back (LogCabin 174: it failed for ever).
    """
    first = processes.start("node0", options=SHORT_LOG)
    value = "v" * 100_000
    for number in range(120):
        write([first], **{f"large{number}": value})
    assert first.ask("POST", "/snapshot").status == 200
    newcomer = processes.prepare("node1", join=[first.http], options=SHORT_LOG)
    newcomer.launch()
    database = newcomer.data_dir / "hraftd.sqlite3-wal"
    until(
        lambda: database.exists() and database.stat().st_size > 1 << 20,
        "pieces have come in",
    )
    newcomer.kill()
    newcomer.start()
    until(newcomer.is_voter, "node1 is a voter")
    newcomer.learns("large119", value)
    assert newcomer.status()["keys"] == 120


def test_killed_while_taking_one(processes: Processes) -> None:
    """
    A node that takes a snapshot after every few writes dies, again and again, and has
    everything that it had answered each time it is back.
    """
    node = processes.start(
        "node0", options=("--snapshot-threshold", "5", "--snapshot-trailing", "1")
    )
    for _ in range(5):
        with Load([node], writers=8, value_bytes=2000) as load:
            load.until_more(150)
            node.kill()
            load.stop()
        node.start()
        check_nothing_lost(load, [node])


def test_disk_and_log_stay_small(processes: Processes) -> None:
    """
    However often a few keys are written, the log on disk holds no more entries than the
    threshold, those that trail, and what came in while a snapshot was taken.
    """
    node = processes.start("node0", options=SHORT_LOG)
    with Load([node], writers=8) as load:
        load.until_more(3000)
    status = node.status()
    assert status["snapshot_index"] > 2000
    assert status["last_log_index"] - status["first_log_index"] < 1000
    node.stop()
    with closing(sqlite3.connect(node.data_dir / "hraftd.sqlite3")) as database:
        [(rows,)] = database.execute("SELECT count(*) FROM log")
    assert rows < 1000
    node.start()
    check_nothing_lost(load, [node])


def test_snapshot_on_request(trio: list[Node]) -> None:
    """
    ``POST /snapshot`` takes one at the node that is asked; again, without a write in
    between, there is nothing to do.
    """
    write(trio, on="request")
    for node in trio:
        node.learns("on", "request")
        first = node.ask("POST", "/snapshot")
        assert first.status == 200
        assert first.content["index"] <= node.status()["last_applied"]
        assert node.status()["snapshot_index"] >= first.content["index"]

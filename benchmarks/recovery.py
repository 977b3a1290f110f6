"""
How long a node takes that is started with a long log.

The log is written with hraftd's own storage, as a node that never took a snapshot would
have left it: a million clients' worth of requests would take minutes, and would not be
another log. The node is alone in its cluster, so what is timed is the process, and no
election that others would vote in.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.asking import ask, until
from benchmarks.measurements import MIB, Figures, Measurement, Trial
from benchmarks.requests import key_name, value_of
from benchmarks.systems.hraftd import HraftdCluster
from hraftd.database import Database
from hraftd.kv.commands import Set, encode_command
from hraftd.raft.configuration import Configuration, Server
from hraftd.raft.messages import Entry, HardState, NoOp

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.systems.cluster import System

__all__ = ["Recovery", "write_log"]

_BATCH = 1000


def write_log(data_dir: Path, me: Server, entries: int) -> None:
    """
    Make the data directory of a node that is alone and has that many writes behind it.

    Each sets another key, to 100 bytes.
    """
    database = Database(data_dir, me.id)
    database.open()
    try:
        database.write(
            HardState(1, me.id),
            [Entry(1, 1, Configuration((me,))), Entry(2, 1, NoOp())],
            str(uuid.uuid4()),
        )
        value = value_of(100)
        for first in range(0, entries, _BATCH):
            batch = [
                Entry(
                    3 + number,
                    1,
                    encode_command(Set(((key_name(number), value),))),
                )
                for number in range(first, min(first + _BATCH, entries))
            ]
            database.write(None, batch, None)
    finally:
        database.close()


@frozen
class Recovery(Measurement):
    """
    Start a node with so many entries, and wait until it says that it is ready.
    """

    entries: int = 1_000_000

    def measure(self, system: System, trial: Trial) -> Figures:
        """
        Return the seconds from the start of the process, and its memory then.
        """
        entries = trial.bounded(self.entries)
        with trial.own_folder() as folder, HraftdCluster(folder) as cluster:
            node = cluster.prepare()
            me = Server(
                node.name,
                f"localhost:{cluster.raft[0]}",
                f"localhost:{node.http}",
            )
            write_log(node.child.folder / "data", me, entries)
            start = time.monotonic()
            node.child.start()
            until(
                lambda: ask(node.http, "GET", "/readyz"),
                f"{node.name} with {entries} entries",
                300,
                0.01,
            )
            taken = time.monotonic() - start
            keys = ask(node.http, "GET", "/status")["keys"]
            if keys != entries:
                raise ValueError(f"{keys} keys after {entries} entries")
            [rss] = cluster.rss_bytes()
        return {"recovery_s": taken, "entries": entries, "ready_mb": rss / MIB}

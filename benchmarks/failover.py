"""
How long writes are impossible when the leader's machine is gone.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.asking import Unanswered, ask_raw
from benchmarks.measurements import Figures, Measurement, Trial
from benchmarks.requests import Kind, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.systems.cluster import Cluster, Node, System

__all__ = ["Failover"]

#: Seconds for which an attempt waits. Whoever is asked may wait for a new leader, too.
_PATIENCE = 1.0
_PAUSE = 0.002
_GIVE_UP = 60.0


def first_write(nodes: Sequence[Node], request: bytes) -> float:
    """
    Ask all of these nodes again and again, until one of them has written.

    :return: the time of that, by :func:`time.monotonic`.
    :raises TimeoutError: if none does.
    """
    times: list[float] = []
    written = threading.Event()
    end = time.monotonic() + _GIVE_UP

    def try_at(node: Node) -> None:
        while not written.is_set() and time.monotonic() < end:
            try:
                ask_raw(node.http, request, _PATIENCE)
            except Unanswered:
                time.sleep(_PAUSE)
            else:
                times.append(time.monotonic())
                written.set()

    threads = [threading.Thread(target=try_at, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not times:
        raise TimeoutError(f"no write succeeded within {_GIVE_UP:g} s")
    return min(times)


@frozen
class Failover(Measurement):
    """
    Kill the leader, wait for a write elsewhere, start it again; several times.
    """

    times: int = 5

    def measure(self, system: System, trial: Trial) -> Figures:
        """
        Return the seconds of each time.
        """
        request = system.request(Kind.WRITE, value_of(100))
        assert request is not None
        with self.setting.cluster(system, trial) as cluster:
            taken = [
                self._once(cluster, request.pattern().with_keys([number]))
                for number in range(self.times)
            ]
        return {"failover_s": taken}

    def _once(self, cluster: Cluster, request: bytes) -> float:
        leader = cluster.until_led()
        others = [node for node in cluster.nodes if node is not leader]
        # All of them follow: it is one of these that takes over.
        first_write([leader], request)
        leader.child.kill()
        start = time.monotonic()
        taken = first_write(others, request) - start
        leader.child.start()
        cluster.until_led()
        return taken

"""
A load by wrk on the leader of a cluster: most of what is measured.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.measurements import MIB, Figures, Measurement, Trial
from benchmarks.requests import Kind, Pattern, value_of
from benchmarks.wrk import run_wrk

if TYPE_CHECKING:
    from benchmarks.systems.cluster import System

__all__ = ["Load"]

#: Of a load's seconds, before anything counts: connections are made, code is warm.
_WARM_UP = 0.2


@frozen
class Load(Measurement):
    """
    Requests of one or two kinds on so many connections.
    """

    connections: int
    #: Sent in turn.
    kinds: tuple[Kind, ...] = (Kind.WRITE,)
    keys_per_body: int = 1

    def patterns(self, system: System) -> list[Pattern]:
        """
        Return what is sent in turn.
        """
        value = value_of(self.setting.value_bytes)
        requests = [
            system.request(kind, value)
            if self.keys_per_body == 1
            else system.body_of_many(value)
            for kind in self.kinds
        ]
        return [
            request.pattern(self.keys_per_body)
            for request in requests
            if request is not None
        ]

    def measure(self, system: System, trial: Trial) -> Figures:
        """
        Load a new cluster for the trial's seconds.
        """
        patterns = self.patterns(system)
        keys = trial.bounded(self.setting.keys)
        with self.setting.cluster(system, trial) as cluster:
            filled = max(cluster.rss_bytes())
            leader = cluster.until_led()
            term = cluster.term()
            warm_up = max(1, trial.seconds * _WARM_UP)
            run_wrk(leader.http, self.connections, warm_up, keys, patterns)
            cpu, start = cluster.cpu_seconds(), time.monotonic()
            result = run_wrk(
                leader.http, self.connections, trial.seconds, keys, patterns
            )
            cpu, elapsed = cluster.cpu_seconds() - cpu, time.monotonic() - start
            term_after = cluster.term()
            return {
                "keys": keys,
                "rate": result.rate,
                "keys_per_second": result.rate * self.keys_per_body,
                "p50_ms": result.p50_us / 1000,
                "p99_ms": result.p99_us / 1000,
                "max_ms": result.max_us / 1000,
                "good": result.good,
                "bad": result.bad,
                "socket_errors": result.socket_errors,
                "timeouts": result.timeouts,
                "cpu_us": cpu / result.good * 1e6 if result.good else None,
                "cores": cpu / elapsed,
                "filled_mb": filled / MIB,
                "rss_mb": [rss / MIB for rss in cluster.rss_bytes()],
                "elections": None if term is None else (term_after or 0) - term,
            }

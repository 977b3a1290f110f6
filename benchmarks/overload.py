"""
More than a cluster can do: what is refused, what waits, and what grows.

Three phases on one cluster, one after the other:

- *crowd*: two thousand connections write as fast as they are answered;
- *deaf follower*: so do they while one follower, stopped by SIGSTOP, reads nothing of
  what the leader sends it;
- *no majority*: so do they while both followers are stopped, so that nothing can be
  committed and everything piles up.

After each the followers go on, and it is timed how long it takes until a write is
answered again. Memory is that of the leader, about four times a second.
"""

from __future__ import annotations

import time
from math import ceil
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.asking import ask_raw, until
from benchmarks.connections import Outcome, press
from benchmarks.measurements import MIB, Figures, Measurement, Trial
from benchmarks.requests import Kind, Pattern, value_of

if TYPE_CHECKING:
    from benchmarks.systems.cluster import Cluster, System

__all__ = ["PHASES", "Overload", "summary"]

#: Each with how many followers stand still meanwhile.
PHASES = {"crowd": 0, "deaf follower": 1, "no majority": 2}


def _percentile_ms(seconds: tuple[float, ...], percent: int) -> float | None:
    """
    Return the time within which that part of the answers had come.
    """
    if not seconds:
        return None
    place = ceil(len(seconds) * percent / 100) - 1
    return sorted(seconds)[place] * 1000


def summary(outcome: Outcome) -> Figures:
    """
    Return what is told of one phase.
    """
    return {
        "accepted_per_second": len(outcome.accepted_s) / outcome.seconds,
        "p50_ms": _percentile_ms(outcome.accepted_s, 50),
        "p99_ms": _percentile_ms(outcome.accepted_s, 99),
        "max_ms": _percentile_ms(outcome.accepted_s, 100),
        "refused_p99_ms": _percentile_ms(outcome.refused_s, 99),
        "statuses": {
            str(status): count for status, count in sorted(outcome.statuses.items())
        },
        "with_retry_after": outcome.with_retry_after,
        "broken": outcome.broken,
        "unanswered": len(outcome.unanswered_s),
        "longest_unanswered_s": max(outcome.unanswered_s, default=0),
    }


@frozen
class Overload(Measurement):
    """
    Two thousand connections, with all followers, without one, and without both.
    """

    connections: int = 2000

    def measure(self, system: System, trial: Trial) -> Figures:
        """
        Return what became of the requests of each phase, and the leader's memory.
        """
        request = system.request(Kind.WRITE, value_of(self.setting.value_bytes))
        assert request is not None
        pattern = request.pattern()
        with self.setting.cluster(system, trial) as cluster:
            before = max(cluster.rss_bytes()) / MIB
            phases = {
                name: self._phase(cluster, stopped, pattern, trial)
                for name, stopped in PHASES.items()
            }
            after = max(cluster.rss_bytes()) / MIB
        return {"before_mb": before, "phases": phases, "after_mb": after}

    def _phase(
        self, cluster: Cluster, stopped: int, pattern: Pattern, trial: Trial
    ) -> Figures:
        leader, term = cluster.until_led(), cluster.term()
        followers = [node for node in cluster.nodes if node is not leader]
        memory: list[tuple[float, float]] = []

        def look(seconds: float) -> None:
            memory.append((round(seconds, 2), leader.child.rss_bytes() / MIB))

        for node in followers[:stopped]:
            node.child.stand_still()
        try:
            outcome = press(
                leader.http,
                pattern,
                self.setting.keys,
                self.connections,
                trial.seconds,
                look,
            )
        finally:
            for node in followers[:stopped]:
                node.child.go_on()
        recovered = _until_write(cluster, pattern)
        return {
            **summary(outcome),
            "memory_mb": memory,
            "recovered_s": recovered,
            "elections": None if term is None else (cluster.term() or 0) - term,
        }


def _until_write(cluster: Cluster, pattern: Pattern) -> float:
    """
    Wait until the cluster works again; return how many seconds that took.
    """
    start = time.monotonic()

    def written() -> bool:
        leader = cluster.leader()
        if leader is None:
            return False
        ask_raw(leader.http, pattern.with_keys([0]), 5)
        return True

    until(written, "a write after an overload", 120)
    return time.monotonic() - start

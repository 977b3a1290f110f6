"""
What one turn is: a measurement, made with one system.

A measurement starts what it needs itself and returns plain figures, which go into the
JSON as they are; their names say their units. All of them have the same shape, so that
the runner knows nothing of wrk, leaders that are killed, or logs.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from benchmarks.asking import fill
from benchmarks.requests import value_of
from benchmarks.systems.cluster import DELAYED_SYNCS, Cluster, System

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MIB", "Figures", "Measurement", "Setting", "Trial"]

#: Names of figures, with numbers, or lists of numbers over time.
Figures = dict[str, Any]

MIB = 1 << 20

#: Keys in one body where a cluster is filled; etcd takes 128 at most.
_FILL_KEYS = 100


@frozen
class Trial:
    """
    How long everything takes, and where clusters keep their data.
    """

    #: Seconds of each load.
    seconds: float
    #: Below this each turn has a folder of its own, which ends with it.
    folder: Path
    #: Replaces the larger numbers of keys and entries where only the runner is tried.
    most_keys: int | None = None

    @contextmanager
    def own_folder(self) -> Iterator[Path]:
        """
        Make an empty folder for a while.
        """
        with tempfile.TemporaryDirectory(
            prefix="hraftd-bench-", dir=self.folder, ignore_cleanup_errors=True
        ) as name:
            yield Path(name)

    def bounded(self, keys: int) -> int:
        """
        Return how many keys or entries to make where that many are meant.
        """
        return keys if self.most_keys is None else min(keys, self.most_keys)


@frozen
class Setting:
    """
    The cluster that a measurement is made with.
    """

    nodes: int = 3
    #: Written before anything is measured.
    keys: int = 1000
    value_bytes: int = 100
    #: Whether each sync takes 5 ms longer.
    is_slow: bool = False

    @contextmanager
    def cluster(self, system: System, trial: Trial) -> Iterator[Cluster]:
        """
        Start it, and end it.
        """
        prefix = DELAYED_SYNCS if self.is_slow else ()
        with (
            trial.own_folder() as folder,
            system.cluster(folder, prefix) as cluster,
        ):
            cluster.start(self.nodes)
            value = value_of(self.value_bytes)
            keys = trial.bounded(self.keys)
            # Large values are written one by one: requests have limits.
            count = min(keys, _FILL_KEYS) if self.value_bytes <= 1000 else 1
            if (request := system.body_of_many(value)) is not None:
                fill(cluster.until_led().http, request.pattern(count), keys)
            yield cluster


@frozen
class Measurement:
    """
    Something to be measured.
    """

    name: str
    #: What it is, as the table says it.
    title: str
    #: Names of the systems that it is made with.
    systems: tuple[str, ...]
    setting: Setting = field(factory=Setting, kw_only=True)

    def measure(self, system: System, trial: Trial) -> Figures:
        """
        Make it once.
        """
        raise NotImplementedError

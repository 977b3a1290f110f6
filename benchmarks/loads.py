"""
Everything that is measured, in the order of the tables.
"""

from __future__ import annotations

from benchmarks.failover import Failover
from benchmarks.load import Load
from benchmarks.measurements import Measurement, Setting
from benchmarks.overload import Overload
from benchmarks.recovery import Recovery
from benchmarks.requests import Kind

__all__ = ["GROUPS", "MEASUREMENTS"]

_STORES = ("hraftd", "etcd", "pysyncobj")

_READS, _FRESH = (Kind.LOCAL_READ,), (Kind.LINEARIZABLE_READ,)

#: Ninety of a hundred requests read.
_MIXED = (Kind.LOCAL_READ,) * 9 + (Kind.WRITE,)

#: Headings of the tables, each with what is below it.
GROUPS: dict[str, tuple[Measurement, ...]] = {
    "Writes": tuple(
        Load(
            f"writes-{count}",
            "writes on 1 connection" if count == 1 else f"writes on {count}",
            _STORES,
            connections=count,
        )
        for count in (1, 8, 32, 128, 512)
    ),
    "Reads": (
        Load(
            "reads",
            "local reads on 128",
            (*_STORES, "twisted.web"),
            connections=128,
            kinds=_READS,
        ),
        Load(
            "linearizable",
            "linearizable reads on 128",
            _STORES,
            connections=128,
            kinds=_FRESH,
        ),
        Load(
            "mixed",
            "9 local reads to 1 write on 128",
            _STORES,
            connections=128,
            kinds=_MIXED,
        ),
    ),
    "Values": tuple(
        Load(
            f"values-{name}",
            f"values of {text} on 8",
            _STORES,
            connections=8,
            setting=Setting(value_bytes=size, keys=100),
        )
        for name, text, size in (
            ("100", "100 B", 100),
            ("10k", "10 kB", 10_000),
            ("1m", "1 MB", 1_000_000),
        )
    ),
    "100 keys in a body": tuple(
        Load(
            f"bodies-{count}",
            f"100 keys in a body on {count}",
            _STORES,
            connections=count,
            keys_per_body=100,
        )
        for count in (32, 128)
    ),
    "Clusters": tuple(
        Load(
            f"nodes-{nodes}",
            "1 node" if nodes == 1 else f"{nodes} nodes",
            _STORES,
            connections=128,
            setting=Setting(nodes=nodes),
        )
        for nodes in (1, 3, 5, 7)
    ),
    "Keys": tuple(
        Load(
            f"keys-{keys}",
            "1 key" if keys == 1 else f"{keys:,} keys",
            _STORES,
            connections=128,
            setting=Setting(keys=keys),
        )
        for keys in (1, 1000, 1_000_000)
    ),
    "A slow disk": tuple(
        Load(
            f"slow-{count}",
            f"writes on {count}, each sync 5 ms longer",
            _STORES,
            connections=count,
            setting=Setting(is_slow=True),
        )
        for count in (1, 32, 128)
    ),
    "Faults": (
        Failover("failover", "kill -9 of the leader, until a write", _STORES),
        Recovery("recovery", "start with 1,000,000 entries", ("hraftd",)),
        Overload("overload", "2,000 connections of writes", ("hraftd", "etcd")),
    ),
}

MEASUREMENTS: dict[str, Measurement] = {
    measurement.name: measurement for group in GROUPS.values() for measurement in group
}

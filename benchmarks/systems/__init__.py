"""
Who takes part: one module for each system, with all that is particular to it.

A system says what is missing, starts clusters of itself and says what its requests look
like; what all clusters have in common is in :mod:`benchmarks.systems.cluster`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.systems.etcd import Etcd
from benchmarks.systems.hraftd import Hraftd
from benchmarks.systems.pysyncobj import PySyncObj
from benchmarks.systems.twisted_web import TwistedWeb

if TYPE_CHECKING:
    from benchmarks.systems.cluster import System

__all__ = ["SYSTEMS"]

#: In the order of their turns.
SYSTEMS: dict[str, System] = {
    system.name: system for system in (Hraftd(), Etcd(), PySyncObj(), TwistedWeb())
}

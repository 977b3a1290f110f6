"""
PySyncObj: Python like hraftd, but a library; see the node for what it promises.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from attrs import define, field

from benchmarks.asking import ask
from benchmarks.processes import free_port
from benchmarks.requests import KEY, Kind, Request
from benchmarks.systems.cluster import Cluster, Node, System

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["PySyncObj"]


@define(eq=False)
class PySyncObjCluster(Cluster):
    """
    Members that know each other from the beginning.
    """

    #: Of each node, the name by which the others know it.
    addresses: dict[str, Node] = field(factory=dict)

    def start(self, size: int) -> None:
        """
        Start all at once.
        """
        ports = [str(free_port()) for _ in range(size)]
        for number, port in enumerate(ports):
            http = free_port()
            node = self.add(
                f"pysyncobj{number}",
                http,
                *(sys.executable, "-m", "benchmarks.systems.pysyncobj_node"),
                *(str(http), port, *(other for other in ports if other != port)),
            )
            self.addresses[f"127.0.0.1:{port}"] = node
            node.child.start()
        self.until_led()

    def leader(self) -> Node | None:
        """
        Return who leads, if all others know it and are connected.
        """
        running = [node for node in self.nodes if node.child.is_running]
        statuses = [ask(node.http, "GET", "/status") for node in running]
        named = {status["leader"] for status in statuses}
        for status in statuses:
            if not status["ready"] or status["connected"] < len(running) - 1:
                return None
        if len(named) != 1:
            return None
        leader = self.addresses.get(named.pop() or "")
        return leader if leader in running else None

    def term(self) -> int:
        """
        Return the highest that any of them knows.
        """
        return max(
            ask(node.http, "GET", "/status")["term"]
            for node in self.nodes
            if node.child.is_running
        )


@define(eq=False)
class PySyncObj(System):
    """
    The Raft that Python programs have had so far.
    """

    name: str = "pysyncobj"

    def why_missing(self) -> str | None:
        """
        Return how to install it, if that is to be done.
        """
        try:
            version("pysyncobj")
        except PackageNotFoundError:
            return 'install PySyncObj (pip install ".[bench]")'
        return None

    def version(self) -> str:
        """
        Return what is installed.
        """
        return version("pysyncobj")

    def cluster(self, folder: Path, prefix: Sequence[str] = ()) -> PySyncObjCluster:
        """
        Return a cluster that is still to be started.
        """
        return PySyncObjCluster(folder, prefix)

    def request(self, kind: Kind, value: str) -> Request:
        """
        Ask what the HTTP front of the node knows.
        """
        match kind:
            case Kind.WRITE:
                return self.body_of_many(value)
            case Kind.LOCAL_READ:
                return Request("GET", f"/key/{KEY}")
            case Kind.LINEARIZABLE_READ:
                return Request("GET", f"/key/{KEY}?level=linearizable")

    def body_of_many(self, value: str) -> Request:
        """
        Return a body with pairs: they become one entry.
        """
        return Request("POST", "/key", "{", f'"{KEY}": "{value}"', "}")

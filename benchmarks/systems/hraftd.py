"""
hraftd: ``twistd`` processes of this checkout, with all options as they are.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from attrs import define, field

from benchmarks.asking import ask, until
from benchmarks.machine import checkout_version
from benchmarks.processes import free_port
from benchmarks.requests import KEY, Kind, Request
from benchmarks.systems.cluster import Cluster, Node, System

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Hraftd", "HraftdCluster"]


@define(eq=False)
class HraftdCluster(Cluster):
    """
    Nodes that join the first one.
    """

    raft: list[int] = field(factory=list)

    def prepare(self, *join: str) -> Node:
        """
        Name one more node.
        """
        name = f"node{len(self.nodes)}"
        http, raft = free_port(), free_port()
        self.raft.append(raft)
        return self.add(
            name,
            http,
            *(sys.executable, "-m", "hraftd", "--id", name),
            *("--haddr", f"localhost:{http}", "--raddr", f"localhost:{raft}"),
            *join,
            "data",
        )

    def start(self, size: int) -> None:
        """
        Let the first one begin, and the others join it.
        """
        first = self.prepare()
        first.child.start()
        self.until_led()
        for _ in range(size - 1):
            self.prepare("--join", f"localhost:{first.http}").child.start()
        for node in self.nodes:
            until(
                lambda node=node: self._voters(node) == size, f"{node.name} is a member"
            )

    @staticmethod
    def _voters(node: Node) -> int:
        members = ask(node.http, "GET", "/status")["members"]
        return sum(member["suffrage"] == "voter" for member in members)

    def _statuses(self) -> list[tuple[Node, dict[str, Any]]]:
        return [
            (node, ask(node.http, "GET", "/status"))
            for node in self.nodes
            if node.child.is_running
        ]

    def leader(self) -> Node | None:
        """
        Return who leads, if all others know it.
        """
        statuses = self._statuses()
        named = {(status["leader"] or {}).get("id") for _, status in statuses}
        for node, status in statuses:
            if status["role"] == "leader" and named == {node.name}:
                return node
        return None

    def term(self) -> int:
        """
        Return the highest that any of them knows.
        """
        return max(status["term"] for _, status in self._statuses())


@define(eq=False)
class Hraftd(System):
    """
    The project that these benchmarks belong to.
    """

    name: str = "hraftd"

    def why_missing(self) -> None:
        """
        Return nothing: it is what runs this.
        """

    def version(self) -> str:
        """
        Return that of this checkout.
        """
        return checkout_version()

    def cluster(self, folder: Path, prefix: Sequence[str] = ()) -> HraftdCluster:
        """
        Return a cluster that is still to be started.
        """
        return HraftdCluster(folder, prefix)

    def request(self, kind: Kind, value: str) -> Request:
        """
        Write with ``POST /key``, read with ``GET /key/KEY``.
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

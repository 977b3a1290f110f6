"""
A bare twisted.web server: no store, but a measure of what Twisted's own HTTP costs.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from attrs import define

from benchmarks.asking import ask
from benchmarks.processes import free_port
from benchmarks.requests import KEY, Kind, Request, key_name, value_of
from benchmarks.systems.cluster import Cluster, Node, System

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["TwistedWeb"]


@define(eq=False)
class TwistedWebProcess(Cluster):
    """
    One process, whatever size is asked for.
    """

    def start(self, size: int) -> None:
        """
        Start it.
        """
        http = free_port()
        answer = json.dumps({key_name(0): value_of(100)})
        self.add(
            "twisted.web",
            http,
            *(sys.executable, "-m", "benchmarks.systems.twisted_web_server"),
            *(str(http), answer),
        ).child.start()
        self.until_led()

    def leader(self) -> Node:
        """
        Return the one process, once it answers.
        """
        [node] = self.nodes
        ask(node.http, "GET", "/")
        return node

    def term(self) -> None:
        """
        Return nothing: there are no elections.
        """


@define(eq=False)
class TwistedWeb(System):
    """
    A resource with a constant answer.
    """

    name: str = "twisted.web"

    def why_missing(self) -> None:
        """
        Return nothing: hraftd needs it.
        """

    def version(self) -> str:
        """
        Return what is installed.
        """
        return version("twisted")

    def cluster(self, folder: Path, prefix: Sequence[str] = ()) -> TwistedWebProcess:
        """
        Return a process that is still to be started.
        """
        return TwistedWebProcess(folder, prefix)

    def request(self, kind: Kind, value: str) -> Request | None:
        """
        Only read, and only what is always answered.
        """
        return Request("GET", f"/key/{KEY}") if kind is Kind.LOCAL_READ else None

    def body_of_many(self, value: str) -> None:
        """
        Return nothing: it takes no writes.
        """

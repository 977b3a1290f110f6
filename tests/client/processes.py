"""
Real nodes in processes of their own, run from the source beside these tests.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.integration.node import Node
from tests.integration.processes import Processes

__all__ = ["ROOT", "SourceProcesses"]

ROOT = Path(__file__).parents[2]


class SourceNode(Node):
    """
    A node that runs the source beside these tests, installed or not.
    """

    def arguments(self) -> list[str]:
        """
        Return its command line.
        """
        join = ["--join", ",".join(self.join)] if self.join else []
        return [
            *(sys.executable, "-m", "hraftd"),
            *("--id", self.id, "--haddr", self.http, "--raddr", self.raft),
            *join,
            str(self.data_dir),
        ]


class SourceProcesses(Processes):
    """
    Such nodes.
    """

    def prepare(self, name: str, folder: str | None = None, **more: Any) -> Node:
        """
        Return a node that is still to be started.
        """
        environment = {"PYTHONPATH": str(ROOT)}
        directory = self._directory / (folder or name)
        node = SourceNode(name, directory, environment=environment, **more)
        self.nodes.append(node)
        return node

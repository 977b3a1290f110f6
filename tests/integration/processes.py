"""
All nodes of a test, and clusters of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .node import Node
from .waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .client import Answer

__all__ = ["Processes", "ask_leader", "leader_among", "until_level", "write"]


class Processes:
    """
    All nodes of a test; whatever happens, none of them is left behind.
    """

    def __init__(self, directory: Path) -> None:
        """
        Begin without nodes.
        """
        self._directory = directory
        self.nodes: list[Node] = []

    def prepare(self, name: str, folder: str | None = None, **more: Any) -> Node:
        """
        Return a node that is still to be started.
        """
        node = Node(name, self._directory / (folder or name), **more)
        self.nodes.append(node)
        return node

    def start(self, name: str, **more: Any) -> Node:
        """
        Return a node that answers.
        """
        return self.prepare(name, **more).start()

    def cluster(self, size: int, **more: Any) -> list[Node]:
        """
        Return the members of a new cluster.
        """
        first = self.start("node0", **more)
        others = [
            self.prepare(f"node{number}", join=[first.http], **more)
            for number in range(1, size)
        ]
        for node in others:
            node.launch()
        members = [first, *others]
        for node in members:
            until(node.is_voter, f"{node.id} is a member")
        until(
            lambda: all(
                sum(
                    member["suffrage"] == "voter" for member in node.status()["members"]
                )
                == size
                for node in members
            ),
            "all know each other",
        )
        return members

    def end(self) -> None:
        """
        End all processes that are left.
        """
        for node in self.nodes:
            if node.is_running:
                node.kill()

    def logs(self) -> Iterator[tuple[str, str]]:
        """
        Go through the nodes that were started, each with what it logged.
        """
        for node in self.nodes:
            for file in sorted(node.directory.glob("*log")):
                text = file.read_text("utf-8", "replace")
                yield f"{file.name} of {node.id}", text[-20_000:]


def leader_among(nodes: Sequence[Node]) -> Node:
    """
    Wait for one of these nodes to lead, and for the others to follow it.
    """

    def found() -> Node | None:
        statuses = [node.status() for node in nodes]
        named = {(status.get("leader") or {}).get("id") for status in statuses}
        for node, status in zip(nodes, statuses, strict=True):
            if status.get("role") == "leader" and named == {node.id}:
                return node
        return None

    leader: Node = until(found, "one of them leads")
    return leader


def until_level(nodes: Sequence[Node], seconds: float = DEADLINE) -> int:
    """
    Wait until all of these nodes have applied all that is in their logs; return what
    index that is.
    """

    def level() -> int | None:
        statuses = [node.status() for node in nodes]
        applied = {status.get("last_applied") for status in statuses}
        if len(applied) != 1 or not all(
            status.get("leader") and status["last_applied"] == status["last_log_index"]
            for status in statuses
        ):
            return None
        [index] = applied
        return index

    index: int = until(level, "all nodes have applied the same", seconds)
    return index


def ask_leader(
    nodes: Sequence[Node],
    method: str,
    path: str,
    content: object = None,
    timeout: float = 15.0,
) -> Answer:
    """
    Make a request at whichever of these nodes leads, and return what it answers.

    On a machine that is busy enough, a cluster may elect another leader at any time;
    few tests mean to be about that.
    """

    def answered() -> Answer | None:
        answer = leader_among(nodes).ask(method, path, content, timeout)
        elsewhere = answer.status == 421 or b"there is no leader" in answer.body
        return None if elsewhere else answer

    answer: Answer = until(answered, "the leader answers")
    return answer


def write(nodes: Sequence[Node], **pairs: str) -> Answer:
    """
    Set keys through whichever of these nodes leads, as often as it takes.
    """

    def written() -> Answer | None:
        answer = ask_leader(nodes, "POST", "/key", pairs)
        return answer if answer.status == 200 else None

    answer: Answer = until(written, "the leader takes a write")
    return answer

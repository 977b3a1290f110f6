"""
Clients that write as fast as they can, and remember what they were promised.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import count, pairwise
from threading import Thread
from typing import TYPE_CHECKING

from .client import Connection
from .processes import until_level
from .waiting import PAUSE, until
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .client import Answer
    from .node import Node

__all__ = ["Load", "check_nothing_lost", "read_all"]

#: Nodes outlive a load; the next one writes other keys.
_numbers = count()


class Load(Workers):
    """
    A few threads that write, each key once, to whichever node takes it.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        writers: int = 4,
        value_bytes: int = 1,
        query: str = "",
    ) -> None:
        """
        Prepare to write to these nodes, values of at least that many bytes.

        :param query: what follows the path of each write.
        """
        super().__init__()
        self._nodes = nodes
        self._query = query
        self._value_bytes = value_bytes
        self._number = next(_numbers)
        self._threads = [
            Thread(target=self._write, args=(number,), name=f"writer {number}")
            for number in range(writers)
        ]
        #: What was answered 200: these writes must never be lost.
        self.answered: dict[str, str] = {}
        #: All that was asked for, with the answer; ``None`` where none came.
        self.tried: dict[str, int | None] = {}
        #: Seconds, of a clock that only goes forward, at which a write was answered.
        self.moments: list[float] = []

    def until_more(self, writes: int) -> None:
        """
        Wait until so many more writes than now have been answered with 200.
        """
        enough = len(self.answered) + writes
        until(lambda: len(self.answered) >= enough, f"{writes} more writes succeed")

    def summary(self) -> str:
        """
        Tell how many requests had which answer, and the longest time without success.
        """
        answers = Counter(self.tried.values())
        return f"{dict(answers)}; longest gap {self.longest_gap():.2f} s"

    def longest_gap(self) -> float:
        """
        Return the longest time, in seconds, in which no write succeeded.
        """
        moments = sorted(self.moments)
        return max(after - before for before, after in pairwise(moments))

    def _write(self, number: int) -> None:
        connections = [Connection(node.http_port, 12.0) for node in self._nodes]
        at = number % len(connections)
        keys = (f"load{self._number}-{number}-{n}" for n in count())
        while not self._stopping.is_set():
            key = next(keys)
            value = f"value of {key}".ljust(self._value_bytes, ".")
            try:
                answer = connections[at].ask("POST", f"/key{self._query}", {key: value})
            except OSError:
                self.tried[key] = None
            else:
                self.tried[key] = answer.status
                if answer.status == 200:
                    self.answered[key] = value
                    self.moments.append(time.monotonic())
                    continue
                if (leader := self._leader(answer)) is not None:
                    at = leader
                    continue
            at = (at + 1) % len(connections)
            # Not a flood of requests that nobody can serve.
            self._stopping.wait(PAUSE)
        for connection in connections:
            connection.close()

    def _leader(self, answer: Answer) -> int | None:
        """
        Return which of the nodes an answer names as the leader.
        """
        if answer.status != 421:
            return None
        named = answer.content["leader"]["id"]
        for position, node in enumerate(self._nodes):
            if node.id == named:
                return position
        return None


def read_all(node: Node, keys: Sequence[str]) -> dict[str, str]:
    """
    Return what a node has under these keys; those that it has not are missing.
    """
    connection = Connection(node.http_port)
    found: dict[str, str] = {}
    for key in keys:
        answer = connection.ask("GET", f"/key/{key}")
        assert answer.status in (200, 404), answer
        if answer.status == 200:
            found.update(answer.content)
    connection.close()
    return found


def check_nothing_lost(load: Load, nodes: Sequence[Node]) -> None:
    """
    Read everything back at all nodes, once all of them have applied the same.

    What was answered is there; of the rest, all nodes have the same.
    """
    until_level(nodes)
    states = [read_all(node, list(load.tried)) for node in nodes]
    for node, state in zip(nodes, states, strict=True):
        lost = [key for key in load.answered if state.get(key) != load.answered[key]]
        assert not lost, f"{node.id} has lost {lost}"
        assert state == states[0], f"{node.id} differs from {nodes[0].id}"

"""
What all systems have in common: nodes, of which one leads, and how they are ended.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from attrs import define, field

from benchmarks.asking import until
from benchmarks.processes import Child, free_port, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.requests import Kind, Request

__all__ = ["DELAYED_SYNCS", "Cluster", "Node", "System", "why_no_delay"]

#: Lets each sync of a file take 5 ms longer, whoever asks for it and how: tracing also
#: reaches what makes its system calls without the C library, as Go does. The filter
#: keeps all other calls from being looked at, and the tracer is no parent of what it
#: traces, so that signals and the figures of /proc are those of the server.
DELAYED_SYNCS = (
    *("strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"),
    *("-e", "trace=fsync,fdatasync,msync,sync_file_range"),
    *("-e", "inject=fsync,fdatasync,msync,sync_file_range:delay_enter=5000"),
)


def why_no_delay() -> str | None:
    """
    Return why syncs cannot be delayed here, as one line; ``None`` if they can.
    """
    if shutil.which("strace") is None:
        return "a slow disk needs strace (Debian: apt-get install strace)"
    if "traced" not in run(*DELAYED_SYNCS, "echo", "traced"):
        return "a slow disk needs strace 5.3 or later, and leave to trace processes"
    return None


@define(eq=False)
class Node:
    """
    One member: its process, and the port where clients find it.
    """

    name: str
    child: Child
    http: int = field(factory=free_port)


@define(eq=False)
class Cluster:
    """
    A cluster that runs; use it in a ``with``, which ends it.
    """

    folder: Path
    #: Words before the command line of each of its nodes.
    prefix: Sequence[str] = ()
    nodes: list[Node] = field(factory=list)

    def add(self, name: str, http: int, *command: str) -> Node:
        """
        Name a node; it is still to be started.
        """
        child = Child([*self.prefix, *command], self.folder / name)
        node = Node(name, child, http)
        self.nodes.append(node)
        return node

    def __enter__(self) -> Cluster:
        """
        Take responsibility.
        """
        return self

    def __exit__(self, *error: object) -> None:
        """
        End all processes.
        """
        for node in self.nodes:
            node.child.kill()

    def start(self, size: int) -> None:
        """
        Start so many nodes, and return when one of them leads the others.
        """
        raise NotImplementedError

    def leader(self) -> Node | None:
        """
        Return who leads now, if it is known.
        """
        raise NotImplementedError

    def term(self) -> int | None:
        """
        Return the number of the last election; ``None`` where it is not told.
        """
        raise NotImplementedError

    def until_led(self, seconds: float = 60.0) -> Node:
        """
        Wait for a leader among the nodes that run.
        """
        try:
            leader: Node = until(self.leader, "a leader", seconds)
        except TimeoutError as error:
            ended = [node for node in self.nodes if not node.child.is_running]
            said = "".join(
                f"\n{node.name} has ended: {node.child.output}" for node in ended
            )
            raise TimeoutError(f"{error}{said}") from None
        return leader

    def cpu_seconds(self) -> float:
        """
        Return what all of its processes have used so far.
        """
        return sum(node.child.cpu_seconds() for node in self.nodes)

    def rss_bytes(self) -> list[int]:
        """
        Return how much memory each of its processes holds.
        """
        return [node.child.rss_bytes() for node in self.nodes]


@define(eq=False)
class System:
    """
    Somebody who takes part.
    """

    name: str

    def why_missing(self) -> str | None:
        """
        Return what to install, as one line; ``None`` if everything is there.
        """
        raise NotImplementedError

    def version(self) -> str:
        """
        Say of what version it is.
        """
        raise NotImplementedError

    def cluster(self, folder: Path, prefix: Sequence[str] = ()) -> Cluster:
        """
        Return a cluster that is still to be started, with its data below a folder.
        """
        raise NotImplementedError

    def request(self, kind: Kind, value: str) -> Request | None:
        """
        Return what is sent; ``None`` if it knows nothing of that kind.

        :param value: is written, and was written before it is read.
        """
        raise NotImplementedError

    def body_of_many(self, value: str) -> Request | None:
        """
        Return a write of which an item may be repeated; ``None`` if there is none.
        """
        raise NotImplementedError

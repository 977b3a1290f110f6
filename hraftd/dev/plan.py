"""
Which nodes a cluster for trying things has, at which ports, with their data where.

A directory that is to be kept remembers its ports in a file: the nodes in it know each
other by them, so a cluster that came back at other ports would not find itself.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from attrs import asdict, field, frozen
from attrs.validators import and_, ge, instance_of, le

from hraftd.commands.endings import FAILED, USAGE, Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MAX_NODES", "NOTE", "Place", "Plan", "Wanted", "choose", "is_free"]

#: More than these teach nothing more.
MAX_NODES = 9

#: The first HTTP port where nobody says anything else.
_PORT = 11_000

#: From a node's HTTP port to its Raft port.
_TO_RAFT = 1_000

#: The file in a directory that is kept.
NOTE = "hraftd-dev.json"


@frozen
class Plan:
    """
    A cluster: how many nodes, and the HTTP port of the first.
    """

    nodes: int = field(
        default=3, validator=and_(instance_of(int), ge(1), le(MAX_NODES))
    )
    port: int = field(
        default=_PORT,
        validator=and_(instance_of(int), ge(1), le(65_535 - _TO_RAFT - MAX_NODES)),
    )

    def places(self) -> tuple[Place, ...]:
        """
        Return each of the nodes.
        """
        return tuple(
            Place(f"node{number}", self.port + number, self.port + _TO_RAFT + number)
            for number in range(self.nodes)
        )


@frozen
class Place:
    """
    One node, and where it is.
    """

    id: str
    http_port: int
    raft_port: int

    @property
    def http(self) -> str:
        """
        Where clients find it.
        """
        return f"localhost:{self.http_port}"

    def arguments(self, directory: Path, first: Place) -> list[str]:
        """
        Return the command line of ``hraftd`` for it.

        :param first: the node that begins the cluster, and that others join.
        """
        join = [] if self == first else ["--join", first.http]
        raft = f"localhost:{self.raft_port}"
        return [
            *("--id", self.id, "--haddr", self.http, "--raddr", raft),
            *join,
            str(directory / self.id),
        ]


@frozen
class Wanted:
    """
    What was said on the command line; ``None`` is what was not.
    """

    nodes: int | None = None
    port: int | None = None
    free_ports: bool = False
    data_dir: Path | None = None


def is_free(port: int) -> bool:
    """
    Look whether a node could listen there.

    :raises Stop: if that cannot be known, with what the system says.
    """
    with closing(socket.socket()) as probe:
        if sys.platform != "win32":
            # As Twisted does; on Windows it means something else.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            if sys.platform == "win32":
                # So it says where another program listens.
                return False
            raise Stop(
                FAILED, f"port {port}: {error.strerror}; take another --port"
            ) from error
        except OSError:
            return False
    return True


def choose(wanted: Wanted, is_free: Callable[[int], bool] = is_free) -> Plan:
    """
    Decide on a cluster that can be started now.

    A directory that is to be kept is made, and gets its note.

    :raises Stop: if there is none, with what can be done about it.
    """
    noted = None if wanted.data_dir is None else _read_note(wanted.data_dir)
    if noted is None:
        plan = Plan(wanted.nodes or 3, wanted.port or _PORT)
        if wanted.free_ports:
            plan = _first_free(plan, is_free)
    else:
        plan = noted
        _check_agrees(wanted, noted)
    for port in _ports(plan):
        if not is_free(port):
            raise Stop(
                FAILED,
                f"port {port} is taken; stop what listens there, or take --free-ports "
                "or another --port"
                if noted is None
                else f"port {port} is taken, and the nodes in {wanted.data_dir} know "
                "each other by it; stop what listens there, or take another --data-dir",
            )
    if wanted.data_dir is not None and noted is None:
        _write_note(wanted.data_dir, plan)
    return plan


def _ports(plan: Plan) -> list[int]:
    places = plan.places()
    return [place.http_port for place in places] + [place.raft_port for place in places]


def _first_free(plan: Plan, is_free: Callable[[int], bool]) -> Plan:
    # In steps, so that one can still see from a port whose it is.
    for port in range(_PORT, _PORT + _TO_RAFT, 10):
        plan = Plan(plan.nodes, port)
        if all(is_free(each) for each in _ports(plan)):
            return plan
    raise Stop(FAILED, f"there are no free ports from {_PORT} on; take another --port")


def _check_agrees(wanted: Wanted, noted: Plan) -> None:
    for option, said, is_so in (
        ("--nodes", wanted.nodes, noted.nodes),
        ("--port", wanted.port, noted.port),
    ):
        if said not in (None, is_so):
            raise Stop(
                USAGE,
                f"{wanted.data_dir} is of a cluster with {option} {is_so}; leave the "
                "option out, or take another --data-dir",
            )


def _read_note(directory: Path) -> Plan | None:
    """
    Return what a directory remembers; ``None`` if it is new.
    """
    try:
        text = (directory / NOTE).read_text("utf-8")
    except FileNotFoundError:
        if directory.is_dir() and any(directory.iterdir()):
            raise Stop(
                FAILED,
                f"{directory} is not empty, and not of an earlier hraftd dev; take an "
                "empty or a new --data-dir",
            ) from None
        return None
    except OSError as error:
        raise Stop(
            FAILED, f"--data-dir {directory}: {error.strerror}; take another one"
        ) from error
    try:
        return Plan(**json.loads(text))
    except (RecursionError, TypeError, ValueError) as error:
        raise Stop(
            FAILED,
            f"{directory / NOTE} is damaged; write into it the nodes and the first "
            f'port that this cluster had, as in {{"nodes": 3, "port": {_PORT}}}',
        ) from error


def _write_note(directory: Path, plan: Plan) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / NOTE).write_text(json.dumps(asdict(plan)) + "\n", "utf-8")
    except OSError as error:
        raise Stop(
            FAILED, f"--data-dir {directory}: {error.strerror}; take another one"
        ) from error

"""
One run: a cluster, clients, faults that a seed chooses, and the verdict.

A run has four parts. *Faults* come and go, one or two at a time. Then all is *healed*:
within a deadline each node must be a voter again and the clients must be served. The
clients stop, and the nodes must *converge*: the same keys at the same applied index.
Last comes the *verdict* on what the clients saw.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING

from attrs import field, frozen

from tests.integration.load import read_all
from tests.integration.processes import until_level
from tests.integration.waiting import DEADLINE
from tests.linearizability import Failed, Ok, check

from .clients import Clients
from .cluster import Cluster
from .kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.node import Node

__all__ = ["Plan", "Report", "carry_out", "verdict"]

#: Steps of the search for an order of what happened on one key: half a minute or so.
_BUDGET = 2_000_000


@frozen
class Plan:
    """
    All that a run is made of, but for the time at which threads get their turn.
    """

    seed: int
    #: Names of kinds of faults.
    kinds: Sequence[str]
    nodes: int = 3
    #: For faults; starting, healing and checking take about ten more.
    seconds: float = 10.0

    def __str__(self) -> str:
        """
        Return the command that does the same again.
        """
        return (
            f"python -m tests.faults --seed {self.seed} --runs 1 --nodes {self.nodes} "
            f"--run-seconds {self.seconds:g} --kinds {','.join(self.kinds)}"
        )


@frozen
class Report:
    """
    What happened in a run that went well.
    """

    operations: int
    unknown: int
    declined: int
    #: Leaders that the term counted, with those that were never elected.
    terms: int
    keys: int
    #: The faults, in the order in which they began.
    faults: Sequence[str] = field(factory=tuple)

    def __str__(self) -> str:
        """
        Return it as a line.
        """
        return (
            f"{len(self.faults)} faults, {self.terms} terms; {self.operations} "
            f"operations, {self.unknown} of unknown outcome, {self.declined} declined; "
            f"all linearizable, {self.keys} keys alike on all nodes"
        )


def carry_out(plan: Plan, directory: Path) -> Report:
    """
    Do what a plan says, and return what happened.

    :raises AssertionError: if anything is not as it should be.
    """
    cluster = Cluster(
        directory,
        plan.seed,
        disks="filled" in plan.kinds,
        clocks="jumped" in plan.kinds,
    )
    with ExitStack() as ending:
        ending.callback(cluster.end)
        nodes = cluster.cluster(plan.nodes)
        with Clients(nodes, plan.seed) as clients:
            faults = _let_go_wrong(plan, cluster, clients)
            cluster.heal()
            clients.until_more(50, DEADLINE)
        index = until_level(nodes)
        found = clients.read_all(nodes[0])
        for node in nodes:
            keys = [*clients.keys, *clients.once]
            assert read_all(node, keys) == found, f"{node.id} differs at {index}"
        verdict(clients, found)
        for node in nodes:
            _check_log(node)
        outcomes = [operation.outcome for operation in clients.history] + [
            outcome for _, outcome in clients.once.values()
        ]
        done = sum(isinstance(outcome, Ok) for outcome in outcomes)
        declined = sum(isinstance(outcome, Failed) for outcome in outcomes)
        return Report(
            operations=len(outcomes),
            unknown=len(outcomes) - done - declined,
            declined=declined,
            terms=max(node.status()["term"] for node in nodes),
            keys=len(found),
            faults=faults,
        )


def _let_go_wrong(plan: Plan, cluster: Cluster, clients: Clients) -> list[str]:
    """
    Let faults come and go until the time is over; return which.
    """
    rng = Random(plan.seed)
    faults: list[str] = []
    end = time.monotonic() + plan.seconds
    while time.monotonic() < end and not clients.impossible:
        with ExitStack() as faulty:
            for kind in rng.sample(plan.kinds, min(len(plan.kinds), rng.randint(1, 2))):
                faulty.enter_context(KINDS[kind](cluster, rng))
                faults.append(kind)
                clients.go_on(rng.uniform(0.1, 0.8))
            clients.go_on(rng.uniform(0.3, 2.0))
        clients.go_on(rng.uniform(0.0, 1.0))
    return faults


def verdict(clients: Clients, found: dict[str, str]) -> None:
    """
    See that what the clients were told is true.

    :param found: all keys and values in the end.
    """
    assert not clients.impossible, clients.impossible[:3]
    for key, (value, outcome) in clients.once.items():
        match outcome:
            case Ok():
                assert found.get(key) == value, f"{key} was answered 200 and is lost"
            case Failed():
                assert key not in found, f"{key} was declined, and is there"
            case _:
                assert found.get(key) in (None, value), f"{key} is {found[key]}"
    violation = check(clients.history, _BUDGET)
    assert violation is None, str(violation)


def _check_log(node: Node) -> None:
    """
    See that a node has met nothing that it did not expect.
    """
    log = node.log
    at = log.find("Traceback")
    assert at < 0, f"{node.id} logged: {log[max(0, at - 500) : at + 2000]}"

"""
What supervisors, load balancers and Prometheus see of real nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .processes import leader_among
from .waiting import until

if TYPE_CHECKING:
    from .node import Node
    from .processes import Processes


def figures(node: Node) -> dict[str, float]:
    """
    Return a node's figures that have no labels.
    """
    answer = node.ask("GET", "/metrics")
    assert answer.status == 200
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if not sample.labels
    }


def code(node: Node, path: str) -> int:
    """
    Return the status of an answer.
    """
    return node.ask("GET", path).status


def test_ready_and_alive(processes: Processes) -> None:
    """
    All nodes of a cluster are ready; without a majority none is, and all are alive.
    """
    members = processes.cluster(3)
    for node in members:
        until(lambda node=node: code(node, "/readyz") == 200, "it is ready")
        assert code(node, "/healthz") == 200
    leader = leader_among(members)
    others = [node for node in members if node is not leader]
    for node in others:
        node.kill()
    until(lambda: code(leader, "/readyz") == 503, "it notices")
    assert code(leader, "/healthz") == 200
    assert leader.ask("GET", "/readyz").content["error"]
    others[0].start()
    for node in (leader, others[0]):
        until(lambda node=node: code(node, "/readyz") == 200, "it is ready again")


def test_figures_of_a_process(processes: Processes) -> None:
    """
    What is synced and applied is counted, beside what the system knows of the process.
    """
    node = processes.start("node0")
    until(node.leads, "it leads")
    before = figures(node)
    for number in range(5):
        assert node.set(key=str(number)).status == 200
    after = figures(node)
    for name in (
        "hraftd_applied_entries_total",
        "hraftd_synced_entries_total",
        "hraftd_sync_duration_seconds_count",
        "hraftd_apply_duration_seconds_count",
    ):
        assert after[name] == before[name] + 5
    # A sync takes time, and less than the request has taken.
    name = "hraftd_sync_duration_seconds_sum"
    assert 0 < after[name] - before[name] < 15
    if "process_open_fds" not in after:
        pytest.skip("the system says nothing about processes")
    assert after["process_resident_memory_bytes"] > 1 << 20
    assert after["process_open_fds"] > 3

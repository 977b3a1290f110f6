"""
The figures of a node, held against what is written about them.

The table in ``docs/operations.rst`` and the alerts in ``conf/`` name figures that are
served, with the labels that they have, and the table names all of them.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from hraftd.client_requests import ClientRequests
from hraftd.kv.store import KeyValueStore
from hraftd.measures import Durations
from hraftd.metrics import ROLES, PeerFigures, histogram
from hraftd.web.site import HttpSite
from tests.test_docs import table_after, text_of
from tests.web import ME, Browser, ScriptedServer

ROOT = Path(__file__).parent.parent

#: What Prometheus adds to each figure.
ADDED = {"job", "instance"}

#: The parts of a histogram.
PARTS = ("_bucket", "_sum", "_count")


@cache
def families() -> dict[str, Any]:
    """
    Return all that a leader of three serves, by name.
    """
    clock = Clock()
    server = ScriptedServer(leader=ME, role="leader")
    requests = ClientRequests(server, KeyValueStore(), clock)
    site = HttpSite(requests, server, clock)
    site.metrics.add(PeerFigures(lambda: {"node1": 1024, "node2": 0}))
    browser = Browser(site, clock)
    # Of the first one nothing is counted before the second.
    browser.start("GET", "/metrics")
    answer = browser.start("GET", "/metrics").result
    found = text_string_to_metric_families(answer.body.decode())
    return {family.name: family for family in found}


def written(family: Any) -> str:
    """
    Return a family's name as it is written, with its labels.
    """
    name = family.name
    if family.type == "counter":
        name += "_total"
    labels = [*dict.fromkeys(label for one in family.samples for label in one.labels)]
    labels = [label for label in labels if label != "le"]
    return name + ("{" + ", ".join(labels) + "}" if labels else "")


def our_families() -> list[Any]:
    """
    Return what is not the process's, or Python's.
    """
    return [one for name, one in families().items() if name.startswith("hraftd_")]


def test_all_figures_are_in_the_documentation() -> None:
    """
    Each one with its labels and its type, and none that is not there.
    """
    rows = table_after(text_of("operations.rst"), "metrics")
    documented = {_in_order(name.strip("`\n ")): kind.strip() for name, kind, _ in rows}
    assert len(rows) == len(documented)
    assert documented == {
        _in_order(written(family)): family.type for family in our_families()
    }


def _in_order(name: str) -> str:
    name, brace, labels = name.rstrip("}").partition("{")
    return name + brace + ", ".join(sorted(labels.split(", ")))


def test_names_follow_the_conventions() -> None:
    """
    Base units, and each unit behind its name; a sentence for each.
    """
    for family in our_families():
        assert re.fullmatch(r"hraftd(_[a-z]+)+", family.name)
        assert not re.search(r"_(ms|milliseconds|kb|mb|percent)\b", family.name)
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_every_role_has_a_series() -> None:
    """
    So that a query for a role has an answer also where no node has that role.
    """
    role = families()["hraftd_role"]
    assert [one.labels["role"] for one in role.samples] == list(ROLES)
    assert sum(one.value for one in role.samples) == 1


def test_unanswered_bytes() -> None:
    """
    What a peer has not answered, for each of them.
    """
    unanswered = families()["hraftd_peer_unanswered_bytes"]
    assert {one.labels["peer"]: one.value for one in unanswered.samples} == {
        "node1": 1024,
        "node2": 0,
    }


def test_buckets_have_bounds_that_prometheus_reads() -> None:
    """
    Each a number, and the last one infinite.
    """
    durations = Durations()
    durations.note(0.002)
    family = histogram("a_seconds", "A.", ("b",), {("c",): durations})
    bounds = [one.labels["le"] for one in family.samples if "le" in one.labels]
    assert bounds[0] == "0.0001"
    assert bounds[-1] == "+Inf"
    assert [float(bound) for bound in bounds] == sorted(map(float, bounds))


# What an operator copies.


def alerts() -> list[dict[str, Any]]:
    """
    Return the sample's alerts.
    """
    text = (ROOT / "conf" / "hraftd.rules.yml").read_text("utf-8")
    [group] = yaml.safe_load(text)["groups"]
    return list(group["rules"])


def unknown_in(expression: str) -> list[str]:
    """
    Return the figures, and labels of figures, that an expression names in vain.
    """
    labels: dict[str, set[str]] = {"up": set()}
    for family in families().values():
        for one in family.samples:
            labels.setdefault(one.name, set()).update(one.labels)
    unknown = []
    for name, _, matchers in re.findall(
        r"\b(up|hraftd_\w+|process_\w+)(\{([^}]*)\})?", expression
    ):
        if name not in labels:
            unknown.append(name)
            continue
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in labels[name] | ADDED:
                unknown.append(f"{name}{{{label}}}")
    return unknown


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_alerts_name_figures_that_are_served(alert: dict[str, Any]) -> None:
    """
    An alert on a figure that is not there would never fire, and nobody would notice.
    """
    assert unknown_in(alert["expr"]) == []
    assert re.search(r"\bup\b|hraftd_|process_", alert["expr"])
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert alert["annotations"]["summary"]


def test_a_figure_that_is_not_there_is_noticed() -> None:
    """
    The test above can fail.
    """
    assert unknown_in("rate(hraftd_nothing_total[5m]) > 1") == ["hraftd_nothing_total"]
    assert unknown_in('hraftd_term{peer="a"}') == ["hraftd_term{peer}"]
    assert unknown_in("hraftd_elections_won > 3") == ["hraftd_elections_won"]


def test_prometheus_finds_the_rules_and_the_nodes() -> None:
    """
    The sample settings are YAML, load the alerts, and scrape the path that is served.
    """
    text = (ROOT / "conf" / "prometheus.yml").read_text("utf-8")
    settings = yaml.safe_load(text)
    for name in settings["rule_files"]:
        assert (ROOT / "conf" / name).exists()
    [scrape] = settings["scrape_configs"]
    assert scrape["metrics_path"] == "/metrics"
    assert {f'job="{scrape["job_name"]}"'} == {
        found for alert in alerts() for found in re.findall(r'job="\w+"', alert["expr"])
    }

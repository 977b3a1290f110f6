"""
A node's figures, for Prometheus.

Nothing is kept here: all of it is looked up at the moment when somebody asks, from what
the server says of itself and from what was counted (:mod:`hraftd.measures`), so that a
node which nobody watches does no work for it. What HTTP has to tell comes from
:mod:`hraftd.web.traffic`.

Names follow Prometheus' conventions: ``hraftd_`` before all, base units, ``_total``
behind what only grows. A figure that a node cannot know, such as how far others are
when it does not lead, is left out rather than made up. Labels have few values: members,
roles, routes; never keys or clients. ``docs/operations.rst`` has a table of all.
"""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from hraftd.client_requests import ClientRequests
    from hraftd.measures import Durations
    from hraftd.server import RaftServer
    from hraftd.status import Status

__all__ = ["Metrics", "PeerFigures", "histogram"]

#: Every role that a server can say it has.
ROLES = (
    *("leader", "follower", "pre-candidate", "candidate"),
    *("learner", "nonvoter", "removed"),
)


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    durations: Mapping[tuple[str, ...], Durations],
) -> HistogramMetricFamily:
    """
    Return durations as a histogram.

    :param durations: by the values of the labels.
    """
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, one in durations.items():
        buckets = [
            ("+Inf" if isinf(bound) else repr(bound), count)
            for bound, count in one.cumulated()
        ]
        family.add_metric(values, buckets, one.total)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(
    name: str, text: str, label: str, values: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for name_of_one, value in values.items():
        family.add_metric([name_of_one], value)
    return family


class Metrics:
    """
    Everything that one node has to show.
    """

    def __init__(self, server: RaftServer, client_requests: ClientRequests) -> None:
        """
        Show this server, what clients want of it, and the process.
        """
        # Not the global one, in which there could be only one node to a process.
        self._registry = CollectorRegistry()
        self.add(_ServerFigures(server, client_requests))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def add(self, collector: Collector) -> None:
        """
        Show more.
        """
        self._registry.register(collector)

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """
        Return all figures, and of which Content-Type that is.

        :param accept: the header of that name, empty if there was none: the text format
            of Prometheus, or OpenMetrics for who asks for it.
        """
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)


class _ServerFigures(Collector):
    """
    Looks at a server.
    """

    def __init__(self, server: RaftServer, client_requests: ClientRequests) -> None:
        self._server = server
        self._client_requests = client_requests

    def collect(self) -> Iterator[Metric]:
        """
        See :class:`prometheus_client.registry.Collector`.
        """
        status = self._server.status()
        yield from _standing(status)
        yield from _members(status)
        yield from self._done()
        yield from self._waiting()
        yield from self._held()

    def _done(self) -> Iterator[Metric]:
        counts = self._server.counts
        for name, text, count in (
            (
                "hraftd_elections_started",
                "Terms in which this node asked for votes.",
                counts.elections_started,
            ),
            (
                "hraftd_elections_won",
                "Terms that this node led.",
                counts.elections_won,
            ),
            (
                "hraftd_leader_changes",
                "Times that this node learned who leads.",
                counts.leader_changes,
            ),
            (
                "hraftd_synced_entries",
                "Entries of the log that were written and synced.",
                counts.entries_synced,
            ),
            (
                "hraftd_applied_entries",
                "Entries of the log that were applied.",
                counts.entries_applied,
            ),
            (
                "hraftd_snapshots_taken",
                "Snapshots that this node took.",
                self._server.snapshots_taken,
            ),
            (
                "hraftd_snapshots_restored",
                "Snapshots that a leader sent and this node put in force.",
                counts.snapshots_restored,
            ),
        ):
            yield CounterMetricFamily(name, text, value=count)
        yield histogram(
            "hraftd_sync_duration_seconds",
            "From handing a batch to the disk's thread until it is synced.",
            (),
            {(): counts.sync},
        )
        yield histogram(
            "hraftd_apply_duration_seconds",
            "Applying all entries that one turn found committed.",
            (),
            {(): counts.apply},
        )

    def _waiting(self) -> Iterator[Metric]:
        backlog = self._server.backlog()
        yield _gauge(
            "hraftd_sync_under_way_seconds",
            "For how long the save that is under way has been; 0 without one.",
            backlog.save_seconds,
        )
        yield _gauge(
            "hraftd_unsynced_entries",
            "Entries of the log that are not on this node's disk yet.",
            backlog.unsynced_entries,
        )
        yield _gauge(
            "hraftd_unsynced_bytes",
            "The bytes of these entries.",
            backlog.unsynced_bytes,
        )
        yield _gauge(
            "hraftd_proposals_pending",
            "Writes that wait here to be committed and applied.",
            backlog.proposals,
        )
        yield _gauge(
            "hraftd_proposals_pending_bytes",
            "The bytes of these writes.",
            backlog.proposal_bytes,
        )
        yield _gauge(
            "hraftd_reads_pending",
            "Reads that wait here until the state is fresh enough.",
            backlog.reads,
        )
        yield _gauge(
            "hraftd_forwards_pending",
            "Requests passed on to the leader that it has not answered.",
            self._client_requests.count_forwarded(),
        )

    def _held(self) -> Iterator[Metric]:
        yield _gauge(
            "hraftd_keys",
            "Keys in this node's state.",
            self._client_requests.count_keys(),
        )
        yield _gauge(
            "hraftd_tokens",
            "Writes with an idempotency key that are remembered.",
            self._client_requests.count_tokens(),
        )
        yield _gauge(
            "hraftd_expiring_keys",
            "Keys that were set with a ttl.",
            self._client_requests.count_expiring(),
        )


def _standing(status: Status) -> Iterator[Metric]:
    """
    Say what the server is, and where it is in the log.
    """
    labels = {"id": status.server_id, "cluster": status.cluster_id or ""}
    yield InfoMetricFamily("hraftd_node", "Whose figures these are.", labels)
    yield _gauges(
        "hraftd_role",
        "1 for what this node is, and 0 for what it is not.",
        "role",
        {role: float(role == status.role) for role in ROLES},
    )
    for name, text, value in (
        (
            "hraftd_has_leader",
            "Whether this node knows a leader, itself included.",
            status.leader is not None,
        ),
        ("hraftd_term", "The current term.", status.term),
        (
            "hraftd_commit_index",
            "The last entry known to be committed.",
            status.commit_index,
        ),
        ("hraftd_applied_index", "The last entry applied.", status.last_applied),
        (
            "hraftd_first_log_index",
            "The first entry that could still be sent to another node.",
            status.first_log_index,
        ),
        ("hraftd_last_log_index", "The last entry.", status.last_log_index),
        (
            "hraftd_snapshot_index",
            "The last entry that the latest snapshot covers; 0 before the first.",
            status.snapshot_index,
        ),
        (
            "hraftd_snapshot_bytes",
            "The size of the latest snapshot.",
            status.snapshot_bytes,
        ),
        (
            "hraftd_leader_last_contact_seconds",
            "Since a leader was heard; 0 at the leader.",
            status.last_contact,
        ),
    ):
        if value is not None:
            yield _gauge(name, text, value)


def _members(status: Status) -> Iterator[Metric]:
    """
    Say who belongs to the cluster, and how far from the leader each of them is.
    """
    counted = {"voter": 0, "learner": 0, "nonvoter": 0}
    for server in status.configuration.servers:
        counted[server.suffrage.value] += 1
    yield _gauges(
        "hraftd_members", "Members of the cluster, by suffrage.", "suffrage", counted
    )
    others = [
        member for member in status.members if member.server.id != status.server_id
    ]
    yield _gauges(
        "hraftd_peer_linked",
        "Whether this node has an open link to that member.",
        "peer",
        {member.server.id: float(bool(member.linked)) for member in others},
    )
    if status.role != "leader":
        return
    matched = {member.server.id: member.match_index or 0 for member in others}
    yield _gauges(
        "hraftd_peer_match_index",
        "The last entry known to be on that member's disk; only at the leader.",
        "peer",
        matched,
    )
    yield _gauges(
        "hraftd_peer_lag_entries",
        "Entries of the leader's log that are not known to be there.",
        "peer",
        {peer: status.last_log_index - index for peer, index in matched.items()},
    )
    yield _gauges(
        "hraftd_peer_last_contact_seconds",
        "Since that member answered the leader; absent if it never did in this term.",
        "peer",
        {
            member.server.id: member.last_contact
            for member in others
            if member.last_contact is not None
        },
    )


class PeerFigures(Collector):
    """
    Looks at the links to other members.
    """

    def __init__(self, unanswered_bytes: Callable[[], Mapping[str, int]]) -> None:
        """
        Ask that for the bytes of questions by member.
        """
        self._unanswered_bytes = unanswered_bytes

    def collect(self) -> Iterator[Metric]:
        """
        See :class:`prometheus_client.registry.Collector`.
        """
        yield _gauges(
            "hraftd_peer_unanswered_bytes",
            "Bytes sent to that member, or about to be, that it has not answered.",
            "peer",
            self._unanswered_bytes(),
        )

"""
How many requests came over HTTP, how they ended, and how long they took.

They are told apart by route, as it is written in the API's description, never by path:
with keys for labels there would be as many time series as there are keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hraftd.measures import Durations
from hraftd.metrics import histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

__all__ = ["OTHER", "PARAMETERS", "Tally", "Traffic", "route_template"]

#: What stands for all that is no route, or no method of HTTP's.
OTHER = "other"

_METHODS = {
    name.encode("ascii"): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}

#: By the first part of a path, what its second part is.
PARAMETERS = {"key": "key", "nodes": "id"}

#: Their answers last as long as somebody listens, or as the data takes: that says
#: nothing about how fast this node is.
_STREAMS = frozenset({"/watch", "/backup", "/restore"})


def route_template(rule: str) -> str:
    """
    Return a rule of Klein's as the description writes it: ``/key/{key}``.
    """
    first, *rest = rule.strip("/").split("/")
    return f"/{first}/{{{PARAMETERS[first]}}}" if rest else f"/{first}"


@define
class Tally:
    """
    The requests of one method to one route.
    """

    #: How many ended with each status; with ``None`` if the client was gone before.
    codes: dict[int | None, int] = field(factory=dict)
    #: Of those that were answered.
    durations: Durations = field(factory=Durations)

    def note(self, code: int | None, seconds: float) -> None:
        """
        Count a request that is over; as :meth:`Traffic.note`.
        """
        codes = self.codes
        codes[code] = codes.get(code, 0) + 1
        if code is not None:
            self.durations.note(seconds)

    @property
    def is_timed(self) -> bool:
        """
        Whether there was one that was answered.
        """
        return any(self.durations.counts)


class Traffic(Collector):
    """
    The requests of one site.
    """

    def __init__(
        self,
        rules: Iterable[str],
        connections: Callable[[], int],
        watchers: Callable[[], int],
    ) -> None:
        """
        Begin with none.

        :param rules: the routes that there are, as Klein writes them.
        :param connections: returns how many there are at the moment.
        :param watchers: returns how many of them watch.
        """
        #: By the first part of a path, and by whether there is a second one.
        self._routes: dict[tuple[bytes, bool], str] = {}
        for template in map(route_template, rules):
            first, _, rest = template[1:].partition("/")
            self._routes[first.encode("ascii"), bool(rest)] = template
        self._connections = connections
        self._watchers = watchers
        #: By route and method.
        self._tallies: dict[tuple[str, str], Tally] = {}

    def route_of(self, path: bytes) -> str:
        """
        Return the route that a path leads to.
        """
        first, slash, rest = path[1:].partition(b"/")
        if slash and not rest:
            return OTHER
        return self._routes.get((first, bool(rest)), OTHER)

    def note(
        self, method: bytes, path: bytes, code: int | None, seconds: float
    ) -> None:
        """
        Count a request that is over.

        :param code: of the answer; ``None`` if the client was gone before it.
        :param seconds: from the last byte of the request to the end of the answer.
        """
        self.tally(method, path).note(code, seconds)

    def tally(self, method: bytes, path: bytes) -> Tally:
        """
        Return what counts the requests of that method to the route of that path.
        """
        of = (self.route_of(path), _METHODS.get(method, OTHER))
        tally = self._tallies.get(of)
        if tally is None:
            tally = self._tallies[of] = Tally()
        return tally

    def collect(self) -> Iterator[Metric]:
        """
        See :class:`prometheus_client.registry.Collector`.
        """
        requests = CounterMetricFamily(
            "hraftd_http_requests",
            "Requests that are over, by what was answered; none if nobody waited.",
            labels=("route", "method", "status"),
        )
        for (route, method), tally in self._tallies.items():
            for code, count in tally.codes.items():
                status = "none" if code is None else str(code)
                requests.add_metric((route, method, status), count)
        yield requests
        yield histogram(
            "hraftd_http_request_duration_seconds",
            "From the last byte of a request to the end of its answer; no streams.",
            ("route", "method"),
            {
                of: tally.durations
                for of, tally in self._tallies.items()
                if of[0] not in _STREAMS and tally.is_timed
            },
        )
        yield GaugeMetricFamily(
            "hraftd_http_connections",
            "Connections of clients that are open.",
            value=self._connections(),
        )
        yield GaugeMetricFamily(
            "hraftd_watchers",
            "Clients that are told of changes as they happen.",
            value=self._watchers(),
        )

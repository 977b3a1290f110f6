"""
For those who look after nodes: is it alive, is it ready, what are its figures.

And what the whole API is, in a form for programs. What alive and ready mean is told in
:mod:`hraftd.readiness`, what the figures are in :mod:`hraftd.metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.web.answers import (
    answer,
    new_app,
    not_cached,
    not_done,
    raw_answer,
)
from hraftd.web.asked import query
from hraftd.web.openapi import description_as_json

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hraftd.metrics import Metrics
    from hraftd.outcomes import Unavailable
    from hraftd.readiness import Readiness
    from hraftd.web.channel import Request

__all__ = ["OperationsAPI"]


class OperationsAPI:
    """
    What supervisors, load balancers and Prometheus ask for.
    """

    app = new_app()

    def __init__(self, readiness: Readiness, metrics: Metrics) -> None:
        """
        Tell these.
        """
        self._readiness = readiness
        self._metrics = metrics
        self._description = description_as_json()

    @app.route("/healthz", methods=["GET"])
    def healthz(self, request: Request) -> bytes:
        """
        Answer whether the process should go on, or be started again.
        """
        query(request)
        not_cached(request)
        reason = self._readiness.why_dead()
        if reason is not None:
            return not_done(request, reason)
        return answer(request, 200, {"alive": True})

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: Request) -> Deferred[bytes]:
        """
        Answer whether requests should come here.
        """
        query(request)
        not_cached(request)

        def told(reason: Unavailable | None) -> bytes:
            if reason is not None:
                return not_done(request, reason)
            return answer(request, 200, {"ready": True})

        return self._readiness.until_ready().addCallback(told)

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Request) -> bytes:
        """
        Answer with all figures, in the format that Prometheus asks for.
        """
        query(request)
        accept = request.getHeader(b"accept") or b""
        kind, body = self._metrics.exposition(accept.decode("ascii", "replace"))
        return raw_answer(request, 200, kind.encode("ascii"), body)

    @app.route("/openapi.json", methods=["GET"])
    def openapi(self, request: Request) -> bytes:
        """
        Answer with the description of the whole API.
        """
        query(request)
        return raw_answer(request, 200, b"application/json", self._description)

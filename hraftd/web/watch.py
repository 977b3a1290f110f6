"""
``GET /watch``: what changes, as it changes.

Here a request is read and answered or refused. What it is told for as long as it lasts,
and what becomes of one who does not listen, is in :mod:`hraftd.web.watchers`; the form
is in :mod:`hraftd.web.events`.

Any node serves this from its own history, so watchers cost the leader nothing. A node
that is cut off tells nothing new, as a read of the level ``none`` does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hraftd.client_requests import NO_MEMBER
from hraftd.outcomes import Unavailable
from hraftd.web.answers import Refusal, new_app, not_done, refuse
from hraftd.web.asked import query, shown, size_of
from hraftd.web.events import COMPACTED, CONTENT_TYPE
from hraftd.web.watchers import MAX_WATCHERS, Watcher, Watchers

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.web import http

    from hraftd.client_requests import ClientRequests
    from hraftd.server import RaftServer
    from hraftd.web.channel import Request

__all__ = ["WatchAPI"]

#: Indexes have 64 bits; no log comes near that.
_INDEX = re.compile(r"[0-9]{1,18}")


class WatchAPI:
    """
    The one route for watching.
    """

    app = new_app()

    def __init__(
        self, client_requests: ClientRequests, server: RaftServer, clock: IReactorTime
    ) -> None:
        """
        Tell what that server applies.
        """
        self._limits = client_requests.limits
        self._server = server
        self.watchers = Watchers(client_requests.history, server, clock)

    @app.route("/watch", methods=["GET"])
    def watch(self, request: Request) -> Deferred[bytes] | bytes:
        """
        Answer with one event after the other, without an end.
        """
        parameters = query(request, ("after", "prefix"))
        prefix = parameters.get("prefix", "")
        if size_of(prefix, "the prefix") > self._limits.max_key_bytes:
            most = self._limits.max_key_bytes
            raise Refusal(400, f"a prefix holds at most {most} bytes, as a key does")
        after = _last_event_id(request)
        if "after" in parameters:
            from_query = _index("after", parameters["after"])
            after = from_query if after is None else after
        if not self._server.is_member:
            return not_done(request, NO_MEMBER)
        if self.watchers.is_stopped:
            return not_done(request, Unavailable("this node is stopping"))
        if len(self.watchers) >= MAX_WATCHERS:
            return not_done(
                request, Unavailable("too many watch here; ask another node")
            )
        complete_after = self.watchers.complete_after()
        if after is None:
            after = self.watchers.applied
        elif after < complete_after:
            return refuse(request, 410, COMPACTED, first=complete_after + 1)
        _begin(request)
        if request.method == b"HEAD":
            return b""
        return Watcher(self.watchers, request, request.channel, prefix, after).over


def _last_event_id(request: Request) -> int | None:
    """
    Return the place that a client goes on from which was connected before.

    :raises Refusal: if it is not one of hraftd's.
    """
    found = request.requestHeaders.getRawHeaders(b"Last-Event-ID", [])
    if not found:
        return None
    if len(found) > 1:
        raise Refusal(400, "the header Last-Event-ID is given twice")
    return _index("Last-Event-ID", found[0].decode("utf-8", "replace"))


def _index(name: str, number: str) -> int:
    """
    Read an index.

    :raises Refusal: if it is none.
    """
    if not _INDEX.fullmatch(number):
        raise Refusal(400, f"{name} takes the index of an entry, not {shown(number)}")
    return int(number)


def _begin(request: http.Request) -> None:
    """
    Set the headers of an answer that goes on.
    """
    request.setHeader(b"Server", b"hraftd")
    request.setHeader(b"Content-Type", CONTENT_TYPE)
    # Nobody in between is to keep events, neither for others nor for a while.
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Accel-Buffering", b"no")

"""
The keys: ``GET``, ``POST`` and ``DELETE``.

Reading the request is in :mod:`hraftd.web.asked` and :mod:`hraftd.web.bodies`, serving
it in :mod:`hraftd.client_requests`; here the one meets the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.kv.commands import Delete, Set
from hraftd.outcomes import Applied, Read
from hraftd.web.answers import answer, new_app, not_done, refuse
from hraftd.web.asked import consistency, key_in_path, on_follower
from hraftd.web.bodies import pairs

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hraftd.client_requests import ClientRequests
    from hraftd.outcomes import ReadOutcome, WriteOutcome
    from hraftd.web.channel import Request

__all__ = ["KeyAPI"]


class KeyAPI:
    """
    Everything under ``/key``.
    """

    app = new_app()

    def __init__(self, client_requests: ClientRequests) -> None:
        """
        Serve keys through this.
        """
        self._client_requests = client_requests

    @app.route("/key/<segment>", methods=["GET"])
    def get(self, request: Request, segment: str) -> Deferred[bytes]:
        """
        Answer with the value that this node knows, once that is as fresh as asked for.
        """
        asked = consistency(request, self._client_requests.read_level)
        key = key_in_path(segment, self._client_requests.limits)

        def told(outcome: ReadOutcome) -> bytes:
            if not isinstance(outcome, Read):
                return not_done(request, outcome)
            if outcome.found is None:
                return refuse(request, 404, "there is no such key")
            return answer(request, 200, {key: outcome.found.value})

        return self._client_requests.read(key, asked).addCallback(told)

    @app.route("/key", methods=["POST"])
    def post(self, request: Request) -> Deferred[bytes]:
        """
        Set all pairs of the body, as one command; answer once it is applied.
        """
        wanted = on_follower(request)
        body = request.content.read()
        command = Set(pairs(body, self._client_requests.limits))

        def told(outcome: WriteOutcome) -> bytes:
            if isinstance(outcome, Applied):
                return answer(request, 200, {"index": outcome.index})
            return not_done(request, outcome)

        return self._client_requests.write(command, wanted).addCallback(told)

    @app.route("/key/<segment>", methods=["DELETE"])
    def delete(self, request: Request, segment: str) -> Deferred[bytes]:
        """
        Remove a key; say whether it was there.
        """
        wanted = on_follower(request)
        command = Delete(key_in_path(segment, self._client_requests.limits))

        def told(outcome: WriteOutcome) -> bytes:
            if isinstance(outcome, Applied):
                content = {"index": outcome.index, "deleted": outcome.result}
                return answer(request, 200, content)
            return not_done(request, outcome)

        return self._client_requests.write(command, wanted).addCallback(told)

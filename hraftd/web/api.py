"""
The keys: ``GET``, ``POST``, ``PUT`` and ``DELETE``, listings and transactions.

Reading the request is in :mod:`hraftd.web.asked`, :mod:`hraftd.web.headers`,
:mod:`hraftd.web.bodies` and :mod:`hraftd.web.transactions`, serving it in
:mod:`hraftd.client_requests`; here the one meets the other. What reads and writes of
keys are answered is in :mod:`hraftd.web.keys`, which is not only for Klein.

A write with conditions is a transaction: they are looked at when its entry is applied,
on every node alike, and what the key holds instead comes out of the same entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.kv.commands import Delete, Get, Set, Transaction
from hraftd.kv.records import Versioned
from hraftd.kv.results import Ran
from hraftd.outcomes import Listed
from hraftd.web.answers import answer, new_app, not_done, tag
from hraftd.web.asked import consistency, key_in_path, lifetime, on_follower, page
from hraftd.web.bodies import pairs, raw_value
from hraftd.web.headers import idempotency_key, no_preconditions, preconditions
from hraftd.web.keys import Keys, not_met
from hraftd.web.transactions import ran, transaction, value_and_index

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.internet.defer import Deferred

    from hraftd.client_requests import ClientRequests
    from hraftd.kv.commands import Operation, Write
    from hraftd.outcomes import Applied, ListOutcome
    from hraftd.web.channel import Request

__all__ = ["KeyAPI"]

#: What a write that sets keys may have in its query, besides what all may.
_TTL = ("ttl",)


class KeyAPI:
    """
    Everything under ``/key``, and ``/txn``.
    """

    app = new_app()

    def __init__(self, client_requests: ClientRequests) -> None:
        """
        Serve keys through this.
        """
        self._client_requests = client_requests
        self._keys = Keys(client_requests)

    @app.route("/key/<segment>", methods=["GET"])
    def get(self, request: Request, segment: str) -> Deferred[bytes]:
        """
        Answer with the value that this node knows, once that is as fresh as asked for.
        """
        asked = consistency(request, self._client_requests.read_level)
        key = key_in_path(segment, self._client_requests.limits)
        return self._keys.get(request, key, asked, preconditions(request, key))

    @app.route("/key", methods=["GET"])
    def list_keys(self, request: Request) -> Deferred[bytes]:
        """
        Answer with a page of the keys in their order, and what they hold.
        """
        wanted, asked = page(request, self._client_requests.read_level)

        def told(outcome: ListOutcome) -> bytes:
            if not isinstance(outcome, Listed):
                return not_done(request, outcome)
            keys = [
                {"key": key, **value_and_index(found)}
                for key, found in outcome.listing.items
            ]
            content = {
                "index": outcome.index,
                "keys": keys,
                "more": outcome.listing.more,
            }
            return answer(request, 200, content)

        return self._client_requests.page(
            wanted.prefix, wanted.after, wanted.limit, asked
        ).addCallback(told)

    @app.route("/key", methods=["POST"])
    def post(self, request: Request) -> Deferred[bytes]:
        """
        Set all pairs of the body, as one command; answer once it is applied.
        """
        no_preconditions(request)
        body = request.content.read()
        command = Set(pairs(body, self._client_requests.limits), lifetime(request))
        wanted = on_follower(request, _TTL)
        return self._keys.set(request, command, wanted, idempotency_key(request))

    @app.route("/key/<segment>", methods=["PUT"])
    def put(self, request: Request, segment: str) -> Deferred[bytes]:
        """
        Give a key the value that the body is, if the conditions for that hold.
        """
        key = key_in_path(segment, self._client_requests.limits)
        value = raw_value(request.content.read(), key, self._client_requests.limits)

        def applied(outcome: Applied) -> bytes:
            tag(request, outcome.index)
            return answer(request, 200, {"index": outcome.index})

        command = Set(((key, value),), lifetime(request))
        return self._write_if(request, key, command, applied, _TTL)

    @app.route("/key/<segment>", methods=["DELETE"])
    def delete(self, request: Request, segment: str) -> Deferred[bytes]:
        """
        Remove a key, if the conditions for that hold; say whether it was there.
        """
        key = key_in_path(segment, self._client_requests.limits)

        def applied(outcome: Applied) -> bytes:
            deleted = outcome.result
            if isinstance(deleted, Ran):
                [deleted] = deleted.results
            content = {"index": outcome.index, "deleted": deleted}
            return answer(request, 200, content)

        return self._write_if(request, key, Delete(key), applied)

    @app.route("/txn", methods=["POST"])
    def transact(self, request: Request) -> Deferred[bytes]:
        """
        Carry out a transaction; say which branch ran, and what it did.
        """
        no_preconditions(request)
        command = transaction(request.content.read(), self._client_requests.limits)

        def applied(outcome: Applied) -> bytes:
            assert isinstance(outcome.result, Ran)
            content = ran(command, outcome.index, outcome.result)
            return answer(request, 200, content)

        return self._write(request, command, applied)

    def _write_if(
        self,
        request: Request,
        key: str,
        operation: Operation,
        applied: Callable[[Applied], bytes],
        parameters: Collection[str] = (),
    ) -> Deferred[bytes]:
        """
        Have an operation on a key carried out, if its conditions hold.

        :param parameters: as for :meth:`_write`.
        """
        conditions = preconditions(request, key).all
        if not conditions:
            assert not isinstance(operation, Get)
            return self._write(request, operation, applied, parameters)

        def tried(outcome: Applied) -> bytes:
            result = outcome.result
            assert isinstance(result, Ran)
            if result.succeeded:
                return applied(outcome)
            [found] = result.results
            return not_met(request, found if isinstance(found, Versioned) else None)

        command = Transaction(conditions, (operation,), (Get(key),))
        return self._write(request, command, tried, parameters)

    def _write(
        self,
        request: Request,
        command: Write,
        applied: Callable[[Applied], bytes],
        parameters: Collection[str] = (),
    ) -> Deferred[bytes]:
        """
        Have a command replicated, once if the request says so, and tell the outcome.

        :param parameters: of the query, that have been read already.
        """
        wanted = on_follower(request, parameters)
        token = idempotency_key(request)
        return self._keys.write(request, command, applied, wanted, token)

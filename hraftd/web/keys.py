"""
What clients do with keys, and what they are told: the key API without a request.

There are two ways in here, and both do the same. One is Klein's: :mod:`hraftd.web.api`
reads all that may stand in a request. The other is the fast lane's, which knows a few
forms of two requests and no others, see :mod:`hraftd.web.fast_lane`. Whatever an answer
says is decided here, so that it does not depend on the way.
"""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from hraftd.kv.commands import Once
from hraftd.outcomes import Applied, Read
from hraftd.web.answers import (
    json_answer,
    not_done,
    not_modified,
    refuse,
    tag,
)
from hraftd.web.headers import NO_PRECONDITIONS, are_met
from hraftd.web.transactions import value_and_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from hraftd.client_requests import ClientRequests
    from hraftd.forwarding import OnFollower
    from hraftd.kv.commands import Set, Write
    from hraftd.kv.records import Versioned
    from hraftd.outcomes import ReadOutcome, WriteOutcome
    from hraftd.reads import Consistency
    from hraftd.web.answers import Reply
    from hraftd.web.headers import Preconditions

__all__ = ["Keys", "not_met", "pair_as_json"]

_NOT_MET = "the precondition does not hold"


def pair_as_json(key: str, value: str) -> bytes:
    """
    Return the body that tells what a key holds.
    """
    # As json.dumps writes it, but without a dictionary and an encoder each time.
    return f"{{{encode_basestring(key)}: {encode_basestring(value)}}}".encode()


def not_met(reply: Reply, found: Versioned | None) -> bytes:
    """
    Answer that a condition does not hold, and what there is instead.
    """
    if found is not None:
        tag(reply, found.index)
    return refuse(reply, 412, _NOT_MET, **value_and_index(found))


class Keys:
    """
    Reads and writes keys, and makes an answer of what comes of it.

    Each method fills in a reply, and returns or fires with the body.
    """

    def __init__(self, client_requests: ClientRequests) -> None:
        """
        Serve keys through this.
        """
        self._client_requests = client_requests

    def get(
        self,
        reply: Reply,
        key: str,
        asked: Consistency,
        conditions: Preconditions = NO_PRECONDITIONS,
    ) -> Deferred[bytes]:
        """
        Tell the value that this node knows, once that is as fresh as asked for.
        """

        def told(outcome: ReadOutcome) -> bytes:
            if not isinstance(outcome, Read):
                return not_done(reply, outcome)
            return self.tell(reply, key, outcome.found, conditions)

        return self._client_requests.read(key, asked).addCallback(told)

    @staticmethod
    def tell(
        reply: Reply,
        key: str,
        found: Versioned | None,
        conditions: Preconditions = NO_PRECONDITIONS,
    ) -> bytes:
        """
        Tell what a key holds, if the conditions for that hold.
        """
        if not are_met(conditions.if_match, found):
            return not_met(reply, found)
        if found is None:
            return refuse(reply, 404, "there is no such key")
        tag(reply, found.index)
        if not are_met(conditions.if_none_match, found):
            return not_modified(reply)
        return json_answer(reply, 200, pair_as_json(key, found.value))

    def set(
        self,
        reply: Reply,
        command: Set,
        on_follower: OnFollower | None = None,
        token: str | None = None,
    ) -> Deferred[bytes]:
        """
        Set the pairs of a command; tell the index at which that was done.

        :param on_follower: as for :meth:`write`.
        :param token: as for :meth:`write`.
        """

        def applied(outcome: Applied) -> bytes:
            return json_answer(reply, 200, b'{"index": %d}' % outcome.index)

        return self.write(reply, command, applied, on_follower, token)

    def write(
        self,
        reply: Reply,
        command: Write,
        applied: Callable[[Applied], bytes],
        on_follower: OnFollower | None = None,
        token: str | None = None,
    ) -> Deferred[bytes]:
        """
        Have a command replicated, and tell the outcome.

        :param applied: tells it if the command was carried out.
        :param on_follower: ``None`` for what the node was told at its start.
        :param token: by which it is done once, however often it is asked for.
        """

        def told(outcome: WriteOutcome) -> bytes:
            if isinstance(outcome, Applied):
                return applied(outcome)
            return not_done(reply, outcome)

        return self._client_requests.write(
            command if token is None else Once(token, command), on_follower
        ).addCallback(told)

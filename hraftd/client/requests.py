"""
What all requests of a client have in common: how they begin, and how they end.

Each is brought to an end by :mod:`hraftd.client.attempts`, and none of them outlives
the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakSet

from twisted.internet.defer import Deferred, fail

from hraftd.client.asking import checked_level
from hraftd.client.attempts import Attempts
from hraftd.client.connections import Connections
from hraftd.client.deadlines import steady_seconds
from hraftd.client.endpoints import Endpoints, read_address
from hraftd.client.errors import Closed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from twisted.internet.interfaces import IReactorTime
    from twisted.web.iweb import IAgent

    from hraftd.client.answers import Reply
    from hraftd.client.asking import Ask
    from hraftd.client.watching import Watch

__all__ = ["Requests", "checked_timeout"]

_T = TypeVar("_T")


class Requests:
    """
    Makes requests, until it is closed.
    """

    def __init__(
        self,
        endpoints: Iterable[str] | str = ("localhost:11000",),
        *,
        reactor: IReactorTime | None = None,
        timeout: float = 10.0,
        level: str | None = None,
        agent: IAgent | None = None,
    ) -> None:
        """
        Be ready to ask; nothing is asked yet.

        :param endpoints: the HTTP addresses of some nodes, ``host:port``, the nearest
            first. One would do, as long as it runs; the leader is found through any.
        :param reactor: for connections and time; the global one if none is given.
        :param timeout: seconds for each request with all its attempts.
        :param level: how fresh reads are, where they do not say: ``none``, ``weak``,
            ``linearizable``, ``strong`` or ``auto``. Without it the node decides.
        :param agent: makes the HTTP requests instead of one that keeps connections;
            for TLS to a proxy, for example.
        :raises ValueError: with a sentence, if one of these is wrong.
        """
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = cast("IReactorTime", installed)
        self._reactor = reactor
        self._timeout = checked_timeout(timeout)
        self._level = checked_level(level)
        self._connections = Connections(reactor, agent)
        self._endpoints = Endpoints(endpoints)
        self._seconds = steady_seconds(reactor)
        self._attempts = Attempts(
            reactor, self._seconds, self._connections, self._endpoints
        )
        #: What has not ended yet.
        self._pending: set[Deferred[Any]] = set()
        self._watches: WeakSet[Watch] = WeakSet()
        self._is_closed = False

    def close(self) -> Deferred[None]:
        """
        Cancel what is under way, and close all connections.

        :return: fires when they are closed.
        """
        self._is_closed = True
        for watch in list(self._watches):
            watch.close()
        for pending in list(self._pending):
            pending.cancel()
        return self._connections.close()

    def _level_of(self, level: str | None) -> str | None:
        return self._level if level is None else checked_level(level)

    def _ask(
        self,
        ask: Ask,
        understood: Callable[[Reply], _T],
        timeout: float | None,
        endpoint: str | None = None,
    ) -> Deferred[_T]:
        seconds = self._timeout if timeout is None else checked_timeout(timeout)
        if endpoint is None:
            return self._start(self._attempts.make(ask, understood, seconds))
        address = read_address(endpoint)
        return self._start(self._attempts.at(address, ask, understood, seconds))

    def _start(self, work: Coroutine[Deferred[Any], Any, _T]) -> Deferred[_T]:
        """
        Do something until it is done or the client is closed.
        """
        if self._is_closed:
            work.close()
            return fail(Closed("the client is closed"))
        pending = Deferred.fromCoroutine(work)
        if pending.called:
            return pending
        self._pending.add(pending)

        def ended(result: _T) -> _T:
            self._pending.discard(pending)
            return result

        return pending.addBoth(ended)


def checked_timeout(timeout: float) -> float:
    """
    Return a number of seconds.

    :raises ValueError: if it is none.
    """
    # Not with "<=", which a NaN passes.
    if not timeout > 0 or timeout == float("inf"):
        raise ValueError(f"a timeout is some seconds, not {timeout!r}")
    return timeout

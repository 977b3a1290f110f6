"""
A port that is open while a service runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import serverFromString

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from twisted.internet.interfaces import IListeningPort, IProtocolFactory
    from twisted.python.failure import Failure

__all__ = ["CannotStart", "Listener"]


class CannotStart(Exception):
    """
    The node cannot run like this. The text is one sentence that says why.
    """


class Listener(Service):
    """
    Listens while it runs; cannot start if it cannot listen.
    """

    def __init__(
        self,
        reactor: Any,
        description: str,
        factory: IProtocolFactory,
        before_stop: Callable[[], object],
        after_stop: Callable[[], object],
    ) -> None:
        """
        Prepare to listen.

        :param before_stop: is waited for before this stops to listen ...
        :param after_stop: ... and this after it.
        """
        self._reactor = reactor
        self._description = description
        self._factory = factory
        self._before_stop = before_stop
        self._after_stop = after_stop
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """
        Listen.

        :raises CannotStart: if the address is taken, or not there, or if it is an
            endpoint string with which Twisted can do nothing.
        """
        Service.startService(self)
        try:
            endpoint = serverFromString(self._reactor, self._description)
        except Exception as error:
            # Whatever the parser of that kind of endpoint stumbles over.
            raise CannotStart(
                f"cannot listen on {self._description}: {error}"
            ) from error
        failures: list[Failure] = []

        def listening(port: IListeningPort) -> None:
            self._port = port

        endpoint.listen(self._factory).addCallbacks(listening, failures.append)
        for failure in failures:
            raise CannotStart(f"cannot listen: {failure.getErrorMessage()}")

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[object], object, None]:
        """
        Listen no more, and let go of the connections.
        """
        Service.stopService(self)
        yield maybeDeferred(self._before_stop)
        if self._port is not None:
            yield maybeDeferred(self._port.stopListening)
        yield maybeDeferred(self._after_stop)

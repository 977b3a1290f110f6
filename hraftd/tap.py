"""
The ``hraftd`` command of ``twistd``: the service that its options make.

The options themselves are in :mod:`hraftd.options`.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from hraftd.clock import use_monotonic_time
from hraftd.node import CannotStart, Node
from hraftd.options import Exit, Options

if TYPE_CHECKING:
    from types import FrameType

    from twisted.application.service import IService
    from twisted.internet.base import ReactorBase

__all__ = ["Options", "makeService"]

_log = Logger()

#: When garbage is looked for, see :func:`gc.set_threshold`. A hundred requests that
#: wait have more objects than Python's own first threshold allows, so that one would
#: have it look all the time, an eighth of the processor's, and find nothing: requests
#: leave no cycles behind.
GC_THRESHOLDS = (50_000, 20, 100)


class _NodeService(Node):
    """
    A node that ends its process with a line and status 1 when it cannot go on.
    """

    def startService(self) -> None:
        """
        Start, or end the process.
        """
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            super().startService()
        except CannotStart as error:
            raise Exit(f"hraftd: {error}") from None
        # What is there now stays; it need not be looked through again and again.
        gc.freeze()
        # Twisted puts its own there when it begins to run.
        self._reactor.callWhenRunning(_be_told_once)


def _be_told_once() -> None:
    """
    Take no notice of a second SIGINT or SIGTERM: Twisted would log a traceback.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    twisteds = {number: signal.getsignal(number) for number in signals}

    def stop(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        handler = twisteds[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in signals:
        signal.signal(number, stop)


def makeService(options: Options) -> IService:
    """
    Make the service of one node from its command line.
    """
    from twisted.internet import reactor

    def end(reason: str) -> None:
        _log.critical("hraftd: cannot go on: {reason}", reason=reason)
        # Only after everything else that is done at exit, twistd's pid file included.
        atexit.register(_exit_with_failure)
        # It may be stopping already, for another reason.
        with suppress(ReactorNotRunning):
            reactor.stop()

    use_monotonic_time(cast("ReactorBase", reactor))
    assert options.settings is not None, "parseOptions has been called"
    return _NodeService(options.settings, reactor, end)


def _exit_with_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)

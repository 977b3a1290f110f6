"""
A command for people as a process: the reactor, Ctrl-C, the exit status.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from hraftd.clock import use_monotonic_time
from hraftd.closed_pipe import leave_unwritten
from hraftd.commands.endings import DONE, FAILED, INTERRUPTED, UNKNOWN, Stop
from hraftd.commands.names import CHANGES
from hraftd.commands.parsing import read_options
from hraftd.commands.running import perform, prepare
from hraftd.commands.screen import NotWritten, Screen

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from twisted.internet.base import ReactorBase

__all__ = ["run_command"]


def run_command(name: str, arguments: Sequence[str]) -> int:
    """
    Run one of the commands for people.

    :return: the status of the process; what went wrong has been said in one line.
    """
    screen = Screen()
    try:
        options = read_options(name, arguments)
        if name == "dev":
            return _run_cluster(options, screen)
        prepare(name, options, screen)
        return _on_the_reactor(name, options, screen)
    except Stop as stop:
        if stop.line:
            screen.error(f"hraftd {name}: {stop.line}")
        return stop.status
    except NotWritten as error:
        leave_unwritten()
        reason = f"the output cannot be written: {error.strerror}"
        if name in CHANGES:
            screen.error(f"hraftd {name}: it is done, but {reason}")
            return UNKNOWN
        screen.error(f"hraftd {name}: {reason}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_cluster(options: Namespace, screen: Screen) -> int:
    from hraftd.dev.cluster import run
    from hraftd.dev.plan import Wanted

    return run(
        Wanted(options.nodes, options.port, options.free_ports, options.data_dir),
        screen,
    )


def _on_the_reactor(name: str, options: Namespace, screen: Screen) -> int:
    """
    Run the part of a command that needs a reactor.
    """
    from twisted.internet import reactor

    use_monotonic_time(cast("ReactorBase", reactor))
    ended: list[int | Failure] = []

    def begin() -> None:
        deed = Deferred.fromCoroutine(perform(name, options, screen, reactor))
        # Ctrl-C stops the reactor, and so ends what is under way in order.
        reactor.addSystemEventTrigger("before", "shutdown", deed.cancel)
        deed.addBoth(have_ended)

    def have_ended(result: int | Failure) -> None:
        ended.append(result)
        # It may be stopping already.
        with suppress(ReactorNotRunning):
            reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()
    [result] = ended
    if not isinstance(result, Failure):
        return result
    if result.check(CancelledError):
        return _interrupted(name)
    result.raiseException()


def _interrupted(name: str) -> int:
    """
    Return what Ctrl-C means: that one has seen enough, or that something is broken off.
    """
    if name == "watch":
        return DONE
    if name in CHANGES:
        raise Stop(INTERRUPTED, "interrupted; it may or may not be done")
    return INTERRUPTED

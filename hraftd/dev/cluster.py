"""
Looking after the nodes of a cluster for trying things, from first to last.

One loop: it writes what the nodes say, sees whether they have become a cluster, and
whether somebody has had enough. It waits for nothing for longer than a moment, besides
for a terminal that somebody has stopped.
"""

from __future__ import annotations

import json
import shlex
import signal
import tempfile
import time
from contextlib import contextmanager, nullcontext
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from attrs import define, field

from hraftd.commands.endings import DONE, FAILED, Stop
from hraftd.dev.children import (
    Child,
    Ended,
    Event,
    Events,
    Said,
    as_typed,
    how_it_ended,
)
from hraftd.dev.plan import choose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from hraftd.commands.screen import Screen
    from hraftd.dev.plan import Place, Plan, Wanted

__all__ = ["STOPPED", "run"]

#: Seconds between two looks at everything.
_MOMENT = 0.2

#: Seconds in which the nodes have to become a cluster: mostly those in which several
#: processes read their programs from a disk.
_READY = 60.0

#: Seconds in which they have to stop.
STOPPED = 15.0

_COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


def run(wanted: Wanted, screen: Screen) -> int:
    """
    Run a cluster until it is told to stop.

    :raises Stop: if it cannot be started, or none of its nodes is left.
    """
    plan = choose(wanted)
    with _directory(wanted) as name, _told_to_stop() as told:
        cluster = Cluster(plan, Path(name), wanted.data_dir is not None, screen, told)
        try:
            return cluster.run()
        finally:
            cluster.stop()


def _directory(wanted: Wanted) -> AbstractContextManager[str]:
    if wanted.data_dir is not None:
        # What is printed is typed elsewhere.
        return nullcontext(str(wanted.data_dir.resolve()))
    # On Windows a file may be open for a moment longer than its process.
    return tempfile.TemporaryDirectory(prefix="hraftd-dev-", ignore_cleanup_errors=True)


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """
    Collect the signals that ask the process to stop.
    """
    told: list[int] = []
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {
        number: signal.signal(number, lambda number, _: told.append(number))
        for number in numbers
    }
    try:
        yield told
    finally:
        for number, disposition in before.items():
            signal.signal(number, disposition)


def _status(place: Place) -> dict[str, Any]:
    """
    Return what a node says of itself; empty if it does not answer.
    """
    connection = HTTPConnection("127.0.0.1", place.http_port, timeout=1.0)
    try:
        connection.request("GET", "/status")
        found = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}


@define
class Cluster:
    """
    Nodes that run, are about to, or have.
    """

    plan: Plan
    directory: Path
    is_kept: bool
    screen: Screen
    #: Signals that have asked to stop.
    told: list[int]
    events: Events = field(factory=Events)
    children: dict[str, Child] = field(factory=dict)
    _is_stopping: bool = False

    def run(self) -> int:
        """
        Start the nodes; return when somebody wants them to stop.

        :raises Stop: if they do not become a cluster, or none of them is left.
        """
        first, *_ = places = self.plan.places()
        for place in places:
            arguments = place.arguments(self.directory, first)
            try:
                self.children[place.id] = Child(place.id, arguments, self.events)
            except OSError as error:
                raise Stop(FAILED, f"cannot start a process: {error}") from error
        ready_by = time.monotonic() + _READY
        is_ready = False
        while not self.told:
            for event in self.events.take(_MOMENT):
                self._show(event)
                if isinstance(event, Ended) and not is_ready:
                    raise Stop(
                        FAILED, f"{event.name} has ended; its last lines above say why"
                    )
            if not is_ready:
                leader = self._leader()
                if leader is not None:
                    is_ready = True
                    self._introduce(leader)
                elif time.monotonic() > ready_by:
                    raise Stop(
                        FAILED,
                        f"the nodes are no cluster after {_READY:g} seconds; the lines "
                        "above may say why",
                    )
            elif not self._running():
                raise Stop(FAILED, "no node is left; start hraftd dev again")
        return DONE

    def stop(self) -> None:
        """
        Stop all nodes that run, in order.

        At once, if that takes too long, or somebody asks a second time.
        """
        self._is_stopping = True
        asked = len(self.told)
        self._line("stopping; once more does it at once" if asked else "stopping")
        for child in self.children.values():
            child.stop()
        deadline = time.monotonic() + STOPPED
        while self._running() and time.monotonic() < deadline:
            for event in self.events.take(_MOMENT):
                self._show(event)
            if len(self.told) > asked:
                break
        for child in self._running():
            child.kill()
            self._line(f"{child.name} was killed")
        for event in self.events.take(_MOMENT):
            self._show(event)
        if self.is_kept:
            self._line(f"all have stopped; the data is kept in {self.directory}")
        else:
            self._line("all have stopped, and their data is removed")

    def _running(self) -> list[Child]:
        return [child for child in self.children.values() if child.is_running]

    def _leader(self) -> Place | None:
        """
        Return who leads, if all nodes agree about that and know each other.
        """
        places = self.plan.places()
        names = {place.id for place in places}
        led_by = set()
        for place in places:
            status = _status(place)
            members = status.get("members", ())
            voters = {one["id"] for one in members if one["suffrage"] == "voter"}
            if voters != names or not status["leader"]:
                return None
            led_by.add(status["leader"]["id"])
        if len(led_by) > 1:
            return None
        return next(place for place in places if place.id in led_by)

    # What is seen of it.

    def _show(self, event: Event) -> None:
        match event:
            case Said(name, line):
                self._write(name, line)
            case Ended(name, status):
                self._write(name, f"has ended, {how_it_ended(status)}")
            case _:
                assert_never(event)

    def _write(self, name: str, line: str) -> None:
        position = list(self.children).index(name)
        style = _COLOURS[position % len(_COLOURS)]
        with self._heard_or_not():
            self.screen.prefixed(f"{name} | ", style, line)

    def _line(self, text: str) -> None:
        with self._heard_or_not():
            self.screen.line(text)

    @contextmanager
    def _heard_or_not(self) -> Iterator[None]:
        """
        Let it be the end if nothing can be written, but do not let that have an end.
        """
        try:
            yield
        except OSError:
            if not self._is_stopping:
                raise

    def _introduce(self, leader: Place) -> None:
        """
        Say what is there, and what can be done with it.
        """
        first, *others = self.plan.places()
        other = next((place for place in others if place != leader), first)
        hraftd = as_typed()
        endpoint = "" if first.http_port == 11_000 else f" --endpoint {first.http}"
        lines = [
            "",
            f"A cluster of {self.plan.nodes} is ready, and {leader.id} leads it:",
            "",
            *(
                f"    {place.id}  http://{place.http}  process {child.pid}"
                for place in (first, *others)
                if (child := self.children.get(place.id))
            ),
            "",
            "Try, in another terminal:",
            "",
            f"    curl -XPUT {leader.http}/key/greeting -d hello",
            f"    curl {other.http}/key/greeting",
            # Quoted, since some shells take a question mark for a pattern.
            f'    curl "{other.http}/key/greeting?level=linearizable"',
            f"    {hraftd} list{endpoint}",
            f"    {hraftd} status{endpoint}",
            "",
            "Kill one of the processes, and see what the others do. To start it again,",
            "in a terminal of its own, here for the leader:",
            "",
            f"    {hraftd} {shlex.join(leader.arguments(self.directory, first))}",
            "",
            f"The data is in {self.directory}"
            + (", and stays there." if self.is_kept else " until it stops."),
            "Ctrl-C stops it.",
            "",
        ]
        for line in lines:
            self._line(line)

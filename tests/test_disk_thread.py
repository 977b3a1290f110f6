"""
The disk's thread: what is done when, and who hears of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from hraftd.disk_thread import DiskThread
from tests.disks import DEADLINE, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Busy:
    """
    A disk's thread that notes what it does, and stops where a test says so.
    """

    def __init__(self) -> None:
        """
        Start with nothing to do.
        """
        self.turns = Turns()
        self.notes: list[str] = []
        #: How many little things are left to do when there is time.
        self.left = 0
        self.is_idle = threading.Event()
        self.thread = DiskThread(self.turns, self._idle)
        self._started = threading.Semaphore(0)
        self._may_end = threading.Semaphore(0)

    def _idle(self) -> bool:
        if self.left:
            self.left -= 1
            self.notes.append("idle")
            return True
        self.is_idle.set()
        return False

    def ask(self, name: str, *, is_urgent: bool = False) -> None:
        """
        Ask for something that takes no time.
        """
        self.thread.run(
            lambda: self.notes.append(name),
            lambda _: self.notes.append(f"{name} done"),
            lambda _: None,
            is_urgent=is_urgent,
        )

    def occupy(self) -> None:
        """
        Let the thread begin something that lasts until :meth:`release`.
        """

        def wait() -> None:
            self._started.release()
            assert self._may_end.acquire(timeout=DEADLINE)

        self.thread.run(wait, lambda _: None, lambda _: None)
        assert self._started.acquire(timeout=DEADLINE)

    def release(self) -> None:
        """
        Let that end.
        """
        self._may_end.release()


@pytest.fixture
def busy() -> Iterator[Busy]:
    """
    Yield a disk's thread, and stop it.
    """
    busy = Busy()
    yield busy
    busy.thread.stop()


def test_order(busy: Busy) -> None:
    """
    What is urgent overtakes what has not begun; otherwise, first come, first served.
    """
    busy.occupy()
    for name, is_urgent in (("a", False), ("b", False), ("C", True), ("D", True)):
        busy.ask(name, is_urgent=is_urgent)
    busy.release()
    busy.thread.stop()
    assert busy.notes == ["C", "D", "a", "b"]


def test_idle(busy: Busy) -> None:
    """
    What nobody asked for is done when nothing else is left, and then all of it.
    """
    busy.occupy()
    busy.is_idle.clear()
    busy.left = 3
    busy.ask("a")
    busy.ask("B", is_urgent=True)
    busy.release()
    assert busy.is_idle.wait(DEADLINE)
    assert busy.notes == ["B", "a", "idle", "idle", "idle"]


def test_one_step_at_a_time(busy: Busy) -> None:
    """
    Between two little things, it is looked whether there is something to do.
    """
    steps: list[str] = []

    def idle() -> bool:
        steps.append("idle")
        if len(steps) == 1:
            # Somebody asks while the first of many steps is made.
            thread.run(lambda: steps.append("asked"), print, print)
        return len([step for step in steps if step == "idle"]) < 50

    thread = DiskThread(busy.turns, idle)
    thread.run(lambda: None, print, print)
    for _ in range(2):
        busy.turns.turn()
    thread.stop()
    assert steps[:2] == ["idle", "asked"]


def test_answers(busy: Busy) -> None:
    """
    What was returned or raised is told in the reactor's thread.
    """
    heard: list[object] = []
    threads: list[int] = []

    def tell(heard_by: Callable[[object], None]) -> Callable[[object], None]:
        def told(what: object) -> None:
            threads.append(threading.get_ident())
            heard_by(what)

        return told

    def fail() -> None:
        raise ValueError("no")

    def returned(value: object) -> None:
        heard.append(("returned", value))

    def raised(error: object) -> None:
        heard.append(("raised", str(error)))

    busy.thread.run(threading.get_ident, tell(returned), tell(raised))
    busy.thread.run(fail, tell(returned), tell(raised))
    busy.turns.turn()
    busy.turns.turn()
    assert heard[1] == ("raised", "no")
    here = threading.get_ident()
    assert heard[0] not in (("returned", here), ("raised", here))
    assert threads == [here, here]


def test_stop_without_a_start(busy: Busy) -> None:
    """
    There is no thread before something is asked for, and none is made to end it.
    """
    before = threading.active_count()
    busy.thread.stop()
    assert threading.active_count() == before

"""
Fixtures that start nodes, and what is shown of them when a test fails.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from .installed import check_installed
from .processes import Processes, leader_among

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from .node import Node

_running: list[Processes] = []


def _processes(directory: Path) -> Iterator[Processes]:
    processes = Processes(directory)
    _running.append(processes)
    try:
        yield processes
    finally:
        processes.end()
        _running.remove(processes)


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    """
    Refuse to test anything but this checkout.
    """
    check_installed()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has started the tests in the background, and nodes would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """
    Nodes of one test.
    """
    yield from _processes(tmp_path)


@pytest.fixture(scope="session")
def _trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """
    Run a cluster of three, since to start one takes seconds.
    """
    for processes in _processes(tmp_path_factory.mktemp("trio")):
        members = processes.cluster(3)
        yield members
        for node in members:
            assert "Traceback" not in node.log


@pytest.fixture
def trio(_trio: list[Node]) -> list[Node]:
    """
    Return a cluster of three that many tests use; whatever has happened in those
    before, all of its nodes run.
    """
    for node in _trio:
        if not node.is_running:
            node.launch()
    leader_among(_trio)
    return _trio


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    """
    Show the logs of all nodes beside the failure of a test.
    """
    report = yield
    if report.failed:
        for processes in _running:
            report.sections.extend(processes.logs())
    return report

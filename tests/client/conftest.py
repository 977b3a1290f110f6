"""
Real nodes for the tests that need some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.processes import SourceProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.node import Node


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[list[Node]]:
    """
    Run a cluster of three.
    """
    processes = SourceProcesses(tmp_path)
    try:
        yield processes.cluster(3)
    finally:
        processes.end()

"""
How much is tried, and where.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.crashes.recording import build_shim

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def all_of_it() -> bool:
    """
    Return whether everything is tried, which takes hours, and not a share of it.
    """
    return os.environ.get("HRAFTD_CRASHES") == "all"


@pytest.fixture
def seed() -> int:
    """
    Return what decides which share is tried.
    """
    return int(os.environ.get("HRAFTD_CRASHES_SEED", "1"))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return the compiled shim, or skip.
    """
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """
    Yield an empty directory, in memory where there is such a place: of thousands of
    databases that are opened, none needs a disk.
    """
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    directory = Path(tempfile.mkdtemp(prefix="hraftd-", dir=place))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)

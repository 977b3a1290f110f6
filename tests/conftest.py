"""
Options of the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Let the transcripts be written anew, and the API be asked more.
    """
    parser.addoption(
        "--regenerate-scenarios",
        action="store_true",
        help="write what really happens into tests/scenarios/*.txt",
    )
    parser.addoption(
        "--api-examples",
        type=int,
        help="make up so many requests of each kind from the API's description; "
        "without this, a few, in a short time",
    )

"""
The catalogue fits the code, and planting works.

That each mutant is found takes minutes, and is seen to by ``python -m tests.mutants``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.found import read_found, table
from tests.mutants.planting import check_goes_well, check_up_to_date, hunt

FOUND = {one.name: one for one in read_found()}

_DOCS = Path(__file__).parents[2] / "docs" / "mutants.rst"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_planted(mutant: Mutant) -> None:
    """
    What it replaces is in the code, once.
    """
    check_up_to_date(mutant)
    assert mutant.right != mutant.wrong


@pytest.mark.parametrize("mutant", MUTANTS[:3], ids=lambda mutant: mutant.name)
def test_it_is_found(mutant: Mutant) -> None:
    """
    A schedule fails with it, and is named.
    """
    verdict = hunt(mutant, 0, 60)
    assert verdict.seed is not None
    assert verdict.schedules == verdict.seed + 1
    assert verdict.sentence


def test_nothing_is_found_without() -> None:
    """
    The schedule that fails with it goes well without.
    """
    check_goes_well(MUTANTS[0], hunt(MUTANTS[0], 0, 60).seed or 0)


def test_names_are_unique() -> None:
    """
    They tell mutants apart.
    """
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_the_page_has_what_is_kept() -> None:
    """
    Nobody has changed the one without the other.
    """
    assert list(FOUND) == [mutant.name for mutant in MUTANTS]
    assert _DOCS.read_text("utf-8").endswith(table(list(FOUND.values())))

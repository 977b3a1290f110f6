"""
What it took to find each mutant, as it is kept between runs.

``found.txt`` has a line for each: its name, the seed of the schedule that failed, how
many were run until then, and what was wrong. The table in ``docs/mutants.rst`` is made
of the same.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from tests.mutants.catalogue import MUTANTS

__all__ = ["Found", "read_found", "table", "write_found"]

_FILE = Path(__file__).with_name("found.txt")
_DOCS = Path(__file__).parents[2] / "docs" / "mutants.rst"

#: In the page, everything behind it is the table.
_BEGINNING = ".. What follows is written by python -m tests.mutants --write.\n"


@frozen
class Found:
    """
    How a mutant was found.
    """

    name: str
    seed: int
    schedules: int
    sentence: str


def read_found() -> list[Found]:
    """
    Return what is kept.
    """
    if not _FILE.exists():
        return []
    found = []
    for line in _FILE.read_text("utf-8").splitlines():
        name, seed, schedules, sentence = line.split(" | ", 3)
        found.append(Found(name, int(seed), int(schedules), sentence))
    return found


def write_found(found: list[Found]) -> None:
    """
    Keep it, and put it into the page.
    """
    lines = []
    for one in found:
        sentence = " ".join(one.sentence.split())
        lines.append(f"{one.name} | {one.seed} | {one.schedules} | {sentence}\n")
    _FILE.write_text("".join(lines), "utf-8")
    page = _DOCS.read_text("utf-8")
    _DOCS.write_text(page.partition(_BEGINNING)[0] + table(found), "utf-8")


def table(found: list[Found]) -> str:
    """
    Return the end of the page.
    """
    sources = {mutant.name: mutant.source for mutant in MUTANTS}
    rows = "".join(
        f"   * - {one.name}\n     - {sources[one.name]}\n     - {one.schedules}\n"
        for one in found
    )
    return (
        f"{_BEGINNING}\n"
        ".. list-table::\n   :header-rows: 1\n   :widths: 60 28 12\n\n"
        "   * - Planted\n     - Source\n     - Schedules\n" + rows
    )

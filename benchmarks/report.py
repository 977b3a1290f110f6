"""
A run for readers: its tables and plots, with machine, versions and date.

Where the folder has an index.rst with two comments, what is between them is replaced:
the rest of ``docs/benchmarks/index.rst`` is written by people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.plots import INSTALL, draw_all
from benchmarks.tables import tables

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Results

__all__ = ["BEGIN", "END", "as_text", "write_report"]

BEGIN = ".. What python -m benchmarks writes begins here."
END = ".. What python -m benchmarks writes ends here."


def _introduction(results: Results) -> list[str]:
    record = results.record
    words = [
        f"Measured on {record['date']}, with {record['rounds']} rounds in which each "
        f"load took {record['seconds']:g} s."
    ]
    if record["most_keys"] is not None:
        words.append(
            f"A quick run: where there are more than {record['most_keys']:,} keys or "
            "entries, there were only so many. Its figures mean little."
        )
    return words


def _facts(results: Results) -> dict[str, str]:
    record = results.record
    versions = {
        # Those that are libraries of hraftd have their line with the machine.
        name: version
        for name, version in record["versions"].items()
        if name != "twisted.web"
    }
    return {**record["machine"], **versions}


def as_text(results: Results) -> str:
    """
    Return everything but the plots, for a terminal.
    """
    facts = [f"{name}: {fact}" for name, fact in _facts(results).items()]
    parts = [
        "\n".join([*_introduction(results), *facts, *results.record["skipped"]]),
        *(table.as_text() for table in tables(results)),
    ]
    if errors := list(results.errors()):
        parts.append("\n".join(["Turns that failed:", *errors]))
    return "\n\n".join(parts)


def _as_rst(results: Results, plots: dict[str, str]) -> str:
    facts = [f":{name}: {_quoted(fact)}" for name, fact in _facts(results).items()]
    parts = [*_introduction(results), "\n".join(facts)]
    if skipped := [f"- {_quoted(line)}" for line in results.record["skipped"]]:
        parts += ["What could not be measured:", "\n".join(skipped)]
    targets, *others = (table.as_rst() for table in tables(results))
    parts.append(targets)
    parts += [f".. image:: {name}\n   :alt: {title}" for name, title in plots.items()]
    parts += others
    if errors := [f"- {_quoted(line)}" for line in results.errors()]:
        parts += ["Turns that failed:", "\n".join(errors)]
    return "\n\n".join(parts)


def _quoted(text: str) -> str:
    """
    Return a line of plain text, whatever characters it has.
    """
    line = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in r"\*`_|" else letter for letter in line)


def write_report(results: Results, folder: Path) -> None:
    """
    Write index.rst and the plots.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        plots = draw_all(results, folder)
    except ImportError:
        print(f"without plots: {INSTALL}")
        plots = {}
    text = _as_rst(results, plots)
    index = folder / "index.rst"
    before, after = "Benchmarks\n==========\n\n", "\n"
    if index.exists():
        there = index.read_text("utf-8")
        head, begin, rest = there.partition(BEGIN)
        _, end, tail = rest.partition(END)
        if begin and end:
            before, after = head, tail
    index.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")

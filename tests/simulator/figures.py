"""
The pictures of docs/simulator.rst, and how they are made again.

Each is what the command below it makes. Whenever a simulated world asks its chance once
more than before, its seed is another history; then the test of the figures fails, and
``python -m tests.simulator.figures`` looks for a seed that shows the same story, draws
it, and writes the command into the page. Look at the picture before it is committed.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from hraftd.simulator import __main__ as command
from hraftd.simulator.diagram import part_of
from hraftd.simulator.recording import Recording
from hraftd.simulator.runs import silence
from hraftd.simulator.story import sentences

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = DOCS / "simulator.rst"

#: Bytes of a picture, at most.
LARGEST = 200_000

#: So many seeds are tried.
MOST_SEEDS = 300


@frozen
class Figure:
    """
    A picture that tells a story.
    """

    name: str
    options: str
    #: Patterns for sentences of the margin, in the order in which they have to come.
    story: tuple[str, ...]
    #: So many sentences the margin has at most.
    longest: int = 12
    #: A pattern for what must not be in it.
    without: str = "everything is well"

    @property
    def path(self) -> Path:
        """
        Where it is.
        """
        return DOCS / "images" / f"{self.name}.svg"

    def command(self, seed: int) -> str:
        """
        Return what makes it.
        """
        return (
            f"python -m hraftd.simulator --seed {seed} --schedules 1 {self.options} "
            f"--diagram docs/images/{self.name}.svg"
        )

    def is_told_by(self, seed: int) -> bool:
        """
        Whether the part of that history that is drawn is that story.
        """
        words = ["--seed", str(seed), *shlex.split(self.options)]
        schedule = command.order_of(command.read_options(words)).schedule()
        recording = Recording(schedule)
        schedule.run()
        recording.finish()
        first, last = part_of(recording, None, None)
        told = [one for one in sentences(recording) if first <= one.time <= last]
        text = "\n".join(one.text for one in told)
        pattern = r"(?:.*\n)*?.*".join(self.story)
        return (
            len(told) <= self.longest
            and re.search(self.without, text) is None
            and re.search(pattern, text) is not None
        )


FIGURES = (
    Figure(
        "crash",
        "--servers 3 --only kill",
        (
            r"(s\d), which leads, is killed",
            r"s\d misses a leader",
            r"s\d is a candidate in term 3",
            r"s\d leads term 3",
            r"\1 starts",
        ),
        8,
        "restored|killed(?:.*\\n)*.*killed",
    ),
    Figure(
        "partition",
        "--seconds 6 --servers 3 --only 'stale leader'",
        (
            r"(s\d) stands still",
            r"(s\d) leads term 3",
            r"\1 goes on after a pause",
            r"\1 leads no more",
        ),
        10,
    ),
    Figure(
        "snapshot",
        "--servers 3 --only 'partition,isolate leader,take snapshot'",
        (r"(?:partition|isolate leader): ", r"(s\d) restored a snapshot"),
        16,
        "no word of it",
    ),
)


def draw(words: list[str]) -> str:
    """
    Run the command of a figure, and return the picture.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        at = words.index("--diagram") + 1
        assert command.main([*words[:at], str(path), *words[at + 1 :]]) == 0
        return path.read_text("utf-8")


def command_in(page: str, figure: Figure) -> str | None:
    """
    Return the command that the page gives for a figure.
    """
    found = re.search(
        rf"python -m hraftd\.simulator[^\n]*docs/images/{figure.name}\.svg", page
    )
    return None if found is None else found[0]


def main() -> int:
    """
    Draw all figures again.
    """
    silence()
    page = PAGE.read_text("utf-8")
    for figure in FIGURES:
        old = command_in(page, figure)
        if old is None:
            sys.stdout.write(f"{PAGE.name} has no command for {figure.name}\n")
            return 1
        seeds = [int(shlex.split(old)[4]), *range(1, MOST_SEEDS)]
        for seed in seeds:
            if figure.is_told_by(seed):
                break
        else:
            sys.stdout.write(f"no seed shows the story of {figure.name}\n")
            return 1
        new = figure.command(seed)
        figure.path.parent.mkdir(exist_ok=True)
        figure.path.write_text(draw(shlex.split(new)[3:]), "utf-8")
        page = page.replace(old, new)
        PAGE.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""
The pictures of docs/simulator.rst are what the commands below them make.
"""

from __future__ import annotations

import shlex
import xml.dom.minidom

import pytest
from twisted.logger import globalLogBeginner

from tests.simulator.figures import (
    DOCS,
    FIGURES,
    LARGEST,
    PAGE,
    Figure,
    command_in,
    draw,
)

AGAIN = "python -m tests.simulator.figures draws it again; look at the picture"


@pytest.fixture(autouse=True)
def _keep_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Leave the logging of this process as it is.
    """
    monkeypatch.setattr(globalLogBeginner, "beginLoggingTo", lambda *_, **__: None)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_a_figure_is_what_its_command_makes(figure: Figure) -> None:
    """
    To the last letter, and it tells the story that the page tells about it.
    """
    command = command_in(PAGE.read_text("utf-8"), figure)
    assert command is not None
    words = shlex.split(command)[3:]
    drawn = figure.path.read_text("utf-8")
    assert figure.is_told_by(int(words[1])), AGAIN
    # Not compared by an assertion on both: nobody reads that difference.
    is_same = draw(words) == drawn
    assert is_same, AGAIN


def test_all_pictures_are_figures_and_small() -> None:
    """
    None is forgotten, none is broken, and the page shows each.
    """
    paths = {path.name: path for path in (DOCS / "images").iterdir()}
    assert set(paths) == {figure.path.name for figure in FIGURES}
    page = PAGE.read_text("utf-8")
    for name, path in paths.items():
        assert path.stat().st_size < LARGEST
        assert f".. image:: images/{name}" in page
        xml.dom.minidom.parse(str(path))

"""
What the documents name and quote of the code is there, each quotation exactly once.

Sphinx makes links to the lines of it: :mod:`tests.test_docs_as_html`. Here nothing but
the text is needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from docs.extensions.places import NAME, NotThere, place_of, quoted
from tests.test_docs import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

QUOTATION = re.compile(rf"``([^`]+)``\s+in\s+``({NAME.pattern})``")
NAMED = re.compile(rf"``({NAME.pattern})``")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_what_is_quoted_is_there(path: Path) -> None:
    """
    Each quotation is found, once, in what it is said to be in.
    """
    for words, name in QUOTATION.findall(path.read_text("utf-8")):
        quoted(words, name)


@pytest.mark.parametrize(
    "path", [*DOCS, ROOT / "README.rst"], ids=lambda path: path.name
)
def test_names_have_lines(path: Path) -> None:
    """
    Each name that a document has of something in the code leads to its lines.
    """
    for name in NAMED.findall(path.read_text("utf-8")):
        assert (ROOT / place_of(name).file).exists()


def test_the_lines_are_those() -> None:
    """
    A place is where its name, or what is quoted, begins and ends.
    """
    name = "hraftd.raft.log.Log.truncate"
    method = place_of(name)
    lines = (ROOT / method.file).read_text("utf-8").splitlines()
    assert method.file == "hraftd/raft/log.py"
    assert lines[method.first - 1] == "    def truncate(self, index: int) -> None:"
    one = quoted("self.last_index = index - 1", name)
    assert lines[one.first - 1 : one.last] == ["        self.last_index = index - 1"]
    two = quoted(
        "while self.configuration_index >= index: self._configurations.pop()", name
    )
    assert (two.last - two.first, two.file) == (1, method.file)
    assert "while" in lines[two.first - 1]


def test_names_of_every_kind() -> None:
    """
    Modules, packages, constants, fields, and what a module has from another one.
    """
    assert place_of("hraftd.raft").file == "hraftd/raft/__init__.py"
    assert place_of("hraftd.raft.log").first == 1
    assert place_of("hraftd.raft.outbox.MAX_COMMITTED").first > 1
    assert place_of("hraftd.raft.messages.HardState.voted_for").first > 1
    imported = place_of("hraftd.storage.MemoryStorage")
    assert imported.file == "hraftd/memory_storage.py"


@pytest.mark.parametrize(
    ("words", "name", "why"),
    [
        ("self.no_such_thing", "hraftd.raft.log.Log.truncate", "not in"),
        ("index", "hraftd.raft.log.Log.truncate", "times in"),
        ("index", "hraftd.raft.log.Log.no_such_method", "nothing in"),
        ("index", "hraftd.raft.no_such_module", "nothing in"),
        ("index", "nobody.at.all", "no module"),
    ],
)
def test_what_is_not_there_is_noticed(words: str, name: str, why: str) -> None:
    """
    The tests above can fail: words that are gone, or there twice, and wrong names.
    """
    with pytest.raises(NotThere, match=why):
        quoted(words, name)

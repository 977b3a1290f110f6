"""
The documentation as HTML: it is built without a warning, and no link leads nowhere.

Needs Sphinx and its theme, as ``pip install ".[docs]"`` brings them; without, these
tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent

for needed in ("sphinx", "furo"):
    pytest.importorskip(needed, reason='to build the docs, pip install ".[docs]"')


def build(docs: Path, html: Path) -> subprocess.CompletedProcess[str]:
    """
    Build the documents in a folder, as strictly as Sphinx can.
    """
    strictly = ("-q", "-W", "--keep-going", "-n", "-E", "-d", str(html) + "-parsed")
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *strictly, str(docs), str(html)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Build all of it, once.
    """
    folder = tmp_path_factory.mktemp("docs") / "html"
    built = build(ROOT / "docs", folder)
    assert (built.returncode, built.stderr) == (0, "")
    return folder


class Page(HTMLParser):
    """
    Where the links of a page lead, and what links to it may name.
    """

    def __init__(self) -> None:
        """
        Know nothing yet.
        """
        super().__init__()
        self.links: list[str] = []
        self.targets = {"", "top"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        Take note of links and targets.
        """
        for name, value in attrs:
            if tag == "a" and name == "href" and value:
                self.links.append(value)
            elif name == "id" and value:
                self.targets.add(value)


@pytest.fixture(scope="module")
def pages(html: Path) -> dict[Path, Page]:
    """
    Read every page.
    """
    found = {}
    for path in html.rglob("*.html"):
        found[path] = page = Page()
        page.feed(path.read_text("utf-8"))
    return found


def test_no_link_is_dead(pages: dict[Path, Page]) -> None:
    """
    Each link inside of the documentation leads to a page, and to a place in it.
    """
    dead, count = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            target = (
                (path.parent / unquote(parts.path)).resolve() if parts.path else path
            )
            if (
                target not in pages
                or unquote(parts.fragment) not in pages[target].targets
            ):
                dead.append((path.name, link))
    assert dead == []
    assert count > 2000


def test_the_tour_leads_to_the_lines(pages: dict[Path, Page], html: Path) -> None:
    """
    Names and quotations in the tour, and in the map of the paper, are links.
    """
    for name in ("tour", "paper-to-code"):
        links = pages[html / f"{name}.html"].links
        assert sum("code/hraftd/" in link and "#line-" in link for link in links) > 80


def test_the_front_page_begins_like_the_readme(html: Path) -> None:
    """
    What the README says first, and its first steps, are in the documentation once.
    """
    steps = "Set another one, and read it from all three"
    assert "for those who have never met Raft" in (html / "index.html").read_text(
        "utf-8"
    )
    assert steps not in (html / "index.html").read_text("utf-8")
    assert steps in (html / "first-steps.html").read_text("utf-8")


def test_a_stale_quotation_ends_the_build(tmp_path: Path) -> None:
    """
    Words that the code no longer has are a warning, and so is a link to nowhere.
    """
    (tmp_path / "index.rst").write_text(
        "Page\n====\n\n"
        "``no_such_words`` in ``hraftd.raft.log.Log.truncate``\n\n"
        "``hraftd.no_such_module``\n\n"
        "`link <no-such-document.rst>`__\n"
    )
    shutil.copy(ROOT / "docs" / "conf.py", tmp_path)
    conf = tmp_path / "conf.py"
    text = conf.read_text("utf-8").replace(
        "Path(__file__).parent.parent", f"Path({str(ROOT)!r})"
    )
    conf.write_text(text.replace('["static"]', "[]"))
    built = build(tmp_path, tmp_path / "build" / "html")
    assert built.returncode != 0
    for said in ("no_such_words", "hraftd.no_such_module", "no-such-document.rst"):
        assert said in built.stderr, built.stderr

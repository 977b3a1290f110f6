"""
The table in ``bugs.rst`` is true.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
ROW = re.compile(
    r"^\d+ +(?P<source>\S.*?)  +(?P<file>\S+\.py) +(?P<test>test_\w+)$", re.MULTILINE
)


@cache
def docstrings(file: str) -> dict[str, str]:
    """
    Return what each test of a file says that it proves; methods are tests, too.
    """
    module = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {
        node.name: " ".join((ast.get_docstring(node) or "").split())
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def test_each_bug_has_one_test_that_names_its_source() -> None:
    """
    Each row names a test that is there, and that says where its bug was met.
    """
    table = (HERE / "bugs.rst").read_text(encoding="utf-8")
    rows = ROW.findall(table)
    assert len(rows) == len(re.findall(r"^\d", table, re.MULTILINE)) > 40
    for source, file, test in rows:
        for name in source.split(", "):
            assert name.split()[-1] in docstrings(file)[test], test
        assert source.split()[0] in docstrings(file)[test], test
    assert len({row[1:] for row in rows}) == len(rows)


def test_no_test_hides_another() -> None:
    """
    Names are used once, so that no test replaces an earlier one unseen.
    """
    for path in HERE.glob("test_*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.name for node in module.body if isinstance(node, ast.FunctionDef)]
        assert len(names) == len(set(names)), path.name

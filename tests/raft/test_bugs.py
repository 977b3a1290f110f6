"""
The table in ``bugs.rst`` is true.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROW = re.compile(r"^\d+ +(?P<source>\S.*?)  +(?P<test>test_\w+)$", re.MULTILINE)

#: Every test of this folder, with its docstring.
TESTS = {
    node.name: ast.get_docstring(node) or ""
    for path in HERE.glob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
}


def test_each_bug_has_one_test_that_names_its_source() -> None:
    """
    Each row names a test that is there, and that says where its bug was met.
    """
    rows = ROW.findall((HERE / "bugs.rst").read_text(encoding="utf-8"))
    assert len(rows) == 21
    for source, test in rows:
        assert source in " ".join(TESTS[test].split()), test
    assert len({test for _, test in rows}) == len(rows)


def test_no_test_hides_another() -> None:
    """
    Names are used once, so that no test replaces an earlier one unseen.
    """
    for path in HERE.glob("test_*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.name for node in module.body if isinstance(node, ast.FunctionDef)]
        assert len(names) == len(set(names)), path.name

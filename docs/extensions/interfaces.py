"""
The directive ``interface``: a zope interface in the reference of the API.

To autodoc an interface is an object like any other, not a class with methods. So it is
taken from the source as it is written there, with its annotations.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective

from docs.extensions.places import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """
    Make the directive known.
    """
    app.add_directive("interface", Interface)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Interface(SphinxDirective):
    """
    Shows an interface with its methods; its argument is the full name.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """
        Have it read as a class of Python's domain.
        """
        name = self.arguments[0]
        place = place_of(name)
        if not isinstance(place.node, ast.ClassDef):
            raise self.error(f"{name} is no interface")
        self.env.note_dependency(f"../{place.file}")
        module = name.rpartition(".")[0]
        text = "\n".join(_as_text(place.node, module))
        return self.parse_text_to_nodes(text)


def _as_text(node: ast.ClassDef, module: str) -> Iterator[str]:
    yield f".. py:class:: {node.name}"
    yield f"   :module: {module}"
    yield ""
    yield from _docstring(node, "   ")
    for method in node.body:
        if isinstance(method, ast.FunctionDef):
            returned = f" -> {ast.unparse(method.returns)}" if method.returns else ""
            arguments = ast.unparse(method.args)
            yield f"   .. py:method:: {method.name}({arguments}){returned}"
            yield ""
            yield from _docstring(method, "      ")


def _docstring(node: ast.ClassDef | ast.FunctionDef, indent: str) -> Iterator[str]:
    for line in (ast.get_docstring(node) or "").splitlines():
        yield indent + line if line else ""
    yield ""

"""
Links from the documents to the lines of the code, and between the documents.

The documents are written to be read as plain text, or on a code host, as well as in
HTML, so nothing in them is for Sphinx alone. Here it is given a meaning:

- ``hraftd.raft.log.Log.truncate`` between double backquotes becomes a link to its
  lines; so does what is quoted from it, as in ``self._configurations.pop()`` in
  ``hraftd.raft.log.Log.truncate`` (see :mod:`docs.extensions.places`).
- ``docs/tour.rst`` and ``hraftd/server.py`` become links to that document and that
  file, and so do relative links to ``.rst`` files.
- Names in docstrings that have no place in the API's reference lead to the code.

The pages with the code are made here, one for each module, with a target for each line.
What cannot be found is a warning, which ends the build.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes
from sphinx.util import logging

from docs.extensions.places import (
    NAME,
    ROOT,
    NotThere,
    Place,
    imports_of,
    module_file,
    module_of,
    place_of,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """
    Have Sphinx call this module in the course of the build.
    """
    # Files outside of docs/ and the document that includes each.
    app.add_config_value("code_links_included", {}, "env", types=[dict])
    app.connect("doctree-resolved", _link)
    app.connect("missing-reference", _find_in_code)
    app.connect("html-collect-pages", _source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# What is linked.


def _link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """
    Put links into a document that is about to be written.
    """
    for reference in list(doctree.findall(nodes.reference)):
        _lead_to_document(app, docname, reference)
    for signature in list(doctree.findall(addnodes.desc_signature)):
        if signature.get("module"):
            name = f"{signature['module']}.{signature['fullname']}"
            signature += _to_place(
                app, docname, _definition(name), nodes.Text("[code]")
            )
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, nodes.reference):
            continue
        try:
            reference = _reference(app, docname, literal)
        except NotThere as error:
            _log.warning("%s", error, location=literal)
        else:
            if reference is not None:
                literal.replace_self(reference)


def _definition(name: str) -> Place:
    """
    Return where a member of a class is, or the class, if the member is inherited.
    """
    try:
        return place_of(name)
    except NotThere:
        return place_of(name.rpartition(".")[0])


def _reference(app: Sphinx, docname: str, literal: nodes.literal) -> nodes.Node | None:
    """
    Return the link in place of what stands between double backquotes, if it is one.
    """
    text = " ".join(literal.astext().split())
    if NAME.fullmatch(text):
        return _to_place(app, docname, place_of(text), literal.deepcopy())
    name = _quoted_from(literal)
    if name is not None:
        return _to_place(app, docname, quoted(text, name), literal.deepcopy())
    if re.fullmatch(r"hraftd/[\w/]+\.py", text):
        return _to_file(app, docname, text, literal.deepcopy())
    if re.fullmatch(r"(docs/[\w/-]+|conf/README)\.rst", text):
        return _to_document(app, docname, text, literal.deepcopy())
    return None


def _quoted_from(literal: nodes.literal) -> str | None:
    """
    Return the name that stands behind a quotation and the word "in".
    """
    siblings = literal.parent.children
    position = siblings.index(literal)
    match siblings[position + 1 : position + 3]:
        case [nodes.Text() as between, nodes.Element() as behind] if (
            between.strip() == "in"
        ):
            name = behind.astext()
            return name if NAME.fullmatch(name) else None
    return None


def _lead_to_document(app: Sphinx, docname: str, reference: nodes.reference) -> None:
    uri = reference.get("refuri", "")
    if not reference.get("internal") and re.fullmatch(r"[\w./-]+\.rst", uri):
        # Relative to docs/, or, in what is included from there, to the root.
        for file in (normpath(f"docs/{uri}"), normpath(uri)):
            target = _document(app, file)
            if target is not None:
                reference["refuri"] = app.builder.get_relative_uri(docname, target)
                reference["internal"] = True
                reference["classes"] = ["internal"]
                return
        _log.warning("no document is %s", uri, location=reference)


def _document(app: Sphinx, file: str) -> str | None:
    """
    Return the name that Sphinx has for the document which is, or includes, that file.
    """
    path = PurePosixPath(file)
    if path.is_relative_to("docs"):
        name = str(path.relative_to("docs").with_suffix(""))
        if name in app.env.found_docs:
            return name
    included: dict[str, str] = app.config.code_links_included
    return included.get(file)


def _to_document(app: Sphinx, docname: str, file: str, shown: nodes.Node) -> nodes.Node:
    target = _document(app, file)
    if target is None:
        raise NotThere(f"there is no document {file}")
    return _reference_to(app.builder.get_relative_uri(docname, target), shown)


def _to_place(app: Sphinx, docname: str, place: Place, shown: nodes.Node) -> nodes.Node:
    whole = place.first == 1
    fragment = "" if whole else f"#line-{place.first}"
    return _to_file(app, docname, place.file, shown, fragment)


def _to_file(
    app: Sphinx, docname: str, file: str, shown: nodes.Node, fragment: str = ""
) -> nodes.Node:
    if not (ROOT / file).is_file():
        raise NotThere(f"there is no file {file}")
    if app.builder.format != "html":
        return shown
    page = app.builder.get_relative_uri(docname, _page(file))
    reference = _reference_to(page + fragment, shown)
    reference["classes"].append("to-code")
    return reference


def _reference_to(uri: str, shown: nodes.Node) -> nodes.reference:
    reference = nodes.reference("", "", refuri=uri, internal=True)
    reference += shown
    return reference


# Names in docstrings and signatures.


def _find_in_code(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.Node
) -> nodes.Node | None:
    """
    Lead to the code where the reference of the API has nothing of that name.

    What is no part of this project is left as it is written.
    """
    if node.get("refdomain") != "py":
        return None
    module, in_class = _where(node)
    target = node["reftarget"]
    for name in _meanings(target, module, in_class):
        if name.split(".")[0] != "hraftd":
            return shown
        try:
            return _to_place(app, node["refdoc"], place_of(name), shown)
        except NotThere:
            continue
    return None


def _where(node: addnodes.pending_xref) -> tuple[str, str]:
    """
    Return the module in which a name is used, and the class, each empty if in none.

    That is the module which defines the class, not one that only passes it on.
    """
    around: nodes.Node | None = node
    while around is not None and not isinstance(around, addnodes.desc_signature):
        around = around.parent
    if around is None:
        module, in_class = node.get("py:module"), node.get("py:class")
    else:
        # In the signature of a class Sphinx has the module of what came before.
        module, in_class = around.get("module"), around.get("fullname")
    if not module or not in_class:
        return module or "", in_class or ""
    file = _definition(f"{module}.{in_class}").file
    return module_of(file), in_class


def _meanings(target: str, module: str, in_class: str) -> Iterator[str]:
    """
    Return what a name may mean where it stands.
    """
    first, _, rest = target.partition(".")
    imported = imports_of(module) if module_file(module) else {}
    if first in imported:
        yield f"{imported[first]}.{rest}" if rest else imported[first]
    if in_class:
        yield f"{module}.{in_class}.{target}"
    yield f"{module}.{target}"
    if "." in target:
        yield target


# The pages with the code.


def _page(file: str) -> str:
    return f"code/{file.removesuffix('.py')}"


def _source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """
    Make a page of each module.
    """
    formatter = HtmlFormatter(linenos="inline", linespans="line", wrapcode=True)
    for path in sorted((ROOT / "hraftd").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        code = highlight(path.read_text("utf-8"), PythonLexer(), formatter)
        body = f'<h1><code>{file}</code></h1>\n<div class="code-page">{code}</div>'
        yield _page(file), {"title": file, "body": body}, "page.html"

"""
How Sphinx builds these documents.

From the root of the checkout::

    pip install ".[docs]"
    python -m sphinx -W --keep-going -n docs docs/build/html
"""

import re
import sys
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).parent.parent
# The code that is documented, and the extensions in docs/extensions.
sys.path.insert(0, str(ROOT))

project = "hraftd"
author = "the authors of hraftd"
found = re.search(r'version="(.+?)"', (ROOT / "setup.py").read_text("utf-8"))
assert found is not None
version = release = found[1]

extensions = [
    "sphinx.ext.autodoc",
    "docs.extensions.code_links",
    "docs.extensions.interfaces",
]
exclude_patterns = ["build"]
nitpicky = True
# Interfaces of Twisted, whose documentation has no inventory that Sphinx could read.
nitpick_ignore = [("py:class", "IReactorTime"), ("py:class", "IAgent")]
# Most examples are typed into a shell.
highlight_language = "console"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

code_links_included = {
    "README.rst": "first-steps",
    "conf/README.rst": "several-machines",
    "CHANGELOG.rst": "changes",
}

html_theme = "furo"
html_title = f"hraftd {release}"
html_static_path = ["static"]
html_css_files = ["code.css"]
html_copy_source = False
html_show_copyright = False


def setup(app):
    """
    Leave tables of contents to the theme, which shows one beside each page.

    On a code host those in the documents are the only ones.
    """
    app.connect("doctree-read", _without_contents)


def _without_contents(app, doctree):
    for topic in list(doctree.findall(nodes.topic)):
        if "contents" in topic["classes"]:
            topic.parent.remove(topic)
    for title in doctree.findall(nodes.title):
        # It would lead back there.
        title.attributes.pop("refid", None)

"""
Where in the code something is: the lines of a name, and of a few words quoted from it.

The documents name code in two ways that read well as plain text, too:
``hraftd.raft.log.Log.truncate`` is a function, a class, a module or a constant, and
``self.last_index = index - 1`` in ``hraftd.raft.log.Log.truncate`` is a place inside of
it. No document has a number of a line, which the next change of the code would make
wrong. Here names and quotations become such numbers; in HTML they are links, and a test
looks each of them up. Sources are parsed, not imported.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "NAME",
    "ROOT",
    "NotThere",
    "Place",
    "imports_of",
    "module_file",
    "module_of",
    "place_of",
    "quoted",
]

ROOT = Path(__file__).parent.parent.parent

#: A name of something in the code. Some files of hraftd are called so, too.
NAME = re.compile(r"hraftd(?:\.(?!sqlite3|rules\.yml)[A-Za-z_]\w*)+")


class NotThere(LookupError):
    """
    The code has no such name, or not those words. The text is a sentence.
    """


@frozen
class Place:
    """
    Some lines of a file.
    """

    #: With slashes, from the root of the repository on.
    file: str
    first: int
    last: int
    #: What begins there; ``None`` for a whole module and for quoted words.
    node: ast.AST | None = None


@cache
def module_file(module: str) -> Path | None:
    """
    Return the file of a module or package, ``None`` if there is none.
    """
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def module_of(file: str) -> str:
    """
    Return the name of the module in a file, named from the root on.
    """
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


@cache
def imports_of(module: str) -> dict[str, str]:
    """
    Return which full name stands behind each name that a module imports.
    """
    file = module_file(module)
    found: dict[str, str] = {}
    for node in ast.walk(_parsed(file)) if file else ():
        match node:
            case ast.ImportFrom(module=str(source), names=names, level=0):
                found |= {
                    one.asname or one.name: f"{source}.{one.name}" for one in names
                }
            case ast.Import(names=names):
                found |= {one.asname: one.name for one in names if one.asname}
    return found


def place_of(name: str) -> Place:
    """
    Look a name up, such as ``hraftd.raft.log.Log.truncate``.

    :raises NotThere: if nothing has it.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        file = module_file(module)
        if file is None:
            continue
        inside = parts[length:]
        if inside and inside[0] in (imported := imports_of(module)):
            found = _find(_parsed(file).body, inside[0])
            if found is None:
                return place_of(".".join((imported[inside[0]], *inside[1:])))
        return _inside(file, inside, name)
    raise NotThere(f"there is no module of the name {name}")


def _inside(file: Path, parts: Sequence[str], name: str) -> Place:
    shown = file.relative_to(ROOT).as_posix()
    if not parts:
        return Place(shown, 1, len(file.read_text("utf-8").splitlines()))
    body: Sequence[ast.stmt] = _parsed(file).body
    node: ast.stmt | None = None
    for part in parts:
        node = _find(body, part)
        if node is None:
            raise NotThere(f"nothing in {shown} is called {name}")
        body = getattr(node, "body", ())
    assert node is not None
    return Place(shown, node.lineno, node.end_lineno or node.lineno, node)


def _find(body: Sequence[ast.stmt], name: str) -> ast.stmt | None:
    """
    Find what defines a name, directly in the body of a module or class.
    """
    for node in body:
        match node:
            case ast.ClassDef(name=found) | ast.FunctionDef(name=found):
                names = [found]
            case ast.AsyncFunctionDef(name=found):
                names = [found]
            case ast.AnnAssign(target=ast.Name(id=found)):
                names = [found]
            case ast.Assign(targets=targets):
                names = [one.id for one in targets if isinstance(one, ast.Name)]
            case _:
                names = []
        if name in names:
            return node
    return None


def quoted(words: str, name: str) -> Place:
    """
    Find words of the code inside of what has that name.

    They may go on over several lines; how they are indented does not matter.

    :raises NotThere: if they are not there exactly once, or if nothing has that name.
    """
    place = place_of(name)
    lines = (ROOT / place.file).read_text("utf-8").splitlines()
    found = list(_occurrences(" ".join(words.split()), lines, place))
    if len(found) != 1:
        how_often = f"{len(found)} times" if found else "not"
        raise NotThere(f"{words!r} is {how_often} in {name}")
    return found[0]


def _occurrences(words: str, lines: Sequence[str], place: Place) -> Iterator[Place]:
    #: The code on one line, and at which position in that each line begins.
    text = ""
    starts: list[int] = []
    for line in lines[place.first - 1 : place.last]:
        starts.append(len(text))
        text += " ".join(line.split()) + " "
    position = text.find(words)
    while position >= 0:
        end = position + len(words) - 1
        first = sum(start <= position for start in starts) - 1
        last = sum(start <= end for start in starts) - 1
        yield Place(place.file, place.first + first, place.first + last)
        position = text.find(words, position + 1)

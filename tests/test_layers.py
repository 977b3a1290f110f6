"""
What each module of hraftd may import, and what none of them may do.

The table of layers stands in ``docs/tour.rst``, for people; it is read from there. An
import for types alone counts like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parent.parent
TOUR = ROOT / "docs" / "tour.rst"

#: How modules are written in the table: without the package that all are in.
PACKAGE = "hraftd."

#: Imports that could only be for the time of day.
_WALL_CLOCK = ("time.time.", "time.time_ns.", "datetime.")


@frozen
class Import:
    """
    One name that a module imports, in full.
    """

    name: str
    line: int
    #: Whether only a type checker sees it.
    for_types: bool


@frozen
class Module:
    """
    One file of hraftd.
    """

    name: str
    tree: ast.Module
    imports: tuple[Import, ...]
    is_package: bool


def find_imports(node: ast.AST, for_types: bool = False) -> list[Import]:
    """
    Return all imports below a node, inside of functions too.
    """
    found: list[Import] = []
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=orelse):
                found += find_imports(ast.Module(body, []), True)
                found += find_imports(ast.Module(orelse, []), for_types)
            case ast.Import(names=names):
                found += [Import(name.name, child.lineno, for_types) for name in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"a relative import in line {child.lineno}"
                found += [
                    Import(f"{module}.{name.name}", child.lineno, for_types)
                    for name in names
                    if module != "__future__"
                ]
            case _:
                found += find_imports(child, for_types)
    return found


@cache
def modules() -> dict[str, Module]:
    """
    Return all modules of hraftd by their names.
    """
    found = {}
    for path in sorted((ROOT / "hraftd").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(path.read_text("utf-8"), str(path))
        found[name] = Module(name, tree, tuple(find_imports(tree)), is_package)
    return found


def block_after(marker: str) -> dict[str, tuple[str, ...]]:
    """
    Return a literal block of the tour, ``name: one, two`` in each line, in order.
    """
    lines = iter(TOUR.read_text("utf-8").splitlines())
    for line in lines:
        if line == f".. {marker}":
            break
    else:
        raise AssertionError(f"docs/tour.rst has no block called {marker}")
    rows: dict[str, tuple[str, ...]] = {}
    for line in lines:
        if line.startswith("    "):
            name, colon, words = line.strip().partition(":")
            assert colon, f"no colon in {line!r}"
            assert name not in rows, f"{name} stands twice in {marker}"
            rows[name] = tuple(word.strip() for word in words.split(",") if words)
        elif rows and line:
            break
    return rows


@cache
def layers() -> dict[str, tuple[str, ...]]:
    """
    Return the rows of the table, from the lowest layer to the highest.
    """
    return block_after("layers")


def row_of(name: str) -> str | None:
    """
    Return the row in which a module of hraftd stands: its own, or its folder's.
    """
    short = name.removeprefix(PACKAGE)
    parts = short.split(".")
    for length in range(len(parts), 0, -1):
        row = ".".join(parts[:length])
        if row in layers():
            return row
    return None


def imported_module(name: str) -> str | None:
    """
    Return the module of hraftd that an import reads, ``None`` if it is another's.
    """
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def folder(row: str) -> str:
    """
    Return the folder that a row of the table is, or is in.
    """
    return row.partition(".")[0]


CODE = sorted(name for name, module in modules().items() if not module.is_package)


def of_row(row: str) -> list[Module]:
    """
    Return the modules that a row speaks of.
    """
    return [modules()[name] for name in CODE if row_of(name) == row]


def test_every_module_has_its_place() -> None:
    """
    A new module fails here until somebody has thought about where it belongs.
    """
    assert [name for name in CODE if row_of(name) is None] == []


def test_the_table_names_nothing_that_is_not_there() -> None:
    """
    A row whose modules are gone goes too.
    """
    assert [row for row in layers() if not of_row(row)] == []


def test_packages_hold_nothing_themselves() -> None:
    """
    An ``__init__`` is a docstring: what one imports is what one names.

    But for the client, which others than us import: it gathers what they need.
    """
    for module in modules().values():
        if not module.is_package:
            continue
        assert ast.get_docstring(module.tree), module.name
        for node in module.tree.body[1:]:
            assert module.name == "hraftd.client", module.name
            assert isinstance(node, ast.ImportFrom | ast.Assign)


@pytest.mark.parametrize("row", layers())
def test_imports_are_those_of_the_table(row: str) -> None:
    """
    Each row says exactly what its modules import, of hraftd and of others.
    """
    names = {
        other
        for module in of_row(row)
        for one in module.imports
        if (other := _library(one) or _own_row(one)) is not None and other != row
    }
    assert names == set(layers()[row])


def _library(one: Import) -> str | None:
    top = one.name.partition(".")[0]
    if top == "hraftd" or top in sys.stdlib_module_names:
        return None
    return "attrs" if top == "attr" else top


def _own_row(one: Import) -> str | None:
    name = imported_module(one.name)
    return None if name is None else row_of(name)


@pytest.mark.parametrize("name", CODE)
def test_imports_lead_downwards(name: str) -> None:
    """
    A module knows nothing of those above it in the table.

    But two of one folder may name each other in their types.
    """
    order = list(layers())
    row = row_of(name)
    assert row is not None
    for one in modules()[name].imports:
        other = _own_row(one)
        if other is not None and order.index(other) > order.index(row):
            allowed = one.for_types and folder(other) == folder(row)
            assert allowed, f"{name}, line {one.line}, imports {one.name} from above"


def test_no_module_needs_itself_to_be_imported() -> None:
    """
    Within a row, too, imports other than for types make no circle.
    """
    waiting = {
        name: {
            other
            for one in modules()[name].imports
            if not one.for_types
            and (other := imported_module(one.name)) is not None
            and not modules()[other].is_package
        }
        for name in CODE
    }
    while waiting:
        free = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        assert free, f"these need each other: {sorted(waiting)}"
        for name in free:
            del waiting[name]


def standard_library(name: str) -> set[str]:
    """
    Return what a module imports of the standard library, besides types.
    """
    tops = {
        one.name.partition(".")[0]
        for one in modules()[name].imports
        if not one.for_types
    }
    return tops & sys.stdlib_module_names


def test_the_algorithm_uses_little_of_the_standard_library() -> None:
    """
    The first law: no clock, file, socket, thread, logger or chance of its own.
    """
    [allowed] = block_after("algorithm").values()
    used = set()
    for module in of_row("raft"):
        used |= standard_library(module.name)
    assert used == set(allowed)


def test_the_algorithm_calls_nothing_that_reaches_out() -> None:
    """
    The first law, for what needs no import.
    """
    for module in of_row("raft"):
        names = {
            node.id for node in ast.walk(module.tree) if isinstance(node, ast.Name)
        }
        assert not names & {"__import__", "breakpoint", "eval", "exec", "input", "open"}


def test_the_algorithm_runs_without_twisted() -> None:
    """
    The first law as Python sees it: what a program gets that imports only the core.
    """
    program = (
        "import sys, hraftd.raft.consensus, hraftd.raft.log, hraftd.raft.invariants\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = done.stdout.split()
    assert "hraftd.raft.consensus" in loaded
    outside = {"asyncio", "klein", "logging", "socket", "sqlite3", "twisted", "zope"}
    assert not outside & set(loaded)


def test_some_of_the_standard_library_has_one_place() -> None:
    """
    Time, threads, the database and the end of the process are in few modules.
    """
    places = block_after("places")
    for library, allowed in places.items():
        users = {
            name.removeprefix(PACKAGE)
            for name in CODE
            if library in standard_library(name)
        }
        assert users == set(allowed) - {"nobody"}, library


def test_only_the_command_line_knows_the_global_reactor() -> None:
    """
    Whoever needs time or a network is given it; a client asks for it if it is not.
    """
    users = {
        name
        for name in CODE
        for one in modules()[name].imports
        if f"{one.name}.".startswith("twisted.internet.reactor.")
    }
    assert users <= {
        *("hraftd.tap", "hraftd.cli", "hraftd.commands.process"),
        "hraftd.client.requests",
    }
    assert users


def test_nothing_looks_at_the_wall_clock() -> None:
    """
    It may be set back or forward at any moment.
    """
    for name in CODE:
        for one in modules()[name].imports:
            assert not f"{one.name}.".startswith(_WALL_CLOCK), name
        for node in ast.walk(modules()[name].tree):
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr="time" | "time_ns"):
                    raise AssertionError(f"{name}, line {node.lineno}, asks the time")


def test_nothing_prints() -> None:
    """
    What a node has to say goes to its log; only an option may answer at once.
    """
    for name in set(CODE) - {"hraftd.cli", "hraftd.options"}:
        for node in ast.walk(modules()[name].tree):
            if isinstance(node, ast.Name) and node.id == "print":
                raise AssertionError(f"{name}, line {node.lineno}, prints")

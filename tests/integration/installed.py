"""
The project as it is installed, beside this Python.

It, and not the source next to these tests, is what runs here: as an operator would run
it, and since ``twistd`` finds the plugin only then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_installed", "command", "environment"]

_REPOSITORY = Path(__file__).parents[2]


def command(name: str) -> str:
    """
    Return the path of a command that is installed beside this Python.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, (
        f"there is no {name} beside {sys.executable}; these tests run the installed "
        "project: pip install '.[test]'"
    )
    return found


def check_installed() -> None:
    """
    Make sure that the installed project is the one in this checkout.
    """
    command("hraftd")
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            "import hraftd, pathlib; print(pathlib.Path(hraftd.__file__).parent)",
        ],
        # Not here, where the checkout itself would be found first.
        cwd=Path(sys.executable).parent,
        env=environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    installed = Path(seen.stdout.strip())
    source = _REPOSITORY / "hraftd"
    stale = [
        str(file.relative_to(source))
        for file in sorted(source.rglob("*.py"))
        if not (installed / file.relative_to(source)).exists()
        or (installed / file.relative_to(source)).read_bytes() != file.read_bytes()
    ]
    assert not stale, (
        f"the hraftd in {installed} is not the one of this checkout ({stale[0]} "
        "differs); install it again: pip install '.[test]'"
    )


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """
    Return this process's environment and more, for installed code only.
    """
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**ours, **more}

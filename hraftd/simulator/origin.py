"""
Which hraftd this is: a seed means the same only to the same code.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import hraftd

__all__ = ["commit_of", "origin"]


def origin() -> str:
    """
    Say which version runs, and of which commit, as far as that is known.

    :return: nothing if neither is.
    """
    found = []
    with suppress(PackageNotFoundError):
        found.append(f"hraftd {version('hraftd')}")
    commit = commit_of(Path(hraftd.__file__).parent.parent)
    if commit is not None:
        found.append(f"commit {commit}, and whatever was changed since")
    return ", ".join(found) and f"with {', '.join(found)}"


def commit_of(checkout: Path) -> str | None:
    """
    Return the commit that is checked out in a folder, if it is one of git's.
    """
    try:
        folder = checkout / ".git"
        if folder.is_file():
            # One of several working trees, which share what is not their own.
            folder = checkout / folder.read_text().removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        shared = folder
        if (folder / "commondir").exists():
            shared = folder / (folder / "commondir").read_text().strip()
        if (shared / name).exists():
            return (shared / name).read_text().strip()
        for line in (shared / "packed-refs").read_text().splitlines():
            commit, _, packed = line.partition(" ")
            if packed == name:
                return commit
    except OSError:
        # No checkout, or one that looks otherwise: then nothing is said of it.
        pass
    return None

"""
Where and with what a run was made: what has to stand beside its figures.
"""

from __future__ import annotations

import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.processes import ROOT, run

__all__ = ["checkout_version", "describe_machine", "sync_ms"]

_SYNCS = 100


def checkout_version() -> str:
    """
    Return the version of the hraftd that is measured, with its commit if it has one.
    """
    found = re.search(r'version="(.+?)"', (ROOT / "setup.py").read_text("utf-8"))
    assert found is not None
    commit = run("git", "-C", str(ROOT), "describe", "--always", "--dirty").strip()
    return f"{found[1]} ({commit})" if re.fullmatch(r"[\w-]+", commit) else found[1]


def sync_ms(folder: Path) -> float:
    """
    Return how long the disk takes to write 4 kB and sync them: the median.
    """
    taken = []
    file = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for number in range(_SYNCS):
            start = time.perf_counter()
            os.pwrite(file, bytes(4096), 4096 * number)
            os.fdatasync(file)
            taken.append(time.perf_counter() - start)
    finally:
        os.close(file)
        (folder / "probe").unlink()
    return median(taken) * 1000


def _first(path: str, pattern: str) -> str:
    try:
        text = Path(path).read_text()
    except OSError:
        text = ""
    found = re.search(pattern, text, re.M)
    return found[1] if found else "unknown"


def _file_system(folder: Path) -> str:
    """
    Return the kind of file system that a folder is on.
    """
    best = ("", "unknown")
    resolved = str(folder.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        inside = place == "/" or f"{resolved}/".startswith(f"{place}/")
        if inside and len(place) >= len(best[0]):
            best = (place, kind)
    return best[1]


def describe_machine(folder: Path) -> dict[str, str]:
    """
    Return what to print above the figures.

    :param folder: where the clusters keep their data.
    """
    kilobytes = _first("/proc/meminfo", r"MemTotal: +(\d+)")
    memory = f"{int(kilobytes) / 2**20:.0f} GB" if kilobytes.isdigit() else kilobytes
    return {
        "processor": _first("/proc/cpuinfo", r"model name\s*: (.+)"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": memory,
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{_file_system(folder)}, 4 kB written and synced in "
        f"{sync_ms(folder):.2f} ms (median of {_SYNCS})",
        "Python": platform.python_version(),
        "Twisted": version("twisted"),
        "wrk": run("wrk", "--version").partition("Copyright")[0].strip(),
    }

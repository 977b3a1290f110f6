"""
Plots of a run, as SVG that is the same whenever it is made of the same figures.

They need matplotlib, which nothing else here does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.loads import GROUPS
from benchmarks.overload import PHASES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.results import Results

__all__ = ["INSTALL", "draw_all"]

INSTALL = 'install matplotlib (pip install ".[bench]")'

_COLORS = {
    "hraftd": "#1f6feb",
    "etcd": "#d1622b",
    "pysyncobj": "#3f8f4f",
    "twisted.web": "#7a7a7a",
}

_SETTINGS = {
    "svg.fonttype": "none",
    # What the names inside of a file are made from.
    "svg.hashsalt": "hraftd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def _systems(results: Results, names: Sequence[str]) -> list[str]:
    return [
        system
        for system in _COLORS
        if any(results.figures(name, system) for name in names)
    ]


def _lines(
    axes: Axes, results: Results, names: Sequence[str], at: Sequence[int], figure: str
) -> None:
    """
    Draw a line for each system, with its rounds as bars around the medians.
    """
    for system in _systems(results, names):
        points = [
            (place, middle)
            for name, place in zip(names, at, strict=True)
            if (middle := results.middle(name, system, figure)) is not None
        ]
        axes.errorbar(
            [place for place, _ in points],
            [middle.median for _, middle in points],
            [
                [middle.median - middle.least for _, middle in points],
                [middle.most - middle.median for _, middle in points],
            ],
            label=system,
            color=_COLORS[system],
            marker="o",
            capsize=3,
        )
    axes.legend()


def _name_places(axes: Axes, at: Sequence[int], is_log: bool) -> None:
    if is_log:
        axes.set_xscale("log")
    axes.set_xticks(at, [f"{place:,}" for place in at], minor=False)
    axes.set_xticks([], minor=True)


def _connections(figure: str, label: str, is_log: bool) -> Callable[..., bool]:
    def draw(axes: Axes, results: Results) -> bool:
        counts = [1, 8, 32, 128, 512]
        names = [f"writes-{count}" for count in counts]
        if not _systems(results, names):
            return False
        _lines(axes, results, names, counts, figure)
        _name_places(axes, counts, True)
        if is_log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("connections")
        axes.set_ylabel(label)
        return True

    return draw


def _reads(axes: Axes, results: Results) -> bool:
    measurements = GROUPS["Reads"]
    systems = _systems(results, [each.name for each in measurements])
    if not systems:
        return False
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        found = [
            (number, middle.median)
            for number, each in enumerate(measurements)
            if (middle := results.middle(each.name, system, "rate")) is not None
        ]
        bars = axes.bar(
            [number - 0.4 + width * (place + 0.5) for number, _ in found],
            [rate for _, rate in found],
            width,
            label=system,
            color=_COLORS[system],
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7)
    axes.set_xticks(
        range(len(measurements)),
        [each.title.replace(" on ", "\non ") for each in measurements],
    )
    axes.set_ylabel("requests a second")
    axes.legend()
    return True


def _sizes(prefix: str, at: Sequence[int], label: str) -> Callable[..., bool]:
    def draw(axes: Axes, results: Results) -> bool:
        names = [f"{prefix}-{place}" for place in at]
        if not _systems(results, names):
            return False
        _lines(axes, results, names, at, "rate")
        _name_places(axes, at, max(at) > 100)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
        axes.set_ylabel("writes a second on 128")
        return True

    return draw


def _overload(axes: Axes, results: Results) -> bool:
    """
    Draw how much memory the leader held in the last round, the phases in a row.
    """
    systems = _systems(results, ["overload"])
    for system in systems:
        figures = results.figures("overload", system)[-1]
        start = 0.0
        for name in PHASES:
            memory = figures["phases"][name]["memory_mb"]
            axes.plot(
                [start + seconds for seconds, _ in memory],
                [megabytes for _, megabytes in memory],
                color=_COLORS[system],
                label=system if name == next(iter(PHASES)) else None,
            )
            if system == systems[0]:
                axes.axvline(start, color="#999999", linestyle=":")
                axes.annotate(
                    f" {name}", (start, 1.0), xycoords=("data", "axes fraction")
                )
            start += memory[-1][0]
    if not systems:
        return False
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MB of the leader")
    axes.legend()
    return True


#: The name of each file, what it shows, and how it is drawn.
_PLOTS: dict[str, tuple[str, Callable[[Any, Results], bool]]] = {
    "writes": (
        "Writes with three nodes",
        _connections("rate", "writes a second", False),
    ),
    "latency": (
        "99th percentile of writes with three nodes",
        _connections("p99_ms", "milliseconds", True),
    ),
    "reads": ("Reads at the leader of three nodes", _reads),
    "clusters": (
        "Writes in clusters of several sizes",
        _sizes("nodes", (1, 3, 5, 7), "nodes"),
    ),
    "keys": (
        "Writes to stores of several sizes",
        _sizes("keys", (1, 1000, 1_000_000), "keys"),
    ),
    "overload": ("Memory under 2,000 connections of writes", _overload),
}


def draw_all(results: Results, folder: Path) -> dict[str, str]:
    """
    Draw everything of which there are figures.

    :return: what each file in the folder shows.
    :raises ImportError: without matplotlib.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn = {}
    with mpl.rc_context(_SETTINGS):
        for name, (title, draw) in _PLOTS.items():
            figure = Figure(figsize=(7, 4), layout="constrained")
            axes = figure.add_subplot()
            if not draw(axes, results):
                continue
            axes.set_title(title, pad=18)
            file = folder / f"{name}.svg"
            figure.savefig(file, metadata={"Date": None})
            # One may not have blanks at the ends of lines in a repository.
            lines = [line.rstrip() for line in file.read_text("utf-8").splitlines()]
            file.write_text("\n".join(lines) + "\n", "utf-8")
            drawn[file.name] = title
    return drawn

"""
A sheet of paper: lines, boxes and words as SVG, none of the words over another.

Only what diagrams need. Elements go into layers, which are drawn one above the other.
Words that have to find room are given several places; if none is free they are left
out, and what they are about has a tooltip. SVG has no tooltips of more than a
``<title>``, and that is enough.

The paper is white and says so, since viewers of a dark kind have none of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LAYERS", "Sheet", "number", "width_of"]

#: From the back to the front.
LAYERS = ("back", "strips", "arrows", "lanes", "marks", "words")

#: Of a letter's height: its width, on average, and that of a bold one.
_WIDTH, _BOLD_WIDTH = 0.53, 0.59

#: Side of the squares in which words are looked for that might be in the way.
_CELL = 64


def number(value: float) -> str:
    """
    Return a length as SVG has it, to a tenth.
    """
    return f"{value:.1f}".removesuffix(".0")


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """
    Return about how wide words are.
    """
    return len(text) * size * (_BOLD_WIDTH if bold else _WIDTH)


@define(eq=False)
class Sheet:
    """
    Something to draw on.
    """

    _layers: dict[str, list[str]] = field(factory=lambda: {one: [] for one in LAYERS})
    _taken: dict[tuple[int, int], list[tuple[float, float, float, float]]] = field(
        factory=dict
    )
    #: Columns in which there are never words.
    _columns: list[tuple[float, float]] = field(factory=list)

    def add(self, layer: str, name: str, title: str = "", **attributes: object) -> None:
        """
        Add an element without content.

        :param title: its tooltip.
        :param attributes: ``_`` stands for a dash; numbers are rounded.
        """
        inside = f"<title>{escape(title)}</title></{name}>" if title else ""
        written = _written(attributes)
        end = ">" if title else "/>"
        self._layers[layer].append(f"<{name}{written}{end}{inside}")

    def group(
        self, layer: str, title: str, *elements: tuple[str, dict[str, object]]
    ) -> None:
        """
        Add some elements with one tooltip.
        """
        inside = "".join(
            f"<{name}{_written(attributes)}/>" for name, attributes in elements
        )
        self._layers[layer].append(f"<g><title>{escape(title)}</title>{inside}</g>")

    def word(
        self,
        x: float,
        y: float,
        text: str,
        style: str,
        *,
        layer: str = "words",
        title: str = "",
    ) -> None:
        """
        Write where it says, whatever is there.
        """
        tooltip = f"<title>{escape(title)}</title>" if title else ""
        attributes = _written({"x": x, "y": y, "class": style})
        self._layers[layer].append(f"<text{attributes}>{tooltip}{escape(text)}</text>")

    # Finding room.

    def keep_free(self, left: float, right: float) -> None:
        """
        Let no words that look for room be in a column.
        """
        self._columns.append((left, right))

    def take(self, left: float, top: float, right: float, bottom: float) -> None:
        """
        Take note that this room is not free any more.
        """
        box = (left, top, right, bottom)
        for cell in _cells(*box):
            self._taken.setdefault(cell, []).append(box)

    def is_free(self, left: float, top: float, right: float, bottom: float) -> bool:
        """
        Whether there are no words and no columns in this room.
        """
        return not any(
            left < other[1] and other[0] < right for other in self._columns
        ) and not any(
            left < other[2]
            and other[0] < right
            and top < other[3]
            and other[1] < bottom
            for cell in _cells(left, top, right, bottom)
            for other in self._taken.get(cell, ())
        )

    def find_room(
        self, width: float, height: float, places: Iterable[tuple[float, float, str]]
    ) -> tuple[float, float] | None:
        """
        Take the first free one of some places.

        :param places: where the baseline is, and which part of the words is at that x:
            ``start``, ``middle`` or ``end``.
        :return: the left end of the baseline.
        """
        for x, y, anchor in places:
            left = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            box = (left - 1, y - height * 0.85, left + width + 1, y + height * 0.25)
            if self.is_free(*box):
                self.take(*box)
                return left, y
        return None

    def label(
        self,
        text: str,
        style: str,
        size: float,
        places: Iterable[tuple[float, float, str]],
        title: str = "",
    ) -> bool:
        """
        Write at the first free one of some places, or not at all.
        """
        found = self.find_room(width_of(text, size), size, places)
        if found is not None:
            self.word(*found, text, style, title=title)
        return found is not None

    def chip(
        self,
        text: str,
        colour: str,
        size: float,
        places: Iterable[tuple[float, float, str]],
    ) -> bool:
        """
        Write as :meth:`label` does, on a box.

        :param colour: its name, behind the ``f`` and the ``i`` of the style's classes.
        """
        width = width_of(text, size, bold=True) + 8
        found = self.find_room(width, size + 4, places)
        if found is None:
            return False
        x, y = found
        self.add(
            "marks",
            "rect",
            x=x,
            y=y - size * 0.95,
            width=width,
            height=size + 4,
            rx=3,
            class_=f"f{colour}",
        )
        self.word(x + width / 2, y + 1, text, f"inchip i{colour}")
        return True

    def text_of(
        self, width: float, height: float, heading: str, style: str, defs: str
    ) -> str:
        """
        Return all of it as the text of a file.
        """
        size = f'width="{number(width)}" height="{number(height)}"'
        parts = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {number(width)} {number(height)}" role="img">',
            f"<title>{escape(heading)}</title>",
            f"<style>{style}</style>",
            f"<defs>{defs}</defs>",
            '<rect width="100%" height="100%" fill="#fff"/>',
        ]
        for layer in LAYERS:
            parts += [f'<g class="{layer}">', *self._layers[layer], "</g>"]
        parts += ["</svg>", ""]
        return "\n".join(parts)


def _cells(
    left: float, top: float, right: float, bottom: float
) -> list[tuple[int, int]]:
    return [
        (column, row)
        for column in range(int(left // _CELL), int(right // _CELL) + 1)
        for row in range(int(top // _CELL), int(bottom // _CELL) + 1)
    ]


def _written(attributes: Mapping[str, object]) -> str:
    words = []
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        text = number(value) if isinstance(value, float) else str(value)
        words.append(f" {name}={quoteattr(text)}")
    return "".join(words)

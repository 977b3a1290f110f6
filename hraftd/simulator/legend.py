"""
What the signs of a diagram mean, above it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from hraftd.simulator.layout import KINDS, MARGIN, WIDTHS, colour_of
from hraftd.simulator.recording import Part
from hraftd.simulator.svg import width_of
from hraftd.simulator.wording import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hraftd.simulator.svg import Sheet

__all__ = ["draw_legend"]

#: Height of a row, and the width of a sign.
_ROW, _SIGN = 19.0, 26.0


@define(eq=False)
class _Flow:
    """
    Signs with words, one after the other, as many as there is room for in a row.
    """

    sheet: Sheet
    right: float
    y: float
    x: float = field(default=MARGIN)

    def heading(self, text: str) -> None:
        self.x = MARGIN
        self.y += _ROW
        self.sheet.word(self.x, self.y, text, "s", layer="marks")
        self.x += 70

    def item(self, text: str, draw: Callable[[float, float], object]) -> None:
        width = _SIGN + 6 + width_of(text, 12.5) + 14
        if self.x + width > self.right:
            self.x = MARGIN + 70
            self.y += _ROW
        draw(self.x, self.y - 4)
        self.sheet.word(self.x + _SIGN + 6, self.y, text, "s", layer="marks")
        self.x += width


def draw_legend(
    sheet: Sheet, top: float, right: float, terms: Collection[int], has_clients: bool
) -> float:
    """
    Explain all signs.

    :param terms: those that are met.
    :return: where the legend ends.
    """
    flow = _Flow(sheet, right, top)
    flow.heading("Servers")
    _explain_servers(flow)
    flow.heading("Terms")
    for term in sorted(terms):
        flow.item(f"term {term}", partial(_term, sheet, term))
    flow.heading("Messages")
    _explain_messages(flow)
    if has_clients:
        flow.heading("Clients")
        for style, text in (
            ("done", "a request that is done"),
            ("refused", "refused: nothing has happened"),
            ("unknown", "no answer, or an unknown outcome: it may have happened"),
        ):
            flow.item(text, partial(_client, sheet, style))
    flow.heading("Time")
    flow.item(
        "runs down, in seconds, and is stretched: there is room where much happens, "
        "and a long wait takes little more",
        lambda x, y: sheet.add(
            "marks",
            "path",
            d=f"M{x + 13:.1f},{y - 6:.1f}V{y + 6:.1f}",
            class_="l ln append",
            marker_end="url(#mn)",
        ),
    )
    return flow.y


def _explain_servers(flow: _Flow) -> None:
    sheet = flow.sheet
    for part in Part:
        if part is not Part.DOWN:
            flow.item(part.value, partial(_lane, sheet, part))
    flow.item(
        "not running",
        lambda x, y: sheet.add(
            "marks", "path", d=f"M{x:.1f},{y:.1f}h{_SIGN:g}", class_="down"
        ),
    )
    for style, text in (("still", "stands still"), ("cut", "cut off from some")):
        flow.item(text, partial(_strip, sheet, style))
    flow.item(
        "=7  entries up to 7 are committed",
        lambda x, y: sheet.add(
            "marks", "path", d=f"M{x + 8:.1f},{y:.1f}h10", class_="ct"
        ),
    )


def _strip(sheet: Sheet, style: str, x: float, y: float) -> None:
    height = 8 if style == "still" else 4
    sheet.add(
        "marks",
        "rect",
        x=x,
        y=y - height / 2,
        width=_SIGN,
        height=height,
        class_=style,
    )


def _lane(sheet: Sheet, part: Part, x: float, y: float) -> None:
    width = WIDTHS[part]
    box: dict[str, object] = {
        "x": x,
        "y": y - width / 2,
        "width": _SIGN,
        "height": width,
    }
    style = "f0 hollow b0" if part is Part.NONVOTER else "f0"
    elements: list[tuple[str, dict[str, object]]] = [("rect", {**box, "class": style})]
    pattern = {Part.CANDIDATE: "candidate", Part.PRE_CANDIDATE: "pre"}.get(part)
    if pattern is not None:
        elements.append(("rect", {**box, "fill": f"url(#{pattern})"}))
    sheet.group("marks", part.value, *elements)


def _term(sheet: Sheet, term: int, x: float, y: float) -> None:
    colour = colour_of(term)
    sheet.add(
        "marks",
        "rect",
        x=x,
        y=y - 6,
        width=_SIGN,
        height=12,
        rx=3,
        class_=f"f{colour}",
    )


def _explain_messages(flow: _Flow) -> None:
    sheet = flow.sheet

    def arrow(style: str, head: str) -> Callable[[float, float], object]:
        return lambda x, y: sheet.add(
            "marks",
            "path",
            d=f"M{x:.1f},{y:.1f}h{_SIGN:g}",
            class_=f"l {style}",
            marker_end=f"url(#{head})" if head else "none",
        )

    for kind in KINDS:
        style = "ln" if kind is Kind.FORWARDED else "l0"
        head = "mn" if kind is Kind.FORWARDED else "m0"
        flow.item(kind.value, arrow(f"{style} {kind.name.lower()}", head))
    flow.item("an answer", arrow("l0 append", "o0"))
    flow.item("faint: nothing comes of it", arrow("l0 heartbeat q", "m0"))

    def lost(x: float, y: float) -> None:
        arrow("l0 append", "")(x, y)
        d = f"M{x + 20:.1f},{y - 4:.1f}l8,8m0,-8l-8,8"
        sheet.add("marks", "path", d=d, class_="x")

    flow.item("lost", lost)


def _client(sheet: Sheet, style: str, x: float, y: float) -> None:
    sheet.add(
        "marks",
        "rect",
        x=x,
        y=y - 3.5,
        width=_SIGN,
        height=7,
        class_=f"client {style}",
    )

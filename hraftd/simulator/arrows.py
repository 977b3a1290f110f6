"""
Messages in a diagram: arrows from when they were sent to when they were looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.simulator.layout import WIDTHS, colour_of
from hraftd.simulator.recording import Part
from hraftd.simulator.wording import Kind, details, is_quiet, kind_of, short, term_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hraftd.simulator.layout import Layout
    from hraftd.simulator.recording import Message, State
    from hraftd.simulator.svg import Sheet

__all__ = ["draw_messages", "edge_of", "is_within"]

#: Seconds that the arrow of a message goes on which never arrives.
_LOST_AFTER = 0.001

#: Seconds from which on a message is late.
_LATE = 0.1


def is_within(message: Message, first: float, last: float) -> bool:
    """
    Whether something of a message is in a part of a history.
    """
    arrived = message.sent if message.arrived is None else message.arrived
    return message.sent <= last and arrived >= first


def edge_of(states: Sequence[State], time: float) -> float:
    """
    Return how far from its middle a lane ends at a moment.
    """
    part = Part.DOWN
    for state in states:
        if state.time > time:
            break
        part = state.part
    return WIDTHS[part] / 2


def draw_messages(
    sheet: Sheet,
    layout: Layout,
    messages: Sequence[Message],
    states: dict[str, list[State]],
) -> None:
    """
    Draw the arrows of a part, the quiet ones first.
    """
    axis = layout.axis
    shown = [
        message
        for message in messages
        if is_within(message, axis.first, axis.last)
        and {message.sender, message.receiver} <= layout.servers.keys()
    ]
    for message in shown:
        if is_quiet(message):
            _draw(sheet, layout, message, states, is_faint=True)
    for message in shown:
        if not is_quiet(message):
            _draw(sheet, layout, message, states, is_faint=False)


def _draw(
    sheet: Sheet,
    layout: Layout,
    message: Message,
    states: dict[str, list[State]],
    *,
    is_faint: bool,
) -> None:
    axis = layout.axis
    is_lost = message.arrived is None and not message.is_under_way
    x1, x2 = layout.servers[message.sender], layout.servers[message.receiver]
    sign = 1 if x2 > x1 else -1
    x1 += sign * edge_of(states[message.sender], message.sent)
    y1 = axis.place(message.sent)
    ends_here = message.arrived is not None and message.arrived <= axis.last
    if message.arrived is not None:
        y2 = axis.place(message.arrived)
        x2 -= sign * (edge_of(states[message.receiver], message.arrived) + 1)
    elif is_lost:
        y2 = axis.place(message.sent + _LOST_AFTER)
    else:
        y2 = axis.bottom
    if not ends_here:
        x2 = x1 + (x2 - x1) * (0.5 if is_lost else 0.75)
    kind = kind_of(message)
    colour = colour_of(term_of(message))
    path = f"M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}"
    # What is held up at a blocked path fills pictures otherwise.
    is_late = (message.arrived or axis.last) - message.sent > _LATE
    is_faint |= is_late and kind is Kind.HEARTBEAT
    # An answer's head is open.
    head = "m" if message.question is None else "o"
    faint = " q" if is_faint else ""
    line: dict[str, object] = {
        "d": path,
        "class": f"l l{colour} {kind.name.lower()}{faint}",
    }
    if ends_here:
        line["marker-end"] = f"url(#{head}{colour})"
    elements: list[tuple[str, dict[str, object]]] = [("path", line)]
    if not is_faint:
        elements.append(("path", {"d": path, "class": "hit"}))
    if is_lost:
        cross = f"M{x2 - 4:.1f},{y2 - 4:.1f}l8,8m0,-8l-8,8"
        elements.append(("path", {"d": cross, "class": "x"}))
    sheet.group("arrows", details(message), *elements)
    text = "" if is_quiet(message) else short(message)
    if text:
        style = "a" if kind is not Kind.FORWARDED else "c"
        sheet.label(text, style, 9.5, _places(x1, y1, x2, y2))


def _places(
    x1: float, y1: float, x2: float, y2: float
) -> Iterator[tuple[float, float, str]]:
    """
    Return where words may stand along an arrow: near its beginning, if they can.
    """
    sign = 1 if x2 > x1 else -1
    anchor = "start" if sign > 0 else "end"
    yield (
        x1 + sign * 12,
        y1 + (y2 - y1) * min(1, 12 / max(12, abs(x2 - x1))) - 3,
        anchor,
    )
    for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        for lift in (-3.0, 10.0):
            yield x1 + (x2 - x1) * share, y1 + (y2 - y1) * share + lift, "middle"

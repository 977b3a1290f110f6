"""
A history as a picture: servers as lanes in which time runs down, messages as arrows.

:func:`draw` makes an SVG of a :class:`~hraftd.simulator.recording.Recording` that has
come to its end: of the part that is asked for, or of one that shows much. Where what is
and how it looks: :mod:`hraftd.simulator.layout`; how time becomes room:
:mod:`hraftd.simulator.time_axis`; lanes and arrows have modules of their own, and what
is said in the margin comes from :mod:`hraftd.simulator.story`.

What one cannot see in it: where a message was when it was lost (its arrow ends in a
cross after a millisecond, whatever happened), and how long anything took, but for the
times at the margin and in tooltips, since time is stretched.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from hraftd.simulator.arrows import draw_messages, is_within
from hraftd.simulator.lanes import draw_servers
from hraftd.simulator.layout import DEFS, MARGIN, STORY, STYLE, Layout, lanes_of
from hraftd.simulator.legend import draw_legend
from hraftd.simulator.recording import Part
from hraftd.simulator.story import happenings, sentences
from hraftd.simulator.svg import Sheet
from hraftd.simulator.time_axis import TimeAxis, choose_part
from hraftd.simulator.wishes import draw_clients
from hraftd.simulator.wording import is_quiet, term_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hraftd.simulator.recording import Recording
    from hraftd.simulator.story import Sentence

__all__ = ["draw", "part_of"]

#: Room for the names of the lanes.
_HEADS = 62.0

#: Characters in a line of the margin, and from one line to the next.
_LETTERS, _LINE = 41, 13.5


def part_of(
    recording: Recording, first: float | None, last: float | None
) -> tuple[float, float]:
    """
    Return the part of a history that is to be shown.

    :param first: seconds, if that is given; so is ``last``.
    """
    now = recording.schedule.world.now
    loud = [message.sent for message in recording.messages if not is_quiet(message)]
    loud += [one.invoked for one in recording.schedule.clients.operations]
    chosen = choose_part(happenings(recording), sorted(loud), recording.violated, now)
    if first is None and last is None:
        return chosen
    if first is None:
        first = min(chosen[0], (last or 0.0) - 1.0)
    if last is None:
        last = chosen[1] if chosen[1] > first else first + 1.0
    first = max(0.0, min(first, now))
    return first, max(first + 0.001, min(last, now))


def draw(
    recording: Recording,
    command: str,
    first: float | None = None,
    last: float | None = None,
) -> str:
    """
    Draw a part of a history.

    :param command: what makes the same history again.
    :param first: seconds since the world began; chosen if not given, and so is
        ``last``.
    :return: the text of an SVG file.
    """
    first, last = part_of(recording, first, last)
    servers, clients, right, spacing = lanes_of(recording, first, last)
    told = [one for one in sentences(recording) if first <= one.time <= last]
    terms = _terms(recording, first, last)
    sheet = Sheet()
    width = right + STORY + MARGIN
    heading = (
        f"Seed {recording.schedule.seed}: {len(servers)} "
        f"{'servers' if len(servers) > 1 else 'server'}, "
        f"from {first:.3f} s to {last:.3f} s of {recording.schedule.world.now:.1f} s"
    )
    sheet.word(MARGIN, 34, heading, "h", layer="marks")
    y = 54.0
    for line in wrap(command, int((width - 2 * MARGIN) / 6.7)):
        sheet.word(MARGIN, y, line, "m", layer="marks")
        y += 15
    y = draw_legend(sheet, y, width - MARGIN, terms, bool(clients))
    moments = set(_moments(recording, told, first, last))
    axis = TimeAxis(y + _HEADS, first, last, moments)
    layout = Layout(axis, servers, clients, right, spacing)
    _draw_time(sheet, layout)
    draw_servers(sheet, layout, recording)
    draw_clients(sheet, layout, recording.schedule.clients.operations)
    draw_messages(sheet, layout, recording.messages, recording.states)
    bottom = _tell(sheet, layout, told)
    bottom = max(bottom, _draw_violation(sheet, layout, recording))
    for name, x in (*servers.items(), *clients.items()):
        sheet.word(x, axis.bottom + 20, name, "id", layer="marks")
    return sheet.text_of(
        width, max(bottom, axis.bottom + 30) + 16, heading, STYLE, DEFS
    )


def _terms(recording: Recording, first: float, last: float) -> set[int]:
    terms = set()
    for states in recording.states.values():
        for state, later in zip(states, [*states[1:], None], strict=True):
            ends = last if later is None else later.time
            if state.part is not Part.DOWN and state.time <= last and ends >= first:
                terms.add(state.term)
    for message in recording.messages:
        term = term_of(message)
        if term is not None and is_within(message, first, last):
            terms.add(term)
    return terms


def _moments(
    recording: Recording, told: list[Sentence], first: float, last: float
) -> Iterator[float]:
    """
    Yield when something happens for which there has to be room.
    """
    for message in recording.messages:
        if is_within(message, first, last) and not is_quiet(message):
            yield message.sent
            if message.arrived is None:
                yield message.sent + 0.001
            else:
                yield message.arrived
    for states in recording.states.values():
        yield from (state.time for state in states)
    for operation in recording.schedule.clients.operations:
        yield operation.invoked
        if operation.returned is not None:
            yield operation.returned
    yield from (sentence.time for sentence in told)


def _draw_time(sheet: Sheet, layout: Layout) -> None:
    axis = layout.axis
    for place, text in axis.ticks(46.0):
        d = f"M{layout.left - 8:.1f},{place:.1f}H{layout.right:.1f}"
        sheet.add("back", "path", d=d, class_="grid")
        sheet.word(layout.left - 12, place + 3.5, text, "tick", layer="marks")
        sheet.take(MARGIN, place - 7, layout.left - 12, place + 6)
    for top, bottom, seconds in axis.gaps():
        middle = (top + bottom) / 2
        text = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
        if sheet.is_free(MARGIN, middle - 6, layout.left - 12, middle + 4):
            sheet.word(layout.left - 12, middle + 3, f"{text} later", "gap")


def _tell(sheet: Sheet, layout: Layout, told: list[Sentence]) -> float:
    """
    Write in the margin what happens.

    :return: where that ends.
    """
    x = layout.right + 34
    y = 0.0
    for sentence in told:
        place = layout.axis.place(sentence.time)
        lines = wrap(sentence.text, _LETTERS)
        y = max(y, place + 4)
        d = f"M{layout.right + 4:.1f},{place:.1f}h8L{x - 12:.1f},{y - 4:.1f}h8"
        sheet.add("back", "path", d=d, class_="lead")
        for line in lines:
            title = f"{sentence.time:.4f} s"
            sheet.word(x, y, line, f"n {sentence.about}", title=title)
            y += _LINE
        y += 2
    return y


def _draw_violation(sheet: Sheet, layout: Layout, recording: Recording) -> float:
    axis = layout.axis
    if recording.violated is None or not axis.first <= recording.violated <= axis.last:
        return 0.0
    place = axis.place(recording.violated)
    d = f"M{MARGIN:.1f},{place:.1f}H{layout.right + 20:.1f}"
    sheet.add("marks", "path", str(recording.violation), d=d, class_="end")
    text = f"{type(recording.violation).__name__}: {recording.violation}"
    y = place + 42.0
    for line in wrap(text, int((layout.width - 2 * MARGIN) / 7.4)):
        sheet.word(MARGIN, y, line, "wrong")
        y += 17
    return y

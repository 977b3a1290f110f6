"""
Servers in a diagram: what they are, and what happens to them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from hraftd.simulator.arrows import edge_of
from hraftd.simulator.layout import WIDTHS, colour_of
from hraftd.simulator.recording import Part
from hraftd.simulator.story import lane_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hraftd.simulator.layout import Layout
    from hraftd.simulator.recording import Interval, Recording, State
    from hraftd.simulator.svg import Sheet

__all__ = ["draw_servers"]

#: Where words begin that are about a lane.
_BESIDE = 17.0

#: Between two names in a lane that is long.
_NAME_AGAIN = 700.0


def draw_servers(sheet: Sheet, layout: Layout, recording: Recording) -> None:
    """
    Draw the lanes of all servers, and first the words that must find room.
    """
    for x in layout.servers.values():
        sheet.keep_free(x - 9.5, x + 9.5)
    for server, x in layout.servers.items():
        sheet.word(x, layout.axis.place(0) - 26, server, "id", layer="marks")
        _draw_lane(sheet, layout, recording.states[server], server, x)
        for one in recording.pauses.get(server, ()):
            _draw_pause(sheet, layout, one, server, x)
        _draw_cuts(sheet, layout, recording, server, x)
        _draw_marks(sheet, layout, recording, server, x)
    for server, x in layout.servers.items():
        _draw_commits(sheet, layout, recording.states[server], server, x)


def _draw_lane(
    sheet: Sheet, layout: Layout, states: list[State], server: str, x: float
) -> None:
    axis = layout.axis
    at = max(0, bisect_right([state.time for state in states], axis.first) - 1)
    before: State | None = None
    for state, later in zip(states[at:], [*states[at + 1 :], None], strict=True):
        if state.time > axis.last:
            break
        top = axis.place(max(axis.first, state.time))
        bottom = axis.bottom if later is None else axis.place(later.time)
        if before is None:
            _draw_head(sheet, layout, state, x)
        elif (state.part, state.term) != (before.part, before.term):
            _announce(sheet, state, before, x, top)
        before = state
        if bottom > top:
            _draw_piece(sheet, state, server, x, top, bottom)
    place = axis.place(axis.first) + _NAME_AGAIN
    while place < axis.bottom - 60:
        edge = _BESIDE
        sheet.label(
            server,
            "again",
            11,
            [(x + edge, place + lift, "start") for lift in (0, 14, 28, 42, 56)],
        )
        place += _NAME_AGAIN


def _draw_head(sheet: Sheet, layout: Layout, state: State, x: float) -> None:
    top = layout.axis.place(layout.axis.first)
    if state.part is Part.DOWN or state.time > layout.axis.first:
        return
    text = f"term {state.term}"
    if state.part is not Part.FOLLOWER:
        text = f"{state.part.value}, {text}"
    # Above the lane, where nothing else is.
    width = len(text) * 5.9 + 8
    style = colour_of(state.term)
    sheet.add(
        "marks",
        "rect",
        x=x - width / 2,
        y=top - 19.5,
        width=width,
        height=14,
        rx=3,
        class_=f"f{style}",
    )
    sheet.word(x, top - 9, text, f"inchip i{style}")
    sheet.take(x - width / 2, top - 20, x + width / 2, top - 5)


def _draw_piece(
    sheet: Sheet, state: State, server: str, x: float, top: float, bottom: float
) -> None:
    if state.part is Part.DOWN:
        sheet.add("lanes", "path", d=f"M{x:.1f},{top:.1f}V{bottom:.1f}", class_="down")
        return
    width = WIDTHS[state.part]
    title = (
        f"{server}, {state.part.value}, from {state.time:.4f} s on\n"
        f"term: {state.term}\nvoted for: {state.voted_for}\n"
        f"commit index: {state.commit_index}\nlast entry: {state.last_index}"
    )
    colour = colour_of(state.term)
    box: dict[str, object] = {
        "x": x - width / 2,
        "y": top,
        "width": width,
        "height": bottom - top,
    }
    hollow = f" hollow b{colour}" if state.part is Part.NONVOTER else ""
    elements: list[tuple[str, dict[str, object]]] = [
        ("rect", {**box, "class": f"f{colour}{hollow}"})
    ]
    pattern = {Part.CANDIDATE: "candidate", Part.PRE_CANDIDATE: "pre"}.get(state.part)
    if pattern is not None:
        elements.append(("rect", {**box, "fill": f"url(#{pattern})"}))
    sheet.group("lanes", title, *elements)


def _beside(x: float, y: float) -> Iterator[tuple[float, float, str]]:
    """
    Return where words may stand about a moment of a lane.
    """
    for drop in (4.0, 14.0, -6.0, 25.0, -16.0, 36.0):
        yield x + _BESIDE, y + drop, "start"
        yield x - _BESIDE, y + drop, "end"


def _announce(
    sheet: Sheet, state: State, before: State, x: float, place: float
) -> None:
    """
    Say what a server is from now on.
    """
    if state.part is Part.DOWN:
        return
    if state.part is before.part or before.part is Part.DOWN:
        text = f"term {state.term}"
    elif state.part is Part.PRE_CANDIDATE:
        text = "pre-candidate"
    elif state.part is Part.FOLLOWER and state.term == before.term:
        text = "follower"
    else:
        text = f"{state.part.value}, term {state.term}"
    sheet.chip(text, colour_of(state.term), 10, _beside(x, place))


def _draw_commits(
    sheet: Sheet, layout: Layout, states: list[State], server: str, x: float
) -> None:
    """
    Draw a tick where the commit index moves.
    """
    axis = layout.axis
    before = None
    for state in states:
        moves = before is not None and state.commit_index > before.commit_index
        was_there = before is not None and before.part is not Part.DOWN
        before = state
        if not (moves and was_there and axis.first <= state.time <= axis.last):
            continue
        place = axis.place(state.time)
        edge = edge_of(states, state.time)
        sheet.add(
            "marks",
            "path",
            f"{server} knows entry {state.commit_index} to be committed, "
            f"at {state.time:.4f} s",
            d=f"M{x + edge:.1f},{place:.1f}h4M{x - edge - 4:.1f},{place:.1f}h4",
            class_="ct",
        )
        sheet.label(
            f"={state.commit_index}",
            "c",
            8.5,
            [
                (x + _BESIDE, place + 3, "start"),
                (x - _BESIDE, place + 3, "end"),
                (x + _BESIDE, place + 9, "start"),
                (x - _BESIDE, place + 9, "end"),
            ],
        )


def _draw_pause(
    sheet: Sheet, layout: Layout, one: Interval, server: str, x: float
) -> None:
    axis = layout.axis
    top, bottom = _clipped(layout, one)
    if bottom > top:
        end = axis.last if one.ended is None else one.ended
        sheet.add(
            "marks",
            "rect",
            f"{server} stands still for {end - one.began:.3f} s",
            x=x - 8,
            y=top,
            width=16,
            height=bottom - top,
            class_="still",
        )
        if one.began >= axis.first:
            sheet.label("stands still", "bad", 10, _beside(x, top + 4))


def _clipped(layout: Layout, one: Interval) -> tuple[float, float]:
    axis = layout.axis
    end = axis.last if one.ended is None else one.ended
    if end < axis.first or one.began > axis.last:
        return 0.0, 0.0
    return axis.place(one.began), axis.place(end)


def _draw_cuts(
    sheet: Sheet, layout: Layout, recording: Recording, server: str, x: float
) -> None:
    """
    Draw a strip while a way to or from this server is blocked, and say which.
    """
    axis = layout.axis
    ends: set[float] = {axis.first}
    mine = [
        (way, one)
        for way, intervals in recording.blocks.items()
        for one in intervals
        if server in way and set(way) <= layout.servers.keys()
    ]
    for _, one in mine:
        ends |= {one.began, axis.last if one.ended is None else one.ended}
    times = sorted(time for time in ends if axis.first <= time <= axis.last)
    for begin, end in zip(times, [*times[1:], axis.last], strict=True):
        here = [
            way
            for way, one in mine
            if one.began <= begin and (one.ended is None or one.ended >= end > begin)
        ]
        top, bottom = axis.place(begin), axis.place(end)
        if not here or bottom <= top:
            continue
        deaf = sorted(sender for sender, receiver in here if receiver == server)
        mute = sorted(receiver for sender, receiver in here if sender == server)
        words = _cut_words(deaf, mute)
        for side in (-14.0, 10.0):
            sheet.add(
                "strips",
                "rect",
                f"{server}: {words}, from {begin:.4f} to {end:.4f} s",
                x=x + side,
                y=top,
                width=4,
                height=bottom - top,
                class_="cut",
            )
        sheet.label(words, "bad", 10, _beside(x, top + 9))


def _cut_words(deaf: list[str], mute: list[str]) -> str:
    if deaf == mute:
        return f"cut off from {' '.join(deaf)}"
    words = []
    if deaf:
        words.append(f"does not hear {' '.join(deaf)}")
    if mute:
        words.append(f"not heard by {' '.join(mute)}")
    return ", ".join(words)


def _draw_marks(
    sheet: Sheet, layout: Layout, recording: Recording, server: str, x: float
) -> None:
    axis = layout.axis
    for line in recording.schedule.transcript.said:
        if line.who != server or not axis.first <= line.time <= axis.last:
            continue
        text = lane_words(line)
        if not text:
            continue
        place = axis.place(line.time)
        is_end = text in ("killed", "power cut", "disk fails: ends", "stopped")
        if is_end:
            sheet.add(
                "marks",
                "path",
                line.what,
                d=f"M{x - 8:.1f},{place - 8:.1f}l16,16m0,-16l-16,16",
                class_="x",
                stroke_width=3,
            )
        elif text == "starts":
            sheet.add(
                "marks",
                "path",
                line.what,
                d=f"M{x - 7:.1f},{place:.1f}h14l-7,9Z",
                fill="#20603d",
            )
        else:
            sheet.add(
                "marks",
                "rect",
                line.what,
                x=x - 4,
                y=place - 4,
                width=8,
                height=8,
                fill="#fff",
                stroke="#222",
            )
        style = "bad" if is_end else "o"
        sheet.label(text, style, 10, _beside(x, place), line.what)

"""
Clients in a diagram: what they want, from when they ask to when they are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.kv.commands import Delete, Set
from hraftd.outcomes import Applied, Misdirected, Read, Redirected, Unavailable, Unknown
from hraftd.reads import ReadLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.simulator.histories import Operation
    from hraftd.simulator.layout import Layout
    from hraftd.simulator.svg import Sheet

__all__ = ["draw_clients", "ending", "outcome_kind", "wish"]

#: Characters of a value, at most.
_LONGEST_VALUE = 12


def draw_clients(sheet: Sheet, layout: Layout, operations: Sequence[Operation]) -> None:
    """
    Draw what clients want, from when they ask to when they are told.
    """
    axis = layout.axis
    for client, x in layout.clients.items():
        sheet.keep_free(x - 5, x + 5)
        sheet.word(x, axis.place(0) - 26, client, "id", layer="marks")
        d = f"M{x:.1f},{axis.place(axis.first):.1f}V{axis.bottom:.1f}"
        sheet.add("lanes", "path", d=d, class_="cl")
    #: By client: when it wanted something else, and so did not wait any more.
    gone_on: dict[str, float] = {}
    for operation in reversed(operations):
        client = operation.client.partition(".")[0]
        end = operation.returned
        if end is None:
            end = gone_on.get(client, axis.last)
        gone_on[client] = operation.invoked
        is_here = operation.invoked <= axis.last and end >= axis.first
        if is_here and client in layout.clients:
            _draw_operation(sheet, layout, operation, layout.clients[client], end)


def _draw_operation(
    sheet: Sheet, layout: Layout, operation: Operation, x: float, end: float
) -> None:
    axis = layout.axis
    top, bottom = axis.place(operation.invoked), axis.place(end)
    returned = operation.returned
    kind = outcome_kind(operation)
    words = f"{operation.client} asks {operation.server}: {wish(operation)}"
    told = "is not told" if returned is None else f"is told at {returned:.4f} s"
    sheet.add(
        "lanes",
        "rect",
        f"{words}, at {operation.invoked:.4f} s\n{told}: {operation.outcome!r:.200}",
        x=x - 3.5,
        y=top,
        width=7,
        height=max(2.0, bottom - top),
        class_=f"client {kind}",
    )
    server_x = layout.servers.get(operation.server)
    if server_x is not None and operation.arrived is not None:
        if operation.invoked >= axis.first and operation.arrived <= axis.last:
            d = f"M{x + 4:.1f},{top:.1f}L{server_x - 9:.1f},"
            d += f"{axis.place(operation.arrived):.1f}"
            sheet.add("strips", "path", d=d, class_="ask", marker_end="url(#mn)")
        if returned is not None and axis.first <= returned <= axis.last:
            d = f"M{server_x - 9:.1f},{bottom:.1f}H{x + 4:.1f}"
            sheet.add("strips", "path", d=d, class_="ask", marker_end="url(#on)")
    if operation.invoked >= axis.first:
        sheet.label(
            wish(operation),
            "o",
            9.5,
            [(x + 8, top + 3, "start"), (x + 8, top - 5, "start")],
        )
    if returned is not None and returned <= axis.last:
        sheet.label(
            ending(operation),
            "o",
            9.5,
            [(x + 8, bottom + drop, "start") for drop in (3, 10, 16)],
        )


# In words.


def wish(operation: Operation) -> str:
    """
    Return what a client wants.
    """
    match operation.wish:
        case ReadLevel() as level:
            return f"read {operation.key} ({level.value})"
        case Set(pairs=pairs):
            return "set " + " ".join(f"{key}={_value(value)}" for key, value in pairs)
        case Delete(key=key):
            return f"delete {key}"
        case other:
            return f"{type(other).__name__.lower()} {operation.key}"


def _value(value: str) -> str:
    # Large ones are padded with dots.
    value = value.rstrip(".")
    return value if len(value) <= _LONGEST_VALUE else value[:_LONGEST_VALUE] + "..."


def ending(operation: Operation) -> str:
    """
    Return what a client was told.
    """
    match operation.outcome:
        case None:
            return "no answer"
        case Applied(index=index):
            return f"done at {index}"
        case Read(found=None):
            return "nothing there"
        case Read(found=found):
            return f"is {_value(found.value)}" if found is not None else ""
        case Misdirected(leader=leader) | Redirected(leader=leader):
            return f"ask {leader.id}"
        case Unavailable():
            return "not now"
        case Unknown():
            return "unknown"
        case other:
            return type(other).__name__.lower()


def outcome_kind(operation: Operation) -> str:
    """
    Return how an ending is drawn: ``done``, ``refused`` or ``unknown``.
    """
    match operation.outcome:
        case None | Unknown():
            return "unknown"
        case Misdirected() | Redirected() | Unavailable():
            return "refused"
        case _:
            return "done"

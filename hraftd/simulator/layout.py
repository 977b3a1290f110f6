"""
Where things are in a diagram, and how they look.

From left to right: the time, the clients, the servers, and what there is to say. A term
has the same colour wherever it is met; the colours are told apart by people who do not
see all of them, and numbers stand beside them, since terms may be many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.simulator.recording import Part
from hraftd.simulator.wording import Kind

if TYPE_CHECKING:
    from hraftd.simulator.recording import Recording
    from hraftd.simulator.time_axis import TimeAxis

__all__ = [
    "DEFS",
    "KINDS",
    "MARGIN",
    "STYLE",
    "WIDTHS",
    "Layout",
    "colour_of",
    "lanes_of",
]

#: After Okabe and Ito, without those that are hard to see on white.
_COLOURS = ("0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "8a7a1f")

#: Which of them need dark letters on them.
_BRIGHT = (1, 3, 4)

_TROUBLE = "#c1121f"

#: Width of a lane.
WIDTHS = {
    Part.DOWN: 0.0,
    Part.NONVOTER: 6.0,
    Part.FOLLOWER: 6.0,
    Part.PRE_CANDIDATE: 11.0,
    Part.CANDIDATE: 13.0,
    Part.LEADER: 17.0,
}

#: Room around everything.
MARGIN = 24.0

#: Of the column with the time; of a client's; of the words at the right.
_TIME, _CLIENT, STORY = 64.0, 104.0, 320.0

#: What all servers share, and what each has of that.
_SERVERS, _NARROWEST, _WIDEST = 880.0, 132.0, 240.0

#: How arrows of each kind are drawn: width and dashes.
KINDS: dict[Kind, tuple[float, str]] = {
    Kind.PRE_VOTE: (1.5, "5 3"),
    Kind.VOTE: (2.0, ""),
    Kind.APPEND: (1.3, ""),
    Kind.HEARTBEAT: (0.7, ""),
    Kind.SNAPSHOT: (3.4, ""),
    Kind.HAND_OVER: (2.4, "9 2 2 2"),
    Kind.FORWARDED: (1.2, "1.5 2.5"),
}


def colour_of(term: int | None) -> str:
    """
    Return the name of the colour of a term; of ``None`` that of no term.
    """
    return "n" if term is None else str(term % len(_COLOURS))


def _style() -> str:
    rules = [
        "text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#222}",
        ".words text{paint-order:stroke;stroke:#fff;stroke-width:2.5px;"
        "stroke-linejoin:round}",
        ".h{font-size:19px;font-weight:bold}.s{font-size:11.5px;fill:#555}",
        ".m{font:11px 'DejaVu Sans Mono',monospace;fill:#333}",
        ".id{font-size:15px;font-weight:bold;text-anchor:middle}",
        ".again{font-size:11px;font-weight:bold;fill:#999}",
        ".tick{font-size:10px;fill:#777;text-anchor:end}",
        ".gap{font-size:9px;fill:#999;text-anchor:end;font-style:italic}",
        ".a{font-size:9.5px}.c{font-size:8.5px;fill:#666}.o{font-size:9.5px;fill:#333}",
        f".bad{{font-size:10px;font-weight:bold;fill:{_TROUBLE}}}",
        ".words .inchip{font-size:10px;font-weight:bold;text-anchor:middle;"
        "stroke:none}",
        ".n{font-size:11.5px}.role{font-weight:bold}.deed{fill:#5b3a8c}"
        f".trouble{{fill:{_TROUBLE}}}.good{{fill:#20603d}}",
        f".wrong{{font-size:13px;font-weight:bold;fill:{_TROUBLE}}}",
        ".grid{stroke:#eee;stroke-width:1}.lead{stroke:#ccc;stroke-width:.8;fill:none}",
        ".down{stroke:#aaa;stroke-width:1.2;stroke-dasharray:1 5}",
        ".l{fill:none;stroke-linecap:butt}.hit{stroke:#000;stroke-opacity:0;"
        "stroke-width:7;fill:none}.q{opacity:.38}",
        f".x{{stroke:{_TROUBLE};stroke-width:1.6;fill:none}}",
        ".client{fill:#fff;stroke:#777;stroke-width:1}.done{fill:#777}"
        ".unknown{fill:url(#unknown)}.ask{stroke:#999;stroke-width:.8;fill:none;"
        "stroke-dasharray:1 3}",
        ".cl{stroke:#bbb;stroke-width:1}.ct{stroke:#333;stroke-width:1}",
        ".hollow{fill:#fff!important;stroke-width:1.4}.cut{fill:url(#cut)}",
        ".still{fill:url(#still);stroke:#555;stroke-width:.8}",
        f".end{{stroke:{_TROUBLE};stroke-width:2.5}}",
        ".ln,.kn{stroke:#777}",
    ]
    for at, colour in enumerate(_COLOURS):
        letters = "#111" if at in _BRIGHT else "#fff"
        rules.append(
            f".l{at}{{stroke:#{colour}}}.f{at}{{fill:#{colour}}}"
            f".words .i{at}{{fill:{letters}}}.b{at}{{stroke:#{colour}}}"
        )
    for kind, (width, dashes) in KINDS.items():
        dashed = f";stroke-dasharray:{dashes}" if dashes else ""
        rules.append(f".{kind.name.lower()}{{stroke-width:{width:g}{dashed}}}")
    rules.append(".snapshot{opacity:.75}")
    return "\n".join(rules)


def _defs() -> str:
    parts = []
    for name, colour in [*enumerate(_COLOURS), ("n", "777777")]:
        for mark, shape, fill in (
            ("m", "M0,0L8,3L0,6Z", f"#{colour}"),
            ("o", "M0.5,0.5L7,3L0.5,5.5", "none"),
        ):
            parts.append(
                f'<marker id="{mark}{name}" markerWidth="9" markerHeight="6" '
                'refX="7.5" refY="3" orient="auto" markerUnits="userSpaceOnUse">'
                f'<path d="{shape}" fill="{fill}" stroke="#{colour}"/></marker>'
            )
    for name, size, content in (
        (
            "candidate",
            6,
            '<path d="M-1,7L7,-1M-4,4L4,-4M2,10L10,2" stroke="#fff" '
            'stroke-width="1.8"/>',
        ),
        ("pre", 5, '<path d="M0,1.2H12" stroke="#fff" stroke-width="2.4"/>'),
        (
            "still",
            5,
            '<path d="M0,0H5V5H0Z" fill="#fff"/>'
            '<path d="M0,0L5,5M0,5L5,0" stroke="#555" stroke-width=".8"/>',
        ),
        (
            "cut",
            5,
            f'<path d="M-1,6L6,-1M-1,1L1,-1M4,6L6,4" stroke="{_TROUBLE}" '
            'stroke-width="1.3"/>',
        ),
        (
            "unknown",
            4,
            '<path d="M0,0H4V4H0Z" fill="#fff"/>'
            '<path d="M0,1H4M0,3H4" stroke="#777" stroke-width=".9"/>',
        ),
    ):
        parts.append(
            f'<pattern id="{name}" width="{size}" height="{size}" '
            f'patternUnits="userSpaceOnUse">{content}</pattern>'
        )
    return "\n".join(parts)


STYLE = _style()
DEFS = _defs()


@frozen
class Layout:
    """
    Where everything is.
    """

    axis: TimeAxis
    servers: dict[str, float]
    clients: dict[str, float]
    #: Where the servers' lanes end and the words begin.
    right: float
    #: Between two servers.
    spacing: float

    @property
    def width(self) -> float:
        """
        Of the whole picture.
        """
        return self.right + STORY + MARGIN

    @property
    def left(self) -> float:
        """
        Where the lanes begin, right of the time.
        """
        return MARGIN + _TIME


def lanes_of(
    recording: Recording, first: float, last: float
) -> tuple[dict[str, float], dict[str, float], float, float]:
    """
    Return where the lanes of servers and of clients are in a part of a history.

    :return: those, where they end, and how far servers are from each other.
    """
    x = MARGIN + _TIME
    clients: dict[str, float] = {}
    numbers = {
        operation.client.partition(".")[0]
        for operation in recording.schedule.clients.operations
        if operation.invoked <= last
        and (operation.returned is None or operation.returned >= first)
    }
    for client in sorted(numbers):
        clients[client] = x + 14
        x += _CLIENT
    # Newcomers have a lane where there is something to be seen of them.
    there = sorted(
        server for server, states in recording.states.items() if states[0].time <= last
    )
    spacing = min(_WIDEST, max(_NARROWEST, _SERVERS / max(1, len(there))))
    servers = {}
    for server in there:
        servers[server] = x + spacing / 2
        x += spacing
    # What stands beside the last one needs room too.
    return servers, clients, x + 44, spacing

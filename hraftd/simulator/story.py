"""
A history in sentences, for the margin of its diagram, and what in it is worth a look.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import frozen

from hraftd.simulator.recording import Part
from hraftd.simulator.time_axis import Happening

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hraftd.simulator.recording import Recording
    from hraftd.simulator.trace import Line

__all__ = ["Sentence", "happenings", "lane_words", "sentences"]

#: Lines of the transcript that say what is to be seen otherwise, or will be said again
#: by whom it hits.
_NOT_AGAIN = {
    "elected",
    "compacted",
    "abandoned",
    "truncated",
    "kill",
    "power",
    "pause",
    "skew",
    "stop",
    "disk error",
    "slow disk",
    "disk full",
}


@frozen
class Sentence:
    """
    Something to be said about a moment.
    """

    time: float
    text: str
    #: ``role``, ``trouble``, ``deed``, ``good``: what it is about.
    about: str
    #: As what it counts when a part is chosen, and how much.
    kind: str
    weight: float


def sentences(recording: Recording) -> list[Sentence]:
    """
    Return what there is to say, in order.
    """
    found = [*_roles(recording), *_lines(recording), *_pauses(recording)]
    return sorted(found, key=lambda sentence: sentence.time)


def happenings(recording: Recording) -> list[Happening]:
    """
    Return what makes a part of the history worth a picture, in order.
    """
    return [
        Happening(one.time, one.kind, one.weight)
        for one in sentences(recording)
        if one.weight
    ]


def _roles(recording: Recording) -> Iterator[Sentence]:
    for server, states in recording.states.items():
        for before, state in pairwise(states):
            if before.part is state.part:
                continue
            text, kind, weight = {
                Part.PRE_CANDIDATE: (
                    f"{server} misses a leader and asks who would vote for it in term "
                    f"{state.term + 1}",
                    "pre-candidate",
                    1.0,
                ),
                Part.CANDIDATE: (
                    f"{server} is a candidate in term {state.term}",
                    "candidate",
                    2.0,
                ),
                Part.LEADER: (f"{server} leads term {state.term}", "elected", 4.0),
            }.get(state.part, ("", "", 0.0))
            if not text and Part.DOWN not in (before.part, state.part):
                if before.part is Part.LEADER:
                    text = f"{server} leads no more"
                    kind, weight = "deposed", 2.5
                elif before.part is Part.NONVOTER:
                    text, kind, weight = f"{server} has a vote now", "member", 2.0
                elif state.part is Part.NONVOTER:
                    text, kind, weight = f"{server} has no vote now", "member", 2.0
            if text:
                yield Sentence(state.time, text, "role", kind, weight)


def _lines(recording: Recording) -> Iterator[Sentence]:
    servers = recording.states
    for line in recording.schedule.transcript.said:
        kind = line.kind or ""
        if kind in _NOT_AGAIN:
            continue
        if line.who == "*":
            text = line.what.removeprefix("trouble: ")
            ways = _ways_blocked(recording, line.time)
            if ways and kind:
                text += f": {ways}"
            about, weight = ("trouble", 3.0) if kind else ("good", 0.0)
            yield Sentence(line.time, text, about, kind, weight)
        elif line.who == "ops":
            if kind:
                is_done = kind.partition(": ")[2] in ("Joined", "Removed")
                is_done |= kind.endswith("Transferred")
                text = f"operators: {_brief(line.what)}"
                yield Sentence(line.time, text, "deed", kind, 4.0 if is_done else 0.3)
            else:
                what, _, server = line.what.partition(", asks ")
                text = f"operators ask {server}: {what}"
                yield Sentence(line.time, text, "deed", "", 0.0)
        elif line.who in servers:
            yield _of_server(recording, line)


def _of_server(recording: Recording, line: Line) -> Sentence:
    kind = line.kind or line.what.partition(" after ")[0]
    about, weight = {
        "started": ("good", 1.5),
        "restored": ("good", 8.0),
        "goes on": ("good", 1.0),
        "stopped": ("trouble", 1.5),
    }.get(kind, ("trouble", 3.0))
    what = line.what if kind != "started" else "starts"
    before = [one for one in recording.states[line.who] if one.time < line.time]
    who = line.who
    if about == "trouble" and before and before[-1].part is Part.LEADER:
        who += ", which leads,"
    return Sentence(line.time, f"{who} {what}", about, kind, weight)


def _pauses(recording: Recording) -> Iterator[Sentence]:
    for server, intervals in recording.pauses.items():
        for one in intervals:
            text = f"{server} stands still: nothing happens to it"
            yield Sentence(one.began, text, "trouble", "pause", 3.0)


def _brief(text: str) -> str:
    """
    Leave out what only repeats the names of fields.
    """
    head, colon, outcome = text.partition(": ")
    return head + colon + outcome.partition("(")[0].lower()


# Partitions.


def _ways_blocked(recording: Recording, time: float) -> str:
    ways = [
        way
        for way, intervals in recording.blocks.items()
        for one in intervals
        if one.began == time
    ]
    return _groups(ways)


def _groups(ways: Collection[tuple[str, str]]) -> str:
    """
    Say who does not hear whom.
    """
    senders = sorted({sender for sender, _ in ways})
    deaf: dict[tuple[str, ...], list[str]] = {}
    for sender in senders:
        receivers = tuple(sorted(other for one, other in ways if one == sender))
        deaf.setdefault(receivers, []).append(sender)
    groups = {tuple(several): receivers for receivers, several in deaf.items()}
    if len(groups) == 2:
        one, other = groups
        if groups[one] == other and groups[other] == one:
            return f"{' '.join(one)} | {' '.join(other)}"
    return ", ".join(
        f"{' '.join(some)} not heard by {' '.join(others)}"
        for some, others in groups.items()
    )


def lane_words(line: Line) -> str:
    """
    Return what stands beside a lane, of a line about that server; mostly nothing.
    """
    if line.kind == "compacted":
        return "snapshot up to " + line.what.partition("at entry ")[2].partition(";")[0]
    if line.kind == "truncated":
        return "deletes entries"
    if line.kind == "restored":
        return "takes over the snapshot"
    if line.kind is None and line.what.startswith("is killed"):
        return "killed"
    if line.kind is None and line.what.startswith("loses power"):
        return "power cut"
    if line.kind == "failed":
        return "disk fails: ends"
    if line.kind in ("started", "stopped"):
        return {"started": "starts", "stopped": "stopped"}[line.kind]
    return ""

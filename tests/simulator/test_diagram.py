"""
What is recorded of a schedule, and drawn of it.
"""

from __future__ import annotations

import re
import xml.dom.minidom
from functools import cache
from itertools import pairwise, permutations
from typing import TYPE_CHECKING

import pytest

from hraftd.raft.messages import AppendEntries, AppendEntriesResponse
from hraftd.raft.read_index import ReadRounds
from hraftd.simulator.diagram import draw, part_of
from hraftd.simulator.layout import colour_of
from hraftd.simulator.recording import Part, Recording
from hraftd.simulator.schedule import Schedule, ScheduleFailed
from hraftd.simulator.story import sentences
from hraftd.simulator.svg import Sheet
from hraftd.simulator.time_axis import Happening, TimeAxis, choose_part

if TYPE_CHECKING:
    from hraftd.simulator.recording import Message


@cache
def recorded(seed: int = 4) -> Recording:
    """
    Record a calm schedule of three servers.
    """
    recording = Recording(_schedule(seed))
    recording.schedule.run()
    recording.finish()
    return recording


def _schedule(seed: int) -> Schedule:
    return Schedule(seed, seconds=5.0, servers=3, only=())


def eventful() -> Recording:
    """
    Make a schedule in which the leader is killed, and every third message is lost.
    """
    schedule = _schedule(4)
    # Whoever joins by and by does not have its lane from the beginning on.
    schedule._begins_small = False
    schedule._names = ["s1", "s2", "s3"]
    cluster, world = schedule.cluster, schedule.world

    def kill() -> None:
        leader = cluster.leader()
        assert leader is not None
        leader.kill()
        world.after(1.0, None, leader.start)

    def lose() -> None:
        for pair in permutations(cluster.machines, 2):
            cluster.network.path(*pair).loss = 0.3

    world.at(2.0, None, kill)
    world.at(3.5, None, lose)
    return Recording(schedule)


@cache
def recorded_events() -> Recording:
    """
    Run such a schedule.
    """
    recording = eventful()
    recording.schedule.run()
    recording.finish()
    return recording


def within(recording: Recording) -> set[str]:
    """
    Return the tooltips of the arrows of the whole history.
    """
    text = draw(recording, "", 0.0, 1e9)
    return set(re.findall(r"<title>([^<]*)</title>", text))


def test_recording_changes_nothing() -> None:
    """
    A history that is drawn is the one that was not.
    """
    plain = _schedule(4)
    plain.run()
    schedule = recorded().schedule
    assert plain.world.events == schedule.world.events
    assert plain.transcript.seen == schedule.transcript.seen


def test_each_message_is_recorded_with_its_answer() -> None:
    """
    Where nothing is wrong: all arrive, in time, and all requests of Raft are answered.
    """
    recording = recorded()
    questions = [one for one in recording.messages if one.question is None]
    assert len(questions) > 50
    for message in recording.messages:
        assert message.sender != message.receiver
        if not message.is_under_way:
            assert message.arrived is not None
            assert 0 < message.arrived - message.sent < 0.1
    for message in questions:
        answer: Message | None = message.answer
        if isinstance(message.content, AppendEntries) and answer is not None:
            assert isinstance(answer.content, AppendEntriesResponse)
            assert (answer.sender, answer.receiver) == (
                message.receiver,
                message.sender,
            )
            assert message.arrived is not None
            assert answer.sent >= message.arrived


def test_what_servers_were_is_recorded() -> None:
    """
    Each begins following; leaders come from candidates; who is killed is down.
    """
    recording = recorded_events()
    parts = {
        server: [state.part for state in states]
        for server, states in recording.states.items()
    }
    assert set(parts) == {"s1", "s2", "s3"}
    found = {pair for one in parts.values() for pair in pairwise(one)}
    assert any(part is Part.DOWN for one in parts.values() for part in one)
    for before, after in found:
        if after is Part.LEADER:
            assert before in (Part.CANDIDATE, Part.LEADER)
        if after is Part.CANDIDATE:
            assert before in (Part.PRE_CANDIDATE, Part.CANDIDATE)
    for states in recording.states.values():
        assert all(one.time <= other.time for one, other in pairwise(states))


def test_a_picture_is_xml_and_shows_what_there_was() -> None:
    """
    Lanes, arrows, marks and sentences of everything; what was lost has a cross.
    """
    recording = recorded_events()
    text = draw(recording, "a <command> & more", 0.0, 1e9)
    xml.dom.minidom.parseString(text.encode())
    assert "a &lt;command&gt; &amp; more" in text
    for server in recording.states:
        assert f">{server}</text>" in text
    told = sentences(recording)
    assert len(told) > 10
    for word in ("RequestVote from", "AppendEntries from", "knows entry"):
        assert any(word in title for title in within(recording)), word
    lost = [
        message
        for message in recording.messages
        if message.arrived is None and not message.is_under_way
    ]
    assert lost
    assert text.count(", lost\n") == len(lost)


def test_the_same_history_is_the_same_picture() -> None:
    """
    To the last letter.
    """
    again = eventful()
    again.schedule.run()
    again.finish()
    assert draw(again, "x") == draw(recorded_events(), "x")


def test_a_term_has_one_colour() -> None:
    """
    The next one has another, and so has what is of no term.
    """
    for term in range(20):
        assert colour_of(term) != colour_of(term + 1)
        assert colour_of(term) != colour_of(None)


def test_a_failure_is_marked_in_the_part_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The last second before it, and the sentence in red.
    """
    begin = ReadRounds.begin

    def skip_round(rounds: ReadRounds, commit_index: int) -> bool:
        begun = begin(rounds, commit_index)
        if begun:
            rounds.confirm()
        return begun

    monkeypatch.setattr(ReadRounds, "begin", skip_round)
    for seed in range(1, 60):
        recording = Recording(Schedule(seed, servers=3, only=("stale leader",)))
        try:
            recording.schedule.run()
        except ScheduleFailed:
            break
    else:
        raise AssertionError("a read whose round is skipped was not found")
    recording.finish()
    first, last = part_of(recording, None, None)
    assert last == recording.violated
    assert 0 < last - first <= 1.0
    text = draw(recording, "x")
    assert 'class="wrong"' in text
    assert 'class="end"' in text
    assert "InvariantViolated" in text


def test_the_part_that_is_asked_for_is_drawn() -> None:
    """
    Nothing of what came before or after it, and not more than there is.
    """
    recording = recorded_events()
    assert part_of(recording, 1.0, 1.5) == (1.0, 1.5)
    assert part_of(recording, 2.0, None)[0] == 2.0
    assert part_of(recording, None, 2.0)[1] == 2.0
    end = recording.schedule.world.now
    assert part_of(recording, 0.0, 1e9) == (0.0, end)
    first, last = part_of(recording, 1e9, None)
    assert first == end < last
    text = draw(recording, "x", 1.0, 1.5)
    for sent in re.findall(r"sent at (\d+\.\d+) s", text):
        assert float(sent) <= 1.5
    assert len(text) < len(draw(recording, "x", 0.0, 1e9))


def test_words_never_stand_over_each_other() -> None:
    """
    Of several places the first free one is taken; without one there are no words.
    """
    sheet = Sheet()
    sheet.keep_free(100, 120)
    assert sheet.label("one", "a", 10, [(0, 0, "start")])
    assert not sheet.label("two", "a", 10, [(2, 3, "start")])
    assert sheet.label("two", "a", 10, [(2, 3, "start"), (2, 14, "start")])
    assert not sheet.label("three", "a", 10, [(95, 50, "start"), (110, 80, "middle")])
    assert not sheet.chip("four", "0", 10, [(4, 4, "start")])


def test_time_is_stretched_but_keeps_its_order() -> None:
    """
    A thousandth of a second has room, and a second has not a thousand times as much.
    """
    axis = TimeAxis(10.0, 0.0, 2.0, [0.5, 0.501, 0.502, 1.5])
    places = [axis.place(time) for time in (0.0, 0.5, 0.501, 0.502, 1.5, 2.0)]
    assert places == sorted(places)
    assert places[0] == 10.0
    assert places[-1] == axis.bottom
    short, long = places[2] - places[1], places[4] - places[3]
    assert 3 < short < long < 10 * short
    assert [round(seconds, 3) for *_, seconds in axis.gaps()] == [0.5, 0.998, 0.5]
    assert axis.place(-1.0) == 10.0
    assert axis.place(3.0) == axis.bottom
    ticks = axis.ticks(20.0)
    assert ticks == sorted(ticks)
    for place, text in ticks:
        assert axis.place(float(text)) == pytest.approx(place, abs=0.5)


def test_the_part_with_most_in_it_is_chosen() -> None:
    """
    Different things are worth more than one thing again and again.
    """
    dull = [Happening(1 + number / 10, "clog", 2.0) for number in range(5)]
    rich = [Happening(6.0, "kill", 3.0), Happening(6.5, "elected", 4.0)]
    first, last = choose_part([*dull, *rich], [], None, 10.0)
    assert 5.9 < first < 6.0
    assert 6.5 < last < 7.0
    crowd = [6.0 + number / 1000 for number in range(400)]
    first, last = choose_part([*dull, *rich], crowd, None, 10.0)
    assert first > 6.4, "too much to be shown"
    assert choose_part([], [], None, 0.5) == (0.0, 0.5)

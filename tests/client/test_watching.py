"""
Watching: changes as they come, through nodes that break off.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.testing import StringTransport

from hraftd.client import Compacted, Event, Refused, Unavailable
from hraftd.client.answers import NotUnderstood
from hraftd.client.changes import Changes
from hraftd.client.event_stream import EventStream, Message
from tests.client import A, B, Said, World, busy

if TYPE_CHECKING:
    from tests.client import FakeNode

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    """
    Return a piece as chunked encoding has it.
    """
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(kind: str, key: str, value: str | None, index: int, last: bool = True) -> str:
    """
    Return an event as a node writes it.
    """
    data = json.dumps({"key": key, "value": value, "index": index})
    place = f"id: {index}\n" if last else ""
    return f"event: {kind}\n{place}data: {data}\n\n"


def tell(node: FakeNode, *messages: str) -> None:
    """
    Let a node tell whoever watches it last.
    """
    node.open[-1].say(chunk("".join(messages).encode()))


def watched(world: World, **options: Any) -> tuple[Any, list[Any]]:
    """
    Watch, and return the watch and a list that grows.
    """
    watch = world.client.watch("p/", **options)
    seen: list[Any] = []

    def again(change: Any) -> None:
        seen.append(change)
        watch.__anext__().addCallbacks(again, lambda failure: seen.append(failure))

    watch.__anext__().addCallbacks(again, lambda failure: seen.append(failure))
    world.pass_time(0.1)
    return watch, seen


def test_changes_are_told() -> None:
    """
    Each as an event, with the kinds that there are.
    """
    world = World(A)
    world[A].otherwise = HEAD
    _, seen = watched(world)
    [asked] = world.asked
    assert asked.target == "/watch?prefix=p%2F"
    tell(world[A], "id: 5\n\n", event("set", "p/a", "1\n\N{SNOWMAN}", 6))
    tell(world[A], event("delete", "p/a", None, 7), event("expire", "p/b", None, 9))
    world.pass_time()
    assert seen == [
        Event("set", "p/a", "1\n\N{SNOWMAN}", 6),
        Event("delete", "p/a", None, 7),
        Event("expire", "p/b", None, 9),
    ]


def test_it_goes_on_at_another_node() -> None:
    """
    When the connection is lost it goes on behind what was told, at the next node.
    """
    world = World(A, B)
    world[A].otherwise = world[B].otherwise = HEAD
    watch, seen = watched(world, after=3)
    assert world.asked[0].target == "/watch?prefix=p%2F&after=3"
    tell(world[A], "id: 3\n\n", event("set", "p/a", "1", 6))
    world.pass_time()
    world[A].open[-1].say("lost")
    world.pass_time(0.2)
    assert world[B].asked[0].target == "/watch?prefix=p%2F&after=6"
    tell(world[B], "id: 6\n\n", event("set", "p/a", "2", 8))
    world.pass_time()
    assert [one.value for one in seen] == ["1", "2"]
    assert watch.index == 8


def test_half_an_entry_is_not_told() -> None:
    """
    What one entry has changed is told as a whole; after a loss in the middle of it, all
    of it is told once.
    """
    world = World(A, B)
    world[A].otherwise = world[B].otherwise = HEAD
    _, seen = watched(world, after=3)
    tell(world[A], event("set", "p/a", "1", 6, last=False))
    world.pass_time()
    assert seen == []
    world[A].open[-1].say("lost")
    world.pass_time(0.2)
    assert world[B].asked[0].target.endswith("after=3")
    tell(world[B], event("set", "p/a", "1", 6, last=False))
    tell(world[B], event("set", "p/b", "1", 6))
    world.pass_time()
    assert [one.key for one in seen] == ["p/a", "p/b"]


def test_places_are_remembered() -> None:
    """
    A node that says where it is, without an event, moves the place to go on from.
    """
    world = World(A)
    world[A].otherwise = HEAD
    watched(world)
    tell(world[A], "id: 5\n\n")
    tell(world[A], ": a comment\n\n", "id: 900\n\n")
    world.pass_time()
    world[A].open[-1].say("lost")
    world.pass_time(0.3)
    assert world[A].asked[-1].target.endswith("after=900")


def test_places_do_not_pile_up() -> None:
    """
    A program that does not look for days has days of places told, and keeps the last.
    """
    world = World(A)
    world[A].otherwise = HEAD
    watch = world.client.watch("p/", after=0)
    world.result_of(watch.__aenter__())
    tell(world[A], "id: 0\n\n", event("set", "p/a", "1", 1))
    for index in range(2, 1000):
        tell(world[A], f"id: {index}\n\n")
    world.pass_time()
    assert len(watch._changes.ready) <= 2
    assert world.result_of(watch.__anext__()).index == 1
    assert watch.index == 999


def test_silence_is_a_loss() -> None:
    """
    A connection on which nothing comes, not even a place, is given up.
    """
    world = World(A, B)
    world[A].otherwise = world[B].otherwise = HEAD
    watched(world, after=1)
    world.pass_time(39.0)
    assert not world[B].asked
    world.pass_time(2.0)
    assert world[B].asked
    assert not world[A].open


def test_compacted_is_an_error() -> None:
    """
    410, or an event of that name in the middle: the program has to read anew.
    """
    world = World(A)
    gone = {"error": "not known here any more", "first": 90}
    world[A].script.append(Said(410, gone))
    with pytest.raises(Compacted) as raised:
        world.result_of(world.client.watch("p/", after=3).__anext__())
    assert raised.value.first == 90
    world[A].otherwise = HEAD
    _, seen = watched(world, after=3)
    tell(world[A], event("set", "p/a", "1", 6))
    tell(world[A], f"event: compacted\ndata: {json.dumps(gone)}\n\n")
    world.pass_time()
    assert seen[0] == Event("set", "p/a", "1", 6)
    assert seen[1].check(Compacted)
    assert seen[1].value.first == 90


def test_resync_lists_all_there_is() -> None:
    """
    With ``resync`` a gap is an event of its own, then all keys, page by page, and what
    has changed since the first page.
    """
    world = World(A)

    def answer(asked: Any) -> Any:
        if asked.target.startswith("/watch"):
            return Said(410, {"error": "gone"}) if "after=3" in asked.target else HEAD
        assert "level=linearizable" in asked.target
        first = "after=" not in asked.target
        key = "p/a" if first else "p/b"
        item = {"key": key, "value": "1", "index": 7}
        return Said(200, {"index": 50 if first else 52, "keys": [item], "more": first})

    world[A].otherwise = answer
    _, seen = watched(world, after=3, resync=True)
    world.pass_time(0.5)
    assert seen == [
        Event("resync", "", None, 50),
        Event("set", "p/a", "1", 7),
        Event("set", "p/b", "1", 7),
    ]
    assert world.asked[-1].target == "/watch?prefix=p%2F&after=50"


def test_resync_survives_a_lost_leader() -> None:
    """
    While nobody can list, it goes on trying.
    """
    world = World(A, timeout=1.0)
    is_back = False

    def answer(asked: Any) -> Any:
        if asked.target.startswith("/watch"):
            return Said(410, {"error": "gone"}) if "after=3" in asked.target else HEAD
        return Said(200, {"index": 9, "keys": [], "more": False}) if is_back else busy()

    world[A].otherwise = answer
    # It was connected once: only then there is no end to its patience.
    watch = world.client.watch("p/", after=3, resync=True)
    watch._patience = None
    waiting = watch.__anext__()
    world.pass_time(30.0)
    assert not waiting.called
    is_back = True
    assert world.result_of(waiting) == Event("resync", "", None, 9)


def test_no_node_at_first_is_unavailable() -> None:
    """
    A watch that cannot begin says so, in the client's timeout.
    """
    world = World(A, timeout=3.0)
    world.network.sites.clear()
    with pytest.raises(Unavailable, match="connection refused"):
        world.result_of(world.client.watch().__anext__(), 3.5)


def test_no_node_later_is_waited_out() -> None:
    """
    Once begun it waits for ever, with pauses, or for as long as it was told.
    """
    for patience in (None, 5.0):
        world = World(A, timeout=3.0)
        world[A].otherwise = HEAD
        _, seen = watched(world, after=3, patience=patience)
        tell(world[A], "id: 4\n\n")
        del world.network.sites[A]
        world[A].open[-1].say("lost")
        world.pass_time(30.0)
        if patience is None:
            assert seen == []
            world.network.sites[A] = world[A]
            world.pass_time(1.5)
            tell(world[A], event("set", "p/a", "1", 6))
            world.pass_time()
            assert seen == [Event("set", "p/a", "1", 6)]
        else:
            assert seen[0].check(Unavailable)


def test_a_node_that_breaks_off_at_once_is_not_flooded() -> None:
    """
    To be let in and thrown out again and again is no progress.
    """
    world = World(A)
    world[A].otherwise = HEAD + b"0\r\n\r\n"
    watched(world, after=3)
    world.pass_time(20.0)
    assert 10 < len(world.asked) < 60


def test_who_does_not_take_changes_holds_them_back() -> None:
    """
    A program that is slow does not have its memory filled: the connection is not read.
    """
    world = World(A)
    world[A].otherwise = HEAD
    watch = world.client.watch("p/", after=0)
    world.result_of(watch.__aenter__())
    for index in range(1, 1001):
        tell(world[A], event("set", "p/a", str(index), index))
        world.pass_time()
    assert watch._changes._is_paused
    # Where a real connection would stop, this one in memory goes on; all arrive.
    for index in range(1, 1001):
        assert world.result_of(watch.__anext__()).index == index
    assert not watch._changes._is_paused


def test_a_connection_is_paused_and_resumed() -> None:
    """
    With enough that nobody has taken; not in the middle of an entry, however large that
    is, since it is taken as a whole.
    """
    changes, transport = Changes(), StringTransport()
    changes.makeConnection(transport)
    for _ in range(1000):
        changes.dataReceived(event("set", "p/a", "1", 7, last=False).encode())
    assert transport.producerState == "producing"
    changes.dataReceived(event("set", "p/a", "1", 7).encode())
    assert transport.producerState == "paused"
    events, index = changes.take()
    assert (len(events), index) == (1001, 7)
    assert transport.producerState == "producing"


def test_an_old_node_refuses() -> None:
    """
    404 is no reason to go round for ever.
    """
    world = World(A)
    world[A].otherwise = Said(404, {"error": "there is nothing at this path"})
    with pytest.raises(Refused):
        world.result_of(world.client.watch().__anext__(), 0.1)


def test_cancelling_closes_and_may_go_on() -> None:
    """
    To cancel the waiting closes the connection; to wait again goes on where it was.
    """
    world = World(A)
    world[A].otherwise = HEAD
    watch = world.client.watch("p/", after=3)
    waiting = watch.__anext__()
    world.pass_time()
    tell(world[A], "id: 8\n\n")
    world.pass_time()
    with pytest.raises(RuntimeError):
        watch.__anext__()
    waiting.cancel()
    with pytest.raises(CancelledError):
        world.result_of(waiting)
    world.pass_time()
    assert not world[A].open
    watch.__anext__()
    world.pass_time(0.2)
    assert world.asked[-1].target.endswith("after=8")


def test_the_end_of_a_watch_closes_its_connection() -> None:
    """
    By its own end, by the client's, and by being forgotten; an iteration then ends.
    """
    world = World(A)
    world[A].otherwise = HEAD
    watch, seen = watched(world, after=3)
    world.result_of(watch.close())
    world.pass_time()
    assert not world[A].open
    assert seen[0].check(StopAsyncIteration)

    forgotten = world.client.watch("p/", after=3)
    world.result_of(forgotten.__aenter__())
    assert world[A].open
    del forgotten
    world.pass_time()
    assert not world[A].open

    _, seen = watched(world, after=3)
    assert world[A].open
    world.result_of(world.client.close())
    world.pass_time()
    assert not world[A].open
    assert seen


def test_events_are_read_however_they_are_cut() -> None:
    """
    One byte at a time, or all at once: the same messages.
    """
    text = (
        'event: set\nid: 4\ndata: {"a": "\N{SNOWMAN}"}\n\n: nothing\n\n\n'
        "id:5\r\n\r\nignored: yes\ndata: 1\ndata: 2\n\nevent: alone\n\n"
    ).encode()
    expected = [
        Message("set", "4", '{"a": "\N{SNOWMAN}"}'),
        Message("", "5", None),
        Message("", None, "1\n2"),
    ]
    for size in (1, 2, 3, 7, len(text)):
        stream = EventStream()
        seen = []
        for begin in range(0, len(text), size):
            seen += stream.receive(text[begin : begin + size])
        assert seen == expected
    with pytest.raises(NotUnderstood):
        list(EventStream().receive(b"data: \xff\n\n"))


@pytest.mark.parametrize(
    "wrong",
    [
        "event: set\nid: 4\ndata: [\n\n",
        "event: set\nid: 4\ndata: {}\n\n",
        'event: set\nid: x\ndata: {"key": "a", "value": "b", "index": 4}\n\n',
    ],
)
def test_what_is_no_event_is_a_loss(wrong: str) -> None:
    """
    The next node is asked to go on.
    """
    world = World(A, B)
    world[A].otherwise = world[B].otherwise = HEAD
    watched(world, after=3)
    tell(world[A], wrong)
    world.pass_time(0.3)
    assert world[B].asked


def test_a_watch_knows_how_far_it_has_told() -> None:
    """
    What was changed together has one index. It is that of the watch when all of it was
    told, so that nothing is lost to a program that goes on behind it later.
    """
    world = World(A)
    world[A].otherwise = HEAD
    watch = world.client.watch("p/", after=3)
    world.result_of(watch.__aenter__())
    tell(
        world[A],
        event("set", "p/a", "1", 6, last=False) + event("set", "p/b", "1", 6),
    )
    assert world.result_of(watch.__anext__()).key == "p/a"
    assert watch.index == 3
    assert world.result_of(watch.__anext__()).key == "p/b"
    assert watch.index == 6


def test_a_watch_that_lists_is_not_there_yet() -> None:
    """
    While it tells all that there is, no index of its own says so.
    """
    world = World(A)
    page = {"index": 50, "keys": [{"key": "p/a", "value": "1", "index": 7}]}
    gone = Said(410, {"error": "compacted", "first": 40})
    world[A].script.append(gone)
    world[A].otherwise = lambda asked: (
        HEAD if "/watch" in asked.target else Said(200, page | {"more": False})
    )
    watch = world.client.watch("p/", after=3, resync=True)
    assert world.result_of(watch.__anext__()).kind == "resync"
    assert watch.index == 3
    assert world.result_of(watch.__anext__()).key == "p/a"
    waiting = watch.__anext__()
    world.pass_time(0.1)
    assert watch.index == 50
    assert world.asked[-1].target == "/watch?prefix=p%2F&after=50"
    watch.close()
    with pytest.raises(StopAsyncIteration):
        world.result_of(waiting)

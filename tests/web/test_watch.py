"""
``GET /watch``: what changes, as it changes; for one who listens, and one who does not.
"""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING
from weakref import ref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.kv.commands import Set, Stamped, encode_command
from hraftd.limits import Limits
from hraftd.raft.configuration import Configuration
from hraftd.web import watch
from hraftd.web.site import HttpSite
from hraftd.web.watchers import ALIVE_SECONDS, STALLED_TIMES
from tests.web import LEADER, OTHER, OneNode, ScriptedServer
from tests.web.streams import Event, Stream
from tests.web.test_anywhere import Cluster
from tests.web.test_api import AgainstOneNode

if TYPE_CHECKING:
    from collections.abc import Callable


class Watched(AgainstOneNode):
    """
    A node that is written to and watched.
    """

    def setUp(self) -> None:
        """
        Begin with a leader that knows no key.
        """
        super().setUp()
        self.history = self.node.store.history
        self.watchers = self.node.site._watchers

    def watch(self, path: str = "/watch", *headers: str, method: str = "GET") -> Stream:
        """
        Begin to watch.
        """
        stream = Stream(self.node.site, path, *headers, method=method)
        self.settle()
        return stream

    def settle(self, seconds: float = 0.0) -> None:
        """
        Let time pass.
        """
        self.clock.advance(seconds)
        for _ in range(20):
            self.clock.advance(0)

    def put(self, **pairs: str) -> int:
        """
        Set keys with one entry, and return its index.
        """
        index = self.set(**pairs).json["index"]
        self.settle()
        return index

    def transact(self, *operations: dict[str, str]) -> int:
        """
        Carry out operations as one entry, and return its index.
        """
        body = json.dumps({"then": operations}).encode()
        answer = self.ask("POST", "/txn", body)
        assert answer.code == 200
        self.settle()
        return answer.json["index"]


class EventTests(Watched):
    """
    What is told of what.
    """

    def test_each_change(self) -> None:
        """
        Settings and deletions come as they are applied, each with its index.
        """
        stream = self.watch()
        assert stream.code == 200
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert "Content-Length" not in stream.headers
        begin = self.node.server.status().last_applied
        assert stream.received == [Event(None, begin, None)]
        index = self.put(a='é\n"\r\u2028')
        self.put(a="2")
        self.ask("DELETE", "/key/a")
        self.ask("DELETE", "/key/a")
        self.settle()
        assert stream.events == [
            Event("set", index, {"key": "a", "value": 'é\n"\r\u2028', "index": index}),
            Event("set", index + 1, {"key": "a", "value": "2", "index": index + 1}),
            Event("delete", index + 2, {"key": "a", "value": None, "index": index + 2}),
        ]

    def test_expiry(self) -> None:
        """
        A key whose time is over is told of as such.
        """
        stream = self.watch("/watch?prefix=a")
        store = self.node.store
        store.apply(100, encode_command(Stamped(1000, Set((("a", "1"),), 500))))
        store.apply(101, encode_command(Stamped(1200, None)))
        self.settle()
        assert stream.changes == [("set", "a", "1")]
        store.apply(102, encode_command(Stamped(1600, None)))
        self.settle()
        assert stream.events[1:] == [
            Event("expire", 102, {"key": "a", "value": None, "index": 102})
        ]

    def test_prefix(self) -> None:
        """
        Only keys that begin with it; the empty one is that of all.
        """
        some, every = self.watch("/watch?prefix=a%2F"), self.watch("/watch?prefix=")
        self.put(**{"a": "1", "a/": "2", "a/x": "3", "b/a/": "4"})
        assert some.changes == [("set", "a/", "2"), ("set", "a/x", "3")]
        assert len(every.changes) == 4

    def test_one_entry(self) -> None:
        """
        What one entry changes comes in its order, and only the last has an id.

        The last of those that are watched: others may come behind.
        """
        stream = self.watch("/watch?prefix=a")
        index = self.transact(
            {"set": "a1", "value": "1"},
            {"set": "b1", "value": "1"},
            {"set": "a2", "value": "1"},
            {"set": "b2", "value": "1"},
        )
        assert [event.id for event in stream.events] == [None, index]
        index = self.transact({"delete": "a2"}, {"delete": "b2"}, {"delete": "a1"})
        assert [event.id for event in stream.events[2:]] == [None, index]
        assert stream.changes[2:] == [("delete", "a2", None), ("delete", "a1", None)]

    def test_many_at_once(self) -> None:
        """
        Entries that are applied together are told one after the other.
        """
        stream = self.watch()
        for index in range(100, 200):
            self.node.store.apply(index, encode_command(Set((("a", str(index)),))))
        self.settle()
        assert [event.id for event in stream.events] == list(range(100, 200))


class PlaceTests(Watched):
    """
    Where a watch begins, and where it goes on.
    """

    def test_from_now_on(self) -> None:
        """
        Without a place nothing is told of what was before.
        """
        self.put(a="1")
        stream = self.watch()
        self.put(a="2")
        assert stream.changes == [("set", "a", "2")]

    def test_after(self) -> None:
        """
        With one, all behind it, and only that: what was, and what comes.
        """
        index = self.put(a="1")
        self.put(a="2")
        self.put(b="x")
        for after, expected in ((0, "123"), (index, "23"), (index + 1, "3")):
            stream = self.watch(f"/watch?prefix=a&after={after}")
            assert stream.received[0] == Event(None, after, None)
            assert stream.changes == [("set", "a", v) for v in expected if v < "3"]
            self.node.store.apply(
                self.node.server.status().last_applied,
                encode_command(Set((("c", "x"),))),
            )
            stream.lose()
        stream = self.watch(f"/watch?prefix=a&after={index}")
        self.put(a="3")
        assert stream.changes == [("set", "a", "2"), ("set", "a", "3")]

    def test_last_event_id(self) -> None:
        """
        The place of a client that comes back is more than that of its first request.
        """
        index = self.put(a="1")
        self.put(a="2")
        stream = self.watch("/watch?after=0", f"Last-Event-ID: {index}")
        assert stream.changes == [("set", "a", "2")]
        assert self.watch("/watch", "Last-Event-ID: 0").changes[0] == ("set", "a", "1")

    def test_every_place_is_good(self) -> None:
        """
        Whatever a client has got when its connection breaks, it goes on without a gap.

        Only what it got of an entry whose end did not come is told again.
        """
        stream = self.watch("/watch?prefix=a")
        for number in range(5):
            self.put(**{f"a{number}": "x", "b": "y", f"a{number + 1}": "z"})
        for count in range(len(stream.received) + 1):
            seen = stream.received[:count]
            places = [event.id for event in seen if event.id is not None]
            again = self.watch(f"/watch?prefix=a&after={places[-1] if places else 0}")
            whole = [event for event in seen if event.kind is not None]
            while whole and whole[-1].id is None:
                whole.pop()
            assert whole + again.events == stream.events

    def test_of_a_later_time(self) -> None:
        """
        A place that this node has not reached yet is waited for.
        """
        index = self.put(a="1")
        stream = self.watch(f"/watch?after={index + 2}")
        self.settle(ALIVE_SECONDS)
        assert len(stream.received) == 2
        assert stream.place == index + 2
        self.put(a="2")
        self.put(a="3")
        assert stream.changes == []
        self.settle(ALIVE_SECONDS)
        assert stream.place == index + 2
        self.put(a="4")
        assert stream.changes == [("set", "a", "4")]

    def test_far_behind(self) -> None:
        """
        However much there is to be told first, all of it comes.
        """
        for index in range(100, 3100):
            self.node.store.apply(index, encode_command(Set((("a", "x" * 100),))))
        for path in ("/watch?after=0", "/watch?after=0&prefix=a"):
            stream = self.watch(path)
            self.settle()
            assert [event.id for event in stream.events] == list(range(100, 3100))

    def test_right_behind_a_restore(self) -> None:
        """
        Who comes between a restore and the next turn misses nothing.
        """
        self.node.store.apply(100, encode_command(Set((("a", "1"),))))
        self.node.server._last_applied = 100
        other = self.watch("/watch?prefix=b")
        self.history.forget()
        self.node.server._last_applied = 110
        self.node.store.apply(111, encode_command(Set((("a", "2"),))))
        self.node.server._last_applied = 111
        stream = self.watch("/watch?prefix=a&after=110")
        assert stream.changes == [("set", "a", "2")]
        assert other.events[-1].data["first"] == 111

    def test_compacted(self) -> None:
        """
        What is not known any more is a 410, with the first index that is.
        """
        self.history._max_changes = 16
        for number in range(40):
            last = self.put(a=str(number))
        first = self.history.complete_after(last) + 1
        assert 10 < last - first < 20
        for path in ("/watch?after=0", f"/watch?after={first - 2}"):
            for method in ("GET", "HEAD"):
                stream = self.watch(path, method=method)
                assert stream.code == 410
            stream = self.watch(path)
            assert stream.json == {
                "error": "what has changed behind that index is not known here any "
                "more; list anew",
                "first": first,
            }
            assert not stream.transport.disconnecting
        stream = self.watch(f"/watch?after={first - 1}")
        assert [event.id for event in stream.events] == list(range(first, last + 1))
        assert len(self.watchers) == 1

    def test_a_list_and_then_a_watch(self) -> None:
        """
        From the index of a listing on a watch misses nothing and repeats nothing.
        """
        self.put(a="1", b="2")
        listing = self.ask("GET", "/key").json
        self.put(a="3")
        stream = self.watch(f"/watch?after={listing['index']}")
        assert stream.changes == [("set", "a", "3")]

    def test_a_backup_that_is_restored(self) -> None:
        """
        Who watches is let go: what it has changed is not told, and has to be listed.
        """
        self.put(a="1")
        backup = self.watch("/backup")
        self.browser.network.settle(*[0.025] * 20)
        stream = self.watch()
        place = self.put(a="2")
        restored = self.browser.start("POST", "/restore", backup.body)
        self.browser.network.settle(*[0.025] * 20)
        index = self.successResultOf(restored).json["index"]
        last = stream.events[-1]
        assert (last.kind, last.data["first"]) == ("compacted", index + 1)
        assert stream.is_over
        assert self.watch(f"/watch?after={place}").code == 410
        again = self.watch(f"/watch?after={index}")
        self.put(a="3")
        assert again.changes == [("set", "a", "3")]


class RefusedTests(Watched):
    """
    What is no request for changes.
    """

    limits = Limits(max_key_bytes=10)

    def test_parameters(self) -> None:
        """
        A wrong parameter or header is a 400 that names it; nobody watches then.
        """
        for path, headers in [
            ("/watch?after=", ()),
            ("/watch?after=-1", ()),
            ("/watch?after=1.5", ()),
            ("/watch?after=x", ()),
            ("/watch?after=%D9%A1", ()),
            ("/watch?after=" + "9" * 19, ()),
            ("/watch?after=1&after=2", ()),
            ("/watch?prefix=a&prefix=b", ()),
            ("/watch?prefix=%FF", ()),
            ("/watch?prefix=" + "a" * 11, ()),
            ("/watch?level=strong", ()),
            ("/watch", ("Last-Event-ID: x",)),
            ("/watch", ("Last-Event-ID: \xff",)),
            ("/watch", ("Last-Event-ID:",)),
            ("/watch", ("Last-Event-ID: 1", "Last-Event-ID: 1")),
            ("/watch?after=x", ("Last-Event-ID: 1",)),
        ]:
            stream = self.watch(path, *headers)
            assert stream.code == 400, path
            assert isinstance(stream.json["error"], str)
        assert len(self.watchers) == 0
        assert self.watch("/watch?prefix=" + "a" * 10).code == 200

    def test_methods(self) -> None:
        """
        Only ``GET`` and ``HEAD``; the latter is answered at once, with the headers.
        """
        stream = self.watch("/watch?after=0", method="HEAD")
        assert stream.code == 200
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.transport.value().endswith(b"\r\n\r\n")
        assert self.watch("/watch?after=x", method="HEAD").code == 400
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            stream = self.watch("/watch", "Content-Length: 0", method=method)
            assert stream.code == 405
            assert stream.headers["Allow"] == "GET, HEAD"
        assert self.watch("/watch/").code == 404
        assert self.watch("/watch/a").code == 404
        assert len(self.watchers) == 0

    def test_too_many(self) -> None:
        """
        More than there may be are sent elsewhere; when one goes, another may come.
        """
        self.patch(watch, "MAX_WATCHERS", 3)
        streams = [self.watch() for _ in range(3)]
        refused = self.watch()
        assert (refused.code, refused.headers["Retry-After"]) == (503, "1")
        streams[0].lose()
        assert self.watch().code == 200


class SlowTests(Watched):
    """
    Who does not read as fast as others write.
    """

    def test_paused(self) -> None:
        """
        Nothing is sent to one who does not take it; he gets all of it later.
        """
        slow, quick = self.watch(), self.watch()
        slow.pause()
        for number in range(10):
            self.put(a=str(number))
        # Not even when the others are told where they are.
        self.settle(ALIVE_SECONDS)
        assert len(slow.received) == 1
        assert len(quick.events) == 10
        slow.resume()
        self.settle()
        assert slow.events == quick.events

    def test_paused_at_once(self) -> None:
        """
        One who is paused by the first of what he is sent gets the rest later.
        """
        for number in range(100):
            self.put(a="x" * 10_000, b=str(number))
        stream = self.watch()
        stream.lose()
        stream = Stream(self.node.site, "/watch?after=0")
        written = self.pause_when_written(stream)
        self.settle()
        assert len(written) == 1
        assert 0 < len(stream.events) < 20
        for _ in range(100):
            stream.resume()
            self.settle()
        assert len(stream.events) == 200
        assert len(written) > 10

    def pause_when_written(self, stream: Stream) -> list[int]:
        """
        Let a transport be full whenever something is written to it.
        """
        written: list[int] = []
        transport = stream.transport

        def write_sequence(data: list[bytes]) -> None:
            transport.write(b"".join(data))
            written.append(len(data))
            stream.pause()

        transport.writeSequence = write_sequence
        return written

    def test_nothing_is_kept_for_him(self) -> None:
        """
        However much he is behind, nothing waits in memory but the history itself.
        """
        slow = self.watch()
        slow.pause()
        before = len(slow.transport.value())
        for _ in range(50):
            self.put(a="x" * 10_000)
        assert len(slow.transport.value()) == before
        assert len(self.watchers._queue) == 0

    def test_dropped(self) -> None:
        """
        Who is so far behind that something is gone is told so, once, and let go.

        When he begins to read again, or else when that is found out by itself.
        """
        self.history._max_changes = 16
        resumed, silent, behind = (self.watch() for _ in range(3))
        for stream in (resumed, silent):
            stream.pause()
        self.put(a="x")
        behind.pause()
        for number in range(40):
            self.put(a=str(number))
        first = self.history.complete_after(0) + 1
        resumed.resume()
        behind.resume()
        self.settle()
        assert behind.events[0].change == ("set", "a", "x")
        for stream in (resumed, behind):
            last = stream.events[-1]
            assert (last.kind, last.id, last.data["first"]) == (
                "compacted",
                None,
                first,
            )
            assert stream.is_over
        assert silent.events == []
        self.settle(ALIVE_SECONDS)
        assert silent.events[-1].kind == "compacted"
        assert silent.is_over
        # It may not take that either.
        self.settle(20.0)
        assert silent.is_aborted
        assert len(self.watchers) == 0

    def test_one_who_has_missed_nothing_is_not_dropped(self) -> None:
        """
        However much else has changed since he was told something.
        """
        self.history._max_changes = 16
        stream = self.watch("/watch?prefix=a")
        self.put(a="1")
        for number in range(40):
            self.put(b=str(number))
        self.put(a="2")
        assert stream.changes == [("set", "a", "1"), ("set", "a", "2")]

    def test_one_who_never_reads(self) -> None:
        """
        Who takes nothing for a minute is let go, even if there is nothing to tell.
        """
        stalled, slow, reading = (self.watch() for _ in range(3))
        for _ in range(STALLED_TIMES - 1):
            stalled.pause()
            slow.pause()
            self.settle(ALIVE_SECONDS)
            slow.resume()
            assert len(self.watchers) == 3
        slow.pause()
        self.settle(ALIVE_SECONDS)
        assert len(self.watchers) == 2
        assert stalled.transport.disconnecting
        self.settle(20.0)
        assert stalled.is_aborted
        slow.resume()
        self.put(a="1")
        assert len(slow.events) == len(reading.events) == 1

    def test_turns(self) -> None:
        """
        While many are told, others have their turn, too.
        """
        turns: list[Callable[[], object]] = []

        class Passing(Clock):
            """
            Each look at it takes a millisecond; what it is to call is a turn.
            """

            def seconds(self) -> float:
                """
                Go on.
                """
                self.rightNow += 0.001
                return self.rightNow

            def callLater(self, delay: float, turn: Callable[[], object]) -> object:
                """
                Take note of a turn.
                """
                assert delay == 0
                turns.append(turn)
                return turn

        streams = [self.watch() for _ in range(10)]
        self.watchers._clock = Passing()
        self.node.store.apply(100, encode_command(Set((("a", "1"),))))
        told = []
        while turns:
            turns.pop()()
            assert len(turns) <= 1
            told.append(sum(len(stream.events) for stream in streams))
        assert told == [2, 4, 6, 8, 10]


class AliveTests(Watched):
    """
    What is sent when nothing happens, and how it ends.
    """

    def test_place(self) -> None:
        """
        Now and then all are told how far they are, also of what they do not watch.
        """
        stream = self.watch("/watch?prefix=a")
        index = self.put(b="1")
        assert stream.place < index
        self.settle(ALIVE_SECONDS)
        assert stream.received[-1] == Event(None, index, None)
        index = self.put(b="2")
        self.settle(ALIVE_SECONDS)
        assert stream.received[-1] == Event(None, index, None)
        assert len(stream.received) == 3

    def test_a_place_is_never_told_too_early(self) -> None:
        """
        Not before what has just been applied was told.
        """
        stream = self.watch()
        self.clock.advance(ALIVE_SECONDS - 0.001)
        self.settle()
        server = self.node.server
        index = server.status().last_applied + 1
        # As if it had been applied in the same iteration of the reactor.
        self.node.store.apply(index, encode_command(Set((("a", "1"),))))
        server._last_applied = index
        self.watchers._look_after_all()
        self.settle()
        assert [event.kind for event in stream.received] == [None, "set"]

    def test_one_timer(self) -> None:
        """
        It runs only while somebody watches.
        """

        def timers() -> int:
            return sum(
                call.func == self.watchers._look_after_all
                for call in self.clock.getDelayedCalls()
            )

        assert timers() == 0
        streams = [self.watch(f"/watch?prefix={n}") for n in range(5)]
        assert timers() == 1
        for stream in streams:
            stream.lose()
        assert timers() == 0

    def test_gone(self) -> None:
        """
        Of a client that goes away, whether it was told something or not, nothing stays.
        """
        left = []
        for paused in (False, True):
            stream = self.watch("/watch?prefix=a")
            self.put(a="1")
            if paused:
                stream.pause()
                self.put(a="2")
            [watcher] = self.watchers._all
            left += [ref(watcher.over), ref(watcher._request), ref(stream.channel)]
            del watcher
            stream.lose()
            self.put(a="3")
            assert len(self.watchers) == 0
            assert self.history.prefixes.lengths == []
            del stream
        gc.collect()
        assert [one() for one in left] == [None] * 6
        assert self.flushLoggedErrors() == []

    def test_gone_without_a_word_to_the_producer(self) -> None:
        """
        So it is where only the connection's end is noticed.
        """
        stream = self.watch()
        stream.channel._requestProducer = None
        stream.lose()
        assert len(self.watchers) == 0

    def test_gone_while_it_waits_for_its_turn(self) -> None:
        """
        So it is where something was about to be told.
        """
        stream = self.watch()
        self.node.store.apply(100, encode_command(Set((("a", "1"),))))
        self.watchers._look_at_marks()
        stream.lose()
        self.history.forget()
        self.settle()
        assert stream.events == []

    def test_stop(self) -> None:
        """
        A node that stops ends all answers well, and takes nobody any more.
        """
        streams = [self.watch() for _ in range(3)]
        streams[0].pause()
        other = Stream(self.node.site, "/status")
        self.node.store.apply(100, encode_command(Set((("a", "1"),))))
        closed = self.node.site.disconnect()
        for stream in streams:
            assert stream.is_over
            stream.lose()
        assert len(self.watchers) == 0
        other.lose()
        self.successResultOf(closed)
        self.node.server.stopService()
        assert self.clock.getDelayedCalls() == []

    def test_after_stop(self) -> None:
        """
        Whoever asks on a connection that is still open is sent away.
        """
        self.watchers.stop()
        stream = self.watch()
        assert (stream.code, stream.headers["Retry-After"]) == (503, "1")

    def test_the_next_request(self) -> None:
        """
        The connection is closed behind the last event.
        """
        self.history._max_changes = 16
        stream = self.watch()
        stream.pause()
        for number in range(40):
            self.put(a=str(number))
        stream.resume()
        self.settle()
        assert stream.is_over


class NoMemberTests(SynchronousTestCase):
    """
    A node that belongs to no cluster hears of nothing.
    """

    def test_no_member(self) -> None:
        """
        It says so; and those who watch it when it is removed are let go.
        """
        clock = Clock()
        node = OneNode(clock)
        server = ScriptedServer()
        site = HttpSite(node.requests, server, clock)
        stream = Stream(site)
        assert stream.code == 200
        server.configuration = Configuration((LEADER, OTHER))
        refused = Stream(site)
        assert refused.code == 503
        assert "not a member" in refused.json["error"]
        assert not stream.is_over
        clock.advance(ALIVE_SECONDS)
        assert stream.is_over


class ClusterTests(SynchronousTestCase):
    """
    Any node, and what may happen to one.
    """

    def setUp(self) -> None:
        """
        Begin with three nodes; ``a`` leads.
        """
        self.cluster = Cluster()
        self.group = self.cluster.group

    def watch(self, name: str, path: str = "/watch", *headers: str) -> Stream:
        """
        Watch at a node.
        """
        return Stream(self.cluster.network.sites[f"{name}:11000"], path, *headers)

    def put(self, key: str, value: str, name: str = "a") -> int:
        """
        Set a key, and return the index.
        """
        answer = self.cluster.ask(name, "PUT", f"/key/{key}", value.encode())
        assert answer.code == 200
        return answer.json["index"]

    def test_everywhere(self) -> None:
        """
        All nodes tell the same, with the same indexes; so one can go on anywhere.
        """
        streams = {name: self.watch(name, "/watch?after=0") for name in "abc"}
        for number in range(5):
            self.put("a", str(number))
            self.cluster.ask("a", "DELETE", "/key/a")
        self.group.ticks(8)
        assert len(streams["a"].events) == 10
        assert streams["a"].events == streams["b"].events == streams["c"].events
        place = streams["b"].events[4].id
        again = self.watch("c", "/watch", f"Last-Event-ID: {place}")
        self.group.turn()
        assert again.events == streams["a"].events[5:]

    def test_failover(self) -> None:
        """
        A watch at a follower outlives the leader, and misses nothing.
        """
        stream = self.watch("b")
        first = self.put("a", "1")
        self.group.kill("a")
        leader = self.cluster.elect()
        second = self.put("a", "2", leader.server_id)
        self.group.ticks(8)
        assert [event.id for event in stream.events] == [first, second]

    def test_restart(self) -> None:
        """
        A node that was restarted knows what is in its log, and goes on from there.
        """
        stream = self.watch("b")
        index = self.put("a", "1")
        self.cluster.restart("b")
        self.group.ticks(8)
        self.put("a", "2")
        again = self.watch("b", "/watch", f"Last-Event-ID: {stream.place}")
        self.group.turn()
        assert stream.place == index
        assert again.changes == [("set", "a", "2")]
        assert self.watch("b", "/watch?after=0").code == 200

    def test_restart_from_a_snapshot(self) -> None:
        """
        What is only in a snapshot is a 410; the place of the snapshot is good.
        """
        self.put("a", "1")
        index = self.put("a", "2")
        self.cluster.snapshot("b")
        self.cluster.restart("b")
        self.cluster.ask("a", "DELETE", "/key/none")
        self.group.ticks(8)
        assert self.group.servers["b"].status().last_applied > index
        refused = self.watch("b", f"/watch?after={index - 1}")
        assert (refused.code, refused.json["first"]) == (410, index + 1)
        stream = self.watch("b", f"/watch?after={index}")
        self.group.ticks(8)
        self.put("a", "3")
        assert stream.changes == [("set", "a", "3")]
        assert self.watch("b", f"/watch?after={index - 1}").code == 410

    def test_restored(self) -> None:
        """
        Who watches a node that is brought up to date by a snapshot is told, and let go.

        From then on the snapshot's place is good, and what is before it a 410; and one
        who waits for a place behind it goes on waiting.
        """
        streams = [self.watch("c"), self.watch("c", "/watch?prefix=b")]
        streams[1].pause()
        place = self.put("a", "0")
        assert streams[0].place == place
        self.group.cut_off.add("c")
        future = self.watch("c", f"/watch?after={place + 22}")
        for number in range(20):
            index = self.put("a", str(number))
        assert index == place + 20
        self.cluster.snapshot("a")
        self.group.cut_off.clear()
        self.group.until(lambda: self.group.servers["c"].status().last_applied >= index)
        self.group.turn()
        for stream in streams:
            last = stream.events[-1]
            assert (last.kind, last.data["first"]) == ("compacted", index + 1)
            assert stream.is_over
        assert streams[0].place == place
        refused = self.watch("c", "/watch", f"Last-Event-ID: {place}")
        assert (refused.code, refused.json["first"]) == (410, index + 1)
        again = self.watch("c", f"/watch?after={index}")
        leader = self.group.leader().server_id
        later = [self.put("a", str(number), leader) for number in range(3)]
        self.group.ticks(8)
        assert [event.id for event in again.events] == later
        assert [event.id for event in future.events] == [
            one for one in later if one > place + 22
        ]
        assert not future.is_over

"""
The ways to other servers: opened, kept open, given up.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogLevel
from twisted.protocols import amp
from zope.interface import directlyProvides, providedBy
from zope.interface.verify import verifyObject

from hraftd.interfaces import IPeers
from hraftd.peers.arguments import MAX_PACKED
from hraftd.peers.boxes import MAX_FIRST_BOX
from hraftd.peers.hello import Versions
from hraftd.peers.links import NotConnected, PeerLinks, ProbeFailed
from hraftd.raft.configuration import Server
from hraftd.raft.messages import Call, RequestVoteResponse

from .network import (
    CLUSTER,
    PeersTestCase,
    Wire,
    answer_to,
    append,
    servers,
    vote,
)


class LinksTestCase(PeersTestCase):
    """
    A server ``n1`` with links, and a server ``n2`` that listens.
    """

    def setUp(self) -> None:
        """
        Let ``n2`` listen.
        """
        super().setUp()
        self.raft_server, self.factory = self.serve("n2", 12002)

    def linked(self, **options: Any) -> PeerLinks:
        """
        Return links with an open one to ``n2``.
        """
        links = self.links(**options)
        links.configure(CLUSTER, servers(n1=12001, n2=12002))
        self.network.settle()
        assert self.logged() == ["linked to n2 at 127.0.0.1:12002"]
        return links

    def ask(self, links: PeerLinks, request: Any, to: str = "n2") -> Deferred[Any]:
        """
        Call a server.
        """
        answer = links.call(Call(to, request))
        self.network.settle()
        return answer

    @property
    def wire(self) -> Wire:
        """
        The one open connection.
        """
        [wire] = self.network.open_wires
        return wire


class Impostor(Protocol):
    """
    Something else that listens: it says one thing, whatever it is told.
    """

    data = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Say it.
        """
        if self.data:
            self.transport.write(self.data)


def impostor(data: bytes = b"") -> Factory:
    """
    Return a factory of impostors that say this.
    """
    protocol = type("Impostor", (Impostor,), {"data": data})
    return Factory.forProtocol(protocol)


def answer_box(**keys: bytes) -> bytes:
    """
    Return an answer to the first question.
    """
    named = {key.encode(): value for key, value in keys.items()}
    return amp.AmpBox({amp.ANSWER: b"1"} | named).serialize()


GOOD_HELLO = {
    "version": b"1",
    "oldest": b"1",
    "cluster": CLUSTER.encode(),
    "server": b"n2",
}


class CallTests(LinksTestCase):
    """
    Requests on an open link, and without one.
    """

    def test_interface(self) -> None:
        """
        The links are what RaftServer needs them to be.
        """
        assert verifyObject(IPeers, PeerLinks("n1", self.network.reactor))

    def test_calls(self) -> None:
        """
        Both RPCs go out and are answered, values of 1 MiB and batches of 8 MiB too.
        """
        links = self.linked()
        large = b"x" * (1 << 20)
        for request in (vote(), append(), append(large), append(*[large] * 8)):
            answer = self.ask(links, request)
            assert self.raft_server.requests.pop() == request
            assert self.successResultOf(answer) == answer_to(request)

    def test_pieces(self) -> None:
        """
        However the bytes are cut on their way, the calls are the same.
        """
        for seed in range(10):
            self.network.rng = Random(seed)
            links = self.linked()
            requests = [vote(), append(b"z" * 70_000, b""), append(), append(b"x")]
            answers = [links.call(Call("n2", request)) for request in requests]
            self.network.settle()
            for answer, request in zip(answers, requests, strict=True):
                assert self.successResultOf(answer) == answer_to(request)
            stopped = links.stopService()
            self.network.settle()
            self.successResultOf(stopped)
            self.logged()

    def test_out_of_order(self) -> None:
        """
        Answers find their calls when they come back in another order.
        """
        links = self.linked()
        self.raft_server.hold = True
        answers = [self.ask(links, vote(term=term)) for term in (1, 2, 3)]
        for number in (2, 0, 1):
            self.assertNoResult(answers[number])
            result = RequestVoteResponse(number + 10, vote_granted=False)
            self.raft_server.held[number].callback(result)
            self.network.settle()
            assert self.successResultOf(answers[number]) == result

    def test_no_configuration(self) -> None:
        """
        Before there is a configuration nobody can be called.
        """
        failure = self.failureResultOf(
            self.links().call(Call("n2", vote())), NotConnected
        )
        assert failure.check(ConnectionError)
        assert str(failure.value) == "n2 is no other member"

    def test_oneself(self) -> None:
        """
        There is no link to oneself.
        """
        links = self.linked()
        self.failureResultOf(links.call(Call("n1", vote())), NotConnected)
        assert len(self.network.wires) == 1

    def test_no_link_yet(self) -> None:
        """
        A call does not wait for the link, nor for the Hello on it to be answered.
        """
        self.raft_server.admission = Deferred()
        links = self.links()
        links.configure(CLUSTER, servers(n1=12001, n2=12002))
        self.failureResultOf(links.call(Call("n2", vote())), NotConnected)
        self.network.settle()
        self.failureResultOf(self.ask(links, vote()), NotConnected)
        self.raft_server.admission.callback(None)
        self.network.settle()
        self.successResultOf(self.ask(links, vote()))

    def test_too_large(self) -> None:
        """
        What no peer would accept fails alone, and the link stays.
        """
        links = self.linked()
        self.failureResultOf(self.ask(links, append(bytes(MAX_PACKED))), ValueError)
        self.failureResultOf(self.ask(links, vote(candidate_id="")), ValueError)
        gap = append(b"x")
        backwards = type(gap)(3, "n1", 7, 2, gap.entries * 2, 5)
        self.failureResultOf(self.ask(links, backwards), ValueError)
        self.successResultOf(self.ask(links, vote()))
        assert self.logged() == []

    def test_callers_mistake(self) -> None:
        """
        An error in a callback stays with its Deferred: the link is not harmed.
        """
        links = self.linked()
        answer = self.ask(links, vote()).addCallback(lambda _: 1 // 0)
        self.failureResultOf(answer, ZeroDivisionError)
        self.raft_server.hold = True
        answer = self.ask(links, vote()).addCallback(lambda _: 1 // 0)
        self.raft_server.held[0].callback(answer_to(vote()))
        self.network.settle()
        self.failureResultOf(answer, ZeroDivisionError)
        self.raft_server.hold = False
        self.successResultOf(self.ask(links, vote()))

    def test_cancelled_call(self) -> None:
        """
        A call that nobody waits for any more is forgotten.
        """
        links = self.linked()
        self.raft_server.hold = True
        answer = self.ask(links, vote())
        answer.cancel()
        self.failureResultOf(answer)
        self.raft_server.held[0].callback(answer_to(vote()))
        self.network.settle()
        assert len(self.network.open_wires) == 1


class TimeLimitTests(LinksTestCase):
    """
    A call that is not answered in time takes its connection with it.
    """

    def setUp(self) -> None:
        """
        Let calls wait for their answers.
        """
        super().setUp()
        self.peer_links = self.linked()
        self.raft_server.hold = True

    def test_all_calls_fail(self) -> None:
        """
        After two seconds without an answer all calls on the link fail.

        Then it is opened again.
        """
        wire = self.wire
        answers = [self.ask(self.peer_links, vote(term=term)) for term in (1, 2)]
        self.network.advance(1.9)
        late = self.ask(self.peer_links, append())
        for answer in [*answers, late]:
            self.assertNoResult(answer)
        self.network.advance(0.15)
        for answer in [*answers, late]:
            failure = self.failureResultOf(answer, NotConnected)
            assert "did not answer within 2.0 s" in str(failure.value)
        assert wire.client.aborted
        assert self.logged() == [
            "no link to n2: the server at 127.0.0.1:12002 did not answer within 2.0 s",
            "linked to n2 at 127.0.0.1:12002",
        ]

    def test_answered_in_time(self) -> None:
        """
        An answer ends the waiting for it, and for nothing else.
        """
        answer = self.ask(self.peer_links, vote())
        self.network.advance(1.5)
        other = self.ask(self.peer_links, vote())
        self.raft_server.held[0].callback(answer_to(vote()))
        self.network.settle()
        self.successResultOf(answer)
        self.network.advance(1.5)
        self.assertNoResult(other)
        self.network.advance(0.7)
        self.failureResultOf(other, NotConnected)

    def test_large_calls(self) -> None:
        """
        Entries get a second more for every 256 KiB; so do the calls behind them.
        """
        large = self.ask(self.peer_links, append(bytes(1 << 20)))
        self.network.advance(1)
        heartbeat = self.ask(self.peer_links, append())
        self.network.advance(4.8)
        self.assertNoResult(large)
        self.assertNoResult(heartbeat)
        self.network.advance(0.3)
        self.failureResultOf(large, NotConnected)
        self.failureResultOf(heartbeat, NotConnected)

    def test_answered_entries_do_not_count(self) -> None:
        """
        Entries that are answered give the next call no more time.
        """
        answer = self.ask(self.peer_links, append(bytes(1 << 20)))
        self.raft_server.held[0].callback(answer_to(append()))
        self.network.settle()
        self.successResultOf(answer)
        answer = self.ask(self.peer_links, vote())
        self.network.advance(2.1)
        self.failureResultOf(answer, NotConnected)

    def test_peer_that_reads_nothing(self) -> None:
        """
        On a dead connection calls pile up for two seconds and not longer.
        """
        self.wire.stuck = True
        answers = []
        for _ in range(50):
            answers.append(self.peer_links.call(Call("n2", append())))
            self.network.advance(0.05)
        failed = [answer for answer in answers if answer.called]
        for answer in failed:
            self.failureResultOf(answer, NotConnected)
        assert len(failed) >= 40

    def test_no_timers_left(self) -> None:
        """
        Each timer goes with its call.
        """
        before = len(self.network.reactor.getDelayedCalls())
        answers = [self.ask(self.peer_links, vote()) for _ in range(3)]
        assert len(self.network.reactor.getDelayedCalls()) == before + 3
        self.raft_server.held[0].callback(answer_to(vote()))
        self.network.settle()
        assert len(self.network.reactor.getDelayedCalls()) == before + 2
        stopped = self.peer_links.stopService()
        self.network.settle()
        self.successResultOf(stopped)
        self.successResultOf(answers[0])
        for answer in answers[1:]:
            self.failureResultOf(answer, NotConnected)
        assert self.network.reactor.getDelayedCalls() == []


class ReconnectTests(LinksTestCase):
    """
    A link goes on trying.
    """

    def test_lost(self) -> None:
        """
        A lost connection fails its calls and is made again at once, more or less.
        """
        links = self.linked()
        self.raft_server.hold = True
        answer = self.ask(links, vote())
        self.wire.cut(lost=True)
        failure = self.failureResultOf(answer, NotConnected)
        assert "was lost" in str(failure.value)
        self.failureResultOf(links.call(Call("n2", vote())), NotConnected)
        self.network.advance(0.1)
        self.raft_server.hold = False
        self.successResultOf(self.ask(links, vote()))
        warned, informed = self.logged()
        assert warned.startswith("no link to n2: the connection to the server at")
        assert informed == "linked to n2 at 127.0.0.1:12002"

    def test_call_from_a_failing_call(self) -> None:
        """
        When the calls of a lost connection fail, the link is known to be down.
        """
        links = self.linked()
        self.raft_server.hold = True
        again = self.ask(links, vote()).addErrback(
            lambda _: links.call(Call("n2", vote()))
        )
        self.wire.cut(lost=True)
        failure = self.failureResultOf(again, NotConnected)
        assert str(failure.value) == "no link to n2 is open"

    def test_closed(self) -> None:
        """
        The same where the other side closes it, in the middle of an answer too.
        """
        links = self.linked()
        self.raft_server.hold = True
        answer = self.ask(links, vote())
        self.wire.server.write(b"\x00\x07_answer\x00\x01")
        self.network.settle()
        self.wire.cut()
        failure = self.failureResultOf(answer, NotConnected)
        assert str(failure.value).endswith("12002 closed the connection")

    def test_pauses(self) -> None:
        """
        Pauses grow from 0.05 s to a second, each shortened by up to a half.

        What does not change is logged once.
        """
        del self.network.listeners[12002]
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002))
        self.network.advance(20, step=0.005)
        pauses = [
            after - before
            for before, after in zip(
                self.network.dialled, self.network.dialled[1:], strict=False
            )
        ]
        for number, pause in enumerate(pauses):
            longest = min(1.0, 0.05 * 2**number)
            assert longest / 2 <= pause <= longest + 0.0051
        assert len(set(pauses[6:])) > 5, "no two servers should call in step"
        assert self.logged() == [
            "no link to n2: no server answers at 127.0.0.1:12002 (Connection refused)"
        ]

    def test_back_again(self) -> None:
        """
        A server that comes back is linked within about a second.

        After that pauses are short again.
        """
        links = self.linked()
        self.network.advance(2)
        for _ in range(2):
            del self.network.listeners[12002]
            self.wire.cut()
            self.network.advance(30)
            self.network.listen(12002, self.factory)
            self.network.advance(1.1)
            self.successResultOf(self.ask(links, vote()))
            assert len(self.logged()) == 2
            self.network.advance(2)
        self.network.dialled.clear()
        self.wire.cut()
        self.network.advance(0.1)
        assert len(self.network.dialled) == 1

    def test_peer_that_always_closes(self) -> None:
        """
        A peer that accepts each Hello and closes then is not called in a tight loop.
        """
        self.linked()
        self.network.dialled.clear()
        for _ in range(200):
            for wire in self.network.open_wires:
                wire.cut()
            self.network.advance(0.05)
        assert len(self.network.dialled) < 30

    def test_refused(self) -> None:
        """
        A refusal is logged once on either side, and ends when the reason does.
        """
        self.raft_server.cluster_id = "cluster-2"
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002))
        self.network.advance(10)
        assert len(self.network.dialled) > 8
        assert self.logged() == [
            "refused n1 at 127.0.0.1: n2 is in cluster-2",
            "no link to n2: the server at 127.0.0.1:12002 says: n2 is in cluster-2",
        ]
        assert self.network.open_wires == []
        self.failureResultOf(self.ask(links, vote()), NotConnected)
        self.raft_server.cluster_id = CLUSTER
        self.network.advance(1.1)
        self.successResultOf(self.ask(links, vote()))

    def test_change_of_reasons(self) -> None:
        """
        From refused to unreachable and back are changes; each is logged.
        """
        self.raft_server.cluster_id = "cluster-2"
        self.links().configure(CLUSTER, servers(n2=12002))
        self.network.advance(3)
        del self.network.listeners[12002]
        self.network.advance(3)
        self.network.listen(12002, self.factory)
        self.network.advance(3)
        ours = [line for line in self.logged() if line.startswith("no link")]
        assert [line.rpartition(" ")[2] for line in ours] == [
            "cluster-2",
            "refused)",
            "cluster-2",
        ]

    def test_versions(self) -> None:
        """
        Servers of wire versions N and N-1 are linked, in both directions.
        """
        cases = ((7, 6, True), (6, 5, True), (8, 7, True), (5, 4, False), (9, 8, False))
        for newest, oldest, welcome in cases:
            self.serve("n2", 12002, versions=Versions(7, 6))
            links = self.links(versions=Versions(newest, oldest))
            links.configure(CLUSTER, servers(n2=12002))
            self.network.settle()
            answer = self.ask(links, vote())
            if welcome:
                self.successResultOf(answer)
            else:
                self.failureResultOf(answer, NotConnected)
                assert any("n2 speaks wire versions 6 to 7" in x for x in self.logged())
            links.stopService()
            self.network.settle()

    def test_unanswered_hello(self) -> None:
        """
        Who accepts the connection and says nothing is given up after two seconds.
        """
        self.network.listen(12002, impostor())
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002))
        self.network.advance(1.9)
        assert len(self.network.open_wires) == 1
        self.network.advance(2)
        assert self.logged() == [
            "no link to n2: the server at 127.0.0.1:12002 did not answer within 2.0 s"
        ]
        stopped = links.stopService()
        self.network.settle()
        self.successResultOf(stopped)

    def test_lost_before_hello_is_answered(self) -> None:
        """
        A connection lost in the middle of the introduction is tried again.
        """
        self.raft_server.admission = Deferred()
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002))
        self.network.settle()
        self.wire.cut(lost=True)
        self.raft_server.admission = None
        self.network.advance(0.1)
        self.successResultOf(self.ask(links, vote()))

    def test_impostors(self) -> None:
        """
        What answers a Hello with anything but an answer is no peer.

        The next attempt may find one.
        """
        hello = answer_box(**GOOD_HELLO)
        for data, reason in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "sent bytes that are no AMP"),
            (answer_box(), "gave a wrong answer"),
            (answer_box(**GOOD_HELLO | {"version": b"x"}), "gave a wrong answer"),
            (answer_box(**GOOD_HELLO | {"server": b"n3"}), "is n3, not n2"),
            (answer_box(**GOOD_HELLO | {"version": b"3", "oldest": b"2"}), "n1 speaks"),
            (hello + hello, "answered what was not asked"),
            (amp.AmpBox({amp.ANSWER: b"2"}).serialize(), "answered what was not asked"),
            (amp.AmpBox({amp.ERROR: b"1"}).serialize(), "a box that is no answer"),
            (amp.AmpBox({}).serialize(), "sent a box that is no answer"),
            (
                amp.AmpBox({amp.COMMAND: b"Hello", amp.ASK: b"1"}).serialize(),
                "sent a box that is no answer",
            ),
            (
                amp.AmpBox(
                    {
                        amp.ERROR: b"1",
                        amp.ERROR_CODE: b"UNHANDLED",
                        amp.ERROR_DESCRIPTION: b"Unhandled Command: b'Hello'",
                    }
                ).serialize(),
                "gave a wrong answer",
            ),
            (
                b"".join(b"\x00\x02k%c\x01\x00" % n + bytes(256) for n in range(256)),
                f"sent a box of more than {MAX_FIRST_BOX} bytes",
            ),
        ):
            self.network.listen(12002, impostor(data))
            links = self.links()
            links.configure(CLUSTER, servers(n2=12002))
            self.network.settle()
            lines = self.logged(LogLevel.warn, LogLevel.error, LogLevel.critical)
            assert len(lines) == 1, lines
            assert reason in lines[0], (reason, lines)
            self.network.listen(12002, self.factory)
            self.network.advance(0.2)
            self.successResultOf(self.ask(links, vote()))
            assert len(self.network.open_wires) == 1
            links.stopService()
            self.network.settle()
            self.logged()

    def test_wrong_answer_to_a_call(self) -> None:
        """
        An answer that cannot be read fails all calls, and the link is made anew.
        """
        links = self.linked()
        self.raft_server.hold = True
        answers = [self.ask(links, vote()) for _ in range(2)]
        box = amp.AmpBox({amp.ANSWER: b"2", b"term": b"x", b"vote_granted": b"1"})
        self.wire.server.write(box.serialize())
        self.network.settle()
        for answer in answers:
            failure = self.failureResultOf(answer, NotConnected)
            assert "gave a wrong answer" in str(failure.value)
        self.raft_server.hold = False
        self.network.advance(0.1)
        self.successResultOf(self.ask(links, vote()))

    def test_bad_address(self) -> None:
        """
        An address that is none is a reason like any other.
        """
        links = self.links()
        links.configure(CLUSTER, [Server("n2", "nonsense"), Server("n3", "x:1:2")])
        self.network.advance(3)
        lines = self.logged()
        assert len(lines) == 2
        assert "'nonsense' is not host:port" in lines[0]
        stopped = links.stopService()
        self.successResultOf(stopped)


class ConfigureTests(LinksTestCase):
    """
    The links follow the configuration.
    """

    def setUp(self) -> None:
        """
        Let ``n3`` listen too.
        """
        super().setUp()
        self.other, _ = self.serve("n3", 12003)

    def test_added(self) -> None:
        """
        A new member is linked; who is linked stays so, on the same connection.
        """
        links = self.linked()
        wire = self.wire
        links.configure(CLUSTER, servers(n1=12001, n2=12002, n3=12003))
        self.network.settle()
        for name in ("n2", "n3"):
            self.successResultOf(self.ask(links, vote(), to=name))
        assert not wire.closed
        assert len(self.network.wires) == 2

    def test_removed(self) -> None:
        """
        Who is no member any more is let go, and calls to it fail.
        """
        links = self.linked()
        links.configure(CLUSTER, servers(n1=12001, n2=12002, n3=12003))
        self.network.settle()
        self.logged()
        self.raft_server.hold = True
        answer = self.ask(links, vote())
        links.configure(CLUSTER, servers(n1=12001, n3=12003))
        failure = self.failureResultOf(answer, NotConnected)
        assert str(failure.value) == "the link to n2 is closed"
        self.failureResultOf(self.ask(links, vote()), NotConnected)
        self.successResultOf(self.ask(links, vote(), to="n3"))
        self.network.advance(3)
        assert len(self.network.open_wires) == 1
        assert len(self.network.wires) == 2
        assert self.logged() == [], "it was our own will"

    def test_moved(self) -> None:
        """
        A member with another address is linked there.
        """
        links = self.linked()
        moved, _ = self.serve("n2", 12012)
        links.configure(CLUSTER, servers(n1=12001, n2=12012))
        self.network.settle()
        self.successResultOf(self.ask(links, vote()))
        assert moved.requests == [vote()]
        assert self.raft_server.requests == []
        assert len(self.network.open_wires) == 1

    def test_same_again(self) -> None:
        """
        The same configuration changes nothing, nor does a member's HTTP address.
        """
        links = self.linked()
        links.configure(CLUSTER, servers(n1=12001, n2=12002))
        server = Server("n2", "127.0.0.1:12002", http="127.0.0.1:11002")
        links.configure(CLUSTER, [server])
        self.network.settle()
        assert len(self.network.wires) == 1
        self.successResultOf(self.ask(links, vote()))

    def test_other_cluster(self) -> None:
        """
        With another cluster every link introduces itself anew.
        """
        links = self.linked()
        self.raft_server.cluster_id = "cluster-2"
        links.configure("cluster-2", servers(n1=12001, n2=12002))
        self.network.settle()
        self.successResultOf(self.ask(links, vote()))
        assert len(self.network.wires) == 2

    def test_before_the_start(self) -> None:
        """
        Links that are configured before the service starts are opened when it does.
        """
        links = PeerLinks("n1", self.network.reactor)
        links.configure(CLUSTER, servers(n2=12002))
        links.configure(CLUSTER, servers(n3=12003))
        self.network.settle()
        assert self.network.wires == []
        links.startService()
        self.network.settle()
        self.successResultOf(self.ask(links, vote(), to="n3"))
        assert len(self.network.wires) == 1

    def test_removed_while_connecting(self) -> None:
        """
        Whatever a link is about when its member is removed, it ends without a trace.
        """
        self.network.silent.add(12002)
        del self.network.listeners[12003]
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002, n3=12003))
        self.network.settle()
        self.logged()
        links.configure(CLUSTER, ())
        self.network.silent.clear()
        self.network.advance(3)
        assert self.network.wires == []
        assert self.network.reactor.getDelayedCalls() == []
        assert self.logged() == []

    def test_configured_by_a_failing_call(self) -> None:
        """
        Whoever configures from within the failure of a call meets no half-done work.
        """
        links = self.linked()
        self.raft_server.hold = True
        seen: list[str] = []

        def again(failure: Any) -> None:
            failure.trap(NotConnected)
            links.call(Call("n2", vote())).addErrback(
                lambda second: seen.append(second.getErrorMessage())
            )
            links.configure(CLUSTER, servers(n1=12001, n3=12003))

        self.ask(links, vote()).addErrback(again)
        links.configure(CLUSTER, servers(n1=12001))
        self.network.settle()
        assert seen == ["n2 is no other member"]
        self.successResultOf(self.ask(links, vote(), to="n3"))


class StopTests(LinksTestCase):
    """
    Stopping is prompt and leaves nothing.
    """

    def assert_stops(self, links: PeerLinks) -> None:
        """
        See that nothing is left.
        """
        stopped = links.stopService()
        self.network.settle()
        self.successResultOf(stopped)
        self.network.silent.clear()
        self.network.dialled.clear()
        self.network.advance(3)
        assert self.network.dialled == []
        assert self.network.open_wires == []
        assert self.network.reactor.getDelayedCalls() == []
        assert self.logged() == []

    def test_linked(self) -> None:
        """
        Calls under way fail at once; the connection is aborted, not waited for.
        """
        links = self.linked()
        self.raft_server.hold = True
        answer = self.ask(links, append(b"x"))
        self.wire.client.write(b"unread")
        stopped = links.stopService()
        self.failureResultOf(answer, NotConnected)
        self.assertNoResult(stopped)
        assert self.wire.client.aborted
        self.network.settle()
        self.successResultOf(stopped)
        self.failureResultOf(self.ask(links, vote()), NotConnected)
        self.assert_stops(links)

    def test_connecting(self) -> None:
        """
        An attempt to connect is given up.
        """
        self.network.silent.add(12002)
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002))
        self.network.settle()
        self.successResultOf(links.stopService())
        self.assert_stops(links)

    def test_saying_hello(self) -> None:
        """
        An introduction is given up, and its connection closed.
        """
        self.raft_server.admission = Deferred()
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002))
        self.network.settle()
        self.assert_stops(links)

    def test_pausing(self) -> None:
        """
        No further attempt is made.
        """
        del self.network.listeners[12002]
        links = self.links()
        links.configure(CLUSTER, servers(n2=12002))
        self.network.settle()
        self.logged()
        self.assert_stops(links)

    def test_closing(self) -> None:
        """
        Links that were let go just before are waited for as well.
        """
        links = self.linked()
        links.configure(CLUSTER, ())
        stopped = links.stopService()
        self.assertNoResult(stopped)
        self.network.settle()
        self.successResultOf(stopped)

    def test_probing(self) -> None:
        """
        A probe fails when the service stops.
        """
        links = self.linked()
        self.network.silent.add(12003)
        probe = links.probe(Server("n3", "127.0.0.1:12003"))
        self.network.settle()
        self.assertNoResult(probe)
        stopped = links.stopService()
        self.failureResultOf(probe, ProbeFailed)
        self.network.settle()
        self.successResultOf(stopped)

    def test_start_again(self) -> None:
        """
        A service that was stopped can be started again.
        """
        links = self.linked()
        self.assert_stops(links)
        links.startService()
        self.network.settle()
        self.successResultOf(self.ask(links, vote()))


class ProbeTests(LinksTestCase):
    """
    Whether there is a server that would be a peer.
    """

    def setUp(self) -> None:
        """
        Let a newcomer ``n3`` listen.
        """
        super().setUp()
        self.peer_links = self.linked()
        self.newcomer, _ = self.serve("n3", 12003)

    def probe(self, server_id: str = "n3", raft: str = "127.0.0.1:12003") -> Any:
        """
        Probe the newcomer.
        """
        probe = self.peer_links.probe(Server(server_id, raft))
        self.network.settle()
        return probe

    def sentence(self, probe: Any) -> str:
        """
        Return the reason of a probe that failed.
        """
        return str(self.failureResultOf(probe, ProbeFailed).value)

    def test_there(self) -> None:
        """
        A server of that id that accepts our Hello is there; the links stay as they are.
        """
        timers = len(self.network.reactor.getDelayedCalls())
        assert self.successResultOf(self.probe()) is None
        self.network.settle()
        assert len(self.network.reactor.getDelayedCalls()) == timers
        assert len(self.network.open_wires) == 1
        assert self.newcomer.requests == []
        self.failureResultOf(self.ask(self.peer_links, vote(), to="n3"), NotConnected)
        self.successResultOf(self.ask(self.peer_links, vote()))
        assert self.logged() == []

    def test_member(self) -> None:
        """
        A probe of a member does not disturb its link.
        """
        self.successResultOf(self.probe("n2", "127.0.0.1:12002"))
        self.successResultOf(self.ask(self.peer_links, vote()))
        assert self.logged() == []

    def test_nobody(self) -> None:
        """
        Where nobody listens, the sentence says so.
        """
        del self.network.listeners[12003]
        assert self.sentence(self.probe()) == (
            "no server answers at 127.0.0.1:12003 (Connection refused)"
        )

    def test_other_id(self) -> None:
        """
        A server of another id says so itself.
        """
        assert self.sentence(self.probe("n4")) == (
            "the server at 127.0.0.1:12003 says: this is n3, not n4"
        )

    def test_other_cluster(self) -> None:
        """
        So does one of another cluster.
        """
        self.newcomer.cluster_id = "cluster-2"
        assert self.sentence(self.probe()) == (
            "the server at 127.0.0.1:12003 says: n3 is in cluster-2"
        )

    def test_oneself(self) -> None:
        """
        A newcomer of our own id, or at our own address, is turned down.
        """
        self.serve("n1", 12001)
        assert "of its own id" in self.sentence(self.probe("n1", "127.0.0.1:12001"))

    def test_no_time(self) -> None:
        """
        It is over within three seconds, whoever is silent.

        The network, or a server that accepts the connection, or one that never admits.
        """

        def unreachable() -> None:
            self.network.silent.add(12003)

        def mute() -> None:
            self.network.silent.clear()
            self.network.listen(12003, impostor())

        def undecided() -> None:
            newcomer, _ = self.serve("n3", 12003)
            newcomer.admission = Deferred()

        for prepare in (unreachable, mute, undecided):
            prepare()
            probe = self.probe()
            self.network.advance(1.5)
            self.assertNoResult(probe)
            self.network.advance(1.6)
            assert "answer" in self.sentence(probe)
            assert self.logged(LogLevel.warn) == []
            assert len(self.network.open_wires) == 1
        self.successResultOf(self.ask(self.peer_links, vote()))

    def test_bad_address(self) -> None:
        """
        An address that is none is named.
        """
        assert "'[::1:2' is" in self.sentence(self.probe(raft="[::1:2"))

    def test_no_cluster(self) -> None:
        """
        A server without a cluster cannot take anybody in.
        """
        self.peer_links = self.links()
        sentence = self.sentence(self.probe())
        assert sentence == "n1 does not belong to a cluster yet"


class NameTests(LinksTestCase):
    """
    Members that are known by name.
    """

    def setUp(self) -> None:
        """
        Make a resolver that waits.
        """
        super().setUp()
        self.receivers: list[Any] = []
        reactor: Any = self.network.reactor

        class Resolver:
            """
            Resolves when it is told to.
            """

            @staticmethod
            def resolveHostName(receiver: Any, name: str, portNumber: int) -> None:
                assert verifyObject(IResolutionReceiver, receiver)
                self.receivers.append((receiver, portNumber))

        reactor.nameResolver = Resolver()
        directlyProvides(reactor, providedBy(reactor), IReactorPluggableNameResolver)
        self.peer_links = self.links()
        self.peer_links.configure(CLUSTER, [Server("n2", "node2.example:12002")])
        self.network.settle()

    def resolve(self, *hosts: str) -> None:
        """
        Answer for the resolver.
        """
        receiver, port = self.receivers.pop()
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, port))
        receiver.resolutionComplete()
        self.network.settle()

    def test_linked(self) -> None:
        """
        A name is resolved for each connection.
        """
        self.resolve("127.0.0.1")
        self.successResultOf(self.ask(self.peer_links, vote()))
        self.wire.cut()
        self.network.advance(0.1)
        self.resolve("127.0.0.1")
        self.successResultOf(self.ask(self.peer_links, vote()))

    def test_unknown(self) -> None:
        """
        A name that nobody knows is a reason, and may be known later.
        """
        self.resolve()
        assert self.logged() == [
            "no link to n2: no server answers at node2.example:12002 (the name cannot "
            "be resolved)"
        ]
        self.network.advance(0.1)
        self.resolve("127.0.0.1")
        self.successResultOf(self.ask(self.peer_links, vote()))

    def test_stopped_while_resolving(self) -> None:
        """
        Stopping does not wait for the resolver, which may answer when it likes.
        """
        self.successResultOf(self.peer_links.stopService())
        self.resolve("127.0.0.1")
        self.network.advance(3)
        assert self.network.wires == []
        assert self.logged() == []

    def test_resolver_that_hangs(self) -> None:
        """
        A resolver that hangs is asked again, but not until it has no thread left.
        """
        self.network.advance(60)
        assert 5 <= len(self.receivers) <= 7
        assert len(self.logged()) == 1

"""
What other servers, and whoever else finds the port, can do on a connection to us.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel
from twisted.protocols import amp

from hraftd.codec import pack_entries
from hraftd.errors import LeadershipLost, Overloaded, Stopped
from hraftd.leader_requests import (
    AddServer,
    Assurance,
    ClientRequest,
    ReadIndex,
    RemoveServer,
    TransferLeadership,
)
from hraftd.peers.arguments import MAX_PACKED
from hraftd.peers.boxes import MAX_BOX, MAX_FIRST_BOX
from hraftd.peers.client_commands import asked_for
from hraftd.peers.commands import AppendEntries, RequestVote, arguments_of
from hraftd.peers.complaints import Complaints
from hraftd.peers.hello import Hello, Refused, Versions
from hraftd.peers.inbound import HELLO_SECONDS
from hraftd.peers.questions import MAX_ASKED
from hraftd.proposals import Applied
from hraftd.raft.configuration import Server
from hraftd.raft.errors import ProtocolViolation
from hraftd.raft.messages import RequestVoteResponse, TimeoutNow

from .network import (
    Caller,
    PeersTestCase,
    Wire,
    answer_to,
    append,
    install,
    vote,
)

#: One of each kind of what peers ask for their clients.
CLIENT_REQUESTS = (
    ClientRequest(b"set"),
    ReadIndex(Assurance.MAJORITY),
    AddServer(Server("n4", "127.0.0.1:12004", "127.0.0.1:11004")),
    RemoveServer("n4"),
    TransferLeadership("n4"),
    TransferLeadership(None),
)

LATE = TimeoutNow(3, "n1")

#: Where callers come from.
HERE = IPv4Address("TCP", "192.0.2.7", 50000)


class Raw(Protocol):
    """
    A caller that writes bytes and remembers what comes back.
    """

    received = b""
    lost = False

    def dataReceived(self, data: bytes) -> None:
        """
        Remember what comes back.
        """
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        """
        Remember that it is over.
        """
        self.lost = True


class InboundTestCase(PeersTestCase):
    """
    A server ``n2`` that listens, and ways to call it.
    """

    def setUp(self) -> None:
        """
        Let the server listen.
        """
        super().setUp()
        self.raft_server, self.factory = self.serve("n2")

    def connect(self, caller: Any) -> Wire:
        """
        Connect a caller to the server.
        """
        wire = self.network.join(caller, self.factory.buildProtocol(HERE))
        self.network.settle()
        return wire

    def welcome(self, **changes: Any) -> Caller:
        """
        Connect a caller whose Hello is accepted.
        """
        caller = Caller()
        self.connect(caller)
        answer = caller.hello(**changes)
        self.network.settle()
        self.successResultOf(answer)
        return caller

    def ask(self, caller: Caller, request: Any, **changes: Any) -> Deferred[Any]:
        """
        Send a request, with some arguments changed.
        """
        command, arguments = arguments_of(request)
        answer: Deferred[Any] = caller.callRemote(command, **(arguments | changes))
        self.network.settle()
        return answer

    def assert_dropped(self, caller: Any, *reasons: str) -> None:
        """
        See that the connection is closed with one line, and that others go on.

        :param reasons: one of them is in the line.
        """
        self.network.settle()
        assert caller.lost
        [line] = self.logged(LogLevel.warn, LogLevel.error, LogLevel.critical)
        assert line.startswith("closed a connection from 192.0.2.7 port 50000 that "), (
            line
        )
        assert any(reason in line for reason in reasons), line
        assert len(line) < 400, line
        assert "\n" not in line
        other = self.welcome()
        self.successResultOf(self.ask(other, vote()))
        other.transport.loseConnection()
        self.network.settle()
        self.logged()
        # The next one is not to be left out because of this one.
        self.factory.complaints = Complaints(self.network.reactor)


class HelloTests(InboundTestCase):
    """
    The introduction: what is accepted, and what is refused with which sentence.
    """

    def refused(self, **changes: Any) -> str:
        """
        Say a Hello that is refused, and return the sentence.
        """
        caller = Caller()
        wire = self.connect(caller)
        answer = caller.hello(**changes)
        self.network.settle()
        sentence = str(self.failureResultOf(answer, Refused).value)
        assert wire.closed
        assert not wire.server.aborted, "the answer might have been lost"
        return sentence

    def test_accepted(self) -> None:
        """
        A peer of the same cluster learns who answers and which versions it speaks.
        """
        caller = Caller()
        wire = self.connect(caller)
        answer = caller.hello()
        self.network.settle()
        assert self.successResultOf(answer) == {
            "version": 1,
            "oldest": 1,
            "cluster": "cluster-1",
            "server": "n2",
        }
        self.network.advance(3 * HELLO_SECONDS, step=1)
        assert not wire.closed
        assert self.logged() == []

    def test_cluster_is_admitted_later(self) -> None:
        """
        Hello is answered when the cluster is durable, and nothing before it.
        """
        self.raft_server.admission = Deferred()
        caller = Caller()
        self.connect(caller)
        answer = caller.hello()
        self.network.settle()
        self.assertNoResult(answer)
        self.raft_server.admission.callback(None)
        self.network.settle()
        self.successResultOf(answer)

    def test_server_without_a_cluster(self) -> None:
        """
        A server that belongs to no cluster, and is admitted all the same, says so.
        """
        self.raft_server.cluster_id = None
        self.raft_server.admission = Deferred()
        self.raft_server.admission.callback(None)
        caller = Caller()
        self.connect(caller)
        answer = caller.hello()
        self.network.settle()
        assert self.successResultOf(answer)["cluster"] is None

    def test_other_cluster(self) -> None:
        """
        A peer of another cluster is refused in one line.
        """
        assert self.refused(cluster="cluster-2") == "n2 is in cluster-1"
        assert self.logged() == ["refused n1 at 192.0.2.7: n2 is in cluster-1"]
        assert self.raft_server.requests == []

    def test_other_receiver(self) -> None:
        """
        A peer that looks for another server at this address is told whom it reached.
        """
        assert self.refused(receiver="n3") == "this is n2, not n3"

    def test_message_from_itself(self) -> None:
        """
        A second server of our own id, or our own connection to us, is refused.
        """
        sentence = self.refused(sender="n2")
        assert sentence == "n2 takes no messages from a server of its own id"

    def test_distant_version(self) -> None:
        """
        A version five ahead is refused, and both sides' versions are named.
        """
        sentence = self.refused(version=6, oldest=5)
        assert sentence == "n2 speaks wire version 1, n1 speaks wire versions 5 to 6"

    def test_version_comes_first(self) -> None:
        """
        Of several reasons to refuse, the version is named.

        What another version means by the rest is not known.
        """
        sentence = self.refused(version=6, oldest=5, receiver="x", cluster="y")
        assert "wire version" in sentence

    def test_neighbouring_versions(self) -> None:
        """
        Version N works with N-1 and N+1 (a rolling upgrade), in both directions.
        """
        self.raft_server, self.factory = self.serve("n2", versions=Versions(7, 6))
        self.welcome(version=6, oldest=5)
        self.welcome(version=8, oldest=7)
        assert "wire versions 6 to 7" in self.refused(version=5, oldest=4)
        assert "wire versions 6 to 7" in self.refused(version=12, oldest=11)

    def test_unknown_arguments(self) -> None:
        """
        A later version may say more in its Hello.
        """

        class LaterHello(Hello):
            commandName = Hello.commandName
            arguments = [*Hello.arguments, (b"later", amp.String())]

        caller = Caller()
        self.connect(caller)
        answer = caller.callRemote(
            LaterHello,
            version=2,
            oldest=1,
            cluster="cluster-1",
            sender="n1",
            receiver="n2",
            later=b"something",
        )
        self.network.settle()
        self.successResultOf(answer)

    def test_logged_once(self) -> None:
        """
        A peer that tries again and again is refused each time and logged once.

        Until the reason changes, or it has been welcome in between.
        """
        for _ in range(3):
            self.refused(cluster="cluster-2")
        assert len(self.logged()) == 1
        self.refused(receiver="n3")
        self.refused(receiver="n3")
        assert len(self.logged()) == 1
        self.welcome()
        self.refused(receiver="n3")
        assert len(self.logged()) == 1
        self.refused(receiver="n3", sender="n4")
        assert len(self.logged()) == 1

    def test_refusals_are_not_collected(self) -> None:
        """
        Strangers of ever new names do not fill the memory.
        """
        for number in range(400):
            self.factory.note_refusal("192.0.2.7", f"n{number}", "no")
        assert len(self.factory.refusals) == 256
        assert ("192.0.2.7", "n399") in self.factory.refusals

    def test_refusal_that_is_not_read(self) -> None:
        """
        If the sentence finds no way out, the connection is aborted in the end.
        """
        transport = StringTransport()
        protocol = self.factory.buildProtocol(HERE)
        protocol.makeConnection(transport)
        box = Hello.makeArguments(
            {
                "version": 1,
                "oldest": 1,
                "cluster": "x",
                "sender": "n1",
                "receiver": "n2",
            },
            None,
        )
        box[amp.COMMAND], box[amp.ASK] = b"Hello", b"1"
        protocol.dataReceived(box.serialize())
        assert b"n2 is in cluster-1" in transport.value()
        assert transport.disconnecting
        assert not transport.disconnected
        self.logged()
        self.network.advance(HELLO_SECONDS)
        assert transport.disconnected
        assert self.logged() == []

    def test_no_hello(self) -> None:
        """
        Who does not say Hello within ten seconds is disconnected.
        """
        silent = Raw()
        self.connect(silent)
        self.network.advance(HELLO_SECONDS - 0.1)
        assert not silent.lost
        self.network.advance(0.2)
        self.assert_dropped(silent, "said no Hello within 10 s")

    def test_slow_hello(self) -> None:
        """
        A byte now and then does not buy more time.
        """
        slow = Raw()
        self.connect(slow)
        for byte in b"\x00\x04_ask\x00":
            slow.transport.write(bytes([byte]))
            self.network.advance(1.5)
        self.assert_dropped(slow, "said no Hello within 10 s")

    def test_closed_before_hello(self) -> None:
        """
        A port scan leaves neither a line in the log nor a timer.
        """
        raw = Raw()
        self.connect(raw)
        raw.transport.loseConnection()
        self.network.settle()
        assert self.logged() == []
        assert self.network.reactor.getDelayedCalls() == []

    def test_lost_while_being_admitted(self) -> None:
        """
        A peer that is gone before its cluster is admitted leaves nothing behind.
        """
        for result in (None, Stopped("over")):
            self.raft_server.admission = Deferred()
            caller = Caller()
            wire = self.connect(caller)
            caller.hello().addErrback(lambda _: None)
            self.network.settle()
            wire.cut(lost=True)
            if result is None:
                self.raft_server.admission.callback(None)
            else:
                self.raft_server.admission.errback(result)
            assert wire.server.producer is None
        self.network.settle()
        assert self.logged() == []

    def test_server_is_stopping(self) -> None:
        """
        A Hello to a server that is stopping just ends, without a line.
        """
        self.raft_server.admission = fail(Stopped("this server is not running"))
        caller = Caller()
        self.connect(caller)
        answer = caller.hello()
        self.network.settle()
        self.failureResultOf(answer)
        assert caller.lost
        assert self.logged() == []


class RequestTests(InboundTestCase):
    """
    Requests and their answers.
    """

    def test_request_vote(self) -> None:
        """
        A RequestVote reaches the server as it was sent, and so does the answer.
        """
        answer = self.ask(self.welcome(), vote(term=9))
        assert self.raft_server.requests == [vote(term=9)]
        assert self.successResultOf(answer) == {"term": 9, "vote_granted": True}

    def test_append_entries(self) -> None:
        """
        An AppendEntries reaches the server as it was sent, and so does the answer.
        """
        request = append(b"a", b"b")
        answer = self.ask(self.welcome(), request)
        assert self.raft_server.requests == [request]
        assert self.successResultOf(answer) == {
            "term": 3,
            "success": True,
            "conflict_term": 2,
            "conflict_index": 7,
        }

    def test_large_requests(self) -> None:
        """
        Values of 1 MiB and batches of 8 MiB pass a limit of AMP that is 65,535 bytes.
        """
        caller = self.welcome()
        for request in (append(b"x" * (1 << 20)), append(*[b"y" * (1 << 20)] * 8)):
            self.successResultOf(self.ask(caller, request))
            assert self.raft_server.requests.pop() == request

    def test_pieces(self) -> None:
        """
        However the bytes are cut on their way, requests and answers are the same.
        """
        for seed in range(20):
            self.network.rng = Random(seed)
            caller = self.welcome()
            requests = [vote(), append(b"z" * 70_000, b""), append(), append(b"x")]
            answers = [self.ask(caller, request) for request in requests]
            for answer in answers:
                self.successResultOf(answer)
            assert self.raft_server.requests == requests
            self.raft_server.requests.clear()

    def test_out_of_order(self) -> None:
        """
        Answers find their questions when they come back in another order.
        """
        self.raft_server.hold = True
        caller = self.welcome()
        answers = [self.ask(caller, vote(term=term)) for term in (1, 2, 3)]
        for number in (2, 0, 1):
            result = RequestVoteResponse(number + 10, vote_granted=False)
            self.raft_server.held[number].callback(result)
            self.network.settle()
        terms = [self.successResultOf(answer)["term"] for answer in answers]
        assert terms == [10, 11, 12]

    def test_answer_after_the_connection(self) -> None:
        """
        What is answered when the connection is gone is dropped without a trace.
        """
        self.raft_server.hold = True
        caller = self.welcome()
        asked = [self.ask(caller, vote()) for _ in range(3)]
        caller.transport.loseConnection()
        self.network.settle()
        for answer in asked:
            self.failureResultOf(answer)
        good, violated, stopped = self.raft_server.held
        good.callback(RequestVoteResponse(3, True))
        violated.errback(ProtocolViolation("late"))
        stopped.errback(Stopped("late"))
        self.network.settle()
        assert self.logged() == []

    def test_server_stops(self) -> None:
        """
        Requests to a server that is stopping end with the connection, without a line.
        """
        caller = self.welcome()
        self.raft_server.respond = lambda _: fail(Stopped("this server is stopping"))
        self.failureResultOf(self.ask(caller, vote()))
        assert caller.lost
        assert self.logged() == []

    def test_our_own_bug(self) -> None:
        """
        An error that is not the peer's is logged with its traceback.

        The connection ends, and nothing else does.
        """
        caller = self.welcome()
        self.raft_server.respond = lambda _: fail(ZeroDivisionError("oops"))
        self.failureResultOf(self.ask(caller, vote()))
        assert caller.lost
        [line] = self.logged(LogLevel.warn, LogLevel.critical)
        assert line == "a request from 192.0.2.7 port 50000 failed"
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        self.events.clear()
        self.raft_server.respond = None
        self.successResultOf(self.ask(self.welcome(), vote()))

    def test_answer_that_cannot_be_written(self) -> None:
        """
        The same goes for an answer of ours that has no form on the wire.
        """
        caller = self.welcome()
        self.raft_server.respond = lambda _: succeed(RequestVoteResponse(-1, True))
        self.failureResultOf(self.ask(caller, vote()))
        assert caller.lost
        assert len(self.flushLoggedErrors(amp.BadLocalReturn)) == 1
        self.events.clear()

    def test_install_snapshot(self) -> None:
        """
        A piece of 8 MiB reaches the server as it was sent, and so does the answer.
        """
        request = install(b"x" * (8 << 20))
        answer = self.ask(self.welcome(), request)
        assert self.raft_server.requests == [request]
        assert self.successResultOf(answer) == {"term": 3, "next_offset": 8 << 20}

    def test_timeout_now(self) -> None:
        """
        A TimeoutNow reaches the server, and so does the answer.
        """
        answer = self.ask(self.welcome(), LATE)
        assert self.raft_server.requests == [LATE]
        assert self.successResultOf(answer) == {"term": 3}

    def test_client_requests(self) -> None:
        """
        What a peer asks for its clients is served, while RPCs of Raft are answered.
        """
        caller = self.welcome()
        answers = []
        for request in CLIENT_REQUESTS:
            command, arguments = asked_for(request)
            answers.append(caller.callRemote(command, **arguments))
            self.successResultOf(self.ask(caller, vote()))
        assert tuple(self.raft_server.asked) == CLIENT_REQUESTS
        for serving, outcome in zip(
            self.raft_server.serving, (Applied(8, "x"), 7, 9, 10, 4, 5), strict=True
        ):
            serving.callback(outcome)
        self.network.settle()
        assert [self.successResultOf(answer) for answer in answers] == [
            {"index": 8, "result": b"\x01s\0\0\0\x01x"},
            {"index": 7},
            {"index": 9},
            {"index": 10},
            {"term": 4},
            {"term": 5},
        ]

    def test_declined_when_the_connection_is_gone(self) -> None:
        """
        A leader that declines when nobody listens any more leaves no trace.
        """
        caller = self.welcome()
        command, arguments = asked_for(CLIENT_REQUESTS[0])
        asked = [caller.callRemote(command, **arguments) for _ in range(3)]
        self.network.settle()
        caller.transport.loseConnection()
        self.network.settle()
        for answer in asked:
            self.failureResultOf(answer)
        done, lost, stopped = self.raft_server.serving
        done.callback(Applied(1, None))
        lost.errback(LeadershipLost("late"))
        stopped.errback(Stopped("late"))
        self.network.settle()
        assert self.logged() == []


class BadInputTests(InboundTestCase):
    """
    Whatever a connection brings, it ends with one line, and others go on.
    """

    def test_message_before_hello(self) -> None:
        """
        A request before Hello is not looked at.
        """
        caller = Caller()
        self.connect(caller)
        self.failureResultOf(self.ask(caller, vote()))
        self.assert_dropped(caller, "Hello was not accepted")
        assert len(self.raft_server.requests) == 1, "only the other connection's"

    def test_message_before_admission(self) -> None:
        """
        A request while the Hello waits is not looked at either.
        """
        self.raft_server.admission = Deferred()
        caller = Caller()
        self.connect(caller)
        hello = caller.hello()
        self.failureResultOf(self.ask(caller, vote()))
        self.failureResultOf(hello)
        self.raft_server.admission = None
        self.assert_dropped(caller, "Hello was not accepted")

    def test_second_hello(self) -> None:
        """
        A peer introduces itself once.
        """
        caller = self.welcome()
        answer = caller.hello(sender="n3")
        self.network.settle()
        self.failureResultOf(answer)
        self.assert_dropped(caller, "said Hello twice")

    def test_clients_before_hello(self) -> None:
        """
        Nor does a stranger get anything done for clients.
        """
        for request in CLIENT_REQUESTS:
            caller = Caller()
            self.connect(caller)
            command, arguments = asked_for(request)
            answer = caller.callRemote(command, **arguments)
            self.network.settle()
            self.failureResultOf(answer)
            self.assert_dropped(caller, "Hello was not accepted")
        assert self.raft_server.asked == []

    def test_sender_mismatch(self) -> None:
        """
        Nobody asks for a vote, or leads, in another server's name.
        """
        for request in (
            vote(candidate_id="n3"),
            append(leader_id="n3"),
            install(leader_id="n3"),
            TimeoutNow(3, "n3"),
        ):
            caller = self.welcome()
            self.failureResultOf(self.ask(caller, request))
            self.assert_dropped(caller, "n1 said Hello, and this is from n3")

    def test_protocol_violation(self) -> None:
        """
        A request that breaks Raft's rules ends the connection, at once or later.
        """

        def raises(_: Any) -> Any:
            raise ProtocolViolation("two leaders in term 3")

        def fails(_: Any) -> Any:
            return fail(ProtocolViolation("two leaders in term 3"))

        for respond in (raises, fails):
            caller = self.welcome()
            self.raft_server.respond = respond
            self.failureResultOf(self.ask(caller, vote()))
            self.raft_server.respond = None
            self.assert_dropped(caller, "two leaders in term 3")

    def test_malformed_entries(self) -> None:
        """
        Entries that cannot be unpacked never reach the server.
        """
        good = pack_entries(append(b"x", b"y").entries)
        for packed in (b"", b"\xff", good[:-1], good + b"\x00", b"\x09" + good[1:]):
            caller = self.welcome()
            self.failureResultOf(self.ask(caller, append(), entries=packed))
            assert self.raft_server.requests == []
            self.assert_dropped(caller, "broke the rules")
            self.raft_server.requests.clear()

    def test_unknown_command(self) -> None:
        """
        A command that we do not have ends the connection, before Hello and after.
        """

        class Unknown(amp.Command):
            commandName = b"x" * 60_000

        for caller in (Caller(), self.welcome()):
            if caller.transport is None:
                self.connect(caller)
            answer = caller.callRemote(Unknown)
            self.network.settle()
            self.failureResultOf(answer)
            self.assert_dropped(caller, "unknown command")

    def test_commands_of_amp(self) -> None:
        """
        AMP's own commands, which can upgrade or switch a connection, are unknown here.
        """
        raw = Raw()
        self.connect(raw)
        box = amp.AmpBox({amp.COMMAND: b"StartTLS", amp.ASK: b"1"})
        raw.transport.write(box.serialize())
        self.assert_dropped(raw, "unknown command: b'StartTLS'")

    def test_wrong_arguments(self) -> None:
        """
        Missing and malformed arguments end the connection.
        """
        arguments = RequestVote.makeArguments(arguments_of(vote())[1], None)
        for changed in (
            {b"term": None},
            {b"term": b"-1"},
            {b"term": b"9" * 65535},
            {b"term": b"x" * 65535},
            {b"candidate_id": b"\xff" * 60_000},
            {b"candidate_id": b"n1\n[critical] all is lost"},
            {b"pre_vote": b"maybe"},
        ):
            caller = self.welcome()
            box = amp.AmpBox(arguments)
            box.update({amp.COMMAND: b"RequestVote", amp.ASK: b"1"})
            for key, value in changed.items():
                if value is None:
                    del box[key]
                else:
                    box[key] = value
            caller.transport.write(box.serialize())
            self.assert_dropped(caller, "sent RequestVote with wrong arguments")

    def test_hostile_arguments(self) -> None:
        """
        The same goes for all Commands: wrong sizes, numbers, choices, keys.

        What is wrong is told in one line, and nothing of it reaches the server.
        """
        number: tuple[bytes, ...] = (b"", b"-1", b"9" * 19 + b"9", b"\xff" * 60_000)
        text = (b"", b"\xff", b"a\nb", b"x" * 60_000)
        wrong: dict[bytes, tuple[bytes, ...]] = {
            b"digest": (b"", bytes(31), bytes(33), bytes(65_535)),
            b"configuration": (b"", b"{}", b"[" * 60_000, b'{"servers":[{}]}'),
            b"configuration.1": (b"x",),
            b"data.1": (b"x",),
            b"data.7": (b"x",),
            b"done": (b"", b"2", b"True"),
            b"last_included_index": (*number, b"0"),
            b"last_included_term": (*number, b"0"),
            b"size": (*number, b"0"),
            b"offset": number,
            b"term": number,
            b"leader_id": text,
            b"leadership_transfer": (b"", b"yes"),
            b"command.1": (b"x",),
            b"assurance": (b"", b"NONE", b"x" * 65_535),
            b"suffrage": (b"", b"king", b"x" * 65_535),
            b"id": (*text, b"..", b"a/b"),
            b"raft": (*text, b"a", b"a:0", b"a:1 b:2"),
            b"http": (b"\xff", b"a:99999", b"x" * 60_000),
            b"server_id": text,
        }
        tried = 0
        for command, arguments in (
            *[arguments_of(request) for request in (vote(), install(), LATE)],
            *[asked_for(request) for request in CLIENT_REQUESTS],
        ):
            good = command.makeArguments(dict(arguments), None)
            good.update({amp.COMMAND: command.commandName, amp.ASK: b"1"})
            changes: list[dict[bytes, bytes | None]] = [
                {key: value}
                for key, values in wrong.items()
                if key.partition(b".")[0] in good
                for value in values
            ]
            # Only whom to hand over to may be left out: then the leader chooses.
            optional = {key for key, kind in command.arguments if kind.optional}
            changes += [
                {key: None}
                for key in good
                if not key.startswith(b"_") and key not in optional
            ]
            for change in changes:
                box = amp.AmpBox(
                    {k: v for k, v in (good | change).items() if v is not None}
                )
                caller = self.welcome()
                caller.transport.write(box.serialize())
                self.network.settle()
                assert self.raft_server.requests == [], change
                self.assert_dropped(
                    caller, " with wrong arguments: ", "broke the rules"
                )
                self.raft_server.requests.clear()
                tried += 1
        assert self.raft_server.asked == []
        assert tried > 100

    def test_endless_data(self) -> None:
        """
        The data of a piece, in parts without end, is refused at the size of a box.
        """
        command, arguments = arguments_of(install(bytes(MAX_PACKED)))
        box = command.makeArguments(arguments, None)
        box.update({amp.COMMAND: command.commandName, amp.ASK: b"1"})
        for number in range(500, 530):
            box[b"data.%d" % number] = bytes(65_535)
        caller = self.welcome()
        caller.transport.write(box.serialize())
        self.assert_dropped(caller, f"more than {MAX_BOX} bytes")

    def test_boxes_that_ask_nothing(self) -> None:
        """
        A box that asks nothing ends the connection.

        Answers and errors to what was never asked, commands that want no answer.
        """
        command = {amp.COMMAND: b"RequestVote"}
        for keys in (
            {},
            {b"x": b"y"},
            {amp.ANSWER: b"1"},
            {amp.ERROR: b"1"},
            {amp.ERROR: b"1", amp.ERROR_CODE: b"x", amp.ERROR_DESCRIPTION: b"y"},
            command,
            {amp.ASK: b"1"},
            command | {amp.ASK: b"1", amp.ANSWER: b"1"},
            command | {amp.ASK: b"1", amp.ERROR: b"1"},
        ):
            for greet in (True, False):
                caller: Any = self.welcome() if greet else Raw()
                if not greet:
                    self.connect(caller)
                caller.transport.write(amp.AmpBox(keys).serialize())
                self.assert_dropped(caller, "asks nothing")

    def test_other_protocols(self) -> None:
        """
        What speaks another language is cut off in its first line.
        """
        for data in (
            b"GET /status HTTP/1.1\r\nHost: localhost:12000\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\xff" * 1000,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            raw = Raw()
            self.connect(raw)
            raw.transport.write(data)
            self.network.settle()
            assert raw.received == b""
            self.assert_dropped(raw, "no AMP")

    def test_half_a_frame(self) -> None:
        """
        A connection may break anywhere in a Hello or a request; nothing comes of it.
        """
        command, arguments = arguments_of(append(b"x" * 70_000))
        box = command.makeArguments(arguments, None)
        box.update({amp.COMMAND: b"AppendEntries", amp.ASK: b"1"})
        data = box.serialize()
        for size in [*range(1, 400, 7), 65_700, len(data) - 1]:
            caller = self.welcome()
            caller.transport.write(data[:size])
            caller.transport.loseConnection()
            self.network.settle()
            assert caller.lost
        assert self.raft_server.requests == []
        assert self.logged() == []
        assert self.network.open_wires == []

    def test_noise(self) -> None:
        """
        Random bytes, and correct ones with a few changed, do no harm.
        """
        rng = Random(7)
        hello = Hello.makeArguments(
            {
                "version": 1,
                "oldest": 1,
                "cluster": "cluster-1",
                "sender": "n1",
                "receiver": "n2",
            },
            None,
        )
        hello.update({amp.COMMAND: b"Hello", amp.ASK: b"1"})
        request = AppendEntries.makeArguments(arguments_of(append(b"x"))[1], None)
        request.update({amp.COMMAND: b"AppendEntries", amp.ASK: b"2"})
        good = hello.serialize() + request.serialize()
        lost = 0
        for round_ in range(600):
            data = bytearray(good)
            if round_ % 3 == 0:
                data = bytearray(rng.randbytes(rng.randrange(1, 300)))
            elif round_ % 3 == 1:
                for _ in range(rng.randrange(1, 4)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            else:
                start = rng.randrange(len(data))
                del data[start : start + rng.randrange(1, 20)]
            raw = Raw()
            self.connect(raw)
            raw.transport.write(bytes(data))
            self.network.settle()
            lost += raw.lost
            raw.transport.loseConnection()
            self.network.settle()
            warned = self.logged(LogLevel.warn, LogLevel.error, LogLevel.critical)
            assert len(warned) <= 1, warned
        assert 200 < lost < 600
        assert self.network.open_wires == []
        self.successResultOf(self.ask(self.welcome(), vote()))


class BoundsTests(InboundTestCase):
    """
    What a peer can make us keep has a limit.
    """

    @staticmethod
    def pair(key: bytes, value: bytes) -> bytes:
        """
        Return a key and a value as they are sent.
        """
        return b"".join((struct.pack("!H", len(part)) + part) for part in (key, value))

    def feed(self, caller: Any, pairs: Any) -> int:
        """
        Send pairs until the connection is closed; return the number of bytes.
        """
        sent = 0
        for data in pairs:
            if caller.lost:
                break
            caller.transport.write(data)
            sent += len(data)
            self.network.settle()
        return sent

    def test_endless_keys_before_hello(self) -> None:
        """
        A stranger's box may have 64 KiB, whatever they consist of.
        """
        for value in (b"x" * 1000, b""):
            raw = Raw()
            self.connect(raw)
            sent = self.feed(
                raw, (self.pair(b"key%d" % n, value) for n in range(100_000))
            )
            assert sent <= MAX_FIRST_BOX + 2000
            self.assert_dropped(raw, f"more than {MAX_FIRST_BOX} bytes")

    def test_large_value_before_hello(self) -> None:
        """
        A stranger's value that will not fit is refused before it is sent.
        """
        raw = Raw()
        self.connect(raw)
        raw.transport.write(b"\x00\x03key\xff\xff")
        self.assert_dropped(raw, f"more than {MAX_FIRST_BOX} bytes")

    def test_same_key_again_and_again(self) -> None:
        """
        A key that is repeated counts each time.
        """
        raw = Raw()
        self.connect(raw)
        self.feed(raw, (self.pair(b"key", b"x" * 1000) for _ in range(1000)))
        self.assert_dropped(raw, f"more than {MAX_FIRST_BOX} bytes")

    def test_endless_keys_after_hello(self) -> None:
        """
        A peer's box may have 32 MiB.
        """
        caller = self.welcome()
        value = b"x" * 65_535
        sent = self.feed(caller, (self.pair(b"k%d" % n, value) for n in range(1000)))
        assert MAX_BOX - 300_000 < sent < MAX_BOX + 70_000
        self.assert_dropped(caller, f"more than {MAX_BOX} bytes")

    def test_empty_values_after_hello(self) -> None:
        """
        Empty values count for what they cost: no box is a million of them.
        """
        caller = self.welcome()
        many = b"".join(self.pair(b"k%d" % n, b"") for n in range(150_000))
        caller.transport.write(many)
        self.assert_dropped(caller, f"more than {MAX_BOX} bytes")

    def test_next_box_starts_at_nothing(self) -> None:
        """
        The limit is a box's, not a connection's.
        """
        caller = self.welcome()
        request = append(*[b"x" * (1 << 20)] * 20)
        for _ in range(2):
            self.successResultOf(self.ask(caller, request))
        assert self.logged() == []

    def greeted(self) -> tuple[Any, StringTransport]:
        """
        Return a connection whose transport shows when it stops reading.
        """
        caller = self.welcome()
        protocol = self.network.wires[-1].server.protocol
        transport = StringTransport(lenient=True)
        protocol.transport = transport
        assert caller is not None
        return protocol, transport

    @staticmethod
    def asking(request: Any, tag: int) -> bytes:
        """
        Return a request as it is sent.
        """
        command, arguments = arguments_of(request)
        box = command.makeArguments(arguments, None)
        box.update({amp.COMMAND: command.commandName, amp.ASK: b"%d" % tag})
        return box.serialize()

    def test_unanswered_requests(self) -> None:
        """
        With 32 MiB of requests unanswered no more is read, until one is answered.
        """
        self.raft_server.hold = True
        protocol, transport = self.greeted()
        data = self.asking(append(b"x" * (10 << 20)), 1)
        for expected in ("producing", "producing", "producing", "paused"):
            protocol.dataReceived(data)
            assert transport.producerState == expected
        assert len(self.raft_server.held) == 4
        protocol.dataReceived(data)
        assert len(self.raft_server.held) == 4, "left in the buffer"
        self.raft_server.held[0].callback(answer_to(append()))
        assert len(self.raft_server.held) == 5
        assert transport.producerState == "paused"
        for held in self.raft_server.held[1:]:
            held.callback(answer_to(append()))
        assert transport.producerState == "producing"

    def test_answered_at_once(self) -> None:
        """
        Requests that are answered at once never stop the reading.
        """
        protocol, transport = self.greeted()
        for _ in range(10):
            protocol.dataReceived(self.asking(append(b"x" * (10 << 20)), 1))
        assert transport.producerState == "producing"
        assert len(self.raft_server.requests) == 10

    def test_slow_reader(self) -> None:
        """
        While a peer does not read our answers, nothing more is read from it.

        What it has sent until then is answered afterwards.
        """
        protocol, transport = self.greeted()
        assert self.network.wires[-1].server.producer is protocol
        write = transport.write

        def full(data: bytes) -> None:
            write(data)
            protocol.pauseProducing()

        transport.write = full  # type: ignore[method-assign]
        protocol.dataReceived(b"".join(self.asking(vote(), n) for n in range(1, 4)))
        assert transport.producerState == "paused"
        assert len(self.raft_server.requests) == 1
        transport.write = write  # type: ignore[method-assign]
        protocol.resumeProducing()
        assert len(self.raft_server.requests) == 3
        assert transport.producerState == "producing"

    def test_lost_while_paused(self) -> None:
        """
        What is still in the buffer when the connection is lost is not answered.
        """
        self.raft_server.hold = True
        protocol, _ = self.greeted()
        data = self.asking(append(b"x" * (10 << 20)), 1)
        for _ in range(5):
            protocol.dataReceived(data)
        self.network.wires[-1].cut(lost=True)
        for held in self.raft_server.held:
            held.callback(answer_to(append()))
        assert len(self.raft_server.requests) == 4
        assert self.logged() == []

    def test_many_small_questions(self) -> None:
        """
        Questions that wait count for what it costs to wait, not for their bytes alone.
        """
        protocol, transport = self.greeted()
        asked = 0
        while transport.producerState == "producing":
            assert asked < 10_000
            command, arguments = asked_for(ReadIndex(Assurance.MAJORITY))
            box = command.makeArguments(arguments, None)
            box.update({amp.COMMAND: command.commandName, amp.ASK: b"%d" % asked})
            protocol.dataReceived(box.serialize())
            asked += 1
        assert asked > 5 * MAX_ASKED
        self.raft_server.serving[0].callback(1)
        assert transport.producerState == "producing"
        for serving in self.raft_server.serving[1:]:
            serving.errback(Overloaded("enough"))
        assert transport.producerState == "producing"

    def test_lines_in_the_log(self) -> None:
        """
        Garbage without end does not fill the log: a few lines, then one a minute.
        """
        minutes = 3
        for _ in range(minutes):
            for _ in range(100):
                raw = Raw()
                self.connect(raw)
                raw.transport.write(b"GET / HTTP/1.1\r\n\r\n")
                self.network.settle()
                assert raw.lost
            self.network.advance(60, step=1)
        lines = self.logged(LogLevel.warn, LogLevel.error, LogLevel.critical)
        assert len(lines) == 5 + minutes - 1
        assert lines[0].endswith("that sent bytes that are no AMP")
        assert lines[-1].endswith("no AMP (99 more like it were not logged)")

    def test_words_of_strangers(self) -> None:
        """
        Nor do ever new words, commands or names in it.
        """

        def unknown(number: int) -> Any:
            command = amp.AmpBox({amp.COMMAND: b"C%d" % number, amp.ASK: b"1"})
            raw = Raw()
            self.connect(raw)
            raw.transport.write(command.serialize())
            return raw

        def refused(number: int) -> Any:
            caller = Caller()
            self.connect(caller)
            caller.hello(sender=f"n{number}", cluster=f"c{number}").addErrback(str)
            return caller

        for act, most in ((unknown, 5), (refused, 20)):
            for number in range(300):
                caller = act(number)
                self.network.settle()
                assert caller.lost
            assert len(self.logged(LogLevel.warn)) == most

    def test_peers_have_lines_of_their_own(self) -> None:
        """
        What strangers do does not hide what a peer does, though it is on their host.
        """
        for _ in range(10):
            caller = Caller()
            self.connect(caller)
            self.ask(caller, vote()).addErrback(str)
        assert len(self.logged()) == 5
        caller = self.welcome()
        self.ask(caller, vote(candidate_id="n3")).addErrback(str)
        assert len(self.logged()) == 1


class DisconnectTests(InboundTestCase):
    """
    The end of all connections, when the service stops.
    """

    def test_nothing_to_close(self) -> None:
        """
        Without connections it is done at once.
        """
        self.successResultOf(self.factory.disconnect())

    def test_all_are_closed(self) -> None:
        """
        Every connection is closed, whatever it is about, and no timer is left.
        """
        self.raft_server.hold = True
        asked = self.ask(self.welcome(), vote())
        callers = [self.welcome(), Caller(), Raw()]
        self.connect(callers[1])
        self.connect(callers[2])
        callers[2].transport.write(b"\x00\x04_as")
        self.network.settle()
        disconnected = self.factory.disconnect()
        again = self.factory.disconnect()
        self.assertNoResult(disconnected)
        self.network.settle()
        self.successResultOf(disconnected)
        self.successResultOf(again)
        assert all(caller.lost for caller in callers)
        self.failureResultOf(asked)
        assert self.network.reactor.getDelayedCalls() == []
        assert self.logged() == []

    def test_given_answers_leave(self) -> None:
        """
        An answer that was given before is still delivered.
        """
        caller = self.welcome()
        self.raft_server.hold = True
        answer = self.ask(caller, vote())
        self.raft_server.held[0].callback(RequestVoteResponse(3, True))
        self.factory.disconnect()
        self.network.settle()
        assert self.successResultOf(answer)["term"] == 3

    def test_peer_that_does_not_read(self) -> None:
        """
        A peer that does not take its answers is cut off after half a second.
        """
        transport = StringTransport()
        protocol = self.factory.buildProtocol(HERE)
        protocol.makeConnection(transport)
        self.factory.disconnect()
        assert not transport.disconnected
        self.network.advance(0.6)
        assert transport.disconnected

    def test_no_new_connections(self) -> None:
        """
        What is accepted too late is closed, until the factory is used again.
        """
        self.factory.disconnect()
        assert self.factory.buildProtocol(HERE) is None
        self.factory.doStart()
        self.welcome()

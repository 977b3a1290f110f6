"""
What the client makes of nodes that are down, do not lead, or do not answer.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from hraftd.client import (
    Closed,
    Deleted,
    Found,
    NotMet,
    Refused,
    Unavailable,
    Unknown,
)
from hraftd.client.asking import Ask, Kind
from hraftd.client.connections import Connections
from tests.client import (
    LOST,
    SILENT,
    UNSURE,
    A,
    B,
    C,
    Said,
    World,
    busy,
    done,
    found,
    led_by,
)


def test_a_node_that_is_down_is_passed_over() -> None:
    """
    Connection refused: the next one is asked, and it is first the next time.
    """
    world = World(A, B)
    del world.network.sites[A]
    world[B].otherwise = done(7)
    assert world.result_of(world.client.set("k", "v"), 0.1) == 7
    assert world.result_of(world.client.set("k", "v"), 0.1) == 7
    assert [asked.address for asked in world.asked] == [B, B]


@pytest.mark.parametrize("status", [421, 307])
def test_the_leader_is_followed(status: int) -> None:
    """
    Who is said to lead is asked at once, also if nobody has given its address, and
    from then on first.
    """
    world = World(A)
    world.network.sites[C] = world[C]
    world[A].otherwise = Said(status, led_by(C).content)
    world[C].otherwise = done(3)
    assert world.result_of(world.client.set("k", "v"), 0.1) == 3
    assert world.result_of(world.client.set("k", "v"), 0.1) == 3
    assert [asked.address for asked in world.asked] == [A, C, C]


def test_a_dead_leader_is_waited_out() -> None:
    """
    As long as followers name a leader that is dead, rounds are made with pauses; who
    is named then is found.
    """
    world = World(A, B)
    world[A].otherwise = world[B].otherwise = led_by(C)
    writing = world.client.set("k", "v")
    world.pass_time(2.0)
    assert not writing.called
    # Not a flood: each round asks two nodes, and once more to forward.
    assert 6 < len(world.asked) < 80
    world[A].otherwise = led_by(B)
    world[B].otherwise = done(9)
    assert world.result_of(writing, 2.0) == 9


def test_a_leader_out_of_reach_is_asked_by_another_node() -> None:
    """
    Where the leader's own address leads nowhere from here, as behind a port mapping,
    the node that names it is asked to forward.
    """
    world = World(A)
    world[A].otherwise = lambda asked: (
        done(5) if "forward=true" in asked.target else led_by("inside:11000")
    )
    assert world.result_of(world.client.set("k", "v", ttl=2), 0.2) == 5
    last = world.asked[-1]
    assert last.target == "/key/k?ttl=2&forward=true"
    assert len({asked.token for asked in world.asked}) == 1
    # What is known to be out of reach is asked first no more.
    assert world.client._endpoints.leader is None


def test_retry_after_is_heeded() -> None:
    """
    A cluster without a leader is left alone for as long as it asks for.
    """
    world = World(A)
    world[A].script.extend([busy(3), done(1)])
    writing = world.client.set("k", "v")
    world.pass_time(2.9)
    assert len(world.asked) == 1
    assert world.result_of(writing, 0.3) == 1


def test_another_node_may_know_a_leader() -> None:
    """
    One node without a leader is no reason to wait: the others are asked first.
    """
    world = World(A, B)
    world[A].otherwise = busy(5)
    world[B].otherwise = done(2)
    assert world.result_of(world.client.set("k", "v"), 0.1) == 2


def test_unavailable_says_why_and_when() -> None:
    """
    What certainly was not done has failed, in time, with the reason of each node.
    """
    world = World(A, B, timeout=4.0)
    del world.network.sites[A]
    world[B].otherwise = busy(2)
    with pytest.raises(Unavailable) as raised:
        world.result_of(world.client.set("k", "v"), 4.1)
    assert "localhost:11000: connection refused" in str(raised.value)
    assert "localhost:11001: there is no leader" in str(raised.value)
    assert raised.value.retry_after == 2


@pytest.mark.parametrize("lost", [LOST, UNSURE, Said(500, {"error": "a fault"})])
def test_a_write_in_doubt_is_repeated_under_its_token(lost: object) -> None:
    """
    An answer that is lost, or says that nobody knows, is asked for again with the same
    Idempotency-Key, here at another node.
    """
    world = World(A, B)
    world[A].script.append(lost)
    world[A].otherwise = led_by(B)
    world[B].otherwise = done(4)
    assert world.result_of(world.client.set("k", "v"), 1.0) == 4
    first, second = world.asked
    assert first.token == second.token is not None
    assert (first.body, second.body) == (b"v", b"v")


def test_each_write_has_a_token_of_its_own() -> None:
    """
    The same write twice is two writes.
    """
    world = World(A)
    world[A].otherwise = done(1)
    for _ in range(2):
        world.result_of(world.client.set("k", "v"))
    first, second = world.asked
    assert first.token != second.token


@pytest.mark.parametrize("end", ["silent", "refused", "busy"])
def test_a_write_in_doubt_never_fails(end: str) -> None:
    """
    Once it may have been done, nothing that comes later makes a failure of it (openraft
    2096: "not leader" taken for "did not happen").
    """
    world = World(A, timeout=3.0)
    world[A].script.append(LOST)
    world[A].otherwise = {"silent": SILENT, "busy": busy(1)}.get(end)
    writing = world.client.set("k", "v")
    world.pass_time()
    if end == "refused":
        del world.network.sites[A]
    with pytest.raises(Unknown):
        world.result_of(writing, 3.1)


def test_what_was_never_sent_has_failed() -> None:
    """
    Nobody there at all: that is no doubt.
    """
    world = World(A, B, timeout=2.0)
    world.network.sites.clear()
    with pytest.raises(Unavailable):
        world.result_of(world.client.set("k", "v"), 2.1)


def test_a_refusal_behind_a_doubt_is_unknown() -> None:
    """
    One node's rules say nothing of what another one has done; a precondition that does
    not hold does, since the token's first answer is everybody's.
    """
    world = World(A)
    world[A].script.extend([LOST, Said(413, {"error": "too large"})])
    with pytest.raises(Unknown):
        world.result_of(world.client.set("k", "v"))
    not_met = Said(412, {"error": "not met", "value": "w", "index": 8})
    world[A].script.extend([LOST, not_met])
    with pytest.raises(NotMet) as raised:
        world.result_of(world.client.set("k", "v", if_absent=True))
    assert raised.value.found == Found("w", 8)


@pytest.mark.parametrize("status", [400, 409, 413])
def test_a_refusal_is_final(status: int) -> None:
    """
    What the cluster has understood and does not do is not asked again.
    """
    world = World(A, B)
    world[A].otherwise = Said(status, {"error": "no"})
    with pytest.raises(Refused, match=r"^no$") as raised:
        world.result_of(world.client.set("k", "v"), 0.1)
    assert raised.value.status == status
    assert len(world.asked) == 1


def test_a_doubtful_write_is_not_repeated_for_ever() -> None:
    """
    The cluster forgets tokens in the end, so the doubt stays, however much time the
    program gives.
    """
    world = World(A, timeout=300.0)
    world[A].otherwise = LOST
    began = world.clock.seconds()
    with pytest.raises(Unknown, match="not repeated any more"):
        world.result_of(world.client.set("k", "v"), 20.0)
    assert 10 < world.clock.seconds() - began < 12


def test_a_change_of_the_cluster_is_not_repeated() -> None:
    """
    It has no token: where the answer is lost it is unknown. Where it was not sent, it
    goes on.
    """
    world = World(A, B)
    world[A].script.extend([led_by(C), LOST])
    world[B].otherwise = done(12)
    assert world.result_of(world.client.remove("node3"), 1.0) == 12
    assert len(world[B].asked) == 1
    world[B].otherwise = LOST
    with pytest.raises(Unknown):
        world.result_of(world.client.transfer(), 0.1)
    assert len(world[B].asked) == 2


def test_after_a_transfer_the_new_leader_is_known() -> None:
    """
    Not the one that has answered, which leads no more.
    """
    world = World(A, B)
    leader = {"id": "x", "http": B, "raft": "localhost:12001"}
    world[A].otherwise = Said(200, {"leader": leader, "term": 3})
    world[B].otherwise = done(1)
    assert world.result_of(world.client.transfer()).http == B
    assert world.result_of(world.client.set("k", "v"), 0.1) == 1
    assert [asked.address for asked in world.asked] == [A, B]


def test_a_silent_node_does_not_get_all_of_the_time() -> None:
    """
    A node that stands still takes requests and never answers: half of the time that is
    left, then another one is asked, and first from then on.
    """
    world = World(A, B, timeout=8.0)
    world[B].otherwise = found("k", "v", 3)
    assert world.result_of(world.client.get("k"), 4.1) == Found("v", 3)
    assert not world[A].open
    assert world.result_of(world.client.get("k"), 0.1) == Found("v", 3)


@pytest.mark.parametrize(
    "answer",
    [
        Said(200, b"<html>"),
        Said(200, {"k": 1}, {"ETag": '"1"'}),
        Said(200, {"k": "v"}),
        Said(404, b"<html>"),
        Said(200, b"[" * 100_000),
        Said(302, b"elsewhere"),
    ],
)
def test_what_is_no_hraftd_is_not_believed(answer: Said) -> None:
    """
    A read of something that is no answer is unavailable, not absent, and no traceback.
    """
    world = World(A, timeout=1.0)
    world[A].otherwise = answer
    with pytest.raises(Unavailable):
        world.result_of(world.client.get("k"), 1.1)


def test_a_write_that_something_else_has_answered_is_unknown() -> None:
    """
    A 200 without an index may have been anything.
    """
    world = World(A, timeout=1.0)
    world[A].otherwise = Said(200, {})
    with pytest.raises(Unknown):
        world.result_of(world.client.set("k", "v"), 1.1)


def test_absent_is_an_answer() -> None:
    """
    404 in hraftd's form is ``None``.
    """
    world = World(A)
    world[A].otherwise = Said(404, {"error": "there is no such key"})
    assert world.result_of(world.client.get("k"), 0.1) is None


def test_cancelling_closes_the_connection_and_ends_retries() -> None:
    """
    It is CancelledError, at once, and nothing more is asked of anybody.
    """
    world = World(A, B)
    writing = world.client.set("k", "v")
    world.pass_time(0.2)
    assert len(world[A].open) == 1
    writing.cancel()
    with pytest.raises(CancelledError):
        world.result_of(writing, 0.01)
    world.pass_time(20.0)
    assert not world[A].open
    assert len(world.asked) == 1


def test_cancelling_a_pause_ends_retries() -> None:
    """
    Also between two rounds.
    """
    world = World(A)
    world[A].otherwise = busy(5)
    reading = world.client.get("k")
    world.pass_time(1.0)
    reading.cancel()
    with pytest.raises(CancelledError):
        world.result_of(reading, 0.01)
    world.pass_time(20.0)
    assert len(world.asked) == 1
    # But for those that close idle connections.
    assert len(world.clock.getDelayedCalls()) <= 1


def test_closing_ends_everything() -> None:
    """
    What is under way is cancelled; what comes later fails at once.
    """
    world = World(A)
    writing = world.client.set("k", "v")
    world.pass_time(0.2)
    world.result_of(world.client.close())
    with pytest.raises(CancelledError):
        world.result_of(writing, 0.01)
    world.pass_time()
    assert not world[A].open
    with pytest.raises(Closed):
        world.result_of(world.client.get("k"), 0.01)


def test_connections_are_kept() -> None:
    """
    Requests to the same node share a connection, one after the other.
    """
    world = World(A)
    world[A].otherwise = done(1)
    for _ in range(5):
        world.result_of(world.client.set("k", "v"))
    assert len(world[A].connections) == 1


def test_nothing_is_repeated_behind_our_back() -> None:
    """
    Where a kept connection breaks, it is the client that decides who is asked next
    (jetcd 0.8.2: requests repeated by the layer below).
    """
    world = World(A, B)
    world[A].script.extend([found("k", "v", 1), LOST])
    world[A].otherwise = world[B].otherwise = found("k", "v", 2)
    world.result_of(world.client.get("k"))
    assert world.result_of(world.client.get("k"), 0.1) == Found("v", 2)
    assert [asked.address for asked in world.asked] == [A, A, B]


def test_an_ipv6_address_can_be_asked() -> None:
    """
    In brackets, with a key that has to be encoded, and with a host in another script.
    """
    for address, host in (
        ("[::1]:11000", "::1"),
        ("b\u00fccher.example:11000", "xn--bcher-kva.example"),
    ):
        world = World(A)
        world.network.sites[f"{host}:11000"] = world[A]
        world[A].otherwise = done(1)
        client = world.new_client((address,))
        assert world.result_of(client.set("a/ \N{SNOWMAN}", "v"), 0.1) == 1
        assert world.asked[0].target == "/key/a%2F%20%E2%98%83"


def test_where_reads_go() -> None:
    """
    Those that may be stale to the nearest, all others to the leader, once it is known.
    """
    world = World(A, B)
    world[A].script.append(led_by(B))
    world[A].otherwise = world[B].otherwise = lambda asked: (
        done(1) if asked.method == "PUT" else found("k", "v", 1)
    )
    world.result_of(world.client.set("k", "v"))
    world[A].asked.clear()
    world[B].asked.clear()
    world.client._endpoints.has_answered(A)
    for level in ("none", None, "linearizable"):
        world.result_of(world.client.get("k", level=level))
    assert [(asked.address, asked.target) for asked in world.asked] == [
        (A, "/key/k?level=none"),
        (B, "/key/k"),
        (B, "/key/k?level=linearizable"),
    ]


def test_one_node_can_be_asked() -> None:
    """
    With an endpoint, that node is asked and no other, once.
    """
    world = World(A, B)
    world[B].script.append(Said(200, {"role": "follower"}))
    status = world.client.status("localhost:11001")
    assert world.result_of(status, 0.1) == {"role": "follower"}
    world[B].script.append(busy())
    with pytest.raises(Unavailable):
        world.result_of(world.client.status(":11001"), 0.1)
    assert not world[A].asked


def test_conditions_and_lives_are_sent() -> None:
    """
    As the HTTP API writes them.
    """
    world = World(A)
    world[A].otherwise = done(1)
    world.result_of(world.client.set("a/b c", "", ttl=0.0015, if_index=7))
    world.result_of(world.client.set("k", "v", if_absent=True))
    world.result_of(world.client.set_all({"k": "\N{SNOWMAN}"}, ttl=60))
    world[A].otherwise = Said(200, {"index": 9, "deleted": True})
    answer = world.result_of(world.client.delete("k", if_index=3))
    assert answer == Deleted(9, True)
    first, second, third, fourth = world.asked
    assert (first.method, first.target) == ("PUT", "/key/a%2Fb%20c?ttl=0.002")
    assert first.headers["if-match"] == '"7"'
    assert second.headers["if-none-match"] == "*"
    assert third.target == "/key?ttl=60"
    assert third.body == '{"k": "\N{SNOWMAN}"}'.encode()
    assert (fourth.method, fourth.headers["if-match"]) == ("DELETE", '"3"')


def test_wrong_arguments_are_refused_at_once() -> None:
    """
    Nothing is asked for what can have no good answer.
    """
    world = World(A)
    client = world.client
    for wrong in (
        lambda: client.set("", "v"),
        lambda: client.set("k", "v", ttl=0),
        lambda: client.set("k", "v", ttl=float("nan")),
        lambda: client.set("k", "v", ttl=1e12),
        lambda: client.set("k", "v", if_index=0),
        lambda: client.set("k", "v", if_index=1, if_absent=True),
        lambda: client.set("k", "\ud800"),
        lambda: client.get("k", level="soon"),
        lambda: client.get("k", timeout=0),
        lambda: client.get("k", timeout=float("nan")),
        lambda: client.status("nowhere"),
        lambda: world.new_client(()),
        lambda: world.new_client(("https://localhost:1",)),
        lambda: world.new_client((A,), level="any"),
    ):
        with pytest.raises(ValueError, match=r"."):
            wrong()
    for wrong in (lambda: client.set("k", b"v"), lambda: client.set(7, "v")):
        with pytest.raises(TypeError):
            wrong()
    assert not world.asked


def test_the_last_moment_hides_no_reason() -> None:
    """
    An attempt that is cut short by the end of the time does not replace what the node
    had done when it had some.
    """
    world = World(A)
    world[A].script.append(busy())
    world[A].otherwise = SILENT
    with pytest.raises(Unavailable, match="there is no leader"):
        world.result_of(world.client.get("k", timeout=0.8))
    assert len(world.asked) == 2


def test_a_node_that_refuses_holds_nobody_up() -> None:
    """
    That a connection was refused is known after a tenth of a second.
    """
    reactor = MemoryReactorClock()
    asking = Connections(reactor).ask(
        "127.0.0.1:11000", Ask(Kind.LOCAL, "GET", "/key/k"), 5.0
    )
    reasons: list[str] = []
    asking.addErrback(lambda failure: reasons.append(failure.getErrorMessage()))
    reactor.advance(0.0)
    [(_, _, factory, _, _)] = reactor.tcpClients
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    reactor.advance(0.11)
    assert reasons == ["connection refused"]

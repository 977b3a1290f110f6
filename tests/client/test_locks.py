"""
Locks and elections, against a real node in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import Agent

from hraftd.client import (
    Client,
    Elected,
    Found,
    LockLost,
    NotAcquired,
    Unavailable,
)
from hraftd.client.connections import new_pool
from hraftd.expiry import Expiry
from tests.client import A, Said, World, done
from tests.web import OneNode

if TYPE_CHECKING:
    from hraftd.client import Lock


class Gate:
    """
    A site that can be cut off from its clients.
    """

    def __init__(self, site: Any) -> None:
        """
        Let everybody through.
        """
        self._site = site
        self._protocols: list[Any] = []

    def buildProtocol(self, address: object) -> Any:
        """
        Let a client connect.
        """
        self._protocols.append(self._site.buildProtocol(address))
        return self._protocols[-1]

    def cut(self) -> None:
        """
        End all connections.
        """
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.loseConnection()
        self._protocols.clear()


class RealWorld(World):
    """
    A client of a real cluster of one.
    """

    def __init__(self, **options: Any) -> None:
        """
        Let it lead.
        """
        super().__init__(A, **options)
        self.node = OneNode(self.clock)
        Expiry(self.node.server, self.node.store, self.clock).startService()
        self.gate = Gate(self.node.site)
        self.open_gate()
        self.other = self.new_client((A,), **options)

    def open_gate(self) -> None:
        """
        Let everybody reach the node.
        """
        self.network.sites[A] = self.gate

    def close_gate(self) -> None:
        """
        Let nobody reach the node.
        """
        del self.network.sites[A]
        self.gate.cut()
        self.pass_time()

    def get(self, key: str) -> Found | None:
        """
        Return what the node has.
        """
        return self.result_of(self.other.get(key))


def take(world: RealWorld, lock: Any) -> Lock:
    """
    Take a lock.
    """
    taken: Lock = world.result_of(lock.__aenter__())
    return taken


def leave(world: RealWorld, lock: Any) -> None:
    """
    Give a lock back, with nothing wrong.
    """
    world.result_of(lock.__aexit__(None, None, None))


def test_a_guard_does_not_begin_what_is_too_late() -> None:
    """
    Of work under a lock that is lost already nothing is done, not even its beginning;
    what has begun elsewhere is cancelled.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 5))
    world.result_of(world.other.delete("job"))
    world.until(lambda: not lock.is_held)
    begun = []

    async def work() -> None:
        begun.append("work")

    with pytest.raises(LockLost):
        world.result_of(lock.guard(work()))
    assert begun == []
    stopped: list[Any] = []
    with pytest.raises(LockLost):
        world.result_of(lock.guard(Deferred(stopped.append)))
    assert len(stopped) == 1


def test_a_program_that_is_dropped_gives_its_lock_back() -> None:
    """
    A coroutine that is closed, or collected as garbage, in the middle of its work ends
    there without a complaint, and neither lock nor connection remains.
    """
    world = RealWorld()

    async def program() -> None:
        async with world.new_client((A,)) as client, world.client.lock("job", 5):
            await client.get("other")
            await Reached()

    class Reached:
        def __await__(self) -> Any:
            yield "reached"

    running = program()
    waits_for = running.send(None)
    while isinstance(waits_for, Deferred):
        world.until(lambda waits_for=waits_for: hasattr(waits_for, "result"))
        waits_for = running.send(None)
    assert waits_for == "reached"
    assert world.get("job") is not None
    running.close()
    world.pass_time()
    assert world.get("job") is None


def test_a_lock_is_held_by_one() -> None:
    """
    The second waits until the first gives it back, and has a larger token.
    """
    world = RealWorld()
    first = take(world, world.client.lock("job", 5, holder="one"))
    assert first.is_held
    assert world.get("job").value.endswith(" one")
    second = world.other.lock("job", 5, holder="two")
    waiting = Deferred.fromCoroutine(second.__aenter__())
    world.pass_time(20)
    assert first.is_held
    assert not waiting.called
    leave(world, first)
    world.result_of(waiting, 0.5)
    assert second.token > first.token
    assert not first.is_held
    leave(world, second)
    assert world.get("job") is None


def test_one_who_waits_takes_over_when_the_holder_is_gone() -> None:
    """
    A holder whose process ends gives nothing back: its key expires.
    """
    world = RealWorld()
    first = take(world, world.client.lock("job", 5))
    second = world.other.lock("job", 5)
    waiting = Deferred.fromCoroutine(second.__aenter__())
    world.pass_time(1)
    world.result_of(world.client.close())
    began = world.clock.seconds()
    world.result_of(waiting, 8)
    assert world.clock.seconds() - began > 3
    assert not first.is_held


def test_waiting_has_an_end() -> None:
    """
    ``wait`` bounds it; the error names the holder, and nothing is left behind.
    """
    world = RealWorld()
    take(world, world.client.lock("job", 5, holder="node7"))
    with pytest.raises(NotAcquired, match="'job' is held by node7"):
        world.result_of(world.other.lock("job", 5, wait=2).__aenter__(), 2.5)
    before = len(world.clock.getDelayedCalls())
    world.pass_time(5)
    assert len(world.clock.getDelayedCalls()) <= before


def test_a_holder_that_is_cut_off_knows() -> None:
    """
    The lock is lost by the holder's own clock, before another one can take it.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 6))
    lost = lock.lost()
    world.pass_time(30)
    assert lock.is_held
    world.close_gate()
    began = world.clock.seconds()
    world.until(lambda: bool(lost.called), 6)
    assert 2.5 <= world.clock.seconds() - began <= 5
    assert isinstance(lost.result, LockLost)
    assert not lock.is_held
    with pytest.raises(LockLost, match="not renewed in time"):
        lock.check()
    # The node has it still.
    assert world.node.store.get("job") is not None
    world.open_gate()
    with pytest.raises(LockLost):
        leave(world, lock)


def test_a_holder_that_stood_still_knows() -> None:
    """
    Without any timer having run, the holder's clock says that the lock may be gone.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 6))
    # No call of any timer, as if the process had been stopped.
    world.clock.rightNow += 5.5
    assert not lock.is_held
    with pytest.raises(LockLost):
        lock.check()
    world.pass_time(1)
    with pytest.raises(LockLost):
        leave(world, lock)


def test_a_holder_whose_client_is_closed_knows() -> None:
    """
    Nobody renews it any more; that is told when the next renewal is due, or at once if
    one is under way.
    """
    for seconds in (2.1, 0.1):
        world = RealWorld()
        lock = take(world, world.client.lock("job", 6))
        lost = lock.lost()
        if seconds < 1:
            world.close_gate()
            world.pass_time(2.5)
        world.result_of(world.client.close())
        assert "closed" in str(world.result_of(lost, seconds))
        with pytest.raises(LockLost):
            leave(world, lock)


def test_a_short_cut_is_survived() -> None:
    """
    Renewals that do not come through are tried again until it is too late.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 9))
    for _ in range(5):
        world.pass_time(2.5)
        world.close_gate()
        world.pass_time(2)
        world.open_gate()
        world.pass_time(4)
    lock.check()
    leave(world, lock)


def test_a_lock_that_somebody_removes_is_lost() -> None:
    """
    The next renewal finds out, and does not take it back.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 6))
    lost = lock.lost()
    world.result_of(world.other.delete("job"))
    other = take(world, world.other.lock("job", 6))
    world.until(lambda: bool(lost.called), 2.5)
    assert "removed" in str(lost.result)
    other.check()
    with pytest.raises(LockLost):
        leave(world, lock)
    other.check()
    # Who leaves has not given away what is another's.
    assert world.get("job") is not None


def test_a_renewal_whose_answer_was_lost_is_ours() -> None:
    """
    A renewal that was done without our knowing changes the key's index; that is no
    reason to take the lock for lost.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 6))
    value = world.get("job").value
    world.result_of(world.other.set("job", value, ttl=6))
    world.pass_time(20)
    lock.check()
    leave(world, lock)
    assert world.get("job") is None


def test_what_is_not_noticed_is_not_given_away() -> None:
    """
    Who leaves before he has noticed that another one holds the lock leaves it to him.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 6))
    world.result_of(world.other.delete("job"))
    other = take(world, world.other.lock("job", 6))
    assert lock.is_held
    leave(world, lock)
    assert world.get("job") is not None
    world.pass_time(3)
    other.check()


def test_a_lock_that_took_too_long_is_none() -> None:
    """
    Where the answer comes when the lock may have expired already, it is taken anew.
    """
    world = World(A)
    lock = world.client.lock("job", 3)
    taking = Deferred.fromCoroutine(lock.__aenter__())
    world.pass_time(2.5)
    stream = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        b'event: expire\nid: 8\ndata: {"key": "job", "value": null, "index": 8}\n\n'
    )
    taken = {"error": "not met", "value": "somebody else", "index": 1}
    world[A].script.extend([Said(412, taken), stream, done(9)])
    world[A].open[-1].say(done(1))
    world.result_of(taking, 0.5)
    assert lock.token == 9
    assert [asked.method for asked in world.asked] == ["PUT", "PUT", "GET", "PUT"]


def test_guard_ends_what_is_done_under_it() -> None:
    """
    Work is cancelled when the lock is lost, and the error says so; else its own result
    counts, or its own error.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 6))
    cancelled: list[object] = []
    work: Deferred[None] = Deferred(cancelled.append)
    guarded = lock.guard(work)

    async def quick() -> int:
        return 7

    async def wrong() -> int:
        raise KeyError("mine")

    assert world.result_of(lock.guard(quick())) == 7
    with pytest.raises(KeyError, match="mine"):
        world.result_of(lock.guard(wrong()))
    given_up = lock.guard(Deferred(cancelled.append))
    given_up.cancel()
    with pytest.raises(CancelledError):
        world.result_of(given_up)
    assert len(cancelled) == 1
    world.close_gate()
    with pytest.raises(LockLost):
        world.result_of(guarded, 6)
    assert len(cancelled) == 2


def test_the_body_decides_what_is_raised() -> None:
    """
    An error of the program's own is not hidden by the loss of the lock.
    """
    world = RealWorld()

    async def work() -> None:
        async with world.client.lock("job", 6):
            world.clock.rightNow += 7
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        world.result_of(work())


def test_a_lock_is_given_back_though_nobody_answers() -> None:
    """
    Leaving does not fail for that, and does not last longer than the lock would.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 3))
    world.close_gate()
    began = world.clock.seconds()
    world.result_of(lock.__aexit__(None, None, None), 4)
    assert world.clock.seconds() - began <= 3.1


def test_a_lock_may_be_used_again_but_not_twice_at_once() -> None:
    """
    One object is one holder.
    """
    world = RealWorld()
    lock = take(world, world.client.lock("job", 3))
    with pytest.raises(RuntimeError):
        take(world, lock)
    first = lock.token
    leave(world, lock)
    take(world, lock)
    assert lock.token > first
    with pytest.raises(ValueError, match="at least 1 s"):
        world.client.lock("job", 0.5)


def test_without_a_cluster_there_is_no_lock() -> None:
    """
    It is an error in time, and the lock can be tried again.
    """
    world = RealWorld(timeout=2.0)
    world.close_gate()
    lock = world.client.lock("job", 3)
    with pytest.raises(Unavailable):
        world.result_of(lock.__aenter__(), 2.5)
    world.open_gate()
    take(world, lock).check()


def test_candidates_lead_one_after_the_other() -> None:
    """
    Everybody sees who leads, each change once, whatever renewals there are.
    """
    world = RealWorld()
    seen: list[Elected] = []
    one = world.client.election("boss", "one", 3)
    two = world.other.election("boss", "two", 3)

    async def observe() -> None:
        async for elected in two.observe():
            seen.append(elected)

    observing = Deferred.fromCoroutine(observe())
    world.pass_time(0.5)
    leading = world.result_of(one.__aenter__())
    waiting = Deferred.fromCoroutine(two.__aenter__())
    world.pass_time(10)
    assert world.result_of(two.leader()) == "one"
    leave(world, one)
    after = world.result_of(waiting, 1)
    assert after.token > leading.token
    leave(world, two)
    world.pass_time(0.5)
    assert world.result_of(one.leader()) is None
    told = [elected.candidate for elected in seen]
    assert told == [None, "one", None, "two", None]
    observing.addErrback(lambda failure: failure.trap(CancelledError))
    observing.cancel()


def test_names_that_begin_alike_are_different() -> None:
    """
    A lock is no prefix.
    """
    world = RealWorld()
    take(world, world.client.lock("job", 5))
    take(world, world.client.lock("job/7", 5))
    waiting = Deferred.fromCoroutine(world.other.lock("job", 5).__aenter__())
    world.pass_time(0.5)
    world.result_of(world.other.delete("job/7"))
    world.pass_time(0.5)
    assert not waiting.called


def test_a_client_of_its_own() -> None:
    """
    Nothing of all this needs more than what a program is given.
    """
    world = RealWorld()

    async def program() -> int | None:
        agent = Agent.usingEndpointFactory(
            world.clock, world.network, new_pool(world.clock)
        )
        async with (
            Client([A], reactor=world.clock, agent=agent) as client,
            client.lock("job", 5) as lock,
        ):
            await client.set("done", "1")
            return lock.token

    assert world.result_of(program()) is not None
    assert world.get("done") is not None
    assert world.get("job") is None

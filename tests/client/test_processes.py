"""
The client with real nodes, of which the leader is killed.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from hraftd.client import Client, Event, LockLost, Unknown
from tests.integration.processes import leader_among

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.node import Node


async def until(condition: Callable[[], object], what: str) -> None:
    """
    Let the reactor run until something is so.
    """
    for _ in range(800):
        if condition():
            return
        await deferLater(reactor, 0.05)
    raise AssertionError(f"{what} does not come true")


@pytest_twisted.ensureDeferred
async def test_the_leader_is_killed_while_writing(trio: list[Node]) -> None:
    """
    Many writers that each take a key only if it is absent, while the leader is killed
    twice and started again. Were a write done twice, its second time would find its own
    key there; so each ends with success or unknown, and each success is there, with the
    index that was told.
    """
    endpoints = [node.http for node in trio]
    told: dict[str, int | None] = {}
    stopping = False

    async with Client(endpoints, timeout=20.0) as client:

        async def write(writer: int) -> None:
            number = 0
            while not stopping:
                key = f"w{writer}/{number}"
                number += 1
                try:
                    told[key] = await client.set(key, key, if_absent=True)
                except Unknown:
                    told[key] = None

        async def until_more(count: int) -> None:
            enough = len(told) + count
            waited = 0.0
            while len(told) < enough:
                await deferLater(reactor, 0.05)
                waited += 0.05
                assert waited < 40, "no progress"

        writing = gatherResults(
            [Deferred.fromCoroutine(write(writer)) for writer in range(4)],
            consumeErrors=True,
        )
        for _ in range(2):
            await until_more(100)
            leader = await deferToThread(leader_among, trio)
            leader.kill()
            await until_more(100)
            await deferToThread(leader.start)
        await until_more(50)
        stopping = True
        await writing
        found = {
            item.key: item.index
            async for item in client.items("w", level="linearizable")
        }
    assert len(told) > 400
    for key, index in told.items():
        if index is not None:
            assert found[key] == index
    unknown = [key for key, index in told.items() if index is None]
    assert len(unknown) < len(told) / 10


@pytest_twisted.ensureDeferred
async def test_a_watch_outlives_its_node(trio: list[Node]) -> None:
    """
    The node that tells the changes is killed, and then the leader: every change that
    was made is told once, in its order.
    """
    seen: list[Event] = []

    async with Client([node.http for node in trio], timeout=20.0) as client:
        watch = client.watch("n/")

        async def follow() -> None:
            async for change in watch:
                seen.append(change)

        await watch.__aenter__()
        following = Deferred.fromCoroutine(follow())
        following.addErrback(lambda failure: failure.trap(CancelledError))
        made: list[tuple[int, str]] = []

        async def write(count: int) -> None:
            for _ in range(count):
                key = f"n/{len(made)}"
                made.append((await client.set(key, key), key))

        await write(20)
        # The nearest one tells it.
        trio[0].kill()
        await write(20)
        await deferToThread(trio[0].start)
        leader = await deferToThread(leader_among, trio)
        leader.kill()
        await write(20)
        await until(lambda: len(seen) >= len(made), "all are told")
        following.cancel()
    assert [(event.index, event.key) for event in seen] == made


@pytest_twisted.ensureDeferred
async def test_a_restore_through_a_follower(trio: list[Node]) -> None:
    """
    A backup is read at one node and put back through another that does not lead.
    """
    leader = await deferToThread(leader_among, trio)
    one, two = (node for node in trio if node is not leader)
    file = BytesIO()
    async with Client([one.http]) as client:
        await client.set_all({f"k{number}": "x" * 10_000 for number in range(200)})
        size = await client.backup(file.write, level="linearizable")
        assert size == len(file.getvalue())
        await client.set_all({"k0": "changed", "more": "1"})
    file.seek(0)
    async with Client([two.http], level="linearizable") as client:
        restored = await client.restore(file.read)
        assert restored.keys == 200
        assert (await client.get("k0")).value == "x" * 10_000
        assert await client.get("more") is None


@pytest_twisted.ensureDeferred
async def test_a_lock_outlives_the_leader(trio: list[Node]) -> None:
    """
    A holder keeps the lock when the leader is killed; one who is gone loses it to the
    next, whose token is larger.
    """
    endpoints = [node.http for node in trio]
    async with Client(endpoints) as gone, Client(endpoints) as client:
        first = gone.lock("job", 6.0, holder="first")
        await first.__aenter__()
        token = first.token
        waiting = Deferred.fromCoroutine(client.lock("job", 6.0).__aenter__())
        leader = await deferToThread(leader_among, trio)
        leader.kill()
        # Three in its time to live: by the fourth, another leader has renewed it.
        renewals = 0
        async with client.watch("job") as changes:
            async for _ in changes:
                renewals += 1
                if renewals == 4:
                    break
        first.check()
        assert not waiting.called
        await gone.close()
        second = await waiting
        assert second.token > token
        second.check()
        try:
            first.check()
        except LockLost:
            pass
        else:
            raise AssertionError("two hold it")
        await second.__aexit__(None, None, None)

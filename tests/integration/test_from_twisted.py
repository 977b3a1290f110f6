"""
Real nodes and a client that is Twisted too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.web.client import HTTPConnectionPool

from .processes import leader_among

if TYPE_CHECKING:
    from .node import Node


@pytest_twisted.ensureDeferred
async def test_many_at_once(trio: list[Node]) -> None:
    """
    Two hundred writes under way at the same time are all answered, and all there.

    Each has an index of its own.
    """
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 16
    leader = leader_among(trio)

    async def write(number: int) -> int:
        response = await treq.post(
            f"http://{leader.http}/key",
            json={f"async{number}": str(number)},
            pool=pool,
            timeout=20,
        )
        content = await response.json()
        assert response.code == 200, content
        index: int = content["index"]
        return index

    writes = [write(number) for number in range(200)]
    indexes = await gatherResults(
        [Deferred.fromCoroutine(one) for one in writes], consumeErrors=True
    )
    assert len(set(indexes)) == 200

    clock: Any = reactor
    deadline = clock.seconds() + 20
    for node in trio:
        while True:
            response = await treq.get(
                f"http://{node.http}/status", pool=pool, timeout=20
            )
            status = await response.json()
            if status["last_applied"] >= max(indexes):
                break
            assert clock.seconds() < deadline, "it does not catch up"
            await deferLater(clock, 0.02)
        response = await treq.get(
            f"http://{node.http}/key/async199", pool=pool, timeout=20
        )
        assert await response.json() == {"async199": "199"}
    await pool.closeCachedConnections()


@pytest_twisted.ensureDeferred
async def test_redirect_is_followed(trio: list[Node]) -> None:
    """
    With ``?redirect``, a client that follows 307 writes through any node.
    """
    pool = HTTPConnectionPool(reactor)
    leader = leader_among(trio)
    follower = next(node for node in trio if node is not leader)
    response = await treq.post(
        f"http://{follower.http}/key?redirect",
        data=b'{"redirected": "yes"}',
        pool=pool,
        timeout=20,
        allow_redirects=False,
    )
    assert response.code == 307
    await response.content()
    [location] = response.headers.getRawHeaders("Location")
    assert location == f"http://{leader.http}/key?redirect"
    response = await treq.post(
        location, data=b'{"redirected": "yes"}', pool=pool, timeout=20
    )
    assert response.code == 200
    await response.content()
    await pool.closeCachedConnections()

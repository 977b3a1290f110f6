"""
The examples of ``docs/client.rst`` and ``docs/recipes.rst``, run.

Those that are functions are called, against a real node in memory; the programs are run
as programs, against a node in a process of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import Agent

from hraftd.client import Client, LockLost, Unknown
from hraftd.client.connections import new_pool
from tests.client.processes import ROOT, SourceProcesses
from tests.client.test_locks import RealWorld
from tests.web import ME

if TYPE_CHECKING:
    from collections.abc import Iterator


def blocks(name: str) -> list[str]:
    """
    Return the examples of a document.
    """
    text = (ROOT / "docs" / name).read_text("utf-8")
    found = re.findall(r"\.\. code-block:: python\n\n((?:(?:    .*)?\n)+)", text)
    return [textwrap.dedent(block) for block in found]


class Examples:
    """
    The functions and classes of a document.
    """

    def __init__(self, name: str, **more: Any) -> None:
        """
        Define them, with some more names.
        """
        self._names: dict[str, Any] = {"__name__": name}
        for block in blocks(name):
            exec(compile(block, name, "exec"), self._names)
        self._names.update(more)

    def __getattr__(self, name: str) -> Any:
        """
        Return one of them.
        """
        return self._names[name]


@pytest.fixture
def world() -> RealWorld:
    """
    Return a client of a real node.
    """
    return RealWorld()


class Printed(list):
    """
    What examples print.
    """

    def __call__(self, *words: object) -> None:
        """
        Take it.
        """
        self.append(" ".join(map(str, words)))


@pytest.fixture
def printed() -> Printed:
    """
    Return what is printed, a line each.
    """
    return Printed()


@pytest.fixture
def guide(world: RealWorld, printed: Printed) -> Examples:
    """
    Return the examples of the description.
    """
    pool = new_pool(world.clock)
    agent = Agent.usingEndpointFactory(world.clock, world.network, pool)
    client = partial(Client, reactor=world.clock, agent=agent)
    return Examples("client.rst", Client=client, print=printed)


@pytest.fixture
def recipes(printed: Printed) -> Examples:
    """
    Return the recipes.
    """
    return Examples("recipes.rst", print=printed)


def running(work: Any) -> Deferred[Any]:
    """
    Start something that a test will cancel.
    """
    pending = Deferred.fromCoroutine(work)
    return pending.addErrback(lambda failure: failure.trap(CancelledError))


def test_every_example_is_run() -> None:
    """
    All that the documents define is used below.
    """
    here = Path(__file__).read_text("utf-8")
    for name, variable in (("client.rst", "guide"), ("recipes.rst", "recipes")):
        defined = re.findall(
            r"^(?:async def|def|class) (\w+)", "\n".join(blocks(name)), re.M
        )
        assert len(defined) >= 9
        unused = [one for one in defined if f"{variable}.{one}(" not in here]
        # These start the reactor; they are run in a process of their own.
        assert set(unused) <= {"main", "install", "from_asyncio"}


def test_keys(world: RealWorld, guide: Examples, printed: Printed) -> None:
    """
    Setting, getting, deleting, listing, moving.
    """
    world.result_of(guide.first(world.clock))
    world.result_of(guide.keys(world.client))
    assert printed[0].startswith("hello ")
    assert printed[1:] == ["it is blue", "True None"]
    printed.clear()
    world.result_of(guide.listing(world.client))
    assert printed[0].endswith(" ['session/42'] False")
    assert printed[1].startswith("session/42 anna ")
    printed.clear()
    world.result_of(guide.move(world.client))
    world.result_of(world.client.set_all({"stock/7": "1", "cart/1": "x"}))
    world.result_of(guide.move(world.client))
    assert printed == ["there is None"]
    assert world.get("order/9").value == "cart/1"


def test_paying(world: RealWorld, guide: Examples, printed: Printed) -> None:
    """
    Failed and unknown are told apart.
    """
    world.result_of(guide.pay(world.client, 1, "10"))
    assert printed == []
    world.result_of(guide.pay(world.client, 1, "10"))
    assert printed.pop().startswith("not paid: the precondition")

    class Doubtful:
        def set(self, *_: object, **__: object) -> None:
            raise Unknown("no answer")

    world.result_of(guide.pay(Doubtful(), 1, "10"))
    assert printed == ["look at payment/1 before paying again"]


def test_watching(world: RealWorld, guide: Examples, printed: Printed) -> None:
    """
    Until something expires.
    """
    following = Deferred.fromCoroutine(guide.follow(world.client))
    world.pass_time(0.1)
    world.result_of(world.other.set("session/1", "x", ttl=2))
    world.result_of(following, 5)
    assert [line.split()[:2] for line in printed] == [
        ["set", "session/1"],
        ["expire", "session/1"],
    ]


def test_a_lock(world: RealWorld, guide: Examples) -> None:
    """
    Work is done with the token, and the lock is gone.
    """
    tokens: list[int] = []

    async def work(token: int) -> None:
        tokens.append(token)

    world.result_of(guide.exclusively(world.client, work))
    assert len(tokens) == 1
    assert world.get("locks/report") is None


def test_the_cluster(world: RealWorld, guide: Examples, printed: Printed) -> None:
    """
    All is answered, but for a transfer, for which a cluster of one has nobody.
    """

    class NoTransfer(Client):
        async def transfer(self) -> None:
            pass

    world.client.__class__ = NoTransfer
    world.result_of(guide.cluster(world.client))
    assert printed[0].startswith(f"{ME.id} ")


def test_a_copy(
    world: RealWorld, guide: Examples, printed: Printed, tmp_path: Path
) -> None:
    """
    What was there is there again.
    """
    path = tmp_path / "copy"
    world.result_of(world.client.set_all({"a": "1", "b": "2" * 100_000}))
    world.result_of(guide.copy(world.client, path))
    assert printed == [f"{path.stat().st_size} bytes"]
    world.result_of(world.client.set_all({"a": "2", "c": "3"}))
    world.result_of(guide.put_back(world.client, path))
    assert printed[1] == "2 keys"
    assert world.get("a").value == "1"
    assert world.get("b").value == "2" * 100_000
    assert world.get("c") is None


def test_the_report(world: RealWorld, recipes: Examples, printed: Printed) -> None:
    """
    One writes, the other one gives up; who comes too late is refused in either way.
    """
    reports = recipes.Reports()
    tokens: list[int] = []
    going_on: Deferred[None] = Deferred()

    async def write(token: int) -> None:
        tokens.append(token)
        await going_on
        reports.add("page", token)

    first = Deferred.fromCoroutine(recipes.write_report(world.client, "m1", write))
    world.pass_time(0.2)
    world.result_of(recipes.write_report(world.other, "m2", write), 6)
    assert printed == ["'locks/report' is held by m1"]
    going_on.callback(None)
    world.result_of(first)
    assert reports.pages == ["page"]
    with pytest.raises(PermissionError):
        reports.add("late", tokens[0] - 1)

    async def store() -> None:
        async with world.client.lock("locks/report", ttl=15) as lock:
            await recipes.store_page(world.client, lock, 1, "text")
            await world.other.delete("locks/report")
            await recipes.store_page(world.client, lock, 2, "text")

    with pytest.raises(LockLost, match="somebody else"):
        world.result_of(store())
    assert world.get("report/1") is not None
    assert world.get("report/2") is None


def test_workers(world: RealWorld, recipes: Examples, printed: Printed) -> None:
    """
    One leads; when it loses that it stands again, and another one leads meanwhile.
    """
    leads: list[str] = []

    def lead(name: str, token: int) -> Deferred[None]:
        leads.append(name)
        return Deferred()

    shown: list[object] = []
    showing = running(recipes.show_leaders(world.other, shown.append))
    world.pass_time(0.2)
    one = running(recipes.work(world.client, "one", partial(lead, "one")))
    world.pass_time(0.5)
    two = running(recipes.work(world.other, "two", partial(lead, "two")))
    world.pass_time(0.5)
    world.result_of(world.other.delete("leader/workers"))
    world.pass_time(5)
    assert leads == ["one", "two"]
    assert printed == ["at first: None", "one leads no more, and stands again"]
    two.cancel()
    world.pass_time(12)
    assert leads == ["one", "two", "one"]
    assert shown == [None, "one", None, "two", None, "one"]
    for pending in (one, showing):
        pending.cancel()


def test_servers(world: RealWorld, recipes: Examples, printed: Printed) -> None:
    """
    Who announces himself is known, and forgotten when he is gone.
    """
    seen: list[dict[str, str]] = []
    first = running(recipes.announce(world.client, world.clock, "web1", "h:1", 3))
    world.pass_time(0.5)
    looking = running(
        recipes.servers(world.other, lambda known: seen.append(dict(known)))
    )
    world.pass_time(0.5)
    assert seen[-1] == {"servers/web1": "h:1"}
    second = running(recipes.announce(world.client, world.clock, "web2", "h:2", 3))
    world.pass_time(10)
    assert seen[-1] == {"servers/web1": "h:1", "servers/web2": "h:2"}
    first.cancel()
    world.pass_time(6)
    assert seen[-1] == {"servers/web2": "h:2"}
    second.cancel()
    looking.cancel()
    assert printed == []


def test_configuration(world: RealWorld, recipes: Examples, printed: Printed) -> None:
    """
    What is there is applied, and each change, made in whatever order.
    """
    applied: list[object] = []
    world.result_of(world.client.set("config/app", json.dumps({"a": 1})))
    reloading = running(recipes.configuration(world.other, applied.append))
    world.pass_time(0.2)
    changing = [
        Deferred.fromCoroutine(
            recipes.change(client, lambda settings: {"a": settings["a"] + 1})
        )
        for client in (world.client, world.other, world.client)
    ]
    for pending in changing:
        world.result_of(pending)
    world.pass_time(0.2)
    assert applied == [{"a": number} for number in (1, 2, 3, 4)]
    assert set(printed) == {"somebody was faster; once more"}
    reloading.cancel()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[str]:
    """
    Run a node, and return its address.
    """
    processes = SourceProcesses(tmp_path)
    try:
        yield processes.start("node0").http
    finally:
        processes.end()


def run(program: str) -> str:
    """
    Run a program in a process of its own; return what it prints.
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_first_program(node: str) -> None:
    """
    As it stands there, with ``task.react``.
    """
    first, main, *_ = blocks("client.rst")
    program = f"{first}\n{main}\nmain()".replace("localhost:11000", node)
    assert run(program).startswith("hello ")


def test_a_program_on_asyncio(node: str) -> None:
    """
    The client on asyncio's loop, awaited as futures.
    """
    asyncio_block = blocks("client.rst")[2]
    assert "asyncioreactor" in asyncio_block
    program = f"""
{asyncio_block}
install()
from twisted.internet import reactor
from hraftd.client import Client

async def main():
    loop = asyncio.get_running_loop()
    client = Client(["{node}"])
    await client.set("greeting", "hello from asyncio").asFuture(loop)
    print((await from_asyncio(client)).value)
    await client.close().asFuture(loop)
    reactor.callLater(0, reactor.stop)

reactor._asyncioEventloop.create_task(main())
reactor.run()
"""
    assert run(program) == "hello from asyncio\n"

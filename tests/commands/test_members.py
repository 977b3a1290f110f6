"""
status, nodes, remove and transfer: the cluster at a glance, and changes of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site

from hraftd.commands.endings import FAILED, UNAVAILABLE

from . import Shell, Terminal

if TYPE_CHECKING:
    import pytest


class _Stale(Resource):
    """
    A node that says what it is told to.
    """

    isLeaf = True

    def __init__(self, status: object) -> None:
        super().__init__()
        self._status = status

    def render_GET(self, request: object) -> bytes:
        return json.dumps(self._status).encode()


def rows_of(out: str) -> dict[str, list[str]]:
    """
    Return the rows of a table by the id in them.
    """
    rows = [line.removeprefix("*").split() for line in out.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0].startswith("node")}


def test_status_of_a_healthy_cluster() -> None:
    """
    Every member is there, the leader is marked, and nobody lags behind.
    """
    shell = Shell()
    shell.run("set a b")
    # Whoever is asked, the leader's knowledge is shown.
    ran = shell.run("status --endpoint localhost:11002")
    assert (ran.status, ran.err) == (0, "")
    first, head, *table = ran.out.splitlines()
    assert first.endswith("node0 leads, term 2; 3 of 3 members answer")
    assert " ".join(head.split()) == "ID ROLE HTTP TERM APPLIED LAG CONTACT STATE"
    assert [line[0] for line in table] == ["*", " ", " "]
    rows = rows_of(ran.out)
    applied = shell.group.servers["node0"].status().last_applied
    assert rows["node0"][:5] == ["leader", "localhost:11000", "2", str(applied), "0"]
    for name, http in (("node1", "localhost:11001"), ("node2", "localhost:11002")):
        role, address, _, has_applied, lag, contact, *_ = rows[name]
        assert (role, address, has_applied, lag) == (
            "follower",
            http,
            str(applied),
            "0",
        )
        assert contact.isdigit()
    assert all(row[-2:] == ["1", "key"] for row in rows.values())


def test_status_shows_who_is_not_there() -> None:
    """
    A member that does not answer is shown as such, with how far it is behind.
    """
    shell = Shell()
    shell.lose(2)
    shell.run("set a b")
    shell.run("set a c")
    ran = shell.run("status")
    assert ran.status == 0
    assert "2 of 3 members answer" in ran.out
    row = rows_of(ran.out)["node2"]
    assert row[:2] == ["voter,", "unreachable"]
    document = json.loads(shell.run("status --json").out)
    assert document["leader"] == "node0"
    lost = document["members"][2]
    assert (lost["id"], lost["reachable"], lost["status"]) == ("node2", False, None)
    assert "localhost:11002" in lost["error"]
    assert lost["lag"] == 2
    here = document["members"][1]
    assert (here["reachable"], here["error"], here["lag"]) == (True, None, 0)
    assert here["status"]["last_applied"] >= 7


def test_a_member_that_hangs_holds_nobody_up() -> None:
    """
    One that takes connections and says nothing is given two seconds.
    """
    shell = Shell()
    connect = shell.network.connect

    def hanging(address: str, factory: object) -> Deferred:
        return Deferred() if address == "localhost:11001" else connect(address, factory)

    shell.network.connect = hanging
    before = shell.group.clock.seconds()
    ran = shell.run("status --timeout 30s")
    assert ran.status == 0
    assert "2 of 3 members answer" in ran.out
    assert shell.group.clock.seconds() - before < 4


def test_status_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each member has one line, however long it is why it does not answer, and the
    leader's is coloured.
    """
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shell = Shell(output=Terminal)
    shell.lose(2)
    _, _, *table = shell.run("status").out.splitlines()
    assert len(table) == 3
    assert "\x1b[32m" in table[0]
    assert "\x1b[32m" not in table[1]
    assert "node2  voter, unreachable  localhost:11002" in table[2]
    assert table[2].rstrip().endswith("…")


def test_status_without_a_leader() -> None:
    """
    Status 5 where nobody leads, behind what there is to see.
    """
    shell = Shell()
    shell.lose(0)
    shell.lose(1)
    shell.group.ticks(200)
    ran = shell.run("status --endpoint localhost:11002")
    assert ran.status == UNAVAILABLE
    assert "nobody leads" in ran.out
    assert "1 of 3 members answer" in ran.out
    assert "start more members" in ran.err
    ran = shell.run("status --json --endpoint localhost:11002")
    assert ran.status == UNAVAILABLE
    assert json.loads(ran.out)["leader"] is None


def test_two_who_think_that_they_lead() -> None:
    """
    Of these the one of the later term does.
    """
    shell = Shell()
    old = json.loads(shell.run("status --json").out)["members"][0]["status"]
    assert old["role"] == "leader"
    shell.run("transfer node1")
    # It has not noticed, and still says what it said before.
    site = Site(_Stale(old))
    site.timeOut = None
    shell.network.sites["localhost:11000"] = site
    document = json.loads(shell.run("status --json --endpoint localhost:11002").out)
    assert (document["leader"], document["term"]) == ("node1", 3)
    assert [one["role"] for one in document["members"]] == [
        *("leader", "leader"),
        "follower",
    ]
    assert "node1 leads, term 3" in shell.run("status --endpoint localhost:11002").out


def test_a_node_that_has_missed_something() -> None:
    """
    Who belongs to the cluster is what the leader says, whoever was asked.
    """
    shell = Shell()
    shell.group.cut_off.add("node2")
    shell.join(3)
    ran = shell.run("status --endpoint localhost:11002")
    assert list(rows_of(ran.out)) == ["node0", "node1", "node2", "node3"]
    assert "4 of 4 members answer" in ran.out


def test_another_node_at_the_address() -> None:
    """
    Whoever answers at a member's address is not taken for that member.
    """
    shell = Shell()
    sites = shell.network.sites
    sites["localhost:11001"] = sites["localhost:11002"]
    ran = shell.run("status")
    assert "at its address there is node2" in ran.out
    assert "2 of 3 members answer" in ran.out


def test_status_of_one_that_was_removed() -> None:
    """
    It still leads to the cluster that it was in, and is not among its members.
    """
    shell = Shell()
    assert shell.run("remove node2").status == 0
    shell.until(lambda: shell.group.servers["node2"].status().role == "removed")
    assert "2 of 2 members answer" in shell.run("status").out
    ran = shell.run("status --endpoint localhost:11002")
    assert (ran.status, list(rows_of(ran.out))) == (0, ["node0", "node1"])


def test_status_of_one_that_has_not_joined() -> None:
    """
    It is shown alone: there is no cluster that it knows.
    """
    shell = Shell()
    shell.add(3).startService()
    ran = shell.run("status --endpoint localhost:11003")
    assert (ran.status, list(rows_of(ran.out))) == (UNAVAILABLE, ["node3"])
    assert "1 of 1 members answer" in ran.out
    document = shell.run("status --json --endpoint localhost:11003")
    assert json.loads(document.out)["members"][0]["role"] == "learner"


def test_nodes() -> None:
    """
    The members in a table, the leader marked; for scripts a list.
    """
    shell = Shell()
    ran = shell.run("nodes")
    assert ran.status == 0
    assert rows_of(ran.out)["node1"] == [
        "follower",
        "voter",
        "localhost:11001",
        "localhost:12001",
        "yes",
    ]
    assert [line[0] for line in ran.out.splitlines()] == [" ", "*", " ", " "]
    listed = json.loads(shell.run("nodes --json").out)
    assert [one["id"] for one in listed] == ["node0", "node1", "node2"]
    assert listed[0]["role"] == "leader"


def test_remove() -> None:
    """
    A member is removed through any node; one that there is not is refused.
    """
    shell = Shell()
    ran = shell.run("remove node2 --endpoint localhost:11001")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == "node2 is no member any more; stop its process\n"
    again = shell.run("remove node2 --json")
    assert (again.status, again.out) == (FAILED, "")
    assert "no member of this cluster is called node2" in again.err


def test_transfer() -> None:
    """
    Leadership goes to who is named, or to anybody.
    """
    shell = Shell()
    ran = shell.run("transfer node1 --endpoint localhost:11002")
    assert (ran.status, ran.out) == (0, "node1 leads, term 3\n")
    ran = shell.run("transfer")
    assert ran.status == 0
    shell.group.ticks(20)
    leader = shell.group.leader().server_id
    assert leader != "node1"
    assert json.loads(shell.run(f"transfer {leader} --json").out) == {"leader": leader}
    refused = shell.run("transfer nobody")
    assert refused.status == FAILED


def test_a_request_that_ends_without_an_answer() -> None:
    """
    A removal whose connection breaks may have been done: status 4.
    """
    shell = Shell()
    connect = shell.network.connect
    writes = []

    def breaking(address: str, factory: object) -> Deferred:
        found = connect(address, factory)
        if found.called and not isinstance(found.result, Exception):
            protocol = found.result
            write = protocol.transport.write

            def then_break(data: bytes) -> None:
                write(data)
                if b"DELETE /nodes" in data:
                    writes.append(data)
                    protocol.transport.abortConnection()

            protocol.transport.write = then_break
        return found

    shell.network.connect = breaking
    ran = shell.run("remove node2 --timeout 2s")
    assert writes
    assert ran.status == 4, ran
    assert "before you repeat it" in ran.err

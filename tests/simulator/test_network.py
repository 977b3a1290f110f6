"""
The simulated network: what TCP may do, and nothing else.
"""

from __future__ import annotations

from random import Random

from hraftd.simulator.clock import Process, World
from hraftd.simulator.network import Network, Stream


class Nowhere:
    """
    No machines.
    """

    def machine_at(self, address: str) -> None:
        """
        Know no address.
        """

    def is_up(self, machine: str) -> bool:
        """
        Know no machine.
        """
        return False

    def listening_at(self, address: str) -> None:
        """
        Know no process.
        """


def network(seed: int = 0) -> Network:
    """
    Return a network without machines.
    """
    return Network(World(), Random(seed), Nowhere())


def stream(one: Network) -> Stream:
    """
    Return a direction of a connection.
    """
    return Stream(one, one.path("s1", "s2"), Process("s2"))


def test_messages_of_a_connection_keep_their_order() -> None:
    """
    However differently long they take.
    """
    one = network()
    one.path("s1", "s2").slowest = 1.0
    there, seen = stream(one), list[object]()
    for number in range(50):
        there.send(0, seen.append, number)
    one.world.run_until(0.3)
    assert len(seen) > 0 or seen == []
    one.world.run_until(5.0)
    assert seen == list(range(50))


def test_what_is_blocked_arrives_later() -> None:
    """
    In that direction only, and in its order.
    """
    one = network()
    there, seen = stream(one), list[object]()
    back = Stream(one, one.path("s2", "s1"), Process("s1"))
    there.send(0, seen.append, "before")
    one.block("s1", "s2")
    there.send(0, seen.append, "first")
    there.send(0, seen.append, "second")
    back.send(0, seen.append, "back")
    one.world.run_until(5.0)
    assert set(seen) == {"back", "before"}
    assert len(seen) == 2
    one.unblock("s1", "s2")
    one.world.run_until(6.0)
    assert seen[2:] == ["first", "second"]


def test_what_was_held_up_may_come_after_what_a_later_connection_carried() -> None:
    """
    Two connections know nothing of each other.
    """
    orders = set()
    for seed in range(20):
        one = network(seed)
        old, new, seen = stream(one), stream(one), list[object]()
        one.block("s1", "s2")
        old.send(0, seen.append, "old")
        new.send(0, seen.append, "new")
        one.heal()
        one.world.run_until(5.0)
        orders.add(tuple(seen))
    assert orders == {("old", "new"), ("new", "old")}


def test_what_is_under_way_when_a_connection_ends_arrives_up_to_some_message() -> None:
    """
    Never what comes behind one that was lost, and nothing that is sent later.
    """
    counts = set()
    for seed in range(40):
        one = network(seed)
        there, seen = stream(one), list[object]()
        there.send(0, seen.append, 0)
        one.world.run_until(1.0)
        for number in range(1, 4):
            there.send(0, seen.append, number)
        there.cut()
        there.send(0, seen.append, 4)
        one.world.run_until(5.0)
        assert seen == list(range(len(seen)))
        counts.add(len(seen))
    assert counts == {1, 2, 3, 4}


def numbers_after(treat: str, part: float, seed: int = 0) -> list[int]:
    """
    Return which of a hundred messages of Raft have arrived, in what order.
    """
    one = network(seed)
    there, seen = stream(one), list[int]()
    setattr(one.path("s1", "s2"), treat, part)
    for number in range(100):
        one.world.run_until(number / 100)
        there.send_rpc(0, seen.append, number)
    one.world.run_until(5.0)
    return seen


def test_messages_of_raft_may_be_lost() -> None:
    """
    One by one, and those behind them arrive (Raft 2).
    """
    seen = numbers_after("loss", 0.3)
    assert seen == sorted(set(seen))
    assert 50 < len(seen) < 90


def test_messages_of_raft_may_come_twice() -> None:
    """
    The second one some time later; the first ones keep their order.
    """
    seen = numbers_after("duplication", 0.3)
    assert 110 < len(seen) < 150
    assert list(dict.fromkeys(seen)) == list(range(100))


def test_messages_of_raft_may_overtake_each_other() -> None:
    """
    None is lost by that.
    """
    seen = numbers_after("overtaking", 0.3)
    assert seen != list(range(100))
    assert sorted(seen) == list(range(100))


def test_what_goes_aside_ends_with_its_connection_too() -> None:
    """
    Nothing of a connection arrives once it is over.
    """
    one = network()
    there, seen = stream(one), list[object]()
    one.path("s1", "s2").overtaking = 1.0
    there.send_rpc(0, seen.append, "late")
    there.cut()
    one.world.run_until(5.0)
    assert seen == []


def test_other_messages_are_never_treated_so() -> None:
    """
    What is asked for a client would be done twice.
    """
    one = network()
    there, seen = stream(one), list[object]()
    path = one.path("s1", "s2")
    path.loss = path.duplication = path.overtaking = 1.0
    for number in range(20):
        there.send(0, seen.append, number)
    one.world.run_until(5.0)
    assert seen == list(range(20))
    path.calm()
    assert (path.loss, path.duplication, path.overtaking) == (0.0, 0.0, 0.0)

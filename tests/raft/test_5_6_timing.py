"""
Raft 5.6 and dissertation 6.2: timing and availability.
"""

from __future__ import annotations

from hraftd.raft.messages import AppendEntriesResponse
from hraftd.raft.ready import Timing
from hraftd.raft.roles import Follower
from tests.raft.network import Network, lead, save, server


def test_heartbeats_prevent_elections() -> None:
    """
    A leader that lives is never challenged (5.6).

    The interval of heartbeats lies well below the election timeout, so that a leader
    that lives is never challenged (5.6).
    """
    timing = Timing()
    assert timing.heartbeat_interval * 3 < timing.election_timeout
    network = Network.of("abcde")
    network.elect("a")
    network.run(50 * timing.election_timeout)
    assert network.observer.leaders == {2: "a"}
    assert max(network[id_].current_term for id_ in "abcde") == 2


def test_heartbeats_are_regular() -> None:
    """
    A leader is heard from, whether there is work or not.

    "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server;
    repeat during idle periods to prevent election timeouts" (figure 2).
    """
    core = server(timing=Timing(election_timeout=50, heartbeat_interval=7))
    lead(core)
    ticks = []
    for tick in range(1, 30):
        core.tick()
        if save(core).early_calls:
            ticks.append(tick)
    assert ticks == [7, 14, 21, 28]


def test_an_idle_cluster_sends_only_heartbeats() -> None:
    """
    Bounded RPC counts (MIT 2B): one to each follower an interval, and nothing else.
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    sent = 0
    for _ in range(40):
        for id_ in "abc":
            network.tick(id_)
        sent += len(network.in_transit)
        network.settle()
    assert sent == 2 * 40 // network.timing.heartbeat_interval


def test_a_write_costs_two_requests_to_each_follower() -> None:
    """
    Bounded RPC counts (MIT 2B): the entry, and the news that it is committed.
    """
    network = Network.of("abcde")
    network.elect("a")
    network.settle()
    network.propose("a", b"x")
    requests = 0
    for _ in range(100):
        if not network.in_transit:
            break
        requests += network.in_transit[0].response is None
        network.deliver(network.in_transit[0])
    assert requests == 2 * 4


def test_a_leader_without_a_majority_steps_down() -> None:
    """
    A leader that nobody hears does not keep its clients waiting.

    Dissertation 6.2: "a leader steps down if an election timeout elapses without a
    successful round of heartbeats to a majority of its cluster".
    """
    core = server(voters="abcde")
    calls = lead(core)
    timeout = core.timing.election_timeout
    for call in calls[:2]:
        core.response_received(call, AppendEntriesResponse(2, True))
    for tick in range(1, timeout):
        core.tick()
        assert core.led_term == 2, tick
    core.tick()
    assert core.role == Follower(None)
    assert core.current_term == 2
    assert core.ticks_since_leader is None


def test_a_leader_that_a_majority_answers_stays() -> None:
    """
    Half of the others is enough, in each election timeout, together with itself (6.2).
    """
    core = server(voters="abcde")
    calls = {call.to: call for call in lead(core)}
    for _ in range(20):
        for _ in range(core.timing.election_timeout - 1):
            core.tick()
        for to in "bc":
            core.response_received(calls[to], AppendEntriesResponse(2, True))
        calls |= {call.to: call for call in save(core).early_calls}
        assert core.led_term == 2


def test_learners_keep_no_leader_in_office() -> None:
    """
    Whose vote does not count, whose answer does not count either (4.2.1, 6.2).
    """
    network = Network.of("abc")
    network.begin("x")
    network.begin("y")
    network.elect("a")
    network.settle()
    network.partition("axy", "bc")
    network.add_server("a", "x")
    for _ in range(network.timing.election_timeout):
        network.tick("a")
        network.settle()
    assert network["a"].led_term is None


def test_one_that_steps_down_waits_like_any_other() -> None:
    """
    A former leader has let its own timer run out long ago, and begins it again.
    """
    network = Network.of("abc")
    network.elect("a")
    network.settle()
    network.isolate("a")
    for _ in range(network.timing.election_timeout):
        network.tick("a")
    assert network["a"].role == Follower(None)
    network.tick("a", network.timing.election_timeout)
    assert network["a"].role == Follower(None)


def test_availability_after_a_leader_is_lost() -> None:
    """
    A new leader is there after a few election timeouts at most (5.6).

    Within two election timeouts and the time of two rounds there is a new leader, where
    votes do not split; with many tries in no more than a few (5.6).
    """
    waits = []
    for seed in range(60):
        network = Network.of("abcde", seed=seed)
        network.elect("a")
        network.settle()
        network.run(1)
        network.crash("a")
        for ticks in range(1, 400):
            network.run(1)
            if network.leader is not None:
                waits.append(ticks)
                break
    assert len(waits) == 60
    timeout = Timing().election_timeout
    assert sorted(waits)[30] <= 2 * timeout
    assert max(waits) <= 5 * timeout


def test_a_voter_on_its_own_waits_for_its_disk() -> None:
    """
    It has nobody to be faster than: a slow disk delays its election and no more.

    A campaign that begins anew before the vote of the last one is on disk never ends.
    """
    core = server(voters="a")
    slow = 3 * core.timing.election_timeout
    for _ in range(4):
        core.tick()
        ready = core.ready()
        if ready.must_save:
            for _ in range(slow):
                core.tick()
            core.advance(ready)
        if core.led_term is not None:
            break
    assert core.led_term is not None
    assert core.current_term <= 3

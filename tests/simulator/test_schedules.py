"""
Schedules nobody has seen before, and what they have to show.

Each run of these tests has other seeds. One that fails names its seed and the command
that replays it.
"""

from __future__ import annotations

from random import SystemRandom

import pytest
from zope.interface.verify import verifyObject

from hraftd.interfaces import IPeers, IStateMachine, IStorage
from hraftd.raft.invariants import InvariantViolated
from hraftd.simulator.cluster import Cluster
from hraftd.simulator.faults import KINDS
from hraftd.simulator.operators import DEEDS
from hraftd.simulator.schedule import Schedule, ScheduleFailed
from tests.simulator.linearizable import must_be_linearizable

FRESH = SystemRandom().randrange(10**9)

#: So many seeds may pass until something has happened that is looked for.
TRIES = 12


@pytest.mark.parametrize("number", range(16))
def test_nothing_goes_wrong_whatever_does(number: int) -> None:
    """
    No event breaks an invariant, clients see a single copy, and all comes back.
    """
    Schedule(FRESH + number, check=must_be_linearizable).run()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_trouble_happens(kind: str) -> None:
    """
    A schedule that is to have one kind of trouble has that and no other.
    """
    for seed in range(TRIES):
        schedule = Schedule(seed, seconds=3.0, servers=3)
        schedule.faults.kinds = [kind]
        schedule.run()
        seen = schedule.transcript.seen
        assert not {other for other in KINDS if seen[other]} - {kind}
        if seen[kind]:
            return
    raise AssertionError(f"there was no {kind}")


#: What has become of what operators wanted.
SUCCESS = {
    "add": "add: Joined",
    "remove": "remove: Removed",
    "replace": "replace: Removed",
    "move": "move: Joined",
    "suffrage": "vote: Joined",
    "transfer": "transfer: Transferred",
    "take snapshot": "take: Taken",
}


@pytest.mark.parametrize("deed", DEEDS)
def test_each_deed_of_operators_is_done(deed: str) -> None:
    """
    Members come, go, move, get and lose their votes; leaders and logs are changed.
    """
    for seed in range(TRIES):
        schedule = Schedule(seed, seconds=5.0, servers=3)
        schedule.faults.kinds = []
        schedule.operators.deeds = [deed]
        schedule.run()
        if schedule.transcript.seen[SUCCESS[deed]]:
            return
    raise AssertionError(f"nobody could {deed}")


@pytest.mark.parametrize(
    ("what", "kinds"),
    [
        ("unheard writes", ["kill"]),
        ("truncated", ["isolate leader"]),
        ("restored", ["isolate leader", "power"]),
        ("Unknown", ["reset", "isolate leader"]),
        ("failed", ["disk full"]),
    ],
)
def test_trouble_has_consequences(what: str, kinds: list[str]) -> None:
    """
    Crashes hit writes, isolated leaders lose entries, who lagged gets a snapshot.
    """
    for seed in range(4 * TRIES):
        schedule = Schedule(seed, servers=3)
        schedule.faults.kinds = kinds
        schedule.run()
        if schedule.transcript.seen[what]:
            return
    raise AssertionError(f"after {kinds} nothing was seen as {what}")


def test_what_servers_are_given_keeps_to_the_three_seams() -> None:
    """
    A simulated world is one to a server.
    """
    schedule = Schedule(1, seconds=1.0, servers=3)
    schedule.run()
    for machine in schedule.cluster.running:
        assert machine.running is not None
        verifyObject(IPeers, machine.running.peers)
        verifyObject(IStateMachine, machine.running.store)
        verifyObject(IStorage, machine.running.storage)


def test_no_exception_is_lost_in_a_deferred() -> None:
    """
    What was wrong first is what a schedule fails with, whoever caught it.
    """
    schedule = Schedule(1, seconds=1.0, servers=3)

    def object_quietly() -> None:
        schedule.watch.object_to(InvariantViolated("first"))
        schedule.watch.object_to(InvariantViolated("second"))

    schedule.world.at(0.7, None, object_quietly)
    with pytest.raises(ScheduleFailed, match=r"seed 1, after 0\.7.* s: .*: first"):
        schedule.run()


def test_a_cluster_that_does_not_come_back_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    When all is well again, it has to be well again soon.
    """
    schedule = Schedule(1, seconds=2.0, servers=3)
    schedule._begins_small = False
    monkeypatch.setattr(Cluster, "listening_at", lambda *_: None)
    with pytest.raises(ScheduleFailed, match="nobody leads"):
        schedule.run()


def test_an_answer_that_the_injected_check_dislikes_fails_the_schedule() -> None:
    """
    Whatever it raises.
    """

    def dislike(operations: object) -> None:
        raise ValueError("not like this")

    with pytest.raises(ScheduleFailed, match="not like this"):
        Schedule(1, seconds=1.0, check=dislike).run()

"""
Writes through a cluster where everything goes wrong: done once, never called failed.

A model of a cluster that keeps tokens as the real one does, with faults by Hypothesis.
Real processes are in :mod:`tests.client.test_processes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.client import Failed, Unknown
from tests.client import LOST, SILENT, UNSURE, A, B, C, Said, World, busy, done, led_by

if TYPE_CHECKING:
    from tests.client import Asked

ADDRESSES = (A, B, C)

#: What may go wrong with one request.
FAULTS = (
    "none",
    "declined",
    "lost before",
    "lost after",
    "silent before",
    "silent after",
    "unsure before",
    "unsure after",
    "late",
    "busy",
    "other leader",
)


class Model(World):
    """
    A cluster that carries out writes, each token once, at whichever node leads.
    """

    def __init__(self, faults: list[str], leaders: list[int]) -> None:
        """
        Have these faults and leaders, one for each request.
        """
        super().__init__(*ADDRESSES)
        self.faults = faults
        self.leaders = leaders
        self.leader = A
        self.index = 0
        #: By token: how often it was carried out, and the index of the first time.
        self.carried_out: dict[str, list[int]] = {}
        for node in self.nodes.values():
            node.otherwise = self.receive

    def apply(self, asked: Asked) -> Said:
        """
        Carry a write out, unless that was done.
        """
        assert asked.token is not None
        if asked.token not in self.carried_out:
            self.index += 1
            self.carried_out[asked.token] = [self.index]
        return done(self.carried_out[asked.token][0])

    def receive(self, asked: Asked) -> Any:
        """
        Do what a node does, with the next fault.
        """
        fault = self.faults.pop() if self.faults else "none"
        if fault == "other leader" and self.leaders:
            self.leader = ADDRESSES[self.leaders.pop()]
        if asked.address != self.leader and "forward" not in asked.target:
            return led_by(self.leader)
        match fault:
            case "lost before":
                return LOST
            case "lost after":
                self.apply(asked)
                return LOST
            case "silent before":
                return SILENT
            case "silent after":
                self.apply(asked)
                return SILENT
            case "unsure before":
                return UNSURE
            case "unsure after":
                self.apply(asked)
                return UNSURE
            case "late":
                # It is in the log, and applied when the client has gone on.
                self.clock.callLater(0.3, self.apply, asked)
                return LOST
            case "busy":
                return busy(1)
            case "declined":
                return Said(503, {"error": "too much to do"})
            case _:
                return self.apply(asked)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(FAULTS), max_size=25),
    st.lists(st.integers(0, 2), max_size=10),
)
def test_a_model_of_a_cluster(faults: list[str], leaders: list[int]) -> None:
    """
    Whatever happens to requests and answers: what succeeded was done once and its index
    is told; what failed was not done, and is not done later; the rest is unknown.
    """
    world = Model(faults, leaders)
    for number in range(3):
        try:
            index = world.result_of(world.client.set(f"k{number}", "v"), 11)
        except Failed:
            index = None
        except Unknown:
            continue
        world.pass_time(1.0)
        path = f"/key/k{number}"
        tokens = {one.token for one in world.asked if one.target.startswith(path)}
        assert len(tokens) == 1
        [token] = tokens
        assert world.carried_out.get(token) == (None if index is None else [index])

"""
Trouble in the network: who does not reach whom, and for how long.
"""

from __future__ import annotations

from itertools import combinations, permutations
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from hraftd.simulator.cluster import Cluster
    from hraftd.simulator.machines import Machine
    from hraftd.simulator.network import Path

__all__ = ["Partitions", "duration"]


def duration(rng: Random, longest: float) -> float:
    """
    Return some seconds: mostly few, sometimes up to the longest time.
    """
    return rng.uniform(0, rng.choice((longest / 10, longest)))


@define(eq=False)
class Partitions:
    """
    Makes trouble in the network of one world.
    """

    cluster: Cluster
    rng: Random
    is_over: bool = False
    #: What is blocked how often, since two troubles may block the same.
    _blocked: dict[tuple[str, str], int] = field(factory=dict)

    def heal(self) -> None:
        """
        End all of it.
        """
        self.is_over = True
        self._blocked.clear()
        self.cluster.network.heal()

    def _later(self, longest: float, run: Callable[..., object], *what: object) -> None:
        seconds = duration(self.rng, longest)
        self.cluster.world.after(seconds, None, run, *what)

    def _names(self) -> list[str]:
        names = list(self.cluster.machines)
        self.rng.shuffle(names)
        return names

    def block(self, pairs: Sequence[tuple[str, str]]) -> None:
        """
        Let nothing through from the first of each pair to the second.
        """
        for pair in pairs:
            self._blocked[pair] = self._blocked.get(pair, 0) + 1
            self.cluster.network.block(*pair)

    def _block_for_a_while(self, pairs: Sequence[tuple[str, str]]) -> bool:
        self.block(pairs)
        self._later(4.0, self.unblock, pairs)
        return bool(pairs)

    def unblock(self, pairs: Sequence[tuple[str, str]]) -> None:
        """
        Let everything through that no other trouble blocks.
        """
        if self.is_over:
            return
        for pair in pairs:
            self._blocked[pair] -= 1
            if not self._blocked[pair]:
                self.cluster.network.unblock(*pair)

    def part(self) -> bool:
        """
        Cut the cluster in two.
        """
        names = self._names()
        if len(names) < 2:
            return False
        size = self.rng.randint(1, len(names) - 1)
        return self._block_for_a_while(_both_ways(names[:size], names[size:]))

    def part_one_way(self) -> bool:
        """
        Let one server hear nobody, or nobody hear it; or only one of the others.
        """
        one, *others = self._names()
        if self.rng.random() < 0.5:
            others = others[:1]
        if self.rng.random() < 0.5:
            return self._block_for_a_while([(one, other) for other in others])
        return self._block_for_a_while([(other, one) for other in others])

    def leave_bridges(self) -> bool:
        """
        Let each server reach only its neighbours in a ring, or all only one of them.
        """
        names = self._names()
        if len(names) < 3:
            return False
        if self.rng.random() < 0.5:
            reached = {(names[0], name) for name in names[1:]}
        else:
            reached = set(zip(names, [*names[1:], names[0]], strict=True))
        apart = [
            pair
            for pair in combinations(names, 2)
            if pair not in reached and pair[::-1] not in reached
        ]
        return self._block_for_a_while([*apart, *((b, a) for a, b in apart)])

    def isolate_leader(self) -> bool:
        """
        Cut the leader off from all others.
        """
        leader = self.cluster.leader()
        if leader is None:
            return False
        return self._block_for_a_while(self.around(leader))

    def around(self, machine: Machine) -> list[tuple[str, str]]:
        """
        Return all pairs of that machine and another one.
        """
        name = machine.server_id
        others = [other for other in self.cluster.machines if other != name]
        return _both_ways([name], others)

    def lose(self) -> bool:
        """
        Let some of the messages be lost, on some of all paths.
        """
        return self._mistreat(lambda path, part: setattr(path, "loss", part))

    def duplicate(self) -> bool:
        """
        Let some of the messages come twice.
        """
        return self._mistreat(lambda path, part: setattr(path, "duplication", part))

    def reorder(self) -> bool:
        """
        Let some of the messages be overtaken by others.
        """
        return self._mistreat(lambda path, part: setattr(path, "overtaking", part))

    def _mistreat(self, treat: Callable[[Path, float], object]) -> bool:
        network = self.cluster.network
        some, part = self.rng.choice((0.3, 1.0)), self.rng.choice((0.03, 0.2, 0.5))
        paths = [
            network.path(*pair)
            for pair in permutations(self.cluster.machines, 2)
            if self.rng.random() < some
        ]
        for path in paths:
            treat(path, part)
        self._later(4.0, self._calm, paths)
        return bool(paths)

    @staticmethod
    def _calm(paths: Sequence[Path]) -> None:
        for path in paths:
            path.calm()

    def clog(self) -> bool:
        """
        Let messages take long between two servers.
        """
        names = self._names()
        if len(names) < 2:
            return False
        path = self.cluster.network.path(*names[:2])
        path.slowest = self.rng.choice((0.05, 0.3, 1.5))
        self._later(5.0, self._unclog, *names[:2])
        return True

    def _unclog(self, sender: str, receiver: str) -> None:
        network = self.cluster.network
        network.path(sender, receiver).slowest = network.slowest


def _both_ways(some: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [(one, other) for one in some for other in others]
    return [*pairs, *((other, one) for one, other in pairs)]

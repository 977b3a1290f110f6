"""
The people who run a cluster: they let servers in, move and remove them, and so on.

Mostly one thing at a time, through the same door as clients; whether it works out or
not, the next thing comes. At most one server listens at another address than its
cluster knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from hraftd.forwarding import OnFollower
from hraftd.outcomes import Removed
from hraftd.raft.configuration import Suffrage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from hraftd.raft.configuration import Server
    from hraftd.simulator.cluster import Cluster
    from hraftd.simulator.machines import Machine, Running

__all__ = ["DEEDS", "Operators"]

#: What they do, where they do it at all, and how many seconds pass between two deeds of
#: the kind on average.
DEEDS: dict[str, float] = {
    "add": 3.0,
    "remove": 4.0,
    "replace": 4.0,
    "move": 5.0,
    "suffrage": 5.0,
    "transfer": 2.0,
    "take snapshot": 2.0,
}

#: Machines in one world, at most.
MOST_MACHINES = 7

#: Seconds after which they see to something else.
_PATIENCE = 5.0


@define(eq=False)
class Operators:
    """
    Does things of some kinds, until it is over.
    """

    cluster: Cluster
    rng: Random
    deeds: Sequence[str]
    #: So many things may be under way; what is done at once gets into its own way.
    at_once: int = 1
    #: How often it does them: so many times what is usual.
    pace: float = 1.0
    is_over: bool = False
    _under_way: set[int] = field(factory=set)
    _deed: int = 0
    _machines: int = 0

    def start(self) -> None:
        """
        Begin.
        """
        self._machines = len(self.cluster.machines)
        for deed in self.deeds:
            self._wait(deed)

    def _wait(self, deed: str) -> None:
        seconds = self.rng.expovariate(self.pace / DEEDS[deed])
        self.cluster.world.after(seconds, None, self._begin, deed)

    def _begin(self, deed: str) -> None:
        if self.is_over:
            return
        self._wait(deed)
        if len(self._under_way) >= self.at_once:
            return
        begin: Callable[[], object] = {
            "add": self._add,
            "remove": self._remove,
            "replace": self._replace,
            "move": self._move,
            "suffrage": self._change_suffrage,
            "transfer": self._transfer,
            "take snapshot": self._take_snapshot,
        }[deed]
        begin()

    # What they can do.

    def _add(self) -> None:
        """
        Let a new machine in, or one that was a member and is none any more.
        """
        known = self._members()
        strangers = [one for one in self.cluster.running if one.server_id not in known]
        if strangers and self.rng.random() < 0.5:
            machine = self.rng.choice(strangers)
        elif len(self.cluster.machines) < MOST_MACHINES:
            self._machines += 1
            machine = self.cluster.add(f"s{self._machines}")
            machine.suffrage = self.rng.choice(
                (Suffrage.VOTER, Suffrage.VOTER, Suffrage.NONVOTER)
            )
            machine.start()
        else:
            return
        self.join(machine)

    def join(self, machine: Machine, what: str = "add") -> None:
        """
        Have a machine's server be a member as it is now.

        :param what: what that is called in the transcript.
        """
        member = machine.member
        if self.rng.random() < 0.5 and not self.is_over:
            # In one of its next writes, while it is sent the log or a snapshot.
            seconds = self.rng.uniform(0, 0.1)
            self.cluster.world.after(seconds, None, self._restart, machine)
        self._ask(
            f"{what} {member.id} at {member.raft} as {member.suffrage.value}",
            lambda running: running.requests.join(member, OnFollower.FORWARD),
        )

    def _restart(self, machine: Machine) -> None:
        running = machine.running
        if running is None:
            return

        def end_writing() -> None:
            if machine.running is running and not self.is_over:
                machine.kill()
                self.cluster.world.after(self.rng.uniform(0, 0.5), None, machine.start)

        running.storage.on_write = end_writing

    def _members(self) -> list[str]:
        machine = self.cluster.leader() or self._some()
        if machine is None or machine.running is None:
            return list(self.cluster.machines)
        configuration = machine.running.server.status().configuration
        return [member.id for member in configuration.servers]

    def _remove(self) -> None:
        members = self._members()
        if len(members) > 1:
            self.remove(self.rng.choice(members))

    def remove(self, server_id: str) -> None:
        """
        Have a server be no member.
        """
        self._ask(
            f"remove {server_id}",
            lambda running: running.requests.remove(server_id, OnFollower.FORWARD),
        )

    def _replace(self) -> None:
        """
        Remove a server, and give its name to one that begins with an empty disk.
        """
        members = self._members()
        if len(members) < 2:
            return
        machine = self.cluster.machines[self.rng.choice(members)]

        def removed(outcome: object) -> None:
            if isinstance(outcome, Removed):
                machine.wipe()
                machine.start()
                if self.rng.random() < 0.5:
                    self.join(machine)

        self._ask(
            f"replace {machine.server_id}",
            lambda running: running.requests.remove(
                machine.server_id, OnFollower.FORWARD
            ),
            removed,
        )

    def _move(self) -> None:
        """
        Start a server at another address, and tell the cluster.
        """
        members = self._members()
        moving = [one for one in self.cluster.running if one.server_id in members]
        elsewhere = [one for one in moving if not self._is_where_known(one)]
        if elsewhere:
            # First things first.
            self.join(elsewhere[0], "move")
        elif len(moving) > 1:
            machine = self.rng.choice(moving)
            machine.kill()
            machine.move()
            machine.start()
            self.join(machine, "move")

    def _is_where_known(self, machine: Machine) -> bool:
        leader = self.cluster.leader()
        if leader is None or leader.running is None:
            return False
        configuration = leader.running.server.status().configuration
        known = configuration.get(machine.server_id)
        return known is None or known.raft == machine.address

    def move_back(self) -> None:
        """
        Start whoever listens elsewhere at the address that the cluster knows.
        """
        leader = self.cluster.leader()
        for known in self._latest_members():
            machine = self.cluster.machines[known.id]
            if machine.address != known.raft and machine is not leader:
                self.cluster.transcript.say(known.id, f"goes back to {known.raft}")
                machine.kill()
                machine.move_to(known.raft)
                machine.start()

    def _latest_members(self) -> Sequence[Server]:
        """
        Return the members as the leader knows them, or who comes closest to one.
        """
        statuses = [
            machine.running.server.status()
            for machine in self.cluster.running
            if machine.running is not None
        ]
        latest = max(
            statuses,
            key=lambda status: (
                status.role == "leader",
                status.commit_index,
                status.last_log_index,
            ),
            default=None,
        )
        return () if latest is None else latest.configuration.servers

    def _change_suffrage(self) -> None:
        machine = self._some()
        if machine is not None:
            machine.suffrage = self.rng.choice((Suffrage.VOTER, Suffrage.NONVOTER))
            self.join(machine, "vote")

    def _transfer(self) -> None:
        members = self._members()
        to = self.rng.choice([None, *members])
        self._ask(
            f"transfer to {to}",
            lambda running: running.requests.transfer(to, OnFollower.FORWARD),
        )

    def _take_snapshot(self) -> None:
        self._ask("take snapshot", lambda running: running.requests.take_snapshot())

    # How they do it.

    def _some(self) -> Machine | None:
        running = self.cluster.running
        return self.rng.choice(running) if running else None

    def _whom_to_ask(self) -> Machine | None:
        """
        Choose a member, mostly; sometimes whoever is there.
        """
        members = self._members()
        known = [one for one in self.cluster.running if one.server_id in members]
        if known and self.rng.random() < 0.8:
            return self.rng.choice(known)
        return self._some()

    def _ask(
        self,
        what: str,
        ask: Callable[[Running], Deferred[Any]],
        then: Callable[[object], object] = lambda _: None,
    ) -> None:
        machine = self._whom_to_ask()
        if machine is None or machine.running is None:
            return
        self._deed += 1
        self._under_way.add(self._deed)
        deed, running = self._deed, machine.running
        self.cluster.transcript.say("ops", f"{what}, asks {machine.server_id}")

        def over(result: object) -> None:
            if deed in self._under_way:
                self._under_way.remove(deed)
                outcome = str(result)
                self.cluster.transcript.count(
                    f"{what.partition(' ')[0]}: {outcome.partition('(')[0]}",
                    "ops",
                    f"{what}: {outcome}",
                )
                world.after(0, None, then, result)

        def failed(failure: Failure) -> None:
            assert isinstance(failure.value, Exception)
            self.cluster.watch.object_to(failure.value)

        def begin() -> None:
            ask(running).addCallbacks(over, failed)

        world = self.cluster.world
        world.after(0, running.process, begin)
        world.after(_PATIENCE, None, over, "no answer")

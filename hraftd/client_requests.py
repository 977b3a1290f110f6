"""
What clients want of this node: the one door through which they reach the cluster.

Between the HTTP API and :class:`hraftd.server.RaftServer`. A read is served here, see
:mod:`hraftd.reads`; everything else only the leader can do. Where another node leads,
that is said, or the client is sent there, or its request is passed on in its place,
see :mod:`hraftd.forwarding`. What becomes of it is one of a closed set,
:mod:`hraftd.outcomes`.

A timeout, a lost leadership and a leader that was asked and did not answer are never
taken for a failure: the outcome is unknown. Nothing here knows HTTP or status codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import succeed

from hraftd.deadlines import Deadline, Patience, within
from hraftd.errors import SnapshotImpossible, Stopped
from hraftd.forwarding import Forwarding, OnFollower
from hraftd.kv.commands import Restore, Stamped, encode_command, needs_time
from hraftd.kv.results import Done, TokenReused, TooLarge, result_of
from hraftd.leader_requests import (
    AddServer,
    ClientRequest,
    RemoveServer,
    TransferLeadership,
)
from hraftd.limits import Limits
from hraftd.outcomes import (
    Applied,
    Conflict,
    Excessive,
    Joined,
    Removed,
    Taken,
    Transferred,
    Unavailable,
    Unknown,
)
from hraftd.reads import ASSURED, ReadLevel, Reads
from hraftd.refusals import change_declined, not_done

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from hraftd.kv.commands import Command
    from hraftd.kv.store import KeyValueStore
    from hraftd.leader_requests import LeaderRequest
    from hraftd.outcomes import (
        Declined,
        JoinOutcome,
        ListOutcome,
        ReadOutcome,
        RemovalOutcome,
        SnapshotOutcome,
        TransferOutcome,
        WriteOutcome,
    )
    from hraftd.raft.configuration import Server
    from hraftd.raft.messages import Snapshot
    from hraftd.reads import Consistency
    from hraftd.server import RaftServer

    _Done = TypeVar("_Done")
    _Made = TypeVar("_Made")

__all__ = ["ClientRequests"]

#: Seconds for which what needs a leader, and has not reached one, is tried again: it
#: takes about half of that to miss a leader and to elect another one.
ELECTION_SECONDS = 2.0

#: What a node says that no configuration names: to try again there would not help.
NO_MEMBER = Unavailable(
    "this node is not a member of the cluster, not yet or not any more; ask another one"
)


class ClientRequests:
    """
    Serves the clients of one node.

    Everything that is asked for fires with its outcome, and fails only with what
    nobody foresaw. Cancelling stops the waiting; what has entered the log goes on.

    :ivar read_level: the level of a read that does not ask for one.
    :ivar limits: how large a request may be.
    :ivar history: what this node has applied lately.
    :ivar record: looks up what a key holds in this node's own state, as it is: that is
        :meth:`read` at the level ``none``, for those who do it all the time. Only while
        :attr:`has_state`.
    """

    def __init__(
        self,
        server: RaftServer,
        store: KeyValueStore,
        clock: IReactorTime,
        *,
        on_follower: OnFollower = OnFollower.ERROR,
        read_level: ReadLevel = ReadLevel.NONE,
        write_timeout: float = 10.0,
        change_timeout: float = 10.0,
        read_timeout: float = 10.0,
        snapshot_timeout: float = 600.0,
        limits: Limits | None = None,
    ) -> None:
        """
        Serve through this server.

        :param store: the state machine that the server applies to.
        :param on_follower: used where a request does not say.
        :param write_timeout: seconds after which a write's outcome is unknown.
        :param change_timeout: the same for a change of the cluster.
        :param read_timeout: seconds in which a read must have its assurance.
        :param snapshot_timeout: seconds for which a client waits for a snapshot.
        """
        self._server = server
        self._store = store
        self._clock = clock
        self._on_follower = on_follower
        self._write_timeout = write_timeout
        self._write_deadline = Deadline(clock, write_timeout)
        self._write_unknown = Unknown(
            f"no answer within {write_timeout:g} seconds; the write may or may not "
            "happen"
        )
        self._change_timeout = change_timeout
        self._snapshot_timeout = snapshot_timeout
        patience = Patience(clock, ELECTION_SECONDS)
        self._reads = Reads(server, store, clock, read_timeout, patience)
        self._forwarding = Forwarding(server, clock, patience)
        self.read_level = read_level
        self.limits = Limits() if limits is None else limits
        self.history = store.history
        self.record = store.record

    def drain(self, seconds: float) -> Deferred[None]:
        """
        Pass nothing on to the leader any more, and wait for what was.

        :return: fires when all of it is answered, or after so many seconds.
        """
        return self._forwarding.drain(seconds)

    # What this node does itself.

    def read(self, key: str, consistency: Consistency) -> Deferred[ReadOutcome]:
        """
        Read this node's own state, once it is as fresh as is asked for.
        """
        if self._cannot_read(consistency):
            return succeed(NO_MEMBER)
        return self._reads.read(key, consistency)

    @property
    def has_state(self) -> bool:
        """
        Whether this node's own state is one of a cluster: it has joined one.
        """
        return self._server.cluster_id is not None

    def page(
        self, prefix: str, after: str | None, limit: int, consistency: Consistency
    ) -> Deferred[ListOutcome]:
        """
        Read a page of the keys in their order; as :meth:`read`.

        :param prefix: what the keys begin with.
        :param after: the key that they come behind, there or not; ``None`` for all.
        :param limit: how many there may be.
        """
        if self._cannot_read(consistency):
            return succeed(NO_MEMBER)
        return self._reads.page(prefix, after, limit, consistency)

    def until_fresh(self, consistency: Consistency) -> Deferred[Unavailable | None]:
        """
        Wait until this node's state is as fresh as is asked for; as :meth:`read`.

        :return: fires with ``None`` when it is.
        """
        if self._cannot_read(consistency):
            return succeed(NO_MEMBER)
        return self._reads.until_fresh(consistency)

    def _cannot_read(self, consistency: Consistency) -> bool:
        return not self.has_state or (
            consistency.level in ASSURED and not self._server.is_member
        )

    def count_keys(self) -> int:
        """
        Return how many keys this node's own state holds.
        """
        return len(self._store)

    def count_tokens(self) -> int:
        """
        Return how many writes with a token this node's own state remembers.
        """
        return self._store.tokens

    def count_expiring(self) -> int:
        """
        Return how many keys of this node's own state will expire.
        """
        return self._store.deadlines

    def count_forwarded(self) -> int:
        """
        Return how many requests were passed on to the leader and are not answered.
        """
        return self._forwarding.count

    def take_snapshot(self) -> Deferred[SnapshotOutcome]:
        """
        Have this node put a snapshot in place of its log.
        """

        def taken(snapshot: Snapshot) -> SnapshotOutcome:
            return Taken(snapshot.last_index, snapshot.last_term, snapshot.size)

        def not_taken(failure: Failure) -> SnapshotOutcome:
            match failure.value:
                case SnapshotImpossible() as error:
                    return Unavailable(str(error))
                case Stopped():
                    return Unavailable("this node is stopping")
                case _:
                    failure.raiseException()

        seconds = self._snapshot_timeout
        return within(
            self._clock,
            seconds,
            self._server.take_snapshot().addCallbacks(taken, not_taken),
            Unavailable(
                f"there is no snapshot after {seconds:g} seconds; it goes on, ask again"
            ),
        )

    # What only the leader does.

    def write(
        self, command: Command, on_follower: OnFollower | None = None
    ) -> Deferred[WriteOutcome]:
        """
        Have a command replicated and applied.

        With a token, as a :class:`~hraftd.kv.commands.Once`, it is safe to ask again:
        if this very command was already carried out under that token, it is not again,
        and the outcome is the first one's, with the index of the entry that did it. A
        token that belongs to another command is a
        :class:`~hraftd.outcomes.Conflict`.

        :param on_follower: ``None`` for what the node was told at its start.
        :return: where it fires with an :class:`~hraftd.outcomes.Applied`, the result in
            that is one of :mod:`hraftd.kv.results`.
        :raises CodecError: if the command has no byte form.
        """
        if not self._server.is_member:
            return succeed(NO_MEMBER)
        if needs_time(command) and not isinstance(command, Stamped | Restore):
            # How late it is, the leader says.
            command = Stamped(0, command)
        encoded = encode_command(command)
        wanted = on_follower or self._on_follower
        # In few steps, as it comes with every write.
        done: Deferred[Applied]
        if wanted is OnFollower.FORWARD:
            done = self._forwarding.at_leader(
                lambda: self._server.propose(encoded),
                ClientRequest(encoded),
                self._write_timeout,
            )
        else:
            done = self._server.propose(encoded)
        written: Deferred[WriteOutcome] = done.addCallback(_written)
        written.addErrback(not_done, self._server.server_id, wanted)
        return self._write_deadline.wait(written, self._write_unknown)

    def join(
        self, newcomer: Server, on_follower: OnFollower | None = None
    ) -> Deferred[JoinOutcome]:
        """
        Make a server a member of this cluster, move one, or change whether it votes.

        :param on_follower: as for :meth:`write`.
        :return: fires, if it is to vote, only when it does: it has caught up then.
        """
        me = self._server.status().configuration.get(self._server.server_id)
        if me is not None and newcomer.id == me.id and newcomer.raft != me.raft:
            # The server knows where it is, and would not look whether this is true.
            return succeed(Conflict(f"{me.id} is a member already, and is this node"))
        rank = "voter" if newcomer.is_voter else "member"
        return self._change(
            lambda: self._server.add_server(newcomer),
            AddServer(newcomer),
            on_follower,
            Joined,
            f"{newcomer.id} is not a {rank} yet; it may be catching up, ask again",
        )

    def remove(
        self, server_id: str, on_follower: OnFollower | None = None
    ) -> Deferred[RemovalOutcome]:
        """
        Remove a member from the cluster; it may be the leader.

        :param on_follower: as for :meth:`write`.
        """
        return self._change(
            lambda: self._server.remove_server(server_id),
            RemoveServer(server_id),
            on_follower,
            Removed,
            f"{server_id} is not removed yet; it may be later, ask again",
        )

    def transfer(
        self, server_id: str | None, on_follower: OnFollower | None = None
    ) -> Deferred[TransferOutcome]:
        """
        Hand the leadership over.

        :param server_id: ``None`` for the server that is best prepared for it.
        :param on_follower: as for :meth:`write`.
        """

        def transferred(term: int) -> Transferred:
            status = self._server.status()
            if server_id is not None:
                return Transferred(term, status.configuration.get(server_id))
            return Transferred(term, status.leader if status.term == term else None)

        return self._change(
            lambda: self._server.transfer_leadership(server_id),
            TransferLeadership(server_id),
            on_follower,
            transferred,
            "nobody has taken over yet; it may happen later, ask again",
        )

    def _change(
        self,
        here: Callable[[], Deferred[int]],
        request: LeaderRequest,
        on_follower: OnFollower | None,
        made: Callable[[int], _Made],
        too_late: str,
    ) -> Deferred[_Made | Declined]:
        """
        Have the leader change the cluster.

        :param here: asks this server.
        :param request: asks the leader in its place.
        :param made: makes an outcome of what either returns.
        :param too_late: what is said when the time is over.
        """
        if not self._server.is_member:
            return succeed(NO_MEMBER)
        wanted = on_follower or self._on_follower
        seconds = self._change_timeout
        done: Deferred[int] = (
            self._forwarding.at_leader(here, request, seconds)
            if wanted is OnFollower.FORWARD
            else here()
        )
        pending: Deferred[_Made | Declined] = done.addCallback(made)
        pending.addErrback(change_declined, self._server.server_id, wanted)
        return within(
            self._clock,
            seconds,
            pending,
            Unknown(f"after {seconds:g} seconds {too_late}"),
        )


def _written(applied: Applied) -> WriteOutcome:
    """
    Say what became of a write whose entry was applied.
    """
    if applied.result is None:
        # Of nearly all, which set keys.
        return applied
    result = result_of(applied.result)
    index = applied.index
    if isinstance(result, Done):
        # Of a retry, that of the entry which did it.
        index, result = result.index, result.result
    match result:
        case TokenReused(first):
            return Conflict(
                f"the idempotency key belongs to another request, done at index {first}"
            )
        case TooLarge(limit):
            return Excessive(
                f"the values that the transaction gets hold more than {limit} bytes"
            )
        case _:
            return Applied(index, result)

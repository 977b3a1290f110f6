"""
The three seams of hraftd.

Where entries are kept, what they are applied to, and how peers are reached.
:class:`hraftd.server.RaftServer` knows these and nothing behind them; a simulator,
a test or another program can put its own there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen
from zope.interface import Interface

from hraftd.raft.messages import HardState, Piece, Snapshot

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from twisted.internet.defer import Deferred

    from hraftd.leader_requests import LeaderRequest
    from hraftd.proposals import Applied
    from hraftd.raft.configuration import Server
    from hraftd.raft.messages import Call, Entry, Response

__all__ = [
    "IPeers",
    "IStateMachine",
    "IStorage",
    "Restoration",
    "StorageError",
    "Stored",
]


class StorageError(Exception):
    """
    The disk does not hold, or did not take, what it should.

    The text is one sentence for the operator: it names the file and says what to
    do next.
    """


@frozen
class Stored:
    """
    What a storage held when it was opened.
    """

    #: The cluster this node belongs to; ``None`` if it belongs to none yet, and empty
    #: if it was told to join one.
    cluster_id: str | None = None
    hard_state: HardState = field(factory=HardState)
    #: The latest snapshot, ``None`` if none was ever taken or installed.
    snapshot: Snapshot | None = None
    #: The content of that snapshot, in its pieces, to be read once and before
    #: anything else is asked of the storage. Iterating raises :class:`StorageError`
    #: where it is damaged.
    pieces: Iterable[bytes] = ()
    #: The whole log in order, without gaps. Its first entry is no later than the one
    #: behind the snapshot.
    entries: Sequence[Entry] = ()


class IStorage(Interface):
    """
    Durable memory of one server. Only one :meth:`save` is under way at a time.
    """

    def load() -> Stored:
        """
        Read everything back. Called once, before anything is saved; blocks.

        :raises StorageError: if any of it is damaged. Damage is never read as
            the end of the log.
        """

    def save(
        hard_state: HardState | None,
        entries: Sequence[Entry],
        cluster_id: str | None = None,
        *,
        pieces: Sequence[Piece] = (),
        snapshot: Snapshot | None = None,
    ) -> Deferred[None]:
        """
        Make all of this durable, in one transaction.

        :param hard_state: replaces the one before; ``None`` leaves it.
        :param entries: consecutive entries; everything that the log held from
            the first one's index on is replaced by them. Empty leaves the log.
        :param cluster_id: the cluster that this node now belongs to; ``None``
            leaves it.
        :param pieces: of a snapshot that is being received, each right behind the one
            before. One at offset 0 begins anew: what was received before is dropped.
        :param snapshot: all its pieces have been received now. It takes the place of
            the snapshot before *and of the whole log*: ``entries``, which follow it,
            are all there is behind it.
        :return: fires when it is synced. Fails with :class:`StorageError`; after
            that the storage refuses everything.
        """

    def write_piece(piece: Piece) -> Deferred[None]:
        """
        Keep a piece of a snapshot that this server takes itself.

        One at offset 0 begins anew, whatever became of the one before. One at a time,
        but beside a :meth:`save`, which is never kept waiting for more than a piece.

        :return: fires when it is written; fails as :meth:`save`.
        """

    def compact(
        snapshot: Snapshot, trailing_entries: int, trailing_bytes: int
    ) -> Deferred[int]:
        """
        Put the snapshot that was written in place of the log up to its last index.

        One transaction: the snapshot takes the place of the one before, and of the log
        before its last entry no more stays than so many entries and so many bytes of
        payload.

        :return: fires with the index of the first entry that is left, or the one after
            ``snapshot.last_index`` if none up to there is; fails as :meth:`save`, and
            with :exc:`ValueError` if the pieces written are not the snapshot's.
        """

    def read_piece(snapshot: Snapshot, offset: int) -> Deferred[bytes]:
        """
        Read one piece of the latest snapshot back.

        :return: fails with :exc:`LookupError` if that snapshot is no longer the
            latest, or has no piece that begins there.
        """

    def read_entries(
        first: int, last: int, max_bytes: int
    ) -> Deferred[Sequence[Entry]]:
        """
        Read entries back that are not in memory any more.

        :return: entries from ``first`` on, not beyond ``last``: as many as have no more
            than ``max_bytes`` of payload, and at least one. Fails with
            :exc:`LookupError` if the first one is not there (any more).
        """

    def close() -> Deferred[None]:
        """
        Let go of the data directory once what is under way is done.

        Does nothing the second time.
        """


class IStateMachine(Interface):
    """
    What the entries are commands of.

    It must be deterministic: every server applies the same commands in the same
    order.
    """

    def apply(index: int, command: bytes) -> object:
        """
        Carry out a committed command.

        :param index: the index of its entry; grows with every call.
        :return: what the proposer is told, as JSON knows it: text, a number, a truth
            value, ``None``, or lists and objects of them. A command that cannot be
            carried out is an outcome like any other: it is returned, never raised.
        """

    def snapshot() -> Generator[bytes, None, None]:
        """
        Return the whole state as it is at this moment, in pieces.

        What is applied while it is read does not show in it. Each piece takes a
        millisecond or so to make and has at most some 100 kB, unless one item alone
        is larger; there is at least one, and none is empty. The driver reads one after
        the other, with time for everything else between them, and closes the iterator
        if it does not need the rest. There is only one at a time.
        """

    def restore() -> Restoration:
        """
        Begin to replace the whole state by that of a snapshot.

        The state stays as it is until all of the new one has been added.
        """


class Restoration(Protocol):
    """
    A state that is being read from a snapshot.
    """

    def add(self, piece: bytes) -> None:
        """
        Take the next piece, exactly as the snapshot's iterator returned it.

        :raises ValueError: if that is none.
        """

    def finish(self) -> None:
        """
        Put what was added in place of the state as it was, which is quick.

        :raises ValueError: if something is missing.
        """


class IPeers(Interface):
    """
    The way to the other servers.
    """

    def configure(cluster_id: str, servers: Sequence[Server]) -> None:
        """
        Keep a link to each of these but oneself, and let go of all others.
        """

    def is_linked(server_id: str) -> bool:
        """
        Whether there is an open link to that server at this moment.
        """

    def call(call: Call) -> Deferred[Response]:
        """
        Send one request.

        Does not wait for a link: fails at once if there is none.

        :return: the peer's answer, or any failure. It always fires, within
            seconds.
        """

    def probe(server: Server) -> Deferred[None]:
        """
        See whether a server of that id answers there and would be a peer.

        :return: fires if so; fails with the reason, in a sentence, if not.
        """

    def ask(
        server_id: str, request: LeaderRequest, seconds: float
    ) -> Deferred[Applied | int]:
        """
        Ask another server, the leader, to do something.

        :param seconds: how long to wait for the answer.
        :return: fires with what :meth:`hraftd.server.RaftServer.serve` returned there,
            and fails with what that failed with; or with
            :exc:`~hraftd.errors.NotReached`: it was not asked. Any other failure
            leaves open whether it was done.
        """

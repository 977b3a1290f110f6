"""
The three seams of hraftd.

Where entries are kept, what they are applied to, and how peers are reached.
:class:`hraftd.server.RaftServer` knows these and nothing behind them; a simulator,
a test or another program can put its own there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from zope.interface import Interface

from hraftd.raft.messages import HardState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from hraftd.raft.configuration import Configuration, Server
    from hraftd.raft.messages import Call, Entry, Response

__all__ = ["IPeers", "IStateMachine", "IStorage", "StorageError", "Stored"]


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

    #: The cluster this node belongs to; ``None`` if it belongs to none yet.
    cluster_id: str | None = None
    hard_state: HardState = field(factory=HardState)
    #: The whole log in order, without gaps.
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
    ) -> Deferred[None]:
        """
        Make all of this durable, in one transaction.

        :param hard_state: replaces the one before; ``None`` leaves it.
        :param entries: consecutive entries; everything that the log held from
            the first one's index on is replaced by them. Empty leaves the log.
        :param cluster_id: the cluster that this node now belongs to; ``None``
            leaves it.
        :return: fires when it is synced. Fails with :class:`StorageError`; after
            that the storage refuses everything.
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
        :return: what the proposer is told. A command that cannot be carried out
            is an outcome like any other: it is returned, never raised.
        """


class IPeers(Interface):
    """
    The way to the other servers.
    """

    def configure(cluster_id: str, configuration: Configuration) -> None:
        """
        Keep a link to each member but oneself, and let go of all others.
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

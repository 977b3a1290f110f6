"""
What the algorithm asks of the world, and how long it lets things take.

:class:`Ready` is the contract between :class:`~hraftd.raft.consensus.ConsensusModule`
and whoever drives it: what must be on disk before what is sent, applied or answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

if TYPE_CHECKING:
    from hraftd.raft.configuration import Server
    from hraftd.raft.messages import Call, Entry, HardState, Piece, Snapshot

__all__ = ["ConfirmedRead", "Fetch", "FetchEntries", "FetchPiece", "Ready", "Timing"]


@frozen
class Timing:
    """
    How long things take, in ticks, and how much is sent or kept at a time.
    """

    #: After so many ticks without a word from the leader, at least, a follower
    #: campaigns, and at most after twice as many (Raft 5.2). For as many ticks it
    #: refuses its vote to others (dissertation 4.2.3), and for as many the leader may
    #: miss a majority before it steps down (dissertation 6.2).
    election_timeout: int = 20
    #: The leader sends something to everybody at least so often.
    heartbeat_interval: int = 4
    #: The size of one AppendEntries, unless one entry alone is larger.
    max_append_bytes: int = 1 << 20
    #: Of the log that is applied and on disk, so many entries and so many bytes of them
    #: stay in memory too, for followers that are a little behind.
    memory_entries: int = 4096
    memory_bytes: int = 16 << 20


@frozen(eq=False)
class FetchEntries:
    """
    Entries that a follower needs and that are not in memory any more.
    """

    #: The follower.
    to: str
    #: From this one on, not beyond the other, and about as many as have ``max_bytes``.
    first: int
    last: int
    max_bytes: int


@frozen(eq=False)
class FetchPiece:
    """
    The piece of the snapshot that a follower needs next.
    """

    #: The follower.
    to: str
    snapshot: Snapshot
    offset: int


Fetch: TypeAlias = FetchEntries | FetchPiece


@frozen
class ConfirmedRead:
    """
    The server still led when a round of reads had begun (dissertation 6.4).
    """

    #: What ``ConsensusModule.read_index`` returned to those whom this is for.
    round: int
    #: A state that has applied this entry is fresh enough for them.
    index: int


@frozen
class Ready:
    """
    What there is to do now. The order is the safety of Raft: see each field.
    """

    #: To be on disk, synced, before ``calls`` are sent or any result of
    #: ``ConsensusModule.handle`` that came before this is answered; ``None`` if
    #: the disk has it already.
    hard_state: HardState | None
    #: Likewise. They replace all that the disk holds from the first one's index on.
    entries: tuple[Entry, ...]
    #: Likewise: of the snapshot that is being received, each right behind the one
    #: before. One at offset 0 begins anew.
    pieces: tuple[Piece, ...]
    #: Likewise, in the same transaction as the rest: all its pieces are there, and it
    #: takes the place of the whole log; ``entries`` are all that is left behind it.
    #: When it is on disk it is to be restored into the state machine, and
    #: ``ConsensusModule.restored`` to be called; until then nothing is ``committed``.
    snapshot: Snapshot | None
    #: To be sent once all of that is on disk.
    calls: tuple[Call, ...]
    #: To be sent at once, also while the disk is busy (dissertation 10.2.1): a
    #: leader's AppendEntries promise nothing about its own disk.
    early_calls: tuple[Call, ...]
    #: To be read from the disk, which has them, and given to
    #: ``ConsensusModule.fetched``; or to ``fetch_failed`` if it has them no longer.
    fetches: tuple[Fetch, ...]
    #: To be applied, in order. They are committed, and on this server's disk since
    #: an earlier ``ConsensusModule.advance``, so they wait for nothing.
    committed: tuple[Entry, ...]
    #: Who waits for these may read once ``index`` is applied.
    confirmed_reads: tuple[ConfirmedRead, ...]
    #: The servers to which links are to be open before ``calls`` and ``early_calls``
    #: are sent, ``None`` if they are the same as in the last: the members, and those
    #: that still have to be told that they are none any more.
    servers: tuple[Server, ...] | None

    @property
    def must_save(self) -> bool:
        """
        Whether there is something to write, and ``advance`` is to be called then.
        """
        return (
            self.hard_state is not None
            or bool(self.entries)
            or bool(self.pieces)
            or self.snapshot is not None
        )

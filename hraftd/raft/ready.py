"""
What the algorithm asks of the world, and how long it lets things take.

:class:`Ready` is the contract between :class:`~hraftd.raft.consensus.ConsensusModule`
and whoever drives it: what must be on disk before what is sent, applied or answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from hraftd.raft.configuration import Configuration
    from hraftd.raft.messages import Call, Entry, HardState

__all__ = ["Ready", "Timing"]


@frozen
class Timing:
    """
    How long things take, in ticks, and how much goes into one request.
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
    #: To be sent once ``hard_state`` and ``entries`` are on disk.
    calls: tuple[Call, ...]
    #: To be sent at once, also while the disk is busy (dissertation 10.2.1): a
    #: leader's AppendEntries promise nothing about its own disk.
    early_calls: tuple[Call, ...]
    #: To be applied, in order. They are committed, and on this server's disk since
    #: an earlier ``ConsensusModule.advance``, so they wait for nothing.
    committed: tuple[Entry, ...]
    #: The configuration that has come into force, ``None`` if it is the same as in
    #: the last. Links are to be opened before ``calls`` and ``early_calls`` are sent.
    configuration: Configuration | None

    @property
    def must_save(self) -> bool:
        """
        Whether there is something to write, and ``advance`` is to be called then.
        """
        return self.hard_state is not None or bool(self.entries)

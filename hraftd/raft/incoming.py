"""
A snapshot that is being received, piece by piece.

Pieces of two snapshots are never mixed, though two leaders may take one each at the
same index (smg 837): a snapshot is known by the digest of its content, and what was
received has that digest or is thrown away. Where the sender stands nobody has to
remember: the receiver says what it needs next, which is the beginning if it has
restarted (LogCabin 174).

Raft 7 (figure 13).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from hraftd.raft.errors import ProtocolViolation

if TYPE_CHECKING:
    from hraftd.raft.messages import InstallSnapshot, Snapshot

__all__ = ["DIGEST_BYTES", "IncomingSnapshot"]

#: Of the BLAKE2b that names a snapshot's content.
DIGEST_BYTES = 32


class IncomingSnapshot:
    """
    What has been received of one snapshot.

    :ivar next_offset: where the piece begins that is needed next.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """
        Begin with nothing of it.
        """
        self.snapshot = snapshot
        self.next_offset = 0
        self._hash = blake2b(digest_size=DIGEST_BYTES)

    def add(self, request: InstallSnapshot) -> None:
        """
        Take the piece that was needed next.

        :raises ProtocolViolation: if it cannot be a piece of that snapshot, or if all
            pieces together are not what they should be.
        """
        piece = request.piece
        end = piece.offset + len(piece.data)
        if (
            not piece.data
            or (end == self.snapshot.size) != request.done
            or (end > self.snapshot.size)
        ):
            raise ProtocolViolation(
                f"{request.leader_id} sent bytes {piece.offset} to {end} of a snapshot "
                f"of {self.snapshot.size} bytes{' as the last' if request.done else ''}"
            )
        self._hash.update(piece.data)
        self.next_offset = end
        if self.is_complete and self._hash.digest() != self.snapshot.digest:
            raise ProtocolViolation(
                f"the snapshot at {self.snapshot.last_index} that {request.leader_id} "
                "sent is not what its digest says"
            )

    @property
    def is_complete(self) -> bool:
        """
        Whether nothing is missing.
        """
        return self.next_offset == self.snapshot.size

"""
What is on one server's disk, and a state machine that only remembers.

The state is the list of all entries that were ever applied. Its snapshot is that list
in JSON, a few entries to a piece, so that after a restore nothing less than everything
can be compared.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING

from attrs import Factory, define

from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.log import size_of
from hraftd.raft.messages import Entry, HardState, NoOp, Piece, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hraftd.raft.messages import Payload
    from hraftd.raft.ready import Ready

#: So many entries are in one piece of a snapshot.
PIECE_ENTRIES = 3


def encode_state(
    applied: Sequence[Entry], piece_entries: int = PIECE_ENTRIES
) -> tuple[Piece, ...]:
    """
    Return the pieces of a snapshot of a state in which these were applied.
    """
    pieces: list[Piece] = []
    offset = 0
    for first in range(0, len(applied), piece_entries):
        some = applied[first : first + piece_entries]
        data = json.dumps([_encode(entry) for entry in some]).encode()
        pieces.append(Piece(offset, data))
        offset += len(data)
    return tuple(pieces)


def decode_state(pieces: Iterable[Piece]) -> list[Entry]:
    """
    Return what was applied, from the pieces that :func:`encode_state` made of it.
    """
    return [_decode(*row) for piece in pieces for row in json.loads(piece.data)]


def _encode(entry: Entry) -> tuple[int, int, object]:
    match entry.payload:
        case bytes() as command:
            return entry.index, entry.term, command.decode("latin-1")
        case Configuration(servers=servers):
            members = [[s.id, s.raft, s.http, s.suffrage.value] for s in servers]
            return entry.index, entry.term, members
        case NoOp():
            return entry.index, entry.term, None


def _decode(index: int, term: int, what: str | list[list[str]] | None) -> Entry:
    payload: Payload = NoOp()
    if isinstance(what, str):
        payload = what.encode("latin-1")
    elif what is not None:
        payload = Configuration(
            tuple(Server(*texts, Suffrage(suffrage)) for *texts, suffrage in what)
        )
    return Entry(index, term, payload)


def digest_of(pieces: Iterable[Piece]) -> bytes:
    """
    Return the name of a snapshot's content.
    """
    return blake2b(b"".join(piece.data for piece in pieces), digest_size=32).digest()


def make_snapshot(
    applied: Sequence[Entry],
    configuration: Configuration,
    piece_entries: int = PIECE_ENTRIES,
) -> tuple[Snapshot, tuple[Piece, ...]]:
    """
    Return a snapshot of a state in which these were applied, and its pieces.
    """
    pieces = encode_state(applied, piece_entries)
    size = sum(len(piece.data) for piece in pieces)
    last = applied[-1]
    return (
        Snapshot(last.index, last.term, configuration, size, digest_of(pieces)),
        pieces,
    )


def snapshot_of(
    content: Sequence[bytes],
    last_index: int,
    last_term: int,
    configuration: Configuration,
) -> Snapshot:
    """
    Return a snapshot that has these pieces, whatever they mean.
    """
    pieces = [Piece(0, data) for data in content]
    return Snapshot(
        last_index,
        last_term,
        configuration,
        sum(map(len, content)),
        digest_of(pieces),
    )


@define(eq=False)
class Disk:
    """
    What outlives a crash.
    """

    server_id: str
    hard_state: HardState = Factory(HardState)
    #: Without gaps; the first is not behind the one after the snapshot.
    entries: list[Entry] = Factory(list)
    snapshot: Snapshot | None = None
    #: Of that snapshot.
    pieces: tuple[Piece, ...] = ()
    #: Of a snapshot that is being received; no use after a crash.
    received: list[Piece] = Factory(list)

    @property
    def snapshot_index(self) -> int:
        """
        The last entry that the snapshot stands for, or 0.
        """
        return 0 if self.snapshot is None else self.snapshot.last_index

    def write(self, ready: Ready) -> None:
        """
        Put there what a Ready holds, in one transaction.
        """
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        for piece in ready.pieces:
            if piece.offset == 0:
                self.received.clear()
            self.received.append(piece)
        if ready.snapshot is not None:
            self.snapshot, self.pieces = ready.snapshot, tuple(self.received)
            self.received = []
            self.entries = list(ready.entries)
        elif ready.entries:
            first = self.entries[0].index if self.entries else self.snapshot_index + 1
            del self.entries[ready.entries[0].index - first :]
            self.entries.extend(ready.entries)

    def compact(
        self, snapshot: Snapshot, pieces: tuple[Piece, ...], trailing: int
    ) -> int:
        """
        Put an own snapshot in place of the log before it, but for so many entries.

        :return: the first entry that is left, or the one after the snapshot.
        """
        self.snapshot, self.pieces = snapshot, pieces
        after = snapshot.last_index - trailing
        self.entries = [entry for entry in self.entries if entry.index > after]
        after_snapshot = snapshot.last_index + 1
        return self.entries[0].index if self.entries else after_snapshot

    def read_piece(self, snapshot: Snapshot, offset: int) -> bytes:
        """
        Read a piece back.

        :raises LookupError: if it is not there any more.
        """
        if snapshot == self.snapshot:
            for piece in self.pieces:
                if piece.offset == offset:
                    return piece.data
        raise LookupError(f"there is no piece at {offset} of {snapshot}")

    def read_entries(self, first: int, last: int, max_bytes: int) -> list[Entry]:
        """
        Read entries back: one at least, more if they fit.

        :raises LookupError: if the first is not there any more.
        """
        found = [entry for entry in self.entries if first <= entry.index <= last]
        if not found or found[0].index != first:
            raise LookupError(f"there is no entry {first}")
        size = 0
        for count, entry in enumerate(found):
            size += size_of(entry)
            if size > max_bytes and count:
                return found[:count]
        return found

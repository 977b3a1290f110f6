"""
The replicated log as one server holds it, in memory.

Entries behind the last snapshot, what is asked of them, and the configuration that
they put in force. Who may append what is decided in
:mod:`hraftd.raft.consensus`; what is on disk is the storage's business.

Raft 5.3 (consistency check, Log Matching), 5.4.1 (up-to-date), 7 (the log behind a
snapshot); dissertation 4.1 (a configuration is in force when it is appended).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from hraftd.raft.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.raft.messages import Entry

__all__ = ["Compacted", "Log"]

#: What an entry costs in a message besides the bytes of its command.
ENTRY_OVERHEAD = 16


class Compacted(LookupError):
    """
    The entry has been replaced by a snapshot: nothing is known of it any more.
    """


def _term(entry: Entry) -> int:
    return entry.term


class Log:
    """
    Consecutive entries from ``snapshot_index + 1`` on.

    An index has one of three answers: behind the snapshot nothing is known and
    :exc:`Compacted` is raised, never a made-up term that could match; at the
    snapshot's own index its term is known; after the last entry there is ``None``.
    """

    def __init__(
        self,
        entries: Sequence[Entry] = (),
        *,
        snapshot_index: int = 0,
        snapshot_term: int = 0,
        snapshot_configuration: Configuration | None = None,
    ) -> None:
        """
        Begin behind a snapshot, or with nothing before the first entry.

        :raises ValueError: if the entries are not consecutive.
        """
        self.snapshot_index = snapshot_index
        self.snapshot_term = snapshot_term
        self._entries: list[Entry] = []
        self._configurations: list[tuple[int, Configuration]] = [
            (snapshot_index, snapshot_configuration or Configuration())
        ]
        self.append(entries)

    @property
    def last_index(self) -> int:
        """
        The index of the last entry; the snapshot's if there is none, so 0 at first.
        """
        return self.snapshot_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """
        The term of the last entry; the snapshot's if there is none, so 0 at first.
        """
        return self._entries[-1].term if self._entries else self.snapshot_term

    @property
    def configuration(self) -> Configuration:
        """
        The latest configuration in the log, committed or not: the one in force.
        """
        return self._configurations[-1][1]

    @property
    def configuration_index(self) -> int:
        """
        The index of the entry that put :attr:`configuration` in force.
        """
        return self._configurations[-1][0]

    def term_at(self, index: int) -> int | None:
        """
        Return the term of the entry at that index, ``None`` after the last one.

        :raises Compacted: before the snapshot's index.
        """
        if index == self.snapshot_index:
            return self.snapshot_term
        if index < self.snapshot_index:
            raise Compacted(
                f"entry {index} lies behind the snapshot at {self.snapshot_index}"
            )
        if index > self.last_index:
            return None
        return self._entries[index - self.snapshot_index - 1].term

    def matches(self, index: int, term: int) -> bool:
        """
        Whether this log holds an entry of that index and term (Raft 5.3).

        :raises Compacted: before the snapshot's index.
        """
        return self.term_at(index) == term

    def is_up_to_date(self, last_log_index: int, last_log_term: int) -> bool:
        """
        Whether a log that ends so is at least as up-to-date as this (Raft 5.4.1).

        The later term wins; in the same term the longer log.
        """
        return (last_log_term, last_log_index) >= (self.last_term, self.last_index)

    def first_index_of_term(self, index: int) -> int:
        """
        Return the first index whose entry has the term of the entry at ``index``.

        Does not look behind the snapshot; there must be an entry at ``index``.
        """
        term = self._entries[index - self.snapshot_index - 1].term
        before = bisect_left(self._entries, term, key=_term)
        return self.snapshot_index + before + 1

    def last_index_of_term(self, term: int) -> int | None:
        """
        Return the last index that holds an entry of that term, if there is one.
        """
        # Terms never decrease along a log.
        last = self.snapshot_index + bisect_right(self._entries, term, key=_term)
        return last if last > self.snapshot_index and self.matches(last, term) else None

    def between(self, first: int, last: int) -> tuple[Entry, ...]:
        """
        Return the entries from ``first`` to ``last``, both included.

        :raises Compacted: if the first lies at or behind the snapshot's index.
        """
        if first <= self.snapshot_index:
            raise Compacted(
                f"entry {first} lies behind the snapshot at {self.snapshot_index}"
            )
        offset = self.snapshot_index + 1
        return tuple(self._entries[first - offset : max(last + 1 - offset, 0)])

    def batch(self, first: int, max_bytes: int) -> tuple[Entry, ...]:
        """
        Return as many entries from ``first`` on as ``max_bytes`` hold.

        At least one where there is one, however large it is.

        :raises Compacted: if the first lies at or behind the snapshot's index.
        """
        size = 0
        last = first - 1
        while last < self.last_index:
            payload = self._entries[last - self.snapshot_index].payload
            size += ENTRY_OVERHEAD
            if isinstance(payload, bytes):
                size += len(payload)
            if size > max_bytes and last >= first:
                break
            last += 1
        return self.between(first, last)

    def append(self, entries: Sequence[Entry]) -> None:
        """
        Put entries behind the last one; a configuration is in force from here on.

        :raises ValueError: if they do not follow the last entry one by one.
        """
        for entry in entries:
            if entry.index != self.last_index + 1:
                raise ValueError(
                    f"entry {entry.index} does not follow entry {self.last_index}"
                )
            self._entries.append(entry)
            if isinstance(entry.payload, Configuration):
                self._configurations.append((entry.index, entry.payload))

    def truncate(self, index: int) -> None:
        """
        Delete the entry at that index and all that follow it (Raft 5.3).

        Configurations among them are no longer in force (camunda 57393).

        :raises Compacted: if the index lies at or behind the snapshot's.
        """
        if index <= self.snapshot_index:
            raise Compacted(
                f"entry {index} lies behind the snapshot at {self.snapshot_index}"
            )
        del self._entries[index - self.snapshot_index - 1 :]
        while self.configuration_index >= index:
            self._configurations.pop()

    def discard(self, index: int) -> None:
        """
        Forget the entries up to that one: a snapshot holds them now (Raft 7).

        Does nothing if they are forgotten already.

        :raises ValueError: if the log does not reach that far.
        """
        if index <= self.snapshot_index:
            return
        term = self.term_at(index)
        if term is None:
            raise ValueError(f"the log ends at {self.last_index}, before {index}")
        del self._entries[: index - self.snapshot_index]
        while len(self._configurations) > 1 and self._configurations[1][0] <= index:
            del self._configurations[0]
        self.snapshot_index = index
        self.snapshot_term = term

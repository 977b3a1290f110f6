"""
The replicated log as one server knows it.

Which entry has which term, which configuration they put in force, and the last of the
entries themselves: those that are still needed here, and some more for followers that
are a little behind. Older ones are on disk alone, and the oldest have been replaced by
a snapshot. Who may append what is decided in :mod:`hraftd.raft.consensus`; what is on
disk is the storage's business.

An index has one of four answers::

      compacted     known by its term     in memory      not there yet
    ...............|.....................|..............|..............
             first_index - 1       memory_index     last_index

Raft 5.3 (consistency check, Log Matching), 5.4.1 (up-to-date), 7 (the log behind a
snapshot); dissertation 4.1 (a configuration is in force when it is appended), 5.1 (what
a snapshot replaces).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from hraftd.raft.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.raft.messages import Entry, Snapshot

__all__ = ["Compacted", "Log", "size_of"]

#: What an entry costs in a message besides the bytes of its command.
ENTRY_OVERHEAD = 16


class Compacted(LookupError):
    """
    The entry has been replaced by a snapshot: nothing is known of it any more.
    """


def size_of(entry: Entry) -> int:
    """
    Return about how many bytes an entry takes in a message, and in memory.
    """
    payload = entry.payload
    return ENTRY_OVERHEAD + (len(payload) if isinstance(payload, bytes) else 0)


class Log:
    """
    Consecutive entries, of which the first may be gone and only the last in memory.

    Of what was compacted nothing is known and :exc:`Compacted` is raised, never a
    made-up term that could match (etcd 76f1249). The entry before the first one that
    can be sent is known by its term.

    :ivar snapshot: the latest snapshot of this server; ``None`` before the first.
    :ivar memory_index: the last index whose entry is not in memory.
    """

    def __init__(
        self, entries: Sequence[Entry] = (), snapshot: Snapshot | None = None
    ) -> None:
        """
        Begin with what was on disk.

        :param entries: may begin before the end of the snapshot.
        :raises ValueError: if the entries are not consecutive, or leave a gap behind
            the snapshot.
        """
        self._begin(entries, snapshot)

    def _begin(self, entries: Sequence[Entry], snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        base = Configuration() if snapshot is None else snapshot.configuration
        self._configurations = [(self.snapshot_index, base)]
        #: The first index of each term, and that term; the first pair is of the entry
        #: right before ``first_index``. Terms never decrease along a log.
        self._terms = [(self.snapshot_index, self.snapshot_term)]
        if entries and entries[0].index <= self.snapshot_index:
            self._terms = [(entries[0].index, entries[0].term)]
            entries = entries[1:]
        self.memory_index = self.last_index = self._terms[0][0]
        self._entries: list[Entry] = []
        self._bytes = 0
        self.append(entries)
        if self.last_index < self.snapshot_index:
            raise ValueError(
                f"the log ends at {self.last_index}, before its snapshot's last entry "
                f"{self.snapshot_index}"
            )

    @property
    def snapshot_index(self) -> int:
        """
        The last index that the snapshot covers; 0 before the first snapshot.
        """
        return 0 if self.snapshot is None else self.snapshot.last_index

    @property
    def snapshot_term(self) -> int:
        """
        The term of that entry; 0 before the first snapshot.
        """
        return 0 if self.snapshot is None else self.snapshot.last_term

    @property
    def first_index(self) -> int:
        """
        The first entry that can be sent: it is there, and the one before it is known.
        """
        return self._terms[0][0] + 1

    @property
    def last_term(self) -> int:
        """
        The term of the last entry; the snapshot's if there is none, so 0 at first.
        """
        return self._terms[-1][1]

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

    def configuration_at(self, index: int) -> Configuration:
        """
        Return the configuration that was in force at an entry.

        :raises Compacted: before the snapshot's index.
        """
        return self.configurations_since(index)[0]

    def configurations_since(self, index: int) -> list[Configuration]:
        """
        Return the configuration that was in force at an entry, and all after that.

        :raises Compacted: before the snapshot's index.
        """
        since: list[Configuration] = []
        for first, configuration in reversed(self._configurations):
            since.insert(0, configuration)
            if first <= index:
                return since
        raise Compacted(f"the configuration at {index} is not known any more")

    def term_at(self, index: int) -> int | None:
        """
        Return the term of the entry at that index, ``None`` after the last one.

        :raises Compacted: before the entry right before :attr:`first_index`.
        """
        if index > self.last_index:
            return None
        first, term = self._terms[-1]
        if index >= first:
            return term
        return self._terms[self._run_of(index)][1]

    def _run_of(self, index: int) -> int:
        """
        Return the position in ``_terms`` of the term that the entry there has.
        """
        position = bisect_right(self._terms, index, key=_first)
        if position == 0:
            raise Compacted(
                f"entry {index} is gone; the log begins at {self.first_index}"
            )
        return position - 1

    def matches(self, index: int, term: int) -> bool:
        """
        Whether this log holds an entry of that index and term (Raft 5.3).

        :raises Compacted: as :meth:`term_at`.
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
        first, _ = self._terms[self._run_of(index)]
        return max(first, self.snapshot_index + 1)

    def last_index_of_term(self, term: int) -> int | None:
        """
        Return the last index that is known to have that term, if there is one.
        """
        after = bisect_right(self._terms, term, key=_term)
        if after == 0 or self._terms[after - 1][1] != term:
            return None
        return (
            self._terms[after][0] - 1 if after < len(self._terms) else self.last_index
        )

    # The entries themselves.

    def between(self, first: int, last: int) -> tuple[Entry, ...]:
        """
        Return the entries from ``first`` to ``last``, both included, from memory.

        :raises LookupError: if the first is not in memory (any more).
        """
        if first <= self.memory_index:
            raise LookupError(f"entry {first} is not in memory")
        offset = self.memory_index + 1
        return tuple(self._entries[first - offset : max(last + 1 - offset, 0)])

    def batch(self, first: int, max_bytes: int) -> tuple[Entry, ...]:
        """
        Return as many entries from ``first`` on as ``max_bytes`` hold, from memory.

        At least one where there is one, however large it is.

        :raises LookupError: if the first is not in memory (any more).
        """
        size = 0
        last = first - 1
        while last < self.last_index:
            size += size_of(self._entries[last - self.memory_index])
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
            self.last_index = entry.index
            self._entries.append(entry)
            self._bytes += size_of(entry)
            if entry.term != self._terms[-1][1]:
                self._terms.append((entry.index, entry.term))
            if (
                isinstance(entry.payload, Configuration)
                and entry.index > self.snapshot_index
            ):
                self._configurations.append((entry.index, entry.payload))

    def truncate(self, index: int) -> None:
        """
        Delete the entry at that index and all that follow it (Raft 5.3).

        Configurations among them are no longer in force (camunda 57393).

        :raises LookupError: if it is not in memory: such an entry is committed.
        """
        if index <= self.memory_index:
            raise LookupError(f"entry {index} is not in memory")
        deleted = self._entries[index - self.memory_index - 1 :]
        del self._entries[index - self.memory_index - 1 :]
        self._bytes -= sum(map(size_of, deleted))
        self.last_index = index - 1
        while self._terms[-1][0] >= index:
            self._terms.pop()
        while self.configuration_index >= index:
            self._configurations.pop()

    def forget(self, index: int, max_entries: int, max_bytes: int) -> None:
        """
        Keep the entries up to that one on disk alone, but for the last of them.

        :param max_entries: of all entries in memory, no more are kept than so many,
        :param max_bytes: and no more than have so many bytes; but those behind
            ``index`` always are.
        """
        count = 0
        size = self._bytes
        most = min(index - self.memory_index, len(self._entries))
        while count < most and (
            len(self._entries) - count > max_entries or size > max_bytes
        ):
            size -= size_of(self._entries[count])
            count += 1
        del self._entries[:count]
        self._bytes = size
        self.memory_index += count

    # Snapshots: Raft 7.

    def compact(self, snapshot: Snapshot, first_index: int) -> None:
        """
        Take it that a snapshot of this log is on disk in place of its first entries.

        :param first_index: the first entry that is still on disk, or the one after
            the snapshot.
        :raises ValueError: if the log does not hold the snapshot's last entry.
        """
        if snapshot.last_index > self.last_index or not self.matches(
            snapshot.last_index, snapshot.last_term
        ):
            raise ValueError(
                f"the log does not hold entry {snapshot.last_index} of term "
                f"{snapshot.last_term}"
            )
        self._begin_after(min(first_index, snapshot.last_index))
        self._configurations = [
            (snapshot.last_index, snapshot.configuration),
            *(one for one in self._configurations if one[0] > snapshot.last_index),
        ]
        self.snapshot = snapshot

    def install(self, snapshot: Snapshot) -> None:
        """
        Put another server's snapshot in place of this log.

        What follows the snapshot's last entry stays if that entry is there with the
        same term; if not, nothing stays (figure 13, steps 6 and 7).
        """
        index, term = snapshot.last_index, snapshot.last_term
        kept: tuple[Entry, ...] = ()
        # Behind the commit index, and so behind the snapshot, all is in memory.
        if index <= self.last_index and self.matches(index, term):
            kept = self.between(index + 1, self.last_index)
        self._begin(kept, snapshot)

    def _begin_after(self, index: int) -> None:
        """
        Know nothing before that entry any more, and of itself only the term.
        """
        position = self._run_of(index)
        self._terms[: position + 1] = [(index, self._terms[position][1])]
        if index > self.memory_index:
            deleted = self._entries[: index - self.memory_index]
            del self._entries[: index - self.memory_index]
            self._bytes -= sum(map(size_of, deleted))
            self.memory_index = index


def _first(run: tuple[int, int]) -> int:
    return run[0]


def _term(run: tuple[int, int]) -> int:
    return run[1]

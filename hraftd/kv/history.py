"""
What has changed lately, and who wants to be told.

A store notes here each change of a key (:class:`History`), in the order in which
entries are applied. Only the latest are kept, bounded in number and in bytes, and only
in memory: after a restart, and after the state was replaced by a snapshot, the history
begins anew. It says behind which index it has *all* changes, so whoever asks for more
can be told that this is gone instead of missing something silently.

Who watches keeps a *position*, the running number of the change to look at next, and
nothing else; nothing is kept for anybody in particular. So one who is slow costs
nothing, until the history has gone past him.

Ten thousand may watch, and a write must not ask each of them whether it concerns him.
:class:`Prefixes` finds those whom a key concerns by looking up its beginnings, one for
each length that anybody watches: what that costs grows with the key, not with the
watchers. They are not told at once either: a write only marks the prefix, and calls
:attr:`Prefixes.wake` for the first mark. When somebody looks, all that one command has
changed is there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Protocol, TypeAlias

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_BYTES", "MAX_CHANGES", "Change", "History", "Prefixes", "Watched"]

#: The changes that are kept, and the bytes that they have together, at most.
MAX_CHANGES = 65_536
MAX_BYTES = 32 << 20

#: About what a change takes besides its key and its record.
_OVERHEAD = 150

#: The index of its entry, the key, the record that it has now (``None``: it is gone),
#: and whether it is gone because its time was over. A plain tuple, since the garbage
#: collector leaves those alone that hold nothing but text and numbers.
Change: TypeAlias = tuple[int, str, bytes | None, bool]


class Watched(Protocol):
    """
    Somebody who watches a prefix.
    """

    def changed_at(self, position: int) -> None:
        """
        Take note of the first change there since the last call.
        """


class History:
    """
    The latest changes of a store.

    Each has a running number, its *position*; numbers go on, whatever is forgotten.

    :ivar first: the position of the oldest change that is here.
    :ivar prefixes: who is to be woken by what.
    :ivar epoch: how often everything was forgotten.
    """

    def __init__(
        self, max_changes: int = MAX_CHANGES, max_bytes: int = MAX_BYTES
    ) -> None:
        """
        Begin before the first entry.
        """
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._changes: list[Change] = []
        #: The position of the first one.
        self.first = 0
        self._bytes = 0
        #: All changes behind this index are here; ``None`` if that is to be found out.
        self._complete_after: int | None = 0
        self.prefixes = Prefixes()
        self.epoch = 0

    @property
    def end(self) -> int:
        """
        The position that the next change will have.
        """
        return self.first + len(self._changes)

    def note(
        self, index: int, key: str, record: bytes | None, *, is_expiry: bool = False
    ) -> None:
        """
        Take note that a key has been given this record, or is gone.

        :param index: of the entry that did it; never smaller than the one before.
        :param is_expiry: whether it is gone because its time was over.
        """
        # In few steps, as it comes with every write.
        changes = self._changes
        changes.append((index, key, record, is_expiry))
        self._bytes += len(key) + _OVERHEAD + (len(record) if record else 0)
        if len(changes) > self._max_changes or self._bytes > self._max_bytes:
            self._let_go()
        if self.prefixes.lengths:
            self.prefixes.mark(key, self.end - 1)

    def _let_go(self) -> None:
        """
        Let go of the oldest changes, more of them than need be: so it is seldom done.
        """
        keep = self._max_changes - self._max_changes // 16
        keep_bytes = self._max_bytes - self._max_bytes // 16
        count = 0
        for _, key, record, _ in self._changes:
            if len(self._changes) - count <= keep and self._bytes <= keep_bytes:
                break
            self._bytes -= _size(key, record)
            count += 1
        self._complete_after = self._changes[count - 1][0]
        self.first += count
        del self._changes[:count]

    def forget(self) -> None:
        """
        Begin anew: the state was replaced by one whose way there is not known.
        """
        self.first = self.end
        self._changes, self._bytes = [], 0
        self._complete_after = None
        self.epoch += 1
        self.prefixes.unmark_all()

    def complete_after(self, applied: int) -> int:
        """
        Return the smallest index behind which all changes are here.

        :param applied: the last entry that the store contains, be it of commands or
            not. A restored state does not say of which index it is, but it is not of a
            later one.
        """
        if self._complete_after is None:
            oldest = self._change(self.first)[0] if self.end > self.first else None
            self._complete_after = (
                applied if oldest is None else min(applied, oldest - 1)
            )
        return self._complete_after

    def position_behind(self, index: int) -> int:
        """
        Return the position of the first change, here or to come, of a later entry.
        """
        return bisect_right(
            range(self.end), index, self.first, key=lambda at: self._change(at)[0]
        )

    def read(
        self, position: int, prefix: str, after: int, look_at: int, take_bytes: int
    ) -> tuple[list[tuple[Change, bool]], int | None]:
        """
        Return changes of keys that begin with the prefix, in their order.

        :param position: where to begin; not before :attr:`first`.
        :param after: entries up to this index are left out.
        :param look_at: after so many changes it is enough. One that was found and of
            which is not known yet whether it is the last of its entry is looked at
            further.
        :param take_bytes: so is it when those that were found have so many bytes.
        :return: each change, and whether it is the last of its entry that has the
            prefix; and the position to go on at, ``None`` at the end.
        """
        found: list[tuple[Change, bool]] = []
        held: Change | None = None
        enough = position + look_at
        size = 0
        changes = self._changes
        for at in range(position - self.first, len(changes)):
            change = changes[at]
            if held is not None and change[0] != held[0]:
                found.append((held, True))
                held = None
            if held is None and (at + self.first >= enough or size >= take_bytes):
                return found, at + self.first
            if change[1].startswith(prefix) and change[0] > after:
                if held is not None:
                    found.append((held, False))
                    if size >= take_bytes:
                        return found, at + self.first
                held = change
                size += _size(change[1], change[2])
        if held is not None:
            found.append((held, True))
        return found, None

    def _change(self, position: int) -> Change:
        return self._changes[position - self.first]


def _size(key: str, record: bytes | None) -> int:
    return len(key) + (0 if record is None else len(record)) + _OVERHEAD


@define(eq=False)
class _Group:
    """
    Those who watch one prefix.
    """

    watchers: dict[Watched, None] = field(factory=dict)
    #: The first change since somebody has looked.
    changed_at: int | None = None


class Prefixes:
    """
    Who watches which prefix, and what has changed there.
    """

    def __init__(self) -> None:
        """
        Begin with nobody.
        """
        #: Called when there is something to look at, for the first time since somebody
        #: has. Not to be used for more than taking note of it.
        self.wake: Callable[[], object] = lambda: None
        self._groups: dict[str, _Group] = {}
        #: Of how many characters the prefixes are, and how many there are of each.
        self._counts: Counter[int] = Counter()
        #: The former in their order; empty if nobody watches anything.
        self.lengths: list[int] = []
        self._changed: list[_Group] = []

    def add(self, prefix: str, watcher: Watched) -> None:
        """
        Let somebody watch.
        """
        group = self._groups.get(prefix)
        if group is None:
            group = self._groups[prefix] = _Group()
            self._counts[len(prefix)] += 1
            if self._counts[len(prefix)] == 1:
                self.lengths = sorted(self._counts)
        group.watchers[watcher] = None

    def remove(self, prefix: str, watcher: Watched) -> None:
        """
        Let somebody who does watch do so no more.
        """
        group = self._groups[prefix]
        del group.watchers[watcher]
        if not group.watchers:
            del self._groups[prefix]
            self._counts[len(prefix)] -= 1
            if not self._counts[len(prefix)]:
                del self._counts[len(prefix)]
                self.lengths = sorted(self._counts)

    def mark(self, key: str, position: int) -> None:
        """
        Mark the prefixes that this key has: its change is at that position.
        """
        for length in self.lengths:
            if length > len(key):
                return
            group = self._groups.get(key[:length])
            if group is not None and group.changed_at is None:
                group.changed_at = position
                self._changed.append(group)
                if len(self._changed) == 1:
                    self.wake()

    def unmark_all(self) -> None:
        """
        Forget what is marked, and wake whoever looks: there is nothing any more.
        """
        for group in self._changed:
            group.changed_at = None
        self._changed.clear()
        if self._groups:
            self.wake()

    def tell(self) -> None:
        """
        Tell all who watch what is marked, and unmark it.
        """
        changed, self._changed = self._changed, []
        for group in changed:
            position, group.changed_at = group.changed_at, None
            assert position is not None
            for watcher in list(group.watchers):
                watcher.changed_at(position)

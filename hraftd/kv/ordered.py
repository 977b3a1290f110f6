"""
Records by key, in the order of the keys.

Keys are spread over many small dictionaries, the *leaves*, by ranges: a leaf has all
keys from its first one on, up to the first one of the next leaf. Within a leaf they are
in no order; whoever wants one sorts it, which takes a fraction of a millisecond. So a
key is found by a search among the first keys of the leaves, and a page of a listing
without a look at any other key.

The order is that of code points, which is that of the bytes of UTF-8 too.

A single dictionary would copy itself each time it has outgrown its table (45 ms at
700,000 keys), and take as long to be freed. A leaf that has grown too large, in number
or in bytes, is cut in two, and one that has become empty is dropped; so what is done to
a whole leaf never takes long.

While a *view* is read, which is a list of the leaves as they were, a leaf that is in it
is changed only by putting a changed copy in its place (copy on write).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LEAF_BYTES", "LEAF_KEYS", "Leaf", "OrderedRecords"]

#: Keys that a leaf has at most.
LEAF_KEYS = 1024

#: Bytes of keys and records that it has at most, unless it has a single key.
LEAF_BYTES = 64 * 1024

Leaf: TypeAlias = dict[str, bytes]


class OrderedRecords:
    """
    A map from text to bytes whose keys can be listed in their order.
    """

    def __init__(self) -> None:
        """
        Begin empty.
        """
        #: From which key on each leaf has them; nothing comes before the first one's.
        self._firsts: list[str] = [""]
        self._leaves: list[Leaf] = [{}]
        #: How many bytes each of them has.
        self._sizes: list[int] = [0]
        #: Of the leaves that a view shares and has not read, by what :func:`id` says of
        #: them. The view holds on to them, so nothing else can be called that.
        self._shared: set[int] = set()

    def __len__(self) -> int:
        """
        Return the number of keys.
        """
        return sum(map(len, self._leaves))

    def get(self, key: str) -> bytes | None:
        """
        Return the record of a key, or ``None``.
        """
        return self._leaves[bisect_right(self._firsts, key) - 1].get(key)

    def first(self) -> str | None:
        """
        Return the key that comes before all others; ``None`` if there is none.
        """
        for leaf in self._leaves:
            # Only the first one can be empty.
            if leaf:
                return min(leaf)
        return None

    def put(self, key: str, record: bytes) -> None:
        """
        Give a key its record.
        """
        number = bisect_right(self._firsts, key) - 1
        leaf = self._leaf_to_change(number)
        before = leaf.get(key)
        leaf[key] = record
        size = self._sizes[number] + len(record)
        size += len(key) if before is None else -len(before)
        self._sizes[number] = size
        self._cut_if_large(number)

    def remove(self, key: str) -> bool:
        """
        Remove a key; return whether it was there.
        """
        number = bisect_right(self._firsts, key) - 1
        record = self._leaves[number].get(key)
        if record is None:
            return False
        leaf = self._leaf_to_change(number)
        del leaf[key]
        self._sizes[number] -= len(key) + len(record)
        if not leaf and number:
            # What comes in its range now goes to the leaf before.
            del self._leaves[number], self._firsts[number], self._sizes[number]
        return True

    def _leaf_to_change(self, number: int) -> Leaf:
        leaf = self._leaves[number]
        if id(leaf) in self._shared:
            self._shared.remove(id(leaf))
            leaf = self._leaves[number] = leaf.copy()
        return leaf

    def _cut_if_large(self, number: int) -> None:
        """
        Cut a leaf in two, each with half the bytes, and again until none is too large.
        """
        leaf, size = self._leaves[number], self._sizes[number]
        if len(leaf) <= LEAF_KEYS and (size <= LEAF_BYTES or len(leaf) == 1):
            return
        keys = sorted(leaf)
        lower: Leaf = {}
        lower_size = 0
        for key in keys[:-1]:
            added = len(key) + len(leaf[key])
            if lower and lower_size + added > size / 2:
                break
            lower[key] = leaf[key]
            lower_size += added
        upper = {key: leaf[key] for key in keys[len(lower) :]}
        self._leaves[number : number + 1] = lower, upper
        self._sizes[number : number + 1] = lower_size, size - lower_size
        self._firsts.insert(number + 1, keys[len(lower)])
        self._cut_if_large(number + 1)
        self._cut_if_large(number)

    def items(self, prefix: str, after: str | None) -> Iterator[tuple[str, bytes]]:
        """
        Yield keys in their order, with their records; nothing may change meanwhile.

        :param prefix: what they begin with.
        :param after: the key that they come behind, there or not; ``None`` for all.
        """
        start = prefix if after is None else max(prefix, after)
        number = bisect_right(self._firsts, start) - 1
        for first, leaf in zip(
            self._firsts[number:], self._leaves[number:], strict=True
        ):
            if first > start and not first.startswith(prefix):
                return
            keys = [
                key
                for key in leaf
                if key.startswith(prefix) and (after is None or key > after)
            ]
            for key in sorted(keys):
                yield key, leaf[key]

    # Views.

    def view(self) -> list[Leaf]:
        """
        Return the leaves as they are; to be read with :meth:`read` until it is over.

        There is only one at a time.
        """
        view = [*self._leaves]
        self._shared = set(map(id, view))
        return view

    def read(self, view: list[Leaf]) -> Iterator[tuple[str, bytes]]:
        """
        Yield every key of a view and its record, in order.

        Each leaf is taken out once it is read, an empty one left in its place.
        """
        for number, leaf in enumerate(view):
            for key in sorted(leaf):
                yield key, leaf[key]
            self._shared.discard(id(leaf))
            view[number] = {}

    def end_view(self) -> None:
        """
        Share nothing any more.
        """
        self._shared.clear()

    def release(self) -> list[Leaf]:
        """
        Return all leaves, so that they can be let go one by one, and be empty.
        """
        leaves, self._leaves = self._leaves, [{}]
        self._firsts, self._sizes = [""], [0]
        return leaves

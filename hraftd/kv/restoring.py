"""
A state of the key-value store that is being read from the pieces of a snapshot.

The store goes on with the one it has until all of the new one is there. What a piece is
made of is told in :mod:`hraftd.kv.snapshot`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.codec import CodecError
from hraftd.kv import snapshot
from hraftd.kv.lifetimes import Lifetimes
from hraftd.kv.ordered import OrderedRecords
from hraftd.kv.records import INDEX_BYTES, record_of
from hraftd.kv.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hraftd.kv.restores import Restores
    from hraftd.kv.snapshot import Header

__all__ = ["RecordsRestoration"]


class RecordsRestoration:
    """
    What a store will hold once all pieces have been added. Of no use afterwards.
    """

    def __init__(
        self,
        records: OrderedRecords,
        tokens: Tokens,
        lifetimes: Lifetimes,
        let_go: Callable[[], None],
        replace: Callable[[OrderedRecords, Tokens, Lifetimes], None],
        restores: Restores | None,
        begun: tuple[int, int] | None = None,
    ) -> None:
        """
        Begin to fill these, which are empty.

        :param let_go: called with each piece, to make room for it.
        :param replace: called with all of them when they are complete.
        :param restores: takes what there is of a backup that is being restored;
            ``None`` if this is a backup itself, and that does not matter any more.
        :param begun: the index that all keys are to get instead of theirs, and how late
            it is: all deadlines are moved, as if the snapshot had been taken now.
        """
        self._records = records
        self._tokens = tokens
        self._lifetimes = lifetimes
        self._let_go = let_go
        self._replace = replace
        self._restores = restores
        self._begun = begun
        #: What the first piece has said; ``None`` before that, and after a piece that
        #: was refused.
        self._header: Header | None = None

    def add(self, piece: bytes) -> None:
        """
        See :meth:`hraftd.interfaces.Restoration.add`.

        :raises CodecError: if it is not one of the pieces; then it is over.
        """
        self._let_go()
        header, self._header = self._header, None
        header, kind, items = snapshot.read_piece(piece, header)
        self._lifetimes.clock = header.clock
        match kind:
            case snapshot.KEYS:
                self._add_keys(items)
            case snapshot.TOKENS:
                for token, record in items:
                    self._tokens.restore(token, record)
            case snapshot.DEADLINES:
                self._add_deadlines(items, header)
            case _:
                for what, part in items:
                    if self._restores is not None:
                        self._restores.restore(what, part)
        self._header = header

    def _add_keys(self, items: Iterator[tuple[bytes, bytes]]) -> None:
        index = None if self._begun is None else self._begun[0]
        try:
            for key, record in items:
                name = key.decode()
                if self._records.get(name) is not None:
                    raise CodecError(f"the key {name[:99]!r} comes twice")
                if len(record) < INDEX_BYTES:
                    raise CodecError(f"the record of {name[:99]!r} is too short")
                # Only to see that it can be read later.
                value = record[INDEX_BYTES:].decode()
                if index is not None:
                    record = record_of(index, value)
                self._records.put(name, record)
        except UnicodeDecodeError as error:
            raise CodecError("a key or value of the snapshot is not UTF-8") from error

    def _add_deadlines(
        self, items: Iterator[tuple[bytes, bytes]], header: Header
    ) -> None:
        later = 0 if self._begun is None else self._begun[1] - header.clock
        try:
            for key, deadline in items:
                name = key.decode()
                if self._records.get(name) is None:
                    raise CodecError(f"{name[:99]!r} has a deadline, and is no key")
                self._lifetimes.restore(name, deadline, later)
        except UnicodeDecodeError as error:
            raise CodecError("a key or value of the snapshot is not UTF-8") from error

    @property
    def parts(self) -> tuple[OrderedRecords, Tokens, Lifetimes]:
        """
        What has been filled so far.
        """
        return self._records, self._tokens, self._lifetimes

    def finish(self) -> None:
        """
        See :meth:`hraftd.interfaces.Restoration.finish`.

        :raises CodecError: if no piece was added, one was refused, or together they
            do not have the number of keys, tokens and deadlines that the first one
            says.
        """
        if self._header is None:
            raise CodecError("the snapshot has no piece, or one that was refused")
        said = self._header
        for what, there, wanted in (
            ("keys", len(self._records), said.keys),
            ("tokens", len(self._tokens), said.tokens),
            ("deadlines", self._lifetimes.count, said.deadlines),
        ):
            if there != wanted:
                raise CodecError(
                    f"the snapshot has {there} {what} and should have {wanted}"
                )
        self._replace(self._records, self._tokens, self._lifetimes)
        # Nothing that is added by mistake gets into the store now.
        self._header, self._records = None, OrderedRecords()
        self._tokens, self._lifetimes = Tokens(), Lifetimes()

"""
A state of the key-value store that is being read from the pieces of a snapshot.

The store goes on with the one it has until all of the new one is there. What a piece is
made of is told in :mod:`hraftd.kv.snapshot`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.codec import CodecError
from hraftd.kv.ordered import OrderedRecords
from hraftd.kv.records import INDEX_BYTES
from hraftd.kv.snapshot import KEYS, read_piece
from hraftd.kv.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        let_go: Callable[[], None],
        replace: Callable[[OrderedRecords, Tokens], None],
    ) -> None:
        """
        Begin to fill these, which are empty.

        :param let_go: called with each piece, to make room for it.
        :param replace: called with both when they are complete.
        """
        self._records = records
        self._tokens = tokens
        self._let_go = let_go
        self._replace = replace
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
        header, kind, items = read_piece(piece, header)
        if kind == KEYS:
            self._add_keys(items)
        else:
            for token, record in items:
                self._tokens.restore(token, record)
        self._header = header

    def _add_keys(self, items: Iterator[tuple[bytes, bytes]]) -> None:
        try:
            for key, record in items:
                name = key.decode()
                if self._records.get(name) is not None:
                    raise CodecError(f"the key {name[:99]!r} comes twice")
                if len(record) < INDEX_BYTES:
                    raise CodecError(f"the record of {name[:99]!r} is too short")
                # Only to see that it can be read later.
                record[INDEX_BYTES:].decode()
                self._records.put(name, record)
        except UnicodeDecodeError as error:
            raise CodecError("a key or value of the snapshot is not UTF-8") from error

    def finish(self) -> None:
        """
        See :meth:`hraftd.interfaces.Restoration.finish`.

        :raises CodecError: if no piece was added, one was refused, or together they
            do not have the number of keys and tokens that the first one says.
        """
        if self._header is None:
            raise CodecError("the snapshot has no piece, or one that was refused")
        keys, tokens = len(self._records), len(self._tokens)
        if (keys, tokens) != (self._header.keys, self._header.tokens):
            raise CodecError(
                f"the snapshot has {keys} keys and should have {self._header.keys}, "
                f"and {tokens} tokens of {self._header.tokens}"
            )
        self._replace(self._records, self._tokens)
        # Nothing that is added by mistake gets into the store now.
        self._header, self._records, self._tokens = None, OrderedRecords(), Tokens()

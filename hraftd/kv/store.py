"""
The key-value store that the cluster agrees on.

Keys and values in memory, changed only by committed commands. What a command is, and
its bytes, is in :mod:`hraftd.kv.commands`; those of a snapshot are in
:mod:`hraftd.kv.snapshot`.

With millions of keys nothing here may take longer than a few milliseconds, or
heartbeats and clients would wait for it. So keys are in many small dictionaries, see
:mod:`hraftd.kv.ordered`, which a snapshot shares with the state and nobody frees all at
once: what a restored state replaces is let go with the commands that come later, some
of it with each.

What a key holds is kept as a *record* (:mod:`hraftd.kv.records`): the index of its last
change and the value, as bytes. An object with two fields would be nicer to read, but
the garbage collector visits each such object whenever it looks at all there are: 200 ms
for a million. Text and bytes it need not visit, nor a dictionary that holds nothing
else.

A write with a token is applied once, however often it comes
(:class:`~hraftd.kv.commands.Once`). Which have come is part of the state, see
:mod:`hraftd.kv.tokens`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, assert_never

from zope.interface import implementer

from hraftd.interfaces import IStateMachine
from hraftd.kv.commands import Delete, Once, Set, Transaction, decode_command
from hraftd.kv.ordered import OrderedRecords
from hraftd.kv.records import Listing, Versioned, record_of, versioned
from hraftd.kv.restoring import RecordsRestoration
from hraftd.kv.results import Done, TokenReused, plain, write_result_of
from hraftd.kv.snapshot import PIECE_BYTES, PIECE_KEYS, encode_pieces
from hraftd.kv.tokens import Tokens, digest_of
from hraftd.kv.transactions import run

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hraftd.interfaces import Restoration
    from hraftd.kv.commands import Write
    from hraftd.kv.ordered import Leaf
    from hraftd.kv.results import WriteResult

__all__ = ["LISTING_BYTES", "KeyValueStore", "Listing", "Versioned"]

#: Bytes of values behind which a listing takes no more keys.
LISTING_BYTES = 1 << 20


@implementer(IStateMachine)
class KeyValueStore:
    """
    Keys and their values, both text.
    """

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        """
        Begin empty.

        :param piece_bytes: what a piece of a snapshot has at most, if it has more than
            one key. Stores may differ in that.
        """
        self._piece_bytes = piece_bytes
        self._records = OrderedRecords()
        self._tokens = Tokens()
        #: Whether a snapshot is being read.
        self._has_view = False
        #: Of states that were replaced or given up, and of views: to be let go one by
        #: one. Some may still be in use.
        self._discarded: list[Leaf] = []
        #: The restore that is under way, or was given up.
        self._restored: tuple[OrderedRecords, Tokens] | None = None

    def __len__(self) -> int:
        """
        Return the number of keys.
        """
        return len(self._records)

    @property
    def tokens(self) -> int:
        """
        How many writes with a token are remembered.
        """
        return len(self._tokens)

    def get(self, key: str) -> Versioned | None:
        """
        Return what the key holds, or ``None``.
        """
        record = self._records.get(key)
        return None if record is None else versioned(record)

    def page(self, prefix: str, after: str | None, limit: int) -> Listing:
        """
        Return a page of the keys in their order.

        :param prefix: what they begin with.
        :param after: the key that they come behind, there or not; ``None`` for all.
        :param limit: how many there may be, at least 1. There are fewer where their
            values have more than :data:`LISTING_BYTES`.
        """
        found: list[tuple[str, Versioned]] = []
        size = 0
        for key, record in self._records.items(prefix, after):
            if len(found) == limit or size >= LISTING_BYTES:
                return Listing(tuple(found), more=True)
            found.append((key, versioned(record)))
            size += len(record)
        return Listing(tuple(found), more=False)

    def apply(self, index: int, command: bytes) -> object:
        """
        Carry out an encoded command.

        :return: its result as a plain value, see :mod:`hraftd.kv.results`. Where the
            command has a token, the index of the entry that has carried it out is in
            there; it is another one than ``index`` if this is a retry.
        :raises CodecError: if this is no command that this version knows.
        """
        self._let_go()
        match decode_command(command):
            case Once(token, write):
                return plain(self._carry_out_once(index, token, write, command))
            case other:
                return plain(self._carry_out(index, other))

    def _carry_out(self, index: int, command: Write) -> WriteResult:
        match command:
            case Set(pairs):
                for key, value in pairs:
                    self._records.put(key, record_of(index, value))
                return None
            case Delete(key):
                return self._records.remove(key)
            case Transaction():
                result, changes = run(command, index, self._records.get)
                for key, record in changes.items():
                    if record is None:
                        self._records.remove(key)
                    else:
                        self._records.put(key, record)
                return result
            case _:
                assert_never(command)

    def _carry_out_once(
        self, index: int, token: str, write: Write, command: bytes
    ) -> Done | TokenReused:
        digest = digest_of(command)
        known = self._tokens.find(token)
        if known is None:
            result = self._carry_out(index, write)
            self._tokens.remember(token, index, digest, plain(result))
            return Done(index, result)
        if known.digest != digest:
            return TokenReused(known.index)
        return Done(known.index, write_result_of(known.result))

    def snapshot(self) -> Generator[bytes, None, None]:
        """
        See :meth:`hraftd.interfaces.IStateMachine.snapshot`.

        Of equal states the pieces are equal, however they came to be.

        :raises RuntimeError: while another one is neither exhausted nor closed.
        """
        if self._has_view:
            raise RuntimeError("another snapshot of the store is being read")
        self._has_view = True
        pieces = self._read_view(
            self._records, self._records.view(), self._tokens.view()
        )
        # A generator that has not begun would be closed without letting go of the
        # view.
        next(pieces)
        return pieces

    def _read_view(
        self, records: OrderedRecords, view: list[Leaf], tokens: list[Leaf]
    ) -> Generator[bytes, None, None]:
        try:
            yield b""
            yield from encode_pieces(
                sum(map(len, view)),
                records.read(view),
                sum(map(len, tokens)),
                _read_tokens(tokens),
                self._piece_bytes,
            )
        finally:
            self._has_view = False
            records.end_view()
            # After a restore these may be all that is left of the state before it.
            self._discarded += filter(None, chain(view, tokens))

    def restore(self) -> Restoration:
        """
        See :meth:`hraftd.interfaces.IStateMachine.restore`.

        One that was begun before and is not finished is given up.
        """
        if self._restored is not None:
            self._discard(*self._restored)
        self._restored = OrderedRecords(), Tokens()
        return RecordsRestoration(*self._restored, self._let_go, self._replace)

    def _replace(self, records: OrderedRecords, tokens: Tokens) -> None:
        self._discard(self._records, self._tokens)
        self._records, self._tokens, self._restored = records, tokens, None

    def _discard(self, records: OrderedRecords, tokens: Tokens) -> None:
        self._discarded += records.release()
        self._discarded += tokens.parts()

    def _let_go(self) -> None:
        # As much as a piece of a snapshot holds: a restore that lets go of less than it
        # replaces would leave more behind each time.
        keys = size = 0
        while self._discarded and keys < PIECE_KEYS and size < PIECE_BYTES:
            leaf = self._discarded.pop()
            keys += len(leaf)
            size += sum(map(len, leaf.values()))


def _read_tokens(view: list[Leaf]) -> Iterator[tuple[str, bytes]]:
    """
    Yield every token and its record, and take each chunk out once it is read.
    """
    for number, chunk in enumerate(view):
        yield from chunk.items()
        view[number] = {}

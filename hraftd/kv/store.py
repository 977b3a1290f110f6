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
:mod:`hraftd.kv.tokens`. Until when keys live is too, and what time it is for the
cluster, see :mod:`hraftd.kv.lifetimes`. A key that is due is there until a command
removes it: :class:`~hraftd.kv.commands.Stamped`, with nothing in it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, assert_never

from zope.interface import implementer

from hraftd.interfaces import IStateMachine
from hraftd.kv.commands import (
    STAMP_BYTES,
    Delete,
    Once,
    Restore,
    Set,
    Stamped,
    Transaction,
    decode_command,
)
from hraftd.kv.history import History
from hraftd.kv.lifetimes import Lifetimes
from hraftd.kv.ordered import OrderedRecords
from hraftd.kv.records import Listing, Versioned, record_of, versioned
from hraftd.kv.restores import Restores
from hraftd.kv.restoring import RecordsRestoration
from hraftd.kv.results import Done, PieceTaken, TokenReused, plain, write_result_of
from hraftd.kv.snapshot import PIECE_BYTES, PIECE_KEYS, Header, encode_pieces
from hraftd.kv.tokens import Tokens, digest_of
from hraftd.kv.transactions import run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from hraftd.interfaces import Restoration
    from hraftd.kv.commands import Write
    from hraftd.kv.ordered import Leaf
    from hraftd.kv.results import Result, Unusable, WriteResult

    _State: TypeAlias = tuple[OrderedRecords, Tokens, Lifetimes]

__all__ = [
    "EXPIRED_AT_ONCE",
    "LISTING_BYTES",
    "KeyValueStore",
    "Listing",
    "Versioned",
]

#: Bytes of values behind which a listing takes no more keys.
LISTING_BYTES = 1 << 20

#: Keys that one command removes because they are due; it takes a few milliseconds. All
#: nodes remove the same, so this is the same for all and for ever.
EXPIRED_AT_ONCE = 1000


@implementer(IStateMachine)
class KeyValueStore:
    """
    Keys and their values, both text.

    :ivar history: what has changed lately.
    :ivar when_told: called when a command has told the time, or a restored state has;
        with whether that is the one to count from, since nothing was to expire before.
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
        self._lifetimes = Lifetimes()
        self.history = History()
        self.when_told: Callable[[bool], object] = _tell_nobody
        #: Whether a snapshot is being read.
        self._has_view = False
        #: Of states that were replaced or given up, and of views: to be let go one by
        #: one. Some may still be in use.
        self._discarded: list[Leaf] = []
        #: The restore that is under way, or was given up.
        self._restored: _State | None = None
        #: Backups that are being restored.
        self._restores = Restores(self._begin_restore, self._drop)

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

    @property
    def clock(self) -> int:
        """
        How late it is for the cluster, in milliseconds.
        """
        return self._lifetimes.clock

    @property
    def deadlines(self) -> int:
        """
        How many keys will expire.
        """
        return self._lifetimes.count

    @property
    def next_due(self) -> int | None:
        """
        How late it is when the next key expires; ``None`` if none will.
        """
        return self._lifetimes.next_due

    def get(self, key: str) -> Versioned | None:
        """
        Return what the key holds, or ``None``.
        """
        record = self._records.get(key)
        return None if record is None else versioned(record)

    def record(self, key: str) -> bytes | None:
        """
        Return the same as a record, see :mod:`hraftd.kv.records`.
        """
        return self._records.get(key)

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
        self._restores.drop_stale(index)
        match decode_command(command):
            case Set(pairs, None):
                # What _carry_out would do; here since nearly all commands are that.
                for key, value in pairs:
                    self._put(index, key, record_of(index, value), None)
                return None
            case Once(token, write):
                return plain(self._carry_out_once(index, token, write, command))
            case Restore() as restore:
                return plain(self._take_piece(index, restore))
            case Stamped() as envelope:
                return plain(self._open(index, envelope, command))
            case write:
                return plain(self._carry_out(index, write))

    def _take_piece(self, index: int, command: Restore) -> PieceTaken | Unusable:
        unusable = self._restores.take(index, self._lifetimes.clock, command)
        return PieceTaken(len(self)) if unusable is None else unusable

    def _open(self, index: int, envelope: Stamped, command: bytes) -> Result:
        """
        Let it be as late as an envelope says, and carry out what is in there.
        """
        had_deadlines = self._lifetimes.count > 0
        self._lifetimes.advance(envelope.now)
        result: Result = None
        match envelope.command:
            case None:
                for key in self._lifetimes.due(EXPIRED_AT_ONCE):
                    self._remove(index, key, expired=True)
            case Once(token, write):
                # The time is not part of what is done once: a retry has another.
                inner = command[STAMP_BYTES:]
                result = self._carry_out_once(index, token, write, inner)
            case Restore() as restore:
                result = self._take_piece(index, restore)
            case write:
                result = self._carry_out(index, write)
        self.when_told(not had_deadlines)
        return result

    def _carry_out(self, index: int, command: Write) -> WriteResult:
        match command:
            case Set(pairs, ttl):
                for key, value in pairs:
                    self._put(index, key, record_of(index, value), ttl)
                return None
            case Delete(key):
                return self._remove(index, key)
            case Transaction():
                result, changes = run(command, index, self._records.get)
                for key, change in changes.items():
                    if change is None:
                        self._remove(index, key)
                    else:
                        self._put(index, key, *change)
                return result
            case _:
                assert_never(command)

    # All that commands change, they change through these two.

    def _put(self, index: int, key: str, record: bytes, ttl: int | None) -> None:
        """
        Give a key its record, for so many milliseconds; ``None`` for ever.
        """
        self._records.put(key, record)
        self.history.note(index, key, record)
        if ttl is not None:
            self._lifetimes.give(key, ttl)
        elif self._lifetimes.count:
            self._lifetimes.take(key)

    def _remove(self, index: int, key: str, *, expired: bool = False) -> bool:
        """
        Remove a key, with the entry at that index, and return whether it was there.

        :param expired: whether it is removed because it was due.
        """
        if self._lifetimes.count:
            self._lifetimes.take(key)
        was_there = self._records.remove(key)
        if was_there:
            self.history.note(index, key, None, is_expiry=expired)
        return was_there

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
            self._records,
            self._records.view(),
            self._tokens.view(),
            self._lifetimes,
            self._lifetimes.view(),
            self._restores.view(),
        )
        # A generator that has not begun would be closed without letting go of the
        # view.
        next(pieces)
        return pieces

    def _read_view(
        self,
        records: OrderedRecords,
        view: list[Leaf],
        tokens: list[Leaf],
        lifetimes: Lifetimes,
        deadlines: list[Leaf],
        restores: Iterator[tuple[str, bytes]],
    ) -> Generator[bytes, None, None]:
        header = Header(
            keys=sum(map(len, view)),
            tokens=sum(map(len, tokens)),
            deadlines=sum(map(len, deadlines)),
            clock=lifetimes.clock,
        )
        try:
            yield b""
            yield from encode_pieces(
                header,
                records.read(view),
                _read_tokens(tokens),
                lifetimes.read(deadlines),
                restores,
                self._piece_bytes,
            )
        finally:
            self._has_view = False
            records.end_view()
            lifetimes.end_view()
            # After a restore these may be all that is left of the state before it.
            self._discarded += filter(None, chain(view, tokens, deadlines))

    def restore(self) -> Restoration:
        """
        See :meth:`hraftd.interfaces.IStateMachine.restore`.

        One that was begun before and is not finished is given up.
        """
        if self._restored is not None:
            self._discard(*self._restored)
        self._restored = OrderedRecords(), Tokens(), Lifetimes()
        restores = Restores(self._begin_restore, self._drop)

        def replace(*state: *_State) -> None:
            self._replace(*state)
            self._restored = None
            self._restores.give_up()
            self._restores = restores

        return RecordsRestoration(*self._restored, self._let_go, replace, restores)

    def _begin_restore(self, index: int, clock: int) -> RecordsRestoration:
        """
        Begin to read a backup; see :class:`hraftd.kv.restores.Restores`.
        """

        def replace(
            records: OrderedRecords, tokens: Tokens, lifetimes: Lifetimes
        ) -> None:
            lifetimes.clock = self._lifetimes.clock
            self._replace(records, tokens, lifetimes)

        state = OrderedRecords(), Tokens(), Lifetimes()
        return RecordsRestoration(
            *state, self._let_go, replace, restores=None, begun=(index, clock)
        )

    def _drop(self, restoration: RecordsRestoration) -> None:
        self._discard(*restoration.parts)

    def _replace(
        self, records: OrderedRecords, tokens: Tokens, lifetimes: Lifetimes
    ) -> None:
        self._discard(self._records, self._tokens, self._lifetimes)
        self._records, self._tokens, self._lifetimes = records, tokens, lifetimes
        self.history.forget()
        self.when_told(True)

    def _discard(
        self, records: OrderedRecords, tokens: Tokens, lifetimes: Lifetimes
    ) -> None:
        self._discarded += records.release()
        self._discarded += tokens.parts()
        self._discarded += lifetimes.release()

    def _let_go(self) -> None:
        # As much as a piece of a snapshot holds: a restore that lets go of less than it
        # replaces would leave more behind each time.
        keys = size = 0
        while self._discarded and keys < PIECE_KEYS and size < PIECE_BYTES:
            leaf = self._discarded.pop()
            keys += len(leaf)
            size += sum(map(len, leaf.values()))


def _tell_nobody(_: bool) -> None:
    pass


def _read_tokens(view: list[Leaf]) -> Iterator[tuple[str, bytes]]:
    """
    Yield every token and its record, and take each chunk out once it is read.
    """
    for number, chunk in enumerate(view):
        yield from chunk.items()
        view[number] = {}

"""
Writes with a token: applied once, however often they come and whatever happens between.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hraftd.kv import snapshot, tokens
from hraftd.kv.commands import (
    Delete,
    Get,
    Once,
    Set,
    Transaction,
    Write,
    encode_command,
)
from hraftd.kv.conditions import Absent
from hraftd.kv.records import Versioned
from hraftd.kv.results import Done, Ran, Result, TokenReused, result_of
from hraftd.kv.store import KeyValueStore
from hraftd.kv.tokens import CHUNK_BYTES, CHUNK_TOKENS, MAX_TOKENS, Tokens

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

A = Set((("a", "1"),))
B = Set((("a", "2"),))


def once(store: KeyValueStore, index: int, token: str, command: Write) -> Result:
    """
    Apply a command with a token.
    """
    return result_of(store.apply(index, encode_command(Once(token, command))))


def restored(pieces: Iterable[bytes]) -> KeyValueStore:
    """
    Return a store with the state of a snapshot.
    """
    store = KeyValueStore()
    restoration = store.restore()
    for piece in pieces:
        restoration.add(piece)
    restoration.finish()
    return store


def test_retry_is_not_applied_again() -> None:
    """
    A write that is retried is applied once (jetcd 0.8.2), and the retry is told what
    the first one was, its index too.
    """
    store = KeyValueStore()
    assert once(store, 7, "t", A) == Done(7, None)
    store.apply(8, encode_command(B))
    assert once(store, 9, "t", A) == Done(7, None)
    assert store.get("a") == Versioned("2", 8)


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (Delete("a"), True),
        (Delete("b"), False),
        (
            Transaction((Absent("a"),), (B,), (Get("a"), Delete("a"))),
            Ran(False, (Versioned("1", 1), True)),
        ),
    ],
)
def test_retry_gets_the_same_answer(command: Write, result: Result) -> None:
    """
    What came of it the first time, though it would be something else now.
    """
    store = KeyValueStore()
    store.apply(1, encode_command(A))
    assert once(store, 2, "t", command) == Done(2, result)
    store.apply(3, encode_command(Set((("b", "1"),))))
    for index in (4, 5):
        assert once(store, index, "t", command) == Done(2, result)
    assert store.get("a") is None or command == Delete("b")
    assert store.get("b") == Versioned("1", 3)


def test_failed_precondition_is_remembered() -> None:
    """
    A conditional write that did not happen does not happen later, by its own retry.
    """
    store = KeyValueStore()
    store.apply(1, encode_command(A))
    command = Transaction((Absent("a"),), (B,))
    assert once(store, 2, "t", command) == Done(2, Ran(False, ()))
    store.apply(3, encode_command(Delete("a")))
    assert once(store, 4, "t", command) == Done(2, Ran(False, ()))
    assert store.get("a") is None


def test_token_of_another_command() -> None:
    """
    A token that is used for two commands is an error that changes nothing, and the
    first command keeps it.
    """
    store = KeyValueStore()
    once(store, 1, "t", A)
    for other in (B, Delete("a"), Transaction((), (A,))):
        assert once(store, 2, "t", other) == TokenReused(1)
    assert store.get("a") == Versioned("1", 1)
    assert once(store, 3, "t", A) == Done(1, None)
    assert store.tokens == 1


def test_tokens_are_apart() -> None:
    """
    The same command under another token is another write; without one, always.
    """
    store = KeyValueStore()
    once(store, 1, "t", A)
    assert once(store, 2, "T", A) == Done(2, None)
    store.apply(3, encode_command(A))
    assert store.get("a") == Versioned("1", 3)


def test_in_snapshots() -> None:
    """
    The table is in the snapshot (openraft 2096), so that a node which was restored from
    one knows a retry too.
    """
    store = KeyValueStore()
    once(store, 7, "t", A)
    once(store, 8, "u", Delete("a"))
    copy = restored(store.snapshot())
    assert copy.tokens == 2
    assert once(copy, 9, "t", A) == Done(7, None)
    assert once(copy, 10, "u", Delete("a")) == Done(8, True)
    assert once(copy, 11, "t", B) == TokenReused(7)
    assert copy.get("a") is None


def test_restore_replaces_the_table() -> None:
    """
    What the snapshot does not know, the restored state does not know either.
    """
    store, other = KeyValueStore(), KeyValueStore()
    once(store, 7, "t", A)
    restoration = store.restore()
    for piece in other.snapshot():
        restoration.add(piece)
    assert once(store, 8, "t", A) == Done(7, None)
    restoration.finish()
    assert store.tokens == 0
    assert once(store, 9, "t", A) == Done(9, None)


def test_snapshot_is_of_its_moment() -> None:
    """
    Tokens that come while a snapshot is read are not in it.
    """
    store = KeyValueStore()
    once(store, 7, "t", A)
    pieces = store.snapshot()
    once(store, 8, "u", A)
    copy = restored(pieces)
    assert copy.tokens == 1
    assert once(copy, 9, "u", A) == Done(9, None)
    assert once(store, 9, "u", A) == Done(8, None)


def test_oldest_is_forgotten_first() -> None:
    """
    There are never more tokens than there may be; those that go are the oldest, by the
    log and not by when they were last asked for.
    """
    table = Tokens()
    for index in range(1, MAX_TOKENS + 1):
        table.remember(f"t{index}", index, bytes(16), None)
    assert len(table) == MAX_TOKENS
    first = table.find("t1")
    assert first is not None
    assert first.index == 1
    table.remember("one more", MAX_TOKENS + 1, bytes(16), None)
    assert len(table) == MAX_TOKENS - CHUNK_TOKENS + 1
    assert table.find("t1") is None
    assert table.find(f"t{CHUNK_TOKENS}") is None
    assert table.find(f"t{CHUNK_TOKENS + 1}") is not None
    table.remember("t1", MAX_TOKENS + 2, bytes(16), True)
    again = table.find("t1")
    assert again is not None
    assert again.index == MAX_TOKENS + 2
    # What is taken out of the buckets later is not the new one.
    for index in range(MAX_TOKENS + 3, MAX_TOKENS + 4 * CHUNK_TOKENS):
        table.remember(f"t{index}", index, bytes(16), None)
    assert table.find("t1") == again


def test_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Large results drive out many small tokens, and each other; what counts no more is
    not held for long.
    """
    monkeypatch.setattr(tokens, "MAX_TOKEN_BYTES", 20_000)
    monkeypatch.setattr(tokens, "CHUNK_BYTES", 2_000)
    # So few are cleared at once that the large ones would have to wait for long.
    monkeypatch.setattr(tokens, "CHUNK_TOKENS", 4)
    table = Tokens()
    for index in range(1, 401):
        table.remember(f"{index:>8}", index, bytes(16), None)
    assert len(table) == 400
    for index in range(401, 500):
        table.remember(f"{index:>8}", index, bytes(16), "x" * 5_000)
        assert table.size <= 20_000
        kept = sum(
            len(token) + len(record)
            for chunk in table.parts()
            for token, record in chunk.items()
        )
        # Once in the buckets, once in the chunks, and what is being cleared.
        assert kept <= 4 * 20_000
    assert len(table) == 3
    assert table.find("     497") is not None
    assert table.find("     496") is None


def test_token_that_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One that comes again before its former self is cleared away stays known.
    """
    monkeypatch.setattr(tokens, "MAX_TOKEN_BYTES", 20_000)
    monkeypatch.setattr(tokens, "CHUNK_TOKENS", 4)
    table = Tokens()
    for index in range(1, 101):
        table.remember(f"t{index}", index, bytes(16), None)
    table.remember("large", 101, bytes(16), "x" * 19_000)
    assert table.find("t1") is None
    table.remember("t1", 102, bytes(16), True)
    found = table.find("t1")
    assert found is not None
    # Of the twenty-five chunks that went some are cleared with each.
    for index in range(103, 128):
        table.remember(f"t{index}", index, bytes(16), None)
        assert table.find("t1") == found


def test_chunks_are_small() -> None:
    """
    A chunk is full at so many bytes as well, so that what goes at once is not much.
    """
    table = Tokens()
    for index in range(1, 50):
        table.remember(str(index), index, bytes(16), "x" * 100_000)
    sizes = [sum(map(len, chunk.values())) for chunk in table.view()]
    assert max(sizes) < CHUNK_BYTES + 101_000
    assert len(sizes) == 5


def test_eviction_goes_on_alike_after_a_restore(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A node that was restored forgets the same tokens as one that never was: where
    chunks begin does not depend on where the snapshot was taken.
    """
    monkeypatch.setattr(tokens, "MAX_TOKENS", 20)
    monkeypatch.setattr(tokens, "CHUNK_TOKENS", 4)
    monkeypatch.setattr(tokens, "MAX_TOKEN_BYTES", 700)
    monkeypatch.setattr(tokens, "CHUNK_BYTES", 130)
    for moment in range(1, 60):
        store, copy = KeyValueStore(), KeyValueStore()
        for index in range(1, 120):
            if index == moment:
                copy = restored(store.snapshot())
            # Some of them have larger results.
            command = (
                Transaction((), (Get("a"),) * (index % 7 == 0)) if index % 3 else A
            )
            result = once(store, index, f"t{index}", command)
            if index >= moment:
                assert once(copy, index, f"t{index}", command) == result
        assert store.tokens == copy.tokens
        assert [*store.snapshot()] == [*copy.snapshot()]


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="the collector knows every dictionary there"
)
def test_nothing_for_the_garbage_collector() -> None:
    """
    However many tokens there are, the collector is not given more objects to visit.
    """
    gc.collect()
    before = len(gc.get_objects())
    store = KeyValueStore()
    for index in range(1, 5001):
        once(store, index, f"token-{index}", A)
    copy = restored(store.snapshot())
    assert store.tokens == copy.tokens == 5000
    gc.collect()
    assert len(gc.get_objects()) < before + 150


COMMANDS = [A, B, Delete("a"), Transaction((Absent("a"),), (A,), (Get("a"),))]


class TokenMachine(RuleBasedStateMachine):
    """
    Writes with tokens, and without, between a snapshot's beginning, its pieces, its end
    and its restore, against a list of all that ever came.
    """

    def __init__(self) -> None:
        """
        Begin with an empty store, and a table that is soon full.
        """
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(tokens, "MAX_TOKENS", 6)
        self._patch.setattr(tokens, "CHUNK_TOKENS", 2)
        self._patch.setattr(tokens, "BUCKETS", 2)
        self._patch.setattr(snapshot, "PIECE_KEYS", 2)
        self.store = KeyValueStore()
        self.index = 0
        #: In the order of the log: token, command, and its result.
        self.known: list[tuple[str, Write, Done]] = []
        self.value: Versioned | None = None
        self.reading: Generator[bytes, None, None] | None = None
        self.pieces: list[bytes] = []
        self.at_its_time: tuple[list[tuple[str, Write, Done]], Versioned | None] = (
            [],
            None,
        )
        self.last: (
            tuple[list[bytes], list[tuple[str, Write, Done]], Versioned | None] | None
        ) = None

    def teardown(self) -> None:
        """
        Put the sizes back.
        """
        self._patch.undo()

    def _expected(self, command: Write) -> object:
        match command:
            case Set(pairs):
                self.value = Versioned(pairs[-1][1], self.index)
                return None
            case Delete():
                was_there, self.value = self.value is not None, None
                return was_there
            case Transaction():
                if self.value is not None:
                    return Ran(False, (self.value,))
                self.value = Versioned("1", self.index)
                return Ran(True, (None,))

    @rule(token=st.sampled_from("abcdefghij"), command=st.sampled_from(COMMANDS))
    def once(self, token: str, command: Write) -> None:
        """
        Write with a token, known or not.
        """
        self.index += 1
        result = once(self.store, self.index, token, command)
        for known, other, done in self.known:
            if known == token:
                expected = done if other == command else TokenReused(done.index)
                assert result == expected
                return
        assert result == Done(self.index, self._expected(command))
        self.known.append((token, command, result))
        if len(self.known) > 6:
            del self.known[:2]

    @rule(command=st.sampled_from(COMMANDS))
    def plainly(self, command: Write) -> None:
        """
        Write without one.
        """
        self.index += 1
        result = result_of(self.store.apply(self.index, encode_command(command)))
        assert result == self._expected(command)

    @precondition(lambda self: self.reading is None)
    @rule()
    def begin(self) -> None:
        """
        Ask for a snapshot.
        """
        self.reading = self.store.snapshot()
        self.pieces = []
        self.at_its_time = [*self.known], self.value

    @precondition(lambda self: self.reading is not None)
    @rule()
    def read(self) -> None:
        """
        Read its next piece; at its end, see what it restores to.
        """
        assert self.reading is not None
        piece = next(self.reading, None)
        if piece is not None:
            self.pieces.append(piece)
            return
        self.reading = None
        known, value = self.at_its_time
        self.last = self.pieces, known, value
        copy = restored(self.pieces)
        assert copy.tokens == len(known)
        assert copy.get("a") == value
        for token, command, done in known:
            assert once(copy, self.index + 1, token, command) == done

    @precondition(lambda self: self.last is not None)
    @rule()
    def restore(self) -> None:
        """
        Go back to what the last snapshot holds.
        """
        assert self.last is not None
        pieces, known, self.value = self.last
        self.known = [*known]
        restoration = self.store.restore()
        for piece in pieces:
            restoration.add(piece)
        restoration.finish()

    @invariant()
    def knows_what_it_should(self) -> None:
        """
        See that the store holds what the writes left in it.
        """
        assert self.store.tokens == len(self.known)
        assert self.store.get("a") == self.value


TestTokens = TokenMachine.TestCase
TestTokens.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)

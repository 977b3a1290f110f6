"""
A backup that comes piece by piece: all of it in place at once, or nothing.
"""

from __future__ import annotations

import pytest

from hraftd.kv import restores
from hraftd.kv.commands import Delete, Once, Restore, Set, Stamped, encode_command
from hraftd.kv.store import KeyValueStore

HOUR = 3_600_000


def state_of(store: KeyValueStore) -> bytes:
    """
    Return all that a store holds, as bytes.
    """
    return b"".join(store.snapshot())


def backup(piece_bytes: int = 30) -> list[bytes]:
    """
    Return the pieces of a backup with three keys, a token and a deadline.
    """
    store = KeyValueStore(piece_bytes)
    store.apply(70, encode_command(Once("token", Set((("a", "1"), ("b", "2"))))))
    store.apply(71, encode_command(Stamped(HOUR, Set((("brief", "3"),), ttl=500))))
    return list(store.snapshot())


class Restored:
    """
    A store that entries are applied to.
    """

    def __init__(self) -> None:
        """
        Begin with a key, a token and a clock.
        """
        self.store = KeyValueStore()
        self.index = 0
        self.apply(Once("old", Set((("a", "old"), ("z", "old")))))
        self.apply(Stamped(10_000))

    def apply(self, command: object) -> object:
        """
        Apply the next entry.
        """
        self.index += 1
        return self.store.apply(self.index, encode_command(command))

    def put(self, name: str, *pieces: bytes, first: int = 0) -> list[object]:
        """
        Apply pieces of a restore, and return what came of each.
        """
        return [
            self.apply(Restore(name, number, piece))
            for number, piece in enumerate(pieces, start=first)
        ]


def test_all_of_it_at_once() -> None:
    """
    Nobody sees any of it before the end, and then nothing of what was there.
    """
    pieces = backup()
    assert len(pieces) > 3
    restored = Restored()
    store = restored.store
    assert restored.put("r", *pieces) == [{"keys": 2}] * len(pieces)
    assert [key for key, _ in store.page("", None, 9).items] == ["a", "z"]
    assert restored.put("r", b"", first=len(pieces)) == [{"keys": 3}]
    found = {key: one.value for key, one in store.page("", None, 9).items}
    assert found == {"a": "1", "b": "2", "brief": "3"}


def test_indexes_tokens_and_deadlines() -> None:
    """
    A key has an index that no other change has had; a deadline is as far away as it
    was when the backup was made; and writes with a token that are in the backup were
    done, the others not.
    """
    restored = Restored()
    pieces = backup()
    restored.put("r", *pieces, b"")
    store = restored.store
    indexes = {one.index for _, one in store.page("", None, 9).items}
    assert indexes == {3}
    assert (store.clock, store.next_due) == (10_000, 10_500)
    again = restored.apply(Once("token", Set((("a", "1"), ("b", "2")))))
    assert again["first"] == 70
    anew = restored.apply(Once("old", Set((("a", "old"), ("z", "old")))))
    assert anew["first"] == restored.index


def test_a_clock_does_not_go_back() -> None:
    """
    Time that passes while a backup is restored has passed for its keys as well.
    """
    restored = Restored()
    pieces = backup()
    restored.put("r", pieces[0])
    restored.apply(Stamped(10_400))
    restored.put("r", *pieces[1:], b"", first=1)
    assert (restored.store.clock, restored.store.next_due) == (10_400, 10_500)
    restored.apply(Stamped(10_500))
    assert restored.store.get("brief") is None


def test_pieces_that_come_twice() -> None:
    """
    A piece whose outcome nobody knew is sent again; so is the end.
    """
    once, twice = Restored(), Restored()
    pieces = backup()
    once.put("r", *pieces, b"")
    for number, piece in enumerate((*pieces, b"")):
        for _ in range(2):
            result = twice.store.apply(
                3 + number, encode_command(Restore("r", number, piece))
            )
            assert "keys" in result
    assert state_of(once.store) == state_of(twice.store)
    # Even the first one, long after the end.
    assert once.put("r", pieces[0]) == [{"keys": 3}]
    assert state_of(once.store) == state_of(twice.store)


@pytest.mark.parametrize("at", range(6))
def test_a_snapshot_in_the_middle(at: int) -> None:
    """
    Who is restored from a snapshot goes on where the others are.
    """
    straight, after = Restored(), Restored()
    pieces = [*backup(), b""]
    straight.put("r", *pieces)
    after.put("r", *pieces[:at])
    fresh = KeyValueStore()
    restoration = fresh.restore()
    for piece in after.store.snapshot():
        restoration.add(piece)
    restoration.finish()
    assert state_of(fresh) == state_of(after.store)
    after.store = fresh
    after.put("r", *pieces[at:], first=at)
    assert state_of(fresh) == state_of(straight.store)


def test_two_at_once() -> None:
    """
    Who begins ends the one before: their pieces are never mixed.
    """
    restored = Restored()
    pieces = backup()
    restored.put("first", *pieces[:2])
    assert restored.put("second", pieces[0]) == [{"keys": 2}]
    sentence = "this restore was given up, or another one has begun"
    assert restored.put("first", pieces[2], first=2) == [{"unusable": sentence}]
    restored.put("second", *pieces[1:], b"", first=1)
    assert len(restored.store) == 3


def test_one_that_nobody_goes_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It does not stay for ever, and no other command is hindered by it.
    """
    monkeypatch.setattr(restores, "STALE_ENTRIES", 5)
    restored = Restored()
    untouched = Restored()
    pieces = backup()
    restored.put("r", *pieces[:2])
    for number in range(6):
        assert state_of(restored.store) != state_of(untouched.store)
        restored.apply(Delete(f"none{number}"))
    assert state_of(restored.store) == state_of(untouched.store)
    [result] = restored.put("r", pieces[2], first=2)
    assert "given up" in result["unusable"]


@pytest.mark.parametrize("damaged", [0, 1, -1])
def test_what_is_no_state(damaged: int) -> None:
    """
    It changes nothing, is told with a sentence, and ends the restore.
    """
    restored, untouched = Restored(), Restored()
    pieces = [*backup(), b""]
    if damaged < 0:
        # A piece is missing at the end.
        del pieces[-2]
    else:
        pieces[damaged] = b"\xff" + pieces[damaged]
    results = restored.put("r", *pieces)
    first = next(result for result in results if "unusable" in result)
    assert "the backup cannot be restored: " in first["unusable"]
    assert state_of(restored.store) == state_of(untouched.store)


def test_a_piece_that_is_missing() -> None:
    """
    No piece is taken in the place of another one.
    """
    restored = Restored()
    pieces = backup()
    restored.put("r", pieces[0])
    [result] = restored.put("r", pieces[2], first=2)
    assert result == {"unusable": "a piece of the backup is missing"}

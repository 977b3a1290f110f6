"""
The Commands between servers, as bytes and back.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from hraftd.codec import CodecError, pack_entries
from hraftd.peers.arguments import (
    MAX_COUNT,
    MAX_PACKED,
    Count,
    Digest,
    Flag,
    LongBytes,
    Name,
)
from hraftd.peers.boxes import MAX_BOX, PAIR_COST
from hraftd.peers.commands import (
    MAX_CONFIGURATION,
    AppendEntries,
    InstallSnapshot,
    RequestVote,
    TimeoutNow,
    arguments_of,
    read_append_entries,
    read_install_snapshot,
    read_request_vote,
    read_response,
    read_timeout_now,
    results_of,
)
from hraftd.peers.hello import Versions
from hraftd.raft import messages
from hraftd.raft.configuration import Configuration, Server
from hraftd.raft.errors import ProtocolViolation
from hraftd.raft.messages import Entry, NoOp


def over_the_wire(box: amp.AmpBox) -> amp.AmpBox:
    """
    Return what the other side parses.
    """
    [parsed] = amp.parseString(box.serialize())
    return parsed


def pieces(packed: bytes) -> dict[bytes, bytes]:
    """
    Return the keys and values that carry these bytes.
    """
    strings: dict[bytes, bytes] = {}
    LongBytes().toBox(b"entries", strings, {"entries": packed}, None)
    return strings


def unite(strings: dict[bytes, bytes]) -> bytes:
    """
    Return the bytes that are in these keys and values.
    """
    objects: dict[str, Any] = {}
    LongBytes().fromBox(b"entries", dict(strings), objects, None)
    return objects["entries"]


@pytest.mark.parametrize("count", [0, 1, 65536, MAX_COUNT])
def test_count(count: int) -> None:
    """
    Terms and indexes from 0 to the largest one pass unchanged.
    """
    assert Count().fromString(Count().toString(count)) == count


@pytest.mark.parametrize(
    "digits",
    [
        *(b"", b"-1", b"+1", b" 1", b"1 ", b"1_0", b"0x1", b"1.0", b"\xd9\xa1"),
        b"0" * 20,
        *(b"%d" % (MAX_COUNT + 1), b"9" * 20, b"9" * 65535),
    ],
)
def test_absurd_count(digits: bytes) -> None:
    """
    What is no number between 0 and the largest index is refused.
    """
    with pytest.raises(ValueError, match=r"digits|between"):
        Count().fromString(digits)


@pytest.mark.parametrize("count", [-1, MAX_COUNT + 1])
def test_absurd_count_is_not_sent(count: int) -> None:
    """
    A number that the other side would refuse is not written.
    """
    with pytest.raises(ValueError, match="between"):
        Count().toString(count)


@pytest.mark.parametrize(
    "name", ["n1", "node 1", "127.0.0.1:12000", "ñandú", "x" * 255]
)
def test_name(name: str) -> None:
    """
    Ids that people give their servers pass unchanged.
    """
    assert Name().fromString(Name().toString(name)) == name


@pytest.mark.parametrize(
    "encoded", [b"", b"x" * 256, b"a\nb", b"a\x00", b"\x1b[2J", b"\xff", b"a\xcc"]
)
def test_bad_name(encoded: bytes) -> None:
    """
    A name that is empty, long, not UTF-8, or could fake a line in the log is refused.
    """
    with pytest.raises(ValueError, match="a name is not"):
        Name().fromString(encoded)


@pytest.mark.parametrize("name", ["", "x" * 256, "ñ" * 128, "a\nb"])
def test_bad_name_is_not_sent(name: str) -> None:
    """
    A name that the other side would refuse is not written.
    """
    with pytest.raises(ValueError, match="a name is not"):
        Name().toString(name)


def test_flag() -> None:
    """
    A flag is one of two bytes, and nothing else counts as true.
    """
    assert Flag().fromString(Flag().toString(True)) is True
    assert Flag().fromString(Flag().toString(False)) is False
    for wrong in (b"", b"2", b"True", b"00"):
        with pytest.raises(ValueError, match="flag"):
            Flag().fromString(wrong)


@pytest.mark.parametrize(
    ("size", "keys"),
    [(0, 1), (1, 1), (65535, 1), (65536, 2), (131070, 2), (131071, 3), (1 << 20, 17)],
)
def test_long_bytes(size: int, keys: int) -> None:
    """
    Bytes of any length pass, in as few keys as AMP allows.
    """
    packed = bytes(range(251)) * (size // 251 + 1)
    packed = packed[:size]
    strings = pieces(packed)
    assert len(strings) == keys
    box = over_the_wire(amp.AmpBox(strings))
    assert unite(box) == packed


def test_largest_entries_fit_in_a_box() -> None:
    """
    A request that may be sent is within what the other side accepts.
    """
    strings = pieces(bytes(MAX_PACKED))
    used = sum(len(k) + len(v) + PAIR_COST for k, v in strings.items())
    others = 20 * (255 + 255 + PAIR_COST)
    assert used + others < MAX_BOX


def test_too_long_to_be_sent() -> None:
    """
    More than fits in a box is refused where it is written, with a sentence.
    """
    with pytest.raises(ValueError, match="more than"):
        pieces(bytes(MAX_PACKED + 1))


FULL = b"x" * 65535


@pytest.mark.parametrize(
    "strings",
    [
        {b"entries": b"short", b"entries.1": b"x"},
        {b"entries": FULL, b"entries.1": b""},
        {b"entries": FULL, b"entries.2": b"x"},
        {b"entries": FULL, b"entries.1": b"x", b"entries.2": b"x"},
        {b"entries": FULL, b"entries.1": b"x", b"entries.3": b"x"},
        {b"entries": FULL, b"entries.01": b"x"},
        {b"entries": b"x", b"entries.": b"x"},
        {b"entries": b"x", b"entries.0": b"x"},
    ],
)
def test_wrong_pieces(strings: dict[bytes, bytes]) -> None:
    """
    Pieces that are short, empty, missing or superfluous are refused, never patched up.
    """
    with pytest.raises(ValueError, match="part"):
        unite(strings)


def test_too_long_to_be_read() -> None:
    """
    What is longer than its argument may be is refused, though the box had room for it.
    """
    strings = pieces(bytes(100_000))
    argument, objects = LongBytes(100_000), {}
    argument.fromBox(b"entries", dict(strings), objects, None)
    assert objects == {"entries": bytes(100_000)}
    with pytest.raises(ValueError, match="more than the 99999"):
        LongBytes(99_999).fromBox(b"entries", dict(strings), {}, None)


def test_no_pieces() -> None:
    """
    Without the first piece there are no entries, not even none.
    """
    with pytest.raises(KeyError):
        unite({b"entries.1": b"x"})


@given(
    st.dictionaries(
        st.sampled_from([b"entries", b"entries.1", b"entries.2", b"entries.10"]),
        st.sampled_from([b"", b"x", FULL[1:], FULL]),
    )
)
def test_one_way_to_write(strings: dict[bytes, bytes]) -> None:
    """
    Whatever is read at all is what would have been written.
    """
    try:
        packed = unite(strings)
    except (KeyError, ValueError):
        return
    assert pieces(packed) == strings


ENTRIES = (
    Entry(8, 3, b"x" * (1 << 20)),
    Entry(9, 3, NoOp()),
    Entry(10, 4, Configuration((Server("n1", "a:1", "a:2"),))),
)


MEMBERS = Configuration((Server("n1", "a:1"), Server("n2", "b:1", "b:2")))
DIGEST = bytes(range(224, 256))


def install(
    data: bytes = b"piece",
    *,
    offset: int = 0,
    size: int = 5,
    done: bool = True,
    members: Configuration = MEMBERS,
) -> messages.InstallSnapshot:
    """
    Make a request that carries a piece.
    """
    snapshot = messages.Snapshot(9, 3, members, size, DIGEST)
    return messages.InstallSnapshot(
        4, "n1", snapshot, messages.Piece(offset, data), done
    )


READERS = {
    RequestVote: read_request_vote,
    AppendEntries: read_append_entries,
    InstallSnapshot: read_install_snapshot,
    TimeoutNow: read_timeout_now,
}


@pytest.mark.parametrize(
    "request_",
    [
        messages.RequestVote(3, "n1", 7, 2, pre_vote=True),
        messages.RequestVote(3, "n1", 7, 2, leadership_transfer=True),
        messages.RequestVote(MAX_COUNT, "n1", 0, 0),
        messages.AppendEntries(3, "n1", 7, 2, ENTRIES, 5),
        messages.AppendEntries(1, "n1", 0, 0, (), 0),
        messages.AppendEntries(1, "n1", MAX_COUNT - 1, 1, (), MAX_COUNT),
        install(),
        install(b"x" * (8 << 20), offset=1, size=MAX_COUNT, done=False),
        install(b"", members=Configuration()),
        messages.TimeoutNow(3, "n1"),
    ],
)
def test_requests(request_: messages.Request) -> None:
    """
    Every Argument of each RPC box arrives as it was sent.
    """
    command, arguments = arguments_of(request_)
    box = over_the_wire(command.makeArguments(dict(arguments), None))
    parsed = command.parseArguments(box, None)
    assert READERS[command](**parsed) == request_


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (messages.RequestVote(3, "n1", 7, 2), messages.RequestVoteResponse(4, True)),
        (messages.RequestVote(3, "n1", 7, 2), messages.RequestVoteResponse(4, False)),
        (
            messages.AppendEntries(3, "n1", 7, 2, (), 5),
            messages.AppendEntriesResponse(4, False, 2, 6),
        ),
        (
            messages.AppendEntries(3, "n1", 7, 2, (), 5),
            messages.AppendEntriesResponse(3, True),
        ),
        (install(), messages.InstallSnapshotResponse(4, MAX_COUNT)),
        (messages.TimeoutNow(3, "n1"), messages.TimeoutNowResponse(4)),
    ],
)
def test_responses(request_: messages.Request, response: messages.Response) -> None:
    """
    Every Result of each RPC box arrives as it was sent.
    """
    command, _ = arguments_of(request_)
    box = over_the_wire(command.makeResponse(results_of(response), None))
    assert read_response(request_, command.parseResponse(box, None)) == response


def test_largest_piece_fits_in_a_box() -> None:
    """
    The largest piece beside the largest configuration is within a box's limit.
    """
    command, arguments = arguments_of(install(bytes(MAX_PACKED)))
    arguments["configuration"] = bytes(MAX_CONFIGURATION)
    box = command.makeArguments(arguments, None)
    used = sum(len(key) + len(value) + PAIR_COST for key, value in box.items())
    assert used + 3 * (255 + PAIR_COST) < MAX_BOX


@pytest.mark.parametrize(
    "change",
    [
        {"last_included_index": 0},
        {"last_included_term": 0},
        {"size": 0},
        {"configuration": b""},
        {"configuration": b'{"servers":[1]}'},
        {"configuration": b'{"servers": []}'},
    ],
)
def test_impossible_snapshot(change: dict[str, Any]) -> None:
    """
    A snapshot of nothing, at no index or in no term, or of no configuration is none.
    """
    _, arguments = arguments_of(install())
    assert read_install_snapshot(**arguments) == install()
    with pytest.raises((CodecError, ProtocolViolation)):
        read_install_snapshot(**arguments | change)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_digest(size: int) -> None:
    """
    A digest of another length is neither read nor written.
    """
    assert Digest().fromString(Digest().toString(DIGEST)) == DIGEST
    for convert in (Digest().fromString, Digest().toString):
        with pytest.raises(ValueError, match="32 bytes"):
            convert(bytes(size))


def test_entries_beyond_the_last_index() -> None:
    """
    Entries whose indexes the disk could not hold are refused.
    """
    arguments = {
        "term": 3,
        "leader_id": "n1",
        "prev_log_index": MAX_COUNT,
        "prev_log_term": 3,
        "entries": pack_entries([Entry(1, 3, NoOp())]),
        "leader_commit": 0,
    }
    with pytest.raises(CodecError):
        read_append_entries(**arguments)


@pytest.mark.parametrize(
    ("ours", "theirs", "common"),
    [
        (Versions(1, 1), Versions(1, 1), 1),
        (Versions(2, 1), Versions(1, 1), 1),
        (Versions(5, 4), Versions(4, 3), 4),
        (Versions(5, 4), Versions(10, 4), 5),
        (Versions(5, 4), Versions(10, 6), None),
        (Versions(5, 4), Versions(3, 1), None),
        (Versions(5, 4), Versions(0, 0), None),
    ],
)
def test_versions(ours: Versions, theirs: Versions, common: int | None) -> None:
    """
    Both sides use the newest version that both speak, and find the same one.
    """
    assert ours.common(theirs) == common
    assert theirs.common(ours) == common


def test_what_two_followers_get_is_written_once() -> None:
    """
    The same entries are packed once; equal ones of another request are not mixed up.
    """
    first, second = (messages.AppendEntries(3, "n1", 7, 2, ENTRIES, 5),) * 2
    _, of_first = arguments_of(first)
    _, of_second = arguments_of(second)
    assert of_first["entries"] is of_second["entries"]
    others = messages.AppendEntries(3, "n1", 7, 2, ENTRIES[:1], 5)
    _, of_others = arguments_of(others)
    assert of_others["entries"] == pack_entries(ENTRIES[:1])
    _, again = arguments_of(first)
    assert again["entries"] == of_first["entries"]

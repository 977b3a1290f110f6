"""
The byte form of entries: what goes in comes out, and nothing else gets in.
"""

from __future__ import annotations

import json
import struct

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.codec import (
    FORMAT,
    CodecError,
    decode_configuration,
    decode_payload,
    encode_configuration,
    encode_payload,
    pack_entries,
    unpack_entries,
)
from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.messages import Entry, NoOp

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SERVERS = st.builds(Server, TEXT, TEXT, TEXT, st.sampled_from(Suffrage))
CONFIGURATIONS = st.lists(SERVERS, max_size=5, unique_by=lambda server: server.id).map(
    lambda servers: Configuration(tuple(servers))
)
PAYLOADS = st.binary(max_size=50) | CONFIGURATIONS | st.just(NoOp())
TERMS = st.integers(1, 2**63 - 1)

MEMBERS = Configuration(
    (
        Server("node0", "localhost:12000", "localhost:11000"),
        Server("nöde1", "localhost:12001", "", Suffrage.LEARNER),
    )
)


def numbered(first_index: int, *rest: tuple[int, object]) -> tuple[Entry, ...]:
    """
    Return consecutive entries of these terms and payloads.
    """
    return tuple(
        Entry(index, term, payload)
        for index, (term, payload) in enumerate(rest, first_index)
    )


LOG = numbered(7, (1, NoOp()), (1, b"a command"), (3, MEMBERS), (3, b""))


class TestPayload:
    """
    What one entry holds.
    """

    @given(PAYLOADS)
    @settings(max_examples=150, deadline=None)
    def test_round_trip(self, payload: object) -> None:
        """
        Every payload comes back equal, and has one byte form only.
        """
        data = encode_payload(payload)
        assert decode_payload(data) == payload
        assert encode_payload(decode_payload(data)) == data

    @given(st.binary(max_size=60))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """
        Any other bytes are refused, or are the one form of what they decode to.
        """
        try:
            payload = decode_payload(data)
        except CodecError:
            return
        assert encode_payload(payload) == data

    def test_configuration_is_readable(self) -> None:
        """
        A configuration is one line of JSON behind its kind byte, not escaped.
        """
        data = encode_payload(MEMBERS)
        assert data[1:].decode() == (
            '{"servers":[{"http":"localhost:11000","id":"node0",'
            '"raft":"localhost:12000","suffrage":"voter"},'
            '{"http":"","id":"nöde1","raft":"localhost:12001",'
            '"suffrage":"learner"}]}'
        )

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "empty"),
            (b"\x00", "kind"),
            (b"Zanything", "kind"),
            (b"Nx", "follow a no-op"),
            (b"M", "not JSON"),
            (b"M\xff\xfe", "UTF-8"),
            (b"M" + b"[" * 100_000, "deep"),
            (b"M" + b"9" * 10_000, "JSON"),
            (b"M[]", "object"),
            (b"Mnull", "object"),
            (b'M{"servers":{}}', "object"),
            (b'M{"servers":[],"more":1}', "object"),
            (b'M{"servers":[1]}', "member"),
            (b'M{"servers":[{"id":"a"}]}', "member"),
            (b'M{"servers": []}', "canonical"),
            (b'M{"servers":[]} ', "canonical"),
            (b'M{"servers":[],"servers":[]}', "canonical"),
        ],
    )
    def test_malformed(self, data: bytes, why: str) -> None:
        """
        Each malformed payload is refused with a sentence that says why.
        """
        with pytest.raises(CodecError, match=why):
            decode_payload(data)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"suffrage": "king"}, "suffrage"),
            ({"suffrage": 1}, "member"),
            ({"id": 1}, "member"),
            ({"raft": None}, "member"),
            ({"http": ["x"]}, "member"),
            ({"extra": "x"}, "member"),
            ({"id": "\ud800"}, "Unicode"),
            ({"id": "zzz"}, "canonical"),
            ({"id": "node1"}, "same id"),
        ],
    )
    def test_wrong_members(self, change: dict[str, object], why: str) -> None:
        """
        Members of another shape, suffrage or order, or of one id, are refused.
        """
        member = {"http": "", "id": "node0", "raft": "a:1", "suffrage": "voter"}
        other = member | {"id": "node1"}
        document = {"servers": [member | change, other]}
        text = json.dumps(document, separators=(",", ":"), sort_keys=True)
        with pytest.raises(CodecError, match=why):
            decode_payload(b"M" + text.encode())

    def test_configuration_by_itself(self) -> None:
        """
        Beside a snapshot or on the wire a configuration is the same text.
        """
        members = Configuration(
            (*MEMBERS.servers, Server("n3", "c:1", "c:2", Suffrage.NONVOTER))
        )
        text = encode_configuration(members)
        assert encode_payload(members) == b"M" + text
        assert decode_configuration(text) == members
        for wrong in (b"", b"M" + text, text + b" ", text[:-1]):
            with pytest.raises(CodecError):
                decode_configuration(wrong)

    def test_configurations_without_a_byte_form(self) -> None:
        """
        What could not be read back is not written in the first place.
        """
        server = Server("node0", "a:1")
        with pytest.raises(CodecError, match="same id"):
            encode_payload(Configuration((server, evolve(server, raft="b:1"))))
        with pytest.raises(CodecError, match="Unicode"):
            encode_payload(Configuration((Server("\udcff", "a:1"),)))


class TestEntries:
    """
    Many entries as one string of bytes.
    """

    @given(st.integers(1, 2**60), st.lists(st.tuples(TERMS, PAYLOADS), max_size=6))
    @settings(max_examples=150, deadline=None)
    def test_round_trip(self, first_index: int, rest: list[tuple[int, object]]) -> None:
        """
        Consecutive entries come back equal, each at its index.
        """
        entries = numbered(first_index, *rest)
        assert unpack_entries(pack_entries(entries), first_index) == entries

    def test_layout(self) -> None:
        """
        The layout is fixed: other versions of hraftd depend on it.
        """
        assert FORMAT == 1
        assert pack_entries(LOG[:2]) == (
            b"\x01"
            b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01N"
            b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0aCa command"
        )

    @given(st.binary(max_size=60).map(lambda data: b"\x01" + data))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """
        Any other bytes are refused, or are the one form of what they unpack to.
        """
        try:
            entries = unpack_entries(data, 1)
        except CodecError:
            return
        assert pack_entries(entries) == data

    def test_every_truncation(self) -> None:
        """
        Entries that break off within one of them are refused.

        A cut between two of them gives those in front of it.
        """
        data = pack_entries(LOG)
        whole = {len(pack_entries(LOG[:count])): count for count in range(len(LOG) + 1)}
        for length in range(len(data)):
            if length in whole:
                assert unpack_entries(data[:length], 7) == LOG[: whole[length]]
            else:
                with pytest.raises(CodecError):
                    unpack_entries(data[:length], 7)

    def test_every_flipped_byte(self) -> None:
        """
        A changed byte is refused or gives other entries; nothing else happens.
        """
        data = pack_entries(LOG)
        for position in range(len(data)):
            flipped = bytearray(data)
            flipped[position] ^= 0x41
            try:
                entries = unpack_entries(bytes(flipped), 7)
            except CodecError:
                continue
            assert entries != LOG

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "format"),
            (b"\x02", "format 2"),
            (b"\x00", "format 0"),
            (pack_entries(LOG) + b"\x00", "before entry 11"),
            (b"\x01" + struct.pack(">QI", 1, 0), "empty"),
            (b"\x01" + struct.pack(">QI", 1, 2**32 - 1) + b"Cx", "within entry 7"),
            (b"\x01" + struct.pack(">QI", 0, 1) + b"N", "term 0"),
            (b"\x01" + struct.pack(">QI", 2**63, 1) + b"N", "term"),
            (b"\x01" + struct.pack(">QI", 1, 1) + b"?", "kind"),
        ],
    )
    def test_malformed(self, data: bytes, why: str) -> None:
        """
        Each malformed string of entries is refused with a sentence that says why.
        """
        with pytest.raises(CodecError, match=why):
            unpack_entries(data, 7)

    @pytest.mark.parametrize("first_index", [-1, 0, 2**63 - 1, 2**63, 2**70])
    def test_impossible_index(self, first_index: int) -> None:
        """
        No entry gets an index that a log cannot have, nor one that a disk cannot.
        """
        with pytest.raises(CodecError, match="index"):
            unpack_entries(pack_entries(LOG), first_index)

    def test_entries_without_a_byte_form(self) -> None:
        """
        A gap, which would silently close up, and impossible terms are refused.
        """
        with pytest.raises(CodecError, match="entry 9 stands where 8 should"):
            pack_entries((LOG[0], LOG[2]))
        for term in (-1, 0, 2**63):
            with pytest.raises(CodecError, match="term"):
                pack_entries((Entry(1, term, b""),))

    def test_a_large_value_among_many(self) -> None:
        """
        A command of 1 MiB and thousands of small ones fit into one string.
        """
        entries = numbered(1, (1, b"x" * 2**20), *[(2, b"y")] * 5000)
        assert unpack_entries(pack_entries(entries), 1) == entries


def test_the_last_index_there_can_be() -> None:
    """
    Entries may reach up to the largest index of the format, and no further.
    """
    last = 2**63 - 1
    packed = pack_entries((Entry(last, 1, b""),))
    assert unpack_entries(packed, last) == (Entry(last, 1, b""),)
    assert unpack_entries(pack_entries(()), last + 1) == ()
    with pytest.raises(CodecError):
        unpack_entries(packed, last + 1)

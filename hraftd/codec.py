"""
The one byte form of entries and configurations, on disk and on the wire.

A *payload* is one kind byte and a body; the same bytes are a row's payload in
:mod:`hraftd.log_table` and a part of the packed entries that AppendEntries carries.
The kind bytes are letters and a configuration is JSON, so that the log can be read
with the ``sqlite3`` shell. *Packed entries* begin with a format byte, which changes
if ever the layout does. A configuration has the same JSON text wherever it stands: in
an entry, beside a snapshot, and on the wire.

Nothing here executes what it reads, and every malformed input ends in
:class:`CodecError`: a peer or a disk may hold any bytes at all. What a command says
is its state machine's business (:mod:`hraftd.kv.commands`).
"""

from __future__ import annotations

import json
from struct import Struct
from typing import TYPE_CHECKING, assert_never

from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.messages import Entry, NoOp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hraftd.raft.messages import Payload

__all__ = [
    "FORMAT",
    "CodecError",
    "decode_configuration",
    "decode_payload",
    "encode_configuration",
    "encode_payload",
    "pack_entries",
    "unpack_entries",
]


class CodecError(ValueError):
    """
    These bytes are not what they should be, or this value has no byte form.

    The text is a sentence that says why.
    """


#: The first byte of packed entries. A layout that older servers cannot read gets
#: another one.
FORMAT = 1

_NO_OP = b"N"
_COMMAND = b"C"
_MEMBERS = b"M"

#: Before each packed payload: its term, and its length in bytes.
_HEADER = Struct(">QI")

#: Terms and indexes are kept as signed integers of 64 bits on disk.
_LARGEST = 2**63 - 1

_FORMAT_BYTE = bytes([FORMAT])


def encode_payload(payload: Payload) -> bytes:
    """
    Return the byte form of what an entry holds.

    :raises CodecError: if a configuration has no byte form: two members of one
        id, or text that is not Unicode.
    """
    match payload:
        case bytes():
            return _COMMAND + payload
        case Configuration():
            return _MEMBERS + encode_configuration(payload)
        case NoOp():
            return _NO_OP
        case _:
            assert_never(payload)


def decode_payload(data: bytes) -> Payload:
    """
    Return what :func:`encode_payload` made these bytes from.

    :raises CodecError: if it never makes such bytes.
    """
    kind = data[:1]
    if kind == _COMMAND:
        return data[1:]
    if kind == _MEMBERS:
        return decode_configuration(data[1:])
    if kind == _NO_OP:
        if len(data) != 1:
            raise CodecError(f"{len(data) - 1} bytes follow a no-op, which has none")
        return NoOp()
    if not kind:
        raise CodecError("the payload is empty, without even its kind")
    raise CodecError(f"the payload is of a kind this version does not know: {kind!r}")


def encode_configuration(configuration: Configuration) -> bytes:
    """
    Return the one JSON text of these members: keys sorted, no spaces, UTF-8.

    :raises CodecError: if it has none: two members of one id, or text that is not
        Unicode.
    """
    ids = {server.id for server in configuration.servers}
    if len(ids) != len(configuration.servers):
        raise CodecError("two members of the configuration have the same id")
    members = [
        {
            "id": server.id,
            "raft": server.raft,
            "http": server.http,
            "suffrage": server.suffrage.value,
        }
        for server in configuration.servers
    ]
    text = json.dumps(
        {"servers": members},
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CodecError("a member's name or address is not Unicode text") from error


def decode_configuration(text: bytes) -> Configuration:
    """
    Return the configuration that :func:`encode_configuration` made these bytes from.

    :raises CodecError: if it never makes such bytes.
    """
    try:
        configuration = _read_members(json.loads(text.decode()))
    except UnicodeDecodeError as error:
        raise CodecError("the configuration is not UTF-8") from error
    except RecursionError as error:
        raise CodecError("the configuration is nested too deeply") from error
    except CodecError:
        raise
    except ValueError as error:
        raise CodecError(f"the configuration is not JSON: {error}") from error
    # One configuration, one byte form: this also refuses a key that comes twice,
    # another order and anything else that a lenient reader would overlook.
    if encode_configuration(configuration) != text:
        raise CodecError("the configuration is not in its canonical form")
    return configuration


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """
    Return consecutive entries as one string of bytes.

    Their indexes are not in it: a reader must know the first one's, which
    AppendEntries tells by ``prev_log_index``.

    :raises CodecError: if the entries are not consecutive, or one of them cannot
        be represented.
    """
    parts = [_FORMAT_BYTE]
    add = parts.append
    first_index = entries[0].index if entries else 0
    for index, entry in enumerate(entries, first_index):
        if entry.index != index:
            raise CodecError(f"entry {entry.index} stands where {index} should")
        if not 0 < entry.term <= _LARGEST:
            raise CodecError(f"entry {index} has the impossible term {entry.term}")
        payload = entry.payload
        if isinstance(payload, bytes):
            # The body goes in as it is: a large command is not copied twice.
            length = len(payload) + 1
            _check_length(length)
            add(_HEADER.pack(entry.term, length) + _COMMAND)
            add(payload)
        else:
            encoded = encode_payload(payload)
            _check_length(len(encoded))
            add(_HEADER.pack(entry.term, len(encoded)))
            add(encoded)
    return b"".join(parts)


def unpack_entries(data: bytes, first_index: int) -> tuple[Entry, ...]:
    """
    Return the entries that :func:`pack_entries` made these bytes from.

    :param first_index: the index of the first of them.
    :raises CodecError: if it never makes such bytes, whatever is wrong with them.
    """
    if data[:1] != _FORMAT_BYTE:
        if not data:
            raise CodecError("the packed entries lack their format byte")
        raise CodecError(
            f"the entries are packed in format {data[0]}, this version reads {FORMAT}"
        )
    if first_index < 1:
        raise CodecError(f"no entry can have the index {first_index}")
    entries: list[Entry] = []
    add = entries.append
    unpack = _HEADER.unpack_from
    header_size = _HEADER.size
    index = first_index
    position = 1
    end = len(data)
    while position < end:
        body = position + header_size
        if body > end:
            raise CodecError(f"the packed entries break off before entry {index}")
        term, length = unpack(data, position)
        position = body + length
        if position > end:
            raise CodecError(f"the packed entries break off within entry {index}")
        if not 0 < term <= _LARGEST:
            raise CodecError(f"entry {index} has the impossible term {term}")
        if length and data[body] == _COMMAND[0]:
            add(Entry(index, term, data[body + 1 : position]))
        else:
            add(Entry(index, term, decode_payload(data[body:position])))
        index += 1
    if index - 1 > _LARGEST:
        raise CodecError(f"no entry can have the index {index - 1}")
    return tuple(entries)


def _check_length(length: int) -> None:
    if length > 0xFFFFFFFF:
        raise CodecError(f"a payload of {length} bytes is too long to be packed")


def _read_members(document: object) -> Configuration:
    match document:
        case {"servers": [*members], **others} if not others:
            return Configuration(tuple(_read_member(member) for member in members))
        case _:
            raise CodecError("the configuration is not an object with servers alone")


def _read_member(member: object) -> Server:
    match member:
        case {
            "id": str(server_id),
            "raft": str(raft),
            "http": str(http),
            "suffrage": str(suffrage),
            **others,
        } if not others:
            try:
                return Server(server_id, raft, http, Suffrage(suffrage))
            except ValueError as error:
                raise CodecError(
                    f"{server_id!r} has a suffrage this version does not know: "
                    f"{suffrage!r}"
                ) from error
        case _:
            raise CodecError(
                "a member of the configuration is not an object of id, raft, http "
                "and suffrage, all of them text"
            )

"""
Other members for a stopped node: an operator's way back where the cluster has none.

A cluster changes its members by agreement of a majority of them. If that majority is
lost for good, or if all addresses have changed at once, it never agrees on anything
again. Then an operator may decide in its place, node by node: :func:`stopped_node`
reads all that a node has, and :meth:`StoppedNode.replace_members` writes it back as a
snapshot with other members, and with no log behind it.

No algorithm makes this safe. Entries of the log that were never committed are in that
snapshot too: nobody knows any more which those are. And whoever is not told may go on
with the members as they were. What an operator is told about that, and asked, is in
:mod:`hraftd.cli`.

Not in the paper; HashiCorp's Raft has the same in its ``peers.json``.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, assert_never

from attrs import evolve, field, frozen

from hraftd.addresses import is_wildcard, parse_address
from hraftd.database import Database
from hraftd.database_file import DatabaseFile
from hraftd.interfaces import StorageError
from hraftd.kv.store import KeyValueStore
from hraftd.raft.configuration import (
    Configuration,
    Server,
    Suffrage,
    check_server_id,
)
from hraftd.raft.messages import NoOp, Piece, Snapshot
from hraftd.rows import Damage
from hraftd.snapshots import restore_stored
from hraftd.sqlite_file import is_in_use
from hraftd.tables import UnknownFormat, read_meta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hraftd.interfaces import Stored
    from hraftd.raft.messages import HardState

__all__ = ["CannotRecover", "StoppedNode", "read_members", "stopped_node"]


class CannotRecover(Exception):
    """
    Nothing was changed. The text is a sentence that says why.
    """


def read_members(file: Path) -> Configuration:
    """
    Read the members that a cluster is to have.

    The file holds a JSON list of objects: ``id``, ``raft``, and, if they are known or
    wanted, ``http`` and ``voter``, which is true where it does not stand.

    :raises CannotRecover: if it cannot be read, or these cannot be members.
    """
    try:
        document = json.loads(
            file.read_bytes().decode("utf-8-sig"), object_pairs_hook=_without_repetition
        )
        if not isinstance(document, list):
            raise ValueError("it is no JSON list of members")
        members = [_read_member(member) for member in document]
        _check_together(members)
    except OSError as error:
        raise CannotRecover(f"{file} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise CannotRecover(f"{file} is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise CannotRecover(f"{file} is not UTF-8") from error
    except RecursionError as error:
        raise CannotRecover(f"{file} is nested too deeply") from error
    except ValueError as error:
        raise CannotRecover(f"{file} cannot be used: {error}") from error
    return Configuration(tuple(members))


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member has the same field twice")
    return members


def _read_member(member: object) -> Server:
    match member:
        case {"id": str(server_id), "raft": str(raft), **others}:
            http, is_voter = others.pop("http", None), others.pop("voter", True)
        case _:
            raise ValueError("a member is no object with the texts id and raft")
    check_server_id(server_id)
    if not isinstance(http, str | None):
        raise ValueError(f"http of {server_id} is no text")
    if not isinstance(is_voter, bool):
        raise ValueError(f"voter of {server_id} is neither true nor false")
    if others:
        raise ValueError(
            f"{server_id} has the unknown field {next(iter(others))!r}; there are id, "
            "raft, http and voter"
        )
    return Server(
        server_id,
        _dialled(server_id, raft),
        "" if http is None else _dialled(server_id, http),
        Suffrage.VOTER if is_voter else Suffrage.NONVOTER,
    )


def _dialled(server_id: str, text: str) -> str:
    try:
        address = str(parse_address(text))
        if is_wildcard(address):
            raise ValueError(f"nobody can dial {text!r}")
    except ValueError as error:
        raise ValueError(f"of {server_id}, {error}") from error
    return address


def _check_together(members: list[Server]) -> None:
    """
    See that no two of them share anything, and that one of them may vote.
    """
    ids: set[str] = set()
    owners: dict[str, str] = {}
    for member in members:
        if member.id in ids:
            raise ValueError(f"{member.id} is in it twice")
        ids.add(member.id)
        for address in filter(None, (member.raft, member.http)):
            if address in owners:
                raise ValueError(
                    f"{address} belongs to {owners[address]} and to {member.id}"
                    if owners[address] != member.id
                    else f"{address} is both raft and http of {member.id}"
                )
            owners[address] = member.id
    if not any(member.is_voter for member in members):
        raise ValueError("a cluster needs a voter, and there is none in it")


@frozen
class StoppedNode:
    """
    A node that is not running, its database locked, and all that it has.
    """

    id: str
    cluster_id: str
    #: The members as it knows them.
    configuration: Configuration
    #: The last entry of its log, committed or not, and that entry's term.
    last_index: int
    last_term: int
    #: The state with all of its entries applied.
    store: KeyValueStore
    _hard_state: HardState
    _database: Database = field(repr=False)

    def replace_members(self, configuration: Configuration) -> None:
        """
        Make durable that these are the members, and that all entries are committed.

        One transaction at the end puts it in force. Whoever stops it before that has
        changed nothing, and may begin anew.

        :raises CannotRecover: if the node is not among them.
        :raises StorageError: if it cannot be written.
        """
        self.check_is_among(configuration)
        size, digest = 0, blake2b(digest_size=32)
        for data in self.store.snapshot():
            self._database.write_piece(Piece(size, data))
            digest.update(data)
            size += len(data)
        snapshot = Snapshot(
            self.last_index, self.last_term, configuration, size, digest.digest()
        )
        # Nothing stays of the log: its configurations must not count any more.
        self._database.compact(snapshot, 0, 0)
        # It may have been catching up; what it has is what there is now.
        self._database.write(evolve(self._hard_state, votes_from=0), [], None)

    def check_is_among(self, configuration: Configuration) -> None:
        """
        See that this node is to be a member.

        :raises CannotRecover: if not.
        """
        if configuration.get(self.id) is None:
            raise CannotRecover(
                f"{self._database.file} is of {self.id}, which is not to be a member; "
                "a node that is left out is not recovered, and must not be started "
                "again"
            )


@contextmanager
def stopped_node(data_dir: Path) -> Iterator[StoppedNode]:
    """
    Lock the data of a node, which no process may have open, and read all of it.

    :raises CannotRecover: if there is none, or nothing in it to go on from.
    :raises StorageError: if it is in use, damaged, or of an unknown format.
    """
    node_id = _find_node_id(data_dir)
    database = Database(data_dir, node_id)
    with closing(database):
        yield _read(node_id, database, database.open())


def _find_node_id(data_dir: Path) -> str:
    """
    Return whose data directory it is; anything if opening it must fail.
    """
    file = DatabaseFile(data_dir, "")
    try:
        is_there = file.path.is_file()
    except OSError as error:
        raise CannotRecover(f"{data_dir} cannot be read: {error.strerror}") from error
    if not is_there:
        raise CannotRecover(
            f"{data_dir} is not the data directory of a node: {file.path} is not there"
        )
    if is_in_use(file.path):
        raise CannotRecover(
            f"{file.path} is in use by another process; stop the node first"
        )
    with closing(file):
        try:
            return read_meta(file.open()).node_id
        except (sqlite3.Error, OSError, UnicodeError, Damage, UnknownFormat):
            # Opening it to read all of it will fail as well, and tells why.
            return ""


def _read(node_id: str, database: Database, stored: Stored) -> StoppedNode:
    """
    Apply all that is stored to an empty store.
    """
    store = KeyValueStore()
    configuration = Configuration()
    last_index = last_term = 0
    if stored.snapshot is not None:
        restore_stored(stored, store)
        configuration = stored.snapshot.configuration
        last_index, last_term = stored.snapshot.last_index, stored.snapshot.last_term
    for entry in stored.entries:
        if entry.index <= last_index:
            continue
        last_index, last_term = entry.index, entry.term
        match entry.payload:
            case bytes(command):
                _apply(database, store, entry.index, command)
            case Configuration() as configuration:
                pass
            case NoOp():
                pass
            case other:
                assert_never(other)
    if not stored.cluster_id or last_index == 0:
        raise CannotRecover(
            f"{database.file} is of a node that was never a member of a cluster; "
            "remove it, and let the node join"
        )
    return StoppedNode(
        node_id,
        stored.cluster_id,
        configuration,
        last_index,
        last_term,
        store,
        stored.hard_state,
        database,
    )


def _apply(
    database: Database, store: KeyValueStore, index: int, command: bytes
) -> None:
    try:
        store.apply(index, command)
    except ValueError as error:
        raise StorageError(
            f"entry {index} in {database.file} cannot be applied ({error}); was it "
            "written by a newer hraftd?"
        ) from error

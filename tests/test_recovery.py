"""
Other members for a stopped node: what it has is kept, and who they are is changed.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest

from hraftd.database import Database
from hraftd.interfaces import StorageError
from hraftd.kv import snapshot as kv_snapshot
from hraftd.kv.commands import Delete, Set, encode_command
from hraftd.kv.store import KeyValueStore, Versioned
from hraftd.raft.configuration import Configuration, Server, Suffrage
from hraftd.raft.messages import Entry, HardState, NoOp, Piece, Snapshot
from hraftd.recovery import CannotRecover, read_members, stopped_node
from hraftd.snapshots import restore_stored

from .disks import CLUSTER, FILE, NODE, WAL, crash_image, reload

if TYPE_CHECKING:
    from pathlib import Path

    from hraftd.interfaces import Stored

OLD = Configuration(
    tuple(Server(f"node{n}", f"old:1200{n}", f"old:1100{n}") for n in range(3))
)
#: One that was never committed, perhaps.
UNCOMMITTED = Configuration((*OLD.servers, Server("node3", "old:12003")))
NEW = Configuration(
    (
        Server(NODE, "new:12000", "new:11000"),
        Server("copy", "new:12001", "", Suffrage.NONVOTER),
    )
)


def put(index: int, term: int, **values: str) -> Entry:
    """
    Return an entry that sets keys.
    """
    return Entry(index, term, encode_command(Set(tuple(values.items()))))


LOG = (
    Entry(1, 1, OLD),
    Entry(2, 1, NoOp()),
    put(3, 1, a="1", b="1"),
    put(4, 1, b="2"),
    Entry(5, 2, encode_command(Delete("a"))),
    Entry(6, 2, UNCOMMITTED),
    put(7, 3, c="3"),
)
#: What all of it makes.
STATE = {"b": Versioned("2", 4), "c": Versioned("3", 7)}


def filled(database: Database) -> Database:
    """
    Open an empty database and give it a log.
    """
    database.open()
    database.write(HardState(4, "node2"), LOG, CLUSTER)
    return database


def compacted(database: Database, last_index: int, trailing_entries: int) -> None:
    """
    Put a snapshot in place of the log up to an index.
    """
    store = KeyValueStore()
    for entry in LOG[:last_index]:
        if isinstance(entry.payload, bytes):
            store.apply(entry.index, entry.payload)
    [piece] = store.snapshot()
    database.write_piece(Piece(0, piece))
    snapshot = Snapshot(
        last_index, LOG[last_index - 1].term, OLD, len(piece), digest(piece)
    )
    database.compact(snapshot, trailing_entries, 2**20)


def digest(content: bytes) -> bytes:
    """
    Return the name of a snapshot's content.
    """
    return blake2b(content, digest_size=32).digest()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """
    Return the data directory of a node that has stopped.
    """
    with closing(filled(Database(tmp_path / "data", NODE))):
        return tmp_path / "data"


def state_of(stored: Stored) -> dict[str, Versioned]:
    """
    Return what a node that starts has in its store, before it hears from a leader.
    """
    store = KeyValueStore()
    restore_stored(stored, store)
    held = {key: versioned for key in "abc" if (versioned := store.get(key))}
    assert len(store) == len(held)
    return held


def contents(directory: Path) -> dict[str, bytes]:
    """
    Return all files of a directory.
    """
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


# The members.


def members_of(tmp_path: Path, document: object) -> Configuration:
    """
    Return the members that a file of this JSON means.
    """
    file = tmp_path / "members.json"
    file.write_text(json.dumps(document), "utf-8")
    return read_members(file)


def test_members(tmp_path: Path) -> None:
    """
    A member has an id and a Raft address, votes unless it says otherwise, and may go
    without an HTTP address. Addresses are written as everywhere else.
    """
    assert members_of(
        tmp_path,
        [
            {"id": "b", "raft": ":12001"},
            {"id": "a", "raft": "a.example:12000", "http": "[::1]:1", "voter": True},
            {"id": "ж", "raft": "10.0.0.1:12000", "voter": False},
        ],
    ) == Configuration(
        (
            Server("a", "a.example:12000", "[::1]:1"),
            Server("b", "localhost:12001"),
            Server("ж", "10.0.0.1:12000", "", Suffrage.NONVOTER),
        )
    )


A: dict[str, Any] = {"id": "a", "raft": "a:1"}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (A, "no JSON list"),
        (None, "no JSON list"),
        ([], "needs a voter"),
        ([A | {"voter": False}], "needs a voter"),
        (["a"], "no object with the texts id and raft"),
        ([{"id": "a"}], "no object with the texts id and raft"),
        ([{"raft": "a:1"}], "no object with the texts id and raft"),
        ([{"id": 1, "raft": "a:1"}], "no object with the texts id and raft"),
        ([{"id": "a", "raft": None}], "no object with the texts id and raft"),
        ([A | {"http": None}, {}], "no object with the texts id and raft"),
        ([A | {"http": 1}], "http of a is no text"),
        ([A | {"voter": "yes"}], "voter of a is neither"),
        ([A | {"voter": 1}], "voter of a is neither"),
        ([A | {"voter": None}], "voter of a is neither"),
        ([A | {"suffrage": "voter"}], "a has the unknown field 'suffrage'"),
        ([A | {"id": "a/b"}], "'a/b' is no id of a node"),
        ([A | {"id": "\ud800"}], "is no id of a node"),
        ([A | {"raft": "a"}], "of a, 'a' is not host:port"),
        ([A | {"raft": "a:0"}], "of a, nobody can dial port 0"),
        ([A | {"raft": "0.0.0.0:1"}], "of a, nobody can dial '0.0.0.0:1'"),
        ([A | {"raft": "tcp:1:interface=a"}], "of a, 'tcp:1:interface=a' is not"),
        ([A | {"http": ""}], "of a, '' is not host:port"),
        ([A | {"http": "[::]:1"}], "of a, nobody can dial"),
        ([A | {"http": "a:1"}], "a:1 is both raft and http of a"),
        ([A, A | {"raft": "b:1"}], "a is in it twice"),
        ([A, A | {"id": "b"}], "a:1 belongs to a and to b"),
        ([A, {"id": "b", "raft": "b:1", "http": "a:1"}], "a:1 belongs to a and to b"),
    ],
)
def test_unusable_members(tmp_path: Path, document: object, why: str) -> None:
    """
    Whatever cannot be the members of a cluster is refused in a sentence with the file.
    """
    with pytest.raises(CannotRecover) as refused:
        members_of(tmp_path, document)
    [line] = str(refused.value).splitlines()
    assert line.startswith(f"{tmp_path / 'members.json'} cannot be used: ")
    assert why in line


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not JSON"),
        (b"[", "is not JSON"),
        (b'[{"id": "a", "raft": "a:1"}] more', "is not JSON"),
        (b'\xff\xfe[{"id": "a", "raft": "a:1"}]', "UTF-8"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'[{"id": "a", "id": "b", "raft": "a:1"}]', "the same field twice"),
    ],
)
def test_malformed_members(tmp_path: Path, content: bytes, why: str) -> None:
    """
    What is no JSON, or says two things at once, is refused in a sentence.
    """
    file = tmp_path / "members.json"
    file.write_bytes(content)
    with pytest.raises(CannotRecover, match=why) as refused:
        read_members(file)
    assert len(str(refused.value).splitlines()) == 1


def test_members_that_cannot_be_read(tmp_path: Path) -> None:
    """
    Nor is there anything to read in a file that is missing, or in a directory.
    """
    with pytest.raises(CannotRecover, match="nothing cannot be read: No such file"):
        read_members(tmp_path / "nothing")
    with pytest.raises(CannotRecover, match="cannot be read"):
        read_members(tmp_path)


# What a stopped node has.


def test_what_a_node_has(data_dir: Path) -> None:
    """
    All of its log counts, committed or not; so do the members that it knows last.
    """
    with stopped_node(data_dir) as node:
        assert (node.id, node.cluster_id) == (NODE, CLUSTER)
        assert (node.last_index, node.last_term) == (7, 3)
        assert node.configuration == UNCOMMITTED
        assert {key: node.store.get(key) for key in "bc"} == STATE
        assert len(node.store) == 2


def test_looking_changes_nothing(data_dir: Path) -> None:
    """
    A node that was looked at, and not recovered, goes on as if it had not been.
    """
    before = reload(data_dir)
    with stopped_node(data_dir):
        pass
    assert reload(data_dir) == before


@pytest.mark.parametrize(
    ("last_index", "trailing"), [(0, 0), (4, 0), (4, 2), (5, 100), (7, 0), (7, 3)]
)
def test_replaced_members(tmp_path: Path, last_index: int, trailing: int) -> None:
    """
    Afterwards the node has the new members, the whole state, its term and vote, and no
    log that could tell of other members; whatever part of that was a snapshot before.
    """
    with closing(filled(Database(tmp_path, NODE))) as database:
        if last_index:
            compacted(database, last_index, trailing)
    with stopped_node(tmp_path) as node:
        assert node.configuration == (OLD if last_index == 7 else UNCOMMITTED)
        node.replace_members(NEW)
    stored = reload(tmp_path)
    assert stored.snapshot is not None
    assert stored.snapshot.configuration == NEW
    assert (stored.snapshot.last_index, stored.snapshot.last_term) == (7, 3)
    assert stored.entries == ()
    assert stored.hard_state == HardState(4, "node2")
    assert stored.cluster_id == CLUSTER
    assert state_of(stored) == STATE


def test_once_more(data_dir: Path) -> None:
    """
    A node that was recovered can be recovered again, with other members.
    """
    for members in (NEW, OLD):
        with stopped_node(data_dir) as node:
            node.replace_members(members)
        stored = reload(data_dir)
        assert stored.snapshot is not None
        assert stored.snapshot.configuration == members
        assert state_of(stored) == STATE


def test_goes_on_afterwards(data_dir: Path) -> None:
    """
    New entries follow those that became the snapshot.
    """
    with stopped_node(data_dir) as node:
        node.replace_members(NEW)
    with closing(Database(data_dir, NODE)) as database:
        database.open()
        database.write(None, [put(8, 5, a="8")], None)
    assert reload(data_dir).entries == (put(8, 5, a="8"),)


def test_crash_before_the_end(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A recovery that ends anywhere before its last step has changed nothing.
    """
    before = reload(data_dir)
    images: list[Path] = []

    def with_image(name: str) -> None:
        original = getattr(Database, name)

        def wrapped(self: Database, *arguments: object) -> object:
            images.append(crash_image(data_dir, tmp_path / f"image {len(images)}"))
            return original(self, *arguments)

        monkeypatch.setattr(Database, name, wrapped)

    with_image("write_piece")
    with_image("compact")
    monkeypatch.setattr(kv_snapshot, "PIECE_KEYS", 1)
    with stopped_node(data_dir) as node:
        node.replace_members(NEW)
    monkeypatch.undo()
    assert len(images) == 3
    for image in images:
        assert reload(image) == before
        with stopped_node(image) as node:
            node.replace_members(NEW)
        assert state_of(reload(image)) == STATE


def test_disk_fails(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If it cannot be written, nothing has changed, and the lock is given back.
    """
    before = reload(data_dir)
    monkeypatch.setattr("hraftd.database_file.run_transaction", lambda *_: 1 / 0)
    with (
        pytest.raises(StorageError, match="could not be written"),
        stopped_node(data_dir) as node,
    ):
        node.replace_members(NEW)
    monkeypatch.undo()
    assert reload(data_dir) == before


# Refusals.


def refusal_of(data_dir: Path) -> str:
    """
    Return the line with which a directory is refused.
    """
    with (
        pytest.raises((CannotRecover, StorageError)) as refused,
        stopped_node(data_dir),
    ):
        pass
    [line] = str(refused.value).splitlines()
    return line


def test_left_out(data_dir: Path) -> None:
    """
    A node that is not among the members is not recovered.
    """
    before = reload(data_dir)
    others = Configuration((Server("node1", "new:12001"),))
    with (
        pytest.raises(CannotRecover, match=f"{NODE}, which is not to be a member"),
        stopped_node(data_dir) as node,
    ):
        node.replace_members(others)
    assert reload(data_dir) == before


def test_running_node(tmp_path: Path) -> None:
    """
    A node that runs is left alone, and goes on.
    """
    with closing(filled(Database(tmp_path, NODE))) as database:
        assert refusal_of(tmp_path) == (
            f"{tmp_path / FILE} is in use by another process; stop the node first"
        )
        database.write(None, [put(8, 4, a="8")], None)
    assert len(reload(tmp_path).entries) == 8


def test_no_data_directory(tmp_path: Path) -> None:
    """
    Where there is no node nothing is made.
    """
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name in ("missing", "file", "empty"):
        assert "is not the data directory of a node" in refusal_of(tmp_path / name)
    assert not (tmp_path / "missing").exists()
    assert [*(tmp_path / "empty").iterdir()] == []


def test_directory_that_cannot_be_read(tmp_path: Path) -> None:
    """
    Where the system does not even let one look, it says why.
    """
    assert "cannot be read: File name too long" in refusal_of(tmp_path / ("x" * 300))


def test_never_a_member(tmp_path: Path) -> None:
    """
    A node that never joined, or that has learned nothing yet, has nothing to recover.
    """
    for cluster_id, log in ((None, ()), (CLUSTER, ()), (None, LOG)):
        data_dir = tmp_path / f"{cluster_id} {len(log)}"
        with closing(Database(data_dir, NODE)) as database:
            database.open()
            database.write(HardState(1), log, cluster_id)
        assert "was never a member of a cluster" in refusal_of(data_dir)


@pytest.mark.parametrize("content", [b"", b"not SQLite" * 1000])
def test_damaged(data_dir: Path, content: bytes) -> None:
    """
    Damage is told, and left as it is.
    """
    (data_dir / FILE).write_bytes(content)
    assert "is damaged" in refusal_of(data_dir)
    assert contents(data_dir) == {FILE: content}


def test_damaged_write_ahead_log(tmp_path: Path) -> None:
    """
    Damage in the write-ahead log is not taken for its end, nor tidied away.
    """
    with closing(filled(Database(tmp_path / "data", NODE))) as database:
        database.write(None, [put(8, 4, a="8")], None)
        database.write(None, [put(9, 4, a="9")], None)
        image = crash_image(tmp_path / "data", tmp_path / "image")
    wal = bytearray((image / WAL).read_bytes())
    wal[32 + 24 + 100] ^= 1
    (image / WAL).write_bytes(wal)
    before = contents(image)
    assert "is damaged" in refusal_of(image)
    assert contents(image) == before


def test_killed_node(tmp_path: Path) -> None:
    """
    What a killed node has left in its write-ahead log counts.
    """
    with closing(filled(Database(tmp_path / "data", NODE))):
        image = crash_image(tmp_path / "data", tmp_path / "image")
    assert (image / WAL).stat().st_size > 0
    with stopped_node(image) as node:
        node.replace_members(NEW)
    assert state_of(reload(image)) == STATE


def test_other_format(data_dir: Path) -> None:
    """
    What another version has written is left to it.
    """
    with closing(sqlite3.connect(data_dir / FILE, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET format = 99")
    assert "is of format version 99" in refusal_of(data_dir)


def test_unknown_command(data_dir: Path) -> None:
    """
    An entry that this version cannot apply is not passed over.
    """
    with closing(Database(data_dir, NODE)) as database:
        database.open()
        database.write(None, [Entry(8, 4, b"X")], None)
    assert "entry 8 in" in (line := refusal_of(data_dir))
    assert "newer hraftd" in line


def test_place_of_the_directory(data_dir: Path, tmp_path: Path) -> None:
    """
    A data directory may have any name.
    """
    named = tmp_path / "50% of #1? ж"
    shutil.move(data_dir, named)
    with stopped_node(named) as node:
        assert node.id == NODE

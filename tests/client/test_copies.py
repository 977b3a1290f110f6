"""
Backups and restores as streams, with nodes that do as they are told.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher

from hraftd.client import Refused, Restored, Unavailable, Unknown
from hraftd.client.copies import Download
from tests.client import LOST, SILENT, A, B, Said, World, busy

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """
    Return a piece as chunked encoding has it.
    """
    return b"%x\r\n%b\r\n" % (len(data), data)


def serving(what: Any) -> Any:
    """
    Be there, and do that with a backup or a restore.
    """

    def answer(asked: Any) -> Any:
        if asked.target == "/status":
            return Said(200, {"role": "leader"})
        return what(asked) if callable(what) else what

    return answer


def test_a_backup_is_handed_on() -> None:
    """
    Piece by piece, and its size is told.
    """
    world = World(A)
    world[A].otherwise = serving(HEAD + chunk(b"one") + chunk(b"three") + END)
    pieces: list[bytes] = []
    backup = world.client.backup(pieces.append, level="linearizable")
    assert world.result_of(backup) == 8
    assert b"".join(pieces) == b"onethree"
    assert world.asked[-1].target == "/backup?level=linearizable"


def test_a_slow_taker_is_waited_for() -> None:
    """
    No piece comes before the last one is done with, not even the end.
    """
    world = World(A)
    world[A].otherwise = serving(HEAD + chunk(b"one"))
    writing: list[Deferred[None]] = []

    def write(piece: bytes) -> Deferred[None]:
        writing.append(Deferred())
        return writing[-1]

    backup = world.client.backup(write)
    # Much longer than a node may be silent: here it is not the node that is slow.
    world.pass_time(100)
    assert len(writing) == 1
    world[A].open[-1].say(END)
    world.pass_time()
    assert not backup.called
    writing[0].callback(None)
    assert world.result_of(backup) == 3


def test_a_slow_taker_holds_the_connection_back() -> None:
    """
    While a piece is being written nothing is read; then it goes on.
    """
    written: Deferred[None] = Deferred()
    download = Download(Clock(), lambda piece: written, 60.0)
    transport = StringTransport()
    download.makeConnection(transport)
    download.dataReceived(b"piece")
    assert transport.producerState == "paused"
    written.callback(None)
    assert transport.producerState == "producing"


@pytest.mark.parametrize("end", ["lost", "silent"])
def test_a_backup_that_breaks_off_has_failed(end: str) -> None:
    """
    It is no shorter backup.
    """
    world = World(A)
    world[A].otherwise = serving(HEAD + chunk(b"one"))
    backup = world.client.backup(lambda piece: None, timeout=5)
    world.pass_time(1)
    if end == "lost":
        world[A].open[-1].say(LOST)
    with pytest.raises(Unavailable):
        world.result_of(backup, 5.5)
    world.pass_time()
    assert not [one for one in world[A].open if one.data]


def test_an_error_of_the_taker_is_his() -> None:
    """
    A full disk is told as it is, and the connection is closed.
    """
    world = World(A)
    world[A].otherwise = serving(HEAD + chunk(b"one"))

    def write(piece: bytes) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        world.result_of(world.client.backup(write))


def test_cancelling_a_backup_closes_the_connection() -> None:
    """
    A backup keeps a snapshot in place at the node; nobody is to hold it for nothing.
    """
    world = World(A)
    world[A].otherwise = serving(HEAD + chunk(b"one"))
    backup = world.client.backup(lambda piece: None)
    world.pass_time(1)
    connection = world[A].open[-1]
    backup.cancel()
    with pytest.raises(CancelledError):
        world.result_of(backup)
    world.pass_time()
    assert not connection.is_open


def test_a_node_without_backups_refuses() -> None:
    """
    404 and 503 are told apart.
    """
    world = World(A)
    world[A].otherwise = serving(Said(404, {"error": "nothing"}))
    with pytest.raises(Refused):
        world.result_of(world.client.backup(lambda piece: None))
    world[A].otherwise = serving(busy(2))
    with pytest.raises(Unavailable) as raised:
        world.result_of(world.client.backup(lambda piece: None))
    assert raised.value.retry_after == 2


def test_a_restore_is_sent_to_a_node_that_is_there() -> None:
    """
    All of it, in pieces of bounded size, to be passed on to whoever leads.
    """
    world = World(B, A)
    del world.network.sites[B]
    world[A].otherwise = serving(Said(200, {"index": 9, "keys": 2}))
    body = b"0123456789abcdef" * 20_000
    file = BytesIO(body)
    sizes: list[int] = []

    def read(size: int) -> bytes:
        sizes.append(size)
        return file.read(size)

    assert world.result_of(world.client.restore(read)) == Restored(9, 2)
    assert world[A].asked[-1].target == "/restore?forward=true"
    assert world[A].asked[-1].body == body
    assert max(sizes) <= 65536


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (LOST, Unknown),
        (SILENT, Unknown),
        (Said(504, {"error": "unknown"}), Unknown),
        (Said(200, {"index": 9}), Unknown),
        (busy(), Unavailable),
        (Said(421, {"error": "not the leader"}), Unavailable),
        (Said(400, {"error": "damaged"}), Refused),
        (Said(409, {"error": "overtaken"}), Refused),
    ],
)
def test_what_becomes_of_a_restore(answer: Any, error: type[Exception]) -> None:
    """
    Once all was sent, only an answer says that it was not done.
    """
    world = World(A)
    world[A].otherwise = serving(answer)
    with pytest.raises(error):
        world.result_of(world.client.restore(BytesIO(b"all").read, timeout=5), 6)


def test_a_restore_that_was_not_sent_as_a_whole_has_failed() -> None:
    """
    The connection breaks, nothing goes on, reading fails: nothing is restored.
    """
    world = World(A)
    world[A].otherwise = serving(SILENT)
    never: Deferred[bytes] = Deferred()
    pieces = [b"half", never]
    restore = world.client.restore(lambda size: pieces.pop(0), timeout=5)
    world.pass_time(1)
    world[A].open[-1].say(LOST)
    with pytest.raises(Unavailable):
        world.result_of(restore, 1)
    pieces = [b"half", Deferred()]
    with pytest.raises(Unavailable, match="nothing has gone on"):
        world.result_of(world.client.restore(lambda size: pieces.pop(0), timeout=5), 6)

    def read(size: int) -> bytes:
        raise OSError("disk error")

    with pytest.raises(OSError, match="disk error"):
        world.result_of(world.client.restore(read))
    assert not [asked for asked in world.asked if asked.method == "POST"]


def test_cancelling_a_restore_closes_the_connection() -> None:
    """
    And it is said as it is.
    """
    world = World(A)
    world[A].otherwise = serving(SILENT)
    pieces: list[Any] = [b"half", Deferred()]
    restore = world.client.restore(lambda size: pieces.pop(0))
    world.pass_time(1)
    connection = world[A].open[-1]
    restore.cancel()
    with pytest.raises(CancelledError):
        world.result_of(restore)
    world.pass_time()
    assert not connection.is_open


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_restore_that_ends_early_leaves_no_error_behind(is_cancelled: bool) -> None:
    """
    Where the next piece is waited for when a restore is cancelled, or declined by a
    node that has seen enough, that wait ends too; and that is nothing to log.
    """
    world = World(A)
    world[A].otherwise = serving(SILENT)
    stopped: list[Any] = []
    pieces = [b"first", Deferred(stopped.append)]
    restoring = world.client.restore(lambda _: pieces.pop(0))
    world.pass_time()
    connection = world[A].open[-1]
    logged: list[Any] = []
    globalLogPublisher.addObserver(logged.append)
    try:
        if is_cancelled:
            restoring.cancel()
            expected: Any = CancelledError
        else:
            connection.say(Said(400, {"error": "this is no backup"}))
            expected = Refused
        with pytest.raises(expected):
            world.result_of(restoring)
        world.pass_time()
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert len(stopped) == 1
    assert [one for one in logged if "log_failure" in one] == []

"""
A node that cannot run says why in one line, and ends with status 1.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from .installed import command
from .node import ended_with_one_line, free_port
from .processes import write
from .waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from .node import Node
    from .processes import Processes


def test_directory_in_use(processes: Processes, trio: list[Node]) -> None:
    """
    The data directory of a node that runs is refused, and the node not disturbed.
    """
    node = processes.prepare(trio[0].id)
    node.spelled = [*node.arguments()[:-1], str(trio[0].data_dir)]
    node.launch()
    assert ended_with_one_line(node) == (
        f"{trio[0].data_dir / 'hraftd.sqlite3'} is in use by another process"
    )
    write(trio, still="there")
    trio[0].learns("still", "there")


def test_directory_that_is_not_its_own(processes: Processes) -> None:
    """
    A directory of another id, of a later format, or with damage in it is refused, and
    left as it is.

    Damage is never read as the end of the log (unistore 567).
    """
    node = processes.start("node0")
    until(node.leads, "it leads")
    assert node.set(foo="bar" * 100).status == 200
    node.stop()
    file = node.data_dir / "hraftd.sqlite3"
    intact = file.read_bytes()

    def refusal() -> str:
        before, log = file.read_bytes(), node.log
        node.launch()
        said = ended_with_one_line(node, log)
        assert str(file) in said
        assert file.read_bytes() == before
        return said

    node.id = "node1"
    assert "belongs to the node node0, not to node1" in refusal()
    node.id = "node0"

    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE meta SET format = 1000")
    assert "is of format version 1000" in refusal()

    damaged = bytearray(intact)
    damaged[intact.index(b"barbarbar") + 4] ^= 1
    file.write_bytes(damaged)
    assert "is damaged" in refusal()

    file.write_bytes(intact)
    node.start()
    until(node.leads, "it is as it was")
    assert node.get("foo") == "bar" * 100


def test_port_in_use(processes: Processes, trio: list[Node]) -> None:
    """
    A port that is taken is named; with another one the node starts as if nothing had
    happened, and may still join.
    """
    node = processes.prepare("late")
    free, node.http_port = node.http_port, trio[0].http_port
    node.launch()
    assert ended_with_one_line(node).startswith(
        f"cannot listen: Couldn't listen on 127.0.0.1:{trio[0].http_port}: "
    )
    node.http_port = free
    node.join = [f"localhost:{free_port()}"]
    node.start()
    assert node.status()["cluster"] is None, "it has not begun one of its own"


def test_endpoint_that_cannot_be(processes: Processes) -> None:
    """
    An endpoint string that cannot be listened on is one line, and no traceback.
    """
    node = processes.prepare("node0", options=["--hadv", "localhost:80", "--inmem"])
    node.spelled = [
        "ssl:443:privateKey=nowhere.pem" if argument == node.http else argument
        for argument in node.arguments()
    ]
    node.launch()
    line = ended_with_one_line(node)
    assert line.startswith("cannot listen on ssl:443:privateKey=nowhere.pem: ")


def test_directory_that_cannot_be_made(processes: Processes, tmp_path: Path) -> None:
    """
    A file stands where the way to the directory should be.
    """
    node = processes.prepare("node0")
    (tmp_path / "file").write_text("x")
    node.spelled = [*node.arguments()[:-1], str(tmp_path / "file" / "below")]
    node.launch()
    assert "file/below" in ended_with_one_line(node).replace("\\", "/")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hraftd", "-haddr", "nowhere"], "--haddr: 'nowhere' is not host:port"),
        (["twistd", "-n", "hraftd", "--bogus"], "option --bogus not recognized"),
    ],
)
def test_wrong_options(arguments: list[str], said: str, tmp_path: Path) -> None:
    """
    Wrong options are a line on the standard error, before anything is touched.

    The table of all of them is in :mod:`tests.test_tap`.
    """
    run = subprocess.run(
        [command(arguments[0]), *arguments[1:]],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout == ""
    [line] = run.stderr.splitlines()
    assert line == f"hraftd: {said} (see hraftd --help)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no mode bits")
def test_private(trio: list[Node]) -> None:
    """
    The data directory is its owner's alone.
    """
    assert trio[0].data_dir.stat().st_mode & 0o777 == 0o700
    assert (trio[0].data_dir / "hraftd.sqlite3").stat().st_mode & 0o777 == 0o600

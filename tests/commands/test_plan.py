"""
Which nodes ``hraftd dev`` starts, and at which ports.
"""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hraftd.commands.endings import FAILED, USAGE, Stop
from hraftd.dev.plan import NOTE, Plan, Wanted, choose, is_free
from hraftd.tap import Options

if TYPE_CHECKING:
    from pathlib import Path


def all_free(port: int) -> bool:
    """
    Find every port free.
    """
    return True


def refusal(wanted: Wanted, *taken: int) -> Stop:
    """
    Return why there is no such cluster.
    """
    with pytest.raises(Stop) as stopped:
        choose(wanted, lambda port: port not in taken)
    assert "\n" not in stopped.value.line
    return stopped.value


def test_the_usual_ports() -> None:
    """
    Three nodes at the ports of the documentation, with command lines that a node takes.
    """
    plan = choose(Wanted(), all_free)
    places = plan.places()
    assert [place.http for place in places] == [
        "localhost:11000",
        "localhost:11001",
        "localhost:11002",
    ]
    assert [place.raft_port for place in places] == [12000, 12001, 12002]


def test_command_lines(tmp_path: Path) -> None:
    """
    A node takes them: the first begins a cluster, the others join it.
    """
    first, *others = Plan().places()
    for place in (first, *others):
        options = Options()
        options.parseOptions(place.arguments(tmp_path, first))
        assert options.settings is not None
        assert options.settings.me.id == place.id
        assert options.settings.me.http == place.http
        assert options.settings.data_dir == tmp_path / place.id
        assert options.settings.join == (() if place == first else (first.http,))


def test_what_was_asked_for() -> None:
    """
    Another number of nodes, at other ports.
    """
    places = choose(Wanted(nodes=5, port=20_000), all_free).places()
    assert [place.http_port for place in places] == list(range(20_000, 20_005))


@pytest.mark.parametrize("taken", [11000, 11002, 12001])
def test_taken_ports(taken: int) -> None:
    """
    Each port that is needed is looked at, and the one that is taken is named.
    """
    stop = refusal(Wanted(), taken)
    assert stop.status == FAILED
    assert f"port {taken} is taken" in stop.line
    assert "--free-ports" in stop.line


def test_free_ports() -> None:
    """
    The next that are all free are taken; if there are none at all, that is said.
    """
    busy = {11000, 12011}
    assert choose(Wanted(free_ports=True), lambda port: port not in busy).port == 11020
    assert "--port" in refusal(Wanted(free_ports=True), *range(11000, 13000)).line


def test_real_ports() -> None:
    """
    Where somebody listens is not free, and where nobody does is.
    """
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_a_directory_remembers(tmp_path: Path) -> None:
    """
    A cluster that is kept comes back as it was, whatever ports are free by then.
    """
    directory = tmp_path / "new" / "data"
    plan = choose(
        Wanted(nodes=1, free_ports=True, data_dir=directory), lambda port: port != 11000
    )
    assert plan == Plan(1, 11010)
    assert choose(Wanted(data_dir=directory), all_free) == plan
    assert choose(Wanted(free_ports=True, data_dir=directory), all_free) == plan
    assert choose(Wanted(1, 11010, data_dir=directory), all_free) == plan
    for other in (
        Wanted(nodes=3, data_dir=directory),
        Wanted(None, 5, False, directory),
    ):
        stop = refusal(other)
        assert stop.status == USAGE
        assert str(directory) in stop.line
    assert "know each other by it" in refusal(Wanted(data_dir=directory), 12010).line


def test_directories_that_are_none(tmp_path: Path) -> None:
    """
    What is somebody else's stays untouched; what cannot be read is said.
    """
    (tmp_path / "node0").mkdir()
    assert "is not empty" in refusal(Wanted(data_dir=tmp_path)).line
    assert [path.name for path in tmp_path.iterdir()] == ["node0"]
    file = tmp_path / "file"
    file.touch()
    assert "--data-dir" in refusal(Wanted(data_dir=file)).line
    assert "--data-dir" in refusal(Wanted(data_dir=file / "below")).line


@pytest.mark.parametrize(
    "note",
    [
        *("", "[]", "3", '{"nodes": 3}x', '{"node": 3}'),
        *('{"nodes": 0}', '{"nodes": "3"}', '{"port": 65535}', '{"port": 1.5}'),
        "[" * 10_000,
    ],
)
def test_damaged_notes(tmp_path: Path, note: str) -> None:
    """
    A note that is not one is named, and nothing is started.
    """
    (tmp_path / NOTE).write_text(note)
    assert str(tmp_path / NOTE) in refusal(Wanted(data_dir=tmp_path)).line
    # What is said to write there instead is one.
    text = refusal(Wanted(data_dir=tmp_path)).line
    assert Plan(**json.loads(text[text.index("{") :])) == Plan()


def test_no_place_is_made_for_what_cannot_start(tmp_path: Path) -> None:
    """
    A port that is taken leaves no directory behind.
    """
    refusal(Wanted(data_dir=tmp_path / "new"), 11000)
    assert list(tmp_path.iterdir()) == []

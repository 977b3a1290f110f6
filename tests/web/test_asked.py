"""
Paths and queries: what they mean, and what of them is refused.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hraftd.forwarding import OnFollower
from hraftd.reads import Consistency, ReadLevel
from hraftd.web.answers import Refusal
from hraftd.web.asked import (
    Page,
    consistency,
    id_in_path,
    on_follower,
    page,
    segments,
)


def with_query(query: str) -> SimpleNamespace:
    """
    Make as much of a request as is looked at for its query.
    """
    return SimpleNamespace(uri=b"/key?" + query.encode())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", [b""]),
        (b"/key", [b"key"]),
        (b"/k%65y", [b"key"]),
        (b"/key/a", [b"key", b"a"]),
        (b"/key//", [b"key", b"%2F"]),
        (b"/key/a/b%2fc/", [b"key", b"a%2Fb%2Fc%2F"]),
        (b"/key/~a+%2B%25", [b"key", b"~a%2B%2B%25"]),
        (b"//key/a", [b"%2Fkey%2Fa"]),
        (b"/status/", [b"status%2F"]),
        (b"/keys/a", [b"keys%2Fa"]),
        (b"/nodes", [b"nodes"]),
        (b"/nodes/", [b"nodes%2F"]),
        (b"/nodes/[::1]:1", [b"nodes", b"%5B%3A%3A1%5D%3A1"]),
        (b"/nodes/a/b", [b"nodes", b"a%2Fb"]),
    ],
)
def test_segments(path: bytes, expected: list[bytes]) -> None:
    """
    Only keys and nodes have something below them; each path is spelled in one way.
    """
    assert segments(path) == expected


@pytest.mark.parametrize("path", [b"", b"key", b"/key/", b"/%", b"/key/%4", b"/a%g0"])
def test_bad_paths(path: bytes) -> None:
    """
    What is no path, or an empty key, is refused.
    """
    with pytest.raises(Refusal) as refused:
        segments(path)
    assert refused.value.code == 400


@pytest.mark.parametrize("server_id", ["node1", "10.0.0.1:12000", "[::1]:1", "ünï"])
def test_id_in_path(server_id: str) -> None:
    """
    Every id that a node can have can stand in a path, percent encoded or not.
    """
    [_, segment] = segments(b"/nodes/" + server_id.encode())
    assert id_in_path(segment.decode("ascii")) == server_id


@pytest.mark.parametrize("segment", ["a%2Fb", "a%20b", "..", "%FF", "a" * 129])
def test_no_id_in_path(segment: str) -> None:
    """
    What no node can be called is refused, not looked for.
    """
    with pytest.raises(Refusal, match="no id of a node") as refused:
        id_in_path(segment)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("redirect", OnFollower.REDIRECT),
        ("redirect=TRUE", OnFollower.REDIRECT),
        ("redirect=no", OnFollower.ERROR),
        ("forward", OnFollower.FORWARD),
        ("forward=1", OnFollower.FORWARD),
        ("forward=false", OnFollower.ERROR),
    ],
)
def test_on_follower(query: str, expected: OnFollower | None) -> None:
    """
    A request says what it wants of a follower, or leaves it to the node.
    """
    assert on_follower(with_query(query)) is expected


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("redirect&forward", "not both"),
        ("redirect=no&forward", "not both"),
        ("forward&forward", "twice"),
        ("forward=maybe", "forward takes true or false, not 'maybe'"),
        ("redirect=2", "redirect takes true or false, not '2'"),
        ("level=none", "'level' is not known here"),
    ],
)
def test_no_two_wishes(query: str, part: str) -> None:
    """
    Two wishes at once, or one that cannot be understood, are refused.
    """
    with pytest.raises(Refusal) as refused:
        on_follower(with_query(query))
    assert refused.value.code == 400
    assert part in refused.value.sentence


@pytest.mark.parametrize("level", ReadLevel)
def test_level(level: ReadLevel) -> None:
    """
    Each level can be asked for by its name, and each can be the default.
    """
    asked = consistency(with_query(f"level={level.value}"), ReadLevel.NONE)
    assert asked == Consistency(level)
    assert consistency(with_query(""), level) == Consistency(level)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("500ms", 0.5),
        ("1s", 1.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("3", 3.0),
        ("1.5s", 1.5),
        ("0", 0.0),
        ("0.25", 0.25),
    ],
)
def test_freshness(duration: str, seconds: float) -> None:
    """
    A duration has a unit, or counts seconds.
    """
    asked = consistency(with_query(f"level=none&freshness={duration}"), ReadLevel.WEAK)
    assert asked == Consistency(ReadLevel.NONE, seconds)
    # Also where the level goes without saying.
    asked = consistency(with_query(f"freshness={duration}"), ReadLevel.NONE)
    assert asked == Consistency(ReadLevel.NONE, seconds)


@pytest.mark.parametrize(
    "duration",
    [
        *("", "s", "-1s", "1 s", "1S", "1d", "1e3", "inf", "nan", "1.", ".5s", "0x1"),
        *("1s1s", "%D9%A3s", "9" * 10, "1us", "1s%0A"),
    ],
)
def test_no_duration(duration: str) -> None:
    """
    What is no duration is refused, not read as another one.
    """
    with pytest.raises(Refusal, match=r"freshness takes a time such as") as refused:
        consistency(with_query(f"level=none&freshness={duration}"), ReadLevel.NONE)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("query", "default", "part"),
    [
        ("level=", ReadLevel.NONE, "none, weak, linearizable, strong, auto"),
        ("level", ReadLevel.NONE, "'' is none of the levels"),
        ("level=Weak", ReadLevel.NONE, "'Weak' is none of the levels"),
        ("level=none&level=weak", ReadLevel.NONE, "twice"),
        ("level=weak&freshness=1s", ReadLevel.NONE, "with the level none, not weak"),
        ("level=auto&freshness=1s", ReadLevel.NONE, "with the level none, not auto"),
        ("freshness=1s", ReadLevel.STRONG, "with the level none, not strong"),
        ("redirect", ReadLevel.NONE, "'redirect' is not known here"),
    ],
)
def test_no_consistency(query: str, default: ReadLevel, part: str) -> None:
    """
    A level that is none, or one that cannot be so fresh, is refused by name.
    """
    with pytest.raises(Refusal) as refused:
        consistency(with_query(query), default)
    assert refused.value.code == 400
    assert part in refused.value.sentence


@pytest.mark.parametrize(
    ("query", "expected", "level"),
    [
        ("", Page("", None, 100), ReadLevel.NONE),
        (
            "prefix=a%2Fb&after=%C3%A9&limit=1000",
            Page("a/b", "é", 1000),
            ReadLevel.NONE,
        ),
        ("limit=1&level=strong", Page("", None, 1), ReadLevel.STRONG),
        ("prefix=&after=", Page("", None, 100), ReadLevel.NONE),
        ("after=+", Page("", " ", 100), ReadLevel.NONE),
    ],
)
def test_page(query: str, expected: Page, level: ReadLevel) -> None:
    """
    Which keys a listing is to have, and how fresh it is to be.
    """
    found = page(with_query(query), ReadLevel.NONE)
    assert found == (expected, Consistency(level))


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=+1", "limit=1.0", "limit=%D9%A1", "limit="),
        *("limit=1&limit=1", "after=%ff", "Prefix=a", "freshness=x"),
    ],
)
def test_no_page(query: str) -> None:
    """
    What cannot be one is refused.
    """
    with pytest.raises(Refusal) as refused:
        page(with_query(query), ReadLevel.NONE)
    assert refused.value.code == 400

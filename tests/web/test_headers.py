"""
Entity tags and tokens in the header of a request: what they mean, and what is refused.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from hraftd.kv.conditions import Absent, ChangedAt, Condition, Exists, NotChangedAt
from hraftd.kv.records import Versioned
from hraftd.web.answers import Refusal
from hraftd.web.headers import (
    are_met,
    idempotency_key,
    no_preconditions,
    preconditions,
)


def with_header(name: str, *values: bytes) -> SimpleNamespace:
    """
    Make as much of a request as is looked at for its header.
    """
    return SimpleNamespace(requestHeaders=Headers({name: list(values)}))


@pytest.mark.parametrize(
    ("values", "indexes"),
    [
        ([b'"42"'], (42,)),
        ([b'"1", "2"'], (1, 2)),
        ([b'"1","2" ,\t"3"'], (1, 2, 3)),
        ([b'"1", , "2",'], (1, 2)),
        ([b'"1"', b'"2"'], (1, 2)),
        ([b'  "7"  '], (7,)),
        ([b'"other", "7"'], (7,)),
        ([b'"a,b", "7"'], (7,)),
        ([b'"07", "0", "-1", "", "7 "'.replace(b' "7 "', b' "+7"')], ()),
        ([b'"' + b"9" * 19 + b'"'], (int("9" * 19),)),
        ([b'"' + b"9" * 20 + b'"'], ()),
        ([b'"\xff"'], ()),
    ],
)
def test_tags(values: list[bytes], indexes: tuple[int, ...]) -> None:
    """
    A list of tags stands for the versions that it names; another's tag for none.
    """
    found = preconditions(with_header("If-Match", *values), "k")
    assert found.all == (ChangedAt("k", indexes),)
    found = preconditions(with_header("If-None-Match", *values), "k")
    assert found.all == (NotChangedAt("k", indexes),)


def test_weak_tags() -> None:
    """
    If-Match compares strongly, If-None-Match weakly (RFC 9110, 13.1.1 and 13.1.2).
    """
    tags = b'W/"1", "2"'
    assert preconditions(with_header("If-Match", tags), "k").all == (
        ChangedAt("k", (2,)),
    )
    assert preconditions(with_header("If-None-Match", tags), "k").all == (
        NotChangedAt("k", (1, 2)),
    )


def test_any() -> None:
    """
    ``*`` is any version at all.
    """
    assert preconditions(with_header("If-Match", b"*"), "k").all == (Exists("k"),)
    assert preconditions(with_header("If-None-Match", b" * "), "k").all == (
        Absent("k"),
    )
    assert preconditions(with_header("Accept", b"*"), "k").all == ()


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"42", b'"42', b'42"', b"**", b'*, "1"', b'"1", *', b'"1" "2"'),
        *(b'w/"1"', b'W/ "1"', b"W/1", b",", b'"a b"', b'"1";', b'"1", x', b"\xff"),
    ],
)
def test_malformed_tags(name: str, value: bytes) -> None:
    """
    What is no list of tags is refused, rather than taken for no condition.
    """
    with pytest.raises(Refusal, match=f"{name} takes") as refused:
        preconditions(with_header(name, value), "k")
    assert refused.value.code == 400


@given(st.binary(max_size=30))
@settings(deadline=None)
def test_any_tags(value: bytes) -> None:
    """
    Any bytes at all are conditions, or refused.
    """
    try:
        [condition] = preconditions(with_header("If-Match", value), "k").all
    except Refusal:
        return
    assert isinstance(condition, Exists | ChangedAt)


@pytest.mark.parametrize(
    ("condition", "of_7", "of_nothing"),
    [
        (Exists("k"), True, False),
        (Absent("k"), False, True),
        (ChangedAt("k", (7,)), True, False),
        (NotChangedAt("k", (7,)), False, True),
    ],
)
def test_of_what_was_read(condition: Condition, of_7: bool, of_nothing: bool) -> None:
    """
    A read is held against them as a write is.
    """
    assert are_met((condition,), Versioned("v", 7)) == of_7
    assert are_met((condition,), None) == of_nothing
    assert are_met((), None)


@pytest.mark.parametrize(
    "token", [b"x", b"8e03978e-40d5-43dd-bc93-6894a57f9324", b'"quoted"', b"~" * 128]
)
def test_token(token: bytes) -> None:
    """
    A token is taken as it stands there.
    """
    assert idempotency_key(with_header("idempotency-key", token)) == token.decode()
    assert idempotency_key(with_header("X", token)) is None


@pytest.mark.parametrize(
    "values", [[b""], [b"a b"], [b"\xc3\xa9"], [b"x" * 129], [b"a", b"a"], [b"\x7f"]]
)
def test_no_token(values: list[bytes]) -> None:
    """
    What is no token is refused: without one, a retry would be done again.
    """
    with pytest.raises(Refusal, match="Idempotency-Key") as refused:
        idempotency_key(with_header("Idempotency-Key", *values))
    assert refused.value.code == 400


def test_no_preconditions() -> None:
    """
    Where they would mean nothing, conditions are refused.
    """
    no_preconditions(with_header("Accept", b"*"))
    for name in ("If-Match", "If-None-Match"):
        with pytest.raises(Refusal, match=name):
            no_preconditions(with_header(name, b"*"))

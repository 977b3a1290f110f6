"""
Bodies that are not what they should be: each is refused, and nothing is set.
"""

from __future__ import annotations

import json
import time

import pytest

from hraftd.limits import Limits
from hraftd.raft.configuration import Server, Suffrage
from hraftd.web.answers import Refusal
from hraftd.web.bodies import json_object, newcomer, nothing, pairs, successor

LIMITS = Limits()

REFUSED = {
    "empty": (b"", "empty"),
    "only spaces": (b" \r\n\t", "empty"),
    "no JSON": (b"foo=bar", "not one JSON object"),
    "half an object": (b'{"a": "1"', "not one JSON object"),
    "single quotes": (b"{'a': '1'}", "not one JSON object"),
    "a comma too many": (b'{"a": "1",}', "not one JSON object"),
    "garbage behind it": (b'{"a": "1"} x', "Extra data"),
    "a second object behind it": (b'{"a": "1"}{"b": "2"}', "Extra data"),
    "a zero byte behind it": (b'{"a": "1"}\x00', "Extra data"),
    "a control sign in a string": (b'{"a": "\x01"}', "not one JSON object"),
    "an array": (b'["a", "1"]', "not an object"),
    "a string": (b'"a"', "not an object"),
    "a number": (b"1", "not an object"),
    "null": (b"null", "not an object"),
    "an empty object": (b"{}", "no key"),
    "a key twice": (b'{"a": "1", "a": "1"}', "'a' twice"),
    "a key twice, spelled differently": (b'{"a": "1", "\\u0061": "2"}', "'a' twice"),
    "an empty key": (b'{"": "1"}', "empty"),
    "a number as value": (b'{"a": 1}', "'a' is not a string"),
    "a fraction as value": (b'{"a": 1.5e3}', "'a' is not a string"),
    "null as value": (b'{"a": null}', "'a' is not a string"),
    "true as value": (b'{"a": true}', "'a' is not a string"),
    "an array as value": (b'{"a": ["1"]}', "'a' is not a string"),
    "an object as value": (b'{"a": {"b": "1"}}', "'a' is not a string"),
    "an empty object as value": (b'{"a": {}}', "'a' is not a string"),
    "one bad value of two": (b'{"a": "1", "b": 2}', "'b' is not a string"),
    "NaN": (b'{"a": NaN}', "'a' is not a string"),
    "Infinity": (b'{"a": -Infinity}', "'a' is not a string"),
    "a lone surrogate as value": (b'{"a": "\\ud800"}', "surrogate"),
    "a lone surrogate as key": (b'{"\\udfff": "1"}', "surrogate"),
    "lone surrogates twice": (b'{"\\ud800": "", "\\ud800": ""}', "surrogate"),
    "an encoded surrogate": (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
    "a byte order mark": (b'\xef\xbb\xbf{"a": "1"}', "byte order mark"),
    "UTF-16": ('{"a": "1"}'.encode("utf-16"), "not UTF-8"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "not UTF-8"),
    "an overlong form": (b'{"a": "\xc0\xaf"}', "not UTF-8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """
    A body that is not one object of strings, each key once, is a 400 in a sentence.
    """
    body, part = REFUSED[case]
    with pytest.raises(Refusal) as refused:
        pairs(body, LIMITS)
    assert refused.value.code == 400
    assert part in refused.value.sentence
    assert "\n" not in refused.value.sentence


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"a":['])
def test_deep_nesting(opening: bytes) -> None:
    """
    A body that is nested a million times ends neither the process nor in a 500.
    """
    with pytest.raises(Refusal, match=r"nested|not one JSON") as refused:
        pairs(opening * 1_000_000, LIMITS)
    assert refused.value.code == 400


def test_long_number() -> None:
    """
    A number of a million digits, which takes long to convert, is not converted.
    """
    begun = time.process_time()
    with pytest.raises(Refusal, match="not a string"):
        pairs(b'{"a": ' + b"9" * 1_000_000 + b"}", LIMITS)
    assert time.process_time() - begun < 1


def test_long_names_are_not_repeated_at_length() -> None:
    """
    An error quotes no more of the body than a line.
    """
    with pytest.raises(Refusal) as refused:
        pairs(json.dumps({"a" * 100_000: 1}).encode(), LIMITS)
    assert len(refused.value.sentence) < 200


def test_accepted() -> None:
    """
    Spaces around it, escapes, and any text in any order are fine.
    """
    body = b' \n{"b": "\\ud83d\\uddddx", "a": "", "\\u0000": "\xc3\xa9\\n"}\r\n'
    assert pairs(body, LIMITS) == (("b", "\U0001f5ddx"), ("a", ""), ("\0", "é\n"))


def test_object_without_limits() -> None:
    """
    Without the limits of keys, a name may be empty too.
    """
    assert json_object(b'{"": "x"}') == {"": "x"}


def test_too_many_pairs() -> None:
    """
    A body that would keep everything else waiting is refused, and says the limit.
    """
    body = json.dumps({str(number): "" for number in range(4)}).encode()
    assert len(pairs(body, Limits(max_pairs=4))) == 4
    with pytest.raises(Refusal, match="3 keys at most, not 4") as refused:
        pairs(body, Limits(max_pairs=3))
    assert refused.value.code == 413


@pytest.mark.parametrize(
    ("voter", "suffrage"),
    [
        (b"", Suffrage.VOTER),
        (b', "voter": true', Suffrage.VOTER),
        (b', "voter": false', Suffrage.NONVOTER),
    ],
)
def test_newcomer(voter: bytes, suffrage: Suffrage) -> None:
    """
    A newcomer is to vote unless it says that it is not.
    """
    body = b'{"id": "a", "addr": "x:1"%b}' % voter
    assert newcomer(body) == Server("a", "x:1", "", suffrage)


@pytest.mark.parametrize("voter", [b"0", b"null", b'"false"', b"[]", b'""', b"{}"])
def test_a_truth_value_is_one(voter: bytes) -> None:
    """
    Nothing but true and false is taken for one.
    """
    with pytest.raises(Refusal, match="'voter' is not true or false") as refused:
        newcomer(b'{"id": "a", "addr": "x:1", "voter": %b}' % voter)
    assert refused.value.code == 400


def test_a_truth_value_twice() -> None:
    """
    It can contradict itself no more than a string can.
    """
    with pytest.raises(Refusal, match="'voter' twice"):
        newcomer(b'{"voter": true, "id": "a", "addr": "x:1", "voter": false}')


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", None), (b" \r\n", None), (b"{}", None), (b'{"id": "node1"}', "node1")],
)
def test_successor(body: bytes, expected: str | None) -> None:
    """
    Whoever is to lead is named; without a name it is the best one, as with no body.
    """
    assert successor(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        *(b"null", b"[]", b'"node1"', b"x", b'{"id": null}', b'{"id": 1}', b"\xff"),
        *(b'{"id": ""}', b'{"id": "a b"}', b'{"id": "a", "term": "1"}', b'{"Id": "a"}'),
        *(b'{"id": "a"} x', b'{"id": "a", "id": "b"}'),
    ],
)
def test_no_successor(body: bytes) -> None:
    """
    A body that says anything else is refused, and never taken for none.
    """
    with pytest.raises(Refusal) as refused:
        successor(body)
    assert refused.value.code == 400


def test_nothing() -> None:
    """
    Where there is nothing to say, an empty object is as good as no body.
    """
    nothing(b"")
    nothing(b"{}")
    for body in (b'{"a": "b"}', b"[]", b"x"):
        with pytest.raises(Refusal) as refused:
            nothing(body)
        assert refused.value.code == 400

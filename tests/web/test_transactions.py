"""
The body of ``POST /txn``, and what is answered.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hraftd.kv.commands import Delete, Get, Set, Transaction
from hraftd.kv.conditions import Absent, ChangedAt, Exists, HasValue
from hraftd.kv.records import Versioned
from hraftd.kv.results import Ran
from hraftd.limits import Limits
from hraftd.web.answers import Refusal
from hraftd.web.transactions import ran, transaction

LIMITS = Limits()
SMALL = Limits(max_key_bytes=4, max_value_bytes=4, max_pairs=3)


def test_everything() -> None:
    """
    Every condition and operation, in the order given.
    """
    body = b"""
        {"if": [{"key": "a", "exists": true}, {"exists": false, "key": "b"},
                {"key": "c", "value": ""}, {"key": "d", "index": 9223372036854775807}],
         "then": [{"set": "a", "value": "1"}, {"get": "a"}, {"delete": "b"}],
         "else": [{"get": "a"}, {"get": "a"}, {"value": "x", "set": "a"}]}"""
    assert transaction(body, LIMITS) == Transaction(
        (Exists("a"), Absent("b"), HasValue("c", ""), ChangedAt("d", (2**63 - 1,))),
        (Set((("a", "1"),)), Get("a"), Delete("b")),
        (Get("a"), Get("a"), Set((("a", "x"),))),
    )


def test_least() -> None:
    """
    Only ``then`` has to be there, and it may be empty if there is an ``else``.
    """
    assert transaction(b'{"then": [{"get": "a"}]}', LIMITS) == Transaction(
        (), (Get("a"),)
    )
    body = b'{"if": [{"key": "a", "exists": true}], "then": [], "else": [{"get": "a"}]}'
    assert transaction(body, LIMITS) == Transaction((Exists("a"),), (), (Get("a"),))


def one(condition: str) -> str:
    """
    Return a body with that condition.
    """
    return '{"if": [' + condition + '], "then": [{"get": "a"}]}'


def do(*operations: str) -> str:
    """
    Return a body with those operations.
    """
    return '{"then": [' + ", ".join(operations) + "]}"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "empty"),
        ("[]", "not an object"),
        ("{}", "needs 'then'"),
        ('{"if": []}', "needs 'then'"),
        ('{"then": []}', "nothing to do"),
        ('{"then": [], "else": []}', "nothing to do"),
        ('{"then": {}}', "'then' of a transaction is not a list"),
        ('{"then": null}', "not a list"),
        ('{"then": [], "if": "x"}', "'if' of a transaction is not a list"),
        ('{"then": [], "ifs": []}', "no 'ifs'"),
        ('{"then": [], "then": []}', "names 'then' twice"),
        ('{"then": []} x', "nothing else"),
        (one("1"), "condition is not an object"),
        (one("[]"), "condition is not an object"),
        (one("{}"), "not nothing"),
        (one('{"key": "a"}'), "not 'key'"),
        (one('{"key": "a", "exists": 1}'), "a condition is"),
        (one('{"key": "a", "exists": "true"}'), "a condition is"),
        (one('{"key": "a", "value": 1}'), "a condition is"),
        (one('{"key": "a", "value": null}'), "a condition is"),
        (one('{"key": "a", "index": "1"}'), "a condition is"),
        (one('{"key": "a", "index": true}'), "a condition is"),
        (one('{"key": "a", "index": 1.0}'), "a condition is"),
        (one('{"key": "a", "index": 1e3}'), "a condition is"),
        (one('{"key": "a", "index": NaN}'), "a condition is"),
        (one('{"key": "a", "index": 0}'), "never has the index 0"),
        (one('{"key": "a", "index": -1}'), "never has the index -1"),
        (one('{"key": "a", "index": 9223372036854775808}'), "never has the index"),
        (one('{"key": "a", "index": 1%s}' % ("0" * 99_999)), "a condition is"),
        (one('{"key": "a", "exists": true, "index": 1}'), "a condition is"),
        (one('{"key": "a", "exists": true, "more": 1}'), "'more'"),
        (one('{"key": "a", "key": "b", "exists": true}'), "names 'key' twice"),
        (one('{"key": "", "exists": true}'), "key is empty"),
        (one('{"key": 1, "exists": true}'), "a condition is"),
        (one('{"key": "\\ud800", "exists": true}'), "surrogate"),
        (one('{"key": "a", "value": "\\ud800"}'), "surrogate"),
        (do('"a"'), "operation is not an object"),
        (do("{}"), "not nothing"),
        (do('{"set": "a"}'), "an operation is"),
        (do('{"set": "a", "value": 1}'), "an operation is"),
        (do('{"set": "a", "value": "1", "ttl": "1"}'), "not a number of seconds"),
        (do('{"set": "a", "value": "1", "ttl": true}'), "not a number of seconds"),
        (do('{"set": "a", "value": "1", "ttl": null}'), "not a number of seconds"),
        (do('{"set": "a", "value": "1", "ttl": NaN}'), "not a number of seconds"),
        (do('{"set": "a", "value": "1", "ttl": 0}'), "ttl takes seconds"),
        (do('{"set": "a", "value": "1", "ttl": -1}'), "ttl takes seconds"),
        (do('{"set": "a", "value": "1", "ttl": 1e3}'), "not '1e3'"),
        (do('{"set": "a", "value": "1", "ttl": 1, "x": 1}'), "'x'"),
        (do('{"set": "a", "ttl": 1}'), "'set', 'ttl'"),
        (do('{"delete": "a", "ttl": 1}'), "'delete', 'ttl'"),
        (do('{"set": "a", "value": 1.5}'), "both strings"),
        (do('{"set": "a", "delete": "a", "value": "1"}'), "an operation is"),
        (do('{"delete": "a", "value": "1"}'), "an operation is"),
        (do('{"delete": null}'), "an operation is"),
        (do('{"get": ["a"]}'), "an operation is"),
        (do('{"get": ""}'), "key is empty"),
        (do('{"delete": ""}'), "key is empty"),
        (do('{"set": "", "value": ""}'), "key is empty"),
        (do('{"set": "a", "value": "\\udfff"}'), "surrogate"),
        (do('{"\\ud800": "a"}'), "surrogate"),
        (do('{"set": "a", "value": "1"}', '{"delete": "a"}'), "changes 'a' twice"),
        (do('{"delete": "a"}', '{"get": "a"}', '{"delete": "a"}'), "changes 'a' twice"),
        (do("[" * 100_000), "nested too deeply"),
    ],
)
def test_malformed(body: str, why: str) -> None:
    """
    Whatever else a body says is refused with a sentence that says why.
    """
    with pytest.raises(Refusal, match=why) as refused:
        transaction(body.encode(), LIMITS)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (one('{"key": "abcde", "exists": true}'), 400),
        (one('{"key": "a", "value": "abcde"}'), 413),
        (do('{"get": "abcde"}'), 400),
        (do('{"delete": "\u00e9\u00e9\u00e9"}'), 400),
        (do('{"set": "a", "value": "abcde"}'), 413),
        (do(*['{"get": "a"}'] * 4), 413),
        (
            '{"then": [{"get": "a"}, {"get": "a"}], "else": [{"get":"a"},{"get":"a"}]}',
            413,
        ),
    ],
)
def test_limits(body: str, code: int) -> None:
    """
    Keys, values and lists are no larger than anywhere else.
    """
    transaction(body.encode(), LIMITS)
    with pytest.raises(Refusal) as refused:
        transaction(body.encode(), SMALL)
    assert refused.value.code == code


def test_answer() -> None:
    """
    The answer says which branch ran, and of each of its operations what it did.
    """
    command = Transaction(
        (),
        (Set((("a", "1"),)), Delete("b"), Delete("c"), Get("d"), Get("e")),
        (Get("f"),),
    )
    results = (None, True, False, Versioned("x", 7), None)
    assert ran(command, 9, Ran(True, results)) == {
        "index": 9,
        "ran": "then",
        "results": [
            {"set": "a", "index": 9},
            {"delete": "b", "deleted": True},
            {"delete": "c", "deleted": False},
            {"get": "d", "value": "x", "index": 7},
            {"get": "e", "value": None, "index": None},
        ],
    }
    assert ran(command, 9, Ran(False, (None,))) == {
        "index": 9,
        "ran": "else",
        "results": [{"get": "f", "value": None, "index": None}],
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "b", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["if", "then", "else", "key", "set", "get", "delete", "value", "index"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["if", "then", "else"]), JSON))
@settings(max_examples=300, deadline=None)
def test_any_json(document: object) -> None:
    """
    Any JSON is a transaction or refused, and nothing else.
    """
    try:
        found = transaction(json.dumps(document).encode(), LIMITS)
    except Refusal:
        return
    assert found.then or found.otherwise

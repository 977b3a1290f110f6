"""
``PUT``, conditions, transactions and tokens over HTTP, at a leader.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hraftd.kv.records import Versioned
from hraftd.limits import Limits
from tests.web.test_api import AgainstOneNode

if TYPE_CHECKING:
    from tests.web import Answer


class PutTests(AgainstOneNode):
    """
    A value as it is, and the version that it becomes.
    """

    def put(self, path: str, body: bytes, **headers: str) -> Answer:
        """
        Put a value there; underscores in names of headers are dashes.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("PUT", path, body, named)

    def test_put(self) -> None:
        """
        The body is the value, whatever it looks like; the answer has its index.
        """
        for value in ('{"foo": "bar"}', "", "x", "é\n\x00", "[1"):
            answer = self.put("/key/a/b", value.encode())
            index = answer.json["index"]
            assert (answer.code, answer.json) == (200, {"index": index})
            assert answer.headers["ETag"] == f'"{index}"'
            assert self.node.store.get("a/b") == Versioned(value, index)
            assert self.ask("GET", "/key/a/b").json == {"a/b": value}

    def test_refused(self) -> None:
        """
        What is no text is a 400; it and a wrong key, query or header set nothing.
        """
        before = self.node.server.status().last_log_index
        assert self.put("/key/a", b"\xff").code == 400
        assert self.put("/key/", b"x").code == 400
        assert self.put("/key/" + "a" * 1025, b"x").code == 400
        assert self.put("/key/a?ttl=never", b"x").code == 400
        assert self.put("/key/a", b"x", If_Match="7").code == 400
        assert self.put("/key/a", b"x", Idempotency_Key="a b").code == 400
        assert self.node.server.status().last_log_index == before

    def test_entity_tag(self) -> None:
        """
        ``GET`` and ``HEAD`` carry the index of the last change of that key.
        """
        index = self.set(a="1", b="1").json["index"]
        self.set(b="2")
        for method in ("GET", "HEAD"):
            assert self.ask(method, "/key/a").headers["ETag"] == f'"{index}"'
            assert self.ask(method, "/key/b").headers["ETag"] == f'"{index + 1}"'
            assert "ETag" not in self.ask(method, "/key/c").headers

    def test_if_match(self) -> None:
        """
        A value is replaced only if it is the one that the client knows.
        """
        tag = self.put("/key/a", b"1").headers["ETag"]
        answer = self.put("/key/a", b"2", If_Match=tag)
        assert answer.code == 200
        newer = answer.headers["ETag"]
        answer = self.put("/key/a", b"3", If_Match=tag)
        assert answer.code == 412
        assert answer.headers["ETag"] == newer
        assert answer.json == {
            "error": "the precondition does not hold",
            "value": "2",
            "index": int(newer.strip('"')),
        }
        assert self.put("/key/a", b"4", If_Match=f'"1", {newer}').code == 200
        assert self.put("/key/a", b"5", If_Match="*").code == 200
        assert self.ask("GET", "/key/a").json == {"a": "5"}

    def test_if_match_without_the_key(self) -> None:
        """
        What is not there matches nothing; that it is not is told.
        """
        for tag in ("*", '"7"', '"other"'):
            answer = self.put("/key/a", b"1", If_Match=tag)
            assert answer.code == 412
            assert answer.json["value"] is None
            assert answer.json["index"] is None
            assert "ETag" not in answer.headers
        assert len(self.node.store) == 0

    def test_if_none_match(self) -> None:
        """
        ``*`` makes a key, and never replaces one.
        """
        first = self.put("/key/a", b"1", If_None_Match="*")
        assert first.code == 200
        answer = self.put("/key/a", b"2", If_None_Match="*")
        assert (answer.code, answer.json["value"]) == (412, "1")
        tag = first.headers["ETag"]
        assert self.put("/key/a", b"2", If_None_Match=tag).code == 412
        assert self.put("/key/a", b"2", If_None_Match='"1"').code == 200
        assert self.put("/key/b", b"1", If_None_Match=tag).code == 200

    def test_both(self) -> None:
        """
        Where there are both, both have to hold.
        """
        tag = self.put("/key/a", b"1").headers["ETag"]
        both = {"If_Match": "*", "If_None_Match": tag}
        assert self.put("/key/a", b"2", **both).code == 412
        assert self.put("/key/b", b"2", **both).code == 412
        self.put("/key/a", b"2")
        assert self.put("/key/a", b"3", **both).code == 200

    def test_delete(self) -> None:
        """
        The same conditions on ``DELETE``.
        """
        tag = self.put("/key/a", b"1").headers["ETag"]
        self.put("/key/a", b"2")
        answer = self.ask("DELETE", "/key/a", None, {"If-Match": tag})
        assert (answer.code, answer.json["value"]) == (412, "2")
        answer = self.ask("DELETE", "/key/a", None, {"If-None-Match": "*"})
        assert answer.code == 412
        answer = self.ask(
            "DELETE", "/key/a", None, {"If-Match": answer.headers["ETag"]}
        )
        assert answer.code == 200
        assert answer.json == {"index": answer.json["index"], "deleted": True}
        answer = self.ask("DELETE", "/key/a", None, {"If-Match": "*"})
        assert answer.code == 412
        answer = self.ask("DELETE", "/key/a", None, {"If-None-Match": '"1"'})
        assert (answer.code, answer.json["deleted"]) == (200, False)

    def test_not_modified(self) -> None:
        """
        ``GET`` with If-None-Match: 304 without a body, as long as nothing has changed.
        """
        tag = self.put("/key/a", b"1").headers["ETag"]
        for value in (tag, "*", f"W/{tag}", f'"1", {tag}'):
            for method in ("GET", "HEAD"):
                pending = self.browser.start(
                    method, "/key/a", None, {"If-None-Match": value}
                )
                answer = self.successResultOf(pending)
                assert (answer.code, answer.body) == (304, b"")
                assert answer.headers["ETag"] == tag
                assert "Content-Length" not in answer.headers or method == "HEAD"
        self.put("/key/a", b"1")
        assert self.ask("GET", "/key/a", None, {"If-None-Match": tag}).code == 200
        assert self.ask("GET", "/key/b", None, {"If-None-Match": "*"}).code == 404
        assert self.ask("GET", "/key/b", None, {"If-None-Match": "x"}).code == 400

    def test_connection_goes_on_behind_a_304(self) -> None:
        """
        A 304 ends where it ends: the next answer on that connection is whole.
        """
        tag = self.put("/key/a", b"1").headers["ETag"]
        for _ in range(3):
            pending = self.browser.start("GET", "/key/a", None, {"If-None-Match": tag})
            assert self.successResultOf(pending).code == 304
            assert self.ask("GET", "/key/a").json == {"a": "1"}

    def test_get_if_match(self) -> None:
        """
        ``GET`` with If-Match: 412 if it is another version by now.
        """
        tag = self.put("/key/a", b"1").headers["ETag"]
        assert self.ask("GET", "/key/a", None, {"If-Match": tag}).code == 200
        self.put("/key/a", b"2")
        answer = self.ask("GET", "/key/a", None, {"If-Match": tag})
        assert (answer.code, answer.json["value"]) == (412, "2")
        assert self.ask("GET", "/key/b", None, {"If-Match": "*"}).code == 412

    def test_conditions_where_they_mean_nothing(self) -> None:
        """
        ``POST`` with a condition in its header is refused: it speaks of many keys.
        """
        for path, body in (
            ("/key", b'{"a": "1"}'),
            ("/txn", b'{"then": [{"get": "a"}]}'),
        ):
            for name in ("If-Match", "If-None-Match"):
                assert self.ask("POST", path, body, {name: "*"}).code == 400

    def test_conditions_on_the_cluster(self) -> None:
        """
        Nor is one ignored where the whole cluster is changed, or all of its keys.
        """
        self.set(a="1")
        before = self.node.server.status().last_log_index
        for method, path in (
            ("POST", "/restore"),
            ("POST", "/join"),
            ("POST", "/leader"),
            ("POST", "/snapshot"),
            ("DELETE", "/nodes/x"),
        ):
            for name in ("If-Match", "If-None-Match"):
                answer = self.ask(method, path, b"", {name: "*"})
                assert answer.code == 400, path
                assert answer.json["error"].startswith(f"{name} is for one key")
        assert self.node.server.status().last_log_index == before


class TransactionTests(AgainstOneNode):
    """
    ``POST /txn``.
    """

    def transact(self, **lists: object) -> Answer:
        """
        Ask for a transaction; names are in upper case since "if" is taken.
        """
        body = {name.lower(): value for name, value in lists.items()}
        return self.ask("POST", "/txn", json.dumps(body).encode())

    def test_branches(self) -> None:
        """
        One entry, one branch; the answer says which, and what it did.
        """
        claim = {
            "IF": [{"key": "lock", "exists": False}],
            "THEN": [{"set": "lock", "value": "me"}, {"delete": "queue"}],
            "ELSE": [{"get": "lock"}],
        }
        first = self.transact(**claim)
        index = first.json["index"]
        assert first.code == 200
        assert first.json == {
            "index": index,
            "ran": "then",
            "results": [
                {"set": "lock", "index": index},
                {"delete": "queue", "deleted": False},
            ],
        }
        second = self.transact(**claim)
        assert second.json == {
            "index": index + 1,
            "ran": "else",
            "results": [{"get": "lock", "value": "me", "index": index}],
        }

    def test_swap(self) -> None:
        """
        Conditions on value and index hold until somebody else writes.
        """
        index = self.set(a="1").json["index"]
        swap = {"THEN": [{"set": "a", "value": "2"}]}
        answer = self.transact(
            IF=[{"key": "a", "index": index}, {"key": "a", "value": "1"}], **swap
        )
        assert answer.json["ran"] == "then"
        for condition in ({"index": index}, {"value": "1"}):
            answer = self.transact(IF=[{"key": "a", **condition}], **swap)
            assert (answer.json["ran"], answer.json["results"]) == ("else", [])

    def test_too_large(self) -> None:
        """
        One that would get too much is a 413, and is not done at all.
        """
        self.set(a="x" * (1 << 20))
        answer = self.transact(
            THEN=[{"set": "b", "value": "1"}, *[{"get": "a"}] * 8],
        )
        assert answer.code == 413
        assert "8388608 bytes" in answer.json["error"]
        assert self.node.store.get("b") is None

    def test_malformed(self) -> None:
        """
        Anything else is refused before it is logged.
        """
        before = self.node.server.status().last_log_index
        for body in (b"", b"{}", b'{"then": [{"put": "a"}]}', b"\xff"):
            assert self.ask("POST", "/txn", body).code == 400
        assert self.ask("POST", "/txn?x", b'{"then": [{"get": "a"}]}').code == 400
        assert self.node.server.status().last_log_index == before


class TokenTests(AgainstOneNode):
    """
    ``Idempotency-Key``, on every write of keys.
    """

    def once(self, method: str, path: str, body: bytes | None, token: str) -> Answer:
        """
        Make a write with a token.
        """
        return self.ask(method, path, body, {"Idempotency-Key": token})

    def test_retries(self) -> None:
        """
        Each kind of write answers a retry as it answered the first time, though
        others wrote in between; and does nothing (jetcd 0.8.2).
        """
        self.set(a="0")
        for token, request in enumerate(
            [
                ("POST", "/key", b'{"a": "1"}'),
                ("PUT", "/key/a", b"2"),
                ("POST", "/txn", b'{"then": [{"get": "a"}, {"delete": "a"}]}'),
                ("PUT", "/key/a", b"3"),
                ("DELETE", "/key/a", None),
                ("DELETE", "/key/a", None),
            ]
        ):
            first = self.once(*request, str(token))
            assert first.code == 200
            others = self.set(a="other").json["index"]
            again = self.once(*request, str(token))
            assert (again.code, again.body) == (first.code, first.body)
            assert again.headers.get("ETag") == first.headers.get("ETag")
            assert self.node.store.get("a") == Versioned("other", others)
            self.ask("DELETE", "/key/a") if token == 4 else None

    def test_failed_precondition(self) -> None:
        """
        A 412 is answered again as well, with what was there the first time.
        """
        self.set(a="1")
        headers = {"If-None-Match": "*", "Idempotency-Key": "t"}
        first = self.ask("PUT", "/key/a", b"2", headers)
        assert first.code == 412
        self.ask("DELETE", "/key/a")
        again = self.ask("PUT", "/key/a", b"2", headers)
        assert (again.code, again.body) == (412, first.body)
        assert again.headers["ETag"] == first.headers["ETag"]
        assert self.node.store.get("a") is None

    def test_another_request(self) -> None:
        """
        A token that is used again for something else is a 409, and nothing is done.
        """
        index = self.once("PUT", "/key/a", b"1", "t").json["index"]
        for request in (
            ("PUT", "/key/a", b"2"),
            ("PUT", "/key/b", b"1"),
            ("DELETE", "/key/a", None),
            ("POST", "/txn", b'{"then": [{"delete": "a"}]}'),
        ):
            answer = self.once(*request, "t")
            assert answer.code == 409
            assert f"done at index {index}" in answer.json["error"]
        answer = self.ask(
            "PUT", "/key/a", b"1", {"If-Match": "*", "Idempotency-Key": "t"}
        )
        assert answer.code == 409
        assert self.node.store.get("a") == Versioned("1", index)

    def test_malformed(self) -> None:
        """
        A token that is none is a 400 on each of them, not a write without one.
        """
        for request in (
            ("PUT", "/key/a", b"1"),
            ("DELETE", "/key/a", None),
            ("POST", "/key", b'{"a": "1"}'),
            ("POST", "/txn", b'{"then": [{"delete": "a"}]}'),
        ):
            for token in ("", "a b", "x" * 129):
                assert self.once(*request, token).code == 400
        assert self.node.store.tokens == 0


class SmallPutTests(AgainstOneNode):
    """
    The limits hold for ``PUT`` too.
    """

    limits = Limits(max_key_bytes=4, max_value_bytes=4)

    def test_limits(self) -> None:
        """
        As for ``POST``: 400 for a key, 413 for a value.
        """
        assert self.ask("PUT", "/key/abcd", "éé".encode()).code == 200
        assert self.ask("PUT", "/key/abcd", b"12345").code == 413
        assert self.ask("PUT", "/key/abcde", b"1").code == 400


class ListingTests(AgainstOneNode):
    """
    ``GET /key``.
    """

    def listed(self, query: str = "") -> tuple[list[str], bool]:
        """
        Return the keys of a page, and whether there are more.
        """
        answer = self.ask("GET", "/key" + query)
        assert answer.code == 200
        assert answer.json["index"] == self.node.server.status().last_applied
        return [one["key"] for one in answer.json["keys"]], answer.json["more"]

    def test_everything(self) -> None:
        """
        Keys in their order, with value and index; and the index that is true at.
        """
        assert self.listed() == ([], False)
        first = self.set(b="2", a="1").json["index"]
        second = self.set(**{"é": "3"}).json["index"]
        answer = self.ask("GET", "/key")
        assert answer.json == {
            "index": second,
            "keys": [
                {"key": "a", "value": "1", "index": first},
                {"key": "b", "value": "2", "index": first},
                {"key": "é", "value": "3", "index": second},
            ],
            "more": False,
        }
        self.ask("DELETE", "/key/b")
        assert self.listed() == (["a", "é"], False)
        assert self.ask("HEAD", "/key").body == b""

    def test_prefix_and_after(self) -> None:
        """
        Only what begins so, and only what comes behind.
        """
        self.set(**{"a": "", "a/1": "", "a/2": "", "a/\U0010ffff": "", "b": ""})
        assert self.listed("?prefix=a/") == (["a/1", "a/2", "a/\U0010ffff"], False)
        assert self.listed("?prefix=a%2F&after=a%2F1")[0] == ["a/2", "a/\U0010ffff"]
        assert self.listed("?prefix=a/&after=a/11")[0] == ["a/2", "a/\U0010ffff"]
        assert self.listed("?prefix=a/&after=A")[0][0] == "a/1"
        assert self.listed("?prefix=a/&after=b") == ([], False)
        assert self.listed("?prefix=c") == ([], False)
        assert self.listed("?prefix=&after=")[0][0] == "a"
        assert self.listed("?after=a/2")[0] == ["a/\U0010ffff", "b"]

    def test_pages(self) -> None:
        """
        Page after page, each key comes once.
        """
        keys = sorted(f"k{number}" for number in range(250))
        self.set(**dict.fromkeys(keys, "v"))
        page, more = self.listed()
        assert (page, more) == (keys[:100], True)
        found: list[str] = []
        after = ""
        while True:
            page, more = self.listed(f"?limit=7&after={after}")
            found += page
            if not more:
                break
            after = page[-1]
        assert found == keys
        assert self.listed("?limit=250") == (keys, False)
        assert self.listed("?limit=249") == (keys[:249], True)

    def test_large_values(self) -> None:
        """
        A page of large values has fewer keys than it may.
        """
        for key in "abc":
            self.set(**{key: "x" * 600_000})
        assert self.listed() == (["a", "b"], True)
        assert self.listed("?after=b") == (["c"], False)

    def test_refused(self) -> None:
        """
        What is no number of keys, or is not known, is refused.
        """
        for query in (
            *("limit=0", "limit=-1", "limit=1001", "limit=x", "limit=", "limit=01"),
            *("limit=99999999999", "limit=1&limit=2", "prefx=a", "level=no"),
            *("prefix=%ff", "freshness=1s&level=weak"),
        ):
            assert self.ask("GET", f"/key?{query}").code == 400, query

    def test_levels(self) -> None:
        """
        Every level of a read is one of a listing.
        """
        self.set(a="1")
        for level in ("none", "weak", "linearizable", "strong", "auto"):
            assert self.listed(f"?level={level}&prefix=a") == (["a"], False)
        assert self.listed("?freshness=1s") == (["a"], False)

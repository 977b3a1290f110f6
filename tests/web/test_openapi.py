"""
The OpenAPI document: valid, complete, and true to the routes.

Whether the answers are as it describes them is found out in
``tests/integration/test_description.py``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hraftd.web.openapi import DESCRIPTION
from hraftd.web.openapi_schemas import SCHEMAS
from hraftd.web.site import APIS
from hraftd.web.traffic import route_template
from tests.web import Browser, OneNode

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What stands in a path beside its methods.
BESIDES = {"parameters"}


def routes() -> set[tuple[str, str]]:
    """
    Return what the program serves, by method; HEAD goes with GET everywhere.
    """
    return {
        (method, route_template(rule.rule))
        for api in APIS
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """
    Yield each method, path and operation of the document.
    """
    for path, described in DESCRIPTION["paths"].items():
        for method in described.keys() - BESIDES:
            yield method.upper(), path, described[method]


def references(value: object) -> Iterator[str]:
    """
    Yield all references in a document.
    """
    match value:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for one in value.values():
                yield from references(one)
        case list():
            for one in value:
                yield from references(one)


def test_every_route_is_described() -> None:
    """
    Each route and method of the program, and nothing else.
    """
    assert {(method, path) for method, path, _ in operations()} == routes()


def test_it_is_a_valid_document() -> None:
    """
    OpenAPI 3.1 as its own schema has it.
    """
    validate(json.loads(json.dumps(DESCRIPTION)))


def test_an_invalid_document_is_noticed() -> None:
    """
    The test above can fail.
    """
    broken = json.loads(json.dumps(DESCRIPTION))
    del broken["info"]["title"]
    with pytest.raises(Exception, match="title"):
        validate(broken)


def test_every_component_is_used() -> None:
    """
    Nothing is left over of what is described no more.
    """
    used = set(references(DESCRIPTION))
    for kind, components in DESCRIPTION["components"].items():
        for name in components:
            assert f"#/components/{kind}/{name}" in used, name


def test_each_operation_has_a_name_of_its_own() -> None:
    """
    Programs that are made from the document have a function for each.
    """
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for _, _, operation in operations())


def test_every_path_parameter_is_described() -> None:
    """
    As OpenAPI wants it.
    """
    for path, described in DESCRIPTION["paths"].items():
        named = [one["name"] for one in described.get("parameters", [])]
        assert named == re.findall(r"\{(\w+)\}", path)


class ServedTests(SynchronousTestCase):
    """
    What one real node answers, by the document.
    """

    def setUp(self) -> None:
        """
        Elect it.
        """
        self.clock = Clock()
        self.browser = Browser(OneNode(self.clock).site, self.clock)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """
        Make one request.
        """
        pending = self.browser.start(method, path, body)
        self.browser.network.settle(0.025, 0.025, 1.0)
        return self.successResultOf(pending)

    def test_served(self) -> None:
        """
        As JSON, as a whole.
        """
        answer = self.ask("GET", "/openapi.json")
        assert answer.code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json == json.loads(json.dumps(DESCRIPTION))
        assert self.ask("GET", "/openapi.json?pretty").code == 400
        assert self.ask("HEAD", "/openapi.json").code == 200

    def test_answers_have_no_other_members(self) -> None:
        """
        The document knows every member of what is answered when all goes well.

        It lets answers have more, for later versions; today's are all there.
        """
        for method, path, body, schema in (
            ("POST", "/key", b'{"a": "1", "b": "2"}', "Written"),
            ("PUT", "/key/a", b"2", "Written"),
            ("GET", "/key/a", None, "Value"),
            ("GET", "/key", None, "Page"),
            ("DELETE", "/key/b", None, "Deleted"),
            (
                *("POST", "/txn"),
                b'{"then": [{"set": "c", "value": ""}, {"delete": "a"}, {"get": "x"}]}',
                "Ran",
            ),
            ("GET", "/status", None, "Status"),
            ("GET", "/nodes", None, "Nodes"),
            ("GET", "/leader", None, "Led"),
            ("POST", "/leader", b'{"id": "node0"}', "Led"),
            ("POST", "/snapshot", None, "Snapshot"),
            ("GET", "/healthz", None, "Alive"),
            ("GET", "/readyz", None, "Ready"),
            ("GET", "/key/nobody", None, "Error"),
        ):
            answer = self.ask(method, path, body)
            closed = _closed({"$ref": f"#/components/schemas/{schema}"})
            Draft202012Validator(closed).validate(answer.json)

    def test_a_member_that_is_not_described_is_noticed(self) -> None:
        """
        The test above can fail.
        """
        closed = _closed({"$ref": "#/components/schemas/Status"})
        status = self.ask("GET", "/status").json
        assert Draft202012Validator(closed).is_valid(status)
        assert not Draft202012Validator(closed).is_valid({**status, "weather": "fine"})


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """
    Return a schema with all of the document's, whose objects have no other members.
    """

    def close(value: Any) -> Any:
        match value:
            case dict():
                closed = {name: close(one) for name, one in value.items()}
                if "properties" in value and value.get("type") == "object":
                    closed.setdefault("additionalProperties", False)
                return closed
            case list():
                return [close(one) for one in value]
            case _:
                return value

    return {**schema, "components": {"schemas": close(SCHEMAS)}}

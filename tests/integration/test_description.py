"""
The OpenAPI document, held against a running node by schemathesis.

Requests are made up from the document: such as it says one may make, and such as it
says one may not. Each answer has to be one that the document describes: status,
headers, Content-Type and JSON. What is asked is decided by the document alone, so that
a route is tested as soon as it is in there.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

# What they import takes longer than many tests do, so they are no plugin of pytest's.
schemathesis = pytest.importorskip("schemathesis")
requests = pytest.importorskip("requests")

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from schemathesis.checks import load_all_checks  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

from hraftd.web.openapi import DESCRIPTION  # noqa: E402

from .node import free_port  # noqa: E402
from .processes import Processes  # noqa: E402
from .waiting import until  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .node import Node

#: Requests of each kind, and what is left of them when so many seconds are over since
#: the first: a machine that has much else to do should not spend minutes on this.
EXAMPLES = 8
SECONDS = 10.0
EXAMPLES_LATER = 2

#: An answer of theirs does not end.
ENDLESS = {"/watch"}

#: Nothing that is made up is a backup.
NOT_MADE_UP = {"/restore"}

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Node]]:
    """
    Run a node that leads, and one that never will: it has no vote.
    """
    processes = Processes(tmp_path_factory.mktemp("description"))
    try:
        leader = processes.start("node0", options=["--inmem"])
        until(leader.leads, "it leads")
        options = ["--inmem", "--nonvoter"]
        copy = processes.start("node1", join=[leader.http], options=options)
        until(lambda: copy.status()["role"] == "nonvoter", "the other is a member")
        yield leader, copy
    finally:
        processes.end()


@pytest.fixture(scope="module")
def began(pair: Sequence[Node]) -> float:
    """
    Return when the first question was asked.
    """
    return time.monotonic()


def enough(began: float) -> int:
    """
    Return how many requests may still be made of each kind.
    """
    return EXAMPLES if time.monotonic() < began + SECONDS else EXAMPLES_LATER


def asked() -> Iterator[Any]:
    """
    Yield all that may be asked for, but for what never ends, rightly and wrongly.
    """
    load_all_checks()
    for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations():
        operation = found.ok()
        path = DESCRIPTION["paths"][operation.path]
        described = {*path, *path[operation.method]}
        for mode in MODES:
            # Nothing can be wrong with a request that has nothing to say.
            may_be_wrong = described & {"parameters", "requestBody"}
            name = f"{operation.method.upper()} {operation.path} {mode.value}"
            if operation.path not in ENDLESS and (mode is MODES[0] or may_be_wrong):
                yield pytest.param(operation, mode, id=name)


@pytest.mark.parametrize(("operation", "mode"), list(asked()))
def test_answers_are_as_described(
    operation: Any,
    mode: Any,
    pair: Sequence[Node],
    began: float,
    request: pytest.FixtureRequest,
) -> None:
    """
    Whatever one asks for, as it may be asked for or not, at a leader and at a node that
    does not lead: the answer is one that the document describes, and never a 500.
    """
    nobody = f"127.0.0.1:{free_port()}"
    codes: set[int] = set()

    @seed(2026)
    @settings(
        max_examples=request.config.getoption("--api-examples") or enough(began),
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if operation.path == "/join" and isinstance(case.body, dict):
            # To look for a host of any name takes long, and would be rude.
            case.body |= {"addr": nobody} if "addr" in case.body else {}
        for node in pair:
            response = case.call(
                base_url=f"http://{node.http}", session=session, timeout=15
            )
            codes.add(response.status_code)
            assert response.status_code != 500
            case.validate_response(response, checks=CHECKS)

    with requests.Session() as session:
        ask()
    if mode is MODES[0] and operation.path not in NOT_MADE_UP:
        assert codes - {400}, "nothing that one may ask for is understood"


def test_the_document_is_served(pair: Sequence[Node]) -> None:
    """
    Word for word.
    """
    for node in pair:
        response = requests.get(f"http://{node.http}/openapi.json", timeout=15)
        assert response.headers["Content-Type"] == "application/json"
        assert response.json() == json.loads(json.dumps(DESCRIPTION))


def test_the_endless_answer(pair: Sequence[Node]) -> None:
    """
    A watch is answered with what the document says.
    """
    content = DESCRIPTION["paths"]["/watch"]["get"]["responses"]["200"]["content"]
    for node in pair:
        with requests.get(
            f"http://{node.http}/watch", stream=True, timeout=15
        ) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"] in content

"""
What the documentation says, held against the code.

Names of files, options, routes, log lines and sentences are looked up;
the examples of ``docs/http-api.rst`` are run against three real servers in memory.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define, field, frozen
from treq import content
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hraftd.cli import RecoverOptions
from hraftd.client_requests import ClientRequests
from hraftd.commands.names import COMMANDS
from hraftd.commands.parsing import read_options
from hraftd.raft.configuration import Server
from hraftd.snapshots import SnapshotPolicy
from hraftd.tap import Options
from hraftd.web.site import APIS, HttpSite
from tests.servers import Group
from tests.web import Network, Sent
from tests.web.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.rst"))


def text_of(name: str) -> str:
    """
    Return one document.
    """
    return (ROOT / "docs" / name).read_text("utf-8")


def literals(text: str) -> list[str]:
    """
    Return what stands between double backquotes, on one line if it was broken.
    """
    return [" ".join(found.split()) for found in re.findall(r"``(.+?)``", text, re.S)]


def table_after(text: str, marker: str) -> list[list[str]]:
    """
    Return the rows of the first ``list-table`` behind each such comment.
    """
    rows: list[list[str]] = []
    _, *parts = text.split(f"\n.. {marker}\n")
    assert parts, f"there is no table called {marker}"
    for part in parts:
        table = part.split(".. list-table::", 1)[1]
        # It ends where a line begins at the margin.
        table = re.split(r"\n(?=\S)", table, maxsplit=1)[0]
        _, *found = re.split(r"\n   \* - ", table)
        rows += [re.split(r"\n     - ", row) for row in found[1:]]
    return rows


# Names of files; those of the code are in tests/test_docs_in_code.py.


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_files_exist(path: Path) -> None:
    """
    Files that are named, and those that links lead to, are there.
    """
    text = path.read_text("utf-8")
    for link in re.findall(r"<([\w./-]+\.rst)>`__", text):
        assert (path.parent / link).exists(), link
    for name in literals(text):
        if re.fullmatch(r"(hraftd|tests|conf|docs)/[\w./-]*", name):
            assert (ROOT / name).exists(), name


def test_the_index_leads_to_every_document() -> None:
    """
    Nothing in docs/ is hidden.
    """
    linked = set(re.findall(r"<([\w-]+\.rst)>`__", text_of("index.rst")))
    assert linked == {path.name for path in DOCS} - {"index.rst"}


def test_the_house_is_complete() -> None:
    """
    The tour names every module of the algorithm and every one at the top.
    """
    tour = text_of("tour.rst")
    for folder in ("hraftd", "hraftd/raft"):
        for path in (ROOT / folder).glob("*.py"):
            if path.stem != "__init__":
                assert path.name in tour, path


# What the program says.


@cache
def said() -> str:
    """
    Return every string of hraftd, with a line between two.

    What an f-string or the log fills in becomes ``{}``.
    """
    strings: list[str] = []
    for path in sorted((ROOT / "hraftd").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        inside: set[ast.AST] = set()
        for node in ast.walk(tree):
            match node:
                case ast.JoinedStr(values=values):
                    inside.update(values)
                    strings.append("".join(_part(value) for value in values))
                case ast.Constant(value=str(text)) if node not in inside:
                    strings.append(re.sub(r"\{\w+\}", "{}", text))
    return "\n".join(strings)


def _part(value: ast.expr) -> str:
    match value:
        case ast.Constant(value=str(text)):
            return text
        case _:
            return "{}"


@pytest.mark.parametrize("name", ["operations.rst", "http-api.rst"])
def test_sentences_are_said(name: str) -> None:
    """
    Each log line and error that is explained is one that hraftd can say.

    A line may be put together of several strings, at its braces.
    """
    # The first cell with literals has the lines; others may name options and the like.
    cells = [
        [literals(cell) for cell in row]
        for row in table_after(text_of(name), "sentences")
    ]
    explained = [sentence for row in cells for sentence in next(filter(None, row))]
    assert len(explained) >= 9
    for sentence in explained:
        if sentence not in said():
            for piece in sentence.split("{}"):
                assert piece.strip() in said(), f"nothing says {sentence!r}"


#: What is put together of halves that are explained one by one.
_PUT_TOGETHER = {"{} {}", "{} {}; HTTP on {}, Raft on {}, data in {}"}


def calls_with_text(names: set[str]) -> Iterator[tuple[str, str]]:
    """
    Yield the module and the text of each call of such a name that begins with one.
    """
    for path in sorted((ROOT / "hraftd").rglob("*.py")):
        module = path.relative_to(ROOT / "hraftd").as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id=name) | ast.Attribute(attr=name),
                    args=[ast.Constant(value=str(text)), *_],
                ) if name in names:
                    yield module, re.sub(r"\{[\w:.]+\}", "{}", text)
                case ast.Call(
                    func=ast.Name(id=name) | ast.Attribute(attr=name),
                    args=[ast.JoinedStr(values=values), *_],
                ) if name in names:
                    yield module, "".join(map(_part, values))


def test_every_log_line_is_explained() -> None:
    """
    An operator finds each line in the tables, also those for tracebacks.
    """
    text = " ".join(text_of("operations.rst").split())
    lines = {line for _, line in calls_with_text({"info", "warn", "critical"})}
    lines |= {line for _, line in calls_with_text({"failure"})}
    assert len(lines) > 15
    for line in lines - _PUT_TOGETHER:
        # What counts the lines that were left out comes behind some of them.
        assert f"``{line.removesuffix('{}')}" in text, line


def test_every_reason_for_an_answer_is_explained() -> None:
    """
    So does who gets a 409, 503 or 504: whoever declines says it in a listed sentence.
    """
    text = " ".join(text_of("http-api.rst").split())
    outcomes = {"Conflict", "Unavailable", "Unknown"}
    errors = {"CannotTransfer", "MembershipConflict", "NoSuchServer"}
    errors |= {"SnapshotImpossible", "TransferFailed"}
    # The client has errors of the same names, which tell what it was told.
    found = [
        (module, sentence)
        for module, sentence in calls_with_text(outcomes | errors)
        if not module.startswith("client/")
    ]
    assert len(found) > 25
    # To hand over to the leader is a 200 before anybody looks so far.
    told = [sentence for _, sentence in found if sentence != "{} is the leader already"]
    assert [sentence for sentence in told if sentence not in text] == []


def test_options_are_those_of_the_program() -> None:
    """
    Each option is explained, with its default, and no other.
    """
    explained = {}
    for option, default, _ in table_after(text_of("operations.rst"), "options"):
        explained[option.strip("`-\n ")] = default.strip("` \n")
    for name, _, default, help_text in Options.optParameters:
        # Where there is no default of its own, the text for --help may show a number.
        shown = re.search(r"\[(\d+)\]$", help_text)
        if default is not None or shown:
            assert explained[name] == (default or shown[1])
    policy = SnapshotPolicy()
    assert explained["snapshot-threshold"] == str(policy.threshold_entries)
    assert explained["snapshot-trailing"] == str(policy.trailing_entries)
    names = [name for name, *_ in Options.optFlags + Options.optParameters]
    assert sorted(explained) == sorted(names)


def test_routes_are_those_of_the_program() -> None:
    """
    Each route is in the list, and each has its section.
    """
    text = text_of("http-api.rst")
    apps = [api.app for api in APIS]
    rules = [rule for app in apps for rule in app.url_map.iter_rules()]
    routes = {
        f"{method} {_as_written(rule.rule)}"
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD"}
    }
    listed = set(re.findall(r"^``([A-Z]+ /\S*)``  ", text, re.M))
    assert listed == routes
    assert set(re.findall(r"^([A-Z]+ /\S+)\n-+$", text, re.M)) == routes


def _as_written(rule: str) -> str:
    """
    Return a route as the document writes it.
    """
    return re.sub(r"<.+>", "ID" if rule.startswith("/nodes/") else "KEY", rule)


# Commands outside of the HTTP API's examples.


def commands(program: str) -> Iterator[str]:
    """
    Find what can be typed, at the beginning of a line that is indented.
    """
    others = [ROOT / "README.rst", ROOT / "conf" / "README.rst"]
    for path in (*others, ROOT / "docs" / "operations.rst"):
        text = re.sub(r" *\\\n *", " ", path.read_text("utf-8"))
        yield from re.findall(rf"^ +((?:venv/bin/)?{program} .+)$", text, re.M)


def test_curl_commands_name_routes() -> None:
    """
    Each request that is to be typed goes to a route that takes that method.
    """
    found = [Curl.parse(command) for command in commands("curl")]
    assert len(found) > 15
    for curl in found:
        path = curl.url.removeprefix("http://").partition("/")[2].partition("?")[0]
        maps = [api.app.url_map.bind("") for api in APIS]
        assert any(each.test(f"/{path}", curl.method) for each in maps), path


def test_hraftd_commands_are_understood() -> None:
    """
    Each node that is to be started has options that there are.
    """
    found = [shlex.split(command)[1:] for command in commands("hraftd")]
    assert len(found) > 5
    for words in found:
        if words[0] == "recover":
            RecoverOptions().parseOptions(words[1:])
        elif words[0] in COMMANDS:
            read_options(words[0], words[1:])
        else:
            Options().parseOptions(words)


# The examples of the HTTP API.


@frozen
class Example:
    """
    A command, and what stands below it.
    """

    command: str
    code: int
    output: str


def examples(text: str) -> Iterator[Example]:
    """
    Find what begins with ``$ curl`` in literal blocks.
    """
    for block in re.findall(r"::\n\n((?:    .*\n|\n(?=    ))+)", text):
        joined = re.sub(r" *\\\n *", " ", block)
        _, *commands = re.split(r"^    \$ ", joined, flags=re.M)
        for command in commands:
            first, _, output = command.partition("\n")
            line, _, code = first.partition(" # ")
            yield Example(line.strip(), int(code or 200), output)


@define
class Curl:
    """
    As much of curl as the examples use.
    """

    method: str = "GET"
    url: str = ""
    body: bytes | None = None
    follow: bool = False
    headers: bool = False
    #: The names of files that the body is read from, and the answer's is written to.
    upload: str = ""
    download: str = ""
    #: Whether the answer has no end.
    stream: bool = False
    #: What is sent besides.
    sent: dict[str, str] = field(factory=dict)

    @classmethod
    def parse(cls, command: str) -> Curl:
        """
        Read a command line as a shell and curl do.
        """
        curl = cls()
        name, *words = shlex.split(command)
        assert name == "curl"
        while words:
            match words.pop(0):
                case "-d":
                    curl.body = words.pop(0).encode()
                case "--data-binary":
                    curl.upload = words.pop(0).removeprefix("@")
                case "-o":
                    curl.download = words.pop(0)
                case "-L":
                    curl.follow = True
                case "-N":
                    curl.stream = True
                case "-i":
                    curl.headers = True
                case "-H":
                    name, _, value = words.pop(0).partition(": ")
                    curl.sent[name] = value
                case word if word.startswith("-X"):
                    curl.method = word[2:]
                case url:
                    assert not url.startswith("-")
                    assert not curl.url
                    curl.url = f"http://{url}"
        return curl


@define
class Cluster:
    """
    Three real servers with their HTTP sites, and two more that may join.
    """

    group: Group = field(factory=Group)
    network: Network = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Let the first one begin, and take in two.
        """
        self.network = Network(self.group.clock)
        first = self.group.add("node0")
        first.bootstrap(self.member(0))
        self.serve(0)
        first.startService()
        self.group.until(lambda: first.status().role == "leader")
        for number in (1, 2):
            self.await_join(number)
            added = first.add_server(self.member(number))
            self.group.until(lambda added=added: bool(added.called))
            assert isinstance(added.result, int), added.result
        for number in (3, 4):
            self.await_join(number)

    @staticmethod
    def member(number: int) -> Server:
        """
        Name a server as the documents do.
        """
        ports = f"localhost:1200{number}", f"localhost:1100{number}"
        return Server(f"node{number}", *ports)

    def serve(self, number: int) -> None:
        """
        Put a server's HTTP API on the network.
        """
        name = f"node{number}"
        server = self.group.servers[name]
        requests = ClientRequests(server, self.group.stores[name], self.group.clock)
        site = HttpSite(requests, server, self.group.clock)
        self.network.sites[self.member(number).http] = site

    def await_join(self, number: int) -> None:
        """
        Start a server that expects to be taken in.
        """
        server = self.group.add(f"node{number}")
        self.group.addresses[f"node{number}"] = self.member(number).raft
        server.expect_cluster(self.group.servers["node0"].cluster_id)
        self.serve(number)
        server.startService()

    def watch(self, curl: Curl) -> str:
        """
        Return what such a stream begins with.
        """
        address, slash, path = curl.url.removeprefix("http://").partition("/")
        stream = Stream(self.network.sites[address], slash + path)
        self.group.turn()
        stream.lose()
        return stream.text

    def ask(self, curl: Curl) -> tuple[int, dict[str, str], bytes]:
        """
        Do what that command does.
        """
        client = HTTPClient(self.network.agent, data_to_body_producer=Sent)

        async def exchange(url: str) -> tuple[int, dict[str, str], bytes]:
            response = await client.request(
                curl.method,
                url,
                data=curl.body,
                headers=curl.sent,
                allow_redirects=False,
                unbuffered=True,
                reactor=self.group.clock,
            )
            headers = {
                name.decode(): values[0].decode()
                for name, values in response.headers.getAllRawHeaders()
            }
            body = await content(response)
            if response.code == 307 and curl.follow:
                return await exchange(headers["Location"])
            return response.code, headers, body

        answer = Deferred.fromCoroutine(exchange(curl.url))

        def answered() -> bool:
            self.network.settle()
            return bool(answer.called)

        self.group.until(answered)
        # Followers hear of it with the next heartbeat.
        self.group.ticks(8)
        self.network.settle()
        assert not isinstance(answer.result, Exception)
        return answer.result


#: Members of an answer that differ from time to time.
VOLATILE = {"cluster", "last_contact_ms"}


def settled(value: object) -> object:
    """
    Return an answer with only the type of what differs from time to time.
    """
    match value:
        case dict():
            return {
                name: type(one).__name__ if name in VOLATILE else settled(one)
                for name, one in value.items()
            }
        case list():
            return [settled(one) for one in value]
        case _:
            return value


class ExampleTests(SynchronousTestCase):
    """
    The examples of the HTTP API, from the first to the last.
    """

    def test_examples_are_true(self) -> None:
        """
        Each answers as printed: the code, the headers that are shown, the JSON.
        """
        cluster = Cluster()
        count = 0
        files: dict[str, bytes] = {}
        for example in examples(text_of("http-api.rst")):
            count += 1
            curl = Curl.parse(example.command)
            if curl.upload:
                curl.body = files[curl.upload]
            if curl.stream:
                shown = textwrap.dedent(example.output).strip()
                assert cluster.watch(curl).strip() == shown, example.command
                continue
            code, headers, body = cluster.ask(curl)
            shown, brace, rest = example.output.partition("{")
            said_so = f"{example.command}\n{code} {body!r}"
            assert code == example.code, said_so
            if curl.download:
                files[curl.download] = body
                assert not example.output.strip(), said_so
                continue
            if code == 304:
                assert (body, rest) == (b"", ""), said_so
            else:
                expected = json.loads(brace + rest)
                assert settled(json.loads(body)) == settled(expected), said_so
            assert bool(shown.strip()) == curl.headers, said_so
            for line in shown.split("\n"):
                name, colon, value = line.strip().partition(": ")
                if colon:
                    assert headers.get(name) == value, said_so
        assert count > 20

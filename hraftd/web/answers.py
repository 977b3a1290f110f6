"""
How hraftd answers over HTTP: in JSON, whatever happens.

Every answer is ``application/json`` with a Content-Length. A :exc:`Refusal` can be
raised anywhere below a route; :func:`new_app` makes the Klein application that turns
it, and everything else that can go wrong there, into ``{"error": "a sentence"}``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from klein import Klein
from twisted.logger import Logger
from werkzeug.exceptions import MethodNotAllowed, NotFound

from hraftd.outcomes import (
    Conflict,
    Excessive,
    Misdirected,
    Missing,
    Redirected,
    Unavailable,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.python.failure import Failure
    from twisted.web.http import Request

    from hraftd.outcomes import Declined
    from hraftd.raft.configuration import Server

__all__ = [
    "PHRASES",
    "Refusal",
    "Reply",
    "answer",
    "attach",
    "json_answer",
    "named",
    "new_app",
    "not_cached",
    "not_done",
    "not_modified",
    "raw_answer",
    "refuse",
    "send",
    "tag",
    "unexpected",
]

_log = Logger()

#: Phrases of status codes that twisted.web does not know.
PHRASES = {421: b"Misdirected Request"}


#: Made once: json.dumps makes another encoder each time.
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Refusal(Exception):
    """
    A request that is answered with an error.
    """

    def __init__(self, code: int, sentence: str) -> None:
        """
        Refuse with this status code, and this sentence for a person to read.
        """
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Reply(Protocol):
    """
    What an answer is filled in: a request of twisted.web, or the fast lane's own.
    """

    @property
    def method(self) -> bytes:
        """
        Of the request that is answered.
        """

    @property
    def uri(self) -> bytes:
        """
        What that asks for, as it was written.
        """

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """
        Set the status; without a phrase it is the one that HTTP has for that code.
        """

    def setHeader(self, name: bytes, value: bytes) -> None:
        """
        Set a header, in place of the one of that name if there is one.
        """


def answer(request: Reply, code: int, content: Mapping[str, object]) -> bytes:
    """
    Set status and headers, and return the body, which is still to be written.
    """
    return json_answer(request, code, _encode(content).encode("utf-8"))


def json_answer(request: Reply, code: int, body: bytes) -> bytes:
    """
    Set status and headers for a body that is JSON already, and return it.
    """
    return raw_answer(request, code, b"application/json", body)


def raw_answer(request: Reply, code: int, kind: bytes, body: bytes) -> bytes:
    """
    Set status and headers, and return the body as it is.

    :param kind: the Content-Type.
    """
    request.setResponseCode(code, PHRASES.get(code))
    request.setHeader(b"Server", b"hraftd")
    request.setHeader(b"Content-Type", kind)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def not_cached(request: Reply) -> None:
    """
    Set a header that keeps caches from giving the answer to anybody else.
    """
    request.setHeader(b"Cache-Control", b"no-store")


def attach(request: Reply, name: str) -> None:
    """
    Announce a file of bytes, whose length nobody knows yet.

    :param name: what it may be called on the client's disk.
    """
    request.setResponseCode(200)
    request.setHeader(b"Server", b"hraftd")
    request.setHeader(b"Content-Type", b"application/octet-stream")
    disposition = f'attachment; filename="{name}"'
    request.setHeader(b"Content-Disposition", disposition.encode("ascii"))


def tag(request: Reply, index: int) -> None:
    """
    Set the ETag of what was last changed at that index: the number in quotes.
    """
    request.setHeader(b"ETag", b'"%d"' % index)


def not_modified(request: Reply) -> bytes:
    """
    Answer that the client has it already: without a body, unlike all else.
    """
    request.setResponseCode(304)
    request.setHeader(b"Server", b"hraftd")
    return b""


def send(request: Request, body: bytes) -> None:
    """
    Write the body that an :func:`answer` has announced, and be done.
    """
    request.write(body)
    request.finish()


def refuse(request: Reply, code: int, sentence: str, **more: object) -> bytes:
    """
    Answer with an error; like :func:`answer`.
    """
    return answer(request, code, {"error": sentence, **more})


def unexpected(request: Reply, failure: Failure) -> bytes:
    """
    Answer what nobody foresaw: the log gets all of it, the client nothing.
    """
    _log.failure(
        "cannot answer {method} {uri}",
        failure=failure,
        method=request.method.decode("ascii", "replace"),
        uri=request.uri.decode("ascii", "replace"),
    )
    return refuse(request, 500, "internal error; this node's log says more")


def not_done(request: Reply, outcome: Declined | Excessive) -> bytes:
    """
    Answer what was not carried out here, or maybe not.
    """
    match outcome:
        case Misdirected(leader):
            return refuse(request, 421, "not the leader", leader=named(leader))
        case Redirected(leader):
            location = b"http://" + leader.http.encode("ascii") + request.uri
            request.setHeader(b"Location", location)
            return refuse(request, 307, "not the leader", leader=named(leader))
        case Unavailable(reason, retry_after):
            request.setHeader(b"Retry-After", b"%d" % retry_after)
            return refuse(request, 503, reason)
        case Unknown(reason):
            return refuse(request, 504, reason, outcome="unknown")
        case Conflict(reason):
            return refuse(request, 409, reason)
        case Excessive(reason):
            return refuse(request, 413, reason)
        case Missing(reason):
            return refuse(request, 404, reason)
        case _:
            assert_never(outcome)


def named(server: Server) -> dict[str, str]:
    """
    Say who a server is, and where.
    """
    return {"id": server.id, "http": server.http, "raft": server.raft}


def new_app() -> Klein:
    """
    Return a Klein application without routes whose errors are JSON.
    """
    app = Klein()

    @app.handle_errors(Refusal)
    def refused(self: object, request: Any, failure: Failure) -> bytes:
        refusal = failure.value
        assert isinstance(refusal, Refusal)
        return refuse(request, refusal.code, refusal.sentence)

    @app.handle_errors(NotFound)
    def not_found(self: object, request: Any, failure: Failure) -> bytes:
        return refuse(request, 404, "there is nothing at this path")

    @app.handle_errors(MethodNotAllowed)
    def not_allowed(self: object, request: Any, failure: Failure) -> bytes:
        error = failure.value
        assert isinstance(error, MethodNotAllowed)
        allowed = ", ".join(sorted(error.valid_methods or ()))
        request.setHeader(b"Allow", allowed.encode("ascii"))
        method = request.method.decode("ascii")
        return refuse(request, 405, f"{method} is not done here, but {allowed}")

    @app.handle_errors(Exception)
    def failed(self: object, request: Any, failure: Failure) -> bytes:
        return unexpected(request, failure)

    return app

"""
One request to another node, and the JSON object that it answers with.

The client's side of HTTP, as small as it can be: one connection for each request,
nothing kept, and time only from the reactor that was given. It does not know what is
asked; see :mod:`hraftd.joining`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from hraftd.urls import ReadyURL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treq.client import HTTPClient
    from twisted.internet.interfaces import IConsumer, IProtocol, IReactorTime
    from twisted.web.client import URI
    from twisted.web.iweb import IAgent

__all__ = ["NoAnswer", "exchange", "new_agent"]

#: No answer of hraftd is longer, not even with hundreds of members.
MAX_ANSWER_BYTES = 1 << 20


class NoAnswer(Exception):
    """
    No answer has come. The text says why, for an operator.
    """


@implementer(IStreamClientEndpoint)
@frozen
class _Quiet:
    """
    An endpoint without a line in the log for each connection and its end.
    """

    endpoint: IStreamClientEndpoint

    def connect(self, protocolFactory: Any) -> Deferred[IProtocol]:
        """
        See :class:`twisted.internet.interfaces.IStreamClientEndpoint`.
        """
        protocolFactory.noisy = False
        return self.endpoint.connect(protocolFactory)


@implementer(IAgentEndpointFactory)
@frozen
class _Endpoints:
    reactor: IReactorTime

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """
        See :class:`twisted.web.iweb.IAgentEndpointFactory`.
        """
        host = uri.host.decode("ascii")
        return _Quiet(HostnameEndpoint(self.reactor, host, uri.port))


def new_agent(reactor: IReactorTime) -> IAgent:
    """
    Return an agent that opens a connection for each request, and keeps none.
    """
    agent: IAgent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor))
    return agent


def exchange(
    http: HTTPClient,
    reactor: IReactorTime,
    timeout: float,
    method: str,
    url: str,
    content: Mapping[str, str | bool] | None = None,
) -> Deferred[tuple[int, dict[str, Any]]]:
    """
    Make one request.

    :param timeout: seconds in which the whole answer has to come.
    :param content: is sent as a JSON object.
    :return: fires with the status code, and with the answer: an empty one if it is
        no JSON object. Fails with :exc:`NoAnswer`, or, if it is cancelled, with
        whatever that does to the connection; it closes it.
    """

    def too_late(_: object, seconds: float) -> Failure:
        return Failure(NoAnswer(f"no answer within {seconds:g} seconds"))

    answer = Deferred.fromCoroutine(_exchange(http, reactor, method, url, content))
    answer.addTimeout(timeout, reactor, too_late)
    return answer.addErrback(_say_why)


async def _exchange(
    http: HTTPClient,
    reactor: Any,
    method: str,
    url: str,
    content: Mapping[str, str | bool] | None,
) -> tuple[int, dict[str, Any]]:
    response = await http.request(
        method,
        ReadyURL.from_text(url),
        data=None if content is None else _Sent(json.dumps(content).encode()),
        headers=Headers({"Content-Type": ["application/json"]}),
        allow_redirects=False,
        unbuffered=True,
        reactor=reactor,
    )
    body = _Received()
    response.deliverBody(body)
    try:
        answer = json.loads(await body.whole)
    except (ValueError, RecursionError):
        answer = {}
    return response.code, answer if isinstance(answer, dict) else {}


def _say_why(failure: Failure) -> NoReturn:
    """
    Put what went wrong with a connection in a few words.
    """
    error = failure.value
    if isinstance(error, NoAnswer | CancelledError):
        raise error
    if isinstance(error, ResponseFailed):
        error = error.reasons[-1].value
    if isinstance(error, ConnectionRefusedError):
        raise NoAnswer("connection refused; is a member running there?")
    if isinstance(error, DNSLookupError):
        raise NoAnswer("this host name is not known")
    raise NoAnswer(f"no answer: {error}")


@implementer(IBodyProducer)
class _Sent:
    """
    The body of a request, sent at once.

    Those of Twisted and treq take their time from the global reactor.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        Do nothing: all is written.
        """

    def resumeProducing(self) -> None:
        """
        Do nothing: all is written.
        """

    def stopProducing(self) -> None:
        """
        Do nothing: all is written.
        """


class _Received(Protocol):
    """
    Collects the body of an answer; to cancel ``whole`` closes the connection.
    """

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(self._close)
        self._parts: list[bytes] = []
        self._size = 0

    def _close(self, _: object = None) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Keep a part, unless there are too many.
        """
        if self.whole.called:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            self.whole.errback(NoAnswer("it answers endlessly; is it a member?"))
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Give out what has come; not if the connection broke off before its end.
        """
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

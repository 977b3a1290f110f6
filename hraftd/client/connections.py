"""
One request to one node, and what comes of it.

Either a :class:`~hraftd.client.answers.Reply`, whatever it says, or one of two errors
that keep apart what matters for a write: :exc:`NotSent`, nothing has left this machine,
and :exc:`AnswerLost`, the node may have been told. Connections are kept for the next
request; they are not used for what must not be in doubt without need, since a node may
just be closing one that was idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from hraftd.client.answers import NotUnderstood, Reply
from hraftd.client.asking import Kind
from hraftd.client.bodies import Received, Sent
from hraftd.client.deadlines import within
from hraftd.urls import ReadyURL

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol, IReactorTime
    from twisted.web.client import URI
    from twisted.web.iweb import IAgent, IBodyProducer, IResponse

    from hraftd.client.asking import Ask

__all__ = ["AnswerLost", "Connections", "NotSent", "new_pool", "read_whole", "why"]

#: Seconds for a connection to be opened; a machine that is there takes milliseconds.
CONNECT_SECONDS = 2.0

#: Seconds between attempts at the addresses of one host. As Twisted does that, it also
#: is what it takes to learn that the last of them has refused; with the 0.3 that are
#: usual, each node that is down would hold up every request by as much.
_BETWEEN_ADDRESSES = 0.1

#: How many connections to a node are kept, and the seconds for which they are. A node
#: closes one itself after a minute.
KEPT = 8
KEPT_SECONDS = 30.0


class _NoReply(Exception):
    """
    There is no answer. The text says why.

    :ivar is_late: whether that is only because the time was over.
    """

    is_late = False


class NotSent(_NoReply):
    """
    The node has not been asked.
    """


class AnswerLost(_NoReply):
    """
    The node may have been asked, and no answer has come that could be understood.
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
class _Hosts:
    reactor: IReactorTime

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """
        See :class:`twisted.web.iweb.IAgentEndpointFactory`.
        """
        host = uri.host.decode("ascii")
        return _Quiet(
            HostnameEndpoint(
                self.reactor,
                host,
                uri.port,
                timeout=CONNECT_SECONDS,
                attemptDelay=_BETWEEN_ADDRESSES,
            )
        )


def new_pool(reactor: IReactorTime) -> HTTPConnectionPool:
    """
    Return a pool that keeps connections, and never repeats a request on its own.
    """
    pool: Any = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = KEPT
    pool.cachedConnectionTimeout = KEPT_SECONDS
    pool.retryAutomatically = False
    assert isinstance(pool, HTTPConnectionPool)
    return pool


class Connections:
    """
    The connections of one client.
    """

    def __init__(self, reactor: IReactorTime, agent: IAgent | None = None) -> None:
        """
        Begin with none.

        :param agent: makes all requests, if it is given; whether it keeps connections
            is its own business then.
        """
        self._reactor = reactor
        self._pool: HTTPConnectionPool | None = None
        if agent is None:
            hosts = _Hosts(reactor)
            self._pool = new_pool(reactor)
            kept = Agent.usingEndpointFactory(reactor, hosts, self._pool)
            self._kept = HTTPClient(kept)
            self._fresh = HTTPClient(Agent.usingEndpointFactory(reactor, hosts))
        else:
            self._kept = self._fresh = HTTPClient(agent)

    def close(self) -> Deferred[None]:
        """
        Close those that are kept.

        :return: fires when they are closed.
        """
        if self._pool is None:
            return succeed(None)
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed.addBoth(lambda _: None)

    def ask(self, address: str, ask: Ask, seconds: float) -> Deferred[Reply]:
        """
        Make one request.

        :param seconds: in which the whole answer has to come.
        :return: fires with the answer, whatever its status; fails with :exc:`NotSent`
            or :exc:`AnswerLost`. To cancel it closes the connection.
        """
        sent = Sent(ask.body or b"") if ask.changes_something else None
        client = self._fresh if ask.kind is Kind.CHANGE else self._kept
        pending = Deferred.fromCoroutine(self._whole(client, address, ask, sent))

        def too_late() -> Exception:
            kind = NotSent if sent is not None and not sent.was_begun else AnswerLost
            error = kind(f"no answer within {seconds:.3g} seconds")
            error.is_late = True
            return error

        return within(self._reactor, seconds, pending, too_late)

    def open(
        self,
        address: str,
        ask: Ask,
        seconds: float | None,
        body: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Make a request whose answer, or body, has no known end.

        :param seconds: in which the head of the answer has to come; ``None`` for as
            long as it takes.
        :return: fires with the response, whose body is still to be delivered; fails
            as :meth:`ask`.
        """
        pending = Deferred.fromCoroutine(self._opened(address, ask, body))

        def too_late() -> Exception:
            return AnswerLost(f"no answer within {seconds:.3g} seconds")

        return within(self._reactor, seconds, pending, too_late)

    async def _whole(
        self, client: HTTPClient, address: str, ask: Ask, sent: Sent | None
    ) -> Reply:
        body = Received()
        try:
            response = await self._head(client, address, ask, sent)
            response.deliverBody(body)
            return Reply.read(response.code, response.headers, await body.whole)
        except Exception as error:
            _say(error, sent)

    async def _opened(
        self, address: str, ask: Ask, body: IBodyProducer | None
    ) -> IResponse:
        try:
            return await self._head(self._fresh, address, ask, body)
        except Exception as error:
            _say(error, None)

    def _head(
        self, client: HTTPClient, address: str, ask: Ask, sent: IBodyProducer | None
    ) -> Deferred[IResponse]:
        headers = Headers({name: [value] for name, value in ask.headers.items()})
        reactor: Any = self._reactor
        response: Deferred[Any] = client.request(
            ask.method,
            ReadyURL.from_text(f"http://{address}{ask.target}"),
            data=sent,
            headers=headers,
            allow_redirects=False,
            unbuffered=True,
            reactor=reactor,
        )
        return response


async def read_whole(response: IResponse) -> Reply:
    """
    Read the rest of an answer that turns out to be an ordinary one.
    """
    body = Received()
    response.deliverBody(body)
    return Reply.read(response.code, response.headers, await body.whole)


def _say(error: Exception, sent: Sent | None) -> NoReturn:
    """
    Tell what the end of a request means for what was asked.
    """
    if isinstance(error, CancelledError | NotSent | AnswerLost):
        raise error
    if sent is not None and not sent.was_begun:
        raise NotSent(why(error)) from error
    raise AnswerLost(why(error)) from error


def why(error: BaseException) -> str:
    """
    Put what went wrong with a connection in a few words.
    """
    if isinstance(error, ResponseFailed) and error.reasons:
        error = error.reasons[-1].value
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case DNSLookupError():
            return "this host name is not known"
        case TimeoutError():
            return "no connection in time"
        case NotUnderstood():
            return str(error)
        case _:
            return f"no answer: {error}"

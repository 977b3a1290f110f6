"""
Backups and restores: streams of any length, a piece at a time.

Neither is in memory as a whole, and neither has a time in which it must be over; but
each has to go on. What a backup is, byte by byte, only the cluster knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from hraftd.client.answers import NotUnderstood, Reply, index_in, retry_after
from hraftd.client.asking import Ask, Kind
from hraftd.client.connections import AnswerLost, NotSent, read_whole, why
from hraftd.client.deadlines import within
from hraftd.client.errors import Refused, Unavailable, Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IConsumer, IReactorTime
    from twisted.web.iweb import IResponse

    from hraftd.client.attempts import Attempts

__all__ = ["Read", "Restored", "Write", "back_up", "restore"]

#: Takes a piece of a backup; may say later that it has.
Write: TypeAlias = Callable[[bytes], Deferred[Any] | int | None]

#: Returns at most so many bytes of a backup, or none at its end; perhaps later.
Read: TypeAlias = Callable[[int], Deferred[bytes] | bytes]

#: How much is read at once.
_PIECE = 64 * 1024


@frozen
class Restored:
    """
    A restore that was done.
    """

    index: int
    #: How many keys there are now.
    keys: int


async def back_up(
    attempts: Attempts,
    address: str,
    query: Mapping[str, str],
    write: Write,
    seconds: float,
) -> int:
    """
    Read a backup from a node.

    :param write: gets it, piece by piece.
    :param seconds: in which something has to come.
    :return: its size in bytes.
    :raises Unavailable: if it breaks off; what was written is of no use then.
    :raises Refused: if the node has none.
    """
    ask = Ask(Kind.LOCAL, "GET", "/backup", query)
    try:
        response = await attempts.connections.open(address, ask, seconds)
        if response.code == 200:
            download = Download(attempts.reactor, write, seconds)
            response.deliverBody(download)
            return await download.done
        reply = await _whole(attempts, response, seconds)
    except (NotSent, AnswerLost, NotUnderstood) as error:
        attempts.endpoints.has_failed(address)
        raise Unavailable(f"{address}: {error}") from error
    _decline(address, reply)


async def restore(
    attempts: Attempts, address: str, read: Read, seconds: float
) -> Restored:
    """
    Put a backup in place of all that there is.

    :param address: of any node.
    :param read: returns it, piece by piece.
    :param seconds: in which something has to go on.
    :raises Unknown: if all of it was sent and no answer has come.
    :raises Unavailable: if not all of it was sent; nothing has happened.
    :raises Refused: if it is no backup.
    """
    upload = Upload(attempts.reactor, read, seconds)
    opened = attempts.connections.open(
        address, Ask(Kind.CHANGE, "POST", "/restore").forwarded(), None, upload
    )
    upload.give_up = opened.cancel
    try:
        response = await opened
        reply = await _whole(attempts, response, seconds)
        if reply.status == 200:
            return Restored(index_in(reply.content), index_in(reply.content, "keys"))
    except (NotSent, AnswerLost, NotUnderstood, CancelledError) as error:
        attempts.endpoints.has_failed(address)
        if upload.failure is not None:
            upload.failure.raiseException()
        if isinstance(error, CancelledError) and not upload.is_stuck:
            raise
        reason = "nothing has gone on for too long" if upload.is_stuck else str(error)
        if upload.is_complete:
            raise Unknown(f"it may or may not be restored: {reason}") from error
        raise Unavailable(f"not restored: {reason}") from error
    finally:
        upload.over()
    if reply.status in (500, 504):
        raise Unknown(f"it may or may not be restored: {reply.sentence}")
    _decline(address, reply)


async def _whole(attempts: Attempts, response: IResponse, seconds: float) -> Reply:
    """
    Read an ordinary answer.
    """
    try:
        return await within(
            attempts.reactor,
            seconds,
            Deferred.fromCoroutine(read_whole(response)),
            lambda: AnswerLost("the answer does not end"),
        )
    except (AnswerLost, NotUnderstood, CancelledError):
        raise
    except Exception as error:
        raise AnswerLost(why(error)) from error


def _decline(address: str, reply: Reply) -> NoReturn:
    """
    Tell why a node does not.
    """
    if 400 <= reply.status < 500 and reply.status != 421 and reply.is_error:
        raise Refused(reply.sentence, reply.status)
    raise Unavailable(f"{address}: {reply.sentence}", retry_after(reply))


def _do_nothing() -> None:
    pass


class _Progress:
    """
    Notices when nothing goes on for too long.
    """

    def __init__(
        self, reactor: IReactorTime, seconds: float, stuck: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._stuck = stuck
        self._timer = reactor.callLater(seconds, stuck)

    def made(self) -> None:
        """
        Begin to count anew.
        """
        if self._timer.active():
            self._timer.reset(self._seconds)
        else:
            self._timer = self._reactor.callLater(self._seconds, self._stuck)

    def pause(self) -> None:
        """
        Count no more, until something goes on.
        """
        if self._timer.active():
            self._timer.cancel()


class Download(Protocol):
    """
    Hands the body of an answer on, as fast as it is taken.

    :ivar done: fires with the number of bytes when all of them are; to cancel it closes
        the connection.
    """

    def __init__(self, reactor: IReactorTime, write: Write, seconds: float) -> None:
        """
        Wait for the body.

        :param seconds: in which something has to come.
        """
        self._write = write
        self._size = 0
        self._writing = False
        self._end: Failure | None = None
        self._progress = _Progress(reactor, seconds, self._stuck)
        self.done: Deferred[int] = Deferred(self._cancelled)

    @property
    def _transport(self) -> Any:
        return self.transport

    def _cancelled(self, _: object) -> None:
        self._progress.pause()
        if self.transport is not None:
            self._transport.loseConnection()

    def _stuck(self) -> None:
        self._fail(Failure(AnswerLost("nothing has come for too long")))

    def _fail(self, failure: Failure) -> None:
        if not self.done.called:
            self._progress.pause()
            self.done.errback(failure)
            if self.transport is not None:
                self._transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Hand on a piece, and take no other before that is done.
        """
        if self.done.called:
            return
        self._progress.pause()
        self._size += len(data)
        self._writing = True
        self._transport.pauseProducing()
        maybeDeferred(self._write, data).addCallbacks(self._written, self._fail)

    def _written(self, _: object) -> None:
        self._writing = False
        if self.done.called:
            return
        if self._end is not None:
            self._finish(self._end)
        else:
            self._progress.made()
            self._transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Take note of the end.
        """
        self._end = reason
        if not self._writing and not self.done.called:
            self._finish(reason)

    def _finish(self, reason: Failure) -> None:
        self._progress.pause()
        # A body without an end of its own would be one that was cut off.
        error = reason.value
        if isinstance(error, ResponseDone):
            self.done.callback(self._size)
        else:
            self.done.errback(Failure(AnswerLost(f"it broke off: {error}")))


@implementer(IBodyProducer)
class Upload:
    """
    The body of a request, which is read while it is sent.

    :ivar is_complete: whether its end may have been sent. As long as not, what it is
        for has certainly not been done.
    :ivar is_stuck: whether nothing has gone on for too long.
    :ivar failure: what reading it has failed with.
    """

    length = UNKNOWN_LENGTH

    def __init__(self, reactor: IReactorTime, read: Read, seconds: float) -> None:
        """
        Be ready to read.

        :param seconds: in which something has to go on.
        """
        self._read = read
        self._sending: Deferred[None] | None = None
        self._is_stopped = False
        self._room: Deferred[None] | None = None
        self._is_paused = False
        self.is_complete = False
        self.is_stuck = False
        self.failure: Failure | None = None
        #: Called when nothing goes on.
        self.give_up: Callable[[], None] = _do_nothing
        self._progress = _Progress(reactor, seconds, self._stuck)

    def _stuck(self) -> None:
        self.is_stuck = True
        self.give_up()

    def over(self) -> None:
        """
        Read no more: there is an answer, or there will be none.

        Who answers before all was sent has seen enough, and nobody else ends this.
        """
        self._progress.pause()
        self.stopProducing()

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        sending = self._sending = Deferred.fromCoroutine(self._send(consumer))
        sent: Deferred[None] = Deferred(lambda _: sending.cancel())

        def ended(result: Any) -> None:
            # Who has stopped it wants to hear no more of it.
            if not self._is_stopped:
                sent.callback(result)

        sending.addBoth(ended)
        return sent

    async def _send(self, consumer: IConsumer) -> None:
        while True:
            try:
                piece: bytes = await maybeDeferred(self._read, _PIECE)  # type: ignore
            except CancelledError:
                raise
            except Exception:
                self.failure = Failure()
                raise
            if not piece:
                self.is_complete = True
                self._progress.made()
                return
            consumer.write(piece)
            self._progress.made()
            if self._is_paused:
                self._room = Deferred()
                await self._room

    def pauseProducing(self) -> None:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        self._is_paused = True

    def resumeProducing(self) -> None:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        self._is_paused = False
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """
        See :class:`twisted.web.iweb.IBodyProducer`.
        """
        self._is_stopped = True
        if self._sending is not None:
            self._sending.cancel()

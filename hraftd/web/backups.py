"""
``GET /backup`` and ``POST /restore``: all that the cluster holds, as a stream.

Neither is ever in memory as a whole. A backup is read from the disk as fast as the
client takes it; a body for a restore is read from the connection as fast as the cluster
takes it, which is why it does not arrive like other bodies: :class:`Upload` gets it
while it comes. What a backup is, and how it goes into the cluster, is told in
:mod:`hraftd.backups`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from hraftd.backup_file import BackupDamaged, BackupReader
from hraftd.errors import SnapshotImpossible
from hraftd.interfaces import StorageError
from hraftd.kv.results import PieceTaken, Unusable
from hraftd.outcomes import Applied, Unavailable
from hraftd.web.answers import answer, attach, new_app, not_done, refuse, unexpected
from hraftd.web.asked import consistency, on_follower
from hraftd.web.headers import no_preconditions

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure
    from twisted.web import http

    from hraftd.backups import Backup, Backups
    from hraftd.outcomes import WriteOutcome
    from hraftd.reads import ReadLevel
    from hraftd.web.channel import Request

__all__ = ["BackupAPI", "Upload"]

_log = Logger()

#: Seconds in which a client has to take what was written, or the connection ends: a
#: backup keeps a snapshot in place.
STALLED_SECONDS = 60.0

#: Pieces of a body that wait for the cluster; with more the connection is not read.
MAX_WAITING = 2


class BackupAPI:
    """
    Everything under ``/backup`` and ``/restore``.
    """

    app = new_app()

    def __init__(self, backups: Backups, read_level: ReadLevel) -> None:
        """
        Serve these backups.

        :param read_level: how fresh a backup is that does not say.
        """
        self._backups = backups
        self._read_level = read_level

    @app.route("/backup", methods=["GET"])
    async def backup(self, request: Request) -> bytes:
        """
        Answer with all that this node has applied, once it is as fresh as asked for.
        """
        begun = await self._backups.begin_backup(consistency(request, self._read_level))
        if isinstance(begun, Unavailable):
            return not_done(request, begun)
        try:
            attach(request, f"hraftd-{begun.header.index}.backup")
            if request.method != b"HEAD":
                await _Download(request, self._backups.clock).send(begun)
        except (SnapshotImpossible, StorageError) as error:
            # The status is sent already; that the end is missing says it all.
            _log.warn("a backup has broken off: {error}", error=error)
            request.channel.transport.abortConnection()
        finally:
            begun.close()
        return b""

    @app.route("/restore", methods=["POST"])
    def restore(self, request: Request) -> Deferred[bytes]:
        """
        Answer what has become of the body, which has arrived as a whole.
        """
        upload = request.upload
        if upload is None:
            # The target was written in some way that only the router understands.
            upload = Upload(request, self._backups)
            upload.received(request.content.read())
        return upload.ended()

    def upload(self, request: Request) -> Upload:
        """
        Prepare to take the body of a restore while it comes.

        :raises Refusal: if its query is wrong.
        """
        return Upload(request, self._backups)


@implementer(IPushProducer)
class _Download:
    """
    Writes a backup to a client as fast as that reads it.
    """

    def __init__(self, request: Request, clock: IReactorTime) -> None:
        """
        Write to the client of that request.
        """
        self._request: http.Request = request
        self._channel = request.channel
        self._clock = clock
        self._is_paused = False
        self._room: Deferred[None] | None = None
        self._stalled: IDelayedCall | None = None

    async def send(self, backup: Backup) -> None:
        """
        Write all of it; cancelled where the client is gone.
        """
        self._request.registerProducer(self, True)
        if self._channel.is_full:
            # That was before anybody could be told of it.
            self.pauseProducing()
        try:
            self._request.write(backup.header.encode())
            while data := await backup.read():
                self._request.write(data)
                if self._is_paused:
                    self._room = Deferred()
                    await self._room
        finally:
            self._wait_no_longer()
            if self._request.channel is not None:
                self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        """
        See :class:`twisted.internet.interfaces.IPushProducer`.
        """
        self._is_paused = True
        self._wait_no_longer()
        abort = self._channel.transport.abortConnection
        self._stalled = self._clock.callLater(STALLED_SECONDS, abort)

    def resumeProducing(self) -> None:
        """
        See :class:`twisted.internet.interfaces.IPushProducer`.
        """
        self._is_paused = False
        self._wait_no_longer()
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """
        Do nothing: the route is cancelled when its client is gone.
        """

    def _wait_no_longer(self) -> None:
        if self._stalled is not None and self._stalled.active():
            self._stalled.cancel()


class Upload:
    """
    The body of a restore, which goes into the cluster while it arrives.
    """

    def __init__(self, request: Request, backups: Backups) -> None:
        """
        Begin.

        :raises Refusal: if something is wrong with the request.
        """
        no_preconditions(request)
        self._request = request
        self._restoring = backups.begin_restore(on_follower(request))
        self._reader = BackupReader()
        self._pieces: deque[bytes] = deque()
        self._damage: BackupDamaged | None = None
        self._has_ended = False
        #: Fires when there is more to do than was.
        self._more: Deferred[None] | None = None
        self._answer: Deferred[bytes] = Deferred.fromCoroutine(self._run())
        self._answer.addCallbacks(self._answered, self._failed)

    def received(self, data: bytes) -> None:
        """
        Take the next bytes of the body.
        """
        if self._damage is None and not self._answer.called:
            try:
                self._pieces += self._reader.feed(data)
            except BackupDamaged as error:
                self._damage = error
            if len(self._pieces) > MAX_WAITING:
                self._request.channel.hold()
            self._wake()

    def ended(self) -> Deferred[bytes]:
        """
        Say that no more bytes come.

        :return: fires with the answer; cancelling gives the restore up.
        """
        self._has_ended = True
        self._wake()
        return self._answer

    def give_up(self) -> None:
        """
        Put no more of it: the client is gone.
        """
        self._answer.addErrback(lambda failure: failure.trap(CancelledError))
        self._answer.cancel()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None:
            more.callback(None)

    async def _run(self) -> bytes:
        while not (self._has_ended or self._damage) or self._pieces:
            if self._damage is None and self._pieces:
                outcome = await self._restoring.put(self._pieces.popleft())
                if not _is_taken(outcome):
                    return self._tell(outcome)
                self._request.channel.go_on(len(self._pieces) <= MAX_WAITING)
            elif self._damage is None:
                self._more = Deferred()
                await self._more
            else:
                break
        try:
            if self._damage is not None:
                raise self._damage
            self._reader.end()
        except BackupDamaged as error:
            return refuse(self._request, 400, str(error))
        return self._tell(await self._restoring.put(b""))

    def _tell(self, outcome: WriteOutcome | Unusable) -> bytes:
        match outcome:
            case Applied(index, PieceTaken(keys)):
                return answer(self._request, 200, {"index": index, "keys": keys})
            case Applied():
                raise AssertionError("this is no result of a piece")
            case Unusable(reason):
                return refuse(self._request, 409, reason)
            case _:
                return not_done(self._request, outcome)

    def _answered(self, body: bytes) -> bytes:
        if not self._has_ended:
            self._request.end_early(body)
        return body

    def _failed(self, failure: Failure) -> object:
        if self._has_ended:
            return failure
        if failure.check(CancelledError) is None:
            self._request.end_early(unexpected(self._request, failure))
        return b""


def _is_taken(outcome: WriteOutcome | Unusable) -> bool:
    return isinstance(outcome, Applied)

"""
The fast lane: the few requests that nearly all are, answered without twisted.web.

Klein on twisted.web makes a dozen objects for each request, and takes many times as
long about it as reading a key takes. So a connection (:mod:`hraftd.web.channel`) asks
here first what the bytes are that have come in. Where they begin with whole requests of
the kinds that :mod:`hraftd.web.hot_requests` finds, these are answered here; what is
left is for twisted.web. It never sees what was answered here, and this sees nothing
that it has begun.

Both lanes are to answer the same, byte for byte but for the time in ``Date``. So what a
request does and what is said about it is not told here but in :mod:`hraftd.web.keys`,
and a request about which anything is unusual is left to the other lane, which knows
what to say. The one answer that is put together here is that of a key that is there.

Of such reads many are the same, letter for letter, and until the key is changed and the
second is over their answer is the same too. So the answers of this second are kept by
the bytes of the request, each with the record that it tells of: it counts only as long
as the store has that very record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, datetimeToString

from hraftd.kv.commands import Set
from hraftd.kv.records import index_and_value
from hraftd.reads import Consistency, ReadLevel
from hraftd.web.answers import Refusal, refuse, unexpected
from hraftd.web.asked import key_in_path
from hraftd.web.bodies import pairs
from hraftd.web.hot_requests import HotRequests
from hraftd.web.keys import Keys, pair_as_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from hraftd.client_requests import ClientRequests
    from hraftd.web.channel import Channel
    from hraftd.web.traffic import Tally, Traffic

__all__ = ["FLUSH_BYTES", "MAX_KNOWN", "MAX_KNOWN_BYTES", "FastLane", "Waiting"]

#: Answers to requests that came together are sent together, up to about so many bytes.
FLUSH_BYTES = 1 << 14

#: So many reads are known with their answers, and of so many bytes together each.
MAX_KNOWN = 1024
MAX_KNOWN_BYTES = 4096

#: Seconds for which the same ``Date`` is told. It counts whole ones.
DATE_SECONDS = 0.1

#: The answer to a read, as twisted.web would write it.
_FOUND = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: hraftd\r\n"
    b"Date: %b\r\n"
    b'ETag: "%d"\r\n'
    b"Content-Type: application/json\r\n"
    b"Content-Length: %d\r\n"
    b"\r\n%b"
)

#: By the query of a request, what it asks for.
_LEVELS: dict[bytes | None, ReadLevel] = {
    b"?level=%b" % level.value.encode(): level for level in ReadLevel
}


class _Reply:
    """
    What is answered; see :class:`hraftd.web.answers.Reply`.
    """

    __slots__ = ("_headers", "_phrase", "code", "method", "uri")

    def __init__(self, method: bytes, uri: bytes, date: bytes) -> None:
        self.method = method
        self.uri = uri
        self.code = 200
        self._phrase = RESPONSES[200]
        self._headers = {b"Server": b"hraftd", b"Date": date}

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        self.code = code
        self._phrase = RESPONSES[code] if message is None else message

    def setHeader(self, name: bytes, value: bytes) -> None:
        self._headers[name] = value

    def whole(self, body: bytes) -> bytes:
        """
        Return all bytes of the answer.
        """
        parts = [b"HTTP/1.1 %d %b\r\n" % (self.code, self._phrase)]
        parts += [b"%b: %b\r\n" % header for header in self._headers.items()]
        parts += (b"\r\n", body)
        return b"".join(parts)


class Waiting:
    """
    A request whose answer does not come at once.

    :ivar answer: all bytes of it, when it is there.
    """

    __slots__ = ("_began", "_lane", "_pending", "_reply", "_tally", "answer", "channel")

    def __init__(
        self,
        lane: FastLane,
        tally: Tally,
        reply: _Reply,
        pending: Deferred[bytes],
        began: float,
    ) -> None:
        """
        Wait for what makes a reply complete; it may be that already.
        """
        self._lane = lane
        self._tally = tally
        self._reply = reply
        self._began = began
        self._pending: Deferred[bytes] | None = pending
        self.answer: bytes | None = None
        #: On which it is to be answered, once that waits for it.
        self.channel: Channel | None = None
        pending.addErrback(self._failed).addCallback(self._told)

    def _failed(self, failure: Failure) -> bytes:
        if self._pending is None and failure.check(CancelledError):
            return b""
        return unexpected(self._reply, failure)

    def _told(self, body: bytes) -> None:
        if self._pending is None:
            # Nobody wants to know any more.
            return
        self.answer = self._lane.told(self._tally, self._reply, body, self._began)
        if self.channel is not None:
            self.channel.answered(self.answer)

    def give_up(self) -> None:
        """
        Stop waiting: the client is gone.
        """
        pending, self._pending = self._pending, None
        self._tally.note(None, 0.0)
        if pending is not None:
            pending.cancel()


class FastLane:
    """
    Serves the hot requests of all connections of a site.
    """

    def __init__(
        self,
        client_requests: ClientRequests,
        traffic: Traffic,
        seconds: Callable[[], float],
    ) -> None:
        """
        Begin with nothing to do.

        :param traffic: counts the requests.
        :param seconds: returns what time it is.
        """
        self._client_requests = client_requests
        self._has_state = False
        self._record = client_requests.record
        self._keys = Keys(client_requests)
        self._limits = client_requests.limits
        self._hot = HotRequests()
        self._levels = {None: client_requests.read_level, **_LEVELS}
        self._reads = traffic.tally(b"GET", b"/key/x")
        self._writes = traffic.tally(b"POST", b"/key")
        self._seconds = seconds
        self._date = b""
        self._date_until = -1.0
        #: By all bytes of a read: the key, what it held, and what was answered.
        self._known: dict[bytes, tuple[str, bytes, bytes]] = {}

    def _look_at_the_date(self, now: float) -> None:
        self._date_until = now + DATE_SECONDS
        date = datetimeToString()
        if date != self._date:
            self._date = date
            self._known.clear()

    def serve(self, channel: Channel, data: bytes) -> bytes:
        """
        Answer the requests at the beginning of what has come in on a connection.

        :return: the rest: not hot, not all there, or behind one that has to wait.
        """
        began = self._seconds()
        if began >= self._date_until:
            self._look_at_the_date(began)
        answers: list[bytes] = []
        size = position = 0
        channel.used_at = began
        known = self._known.get(data)
        if known is not None and self._record(known[0]) is known[1]:
            self._reads.note(200, self._seconds() - began)
            channel.send(known[2])
            return b""
        while position < len(data):
            served = self._get(data, position, began) or self._post(
                data, position, began
            )
            if served is None:
                break
            position, answer = served
            if isinstance(answer, Waiting):
                if answers:
                    channel.send(b"".join(answers))
                channel.wait_for(answer)
                return data[position:]
            answers.append(answer)
            size += len(answer)
            if size >= FLUSH_BYTES:
                channel.send(b"".join(answers))
                answers.clear()
                size = 0
                if channel.is_full:
                    break
        if answers:
            channel.send(b"".join(answers))
        return data[position:]

    def _get(
        self, data: bytes, position: int, began: float
    ) -> tuple[int, bytes | Waiting] | None:
        """
        Serve a read, if one begins at that position.

        :return: where it ends, and what is answered.
        """
        found = self._hot.get(data, position)
        if found is None:
            return None
        end, segment, query = found
        level = self._levels.get(query)
        if level is None:
            return None
        if b"%" in segment or len(segment) > self._limits.max_key_bytes:
            try:
                key = key_in_path(segment, self._limits)
            except Refusal:
                return None
        else:
            key = segment.decode("ascii")
        if level is not ReadLevel.NONE or not self._has_state:
            # Once it has, it keeps it.
            self._has_state = self._client_requests.has_state
            reply = self._reply_to_get(segment, query)
            pending = self._keys.get(reply, key, Consistency(level))
            return end, self._when_told(self._reads, reply, pending, began)
        record = self._record(key)
        if record is None:
            reply = self._reply_to_get(segment, query)
            body = self._keys.tell(reply, key, None)
            return end, self.told(self._reads, reply, body, began)
        index, value = index_and_value(record)
        body = pair_as_json(key, value)
        answer = _FOUND % (self._date, index, len(body), body)
        if len(data) + len(answer) <= MAX_KNOWN_BYTES:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[data[position:end]] = key, record, answer
        self._reads.note(200, self._seconds() - began)
        return end, answer

    def _reply_to_get(self, segment: bytes, query: bytes | None) -> _Reply:
        return _Reply(b"GET", b"/key/" + segment + (query or b""), self._date)

    def _post(
        self, data: bytes, position: int, began: float
    ) -> tuple[int, bytes | Waiting] | None:
        """
        Serve a write; as :meth:`_get`.
        """
        found = self._hot.post(data, position)
        if found is None or len(found[1]) > self._limits.max_body_bytes:
            return None
        end, sent = found
        reply = _Reply(b"POST", b"/key", self._date)
        try:
            pending = self._keys.set(reply, Set(pairs(sent, self._limits)))
        except Refusal as refusal:
            body = refuse(reply, refusal.code, refusal.sentence)
        except Exception:
            body = unexpected(reply, Failure())
        else:
            return end, self._when_told(self._writes, reply, pending, began)
        return end, self.told(self._writes, reply, body, began)

    def told(self, tally: Tally, reply: _Reply, body: bytes, began: float) -> bytes:
        """
        Count a request, and return all bytes of its answer.
        """
        tally.note(reply.code, self._seconds() - began)
        return reply.whole(body)

    def _when_told(
        self, tally: Tally, reply: _Reply, pending: Deferred[bytes], began: float
    ) -> bytes | Waiting:
        """
        Return the answer if it is there, or what waits for it.
        """
        waiting = Waiting(self, tally, reply, pending, began)
        return waiting if waiting.answer is None else waiting.answer

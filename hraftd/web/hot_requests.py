"""
The requests that the fast lane knows, found in bytes as they come in.

Two kinds: ``GET /key/<key>``, without a query or with ``?level=``, and ``POST /key``.
They are recognised by a pattern that lets through nothing but the plainest form, the
one that nearly every client sends: HTTP/1.1, only headers that change nothing, each of
them once, and everything there at once, body included. Whatever is any different is
not found, and so is what is wrong: for both there is twisted.web, which knows all of
HTTP. It is no error to find too little here. To find something that twisted.web would
take for another request would be one.

Nothing here knows what is done with a request, or how it is answered.
"""

from __future__ import annotations

import re

__all__ = ["MAX_BLOCKS", "MAX_BLOCK_BYTES", "HotRequests"]

#: A longer header, without its first line, is left to twisted.web.
MAX_BLOCK_BYTES = 1024

#: So many different headers are remembered.
MAX_BLOCKS = 512

#: No control characters, and nothing that is not ASCII. In the target no percent sign
#: that does not encode a byte, and no second question mark.
_GET = re.compile(
    rb"GET /key/((?:[!-$&->@-~]|%[0-9A-Fa-f]{2})+)(\?level=[a-z]+)? HTTP/1\.1\r\n"
)
_POST = b"POST /key HTTP/1.1\r\n"

#: One header, with the end of its line.
_HEADER = re.compile(rb"([A-Za-z-]+):[ \t]*([ -~]*?)[ \t]*\r\n")

#: By its name in lower case, what a header may say: all that matters to nobody here,
#: and the two that say where this request ends and whether another one may follow.
_HARMLESS = {
    **dict.fromkeys(
        (
            *(b"accept", b"accept-encoding", b"accept-language", b"content-type"),
            *(b"host", b"user-agent"),
        ),
        re.compile(rb".*"),
    ),
    b"connection": re.compile(rb"keep-alive", re.IGNORECASE),
    b"content-length": re.compile(rb"[0-9]{1,9}"),
}


def _body_length(block: bytes) -> int | None:
    """
    Return how long a body is; ``None`` for a header that is not harmless.

    :param block: all lines of the header but the first, and not the empty one.
    """
    length = 0
    seen: set[bytes] = set()
    position = 0
    while position < len(block):
        header = _HEADER.match(block, position)
        if header is None:
            return None
        name, value = header[1].lower(), header[2]
        allowed = _HARMLESS.get(name)
        if allowed is None or name in seen or not allowed.fullmatch(value):
            return None
        if name == b"content-length":
            length = int(value)
        seen.add(name)
        position = header.end()
    return length


class HotRequests:
    """
    Finds them.

    A client sends the same header over and over, but for its first line. So what was
    found out about one is remembered: to look it up costs a tenth of reading it.
    """

    def __init__(self) -> None:
        """
        Begin with no header known.
        """
        self._lengths: dict[bytes, int | None] = {}

    def get(self, data: bytes, position: int) -> tuple[int, bytes, bytes | None] | None:
        """
        Find a ``GET`` of a key.

        :return: where it ends, the key as it is encoded there, and the rest of the
            target; ``None`` if what begins at that position is anything else.
        """
        line = _GET.match(data, position)
        if line is None:
            return None
        found = self._header(data, line.end())
        if found is None or found[1]:
            return None
        return found[0], line[1], line[2]

    def post(self, data: bytes, position: int) -> tuple[int, bytes] | None:
        """
        Find a ``POST`` of keys.

        :return: where it ends, and its body; ``None`` as for :meth:`get`.
        """
        if not data.startswith(_POST, position):
            return None
        found = self._header(data, position + len(_POST))
        if found is None:
            return None
        start, length = found
        end = start + length
        if not length or end > len(data):
            return None
        return end, data[start:end]

    def _header(self, data: bytes, start: int) -> tuple[int, int] | None:
        """
        Return where a harmless header ends, and how long the body behind it is.

        :param start: of its second line.
        """
        # The line before ends with the first two bytes of that, if there is no other.
        last = data.find(b"\r\n\r\n", start - 2, start + MAX_BLOCK_BYTES)
        if last < 0:
            return None
        block = data[start : last + 2]
        try:
            length = self._lengths[block]
        except KeyError:
            length = _body_length(block)
            if len(self._lengths) >= MAX_BLOCKS:
                self._lengths.clear()
            self._lengths[block] = length
        return None if length is None else (last + 4, length)

"""
A bare twisted.web server with a constant answer, as long as one of hraftd's.

What anybody would get who put a resource in front of a value in memory.

Run with ``python -m benchmarks.systems.twisted_web_server PORT ANSWER``.
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

__all__ = ["main"]


class Constant(Resource):
    """
    The same answer to everything.
    """

    isLeaf = True

    def __init__(self, answer: bytes) -> None:
        """
        Answer this.
        """
        Resource.__init__(self)
        self._answer = answer

    def render_GET(self, request: Request) -> bytes:
        """
        Return it.
        """
        request.setHeader(b"Content-Type", b"application/json")
        return self._answer


def main() -> None:
    """
    Serve until the process is ended.
    """
    port, answer = sys.argv[1:]
    site = Site(Constant(answer.encode()))
    reactor.listenTCP(int(port), site, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()

"""
One process of a PySyncObj cluster, with a small HTTP API in front of it.

PySyncObj is a library without any interface to the outside, so this is what a user
would have to write: a dictionary that is replicated, and twisted.web. Its requests are
those of hraftd's API that the loads use.

Its journal is on. It is a file mapped into memory, to which entries are copied; nothing
of PySyncObj ever syncs it, so what was answered survives the process but not the
machine.

Run with ``python -m benchmarks.systems.pysyncobj_node HTTP_PORT PORT OTHER_PORT...``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from twisted.internet import reactor
from twisted.web.resource import NoResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

__all__ = ["Keys", "main"]


class Keys(SyncObj):
    """
    A dictionary on several machines.
    """

    def __init__(self, me: str, others: list[str]) -> None:
        """
        Begin empty, or with what the journal holds.
        """
        super().__init__(
            me,
            others,
            SyncObjConf(
                journalFile="journal",
                fullDumpFile="dump",
                # As its documentation says for short answer times: an entry is sent
                # at once. By default entries leave ten times a second, so that one
                # connection would make less than ten writes a second.
                appendEntriesUseBatch=False,
            ),
        )
        self.values: dict[str, str] = {}

    @replicated
    def set_all(self, pairs: dict[str, str]) -> None:
        """
        Set these keys.
        """
        self.values.update(pairs)

    @replicated
    def get(self, key: str) -> str | None:
        """
        Return a key, at a place in the log: a read that misses nothing.
        """
        return self.values.get(key)


class Front(Resource):
    """
    ``POST /key``, ``GET /key/KEY`` and ``GET /status``.
    """

    isLeaf = True

    def __init__(self, keys: Keys) -> None:
        """
        Stand before these keys.
        """
        Resource.__init__(self)
        self._keys = keys

    def render_POST(self, request: Request) -> int:
        """
        Write, and answer when that is committed.
        """
        pairs = json.load(request.content)
        self._keys.set_all(pairs, callback=self._later(request, lambda _: {}))
        return NOT_DONE_YET

    def render_GET(self, request: Request) -> bytes | int:
        """
        Read, from this process or through the log, or tell who leads.
        """
        if request.path == b"/status":
            status = self._keys.getStatus()
            leader = status["leader"] and str(status["leader"])
            return _as_json(
                request,
                {
                    "leader": leader,
                    "term": status["raft_term"],
                    "ready": self._keys.isReady(),
                    "connected": sum(
                        self._keys.isNodeConnected(node)
                        for node in self._keys.otherNodes
                    ),
                },
            )
        key = request.path.rpartition(b"/")[2].decode()
        if b"level" in request.args:
            self._keys.get(key, callback=self._later(request, lambda got: {key: got}))
            return NOT_DONE_YET
        if key not in self._keys.values:
            return NoResource().render(request)
        return _as_json(request, {key: self._keys.values[key]})

    @staticmethod
    def _later(request: Request, content: Any) -> Any:
        def answer(result: object, error: int) -> None:
            if error != FAIL_REASON.SUCCESS:
                request.setResponseCode(503)
            request.write(_as_json(request, content(result)))
            request.finish()

        def done(result: object, error: int) -> None:
            # In PySyncObj's thread.
            reactor.callFromThread(answer, result, error)

        return done


def _as_json(request: Request, content: object) -> bytes:
    body = json.dumps(content).encode()
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def main() -> None:
    """
    Run one node until the process is ended.
    """
    http, me, *others = sys.argv[1:]
    addresses = [f"127.0.0.1:{port}" for port in others]
    keys = Keys(f"127.0.0.1:{me}", addresses)
    reactor.listenTCP(int(http), Site(Front(keys)), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()

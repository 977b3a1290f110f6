"""
The cluster over HTTP: how it is, and how a node becomes part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from hraftd.addresses import is_wildcard, parse_address
from hraftd.client_requests import (
    Conflict,
    Joined,
    Misdirected,
    Redirected,
    Unavailable,
    Unknown,
)
from hraftd.raft.configuration import Server, check_server_id
from hraftd.web.answers import Refusal, answer, new_app, not_done, refuse
from hraftd.web.asked import json_object, on_follower, query

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hraftd.client_requests import ClientRequests, JoinOutcome
    from hraftd.server import MemberStatus, RaftServer
    from hraftd.web.channel import Request

__all__ = ["ClusterAPI"]


class ClusterAPI:
    """
    ``/status`` and ``/join``, and the answer to every path that is not there.
    """

    app = new_app()

    def __init__(self, client_requests: ClientRequests, server: RaftServer) -> None:
        """
        Tell of this server, and let others join its cluster.
        """
        self._client_requests = client_requests
        self._server = server

    @app.route("/status", methods=["GET"])
    def status(self, request: Request) -> bytes:
        """
        Answer with what this node knows at this moment, from its own point of view.
        """
        query(request)
        status = self._server.status()
        me = status.configuration.get(status.server_id)
        leader = status.leader
        followers = [
            _address(server)
            for server in status.configuration.servers
            if leader is None or server.id != leader.id
        ]
        content = {
            "me": {"id": status.server_id, "address": me and me.raft},
            "leader": leader and _address(leader),
            "followers": followers,
            "cluster": status.cluster_id,
            "role": status.role,
            "term": status.term,
            "commit_index": status.commit_index,
            "last_applied": status.last_applied,
            "last_log_index": status.last_log_index,
            "last_contact_ms": _milliseconds(status.last_contact),
            "members": [_member(member) for member in status.members],
            "keys": self._client_requests.count_keys(),
        }
        return answer(request, 200, content)

    @app.route("/join", methods=["POST"])
    def join(self, request: Request) -> Deferred[bytes]:
        """
        Make the server that the body names a member; answer once it has a vote.
        """
        redirect = on_follower(request)
        newcomer = _newcomer(request.content.read())

        def told(outcome: JoinOutcome) -> bytes:
            match outcome:
                case Joined(index):
                    return answer(request, 200, {"index": index, "id": newcomer.id})
                case Conflict(reason):
                    return refuse(request, 409, reason)
                case Misdirected() | Redirected() | Unavailable() | Unknown():
                    return not_done(request, outcome)
                case _:
                    assert_never(outcome)

        return self._client_requests.join(newcomer, redirect).addCallback(told)


def _address(server: Server) -> dict[str, str]:
    return {"id": server.id, "address": server.raft}


def _member(member: MemberStatus) -> dict[str, object]:
    return {
        "id": member.server.id,
        "raft": member.server.raft,
        "http": member.server.http,
        "suffrage": member.server.suffrage.value,
        "match_index": member.match_index,
        "last_contact_ms": _milliseconds(member.last_contact),
    }


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _newcomer(body: bytes) -> Server:
    """
    Return the server that asks to be a member.

    :raises Refusal: if the body does not say so, or says anything else as well.
    """
    members = json_object(body)
    for name in members:
        if name not in ("id", "addr", "http"):
            raise Refusal(400, f"a join has id, addr and http, but no {name[:60]!r}")
    for name in ("id", "addr"):
        if not members.get(name):
            raise Refusal(400, f"a join needs {name!r}")
    try:
        check_server_id(members["id"])
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    return Server(
        members["id"],
        _dialled("addr", members["addr"]),
        _dialled("http", members["http"]) if members.get("http") else "",
    )


def _dialled(name: str, address: str) -> str:
    """
    Return an address as it is to be dialled by others.

    :raises Refusal: if it cannot be.
    """
    try:
        dialled = str(parse_address(address))
        if is_wildcard(dialled):
            raise ValueError(f"nobody can dial {dialled!r}")
    except ValueError as error:
        raise Refusal(400, f"{name}: {error}") from None
    return dialled

"""
The cluster over HTTP: how it is, who belongs to it, and who leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hraftd.outcomes import Joined, Removed, Taken, Transferred, Unavailable
from hraftd.web.answers import answer, named, new_app, not_done
from hraftd.web.asked import id_in_path, on_follower, query
from hraftd.web.bodies import newcomer, nothing, successor
from hraftd.web.headers import no_preconditions

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hraftd.client_requests import ClientRequests
    from hraftd.outcomes import (
        JoinOutcome,
        RemovalOutcome,
        SnapshotOutcome,
        TransferOutcome,
    )
    from hraftd.raft.configuration import Server
    from hraftd.server import RaftServer
    from hraftd.status import MemberStatus
    from hraftd.web.channel import Request

__all__ = ["ClusterAPI"]


class ClusterAPI:
    """
    All that is not about keys, and the answer to every path that is not there.
    """

    app = new_app()

    def __init__(self, client_requests: ClientRequests, server: RaftServer) -> None:
        """
        Tell of this server, and change its cluster.
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
            "first_log_index": status.first_log_index,
            "last_log_index": status.last_log_index,
            "snapshot_index": status.snapshot_index,
            "snapshot_bytes": status.snapshot_bytes,
            "last_contact_ms": _milliseconds(status.last_contact),
            "members": [_member(member) for member in status.members],
            "keys": self._client_requests.count_keys(),
            "tokens": self._client_requests.count_tokens(),
        }
        return answer(request, 200, content)

    @app.route("/nodes", methods=["GET"])
    def nodes(self, request: Request) -> bytes:
        """
        Answer with the members of the cluster, as this node sees them.

        Which entries the others have, and when they answered last, only the leader
        knows; elsewhere that is null. A member is reachable if this node has an open
        link to it, and itself always is.
        """
        query(request)
        status = self._server.status()
        content = {
            "nodes": [
                {
                    "id": member.server.id,
                    "role": member.role,
                    **_member(member),
                    "reachable": member.linked is not False,
                }
                for member in status.members
            ],
            "leader": status.leader and status.leader.id,
            "me": status.server_id,
        }
        return answer(request, 200, content)

    @app.route("/nodes/<segment>", methods=["DELETE"])
    def remove(self, request: Request, segment: str) -> Deferred[bytes]:
        """
        Remove a node from the cluster; answer once that is committed.
        """
        no_preconditions(request)
        wanted = on_follower(request)
        server_id = id_in_path(segment)

        def told(outcome: RemovalOutcome) -> bytes:
            if isinstance(outcome, Removed):
                content = {"index": outcome.index, "id": server_id}
                return answer(request, 200, content)
            return not_done(request, outcome)

        return self._client_requests.remove(server_id, wanted).addCallback(told)

    @app.route("/join", methods=["POST"])
    def join(self, request: Request) -> Deferred[bytes]:
        """
        Make the server that the body names a member; answer once it has a vote.

        If it is to have none, then answer once it is a member.
        """
        no_preconditions(request)
        wanted = on_follower(request)
        server = newcomer(request.content.read())

        def told(outcome: JoinOutcome) -> bytes:
            if isinstance(outcome, Joined):
                content = {"index": outcome.index, "id": server.id}
                return answer(request, 200, content)
            return not_done(request, outcome)

        return self._client_requests.join(server, wanted).addCallback(told)

    @app.route("/leader", methods=["GET"])
    def leader(self, request: Request) -> bytes:
        """
        Answer with the leader that this node knows.
        """
        query(request)
        status = self._server.status()
        if status.leader is None:
            return not_done(request, Unavailable("this node knows no leader now"))
        content = {"leader": named(status.leader), "term": status.term}
        return answer(request, 200, content)

    @app.route("/leader", methods=["POST"])
    def transfer(self, request: Request) -> Deferred[bytes]:
        """
        Hand the leadership over to the node that the body names, or to the best one.
        """
        no_preconditions(request)
        wanted = on_follower(request)
        server_id = successor(request.content.read())

        def told(outcome: TransferOutcome) -> bytes:
            if isinstance(outcome, Transferred):
                leader = outcome.leader and named(outcome.leader)
                return answer(request, 200, {"leader": leader, "term": outcome.term})
            return not_done(request, outcome)

        return self._client_requests.transfer(server_id, wanted).addCallback(told)

    @app.route("/snapshot", methods=["POST"])
    def snapshot(self, request: Request) -> Deferred[bytes]:
        """
        Have this node take a snapshot of its own; answer once it is on disk.
        """
        no_preconditions(request)
        query(request)
        nothing(request.content.read())

        def told(outcome: SnapshotOutcome) -> bytes:
            if isinstance(outcome, Taken):
                content = {
                    "index": outcome.index,
                    "term": outcome.term,
                    "bytes": outcome.size,
                }
                return answer(request, 200, content)
            return not_done(request, outcome)

        return self._client_requests.take_snapshot().addCallback(told)


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

"""
What is done with each Command of a peer that has introduced itself.

Raft's RPCs go to :meth:`hraftd.server.RaftServer.handle`, which is the "Receiver
implementation" of the paper's boxes; what a peer asks for its clients goes to
:meth:`hraftd.server.RaftServer.serve`. Nothing here knows what is in either.

How the Commands get here, and what becomes of a peer that breaks the rules, is told in
:mod:`hraftd.peers.inbound`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.protocols.amp import CommandLocator

from hraftd import leader_requests
from hraftd.peers.client_commands import (
    DECLINED,
    AddServer,
    ClientRequest,
    ReadIndex,
    RemoveServer,
    TransferLeadership,
    outcome_of,
    written_declined,
)
from hraftd.peers.commands import (
    AppendEntries,
    InstallSnapshot,
    RequestVote,
    TimeoutNow,
    read_append_entries,
    read_install_snapshot,
    read_request_vote,
    read_timeout_now,
    results_of,
)
from hraftd.raft.configuration import Server
from hraftd.raft.errors import ProtocolViolation

if TYPE_CHECKING:
    from hraftd.leader_requests import Assurance, LeaderRequest
    from hraftd.raft.messages import Request
    from hraftd.server import RaftServer

__all__ = ["Responders"]


class Responders(CommandLocator):
    """
    The responders to the Commands of one peer.

    :ivar sender: its id, once its Hello is accepted.
    """

    sender: str | None = None

    def __init__(self, raft_server: RaftServer) -> None:
        """
        Pass requests on to a server.
        """
        self._raft_server = raft_server

    # Raft.

    @RequestVote.responder
    async def request_vote(self, **arguments: Any) -> dict[str, Any]:
        """
        Figure 2, "RequestVote RPC".
        """
        request = read_request_vote(**arguments)
        return await self._handle(request.candidate_id, request)

    @AppendEntries.responder
    async def append_entries(self, **arguments: Any) -> dict[str, Any]:
        """
        Figure 2, "AppendEntries RPC".
        """
        request = read_append_entries(**arguments)
        return await self._handle(request.leader_id, request)

    @InstallSnapshot.responder
    async def install_snapshot(self, **arguments: Any) -> dict[str, Any]:
        """
        Figure 13, "InstallSnapshot RPC".
        """
        request = read_install_snapshot(**arguments)
        return await self._handle(request.leader_id, request)

    @TimeoutNow.responder
    async def timeout_now(self, **arguments: Any) -> dict[str, Any]:
        """
        Dissertation 3.10, "TimeoutNow request".
        """
        request = read_timeout_now(**arguments)
        return await self._handle(request.leader_id, request)

    async def _handle(self, speaker: str, request: Request) -> dict[str, Any]:
        if speaker != self._introduced():
            raise ProtocolViolation(
                f"{self.sender} said Hello, and this is from {speaker}"
            )
        return results_of(await self._raft_server.handle(request))

    def _introduced(self) -> str:
        if self.sender is None:
            raise ProtocolViolation("its Hello was not accepted yet")
        return self.sender

    # What a peer asks for its clients.

    @ClientRequest.responder
    async def client_request(self, command: bytes) -> dict[str, Any]:
        """
        Dissertation figure 6.1, "ClientRequest RPC".
        """
        return await self._serve(leader_requests.ClientRequest(command))

    @ReadIndex.responder
    async def read_index(self, assurance: Assurance) -> dict[str, Any]:
        """
        Dissertation 6.4.
        """
        return await self._serve(leader_requests.ReadIndex(assurance))

    @AddServer.responder
    async def add_server(self, **server: Any) -> dict[str, Any]:
        """
        Dissertation figure 4.1, "AddServer RPC".
        """
        return await self._serve(leader_requests.AddServer(Server(**server)))

    @RemoveServer.responder
    async def remove_server(self, server_id: str) -> dict[str, Any]:
        """
        Dissertation figure 4.1, "RemoveServer RPC".
        """
        return await self._serve(leader_requests.RemoveServer(server_id))

    @TransferLeadership.responder
    async def transfer_leadership(self, server_id: str) -> dict[str, Any]:
        """
        Dissertation 3.10.
        """
        request = leader_requests.TransferLeadership(server_id)
        return await self._serve(request, name="term")

    async def _serve(
        self, request: LeaderRequest, *, name: str = "index"
    ) -> dict[str, Any]:
        self._introduced()
        try:
            return outcome_of(await self._raft_server.serve(request), name=name)
        except DECLINED as error:
            raise written_declined(error) from error

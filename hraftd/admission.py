"""
Which cluster a server belongs to, and whom it therefore listens to.

A server with a log belongs to the cluster that the log is of, for ever. One without
takes the cluster that it expects to join, as soon as a peer of that cluster calls, and
has that on disk before it says so.
"""

from __future__ import annotations

from hraftd.errors import WrongCluster

__all__ = ["TO_JOIN", "Admission"]

#: What is on disk instead of a cluster id while a server has still to join a cluster.
TO_JOIN = ""


class Admission:
    """
    The cluster of one server.

    :ivar cluster_id: the cluster it belongs to; ``None`` before it has joined one.
    :ivar unsaved: the same, while it is not on disk.
    :ivar is_to_join: whether it was told to join one, and has not found it yet.
    :ivar expected: the cluster that it may join.
    """

    def __init__(self, server_id: str, cluster_id: str | None) -> None:
        """
        Begin with the cluster that is on disk.
        """
        self._server_id = server_id
        self.cluster_id = cluster_id or None
        self.is_to_join = cluster_id == TO_JOIN
        self.unsaved: str | None = None
        self.expected: str | None = None

    def be_to_join(self) -> None:
        """
        Remember that this server is to join a cluster, unless it has one.
        """
        if self.cluster_id is None and not self.is_to_join:
            self.is_to_join = True
            self.unsaved = TO_JOIN

    def belong_to(self, cluster_id: str) -> None:
        """
        Take a cluster, which is still to be saved.
        """
        self.is_to_join = False
        self.cluster_id = self.unsaved = cluster_id

    def take_unsaved(self) -> str | None:
        """
        Return what is to be saved now, if anything is.
        """
        unsaved, self.unsaved = self.unsaved, None
        return unsaved

    def is_known(self, cluster_id: str) -> bool:
        """
        Whether that is the cluster of this server, on disk or about to be.
        """
        return cluster_id == self.cluster_id and self.unsaved is None

    def join(self, cluster_id: str, *, has_log: bool) -> None:
        """
        Take the cluster of a peer that calls.

        :raises WrongCluster: if it is not the one that this server belongs to or, as
            long as it has no log, expects.
        """
        if has_log or cluster_id not in (self.expected, self.cluster_id):
            raise WrongCluster(
                f"{self._server_id} belongs to cluster {self.cluster_id}, not to "
                f"{cluster_id}"
                if self.cluster_id
                else f"{self._server_id} belongs to no cluster and does not expect "
                f"to join {cluster_id}"
            )
        self.belong_to(cluster_id)

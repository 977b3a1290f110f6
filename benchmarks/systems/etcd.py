"""
etcd, asked through the HTTP gateway that every member has.

It syncs its log before it answers a write, as hraftd does. It keeps former revisions
of keys too, which hraftd does not; nothing compacts them within a turn. All options are
at their defaults but the room for its database, which a load of large values would
fill, and how much it logs.
"""

from __future__ import annotations

import re
import shutil
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from attrs import define

from benchmarks.asking import ask
from benchmarks.processes import free_port, run
from benchmarks.requests import KEY, Kind, Request
from benchmarks.systems.cluster import Cluster, Node, System

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Etcd"]

_QUOTA = 16 << 30


@define(eq=False)
class EtcdCluster(Cluster):
    """
    Members that know each other from the beginning.
    """

    def start(self, size: int) -> None:
        """
        Start all at once.
        """
        peers = {
            f"etcd{number}": f"http://127.0.0.1:{free_port()}" for number in range(size)
        }
        members = ",".join(f"{name}={url}" for name, url in peers.items())
        for name, peer in peers.items():
            http = free_port()
            client = f"http://127.0.0.1:{http}"
            self.add(
                name,
                http,
                *("etcd", "--name", name, "--data-dir", "data"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", members, "--initial-cluster-state", "new"),
                *("--quota-backend-bytes", str(_QUOTA), "--log-level", "error"),
            ).child.start()
        self.until_led()

    def _statuses(self) -> list[tuple[Node, dict[str, Any]]]:
        return [
            (node, ask(node.http, "POST", "/v3/maintenance/status", {}))
            for node in self.nodes
            if node.child.is_running
        ]

    def leader(self) -> Node | None:
        """
        Return who leads, if all others know it.
        """
        statuses = self._statuses()
        named = {status.get("leader") for _, status in statuses}
        for node, status in statuses:
            if named == {status["header"]["member_id"]}:
                return node
        return None

    def term(self) -> int:
        """
        Return the highest that any of them knows.
        """
        return max(int(status["raftTerm"]) for _, status in self._statuses())


@define(eq=False)
class Etcd(System):
    """
    The store that most would take.
    """

    name: str = "etcd"

    def why_missing(self) -> str | None:
        """
        Return how to install it, if that is to be done.
        """
        if shutil.which("etcd") is None:
            return "install etcd (Debian: apt-get install etcd-server)"
        return None

    def version(self) -> str:
        """
        Ask it.
        """
        text = run("etcd", "--version")
        found = re.search(r"etcd Version: (\S+)", text)
        go = re.search(r"Go Version: go(\S+)", text)
        return f"{found and found[1]} (Go {go and go[1]})"

    def cluster(self, folder: Path, prefix: Sequence[str] = ()) -> EtcdCluster:
        """
        Return a cluster that is still to be started.
        """
        return EtcdCluster(folder, prefix)

    def request(self, kind: Kind, value: str) -> Request:
        """
        Write with ``put``, read with ``range``; reads are linearizable unless asked.
        """
        match kind:
            case Kind.WRITE:
                item = f'{{"key": "{KEY}", "value": "{_encoded(value)}"}}'
                return Request("POST", "/v3/kv/put", "", item, "", True)
            case Kind.LOCAL_READ:
                item = f'{{"key": "{KEY}", "serializable": true}}'
                return Request("POST", "/v3/kv/range", "", item, "", True)
            case Kind.LINEARIZABLE_READ:
                item = f'{{"key": "{KEY}"}}'
                return Request("POST", "/v3/kv/range", "", item, "", True)

    def body_of_many(self, value: str) -> Request:
        """
        Return a transaction that only writes; it takes 128 operations at most.
        """
        put = f'{{"key": "{KEY}", "value": "{_encoded(value)}"}}'
        item = f'{{"request_put": {put}}}'
        return Request("POST", "/v3/kv/txn", '{"success": [', item, "]}", True)


def _encoded(value: str) -> str:
    return b64encode(value.encode()).decode()

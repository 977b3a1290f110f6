"""
A client of hraftd's HTTP API, in Python, on treq.

``from hraftd.client import Client`` is all that a program needs; ``docs/client.rst``
tells how to use it, ``docs/recipes.rst`` what for. It runs on Twisted's reactor and
knows nothing of the server: neither Raft nor the store, only HTTP.

:mod:`~hraftd.client.client` has what a program calls, with
:mod:`~hraftd.client.keys` and :mod:`~hraftd.client.cluster`. Below them,
:mod:`~hraftd.client.attempts` brings one request to an end, through as many nodes as
that takes; :mod:`~hraftd.client.endpoints` knows which nodes there are;
:mod:`~hraftd.client.connections` makes one attempt. On top of it,
:mod:`~hraftd.client.watching` follows changes, and :mod:`~hraftd.client.locks` and
:mod:`~hraftd.client.elections` coordinate programs.
"""

from hraftd.client.answers import Deleted, Found, Item, Leader, Page, Taken
from hraftd.client.changes import Event
from hraftd.client.client import Client
from hraftd.client.copies import Restored
from hraftd.client.elections import Elected, Election
from hraftd.client.errors import (
    Closed,
    Compacted,
    Failed,
    HraftdError,
    LockLost,
    NotAcquired,
    NotMet,
    Refused,
    Unavailable,
    Unknown,
)
from hraftd.client.locks import Lock
from hraftd.client.transactions import (
    Absent,
    ChangedAt,
    Delete,
    Exists,
    Get,
    HasValue,
    Ran,
    Set,
)

__all__ = [
    "Absent",
    "ChangedAt",
    "Client",
    "Closed",
    "Compacted",
    "Delete",
    "Deleted",
    "Elected",
    "Election",
    "Event",
    "Exists",
    "Failed",
    "Found",
    "Get",
    "HasValue",
    "HraftdError",
    "Item",
    "Leader",
    "Lock",
    "LockLost",
    "NotAcquired",
    "NotMet",
    "Page",
    "Ran",
    "Refused",
    "Restored",
    "Set",
    "Taken",
    "Unavailable",
    "Unknown",
]

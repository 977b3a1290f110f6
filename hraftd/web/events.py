"""
The form of what watchers are sent: ``text/event-stream``, as the HTML standard has it.

An event is some lines, ``event:``, ``id:`` and ``data:``, and an empty one. The id is
the place from which a client goes on after its connection was lost, so only the last
event of an entry has one: what one entry has changed is told again as a whole.
Without data it is no event, but still a place to go on from.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hraftd.kv.records import versioned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hraftd.kv.history import Change

__all__ = ["COMPACTED", "CONTENT_TYPE", "event_of", "farewell", "place"]

CONTENT_TYPE = b"text/event-stream"

#: Why there is nothing to go on from.
COMPACTED = "what has changed behind that index is not known here any more; list anew"

_encode = json.JSONEncoder(ensure_ascii=False).encode


def event_of(change: Change, *, is_last: bool) -> bytes:
    """
    Tell a change.

    :param is_last: whether nothing else of its entry comes behind.
    """
    index, key, record, is_expiry = change
    if record is not None:
        kind, value = "set", versioned(record).value
    else:
        kind, value = "expire" if is_expiry else "delete", None
    data = {"key": key, "value": value, "index": index}
    return _lines(kind, f"id: {index}\n" if is_last else "", data)


def farewell(first: int) -> bytes:
    """
    Tell a watcher that he misses something and has to begin anew.

    :param first: the first index from which on nothing would be missed.
    """
    return _lines("compacted", "", {"error": COMPACTED, "first": first})


def place(index: int) -> bytes:
    """
    Tell that nothing up to this index is still to come.
    """
    return b"id: %d\n\n" % index


def _lines(kind: str, id_line: str, data: Mapping[str, object]) -> bytes:
    # JSON has no line break in it.
    return f"event: {kind}\n{id_line}data: {_encode(data)}\n\n".encode()

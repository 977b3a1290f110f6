"""
The JSON objects of the API, as :mod:`hraftd.web.openapi` describes them.

What clients send is closed: an unknown member is refused, and the description says so.
What is answered is open to new members in later versions.
"""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["SCHEMAS", "Json", "ref"]

Json: TypeAlias = "dict[str, Any]"


def ref(name: str, kind: str = "schemas") -> Json:
    """
    Point to a component.
    """
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: Json, *optional: str, **more: Any) -> Json:
    """
    Describe an object all of whose members are there, but for the optional ones.
    """
    required = [name for name in properties if name not in optional]
    described: Json = {"type": "object", "properties": properties, **more}
    if required:
        described["required"] = required
    return described


def _sent(properties: Json, *optional: str, **more: Any) -> Json:
    """
    Describe an object that clients send: with other members it is refused.
    """
    return _object(properties, *optional, additionalProperties=False, **more)


def _list_of(items: Json) -> Json:
    return {"type": "array", "items": items}


def _nullable(*kinds: str) -> Json:
    return {"type": [*kinds, "null"]}


_STRING: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_INDEX: Json = {
    "type": "integer",
    "minimum": 0,
    "maximum": 2**63 - 1,
    "description": "The place of an entry in the log.",
}
_KEY: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": 1024,
    "description": "1 to 1,024 bytes of UTF-8, unless the node was told otherwise.",
}
_VALUE: Json = {
    "type": "string",
    "maxLength": 1 << 20,
    "description": "Up to 1 MiB of UTF-8, unless the node was told otherwise.",
}
_TTL: Json = {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": 10 * 365 * 24 * 60 * 60,
    "description": "Seconds after which the key is removed.",
}
_NODE_ID: Json = {"type": "string", "pattern": r"^[\w.:\[\]-]{1,128}$"}
_ADDRESS: Json = {"type": "string", "description": "host:port"}
_SUFFRAGE: Json = {"enum": ["voter", "learner", "nonvoter"]}
_FOUND: Json = {"value": _nullable("string"), "index": _nullable("integer")}
_MEMBER: Json = {
    "id": _STRING,
    "raft": _ADDRESS,
    "http": _ADDRESS,
    "suffrage": _SUFFRAGE,
    "match_index": _nullable("integer"),
    "last_contact_ms": _nullable("integer"),
}
_PLACE: Json = _object({"id": _STRING, "address": _nullable("string")})
_LEADER: Json = _object({"id": _STRING, "http": _ADDRESS, "raft": _ADDRESS})

#: By name.
SCHEMAS: Json = {
    "Error": _object({"error": {**_STRING, "description": "A sentence."}}),
    "Key": _KEY,
    "NodeId": _NODE_ID,
    "Leader": _LEADER,
    "NotLeader": _object({"error": _STRING, "leader": ref("Leader")}),
    "Doubtful": _object({"error": _STRING, "outcome": {"const": "unknown"}}),
    "NotMet": _object({"error": _STRING, **_FOUND}),
    "Compacted": _object({"error": _STRING, "first": _INDEX}),
    "Written": _object({"index": _INDEX}),
    "Deleted": _object({"index": _INDEX, "deleted": _FLAG}),
    "Value": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": _STRING,
        "description": "The key, and what it holds.",
    },
    "Pairs": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 100_000,
        "propertyNames": _KEY,
        "additionalProperties": _VALUE,
        "description": "Keys, and what they are to hold.",
    },
    "Page": _object(
        {
            "index": _INDEX,
            "keys": _list_of(
                _object({"key": _STRING, "value": _STRING, "index": _INDEX})
            ),
            "more": _FLAG,
        }
    ),
    "Condition": {
        "oneOf": [
            _sent({"key": _KEY, "exists": _FLAG}),
            _sent({"key": _KEY, "value": _VALUE}),
            _sent({"key": _KEY, "index": _INDEX}),
        ]
    },
    "Operation": {
        "oneOf": [
            _sent({"set": _KEY, "value": _VALUE, "ttl": _TTL}, "ttl"),
            _sent({"delete": _KEY}),
            _sent({"get": _KEY}),
        ]
    },
    "Transaction": _sent(
        {
            "if": _list_of(ref("Condition")),
            "then": _list_of(ref("Operation")),
            "else": _list_of(ref("Operation")),
        },
        *("if", "else"),
        description=(
            "No key may be set or deleted twice in one list; conditions and operations "
            "are no more than 100,000 together."
        ),
    ),
    "Ran": _object(
        {
            "index": _INDEX,
            "ran": {"enum": ["then", "else"]},
            "results": _list_of(
                {
                    "oneOf": [
                        _object({"set": _STRING, "index": _INDEX}),
                        _object({"delete": _STRING, "deleted": _FLAG}),
                        _object({"get": _STRING, **_FOUND}),
                    ]
                }
            ),
        }
    ),
    "Status": _object(
        {
            "me": _PLACE,
            "leader": {"oneOf": [_PLACE, {"type": "null"}]},
            "followers": _list_of(_PLACE),
            "cluster": _nullable("string"),
            "role": {
                "enum": [
                    *("leader", "follower", "pre-candidate", "candidate"),
                    *("learner", "nonvoter", "removed"),
                ]
            },
            "term": _COUNT,
            "commit_index": _INDEX,
            "last_applied": _INDEX,
            "first_log_index": _INDEX,
            "last_log_index": _INDEX,
            "snapshot_index": _INDEX,
            "snapshot_bytes": _COUNT,
            "last_contact_ms": _nullable("integer"),
            "members": _list_of(_object(_MEMBER)),
            "keys": _COUNT,
            "tokens": _COUNT,
        }
    ),
    "Nodes": _object(
        {
            "nodes": _list_of(
                _object(
                    {
                        **_MEMBER,
                        "role": {"enum": ["leader", "follower", "learner", "nonvoter"]},
                        "reachable": _FLAG,
                    }
                )
            ),
            "leader": _nullable("string"),
            "me": _STRING,
        }
    ),
    "Join": _sent(
        {"id": _NODE_ID, "addr": _ADDRESS, "http": _ADDRESS, "voter": _FLAG},
        *("http", "voter"),
    ),
    "Changed": _object({"index": _INDEX, "id": _STRING}),
    "Successor": _sent({"id": _NODE_ID}, "id"),
    "Led": _object({"leader": {"oneOf": [_LEADER, {"type": "null"}]}, "term": _COUNT}),
    "Snapshot": _object({"index": _INDEX, "term": _COUNT, "bytes": _COUNT}),
    "Restored": _object({"index": _INDEX, "keys": _COUNT}),
    "Nothing": _sent({}),
    "Alive": _object({"alive": {"const": True}}),
    "Ready": _object({"ready": {"const": True}}),
}

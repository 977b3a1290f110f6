"""
The whole HTTP API in a form for programs: an OpenAPI 3.1 document.

Written by hand, beside the code that it describes: it says what clients may rely on,
which is less than what the code does. A test sees to it that each route of
:mod:`hraftd.web` is in it and nothing else, and another one asks a running node what
the document says that one may ask, and compares the answers.

``docs/http-api.rst`` is for people, and says more. The JSON objects are in
:mod:`hraftd.web.openapi_schemas`, what many routes share is in
:mod:`hraftd.web.openapi_parts`.
"""

from __future__ import annotations

import json

from hraftd.web.asked import MAX_PAGE_KEYS
from hraftd.web.openapi_parts import (
    BYTES,
    CHANGE,
    ELSEWHERE,
    ETAG,
    FRESH,
    IF,
    PARAMETERS,
    PLACE_IN_LOG,
    RESPONSES,
    TOKEN,
    TTL,
    WRITE,
    in_header,
    in_path,
    in_query,
    json_body,
    raw,
    response,
    responses,
)
from hraftd.web.openapi_schemas import SCHEMAS, Json, ref

__all__ = ["DESCRIPTION", "description_as_json"]

_KEYS: Json = {
    "/key": {
        "get": {
            "operationId": "listKeys",
            "summary": "List keys in their order",
            "parameters": [
                in_query("prefix", "What they begin with.", {"type": "string"}),
                in_query("after", "The key that they come behind.", {"type": "string"}),
                in_query(
                    "limit",
                    "How many there may be; 100 if it is left out.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_KEYS},
                ),
                *FRESH,
            ],
            "responses": responses(response("A page.", ref("Page")), "503"),
        },
        "post": {
            "operationId": "setKeys",
            "summary": "Set keys, all or none",
            "parameters": [TTL, TOKEN, *ELSEWHERE],
            "requestBody": json_body("Pairs"),
            "responses": responses(response("Done.", ref("Written")), *WRITE),
        },
    },
    "/key/{key}": {
        "parameters": [
            in_path("key", "Percent-encoded; slashes may stay as they are.")
        ],
        "get": {
            "operationId": "getKey",
            "summary": "What a key holds",
            "parameters": [*FRESH, *IF],
            "responses": {
                **responses(
                    response("It is there.", ref("Value"), ETAG),
                    *("404", "412", "503"),
                ),
                "304": {"description": "It is of that version.", "headers": ETAG},
            },
        },
        "put": {
            "operationId": "setKey",
            "summary": "Set one key to the body as it is",
            "parameters": [TTL, TOKEN, *IF, *ELSEWHERE],
            "requestBody": {
                "description": "Any UTF-8; what Content-Type says does not matter.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            "responses": responses(
                response("Done.", ref("Written"), ETAG), "412", *WRITE
            ),
        },
        "delete": {
            "operationId": "deleteKey",
            "summary": "Remove a key",
            "parameters": [TOKEN, *IF, *ELSEWHERE],
            "responses": responses(response("Done.", ref("Deleted")), "412", *WRITE),
        },
    },
    "/txn": {
        "post": {
            "operationId": "transact",
            "summary": "A transaction: conditions, and what to do in either case",
            "parameters": [TOKEN, *ELSEWHERE],
            "requestBody": json_body("Transaction"),
            "responses": responses(response("Done.", ref("Ran")), *WRITE),
        },
    },
    "/watch": {
        "get": {
            "operationId": "watch",
            "summary": "What changes, as it changes",
            "description": (
                "Server-sent events: ``set``, ``delete``, ``expire`` and at last "
                "``compacted``, each with JSON in its data. It has no end."
            ),
            "parameters": [
                in_query("prefix", "What the keys begin with.", {"type": "string"}),
                in_query("after", "What came behind that index.", PLACE_IN_LOG),
                in_header(
                    "Last-Event-ID", "The same; it goes before after.", PLACE_IN_LOG
                ),
            ],
            "responses": {
                **responses(raw("text/event-stream", "Events."), "503"),
                "410": response("That is not known any more.", ref("Compacted")),
            },
        },
    },
}

_CLUSTER: Json = {
    "/status": {
        "get": {
            "operationId": "status",
            "summary": "What this node knows of itself and its cluster",
            "responses": responses(response("That.", ref("Status"))),
        },
    },
    "/nodes": {
        "get": {
            "operationId": "nodes",
            "summary": "The members, as this node sees them",
            "responses": responses(response("They.", ref("Nodes"))),
        },
    },
    "/nodes/{id}": {
        "parameters": [in_path("id", "The name of a member.")],
        "delete": {
            "operationId": "removeNode",
            "summary": "Remove a member",
            "parameters": ELSEWHERE,
            "responses": responses(
                response("Done.", ref("Changed")), "404", "409", *CHANGE
            ),
        },
    },
    "/join": {
        "post": {
            "operationId": "join",
            "summary": "Make a server a member, move one, give it a vote or none",
            "parameters": ELSEWHERE,
            "requestBody": json_body("Join"),
            "responses": responses(
                response("Done.", ref("Changed")), "409", "413", *CHANGE
            ),
        },
    },
    "/leader": {
        "get": {
            "operationId": "leader",
            "summary": "Who leads",
            "responses": responses(response("That one.", ref("Led")), "503"),
        },
        "post": {
            "operationId": "transferLeadership",
            "summary": "Hand leadership over",
            "parameters": ELSEWHERE,
            "requestBody": json_body("Successor", required=False),
            "responses": responses(
                response("Done.", ref("Led")), "404", "409", "413", *CHANGE
            ),
        },
    },
}

_OPERATIONS: Json = {
    "/snapshot": {
        "post": {
            "operationId": "takeSnapshot",
            "summary": "Have this node put a snapshot in place of its log",
            "requestBody": json_body("Nothing", required=False),
            "responses": responses(
                response("The latest one.", ref("Snapshot")), "413", "503"
            ),
        },
    },
    "/backup": {
        "get": {
            "operationId": "backup",
            "summary": "All that the cluster holds, as of one moment",
            "parameters": FRESH,
            "responses": responses(
                raw("application/octet-stream", "What /restore takes."), "503"
            ),
        },
    },
    "/restore": {
        "post": {
            "operationId": "restore",
            "summary": "Put a backup in place of all that the cluster holds",
            "parameters": ELSEWHERE,
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": BYTES}},
            },
            "responses": responses(
                response("Done.", ref("Restored")), "409", "413", *CHANGE
            ),
        },
    },
    "/healthz": {
        "get": {
            "operationId": "healthz",
            "summary": "Whether the process should go on, or be started again",
            "responses": responses(response("Go on.", ref("Alive")), "503"),
        },
    },
    "/readyz": {
        "get": {
            "operationId": "readyz",
            "summary": "Whether requests should come to this node",
            "responses": responses(response("They should.", ref("Ready")), "503"),
        },
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "Figures for Prometheus",
            "responses": responses(
                {
                    "description": "In the format that Accept asks for.",
                    "content": {
                        "text/plain": {"schema": BYTES},
                        "application/openmetrics-text": {"schema": BYTES},
                    },
                }
            ),
        },
    },
    "/openapi.json": {
        "get": {
            "operationId": "openapi",
            "summary": "This document",
            "responses": responses(response("It.", {"type": "object"})),
        },
    },
}

DESCRIPTION: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "hraftd",
        "version": "1",
        "description": (
            "A replicated key-value store. Every answer is JSON unless the description "
            "says something else, and every error has a sentence. HEAD is answered "
            "wherever GET is. Unknown parameters are refused."
        ),
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "servers": [{"url": "/"}],
    "paths": {**_KEYS, **_CLUSTER, **_OPERATIONS},
    "components": {
        "schemas": SCHEMAS,
        "responses": RESPONSES,
        "parameters": PARAMETERS,
    },
}


def description_as_json() -> bytes:
    """
    Return the document as it is served.
    """
    return json.dumps(DESCRIPTION, ensure_ascii=False).encode("utf-8")

"""
What many routes have in common, as :mod:`hraftd.web.openapi` describes them.

The parameters that more than one takes, the ways in which requests are refused, and
short ways to write down the rest.
"""

from __future__ import annotations

from hraftd.forwarding import OnFollower
from hraftd.reads import ReadLevel
from hraftd.web.openapi_schemas import Json, ref

__all__ = [
    "BYTES",
    "CHANGE",
    "ELSEWHERE",
    "ETAG",
    "FRESH",
    "IF",
    "PARAMETERS",
    "PLACE_IN_LOG",
    "RESPONSES",
    "TOKEN",
    "TTL",
    "WRITE",
    "in_header",
    "in_path",
    "in_query",
    "json_body",
    "raw",
    "response",
    "responses",
]

_ERROR = ref("Error")
_TAG = {"schema": {"type": "string", "pattern": '^"[0-9]+"$'}}
ETAG = {"ETag": {"description": "The version of the key, in quotes.", **_TAG}}
BYTES = {"type": "string"}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def response(description: str, schema: Json, headers: Json | None = None) -> Json:
    """
    Describe an answer in JSON.
    """
    described: Json = {"description": description, "content": _json(schema)}
    if headers is not None:
        described["headers"] = headers
    return described


#: Answers that more than one route gives, by the names they go by below.
RESPONSES: Json = {
    "Malformed": response("The request is not understood.", _ERROR),
    "NotFound": response("There is no such key, or member.", _ERROR),
    "Conflict": response("It contradicts what is there.", _ERROR),
    "NotMet": response(
        "A precondition does not hold; what the key holds instead.",
        ref("NotMet"),
        ETAG,
    ),
    "TooLarge": response("The body, or something in it, is too large.", _ERROR),
    "Redirect": response(
        "With ``redirect``: ask the leader.",
        ref("NotLeader"),
        {"Location": {"required": True, "schema": {"type": "string"}}},
    ),
    "NotLeader": response(
        "This node does not lead; nothing was done.", ref("NotLeader")
    ),
    "Fault": response("A fault in hraftd; its log says more.", _ERROR),
    "Unavailable": response(
        "Not now; nothing was done.",
        _ERROR,
        {"Retry-After": {"required": True, "schema": {"type": "integer"}}},
    ),
    "Unknown": response("It may have been done, or not.", ref("Doubtful")),
}

_CODES = {
    "307": "Redirect",
    "400": "Malformed",
    "404": "NotFound",
    "409": "Conflict",
    "412": "NotMet",
    "413": "TooLarge",
    "421": "NotLeader",
    "500": "Fault",
    "503": "Unavailable",
    "504": "Unknown",
}

#: How a change can turn out that only the leader makes.
CHANGE = ("307", "421", "503", "504")
#: And how a write of keys can, which may have a token.
WRITE = (*CHANGE, "409", "413")


def responses(done: Json, *codes: str) -> Json:
    """
    Describe the answers of a route: what it answers with 200, and when it does not.

    :param codes: besides 400 and 500, which are possible everywhere.
    """
    others = sorted({*codes, "400", "500"})
    return {"200": done} | {code: ref(_CODES[code], "responses") for code in others}


def in_query(name: str, description: str, schema: Json) -> Json:
    """
    Describe a parameter behind the question mark.
    """
    return {"name": name, "in": "query", "description": description, "schema": schema}


def in_header(name: str, description: str, schema: Json) -> Json:
    """
    Describe a header.
    """
    return {"name": name, "in": "header", "description": description, "schema": schema}


def in_path(name: str, description: str) -> Json:
    """
    Describe a part of the path: the key, or the id of a node.
    """
    schema = {"key": "Key", "id": "NodeId"}[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": ref(schema),
    }


_FLAG: Json = {"type": "string", "enum": ["", "1", "true", "yes", "0", "false", "no"]}
_DURATION: Json = {
    "type": "string",
    "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)?$",
}
_TAGS: Json = {
    "type": "string",
    "pattern": r'^(\*|(W/)?"[0-9]+"([ \t]*,[ \t]*(W/)?"[0-9]+")*)$',
}
PLACE_IN_LOG: Json = {"type": "string", "pattern": "^[0-9]{1,18}$"}

#: Parameters that more than one route takes.
PARAMETERS: Json = {
    OnFollower.FORWARD.value: in_query(
        "forward", "A node that does not lead is to ask the leader.", _FLAG
    ),
    OnFollower.REDIRECT.value: in_query(
        "redirect", "A node that does not lead is to name it with 307.", _FLAG
    ),
    "level": in_query(
        "level",
        "How fresh a read is to be.",
        {"type": "string", "enum": [level.value for level in ReadLevel]},
    ),
    "freshness": in_query(
        "freshness",
        "With the level none: refuse if no leader was heard for so long.",
        _DURATION,
    ),
    "ttl": in_query(
        "ttl",
        "Seconds after which the keys are removed; above 0, and at most ten years.",
        {"type": "string", "pattern": r"^[1-9][0-9]{0,7}(\.[0-9]{1,20})?$"},
    ),
    "if_match": in_header("If-Match", "Only if the key is of such a version.", _TAGS),
    "if_none_match": in_header(
        "If-None-Match", "Only if the key is of no such version.", _TAGS
    ),
    "token": in_header(
        "Idempotency-Key",
        "A retry with the same one is answered like the first time, and done once.",
        {"type": "string", "pattern": "^[!-~]{1,128}$"},
    ),
}

ELSEWHERE = [ref("forward", "parameters"), ref("redirect", "parameters")]
FRESH = [ref("level", "parameters"), ref("freshness", "parameters")]
TTL = ref("ttl", "parameters")
TOKEN = ref("token", "parameters")
IF = [ref("if_match", "parameters"), ref("if_none_match", "parameters")]


def json_body(schema: str, *, required: bool = True) -> Json:
    """
    Describe a body of which there is a schema.
    """
    return {"required": required, "content": _json(ref(schema))}


def raw(kind: str, description: str) -> Json:
    """
    Describe an answer that is no JSON.
    """
    return {"description": description, "content": {kind: {"schema": BYTES}}}

"""What programs can ask: the parameters of `/predict`, and the OpenAPI document of it all."""

import re
from typing import Any, NamedTuple

from pydantic.json_schema import models_json_schema
from starlette.datastructures import QueryParams

from alld import NOTICE, __version__
from alld.inference.prediction import VERDICTS
from alld.model.bundle_info import BundleInfo
from alld.runtime.files import plain_path
from alld.serve.auth import POST_HEADER, Refused
from alld.serve.child import MAX_PREVIEW_SIDE
from alld.serve.uploads import MOST_BYTES, MOST_FILES

MIN_PREVIEW_SIDE = 16  # px
MAX_NAME = 1000  # characters

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
TEXT_OR_NOTHING: Json = {"type": ["string", "null"]}
PROBABILITY: Json = {"type": "number", "minimum": 0, "maximum": 1}
# What every request can be answered, and why.
EVERYWHERE = {
    400: "the request is not understood",
    403: "the name of the server or the page that asks is foreign, or X-ALLD is missing",
    500: "a bug in ALLD",
}
UPLOADS = {
    408: "the upload took too long",
    413: f"the body is over its limit, of {MOST_BYTES} bytes for images",
    429: "the server is busy; ask again after the seconds of Retry-After",
}
QUERY: list[Json] = [
    {"name": "name", "in": "query", "schema": {"type": "string", "maxLength": MAX_NAME}},
    {
        "name": "preview",
        "in": "query",
        "description": "the side of a PNG of the padded image, in px; 0: none",
        "schema": {
            "type": "integer",
            "anyOf": [{"const": 0}, {"minimum": MIN_PREVIEW_SIDE, "maximum": MAX_PREVIEW_SIDE}],
        },
    },
    {
        "name": "explain",
        "in": "query",
        "description": "1: with a heat map",
        "schema": {"type": "integer", "enum": [0, 1]},
    },
]


class Query(NamedTuple):
    """The parameters of `/predict`."""

    name: str | None  # as it is written in tables
    side: int  # of the preview in px; 0: none
    explain: bool  # whether a heat map is wanted


def read_query(given: QueryParams) -> Query:
    """Read the parameters name=TEXT, preview=SIDE and explain=1.

    Raises:
        Refused: an unknown parameter, or a value out of range.
    """
    for key in given:
        if key not in ("name", "preview", "explain"):
            raise Refused(400, f"unknown parameter {key!r}; there are name, preview and explain")
    side, explain = given.get("preview", "0"), given.get("explain", "0")
    sides = {0, *range(MIN_PREVIEW_SIDE, MAX_PREVIEW_SIDE + 1)}
    if not re.fullmatch("[0-9]{1,3}", side) or int(side) not in sides:
        raise Refused(400, f"preview: a side of {MIN_PREVIEW_SIDE} to {MAX_PREVIEW_SIDE} px")
    if explain not in ("0", "1"):
        raise Refused(400, "explain: 0 or 1")
    return Query(read_name(given.get("name")), int(side), explain == "1")


def read_name(given: str | None) -> str | None:
    """Return a name as it is written in tables; raise Refused for one that is too long."""
    if given and len(given) > MAX_NAME:
        raise Refused(400, f"name: has {len(given)} characters; {MAX_NAME} are the most")
    return plain_path(given) if given else None


def openapi(page: dict[str, str], *, token: bool) -> Json:
    """Return the document, with paths below the server that it was fetched from.

    Args:
        page: the media types of the page's files, by their paths.
        token: whether the server wants one.
    """
    locked = {401: "the token is missing or wrong"} if token else {}
    paths = {
        "/health": {"get": _health()},
        "/model": {"get": _operation("model", "The facts of the model", _answer("Model"), locked)},
        "/predict": {"post": _predict(locked)},
        "/login": {"post": _login()},
        "/openapi.json": {
            "get": _operation("document", "This document", {"schema": {"type": "object"}})
        },
        **{path: {"get": _page_file(path, kind)} for path, kind in page.items()},
    }
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "ALLD", "version": __version__, "description": NOTICE},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": _schemas()},
    }
    if token:
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
        }
        for path in ("/model", "/predict"):
            for operation in paths[path].values():
                operation["security"] = [{"token": []}]
    return document


def _health() -> Json:
    busy = _answer("Health")
    operation = _operation("health", "Whether the model is loaded", busy)
    loading = {"description": "the model is loading", "headers": _retry_after()}
    operation["responses"]["503"] = {**loading, "content": {"application/json": busy}}
    return operation


def _predict(locked: dict[int, str]) -> Json:
    files: Json = {"type": "array", "items": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "properties": {"file": {**files, "minItems": 1, "maxItems": MOST_FILES}},
        "required": ["file"],
        "additionalProperties": False,
    }
    row = {"$ref": "#/components/schemas/Prediction"}
    answer = {"schema": {"oneOf": [row, {"type": "array", "items": row}]}}
    operation = _operation("predict", "Classify one image or several", answer, UPLOADS | locked)
    operation["description"] = (
        "One file is the body as it is, and its row the answer. Several are multipart/form-data, "
        "and the answer is the list of their rows in the same order; name, preview and explain "
        "are then for a form of one file. A file that is no picture is a row with an error."
    )
    operation["parameters"] = [*QUERY, _post_header()]
    whole = {"schema": {"type": "string", "format": "binary"}}
    content = {"application/octet-stream": whole, "multipart/form-data": {"schema": form}}
    # Not required: no body is an empty file, and a row that says so.
    return {**operation, "requestBody": {"required": False, "content": content}}


def _login() -> Json:
    summary = "Exchange the token for a cookie, as the page does"
    wrong = {401: "this is not the token, or there is none", **UPLOADS}
    del wrong[429]
    operation = _operation("login", summary, None, wrong)
    operation["responses"]["204"] = {"description": "the answer sets the cookie"}
    operation["parameters"] = [_post_header()]
    schema = {"type": "object", "properties": {"token": TEXT}, "required": ["token"]}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {**operation, "requestBody": body}


def _page_file(path: str, kind: str) -> Json:
    name = path.strip("/").replace(".", "_") or "page"
    operation = _operation(name, "A file of the page", None)
    operation["responses"]["200"] = {"description": "the file", "content": {kind: {"schema": TEXT}}}
    return operation


def _operation(
    name: str, summary: str, answer: Json | None, errors: dict[int, str] | None = None
) -> Json:
    """Return an operation whose answers are one of JSON, if any, and `{"error": "..."}`."""
    responses: Json = {}
    if answer is not None:
        responses["200"] = {"description": summary, "content": {"application/json": answer}}
    for status, reason in sorted((EVERYWHERE | (errors or {})).items()):
        content = {"application/json": _answer("Error")}
        responses[str(status)] = {"description": reason, "content": content}
        if status == 429:
            responses[str(status)]["headers"] = _retry_after()
    return {"operationId": name, "summary": summary, "responses": responses}


def _post_header() -> Json:
    reason = "no page of another site can send it"
    wanted = {"name": POST_HEADER.upper(), "in": "header", "required": True}
    return {**wanted, "description": reason, "schema": TEXT}


def _retry_after() -> Json:
    return {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def _answer(schema: str) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{schema}"}}


def _schemas() -> Json:
    template = "#/components/schemas/{model}"
    _, found = models_json_schema([(BundleInfo, "serialization")], ref_template=template)
    schemas: Json = found["$defs"]
    info = schemas["BundleInfo"]
    own = {"name": TEXT, "identity": TEXT, "synthetic": FLAG, "notice": TEXT, "alld": TEXT}
    own["members"] = {"type": "integer", "minimum": 1}  # models whose mean it is
    return {
        **schemas,
        "Model": _object({**info["properties"], **own}),
        "Health": _object(
            {
                "status": {"enum": ["loading", "ready"]},
                "token_needed": FLAG,
                "version": TEXT,
                "most_bytes": {"type": "integer", "minimum": 1},
            }
        ),
        "Prediction": _prediction(),
        "Error": _object({"error": TEXT}),
    }


def _prediction() -> Json:
    always = {
        "path": TEXT,
        "sha256": TEXT,
        "pixels_sha256": TEXT_OR_NOTHING,
        "verdict": {"enum": [*VERDICTS, None]},
        "probability": {**PROBABILITY, "type": ["number", "null"]},
        "threshold": PROBABILITY,
        "model": TEXT,
        "reason": TEXT_OR_NOTHING,
        "error": TEXT_OR_NOTHING,
        "notes": {"type": "array", "items": TEXT},
        "synthetic": FLAG,
        "notice": TEXT,
    }
    # Where they were asked for: data URLs of PNGs, or why there is no heat map.
    asked = {"preview": TEXT, "heat_map": TEXT, "no_heat_map": TEXT}
    return _object(always, asked)


def _object(always: Json, sometimes: Json | None = None) -> Json:
    """Return the schema of an object with these keys and no other."""
    properties = {**always, **(sometimes or {})}
    required = {"required": list(always), "additionalProperties": False}
    return {"type": "object", "properties": properties, **required}

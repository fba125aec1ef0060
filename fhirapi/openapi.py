"""The FHIR API in OpenAPI 3.0, for tools that read no CapabilityStatement; made from the same interactions and registry."""

from collections.abc import Sequence
from typing import Any

from fhirapi.interactions import PATCHES, interactions
from fhirapi.operations.known import operations
from fhirapi.registry import COMMON, TYPES, ResourceType

Json = dict[str, Any]

ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"}}
VERSION = {"name": "vid", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
IF_MATCH = {"name": "If-Match", "in": "header", "schema": {"type": "string"}, "example": 'W/"3"'}
IF_NONE_EXIST = {"name": "If-None-Exist", "in": "header", "schema": {"type": "string"}, "example": "identifier=system|value"}
HISTORY = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("_count", "_since", "_at")]
# Interaction -> (path below the type, method, status of success, parameters, whether it brings a resource).
OPERATIONS: dict[str, tuple[str, str, str, list[Json], bool]] = {
    "search-type": ("", "get", "200", [], False),
    "create": ("", "post", "201", [IF_NONE_EXIST], True),
    "read": ("/{id}", "get", "200", [ID], False),
    "update": ("/{id}", "put", "200", [ID, IF_MATCH], True),
    "patch": ("/{id}", "patch", "200", [ID, IF_MATCH], True),
    "delete": ("/{id}", "delete", "204", [ID, IF_MATCH], False),
    "history-type": ("/_history", "get", "200", HISTORY, False),
    "history-instance": ("/{id}/_history", "get", "200", [ID, *HISTORY], False),
    "vread": ("/{id}/_history/{vid}", "get", "200", [ID, VERSION], False),
}
PREFER = {"name": "Prefer", "in": "header", "required": True, "schema": {"type": "string"}, "example": "respond-async"}
EXPORT = [
    PREFER, *({"name": name, "in": "query", "schema": {"type": "string"}} for name in ("_outputFormat", "_since", "_type", "_typeFilter")),
]
BULK = {"name": "export", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
FILE = {"name": "file", "in": "path", "required": True, "schema": {"type": "string"}}
EVENTS = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("eventsSinceNumber", "eventsUntilNumber", "content")]
# Operation -> (path below the type, method, parameters, whether it brings a resource or Parameters).
NAMED: dict[str, tuple[str, str, list[Json], bool]] = {
    "export": ("/$export", "get", EXPORT, False),
    "everything": ("/{id}/$everything", "get", [ID], False),
    "match": ("/$match", "post", [], True),
    "meta": ("/{id}/$meta", "get", [ID], False),
    "meta-add": ("/{id}/$meta-add", "post", [ID, IF_MATCH], True),
    "meta-delete": ("/{id}/$meta-delete", "post", [ID, IF_MATCH], True),
    "status": ("/{id}/$status", "get", [ID], False),
    "events": ("/{id}/$events", "get", [ID, *EVENTS], False),
    "validate": ("/$validate", "post", [], True),
}


# Where one type's differs from the others'.
ELSEWHERE = {("export", "Group"): ("/{id}/$export", "get", [ID, *EXPORT], False)}
ACCEPTED = {"export"}


def openapi_document(*, base: str, formats: Sequence[str]) -> Json:
    """What this hospital's endpoint does, in OpenAPI's words. Resources are FHIR's own and not described again."""
    paths: dict[str, Json] = {
        "/metadata": {"get": _operation("capabilities", "200", formats=formats, is_open=True)},
        "/": {"post": _operation("batch or transaction", "200", formats=formats, body=formats)},
        "/$meta": {"get": _operation("$meta", "200", formats=formats)},
        "/$export": {"get": _operation("$export", "202", formats=formats, parameters=EXPORT)},
        "/bulk/{export}": {
            "get": _operation("how far an export is, or its manifest", "200", formats=["application/json"], parameters=[BULK]),
            "delete": _operation("cancel an export, or remove its files", "202", formats=formats, parameters=[BULK]),
        },
        "/bulk/{export}/{file}.ndjson": {
            "get": _operation("a file of an export", "200", formats=["application/fhir+ndjson"], parameters=[BULK, FILE]),
        },
        "/_history": {"get": _operation("history-system", "200", formats=formats, parameters=HISTORY)},
    }
    for rtype in TYPES.values():
        for code in interactions(rtype.name):
            path, method, status, parameters, has_body = OPERATIONS[code]
            asked = parameters if code != "search-type" else _search(rtype)
            body = (PATCHES if code == "patch" else formats) if has_body else ()
            made = _operation(f"{code} {rtype.name}", status, formats=formats, parameters=asked, body=body)
            paths.setdefault(f"/{rtype.name}{path}", {})[method] = made | {"tags": [rtype.name]}
        for one in operations(rtype.name):
            path, method, parameters, has_body = ELSEWHERE.get((one.name, rtype.name), NAMED[one.name])
            status = "202" if one.name in ACCEPTED else "200"
            made = _operation(
                f"${one.name} {rtype.name}", status, formats=formats, parameters=parameters, body=formats if has_body else ()
            )
            paths.setdefault(f"/{rtype.name}{path}", {})[method] = made | {"tags": [rtype.name]}
    return {
        "openapi": "3.0.3",
        "info": {"title": "FHIR R4 of one hospital", "version": "4.0.1"},
        "servers": [{"url": base}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }


def _search(rtype: ResourceType) -> list[Json]:
    names = [name for name, _, _ in COMMON] + [param.name for param in rtype.params]
    return [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]


def _operation(
    summary: str, status: str, *, formats: Sequence[str], parameters: Sequence[Json] = (), body: Sequence[str] = (), is_open: bool = False
) -> Json:
    content = {name: {"schema": {"type": "object"}} for name in formats}
    made: Json = {
        "summary": summary,
        "responses": {
            status: {"description": "done"} | ({} if status == "204" else {"content": content}),
            "default": {"description": "an OperationOutcome says why not", "content": content},
        },
    }
    if parameters:
        made["parameters"] = list(parameters)
    if body:
        made["requestBody"] = {"required": True, "content": {name: {"schema": {"type": "object"}} for name in body}}
    return made | ({"security": []} if is_open else {})

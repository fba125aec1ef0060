"""A FHIR R4 store in memory: transactions with PUT and conditional create, reads, a few searches with pages."""

import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from sandbox.http import Reply, Request, Router, json_reply

KIND = "application/fhir+json"
PAGE = 10


class FhirStore:
    """`can_make_ids`: PUT to an unknown id creates it, as at HealthLake; Google refuses that unless it is switched on.

    `end`: what follows the base where transactions are taken. `arrived` is told of each resource that a transaction wrote.
    """

    def __init__(
        self, *, can_make_ids: bool = True, end: str = "/?", arrived: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self._held: dict[tuple[str, str], dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._can_make_ids, self._arrived, self._end = can_make_ids, arrived, end

    def mount(self, router: Router, prefix: str, guard: Callable[[Request], None]) -> None:
        def guarded(handler: Callable[..., Reply]) -> Callable[..., Reply]:
            def run(request: Request, **names: str) -> Reply:
                guard(request)
                return handler(request, **names)

            return run

        router.add("GET", rf"{prefix}/metadata", guarded(self._metadata))
        router.add("POST", rf"{prefix}{self._end}", guarded(self._transaction))
        router.add("GET", rf"{prefix}/(?P<kind>[A-Z][A-Za-z]+)", guarded(self._search))
        router.add("POST", rf"{prefix}/(?P<kind>[A-Z][A-Za-z]+)", guarded(self._create))
        router.add("GET", rf"{prefix}/(?P<kind>[A-Z][A-Za-z]+)/(?P<rid>[A-Za-z0-9.-]+)", guarded(self._read))

    def put(self, resource: dict[str, Any]) -> None:
        with self._lock:
            self._held[resource["resourceType"], resource["id"]] = resource

    def named(self, kind: str, identifier: str) -> dict[str, Any] | None:
        """The resource of this kind whose identifier has this value."""
        found = (one for one in self.of(kind) if any(item.get("value") == identifier for item in one.get("identifier", ())))
        return next(found, None)

    def of(self, kind: str) -> list[dict[str, Any]]:
        with self._lock:
            return [resource for (name, _), resource in sorted(self._held.items()) if name == kind]

    def _metadata(self, _: Request) -> Reply:
        return json_reply({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "status": "active", "kind": "instance"})

    def _read(self, _: Request, kind: str, rid: str) -> Reply:
        found = self._held.get((kind, rid))
        if found is None:
            return _outcome(404, "not-found")
        return json_reply(found, kind=KIND)

    def _create(self, request: Request, kind: str) -> Reply:
        resource = request.json
        if resource.get("resourceType") != kind:
            return _outcome(400, "invalid")
        resource["id"] = uuid.uuid4().hex
        self.put(resource)
        return json_reply(resource, 201, KIND)

    def _search(self, request: Request, kind: str) -> Reply:
        query = dict(parse_qsl(request.target.partition("?")[2]))
        found = [one for one in self.of(kind) if _fits(one, query)]
        start, count = int(query.get("_page", "0")), min(int(query.get("_count", str(PAGE))), PAGE)
        page = found[start : start + count]
        entries = [{"resource": one, "search": {"mode": "match"}} for one in page]
        if query.get("_include") == "DiagnosticReport:result":
            names = {link["reference"] for one in page for link in one.get("result", ())}
            seen = [self._held.get(tuple(name.split("/"))) for name in sorted(names)]  # type: ignore[call-overload]
            entries += [{"resource": one, "search": {"mode": "include"}} for one in seen if one]
        links = [{"relation": "self", "url": request.target}]
        if start + count < len(found):
            following = urlencode({**query, "_page": start + count})
            host = request.headers.get("host", "")
            links.append({"relation": "next", "url": f"https://{host}{request.path}?{following}"})
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links, "entry": entries}
        return json_reply(bundle, kind=KIND)

    def _transaction(self, request: Request) -> Reply:
        if not request.headers.get("content-type", "").startswith(("application/fhir+json", "application/json")):
            return _outcome(415, "not-supported")
        bundle = request.json
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle" or bundle.get("type") not in {"transaction", "batch"}:
            return _outcome(400, "invalid")
        plan = [self._planned(entry) for entry in bundle.get("entry", ())]
        if any(one is None for one in plan):
            return _outcome(422, "processing")
        names = {entry.get("fullUrl"): f"{one[0]}/{one[1]}" for entry, one in zip(bundle["entry"], plan, strict=True) if one}
        answers: list[dict[str, Any]] = []
        written: list[dict[str, Any]] = []
        for entry, one in zip(bundle["entry"], plan, strict=True):
            kind, rid, is_new = one or ("", "", False)
            if is_new:
                written.append({**_rewritten(entry["resource"], names), "id": rid})
                self.put(written[-1])
            answers.append({"response": {"status": "201 Created" if is_new else "200 OK", "location": f"{kind}/{rid}/_history/1"}})
        for resource in written if self._arrived else ():
            self._arrived(resource)  # type: ignore[misc]
        return json_reply({"resourceType": "Bundle", "type": f"{bundle['type']}-response", "entry": answers}, kind=KIND)

    def _planned(self, entry: dict[str, Any]) -> tuple[str, str, bool] | None:
        """(type, id, whether it is written now), or None where this cannot be."""
        resource, request = entry.get("resource", {}), entry.get("request", {})
        kind, target = resource.get("resourceType", ""), str(request.get("url", ""))
        if request.get("method") == "PUT":
            rid = target.partition("/")[2]
            is_there = (kind, rid) in self._held
            return (kind, rid, True) if rid and resource.get("id") == rid and (is_there or self._can_make_ids) else None
        if request.get("method") != "POST" or target != kind:
            return None
        wanted = str(request.get("ifNoneExist", "")).removeprefix("identifier=")
        for one in self.of(kind) if wanted else ():
            if any(f"{item.get('system', '')}|{item.get('value')}" == wanted for item in one.get("identifier", ())):
                return kind, one["id"], False
        return kind, uuid.uuid4().hex, True


def _fits(resource: dict[str, Any], query: dict[str, str]) -> bool:
    identifiers = {f"{item.get('system', '')}|{item.get('value')}" for item in resource.get("identifier", ())}
    asked = (("identifier", identifiers), ("subject", {resource.get("subject", {}).get("reference")}))
    return all(query[name] in values for name, values in asked if name in query)


def _rewritten(value: Any, names: dict[Any, str]) -> Any:
    if isinstance(value, dict):
        return {key: names.get(item, item) if key == "reference" else _rewritten(item, names) for key, item in value.items()}
    return [_rewritten(item, names) for item in value] if isinstance(value, list) else value


def _outcome(status: int, code: str) -> Reply:
    issue = {"severity": "error", "code": code, "diagnostics": "words of a double that nobody should repeat"}
    return json_reply({"resourceType": "OperationOutcome", "issue": [issue]}, status, KIND)



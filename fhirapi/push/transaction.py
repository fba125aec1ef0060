"""A report version as one FHIR transaction, in the form of IHE IMR's RAD-141: stored resources, references to one another by urn:uuid.

Every entry is conditional on a business identifier, so that sending twice changes nothing and the EHR's own Patient is found rather than
made: Patient by `ifNoneExist` (its demographics are the EHR's), all others by conditional update. What has no identifier of its own
(Provenance) is found by a tag of ours.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid5

import orjson

from fhirapi.jsontext import json_dump, json_load
from fhirapi.registry import TYPES
from fhirapi.resources.parts import NAMESPACE, OURS
from fhirapi.search.pages import resource_search
from fhirapi.search.query import query_parse
from fhirapi.store import Key, resource_read, rows_read
from fhirapi.writing.links import references
from journal.wall.scope import tenant_id_current
from tenants.selectors import tenant_zone

Json = dict[str, Any]
Name = tuple[str, str]  # type and id
TAG = f"{OURS}/sid/resource"
SENT = ("Patient", "Practitioner", "Organization", "Device", "ImagingStudy", "Observation", "DiagnosticReport", "Provenance")
HOPS, PROVENANCES = 4, 50
ESCAPED = str.maketrans({"\\": "\\\\", ",": "\\,", "$": "\\$", "|": "\\|"})


class ReportGoneError(Exception):
    """The report is not in the store any more."""

    user_message = "the report is not there any more"


def report_transaction(*, report: str, base: str, has_studies: bool) -> tuple[bytes, int]:
    """(the Bundle, its number of entries) of the current version. In a scope, a few statements. Raises ReportGoneError.

    `base` is our own FHIR base: what is not sent along is named by its address there, an order and a study by their identifier.
    """
    found = _gathered(report, has_studies)
    names = {_name(one): f"urn:uuid:{uuid5(NAMESPACE, '/'.join(_name(one)))}" for one in found}
    logical = _logical(found, set(names))
    ordered = sorted(found, key=lambda one: SENT.index(one["resourceType"]))
    entries = [_entry(one, names, logical, base) for one in ordered]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    return json_dump(bundle).encode(), len(entries)


def _gathered(report: str, has_studies: bool) -> list[Json]:
    """The report, what it and its results refer to, and the Provenances that are about it."""
    main = resource_read(rtype="DiagnosticReport", fhir_id=report)
    if main is None:
        raise ReportGoneError
    taken = {name for name in SENT if has_studies or name != "ImagingStudy"}
    first = [json_load(main.content.encode()), *_provenances(report)]
    found: dict[Name, Json] = {_name(one): one for one in first}
    fresh = first
    for _ in range(HOPS):
        wanted = {name for one in fresh for name in _named(one) if name[0] in taken and name not in found}
        fresh = _read(wanted)
        found |= {_name(one): one for one in fresh}
        if not fresh:
            break
    return list(found.values())


def _provenances(report: str) -> list[Json]:
    tenant_id = tenant_id_current()
    pairs = [("target", f"DiagnosticReport/{report}"), ("_count", str(PROVENANCES))]
    parsed = query_parse(
        tenant_id=tenant_id, rtype="Provenance", pairs=pairs, base="", zone=lambda: tenant_zone(tenant_id=tenant_id), is_strict=True
    )
    return [json_load(one.content.encode()) for one in resource_search(query=parsed.query).matches]


def _read(names: set[Name]) -> list[Json]:
    keys: list[Key] = [(TYPES[rtype].number, fhir_id) for rtype, fhir_id in sorted(names)]
    return [json_load(row.content.encode()) for row in rows_read(keys=keys, is_content_wanted=True).values()] if keys else []


def _name(resource: Json) -> Name:
    return resource["resourceType"], resource["id"]


def _named(resource: Json) -> Iterator[Name]:
    for text in references(resource):
        rtype, mark, fhir_id = text.partition("/")
        if mark and rtype in TYPES and "/" not in fhir_id:
            yield rtype, fhir_id


def _logical(found: list[Json], sent: set[Name]) -> dict[Name, Json]:
    """Identifiers of what is named and not sent, of types that are known by one everywhere."""
    wanted = {name for one in found for name in _named(one) if name[0] in {"ServiceRequest", "ImagingStudy"} and name not in sent}
    return {_name(one): identifier for one in _read(wanted) if (identifier := _identifier(one))}


def _identifier(resource: Json) -> Json | None:
    """The first business identifier that says whose it is."""
    several = resource.get("identifier", [])
    return next((one for one in (several if isinstance(several, list) else [several]) if one.get("system") and one.get("value")), None)


def _entry(resource: Json, names: Mapping[Name, str], logical: Mapping[Name, Json], base: str) -> Json:
    rtype, fhir_id = _name(resource)
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in {"versionId", "lastUpdated"}}
    identifier = _identifier(resource)
    if identifier:
        criteria = f"identifier={_token(identifier['system'], identifier['value'])}"
    else:
        meta["tag"] = [*meta.get("tag", ()), {"system": TAG, "code": fhir_id}]
        criteria = f"_tag={_token(TAG, fhir_id)}"
    body = {name: value for name, value in resource.items() if name not in {"id", "meta"}}
    body = {"resourceType": rtype} | ({"meta": meta} if meta else {}) | body
    request = {"method": "PUT", "url": f"{rtype}?{criteria}"}
    if rtype == "Patient":
        request = {"method": "POST", "url": rtype, "ifNoneExist": criteria}
    return {"fullUrl": names[rtype, fhir_id], "resource": _linked(body, names, logical, base), "request": request}


def _token(system: str, value: str) -> str:
    """system|value of a token search, escaped for FHIR (3.1.1.4.9.1) and for an address."""
    return quote(f"{system.translate(ESCAPED)}|{value.translate(ESCAPED)}", safe="")


def _linked(node: Any, names: Mapping[Name, str], logical: Mapping[Name, Json], base: str) -> Any:
    """A copy whose references lead somewhere for the receiver."""
    if isinstance(node, list):
        return [_linked(item, names, logical, base) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _linked(value, names, logical, base) for key, value in node.items()}
    text = node.get("reference")
    if not isinstance(text, str):
        return made
    rtype, _, fhir_id = text.partition("/")
    name = (rtype, fhir_id)
    if name in names:
        return made | {"reference": names[name]}
    if name in logical:
        del made["reference"]
        return {"type": rtype, "identifier": logical[name]} | made
    return made | ({"reference": f"{base}/{text}"} if rtype in TYPES else {})


def answer_problem(*, body: bytes, count: int) -> str:
    """Why an answer of 2xx is no success: "" where each entry was taken (FHIR R4 3.1.0.11.2)."""
    try:
        answer = orjson.loads(body)
        entries = answer["entry"]
        statuses = [str(one["response"]["status"])[:3] for one in entries]
    except (ValueError, KeyError, TypeError):
        return "the answer is no transaction-response"
    if answer.get("type") != "transaction-response" or len(statuses) != count:
        return "the answer is no transaction-response"
    bad = sorted({status if status.isdigit() else "?" for status in statuses if not status.startswith("2")})
    return f"entries were answered {', '.join(bad)}" if bad else ""

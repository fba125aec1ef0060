"""What a resource is found by: token hashes, references, compartment and main date. The store writes it, the search asks for it.

Hashes are made here and never in SQL: under row level security only leakproof operators may use an index (research/fhir.md 5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from fhirapi.registry import TYPES, Param

DICOM_UID = "urn:dicom:uid"
OID = "urn:oid:"
NO_DATE = datetime(1, 1, 1, tzinfo=UTC)  # sorts before everything; Python cannot read PostgreSQL's -infinity


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """One resource as the index sees it. `refs` are (path, number of the target's type, id)."""

    tokens: tuple[int, ...]
    refs: tuple[tuple[str, int, str], ...]
    patient: str | None
    sort_date: datetime

    @property
    def digest(self) -> bytes:
        return blake2b(repr((self.tokens, self.refs, self.patient, self.sort_date)).encode(), digest_size=8).digest()


def hash64(*parts: object) -> int:
    """A signed 64-bit number for PostgreSQL's bigint."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def token_hash(*, tenant_id: int, rtype: str, param: Param, system: str | None, code: str | None) -> int:
    """The hash of one form of a token (FHIR R4 search, 3.1.1.4.10): `code`, `system|code`, `|code` or `system|`.

    `system` is None where the form names none and "" where it says that there is none.
    """
    if system is None:
        return hash64(tenant_id, rtype, param.name, "code", code)
    if code is None:
        return hash64(tenant_id, rtype, param.name, "system", system)
    return hash64(tenant_id, rtype, param.name, "both", system, code)


def reference_hash(*, tenant_id: int, rtype: str, param: Param, target: str) -> int:
    """The hash of a literal reference `Type/id`."""
    return hash64(tenant_id, rtype, param.name, "reference", target)


def resource_index(*, tenant_id: int, resource: dict[str, Any]) -> Indexed:
    """Everything that the registry says about this resource's type, taken from its content."""
    rtype = TYPES[resource["resourceType"]]
    tokens: set[int] = set()
    refs: set[tuple[str, int, str]] = set()
    for param in rtype.params:
        for value in _values(resource, param.path):
            if param.kind == "token":
                tokens.update(_token_forms(tenant_id, rtype.name, param, value))
                continue
            target = value.get("reference", "")
            name, _, fhir_id = target.partition("/")
            if name in param.targets:
                refs.add((".".join(param.path), TYPES[name].number, fhir_id))
                tokens.add(reference_hash(tenant_id=tenant_id, rtype=rtype.name, param=param, target=target))
    return Indexed(
        tokens=tuple(sorted(tokens)),
        refs=tuple(sorted(refs)),
        patient=_patient_of(resource),
        sort_date=date_floor(resource.get(rtype.date, "")),
    )


def date_floor(text: str) -> datetime:
    """The first moment that a FHIR date or dateTime covers, in UTC; NO_DATE for nothing."""
    if not text:
        return NO_DATE
    moment = datetime.fromisoformat(text + "-01-01"[(len(text) - 4) :] if len(text) in {4, 7} else text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _values(node: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if isinstance(node, list):
        for item in node:
            yield from _values(item, path)
    elif not path:
        yield node
    elif isinstance(node, dict) and path[0] in node:
        yield from _values(node[path[0]], path[1:])


def _token_forms(tenant_id: int, rtype: str, param: Param, value: Any) -> Iterator[int]:
    def form(system: str | None, code: str | None) -> int:
        return token_hash(tenant_id=tenant_id, rtype=rtype, param=param, system=system, code=code)

    for systems, codes in _tokens(param, value):
        for code in codes:
            yield form(None, code)
            for system in systems:
                yield form(system, code)
        yield from (form(system, None) for system in systems if system)


def _tokens(param: Param, value: Any) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(systems, codes) of a code, Identifier, Coding or CodeableConcept; any system goes with any code."""
    if isinstance(value, str):
        # A bare code has no system property, yet its required binding implies one: both forms find it.
        yield ("", param.system), (value,)
    elif "coding" in value:
        for coding in value["coding"]:
            yield from _tokens(param, coding)
    elif "value" in value:
        system, text = value.get("system", ""), value["value"]
        # Radiology systems ask with the UID as DICOM writes it, without the URN that R4 wants around it.
        bare = (text.removeprefix(OID),) if system == DICOM_UID and text.startswith(OID) else ()
        yield (system,), (text, *bare)
    elif "code" in value:
        yield (value.get("system", ""),), (value["code"],)


def _patient_of(resource: dict[str, Any]) -> str | None:
    """The Patient compartment that a resource belongs to; a Patient's own is itself."""
    if resource["resourceType"] == "Patient":
        return str(resource["id"])
    name, _, fhir_id = resource.get("subject", {}).get("reference", "").partition("/")
    return fhir_id if name == "Patient" else None

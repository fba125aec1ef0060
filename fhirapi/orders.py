"""Which ServiceRequest asked for a study: that of its order; else by accession number, and only of the same patient. Never a guess."""

from collections.abc import Sequence
from uuid import UUID

import orjson
from django.db import connection

from fhirapi.index.hashes import token_hash
from fhirapi.registry import TYPES
from fhirapi.resources.imaging_study import accession_identifier, accession_of
from fhirapi.resources.parts import Json, reference
from fhirapi.sources import StudyRow
from journal.wall.scope import tenant_id_current

IDENTIFIER = "ServiceRequest.identifier"


def orders_named(*, studies: Sequence[StudyRow], hospital: UUID) -> dict[int, list[Json]]:
    """`basedOn` of each study: its order's ServiceRequest, else the one here that has its number, else the number alone. One statement."""
    numbers = {study.id: number for study in studies if (number := _number(study, hospital))}
    held = _held({(number["system"], number["value"]) for study in studies if not study.order and (number := numbers.get(study.id))})
    found: dict[int, list[Json]] = {study.id: [] for study in studies}
    for study in studies:
        if number := numbers.get(study.id):
            ids = held.get((number["system"], number["value"], study.patient.fhir_id), [])
            ids = [study.order.fhir_id] if study.order and study.order.fhir_id else ids
            literal = reference("ServiceRequest", ids[0]) if len(ids) == 1 else {}
            found[study.id] = [literal | {"type": "ServiceRequest", "identifier": number}]
    return found


def _number(study: StudyRow, hospital: UUID) -> Json:
    """The order's number where there is one: a person may have chosen it for images that carry none."""
    if study.order:
        return accession_identifier(value=study.order.accession_number, issuer=study.order.issuer, hospital=hospital)
    return accession_of(study=study, hospital=hospital)


def _held(numbers: set[tuple[str, str]]) -> dict[tuple[str, str, str], list[str]]:
    """(system, value, patient) -> ids of ServiceRequests; read again in the text, since two values may share a hash."""
    if not numbers:
        return {}
    tenant_id = tenant_id_current()
    hashes = [token_hash(tenant_id=tenant_id, key=IDENTIFIER, system=system, code=value) for system, value in sorted(numbers)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.fhir_id, r.patient, r.content FROM fhir_posting p JOIN fhir_resource r ON r.rid = p.rid "
            "WHERE p.tenant_id = %s AND p.hv = ANY(%s) AND r.tenant_id = %s AND r.rtype = %s ORDER BY r.rid",
            [tenant_id, hashes, tenant_id, TYPES["ServiceRequest"].number],
        )
        rows = cursor.fetchall()
    found: dict[tuple[str, str, str], list[str]] = {}
    for fhir_id, patient, content in rows:
        for one in orjson.loads(content).get("identifier", ()):
            key = (one.get("system", ""), one.get("value", ""), patient or "")
            if key[:2] in numbers and fhir_id not in found.get(key, ()):
                found.setdefault(key, []).append(fhir_id)
    return found

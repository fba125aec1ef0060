"""What comes along with the matches of a page: `_include`, `_revinclude`, `:iterate` (FHIR R4 3.1.1.5.5). One statement a round."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from fhirapi.outcomes import FhirError
from fhirapi.registry import NAMES, TYPES, compartment_keys
from fhirapi.store import Document
from journal.wall.scope import tenant_id_current

INCLUDED_MAX = 2000  # resources a page
ROUNDS_MAX = 5  # of :iterate
ANY_TYPE = 0


@dataclass(frozen=True, kw_only=True)
class Include:
    """References in these branches. `target` is the number of the only type wanted of their targets, or ANY_TYPE."""

    keys: tuple[str, ...]
    target: int
    is_reverse: bool
    is_iterate: bool


@dataclass(frozen=True, kw_only=True)
class Owned:
    """Of these types, only what is in this patient's compartment."""

    patient: str
    rtypes: frozenset[str]


def included(
    includes: Sequence[Include], *, rids: list[int], documents: Sequence[Document], hidden: frozenset[str] = frozenset(),
    owned: Owned | None = None,
) -> tuple[Document, ...]:  # fmt: skip
    """Each resource once, whatever the number of matches that lead to it. Raises FhirError 400 for too many."""
    found: dict[int, Document] = {}
    seen, new = set(rids), dict(zip(rids, documents, strict=True))
    wanted = list(includes)
    for _ in range(ROUNDS_MAX):
        if not (wanted and new):
            break
        new = {rid: one for rid, one in _round(wanted, new, seen).items() if one.rtype not in hidden}
        if owned:
            new = _owned(owned, new)
        found |= new
        seen |= set(new)
        if len(found) > INCLUDED_MAX:
            raise FhirError(400, f"More than {INCLUDED_MAX} resources to include; ask for less with _count.", code="too-costly")
        wanted = [include for include in includes if include.is_iterate]
    return tuple(found.values())


def _owned(owned: Owned, found: dict[int, Document]) -> dict[int, Document]:
    """Less those of other patients."""
    asked = [rid for rid, one in found.items() if one.rtype in owned.rtypes]
    if not asked:
        return found
    number, tenant_id = TYPES["Patient"].number, tenant_id_current()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.rid FROM fhir_resource r WHERE r.tenant_id = %s AND r.rid = ANY(%s) AND r.rtype = %s AND r.fhir_id = %s UNION "
            "SELECT f.rid FROM fhir_ref f WHERE f.tenant_id = %s AND f.rid = ANY(%s) AND f.param = ANY(%s) AND f.target_type = %s "
            "AND f.target_id = %s",
            [
                tenant_id, asked, number, owned.patient, tenant_id, asked, list(compartment_keys()), number, owned.patient,
            ],
        )  # fmt: skip
        mine = {rid for (rid,) in cursor.fetchall()}
    return {rid: one for rid, one in found.items() if one.rtype not in owned.rtypes or rid in mine}


def _round(includes: Sequence[Include], sources: dict[int, Document], seen: set[int]) -> dict[int, Document]:
    """What the sources point at and what points at them, unless it was seen."""
    tenant_id = tenant_id_current()
    forward = [(key, one.target) for one in includes if not one.is_reverse for key in one.keys]
    backward = [(key, one.target) for one in includes if one.is_reverse for key in one.keys]
    parts: list[str] = []
    values: list[Any] = []
    if forward:
        parts.append(
            "SELECT r.rid FROM (SELECT DISTINCT f.target_type, f.target_id FROM fhir_ref f JOIN unnest(%s::text[], %s::smallint[]) "
            "AS w(param, target) ON w.param = f.param AND w.target IN (0, f.target_type) WHERE f.tenant_id = %s AND f.rid = ANY(%s)) t "
            "JOIN fhir_resource r ON r.tenant_id = %s AND r.rtype = t.target_type AND r.fhir_id = t.target_id"
        )
        values += [[key for key, _ in forward], [target for _, target in forward], tenant_id, list(sources), tenant_id]
    if backward:
        parts.append(
            "SELECT f.rid FROM unnest(%s::smallint[], %s::text[]) AS s(number, id) CROSS JOIN unnest(%s::text[], %s::smallint[]) "
            "AS w(param, target) JOIN fhir_ref f ON f.tenant_id = %s AND f.param = w.param AND f.target_type = s.number "
            "AND f.target_id = s.id WHERE w.target IN (0, s.number)"
        )
        ids = [document.fhir_id for document in sources.values()]
        values += [[TYPES[document.rtype].number for document in sources.values()], ids]
        values += [[key for key, _ in backward], [target for _, target in backward], tenant_id]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT r.rid, r.rtype, r.fhir_id, r.version, r.last_updated, r.content FROM ({' UNION '.join(parts)}) n "  # noqa: S608
            "JOIN fhir_resource r ON r.rid = n.rid WHERE r.tenant_id = %s AND NOT r.rid = ANY(%s) "
            f"ORDER BY r.rtype, r.sort_date, r.rid LIMIT {INCLUDED_MAX + 1}",
            [*values, tenant_id, list(seen)],
        )
        return {
            rid: Document(rtype=NAMES[number], fhir_id=fhir_id, version=version, last_updated=at, content=content)
            for rid, number, fhir_id, version, at, content in cursor.fetchall()
        }

"""Patient/$everything (FHIR R4, operation Patient-everything): the compartment of a patient, and whom and what it names.

Each resource is there once, over all pages; a page is one statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from fhirapi.index.periods import NO_DATE
from fhirapi.registry import NAMES, TYPES, compartment_keys
from fhirapi.search.pages import time_limit
from fhirapi.search.terms import All, AnyOf, Column, Term, conjunction
from fhirapi.search.values import Context, value_term
from fhirapi.store import Document
from journal.wall.scope import tenant_id_current

# Not of the compartment, but nobody can read the rest without them.
NAMED = ("Practitioner", "PractitionerRole", "Organization", "Location", "Medication", "Device", "Endpoint")
Place = tuple[int, int]  # number of the type, rid: the order of the answer


@dataclass(frozen=True, kw_only=True)
class EverythingQuery:
    """`rtypes` are those that the answer may hold; `terms` narrow the compartment, `since` the answer."""

    patient: str
    rtypes: tuple[str, ...]
    terms: tuple[Term, ...] = ()
    since: datetime | None = None
    count: int
    after: Place = (0, 0)


def care_dates(*, context: Context, start: str, end: str) -> tuple[Term, ...]:
    """What was cared for between two days, and what has no date. Raises FhirError 400 for no date."""
    return tuple(_dated(context, f"{prefix}{text}") for prefix, text in (("ge", start), ("le", end)) if text)


def _dated(context: Context, value: str) -> Term:
    terms: list[Term] = [Column("{r}.sort_date = %s", (NO_DATE,))]
    for rtype in TYPES.values():
        if rtype.date:
            found = value_term(context, rtype, rtype.by_name[rtype.date], "", value)
            terms.append(All((Column("{r}.rtype = %s", (rtype.number,)), found)))
    return AnyOf(tuple(terms))


def everything_read(*, query: EverythingQuery) -> tuple[list[Document], Place | None]:
    """One page by type and age, the patient first, and where the next one goes on. Raises FhirError 504."""
    # Sets of rids as arrays: their number is not known to the planner, which reads an index for each.
    tenant_id, number = tenant_id_current(), TYPES["Patient"].number
    narrowed = conjunction(query.terms, "r")
    values: list[Any] = [
        tenant_id, number, query.patient, tenant_id, list(compartment_keys()), number, query.patient,
        tenant_id, *narrowed.values, tenant_id, [TYPES[name].number for name in NAMED], tenant_id,
        tenant_id, [TYPES[name].number for name in query.rtypes], *([query.since] if query.since else []), *query.after,
    ]  # fmt: skip
    with time_limit(), connection.cursor() as cursor:
        cursor.execute(
            "WITH mine AS MATERIALIZED (SELECT s.rid FROM fhir_resource s WHERE s.tenant_id = %s AND s.rtype = %s AND s.fhir_id = %s "  # noqa: S608
            "UNION SELECT f.rid FROM fhir_ref f WHERE f.tenant_id = %s AND f.param = ANY(%s) AND f.target_type = %s "
            "AND f.target_id = %s), kept AS MATERIALIZED (SELECT r.rid FROM fhir_resource r WHERE r.tenant_id = %s "
            f"AND r.rid = ANY(ARRAY(SELECT rid FROM mine)){narrowed.text}), named AS MATERIALIZED (SELECT t.rid FROM "
            "(SELECT DISTINCT f.target_type, f.target_id FROM fhir_ref f WHERE f.tenant_id = %s "
            "AND f.rid = ANY(ARRAY(SELECT rid FROM kept)) AND f.target_type = ANY(%s)) n JOIN fhir_resource t "
            "ON t.tenant_id = %s AND t.rtype = n.target_type AND t.fhir_id = n.target_id) "
            "SELECT r.rid, r.rtype, r.fhir_id, r.version, r.last_updated, r.content FROM fhir_resource r WHERE r.tenant_id = %s "
            "AND r.rid = ANY(ARRAY(SELECT rid FROM kept UNION SELECT rid FROM named)) AND r.rtype = ANY(%s) "
            f"{'AND r.last_updated >= %s ' if query.since else ''}AND (r.rtype, r.rid) > (%s, %s) "
            f"ORDER BY r.rtype, r.rid LIMIT {query.count + 1}",
            values,
        )
        rows = cursor.fetchall()
    page: Sequence[tuple[Any, ...]] = rows[: query.count]
    documents = [
        Document(rtype=NAMES[number], fhir_id=fhir_id, version=version, last_updated=at, content=content)
        for _, number, fhir_id, version, at, content in page
    ]
    return documents, (page[-1][1], page[-1][0]) if len(rows) > len(page) else None

"""Which resources of a type belong to an export: of the system, of all patients or of some, and within these by `_typeFilter`.

Rows are asked in SQL. Older versions are in no index, so their texts are looked at: there are only as many as changed meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

import orjson

from fhirapi.index.indexed import resource_index
from fhirapi.models import BulkExport
from fhirapi.operations.everything import NAMED
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES, compartment_keys
from fhirapi.search.dates import Zone
from fhirapi.search.options import OPTIONS
from fhirapi.search.query import query_parse
from fhirapi.search.terms import Sql, Term, conjunction, sql_join
from journal.wall.scope import tenant_id_current

PATIENT = TYPES["Patient"].number
Level = BulkExport.Level


def types_of(level: str) -> tuple[str, ...]:
    """The types that an export at this level may hold: all, or the patients' compartments and whom and what these name."""
    if level == Level.SYSTEM:
        return tuple(TYPES)
    return tuple(name for name in TYPES if name == "Patient" or compartment_keys(name) or name in NAMED)


@dataclass(frozen=True, kw_only=True)
class Members:
    """`patients` is None where all of them are meant. Resources that name nobody (an Organization) are everybody's."""

    level: str
    patients: frozenset[str] | None = None

    def condition(self, rtype: str) -> Sql | None:
        """Over the alias `r` of fhir_resource; None where all of the type belong."""
        some = None if self.patients is None else sorted(self.patients)
        if self.level == Level.SYSTEM:
            return None
        if rtype == "Patient":
            return None if some is None else Sql("r.fhir_id = ANY(%s)", (some,))
        if not compartment_keys(rtype):
            return None if some is None else Sql("(r.patient IS NULL OR r.patient = ANY(%s))", (some,))
        text = "EXISTS (SELECT FROM fhir_ref x WHERE x.tenant_id = %s AND x.rid = r.rid AND x.param = ANY(%s) AND x.target_type = %s"
        values = (tenant_id_current(), list(compartment_keys(rtype)), PATIENT)
        return Sql(f"{text})", values) if some is None else Sql(f"{text} AND x.target_id = ANY(%s))", (*values, some))

    def has(self, *, rtype: str, content: str) -> bool:
        """The same of a text that is in no index."""
        if self.level == Level.SYSTEM or (self.patients is None and (rtype == "Patient" or not compartment_keys(rtype))):
            return True
        index = resource_index(tenant_id=tenant_id_current(), resource=orjson.loads(content))
        if rtype == "Patient" or not compartment_keys(rtype):
            return self.patients is None or index.patient is None or index.patient in self.patients
        about = {target for key, number, target in index.refs if number == PATIENT and key in compartment_keys(rtype)}
        return bool(about if self.patients is None else about & self.patients)


def group_patients(*, content: str) -> frozenset[str]:
    """The patients whom a Group names as active members."""
    members = [one for one in orjson.loads(content).get("member", []) if one.get("inactive") is not True]
    return frozenset(
        fhir_id for one in members for fhir_id in [patient_id(one.get("entity", {}).get("reference", ""))] if fhir_id
    )


def patient_id(reference: str, *, base: str = "") -> str:
    """The id in `Patient/id`, with this base before it or a version after it; "" for anything else."""
    kind, _, rest = reference.removeprefix(f"{base}/" if base else "").partition("/")
    return rest.partition("/_history/")[0] if kind == "Patient" and rest.partition("/_history/")[0].count("/") == 0 else ""


def filter_terms(*, rtype: str, search: str, base: str, zone: Zone, hidden: frozenset[str]) -> tuple[Term, ...]:
    """A `_typeFilter` as the search understands it. Raises FhirError for what it does not, and for what shapes an answer."""
    pairs = parse_qsl(search, keep_blank_values=True)
    if any(name.partition(":")[0] in OPTIONS for name, _ in pairs):
        raise FhirError(400, "_typeFilter takes search parameters, none that shape an answer (_include, _sort ...).", code="not-supported")
    try:
        parsed = query_parse(
            tenant_id=tenant_id_current(), rtype=rtype, pairs=pairs, base=base, zone=zone, is_strict=True, hidden=hidden
        )
    except FhirError as error:
        raise FhirError(error.status, f"_typeFilter: {error.diagnostics}", code=error.code) from None
    return parsed.query.terms


def filters_condition(filters: Sequence[tuple[Term, ...]]) -> Sql | None:
    """What meets one of the filters; None without any."""
    if not filters:
        return None
    parts = [Sql(f"(TRUE{joined.text})", joined.values) for joined in (conjunction(terms, "r") for terms in filters)]
    joined = sql_join(parts, " OR ")
    return Sql(f"({joined.text})", joined.values)

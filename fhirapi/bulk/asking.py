"""A kick-off: its parameters understood (STU2 2.5.1), and the row that the worker goes by."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from fhirapi.bulk.members import Level, filter_terms, patient_id, types_of
from fhirapi.models import BulkExport
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.search.dates import Zone, date_range
from fhirapi.store import lock_take
from fhirapi.validation import ID
from journal.audit import Actor, audit_record

Pairs = Sequence[tuple[str, str]]
NDJSON = "application/fhir+ndjson"
FORMATS = {NDJSON, "application/ndjson", "ndjson"}
ONCE = ("_outputFormat", "_since")
PARAMETERS = (*ONCE, "_type", "_typeFilter", "patient")
# Several filters in one parameter: the comma before the next type. Within a filter a comma means or.
BETWEEN = re.compile(r",(?=[A-Z][A-Za-z]*\?)")
FILTERS_MAX, PATIENTS_MAX = 20, 10_000
BUSY_SECONDS = 60


class TooManyExportsError(FhirError):
    """As many run for this hospital as may."""

    wait = BUSY_SECONDS

    def __init__(self) -> None:
        super().__init__(429, "As many exports of this hospital are running as may at once; wait, or cancel one.")


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Where and by whom is asked."""

    tenant_id: int
    base: str
    zone: Zone
    hidden: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What an export shall hold. No patients: nobody was named."""

    level: str
    rtypes: tuple[str, ...]
    since: datetime | None = None
    filters: tuple[tuple[str, str], ...] = ()
    patients: tuple[str, ...] = ()
    group_id: str = ""


def wish_read(*, level: str, pairs: Pairs, asker: Asker, is_lenient: bool, group_id: str = "") -> Wish:
    """Understand a kick-off. Raises FhirError 400, which names the parameter, or 403 for a type that is not for this caller."""
    known = {*PARAMETERS} - ({"patient"} if level == Level.SYSTEM else set())
    unknown = sorted({name for name, _ in pairs} - known)
    if unknown and not is_lenient:
        named = ", ".join(name for name in unknown if re.fullmatch(r"[_A-Za-z]{1,32}", name)) or "a parameter"
        raise FhirError(400, f"Not supported here, unless Prefer: handling=lenient: {named}.", code="not-supported")
    given = {name: [value for key, value in pairs if key == name and value] for name in PARAMETERS}
    for name in ONCE:
        if len(given[name]) > 1:
            raise FhirError(400, f"{name} is there more than once.", code="value")
    if given["_outputFormat"] and given["_outputFormat"][0].replace(" ", "+") not in FORMATS:
        raise FhirError(400, f"_outputFormat is {', '.join(sorted(FORMATS))}.", code="not-supported")
    rtypes = _types(level, given["_type"], asker, is_lenient)
    filters = _filters(rtypes, given["_typeFilter"], asker, is_lenient)
    return Wish(
        level=level, rtypes=rtypes, since=_since(given["_since"], asker.zone), filters=filters, group_id=group_id,
        patients=_patients(given["patient"], asker.base),
    )  # fmt: skip


def _since(values: list[str], zone: Zone) -> datetime | None:
    try:
        return date_range(text=values[0], zone=zone)[0] if values else None
    except FhirError:
        raise FhirError(400, "_since is no instant, as 2026-11-30T12:00:00Z.", code="value") from None


def _types(level: str, values: list[str], asker: Asker, is_lenient: bool) -> tuple[str, ...]:
    able = types_of(level)
    wanted = {name.strip() for value in values for name in value.split(",") if name.strip()}
    if wanted - set(able) and not is_lenient:
        why = "not held here" if wanted - set(TYPES) else "not of an export at this level"
        raise FhirError(400, f"_type names a type that is {why}.", code="not-supported")
    if wanted & asker.hidden:
        raise FhirError(403)
    found = tuple(name for name in able if name not in asker.hidden and (not values or name in wanted))
    if not found:
        raise FhirError(400, "_type names no type that can be exported.", code="not-supported")
    return found


def _filters(rtypes: tuple[str, ...], values: list[str], asker: Asker, is_lenient: bool) -> tuple[tuple[str, str], ...]:
    found = []
    for text in (part for value in values for part in BETWEEN.split(value)):
        rtype, mark, search = text.strip().partition("?")
        if rtype not in rtypes or not mark or not search:
            if is_lenient:
                continue
            raise FhirError(400, "_typeFilter is Type?search of a type that is exported.", code="value")
        filter_terms(rtype=rtype, search=search, base=asker.base, zone=asker.zone, hidden=asker.hidden)
        found.append((rtype, search))
    if len(found) > FILTERS_MAX:
        raise FhirError(400, f"_typeFilter has more than {FILTERS_MAX} searches.", code="too-costly")
    return tuple(found)


def _patients(values: list[str], base: str) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(patient_id(value, base=base) for value in values))
    if len(ids) > PATIENTS_MAX or not all(ID.fullmatch(one) for one in ids):
        raise FhirError(400, f"patient is a reference to a Patient of this server, {PATIENTS_MAX} at most.", code="value")
    return ids


def export_create(*, wish: Wish, asker: Asker, request: str, actor: Actor) -> BulkExport:
    """Note the moment and leave the rest to the worker. Raises TooManyExportsError. In a scope."""
    lock_take(names=["bulk"])
    if BulkExport.objects.filter(state=BulkExport.State.RUNNING).count() >= settings.MEDHUB_BULK_RUNNING:
        raise TooManyExportsError
    now = timezone.now()
    at = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as the store notes versions
    export: BulkExport = BulkExport.objects.create(
        level=wish.level, group_id=wish.group_id, request=request, base=asker.base, at=at, since=wish.since,
        rtypes=list(wish.rtypes), filters=[list(one) for one in wish.filters], patients=list(wish.patients),
        hidden=sorted(asker.hidden), created_at=now, due_at=now,
    )  # fmt: skip
    audit_record(
        actor=actor, action="fhir.export", object_type="BulkExport", object_id=str(export.uuid),
        detail={"level": wish.level, "types": len(wish.rtypes)},
    )  # fmt: skip
    return export

"""Pieces that several resources are made of: codings, references, quantities, ids, names, times."""

import html
import math
import re
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from ai.findings import Coding
from fhirapi.validation.primitives import is_primitive

Json = dict[str, Any]

HL7 = "http://hl7.org/fhir"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
URI = "urn:ietf:rfc:3986"
OURS = "https://medicalcloudaihub.com/fhir"
QUANTIFY = f"{OURS}/CodeSystem/quantify"
NAMESPACE = uuid5(NAMESPACE_URL, OURS)

AIAST = {"system": f"{TERMINOLOGY}/v3-ObservationValue", "code": "AIAST", "display": "Artificial Intelligence asserted"}
HTEST = {"system": f"{TERMINOLOGY}/v3-ActReason", "code": "HTEST", "display": "test health data"}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # neither in a FHIR string nor in XML
OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
OFFSET = re.compile(r"[+-]((0\d|1[0-3])[0-5]\d|1400)")  # as far as a FHIR dateTime goes
DIGITS = 6  # a measurement's significant digits: more is noise of binary floats


def text_of(value: str) -> str:
    """Received text as a FHIR string: no control characters, no edges of white space; empty when nothing is left."""
    return CONTROL.sub("", value).strip()


def escaped(value: str) -> str:
    """Text for a narrative's XHTML."""
    return html.escape(text_of(value), quote=True)


def filled(resource: Json) -> Json:
    """Without members that hold nothing: FHIR R4 2.6.2 forbids empty strings, arrays and objects."""
    return {name: value for name, value in resource.items() if value not in (None, "", [], {}, ())}


def coding(system: str, code: str, display: str = "") -> Json:
    return filled({"system": system, "code": code, "display": display})


def concept(*codings: Json, text: str = "") -> Json:
    return filled({"coding": list(codings), "text": text})


def coded(value: Coding) -> Json:
    """A contract coding; its display is the text as well, so a reader never meets a bare code."""
    return concept(coding(value.system, value.code, text_of(value.display)), text=text_of(value.display))


def reference(rtype: str, fhir_id: object) -> Json:
    return {"reference": f"{rtype}/{fhir_id}"}


def id_of(*parts: object) -> str:
    """The id of something that has no row: the same parts give the same id for ever."""
    return str(uuid5(NAMESPACE, "|".join(str(part) for part in parts)))


def urn_identifier(fhir_id: object) -> Json:
    return {"system": URI, "value": f"urn:uuid:{fhir_id}"}


def number_space(*, hospital: UUID, kind: str, issuer: str) -> str:
    """The system of a number that an issuer gave. A local issuer's name says nothing outside its hospital, so it stays inside."""
    if OID.fullmatch(issuer):
        return f"urn:oid:{issuer}"
    # What only begins like an OID or UUID would be no FHIR uri, and the whole resource would be refused for it.
    if issuer.startswith(("http://", "https://", "urn:")) and is_primitive("uri", issuer):
        return issuer
    name = f"/{quote(issuer, safe='')}" if issuer else ""
    return f"{OURS}/sid/{hospital}/{kind}{name}"


def number(value: float) -> int | float:
    """Rounded to six significant digits; whole numbers without a fraction. Raises ValueError for what is no number."""
    if not math.isfinite(value):
        raise ValueError("a measurement is no number")
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 10**15 else rounded


def quantity(value: float, *, code: str, unit: str) -> Json:
    return filled({"value": number(value), "unit": unit, "system": UCUM, "code": code})


def name_text(person_name: str) -> str:
    """A PN for people to read: the first group, family name last (PS3.5 6.2.1)."""
    family, given, middle, prefix, suffix = name_parts(text_of(person_name).split("=")[0])
    return " ".join(part for part in (prefix, given, middle, family, suffix) if part)


def name_parts(group: str) -> tuple[str, str, str, str, str]:
    """family, given, middle, prefix, suffix of one group of a PN."""
    parts = [part.strip() for part in group.split("\\")[0].split("^")][:5]
    family, given, middle, prefix, suffix = parts + [""] * (5 - len(parts))
    return family, given, middle, prefix, suffix


def date_of(da: str) -> str:
    """A DA as a FHIR date, "" unless it is a day of the calendar; a year or a month alone stay partial."""
    form = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d"}.get(len(da))
    if not form or not da.isascii() or not da.isdigit():
        return ""
    try:
        datetime.strptime(da, form)  # noqa: DTZ007 a date has no zone
    except ValueError:
        return ""
    return "-".join(part for part in (da[:4], da[4:6], da[6:8]) if part)


def date_time_of(*, da: str, tm: str, utc_offset: str, zone: tzinfo) -> str:
    """Study date and time as a FHIR dateTime: TimezoneOffsetFromUTC (0008,0201) where sent, else the hospital's zone.

    Without a usable time only the date: FHIR R4 has no dateTime of an hour alone.
    """
    date = date_of(da)
    clock = tm.replace(":", "").split(".")[0]
    if len(date) < 10 or len(clock) not in {4, 6} or not clock.isdigit():
        return date
    # A leap second has no place in Python's clock; PS3.5 6.2 allows it in a TM.
    clock = clock.ljust(6, "0")
    clock = clock[:4] + "59" if clock[4:] == "60" else clock
    try:
        moment = datetime.strptime(da + clock, "%Y%m%d%H%M%S")  # noqa: DTZ007 the zone comes next
    except ValueError:
        return date
    if OFFSET.fullmatch(utc_offset):
        return f"{moment.isoformat()}{utc_offset[:3]}:{utc_offset[3:]}"
    local = moment.replace(tzinfo=zone)
    offset = local.utcoffset()
    # Before time zones, local mean time had seconds, which a FHIR offset cannot say.
    if offset is not None and offset.total_seconds() % 60:
        local = local.astimezone(UTC)
    return local.isoformat()

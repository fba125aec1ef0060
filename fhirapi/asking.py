"""ServiceRequest -> what an order says: read without the database. Values that DICOM cannot hold are cut or left out."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from fhirapi.resources.imaging_study import SCHEMES
from fhirapi.resources.parts import DCM, OURS, Json
from fhirapi.resources.patient import GENDERS
from fhirapi.sources import HospitalRow
from imaging.describe import PatientFacts
from imaging.orders import OrderError, OrderFacts, StepFacts

STATUSES = {
    "active": "active", "on-hold": "on-hold", "unknown": "on-hold", "completed": "completed", "revoked": "revoked",
    "entered-in-error": "entered-in-error",
}  # fmt: skip
ORDERING = {"order", "original-order", "reflex-order", "filler-order", "instance-order"}  # intents: the others ask for nothing yet
CATEGORIES = {"363679005", "RAD", "imaging", "394914008"}  # SNOMED CT imaging and radiology, v2-0074, FHIR
PRIORITIES = {"routine": "ROUTINE", "urgent": "HIGH", "asap": "HIGH", "stat": "STAT"}
MODALITIES = {
    "CT": "CT", "MR": "MR", "MRI": "MR", "US": "US", "XR": "DX", "CR": "CR", "DX": "DX", "MG": "MG", "NM": "NM", "PT": "PT", "PET": "PT",
    "XA": "XA", "RF": "RF", "OP": "OP", "OPT": "OPT", "SM": "SM", "IO": "IO", "PX": "PX", "BMD": "BMD", "ES": "ES", "ECG": "ECG",
}  # fmt: skip
ISSUER_CHARS = 64
OTHER = "OT"  # PS3.3 C.7.3.1.1.1: no word of the request names the machine
WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a ServiceRequest orders, or why it cannot."""

    fhir_id: str
    resource: Json
    accession: tuple[str, str]  # issuer, number

    @property
    def subject(self) -> str:
        return subject_id(found=self.resource)


def asking_of(*, resource: Json, hospital: HospitalRow) -> Asking | None:
    """None for what is no order for imaging."""
    if resource.get("status") not in STATUSES or resource.get("intent") not in ORDERING:
        return None
    identifiers = [one for one in resource.get("identifier", ()) if one.get("value")]
    ours = _space("accession", hospital)
    number = next((one for one in identifiers if "ACSN" in _codes(one.get("type")) or one.get("system", "").startswith(ours)), None)
    if number is None and CATEGORIES.intersection(code for one in resource.get("category", ()) for code in _codes(one)):
        for kind in ("FILL", "PLAC"):
            number = number or next((one for one in identifiers if kind in _codes(one.get("type"))), None)
        number = number or next((one for one in identifiers if one.get("system") != "urn:dicom:uid"), None)
    if number is None:
        return None
    return Asking(
        fhir_id=resource["id"], resource=resource, accession=(_issuer(number, "accession", hospital), str(number["value"]).strip())
    )


def order_facts(*, one: Asking, patient: PatientFacts, hospital: HospitalRow) -> OrderFacts:
    """The order and its one step, in DICOM's attributes."""
    found, (issuer, number) = one.resource, one.accession
    words = _text(found.get("code"))
    attributes: dict[str, Any] = {
        "RequestedProcedurePriority": PRIORITIES.get(found.get("priority", ""), ""),
        "ReasonForTheRequestedProcedure": _fit(next((t for r in found.get("reasonCode", ()) if (t := _text(r))), ""), 64),
        "PlacerOrderNumberImagingServiceRequest": _fit(_number(found, "PLAC"), 64),
        "FillerOrderNumberImagingServiceRequest": _fit(_number(found, "FILL"), 64),
        "RequestedProcedureComments": _fit(next((str(n.get("text", "")) for n in found.get("note", ())), ""), 10_240),
        "RequestedProcedureCodeSequence": _procedure(found.get("code")),
    }
    start_date, start_time = _start(found, hospital.zone)
    location = next((_text(where) for where in found.get("locationCode", ())), "") or _display(found, "locationReference")
    step = StepFacts(
        modality=_modality(found), station=_station(found), start_date=start_date, start_time=start_time, description=_fit(words, 64),
        location=_fit(location, 16),
    )  # fmt: skip
    uid = next((str(i["value"]) for i in found.get("identifier", ()) if i.get("system") == "urn:dicom:uid" and i.get("value")), "")
    return OrderFacts(
        accession_number=number, issuer=issuer, patient=patient, status=STATUSES[found["status"]], description=_fit(words, 64),
        study_uid=uid.removeprefix("urn:oid:"), requester=_fit(str(found.get("requester", {}).get("display", "")), 64),
        referrer=_fit(str(found.get("requester", {}).get("display", "")), 64), attributes=attributes, steps=[step], ehr_id=one.fhir_id,
    )  # fmt: skip


def _modality(found: Json) -> str:
    """As a DCM coding says it; else the first word of a code's text that names one, as LOINC and RadLex procedures begin with it."""
    concepts = [*found.get("orderDetail", ()), found.get("code") or {}, *found.get("category", ())]
    for one in concepts:
        for coding in one.get("coding", ()):
            if coding.get("system") in {DCM, "urn:oid:1.2.840.10008.2.16.4"} and str(coding.get("code", "")).isupper():
                return _fit(str(coding["code"]), 16)
    texts = [text for one in concepts for text in (*(c.get("display", "") for c in one.get("coding", ())), one.get("text", ""))]
    named = (MODALITIES.get(word.upper()) for text in texts for word in WORD.findall(str(text))[:1])
    return next((modality for modality in named if modality), OTHER)


def _station(found: Json) -> str:
    """The AE title of the Device that shall do it, by its identifier or as it is called."""
    for one in found.get("performer", ()):
        if one.get("type") == "Device" or str(one.get("reference", "")).startswith("Device/"):
            title = str(one.get("identifier", {}).get("value", "") or one.get("display", "")).strip()
            if 0 < len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title:
                return title
    return ""


def _start(found: Json, zone: ZoneInfo) -> tuple[str, str]:
    """DA and TM in the hospital's zone; a date alone stays one."""
    timing = next(iter(found.get("occurrenceTiming", {}).get("event", ())), "")
    text = str(found.get("occurrenceDateTime") or found.get("occurrencePeriod", {}).get("start") or timing or "")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return "", ""
    if "T" not in text:
        return moment.strftime("%Y%m%d"), ""
    local = moment.astimezone(zone) if moment.tzinfo else moment
    return local.strftime("%Y%m%d"), local.strftime("%H%M%S")


def _procedure(code: Json | None) -> list[Json]:
    designators = {system: designator for designator, system in reversed(SCHEMES.items())}
    for one in (code or {}).get("coding", ()):
        value, scheme = str(one.get("code", "")), designators.get(one.get("system", ""), "")
        if scheme and 0 < len(value) <= 16:
            meaning = _fit(str(one.get("display", "")) or _text(code), 64) or value
            return [{"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}]
    return []


def subject_id(*, found: Json) -> str:
    """The id of the Patient it is for; "" where none is named by reference."""
    rtype, _, fhir_id = str(found.get("subject", {}).get("reference", "")).rpartition("/")
    return fhir_id if rtype == "Patient" or rtype.endswith("/Patient") else ""


def patient_facts(*, one: Asking, record: Json, hospital: HospitalRow) -> PatientFacts:
    """Whom the request is for, by their Patient (empty where it is not here). Raises OrderError when nobody can be found by that."""
    identifiers = [i for i in record.get("identifier", ()) if i.get("value")] or [one.resource.get("subject", {}).get("identifier", {})]
    chosen = next((i for i in identifiers if "MR" in _codes(i.get("type"))), None) or next(
        (i for i in identifiers if i.get("use") == "usual"), identifiers[0]
    )
    if not chosen.get("value"):
        raise OrderError("ServiceRequest.subject", "names no Patient here that has an identifier")
    sexes = {gender: sex for sex, gender in GENDERS.items()}
    return PatientFacts(
        issuer=_issuer(chosen, "patient-id", hospital), patient_id=str(chosen["value"]).strip(), name=_person_name(record),
        birth_date=str(record.get("birthDate", "")).replace("-", "") if len(str(record.get("birthDate", ""))) == 10 else "",
        sex=sexes.get(record.get("gender", ""), ""),
    )  # fmt: skip


def _person_name(record: Json) -> str:
    names = record.get("name", ())
    name = next((n for n in names if n.get("use") == "official"), next(iter(names), {}))
    given, prefix, suffix = (" ".join(name.get(part, ())) for part in ("given", "prefix", "suffix"))
    parts = [name.get("family", ""), given, "", prefix, suffix]
    clean = "^".join(re.sub(r"[\\^=\x00-\x1f]", " ", str(part)).strip() for part in parts).rstrip("^")
    return clean or _fit(re.sub(r"[\\^=]", " ", str(name.get("text", ""))), 64)


def _space(kind: str, hospital: HospitalRow) -> str:
    return f"{OURS}/sid/{hospital.uuid}/{kind}"


def _issuer(identifier: Json, kind: str, hospital: HospitalRow) -> str:
    """The inverse of `number_space`; nothing for what an Issuer attribute cannot hold."""
    system, ours = str(identifier.get("system", "")), _space(kind, hospital)
    if system == ours or not system:
        return ""
    if system.startswith(f"{ours}/"):
        return unquote(system.removeprefix(f"{ours}/"))
    issuer = system.removeprefix("urn:oid:")
    return issuer if len(issuer) <= ISSUER_CHARS else ""


def _codes(concept: Json | None) -> set[str]:
    return {str(coding.get("code", "")) for coding in (concept or {}).get("coding", ())}


def _text(concept: Json | None) -> str:
    found = concept or {}
    return str(found.get("text") or next((c["display"] for c in found.get("coding", ()) if c.get("display")), ""))


def _number(found: Json, kind: str) -> str:
    return next((str(i["value"]) for i in found.get("identifier", ()) if kind in _codes(i.get("type")) and i.get("value")), "")


def _display(found: Json, name: str) -> str:
    return next((str(one["display"]) for one in found.get(name, ()) if one.get("display")), "")


def _fit(text: str, chars: int) -> str:
    """As an attribute of DICOM may hold it: printable, without a backslash, cut to its length."""
    return "".join(char if char.isprintable() and char != "\\" else " " for char in text)[:chars].strip()

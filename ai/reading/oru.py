"""ORU^R01 -> the JSON that a hook takes: for AI platforms that answer by HL7 v2. What the JSON's own reader refuses is refused here too.

Nothing is interpreted: a number with its unit, a coded value, or the sender's words, each under the code that OBX-3 names. Abnormal flags
and reference ranges are not findings and are left out.
"""

import re
from typing import Any

import hl7

from imaging.hl7.errors import MessageRefused
from imaging.hl7.reading import Told, repetitions, value_of

SYSTEMS = {
    "LN": "http://loinc.org", "SCT": "http://snomed.info/sct", "SRT": "http://snomed.info/srt", "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "RADLEX": "http://radlex.org", "UCUM": "http://unitsofmeasure.org",
}  # fmt: skip
STUDY_UID = "110180"
GONE = {"X", "D", "W", "N", "I", "O"}  # table 0085: no result, deleted, wrong, not asked, pending, order detail only
NUMBERS, CODED, WORDS = {"NM"}, {"CE", "CWE", "CNE", "CF"}, {"ST", "TX", "FT", "IS", "ID"}
NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})", re.ASCII)  # an NM (2.A.46): no exponent, no NaN, no 1_000
FAILED = {"X"}  # OBR-25, table 0123: no results available, order cancelled


def answer_of_message(*, told: Told, job_id: str) -> dict[str, Any]:
    """Raises MessageRefused, naming segment and field."""
    observations = [one for one in told.segments("OBX") if value_of(one, 11).upper() not in GONE]
    uids = [value_of(one, 5) for one in observations if value_of(one, 3) == STUDY_UID]
    findings = [_finding(one) for one in observations if value_of(one, 3) != STUDY_UID]
    answer: dict[str, Any] = {"job_id": job_id, "status": "done", "model": _model(told), "findings": findings}
    if told.value("OBR", 25).upper() in FAILED:
        return {"job_id": job_id, "status": "failed", "model": answer["model"]}
    if not findings:
        raise MessageRefused("OBX", "says nothing")
    return answer | ({"study_uid": uids[0]} if uids else {})


def study_uid_of(told: Told) -> str:
    """The study that the message names, by DCM 110180; empty without."""
    return next((value_of(one, 5) for one in told.segments("OBX") if value_of(one, 3) == STUDY_UID), "")


def _model(told: Told) -> dict[str, str]:
    """OBX-18 (equipment instance identifier): the model and its version; without them nobody knows who says it."""
    for one in told.segments("OBX"):
        name, version = value_of(one, 18), value_of(one, 18, 2)
        if name and version:
            return {"name": name[:64], "version": version[:64]}
    raise MessageRefused("OBX-18", "names no model and version (as name^version)")


def _finding(one: hl7.Segment) -> dict[str, Any]:
    kind, code = value_of(one, 2).upper(), value_of(one, 3)
    if not code:
        raise MessageRefused("OBX-3", "is missing")
    found: dict[str, Any] = {"code": code[:64], "system": _system(value_of(one, 3, 3)), "display": value_of(one, 3, 2)[:200] or code[:64]}
    if site := value_of(one, 20):
        found["bodySite"] = {"code": site[:64], "system": _system(value_of(one, 20, 3)), "display": value_of(one, 20, 2)[:200] or site[:64]}
    if kind in NUMBERS:
        return found | _number(one)
    if kind in CODED:
        value = value_of(one, 5)
        if not value:
            raise MessageRefused("OBX-5", "is missing")
        found["value"] = {"code": value[:64], "system": _system(value_of(one, 5, 3)), "display": value_of(one, 5, 2)[:200] or value[:64]}
        return found | _probability(one)
    if kind in WORDS:
        return found | {"words": _text(one)[:1_000]} | _probability(one)
    raise MessageRefused("OBX-2", "is a type of value that is not read here")


def _number(one: hl7.Segment) -> dict[str, Any]:
    if not NUMBER.fullmatch(text := value_of(one, 5)):
        raise MessageRefused("OBX-5", "is no number")
    value = float(text)
    unit = value_of(one, 6)
    if not unit:
        raise MessageRefused("OBX-6", "names no unit: 1 for a number without one")
    return {"value": value, "unit": unit[:64], "unit_display": (value_of(one, 6, 2) or unit)[:32]}


def _probability(one: hl7.Segment) -> dict[str, Any]:
    text = value_of(one, 9)
    if not text:
        return {}
    share = float(text) if NUMBER.fullmatch(text) else -1.0
    if not 0 <= share <= 1:
        raise MessageRefused("OBX-9", "is no probability from 0 to 1")
    return {"probability": share}


def _text(one: hl7.Segment) -> str:
    """All repetitions, in their order; formatting escapes are line ends."""
    return " ".join(filter(None, (value_of(one, 5, repetition=n) for n in range(1, repetitions(one, 5) + 1))))


def _system(name: str) -> str:
    """HL7 table 0396's name of a coding system as FHIR calls it; any other stays the sender's."""
    return SYSTEMS.get(name.upper(), f"urn:hl7:{name}" if name else "urn:hl7:L")[:200]

"""Data sets of workitems in the DICOM JSON Model (PS3.18 Annex F): read from outside with limits, checked, changed, shown."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

Dataset = dict[str, Any]

BODY_BYTES = 1 << 20
ELEMENTS, DEPTH, VALUES = 5_000, 8, 2_000

SOP_CLASS, SOP_INSTANCE, TRANSACTION, STATE = "00080016", "00080018", "00081195", "00741000"
PROGRESS, PERFORMED, PRIORITY = "00741002", "00741216", "00741200"
WORKLIST_LABEL, LABEL = "00741202", "00741204"
START, READINESS, INPUT, OUTPUT = "00404005", "00404041", "00404021", "00404033"
STATION, STATION_CLASS, STATION_PLACE, HUMANS = "00404025", "00404026", "00404027", "00404034"
WORKITEM_CODE, MODIFIED, PARAMETERS, REPLACED = "00404018", "00404010", "00741210", "00741224"
PERFORMED_STATION, PERFORMED_CODE, PERFORMED_START, PERFORMED_END = "00404028", "00404019", "00404050", "00404051"
DISCONTINUED, CANCELED_AT, REASON = "0074100E", "00404052", "00741238"
CONTACT_URI, CONTACT_NAME, REQUESTING_AE = "0074100A", "0074100C", "00741236"
CODE_VALUE, CODE_SCHEME, CODE_MEANING = "00080100", "00080102", "00080104"
PATIENT_ID, PATIENT_NAME, STUDY = "00100020", "00100010", "0020000D"

PRIORITIES, READINESSES = ("HIGH", "MEDIUM", "LOW"), ("READY", "UNAVAILABLE", "INCOMPLETE")
UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"

# PS3.4 table CC.2.5-3, N-SET "not allowed": who it is about and what it is part of stands when it is created.
FIXED_GROUPS = ("0010", "0038")
FIXED = frozenset({SOP_CLASS, SOP_INSTANCE, STATE, STUDY, "00080082", "0040A370", REPLACED})
OF_PERFORMERS = frozenset({PROGRESS, PERFORMED})  # all that an AI platform has to say
_TAG, _VR = re.compile(r"[0-9A-F]{8}"), re.compile(r"[A-Z]{2}")


class DatasetError(Exception):
    """The body is no data set that we take; the words say why without a value of it."""


def dataset_read(body: bytes) -> Dataset:
    """One data set: an object, or a list with one. Raises DatasetError."""
    try:
        found = orjson.loads(body)
    except ValueError:
        raise DatasetError("the body is not JSON") from None
    if isinstance(found, list):
        if len(found) != 1:
            raise DatasetError("the body holds one data set")
        found = found[0]
    if not isinstance(found, dict):
        raise DatasetError("the body is not a data set in the DICOM JSON Model")
    _Checker().dataset(found, 0)
    return found


class _Checker:
    """Walks a data set once, counting."""

    def __init__(self) -> None:
        self._left = ELEMENTS

    def dataset(self, found: Mapping[str, Any], depth: int) -> None:
        if depth > DEPTH:
            raise DatasetError("the data set is nested too deeply")
        self._left -= len(found)
        if self._left < 0:
            raise DatasetError("the data set has too many elements")
        for tag, element in found.items():
            if not _TAG.fullmatch(tag) or not isinstance(element, dict):
                raise DatasetError("an element is not named by its tag, eight hexadecimal digits in upper case")
            self._element(element, depth)

    def _element(self, element: Mapping[str, Any], depth: int) -> None:
        vr, values = element.get("vr"), element.get("Value", [])
        if not isinstance(vr, str) or not _VR.fullmatch(vr) or not isinstance(values, list) or len(values) > VALUES:
            raise DatasetError("an element has no VR, or its Value is no list")
        if set(element) - {"vr", "Value"}:
            raise DatasetError("bulk data and binary values have no place in a workitem")
        for value in values:
            self._value(vr, value, depth)

    def _value(self, vr: str, value: Any, depth: int) -> None:
        if vr == "SQ":
            if not isinstance(value, dict):
                raise DatasetError("an item of a sequence is no data set")
            self.dataset(value, depth + 1)
        elif isinstance(value, dict):
            if vr != "PN" or not all(isinstance(text, str) and "\0" not in text for text in value.values()):
                raise DatasetError("a value is of another kind than its VR")
        elif isinstance(value, list) or (isinstance(value, str) and "\0" in value):
            raise DatasetError("a value is of another kind than its VR")


def text_of(found: Mapping[str, Any], tag: str) -> str:
    """The first value as text; empty when there is none."""
    values = (found.get(tag) or {}).get("Value") or []
    value = values[0] if values else ""
    if isinstance(value, dict):
        value = value.get("Alphabetic", "")
    return str(value).strip() if value is not None else ""


def items_of(found: Mapping[str, Any], tag: str) -> list[Dataset]:
    values = (found.get(tag) or {}).get("Value") or []
    return [item for item in values if isinstance(item, dict)]


def code_of(found: Mapping[str, Any], tag: str) -> str:
    """The code value of the first item of a code sequence."""
    return next((text_of(item, CODE_VALUE) for item in items_of(found, tag)), "")


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    return {
        CODE_VALUE: element("SH", value), CODE_SCHEME: element("SH", scheme), CODE_MEANING: element("LO", meaning),
    }  # fmt: skip


def sequence(*items: Dataset) -> dict[str, Any]:
    return element("SQ", *items)


def shown(found: Mapping[str, Any], tags: Iterable[str]) -> Dataset:
    return {tag: found[tag] for tag in tags if tag in found}


def is_fixed(tag: str) -> bool:
    return tag in FIXED or tag.startswith(FIXED_GROUPS)


def completed_check(found: Mapping[str, Any]) -> bool:
    """Does it have what a COMPLETED one must have (PS3.4 table CC.2.5-3, "P")? Output may be empty, and is then said to be."""
    performed = items_of(found, PERFORMED)
    if len(performed) != 1:
        return False
    done = performed[0]
    has_codes = all(code_of(done, tag) for tag in (PERFORMED_STATION, PERFORMED_CODE))
    return has_codes and all(text_of(done, tag) for tag in (PERFORMED_START, PERFORMED_END)) and OUTPUT in done


def canceled_complete(found: Dataset, *, at: str, reason: Dataset | None = None) -> None:
    """Give it what a CANCELED one must have ("X") where its performer has not: when, and why."""
    (progress,) = items_of(found, PROGRESS)[:1] or ({},)
    if not text_of(progress, CANCELED_AT):
        progress[CANCELED_AT] = element("DT", at)
    if not code_of(progress, DISCONTINUED):
        progress[DISCONTINUED] = sequence(reason or code("110513", "DCM", "Discontinued for unspecified reason"))
    found[PROGRESS] = sequence(progress)

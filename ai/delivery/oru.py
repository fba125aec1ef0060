"""A report version as ORU^R01 (HL7 v2.5.1 7.3.1, or 2.3.1): what the sheet says, line by line, and each measurement as a number.

The sheet is the one that the page, the paper and the PDF show: no sentence is here that is not there.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from ai.delivery.dossier import content_of, shown_sheet
from ai.delivery.sending import RefusedError, Sent
from ai.delivery.services import ORU
from ai.findings import ReportContent
from ai.models import REJECTED, Report, ReportDelivery
from ai.printing.sheet import FindingLine, MeasurementLine, ReportSheet
from ai.review.applied import content_shown
from imaging.hl7.client import NotTakenError, message_send
from imaging.hl7.destinations import destination_get
from imaging.models import Hl7Destination, Study
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_get

STATUSES = {"preliminary": "P", "final": "F", "amended": "C", "cancelled": "X", "entered-in-error": "X"}  # table 0123
RESULTS = STATUSES | {"cancelled": "D", "entered-in-error": "W"}  # table 0085: deleted; posted wrong
PLACER, FILLER = "00402016", "00402017"
SYSTEMS = {"http://loinc.org": "LN", "http://snomed.info/sct": "SCT", "http://dicom.nema.org/resources/ontology/DCM": "DCM"}
BROKEN_TRIES = 5
GONE = "the destination was removed"


def report_send(row: ReportDelivery) -> Sent:
    """Outside of any scope. Raises RefusedError, in words of ours; AE is tried again, AR is not."""
    with tenant_scope(row.tenant_id):
        destination = destination_get(destination_id=int(row.target))
        if destination is None:
            raise RefusedError(GONE, is_permanent=True)
        if _is_overtaken(row):
            raise RefusedError("a newer version of the report was sent already", is_permanent=True)
        body = report_message(report=row.report, destination=destination, control_id=str(row.id))
    try:
        code = message_send(destination=destination, body=body, control_id=str(row.id))
    except NotTakenError as error:
        # AE: something is wrong with it, there or here; a few tries, then a person looks.
        is_over = error.is_permanent or (error.is_broken and row.attempts >= BROKEN_TRIES)
        raise RefusedError(error.user_message, is_permanent=is_over) from None
    return Sent(words=f"acknowledged ({code})")


def _is_overtaken(row: ReportDelivery) -> bool:
    newer = ReportDelivery.objects.filter(report__uuid=row.report.uuid, report__version__gt=row.report.version, kind=ORU, target=row.target)
    return newer.filter(state=ReportDelivery.State.SENT).exists()


def report_message(*, report: Report, destination: Hl7Destination, control_id: str) -> bytes:
    """In a scope; the same bytes whenever it is made of the same rows. UTF-8."""
    study = Study.objects.select_related("patient", "order").get(id=report.study_id)
    zone = ZoneInfo(tenant_get(tenant_id=report.tenant_id).time_zone)
    sheet, content = shown_sheet(report=report), content_of(report)
    status, at = RESULTS[report.status], _moment(report.issued_at, zone)
    head = [
        "MSH", "^~\\&", destination.sending_application, destination.sending_facility, destination.receiving_application,
        destination.receiving_facility, at, "", "ORU^R01^ORU_R01" if destination.version != "2.3.1" else "ORU^R01", control_id, "P",
        destination.version, "", "", "", "", "", "UNICODE UTF-8",
    ]  # fmt: skip
    lines = [
        "|".join((head[0], head[1], *(one if "^" in one else escaped(one) for one in head[2:]))),
        *_who(study), *_asked(study, sheet, report, at),
    ]  # fmt: skip
    observed = (*_numbers(report, content), *_words(sheet))
    for number, (kind, code, value, unit) in enumerate(observed, start=1):
        fields = ["OBX", str(number), kind, code, str(number), value, unit, "", "", "", "", status, "", "", at]
        lines.append("|".join(fields))
    return "\r".join(lines).encode() + b"\r"


def _who(study: Study) -> Iterator[str]:
    patient = study.patient
    number = f"{escaped(patient.patient_id)}^^^{escaped(patient.issuer)}^MR" if patient.patient_id else ""
    yield f"PID|1||{number}||{_names(patient.name)}||{escaped(patient.birth_date)}|{escaped(patient.sex)}"


def _names(person_name: str) -> str:
    """PN to XPN: a repetition each way of writing."""
    found = []
    for group, code in zip(person_name.split("=")[:3], "AIP", strict=False):
        family, given, middle, prefix, suffix = ([escaped(part.strip()) for part in group.split("^")] + [""] * 5)[:5]
        if family or given:
            found.append(f"{family}^{given}^{middle}^{suffix}^{prefix}^^L^{code}")
    return "~".join(found)


def _asked(study: Study, sheet: ReportSheet, report: Report, at: str) -> Iterator[str]:
    order = study.order
    extra: dict[str, Any] = orjson.loads(order.extra) if order is not None and order.extra else {}
    placer, filler = escaped(str(extra.get(PLACER, ""))), escaped(str(extra.get(FILLER, "")) or study.accession_number)
    yield f"ORC|RE|{placer}|{filler}"
    taken = study.study_date + study.study_time.split(".")[0].replace(":", "") if study.study_date else ""
    fields = {
        1: "1", 2: placer, 3: filler, 4: f"{escaped(report.algorithm)}^{escaped(sheet.title)}^99MEDHUB", 7: escaped(taken),
        18: escaped(study.accession_number), 22: at, 24: escaped(study.modalities.split(",")[0]), 25: STATUSES[report.status],
    }  # fmt: skip
    yield "|".join(("OBR", *(fields.get(number, "") for number in range(1, 26))))


def _numbers(report: Report, content: ReportContent) -> Iterator[tuple[str, str, str, str]]:
    yield "ST", "110180^Study Instance UID^DCM", escaped(content.study_uid), ""
    if report.status in REJECTED:  # nothing that was rejected is said again
        return
    for item in content_shown(content).measurements:
        system = SYSTEMS.get(item.code.system, "99MEDHUB")
        where = f" ({item.body_site.display})" if item.body_site else ""
        code = f"{escaped(item.code.code)}^{escaped(item.code.display + where)}^{system}"
        yield "NM", code, number_of(item.value), f"{escaped(item.unit)}^{escaped(item.unit_display or item.unit)}^UCUM"


def number_of(value: float) -> str:
    """An NM (HL7 v2.5.1 2.A.46): digits, a sign, a point; six of them count, as in FHIR. Never a separator of thousands."""
    rounded = float(f"{value:.6g}")
    return str(int(rounded)) if rounded.is_integer() else format(Decimal(repr(rounded)), "f")


def _words(sheet: ReportSheet) -> Iterator[tuple[str, str, str, str]]:
    """Each sentence of the sheet: what it is, and what it says."""
    said = [
        ("Notice", sheet.notice), ("Report", f"{sheet.title}. {sheet.status}, {sheet.version}, {sheet.issued}"),
        *(("Recall", text) for text in sheet.recalls),
        ("Decision", sheet.decision), ("Flag", sheet.flag), ("Not analysable", sheet.not_analysable),
        *(("Finding", _finding(one)) for one in sheet.findings), *(("Measurement", _measurement(one)) for one in sheet.measurements),
        *(("Correction", f"{one.term}: {one.before}, corrected to {one.after}") for one in sheet.corrections),
        *(("Region", f"{one.label}: {one.text}") for one in sheet.regions), *(("Note", text) for text in (*sheet.documents, *sheet.notes)),
        ("Wording", f"{sheet.wording.label}: {sheet.wording.text}" if sheet.wording else ""),
        *(("Made by", f"{one.label}: {one.text}") for one in sheet.made_by),
    ]  # fmt: skip
    return (("TX", f"{name}^{name}^99MEDHUB", escaped(text), "") for name, text in said if text)


def _finding(one: FindingLine) -> str:
    told = ", ".join(filter(None, (one.term, one.value, one.place, one.certainty, one.code, one.images)))
    return f'{told}: "{one.words}"' if one.words else told


def _measurement(one: MeasurementLine) -> str:
    return ", ".join(filter(None, (one.term, one.place, f"{one.value} {one.unit}".strip(), one.method, one.images)))


def escaped(text: str) -> str:
    """HL7 v2.5.1 2.7: separators and ends of lines as escapes; no other control character."""
    for char, code in (("\\", "\\E\\"), ("|", "\\F\\"), ("^", "\\S\\"), ("&", "\\T\\"), ("~", "\\R\\")):
        text = text.replace(char, code)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\.br\\")
    return "".join(char if char.isprintable() else " " for char in text)


def _moment(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%Y%m%d%H%M%S%z")

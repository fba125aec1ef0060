"""ORM^O01 (HL7 v2.3.1, IHE RAD-4) and OMI^O23 (v2.5.1): an order group each ORC, a scheduled step each OBR or IPC."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import hl7

from imaging.hl7.errors import MessageRefused
from imaging.hl7.reading import Told, date_time_of, first_of, fit, patient_facts, person_name, value_of
from imaging.orders import OrderError, OrderFacts, StepFacts, order_upsert
from journal.audit import Actor
from journal.wall.scope import tenant_id_current
from tenants.models import Hl7Source
from tenants.selectors import tenant_get

CONTROLS = {  # table 0119
    **dict.fromkeys(("NW", "SN", "XO", "XX", "RO", "RP", "RU", "RL", "SC", "PA", "CH", "SR", "NA"), "active"),
    **dict.fromkeys(("CA", "OC", "DC", "OD", "CR", "DR"), "revoked"),
    **dict.fromkeys(("HD", "OH", "HR"), "on-hold"),
}
STATES = {"CM": "completed", "CA": "revoked", "DC": "revoked", "HD": "on-hold", "ER": "entered-in-error"}  # table 0038, with ORC-1 SC
GONE = {"revoked", "entered-in-error"}
PRIORITIES = {
    "S": "STAT", "STAT": "STAT", "A": "HIGH", "ASAP": "HIGH", "U": "HIGH", "URGENT": "HIGH", "R": "ROUTINE", "ROUTINE": "ROUTINE",
}  # fmt: skip
MODALITIES = {  # table 0074 where it does not say what DICOM says
    "NMR": "MR", "MRI": "MR", "RUS": "US", "CUS": "US", "VUS": "US", "OUS": "US", "NMS": "NM", "XRC": "XA", "XR": "DX", "RX": "DX",
    "PET": "PT", "RAD": "OT", "IMG": "OT",
}  # fmt: skip
OTHER = "OT"
SCHEMES = {"L": "99LOCAL", "99ZZZ": "99LOCAL", "RADLEX": "RADLEX", "LN": "LN", "SCT": "SCT"}


@dataclass
class Group:
    """An ORC with what follows it up to the next."""

    segments: list[hl7.Segment] = field(default_factory=list)

    def all(self, name: str) -> list[hl7.Segment]:
        return [segment for segment in self.segments if str(segment[0]) == name]

    def value(self, name: str, number: int, part: int = 1, *, sub: int = 1) -> str:
        found = self.all(name)
        return value_of(found[0], number, part, sub=sub) if found else ""


def order_message_take(*, actor: Actor, told: Told, source: Hl7Source, body: bytes) -> None:
    """Each accession number of the message is an order. Raises MessageRefused; then none of them was written."""
    found = told.segments("PID")
    if not found:
        raise MessageRefused("PID", "is not there")
    patient, zone = patient_facts(found[0]), ZoneInfo(tenant_get(tenant_id=tenant_id_current()).time_zone)
    orders: dict[tuple[str, str], list[Group]] = {}
    for group in _groups(told):
        orders.setdefault(_accession(group), []).append(group)
    if not orders:
        raise MessageRefused("ORC", "is not there")
    for (issuer, number), groups in orders.items():
        status, groups = _standing(groups)
        steps = [step for group in groups for step in _steps(group, zone)]
        facts = OrderFacts(
            accession_number=number, issuer=issuer, patient=patient, status=status, steps=steps, **_facts(told, groups[0])
        )
        try:
            order_upsert(actor=actor, facts=facts)
        except OrderError as error:
            raise MessageRefused(PLACES.get(error.field, "OBR"), f"{error}") from None


PLACES = {
    "accession_number": "OBR-18", "patient.patient_id": "PID-3", "patient.name": "PID-5", "study_uid": "ZDS-1", "step.modality": "OBR-24",
    "procedure_id": "OBR-19", "step_id": "OBR-20", "step.step_id": "OBR-20", "step.start_time": "OBR-27",
}  # fmt: skip


def _groups(told: Told) -> Iterator[Group]:
    group: Group | None = None
    for segment in told.message:
        if str(segment[0]) == "ORC":
            if group is not None:
                yield group
            group = Group()
        if group is not None:
            group.segments.append(segment)
    if group is not None:
        yield group


def _accession(group: Group) -> tuple[str, str]:
    """(issuer, number): IPC-1, OBR-18 (IHE RAD-4), then the filler's number, then the placer's."""
    ipc = group.all("IPC")
    if ipc and (number := value_of(ipc[0], 1)):
        return fit(value_of(ipc[0], 1, 2) or value_of(ipc[0], 1, 3), 64), number
    number = first_of([group.value("OBR", 18), group.value("ORC", 3), group.value("OBR", 3), group.value("ORC", 2), group.value("OBR", 2)])
    if not number:
        raise MessageRefused("OBR-18", "names no accession number, nor do IPC-1, ORC-3 and ORC-2")
    return "", number


def _status(group: Group) -> str:
    control = group.value("ORC", 1).upper() or "NW"
    if control not in CONTROLS:
        raise MessageRefused("ORC-1", "is an order control that is not taken here")
    if control == "SC":
        return STATES.get(group.value("ORC", 5).upper(), "active")
    return CONTROLS[control]


def _standing(groups: list[Group]) -> tuple[str, list[Group]]:
    """The status of an accession number, and which of its procedures stand: one that is cancelled beside others takes itself away alone."""
    states = [_status(group) for group in groups]
    standing = [group for group, state in zip(groups, states, strict=True) if state not in GONE]
    if not standing:
        return states[0], groups
    return next(state for state in states if state not in GONE), standing


def _facts(told: Told, group: Group) -> dict[str, Any]:
    ipc = group.all("IPC")
    pv1 = told.segments("PV1")
    obr = group.all("OBR")
    ordering = first_of([person_name(segment, number, first=2) for segment, number in ((s, 16) for s in obr)])
    ordering = ordering or first_of([person_name(segment, 12, first=2) for segment in group.all("ORC")])
    referring = first_of([person_name(segment, 8, first=2) for segment in pv1]) or ordering
    location = " ".join(filter(None, (told.value("PV1", 3, part) for part in (1, 2, 3))))
    return {
        "procedure_id": fit(value_of(ipc[0], 2) if ipc and value_of(ipc[0], 2) else group.value("OBR", 19), 16),
        "description": fit(first_of([group.value("OBR", 4, 2), group.value("OBR", 4, 5), group.value("OBR", 4)]), 64),
        "study_uid": first_of([value_of(ipc[0], 3) if ipc else "", *[value_of(segment, 1) for segment in told.segments("ZDS")]]),
        "referrer": referring, "requester": ordering,
        "attributes": {
            "PlacerOrderNumberImagingServiceRequest": fit(first_of([group.value("ORC", 2), group.value("OBR", 2)]), 64),
            "FillerOrderNumberImagingServiceRequest": fit(first_of([group.value("ORC", 3), group.value("OBR", 3)]), 64),
            "RequestedProcedurePriority": _priority(group),
            "ReasonForTheRequestedProcedure": fit(first_of([group.value("OBR", 31, 2), group.value("OBR", 31)]), 64),
            "RequestedProcedureCodeSequence": _code(group),
            "AdditionalPatientHistory": fit(group.value("OBR", 13), 1_000),
            "MedicalAlerts": fit(first_of([group.value("OBR", 12, 2), group.value("OBR", 12)]), 64),
            "PatientTransportArrangements": fit(group.value("OBR", 30), 64),
            "AdmissionID": fit(told.value("PV1", 19), 64), "CurrentPatientLocation": fit(location, 64),
            "Allergies": fit(", ".join(first_of([value_of(s, 3, 2), value_of(s, 3)]) for s in told.segments("AL1")), 64),
            "RequestedProcedureComments": fit(" ".join(value_of(segment, 3) for segment in group.all("NTE")), 1_000),
        },
    }  # fmt: skip


def _steps(group: Group, zone: ZoneInfo) -> list[StepFacts]:
    start_date, start_time = _start(group, zone)
    common: dict[str, Any] = {"start_date": start_date, "start_time": start_time}
    description = fit(first_of([group.value("OBR", 4, 2), group.value("OBR", 4)]), 64)
    ipc = group.all("IPC")
    if not ipc:
        step_id = fit(group.value("OBR", 20), 16)
        return [StepFacts(modality=_modality(group.value("OBR", 24)), step_id=step_id, description=description, **common)]
    return [
        StepFacts(
            modality=_modality(value_of(one, 5) or group.value("OBR", 24)), step_id=fit(value_of(one, 4), 16), station=_station(one),
            description=fit(value_of(one, 6, 2), 64) or description, location=fit(value_of(one, 8), 16), **common,
            attributes={"ScheduledStationName": fit(value_of(one, 7), 16), "ScheduledProtocolCodeSequence": _coded(one, 6)},
        )
        for one in ipc
    ]  # fmt: skip


def _modality(text: str) -> str:
    """A DICOM modality, table 0074's word for one, else Other: never a guess from a procedure's name."""
    word = text.upper()
    if word in MODALITIES:
        return MODALITIES[word]
    return word if 2 <= len(word) <= 16 and word.isascii() and word.isalpha() else OTHER


def _station(segment: hl7.Segment) -> str:
    title = value_of(segment, 9)
    return title if len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title else ""


def _start(group: Group, zone: ZoneInfo) -> tuple[str, str]:
    given = [group.value("TQ1", 7), group.value("OBR", 27, 4), group.value("ORC", 7, 4), group.value("OBR", 36), group.value("OBR", 6)]
    return next((found for text in given if (found := date_time_of(text, zone=zone))[0]), ("", ""))


def _priority(group: Group) -> str:
    given = [group.value("TQ1", 9), group.value("OBR", 27, 6), group.value("ORC", 7, 6), group.value("OBR", 5)]
    return next((PRIORITIES[text.upper()] for text in given if text.upper() in PRIORITIES), "")


def _code(group: Group) -> list[dict[str, str]]:
    found = group.all("OBR")
    return _coded(found[0], 4) if found else []


def _coded(segment: hl7.Segment, number: int) -> list[dict[str, str]]:
    code, meaning, scheme = (value_of(segment, number, part) for part in (1, 2, 3))
    if not code or len(code) > 16:
        return []
    words = fit(meaning, 64) or code
    return [{"CodeValue": fit(code, 16), "CodingSchemeDesignator": SCHEMES.get(scheme, fit(scheme, 16)) or "99LOCAL", "CodeMeaning": words}]


__all__: Sequence[str] = ("order_message_take",)

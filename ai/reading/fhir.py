"""FHIR R4 -> Answer: a Bundle with a DiagnosticReport and Observations, or one of these. Called by platforms that answer in FHIR."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ai.findings import Algorithm, Answer, Coding, Finding, ImageRef, Measurement, Note, Parameter
from ai.reading.part10 import hostile, refusal
from ai.reading.said import FINDING, MAX_SAID, Said, answer_of
from ai.reading.schemes import DCM, HUB, SCT, UCUM, words
from ai.reading.units import is_ucum

Json = Mapping[str, Any]
MAX_RESOURCES = 4_000
MAX_VALUE = 1e15
GONE = {"entered-in-error", "cancelled"}
PRESENT = Coding(system=SCT, code="52101004", display="Present")
ABSENT = Coding(system=SCT, code="272519000", display="Absent")
# Components that say something about the observation, not beside it.
CERTAINTY, LATERALITY = (DCM, "111012"), (SCT, "272741003")
FLAG = (HUB, "flagged")
ONE_IMAGE, ONE_SERIES = (HUB, "sop-instance-uid"), (DCM, "112002")


def bundle_read(data: Json, *, algorithm: Algorithm) -> Answer:
    """The answer of a Bundle, a DiagnosticReport with contained Observations, or one Observation.

    `study_uid` is empty where no ImagingStudy names it: whoever knows the job fills it. Raises PlatformError for other shapes,
    numbers that are none, two studies, a report that was withdrawn, silence. What is not understood is not taken, and noted.
    """
    with hostile("the FHIR answer has a wrong shape"):
        resources = list(_resources(data))
        said = _together(resources)
        studies = {uid for one in resources if one["resourceType"] == "ImagingStudy" for uid in _study_uids(one)}
        if len(studies) > 1:
            raise refusal("the FHIR answer is about several studies")
        return answer_of(said, algorithm=algorithm, study_uid=next(iter(studies), ""))


def _resources(data: Json) -> Iterator[Json]:
    """All resources, contained ones too, as far as the limit goes."""
    waiting: list[Json] = [data]
    count = 0
    while waiting:
        resource = waiting.pop(0)
        count += 1
        if count > MAX_RESOURCES:
            raise refusal("the FHIR answer has too many resources")
        yield resource
        waiting += resource.get("contained") or ()
        if resource["resourceType"] == "Bundle":
            waiting += [entry["resource"] for entry in resource.get("entry") or () if "resource" in entry]


def _together(resources: list[Json]) -> Said:
    reports = [one for one in resources if one["resourceType"] == "DiagnosticReport"]
    if any(one.get("status") in GONE for one in reports):
        raise refusal("the report of the FHIR answer was withdrawn")
    outcomes = [one for one in resources if one["resourceType"] == "OperationOutcome"]
    if outcomes and not reports:
        raise refusal("the platform answered with an error of its own")
    reading = _Reading()
    for one in resources:
        if one["resourceType"] == "Observation":
            reading.observation(one)
    for one in reports:
        reading.report(one)
    name, version, udi = _device(resources)
    return replace(reading.said(), name=name, version=version, udi=udi)


def _device(resources: list[Json]) -> tuple[str, str, str]:
    """Name, version and UDI of the algorithm where exactly one Device says who it is."""
    devices = [one for one in resources if one["resourceType"] == "Device"]
    if len(devices) != 1:
        return "", "", ""
    (device,) = devices
    names = [one["name"] for one in device.get("deviceName") or ()]
    versions = [one["value"] for one in device.get("version") or ()]
    carriers = [one.get("deviceIdentifier") or "" for one in device.get("udiCarrier") or ()]
    return (
        words(names[0], 64) if names else "", words(versions[0], 64) if versions else "",
        words(carriers[0], 200) if carriers else "",
    )  # fmt: skip


def _study_uids(study: Json) -> Iterator[str]:
    for identifier in study.get("identifier") or ():
        if identifier.get("system") == "urn:dicom:uid":
            yield str(identifier["value"]).removeprefix("urn:oid:")[:64]


@dataclass(frozen=True, kw_only=True)
class _Context:
    """What an Observation says for its value and for each component that has one of its own."""

    body_site: Coding | None
    laterality: Coding | None
    method: str
    words: str
    probability: float | None
    images: tuple[ImageRef, ...]
    parameters: tuple[Parameter, ...]


class _Reading:
    """Collects what the Observations and the report say."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []
        self.findings: list[Finding] = []
        self.notes: list[Note] = []
        self.absences: list[Note] = []
        self.images: dict[tuple[str, str], None] = {}
        self.is_flagged = False

    def said(self) -> Said:
        has_values = bool(self.measurements or self.findings)
        absences = tuple(Note(code="no_value", text=one.text) for one in self.absences) if has_values else ()
        return Said(
            measurements=tuple(self.measurements), findings=tuple(self.findings), notes=(*dict.fromkeys(self.notes), *absences),
            not_analysable=self.absences[0] if self.absences and not has_values else None, images=tuple(self.images),
            is_flagged=self.is_flagged,
        )  # fmt: skip

    def observation(self, source: Json) -> None:
        code = _concept(source.get("code"))
        if code is None or source.get("modifierExtension") or source.get("implicitRules") or source.get("status") in GONE:
            self._left("modifier", code)
            return
        components = source.get("component") or ()
        own = [name for name in source if name.startswith("value")]
        # Components are results of their own where the Observation has none (FHIR R4 Observation, "component").
        beside = [] if own or source.get("dataAbsentReason") else [one for one in components if not _is_about(one)]
        context = self._context(source, [one for one in components if one not in beside])
        if own:
            self._value(code, source, context)
        elif source.get("dataAbsentReason"):
            self.absences.append(_absence(source["dataAbsentReason"]))
        for component in beside:
            name = _concept(component.get("code"))
            if name and not component.get("modifierExtension") and any(key.startswith("value") for key in component):
                self._value(name, component, context)
            else:
                self._left("no_value", name)

    def _value(self, code: Coding, source: Json, context: _Context) -> None:
        if "valueQuantity" in source or "valueInteger" in source:
            self._number(code, source.get("valueQuantity") or _count(source["valueInteger"]), context)
        elif "valueCodeableConcept" in source:
            value = _concept(source["valueCodeableConcept"])
            self._finding(code, value, context, "" if value else words(source["valueCodeableConcept"].get("text") or "", 1_000))
        elif "valueBoolean" in source and (code.system, code.code) == FLAG:
            self.is_flagged = self.is_flagged or _boolean(source["valueBoolean"])
        elif "valueBoolean" in source:
            self._finding(code, {True: PRESENT, False: ABSENT}[_boolean(source["valueBoolean"])], context, "")
        elif "valueString" in source:
            self._finding(code, None, context, words(source["valueString"], 1_000))
        else:
            self._left("no_value", code)
        if source.get("interpretation"):
            meaning = [word for one in source["interpretation"] for word in [_display(one)] if word]
            self.notes.append(Note(code="interpretation", text=words(f"{code.display}: {', '.join(meaning)}", 300)))

    def _number(self, code: Coding, quantity: Json, context: _Context) -> None:
        unit, value = str(quantity.get("code") or ""), quantity.get("value")
        if value is None or quantity.get("comparator"):
            self._left("no_value", code)
        elif quantity.get("system") != UCUM or not is_ucum(unit):
            self._left("unit", code)
        else:
            self.measurements.append(Measurement(
                code=code, value=_finite(value), unit=unit, unit_display=words(quantity.get("unit") or unit, 32),
                body_site=context.body_site, method=context.method, parameters=context.parameters, laterality=context.laterality,
                images=context.images,
            ))  # fmt: skip

    def _finding(self, code: Coding, value: Coding | None, context: _Context, said: str) -> None:
        text = "; ".join(filter(None, (said, context.words)))
        if value is None and not text:
            self._left("no_value", code)
            return
        self.findings.append(Finding(
            code=code, value=value, probability=context.probability, body_site=context.body_site, laterality=context.laterality,
            images=context.images, words=text,
        ))  # fmt: skip

    def _context(self, source: Json, components: list[Json]) -> _Context:
        known = {key: one for one in components for key in [_key(one)] if key in {CERTAINTY, LATERALITY}}
        uids = {key: [str(one.get("valueString") or "")[:64] for one in components if _key(one) == key] for key in (ONE_IMAGE, ONE_SERIES)}
        series = next(iter(uids[ONE_SERIES]), "")
        self.images |= {(series, uid): None for uid in uids[ONE_IMAGE]}
        method = source.get("method") or {}
        return _Context(
            body_site=_concept(source.get("bodySite")),
            laterality=_concept(known[LATERALITY].get("valueCodeableConcept")) if LATERALITY in known else None,
            method=words(_display(method), 300),
            words=words("; ".join(one["text"] for one in source.get("note") or ()), 1_000),
            probability=_share(known[CERTAINTY].get("valueQuantity") or {}) if CERTAINTY in known else None,
            images=tuple(ImageRef(sop_uid=uid) for uid in uids[ONE_IMAGE]),
            parameters=tuple(self._parameters(components)),
        )

    def _parameters(self, components: list[Json]) -> Iterator[Parameter]:
        for one in components:
            if _key(one) in {CERTAINTY, LATERALITY, ONE_IMAGE, ONE_SERIES}:
                continue
            code, quantity = _concept(one.get("code")), one.get("valueQuantity") or {}
            if code and "value" in quantity and is_ucum(str(quantity.get("code") or "")):
                yield Parameter(code=code, value=_finite(quantity["value"]), unit=str(quantity["code"]))
            else:
                self._left("component", code)

    def report(self, source: Json) -> None:
        for one in source.get("conclusionCode") or ():
            value = _concept(one)
            if value:
                self.findings.append(Finding(code=FINDING, value=value))
        text = words(source.get("conclusion") or "", 1_000)
        if text and not (self.measurements or self.findings or self.absences):
            self.findings.append(Finding(code=FINDING, value=None, words=text))
        elif text:
            self.notes.append(Note(code="conclusion", text=text))
        if source.get("presentedForm"):
            self.notes.append(Note(code="presented_form", text="A document of the platform's own came with it and was not taken"))

    def _left(self, reason: str, code: Coding | None) -> None:
        if len(self.notes) > MAX_SAID:
            raise refusal("the answer says more than an answer may")
        self.notes.append(Note(code=reason, text=f"{code.display if code else 'An observation'} {LEFT[reason]}"))


LEFT = {
    "modifier": "was not read: it is withdrawn, has no code, or carries a modifier that is not understood",
    "no_value": "has no plain value", "unit": "was not read: its unit is not one of UCUM",
    "component": "has a component that was not read",
}  # fmt: skip


def _key(component: Json) -> tuple[str, str]:
    code = _concept(component.get("code"))
    return (code.system, code.code) if code else ("", "")


def _is_about(component: Json) -> bool:
    return _key(component) in {CERTAINTY, LATERALITY, ONE_IMAGE, ONE_SERIES}


def _concept(source: Json | None) -> Coding | None:
    """The first coding that has a system and a code."""
    for one in (source or {}).get("coding") or ():
        system, code = words(one.get("system") or "", 200), words(one.get("code") or "", 64)
        if system and code:
            return Coding(system=system, code=code, display=words(one.get("display") or (source or {}).get("text") or code, 200))
    return None


def _display(source: Json) -> str:
    code = _concept(source)
    return str(source.get("text") or (code.display if code else ""))


def _absence(source: Json) -> Note:
    code = _concept(source)
    codes = [one.get("code") or "" for one in source.get("coding") or ()]
    text = _display(source) or "no reason given"
    return Note(code=words(codes[-1] if codes else "unstated", 64) or (code.code if code else "unstated"), text=words(text, 300))


def _count(value: int) -> Json:
    return {"value": value, "system": UCUM, "code": "1", "unit": ""}


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > MAX_VALUE or not math.isfinite(value):
        raise refusal("a value of the answer is no number")
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refusal("a yes or no of the answer is neither")
    return value


def _share(quantity: Json) -> float:
    share = _finite(quantity.get("value")) / (100 if quantity.get("code") == "%" else 1)
    if quantity.get("code") not in {"%", "1"} or not 0 <= share <= 1:
        raise refusal("a probability of the answer is none")
    return share



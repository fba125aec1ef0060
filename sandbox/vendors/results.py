"""An outcome as the performer profile's JSON, as FHIR and as a DICOM SR (TID 1500). The maker's name is always the double's."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import highdicom as hd
from highdicom.sr import CodedConcept
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from sandbox.vendors.archive import Held
from sandbox.vendors.computing import MAKER, Outcome

SCHEMES = {
    "http://snomed.info/sct": "SCT", "http://dicom.nema.org/resources/ontology/DCM": "DCM", "http://loinc.org": "LN",
}  # fmt: skip
LOCAL, HUB = "99MCAIHUB", "99MCAIHUB_HUB"
Group = hd.sr.MeasurementsAndQualitativeEvaluations


def hook_json(job_id: str, outcome: Outcome, images: Sequence[Held]) -> dict[str, Any]:
    """The performer profile's answer."""
    answer: dict[str, Any] = {
        "job_id": job_id,
        "status": "not_analysable" if outcome.reason else "done",
        "findings": [
            {
                "code": item["code"]["code"], "system": item["code"]["system"], "display": item["code"]["display"],
                "value": item["value"], "unit": item["unit"], "unit_display": item["unit_display"], "method": item["method"][:300],
                "bodySite": item["body_site"], "sop_refs": sorted(image.sop for image in images),
            }
            for item in outcome.measurements
        ],
        "model": {"name": MAKER, "version": outcome.version},
    }  # fmt: skip
    if outcome.reason:
        answer["reason"] = {"code": outcome.reason[0], "text": outcome.reason[1]}
    return answer


def fhir_resources(outcome: Outcome, images: Sequence[Held], patient: str, study: str) -> list[dict[str, Any]]:
    """DiagnosticReport, Observations and Device (R4); `patient` and `study` are the ids of the resources that they are about."""
    mark = images[0].study.rpartition(".")[2][-40:]
    subject, device = {"reference": f"Patient/{patient}"}, {"reference": f"Device/d-{mark}"}
    code = {"coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}]}
    common = {"resourceType": "Observation", "status": "preliminary", "subject": subject, "device": device}
    observations: list[dict[str, Any]] = [
        {
            **common, "code": {"coding": [item["code"]]}, "bodySite": {"coding": [item["body_site"]]}, "method": {"text": item["method"]},
            "valueQuantity": {
                "value": item["value"], "unit": item["unit_display"], "system": "http://unitsofmeasure.org", "code": item["unit"],
            },
        }
        for item in outcome.measurements
    ]  # fmt: skip
    if outcome.reason:
        absent = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "not-performed"}]}
        observations = [{**common, "code": code, "dataAbsentReason": {**absent, "text": outcome.reason[1]}}]
    observations = [{**one, "id": f"o-{mark}-{number}"} for number, one in enumerate(observations)]
    report = {
        "resourceType": "DiagnosticReport", "id": f"r-{mark}", "status": "preliminary", "code": code, "subject": subject,
        "performer": [{"display": MAKER}], "imagingStudy": [{"reference": f"ImagingStudy/{study}"}],
        "result": [{"reference": f"Observation/{one['id']}"} for one in observations],
    }  # fmt: skip
    maker = {
        "resourceType": "Device", "id": f"d-{mark}", "manufacturer": MAKER, "version": [{"value": outcome.version}],
        "deviceName": [{"name": MAKER, "type": "manufacturer-name"}],
    }  # fmt: skip
    return [maker, *observations, report]


def sr_bytes(outcome: Outcome, images: Sequence[Held]) -> bytes:
    """TID 1500 by highdicom: the measurements, or the reason why there are none."""
    sources = [dcmread(io.BytesIO(image.content), stop_before_pixels=True) for image in images]
    observer = hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name=MAKER, manufacturer_name=MAKER)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(CodedConcept("121007", "DCM", "Device"), observer)
        ),
        procedure_reported=CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[_refused(outcome) if outcome.reason else _measured(outcome, sources)],
    )
    document = hd.sr.ComprehensiveSR(
        evidence=sources, content=report[0], series_instance_uid=hd.UID(), series_number=900, sop_instance_uid=hd.UID(),
        instance_number=1, manufacturer=MAKER, is_complete=True, is_verified=False,
    )  # fmt: skip
    return _written(document)


def _measured(outcome: Outcome, sources: Sequence[Dataset]) -> Group:
    return Group(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=outcome.algorithm),
        finding_sites=[hd.sr.FindingSite(anatomic_location=_code(outcome.measurements[0]["body_site"]))],
        algorithm_id=hd.sr.AlgorithmIdentification(name=outcome.algorithm, version=outcome.version),
        measurements=[
            hd.sr.Measurement(
                name=_code(item["code"]), value=item["value"], unit=CodedConcept(item["unit"], "UCUM", item["unit_display"])
            )
            for item in outcome.measurements
        ],
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(source) for source in sources],
    )  # fmt: skip


def _refused(outcome: Outcome) -> Group:
    """As the hub's own reports say it: the analysis as a qualitative evaluation, its reason as a code and words."""
    code, words = outcome.reason or ("unstated", "no reason given")
    asked = CodedConcept("image-analysis", HUB, "Image analysis by an algorithm")
    group = Group(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="analysis"),
        algorithm_id=hd.sr.AlgorithmIdentification(name=outcome.algorithm, version=outcome.version),
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(asked, CodedConcept(code, HUB, "Not analysable"))],
    )
    comment = hd.sr.TextContentItem(
        CodedConcept("121106", "DCM", "Comment"), words, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
    )
    group[0].ContentSequence.append(comment)
    return group


def renamed(content: bytes, study: str = "") -> bytes:
    """A mishap: the same answer under another study, one that nobody sent when none is named."""
    ds = dcmread(io.BytesIO(content))
    ds.StudyInstanceUID, ds.PatientID = study or hd.UID(), "SOMEBODY-ELSE"
    return _written(ds)


def changed(outcome: Outcome) -> Outcome:
    """A mishap: the same question, and other numbers."""
    return replace(outcome, measurements=tuple({**item, "value": item["value"] + 1} for item in outcome.measurements))


def _code(item: dict[str, str]) -> CodedConcept:
    return CodedConcept(item["code"], SCHEMES.get(item["system"], LOCAL), item["display"][:64])


def _written(ds: Dataset) -> bytes:
    target = io.BytesIO()
    if not getattr(ds, "file_meta", None):
        ds.file_meta = hd.base.FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", ComprehensiveSRStorage)
    ds.save_as(target, enforce_file_format=True)
    return target.getvalue()

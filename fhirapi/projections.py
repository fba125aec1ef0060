"""Events -> FHIR resources: what medhub/flow.py wires to studies and reports. Each runs in the outbox's scope and transaction.

A projection locks before it reads, so of two for one study the later sees, and writes, the later rows.
"""

from collections.abc import Sequence

from fhirapi.resources import device, diagnostic_report, imaging_study, observation, organization, patient, provenance
from fhirapi.resources.labels import label_of
from fhirapi.resources.parts import Json
from fhirapi.sources import (
    HospitalRow,
    ReportRow,
    hospital_read,
    patient_ids_read,
    patients_read,
    report_ids_read,
    report_read,
    report_study_read,
    studies_read,
)
from fhirapi.store import Stored, lock_take, resources_put
from journal.faults import fault
from journal.outbox import PermanentError
from journal.types import Event


def imaging_study_project(*, event: Event) -> None:
    """study.completed, study.changed, derived.received: Patient and ImagingStudy as the rows are now."""
    if not imaging_studies_put(study_ids=[event.ids["study_id"]]):
        raise PermanentError("the study is not there")
    fault("projection.imaging_study")


def imaging_studies_project(*, events: Sequence[Event]) -> None:
    """`imaging_study_project` for many events. Raises PermanentError when one of the studies is not there."""
    study_ids = sorted({event.ids["study_id"] for event in events})
    put = imaging_studies_put(study_ids=study_ids)
    if sum(stored.rtype == "ImagingStudy" for stored in put) != len(study_ids):
        raise PermanentError("a study is not there")
    fault("projection.imaging_study")


def diagnostic_report_project(*, event: Event) -> None:
    """report.issued: the report with everything it leans on, in one put."""
    report_id = event.ids["report_id"]
    found = report_study_read(report_id=report_id)
    if found is None:
        raise PermanentError("the report is not there")
    lock_take(names=[f"project/report/{report_id}", f"project/patient/{found[1]}"])
    report = report_read(report_id=report_id)
    if report is None:
        raise PermanentError("the report is not there")
    resources_put(resources=report_resources(report=report, hospital=hospital_read()))
    fault("projection.report")


def patient_merge_project(*, event: Event) -> None:
    """patient.merged: reports name the person who stays, and the other one says by whom it is replaced (Patient.link).

    `study.changed` of each study brings the ImagingStudies up to date.
    """
    gone_id, into_id = event.ids["patient_id"], event.ids["into_id"]
    report_ids = report_ids_read(patient_id=into_id)
    names = [f"project/patient/{patient_id}" for patient_id in (gone_id, into_id)]
    lock_take(names=[*names, *(f"project/report/{report_id}" for report_id in report_ids)])
    people = patients_read(patient_ids=[gone_id, into_id])
    if len(people) < 2:
        raise PermanentError("one of the two patients is not there")
    hospital = hospital_read()
    resources = [
        patient.to_fhir(patient=people[into_id], hospital=hospital.uuid),
        patient.to_fhir(patient=people[gone_id], hospital=hospital.uuid, replaced_by=people[into_id].uuid),
    ]
    for report in filter(None, (report_read(report_id=report_id) for report_id in report_ids)):
        resources += report_resources(report=report, hospital=hospital)
    resources_put(resources=list({(one["resourceType"], one["id"]): one for one in resources}.values()))


def imaging_studies_put(*, study_ids: Sequence[int]) -> list[Stored]:
    """Write the ImagingStudies of these studies and their Patients; a constant number of statements."""
    names = [f"project/study/{study_id}" for study_id in study_ids]
    names += [f"project/patient/{patient_id}" for patient_id in patient_ids_read(study_ids=study_ids)]
    lock_take(names=names)
    hospital = hospital_read()
    studies = studies_read(study_ids=study_ids)
    patients = {study.patient.id: study.patient for study in studies}
    resources = [patient.to_fhir(patient=row, hospital=hospital.uuid) for row in patients.values()]
    resources += [imaging_study.to_fhir(study=study, hospital=hospital.uuid, zone=hospital.zone) for study in studies]
    return resources_put(resources=resources)


def report_resources(*, report: ReportRow, hospital: HospitalRow) -> list[Json]:
    """Patient, Organization, Device, Observations, DiagnosticReport, Provenance of one report."""
    algorithm = report.content.algorithm
    label = label_of(content=report.content, status=report.status)
    started = imaging_study.started_of(study=report.study, zone=hospital.zone)
    observations = observation.to_fhir(report=report, label=label, started=started)
    main = diagnostic_report.to_fhir(report=report, label=label, started=started, observations=observations)
    return [
        patient.to_fhir(patient=report.study.patient, hospital=hospital.uuid),
        organization.to_fhir(name=algorithm.manufacturer),
        device.to_fhir(algorithm=algorithm, label=label),
        *observations,
        main,
        provenance.to_fhir(report=report, label=label, targets=[main, *observations]),
    ]

"""Events -> FHIR resources: what medhub/flow.py wires to studies, jobs and reports. Each runs in the outbox's scope and transaction.

A projection locks before it reads, so of two for one study the later sees, and writes, the later rows.
"""

from collections.abc import Iterable, Sequence

import orjson

from fhirapi.differences import differences_note
from fhirapi.links import patient_link_write
from fhirapi.orders import orders_named
from fhirapi.ordersources import orders_read
from fhirapi.push.pushes import pushes_make
from fhirapi.registry import TYPES
from fhirapi.resources import (
    device,
    diagnostic_report,
    endpoint,
    imaging_study,
    observation,
    organization,
    patient,
    practitioner,
    provenance,
    service_request,
    task,
)
from fhirapi.resources.labels import label_of
from fhirapi.resources.parts import Json
from fhirapi.sources import (
    HospitalRow,
    PatientRow,
    ReportIds,
    ReportRow,
    dependents_read,
    hospital_read,
    job_patients_read,
    jobs_known,
    jobs_read,
    patient_ids_read,
    patients_read,
    report_ids_read,
    reports_read,
    studies_read,
)
from fhirapi.store import REST, Stored, lock_take, resources_put, rows_read
from fhirapi.subscriptions.matching import events_note
from fhirapi.uscore import profiles_claim
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


def job_project(*, event: Event) -> None:
    """job.changed: the Task as its row is now."""
    jobs_project(events=[event])


def jobs_project(*, events: Sequence[Event]) -> None:
    """`job_project` for many events. Raises PermanentError when one of the jobs is not there."""
    job_ids = sorted({event.ids["job_id"] for event in events})
    jobs_put(job_ids=job_ids)
    if jobs_known(job_ids=job_ids) != len(job_ids):
        raise PermanentError("a job is not there")
    fault("projection.job")


def diagnostic_report_project(*, event: Event) -> None:
    """report.issued: the report with everything it leans on, in one put."""
    stored = reports_put(report_ids=[event.ids["report_id"]])
    if not stored:
        raise PermanentError("the report is not there")
    pushes_make(stored=stored)
    fault("projection.report")


def order_project(*, event: Event) -> None:
    """order.changed: the ServiceRequest as the order is now."""
    orders_put(order_ids=[event.ids["order_id"]])


def study_dependents_project(*, event: Event) -> None:
    """study.changed: whose a study is and who ordered it, its Tasks and DiagnosticReports say as well."""
    studies_dependents_project(events=[event])


def studies_dependents_project(*, events: Sequence[Event]) -> None:
    """`study_dependents_project` for many events; two statements where nothing came of the studies yet."""
    report_ids, job_ids = dependents_read(study_ids=sorted({event.ids["study_id"] for event in events}))
    if not job_ids:  # nor a report: each came of a job
        return
    patients = job_patients_read(job_ids=job_ids)
    lock_take(names=lock_names(patient_ids=patients.values(), job_ids=patients, reports=report_ids_read(report_ids=report_ids)))
    jobs_put(job_ids=job_ids)
    if report_ids:
        reports_put(report_ids=report_ids)


def patient_merge_project(*, event: Event) -> None:
    """patient.merged, and its undoing: who is gone says by whom it is replaced (Patient.link), also where the EHR wrote that Patient.

    As the rows are now, so two events may come in either order. `study.changed` of each study brings what is about it up to date.
    """
    gone_id, into_id = event.ids["patient_id"], event.ids["into_id"]
    about = report_ids_read(patient_id=into_id)
    lock_take(names=lock_names(patient_ids=[gone_id, into_id], reports=about))
    people = patients_read(patient_ids=[gone_id, into_id])
    if len(people) < 2:
        raise PermanentError("one of the two patients is not there")
    hospital = hospital_read()
    merged = {gone_id: into_id} if people[gone_id].merged_into_id else {}
    resources = people_resources(people=people, hospital=hospital, merged=merged)
    resources += reports_resources(about=about, hospital=hospital)
    pushes_make(stored=put(resources=once(resources), hospital=hospital))
    patient_link_write(fhir_id=people[gone_id].fhir_id, replaced_by=people[into_id].fhir_id if merged else "")


def imaging_studies_put(*, study_ids: Sequence[int]) -> list[Stored]:
    """Write the ImagingStudies of these studies, their Patients and the hospital's Endpoints; a constant number of statements."""
    names = [f"project/study/{study_id}" for study_id in study_ids]
    names += [f"project/patient/{patient_id}" for patient_id in patient_ids_read(study_ids=study_ids)]
    lock_take(names=names)
    hospital = hospital_read()
    studies = studies_read(study_ids=study_ids)
    if not studies:
        return []
    people = {study.patient.id: study.patient for study in studies}
    orders = orders_named(studies=studies, hospital=hospital.uuid)
    resources = people_resources(people=people, hospital=hospital) + endpoint.to_fhir(hospital=hospital)
    resources += asked_resources(order_ids=sorted({study.order.id for study in studies if study.order}), hospital=hospital)
    resources += [
        imaging_study.to_fhir(study=study, hospital=hospital.uuid, zone=hospital.zone, based_on=orders[study.id])
        for study in studies
    ]
    stored = put(resources=resources, hospital=hospital)
    yielded = {one.fhir_id for one in stored if one.is_yielded}
    differences_note(people=[row for row in people.values() if row.fhir_id in yielded], hospital=hospital.uuid)
    return stored


def orders_put(*, order_ids: Sequence[int]) -> list[Stored]:
    """Write the ServiceRequests of these orders, and their patients; a constant number of statements."""
    lock_take(names=[f"project/order/{order_id}" for order_id in order_ids])
    hospital = hospital_read()
    return put(resources=asked_resources(order_ids=order_ids, hospital=hospital, has_people=True), hospital=hospital)


def asked_resources(*, order_ids: Sequence[int], hospital: HospitalRow, has_people: bool = False) -> list[Json]:
    """ServiceRequests of ours. Where the EHR has its own by now, ours is only taken back, if it was ever told."""
    asked = orders_read(order_ids=order_ids)
    ehrs = [(TYPES["ServiceRequest"].number, str(one.order.id)) for one in asked if one.is_ehrs]
    told = {fhir_id for _, fhir_id in rows_read(keys=ehrs)} if ehrs else set()
    wanted = [one for one in asked if not one.is_ehrs or str(one.order.id) in told]
    resources = [service_request.to_fhir(asked=one, hospital=hospital.uuid, zone=hospital.zone) for one in wanted]
    people = {one.patient.id: one.patient for one in asked} if has_people else {}
    return people_resources(people=people, hospital=hospital) + resources


def jobs_put(*, job_ids: Sequence[int]) -> list[Stored]:
    """Write the Tasks of these jobs; a constant number of statements."""
    patients = job_patients_read(job_ids=job_ids)
    lock_take(names=lock_names(patient_ids=patients.values(), job_ids=patients))
    return noted_put(resources=tasks_resources(job_ids=list(patients), hospital=hospital_read()))


def reports_put(*, report_ids: Sequence[int]) -> list[Stored]:
    """Write these reports with everything they lean on; a constant number of statements."""
    about = report_ids_read(report_ids=report_ids)
    lock_take(names=lock_names(reports=about))
    hospital = hospital_read()
    return put(resources=reports_resources(about=about, hospital=hospital), hospital=hospital) if about else []


def patients_put(*, patient_ids: Sequence[int]) -> list[Stored]:
    """Write these people, those who were merged into another as well; a constant number of statements."""
    lock_take(names=lock_names(patient_ids=patient_ids))
    people = patients_read(patient_ids=patient_ids)
    survivors = patients_read(patient_ids=[row.merged_into_id for row in people.values() if row.merged_into_id])
    merged = {row.id: row.merged_into_id for row in people.values() if row.merged_into_id}
    hospital = hospital_read()
    resources = people_resources(people=survivors | people, hospital=hospital, merged=merged)
    kept = {row.fhir_id for row in people.values()}
    return put(resources=[one for one in resources if one["id"] in kept], hospital=hospital)


def put(*, resources: list[Json], hospital: HospitalRow) -> list[Stored]:
    """Into the store, with the profiles that hold where the hospital wants them named."""
    if hospital.has_us_core:
        people = [(TYPES["Patient"].number, one["id"]) for one in resources if one["resourceType"] == "Patient"]
        # Whom a client has told otherwise is judged by what the client said.
        rows = rows_read(keys=people, is_content_wanted=True)
        told = {f"Patient/{fhir_id}": orjson.loads(row.content) for (_, fhir_id), row in rows.items() if row.writer == REST}
        resources = profiles_claim(resources=resources, patients=told)
    return noted_put(resources=resources)


def noted_put(*, resources: list[Json]) -> list[Stored]:
    """Into the store, with the events of those who subscribed: the same transaction."""
    stored = resources_put(resources=resources)
    events_note(versions=stored)
    return stored


def lock_names(*, patient_ids: Iterable[int] = (), job_ids: Iterable[int] = (), reports: Sequence[ReportIds] = ()) -> list[str]:
    """Everything that a projection reads and another may change: taken in one call, so that two never wait in a ring."""
    people = {*patient_ids, *(one.patient_id for one in reports)}
    jobs = {*job_ids, *(one.job_id for one in reports)}
    names = [f"project/patient/{patient_id}" for patient_id in people] + [f"project/job/{job_id}" for job_id in jobs]
    return names + [f"project/report/{one.report_id}" for one in reports]


def people_resources(
    *, people: dict[int, PatientRow], hospital: HospitalRow, merged: dict[int, int] | None = None
) -> list[Json]:
    """`merged`: who was found to be whom."""
    into = {gone: people[stays].fhir_id for gone, stays in (merged or {}).items()}
    return [patient.to_fhir(patient=row, hospital=hospital.uuid, replaced_by=into.get(row.id, "")) for row in people.values()]


def tasks_resources(*, job_ids: Sequence[int], hospital: HospitalRow) -> list[Json]:
    jobs = jobs_read(job_ids=job_ids)
    orders = orders_named(studies=[job.study for job in jobs], hospital=hospital.uuid)
    return [task.to_fhir(job=job, based_on=orders[job.study.id]) for job in jobs]


def reports_resources(*, about: Sequence[ReportIds], hospital: HospitalRow) -> list[Json]:
    """These reports in their newest versions, and the Tasks that they came of."""
    reports = reports_read(report_ids=[one.report_id for one in about])
    orders = orders_named(studies=[report.study for report in reports], hospital=hospital.uuid)
    resources = tasks_resources(job_ids=[one.job_id for one in about], hospital=hospital)
    for report in reports:
        resources += report_resources(report=report, hospital=hospital, based_on=orders[report.study.id])
    return once(resources)


def once(resources: list[Json]) -> list[Json]:
    """Each once: several reports share a patient or a device."""
    return list({(one["resourceType"], one["id"]): one for one in resources}.values())


def report_resources(*, report: ReportRow, hospital: HospitalRow, based_on: list[Json] | None = None) -> list[Json]:
    """Patient, Organization, Device, Observations, DiagnosticReport, Provenance of one report, and the people who decided about it."""
    algorithm = report.content.algorithm
    label = label_of(content=report.content, status=report.status, flags=report.flags)
    plain = label_of(content=report.content, status=report.status)  # a device is of many reports, and only some may be flagged
    started = imaging_study.started_of(study=report.study, zone=hospital.zone)
    orders = based_on or []
    observations = observation.to_fhir(report=report, label=label, started=started, based_on=orders, hospital=hospital.uuid)
    main = diagnostic_report.to_fhir(
        report=report, label=label, started=started, observations=observations, based_on=orders, base=hospital.base,
        hospital=hospital.uuid,
    )  # fmt: skip
    people = {one.by_id: one.by_name for one in report.verdicts}  # as they were called last
    return [
        patient.to_fhir(patient=report.study.patient, hospital=hospital.uuid),
        organization.to_fhir(name=algorithm.manufacturer),
        device.to_fhir(algorithm=algorithm, label=plain),
        *observations,
        main,
        provenance.to_fhir(report=report, label=label, targets=[main, *observations]),
        *(practitioner.to_fhir(hospital=hospital.uuid, by_id=by_id, name=name) for by_id, name in people.items()),
        *provenance.reviews_to_fhir(report=report, label=label, hospital=hospital.uuid, main=main),
    ]

"""What the hub emits beyond the report itself: Endpoints, orders, Tasks, and what becomes of a Patient with two masters."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ai.models import Job
from fhirapi.differences import KIND
from fhirapi.projections import (
    diagnostic_report_project,
    imaging_study_project,
    job_project,
    jobs_put,
    patients_put,
    reports_put,
)
from imaging.models import Order, Patient, Study, WorkItem
from journal.audit import Actor, audit_record, audit_seal
from journal.outbox import PermanentError
from tests.conftest import Hospital
from tests.fhirapi.conftest import event, report_make, study_make
from tests.fhirapi.projecting import valid
from tests.fhirapi.writing import Writer

pytestmark = pytest.mark.database
ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN", "display": "Accession ID"}]}


@pytest.fixture
def writer(mercy: Hospital) -> Writer:
    return Writer(mercy)


def projected(hospital: Hospital, writer: Writer, study: Study) -> dict[str, Any]:
    with hospital.scope():
        imaging_study_project(event=event("study.changed", hospital, study_id=study.id))
    found: dict[str, Any] = writer.get(f"ImagingStudy/{study.uuid}").json()
    valid(found)
    return found


class TestImagingStudy:
    """Section 7 of the research: endpoints, basedOn, procedure and reason, the life of its status."""

    def test_its_doors(self, mercy: Hospital, writer: Writer, settings: Any) -> None:
        """ "endpoint -> an Endpoint resource per hospital for dicom-wado-rs and one for the viewer (ihe-iid)"."""
        settings.MEDHUB_PUBLIC_URL = "https://hub.example.org"
        with mercy.scope():
            study, other = study_make(), study_make()
        found = projected(mercy, writer, study)
        assert projected(mercy, writer, other)["endpoint"] == found["endpoint"]
        doors = [writer.get(one["reference"]).json() for one in found["endpoint"]]
        valid(*doors)
        assert {one["connectionType"]["code"]: one["address"] for one in doors} == {
            "dicom-wado-rs": f"https://hub.example.org/t/{mercy.slug}/dicomweb",
            "ihe-iid": f"https://hub.example.org/t/{mercy.slug}/iid",
        }
        assert writer.ids("ImagingStudy", f"endpoint={found['endpoint'][0]['reference']}") != []
        assert len(writer.ids("Endpoint")) == 2

    def test_its_order(self, mercy: Hospital, writer: Writer) -> None:
        """ "basedOn by order or logical identifier": a ServiceRequest of the same patient and number, else the number alone."""
        with mercy.scope():
            study = study_make(accession_number="A77", accession_issuer="1.2.3")
        number = {"type": ACSN, "system": "urn:oid:1.2.3", "value": "A77"}
        assert projected(mercy, writer, study)["basedOn"] == [{"type": "ServiceRequest", "identifier": number}]
        body = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "identifier": [number]}
        writer.made(body | {"subject": {"reference": "Patient/another"}})
        assert "reference" not in projected(mercy, writer, study)["basedOn"][0], "another patient's order"
        made = writer.made(body | {"subject": {"reference": f"Patient/{study.patient.uuid}"}})
        assert projected(mercy, writer, study)["basedOn"][0]["reference"] == f"ServiceRequest/{made['id']}"
        with mercy.scope():
            report = report_make(study)
            diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
        main = writer.get(f"DiagnosticReport/{report.uuid}").json()
        assert main["basedOn"][0]["reference"] == f"ServiceRequest/{made['id']}"
        for one in main["result"]:
            assert writer.get(one["reference"]).json()["basedOn"] == main["basedOn"]
        writer.made(body | {"subject": {"reference": f"Patient/{study.patient.uuid}"}})
        assert "reference" not in projected(mercy, writer, study)["basedOn"][0], "two orders have the number"

    def test_what_was_done_and_why(self, mercy: Hospital, writer: Writer) -> None:
        """procedureCode and reasonCode: codes of known schemes, else words; of the order where the images do not say it."""
        coded = '{"00081032": [{"00080100": "24627-2", "00080102": "LN", "00080104": "CT Chest"}, {"00080100": "X", "00080102": "99L"}]}'
        asked = '{"00401002": "cough", "00321064": [{"00080100": "77", "00080102": "99L", "00080104": "Thorax"}]}'
        with mercy.scope():
            study = study_make(extra=coded)
            order = Order.objects.create(
                accession_number="A1", issuer="MERCY", patient=study.patient, description="CT of the chest", extra=asked
            )
            plain = study_make(order=order, accession_number="A1")
        found = projected(mercy, writer, study)
        loinc = {"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}
        assert found["procedureCode"] == [{"coding": [loinc], "text": "CT Chest"}, {"text": "X"}]
        assert "reasonCode" not in found
        found = projected(mercy, writer, plain)
        assert (found["procedureCode"], found["reasonCode"]) == ([{"text": "Thorax"}], [{"text": "cough"}])
        assert found["identifier"][1]["system"].endswith("/accession/MERCY"), "the order says who gave the number"

    def test_what_was_taken_out_again(self, mercy: Hospital, writer: Writer) -> None:
        """ "status life registered/available/entered-in-error"."""
        with mercy.scope():
            study = study_make(state=Study.State.RECEIVING, stored_at=timezone.now())
        assert projected(mercy, writer, study)["status"] == "registered"
        with mercy.scope():
            Study.objects.filter(id=study.id).update(state=Study.State.COMPLETE)
        assert projected(mercy, writer, study)["status"] == "available"
        with mercy.scope():
            Study.objects.filter(id=study.id).update(number_of_instances=0, number_of_series=0)
        assert projected(mercy, writer, study)["status"] == "entered-in-error"


class TestTask:
    """ "Task (the AI job: focus ImagingStudy, output DiagnosticReport, status from the job's state, statusReason ...)"."""

    @pytest.mark.parametrize(
        ("state", "status"),
        [("queued", "requested"), ("sent", "in-progress"), ("refused", "rejected"), ("failed", "failed"), ("quarantined", "failed")],
    )
    def test_its_state(self, mercy: Hospital, writer: Writer, state: str, status: str) -> None:
        with mercy.scope():
            study = study_make()
            report_make(study)
            job = Job.objects.get()
            Job.objects.update(state=state, reason="AI dispatch is paused for this hospital", sent_at=timezone.now())
            job_project(event=event("job.changed", mercy, job_id=job.id))
        found = writer.get(f"Task/{job.uuid}").json()
        valid(found)
        assert (found["status"], found["statusReason"]["text"]) == (status, "AI dispatch is paused for this hospital")
        assert (found["focus"]["reference"], found["for"]["reference"]) == (f"ImagingStudy/{study.uuid}", f"Patient/{study.patient.uuid}")
        assert writer.ids("Task", f"focus=ImagingStudy/{study.uuid}&status={status}") == [found["id"]]

    def test_its_report(self, mercy: Hospital, writer: Writer) -> None:
        """One transaction a report: the Task leads to the report, its owner is the Device that made it."""
        with mercy.scope():
            report = report_make(study_make())
            Job.objects.update(state=Job.State.DONE)
            job = Job.objects.get()
            diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
        found = writer.get(f"Task/{job.uuid}").json()
        valid(found)
        assert found["status"] == "completed"
        assert found["output"][0]["valueReference"] == {"reference": f"DiagnosticReport/{report.uuid}"}
        assert writer.get(found["owner"]["reference"]).json()["deviceName"][0]["name"] == "lung-density"

    def test_another_hospital_has_none(self, mercy: Hospital, olaf: Hospital) -> None:
        with mercy.scope():
            report_make(study_make())
            job_id = Job.objects.values_list("id", flat=True)[0]
        with pytest.raises(PermanentError), olaf.scope():
            job_project(event=event("job.changed", olaf, job_id=job_id))


def test_an_older_version_never_overwrites_a_newer(mercy: Hospital, writer: Writer) -> None:
    """A late replay of version 1 of a report writes version 2."""
    with mercy.scope():
        study = study_make()
        first = report_make(study, conclusion="first")
        second = report_make(study, conclusion="second")
        type(second).objects.filter(id=second.id).update(uuid=first.uuid, version=2)
        for one in (second, first):
            diagnostic_report_project(event=event("report.issued", mercy, report_id=one.id))
    assert writer.get(f"DiagnosticReport/{first.uuid}").json()["conclusion"].startswith("second")


# --- two masters ----------------------------------------------------------------------------------------------------------


def open_items(hospital: Hospital) -> list[str]:
    with hospital.scope():
        return list(WorkItem.objects.filter(kind=KIND).values_list("reason", flat=True))


def test_where_the_ehr_differs_somebody_must_look(mercy: Hospital, writer: Writer) -> None:
    """ "where name/birthDate/sex then differ from DICOM's, a visible work item is made once"."""
    with mercy.scope():
        study = study_make(patient={"name": "Doe^Jane", "birth_date": "19700102", "sex": "F"})
    projected(mercy, writer, study)
    path = f"Patient/{study.patient.uuid}"
    told = writer.get(path).json()
    same = told | {"name": [{"family": "DOE", "given": ["Jane", "Mary"]}], "gender": "unknown", "birthDate": "1970"}
    assert writer.put(path, same).status_code == 200
    assert open_items(mercy) == [], "they agree as far as both say something"
    assert writer.put(path, told | {"birthDate": "1971-01-02", "name": [{"family": "Roe"}]}).status_code == 200
    assert open_items(mercy) == ["the EHR's record and the images differ: the name, the birth date"]
    writer.put(path, told | {"birthDate": "1972-01-02"})
    projected(mercy, writer, study)
    assert len(open_items(mercy)) == 1
    assert writer.get(path).json()["birthDate"] == "1972-01-02", "the hub leaves it alone"


def test_it_is_seen_when_images_come_later(mercy: Hospital, writer: Writer) -> None:
    """The images' side may change as well: then the next projection looks."""
    with mercy.scope():
        study = study_make(patient={"sex": "F"})
    projected(mercy, writer, study)
    path = f"Patient/{study.patient.uuid}"
    assert writer.put(path, writer.get(path).json() | {"active": True}).status_code == 200
    with mercy.scope():
        Patient.objects.filter(id=study.patient_id).update(sex="M")
    projected(mercy, writer, study)
    assert open_items(mercy) == ["the EHR's record and the images differ: the sex"]


def test_statements_do_not_grow(mercy: Hospital) -> None:
    """ "Work of projections must stay a constant number of statements"."""
    with mercy.scope():
        studies = [study_make() for _ in range(5)]
        reports = [report_make(study) for study in studies]
        jobs = list(Job.objects.order_by("id").values_list("id", flat=True))
        for put, ids in (
            (lambda ids: reports_put(report_ids=ids), [report.id for report in reports]),
            (lambda ids: jobs_put(job_ids=ids), jobs),
            (lambda ids: patients_put(patient_ids=ids), [study.patient_id for study in studies]),
        ):
            counts = []
            for some in (ids[:1], ids):
                put(some)
                with CaptureQueriesContext(connection) as queries:
                    put(some)
                counts.append(len(queries))
            assert counts[0] == counts[1] <= 12


def test_the_merged_are_rebuilt(mercy: Hospital, writer: Writer) -> None:
    """ "fhir_rebuild covers the new resources, also the merged-away Patient"."""
    with mercy.scope():
        gone, stays = (study_make().patient for _ in range(2))
        Patient.objects.filter(id=gone.id).update(merged_into_id=stays.id)
        patients_put(patient_ids=[gone.id])
    found = writer.get(f"Patient/{gone.uuid}").json()
    valid(found)
    assert (found["active"], found["link"]) == (False, [{"other": {"reference": f"Patient/{stays.uuid}"}, "type": "replaced-by"}])
    assert writer.get(f"Patient/{stays.uuid}").status_code == 404, "only what was asked for"


def test_everything_is_rebuilt(mercy: Hospital, writer: Writer) -> None:
    """From the rows alone, as if no event had ever come; a second run changes nothing."""
    with mercy.scope():
        study = study_make()
        report = report_make(study)
        gone = Patient.objects.create(patient_id="gone", merged_into_id=study.patient_id)
        job = Job.objects.get()
        audit_record(actor=Actor(name="user:1"), action="study.view", object_type="Study", object_id=str(study.uuid))
        audit_seal()
    out = StringIO()
    for _ in range(2):
        call_command("fhir_rebuild", tenant=mercy.slug, stdout=out)
    lines = out.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines[:6]] == [
        "1 studies", "2 patients", "0 orders", "1 jobs", "1 reports", "1 audit records",
    ]  # fmt: skip
    assert all(line.endswith(", 0 resources changed") for line in lines[6:]), lines
    for path in (
        f"ImagingStudy/{study.uuid}", f"Patient/{study.patient.uuid}", f"Patient/{gone.uuid}", f"Task/{job.uuid}",
        f"DiagnosticReport/{report.uuid}",
    ):  # fmt: skip
        assert writer.get(path).status_code == 200, path

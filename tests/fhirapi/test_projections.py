"""Events become resources: once, whatever is replayed, in whatever order, and again from the rows alone."""

import json
import threading
import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils.module_loading import import_string

from ai.findings import Note
from ai.models import Report
from fhirapi import projections
from fhirapi.interactions import GUARDED
from fhirapi.projections import diagnostic_report_project, imaging_studies_put, imaging_study_project, patient_merge_project
from fhirapi.registry import TYPES
from fhirapi.sources import studies_read
from fhirapi.subscriptions.known import watches
from imaging.models import Patient, Study
from journal.outbox import PermanentError
from medhub.flow import FLOW
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir, event, report_make, series_make, study_make
from tests.fhirapi.projecting import valid

pytestmark = pytest.mark.database


def versions(hospital: Hospital) -> dict[str, int]:
    with hospital.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT fhir_id, version FROM fhir_resource")
        return dict(cursor.fetchall())


def everything(fhir: Fhir) -> list[dict[str, Any]]:
    return [entry["resource"] for rtype in set(TYPES) - set(GUARDED) for entry in fhir.search(rtype, "_count=500").get("entry", [])]


def test_the_map_names_these_subscribers() -> None:
    """medhub/flow.py wires by dotted path: the paths lead here."""
    for name in ("study.completed", "study.changed", "derived.received"):
        assert "fhirapi.projections.imaging_study_project" in FLOW[name]
    assert FLOW["report.issued"][0] == "fhirapi.projections.diagnostic_report_project"
    for paths in FLOW.values():
        for path in paths:
            if path.startswith("fhirapi."):
                assert callable(import_string(path))


@pytest.mark.parametrize("name", ["study.completed", "study.changed", "derived.received"])
def test_a_study_becomes_an_imaging_study(mercy: Hospital, fhir: Fhir, name: str) -> None:
    """Patient and ImagingStudy under the ids of their rows, with what the rows say."""
    with mercy.scope():
        study = study_make(images=4, series=2)
        imaging_study_project(event=event(name, mercy, study_id=study.id, instance_id=1))
    found = fhir.get(f"ImagingStudy/{study.uuid}").json()
    assert (found["numberOfSeries"], found["numberOfInstances"], found["status"]) == (2, 8, "available")
    assert [[instance["number"] for instance in series["instance"]] for series in found["series"]] == [[1, 2, 3, 4]] * 2
    assert found["started"] == "2026-11-20T10:11:12-06:00"
    assert fhir.get(found["subject"]["reference"]).json()["name"][0]["family"] == "Doe"
    valid(*everything(fhir))


def test_a_report_becomes_its_resources(mercy: Hospital, fhir: Fhir) -> None:
    """ "writes Patient, Device, Organization, Observations, DiagnosticReport, Provenance in one resources_put"; all of it valid R4."""
    with mercy.scope():
        study = study_make()
        measured = report_make(study)
        refused = report_make(study, measurements=(), not_analysable=Note(code="c", text="because"))
        imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
        for report in (measured, refused):
            diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
    resources = everything(fhir)
    valid(*resources)
    held = {f"{resource['resourceType']}/{resource['id']}" for resource in resources}
    # Patient, ImagingStudy, Endpoints, reports, Observations, Device, Organization, Provenances, Tasks
    assert len(held) == 1 + 1 + 2 + 2 + 3 + 1 + 1 + 2 + 2
    targets = {text for resource in resources for text in _references(resource)}
    assert targets <= held, "a reference leads nowhere"
    assert {f"DiagnosticReport/{report.uuid}" for report in (measured, refused)} <= held


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return (
            [node["reference"]]
            if isinstance(node.get("reference"), str)
            else [r for v in node.values() for r in _references(v)]
        )
    return [r for item in node for r in _references(item)] if isinstance(node, list) else []


def test_a_merge_moves_reports_to_the_person_who_stays(mercy: Hospital, fhir: Fhir) -> None:
    """A report never goes on naming somebody who was found to be another person; the old id says where to look."""
    with mercy.scope():
        moved, stays = study_make(), study_make()
        report = report_make(moved)
        gone_id, into_id = moved.patient_id, stays.patient_id
        for study in (moved, stays):
            imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
        diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
        gone, into = Patient.objects.get(id=gone_id), Patient.objects.get(id=into_id)
        Study.objects.filter(id=moved.id).update(patient_id=into_id)
        Patient.objects.filter(id=gone_id).update(merged_into_id=into_id)
        merged = event("patient.merged", mercy, patient_id=gone_id, into_id=into_id)
        patient_merge_project(event=merged)
        imaging_study_project(event=event("study.changed", mercy, study_id=moved.id))
        before = versions(mercy)
        patient_merge_project(event=merged)  # a replay
        assert versions(mercy) == before
    subject = {"reference": f"Patient/{into.uuid}"}
    for resource in everything(fhir):
        if resource["resourceType"] in {"DiagnosticReport", "Observation", "ImagingStudy"}:
            assert resource["subject"]["reference"] == subject["reference"], resource["resourceType"]
    found = fhir.get(f"Patient/{gone.uuid}").json()
    valid(found)
    assert found["active"] is False
    assert found["link"] == [{"other": subject, "type": "replaced-by"}]


def test_a_replay_makes_no_new_version(mercy: Hospital) -> None:
    """ "replay of an event makes no new version"."""
    with mercy.scope():
        study = study_make()
        report = report_make(study)
    events = [(imaging_study_project, event("study.completed", mercy, study_id=study.id))]
    events += [(diagnostic_report_project, event("report.issued", mercy, report_id=report.id))]
    for _ in range(3):
        for project, said in events:
            with mercy.scope():
                project(event=said)
    assert set(versions(mercy).values()) == {1}
    with mercy.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM fhir_history")
        assert cursor.fetchone() == (0,)


def test_a_late_image_makes_a_new_version(mercy: Hospital, fhir: Fhir) -> None:
    """A study that changed is version 2 with recomputed counts; its patient stays as it was."""
    with mercy.scope():
        study = study_make(images=1, state=Study.State.RECEIVING)
        imaging_study_project(event=event("study.changed", mercy, study_id=study.id))
    assert fhir.get(f"ImagingStudy/{study.uuid}").json()["status"] == "registered"
    with mercy.scope():
        series_make(study, number=2, images=2, modality="SR")
        Study.objects.update(state=Study.State.COMPLETE)
        imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
    response = fhir.get(f"ImagingStudy/{study.uuid}")
    found = response.json()
    assert (response["ETag"], found["status"], found["numberOfInstances"]) == ('W/"2"', "available", 3)
    assert [coding["code"] for coding in found["modality"]] == ["CT", "SR"]
    assert fhir.get(f"Patient/{study.patient.uuid}")["ETag"] == 'W/"1"'


def test_a_decision_moves_report_and_observations_together(mercy: Hospital, fhir: Fhir) -> None:
    """A new status of the row is a new version of the DiagnosticReport and of each Observation."""
    with mercy.scope():
        report = report_make(study_make())
        diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
        Report.objects.update(status=Report.Status.FINAL)
        diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
    assert fhir.get(f"DiagnosticReport/{report.uuid}")["ETag"] == 'W/"2"'
    assert len(fhir.ids("Observation", "status=final")) == 2
    assert fhir.ids("Observation", "status=preliminary") == []


def test_what_is_not_there_is_a_dead_letter(mercy: Hospital, olaf: Hospital) -> None:
    """Trying again changes nothing, and another hospital's row is as good as none."""
    with olaf.scope():
        report = report_make(study_make())
    for project, ids in (
        (imaging_study_project, {"study_id": report.study_id}),
        (diagnostic_report_project, {"report_id": report.id}),
        (imaging_study_project, {"study_id": 1}),
    ):
        with pytest.raises(PermanentError), mercy.scope():
            project(event=event("x", mercy, **ids))
    assert versions(mercy) == {}


def test_the_later_projection_writes_the_later_rows(mercy: Hospital, fhir: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow projection that read old rows never overwrites what a quick one made of newer rows."""
    with mercy.scope():
        study = study_make(description="old")
    reading, honest = threading.Event(), projections.studies_read

    def slow(**kwargs: Any) -> Any:
        rows = honest(**kwargs)
        if threading.current_thread().name == "slow":
            reading.set()
            time.sleep(0.2)
        return rows

    monkeypatch.setattr(projections, "studies_read", slow)

    def project() -> None:
        try:
            with mercy.scope():
                imaging_study_project(event=event("study.changed", mercy, study_id=study.id))
        finally:
            connections.close_all()

    thread = threading.Thread(target=project, name="slow")
    thread.start()
    assert reading.wait(5)
    with mercy.scope():
        Study.objects.update(description="new")
    project()
    thread.join()
    assert fhir.get(f"ImagingStudy/{study.uuid}").json()["description"] == "new"


def test_statements_do_not_grow_with_the_study(mercy: Hospital, settings: Any) -> None:
    """ "built from ONE SQL query": series and instances come with one statement, whatever their number."""
    with mercy.scope():
        small, large = study_make(images=1), study_make(images=40, series=5)
        counts = []
        for study in (small, large):
            with CaptureQueriesContext(connection) as queries:
                (row,) = studies_read(study_ids=[study.id])
            counts.append(len(queries))
        assert counts == [2, 2]
        assert len(row.series) == 5
        many = [study_make().id for _ in range(6)]
        settings.MEDHUB_SUBSCRIPTION_KNOWN_SECONDS = 60
        watches(tenant_id=mercy.tenant.id)  # looked at once
        for study_ids in (many[:1], many[1:]):
            with CaptureQueriesContext(connection) as queries:
                imaging_studies_put(study_ids=study_ids)
            counts.append(len(queries))
    assert counts[2] == counts[3] <= 14


def test_the_rebuild_command(mercy: Hospital, olaf: Hospital, fhir: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "management command `fhir_rebuild --tenant <slug>` rebuilds all ImagingStudy/Patient projections from the DICOM rows"."""
    from fhirapi.management.commands import fhir_rebuild

    monkeypatch.setattr(fhir_rebuild, "BATCH", 2)
    with mercy.scope():
        studies = [study_make() for _ in range(5)]
    with olaf.scope():
        study_make()

    def rebuild() -> str:
        out = StringIO()
        call_command("fhir_rebuild", tenant=mercy.slug, stdout=out)
        return out.getvalue()

    assert rebuild().splitlines()[0] == "5 studies, 12 resources changed"
    assert sorted(fhir.ids("ImagingStudy")) == sorted(str(study.uuid) for study in studies)
    quiet = ["5 studies", "5 patients", "0 orders", "0 jobs", "0 reports", "0 audit records"]
    assert rebuild().splitlines() == [f"{one}, 0 resources changed" for one in quiet]
    with mercy.scope():
        Patient.objects.filter(id=studies[0].patient_id).update(name="New^Name")
    assert rebuild().splitlines()[0] == "5 studies, 1 resources changed"
    assert fhir.get(f"Patient/{studies[0].patient.uuid}").json()["name"][0]["family"] == "New"
    assert versions(olaf) == {}
    with pytest.raises(CommandError):
        call_command("fhir_rebuild", tenant="nobody-here")


def test_a_large_study_is_stored_small_and_quickly_read(mercy: Hospital, fhir: Fhir) -> None:
    """2,000 instances in one resource, no ORM object per instance, and the text as stored."""
    with mercy.scope():
        study = study_make(images=2000)
        imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_column_size(content), length(content) FROM fhir_resource WHERE rtype = 2")
            kept, length = cursor.fetchone()
    assert kept < length / 2
    assert json.loads(fhir.get(f"ImagingStudy/{study.uuid}").content)["numberOfInstances"] == 2000

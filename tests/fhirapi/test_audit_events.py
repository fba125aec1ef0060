"""AuditEvents: the sealed trail as FHIR, for those alone who may read it."""

from typing import Any

import pytest
from django.utils import timezone

from fhirapi.audit_events import audit_events_project, form_check
from fhirapi.projections import imaging_study_project
from fhirapi.resources.audit_event import AuditRow, to_fhir
from fhirapi.validation import InvalidResourceError
from journal.audit import Actor, audit_record, audit_seal
from journal.models import AuditSeal
from tenants.services import token_create
from tests.conftest import Hospital
from tests.fhirapi.conftest import event, study_make
from tests.fhirapi.projecting import valid
from tests.fhirapi.writing import Writer, entry, patient

pytestmark = pytest.mark.database


class Auditor(Writer):
    def __init__(self, hospital: Hospital, role: str = "owner") -> None:
        super().__init__(hospital)
        token = token_create(tenant=hospital.tenant, name=role, role=role)
        self.auth = {"authorization": f"Bearer {token}"}

    def get(self, path: str, **headers: str) -> Any:
        return super().get(path, **self.auth, **headers)


def sealed(hospital: Hospital) -> None:
    """What the sealing task and the relay do."""
    with hospital.scope():
        before = AuditSeal.objects.count()
        if made := audit_seal():
            audit_events_project(event=event("audit.sealed", hospital, first=before + 1, last=before + made))


def test_who_did_what(mercy: Hospital) -> None:
    """ "type/subtype/action/agent/entity by DICOM/BALP habits, entity by our ids, no names"."""
    writer, auditor = Writer(mercy), Auditor(mercy)
    with mercy.scope():
        study = study_make()
        imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
        ae, door = Actor(name="ae:CT1", address="10.0.0.7"), Actor(name="system:dispatch")
        audit_record(actor=ae, action="dicom.store", object_type="Study", object_id=study.study_uid)
        audit_record(actor=ae, action="dicom.get", object_type="Study", object_id=str(study.id))
        audit_record(
            actor=door, action="ai.send", object_type="Study", object_id=str(study.uuid),
            detail={"platform": "medhub-quantify", "instances": 3},
        )  # fmt: skip
    made = writer.made(patient("1"))
    writer.get(f"Patient/{made['id']}")
    writer.search("Patient", "identifier=secret-number")
    sealed(mercy)
    found = {one["subtype"][-1]["code"]: one for one in (e["resource"] for e in auditor.search("AuditEvent")["entry"])}
    valid(*found.values())
    assert set(found) == {"dicom.store", "dicom.get", "ai.send", "fhir.create", "fhir.read", "fhir.search"}
    assert {code: (one["type"]["code"], one["action"]) for code, one in found.items()} == {
        "dicom.store": ("110104", "C"), "dicom.get": ("110104", "E"), "ai.send": ("110106", "E"), "fhir.create": ("rest", "C"),
        "fhir.read": ("rest", "R"), "fhir.search": ("rest", "E"),
    }  # fmt: skip
    for code in ("dicom.store", "dicom.get", "ai.send"):
        whats = [one["what"]["reference"] for one in found[code]["entity"]]
        assert whats == [f"ImagingStudy/{study.uuid}", f"Patient/{study.patient.uuid}"], code
    assert found["dicom.store"]["agent"][0]["network"] == {"address": "10.0.0.7", "type": "2"}
    assert {"type": "instances", "valueString": "3"} in found["ai.send"]["entity"][0]["detail"]
    assert found["fhir.read"]["entity"][0]["what"] == {"reference": f"Patient/{made['id']}"}
    assert "what" not in found["fhir.search"]["entity"][0]
    assert "secret-number" not in str(found)
    assert len(auditor.ids("AuditEvent", f"patient={study.patient.uuid}")) == 3
    assert len(auditor.ids("AuditEvent", f"entity=Patient/{made['id']}&subtype=read")) == 1
    assert auditor.ids("AuditEvent", "date=lt2020") == []


def test_only_new_rows_and_once(mercy: Hospital) -> None:
    """ "a bulk put, only new rows": a replay writes nothing."""
    auditor = Auditor(mercy)
    with mercy.scope():
        for number in range(5):
            audit_record(actor=Actor(name="user:1"), action="study.view", object_type="Study", object_id=str(number))
    sealed(mercy)
    with mercy.scope():
        audit_events_project(event=event("audit.sealed", mercy, first=1, last=5))
    found = [one["resource"] for one in auditor.search("AuditEvent", "subtype=study.view")["entry"]]
    assert [one["meta"]["versionId"] for one in found] == ["1"] * 5


def test_only_for_who_may_read_the_trail(mercy: Hospital, olaf: Hospital) -> None:
    """ "readable by roles with audit.read only (search and read of AuditEvent are 403 otherwise)", by every way that leads there."""
    writer, owner = Writer(mercy), Auditor(mercy)
    made = writer.made(patient("1"))
    sealed(mercy)
    (fhir_id,) = owner.ids("AuditEvent")
    for path in (
        "AuditEvent", f"AuditEvent/{fhir_id}", f"AuditEvent/{fhir_id}/_history/1", f"AuditEvent/{fhir_id}/_history",
        "AuditEvent/_history", f"Patient/{made['id']}/AuditEvent", "?_type=AuditEvent", "AuditEvent/$meta",
        f"AuditEvent/{fhir_id}/$meta", f"AuditEvent/{fhir_id}/$validate", "Patient?_has:AuditEvent:patient:action=C",
        f"Patient/{made['id']}/$everything?_type=AuditEvent",
    ):  # fmt: skip
        assert writer.get(path).status_code == 403, path
        if not path.startswith("Patient?"):
            assert owner.get(path).status_code == 200, path
    assert owner.ids("Patient", "_has:AuditEvent:patient:action=C") == [made["id"]]
    assert writer.ids("Patient", f"_id={made['id']}&_revinclude=AuditEvent:entity", mode="include") == []
    assert owner.ids("Patient", f"_id={made['id']}&_revinclude=AuditEvent:entity", mode="include") == [fhir_id]
    for path in ("", "_history", f"Patient/{made['id']}/*", f"Patient/{made['id']}/$everything"):
        assert fhir_id not in writer.get(path).content.decode(), path
        assert fhir_id in owner.get(path).content.decode(), path
    batch = writer.bundle("batch", entry("GET", f"AuditEvent/{fhir_id}"), entry("GET", "AuditEvent")).json()
    assert [one["response"]["status"] for one in batch["entry"]] == ["403", "403"]
    chained = writer.made({
        "resourceType": "Provenance", "target": [{"reference": f"AuditEvent/{fhir_id}"}], "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"reference": "Device/x"}}],
    })  # fmt: skip
    assert writer.get("Provenance?target:AuditEvent.action=C").status_code == 403
    assert writer.ids("Provenance", f"_id={chained['id']}&_include=Provenance:target", mode="include") == []
    linked = chained | {"target": [{"reference": "AuditEvent?action=C"}]}
    assert writer.bundle("transaction", entry("POST", "Provenance", linked)).status_code == 403
    assert Auditor(olaf).get(f"AuditEvent/{fhir_id}").status_code == 404
    assert Auditor(mercy, "auditor").get(f"AuditEvent/{fhir_id}").status_code == 200
    assert Auditor(mercy, "auditor").get(f"Patient/{made['id']}").status_code == 403
    assert Auditor(mercy, "admin").get("AuditEvent").status_code == 403
    assert writer.put(f"AuditEvent/{fhir_id}", {}).status_code == 405
    assert writer.post("AuditEvent/$validate", {"resourceType": "AuditEvent"}).status_code == 200, "that looks at nothing of ours"


@pytest.mark.parametrize(
    ("place", "value"),
    [("id", "x" * 65), ("id", "a b"), ("recorded", "yesterday"), ("outcome", "9"), ("action", "X"), ("extra", "1"), ("recorded", 7)],
)
def test_a_form_that_was_checked_lets_nothing_else_through(mercy: Hospital, place: str, value: Any) -> None:
    """ "R4B models check whatever we emit": once for each form of event, and every other form is another one."""
    with mercy.scope():
        row = AuditRow(
            id=7, actor="token:1", action="fhir.read", object_type="Patient", object_id="p1", recorded_at=timezone.now(),
            address="10.0.0.1", detail={},
        )  # fmt: skip
        good = to_fhir(row=row)
        form_check(resource=good)
        form_check(resource={**good, "id": "8"})
        with pytest.raises(InvalidResourceError):
            form_check(resource={**good, place: value})

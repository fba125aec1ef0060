"""Orders and FHIR: a ServiceRequest is a worklist entry when its write is answered, and an order from elsewhere is a ServiceRequest."""

from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from imaging.models import Order, Patient, ScheduledStep, WorkItem
from imaging.orders import OrderFacts, order_upsert
from imaging.orders import StepFacts as Step
from imaging.workitems import DecisionRefused, item_resolve
from journal.audit import Actor
from tests import house
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer, entry
from tests.imaging.test_dimse_peers import peer
from tests.imaging.test_orders import JANE, arrive, upsert
from tests.imaging.test_query_peers import allow, serving

pytestmark = pytest.mark.database
V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"
SYSTEM = "http://ehr.example/mrn"
ACTOR = Actor(name="user:test")


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    """The whole house's addresses."""
    settings.ROOT_URLCONF = "medhub.urls"


@pytest.fixture
def writer(mercy: Hospital) -> Writer:
    return Writer(mercy)


def jane(number: str = "P1", **values: Any) -> dict[str, Any]:
    mr = {"type": {"coding": [{"system": V2, "code": "MR"}]}, "system": SYSTEM, "value": number}
    name = {"family": "Doe", "given": ["Jane"]}
    return {"resourceType": "Patient", "identifier": [mr], "name": [name], "birthDate": "1960-01-02", "gender": "female"} | values


def request(subject: str, accession: str = "A1", **values: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"reference": subject}, "priority": "stat",
        "identifier": [{"type": {"coding": [{"system": V2, "code": "ACSN"}]}, "system": "http://ehr.example/acsn", "value": accession}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}], "text": "CT of the chest"},
        "occurrenceDateTime": "2026-07-05T10:15:00Z", "reasonCode": [{"text": "cough"}],
        "performer": [{"type": "Device", "identifier": {"value": "CT1"}}],
    } | values  # fmt: skip


def orders(mercy: Hospital) -> list[Order]:
    with mercy.scope():
        return list(Order.objects.select_related("patient").order_by("id"))


def open_items(mercy: Hospital) -> list[str]:
    with mercy.scope():
        return list(WorkItem.objects.filter(resolved_at=None).order_by("id").values_list("kind", flat=True))


@pytest.mark.peers
def test_a_request_is_on_the_scanners_worklist_within_a_second(mercy: Hospital, writer: Writer, tmp_path: Path) -> None:
    """ "a ServiceRequest ... calls `order_upsert` and is on the scanner's worklist within 1 s", measured with findscu."""
    allow(mercy, "worklist")
    made = writer.made(jane())
    with serving() as listener:
        began = monotonic()
        writer.made(request(f"Patient/{made['id']}"))
        keys = [
            "0008,0050=A1", "0010,0010", "0010,0020", "0040,0100[0].0008,0060=CT", "0040,0100[0].0040,0001=CT1", "0040,0100[0].0040,0002",
        ]  # fmt: skip
        options = [part for key in keys for part in ("-k", key)]
        said = peer("findscu", listener.port, "-W", *options, called=mercy.called_ae, calling=mercy.calling_ae)
        seconds = monotonic() - began
    assert "Doe^Jane" in said, said
    assert "[P1" in said, said
    assert "20260705" in said, said
    assert seconds < 1, seconds


def test_what_the_order_says(mercy: Hospital, writer: Writer) -> None:
    made = writer.made(jane())
    sent = writer.made(request(f"Patient/{made['id']}"))
    (order,) = orders(mercy)
    assert (order.accession_number, order.issuer, order.ehr_id, order.status) == ("A1", "http://ehr.example/acsn", sent["id"], "active")
    assert (order.patient.patient_id, order.patient.issuer, order.patient.name) == ("P1", SYSTEM, "Doe^Jane")
    assert (order.patient.birth_date, order.patient.sex, order.description) == ("19600102", "F", "CT of the chest")
    for value in ('"STAT"', '"cough"', '"24627-2"', '"LN"'):
        assert value in order.extra
    with mercy.scope():
        step = ScheduledStep.objects.get()  # in the hospital's own zone
    assert (step.modality, step.station, step.start_date, step.start_time, step.is_listed) == ("CT", "CT1", "20260705", "051500", True)


@pytest.mark.parametrize(
    ("values", "modality"),
    [({"orderDetail": [{"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "MR"}]}]}, "MR"),
     ({"code": {"text": "XR Chest 2 Views"}}, "DX"), ({"code": {"text": "chest"}}, "OT"), ({"code": {"text": "US abdomen"}}, "US")],
)  # fmt: skip
def test_modality(mercy: Hospital, writer: Writer, values: dict[str, Any], modality: str) -> None:
    """As a DCM coding says it, else the first word of the procedure; else Other, never a guess from a body part."""
    made = writer.made(jane())
    writer.made(request(f"Patient/{made['id']}", **values))
    with mercy.scope():
        assert ScheduledStep.objects.get().modality == modality


def test_changed_revoked_and_deleted(mercy: Hospital, writer: Writer) -> None:
    """An update is the order's update; another number leaves the old one; revoked and deleted ones leave the worklist."""
    made = writer.made(jane())
    sent = writer.made(request(f"Patient/{made['id']}"))
    path = f"ServiceRequest/{sent['id']}"
    assert writer.put(path, sent | {"priority": "routine"}).status_code == 200
    assert [('"ROUTINE"' in order.extra, order.status) for order in orders(mercy)] == [(True, "active")]
    moved = request(f"Patient/{made['id']}", "A2", id=sent["id"])
    assert writer.put(path, moved).status_code == 200
    assert [(order.accession_number, order.status) for order in orders(mercy)] == [("A1", "revoked"), ("A2", "active")]
    assert writer.put(path, moved | {"status": "revoked"}).status_code == 200
    assert orders(mercy)[1].status == "revoked"
    assert writer.put(path, moved).status_code == 200
    assert orders(mercy)[1].status == "active"
    assert writer.delete(path).status_code == 204
    with mercy.scope():
        assert orders(mercy)[1].status == "revoked"
        assert not ScheduledStep.objects.filter(is_listed=True).exists()


def test_in_a_transaction_and_conditionally(mercy: Hospital, writer: Writer) -> None:
    """By every way of writing: Patient and ServiceRequest in one transaction, and again by If-None-Exist without a second order."""
    person = "urn:uuid:6f1c8f0e-3f0a-4d0e-9a51-0c8f6d0b7a11"
    wishes = (entry("POST", "ServiceRequest", request(person)), entry("POST", "Patient", jane(), full_url=person))
    answer = writer.bundle("transaction", *wishes)
    assert answer.status_code == 200, answer.content
    assert len(orders(mercy)) == 1
    again = writer.post("ServiceRequest", request("Patient/x"), if_none_exist="identifier=http://ehr.example/acsn|A1")
    assert again.status_code == 200
    assert len(orders(mercy)) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"identifier": [{"system": "http://lab.example", "value": "L1"}], "code": {"text": "Potassium"}},
        {"intent": "plan"}, {"status": "draft"},
    ],
)  # fmt: skip
def test_what_is_no_order_for_imaging(mercy: Hospital, writer: Writer, values: dict[str, Any]) -> None:
    made = writer.made(jane())
    writer.made(request(f"Patient/{made['id']}", **values))
    assert orders(mercy) == []
    assert open_items(mercy) == []


def test_what_cannot_be_listed_is_stored_and_told(mercy: Hospital, writer: Writer) -> None:
    """ "a visible work item with a fix": stored, told why without a value; sent again correctly, it is settled."""
    bad = request("Patient/nobody", "A-number-that-no-scanner-takes")
    sent = writer.made(bad)
    assert orders(mercy) == []
    with mercy.scope():
        item = WorkItem.objects.get()
    assert item.kind == "order-incomplete"
    assert "names no Patient" in item.reason
    made = writer.made(jane())
    writer.put(f"ServiceRequest/{sent['id']}", bad | {"id": sent["id"], "subject": {"reference": f"Patient/{made['id']}"}})
    with mercy.scope():
        assert "accession_number" in WorkItem.objects.get().reason
    writer.put(f"ServiceRequest/{sent['id']}", request(f"Patient/{made['id']}", id=sent["id"]))
    assert open_items(mercy) == []
    assert len(orders(mercy)) == 1


def test_a_study_its_request_and_one_patient(mercy: Hospital, writer: Writer) -> None:
    """ "Accession + issuer match a study to its order and fill ImagingStudy.basedOn and DiagnosticReport.basedOn".

    The person of the order is the EHR's own Patient, not a second one.
    """
    made = writer.made(jane())
    sent = writer.made(request(f"Patient/{made['id']}"))
    said = {"PatientID": "P1", "PatientName": "DOE^JANE", "PatientBirthDate": "19600102", "IssuerOfPatientID": SYSTEM}
    study = arrive(mercy, AccessionNumber="A1", **said)
    found = writer.get(f"ImagingStudy/{study.uuid}").json()
    assert found["basedOn"][0]["reference"] == f"ServiceRequest/{sent['id']}"
    assert found["subject"]["reference"] == f"Patient/{made['id']}"
    assert open_items(mercy) == []


def test_images_that_do_not_say_who_gave_the_number(mercy: Hospital, writer: Writer) -> None:
    """Number and name agree, and the images name no issuer: the order is theirs; two rows stay two."""
    made = writer.made(jane())
    sent = writer.made(request(f"Patient/{made['id']}"))
    study = arrive(mercy, AccessionNumber="A1", PatientID="P1", PatientName="DOE^JANE")
    assert writer.get(f"ImagingStudy/{study.uuid}").json()["basedOn"][0]["reference"] == f"ServiceRequest/{sent['id']}"
    other = arrive(mercy, AccessionNumber="A1", PatientID="P1", PatientName="ROE^RICHARD")
    assert "reference" not in writer.get(f"ImagingStudy/{other.uuid}").json()["basedOn"][0]
    assert "order-patient" in open_items(mercy)


def test_an_order_from_elsewhere_is_a_request(mercy: Hospital, writer: Writer) -> None:
    """An ORM or a command: the hub's own ServiceRequest, basedOn by it; the EHR's own takes its place once it is there."""
    order = upsert(mercy, "A9", steps=[Step(modality="CT", station="CT1", start_date="20260705", start_time="1015")], requester="Adams^Ann")
    house.settle(mercy)
    (order,) = orders(mercy)
    found = writer.get(f"ServiceRequest/{order.id}").json()
    assert (found["status"], found["intent"], found["occurrenceDateTime"][:16]) == ("active", "order", "2026-07-05T10:15")
    assert found["subject"]["reference"] == f"Patient/{order.patient.uuid}"
    assert found["requester"] == {"display": "Ann Adams"}
    assert writer.get(f"Patient/{order.patient.uuid}").json()["name"][0]["family"] == "DOE"
    study = arrive(mercy, AccessionNumber="A9")
    based_on = f"ServiceRequest/{order.id}"
    assert writer.get(f"ImagingStudy/{study.uuid}").json()["basedOn"][0]["reference"] == based_on
    assert writer.put(f"ServiceRequest/{order.id}", found).status_code == 403  # read only over REST
    mine = found["identifier"][0]
    sent = writer.made(request(f"Patient/{order.patient.uuid}", identifier=[mine]))
    house.settle(mercy)
    assert [one.ehr_id for one in orders(mercy)] == [sent["id"]]
    assert writer.get(f"ServiceRequest/{order.id}").json()["status"] == "entered-in-error"
    assert writer.get(f"ImagingStudy/{study.uuid}").json()["basedOn"][0]["reference"] == f"ServiceRequest/{sent['id']}"


class TestFixes:
    """ "none, or an order of another patient, is a visible work item with a fix, never a guess"."""

    def item(self, mercy: Hospital, kind: str) -> WorkItem:
        with mercy.scope():
            return WorkItem.objects.get(kind=kind, resolved_at=None)

    def decide(self, mercy: Hospital, item: WorkItem, action: str, **more: str) -> None:
        with mercy.scope():
            item_resolve(item_id=item.id, action=action, actor=ACTOR, **more)

    def test_the_order_is_chosen(self, mercy: Hospital, writer: Writer) -> None:
        """Only among its patient's orders; it stays, whatever the numbers say afterwards."""
        order = upsert(mercy, "A1", steps=None)
        other = upsert(mercy, "A2", patient=JANE.__class__(issuer="", patient_id="P7", name="ROE^ANN", birth_date="", sex=""), steps=None)
        study = arrive(mercy, AccessionNumber="TYPO")
        item = self.item(mercy, "order-missing")
        for wrong in (str(other.id), "", "1"):
            with pytest.raises(DecisionRefused, match="of this patient"):
                self.decide(mercy, item, "match", order=wrong)
        self.decide(mercy, item, "match", order=str(order.id))
        house.settle(mercy)
        found = writer.get(f"ImagingStudy/{study.uuid}").json()
        assert found["basedOn"][0]["reference"] == f"ServiceRequest/{order.id}"
        assert open_items(mercy) == []
        upsert(mercy, "TYPO", steps=None)
        house.settle(mercy)
        assert writer.get(f"ImagingStudy/{study.uuid}").json()["basedOn"] == found["basedOn"]

    def test_the_two_patients_are_one(self, mercy: Hospital, writer: Writer) -> None:
        """The order's number is used from now on; images that come later follow."""
        order = upsert(mercy, "A1", steps=None)
        study = arrive(mercy, AccessionNumber="A1", PatientID="TRAUMA7", PatientName="UNKNOWN^A")
        self.decide(mercy, self.item(mercy, "order-patient"), "merge")
        (order,) = orders(mercy)
        house.settle(mercy)
        assert open_items(mercy) == []
        found = writer.get(f"ImagingStudy/{study.uuid}").json()
        assert found["basedOn"][0]["reference"] == f"ServiceRequest/{order.id}"
        assert found["subject"]["reference"] == f"Patient/{order.patient.uuid}"

    def test_the_api_names_what_may_be_chosen(self, mercy: Hospital, client: Any) -> None:
        order = upsert(mercy, "A1", steps=None)
        arrive(mercy, AccessionNumber="TYPO")
        item = self.item(mercy, "order-missing")
        found = client.get(f"/t/{mercy.slug}/api/v1/workitems/{item.id}", headers=mercy.auth).json()
        assert (found["actions"], found["orders"]) == (["dismiss", "match"], [str(order.id)])


def test_another_hospital_sees_nothing_of_it(mercy: Hospital, olaf: Hospital, writer: Writer) -> None:
    """Equal numbers in two hospitals stay two orders."""
    with olaf.scope():
        theirs = order_upsert(actor=ACTOR, facts=OrderFacts(accession_number="A1", patient=JANE))
    study = arrive(mercy, AccessionNumber="A1")
    assert "reference" not in writer.get(f"ImagingStudy/{study.uuid}").json()["basedOn"][0]
    assert writer.get(f"ServiceRequest/{theirs.id}").status_code == 404
    with mercy.scope():
        assert Patient.objects.count() == 1

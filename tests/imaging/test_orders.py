"""Orders: written down once, changed by what they say next, matched with studies and never guessed."""

import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from imaging.describe import PatientFacts
from imaging.models import Order, Patient, ScheduledStep, Study, Transfer, TransferStudy, WorkItem
from imaging.orders import OrderError, OrderFacts, StepFacts, order_upsert
from imaging.workitems import item_resolve
from journal.audit import Actor
from journal.models import AuditEvent, OutboxEvent
from tests import house
from tests.dicom_files import ct_slice

pytestmark = pytest.mark.database
ACTOR = Actor(name="user:test")
JANE = PatientFacts(issuer="", patient_id="P1", name="DOE^JANE", birth_date="19600102", sex="F")
CT = StepFacts(modality="CT", station="CT1", start_date="20260705", start_time="1015")


def upsert(hospital: Any, accession: str = "A1", **facts: Any) -> Order:
    with hospital.scope():
        return order_upsert(actor=ACTOR, facts=OrderFacts(**{"accession_number": accession, "patient": JANE, "steps": [CT], **facts}))


def arrive(hospital: Any, **attributes: Any) -> Study:
    """A study through the whole house."""
    ds = ct_slice(**attributes)
    house.store(hospital, [ds])
    house.settle(hospital)
    with hospital.scope():
        return Study.objects.get(study_uid=ds.StudyInstanceUID)


def again(hospital: Any, study: Study) -> Study:
    house.settle(hospital)
    with hospital.scope():
        return Study.objects.get(id=study.id)


def doubts(hospital: Any) -> list[tuple[str, int]]:
    with hospital.scope():
        return list(WorkItem.objects.filter(resolved_at=None).order_by("id").values_list("kind", "study_id"))


def counted(hospital: Any, model: Any, **facts: Any) -> int:
    with hospital.scope():
        return model.objects.filter(**facts).count()


def test_the_same_order_again_changes_nothing(mercy) -> None:
    """"`order_upsert(...)` (idempotent by issuer + accession; ... publishes `order.changed`)", and only when something did."""
    first = upsert(mercy)
    for _ in range(2):
        same = upsert(mercy)
        assert (same.id, same.study_uid, same.changed_at) == (first.id, first.study_uid, first.changed_at)
    assert first.study_uid.startswith("2.25.")
    assert counted(mercy, OutboxEvent, name="order.changed") == 1
    assert upsert(mercy, issuer="RIS").id != first.id
    upsert(mercy, description="CT of the chest")
    assert counted(mercy, OutboxEvent, name="order.changed") == 3
    with mercy.scope():
        actions = list(AuditEvent.objects.filter(object_type="Order").order_by("id").values_list("action", flat=True))
    assert actions == ["order.create", "order.create", "order.update"]


def test_steps_become_what_the_order_says(mercy) -> None:
    """Steps by their id: changed, added, taken away; not named, they stay."""
    mr = replace(CT, modality="MR", step_id="S2")
    upsert(mercy, steps=[replace(CT, step_id="S1"), mr])
    upsert(mercy, steps=[replace(mr, status="ARRIVED"), replace(CT, step_id="S3")])
    upsert(mercy, steps=None, description="only this")
    with mercy.scope():
        found = list(ScheduledStep.objects.order_by("step_id").values_list("step_id", "modality", "status", "is_listed"))
    assert found == [("S2", "MR", "ARRIVED", True), ("S3", "CT", "SCHEDULED", True)]
    upsert(mercy, steps=None, status="completed")
    assert counted(mercy, ScheduledStep, is_listed=True) == 0


def test_people_of_orders_are_those_of_images(mercy) -> None:
    """"patient by (issuer, PatientID) found or made through imaging.people rules without guessing"."""
    study = arrive(mercy, AccessionNumber="OLD", PatientBirthDate="")
    order = upsert(mercy, steps=None)
    assert order.patient_id == study.patient_id
    with mercy.scope():
        assert Patient.objects.get().birth_date == "19600102"  # the images stated none
    other = upsert(mercy, "A2", patient=replace(JANE, name="ROE^RICHARD"))
    assert other.patient_id != order.patient_id
    assert ("patient-conflict", None) in doubts(mercy)
    assert upsert(mercy, "A3", patient=replace(JANE, issuer="HOSP")).patient_id not in {order.patient_id, other.patient_id}


def test_images_and_orders_of_one_new_person_at_once(mercy) -> None:
    """Index worker and order doors race for the same patient: one row, no object put aside."""
    for n in range(6):
        who = {"PatientID": f"R{n}", "PatientName": f"N^{n}"}
        house.store(mercy, [ct_slice(**who, AccessionNumber=f"R{n}")])

    def orders() -> None:
        try:
            for n in range(6):
                upsert(mercy, f"R{n}", patient=replace(JANE, patient_id=f"R{n}", name=f"N^{n}"))
        finally:
            connections.close_all()

    def images() -> None:
        try:
            house.index(mercy)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(orders), pool.submit(images)]:
            done.result()
    house.settle(mercy)
    assert (counted(mercy, Patient), counted(mercy, Study)) == (6, 6)
    assert doubts(mercy) == []
    assert counted(mercy, Study, order__isnull=False) == 6


def test_people_who_are_merged_take_their_orders_along(mercy) -> None:
    """A person who married: the order's new name makes a second person; "they are one patient" makes the order the first one's."""
    study = arrive(mercy, AccessionNumber="OLD")
    order = upsert(mercy, "OLD", patient=replace(JANE, name="MILLER^JANE"))
    assert again(mercy, study).order_id is None
    with mercy.scope():
        item = WorkItem.objects.get(kind="patient-conflict")
        item_resolve(item_id=item.id, action="merge", actor=ACTOR)
    assert again(mercy, study).order_id == order.id
    assert doubts(mercy) == []
    assert upsert(mercy, "NEW", patient=replace(JANE, name="MILLER^JANE")).patient_id == study.patient_id


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"accession": ""}, "accession_number"),
        ({"accession": "A" * 17}, "accession_number"),
        ({"patient": replace(JANE, patient_id="")}, "patient.patient_id"),
        ({"patient": replace(JANE, birth_date="1960")}, "patient.birth_date"),
        ({"patient": replace(JANE, name="DOE\\JANE")}, "patient.name"),
        ({"patient": replace(JANE, name="DOE\x00")}, "patient.name"),
        ({"status": "lost"}, "status"),
        ({"study_uid": "../1"}, "study_uid"),
        ({"study_uid": 7}, "study_uid"),
        ({"steps": [replace(CT, modality="")]}, "step.modality"),
        ({"steps": [replace(CT, modality="ct")]}, "step.modality"),
        ({"steps": [replace(CT, station="X" * 17)]}, "step.station"),
        ({"steps": [replace(CT, start_date="20260231")]}, "step.start_date"),
        ({"steps": [replace(CT, start_date="")]}, "step.start_date"),
        ({"steps": [replace(CT, start_time="10:15")]}, "step.start_time"),
        ({"steps": [replace(CT, status="GONE")]}, "step.status"),
        ({"steps": [replace(CT, step_id="1"), CT, replace(CT, step_id="2")]}, "step_id"),
        ({"steps": [CT] * 101}, "steps"),
        ({"attributes": {"PatientName": "X"}}, "attributes"),
        ({"attributes": {"NoSuchKeyword": "X"}}, "attributes"),
        ({"attributes": {"PatientWeight": "heavy"}}, "PatientWeight"),
        ({"attributes": {"PregnancyStatus": "70000"}}, "PregnancyStatus"),
        ({"attributes": {"RequestedProcedureCodeSequence": [{"CodeMeaning": "x" * 65}]}}, "CodeMeaning"),
        ({"attributes": {"RequestedProcedureCodeSequence": [{"Other": "x"}]}}, "RequestedProcedureCodeSequence"),
        ({"attributes": {"RequestedProcedureCodeSequence": "x"}}, "RequestedProcedureCodeSequence"),
    ],
)
def test_what_no_modality_could_take_is_refused(mercy, facts, field) -> None:
    """Everything from outside is checked by its VR; the error names the field and never the value; nothing is written."""
    with pytest.raises(OrderError) as refused:
        upsert(mercy, facts.pop("accession", "A1"), **facts)
    assert refused.value.field == field
    assert counted(mercy, Order) == 0


# which order a study belongs to


@pytest.mark.parametrize("is_order_first", [True, False])
def test_a_study_finds_its_order_and_an_order_its_study(mercy, is_order_first) -> None:
    """"Accession + issuer match studies to orders", whichever comes first."""
    if is_order_first:
        order = upsert(mercy)
        study = arrive(mercy)
    else:
        upsert(mercy, "OTHER")
        study = arrive(mercy)
        assert doubts(mercy) == [("order-missing", study.id)]
        order = upsert(mercy)
        study = again(mercy, study)
    assert study.order_id == order.id
    assert doubts(mercy) == []


def test_a_hospital_without_orders_has_no_doubts(mercy) -> None:
    """"only when the hospital has orders at all"."""
    assert arrive(mercy).order_id is None
    assert doubts(mercy) == []


def test_no_order_and_another_patient_are_work_items(mercy) -> None:
    """"none or another patient is a visible work item, never a guess"."""
    upsert(mercy)
    none = arrive(mercy, AccessionNumber="A7")
    nameless = arrive(mercy, AccessionNumber="")
    other = arrive(mercy, PatientID="P2", PatientName="ROE^RICHARD")
    assert [none.order_id, nameless.order_id, other.order_id] == [None] * 3
    assert doubts(mercy) == [("order-missing", none.id), ("order-missing", nameless.id), ("order-patient", other.id)]
    upsert(mercy, patient=replace(JANE, patient_id="P2", name="ROE^RICHARD"))  # the order was wrong, and is put right
    order = upsert(mercy, "A7")
    assert again(mercy, none).order_id == order.id
    assert again(mercy, other).order_id is not None
    assert doubts(mercy) == [("order-missing", nameless.id)]


def test_an_order_that_changes_its_patient_loses_its_study(mercy) -> None:
    """What was matched is looked at again when the order says something else."""
    upsert(mercy)
    study = arrive(mercy)
    assert study.order_id is not None
    upsert(mercy, patient=replace(JANE, patient_id="P2", name="ROE^RICHARD"))
    assert again(mercy, study).order_id is None
    assert doubts(mercy) == [("order-patient", study.id)]


def test_issuers_tell_equal_numbers_apart(mercy) -> None:
    """The same accession number of two issuers: a study that names one has it, one that names none has neither."""
    orders = {issuer: upsert(mercy, issuer=issuer) for issuer in ("RIS1", "RIS2")}

    def issued(issuer: str) -> Any:
        from pydicom.dataset import Dataset

        item = Dataset()
        item.LocalNamespaceEntityID = issuer
        return [item]

    assert arrive(mercy, IssuerOfAccessionNumberSequence=issued("RIS2")).order_id == orders["RIS2"].id
    none = arrive(mercy)
    third = arrive(mercy, IssuerOfAccessionNumberSequence=issued("RIS3"))
    assert doubts(mercy) == [("order-missing", none.id), ("order-missing", third.id)]
    only = upsert(mercy, "A5", issuer="RIS1")
    assert arrive(mercy, AccessionNumber="A5").order_id == only.id  # no other order could be meant


def test_old_studies_that_we_fetched_make_no_doubts(mercy) -> None:
    """A migration of ten years is no list of ten years' missing orders."""
    upsert(mercy)
    ds = ct_slice(AccessionNumber="OLD")
    with mercy.scope():
        now = "2026-01-01T00:00:00Z"
        transfer = Transfer.objects.create(kind="migrate", node_ae="PACS", unique_on="x", created_at=now, changed_at=now)
        TransferStudy.objects.create(transfer=transfer, study_uid=ds.StudyInstanceUID, expected=1, created_at=now)
    house.store(mercy, [ds])
    house.settle(mercy)
    assert doubts(mercy) == []


def test_orders_stay_in_their_hospital(mercy, olaf) -> None:
    """"tenant walls": an order of one hospital is none of the other's."""
    upsert(mercy)
    upsert(olaf, "A2")
    study = arrive(olaf)
    assert study.order_id is None
    assert doubts(olaf) == [("order-missing", study.id)]
    assert (counted(mercy, Order), counted(olaf, Order)) == (1, 1)


# the command


@pytest.fixture
def stdin(monkeypatch) -> Callable[[Any], None]:
    def give(value: Any) -> None:
        encoded = value if isinstance(value, bytes) else orjson.dumps(value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encoded)))

    return give


def test_the_command_takes_options(mercy, capsys) -> None:
    """"command `manage.py order_upsert --hospital SLUG ...`"."""
    options = {"accession": "A1", "patient_id": "P1", "name": "DOE^JANE", "modality": "CT", "station": "CT1", "date": "20260705"}
    for description in ("first", "then"):
        call_command("order_upsert", hospital=mercy.slug, description=description, **options)
    assert "1 order at" in capsys.readouterr().out
    with mercy.scope():
        order, one = Order.objects.get(), ScheduledStep.objects.get()
    assert (order.description, one.description, one.station, one.started_key) == ("then", "then", "CT1", "20260705")
    for wrong in ({"modality": "ct"}, {"hospital": "nowhere"}, {"patient_id": ""}):
        with pytest.raises(CommandError):
            call_command("order_upsert", **{"hospital": mercy.slug, **options, **wrong})


def test_the_command_takes_json(mercy, stdin) -> None:
    """"(options or JSON from stdin)": all orders, or none; an error says where and never what."""
    one = {
        "accession_number": "A1", "patient": {"patient_id": "P1", "name": "DOE^JANE"}, "attributes": {"Allergies": "iodine"},
        "steps": [{"modality": "CT", "attributes": {"PreMedication": "none"}}],
    }  # fmt: skip
    stdin([one, {**one, "accession_number": "A2"}])
    call_command("order_upsert", hospital=mercy.slug, json=True)
    assert counted(mercy, ScheduledStep) == 2
    for wrong in (
        b"{", b"7", {**one, "secret": 1}, [one, {**one, "steps": 1}], [{**one, "accession_number": "A3"}, {**one, "status": "SECRET"}],
        {**one, "patient": {"name": "SECRET"}}, {**one, "steps": [{"modality": 7}]}, {**one, "attributes": []},
    ):
        stdin(wrong)
        with pytest.raises(CommandError) as refused:
            call_command("order_upsert", hospital=mercy.slug, json=True)
        assert "SECRET" not in str(refused.value)
    assert counted(mercy, Order) == 2


def test_studies_say_what_their_order_says_now(mercy) -> None:
    """Whoever projects a study hears when its order came, and when it says something else."""
    study = arrive(mercy, AccessionNumber="A1", PatientID="P1", PatientName="DOE^JANE", PatientBirthDate="19600102")
    before = counted(mercy, OutboxEvent, name="study.changed")
    upsert(mercy)
    assert again(mercy, study).order_id is not None
    assert counted(mercy, OutboxEvent, name="study.changed") == before + 1
    upsert(mercy, description="CT of the chest")
    again(mercy, study)
    assert counted(mercy, OutboxEvent, name="study.changed") == before + 2


def test_a_priority_reaches_its_study_whenever_either_comes_or_changes(mercy) -> None:
    """"human priority first": an order's word stands on a study from its first image, before it is complete; what the order says later
    and what an order says that comes later do as well; what belongs to another patient raises nothing and is no doubt yet.
    """

    def said(priority: str, accession: str = "A1", **facts: Any) -> None:
        upsert(mercy, accession, attributes={"RequestedProcedurePriority": priority}, **facts)
        house.deliver(mercy)

    def stands(study_uid: str) -> tuple[str, str, int, bool]:
        with mercy.scope():
            study = Study.objects.get(study_uid=study_uid)
            return study.priority, study.priority_by, study.rank, study.state == Study.State.COMPLETE

    def first_image(**attributes: Any) -> str:
        ds = ct_slice(**attributes)
        house.store(mercy, [ds])
        house.index(mercy)
        return str(ds.StudyInstanceUID)

    said("STAT")
    said("STAT", "B1", patient=replace(JANE, patient_id="P2", name="ROE^ANN"))
    known = first_image(AccessionNumber="A1")
    assert stands(known) == ("stat", "order", 4, False)
    said("ROUTINE")  # while its images still come
    assert stands(known) == ("routine", "order", 0, False)
    foreign, early = first_image(AccessionNumber="B1"), first_image(AccessionNumber="C1")
    assert (stands(foreign), stands(early)) == (("", "", 0, False), ("", "", 0, False))
    assert doubts(mercy) == []
    said("HIGH", "C1")  # the study was here first, and is not complete
    assert stands(early) == ("urgent", "order", 2, False)
    house.settle(mercy)
    assert [kind for kind, _ in doubts(mercy)] == ["order-patient"]
    said("STAT")  # complete by now
    assert (stands(known), stands(early)) == (("stat", "order", 4, True), ("urgent", "order", 2, True))
    said("STAT", "B1")  # the same patient's after all
    assert stands(foreign) == ("stat", "order", 4, True)

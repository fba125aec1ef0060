"""ADT in to Patient, and A40: by MLLP from end to end."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from imaging.models import Order, Patient, PatientMerge, Study, WorkItem
from tenants.services import token_create
from tests import house
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer
from tests.imaging.hl7.conftest import System, code, listener, ris
from tests.imaging.test_orders import arrive

__all__ = ["listener", "ris"]
pytestmark = pytest.mark.database
PID = (
    "PID|1||P1^^^HOSP^MR~99^^^NATIONAL^NI||Doe^Jane^Q^^Dr^^L~Miller^Jane^^^^^M||19600102|F|||1 Main St^Apt 2^Town^IL^60601^US^H||"
    "555-1^PRN^PH~^NET^Internet^jane@example.org|555-2||M"
)


@pytest.fixture
def writer(mercy: Hospital) -> Writer:
    return Writer(mercy)


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "medhub.urls"


def adt(ris: System, *segments: str, event: str = "A01", at: str = "20260705101500") -> str:
    return code(ris.send(f"EVN||{at}", *segments, kind=f"ADT^{event}"))


def person(mercy: Hospital) -> Patient:
    with mercy.scope():
        return Patient.objects.get(patient_id="P1", issuer="HOSP", variant="")


@pytest.mark.parametrize("event", ["A01", "A04", "A08", "A31"])
def test_a_patient_from_adt(mercy: Hospital, ris: System, writer: Writer, event: str) -> None:
    """ "ADT A01/A04/A08/A31 in to Patient": names, identifiers, address, telecom, marital status."""
    assert adt(ris, PID, event=event) == "AA"
    found = writer.get(f"Patient/{person(mercy).uuid}").json()
    assert [(one["use"], one["family"]) for one in found["name"]] == [("official", "Doe"), ("maiden", "Miller")]
    assert (found["name"][0]["given"], found["name"][0]["prefix"]) == (["Jane", "Q"], ["Dr"])
    assert (found["gender"], found["birthDate"], found["maritalStatus"]["coding"][0]["code"]) == ("female", "1960-01-02", "M")
    assert {one["value"] for one in found["identifier"]} == {"P1", "99"}
    assert found["address"] == [
        {"use": "home", "line": ["1 Main St", "Apt 2"], "city": "Town", "state": "IL", "postalCode": "60601", "country": "US"}
    ]
    assert [(one["system"], one["value"], one["use"]) for one in found["telecom"]] == [
        ("phone", "555-1", "home"), ("email", "jane@example.org", "home"), ("phone", "555-2", "work"),
    ]  # fmt: skip
    assert person(mercy).name == "Doe^Jane^Q^Dr"


def test_an_update_and_an_older_word(mercy: Hospital, ris: System, writer: Writer) -> None:
    """What PID says takes the place of what was there, what it does not speak of stays; an older message changes nothing."""
    adt(ris, PID, at="20260705101500")
    path = f"Patient/{person(mercy).uuid}"
    told = writer.get(path).json() | {"contact": [{"name": {"family": "Doe"}}]}
    assert writer.put(path, told).status_code == 200
    assert adt(ris, "PID|1||P1^^^HOSP||Roe^Jane", event="A08", at="20260706101500") == "AA"
    found = writer.get(path).json()
    assert (found["name"][0]["family"], found["birthDate"], found["contact"]) == ("Roe", "1960-01-02", told["contact"])
    assert adt(ris, "PID|1||P1^^^HOSP||Old^Jane", event="A08", at="20260704101500") == "AA"
    assert writer.get(path).json()["name"][0]["family"] == "Roe"
    assert person(mercy).name == "Roe^Jane"


def test_two_quotation_marks_say_that_there_is_none(mercy: Hospital, ris: System, writer: Writer) -> None:
    """HL7's null takes away what was said; an empty field says nothing, and a name is not taken away."""
    adt(ris, PID)
    path, none = f"Patient/{person(mercy).uuid}", '""'
    assert adt(ris, f"PID|1||P1^^^HOSP||{none}||{none}||||{none}||{none}|||{none}", event="A08", at="20260706") == "AA"
    found = writer.get(path).json()
    assert not {"birthDate", "address", "maritalStatus"} & set(found)
    assert [one["value"] for one in found["telecom"]] == ["555-2"]
    assert (found["gender"], found["name"][0]["family"]) == ("female", "Doe")


def test_images_stay_as_received_and_a_difference_is_told(mercy: Hospital, ris: System, writer: Writer) -> None:
    """ "the EHR's demographics win, DICOM stays as received, and differences become a work item"."""
    study = arrive(mercy, PatientID="P1", PatientName="DOE^JANET", IssuerOfPatientID="HOSP")
    adt(ris, PID, event="A08")
    house.settle(mercy)
    assert person(mercy).name == "DOE^JANET"
    assert writer.get(f"Patient/{person(mercy).uuid}").json()["name"][0]["family"] == "Doe"
    with mercy.scope():
        assert WorkItem.objects.get(resolved_at=None).kind == "patient-differs"
        assert Study.objects.get().patient_id == study.patient_id


def test_hostile_values_cost_an_answer_and_no_patient(mercy: Hospital, ris: System, writer: Writer) -> None:
    """A value that the database cannot hold, or a time that nobody can read back, is answered; the patient stays readable."""
    fields = ("Doe", "Jane", "19600102", "1 Main St", "60601", "555-1", "jane@example.org", "99", "NATIONAL", "HOSP", "MR", "Miller")
    for value in ("\0", "\\X00\\", "\\XD800\\", "x" * 70_000, "\U0001f600", "\\X0A\\", "00000000", "-1"):
        for field in fields:
            assert adt(ris, PID.replace(field, value), event="A08") in {"AA", "AE"}, (field, value[:8])
    for at in ("0001", "00010101000000+1400", "99991231235959-1400", "20261301", "99999999999999", "\\X00\\"):
        assert adt(ris, f"{PID}{'|' * 13}{at}|Y", event="A08", at=at) in {"AA", "AE"}, at
    assert adt(ris, PID, event="A08", at="20260706") == "AA"
    assert person(mercy).name == "Doe^Jane^Q^Dr"
    assert writer.get(f"Patient/{person(mercy).uuid}").json()["name"][0]["family"] == "Doe"


def test_a_clock_that_is_ahead_stops_no_later_word(mercy: Hospital, ris: System, writer: Writer) -> None:
    """EVN-2 of next century is not newer than everything that follows."""
    assert adt(ris, PID, at="20990101") == "AA"
    assert adt(ris, "PID|1||P1^^^HOSP||Roe^Jane", event="A08", at="20990101") == "AA"
    assert adt(ris, "PID|1||P1^^^HOSP||Poe^Jane", event="A08", at=f"{timezone.now() + timedelta(minutes=5):%Y%m%d%H%M%S+0000}") == "AA"
    assert writer.get(f"Patient/{person(mercy).uuid}").json()["name"][0]["family"] == "Poe"


def test_who_died(mercy: Hospital, ris: System, writer: Writer) -> None:
    adt(ris, PID + "|" * 13 + "20260701080000-0600|Y", event="A08")
    assert writer.get(f"Patient/{person(mercy).uuid}").json()["deceasedDateTime"] == "2026-07-01T08:00:00-06:00"


def test_a40_from_end_to_end_and_its_undo(mercy: Hospital, ris: System, writer: Writer, client: Any) -> None:
    """ "A40 and its undo with studies, orders and reports on both sides" (reports: tests/imaging/test_merging.py); the bytes are kept."""
    issued = {"IssuerOfPatientID": "HOSP"}
    studies = {number: arrive(mercy, PatientID=number, AccessionNumber=f"A{number}", **issued) for number in ("P1", "P2")}
    for number in studies:
        assert code(ris.send(f"PID|1||{number}^^^HOSP||DOE^JANE", "ORC|NW", f"OBR|1|A{number}", kind="ORM^O01")) == "AA"
    house.settle(mercy)
    assert adt(ris, "PID|1||P1^^^HOSP||DOE^JANE", "MRG|P2^^^HOSP||||||DOE^JANE", event="A40^ADT_A39") == "AA"
    house.settle(mercy)
    with mercy.scope():
        first, second = (Patient.objects.get(patient_id=number) for number in ("P1", "P2"))
        for model in (Study, Order):
            assert set(model.objects.values_list("patient_id", flat=True)) == {first.id}
        merge = PatientMerge.objects.get()
        assert b"MRG|P2" in bytes(merge.message)
    assert writer.get(f"Patient/{second.uuid}").json()["link"][0]["other"] == {"reference": f"Patient/{first.uuid}"}
    assert writer.get(f"ImagingStudy/{studies['P2'].uuid}").json()["subject"] == {"reference": f"Patient/{first.uuid}"}
    assert adt(ris, PID.replace("P1^", "P2^"), event="A08") == "AE"  # of a number that is gone nothing is told any more
    auth = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='x', role='admin')}"}
    assert client.post(f"/t/{mercy.slug}/api/v1/merges/{merge.id}/undo", headers=auth).status_code == 200
    house.settle(mercy)
    with mercy.scope():
        assert set(Study.objects.values_list("patient_id", flat=True)) == {first.id, second.id}
    assert "link" not in writer.get(f"Patient/{second.uuid}").json()
    assert writer.get(f"ImagingStudy/{studies['P2'].uuid}").json()["subject"] == {"reference": f"Patient/{second.uuid}"}


def test_a40_of_a_number_that_nobody_has_yet(mercy: Hospital, ris: System) -> None:
    """Images may come under the old number later: they are found under the new one."""
    assert adt(ris, "PID|1||P1^^^HOSP||DOE^JANE", "MRG|P2^^^HOSP", event="A40") == "AA"
    arrive(mercy, PatientID="P2", IssuerOfPatientID="HOSP", PatientName="DOE^JANE")
    with mercy.scope():
        assert Study.objects.get().patient.patient_id == "P1"


@pytest.mark.parametrize(
    ("segments", "where"), [(["MRG|P2^^^HOSP"], "PID"), (["PID|1||P1^^^HOSP"], "MRG"), (["PID|1||P1", "MRG|P1"], "MRG-1")]
)
def test_a40_that_cannot_be(mercy: Hospital, ris: System, segments: list[str], where: str) -> None:
    answer = ris.send("EVN||20260705", *segments, kind="ADT^A40")
    assert code(answer) == "AE"
    assert str(answer.segment("ERR")[2]).replace("^1^", "-") == where

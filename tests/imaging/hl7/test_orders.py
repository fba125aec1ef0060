"""ORM^O01 and OMI^O23: on the scanner's worklist, changed, cancelled; what cannot be read says which field."""

from time import monotonic

import pytest

from imaging.models import Hl7Message, Order, ScheduledStep
from tests import house
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer
from tests.imaging.hl7.conftest import System, code
from tests.imaging.test_dimse_peers import peer
from tests.imaging.test_orders import arrive
from tests.imaging.test_query_peers import allow, serving

pytestmark = pytest.mark.database
PID = "PID|1||P1^^^HOSP^MR||DOE^JANE^Q^JR^DR||19600102|F"
PV1 = "PV1|1|I|WARD^12^A|||||1234^ADAMS^ANN^^^DR|||||||||||V77"


def segment(name: str, fields: dict[int, str]) -> str:
    return "|".join((name, *(fields.get(number, "") for number in range(1, max(fields) + 1))))


def orm(*, control: str = "NW", accession: str = "A1", modality: str = "CT", start: str = "20260705101500") -> list[str]:
    obr = {
        1: "1", 2: "PL1", 3: "FL1", 4: "CT1^CT of the chest^L", 12: "contrast", 13: "cough for weeks", 16: "9^BROWN^BOB", 18: accession,
        19: "RP1", 20: "SPS1", 24: modality, 27: f"^^^{start}^^S", 31: "^cough",
    }  # fmt: skip
    orc = segment("ORC", {1: control, 2: "PL1", 3: "FL1", 7: f"^^^{start}^^S"})
    return [PID, PV1, orc, segment("OBR", obr), "ZDS|1.2.840.99.1^HOSP^Application^DICOM"]


def orders(mercy: Hospital) -> list[Order]:
    with mercy.scope():
        return list(Order.objects.select_related("patient").order_by("id"))


def steps(mercy: Hospital) -> list[ScheduledStep]:
    with mercy.scope():
        return list(ScheduledStep.objects.order_by("id"))


@pytest.mark.peers
def test_an_orm_is_on_the_scanners_worklist_within_a_second(mercy: Hospital, ris: System) -> None:
    """ "order -> worklist within 1 s measured with findscu": from the first byte sent to findscu's answer."""
    allow(mercy, "worklist")
    with serving() as dimse:
        began = monotonic()
        assert code(ris.send(*orm())) == "AA"
        keys = ["0008,0050=A1", "0010,0010", "0010,0020", "0010,0021", "0020,000d", "0040,0100[0].0008,0060=CT", "0040,0100[0].0040,0002"]
        options = [part for key in keys for part in ("-k", key)]
        said = peer("findscu", dimse.port, "-W", *options, called=mercy.called_ae, calling=mercy.calling_ae)
        seconds = monotonic() - began
    for value in ("DOE^JANE^Q^DR^JR", "[P1", "[HOSP", "1.2.840.99.1", "20260705"):
        assert value in said, said
    assert seconds < 1, seconds


def test_what_an_orm_says(mercy: Hospital, ris: System) -> None:
    assert code(ris.send(*orm())) == "AA"
    (order,), (step,) = orders(mercy), steps(mercy)
    assert (order.accession_number, order.issuer, order.status, order.procedure_id) == ("A1", "", "active", "RP1")
    assert (order.description, order.study_uid) == ("CT of the chest", "1.2.840.99.1")
    assert (order.patient.issuer, order.patient.name, order.patient.birth_date, order.patient.sex) == (
        "HOSP", "DOE^JANE^Q^DR^JR", "19600102", "F",
    )  # fmt: skip
    assert (order.referrer, order.requester) == ("ADAMS^ANN^^DR", "BROWN^BOB")
    for value in ("STAT", "PL1", "FL1", "contrast", "cough for weeks", "V77", "WARD 12 A"):
        assert value in order.extra, value
    assert (step.modality, step.step_id, step.start_date, step.start_time, step.is_listed) == ("CT", "SPS1", "20260705", "101500", True)


def test_what_an_omi_says(mercy: Hospital, ris: System) -> None:
    """OMI^O23 (v2.5.1): a step each IPC, its own modality, station and AE title; the issuer of the accession number."""
    answer = ris.send(
        PID, "ORC|NW|PL1", "TQ1|1||||||20260706083000||S^Stat^HL70485", "OBR|1|PL1||MR2^MR of the head^L",
        "IPC|A7^RIS|RP7|1.2.3.4|SPS1|MR|P1^Head routine^L|MRSTATION|ROOM 2|MR1", "IPC|A7^RIS|RP7|1.2.3.4|SPS2|CT|P2^Head CT^L|||CT1",
        kind="OMI^O23^OMI_O23",
    )  # fmt: skip
    assert code(answer) == "AA"
    (order,) = orders(mercy)
    assert (order.accession_number, order.issuer, order.study_uid, order.procedure_id) == ("A7", "RIS", "1.2.3.4", "RP7")
    assert [(s.step_id, s.modality, s.station, s.start_date, s.start_time, s.location) for s in steps(mercy)] == [
        ("SPS1", "MR", "MR1", "20260706", "083000", "ROOM 2"), ("SPS2", "CT", "CT1", "20260706", "083000", ""),
    ]  # fmt: skip
    assert "Head routine" in steps(mercy)[0].extra


def test_changed_cancelled_and_completed(mercy: Hospital, ris: System) -> None:
    """XO changes the order, CA takes it from the worklist, SC with CM says that it is done; the same number stays one order."""
    ris.send(*orm())
    assert code(ris.send(*orm(control="XO", start="20260708090000"))) == "AA"
    assert [step.start_date for step in steps(mercy)] == ["20260708"]
    ris.send(*orm(control="CA"))
    assert [(order.status, steps(mercy)[0].is_listed) for order in orders(mercy)] == [("revoked", False)]
    ris.send(*[line.replace("ORC|SC|PL1|FL1||", "ORC|SC|PL1|FL1||CM", 1) for line in orm(control="SC")])
    assert [order.status for order in orders(mercy)] == ["completed"]


def test_an_order_is_a_service_request_and_its_study_finds_it(mercy: Hospital, ris: System) -> None:
    """ "ORM^O01 and OMI^O23 in to ServiceRequest"; images that name no issuer of the number are matched by number and name."""
    ris.send(*orm())
    study = arrive(mercy, AccessionNumber="A1", PatientID="P1", PatientName="DOE^JANE^Q^DR^JR")
    house.settle(mercy)
    (order,) = orders(mercy)
    found = Writer(mercy).get(f"ServiceRequest/{order.id}").json()
    assert (found["status"], found["priority"], found["code"]["text"]) == ("active", "stat", "CT of the chest")
    assert Writer(mercy).get(f"ImagingStudy/{study.uuid}").json()["basedOn"][0]["reference"] == f"ServiceRequest/{order.id}"


def test_one_of_two_procedures_is_cancelled(mercy: Hospital, ris: System) -> None:
    """Two procedures of one accession number: a cancelled one leaves the worklist, the other stays; both, and the order is off."""
    def procedure(control: str, number: str) -> list[str]:
        obr = {1: number, 4: f"C{number}^Part {number}^L", 18: "A9", 20: f"S{number}", 24: "CT"}
        return [f"ORC|{control}|P{number}|A9", segment("OBR", obr)]

    assert code(ris.send(PID, *procedure("NW", "1"), *procedure("NW", "2"))) == "AA"
    assert [step.step_id for step in steps(mercy)] == ["S1", "S2"]
    assert code(ris.send(PID, *procedure("CA", "1"), *procedure("NW", "2"))) == "AA"
    assert ([step.step_id for step in steps(mercy)], [order.status for order in orders(mercy)]) == (["S2"], ["active"])
    assert code(ris.send(PID, *procedure("CA", "1"), *procedure("CA", "2"))) == "AA"
    assert [order.status for order in orders(mercy)] == ["revoked"]


@pytest.mark.parametrize(
    ("segments", "where"),
    [(["ORC|NW|1"], "PID"), (["PID|1||||DOE^JANE"], "PID-3"), ([PID], "ORC"), ([PID, "ORC|ZZ|1"], "ORC-1"),
     ([PID, "ORC|NW", "OBR|1"], "OBR-18"), ([PID, "ORC|NW|A-NUMBER-THAT-IS-TOO-LONG-FOR-DICOM", "OBR|1"], "OBR-18"),
     ([*orm()[:-1], "ZDS|no uid"], "ZDS-1")],
)  # fmt: skip
def test_what_cannot_be_taken_says_which_field(mercy: Hospital, ris: System, segments: list[str], where: str) -> None:
    """AE with ERR naming segment and field, never a value; kept and visible; nothing of it is written."""
    answer = ris.send(*segments)
    assert code(answer) == "AE"
    assert str(answer.segment("ERR")[2]) == "^1^".join(where.split("-"))
    assert orders(mercy) == []
    with mercy.scope():
        row = Hl7Message.objects.get()
    assert (row.state, row.code, row.place) == ("failed", "AE", where)
    assert "DOE" not in row.reason

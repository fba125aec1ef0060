"""Issued reports as ORU^R01: what stands in them, and a peer that answers AA, AE, AR, nothing and garbage."""

from typing import Any

import pytest

from ai.delivery import oru, services
from ai.delivery.oru import escaped, number_of, report_message
from ai.delivery.services import delivery_resend
from ai.models import Report
from imaging.hl7 import client
from imaging.hl7.destinations import DestinationError, destination_add, destination_remove
from imaging.hl7.reading import Told, value_of
from imaging.models import Hl7Destination
from journal.audit import Actor
from tests import house
from tests.ai.delivery.mllp import MllpPeer
from tests.ai.delivery.reports import deliveries, issued, report_make, sources_take, step
from tests.ai.encoding.cases import content_of
from tests.conftest import Hospital
from tests.imaging.hl7.conftest import listener, ris
from tests.imaging.hl7.test_orders import orm
from tests.killing import KILLED, killed_or_done

__all__ = ["listener", "ris"]
pytestmark = pytest.mark.database
ACTOR = Actor(name="user:test")


def destined(hospital: Hospital, settings: Any, port: int, **facts: Any) -> Hl7Destination:
    settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
    with hospital.scope():
        return destination_add(actor=ACTOR, name="EHR", host="127.0.0.1", port=port, receiving_application="EHR", **facts)


def out(hospital: Hospital) -> list[Any]:
    return deliveries(hospital, kind="oru")


def observed(told: Told, name: str) -> list[str]:
    return [value_of(one, 5) for one in told.segments("OBX") if value_of(one, 3) == name]


def test_an_issued_report_goes_out(mercy: Hospital, settings: Any, ris: Any) -> None:
    """ "ORU^R01 out for each issued report": whose, which order, status, each measurement as a number, and the sheet's own sentences."""
    ris.send(*orm(accession="A1"))
    with MllpPeer("AA") as peer:
        destined(mercy, settings, peer.port)
        sources = sources_take(mercy, AccessionNumber="A1", PatientID="P1", IssuerOfPatientID="HOSP", PatientName="DOE^JANE^Q^DR^JR")
        report = report_make(mercy, content_of(sources))
        step(mercy)
        (told,) = peer.taken
    [row] = out(mercy)
    assert (row.state, row.words, row.target_name) == ("sent", "acknowledged (AA)", "EHR")
    assert (told.kind, told.version, told.control_id, told.value("MSH", 5), told.value("MSH", 18)) == (
        "ORU^R01", "2.5.1", str(row.id), "EHR", "UNICODE UTF-8",
    )  # fmt: skip
    assert (told.value("PID", 3), told.value("PID", 3, 4), told.value("PID", 5), told.value("PID", 5, 2)) == ("P1", "HOSP", "DOE", "JANE")
    assert (told.value("OBR", 2), told.value("OBR", 3), told.value("OBR", 18), told.value("OBR", 24), told.value("OBR", 25)) == (
        "PL1", "FL1", "A1", "CT", "P",
    )  # fmt: skip
    numbers = [(value_of(one, 3), value_of(one, 5), value_of(one, 6)) for one in told.segments("OBX") if value_of(one, 2) == "NM"]
    assert numbers
    assert {value_of(one, 11) for one in told.segments("OBX")} == {"P"}
    assert observed(told, "110180") == [report.study.study_uid]
    assert "medical device" in observed(told, "Notice")[0]
    assert any(text.startswith("Manufacturer: ") for text in observed(told, "Made by"))
    with mercy.scope():
        sheet = oru.shown_sheet(report=Report.objects.select_related("study__patient", "connection").get(id=report.id))
    said = [one["value"] for one in report.content["measurements"]]
    assert [float(value) for _, value, _ in numbers] == pytest.approx(said, rel=1e-5)
    assert len(observed(told, "Measurement")) == len(sheet.measurements) == len(numbers)


@pytest.mark.parametrize(
    ("value", "said"),
    [(4215.4, "4215.4"), (1234567.0, "1234570"), (-913.0, "-913"), (0.0000123, "0.0000123"), (12.0, "12"), (1e21, "1" + "0" * 21)],
)
def test_a_number_is_digits_and_a_point(value: float, said: str) -> None:
    """A comma of thousands would be read as a decimal one: 4,215 mL is not 4.215."""
    assert number_of(value) == said


@pytest.mark.parametrize("how", ["nothing", "garbage", "half", "goodbye", "other"])
def test_without_a_good_answer_it_comes_again_and_is_the_same(
    mercy: Hospital, settings: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A peer "that answers ... nothing, and garbage": sent again under the same MSH-10 until it is acknowledged."""
    monkeypatch.setattr(oru.message_send, "__kwdefaults__", {"answer_seconds": 0.3})
    with MllpPeer(how, how, "AA") as peer:
        destined(mercy, settings, peer.port)
        issued(mercy)
        for _ in range(2):
            step(mercy, is_waited=True)
            assert [row.state for row in out(mercy)] == ["pending"]
        step(mercy, is_waited=True)
        assert [row.state for row in out(mercy)] == ["sent"]
        assert len({told.control_id for told in peer.taken}) == 1
        assert len({str(told.message) for told in peer.taken}) == 1


def test_ae_is_tried_a_few_times_and_ar_is_not(mercy: Hospital, settings: Any) -> None:
    """AE: five tries, then a person looks; AR: at once. Both stand there and can be sent again."""
    with MllpPeer("AE") as peer:
        destined(mercy, settings, peer.port)
        issued(mercy)
        for _ in range(6):
            step(mercy, is_waited=True)
        [row] = out(mercy)
        assert (row.state, row.attempts, len(peer.taken)) == ("failed", 5, 5)
        peer.answers = ["AR"]
        with mercy.scope():
            assert delivery_resend(actor=ACTOR, delivery=row)
        step(mercy)
        [row] = out(mercy)
        assert (row.state, row.attempts, row.words) == ("failed", 1, "the destination refused the message (AR)")
        peer.answers = ["CA"]
        with mercy.scope():
            assert delivery_resend(actor=ACTOR, delivery=row)
        step(mercy)
        assert [row.state for row in out(mercy)] == ["sent"]


def test_nobody_listens_for_a_night(mercy: Hospital, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits, asked for every minute at most, and is no failure after an hour."""
    with MllpPeer() as peer:
        port = peer.port
    destined(mercy, settings, port)
    issued(mercy)
    monkeypatch.setattr(services, "MAX_ATTEMPTS", 2)
    for _ in range(5):
        step(mercy, is_waited=True)
    [row] = out(mercy)
    assert (row.state, row.attempts, row.words) == ("pending", 5, "the destination was not reached")


def test_a_newer_version_takes_the_place_of_one_that_waits(mercy: Hospital, settings: Any) -> None:
    """No older version is told after a newer one."""
    with MllpPeer() as peer:
        port = peer.port
    destined(mercy, settings, port)
    content = content_of(sources_take(mercy))
    first = report_make(mercy, content)
    step(mercy)
    report_make(mercy, content, first)
    assert [row.state for row in out(mercy)] == ["superseded", "pending"]


def test_an_address_that_is_not_allowed(mercy: Hospital) -> None:
    """Private addresses are refused, as everywhere."""
    with mercy.scope():
        destination_add(actor=ACTOR, name="EHR", host="127.0.0.1", port=9)
    issued(mercy)
    step(mercy)
    [row] = out(mercy)
    assert row.state == "failed"
    assert "EGRESS_ALLOW" in row.words


def test_killed_after_it_was_sent_it_is_the_same_message_again(mercy: Hospital, settings: Any, tmp_path: Any) -> None:
    """A worker that dies between the acknowledgement and its mark: sent once more under the same MSH-10, which receivers know."""
    with MllpPeer("AA") as peer:
        destined(mercy, settings, peer.port)
        issued(mercy)
        [row] = out(mercy)
        (tmp_path / "oru.after_send").touch()
        ids = {"tenant_id": mercy.tenant.id, "delivery_id": row.id}
        assert killed_or_done("ai.delivery.run", "delivery_run", faults=tmp_path, **ids) == KILLED
        assert [one.state for one in out(mercy)] == ["pending"]
        step(mercy, is_waited=True)
        assert [one.state for one in out(mercy)] == ["sent"]
        assert len({str(told.message) for told in peer.taken}) == 1
        assert len(peer.taken) == 2


def test_removed_and_wrong_destinations(mercy: Hospital, settings: Any) -> None:
    with MllpPeer() as peer:
        port = peer.port
    row = destined(mercy, settings, port)
    issued(mercy)
    with mercy.scope():
        destination_remove(actor=ACTOR, row=row)
        for wrong in ({"name": "", "host": "x", "port": 1}, {"name": "x", "host": "x", "port": 0}, {"name": "x", "host": " ", "port": 1}):
            with pytest.raises(DestinationError):
                destination_add(actor=ACTOR, **wrong)
    step(mercy)
    assert [one.words for one in out(mercy)] == ["the destination was removed"]


def test_the_destination_is_another_hospital_of_ours(mercy: Hospital, olaf: Hospital) -> None:
    """A destination is its hospital's own: another's reports never go there."""
    with olaf.scope():
        destination_add(actor=ACTOR, name="EHR", host="127.0.0.1", port=9)
    issued(mercy)
    house.settle(mercy)
    assert out(mercy) == out(olaf) == []


def test_version_2_3_1_and_escapes(mercy: Hospital) -> None:
    """Separators in a name are escapes; what is read back is what was said."""
    report = issued(mercy)
    with mercy.scope():
        patient = report.study.patient
        patient.name = "O&M|X~Y^Jürgen\\"
        patient.save()
        report = Report.objects.select_related("study__patient", "connection").get(id=report.id)
        row = Hl7Destination(name="x", host="x", port=1, version="2.3.1", created_at=report.issued_at, sending_application="A^B")
        told = Told(report_message(report=report, destination=row, control_id="7"))
    assert (told.kind, told.version) == ("ORU^R01", "2.3.1")
    assert (told.value("PID", 5), told.value("PID", 5, 2)) == ("O&M|X~Y", "Jürgen\\")
    assert escaped("a\r\nb\x00|") == "a\\.br\\b \\F\\"
    assert {"AA", "AE", "AR", "CA", "CE", "CR"} == client.FINAL

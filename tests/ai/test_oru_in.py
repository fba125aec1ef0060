""" "ORU^R01 in, too, as a result form for AI platforms that answer so": matched to its job, through the same gate, and nothing invented."""

from typing import Any

import orjson
import pytest
from django.test import Client

from ai.connections import connections_pushed
from ai.models import Job, Report
from ai.reading.oru import answer_of_message
from imaging.hl7.errors import MessageRefused
from imaging.hl7.messages import message_take
from imaging.hl7.reading import Told
from imaging.hl7.sources import source_add
from imaging.models import Hl7Message
from journal.audit import Actor
from tests import house
from tests.ai.test_dispatch import pushed
from tests.conftest import Hospital

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("doubles")]
ACTOR = Actor(name="user:test")
MODEL = "MedHub Quantify (test double)^1"
PRESENT = "52101004^Present^SCT"


def obx(kind: str, code: str, value: str, unit: str = "", **more: str) -> str:
    fields = {1: "1", 2: kind, 3: code, 5: value, 6: unit, 9: more.get("share", ""), 11: more.get("status", "F")}
    fields[18] = more.get("model", MODEL)
    return "|".join(("OBX", *(fields.get(n, "") for n in range(1, 19))))


EMBOLISM = obx("CWE", "59282003^Pulmonary embolism^SCT", PRESENT, share="0.8")
VOLUME = obx("NM", "118565006^Volume^SCT", "12.5", "mL^mL^UCUM")


def message(sender: str, job: str, *segments: str, control_id: str = "1") -> bytes:
    head = f"MSH|^~\\&|{sender}||MEDHUB||20260705||ORU^R01^ORU_R01|{control_id}|P|2.5.1"
    return "\r".join((head, f"OBR|1|{job}||AI", *segments)).encode()


@pytest.fixture
def job(mercy: Hospital, vendors: Any, thorax: Any, tmp_path: Any) -> Job:
    """One that waits for an answer that comes by itself, and its platform as a sender."""
    found, _ = pushed(mercy, vendors, thorax, tmp_path)
    with mercy.scope():
        assert [one.platform for one in connections_pushed()] == ["sharedmind"]
        source_add(
            actor=ACTOR, name="AI", addresses=["127.0.0.1"], sending_application=f"AI-{mercy.slug}", connection_id=found.connection_id
        )
    return found


def send(hospital: Hospital, job: str, *segments: str, control_id: str = "1") -> Any:
    _, outcome = message_take(body=message(f"AI-{hospital.slug}", job, *segments, control_id=control_id), address="127.0.0.1")
    house.deliver(hospital)
    return outcome


def test_its_sender_by_the_api(mercy: Hospital, job: Job) -> None:
    """ "ORU^R01 in, too": who brings a platform's answers is said by the API as on the page, where answers come by themselves."""
    auth = mercy.auth | {"content-type": "application/json"}
    base = f"/t/{mercy.slug}/api/v1/connections"
    names = [one["name"] for one in Client().get(f"{base}/sharedmind/hl7-sources", headers=auth).json()["items"]]
    assert names == ["AI"]
    body = {"name": "AI 2", "addresses": ["127.0.0.1"], "sending_application": f"AI2-{mercy.slug}"}
    made = Client().post(f"{base}/sharedmind/hl7-sources", orjson.dumps(body), content_type="application/json", headers=mercy.auth)
    assert made.status_code == 201, made.content
    _, outcome = message_take(body=message(f"AI2-{mercy.slug}", str(job.uuid), EMBOLISM), address="127.0.0.1")
    assert outcome.code == "AA"
    order = message(f"AI2-{mercy.slug}", "x").replace(b"ORU^R01^ORU_R01", b"ORM^O01")
    assert message_take(body=order, address="127.0.0.1")[1].code == "AR"  # results, and nothing else
    wrong = orjson.dumps({"name": "x"})
    again = Client().post(f"{base}/sharedmind/hl7-sources", wrong, content_type="application/json", headers=mercy.auth)
    assert again.status_code == 400
    assert Client().get(f"{base}/no-such/hl7-sources", headers=auth).status_code == 404


def test_an_answer_is_a_report_once(mercy: Hospital, job: Job) -> None:
    """Coded findings with their probability, numbers with units; the same message again changes nothing, another finds no one waiting."""
    for _ in range(2):
        assert send(mercy, str(job.uuid), EMBOLISM, VOLUME).code == "AA"
    with mercy.scope():
        report = Report.objects.get()
        assert "Suspected: Pulmonary embolism: Present (0.80)" in report.conclusion
        assert [one["value"] for one in report.content["measurements"]] == [12.5]
        assert Job.objects.get().state == "done"
    late = send(mercy, str(job.uuid), EMBOLISM, control_id="2")
    assert (late.code, late.where) == ("AE", "OBR-2")


def test_by_the_study_that_it_was_given(mercy: Hospital, job: Job) -> None:
    """Without our id: the (surrogate) Study Instance UID that the platform was sent, when one job of this sender waits for it."""
    assert send(mercy, "", obx("ST", "110180^Study Instance UID^DCM", job.surrogate_uid), EMBOLISM).code == "AA"
    with mercy.scope():
        assert Report.objects.count() == 1


@pytest.mark.parametrize(
    ("segments", "where"),
    [((), "OBX-18"), ((obx("NM", "1^V^SCT", "many", "mL"),), "OBX-5"), ((obx("NM", "1^V^SCT", "nan", "mL"),), "OBX-5"),
     ((obx("NM", "1^V^SCT", "1_000", "mL"),), "OBX-5"), ((obx("NM", "1^V^SCT", "1e5", "mL"),), "OBX-5"),
     ((obx("NM", "1^V^SCT", "1"),), "OBX-6"),
     ((obx("ED", "1^V^SCT", "x"),), "OBX-2"), ((obx("CWE", "1^V^SCT", PRESENT, model=""),), "OBX-18"),
     ((obx("CWE", "1^V^SCT", PRESENT, share="80"),), "OBX-9"), ((obx("CWE", "1^V^SCT", PRESENT, status="X"),), "OBX")],
)  # fmt: skip
def test_what_is_no_answer(mercy: Hospital, job: Job, segments: tuple[str, ...], where: str) -> None:
    """AE naming the field; the job waits on, and nothing was invented."""
    outcome = send(mercy, str(job.uuid), *segments)
    assert (outcome.code, outcome.where) == ("AE", where)
    with mercy.scope():
        assert Job.objects.get().state == "sent"
        assert Hl7Message.objects.get().state == "failed"


def test_the_gate_keeps_back_what_it_would_from_anybody(mercy: Hospital, job: Job) -> None:
    """Another study than was sent: kept with the reason, told as AE, and no report."""
    uid = obx("ST", "110180^Study Instance UID^DCM", "1.2.840.113619.2.1.1.12345678901.1")
    outcome = send(mercy, str(job.uuid), uid, EMBOLISM)
    assert outcome.code == "AE"
    assert "isn't part of this job" in outcome.words
    with mercy.scope():
        assert Job.objects.get().state == "quarantined"
        assert not Report.objects.exists()


def test_a_platform_sends_results_and_nothing_else(mercy: Hospital, olaf: Hospital, job: Job) -> None:
    """Its orders are refused, and so are results of anybody else; another hospital's job is not there."""
    order = "\r".join((f"MSH|^~\\&|AI-{mercy.slug}||||20260705||ORM^O01|9|P|2.5.1", "PID|1||P1", "ORC|NW", "OBR|1|A1")).encode()
    assert message_take(body=order, address="127.0.0.1")[1].code == "AR"
    with olaf.scope():
        source_add(actor=ACTOR, name="RIS", addresses=["127.0.0.1"], sending_application=f"RIS-{olaf.slug}")
        source_add(
            actor=ACTOR, name="AI", addresses=["127.0.0.1"], sending_application=f"AI-{olaf.slug}", connection_id=job.connection_id
        )
    for sender in (f"RIS-{olaf.slug}", f"AI-{olaf.slug}"):  # the second names a connection that is not St. Olaf's
        assert message_take(body=message(sender, str(job.uuid), EMBOLISM), address="127.0.0.1")[1].code == "AR"
    with mercy.scope():
        assert Job.objects.get().state == "sent"


def test_words_stay_the_senders_own() -> None:
    told = Told(message("AI", "x", obx("TX", "1^Comment^L", "first line~second \\T\\ last")))
    (finding,) = answer_of_message(told=told, job_id="x")["findings"]
    assert (finding["words"], finding["system"]) == ("first line second & last", "urn:hl7:L")
    with pytest.raises(MessageRefused, match="says nothing"):
        answer_of_message(told=Told(message("AI", "x", obx("ST", "110180^UID^DCM", "1.2.3"))), job_id="x")

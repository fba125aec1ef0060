"""UPS-RS over HTTP: status codes, warnings, whose workitem it is, and what is never told."""

import json
from datetime import timedelta

import pytest

from ai.models import Job, Workitem
from ai.workitems.ended import ObjectReference, workitem_outcome
from ai.workitems.urls import urlpatterns
from journal.models import AuditEvent
from tenants.services import job_tokens_revoke
from tests.ai.performing import (
    BODY,
    PERFORMED,
    Requester,
    body,
    connection_make,
    integrator,
    job_make,
    of_role,
    performer,
    uid,
    workitem_make,
)

pytestmark = pytest.mark.database


def words(answer) -> str:
    return str(answer.headers.get("Warning", ""))


# --- create and retrieve --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["?workitem={}", "?AffectedSOPInstanceUID={}", "?{}"])
def test_create_and_retrieve(mercy, form) -> None:
    """"create": 201 with Location, by each way to name the UID; a second one with that UID is 409 and changes nothing."""
    client, mine = integrator(mercy), uid()
    answer = client.call("POST", "/workitems" + form.format(mine), [body()])
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith(f"/t/{mercy.slug}/dicomweb/workitems/{mine}")
    found = client.get(mine)
    assert found["00080018"]["Value"] == [mine]
    assert found["00080016"]["Value"] == ["1.2.840.10008.5.1.4.34.6.1"]
    assert {tag: found[tag] for tag in BODY} == BODY
    again = client.call("POST", "/workitems" + form.format(mine), [body(x00741204="other")])
    assert again.status_code == 409
    assert client.get(mine) == found
    with mercy.scope():
        actions = set(AuditEvent.objects.filter(object_id=mine).values_list("action", flat=True))
    assert actions == {"ups.create", "ups.read"}


def test_what_was_left_out_is_filled_in_and_said(mercy) -> None:
    answer = integrator(mercy).call("POST", "/workitems", body(x00741200=None, x00404005=None, x00404041=None))
    assert answer.status_code == 201
    assert "created with modifications" in words(answer)
    assert integrator(mercy).get(answer.headers["Location"].rsplit("/")[-1])["00741200"]["Value"] == ["MEDIUM"]


HOSTILE = {
    "no JSON": b"<x/>", "a number": b"1", "two data sets": [body(), body()], "no label": body(x00741204=None),
    "another state": body(x00741000="IN PROGRESS"), "a lock": body(x00081195="1.2.3"), "a priority that is none": body(x00741200="URGENT"),
    "a time that is none": body(x00404005="yesterday"), "a month that is none": body(x00404005="20261330"),
    "bulk data": {**body(), "7FE00010": {"vr": "OW", "BulkDataURI": "http://x/"}},
    "a keyword for a tag": {**body(), "PatientID": {"vr": "LO"}},
    "a NUL": body(x00741202="a\0b"), "a long label": body(x00741204="x" * 65),
    "a list inside": {**body(), "00404025": {"vr": "SQ", "Value": [[]]}},
    "a deep one": {**body(), "00404025": {"vr": "SQ", "Value": [json.loads('{"00404025":{"vr":"SQ","Value":[' * 30 + "{}" + "]}}" * 30)]}},
    "a number as name": {**body(), "00100010": {"vr": "PN", "Value": [{"Alphabetic": 1}]}},
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_workitem_is_400(mercy, what) -> None:
    """"Everything from outside is hostile and has a limit"; the answer holds nothing of what came."""
    answer = integrator(mercy).call("POST", "/workitems", HOSTILE[what])
    assert answer.status_code == 400, answer.content
    assert b"URGENT" not in answer.content
    with mercy.scope():
        assert Workitem.objects.count() == 0


def test_other_refusals_of_a_body(mercy) -> None:
    client = integrator(mercy)
    assert client.call("POST", "/workitems", [body()], content_type="application/dicom+xml").status_code == 415
    assert client.call("POST", "/workitems", b" " * (2 << 20)).status_code == 413
    assert client.call("POST", "/workitems?workitem=1..2", [body()]).status_code == 400
    assert client.call("POST", "/workitems?workitem=1.2", [{**body(), "00080018": {"vr": "UI", "Value": ["1.3"]}}]).status_code == 400
    assert client.call("GET", "/workitems/1.2.3").status_code == 404
    assert client.call("GET", f"/workitems/{client.create()}", accept="image/png").status_code == 406


def test_xml(mercy) -> None:
    """`application/dicom+xml` where it is asked for."""
    client = integrator(mercy)
    answer = client.call("GET", f"/workitems/{client.create()}", accept="application/dicom+xml")
    assert answer.headers["Content-Type"] == "application/dicom+xml"
    assert b"<NativeDicomModel" in answer.content


# --- the life of one ------------------------------------------------------------------------------------------------


def test_the_whole_life(mercy) -> None:
    """"create, ... claim with transaction UID, update, complete": a performer takes a job's workitem from one end to the other."""
    link = connection_make(mercy)
    job = job_make(mercy, link)
    client, mine, lock = performer(mercy, link), workitem_make(mercy, job), uid()
    assert client.state(mine) == "SCHEDULED"
    assert client.put(mine, "IN PROGRESS", lock).status_code == 200
    progress = {"00741002": {"vr": "SQ", "Value": [{"00741004": {"vr": "DS", "Value": [50]}}]}}
    assert client.call("POST", f"/workitems/{mine}?transaction-uid={lock}", [progress]).status_code == 200
    early = client.put(mine, "COMPLETED", lock)
    assert (early.status_code, early.json()["code"]) == (409, "C304")
    with mercy.scope():
        assert workitem_outcome(job_id=job.id) is None
    done = {**PERFORMED, "00081195": {"vr": "UI", "Value": [lock]}}
    assert client.call("POST", f"/workitems/{mine}", [done]).status_code == 200
    assert client.put(mine, "COMPLETED", lock).status_code == 200
    found = client.get(mine)
    assert found["00741000"]["Value"] == ["COMPLETED"]
    assert found["00741002"] == progress["00741002"]
    again = client.put(mine, "COMPLETED", lock)
    assert (again.status_code, "already in the requested state of COMPLETED" in words(again)) == (200, True)
    assert client.put(mine, "CANCELED", lock).json()["code"] == "C300"
    with mercy.scope():
        outcome = workitem_outcome(job_id=job.id)
        assert Job.objects.get(id=job.id).due_at is not None, "the job's next step is due"
    assert outcome is not None
    assert outcome.objects == (ObjectReference("1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.3.4.5"),)


def test_a_performer_gives_up(mercy) -> None:
    """CANCELED by its performer: when and why are filled in, and the job is told."""
    link = connection_make(mercy)
    job = job_make(mercy, link)
    client, mine, lock = performer(mercy, link), workitem_make(mercy, job), uid()
    client.put(mine, "IN PROGRESS", lock)
    assert client.put(mine, "CANCELED", lock).status_code == 200
    (progress,) = client.get(mine)["00741002"]["Value"]
    assert progress["0074100E"]["Value"][0]["00080100"]["Value"] == ["110513"]
    assert progress["00404052"]["Value"]
    with mercy.scope():
        outcome = workitem_outcome(job_id=job.id)
    assert outcome is not None
    assert (outcome.state, outcome.reason_code) == ("CANCELED", ("110513", "DCM"))


@pytest.mark.parametrize("name", ["transaction-uid", "Transaction-uid", "transaction", "TransactionUID", "body"])
def test_the_lock_by_any_name(mercy, name) -> None:
    """"accept transaction UID as query `transaction-uid`, `Transaction-uid` and in the body"; wrong, missing or two of them is 400."""
    client = integrator(mercy)
    mine, lock = client.create(), uid()
    client.put(mine, "IN PROGRESS", lock)
    change = {"00741202": {"vr": "LO", "Value": ["NEW"]}}

    def update(given: str):
        if name == "body":
            return client.call("POST", f"/workitems/{mine}", [{**change, "00081195": {"vr": "UI", "Value": [given]}}])
        return client.call("POST", f"/workitems/{mine}?{name}={given}", [change])

    assert update(lock).status_code == 200
    wrong = update(uid())
    assert (wrong.status_code, "Transaction UID is incorrect" in words(wrong)) == (400, True)
    missing = client.call("POST", f"/workitems/{mine}", [change])
    assert (missing.status_code, "Transaction UID is missing" in words(missing)) == (400, True)
    two = client.call("POST", f"/workitems/{mine}?transaction-uid={lock}", [{**change, "00081195": {"vr": "UI", "Value": [uid()]}}])
    assert two.status_code == 400


def test_what_states_refuse(mercy) -> None:
    """400, 409 and their words over HTTP, by the table."""
    client = integrator(mercy)
    mine, lock = client.create(), uid()
    assert client.put(mine, "IN PROGRESS").status_code == 400
    assert client.put(mine, "IN PROGRESS", "no uid").status_code == 400
    assert client.put(mine, "DONE", lock).status_code == 400
    assert client.put(mine, "COMPLETED", lock).json()["code"] == "C310"
    assert client.put(mine, "SCHEDULED", lock).json()["code"] == "C303"
    assert client.state(mine) == "SCHEDULED"
    assert client.put(mine, "IN PROGRESS", lock).status_code == 200
    late = client.put(mine, "IN PROGRESS", uid())
    assert (late.status_code, late.json()["code"]) == (409, "C302")
    assert "inconsistent with the current state" in words(late)
    assert client.put("1.2.3", "IN PROGRESS", lock).status_code == 404


@pytest.mark.parametrize("tag", ["00100010", "00100020", "0020000D", "00080018", "00741000", "0040A370"])
def test_what_an_update_cannot_change(mercy, tag) -> None:
    """Whom a workitem is about stands (PS3.4 table CC.2.5-3)."""
    client = integrator(mercy)
    mine = client.create()
    before = client.get(mine)
    assert client.call("POST", f"/workitems/{mine}", [{tag: {"vr": "LO", "Value": ["X"]}}]).status_code == 400
    assert client.get(mine) == before


def test_a_performer_sets_what_is_its_own(mercy) -> None:
    """Priority, label or input of a job are not the vendor's to change: left as they are, and said in a Warning."""
    link = connection_make(mercy)
    client, mine, lock = performer(mercy, link), workitem_make(mercy, job_make(mercy, link)), uid()
    client.put(mine, "IN PROGRESS", lock)
    before = client.get(mine)
    answer = client.call(
        "POST", f"/workitems/{mine}?transaction-uid={lock}",
        [{"00741200": {"vr": "CS", "Value": ["LOW"]}, "00404021": {"vr": "SQ"}, **PERFORMED}],
    )  # fmt: skip
    assert (answer.status_code, "with modifications" in words(answer)) == (200, True)
    after = client.get(mine)
    assert {tag for tag in after if before.get(tag) != after[tag]} <= {"00741216", "00404010"}


# --- asking to cancel -----------------------------------------------------------------------------------------------


def test_cancel_request(mercy) -> None:
    """"cancel request": 202; at once while SCHEDULED, told to the performer while IN PROGRESS, 409 COMPLETED, a warning CANCELED."""
    client = integrator(mercy)
    free, taken, lock = client.create(), client.create(), uid()
    assert client.call("POST", f"/workitems/{free}/cancelrequest").status_code == 202
    assert client.state(free) == "CANCELED"
    again = client.call("POST", f"/workitems/{free}/cancelrequest")
    assert (again.status_code, "already in the requested state of CANCELED" in words(again)) == (200, True)
    client.put(taken, "IN PROGRESS", lock)
    reason = {"00741238": {"vr": "LT", "Value": ["wrong series"]}}
    assert client.call("POST", f"/workitems/{taken}/cancelrequest/PACS1", reason).status_code == 202
    assert client.state(taken) == "IN PROGRESS"
    with mercy.scope():
        asked = Workitem.objects.get(workitem_uid=taken).cancel_request
    assert asked == {**reason, "00741236": {"vr": "AE", "Value": ["PACS1"]}}
    client.call("POST", f"/workitems/{taken}?transaction={lock}", [PERFORMED])
    client.put(taken, "COMPLETED", lock)
    late = client.call("POST", f"/workitems/{taken}/cancelrequest")
    assert (late.status_code, late.json()["code"]) == (409, "C311")
    assert client.call("POST", "/workitems/1.2.3/cancelrequest").status_code == 404


def test_a_reason_in_words_is_not_told_to_a_vendor(mercy) -> None:
    """No PHI leaves unasked: of a cancel request on a vendor's workitem only the fact is told."""
    link = connection_make(mercy)
    mine = workitem_make(mercy, job_make(mercy, link))
    performer(mercy, link).put(mine, "IN PROGRESS", uid())
    answer = integrator(mercy).call("POST", f"/workitems/{mine}/cancelrequest/PACS", {"00741238": {"vr": "LT", "Value": ["Mrs Doe"]}})
    assert answer.status_code == 202
    with mercy.scope():
        assert Workitem.objects.get(workitem_uid=mine).cancel_request == {}


# --- whose it is ----------------------------------------------------------------------------------------------------


def every_way(client: Requester, mine: str) -> list[int]:
    """What each door says of a workitem."""
    return [
        client.call("GET", f"/workitems/{mine}").status_code,
        client.call("POST", f"/workitems/{mine}", [PERFORMED]).status_code,
        client.put(mine, "IN PROGRESS", uid()).status_code,
        client.call("POST", f"/workitems/{mine}/cancelrequest").status_code,
        client.call("POST", f"/workitems/{mine}/subscribers/WATCH").status_code,
        client.call("DELETE", f"/workitems/{mine}/subscribers/WATCH").status_code,
    ]


def test_what_is_not_yours_is_not_there(mercy, olaf) -> None:
    """"foreign workitem/study = 404": of another hospital, of another connection, of another job, of the hospital itself."""
    first, second = connection_make(mercy), connection_make(mercy, "vendor-b")
    job = job_make(mercy, first)
    mine, own = workitem_make(mercy, job), integrator(mercy).create()
    elsewhere = connection_make(olaf)
    strangers = [
        performer(mercy, second), performer(mercy, first, job=job_make(mercy, first, "other").uuid), integrator(olaf),
        performer(olaf, elsewhere),
    ]  # fmt: skip
    for stranger in strangers:
        assert every_way(stranger, mine) == [404] * 6
        assert stranger.call("GET", "/workitems").json() == []
    assert every_way(performer(mercy, first), own) == [404] * 6
    assert integrator(mercy).state(mine) == integrator(mercy).state(own) == "SCHEDULED"
    foreign = Requester(f"/t/{olaf.slug}/dicomweb", performer(mercy, first).auth)
    assert every_way(foreign, mine) == [404] * 6


def test_a_vendors_workitem_is_performed_by_its_vendor(mercy) -> None:
    """The hospital's own systems see it and may ask to cancel it; they do not claim it in the vendor's place."""
    link = connection_make(mercy)
    mine = workitem_make(mercy, job_make(mercy, link))
    assert integrator(mercy).state(mine) == "SCHEDULED"
    assert integrator(mercy).put(mine, "IN PROGRESS", uid()).status_code == 403
    assert integrator(mercy).call("POST", f"/workitems/{mine}", [PERFORMED]).status_code == 403
    assert integrator(mercy).call("POST", f"/workitems/{mine}/cancelrequest").status_code == 202


def test_by_role(mercy) -> None:
    """What a role may do: a radiologist's token nothing here, an owner's only look, a performer's without a connection sees nothing."""
    mine = integrator(mercy).create()
    assert of_role(mercy, "radiologist").call("GET", f"/workitems/{mine}").status_code == 403
    assert of_role(mercy, "owner").call("GET", f"/workitems/{mine}").status_code == 200
    assert of_role(mercy, "owner").call("POST", "/workitems", [body()]).status_code == 403
    assert every_way(of_role(mercy, "performer"), mine) == [404] * 6
    link = connection_make(mercy)
    assert performer(mercy, link).call("POST", "/workitems", [body()]).status_code == 403


def test_a_performer_reads_nothing_of_the_archive(mercy) -> None:
    """Identified pixels and rows stay inside: the hospital's own DICOMweb, FHIR and API are no doors for a performer."""
    link = connection_make(mercy)
    job_make(mercy, link)
    client = performer(mercy, link)
    assert client.call("GET", "/studies").status_code == 403
    assert Requester(f"/t/{mercy.slug}", client.auth).call("GET", "/fhir/r4/Patient").status_code == 403
    assert Requester(f"/t/{mercy.slug}", client.auth).call("GET", "/api/v1/nodes").status_code == 403


# --- what is never told ---------------------------------------------------------------------------------------------


def test_the_transaction_uid_is_never_told(mercy) -> None:
    """"Transaction UID never returned": not by retrieve, search, includefield=all, XML, errors, nor kept in the database."""
    client = integrator(mercy)
    mine, lock = client.create(), uid()
    client.put(mine, "IN PROGRESS", lock)
    client.call("POST", f"/workitems/{mine}", [{**PERFORMED, "00081195": {"vr": "UI", "Value": [lock]}}])
    answers = [
        client.call("GET", f"/workitems/{mine}"), client.call("GET", f"/workitems/{mine}", accept="application/dicom+xml"),
        client.call("GET", "/workitems?includefield=all"), client.call("GET", "/workitems?includefield=00081195"),
        client.call("GET", f"/workitems?TransactionUID={lock}"), client.put(mine, "IN PROGRESS", lock),
        client.put(mine, "COMPLETED", lock), client.put(mine, "COMPLETED", lock), client.call("GET", f"/workitems/{mine}"),
    ]  # fmt: skip
    for answer in answers:
        assert lock.encode() not in answer.content
        assert lock not in str(answer.headers)
        assert b"00081195" not in answer.content
    with mercy.scope():
        row = Workitem.objects.filter(workitem_uid=mine).values()[0]
    assert lock not in str(row)
    assert client.call("GET", "/workitems?includefield=00081195").status_code == 400


def test_a_token_that_has_run_out_opens_nothing(mercy) -> None:
    """"A short-lived single-study token": after its end 401, and after its job's end as well."""
    link = connection_make(mercy)
    job = job_make(mercy, link)
    mine = workitem_make(mercy, job)
    late = performer(mercy, link, job=job.uuid, lives=timedelta(seconds=-1))
    assert late.call("GET", f"/workitems/{mine}").status_code == 401
    live = performer(mercy, link, job=job.uuid, lives=timedelta(minutes=5))
    assert live.call("GET", f"/workitems/{mine}").status_code == 200
    job_tokens_revoke(tenant_id=mercy.tenant.id, job=job.uuid)
    assert live.call("GET", f"/workitems/{mine}").status_code == 401


# --- what can be asked ----------------------------------------------------------------------------------------------


def test_options_and_capabilities(mercy, olaf) -> None:
    """"OPTIONS / capabilities" of the worklist's addresses as of all others: Allow says what works, the root lists them."""
    client, mine = integrator(mercy), uid()
    client.call("POST", f"/workitems?workitem={mine}", [body()])
    resources = {one["path"]: one for one in client.call("OPTIONS", "/").json()["application"]["resources"]["resource"]}
    assert resources["workitems/{workitem_uid}/state"]["method"] == ["PUT"]
    assert "application/dicom+xml" in resources["workitems"]["representation"]
    for pattern in urlpatterns:
        named = str(pattern.pattern).replace("<str:", "{").replace(">", "}")
        path = "/" + str(pattern.pattern).replace("<str:workitem_uid>", mine).replace("<str:aet>", "WATCHER")
        answer = client.call("OPTIONS", path)
        assert answer.status_code == 204, path
        allowed = answer.headers["Allow"].split(", ")
        assert sorted(set(allowed) - {"HEAD", "OPTIONS"}) == resources[named]["method"]
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert (client.call(method, path).status_code != 405) == (method in allowed), (method, path)
    assert integrator(olaf).call("OPTIONS", f"/workitems/{mine}").status_code == 204, "it says what can be done, not what is there"

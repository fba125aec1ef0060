"""The worklist: its order, its states, its filters, what it costs to send. Rows are made directly; the list reads nothing else."""

from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ai.findings import Algorithm, Answer
from ai.flags import flag_raise, flag_settle
from ai.models import Connection, Decision, Job, Report, Result
from ai.readers import Reader
from ai.routing.live import SWITCHED_OFF
from ai.worklist import ai_rows
from imaging import listing
from imaging.listing import StudyWish, studies_list
from imaging.matching import studies_order_match
from imaging.models import Patient, Study
from imaging.orders import OrderFacts, PatientFacts, order_upsert
from imaging.priorities import RAISED_FOR, study_flag_set, study_priority_set
from journal.audit import Actor
from journal.models import AuditEvent
from journal.types import Event
from journal.wall.ids import id_new
from tenants.models import SavedFilter
from tenants.services import token_create
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database
ANNA = Actor(name="user:anna")
NAME = "WOLFESCHLEGELSTEIN^HUBERT BLAINE"
TRIAGE = ("aidoc", "ich-triage")


def studies_make(count: int, *, apart: timedelta = timedelta(minutes=5), **facts) -> list[Study]:
    """Complete CT studies, newest first, each of a patient of its own. In a scope."""
    now = timezone.now() - timedelta(minutes=1)
    ids = [id_new() for _ in range(count)]
    Patient.objects.bulk_create(
        Patient(id=i, patient_id=f"MRN-{i}", name=NAME, birth_date="19600102", sex="M",
                name_key="wolfeschlegelstein^hubert blaine^", patient_id_key=f"mrn-{i}") for i in ids
    )  # fmt: skip
    plain = {"modalities": "CT", "description": "CT Chest low dose w/o", "study_date": "20260301", "study_time": "081500", **facts}
    Study.objects.bulk_create(
        Study(id=i, study_uid=f"2.25.{i}", patient_id=i, state=Study.State.COMPLETE, version=1, number_of_instances=312, number_of_series=2,
              first_received_at=now - n * apart, last_received_at=now, **plain) for n, i in enumerate(ids)
    )  # fmt: skip
    return list(Study.objects.filter(id__in=ids).order_by("-first_received_at"))


def linked(platform: str = "medhub-quantify", **facts) -> Connection:
    made, _ = Connection.objects.get_or_create(platform=platform, defaults={"name": platform, "created_at": timezone.now(), **facts})
    return made


def job_of(study: Study, state: str, connection: Connection | None = None, *, algorithm: str = "a", **facts) -> Job:
    return Job.objects.create(
        study=study, study_version=1, connection=connection or linked(), algorithm=algorithm, state=state,
        **{"created_at": timezone.now(), **facts},
    )  # fmt: skip


def flagged(job: Job, *, is_flagged: bool = True) -> Result:
    return Result.objects.create(job=job, payload={"is_flagged": is_flagged}, is_analysable=True, received_at=timezone.now())


def answer_of(study: Study, *, is_flagged: bool = True) -> Answer:
    algorithm = Algorithm(name="a", version="1", manufacturer="MedHub Quantify")
    return Answer(
        algorithm=algorithm, study_uid=study.study_uid, series_uid="", sop_uids=("1.2",), input_sha256="", is_flagged=is_flagged
    )


def decided(study: Study, summary: str) -> None:
    Decision.objects.create(study=study, study_version=1, summary=summary, created_at=timezone.now())


def listed(*, size: int = 50, before: str = "", **wish) -> listing.StudyList:
    return studies_list(wish=StudyWish(**wish), now=timezone.now(), before=before, size=size)


def test_people_first_then_ai_then_the_newest(mercy) -> None:
    """"human priority first, AI flag second", then time; AI raises and never lowers; after a week each is in its place by time again."""
    with mercy.scope():
        newest, second, third, fourth, old = studies_make(5)
        study_flag_set(study_id=fourth.id, is_flagged=True)
        study_priority_set(study_uuid=third.uuid, priority="urgent", actor=ANNA)
        study_priority_set(study_uuid=old.uuid, priority="stat", actor=ANNA)
        order = [old, third, fourth, newest, second]
        assert listed().studies == order
        study_flag_set(study_id=second.id, is_flagged=True)  # flagged, and newer than the other flagged one
        study_flag_set(study_id=third.id, is_flagged=True)
        order = [old, third, second, fourth, newest]
        assert listed().studies == order
        study_priority_set(study_uuid=third.uuid, priority="routine", actor=ANNA)  # a person lowers, the flag stays
        assert listed().studies == [old, second, third, fourth, newest]
        found, before = [], ""
        for _ in range(5):  # by keyset, one at a time, through the seam between the two parts
            page = listed(size=1, before=before)
            found, before = found + page.studies, page.older
        assert (found, before) == ([old, second, third, fourth, newest], "")
        Study.objects.filter(id=old.id).update(raised_at=timezone.now() - RAISED_FOR - timedelta(minutes=1))
        assert listed().studies == [second, third, fourth, newest, old]
        assert listed(before="1.0.1").studies == []
        assert listed(before="nonsense").studies[0] == second


def test_a_page_is_read_by_its_indexes_behind_the_wall(mercy) -> None:
    """"p95 150 ms with 100,000 studies": as the role of production, each part of a page enters an index by the hospital and its order."""
    with mercy.scope():
        raised, *_ = studies = studies_make(300)
        study_priority_set(study_uuid=raised.uuid, priority="urgent", actor=ANNA)
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE imaging_study, imaging_patient")
    with mercy.scope(), connection.cursor() as cursor:
        first = listed(size=20)
        with CaptureQueriesContext(connection) as captured:
            listed(size=20)
            listed(size=20, before=first.older)
        cursor.execute("SELECT current_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == ("medhub_app", False)
        # A small table is read whole, or sorted, when it may be; is an index able to give the order?
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        plans = []
        for query in captured:
            cursor.execute("EXPLAIN " + query["sql"].replace("%", "%%"))
            plans.append("\n".join(line for (line,) in cursor.fetchall()))
    assert len(plans) == 3, "what is raised, the rest, and the next page of the rest"
    assert len(studies) == 300
    for plan, index in zip(plans, ("study_raised", "study_by_arrival", "study_by_arrival"), strict=True):
        assert f"Index Scan using {index} on imaging_study" in plan, plan
        assert f"tenant_id = '{mercy.tenant.id}'" in plan.split(index)[1].split("Filter")[0], plan
        assert "Seq Scan" not in plan
        assert "Sort" not in plan.replace("Incremental Sort", ""), plan
    assert "first_received_at <=" in plans[2].split("study_by_arrival")[1].split("Filter")[0], plans[2]


def test_a_priority_is_kept_with_who_and_when(client, mercy, olaf) -> None:
    """"set by a person on the study page or worklist; kept with who and when"; the order's comes back when a person lets go."""
    with mercy.scope():
        (study,) = studies_make(1, accession_number="A1")
        order_upsert(actor=ANNA, facts=OrderFacts(
            accession_number="A1", attributes={"RequestedProcedurePriority": "HIGH"},
            patient=PatientFacts(issuer="", patient_id=f"MRN-{study.id}", name=NAME, birth_date="19600102", sex="M"),
        ))  # fmt: skip
    event = Event(id=1, tenant_id=mercy.tenant.id, name="study.completed", ids={"study_id": study.id, "version": 1}, trace_id="0" * 32)
    with mercy.scope():
        studies_order_match(events=[event])
        study.refresh_from_db()
        assert (study.priority, study.priority_by, study.rank) == ("urgent", "order", 2)
    signed_in(client, mercy)
    door, details = (reverse(name, args=[mercy.slug, study.uuid]) for name in ("study-priority", "worklist-study"))
    assert "Urgent</strong>, as its order says" in client.get(details).content.decode()
    answer = client.post(door, {"priority": "stat", "back": "worklist", "view": "s1"})
    assert answer.headers["Location"] == reverse("worklist", args=[mercy.slug]) + "?view=s1"
    answer = client.post(door, {"priority": "stat", "back": "worklist", "view": "//evil"})
    assert answer.headers["Location"] == reverse("worklist", args=[mercy.slug])
    page = client.get(details).content.decode()
    assert f"STAT</strong>, set by radiologist@{mercy.slug}.example" in page
    assert ">STAT</b>" in client.get(reverse("worklist", args=[mercy.slug])).content.decode()
    with mercy.scope():
        studies_order_match(events=[event])  # what a person said outlasts the order's word
        study.refresh_from_db()
        assert (study.priority, study.rank) == ("stat", 4)
    assert "choose a priority" in client.post(door, {"priority": "mine"}, follow=True).content.decode()
    client.post(door, {"priority": ""})
    with mercy.scope():
        study.refresh_from_db()
        assert (study.priority, study.priority_by, study.rank) == ("urgent", "order", 2)
        assert AuditEvent.objects.filter(action="study.priority").count() == 1  # one row a person, study and five minutes


def test_every_state_of_ai(mercy) -> None:
    """"AI status in all its states (not eligible and why, waiting, submitted, running, done with or without flag, failed, late, off)"."""
    now = timezone.now()
    with mercy.scope():
        quantify, triage, off = linked(), linked(TRIAGE[0], is_test=True), linked("arterys", is_enabled=False)
        made = studies_make(15)
        (waiting, routing, why, switched, queued, running, late, done, flag, no_flag, failed, kept, several, stopped, refused) = made
        Study.objects.filter(id=waiting.id).update(state=Study.State.RECEIVING)
        decided(why, "modality is DX, the rule wants CT")
        decided(switched, SWITCHED_OFF)
        job_of(queued, "queued")
        job_of(running, "sent", sent_at=now)
        job_of(late, "sent", created_at=now - timedelta(minutes=11), sent_at=now - timedelta(minutes=10))
        job_of(done, "done")
        flagged(job_of(flag, "done", triage, algorithm=TRIAGE[1]))
        flagged(job_of(no_flag, "done", triage, algorithm=TRIAGE[1]), is_flagged=False)
        job_of(failed, "failed", reason="no answer within 60 s")
        job_of(kept, "quarantined")
        job_of(several, "done", quantify)
        job_of(several, "sent", triage, sent_at=now)
        job_of(stopped, "queued", off)
        job_of(refused, "refused", reason="the plan is past due")
        studies = [Study.objects.select_related("patient").get(id=one.id) for one in made]
        rows = ai_rows(studies=studies, reader=Reader(), now=now)
    found = [rows[one.id].key for one in made]
    assert found == [
        "waiting", "routing", "not_eligible", "off", "submitted", "running", "late", "done", "flagged", "not_flagged", "failed",
        "quarantined", "running", "off", "refused",
    ]  # fmt: skip
    assert rows[why.id].reason == "modality is DX, the rule wants CT"
    assert rows[flag.id].flags == ("MedHub Quantify (test double)",)  # never a vendor's name on what a stand-in made
    assert (rows[several.id].done, rows[several.id].jobs) == (1, 2)
    assert rows[failed.id].reason == "no answer within 60 s"


def test_shadow_and_pilot_are_not_everybodys(mercy) -> None:
    """"off -> test -> shadow -> pilot -> live": shadow flags nothing and says so; a pilot is its named readers'."""
    with mercy.scope():
        shadow, pilot = studies_make(2)
        connection = linked(pilot_readers=["u1"])
        flagged(job_of(shadow, "done", connection, stage="shadow"))
        job = job_of(pilot, "done", connection, stage="pilot")
        flagged(job)
        studies = list(Study.objects.select_related("patient"))

        def keys(reader: Reader) -> list[str]:
            rows = ai_rows(studies=studies, reader=reader, now=timezone.now())
            return [rows[shadow.id].key, rows[pilot.id].key]

        decided(shadow, "")
        decided(pilot, "")
        assert keys(Reader(user="u2")) == ["hidden", "hidden"]
        assert keys(Reader(user="u1")) == ["hidden", "flagged"]
        assert keys(Reader(user="u2", sees_all=True)) == ["hidden", "flagged"]
        flag_raise(job=job, answer=answer_of(pilot))
        assert not Study.objects.filter(is_flagged=True).exists()
        live = job_of(pilot, "done", connection, algorithm="b")
        flag_raise(job=live, answer=answer_of(pilot, is_flagged=False))
        assert not Study.objects.filter(is_flagged=True).exists()
        flag_raise(job=live, answer=answer_of(pilot))
        assert Study.objects.get(is_flagged=True).id == pilot.id


def test_only_a_person_takes_a_flag_away(mercy) -> None:
    """"AI may raise, never lower or hide": an undecided report keeps the flag, a decided one lets go of it, a rejected one shows none."""
    with mercy.scope():
        (study,) = studies_make(1)
        result = flagged(job_of(study, "done"))
        report = Report.objects.create(
            study=study, result=result, connection=linked(), algorithm="a", conclusion="-", content={}, issued_at=timezone.now()
        )
        flag_settle(study_id=study.id)
        assert Study.objects.get().rank == 1
        Report.objects.filter(id=report.id).update(status="final")
        flag_settle(study_id=study.id)
        assert Study.objects.get().rank == 0
        study = Study.objects.select_related("patient").get()
        assert ai_rows(studies=[study], reader=Reader(), now=timezone.now())[study.id].flags
        Report.objects.filter(id=report.id).update(status="entered-in-error")
        assert not ai_rows(studies=[study], reader=Reader(), now=timezone.now())[study.id].flags


def test_filters_find_what_they_name(client, mercy) -> None:
    """"Filters (date, modality, AI state, flag, priority, name/accession text ... never in the URL)"."""
    now = timezone.now()
    with mercy.scope():
        failed, late, why, flag, mr = studies_make(5, apart=timedelta(days=2))
        job_of(failed, "failed")
        job_of(late, "sent", created_at=now - timedelta(hours=1), sent_at=now)
        decided(why, "no")
        study_flag_set(study_id=flag.id, is_flagged=True)
        Study.objects.filter(id=mr.id).update(modalities="MR,SR", accession_key="acc77", accession_number="ACC77")
        Patient.objects.filter(id=failed.patient_id).update(name="DOE^JANE", name_key="doe^jane^")
        study_priority_set(study_uuid=why.uuid, priority="stat", actor=ANNA)
    signed_in(client, mercy)
    door = reverse("worklist-filter", args=[mercy.slug])

    def shown(**asked: str) -> set[int]:
        answer = client.post(door, {"rows": "50", **asked})
        assert answer.status_code == 302, answer.content.decode()
        url = answer.headers["Location"]
        assert not any(value and value.lower() in url.lower() for key, value in asked.items() if key == "text")
        page = client.get(url)
        assert set(page.context["words"]) or not asked
        return {row.id for row in page.context["rows"]}

    assert shown(ai="failed") == {failed.id}
    assert shown(ai="late") == {late.id}
    assert shown(ai="running") == {late.id}
    assert shown(ai="not_eligible") == {why.id}
    assert shown(is_flagged="on") == {flag.id}
    assert shown(priority="raised") == {why.id}
    assert shown(modalities="mr") == {mr.id}
    assert shown(days="3") == {failed.id, late.id}
    for text, wanted in (("doe", failed), ("Doe, ja", failed), ("acc7", mr), (f"mrn-{late.id}", late)):
        assert shown(text=text) == {wanted.id}, text
    assert shown(text="zz%") == set()
    assert "No study is like that" in client.get(client.post(door, {"text": "zz"}).headers["Location"]).content.decode()
    assert client.post(door, {"ai": "no such state"}).status_code == 200
    assert "updated" in client.get(reverse("worklist", args=[mercy.slug]), {"view": "vforgotten"}).content.decode()


def test_a_filter_looks_through_a_bounded_number_and_goes_on(mercy, monkeypatch) -> None:
    """A filter that no index serves says where it stopped; the next page goes on from there, and nothing is left out."""
    monkeypatch.setattr(listing, "SCANNED", 4)
    with mercy.scope():
        made = studies_make(12)
        Study.objects.filter(id=made[10].id).update(modalities="MR")
        pages = [listed(modalities=["MR"])]
        while pages[-1].older:
            pages.append(listed(modalities=["MR"], before=pages[-1].older))
        assert [len(page.studies) for page in pages][:2] == [0, 0]
        assert pages[0].is_cut
        assert [study.id for page in pages for study in page.studies] == [made[10].id]


def test_saved_filters_are_each_persons_own(client, mercy) -> None:
    """"saved filters per person (name, filter; a table ...)": without the text that was searched for; another's is not there."""
    signed_in(client, mercy)
    door, page = reverse("worklist-filter", args=[mercy.slug]), reverse("worklist", args=[mercy.slug])
    answer = client.post(door, {"modalities": "CT", "ai": "failed", "rows": "200", "save_as": "night shift"})
    with mercy.scope():
        kept = SavedFilter.objects.get()
        assert kept.wish == {
            "days": "", "modalities": ["CT"], "ai": "failed", "priority": "", "is_flagged": False, "text": "", "rows": 200
        }  # fmt: skip
    assert answer.headers["Location"] == f"{page}?view=s{kept.id}"
    shown = client.get(answer.headers["Location"])
    assert ">night shift</a>" in shown.content.decode()
    assert "CT · AI: failed" in shown.content.decode()
    client.post(door, {"text": "ZZCANARY", "save_as": "somebody"})
    with mercy.scope():
        assert "ZZCANARY" not in str(list(SavedFilter.objects.values_list("name", "wish")))
    client.logout()
    signed_in(client, mercy, "admin")
    assert "night shift" not in client.get(answer.headers["Location"]).content.decode()
    assert client.get(answer.headers["Location"]).context["words"] == []
    gone = reverse("worklist-filter-delete", args=[mercy.slug, kept.id])
    assert client.post(gone).status_code == 404
    client.logout()
    signed_in(client, mercy)
    assert client.post(gone).status_code == 302
    with mercy.scope():
        assert SavedFilter.objects.values_list("name", flat=True).get() == "somebody"


def test_two_hundred_rows_are_small(client, mercy, django_assert_max_num_queries) -> None:
    """"200 rows in 150 KB", uncompressed, with long names and reasons; as many statements as a page of one."""
    with mercy.scope():
        made = studies_make(200)
        connection = linked()
        Job.objects.bulk_create(
            Job(id=id_new(), study=one, study_version=1, connection=connection, algorithm="a", state="not_analysable",
                reason="slices 6.0 mm apart, at most 2.5", created_at=timezone.now()) for one in made
        )  # fmt: skip
        wish = {"rows": 200}
        key = SavedFilter.objects.create(owner=f"user:{mercy.member('radiologist').pk}", name="x", wish=wish, created_at=timezone.now()).id
    signed_in(client, mercy)
    url = reverse("worklist", args=[mercy.slug]) + f"?view=s{key}"
    client.get(url)
    with django_assert_max_num_queries(20):
        page = client.get(url)
    assert page.content.count(b"data-row-link") == 200
    assert len(page.content) <= 150_000, len(page.content)
    rows = client.get(reverse("worklist-rows", args=[mercy.slug]), {"view": f"s{key}", "seen": page.context["mark"]})
    assert rows.status_code == 304


def test_the_api_shows_the_same(client, mercy, olaf) -> None:
    """"Each page has its twin under /t/<slug>/api/v1": rows by keyset, filters, priority; a stranger's study is 404."""
    with mercy.scope():
        first, second = studies_make(2)
        job_of(second, "failed", reason="no")
    auth = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='m', role='radiologist')}"}
    base = f"/t/{mercy.slug}/api/v1"
    page = client.get(f"{base}/worklist?limit=1", headers=auth).json()
    assert [one["study"] for one in page["items"]] == [str(first.uuid)]
    assert [one["ai"] for one in client.get(page["next"], headers=auth).json()["items"]] == ["failed"]
    assert [one["study"] for one in client.get(f"{base}/worklist?ai=failed", headers=auth).json()["items"]] == [str(second.uuid)]
    for wrong in ("ai=x", "name=DOE", "cursor=a", "limit=0"):
        assert client.get(f"{base}/worklist?{wrong}", headers=auth).status_code == 400, wrong
    door = f"{base}/studies/{second.uuid}/priority"
    answer = client.put(door, {"priority": "stat"}, "application/json", headers=auth)
    assert (answer.status_code, answer.json()["priority"], answer.json()["by"].split(":")[0]) == (200, "stat", "token")
    assert client.get(f"{base}/worklist", headers=auth).json()["items"][0]["rank"] == 4
    assert client.put(door, {"priority": "x"}, "application/json", headers=auth).status_code == 400
    stranger = {"authorization": f"Bearer {token_create(tenant=olaf.tenant, name='m', role='radiologist')}"}
    foreign = f"/t/{olaf.slug}/api/v1/studies/{second.uuid}/priority"
    assert client.put(foreign, {"priority": "stat"}, "application/json", headers=stranger).status_code == 404
    made = client.post(f"{base}/worklist/filters", {"name": "a", "wish": {"ai": "failed"}}, "application/json", headers=auth)
    assert made.status_code == 201
    named = client.post(f"{base}/worklist/filters", {"name": "a", "wish": {"text": "DOE"}}, "application/json", headers=auth)
    assert named.status_code == 400
    assert [one["name"] for one in client.get(f"{base}/worklist/filters", headers=auth).json()["items"]] == ["a"]
    assert client.delete(f"{base}/worklist/filters/{made.json()['id']}", headers=auth).status_code == 204
    assert client.delete(f"{base}/worklist/filters/{made.json()['id']}", headers=auth).status_code == 404

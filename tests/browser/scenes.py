"""Rows that a page shows: studies through the real ingest, and what AI says about them straight into its tables."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone

from ai.contract import platforms
from ai.findings import Algorithm, Coding, Correction, Measurement, Note, Parameter, ReportContent
from ai.governance.disclosures import disclosure_begin, disclosure_taken
from ai.governance.recalls import recall_start
from ai.models import Connection, Disclosure, Exchange, Job, Report, ReportDelivery, Result
from ai.readers import Reader
from ai.review.services import verdict_give
from ai.routing.sets import ruleset_draft, ruleset_publish, ruleset_save
from ai.services import connection_create
from fhirapi.models import EhrAttempt, EhrPush, EhrServer, Subscriber
from imaging.models import CommitmentRequest, Node, QueryTag, Study, Transfer, WorkItem
from imaging.nodes import node_add
from journal.audit import Actor
from tests import house
from tests.conftest import Hospital
from tests.dicom_files import series_of

ALGORITHM = "lung-density-mask"
HU = "[hnsf'U]"
LUNG = Coding(system="http://snomed.info/sct", code="39607008", display="Lung structure")


def study_take(hospital: Hospital, count: int = 3, **attributes: Any) -> Study:
    """One series of `count` slices, stored and indexed; not complete yet."""
    datasets = series_of(count, **attributes)
    house.store(hospital, datasets)
    house.index(hospital)
    with hospital.scope():
        return Study.objects.select_related("patient").get(study_uid=datasets[0].StudyInstanceUID)


def study_complete(hospital: Hospital, study: Study) -> Study:
    """As the sweep leaves a study whose quiet time is over."""
    with hospital.scope():
        now = timezone.now()
        Study.objects.filter(id=study.id).update(state=Study.State.COMPLETE, version=1, completed_at=now, due_at=None)
        study.refresh_from_db()
    return study


def job_make(hospital: Hospital, study: Study, state: str, reason: str = "") -> Job:
    """A job of the study's version in this state."""
    study_complete(hospital, study)
    with hospital.scope():
        connection: Connection = connection_create(platform="medhub-quantify")
        now = timezone.now()
        return Job.objects.create(
            study=study, study_version=1, connection=connection, algorithm=ALGORITHM, state=state, reason=reason,
            created_at=now, sent_at=now + timedelta(seconds=1),
        )  # fmt: skip


def measurements() -> tuple[Measurement, ...]:
    volume = Coding(system="http://snomed.info/sct", code="118565006", display="Volume")
    threshold = Coding(system="http://dicom.nema.org/resources/ontology/DCM", code="112032", display="Threshold Attenuation Coefficient")
    share = Coding(system="https://medicalcloudaihub.com/fhir/CodeSystem/quantify", code="laa-950", display="Low attenuation area")
    return (
        Measurement(code=volume, value=4215.2, unit="mL", unit_display="mL", body_site=LUNG, method="enclosed air below -500 HU"),
        Measurement(
            code=share, value=11.96, unit="%", unit_display="%", body_site=LUNG, method="density mask",
            parameters=(Parameter(code=threshold, value=-950, unit=HU),),
        ),
    )  # fmt: skip


def report_make(hospital: Hospital, study: Study, reason: str = "") -> Report:
    """A report with two numbers, or one that says why there are none."""
    job = job_make(hospital, study, Job.State.NOT_ANALYSABLE if reason else Job.State.DONE, reason)
    content = ReportContent(
        algorithm=Algorithm(name=ALGORITHM, version="1.4.2", manufacturer="MedHub Quantify"), platform="MedHub Quantify",
        is_test_double=False, study_uid=study.study_uid, series_uid="1.2.3", sop_uids=("1.2.3.1", "1.2.3.2", "1.2.3.3"),
        input_sha256="" if reason else "5bc79a06f809" + "0" * 52, measurements=() if reason else measurements(),
        not_analysable=Note(code="spacing", text=reason) if reason else None, notes=(Note(code="slices", text="3 slices, 2.00 mm apart"),),
    )  # fmt: skip
    with hospital.scope():
        now = timezone.now()
        result = Result.objects.create(job=job, payload={}, is_analysable=not reason, received_at=now + timedelta(seconds=2))
        return Report.objects.create(
            study=study, result=result, connection=job.connection, algorithm=ALGORITHM, conclusion="-", content=asdict(content),
            issued_at=now + timedelta(seconds=3.2),
        )  # fmt: skip


def decided_make(hospital: Hospital) -> Study:
    """A study with two results: one that was corrected, one that was rejected, by people with long names."""
    study = study_take(hospital, PatientID="P9")
    found = [report_make(hospital, study)]
    with hospital.scope():
        Job.objects.filter(study=study).update(algorithm="calcium-score")
        Report.objects.filter(study=study).update(algorithm="calcium-score")
    found.append(report_make(hospital, study))
    user = hospital.member("radiologist")
    user.name = "Hubert Blaine Maximilian Wolfeschlegelsteinhausenbergerdorff"
    user.save()
    said: list[dict[str, Any]] = [
        {"action": "correct", "reason": "wrong-value", "corrections": [Correction(item="measurement/0", value=5, words="cut off " * 20)]},
        {"action": "reject", "reason": "other", "words": "said in words, and at some length " * 6},
    ]
    with hospital.scope():
        for report, values in zip(found, said, strict=True):
            verdict_give(report_uuid=report.uuid, version=1, actor=Actor(name=f"user:{user.pk}"), reader=Reader(), **values)
    return study


def deliveries_make(hospital: Hospital, report: Report) -> None:
    """Where a report went: filed, taken, on its way for the third time, given up."""
    with hospital.scope():
        now = timezone.now()
        for target, name, facts in (
            ("", "our archive", {"kind": "archive", "state": "sent", "words": "2 objects taken", "ended_at": now}),
            ("1", "PACS", {"state": "sent", "words": "2 objects taken", "ended_at": now}),
            ("2", "WORKSTATION_07", {"attempts": 3, "words": "no connection: Connection refused", "due_at": now + timedelta(days=1)}),
            ("3", "OLDARCHIVE", {"state": "failed", "attempts": 12, "words": "the node answered with status A700", "ended_at": now}),
        ):  # fmt: skip
            plain = {"kind": "pacs_dimse", "attempts": 1, "created_at": now}
            ReportDelivery.objects.create(report=report, target=target, target_name=name, **{**plain, **facts})


def job_kept_back(hospital: Hospital) -> Job:
    """The quarantined job of the clinic, with what was said and what came; and a connection of each state."""
    now = timezone.now()
    with hospital.scope():
        job = Job.objects.filter(state=Job.State.QUARANTINED).get()
        Job.objects.filter(id=job.id).update(input_sha256="5bc79a06f809" + "0" * 52, sent_at=now, ended_at=now, trace_id="0" * 32)
        for kind, is_good, words in (
            ("send", False, "the platform answered 503"), ("send", True, "312 objects"), ("hook", True, "a signed answer came"),
        ):  # fmt: skip
            Exchange.objects.create(job=job, kind=kind, is_good=is_good, words=words, milliseconds=41, at=now)
        Result.objects.create(
            job=job, payload={"study_uid": "2.25." + "9" * 38, "findings": [{"code": "59282003", "value": True}]}, is_analysable=False,
            received_at=now, files=[{"name": "0000.dcm", "size": 81234, "sha256": "cd" * 32}],
        )  # fmt: skip
        for platform, facts in (
            ("sharedmind", {"is_test": True, "settings": {"contract": "C-1", "way": "ups", "answer": "pushed", "auth": "none"}}),
            ("aidoc", {"checked_at": now, "is_check_good": False, "check_words": "the platform refused our key"}),
            ("viz-ai", {"checked_at": now, "is_check_good": True, "check_words": "the vendor's DICOMweb answered"}),
            ("idx-dr", {"is_enabled": False}), ("arterys", {"broken_until": now + timedelta(hours=1), "failures": 9}),
        ):  # fmt: skip
            Connection.objects.create(platform=platform, name=platforms()[platform].card.name, created_at=now, **facts)
    return job


def governance_make(hospital: Hospital, study: Study, reason: str = "Vendor notice 2026-114: volumes too low with sharp kernels") -> None:
    """A recall, a year of runs, and disclosures: taken, and begun only. After `job_kept_back`, whose connections they use."""
    now = timezone.now()
    with hospital.scope():
        links = {row.platform: row for row in Connection.objects.all()}
        offers = (("medhub-quantify", "calcium-agatston-like"), ("viz-ai", "ich-triage"), ("aidoc", "pe-triage"))
        states = ("done", "done", "not_analysable", "failed", "done", "refused", "cancelled")
        Job.objects.bulk_create([
            Job(
                study=study, study_version=100 + n, connection=links[offers[n % 3][0]], algorithm=offers[n % 3][1], state=states[n % 7],
                created_at=now - timedelta(days=5 * n), sent_at=now - timedelta(days=5 * n, seconds=40 + n),
                ended_at=now - timedelta(days=5 * n), version_said="2.1", input_sha256=f"{n // 6:064d}",
            )
            for n in range(72)
        ])  # fmt: skip
        for slug, algorithm in offers[1:]:
            disclosure_begin(
                job_uuid=str(uuid4()), study_id=study.id, connection=links[slug], algorithm=algorithm, what="images", instances=312,
                profile="default", codes=["113100", "113103", "113105", "113107", "113108", "113109", "113111"], input_sha256="cd" * 32,
            )  # fmt: skip
        disclosure_taken(job_uuid=str(Disclosure.objects.latest("id").job_uuid))
        recall_start(
            platform="medhub-quantify", algorithm=ALGORITHM, reason=reason, actor=Actor(name=f"user:{hospital.member('admin').pk}")
        )


def nodes_make(hospital: Hospital) -> Node:
    """Nodes that answer, don't, and were never asked, and a transfer of every kind and state. In a scope; the first of them."""
    now = timezone.now()
    good = [
        {"hop": "dns", "is_ok": True, "milliseconds": 0.4, "words": "192.0.2.7"},
        {"hop": "tcp", "is_ok": True, "milliseconds": 1.9, "words": "connected to port 104"},
        {"hop": "tls", "is_ok": True, "milliseconds": 6.1, "words": "TLSv1.3, TLS_AES_256_GCM_SHA384"},
        {"hop": "association", "is_ok": True, "milliseconds": 8.0, "words": f"accepted by PACS, we call as {hospital.called_ae}"},
        {"hop": "echo", "is_ok": True, "milliseconds": 3.2, "words": "answered with success"},
    ]
    words = "association rejected (permanent) by the service user: calling AE title not recognized"
    bad = [*good[:3], {"hop": "association", "is_ok": False, "milliseconds": 21.0, "words": words}]
    all_of_it = ("store", "find", "move", "get", "commit", "worklist")
    first = node_add(
        ae_title="PACS", host="pacs.radiology.example", port=104, services=all_of_it, uses_tls=True, is_asked_for_priors=True,
        address="192.0.2.0/24,2001:db8:85a3::/48", description="the archive of radiology",
    )  # fmt: skip
    second = node_add(ae_title="OLDARCHIVE", host="192.0.2.77", port=11112, services=["store"], retrieve_by="get", description="2009")
    node_add(ae_title="WORKSTATION_07", services=["find", "move"])
    for node, hops in ((first, good), (second, bad)):
        node.last_check, node.checked_at = hops, now
        node.save()
    common = {"node": second, "node_ae": "OLDARCHIVE", "created_at": now, "changed_at": now}
    query = {"from": "20190101", "to": "20241231", "modalities": ["CT", "MR"]}
    for n, facts in enumerate((
        {"kind": "pull", "state": "done", "method": "get", "studies": 1, "studies_done": 1, "completed": 312},
        {"kind": "send", "state": "failed", "studies": 1, "studies_failed": 1, "completed": 40, "failed": 2,
         "last_error": "the node answered with status A900"},
        {"kind": "priors", "state": "done", "last_error": "the node has nothing that matches"},
        {"kind": "pull", "state": "cancelled", "method": "move", "studies": 1},
        {"kind": "pull", "state": "queued", "method": "move", "studies": 1, "due_at": now},
        {"kind": "migrate", "state": "running", "method": "move", "studies": 1841, "studies_done": 640, "completed": 210433,
         "remaining": 112, "query": query, "due_at": now, "last_error": "waits for its hours"},
        {"kind": "pull", "state": "running", "method": "get", "studies": 1, "completed": 160, "remaining": 152, "due_at": now},
    )):  # fmt: skip
        Transfer.objects.create(unique_on=f"scene-{n}", **{**common, **facts})
    return first


def doubts_make(hospital: Hospital, study: Study) -> None:
    """A commitment that no node took, and a study without its order."""
    now = timezone.now()
    with hospital.scope():
        CommitmentRequest.objects.create(
            node_ae="CT_ROOM_02", called_ae=hospital.called_ae, transaction_uid="1.2.3", digest="x", number_of_references=412,
            state="dead", attempts=60, last_error="no answer to the association request", created_at=now - timedelta(hours=13),
        )  # fmt: skip
        WorkItem.objects.create(
            kind="order-missing", reason="no order has the accession number of this study", study=study, unique_on="x", created_at=now
        )


def query_tags_make() -> None:
    """One ready, one with objects that nobody could read, one half built, one not begun, one whose store is away. In a scope."""
    now = timezone.now()
    common = {"created_at": now, "changed_at": now, "until_id": 1, "objects_total": 210_433}
    for facts in (
        {"tag": 0x00180050, "vr": "DS", "level": "series", "state": "ready", "objects_done": 210_433, "built_at": now},
        {"tag": 0x00181000, "vr": "LO", "level": "series", "state": "ready", "objects_done": 210_433, "objects_bad": 3, "built_at": now},
        {"tag": 0x00081048, "vr": "PN", "level": "study", "objects_done": 80_500, "due_at": now},
        {"tag": 0x00431010, "vr": "US", "level": "instance", "creator": "GEMS_PARM_01", "due_at": now, "until_id": 0, "objects_total": 0},
        {"tag": 0x00189151, "vr": "DT", "level": "instance", "due_at": now, "last_error": "the object store is away"},
    ):
        QueryTag.objects.create(**{**common, **facts})


def ehr_make() -> tuple[str, str]:
    """Two servers, reports in every state on their way there, four subscribers. In a scope. (server's uuid, push's id)."""
    now = timezone.now()
    smart = EhrServer.objects.create(
        name="Epic, production", base_url="https://fhir.hospital.example/interconnect/api/FHIR/R4", auth="smart", client_id="medhub",
        scope="system/*.cruds", public_jwk={"kid": "x"}, created_at=now,
    )  # fmt: skip
    EhrServer.objects.create(name="Old HIS", base_url="https://his.example/fhir", auth="basic", is_enabled=False, created_at=now)
    for number, state in enumerate(EhrPush.State.values, start=1):
        words = {"dead": "the server answered 422 (error value, error required)", "failed": "the server answered 503"}.get(state, "")
        row = EhrPush.objects.create(
            server=smart, report=str(uuid4()), version=number, state=state, words=words, attempts=2, created_at=now,
            due_at=now if state == "failed" else None,
        )  # fmt: skip
        for status, said in ((503, "the server answered 503"), (0, "the other side was not reached or did not answer in time")):
            EhrAttempt.objects.create(push=row, is_good=False, status=status, words=said, milliseconds=10_012, at=now)
    facts = {"rtype": "DiagnosticReport", "creator": "token:1", "role": "integrator", "created_at": now, "last_number": 1204}
    for number, (state, words, topic) in enumerate((
        ("active", "", "report-issued"), ("error", "the receiver answered 500", "study-available"), ("requested", "", "report-issued"),
        ("off", "the key that made it was revoked, or may not read any more", ""),
    )):  # fmt: skip
        Subscriber.objects.create(
            fhir_id=f"2534464110502{number}", state=state, words=words, topic=topic, endpoint="https://events.hospital.example/hook",
            content="id-only", sent_number=1204 if state == "active" else 1180, attempts=12 if state == "error" else 0, success_at=now,
            **facts,
        )  # fmt: skip
    return str(smart.uuid), str(row.id)


def rules_make(hospital: Hospital) -> str:
    """An active version, and a draft that changes, adds and moves rules. Returns the id of a rule of the draft with every kind of value."""
    plain = {"platform": "medhub-quantify", "algorithm": ALGORITHM, "series": [], "is_stat": False}
    chest = {**plain, "name": "Chest CT, thin and soft, to the lung density mask", "conditions": [
        {"fact": "modality", "is": ["CT"]}, {"fact": "body_part", "is": ["CHEST", "THORAX"]},
    ], "series": [{"fact": "kernel", "is": ["B30F", "B31F"]}, {"fact": "slice_thickness_mm", "at_most": 2.5}]}  # fmt: skip
    night = {**plain, "name": "Heads at night", "platform": "aidoc", "algorithm": "ich-triage", "is_stat": True, "conditions": [
        {"fact": "modality", "is": ["CT"]}, {"fact": "description", "contains_not": ["post mortem"]},
        {"fact": "patient_age_years", "at_least": 18}, {"fact": "time", "between": ["18:00", "07:00"]},
        {"fact": "weekday", "is": ["SAT", "SUN"]},
    ]}  # fmt: skip
    by = Actor(name=f"user:{hospital.member('admin').pk}")
    with hospital.scope():
        connection_create(platform="medhub-quantify")
        made = ruleset_publish(rules=[chest, {**plain, "name": "Everything else", "conditions": []}], actor=by)
        draft = ruleset_draft(actor=by)
        first, last = made.rules
        found = ruleset_save(rules=[last, night, {**first, "is_stat": True}], revision=draft.revision, actor=by)
        return str(found.rules[1]["id"])

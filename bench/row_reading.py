"""Rows `fhir` and `worklist`: how long reading takes over loopback HTTP, one keep-alive connection, one request at a time."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.test import Client
from django.utils import timezone

from ai.models import Connection, Decision, Job
from bench.context import Bench
from bench.figures import Figure, Outcome, percentile
from bench.house import Hospital, hospital_make
from bench.rest import Rest, RestError
from bench.row_report import study_walk
from imaging.models import Patient, Study
from journal.audit import Actor
from journal.wall.ids import id_new
from tenants import services
from tenants.filters import filter_save
from tenants.models import User

REQUESTS = 200
STUDIES = 100_000
PAGE_ROWS, LARGE_ROWS = 50, 200
READER = "reader@bench.example"
# What is asked for, as saved filters: an index serves none but the first two, and nothing at all is like the last.
WISHES: dict[str, dict[str, Any]] = {
    "200 rows": {"rows": 200}, "last 7 days": {"days": "7"}, "MR": {"modalities": ["MR"]}, "AI failed": {"ai": "failed"},
    "not eligible": {"ai": "not_eligible"}, "no such modality": {"modalities": ["XX"]},
}  # fmt: skip


def fhir_measure(bench: Bench) -> Outcome:
    """Read by id, search by identifier, search with _include; the median of a repetition is one value."""
    walk = study_walk(bench)
    hospital = bench.walking
    rest = Rest(bench.stack.ports.http, hospital.auth)
    base = hospital.path("fhir/r4")
    asked = {
        "read DiagnosticReport": f"{base}/DiagnosticReport/{walk.report_id}",
        "ImagingStudy by identifier": f"{base}/ImagingStudy?identifier=urn:dicom:uid|urn:oid:{walk.study_uid}",
        "DiagnosticReport with _include": f"{base}/DiagnosticReport?_id={walk.report_id}&_include=DiagnosticReport:result",
    }
    outcome = Outcome(f"FHIR over loopback HTTP, keep-alive, {REQUESTS} requests a repetition")
    found: dict[str, list[list[float]]] = {name: [] for name in asked}
    for _ in range(bench.reps(3)):
        for name, path in asked.items():
            found[name].append(rest.milliseconds(path, times=REQUESTS))
    for name, runs in found.items():
        outcome.figures += _percentiles(name, runs)
    outcome.notes.append("few resources are in the store: these are costs of a request, not of a large archive")
    return outcome


def worklist_measure(bench: Bench) -> Outcome:
    """Pages of 50 and of 200 rows of 100,000 studies, filtered ones, and the two-second refresh when nothing has changed."""
    hospital = hospital_make("bench-list")
    studies_insert(hospital, count=STUDIES)
    rest = Rest(bench.stack.ports.http, {"Cookie": f"{settings.SESSION_COOKIE_NAME}={_session(hospital)}"})
    path = hospital.path("worklist")
    views = {name: _saved(hospital, name, wish) for name, wish in WISHES.items()}
    found: dict[str, list[list[float]]] = {}
    status, page = rest.request("GET", path)
    _rows_check(status, page, PAGE_ROWS)
    mark = page.split(b'data-mark="')[1].split(b'"')[0].decode()
    status, large = rest.request("GET", f"{path}?view={views['200 rows']}")
    _rows_check(status, large, LARGE_ROWS)
    older = page.split(b"?before=")[1].split(b'"')[0].decode()
    asked = {
        "page of 50 rows": (path, 200), "the next page": (f"{path}?before={older}", 200),
        "refresh, nothing changed (304)": (f"{path}/rows?seen={mark}", 304), "refresh, changed": (f"{path}/rows?seen=0", 200),
        **{f"page, {name}": (f"{path}?view={key}", 200) for name, key in views.items()},
    }  # fmt: skip
    for _ in range(bench.reps(3)):
        for name, (address, expected) in asked.items():
            found.setdefault(name, []).append(rest.milliseconds(address, times=REQUESTS, status=expected))
    outcome = Outcome(f"Worklist over loopback HTTP, {STUDIES:,} studies, {REQUESTS} requests a repetition, one at a time")
    for name, runs in found.items():
        outcome.figures += _percentiles(name, runs)
    outcome.figures.append(Figure("200 rows, uncompressed", [len(large) / 1000], "kB", "the whole page"))
    outcome.measured["worklist_p95"] = max(percentile(run, 0.95) for run in found["page, 200 rows"] + found["page of 50 rows"])
    outcome.measured["worklist_kb"] = len(large) / 1000
    return outcome


def _rows_check(status: int, page: bytes, rows: int) -> None:
    if status != 200 or page.count(b"data-row-link") != rows:
        raise RestError(f"the worklist answered {status} with {page.count(b'data-row-link')} rows")


def _saved(hospital: Hospital, name: str, wish: dict[str, Any]) -> str:
    user = User.objects.get(email=READER)
    with hospital.scope():
        return f"s{filter_save(name=name, wish=wish, actor=Actor(name=f'user:{user.pk}')).id}"


def _percentiles(name: str, runs: list[list[float]]) -> list[Figure]:
    return [
        Figure(f"{name}, p50", [percentile(run, 0.5) for run in runs], "ms"),
        Figure(f"{name}, p95", [percentile(run, 0.95) for run in runs], "ms"),
    ]


def _session(hospital: Hospital) -> str:
    user = services.member_create(
        tenant=hospital.tenant, email=READER, password=str(uuid4()), role="radiologist", name="Reader"
    )
    client = Client()
    client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
    return client.cookies[settings.SESSION_COOKIE_NAME].value


# Through bulk_create, not by hand: the tables gain columns.
NAMES = ("KOWALCZYK^AGNIESZKA", "NGUYEN^VAN ANH", "O'BRIEN-FITZGERALD^MÁIRE^CAOIMHE", "DOE^JANE", "MÜLLER-LÜDENSCHEIDT^JÖRG^^Dr.")
DESCRIPTIONS = (("CT", "CT Chest low dose"), ("MR", "MR Head w/o contrast"), ("DX", "Chest PA"), ("CT,SR", "CT Abdomen and pelvis"))
OUTCOMES = (Job.State.DONE, Job.State.DONE, Job.State.FAILED, Job.State.NOT_ANALYSABLE)
CHUNK = 5000


def studies_insert(hospital: Hospital, *, count: int) -> None:
    """Complete studies of as many patients, seven minutes apart. A job for two of three, else the reason why AI did nothing; one in ten
    is STAT or urgent by its order, one in fifty flagged: most of them long ago."""
    now = timezone.now() - timedelta(minutes=1)
    with hospital.scope():
        connection_row = Connection.objects.create(platform="medhub-quantify", name="MedHub Quantify", created_at=now)
        for begin in range(0, count, CHUNK):
            patients, studies, decisions, jobs = [], [], [], []
            for number in range(begin, min(begin + CHUNK, count)):
                at, study_id = now - number * timedelta(minutes=7), id_new()
                modalities, description = DESCRIPTIONS[number % len(DESCRIPTIONS)]
                priority = {0: "stat", 5: "urgent"}.get(number % 20, "")
                is_flagged = number % 50 == 7
                rank = {"stat": 4, "urgent": 2}.get(priority, 0) + is_flagged
                patients.append(Patient(id=study_id, issuer="BENCH", patient_id=f"MRN-{number:08}", name=NAMES[number % len(NAMES)],
                                        birth_date="19600101", sex="F"))  # fmt: skip
                studies.append(Study(
                    id=study_id, study_uid=f"2.25.{study_id}", patient_id=study_id, accession_number=f"ACC{number}", study_date="20260102",
                    study_time="030405", description=description, body_part="CHEST", patient_age="061Y", modalities=modalities,
                    number_of_series=2, number_of_instances=150, state="complete", version=1, priority=priority, is_flagged=is_flagged,
                    rank=rank, raised_at=at if rank else None, first_received_at=at, last_received_at=at, stored_at=at, completed_at=at,
                ))  # fmt: skip
                has_job = number % 3 != 0
                decisions.append(Decision(id=id_new(), study_id=study_id, study_version=1, created_at=at, matched=int(has_job),
                                          summary="" if has_job else "modality is DX, the rule wants CT"))  # fmt: skip
                if has_job:
                    jobs.append(Job(
                        id=id_new(), study_id=study_id, study_version=1, connection=connection_row, algorithm="lung-density-mask",
                        state=OUTCOMES[number % len(OUTCOMES)], created_at=at, sent_at=at, ended_at=at,
                    ))  # fmt: skip
            for model, rows in ((Patient, patients), (Study, studies), (Decision, decisions), (Job, jobs)):
                model.objects.bulk_create(rows)

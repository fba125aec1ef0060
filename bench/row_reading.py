"""Rows `fhir` and `worklist`: how long reading takes over loopback HTTP, one keep-alive connection, one request at a time."""

from datetime import timedelta
from uuid import uuid4

from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from bench.context import Bench
from bench.figures import Figure, Outcome, percentile
from bench.house import Hospital, hospital_make
from bench.rest import Rest, RestError
from bench.row_report import study_walk
from journal.wall.ids import id_new
from tenants import services

REQUESTS = 200
STUDIES = 1000
PAGE_ROWS = 50


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
    """The page of the newest 50 of 1,000 studies, and its two-second refresh when nothing has changed."""
    hospital = hospital_make("bench-list")
    studies_insert(hospital, count=STUDIES)
    rest = Rest(bench.stack.ports.http, {"Cookie": f"{settings.SESSION_COOKIE_NAME}={_session(hospital)}"})
    path = hospital.path("worklist")
    status, page = rest.request("GET", path)
    if status != 200 or page.count(b"data-row-link") != PAGE_ROWS:
        raise RestError(f"the worklist answered {status} with {page.count(b'data-row-link')} rows")
    mark = page.split(b'"seen": "')[1].split(b'"')[0].decode()
    pages, refreshes = [], []
    for _ in range(bench.reps(3)):
        pages.append(rest.milliseconds(path, times=REQUESTS))
        refreshes.append(rest.milliseconds(f"{path}/rows?seen={mark}", times=REQUESTS, status=304))
    return Outcome(
        f"Worklist page over loopback HTTP, {STUDIES} studies, {PAGE_ROWS} on the page, {REQUESTS} requests a repetition",
        [*_percentiles("page", pages), *_percentiles("refresh, nothing changed (304)", refreshes)],
    )


def _percentiles(name: str, runs: list[list[float]]) -> list[Figure]:
    return [
        Figure(f"{name}, p50", [percentile(run, 0.5) for run in runs], "ms"),
        Figure(f"{name}, p95", [percentile(run, 0.95) for run in runs], "ms"),
    ]


def _session(hospital: Hospital) -> str:
    user = services.member_create(
        tenant=hospital.tenant, email="reader@bench.example", password=str(uuid4()), role="radiologist", name="Reader"
    )
    client = Client()
    client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
    return client.cookies[settings.SESSION_COOKIE_NAME].value


PATIENTS_SQL = """
INSERT INTO imaging_patient (tenant_id, id, uuid, issuer, patient_id, variant, name, birth_date, sex)
SELECT %(tenant)s, id, gen_random_uuid(), 'BENCH', 'B' || n, '', 'NAME' || n || '^GIVEN', '19600101', 'O'
FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY u(id, n)
"""
STUDIES_SQL = """
INSERT INTO imaging_study (tenant_id, id, uuid, study_uid, patient_id, accession_number, accession_issuer, study_date, study_time,
  utc_offset, description, referrer, body_part, patient_age, modalities, number_of_series, number_of_instances, state, version,
  is_from_ai, trace_id, first_received_at, last_received_at, stored_at, completed_at)
SELECT %(tenant)s, id, gen_random_uuid(), '2.25.' || id, id, 'ACC' || n, '', '20260102', '030405', '', 'CT Chest', '', 'CHEST', '061Y',
  'CT', 2, 150, 'complete', 1, false, '', at, at, at, at
FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY u(id, n), LATERAL (SELECT %(now)s - n * interval '7 minutes' AS at) t
"""
DECISIONS_SQL = """
INSERT INTO ai_decision (tenant_id, id, study_id, study_version, rule_version, is_match, reason, created_at)
SELECT %(tenant)s, id, id, 1, 0, false, 'no rule is active', %(now)s FROM unnest(%(ids)s::bigint[]) u(id)
"""


def studies_insert(hospital: Hospital, *, count: int) -> None:
    """Complete CT studies of as many patients, seven minutes apart, each with the reason why AI did nothing."""
    values = {
        "tenant": hospital.tenant.id, "ids": [id_new() for _ in range(count)], "now": timezone.now() - timedelta(minutes=1),
    }  # fmt: skip
    with hospital.scope(), connection.cursor() as cursor:
        for statement in (PATIENTS_SQL, STUDIES_SQL, DECISIONS_SQL):
            cursor.execute(statement, values)

"""Grouped SQL over jobs, results, reports and decisions, under the wall and with tenant_id named. Of a patient only an age."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from ai.models import Stage
from ai.review.reasons import FALSE
from journal.wall.scope import tenant_id_current

ABSENT = ("2667000", "373067005", "260415000")  # SNOMED CT: absent, no, not detected
HOPS = ("received-completed", "completed-sent", "sent-answered", "answered-issued", "issued-reviewed")
MAX_CASES = 200
MAX_GROUPS = 2_000
MAX_JOBS = 10_000  # that a page counts

# Jobs of the span with what the rules knew of them: {0} of it. OFFSET 0 keeps each look-up one by its index: what is read grows with the
# span, not with the archive, and a document is opened once a row, not once for each of its fields.
JOBS = """
WITH job AS MATERIALIZED (
  SELECT j.id, j.uuid, c.platform, j.algorithm, j.state, j.study_id, j.study_version, j.created_at, j.sent_at{0},
    coalesce(nullif(x.series->>'institution', ''), nullif(d.calling_aes->>0, ''), '') AS site
  FROM ai_job j JOIN ai_connection c ON c.tenant_id = j.tenant_id AND c.id = j.connection_id
  LEFT JOIN LATERAL (
    SELECT f.patient_age_years AS age, f.calling_aes, f.series
    FROM ai_decision d, jsonb_to_record(d.facts) AS f(patient_age_years text, calling_aes jsonb, series jsonb)
    WHERE d.tenant_id = %(tenant)s AND d.study_id = j.study_id AND d.study_version = j.study_version OFFSET 0) d ON true,
  LATERAL (SELECT jsonb_path_query_first(d.series, '$[*] ? (@.id == $id)', jsonb_build_object('id', j.series)) AS series OFFSET 0) x
  WHERE j.tenant_id = %(tenant)s AND j.created_at >= %(since)s AND j.created_at < %(until)s AND j.stage <> %(test)s
)
"""
# One row a job. The newest version of its report says what stands: a decision that was taken back left no trace in it.
BASE = f"""
{JOBS.format("")}, answer AS MATERIALIZED (
  SELECT o.id, j.id AS job_id, o.received_at FROM job j,
  LATERAL (SELECT id, received_at FROM ai_result WHERE tenant_id = %(tenant)s AND job_id = j.id OFFSET 0) o
), version AS MATERIALIZED (
  SELECT o.id AS result_id, r.* FROM answer o,
  LATERAL (SELECT id, uuid, version, is_by_person, issued_at FROM ai_report WHERE tenant_id = %(tenant)s AND result_id = o.id OFFSET 0) r
), newest AS (
  SELECT DISTINCT ON (uuid) id, uuid, result_id FROM version ORDER BY uuid, version DESC
), base AS (
  SELECT j.id, j.uuid AS job_uuid, j.platform, j.algorithm, j.state, j.created_at, s.uuid AS study_uuid, s.modalities, j.site,
    n.uuid AS report_uuid, said.review->>'action' AS action, said.review->>'reason' AS reason,
    coalesce(said.is_flagged, false) OR coalesce(jsonb_path_exists(said.findings, %(claim)s), false) AS is_positive,
    CASE WHEN j.study_version = s.version THEN extract(epoch FROM s.completed_at - s.first_received_at)::float8 END AS h0,
    CASE WHEN j.study_version = s.version THEN extract(epoch FROM j.sent_at - s.completed_at)::float8 END AS h1,
    extract(epoch FROM o.received_at - j.sent_at)::float8 AS h2,
    extract(epoch FROM m.issued_at - o.received_at)::float8 AS h3,
    extract(epoch FROM (said.review->>'at')::timestamptz - m.issued_at)::float8 AS h4
  FROM job j
  JOIN LATERAL (
    SELECT uuid, modalities, version, completed_at, first_received_at FROM imaging_study
    WHERE tenant_id = %(tenant)s AND id = j.study_id OFFSET 0) s ON true
  LEFT JOIN answer o ON o.job_id = j.id
  LEFT JOIN newest n ON n.result_id = o.id
  LEFT JOIN version m ON m.result_id = o.id AND NOT m.is_by_person
  LEFT JOIN LATERAL (
    SELECT c.review, c.is_flagged, c.findings
    FROM ai_report r, jsonb_to_record(r.content) AS c(review jsonb, is_flagged boolean, findings jsonb)
    WHERE r.tenant_id = %(tenant)s AND r.id = n.id OFFSET 0) said ON true
)
"""  # noqa: S608 constants
# A finding whose value is a code, and none that says it is not there.
CLAIM = '$[*].value ? (@.code != "' + '" && @.code != "'.join(ABSENT) + '")'
ENDED = "state IN ('done', 'not_analysable', 'failed', 'quarantined')"
FAILED = "state IN ('failed', 'quarantined')"
# A claim that was judged: what says nothing about the claim itself (wrong patient, poor images) is not counted.
WRONG_CLAIM = "(action = 'reject' AND reason = ANY(%(false)s) OR action = 'correct' AND reason IN ('false-positive', 'wrong-location'))"
RIGHT_CLAIM = "(action = 'accept' OR action = 'correct' AND reason NOT IN ('false-positive', 'wrong-location'))"
KINDS = {
    "all": "true", "ended": ENDED, "failed": FAILED, "not-analysable": "state = 'not_analysable'", "decided": "action IS NOT NULL",
    "accepted": "action = 'accept'", "corrected": "action = 'correct'", "rejected": "action = 'reject'",
    "claims": f"is_positive AND ({WRONG_CLAIM} OR {RIGHT_CLAIM})", "claims-right": f"is_positive AND {RIGHT_CLAIM}",
    **{hop: f"h{place} IS NOT NULL" for place, hop in enumerate(HOPS)},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Span:
    since: datetime
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one algorithm, or of one site of it. `site` is None for all of them; "" is a site that nobody stated. Times in seconds."""

    platform: str
    algorithm: str
    site: str | None
    jobs: int
    ended: int
    failed: int
    not_analysable: int
    accepted: int
    corrected: int
    rejected: int
    claims: int
    claims_right: int
    hops: tuple[tuple[int, float | None, float | None], ...]  # of HOPS: cases, p50, p95


def span_cut(*, span: Span, most: int = MAX_JOBS) -> Span:
    """The span, or its last whole days with about `most` jobs: what a page counts while somebody waits for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT created_at FROM ai_job WHERE tenant_id = %s AND created_at >= %s AND created_at < %s "
            "ORDER BY created_at DESC OFFSET %s LIMIT 1",
            [tenant_id_current(), span.since, span.until, most],
        )
        row = cursor.fetchone()
    if row is None:
        return span
    zone = timezone.get_current_timezone()
    day = row[0].astimezone(zone).date() + timedelta(days=1)
    last = (span.until - timedelta(microseconds=1)).astimezone(zone).date()
    return Span(since=datetime.combine(min(day, last), time(), zone), until=span.until)


def counts_read(*, span: Span) -> list[Counts]:
    """Every algorithm with jobs in the span, whole and by site: one statement."""
    hops = ", ".join(
        f"count(h{n}), percentile_cont(0.5) WITHIN GROUP (ORDER BY h{n}), percentile_cont(0.95) WITHIN GROUP (ORDER BY h{n})"
        for n in range(len(HOPS))
    )
    counted = ", ".join(
        f"count(*) FILTER (WHERE {KINDS[kind]})"
        for kind in ("ended", "failed", "not-analysable", "accepted", "corrected", "rejected", "claims", "claims-right")
    )
    rows = _rows(
        f"{BASE} SELECT platform, algorithm, site, grouping(site), count(*), {counted}, {hops} FROM base "  # noqa: S608 constants
        f"GROUP BY GROUPING SETS ((platform, algorithm), (platform, algorithm, site)) "
        f"ORDER BY platform, algorithm, grouping(site) DESC, count(*) DESC, site LIMIT {MAX_GROUPS}",
        span,
    )
    return [_counts(row) for row in rows]


def _counts(row: tuple[Any, ...]) -> Counts:
    platform, algorithm, site, is_whole, jobs, *rest = row
    ended, failed, not_analysable, accepted, corrected, rejected, claims, right, *hops = rest
    return Counts(
        platform=platform, algorithm=algorithm, site=None if is_whole else site, jobs=jobs, ended=ended, failed=failed,
        not_analysable=not_analysable, accepted=accepted, corrected=corrected, rejected=rejected, claims=claims, claims_right=right,
        hops=tuple((hops[n], hops[n + 1], hops[n + 2]) for n in range(0, len(hops), 3)),
    )  # fmt: skip


KNOWN = JOBS.format(", d.age, x.series AS facts")
INPUTS = {
    "thickness": "CASE WHEN facts->>'slice_thickness_mm' IS NULL THEN 'not stated' ELSE "
    "(ARRAY['to 1 mm', 'to 2 mm', 'to 3 mm', 'to 5 mm', 'more than 5 mm'])[1 + width_bucket((facts->>'slice_thickness_mm')::float8, "
    "ARRAY[1.0001, 2.0001, 3.0001, 5.0001]::float8[])] END",
    "kernel": "coalesce(nullif(facts->>'kernel', ''), 'not stated')",
    "manufacturer": "coalesce(nullif(upper(facts->>'manufacturer'), ''), 'not stated')",
    "age": "CASE WHEN age IS NULL THEN 'not stated' ELSE (ARRAY['0-17', '18-39', '40-59', '60-74', '75 and over'])"
    "[1 + width_bucket(age::float8, ARRAY[18, 40, 60, 75]::float8[])] END",
}


def inputs_read(*, span: Span, split: datetime) -> dict[tuple[str, str, str | None], dict[str, tuple[dict[str, int], dict[str, int]]]]:
    """(platform, algorithm, site) -> input -> how often each bin (before `split`, since `split`). One statement.

    Only jobs whose series the rules have looked at: of the others nothing is known.
    """
    bins = ", ".join(f"{expression} AS {name}" for name, expression in INPUTS.items())
    pairs = ", ".join(f"('{name}', {name})" for name in INPUTS)
    rows = _rows(
        f"{KNOWN}, counted AS (SELECT platform, algorithm, site, is_now, {', '.join(INPUTS)}, count(*) AS jobs FROM "  # noqa: S608 constants
        f"(SELECT platform, algorithm, site, created_at >= %(split)s AS is_now, {bins} FROM job WHERE facts IS NOT NULL) b "
        f"GROUP BY platform, algorithm, site, is_now, {', '.join(INPUTS)}) "
        f"SELECT platform, algorithm, site, grouping(site), input, bin, is_now, sum(jobs)::bigint FROM counted, "
        f"LATERAL (VALUES {pairs}) v(input, bin) GROUP BY GROUPING SETS "
        "((platform, algorithm, input, bin, is_now), (platform, algorithm, site, input, bin, is_now))",
        span, split=split,
    )  # fmt: skip
    found: dict[tuple[str, str, str | None], dict[str, tuple[dict[str, int], dict[str, int]]]] = {}
    for platform, algorithm, site, is_whole, name, label, is_now, count in rows:
        key = (platform, algorithm, None if is_whole else site)
        before, now = found.setdefault(key, {}).setdefault(name, ({}, {}))
        (now if is_now else before)[label] = count
    return found


@dataclass(frozen=True, kw_only=True)
class Case:
    """One job behind a figure. `seconds` of the hop that was asked for."""

    id: int
    job_uuid: UUID
    study_uuid: UUID
    modalities: str
    platform: str
    algorithm: str
    site: str
    state: str
    action: str
    reason: str
    created_at: datetime
    seconds: float | None


CASE = (
    "id", "job_uuid", "study_uuid", "modalities", "platform", "algorithm", "site", "state", "action", "reason", "created_at", "seconds",
)  # fmt: skip


def cases_read(
    *, span: Span, platform: str, algorithm: str, kind: str, site: str | None = None, before: int = 0, size: int = 50
) -> list[Case]:
    """Newest first by keyset; of a hop the slowest first, and those without pages. Raises KeyError for no kind."""
    hop = f"h{HOPS.index(kind)}" if kind in HOPS else "NULL::float8"
    where = f"({KINDS[kind]}) AND platform = %(platform)s AND algorithm = %(algorithm)s"
    where += " AND site = %(site)s" if site is not None else ""
    where += " AND id < %(before)s" if before and kind not in HOPS else ""
    order = f"{hop} DESC, id DESC" if kind in HOPS else "id DESC"
    names = "id, job_uuid, study_uuid, modalities, platform, algorithm, site, state, coalesce(action, ''), coalesce(reason, ''), created_at"
    rows = _rows(
        f"{BASE} SELECT {names}, {hop} FROM base WHERE {where} ORDER BY {order} LIMIT %(size)s",  # noqa: S608 constants
        span, platform=platform, algorithm=algorithm, site=site, before=before, size=min(size, MAX_CASES + 1),
    )  # fmt: skip
    return [Case(**dict(zip(CASE, row, strict=True))) for row in rows]


def _rows(sql: str, span: Span, **values: Any) -> list[tuple[Any, ...]]:
    given = {
        "tenant": tenant_id_current(), "since": span.since, "until": span.until, "test": Stage.TEST, "claim": CLAIM,
        "false": sorted(FALSE), **values,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found

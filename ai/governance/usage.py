"""The usage ledger: runs by platform and month. It informs and never bills: the plan has one price, whatever is run."""

from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection

from ai.contract import platforms
from ai.governance.disclosures import sheet
from journal.wall.scope import tenant_id_current

MOST_MONTHS = 36
COLUMNS = ("month", "platform", "counted", "repeats", "failed", "refused", "cancelled")
# The same objects of a study, whose digest holds their own, to the same algorithm once more. What words findings is given no pixels.
# A version of a study is asked about once (job_once), so only a study that had a second one is looked at twice.
SQL = """
SELECT date_trunc('month', coalesce(j.ended_at, j.created_at) AT TIME ZONE %(zone)s)::date, c.platform,
       count(*) FILTER (WHERE is_answered AND NOT is_repeat),
       count(*) FILTER (WHERE is_answered AND is_repeat),
       count(*) FILTER (WHERE j.state IN ('failed', 'quarantined')),
       count(*) FILTER (WHERE j.state = 'refused'),
       count(*) FILTER (WHERE j.state = 'cancelled')
FROM ai_job j JOIN ai_connection c ON c.tenant_id = j.tenant_id AND c.id = j.connection_id,
LATERAL (SELECT j.state IN ('done', 'not_analysable') AS is_answered) a,
LATERAL (SELECT is_answered AND j.input_sha256 <> '' AND j.algorithm <> ALL(%(wording)s)
  AND j.study_id IN (SELECT v.study_id FROM ai_job v WHERE v.tenant_id = %(tenant)s AND v.study_version > 1) AND EXISTS (
  SELECT FROM ai_job e WHERE e.tenant_id = j.tenant_id AND e.study_id = j.study_id AND e.connection_id = j.connection_id
  AND e.algorithm = j.algorithm AND e.input_sha256 = j.input_sha256 AND e.state IN ('done', 'not_analysable')
  AND (e.ended_at, e.id) < (j.ended_at, j.id)) AS is_repeat) r
WHERE j.tenant_id = %(tenant)s AND j.state NOT IN ('queued', 'sent')
  AND coalesce(j.ended_at, j.created_at) >= (%(since)s::timestamp AT TIME ZONE %(zone)s)
GROUP BY 1, 2 ORDER BY 1 DESC, 2
"""


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """A platform's month in the hospital's time zone. Only `counted` counts: done, or answered that it cannot be analysed."""

    month: date  # its first day
    platform: str
    counted: int
    repeats: int  # the same pixels once more
    failed: int  # given up, or its answer was kept back
    refused: int
    cancelled: int

    @property
    def not_counted(self) -> int:
        return self.repeats + self.failed + self.refused + self.cancelled


def months_back(*, now: datetime, months: int) -> list[date]:
    """First days, oldest first, this month last. `now` in the hospital's zone."""
    last = now.year * 12 + now.month - 1
    return [date(at // 12, at % 12 + 1, 1) for at in range(last - months + 1, last + 1)]


def usage_read(*, now: datetime, zone: str, months: int = 12, platform: str = "") -> list[UsageRow]:
    """Newest month first; `now` in the hospital's zone. One query."""
    since = months_back(now=now, months=min(max(months, 1), MOST_MONTHS))[0]
    with connection.cursor() as cursor:
        cursor.execute(SQL, {"zone": zone, "tenant": tenant_id_current(), "since": since, "wording": _wording()})
        names = ("month", *COLUMNS[1:])
        rows = [UsageRow(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]
    return [row for row in rows if platform in ("", row.platform)]


def _wording() -> list[str]:
    return sorted({one.name for platform in platforms().values() for one in platform.card.algorithms if one.role == "wording"})


def usage_csv(*, rows: list[UsageRow]) -> str:
    return sheet(COLUMNS, [(f"{row.month:%Y-%m}", *(getattr(row, name) for name in COLUMNS[1:])) for row in rows])

"""What a platform did here: turnaround, runs, failures. From job rows, one query whatever the catalogue's size.

Agreement with readers and positive predictive value come from what people decided: `ai.insights.figures.judged_read`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from journal.wall.scope import tenant_id_current

FEW = 20  # cases; of fewer no rate and no median is told
WINDOW = timedelta(days=90)
SQL = """
SELECT c.platform, coalesce(j.algorithm, ''), count(*),
       count(*) FILTER (WHERE j.state IN ('done', 'not_analysable')),
       count(*) FILTER (WHERE j.state = 'not_analysable'),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM j.ended_at - j.sent_at))
         FILTER (WHERE j.state IN ('done', 'not_analysable') AND j.sent_at IS NOT NULL)
FROM ai_job j JOIN ai_connection c ON c.tenant_id = j.tenant_id AND c.id = j.connection_id
WHERE j.tenant_id = %s AND j.ended_at >= %s AND j.state IN ('done', 'not_analysable', 'failed', 'quarantined')
GROUP BY GROUPING SETS ((c.platform), (c.platform, j.algorithm))
"""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of the last ninety days. Medians and shares are None where there are too few cases; seconds are from sent to answered."""

    runs: int = 0  # ended with an answer, failed, or kept back by the gate
    answered: int = 0
    median_seconds: float | None = None
    failure_share: float | None = None
    not_analysable_share: float | None = None

    @property
    def is_few(self) -> bool:
        return self.runs < FEW


def figures_read(*, now: datetime) -> dict[tuple[str, str], Figures]:
    """By platform and algorithm; under ("aidoc", "") those of the whole platform."""
    with connection.cursor() as cursor:
        cursor.execute(SQL, [tenant_id_current(), now - WINDOW])
        rows = cursor.fetchall()
    return {(platform, algorithm): _figures(*numbers) for platform, algorithm, *numbers in rows}


def _figures(runs: int, answered: int, not_analysable: int, median: float | None) -> Figures:
    return Figures(
        runs=runs, answered=answered,
        median_seconds=float(median) if median is not None and answered >= FEW else None,
        failure_share=(runs - answered) / runs if runs >= FEW else None,
        not_analysable_share=not_analysable / answered if answered >= FEW else None,
    )  # fmt: skip

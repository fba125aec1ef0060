"""Reading verdicts: of a report, of all reports of a page, in a constant number of queries."""

from collections.abc import Sequence
from uuid import UUID

from ai.models import Report, Verdict
from ai.readers import Reader, reports_shown


def verdicts_of(*, report_uuids: Sequence[object]) -> dict[object, list[Verdict]]:
    """By report, oldest first."""
    found: dict[object, list[Verdict]] = {uuid: [] for uuid in report_uuids}
    for one in Verdict.objects.filter(report__uuid__in=list(report_uuids)).select_related("report").order_by("id"):
        found[one.report.uuid].append(one)
    return found


def verdict_history(*, report_uuid: UUID, reader: Reader) -> list[Verdict] | None:
    """Oldest first; None where no such report is shown to this reader."""
    if not reports_shown(Report.objects.filter(uuid=report_uuid), reader).exists():
        return None
    return verdicts_of(report_uuids=[report_uuid])[report_uuid]

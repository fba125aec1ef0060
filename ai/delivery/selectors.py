"""Reading reports and their deliveries, for pages and API: a constant number of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ai.encoding.edition import uid_of
from ai.models import DeliveryAttempt, Report, ReportDelivery
from ai.readers import Reader, reports_shown
from imaging.models import Series


def report_by_uuid(*, uuid: object, reader: Reader, version: int = 0) -> Report | None:
    """One version of a report with study, patient and connection; the newest without a number."""
    rows = reports_shown(Report.objects.filter(uuid=uuid), reader).select_related("study__patient", "connection").order_by("-version")
    found: Report | None = (rows.filter(version=version) if version else rows).first()
    return found


def overlay_series(*, report: Report) -> str:
    """The series that a viewer shows over the images: the report's mask, else our SR where it has outlines; "" where neither is filed."""
    content = report.content
    wanted = [one["series_uid"] for one in content.get("documents") or () if one["kind"] == "SEG"]
    if has_outlines(content):
        wanted.append(uid_of(report.uuid, "SR", "series"))
    here = set(Series.objects.filter(study_id=report.study_id, series_uid__in=wanted).values_list("series_uid", flat=True))
    return next((uid for uid in wanted if uid in here), "")


def has_outlines(content: dict[str, Any]) -> bool:
    return any(one.get("outlines") for one in (*content["measurements"], *(content.get("findings") or ())))


def reports_page(*, reader: Reader, before: int = 0, size: int = 50, study_uuid: object = None) -> list[Report]:
    """Report versions, newest first, of one study where it is named."""
    rows = reports_shown(Report.objects.all(), reader).select_related("study", "connection").order_by("-id")
    if before:
        rows = rows.filter(id__lt=before)
    return list((rows.filter(study__uuid=study_uuid) if study_uuid else rows)[:size])


def deliveries_of(*, report_uuids: Sequence[object]) -> dict[object, list[ReportDelivery]]:
    """Deliveries by report: of a receiver the one of the newest version that goes there."""
    found: dict[object, dict[tuple[str, str], ReportDelivery]] = {uuid: {} for uuid in report_uuids}
    rows = ReportDelivery.objects.filter(report__uuid__in=list(report_uuids)).select_related("report__study")
    for row in rows.order_by("report__version", "id"):
        found[row.report.uuid][row.kind, row.target] = row
    return {uuid: sorted(rows.values(), key=lambda row: row.id) for uuid, rows in found.items()}


def deliveries_of_versions(*, report_ids: Sequence[int]) -> dict[int, list[ReportDelivery]]:
    """Deliveries by the id of the report version that they carry, in the order they were made."""
    found: dict[int, list[ReportDelivery]] = {}
    for row in ReportDelivery.objects.filter(report_id__in=report_ids).select_related("report").order_by("id"):
        found.setdefault(row.report_id, []).append(row)
    return found


def deliveries_page(*, before: int = 0, size: int = 50, states: Sequence[str] = ()) -> list[ReportDelivery]:
    """Newest first, of all states or of these."""
    rows = ReportDelivery.objects.select_related("report__study").order_by("-id")
    if before:
        rows = rows.filter(id__lt=before)
    return list((rows.filter(state__in=states) if states else rows)[:size])


def deliveries_stuck() -> list[ReportDelivery]:
    """Those that a person must look at: given up, or their commitment is overdue."""
    return deliveries_page(size=200, states=(ReportDelivery.State.FAILED, ReportDelivery.State.OVERDUE))


@dataclass(frozen=True)
class DeliveryHistory:
    """A delivery with its attempts, newest first."""

    delivery: ReportDelivery
    attempts: list[DeliveryAttempt]


def delivery_get(*, delivery_id: int) -> ReportDelivery | None:
    found: ReportDelivery | None = ReportDelivery.objects.select_related("report__study").filter(id=delivery_id).first()
    return found


def delivery_history(*, delivery: ReportDelivery) -> DeliveryHistory:
    return DeliveryHistory(delivery, list(DeliveryAttempt.objects.filter(delivery=delivery).order_by("-id")[:100]))

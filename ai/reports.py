"""From a result to a report version, preliminary. Subscriber of result.received."""

import math
from typing import Any

from django.utils import timezone

from ai.contract import NOTICE, platforms
from ai.models import Report, Result
from journal.faults import fault
from journal.outbox import event_publish
from journal.trace import trace_id_current
from journal.types import Event


def report_issue(*, event: Event) -> None:
    """One report version a result. A re-run after late images is the next version of the same report."""
    result = Result.objects.select_related("job__connection", "job__study").get(id=event.ids["result_id"])
    if Report.objects.filter(result=result).exists():
        return
    job = result.job
    same = Report.objects.filter(study=job.study, connection=job.connection, algorithm=job.algorithm)
    before = same.order_by("-version").first()
    answer: dict[str, Any] = result.payload
    content = {
        **answer, "platform": platforms()[job.connection.platform].card.name, "is_test_double": job.connection.is_test,
        "notice": NOTICE,
    }  # fmt: skip
    report = Report(
        study=job.study, result=result, connection=job.connection, algorithm=job.algorithm,
        version=before.version + 1 if before else 1, conclusion=conclusion_words(content=content), content=content,
        trace_id=trace_id_current(), issued_at=timezone.now(),
    )  # fmt: skip
    if before:
        report.uuid = before.uuid
    report.save(force_insert=True)
    event_publish(name="report.issued", ids={"report_id": report.id})
    fault("reports.before_commit")


def conclusion_words(*, content: dict[str, Any]) -> str:
    """The result in one line, numbers with units, and what it is not. No diagnosis: only what was measured."""
    reason = content.get("not_analysable")
    if reason:
        return f"Not analysable: {reason['text']}. {NOTICE}."
    parts = [f"{finding_words(m)} {number_words(m['value'])} {m['unit_display']}" for m in content["measurements"]]
    return f"{'; '.join(parts)}. {NOTICE}."


def finding_words(measurement: dict[str, Any]) -> str:
    """The code's display, and the body site where the display alone doesn't say it: "Volume, lung structure"."""
    display, site = measurement["code"]["display"], measurement.get("body_site")
    if not site or site["display"].split()[0].casefold() in display.casefold():
        return str(display)
    return f"{display}, {site['display'].lower()}"


def number_words(value: float) -> str:
    """Three significant digits, but never fewer than the whole number: 4,215 and 12.0 and 0.0312."""
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"



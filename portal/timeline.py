"""A study's way through the house, hop by hop with its time. Shown on the study page and printed by the demo."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ai.delivery.selectors import deliveries_of_versions
from ai.delivery.services import ARCHIVE
from ai.models import Decision, Job, Report, ReportDelivery, Result, Verdict
from ai.readers import Reader, reports_shown
from ai.review.selectors import verdicts_of
from ai.selectors import HIDDEN, decision_of
from fhirapi.store import resource_read
from imaging.models import Study
from portal.deliveries import delivery_row
from portal.panels import DONE


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One step. `at` is None while it has not happened; `detail` says how much, which, or why not."""

    key: str
    label: str
    at: datetime | None
    detail: str = ""
    is_problem: bool = False


def study_timeline(*, study: Study, reader: Reader | None = None) -> list[Hop]:
    """The hops of the study's newest version, in order; a job's hops once per job. `reader`: who looks, everybody without."""
    asked = Job.objects.filter(study=study, study_version=study.version).exclude(stage__in=HIDDEN)
    jobs = list(asked.select_related("connection").order_by("id"))
    results = {result.job_id: result for result in Result.objects.filter(job__in=jobs)}
    shown = reports_shown(Report.objects.filter(result__in=results.values()), reader or Reader(sees_all=True))
    versions: dict[int, list[Report]] = {}
    for report in shown.order_by("version"):
        versions.setdefault(report.result_id, []).append(report)
    sent = deliveries_of_versions(report_ids=[report.id for found in versions.values() for report in found])
    verdicts = verdicts_of(report_uuids=[found[0].uuid for found in versions.values()])
    hops = [*_arrival(study), _routed(decision_of(study=study))]
    for job in jobs:
        result = results.get(job.id)
        found = versions.get(result.id, []) if result else []
        hops += _job(job, result, found[0] if found else None)
        steps = {one.made_version: one for one in verdicts.get(found[0].uuid, ())} if found else {}
        for report in found:
            if verdict := steps.get(report.version):
                hops.append(_reviewed(report, verdict))
            hops += [_delivered(one) for one in sent.get(report.id, ())]
    return hops


def _reviewed(report: Report, verdict: Verdict) -> Hop:
    return Hop(
        key="reviewed", label=_("%(done)s by %(who)s") % {"done": DONE[verdict.action], "who": verdict.by_name}, at=verdict.at,
        detail=_status(report),
    )  # fmt: skip


def _arrival(study: Study) -> list[Hop]:
    is_complete = study.state == Study.State.COMPLETE
    images = ngettext("%(images)s image", "%(images)s images", study.number_of_instances) % {
        "images": study.number_of_instances
    } + _(" in %(series)s series") % {"series": study.number_of_series}
    document = resource_read(rtype="ImagingStudy", fhir_id=str(study.uuid)) if is_complete else None
    return [
        Hop(key="received", label=_("Received"), at=study.first_received_at),
        Hop(key="stored", label=_("Stored"), at=study.stored_at, detail=images),
        Hop(
            key="complete", label=_("Study complete"), at=study.completed_at if is_complete else None,
            detail=_("version %(version)s") % {"version": study.version} if is_complete else "",
        ),
        Hop(key="imaging_study", label=_("ImagingStudy"), at=document.last_updated if document else None),
    ]  # fmt: skip


def _routed(decision: Decision | None) -> Hop:
    if decision is None:
        return Hop(key="matched", label=_("Rule matched"), at=None)
    matched = [one for one in decision.outcomes if one["is_match"]]
    if matched:
        names = ", ".join(one["name"] for one in matched)
        return Hop(key="matched", label=_("Rule matched"), at=decision.created_at, detail=f"{names}: {matched[0]['reason']}")
    reasons = "; ".join(f"{one['name']}: {one['reason']}" for one in decision.outcomes[:5])
    return Hop(key="matched", label=_("No rule matched"), at=decision.created_at, detail=reasons or decision.summary)


def _job(job: Job, result: Result | None, report: Report | None) -> list[Hop]:
    is_problem = job.state in {Job.State.FAILED, Job.State.REFUSED, Job.State.QUARANTINED}
    return [
        Hop(
            key="sent", label=_("Job sent"), at=job.sent_at, detail=job.reason if is_problem else job.connection.name,
            is_problem=is_problem,
        ),
        Hop(
            key="result", label=_("Result received"), at=result.received_at if result else None,
            detail=job.reason if job.state == Job.State.NOT_ANALYSABLE else "",
        ),
        Hop(key="report", label=_("Report issued"), at=report.issued_at if report else None, detail=_status(report)),
    ]  # fmt: skip


def _delivered(delivery: ReportDelivery) -> Hop:
    """One receiver of a report, with its answer. It is there only when the receiver has it, and answers for it where it was asked."""
    row = delivery_row(delivery)
    is_done = delivery.state in {ReportDelivery.State.SENT, ReportDelivery.State.CONFIRMED}
    is_problem = delivery.state in {ReportDelivery.State.FAILED, ReportDelivery.State.OVERDUE}
    return Hop(
        key="delivered", is_problem=is_problem,
        label=_("Filed in our archive") if delivery.kind == ARCHIVE else _("Delivered to %(receiver)s") % {"receiver": row.name},
        at=delivery.ended_at if is_done or is_problem else None,
        detail=row.state.reason if delivery.kind == ARCHIVE and is_done else f"{row.state.word}: {row.state.reason}".rstrip(": "),
    )  # fmt: skip


def _status(report: Report | None) -> str:
    return "" if report is None else _("%(status)s, version %(version)s") % {"status": report.status, "version": report.version}

"""A study's way through the house, hop by hop with its time. Shown on the study page and printed by the demo."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ai.models import Decision, Job, Report, Result
from fhirapi.store import resource_read
from imaging.models import Study


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One step. `at` is None while it has not happened; `detail` says how much, which, or why not."""

    key: str
    label: str
    at: datetime | None
    detail: str = ""
    is_problem: bool = False


def study_timeline(*, study: Study) -> list[Hop]:
    """The hops of the study's newest version, in order; a job's hops once per job."""
    decisions = list(Decision.objects.filter(study=study, study_version=study.version).select_related("rule").order_by("id"))
    jobs = list(Job.objects.filter(study=study, study_version=study.version).select_related("connection").order_by("id"))
    return [*_arrival(study), _routed(decisions), *[hop for job in jobs for hop in _job(job)]]


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


def _routed(decisions: list[Decision]) -> Hop:
    matched = [decision for decision in decisions if decision.is_match]
    if matched:
        names = ", ".join(decision.rule.name for decision in matched if decision.rule)
        return Hop(key="matched", label=_("Rule matched"), at=matched[0].created_at, detail=f"{names}: {matched[0].reason}")
    if decisions:
        reasons = "; ".join(f"{d.rule.name}: {d.reason}" for d in decisions if d.rule)
        return Hop(key="matched", label=_("No rule matched"), at=decisions[0].created_at, detail=reasons or decisions[0].reason)
    return Hop(key="matched", label=_("Rule matched"), at=None)


def _job(job: Job) -> list[Hop]:
    result = Result.objects.filter(job=job).first()
    report = Report.objects.filter(result=result).first() if result else None
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


def _status(report: Report | None) -> str:
    return "" if report is None else _("%(status)s, version %(version)s") % {"status": report.status, "version": report.version}

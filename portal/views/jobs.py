"""Jobs: what was asked of which platform, how it went, what was kept back, and the ways on."""

import json
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.contract import platforms
from ai.dispatch import job_cancel
from ai.jobs import MOVES, OPEN, RequeueRefused, job_requeue, job_resend
from ai.models import Exchange, Job, Result
from ai.selectors import exchanges_of, job_get, jobs_page, result_of
from imaging.selectors import series_of
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from portal.aiwords import EXCHANGES, PROFILES, job_state_words, job_words
from portal.platformforms import RequeueForm
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page
from tenants.permissions import is_allowed

SIZE = 50
ID_END = 2**63
SHOWN_CHARS = 100_000


@dataclass(frozen=True)
class JobRow:
    job: Job
    state: StateWords
    title: str  # of the algorithm


@dataclass(frozen=True)
class ExchangeRow:
    exchange: Exchange
    label: str


def _row(job: Job) -> JobRow:
    found = platforms().get(job.connection.platform)
    cards = found.card.algorithms if found else ()
    return JobRow(job, job_words(job), next((one.title for one in cards if one.name == job.algorithm), job.algorithm))


def _job(job_uuid: UUID) -> Job:
    job = job_get(job_uuid=job_uuid)
    if job is None:
        raise Http404
    return job


@hospital_page("ai.read")
def jobs_list(request: HospitalRequest) -> HttpResponse:
    """Filters and the place in the list are in the address; what it cannot mean is left out of it."""
    state, platform, before = (request.GET.get(name, "") for name in ("state", "platform", "before"))
    state = state if state in Job.State.values else ""
    platform = platform if platform in platforms() else ""
    start = int(before) if before.isascii() and before.isdigit() and len(before) < 20 else 0
    page = jobs_page(before=min(start, ID_END - 1), size=SIZE, state=state, platform=platform)
    kept = {name: value for name, value in (("state", state), ("platform", platform)) if value}
    context = {
        "rows": [_row(job) for job in page.jobs], "state": state, "platform": platform, "is_filtered": bool(kept), "start": start,
        "first": urlencode(kept), "older": urlencode({**kept, "before": page.older}) if page.older else "",
        "states": [(value, job_state_words(value)) for value in Job.State.values],
        "platforms": sorted(((one.card.slug, one.card.name) for one in platforms().values()), key=lambda pair: pair[1].lower()),
    }  # fmt: skip
    return render(request, "portal/jobs.html", context)


@hospital_page("ai.read")
def job_page(request: HospitalRequest, job_uuid: UUID) -> HttpResponse:
    return _page(request, _job(job_uuid))


def _page(request: HospitalRequest, job: Job, form: RequeueForm | None = None) -> HttpResponse:
    result = result_of(job_id=job.id)
    may_see = is_allowed(role=request.role, capability="study.read")
    came = result if may_see and job.state == Job.State.QUARANTINED else None
    if came:
        audit_record(actor=request.actor, action="job.view", object_type="Job", object_id=str(job.uuid))
    has_again = Job.State.QUEUED in MOVES[job.state]
    platform = platforms().get(job.connection.platform)
    if has_again and form is None and platform:
        now = {"series": str(job.series or ""), "algorithm": job.algorithm}
        form = RequeueForm(initial=now, series=series_of(study_id=job.study.id), platform=platform)
    context = {
        "row": _row(job), "job": job, "result": result, "came": came, "came_text": _pretty(came), "form": form if has_again else None,
        "exchanges": [ExchangeRow(one, str(EXCHANGES.get(one.kind, one.kind))) for one in exchanges_of(job_id=job.id)],
        "profile": PROFILES["none" if platform.card.is_in_house else platform.deidentification] if platform else "",
        "is_open": job.state in OPEN, "has_again": has_again, "platform": platform,
    }  # fmt: skip
    return render(request, "portal/job.html", context)


def _pretty(result: Result | None) -> str:
    """The answer as it came, indented; its beginning when it is a book."""
    if result is None or not result.payload:
        return ""
    text = json.dumps(result.payload, indent=2, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "\n…"


@require_POST
@hospital_page("ai.write", is_scoped=False)
def cancel(request: HospitalRequest, job_uuid: UUID) -> HttpResponse:
    with tenant_scope(request.tenant.id):
        job = _job(job_uuid)
        audit_record(actor=request.actor, action="job.cancel", object_type="Job", object_id=str(job_uuid))
    if job_cancel(tenant_id=request.tenant.id, job_id=job.id):
        messages.success(request, _("Cancelled."))
    else:
        messages.error(request, _("Nothing was changed: the job has ended."))
    return redirect("job", slug=request.tenant.slug, job_uuid=job_uuid)


@require_POST
@hospital_page("ai.write")
def again(request: HospitalRequest, job_uuid: UUID) -> HttpResponse:
    if job_resend(job_id=_job(job_uuid).id):
        audit_record(actor=request.actor, action="job.resend", object_type="Job", object_id=str(job_uuid))
        messages.success(request, _("It is sent again."))
    else:
        messages.error(request, _("Nothing was changed: the job is open or has its answer."))
    return redirect("job", slug=request.tenant.slug, job_uuid=job_uuid)


@require_POST
@hospital_page("ai.write")
def requeue(request: HospitalRequest, job_uuid: UUID) -> HttpResponse:
    """Edited and sent again; the job that is queued has an address of its own."""
    job = _job(job_uuid)
    if Job.State.QUEUED not in MOVES[job.state]:
        messages.error(request, _("Nothing was changed: the job is open or has its answer."))
        return redirect("job", slug=request.tenant.slug, job_uuid=job_uuid)
    form = RequeueForm(request.POST, series=series_of(study_id=job.study.id), platform=platforms()[job.connection.platform])
    if not form.is_valid():
        return _page(request, job, form)
    facts = form.cleaned_data
    try:
        made = job_requeue(job_id=job.id, series_id=int(facts["series"]), algorithm=facts["algorithm"], actor=request.actor)
    except RequeueRefused as refused:
        form.add_error(refused.field or None, refused.user_message)
        return _page(request, job, form)
    messages.success(request, _("It is sent again."))
    return redirect("job", slug=request.tenant.slug, job_uuid=made.uuid)

"""What a person must look at: dead letters, failed jobs and commitments with resend, work items of objects and orders."""

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.delivery.selectors import deliveries_stuck
from ai.jobs import job_resend
from ai.selectors import jobs_stuck
from fhirapi.models import Subscriber
from fhirapi.push.pushes import pushes_stuck
from fhirapi.subscriptions.selectors import subscribers
from imaging.commitment.rows import ITEM_KIND, commitment_resend
from imaging.hl7.messages import messages_list
from imaging.selectors import commitment_get, commitments_dead, work_items_open
from imaging.uploads import uploads_retry, uploads_stuck
from journal.audit import audit_record
from journal.outbox import dead_letters, delivery_resend
from portal.deliveries import delivery_row
from portal.ehr import push_row, subscription_row
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page

UNHEARD = 20  # messages; the page HL7 has the rest


@hospital_page("delivery.manage")
def attention(request: HospitalRequest) -> HttpResponse:
    jobs = [(job, StateWords("bad" if job.state != "refused" else "note", _words(job.state), job.reason)) for job in jobs_stuck()]
    context = {
        "letters": dead_letters(), "jobs": jobs, "commitments": commitments_dead(),
        "items": [item for item in work_items_open() if item.kind != ITEM_KIND],  # those are the commitments
        "uploads": uploads_stuck(), "deliveries": [delivery_row(one) for one in deliveries_stuck()],
        "unheard": messages_list(only_failed=True, limit=UNHEARD),
        "pushes": [push_row(one) for one in pushes_stuck()],
        "subscriptions": [subscription_row(one) for one in subscribers(states=[Subscriber.State.ERROR])],
    }  # fmt: skip
    return render(request, "portal/attention.html", context)


def _words(state: str) -> str:
    return {"failed": _("failed"), "refused": _("not sent"), "quarantined": _("answer kept back")}.get(state, state)


@require_POST
@hospital_page("delivery.manage")
def letter_resend(request: HospitalRequest, delivery_id: int) -> HttpResponse:
    delivery_resend(delivery_id=delivery_id)
    audit_record(actor=request.actor, action="delivery.resend", object_type="Delivery", object_id=str(delivery_id))
    return redirect("attention", slug=request.tenant.slug)


@require_POST
@hospital_page("ai.write")
def job_again(request: HospitalRequest, job_id: int) -> HttpResponse:
    job_resend(job_id=job_id)
    audit_record(actor=request.actor, action="job.resend", object_type="Job", object_id=str(job_id))
    return redirect("attention", slug=request.tenant.slug)


@require_POST
@hospital_page("delivery.manage")
def commitment_again(request: HospitalRequest, request_id: int) -> HttpResponse:
    found = commitment_get(request_id=request_id)
    if found is None:
        raise Http404
    commitment_resend(actor=request.actor, row=found)
    return redirect("attention", slug=request.tenant.slug)


@require_POST
@hospital_page("delivery.manage")
def uploads_again(request: HospitalRequest) -> HttpResponse:
    """The object store is back: don't wait for the back-off."""
    uploads_retry()
    audit_record(actor=request.actor, action="uploads.retry", object_type="Hospital", object_id=str(request.tenant.id))
    return redirect("attention", slug=request.tenant.slug)

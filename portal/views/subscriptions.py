"""Subscriptions: which systems are told what, how far each is, what failed."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from fhirapi.models import Subscriber
from fhirapi.subscriptions.rows import subscriber_resume, subscriber_test
from fhirapi.subscriptions.selectors import subscriber_by_id, subscribers
from portal.ehr import subscription_row
from tenants.doors import HospitalRequest, hospital_page


def _found(subscriber_id: int) -> Subscriber:
    row = subscriber_by_id(subscriber_id=subscriber_id)
    if row is None:
        raise Http404
    return row


@hospital_page("delivery.manage")
def subscriptions_page(request: HospitalRequest) -> HttpResponse:
    return render(request, "portal/subscriptions.html", {"rows": [subscription_row(one) for one in subscribers()]})


@require_POST
@hospital_page("delivery.manage")
def resume(request: HospitalRequest, subscriber_id: int) -> HttpResponse:
    if subscriber_resume(actor=request.actor, row=_found(subscriber_id)):
        messages.success(request, _("It goes on where it stopped."))
    else:
        messages.error(request, _("It runs already, or its client has switched it off."))
    return redirect("subscriptions", slug=request.tenant.slug)


@require_POST
@hospital_page("delivery.manage")
def try_out(request: HospitalRequest, subscriber_id: int) -> HttpResponse:
    if subscriber_test(actor=request.actor, row=_found(subscriber_id)):
        messages.success(request, _("A heartbeat is on its way; reload in a moment to see its answer."))
    else:
        messages.error(request, _("Only an active subscription to a topic can be tried."))
    return redirect("subscriptions", slug=request.tenant.slug)

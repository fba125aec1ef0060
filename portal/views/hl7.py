"""HL7 v2: who may send, what came and what became of it, handling a message again."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.connections import connections_pushed
from imaging.hl7.client import NotTakenError, destination_check
from imaging.hl7.destinations import DestinationError, destination_add, destination_get, destination_remove, destinations_list
from imaging.hl7.messages import message_again, message_aside, messages_list
from imaging.hl7.sources import SourceError, source_add, source_get, source_remove, sources_list
from imaging.models import Hl7Message
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from portal.forms import Hl7DestinationForm, Hl7SourceForm
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page

SHOWN = 50
STATES = {"received": "wait", "done": "ok", "failed": "bad", "aside": "note"}


def _state(row: Hl7Message) -> StateWords:
    words = {"received": _("on its way"), "done": _("taken"), "failed": _("not taken"), "aside": _("not taken, seen to")}
    reason = f"{row.place}: {row.reason}" if row.reason else ""
    return StateWords(STATES[row.state], words[row.state], reason)


def _connections() -> list[tuple[int, str]]:
    """AI platforms whose answers come by themselves."""
    return [(one.id, one.name) for one in connections_pushed()]


def _page(request: HospitalRequest, form: Hl7SourceForm | None = None, there: Hl7DestinationForm | None = None) -> HttpResponse:
    came = [(row, _state(row)) for row in messages_list(limit=SHOWN)]
    waiting = [(row, _state(row)) for row in messages_list(limit=SHOWN, only_failed=True)]
    context: dict[str, Any] = {
        "sources": sources_list(), "form": form or Hl7SourceForm(connections=_connections()), "there": there or Hl7DestinationForm(),
        "destinations": destinations_list(), "messages_in": came, "waiting": waiting, "shown": SHOWN,
    }  # fmt: skip
    return render(request, "portal/hl7.html", context)


@hospital_page("node.manage")
def hl7_page(request: HospitalRequest) -> HttpResponse:
    return _page(request)


@require_POST
@hospital_page("node.manage")
def source_create(request: HospitalRequest) -> HttpResponse:
    form = Hl7SourceForm(request.POST, connections=_connections())
    if form.is_valid():
        try:
            source_add(actor=request.actor, **form.cleaned_data)
        except SourceError as error:
            form.add_error(error.field, str(error))
        else:
            messages.success(request, _("It may send now."))
            return redirect("hl7", slug=request.tenant.slug)
    return _page(request, form)


@require_POST
@hospital_page("node.manage")
def source_delete(request: HospitalRequest, source_id: int) -> HttpResponse:
    row = source_get(source_id=min(source_id, 2**63 - 1))
    if row is None:
        raise Http404
    source_remove(actor=request.actor, row=row)
    messages.success(request, _("It may not send any more. What it sent stays."))
    return redirect("hl7", slug=request.tenant.slug)


@require_POST
@hospital_page("node.manage")
def destination_create(request: HospitalRequest) -> HttpResponse:
    form = Hl7DestinationForm(request.POST)
    if form.is_valid():
        try:
            destination_add(actor=request.actor, **form.cleaned_data)
        except DestinationError as error:
            form.add_error(error.field, str(error))
        else:
            messages.success(request, _("Reports that are issued from now on go there too."))
            return redirect("hl7", slug=request.tenant.slug)
    return _page(request, there=form)


@require_POST
@hospital_page("node.manage")
def destination_delete(request: HospitalRequest, destination_id: int) -> HttpResponse:
    row = destination_get(destination_id=min(destination_id, 2**63 - 1))
    if row is None:
        raise Http404
    destination_remove(actor=request.actor, row=row)
    messages.success(request, _("Nothing goes there any more."))
    return redirect("hl7", slug=request.tenant.slug)


@require_POST
@hospital_page("node.manage", is_scoped=False)
def destination_test(request: HospitalRequest, destination_id: int) -> HttpResponse:
    """Is it there, and over TLS who it says?"""
    with tenant_scope(request.tenant.id):
        row = destination_get(destination_id=min(destination_id, 2**63 - 1))
        if row is None:
            raise Http404
        audit_record(actor=request.actor, action="hl7.destination.test", object_type="Hl7Destination", object_id=str(row.id))
    try:
        destination_check(destination=row)
    except NotTakenError as error:
        messages.error(request, _("%(name)s: %(reason)s.") % {"name": row.name, "reason": error.user_message})
    else:
        messages.success(request, _("%(name)s takes connections. Nothing was sent.") % {"name": row.name})
    return redirect("hl7", slug=request.tenant.slug)


@require_POST
@hospital_page("node.manage", is_scoped=False)
def message_handle_again(request: HospitalRequest, message_id: int) -> HttpResponse:
    message_id = min(message_id, 2**63 - 1)
    with tenant_scope(request.tenant.id):
        if not Hl7Message.objects.filter(id=message_id).exists():
            raise Http404
        audit_record(actor=request.actor, action="hl7.message.again", object_type="Hl7Message", object_id=str(message_id))
    outcome = message_again(tenant_id=request.tenant.id, message_id=message_id)
    if outcome is None:
        messages.error(request, _("Nothing was changed: it was taken already, or its sender was removed."))
    elif outcome.code == "AA":
        messages.success(request, _("Taken."))
    else:
        messages.error(request, _("Still not taken: %(reason)s.") % {"reason": f"{outcome.where}, {outcome.words}"})
    return redirect("hl7", slug=request.tenant.slug)


@require_POST
@hospital_page("node.manage")
def message_put_aside(request: HospitalRequest, message_id: int) -> HttpResponse:
    if not Hl7Message.objects.filter(id=min(message_id, 2**63 - 1)).exists():
        raise Http404
    if message_aside(actor=request.actor, message_id=message_id):
        messages.success(request, _("It waits no more. It is kept."))
    return redirect("hl7", slug=request.tenant.slug)

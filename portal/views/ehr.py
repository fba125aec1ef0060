"""EHR: the hospital's own FHIR servers that get each report, what was sent there, and what they answered."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from fhirapi.models import EhrPush, EhrServer
from fhirapi.push.pushes import is_resendable, push_attempts, push_get, push_resend, pushes_page
from fhirapi.push.servers import (
    EhrServerRefused,
    ehr_server_check,
    ehr_server_delete,
    ehr_server_get,
    ehr_server_key_renew,
    ehr_server_save,
    ehr_servers,
    jwks_url,
)
from portal.ehr import push_row, server_row
from portal.ehrforms import EhrServerForm
from tenants.doors import HospitalRequest, hospital_page

PAGE = 50
SHOWN = ("name", "base_url", "has_studies", "is_enabled", "auth", "user", "client_id", "scope", "token_url", "algorithm")


def _found(server: UUID) -> EhrServer:
    row = ehr_server_get(server_uuid=server)
    if row is None:
        raise Http404
    return row


def _push(push_id: int) -> EhrPush:
    row = push_get(push_id=push_id)
    if row is None:
        raise Http404
    return row


@hospital_page("delivery.manage")
def ehr_page(request: HospitalRequest) -> HttpResponse:
    text = request.GET.get("before", "")
    before = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    found = pushes_page(before=min(before, (1 << 63) - 1), size=PAGE + 1)
    context = {
        "servers": [server_row(one) for one in ehr_servers()], "pushes": [push_row(one) for one in found[:PAGE]],
        "older": found[PAGE - 1].id if len(found) > PAGE else 0, "is_first": not before,
    }  # fmt: skip
    return render(request, "portal/ehr.html", context)


@hospital_page("node.manage")
def ehr_new(request: HospitalRequest) -> HttpResponse:
    return _form(request, None, {"has_studies": True, "is_enabled": True})


@hospital_page("node.manage")
def ehr_edit(request: HospitalRequest, server: UUID) -> HttpResponse:
    row = _found(server)
    return _form(request, row, {name: getattr(row, name) for name in SHOWN})


def _form(request: HospitalRequest, row: EhrServer | None, initial: dict[str, Any]) -> HttpResponse:
    form = EhrServerForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        try:
            saved = ehr_server_save(actor=request.actor, values=form.cleaned_data, row=row)
        except EhrServerRefused as error:
            for name, words in error.problems.items():
                form.add_error(name, words)
        else:
            messages.success(request, _("%(name)s is saved. Test it before the next report.") % {"name": saved.name})
            return redirect("ehr-edit", slug=request.tenant.slug, server=saved.uuid)
    key = jwks_url(row) if row is not None and row.auth == EhrServer.Auth.SMART else ""
    return render(request, "portal/ehr_form.html", {"form": form, "server": row, "jwks": key})


@require_POST
@hospital_page("node.manage", is_scoped=False)
def ehr_check(request: HospitalRequest, server: UUID) -> HttpResponse:
    found = ehr_server_check(tenant_id=request.tenant.id, server_uuid=server)
    if found is None:
        raise Http404
    (messages.success if found.is_good else messages.error)(request, found.words)
    return redirect("ehr-edit", slug=request.tenant.slug, server=server)


@require_POST
@hospital_page("node.manage")
def ehr_key(request: HospitalRequest, server: UUID) -> HttpResponse:
    row = _found(server)
    if row.auth == EhrServer.Auth.SMART:
        ehr_server_key_renew(actor=request.actor, row=row)
        messages.success(request, _("There is a new key. The EHR must read it before the next report."))
    return redirect("ehr-edit", slug=request.tenant.slug, server=server)


@require_POST
@hospital_page("node.manage")
def ehr_remove(request: HospitalRequest, server: UUID) -> HttpResponse:
    row = _found(server)
    ehr_server_delete(actor=request.actor, row=row)
    messages.success(request, _("%(name)s gets no reports any more.") % {"name": row.name})
    return redirect("ehr", slug=request.tenant.slug)


@hospital_page("delivery.manage")
def ehr_push(request: HospitalRequest, push_id: int) -> HttpResponse:
    row = _push(push_id)
    context = {"row": push_row(row), "attempts": push_attempts(row=row), "may_resend": is_resendable(row)}
    return render(request, "portal/ehr_push.html", context)


@require_POST
@hospital_page("delivery.manage")
def ehr_push_again(request: HospitalRequest, push_id: int) -> HttpResponse:
    if push_resend(actor=request.actor, row=_push(push_id)):
        messages.success(request, _("It is on its way again."))
    else:
        messages.error(request, _("It is on its way already, or a newer version replaced it."))
    return redirect("ehr-push", slug=request.tenant.slug, push_id=push_id)

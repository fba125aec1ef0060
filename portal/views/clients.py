"""Apps and keys: programs that sign in with a key pair (SMART Backend Services), and plain keys with scopes."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from portal.forms import ClientForm
from tenants.doors import HospitalRequest, hospital_page
from tenants.oauth.clients import ClientError, client_add, client_get, client_revoke, clients_list


def _page(request: HospitalRequest, **more: Any) -> HttpResponse:
    places = {
        "token_url": request.build_absolute_uri(f"/t/{request.tenant.slug}/oauth/token"),
        "fhir_url": request.build_absolute_uri(f"/t/{request.tenant.slug}/fhir/r4"),
    }
    return render(request, "portal/clients.html", {"clients": clients_list(), "form": ClientForm(), **places, **more})


@hospital_page("client.manage")
def clients_page(request: HospitalRequest) -> HttpResponse:
    return _page(request)


@require_POST
@hospital_page("client.manage")
def create(request: HospitalRequest) -> HttpResponse:
    """A key's text stands on the answer of this one request and nowhere else."""
    form = ClientForm(request.POST)
    if form.is_valid():
        try:
            made, key = client_add(actor=request.actor, **form.cleaned_data)
        except ClientError as error:
            form.add_error(error.field, str(error))
        else:
            return _page(request, made=made, key=key)
    return _page(request, form=form)


@require_POST
@hospital_page("client.manage")
def revoke(request: HospitalRequest, client_id: str) -> HttpResponse:
    row = client_get(client_id=client_id)
    if row is None:
        raise Http404
    client_revoke(actor=request.actor, row=row)
    messages.success(request, _("Its tokens and keys open nothing any more."))
    return redirect("clients", slug=request.tenant.slug)

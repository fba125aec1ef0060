"""Apps and keys: programs that sign in with a key pair (SMART Backend Services), plain keys with scopes, apps that act for people."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from portal.forms import ClientForm
from portal.people import People
from tenants.doors import HospitalRequest, hospital_page
from tenants.models import OAuthGrant
from tenants.oauth.clients import APP, ClientError, client_add, client_get, client_revoke, clients_list
from tenants.oauth.grants import grant_revoke, grants_live


def _page(request: HospitalRequest, **more: Any) -> HttpResponse:
    places = {
        "token_url": request.build_absolute_uri(f"/t/{request.tenant.slug}/oauth/token"),
        "authorize_url": request.build_absolute_uri(f"/t/{request.tenant.slug}/oauth/authorize"),
        "fhir_url": request.build_absolute_uri(f"/t/{request.tenant.slug}/fhir/r4"),
    }
    clients, people = clients_list(), People(request.tenant)
    grants: dict[int, list[tuple[OAuthGrant, str]]] = {}
    for grant in grants_live(rows=[row for row in clients if row.kind == APP]):
        grants.setdefault(grant.client_id, []).append((grant, people.words(f"user:{grant.user_id}")))
    rows = [(row, grants.get(row.id, [])) for row in clients]
    return render(request, "portal/clients.html", {"rows": rows, "form": ClientForm(), **places, **more})


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


@require_POST
@hospital_page("client.manage")
def grant_end(request: HospitalRequest, grant_id: int) -> HttpResponse:
    """Take back what one person granted an app."""
    if not grant_revoke(actor=request.actor, grant_id=grant_id):
        raise Http404
    messages.success(request, _("The app is out: its tokens for this person open nothing any more."))
    return redirect("clients", slug=request.tenant.slug)

"""Platforms: what each is, with sources, and the hospital's connection to it: its form, its test, its switch."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.cards import AlgorithmCard
from ai.connecting import HOOK_SECRET, connection_save, hook_url, secrets_held
from ai.connections import ConnectionRefused, connection_check
from ai.contract import Platform, platforms
from ai.models import Connection
from ai.selectors import connection_get, connections
from ai.stages import connection_switch
from journal.wall.scope import tenant_scope
from portal.aiwords import KINDS, PROFILES, ROLES, WIRES, connection_words
from portal.platformforms import ConnectionForm
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page


@dataclass(frozen=True)
class PlatformRow:
    """A platform as a card on the list."""

    platform: Platform
    kind: str
    wire: str
    state: StateWords
    connection: Connection | None


@dataclass(frozen=True)
class AlgorithmRow:
    card: AlgorithmCard
    role: str
    modalities: str
    parts: str


def _row(platform: Platform, connection: Connection | None) -> PlatformRow:
    kind, wire = str(KINDS[platform.card.kind]), str(WIRES.get(platform.wire, platform.wire))
    return PlatformRow(platform, kind, wire, connection_words(connection), connection)


def _algorithm(card: AlgorithmCard) -> AlgorithmRow:
    parts = ", ".join(sorted(card.body_parts)).lower()
    return AlgorithmRow(card, str(ROLES[card.role]), ", ".join(sorted(card.modalities)), parts)


def _platform(slug: str) -> Platform:
    found = platforms().get(slug)
    if found is None:
        raise Http404
    return found


@hospital_page("ai.read")
def platforms_page(request: HospitalRequest) -> HttpResponse:
    """Those that are connected first."""
    made = connections()
    rows = [_row(one, made.get(one.card.slug)) for one in platforms().values()]
    rows.sort(key=lambda row: (row.connection is None, row.platform.card.name.lower()))
    return render(request, "portal/platforms.html", {"rows": rows, "connected": len(made)})


@hospital_page("ai.read")
def platform_page(request: HospitalRequest, platform: str) -> HttpResponse:
    found = _platform(platform)
    return _page(request, found, _form(found))


@require_POST
@hospital_page("ai.write")
def connect(request: HospitalRequest, platform: str) -> HttpResponse:
    """Save the form. A secret that we made is on the page that answers, and on no other."""
    found = _platform(platform)
    form = _form(found, request)
    if not form.is_valid():
        return _page(request, found, form)
    try:
        saved = connection_save(
            platform=platform, values=form.values(), is_test=form.cleaned_data.get("is_test", False), actor=request.actor
        )
    except ConnectionRefused as refused:
        form.problems_add(refused.problems)
        return _page(request, found, form)
    if saved.made:
        labels = {one.name: one.label for one in found.settings}
        made = [(labels[name], value) for name, value in saved.made.items()]
        return render(request, "portal/platform_secret.html", {"card": found.card, "made": made, "hook": hook_url(saved.connection)})
    messages.success(request, _("Saved. Test the connection next."))
    return redirect("platform", slug=request.tenant.slug, platform=platform)


@require_POST
@hospital_page("ai.write", is_scoped=False)
def check(request: HospitalRequest, platform: str) -> HttpResponse:
    """Ask it now; the page then shows what it said."""
    with tenant_scope(request.tenant.id):
        connection = _connection(platform)
    connection_check(tenant_id=request.tenant.id, connection_id=connection.id, actor=request.actor)
    return redirect("platform", slug=request.tenant.slug, platform=platform)


@require_POST
@hospital_page("ai.write")
def switch(request: HospitalRequest, platform: str) -> HttpResponse:
    is_on = request.POST.get("is_enabled") == "yes"
    connection_switch(connection_id=_connection(platform).id, is_enabled=is_on, actor=request.actor)
    messages.success(request, _("Switched on.") if is_on else _("Switched off: nothing more is sent over it."))
    return redirect("platform", slug=request.tenant.slug, platform=platform)


def _connection(platform: str) -> Connection:
    found = connection_get(platform=platform)
    if found is None:
        raise Http404
    return found


def _form(platform: Platform, request: HospitalRequest | None = None) -> ConnectionForm:
    connection = connection_get(platform=platform.card.slug)
    data = request.POST if request else None
    return ConnectionForm(data, platform=platform, connection=connection, held=secrets_held(connection))


def _page(request: HospitalRequest, platform: Platform, form: ConnectionForm) -> HttpResponse:
    connection = connection_get(platform=platform.card.slug)
    context = {
        "row": _row(platform, connection), "card": platform.card, "connection": connection, "form": form,
        "hook": hook_url(connection) if connection and HOOK_SECRET in secrets_held(connection) else "",
        "algorithms": [_algorithm(one) for one in platform.card.algorithms],
        "profile": PROFILES["none" if platform.card.is_in_house else platform.deidentification],
    }  # fmt: skip
    return render(request, "portal/platform.html", context)

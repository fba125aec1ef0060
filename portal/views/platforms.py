"""One platform: what it is, with sources, and the hospital's connection to it: terms, form, test, switch."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.connecting import HOOK_SECRET, connection_save, hook_url, secrets_held
from ai.connections import ConnectionRefused, connection_check
from ai.contract import Platform, platforms
from ai.governance.figures import figures_read
from ai.governance.registry import registry_read
from ai.governance.terms import TermsRefused, terms_accept, terms_state
from ai.insights.figures import Judged, judged_read
from ai.insights.statistics import share_of
from ai.models import Connection
from ai.selectors import connection_get
from ai.stages import connection_switch, stage_of
from journal.wall.scope import tenant_scope
from portal.aiwords import people_words
from portal.figures import judged_rows
from portal.platformforms import ConnectionForm
from portal.rulewords import STEPS
from portal.views.catalogue import algorithm_row, platform_row
from tenants.doors import HospitalRequest, hospital_page

NOT_JUDGED = Judged(concordance=share_of(count=0, total=0), ppv=None)


def _platform(slug: str) -> Platform:
    found = platforms().get(slug)
    if found is None:
        raise Http404
    return found


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
@hospital_page("ai.write")
def terms(request: HospitalRequest, platform: str) -> HttpResponse:
    """Accept the words that were on the page: their version comes with the form."""
    _platform(platform)
    try:
        terms_accept(platform=platform, version=request.POST.get("version", ""), actor=request.actor)
    except TermsRefused as refused:
        messages.error(request, _("Nothing was accepted: %(words)s.") % {"words": refused.user_message})
    else:
        messages.success(request, _("Accepted, and written down with your name."))
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
    card = platform.card
    connection, state = connection_get(platform=card.slug), terms_state(platform=platform)
    now = timezone.now()
    figures, judged = figures_read(now=now), judged_read(now=now)
    seen = {row.algorithm: row for row in registry_read() if row.connection.platform == card.slug}
    accepted = state.accepted
    context = {
        "row": platform_row(platform, connection, figures, card.algorithms), "card": card, "connection": connection, "form": form,
        "hook": hook_url(connection) if connection and HOOK_SECRET in secrets_held(connection) else "",
        "algorithms": [
            algorithm_row(platform, one, figures, seen.get(one.name), judged_rows(judged.get((card.slug, one.name), NOT_JUDGED)))
            for one in card.algorithms
        ],
        "terms": state, "step": STEPS[stage_of(connection)] if connection else "",
        "accepted_by": people_words(tenant_id=request.tenant.id, actors=[accepted.by])[accepted.by] if accepted else "",
    }  # fmt: skip
    return render(request, "portal/platform.html", context)

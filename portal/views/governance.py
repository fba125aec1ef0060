"""Governance of AI: the registry of algorithms with the recall switch, what left the house, and what was used."""

from datetime import date
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.contract import platforms
from ai.governance.disclosures import DisclosureQuery, codes_words, disclosures_csv, disclosures_page
from ai.governance.figures import Figures, figures_read
from ai.governance.recalls import RecallRefused, recall_by_uuid, recall_lift, recall_start, recalls_of, reports_flagged_count
from ai.governance.registry import RegistryRow, registry_get, registry_read
from ai.governance.terms import terms_are_accepted
from ai.governance.usage import MOST_MONTHS, months_back, usage_csv, usage_read
from ai.models import Recall
from journal.audit import audit_record
from portal.aiwords import PROFILES, ROLES, STAGES, figure_words, people_words
from portal.charts import months_chart
from portal.governforms import LiftForm, RecallForm
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page
from tenants.selectors import tenant_zone

SIZE = 50
ID_END = 2**63
CSV = "text/csv; charset=utf-8"


def _stage(row: RegistryRow) -> StateWords:
    if row.recall:
        return StateWords("bad", str(_("recalled")), row.recall.reason)
    kind, word = STAGES[row.stage]
    if row.stage != "off" and not terms_are_accepted(row.connection):
        return StateWords("note", str(word), str(_("sends nothing: the platform's terms are not accepted")))
    return StateWords(kind, str(word))


@hospital_page("ai.read")
def algorithms_page(request: HospitalRequest) -> HttpResponse:
    """Every algorithm of the connected platforms; what is recalled first."""
    rows = [(row, _stage(row), str(ROLES[row.card.role]) if row.card else "") for row in registry_read()]
    rows.sort(key=lambda item: item[0].recall is None)
    return render(request, "portal/algorithms.html", {"rows": rows, "recalled": sum(1 for row, _, _ in rows if row.recall)})


def _row(platform: str, algorithm: str) -> RegistryRow:
    found = registry_get(platform=platform, algorithm=algorithm)
    if found is None:
        raise Http404
    return found


@hospital_page("ai.read")
def algorithm_page(request: HospitalRequest, platform: str, algorithm: str) -> HttpResponse:
    row = _row(platform, algorithm)
    return _page(request, row, RecallForm(versions=row.versions), LiftForm())


def _page(request: HospitalRequest, row: RegistryRow, recall_form: RecallForm, lift_form: LiftForm) -> HttpResponse:
    platform = row.connection.platform
    recalls = recalls_of(platform=platform, algorithm=row.algorithm)
    figures = figures_read(now=timezone.now()).get((platform, row.algorithm), Figures())
    who = people_words(tenant_id=request.tenant.id, actors={name for one in recalls for name in (one.by, one.lifted_by) if name})
    context = {
        "row": row, "state": _stage(row), "role": str(ROLES[row.card.role]) if row.card else "", "recall_form": recall_form,
        "lift_form": lift_form, "local": figure_words(figures),
        "recalls": [(one, who.get(one.by, ""), who.get(one.lifted_by, ""), reports_flagged_count(recall=one)) for one in recalls],
    }  # fmt: skip
    return render(request, "portal/algorithm.html", context)


@require_POST
@hospital_page("ai.write")
def recall(request: HospitalRequest, platform: str, algorithm: str) -> HttpResponse:
    row = _row(platform, algorithm)
    form = RecallForm(request.POST, versions=row.versions)
    if not form.is_valid():
        return _page(request, row, form, LiftForm())
    try:
        recall_start(
            platform=platform, algorithm=algorithm, reason=form.cleaned_data["reason"], version=form.cleaned_data["version"],
            actor=request.actor,
        )  # fmt: skip
    except RecallRefused as refused:
        form.add_error(refused.field or None, refused.user_message)
        return _page(request, row, form, LiftForm())
    messages.success(request, _("Recalled: nothing new is sent to it, and its reports say so."))
    return redirect("algorithm", slug=request.tenant.slug, platform=platform, algorithm=algorithm)


@require_POST
@hospital_page("ai.write")
def lift(request: HospitalRequest, recall: UUID) -> HttpResponse:
    found: Recall | None = recall_by_uuid(uuid=recall)
    if found is None:
        raise Http404
    row = _row(found.platform, found.algorithm)
    form = LiftForm(request.POST)
    if not form.is_valid():
        return _page(request, row, RecallForm(versions=row.versions), form)
    facts = form.cleaned_data
    try:
        recall_lift(recall=found, reason=facts["reason"], are_reports_cleared=facts["reports"] == "clear", actor=request.actor)
    except RecallRefused as refused:
        form.add_error(refused.field or None, refused.user_message)
        return _page(request, row, RecallForm(versions=row.versions), form)
    messages.success(request, _("Lifted: the rules may send to it again."))
    return redirect("algorithm", slug=request.tenant.slug, platform=found.platform, algorithm=found.algorithm)


def _day(text: str) -> date | None:
    try:
        return parse_date(text) if text else None
    except ValueError:
        return None


def _asked(request: HospitalRequest) -> tuple[DisclosureQuery, dict[str, str]]:
    """What cannot be meant is left out; the second is what the address keeps."""
    days = {name: _day(request.GET.get(name, "")) for name in ("from", "to")}
    platform = request.GET.get("platform", "")
    platform = platform if platform in platforms() else ""
    kept = {name: day.isoformat() for name, day in days.items() if day} | ({"platform": platform} if platform else {})
    return DisclosureQuery(since=days["from"], until=days["to"], platform=platform), kept


@hospital_page("audit.read")
def disclosures_list(request: HospitalRequest) -> HttpResponse:
    """Looking is on record: the list says which studies there are."""
    query, kept = _asked(request)
    before = request.GET.get("before", "")
    start = int(before) if before.isascii() and before.isdigit() and len(before) < 20 else 0
    zone = tenant_zone(tenant_id=request.tenant.id)
    page = disclosures_page(query=query, zone=zone, before=min(start, ID_END - 1), size=SIZE)
    audit_record(actor=request.actor, action="disclosure.view", object_type="Hospital", object_id=str(request.tenant.id))
    names = {slug: one.card.name for slug, one in platforms().items()}
    context = {
        "rows": [(row, names.get(row.platform, row.platform), _profile(row.profile), codes_words(row)) for row in page.rows],
        "query": query, "kept": kept, "start": start, "first": urlencode(kept), "csv": urlencode(kept),
        "older": urlencode({**kept, "before": page.older}) if page.older else "", "platforms": _names(),
    }  # fmt: skip
    return render(request, "portal/disclosures.html", context)


def _names() -> list[tuple[str, str]]:
    """What is in the house discloses nothing."""
    found = [(slug, one.card.name) for slug, one in platforms().items() if not one.card.is_in_house]
    return sorted(found, key=lambda pair: pair[1].lower())


def _profile(name: str) -> str:
    if name == "findings":
        return str(_("findings alone: no image, no identity"))
    return str(PROFILES.get(name, _("not recorded: sent before this was kept")))


@hospital_page("audit.read")
def disclosures_file(request: HospitalRequest) -> HttpResponse:
    query, _kept = _asked(request)
    audit_record(actor=request.actor, action="disclosure.export", object_type="Hospital", object_id=str(request.tenant.id))
    return _file(disclosures_csv(query=query, zone=tenant_zone(tenant_id=request.tenant.id)), "disclosures.csv")


def _file(content: str, name: str) -> HttpResponse:
    return HttpResponse(content, content_type=CSV, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _usage(request: HospitalRequest) -> tuple[int, str]:
    months, platform = request.GET.get("months", ""), request.GET.get("platform", "")
    count = int(months) if months.isascii() and months.isdigit() and 0 < int(months[:4]) <= MOST_MONTHS else 12
    return count, platform if platform in platforms() else ""


@hospital_page("ai.read")
def usage_page(request: HospitalRequest) -> HttpResponse:
    months, platform = _usage(request)
    now = timezone.now().astimezone(tenant_zone(tenant_id=request.tenant.id))
    rows = usage_read(now=now, zone=request.tenant.time_zone, months=months, platform=platform)
    names = {slug: one.card.name for slug, one in platforms().items()}
    sums = {month: [0, 0] for month in months_back(now=now, months=months)}
    for row in rows:
        pair = sums.setdefault(row.month, [0, 0])
        pair[0] += row.counted
        pair[1] += row.not_counted
    context = {
        "rows": [(row, names.get(row.platform, row.platform)) for row in rows], "months": months, "platform": platform,
        "platforms": sorted(names.items(), key=lambda pair: pair[1].lower()),
        "chart": months_chart([(month, counted, other) for month, (counted, other) in sorted(sums.items())]),
        "total": sum(row.counted for row in rows), "others": sum(row.not_counted for row in rows),
        "csv": urlencode({"months": months, **({"platform": platform} if platform else {})}), "spans": (3, 6, 12, 24, 36),
    }  # fmt: skip
    return render(request, "portal/usage.html", context)


@hospital_page("ai.read")
def usage_file(request: HospitalRequest) -> HttpResponse:
    months, platform = _usage(request)
    now = timezone.now().astimezone(tenant_zone(tenant_id=request.tenant.id))
    return _file(usage_csv(rows=usage_read(now=now, zone=request.tenant.time_zone, months=months, platform=platform)), "usage.csv")

"""How the platforms do: figures of each algorithm and site, and the cases behind each figure. No name of anybody on either page."""

from datetime import timedelta

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode

from ai.insights.figures import insights_read
from ai.insights.queries import HOPS, KINDS, Span, cases_read, span_cut
from ai.insights.spans import SpanError, span_of
from journal.audit import audit_record
from portal import figures
from tenants.doors import HospitalRequest, hospital_page

PAGE = 50
PRESETS = (30, 90, 365)


def _span(request: HospitalRequest) -> tuple[Span, str]:
    """The span that was asked for, and what is wrong with it: then the last 30 days."""
    try:
        return span_of(since=request.GET.get("from", ""), until=request.GET.get("to", "")), ""
    except SpanError as error:
        return span_of(since="", until=""), str(error)


def _days(span: Span) -> tuple[str, str]:
    return figures.day_text(span.since), figures.day_text(span.until - timedelta(days=1))


@hospital_page("ai.read")
def insights(request: HospitalRequest) -> HttpResponse:
    asked, error = _span(request)
    span = span_cut(span=asked)
    since, until = _days(span)
    today = timezone.localdate()
    presets = [(days, urlencode({"from": today - timedelta(days=days - 1), "to": today})) for days in PRESETS]
    cards = [figures.card_of(one, since=since, until=until) for one in insights_read(span=span)]
    context = {"cards": cards, "since": since, "until": until, "error": error, "presets": presets, "is_cut": span != asked}
    return render(request, "portal/insights.html", context, status=422 if error else 200)


@hospital_page("ai.read")
def insights_cases(request: HospitalRequest) -> HttpResponse:
    """The jobs that a figure counts, newest first; of a hop the slowest first."""
    span, error = _span(request)
    span = span_cut(span=span)
    asked = {name: request.GET.get(name, "") for name in ("platform", "algorithm", "kind")}
    kind, site = asked["kind"] or "all", request.GET.get("site")
    if kind not in KINDS or error:
        raise Http404
    text = request.GET.get("before", "")
    before = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
    found = cases_read(
        span=span, platform=asked["platform"], algorithm=asked["algorithm"], kind=kind, site=site, before=min(before, 2**63 - 1),
        size=PAGE + 1,
    )  # fmt: skip
    audit_record(actor=request.actor, action="insights.cases", object_type="Hospital", object_id=str(request.tenant.uuid))
    since, until = _days(span)
    kept = {**asked, "kind": kind, "from": since, "to": until, **({"site": site} if site is not None else {})}
    older = urlencode({**kept, "before": found[PAGE - 1].id}) if len(found) > PAGE and kind not in HOPS else ""
    rows = [(one, figures.state_words(one.state, one.action), _seconds(one.seconds)) for one in found[:PAGE]]
    context = {
        "rows": rows, "kind": figures.KINDS[kind], "has_times": kind in HOPS, "older": older, "site": site, "since": since, "until": until,
        "is_cut": len(found) > PAGE and kind in HOPS, **asked,
    }  # fmt: skip
    return render(request, "portal/insights_cases.html", context)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else figures.duration_words(timedelta(seconds=max(seconds, 0)))

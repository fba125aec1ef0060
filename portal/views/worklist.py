"""The worklist: what people want first, then what AI flags, then the newest. Its live part refreshes every two seconds.

Rows are updated where they stand and never move under the cursor: static/js/worklist.js puts an answer into the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.selectors import decision_of
from ai.worklist import AiRow, ai_rows, jobs_shown
from imaging.listing import StudyList, studies_list
from imaging.models import Study
from imaging.priorities import BY_ORDER, study_priority_set
from imaging.selectors import study_by_uuid
from journal.audit import audit_record
from portal.aiwords import job_words, reader_of
from portal.listfilters import SAVED, FilterForm, ListFilter, filter_form, filter_keep, filter_of
from portal.listwords import AI_WORDS, PRIORITIES, ai_reason, facts_of, list_rows, mark_of
from portal.people import People
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page
from tenants.filters import FilterRefused, filter_delete, filter_save, filters_of
from tenants.models import SavedFilter

MORE = 100  # rows beyond a page that a window may have grown by


@dataclass(frozen=True)
class _Found:
    """One page as rows of the database."""

    key: str
    asked: ListFilter
    page: StudyList
    ai: dict[int, AiRow]
    before: str
    mark: str


def _found(request: HospitalRequest) -> _Found:
    key, asked = filter_of(request)
    before, now, reader = request.GET.get("before", ""), timezone.now(), reader_of(request)
    grown = request.GET.get("rows", "")
    size = min(int(grown), asked.rows + MORE) if grown.isascii() and grown.isdigit() and len(grown) < 5 else asked.rows
    page = studies_list(wish=asked.wish(reader=reader, now=now), now=now, before=before, size=max(size, asked.rows))
    ai = ai_rows(studies=page.studies, reader=reader, now=now)
    facts = [f"{study.id}|{facts_of(study, ai[study.id])}" for study in page.studies]
    return _Found(key, asked, page, ai, before, mark_of("\n".join([*facts, page.older])))


def _context(request: HospitalRequest, found: _Found) -> dict[str, Any]:
    return {
        "rows": list_rows(found.page.studies, found.ai), "older": found.page.older, "is_cut": found.page.is_cut, "before": found.before,
        "mark": found.mark, "view": found.key, "asked": found.asked,
    }  # fmt: skip


@hospital_page("study.read")
def worklist(request: HospitalRequest) -> HttpResponse:
    audit_record(actor=request.actor, action="worklist.view", object_type="Worklist", object_id="-")
    return _page(request)


def _page(request: HospitalRequest, form: FilterForm | None = None) -> HttpResponse:
    found = _found(request)
    context = {
        **_context(request, found), "form": form or filter_form(found.asked), "words": found.asked.words(),
        "saved": _saved(filters_of(actor=request.actor), found.key), "is_open": form is not None,
    }  # fmt: skip
    return render(request, "portal/worklist.html", context)


def _saved(kept: Sequence[SavedFilter], key: str) -> list[dict[str, Any]]:
    return [{"id": one.id, "key": f"{SAVED}{one.id}", "name": one.name, "is_here": key == f"{SAVED}{one.id}"} for one in kept]


@hospital_page("study.read")
def worklist_rows(request: HospitalRequest) -> HttpResponse:
    """The live part: 304 when the page would look the same."""
    found = _found(request)
    if request.GET.get("seen") == found.mark:
        return HttpResponse(status=304)
    return render(request, "portal/worklist_rows.html", _context(request, found))


@require_POST
@hospital_page("study.read")
def worklist_filter(request: HospitalRequest) -> HttpResponse:
    """What was asked for travels in the body and stays in the session: nothing of it gets into an address."""
    form = FilterForm(request.POST, auto_id="f_%s")
    if not form.is_valid():
        return _page(request, form)
    asked, name = form.found(), form.cleaned_data["save_as"]
    if asked.text:
        audit_record(actor=request.actor, action="worklist.search", object_type="Worklist", object_id="-")
    key = filter_keep(request, asked)
    if name:
        try:
            kept = filter_save(name=name, wish=asked.kept(), actor=request.actor)
        except FilterRefused as refused:
            form.add_error("save_as", str(refused))
            return _page(request, form)
        messages.success(request, _("The filter is kept as “%(name)s”.") % {"name": kept.name})
        key = key if asked.text else f"{SAVED}{kept.id}"
    return redirect(_address(request, key))


def _address(request: HospitalRequest, key: str) -> str:
    return reverse("worklist", args=[request.tenant.slug]) + (f"?view={key}" if key else "")


@require_POST
@hospital_page("study.read")
def worklist_filter_delete(request: HospitalRequest, filter_id: int) -> HttpResponse:
    if not filter_delete(filter_id=filter_id, actor=request.actor):
        raise Http404
    messages.success(request, _("The filter is gone."))
    return redirect("worklist", slug=request.tenant.slug)


def _study(uuid: UUID) -> Study:
    found = study_by_uuid(uuid=uuid)
    if found is None:
        raise Http404
    return found


@hospital_page("study.read")
def worklist_study(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    """What is behind the AI cell: each job, each rule's no; and the priority, to be changed. In the page, or as one."""
    study, reader, now = _study(uuid), reader_of(request), timezone.now()
    audit_record(actor=request.actor, action="worklist.details", object_type="Study", object_id=str(study.uuid))
    row = ai_rows(studies=[study], reader=reader, now=now)[study.id]
    decision = decision_of(study=study)
    context = {
        "study": study, "state": StateWords(row.kind, str(AI_WORDS[row.key]), ai_reason(row)), "flags": row.flags,
        "jobs": [(job, job_words(job)) for job in jobs_shown(study=study, reader=reader)],
        "refusals": [one for one in decision.outcomes if not one["is_match"]] if decision else [],
        "priority": PRIORITIES.get(study.priority, ""), "is_ordered": study.priority_by == BY_ORDER, "view": request.GET.get("view", ""),
        "by": "" if study.priority_by in ("", BY_ORDER) else People(request.tenant).words(study.priority_by),
        "choices": list(PRIORITIES.items()), "is_part": request.headers.get("HX-Request") == "true",
    }  # fmt: skip
    return render(request, "portal/worklist_study.html", context)


@require_POST
@hospital_page("study.read")
def study_priority(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    """A person's word on what is read first; kept with who and when."""
    study, priority = _study(uuid), request.POST.get("priority", "-")
    try:
        study_priority_set(study_uuid=study.uuid, priority=priority, actor=request.actor)
    except ValueError:
        messages.error(request, _("Nothing was changed: choose a priority."))
    else:
        messages.success(request, _("Priority: %(priority)s.") % {"priority": PRIORITIES.get(priority, _("as its order says"))})
    if request.POST.get("back") == "worklist":
        view = request.POST.get("view", "")[:32]
        return redirect(_address(request, view if view.replace("-", "").replace("_", "").isalnum() else ""))
    return redirect("study", slug=request.tenant.slug, uuid=uuid)

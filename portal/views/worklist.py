"""The worklist: newest studies with what AI made of them. Rows refresh every two seconds and never move under the cursor."""

import hashlib

from django.http import HttpResponse
from django.shortcuts import render

from ai.selectors import ai_states
from imaging.selectors import studies_page
from journal.audit import audit_record
from portal.words import ai_words
from tenants.doors import HospitalRequest, hospital_page

PAGE = 50


@hospital_page("study.read")
def worklist(request: HospitalRequest) -> HttpResponse:
    audit_record(actor=request.actor, action="worklist.view", object_type="Worklist", object_id="-")
    return render(request, "portal/worklist.html", _context(request))


@hospital_page("study.read")
def worklist_rows(request: HospitalRequest) -> HttpResponse:
    """The live part: 304 when the page would look the same."""
    context = _context(request)
    if request.GET.get("seen") == context["mark"]:
        return HttpResponse(status=304)
    return render(request, "portal/worklist_rows.html", context)


def _context(request: HospitalRequest) -> dict[str, object]:
    before = request.GET.get("before", "")
    page = studies_page(before=before, size=PAGE)
    states = ai_states(studies=page.studies)
    rows = [(study, ai_words(states[study.id])) for study in page.studies]
    facts = [f"{s.id}.{s.version}.{s.number_of_instances}.{s.state}.{w.word}.{w.reason}" for s, w in rows]
    mark = hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
    return {"rows": rows, "older": page.older, "before": before, "mark": mark}

"""Patients who were found to be one: what was merged, by whom, taking it back; and merging two by their numbers."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from imaging.merging.selectors import merges_list, patient_uses, patients_numbered
from imaging.merging.services import MergeRefused, patient_merge_undo, patients_merge
from imaging.models import Patient
from journal.audit import audit_record
from portal.forms import MergeForm
from portal.words import date_words, patient_name
from tenants.doors import HospitalRequest, hospital_page

ID_END, SHOWN = 2**63, 100


@dataclass(frozen=True)
class PersonRow:
    """One of the people that a number was given to."""

    id: int
    name: str
    number: str
    born: str
    sex: str
    has: str  # how many studies and orders


def _person(patient: Patient, uses: dict[int, tuple[int, int]]) -> PersonRow:
    studies, orders = uses.get(patient.id, (0, 0))
    has = ", ".join((
        ngettext("%(n)s study", "%(n)s studies", studies) % {"n": studies}, ngettext("%(n)s order", "%(n)s orders", orders) % {"n": orders},
    ))  # fmt: skip
    number = f"{patient.patient_id} ({patient.issuer})" if patient.issuer else patient.patient_id
    return PersonRow(patient.id, patient_name(patient.name), number, date_words(patient.birth_date), patient.sex, has)


def _page(request: HospitalRequest, **more: Any) -> HttpResponse:
    rows = merges_list(before=ID_END - 1, limit=SHOWN)
    return render(request, "portal/merges.html", {"merges": rows, "form": MergeForm(), "shown": SHOWN, **more})


@hospital_page("workitem.decide")
def merges_page(request: HospitalRequest) -> HttpResponse:
    audit_record(actor=request.actor, action="merge.list", object_type="Hospital", object_id=str(request.tenant.id))
    return _page(request)


@require_POST
@hospital_page("workitem.decide")
def merge_find(request: HospitalRequest) -> HttpResponse:
    """Who has the two numbers: shown before anything is done."""
    form = MergeForm(request.POST)
    found: dict[str, list[PersonRow]] = {}
    if form.is_valid():
        audit_record(actor=request.actor, action="merge.find", object_type="Hospital", object_id=str(request.tenant.id))
        people = {name: patients_numbered(number=form.cleaned_data[name]) for name in ("surviving", "gone")}
        uses = patient_uses(patient_ids=[one.id for rows in people.values() for one in rows])
        found = {name: [_person(one, uses) for one in rows] for name, rows in people.items()}
        for name, rows in found.items():
            if not rows:
                form.add_error(name, _("Nobody here has this number, or whoever had it was merged already."))
        if form.cleaned_data.get("surviving") == form.cleaned_data.get("gone"):
            form.add_error("gone", _("This is the same number."))
    return _page(request, form=form, found=None if form.errors else found)


@require_POST
@hospital_page("workitem.decide")
def merge_make(request: HospitalRequest) -> HttpResponse:
    try:
        first, second = (int(request.POST.get(name, "")[:19]) for name in ("surviving", "gone"))
        made = patients_merge(actor=request.actor, surviving_id=min(first, ID_END - 1), gone_id=min(second, ID_END - 1), origin="portal")
    except ValueError:
        messages.error(request, _("Nothing was changed: choose one on either side."))
    except MergeRefused as error:
        messages.error(request, _("Nothing was changed: %(reason)s.") % {"reason": error.user_message})
    else:
        if made is None:
            messages.error(request, _("Nothing was changed: the two are one patient already."))
        else:
            messages.success(request, _("The two are one patient now. Studies, orders and reports follow within seconds."))
    return redirect("merges", slug=request.tenant.slug)


@require_POST
@hospital_page("workitem.decide")
def merge_undo(request: HospitalRequest, merge_id: int) -> HttpResponse:
    try:
        done = patient_merge_undo(actor=request.actor, merge_id=min(merge_id, ID_END - 1))
    except MergeRefused as error:
        messages.error(request, _("Nothing was changed: %(reason)s.") % {"reason": error.user_message})
        return redirect("merges", slug=request.tenant.slug)
    if done is None:
        raise Http404
    messages.success(request, _("The two are two patients again. What had moved went back."))
    return redirect("merges", slug=request.tenant.slug)

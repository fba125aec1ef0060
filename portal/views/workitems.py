"""One work item: what happened, the two sides beside each other, and the ways out."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from fhirapi.differences import KIND as PATIENT_DIFFERS
from fhirapi.differences import record_told
from imaging.models import WorkItem
from imaging.orderfix import orders_offered, service_request_id
from imaging.selectors import work_item_get
from imaging.workitems import Action, DecisionRefused, Side, actions_of, item_resolve, sides_of
from journal.audit import audit_record
from portal.words import action_words, date_words, item_sides, patient_name, size_words
from tenants.doors import HospitalRequest, hospital_page
from tenants.permissions import is_allowed

ID_END = 2**63


@dataclass(frozen=True)
class Line:
    """One attribute of both sides."""

    label: str
    stored: str
    other: str
    is_different: bool


@dataclass(frozen=True)
class Choice:
    """A way out as a button: what it says, and what it does."""

    action: Action
    label: str
    effect: str


@hospital_page("delivery.manage")
def workitem(request: HospitalRequest, item_id: int) -> HttpResponse:
    item = work_item_get(item_id=item_id) if item_id < ID_END else None
    if item is None:
        raise Http404
    may_see = is_allowed(role=request.role, capability="study.read")
    lines: list[Line] = []
    if may_see:
        audit_record(actor=request.actor, action="workitem.view", object_type="WorkItem", object_id=str(item.id))
        lines = _lines(*_sides(item))
    may_decide = is_allowed(role=request.role, capability="workitem.decide")
    orders = _orders(item) if may_see and may_decide else []
    context = {
        "item": item, "lines": lines, "may_see": may_see, "may_decide": may_decide, "heads": item_sides(item),
        "orders": orders,
        "choices": [_choice(item, action) for action in actions_of(item) if orders or not action.needs_order] if may_decide else [],
    }  # fmt: skip
    return render(request, "portal/workitem.html", context)


def _sides(item: WorkItem) -> tuple[Side | None, Side | None]:
    stored, other = sides_of(item)
    if item.kind == PATIENT_DIFFERS and item.patient and (told := record_told(fhir_id=item.patient.ehr_id or str(item.patient.uuid))):
        other = Side(name=told.name, patient_id="", birth_date=told.birth_date, sex=told.sex)
    return stored, other


def _orders(item: WorkItem) -> list[tuple[str, str]]:
    """What may be chosen from: the id of the ServiceRequest, and words to know it by."""
    if item.study is None or not any(action.needs_order for action in actions_of(item)):
        return []
    found = []
    for order in orders_offered(study=item.study):
        words = ", ".join(filter(None, (order.accession_number, order.description, f"{order.created_at:%d %b %Y}")))
        found.append((service_request_id(order), words))
    return found


def _choice(item: WorkItem, action: Action) -> Choice:
    label, effect = action_words(item, action.name)
    if (action.is_discarding or action.name == "use_other") and item.key:
        effect += " " + _bytes_words()
    return Choice(action, label, effect.strip())


def _bytes_words() -> str:
    days = timedelta(days=settings.MEDHUB_DISCARD_DAYS).days
    if not days:
        return _("The bytes that are not used are kept.")
    return _("The bytes that are not used are kept for %(days)s days, then removed.") % {"days": days}


def _lines(stored: Side | None, other: Side | None) -> list[Line]:
    found = []
    for label, value in (
        (_("Patient"), lambda side: patient_name(side.name)), (_("Patient number"), lambda side: side.patient_id),
        (_("Born"), lambda side: date_words(side.birth_date)), (_("Sex"), lambda side: side.sex),
        (_("Study"), lambda side: side.study_description), (_("Study date"), lambda side: date_words(side.study_date)),
        (_("Series"), lambda side: side.series_description),
        (_("Image number"), lambda side: "" if side.number is None else str(side.number)),
        (_("Size"), lambda side: "" if side.size is None else size_words(side.size)),
    ):  # fmt: skip
        a, b = (value(side) if side else "" for side in (stored, other))
        if a or b:
            found.append(Line(label, a, b, bool(a and b and a != b)))
    return found


@require_POST
@hospital_page("workitem.decide")
def workitem_decide(request: HospitalRequest, item_id: int) -> HttpResponse:
    """One decision; what stands in its way is said on the page."""
    try:
        item = item_resolve(
            item_id=min(item_id, ID_END - 1), action=request.POST.get("action", ""), note=request.POST.get("note", ""),
            order=request.POST.get("order", ""), actor=request.actor,
        )  # fmt: skip
    except DecisionRefused as error:
        messages.error(request, _("Nothing was changed: %(reason)s.") % {"reason": error.user_message})
        return redirect("workitem", slug=request.tenant.slug, item_id=item_id)
    if item is None:
        raise Http404
    messages.success(request, _("Decided. The decision is in the audit trail."))
    return redirect("attention", slug=request.tenant.slug)

"""One study: a slice to look at, what AI found and who says so, and its way through the house."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from ai.selectors import ai_states, decision_of, reports_of
from imaging.completion import study_complete
from imaging.models import Series, Study
from imaging.rendering import RenderError, slice_render
from imaging.selectors import SliceFacts, destinations, series_of, slices_of, studies_earlier, study_by_uuid
from journal.audit import audit_record
from portal.aiwords import reader_of
from portal.earlier import earlier_rows
from portal.panels import Refused, panels_of
from portal.timeline import study_timeline
from portal.words import ai_words
from tenants.doors import HospitalRequest, hospital_page
from tenants.oauth.grants import launch_apps
from tenants.permissions import is_allowed


def _study(uuid: UUID) -> Study:
    study = study_by_uuid(uuid=uuid)
    if study is None:
        raise Http404
    return study


@hospital_page("study.read")
def study(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    found = _study(uuid)
    audit_record(actor=request.actor, action="study.view", object_type="Study", object_id=str(found.uuid))
    return study_render(request, found)


def study_render(
    request: HospitalRequest, found: Study, *, refused: dict[object, Refused] | None = None, status: int = 200
) -> HttpResponse:
    """The page; `refused`: by report, a verdict that was not taken."""
    series = series_of(study_id=found.id)
    shown = _shown(series, request.GET.get("series", ""))
    count = _pictures(slices_of(series_id=shown.id)) if shown else 0
    reader = reader_of(request)
    earlier = studies_earlier(study=found)
    context = {
        "study": found, "series": series, "shown": shown, "count": count, "number": _number(request.GET.get("image", ""), count),
        "state": ai_words(ai_states(studies=[found])[found.id]),
        "panels": panels_of(reports=reports_of(study_id=found.id, reader=reader), refused=refused),
        "refusals": [one for one in decision.outcomes if not one["is_match"]] if (decision := decision_of(study=found)) else [],
        "hops": study_timeline(study=found, reader=reader), "destinations": destinations(),
        "slice_words": _("Image {n} of %(count)s") % {"count": count},
        "apps": launch_apps() if is_allowed(role=request.role, capability="app.open") else [],
        "earlier": earlier_rows(studies=earlier.studies, reader=reader), "fetches": earlier.fetches,
    }  # fmt: skip
    return render(request, "portal/study.html", context, status=status)


def _number(text: str, count: int) -> int:
    """The picture asked for, else the middle one."""
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    return wanted if 0 < wanted <= count else count // 2 + 1


def _shown(series: list[Series], wanted: str) -> Series | None:
    """The series asked for, else the largest: the likeliest to be looked at."""
    chosen = next((item for item in series if str(item.id) == wanted), None)
    return chosen or max(series, key=lambda item: item.number_of_instances, default=None)


def _pictures(slices: list[SliceFacts]) -> int:
    return sum(item.frames for item in slices if item.is_image)


@hospital_page("study.read")
def study_slice(request: HospitalRequest, uuid: UUID, series_id: int, number: int) -> HttpResponse:
    """Image `number` of a series as PNG, window and level from its header. 422 in words where there is none to show."""
    found = _study(uuid)
    if not any(item.id == series_id for item in series_of(study_id=found.id)):
        raise Http404
    at = number
    for item in slices_of(series_id=series_id):
        if not item.is_image:
            continue
        if at <= item.frames:
            audit_record(actor=request.actor, action="study.image", object_type="Study", object_id=str(found.uuid))
            return _picture(item, at)
        at -= item.frames
    raise Http404


def _picture(item: SliceFacts, frame: int) -> HttpResponse:
    try:
        return HttpResponse(slice_render(item.path, frame=frame), content_type="image/png")
    except RenderError as error:
        return HttpResponse(str(error), status=422, content_type="text/plain")


@require_POST
@hospital_page("delivery.manage")
def study_force(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    """Complete a study now, without waiting for its quiet time."""
    found = _study(uuid)
    study_complete(study_id=found.id, is_forced=True)
    audit_record(actor=request.actor, action="study.complete", object_type="Study", object_id=str(found.uuid))
    return redirect("attention", slug=request.tenant.slug)

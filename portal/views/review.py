"""What the buttons under an AI report do: accept, correct, reject, take back. One domain call; a refusal keeps what was entered."""

from uuid import UUID

from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from ai.delivery.selectors import report_by_uuid
from ai.findings import Correction
from ai.review.services import VerdictRefused, verdict_give
from imaging.selectors import study_get
from portal.aiwords import reader_of
from portal.panels import Refused
from portal.views.study import study_render
from tenants.doors import HospitalRequest, hospital_page

MAX_ITEMS = 400


@require_POST
@hospital_page("report.review")
def report_verdict(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    """Back to the panel it was about. 409 with the page as it is now when somebody was faster, 422 for what cannot be taken."""
    report = report_by_uuid(uuid=uuid, reader=reader_of(request))
    if report is None:
        raise Http404
    sent = request.POST
    try:
        verdict_give(
            report_uuid=uuid, version=_whole(sent.get("version", "")), action=sent.get("action", ""), actor=request.actor,
            reader=reader_of(request), reason=sent.get("reason", ""), words=sent.get("words", ""), corrections=_corrections(sent),
        )  # fmt: skip
    except VerdictRefused as refused:
        kept = Refused(words=refused.user_message, action=sent.get("action", ""), field=refused.field, values=sent.dict())
        found = study_get(study_id=report.study_id)
        return study_render(request, found, refused={uuid: kept}, status=422 if refused.field else 409)
    return redirect(f"{reverse('study', args=[request.tenant.slug, report.study.uuid])}#report-{uuid}")


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0


def _corrections(sent: QueryDict) -> list[Correction]:
    """`value-<item>` beside `was-<item>`: what was changed; `not-<item>`: does not hold; `words-<item>`. Raises VerdictRefused."""
    if sent.get("action") != "correct":
        return []
    found = []
    for name in list(sent)[:MAX_ITEMS]:
        if name.startswith("not-"):
            item = name.removeprefix("not-")
            found.append(Correction(item=item, words=sent.get(f"words-{item}", "").strip()))
        elif name.startswith("value-") and f"not-{name.removeprefix('value-')}" not in sent:
            item = name.removeprefix("value-")
            text = sent.get(name, "").strip()
            if text and text != sent.get(f"was-{item}", ""):
                found.append(Correction(item=item, value=_number(text)))
    return found


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise VerdictRefused("a value is a number", field="corrections") from None

"""One report version to read, print and keep as PDF; its deliveries sent again."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from ai.delivery.dossier import shown_sheet
from ai.delivery.selectors import delivery_get, report_by_uuid
from ai.delivery.services import delivery_resend
from ai.models import Report
from ai.printing.pdf import PrintingError, report_pdf
from ai.printing.sheet import ReportSheet
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from portal.aiwords import reader_of
from tenants.doors import HospitalRequest, hospital_page
from tenants.permissions import is_allowed


def _read(request: HospitalRequest, uuid: UUID) -> tuple[Report, ReportSheet]:
    """In a scope: the version asked for, else the newest; looking is on record before anything is shown."""
    text = request.GET.get("version", "")
    is_number = text.isascii() and text.isdigit() and len(text) <= 9
    report = report_by_uuid(uuid=uuid, reader=reader_of(request), version=int(text) if is_number else 0) if is_number or not text else None
    if report is None:
        raise Http404
    audit_record(actor=request.actor, action="study.report.view", object_type="Study", object_id=str(report.study.uuid))
    return report, shown_sheet(report=report)


@hospital_page("study.read")
def report_page(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    report, sheet = _read(request, uuid)
    return render(request, "report/page.html", {"sheet": sheet, "report": report})


@hospital_page("study.read", is_scoped=False)
def report_file(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    """Printed outside of the scope, under a name that says nothing about the patient. 422 in words where it cannot be."""
    with tenant_scope(request.tenant.id):
        report, sheet = _read(request, uuid)
    name = f"ai-result-{str(uuid)[:8]}-{report.version}.pdf"
    try:
        pdf = report_pdf(sheet)
    except PrintingError as error:
        return HttpResponse(str(error), status=422, content_type="text/plain")
    return HttpResponse(pdf, content_type="application/pdf", headers={"Content-Disposition": f'inline; filename="{name}"'})


@require_POST
@hospital_page("delivery.manage")
def report_resend(request: HospitalRequest, delivery_id: int) -> HttpResponse:
    delivery = delivery_get(delivery_id=delivery_id)
    if delivery is None:
        raise Http404
    delivery_resend(actor=request.actor, delivery=delivery)
    if request.POST.get("from") == "study" and is_allowed(role=request.role, capability="study.read"):
        return redirect("study", slug=request.tenant.slug, uuid=delivery.report.study.uuid)
    return redirect("attention", slug=request.tenant.slug)

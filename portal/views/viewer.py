"""The OHIF viewer of a hospital: its page and its configuration. What it reads comes by the DICOMweb doors, with the same session."""

from uuid import UUID

import orjson
from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from ai.delivery.selectors import overlay_series, report_by_uuid
from ai.models import REJECTED
from imaging.models import Study
from imaging.selectors import study_by_uid, study_by_uuid
from journal.audit import audit_record
from portal.aiwords import reader_of
from portal.ohif import POLICY, ROOT, ohif_installed
from tenants.doors import HospitalRequest, hospital_page


@hospital_page("study.read")
def study_viewer(request: HospitalRequest, uuid: UUID) -> HttpResponse:
    """Where a study is looked at. Our pages link by our own id; the viewer is told the DICOM one."""
    found = study_by_uuid(uuid=uuid)
    if found is None:
        raise Http404
    audit_record(actor=request.actor, action="study.view", object_type="Study", object_id=str(found.uuid))
    if not ohif_installed(folder=settings.MEDHUB_VIEWER):
        return render(request, "portal/viewer_missing.html", {"study": found})
    page = reverse("viewer", args=[request.tenant.slug, "viewer"])
    asked = {"StudyInstanceUIDs": found.study_uid, **_overlay(request, found)}
    return redirect(f"{page}?{urlencode(asked)}")


def _overlay(request: HospitalRequest, found: Study) -> dict[str, str]:
    """`?report=`: the viewer begins with the report's mask over its images, else with the document that has its outlines."""
    text = request.GET.get("report", "")
    try:
        report = report_by_uuid(uuid=UUID(text), reader=reader_of(request)) if text else None
    except ValueError:
        report = None
    if report is None or report.study_id != found.id or report.status in REJECTED:
        return {}
    series = overlay_series(report=report)
    return {"initialSeriesInstanceUID": series} if series else {}


@hospital_page("study.read")
def invoke_display(request: HospitalRequest) -> HttpResponse:
    """Invoke Image Display (IHE RAD-106): `requestType=STUDY&studyUID=...`, as FHIR Endpoints of type ihe-iid are called."""
    uid = request.GET.get("studyUID", "")
    if not uid or request.GET.get("requestType", "STUDY") != "STUDY":
        return redirect("worklist", slug=request.tenant.slug)
    found = study_by_uid(study_uid=uid)
    if found is None:
        raise Http404
    return redirect("study-viewer", slug=request.tenant.slug, uuid=found.uuid)


@hospital_page("study.read", is_scoped=False)
def viewer(request: HospitalRequest, rest: str = "") -> HttpResponse:
    """The page of the viewer, whatever route of its own the address names."""
    app = ohif_installed(folder=settings.MEDHUB_VIEWER)
    if not app:
        return render(request, "portal/viewer_missing.html")
    response = render(request, "portal/viewer.html", {"root": ROOT, "app": app, "slug": request.tenant.slug})
    response["Content-Security-Policy"] = POLICY
    return response


@hospital_page("study.read", is_scoped=False)
def viewer_config(request: HospitalRequest) -> HttpResponse:
    """`window.config` of OHIF: this hospital's doors and nobody else's."""
    script = f'window.PUBLIC_URL = "{ROOT}";\nwindow.config = {orjson.dumps(_config(request.tenant.slug)).decode()};\n'
    return HttpResponse(script, content_type="text/javascript; charset=utf-8")


def _config(slug: str) -> dict[str, object]:
    doors = f"/t/{slug}/dicomweb"
    source = {
        "friendlyName": "MedHub", "name": "medhub", "qidoRoot": doors, "wadoRoot": doors, "wadoUriRoot": f"{doors}/wado",
        "qidoSupportsIncludeField": True, "supportsReject": False, "supportsFuzzyMatching": True, "supportsWildcard": True,
        "supportsStow": False, "imageRendering": "wadors", "thumbnailRendering": "thumbnail", "enableStudyLazyLoad": True,
        "dicomUploadEnabled": False, "singlepart": "pdf,video", "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True},
    }  # fmt: skip
    return {
        "name": "medhub", "routerBasename": f"/t/{slug}/viewer", "extensions": [], "modes": [], "customizationService": {},
        "showStudyList": False, "maxNumberOfWebWorkers": 3, "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False, "showLoadingIndicator": True, "strictZSpacingForVolumeViewport": True,
        "investigationalUseDialog": {"option": "never"}, "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "showErrorDetails": "production", "defaultDataSourceName": "medhub",
        "dataSources": [{
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb", "sourceName": "medhub", "configuration": source,
        }],
    }  # fmt: skip

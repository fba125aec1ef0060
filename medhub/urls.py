"""Who is mounted where. Each door's own addresses are in its app."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path, re_path

from ai.hooks import AiHookView
from ai.room.views import VolumeView
from fhirapi.views.bundle import SystemView
from imaging.api.base import UnknownView
from medhub.health import health_report
from medhub.openapi import SchemaView


def healthz(request: HttpRequest) -> HttpResponse:
    """For load balancers and the operator: no hospital's data, only whether the parts answer."""
    report = health_report()
    return JsonResponse(report, status=200 if report["ok"] else 503)


urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("accounts/", include("allauth.urls")),
    path("t/<slug:slug>/fhir/r4", SystemView.as_view(), name="fhir-base"),  # a redirect would lose the body of a transaction
    path("t/<slug:slug>/fhir/r4/", include("fhirapi.urls")),
    path("t/<slug:slug>/oauth/", include("tenants.oauth.urls")),
    path("t/<slug:slug>/dicomweb/", include("imaging.dicomweb.urls")),
    path("t/<slug:slug>/dicomweb/", include("ai.workitems.urls")),
    path("t/<slug:slug>/performer/<uuid:job>/dicomweb/", include("ai.performer.urls")),
    path("t/<slug:slug>/api/v1/", include("imaging.api.urls")),
    path("t/<slug:slug>/api/v1/schema", SchemaView.as_view(), name="api-schema"),
    path("t/<slug:slug>/api/v1/", include("imaging.api.workitem_urls")),
    path("t/<slug:slug>/api/v1/", include("ai.api.delivery_urls")),
    path("t/<slug:slug>/api/v1/", include("ai.api.urls")),
    path("t/<slug:slug>/api/v1/", include("fhirapi.api.urls")),
    re_path(r"^t/(?P<slug>[-\w]+)/api/v1/(?P<rest>(?s:.*))$", UnknownView.as_view(), name="api-unknown"),
    path("hooks/ai/<uuid:connection>", AiHookView.as_view(), name="hook-ai"),
    path("hooks/volumes/<uuid:connection>/<uuid:job>/<str:ticket>.nii.gz", VolumeView.as_view(), name="hook-volume"),
    path("", include("portal.urls")),
]

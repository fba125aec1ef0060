"""The FHIR door mounted alone, as medhub.urls mounts it."""

from django.urls import include, path

urlpatterns = [path("t/<slug:slug>/fhir/r4/", include("fhirapi.urls"))]

"""Everything under /t/<slug>/fhir/r4/; mounted by medhub.urls. The last line keeps unknown paths from Django's HTML page."""

from django.urls import path, re_path

from fhirapi.views.metadata import MetadataView
from fhirapi.views.read import ReadView, UnknownView
from fhirapi.views.search import CompartmentView, SearchFormView, SearchView, SystemFormView, SystemSearchView

urlpatterns = [
    path("metadata", MetadataView.as_view(), name="fhir-metadata"),
    path("", SystemSearchView.as_view(), name="fhir-system"),
    path("_search", SystemFormView.as_view(), name="fhir-system-form"),
    path("Patient/<str:patient>/<str:rtype>", CompartmentView.as_view(), name="fhir-compartment"),
    path("<str:rtype>/_search", SearchFormView.as_view(), name="fhir-search-form"),
    path("<str:rtype>/<str:fhir_id>", ReadView.as_view(), name="fhir-read"),
    path("<str:rtype>", SearchView.as_view(), name="fhir-search"),
    re_path(r"^(?P<rest>.*)$", UnknownView.as_view(), name="fhir-unknown"),
]
